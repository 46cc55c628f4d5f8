//! What makes two packets one flow: zone, protocol, both ends.

use crate::family::Family;
use crate::hash::FlowHasher;
use std::fmt;
use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A routing domain. All routed ports form zone 0; the same address may mean another host in another zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Zone(pub u8);

/// A flow's key, as words that a table can compare and a hash can swallow.
pub trait FlowKey: Copy + Eq + Hash + fmt::Debug {
    /// The family's address type.
    type Address;
    /// The key as an array of words.
    type Words: Copy;
    /// The key's words.
    fn words(&self) -> &Self::Words;
    /// The key that these are the words of.
    fn from_words(words: Self::Words) -> Self;
    /// Says where the flow is kept; another number for each direction. Which member serves it is for
    /// [`FlowHasher::dispatch`].
    fn hash(&self, hasher: &FlowHasher) -> u64;
    /// The key of packets from `source` to `destination`. Ports are 0 where the protocol has none.
    fn new(zone: Zone, protocol: u8, source: (Self::Address, u16), destination: (Self::Address, u16))
    -> Self;
    /// The same with both ports in one: source:16 ‖ destination:16.
    fn of_ports(
        zone: Zone,
        protocol: u8,
        source: Self::Address,
        destination: Self::Address,
        ports: u32,
    ) -> Self;
    /// Source address and port.
    fn source(&self) -> (Self::Address, u16);
    /// Destination address and port.
    fn destination(&self) -> (Self::Address, u16);
    /// IP protocol number.
    fn protocol(&self) -> u8;
    /// The routing domain.
    fn zone(&self) -> Zone;
    /// The key of the packets that go the other way.
    fn swapped(&self) -> Self {
        Self::new(self.zone(), self.protocol(), self.destination(), self.source())
    }
}

#[inline(always)]
fn ports_word(zone: Zone, protocol: u8, ports: u32) -> u64 {
    u64::from(ports) << 32 | u64::from(protocol) << 24 | u64::from(zone.0) << 16
}

#[inline(always)]
fn both(source_port: u16, destination_port: u16) -> u32 {
    u32::from(source_port) << 16 | u32::from(destination_port)
}

/// The key of an IPv4 flow: two words.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyV4(pub [u64; 2]);

/// The key of an IPv6 flow: five words.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyV6(pub [u64; 5]);

impl FlowKey for KeyV4 {
    type Address = Ipv4Addr;
    type Words = [u64; 2];

    #[inline]
    fn words(&self) -> &[u64; 2] {
        &self.0
    }

    #[inline]
    fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }

    #[inline]
    fn hash(&self, hasher: &FlowHasher) -> u64 {
        hasher.flow_v4(self)
    }

    #[inline]
    fn new(zone: Zone, protocol: u8, source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> Self {
        Self::of_ports(zone, protocol, source.0, destination.0, both(source.1, destination.1))
    }

    #[inline(always)]
    fn of_ports(zone: Zone, protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, ports: u32) -> Self {
        let addresses = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
        Self([addresses, ports_word(zone, protocol, ports)])
    }

    #[inline]
    fn source(&self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::from_bits((self.0[0] >> 32) as u32), (self.0[1] >> 48) as u16)
    }

    #[inline]
    fn destination(&self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::from_bits(self.0[0] as u32), (self.0[1] >> 32) as u16)
    }

    #[inline]
    fn protocol(&self) -> u8 {
        (self.0[1] >> 24) as u8
    }

    #[inline]
    fn zone(&self) -> Zone {
        Zone((self.0[1] >> 16) as u8)
    }
}

impl FlowKey for KeyV6 {
    type Address = Ipv6Addr;
    type Words = [u64; 5];

    #[inline]
    fn words(&self) -> &[u64; 5] {
        &self.0
    }

    #[inline]
    fn from_words(words: [u64; 5]) -> Self {
        Self(words)
    }

    #[inline]
    fn hash(&self, hasher: &FlowHasher) -> u64 {
        hasher.flow_v6(self)
    }

    #[inline]
    fn new(zone: Zone, protocol: u8, source: (Ipv6Addr, u16), destination: (Ipv6Addr, u16)) -> Self {
        Self::of_ports(zone, protocol, source.0, destination.0, both(source.1, destination.1))
    }

    #[inline(always)]
    fn of_ports(zone: Zone, protocol: u8, source: Ipv6Addr, destination: Ipv6Addr, ports: u32) -> Self {
        let (from, to) = (source.to_bits(), destination.to_bits());
        let ports = ports_word(zone, protocol, ports);
        Self([(from >> 64) as u64, from as u64, (to >> 64) as u64, to as u64, ports])
    }

    #[inline]
    fn source(&self) -> (Ipv6Addr, u16) {
        let address = u128::from(self.0[0]) << 64 | u128::from(self.0[1]);
        (Ipv6Addr::from_bits(address), (self.0[4] >> 48) as u16)
    }

    #[inline]
    fn destination(&self) -> (Ipv6Addr, u16) {
        let address = u128::from(self.0[2]) << 64 | u128::from(self.0[3]);
        (Ipv6Addr::from_bits(address), (self.0[4] >> 32) as u16)
    }

    #[inline]
    fn protocol(&self) -> u8 {
        (self.0[4] >> 24) as u8
    }

    #[inline]
    fn zone(&self) -> Zone {
        Zone((self.0[4] >> 16) as u8)
    }
}

/// Which datagram a fragment belongs to: source, destination, identification and zone, and for IPv4 the protocol (RFC
/// 791 section 2.3). IPv6 leaves it out (RFC 8200 section 4.5): a later piece names the header behind the fragment
/// header, which need not be the transport protocol that the first piece leads to.
///
/// Words: source, destination (two each, IPv4 in the low half of the second), then
/// `identification:32 | protocol:8 | zone:8 | version:8 | 0:8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DatagramKey(pub [u64; 5]);

impl DatagramKey {
    /// The key of the datagram with this `identification` between `ends`, source and destination.
    #[inline]
    pub fn new<F: Family>(
        zone: Zone,
        protocol: u8,
        ends: (F::Address, F::Address),
        identification: u32,
    ) -> Self {
        let (source, destination) = (F::bits(ends.0), F::bits(ends.1));
        let protocol = if F::VERSION == 4 { protocol } else { 0 };
        Self([
            (source >> 64) as u64,
            source as u64,
            (destination >> 64) as u64,
            destination as u64,
            u64::from(identification) << 32
                | u64::from(protocol) << 24
                | u64::from(zone.0) << 16
                | u64::from(F::VERSION) << 8,
        ])
    }
    /// Who sent it: address, zone and version.
    #[inline]
    pub(crate) fn source_words(&self) -> [u64; 3] {
        let [high, low, _, _, last] = self.0;
        [high, low, last & 0x00ff_ff00]
    }
}

macro_rules! show_as_five_tuple {
    ($key:ty) => {
        impl fmt::Debug for $key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (source, destination) = (self.source(), self.destination());
                write!(f, "{}:{} > {}:{}", source.0, source.1, destination.0, destination.1)?;
                write!(f, "/{} zone {}", self.protocol(), self.zone().0)
            }
        }
    };
}
show_as_five_tuple!(KeyV4);
show_as_five_tuple!(KeyV6);
