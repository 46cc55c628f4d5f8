//! Whole frames with right lengths and checksums: for tests, labs and the appliance's own announcements.
//! Allocates; not for the hot path.
//!
//! ```
//! use wire::{Mac, build, check, tcp::TcpFlags};
//! let frame = build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
//!     .vlan(20)
//!     .ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into())
//!     .ttl(64)
//!     .tcp(40_000, 80)
//!     .flags(TcpFlags::PSH | TcpFlags::ACK)
//!     .payload(b"GET / HTTP/1.0\r\n\r\n")
//!     .finish();
//! assert_eq!(check::frame_checksums(&frame), Ok(()));
//! ```
//!
//! It refuses nothing: a length that does not fit its field saturates and makes a frame that does not parse.

mod control;
mod transport;

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::{Pseudo, transport_checksum};
use crate::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN};
use crate::ipv4::Ipv4;
use crate::ipv6::Ipv6;
use crate::{Mac, icmp, protocol};

pub use control::{
    arp_reply, arp_request, gratuitous_arp, neighbour_advertisement, neighbour_solicitation,
    unsolicited_advertisement,
};
pub use transport::{IcmpBuilder, TcpBuilder, UdpBuilder};

/// The shortest frame that Ethernet sends, frame check sequence excluded.
pub const ETHERNET_BYTES_MIN: usize = 60;

/// Starts a frame.
pub fn ethernet(source: Mac, destination: Mac) -> EthernetBuilder {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend(destination.0);
    bytes.extend(source.0);
    EthernetBuilder { bytes }
}

/// Fills a frame up with zeros to Ethernet's shortest.
pub fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(ETHERNET_BYTES_MIN), 0);
    frame
}

/// A frame up to where its EtherType goes.
#[derive(Clone, Debug)]
#[must_use]
pub struct EthernetBuilder {
    bytes: Vec<u8>,
}

impl EthernetBuilder {
    /// Adds an 802.1Q tag.
    pub fn vlan(self, id: u16) -> Self {
        self.tag(ETHERTYPE_VLAN, id)
    }

    /// Adds an 802.1ad service tag.
    pub fn service_vlan(self, id: u16) -> Self {
        self.tag(ETHERTYPE_QINQ, id)
    }

    /// Adds a tag: its EtherType and its tag control (priority, drop eligibility, VLAN).
    pub fn tag(mut self, ethertype: u16, control: u16) -> Self {
        self.bytes.extend(ethertype.to_be_bytes());
        self.bytes.extend(control.to_be_bytes());
        self
    }

    /// Goes on with IPv4.
    pub fn ipv4(self, source: Ipv4Addr, destination: Ipv4Addr) -> IpBuilder {
        IpBuilder::new(self, Pseudo::V4 { source, destination })
    }

    /// Goes on with IPv6.
    pub fn ipv6(self, source: Ipv6Addr, destination: Ipv6Addr) -> IpBuilder {
        IpBuilder::new(self, Pseudo::V6 { source, destination })
    }

    /// Ends the frame with anything.
    pub fn raw(mut self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        self.bytes.extend(ethertype.to_be_bytes());
        self.bytes.extend(payload);
        self.bytes
    }
}

/// A frame up to its IP header, of either family.
#[derive(Clone, Debug)]
#[must_use]
pub struct IpBuilder {
    ethernet: EthernetBuilder,
    addresses: Pseudo,
    ttl: u8,
    traffic_class: u8,
    flow_label: u32,
    identification: u32,
    dont_fragment: bool,
    fragment: Option<(u16, bool)>,
    options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
}

