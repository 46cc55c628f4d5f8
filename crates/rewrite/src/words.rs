//! A translation as the plain words that a session slot keeps.

use crate::shape::Shape;
use crate::translation::{Birth, Direction, LinkIndex, MemberId, Translation};
use flow::{V4, V6};
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::checksum::ChecksumDelta;

/// A record that is kept as words in a table of atomics.
pub trait Words: Sized {
    /// The array of words.
    type Array: Copy + AsRef<[u64]>;
    /// Which word holds the link, so that it alone can be replaced when a next hop moves.
    const LINK_WORD: usize;
    /// To words.
    fn to_words(&self) -> Self::Array;
    /// From the words that [`Words::to_words`] made.
    fn from_words(words: &Self::Array) -> Self;
}

/// Bit of the last word that marks the reply's direction.
const REPLY_BIT: u64 = 1;

/// member index:16 ‖ member generation:16 ‖ link:16 ‖ birth:15 ‖ reply:1.
fn decision_word(member: MemberId, link: LinkIndex, direction: Direction, born: Birth) -> u64 {
    let reply = if direction == Direction::Reply { REPLY_BIT } else { 0 };
    u64::from(member.index) << 48
        | u64::from(member.generation) << 32
        | u64::from(link.0) << 16
        | u64::from(born.to_bits()) << 1
        | reply
}

fn decision(word: u64) -> (MemberId, LinkIndex, Direction, Birth) {
    let member = MemberId { index: (word >> 48) as u16, generation: (word >> 32) as u16 };
    let direction = if word & REPLY_BIT == 0 { Direction::Request } else { Direction::Reply };
    (member, LinkIndex((word >> 16) as u16), direction, Birth::from_bits((word >> 1) as u16))
}

/// source port:16 ‖ destination port:16 ‖ address delta:16 ‖ shape:16.
fn ports_word(source: u16, destination: u16, addresses: ChecksumDelta, shape: Shape) -> u64 {
    u64::from(source) << 48
        | u64::from(destination) << 32
        | u64::from(addresses.to_bits()) << 16
        | u64::from(shape.to_bits())
}

#[inline]
fn ports(word: u64) -> (u16, u16, ChecksumDelta, Shape) {
    let (addresses, shape) = (ChecksumDelta::from_bits((word >> 16) as u16), Shape::from_bits(word as u16));
    ((word >> 48) as u16, (word >> 32) as u16, addresses, shape)
}

impl Words for Translation<V4> {
    type Array = [u64; 3];
    const LINK_WORD: usize = 2;

    #[inline]
    fn to_words(&self) -> [u64; 3] {
        [
            u64::from(self.source.0.to_bits()) << 32 | u64::from(self.destination.0.to_bits()),
            ports_word(self.source.1, self.destination.1, self.address_delta, self.shape),
            decision_word(self.member, self.link, self.direction, self.born),
        ]
    }

    #[inline]
    fn from_words(words: &[u64; 3]) -> Self {
        let (source_port, destination_port, address_delta, shape) = ports(words[1]);
        let (member, link, direction, born) = decision(words[2]);
        Self {
            source: (Ipv4Addr::from_bits((words[0] >> 32) as u32), source_port),
            destination: (Ipv4Addr::from_bits(words[0] as u32), destination_port),
            address_delta,
            shape,
            link,
            member,
            direction,
            born,
        }
    }
}

impl Words for Translation<V6> {
    /// Six words are used; two are spare.
    type Array = [u64; 8];
    const LINK_WORD: usize = 5;

    #[inline]
    fn to_words(&self) -> [u64; 8] {
        let (source, destination) = (self.source.0.to_bits(), self.destination.0.to_bits());
        [
            (source >> 64) as u64,
            source as u64,
            (destination >> 64) as u64,
            destination as u64,
            ports_word(self.source.1, self.destination.1, self.address_delta, self.shape),
            decision_word(self.member, self.link, self.direction, self.born),
            0,
            0,
        ]
    }

    #[inline]
    fn from_words(words: &[u64; 8]) -> Self {
        let address = |high: u64, low: u64| Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
        let (source_port, destination_port, address_delta, shape) = ports(words[4]);
        let (member, link, direction, born) = decision(words[5]);
        Self {
            source: (address(words[0], words[1]), source_port),
            destination: (address(words[2], words[3]), destination_port),
            address_delta,
            shape,
            link,
            member,
            direction,
            born,
        }
    }
}
