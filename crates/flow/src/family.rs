//! The two address families behind one trait, so that what holds for both is written once.

use crate::key::{FlowKey, KeyV4, KeyV6};
use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::checksum::{ChecksumDelta, Pseudo};
use wire::ipv4::{Ipv4, Ipv4Split};
use wire::ipv6::{Ipv6, Ipv6Split};
use wire::{Refusal, protocol};

/// What every IP header has, whichever its version.
pub trait NetworkHeader {
    /// The family's address type.
    type Address;
    /// Source address.
    fn source(&self) -> Self::Address;
    /// Destination address.
    fn destination(&self) -> Self::Address;
    /// Overwrites both addresses. No checksum is touched.
    fn set_addresses(&mut self, source: Self::Address, destination: Self::Address);
    /// TTL, or hop limit.
    fn hop_limit(&self) -> u8;
    /// Overwrites TTL or hop limit. No checksum is touched.
    fn set_hop_limit(&mut self, hop_limit: u8);
    /// Brings the header's own checksum up to date; IPv6 has none.
    fn update_checksum(&mut self, delta: ChecksumDelta);
    /// Length of the whole packet in bytes, without link-layer padding.
    fn length_bytes(&self) -> u16;
    /// DSCP and ECN.
    fn traffic_class(&self) -> u8;
    /// Overwrites DSCP and keeps ECN; a header checksum of its own is brought up to date. Bits above the sixth are
    /// ignored.
    fn set_dscp(&mut self, dscp: u8);
    /// Whether a router may not split the packet: always so in IPv6 (RFC 8200 section 4.5).
    fn dont_fragment(&self) -> bool;
    /// Whether this router splits the packet where it is too long: IPv4 that allows it, and has no options, some of which
    /// would belong to the first piece only.
    fn may_be_split(&self) -> bool;
}

/// A quoted packet as disjoint views.
pub struct Quoted<'a, F: Family> {
    /// The fixed part of the IP header.
    pub header: F::Header<'a>,
    /// What the transport is.
    pub protocol: u8,
    /// Length in bytes of everything in front of the transport header.
    pub network_bytes: usize,
    /// What was quoted of transport header and data.
    pub transport: &'a mut [u8],
}

/// An address family.
pub trait Family: Copy + Debug + Default + 'static {
    /// Its addresses.
    type Address: Copy + Eq + Ord + Hash + Debug + Send + Sync + Into<IpAddr> + 'static;
    /// Its header, lent from a frame.
    type Header<'a>: NetworkHeader<Address = Self::Address> + wire::Header<'a>;
    /// Its flow key.
    type Key: FlowKey<Address = Self::Address> + Send + Sync;
    /// The protocol number of its ICMP.
    const ICMP: u8;
    /// The version in its header: 4 or 6.
    const VERSION: u8;
    /// Length of the fixed part of its header in bytes.
    const HEADER_BYTES: usize;

    /// How the sum of both addresses changes in a pseudo header.
    fn address_delta(old: Self::Address, new: Self::Address) -> ChecksumDelta;
    /// How its header checksum changes when the hop limit falls by one: not at all in IPv6.
    fn hop_delta() -> ChecksumDelta;
    /// The address out of an [`IpAddr`] of this family.
    fn address(from: IpAddr) -> Option<Self::Address>;
    /// The address as a number; an IPv4 address in the low 32 bits.
    fn bits(address: Self::Address) -> u128;
    /// What a transport checksum covers of these addresses.
    fn pseudo(source: Self::Address, destination: Self::Address) -> Pseudo;
    /// Takes apart what an ICMP error quotes of a packet.
    fn split_quoted(bytes: &mut [u8]) -> Result<Quoted<'_, Self>, Refusal>;
    /// The value that stands for no address.
    fn unspecified() -> Self::Address;
    /// Whether a packet from this source is never to be believed: unspecified, loopback, multicast, broadcast
    /// (RFC 1812 section 5.3.7, RFC 4291 section 2).
    fn is_martian_source(address: Self::Address) -> bool;
    /// Whether the address means something on one link only, so that no router may forward it (RFC 3927 section 7,
    /// RFC 4291 section 2.5.6).
    fn is_link_local(address: Self::Address) -> bool;
    /// Whether this destination is one host's, outside the link: not multicast, broadcast, loopback, link-local, unspecified.
    fn is_routable_destination(address: Self::Address) -> bool;
}

/// IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V6;

impl NetworkHeader for Ipv4<'_> {
    type Address = Ipv4Addr;

    #[inline]
    fn source(&self) -> Ipv4Addr {
        Ipv4::source(self)
    }

    #[inline]
    fn destination(&self) -> Ipv4Addr {
        Ipv4::destination(self)
    }

    #[inline]
    fn set_addresses(&mut self, source: Ipv4Addr, destination: Ipv4Addr) {
        self.set_source(source);
        self.set_destination(destination);
    }

    #[inline]
    fn hop_limit(&self) -> u8 {
        self.ttl()
    }

    #[inline]
    fn set_hop_limit(&mut self, hop_limit: u8) {
        self.set_ttl(hop_limit);
    }

    #[inline]
    fn update_checksum(&mut self, delta: ChecksumDelta) {
        Ipv4::update_checksum(self, delta);
    }

    #[inline]
    fn length_bytes(&self) -> u16 {
        self.total_length()
    }

    #[inline]
    fn traffic_class(&self) -> u8 {
        self.dscp() << 2 | self.ecn()
    }

    #[inline]
    fn set_dscp(&mut self, dscp: u8) {
        let delta = self.replace_dscp(dscp);
        Ipv4::update_checksum(self, delta);
    }

    #[inline]
    fn dont_fragment(&self) -> bool {
        Ipv4::dont_fragment(self)
    }

    #[inline]
    fn may_be_split(&self) -> bool {
        !Ipv4::dont_fragment(self) && self.header_length() == Ipv4::LENGTH
    }
}

impl NetworkHeader for Ipv6<'_> {
    type Address = Ipv6Addr;

    #[inline]
    fn source(&self) -> Ipv6Addr {
        Ipv6::source(self)
    }

    #[inline]
    fn destination(&self) -> Ipv6Addr {
        Ipv6::destination(self)
    }

    #[inline]
    fn set_addresses(&mut self, source: Ipv6Addr, destination: Ipv6Addr) {
        self.set_source(source);
        self.set_destination(destination);
    }

    #[inline]
    fn hop_limit(&self) -> u8 {
        Ipv6::hop_limit(self)
    }

    #[inline]
    fn set_hop_limit(&mut self, hop_limit: u8) {
        Ipv6::set_hop_limit(self, hop_limit);
    }

    #[inline]
    fn update_checksum(&mut self, _delta: ChecksumDelta) {}

    #[inline]
    fn length_bytes(&self) -> u16 {
        // What a frame holds fits; a payload length past its end was refused.
        self.payload_length().saturating_add(Ipv6::LENGTH as u16)
    }

    #[inline]
    fn traffic_class(&self) -> u8 {
        Ipv6::traffic_class(self)
    }

    #[inline]
    fn set_dscp(&mut self, dscp: u8) {
        Ipv6::set_dscp(self, dscp);
    }

    #[inline]
    fn dont_fragment(&self) -> bool {
        true
    }

    #[inline]
    fn may_be_split(&self) -> bool {
        false
    }
}

impl Family for V4 {
    type Address = Ipv4Addr;
    type Header<'a> = Ipv4<'a>;
    type Key = KeyV4;
    const ICMP: u8 = protocol::ICMP;
    const VERSION: u8 = 4;
    const HEADER_BYTES: usize = Ipv4::LENGTH;

    fn address_delta(old: Ipv4Addr, new: Ipv4Addr) -> ChecksumDelta {
        ChecksumDelta::between_ipv4(old, new)
    }

    fn hop_delta() -> ChecksumDelta {
        ChecksumDelta::TTL_DECREMENT
    }