impl IpBuilder {
    fn new(ethernet: EthernetBuilder, addresses: Pseudo) -> Self {
        Self {
            ethernet,
            addresses,
            ttl: 64,
            traffic_class: 0,
            flow_label: 0,
            identification: 0,
            dont_fragment: false,
            fragment: None,
            options: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// TTL or hop limit; 64 unless said.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// DSCP and ECN.
    pub fn traffic_class(mut self, class: u8) -> Self {
        self.traffic_class = class;
        self
    }

    /// IPv6's flow label.
    pub fn flow_label(mut self, label: u32) -> Self {
        self.flow_label = label;
        self
    }

    /// What the fragments of one datagram have in common.
    pub fn identification(mut self, identification: u32) -> Self {
        self.identification = identification;
        self
    }

    /// Forbids IPv4 routers to fragment it.
    pub fn dont_fragment(mut self) -> Self {
        self.dont_fragment = true;
        self
    }

    /// Makes it a fragment. `(0, false)` makes an atomic one in IPv6 and nothing in IPv4.
    pub fn fragment(mut self, offset_bytes: u16, more: bool) -> Self {
        self.fragment = Some((offset_bytes, more));
        self
    }

    /// IPv4 options, filled up to a multiple of 4 with ends of list.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an IPv6 extension header: `body` is what follows its next header and length, and is filled up to
    /// a multiple of 8 with zeros.
    pub fn extension(mut self, kind: u8, body: &[u8]) -> Self {
        let mut body = body.to_vec();
        body.resize((body.len() + 2).next_multiple_of(8) - 2, 0);
        self.extensions.push((kind, body));
        self
    }

    /// Goes on with TCP.
    pub fn tcp(self, source_port: u16, destination_port: u16) -> TcpBuilder {
        TcpBuilder::new(self, source_port, destination_port)
    }

    /// Goes on with UDP.
    pub fn udp(self, source_port: u16, destination_port: u16) -> UdpBuilder {
        UdpBuilder::new(self, source_port, destination_port)
    }

    /// Goes on with an ICMP message of the family: type, code and the four bytes after the checksum.
    pub fn icmp(self, kind: u8, code: u8, rest: [u8; 4]) -> IcmpBuilder {
        IcmpBuilder::new(self, kind, code, rest)
    }

    /// Goes on with an echo request.
    pub fn echo_request(self, identifier: u16, sequence: u16) -> IcmpBuilder {
        let kind = if self.is_v4() { icmp::v4::ECHO_REQUEST } else { icmp::v6::ECHO_REQUEST };
        self.icmp(kind, 0, echo(identifier, sequence))
    }

    /// Goes on with an echo reply.
    pub fn echo_reply(self, identifier: u16, sequence: u16) -> IcmpBuilder {
        let kind = if self.is_v4() { icmp::v4::ECHO_REPLY } else { icmp::v6::ECHO_REPLY };
        self.icmp(kind, 0, echo(identifier, sequence))
    }

    /// Ends the frame with an ICMP error about `packet`, an IP packet without its Ethernet header, of which
    /// as much is quoted as RFC 1812 section 4.3.2.3 (576 bytes in all) or RFC 4443 section 2.4 (1,280 bytes
    /// in all) allows.
    pub fn icmp_error(self, kind: u8, code: u8, rest: [u8; 4], packet: &[u8]) -> Vec<u8> {
        let room = if self.is_v4() { 576 - 20 - 8 } else { 1280 - 40 - 8 };
        self.icmp(kind, code, rest).payload(packet.get(..room).unwrap_or(packet)).finish()
    }

    /// Ends the frame with anything, no transport checksum written.
    pub fn raw(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match self.addresses {
            Pseudo::V4 { source, destination } => self.finish_ipv4(source, destination, protocol, payload),
            Pseudo::V6 { source, destination } => self.finish_ipv6(source, destination, protocol, payload),
        }
    }

    /// Ends the frame with a transport segment whose checksum field, at `checksum_at`, is yet to be filled.
    fn segment(self, protocol: u8, checksum_at: usize, mut segment: Vec<u8>) -> Vec<u8> {
        let checksum = transport_checksum(self.addresses, protocol, &segment);
        if let (Some(checksum), Some(field)) = (checksum, segment.get_mut(checksum_at..checksum_at + 2)) {
            field.copy_from_slice(&checksum.to_bits().to_be_bytes());
        }
        self.raw(protocol, &segment)
    }

    fn is_v4(&self) -> bool {
        matches!(self.addresses, Pseudo::V4 { .. })
    }

    fn icmp_protocol(&self) -> u8 {
        if self.is_v4() { protocol::ICMP } else { protocol::ICMPV6 }
    }

    fn finish_ipv4(self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header_length = Ipv4::LENGTH + self.options.len();
        let mut bytes = [0; Ipv4::LENGTH];
        let mut ip = Ipv4::over(&mut bytes);
        ip.set_header_length(u8::try_from(header_length).unwrap_or(u8::MAX));
        ip.set_dscp(self.traffic_class >> 2);
        ip.set_ecn(self.traffic_class);
        ip.set_total_length(field_length(header_length + payload.len()));
        ip.set_identification(self.identification as u16);
        ip.set_dont_fragment(self.dont_fragment);
        if let Some((offset_bytes, more)) = self.fragment {
            ip.set_fragment(offset_bytes, more);
        }
        ip.set_ttl(self.ttl);
        ip.set_protocol(protocol);
        ip.set_source(source);
        ip.set_destination(destination);
        ip.set_checksum(ip.compute_checksum(&self.options));
        self.ethernet.raw(ETHERTYPE_IPV4, &[&bytes, &self.options[..], payload].concat())
    }

    fn finish_ipv6(self, source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut extensions = self.extensions;
        if let Some((offset_bytes, more)) = self.fragment {
            let place = offset_bytes & !7 | u16::from(more);
            let body = [place.to_be_bytes().as_slice(), &self.identification.to_be_bytes()].concat();
            extensions.push((protocol::FRAGMENT, body));
        }
        let mut next_header = protocol;
        let mut rest = payload.to_vec();
        for (kind, body) in extensions.iter().rev() {
            let length = match *kind {
                protocol::FRAGMENT => 0,
                protocol::AUTHENTICATION => (body.len() + 2) / 4 - 2,
                _ => (body.len() + 2) / 8 - 1,
            };
            let start = [next_header, u8::try_from(length).unwrap_or(u8::MAX)];
            rest = [&start, &body[..], &rest[..]].concat();
            next_header = *kind;
        }
        let mut bytes = [0; Ipv6::LENGTH];
        let mut ip = Ipv6::over(&mut bytes);
        ip.set_version();
        ip.set_traffic_class(self.traffic_class);
        ip.set_flow_label(self.flow_label);
        ip.set_payload_length(field_length(rest.len()));
        ip.set_next_header(next_header);
        ip.set_hop_limit(self.ttl);
        ip.set_source(source);
        ip.set_destination(destination);
        self.ethernet.raw(ETHERTYPE_IPV6, &[&bytes, &rest[..]].concat())
    }
}

fn echo(identifier: u16, sequence: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    [a, b, c, d]
}

/// A length as a 16-bit field says it.
fn field_length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
