//! Answers in place: a frame is turned into what its sender is to hear.
//!
//! The frame is taken apart anew, since an answer moves its borders: these frames are rare, and the common path keeps
//! no more than a [`Step`](crate::path::Step) for them. An answer goes out by the port that the frame came in by, to
//! the MAC that it came from.

mod icmp_error;
mod neighbour;
mod reset;

pub(crate) use neighbour::claim;
pub(crate) use reset::{Parting, RESET_BYTES_MAX};

use crate::path::Answer;
use crate::reason::DropReason;
use flow::Family;
use plan::{Plan, PortPlan, Vip};
use port::Frame;
use std::net::IpAddr;
use wire::checksum::ChecksumDelta;
use wire::ethernet::{self, Ethernet};
use wire::icmp::{self, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::{Mac, Refusal};

/// TTL and hop limit of everything that the appliance says itself (RFC 1700).
pub(crate) const HOP_LIMIT: u8 = 64;

/// A neighbour that told its address while it asked for one of ours.
pub(crate) type Asker = Option<(IpAddr, Mac)>;

/// What an answer needs to know beside the frame.
pub(crate) struct Responder<'a> {
    pub plan: &'a Plan,
    pub port: &'a PortPlan,
}

/// Whether `answer` is an ICMP error, whose rate is limited.
pub(crate) fn is_error(answer: Answer) -> bool {
    !matches!(answer, Answer::Arp | Answer::Neighbour | Answer::Echo | Answer::Reset)
}

impl Responder<'_> {
    /// Turns `frame` into `answer`, or says why that cannot be.
    pub fn write(&self, frame: &mut Frame<'_>, answer: Answer) -> Result<Asker, DropReason> {
        match answer {
            Answer::Arp => self.arp(frame),
            Answer::Neighbour => self.neighbour(frame),
            Answer::Echo => self.echo(frame).map(|()| None),
            Answer::Reset => self.reset(frame).map(|()| None),
            error => self.icmp_error(frame, error).map(|()| None),
        }
    }

    /// An echo reply (RFC 792, RFC 4443 section 4.2).
    fn echo(&self, frame: &mut Frame<'_>) -> Result<(), DropReason> {
        let (mut ethernet, rest) = Ethernet::split(frame.bytes_mut())?;
        ethernet.set_destination(ethernet.source());
        ethernet.set_source(self.port.mac);
        let untagged = ethernet::split_tags(ethernet.ethertype(), rest)?;
        let turn = |message: &mut [u8], kind: u8| -> Result<(), Refusal> {
            let (mut icmp, _) = Icmp::split(message)?;
            // Type and code are one word of the sum; a wrong checksum stays wrong.
            let word = |kind: u8| u16::from_be_bytes([kind, icmp.code()]);
            let delta = ChecksumDelta::between16(word(icmp.kind()), word(kind));
            icmp.set_kind(kind);
            icmp.update_checksum(delta);
            Ok(())
        };
        match untagged.ethertype {
            ethernet::ETHERTYPE_IPV4 => {
                let mut ip = Ipv4::split(untagged.payload)?;
                turn(ip.payload, icmp::v4::ECHO_REPLY)?;
                let (source, destination) = (ip.header.source(), ip.header.destination());
                ip.header.set_source(destination);
                ip.header.set_destination(source);
                ip.header.set_ttl(HOP_LIMIT);
                ip.header.set_checksum(ip.header.compute_checksum(ip.options));
            }
            _ => {
                let mut ip = Ipv6::split(untagged.payload)?;
                turn(ip.payload, icmp::v6::ECHO_REPLY)?;
                let (source, destination) = (ip.header.source(), ip.header.destination());
                ip.header.set_source(destination);
                ip.header.set_destination(source);
                ip.header.set_hop_limit(HOP_LIMIT);
            }
        }
        Ok(())
    }
}

/// Whether the appliance answers ARP or ND for an owned address.
pub(crate) fn is_announced<F: Family>(vip: Option<&Vip<F>>) -> bool {
    vip.is_some_and(|vip| vip.announce)
}

/// Length of the link-layer header with its tags, and the EtherType behind it.
fn link_layer(frame: &mut Frame<'_>) -> Result<(usize, u16, Mac), Refusal> {
    let length = frame.bytes().len();
    let (ethernet, rest) = Ethernet::split(frame.bytes_mut())?;
    let untagged = ethernet::split_tags(ethernet.ethertype(), rest)?;
    Ok((length - untagged.payload.len(), untagged.ethertype, ethernet.source()))
}