    fn address(from: IpAddr) -> Option<Ipv4Addr> {
        match from {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    fn bits(address: Ipv4Addr) -> u128 {
        u128::from(address.to_bits())
    }

    fn pseudo(source: Ipv4Addr, destination: Ipv4Addr) -> Pseudo {
        Pseudo::V4 { source, destination }
    }

    fn split_quoted(bytes: &mut [u8]) -> Result<Quoted<'_, V4>, Refusal> {
        let Ipv4Split { header, options, payload } = Ipv4::split_quoted(bytes)?;
        let (protocol, network_bytes) = (header.protocol(), Ipv4::LENGTH + options.len());
        Ok(Quoted { header, protocol, network_bytes, transport: payload })
    }

    fn unspecified() -> Ipv4Addr {
        Ipv4Addr::UNSPECIFIED
    }

    fn is_martian_source(address: Ipv4Addr) -> bool {
        // 0/8 names only a host that does not know its address yet (RFC 1122 section 3.2.1.3).
        address.octets()[0] == 0 || address.is_loopback() || address.is_multicast() || address.is_broadcast()
    }

    fn is_link_local(address: Ipv4Addr) -> bool {
        address.is_link_local()
    }

    fn is_routable_destination(address: Ipv4Addr) -> bool {
        !Self::is_martian_source(address) && !Self::is_link_local(address)
    }
}

impl Family for V6 {
    type Address = Ipv6Addr;
    type Header<'a> = Ipv6<'a>;
    type Key = KeyV6;
    const ICMP: u8 = protocol::ICMPV6;
    const VERSION: u8 = 6;
    const HEADER_BYTES: usize = Ipv6::LENGTH;

    fn address_delta(old: Ipv6Addr, new: Ipv6Addr) -> ChecksumDelta {
        ChecksumDelta::between_ipv6(old, new)
    }

    fn hop_delta() -> ChecksumDelta {
        ChecksumDelta::default()
    }

    fn address(from: IpAddr) -> Option<Ipv6Addr> {
        match from {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        }
    }

    fn bits(address: Ipv6Addr) -> u128 {
        address.to_bits()
    }

    fn pseudo(source: Ipv6Addr, destination: Ipv6Addr) -> Pseudo {
        Pseudo::V6 { source, destination }
    }

    fn split_quoted(bytes: &mut [u8]) -> Result<Quoted<'_, V6>, Refusal> {
        let Ipv6Split { header, extensions, payload, protocol, .. } = Ipv6::split_quoted(bytes)?;
        let network_bytes = Ipv6::LENGTH + extensions.len();
        Ok(Quoted { header, protocol, network_bytes, transport: payload })
    }

    fn unspecified() -> Ipv6Addr {
        Ipv6Addr::UNSPECIFIED
    }

    fn is_martian_source(address: Ipv6Addr) -> bool {
        address.is_unspecified() || address.is_loopback() || address.is_multicast()
    }

    fn is_link_local(address: Ipv6Addr) -> bool {
        address.is_unicast_link_local()
    }

    fn is_routable_destination(address: Ipv6Addr) -> bool {
        !Self::is_martian_source(address) && !Self::is_link_local(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Mac, build, check};

    #[test]
    fn a_packet_marked_anew_keeps_congestion_and_every_checksum() {
        let ethernet = || build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let (a, b) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 10));
        let mut v4 = ethernet().ipv4(a, b).traffic_class(3).udp(1, 2).finish();
        let mut header = Ipv4::split(&mut v4[14..]).unwrap().header;
        NetworkHeader::set_dscp(&mut header, 46);
        assert_eq!(NetworkHeader::traffic_class(&header), 0xbb);
        assert_eq!(check::frame_checksums(&v4), Ok(()));
        let mut v6 =
            ethernet().ipv6(a.to_ipv6_mapped(), b.to_ipv6_mapped()).traffic_class(3).udp(1, 2).finish();
        let mut header = Ipv6::split(&mut v6[14..]).unwrap().header;
        NetworkHeader::set_dscp(&mut header, 46);
        assert_eq!(NetworkHeader::traffic_class(&header), 0xbb);
        assert_eq!(check::frame_checksums(&v6), Ok(()));
    }
}
