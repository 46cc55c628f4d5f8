//! A frame taken apart once.

use crate::family::{Family, V4, V6};
use crate::hash::FlowHasher;
use crate::key::{FlowKey, KeyV4, KeyV6, Zone};
use wire::Refusal;
use wire::arp::Arp;
use wire::ethernet::{self, Ethernet};
use wire::icmp::{self, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::protocol;
use wire::tcp::Tcp;
use wire::udp::Udp;

/// A whole frame as disjoint views.
pub struct Parsed<'a> {
    /// The Ethernet header.
    pub ethernet: Ethernet<'a>,
    /// VLAN of the outermost tag; 0 when there is none, or a priority tag only (IEEE 802.1Q section 9.6).
    pub vlan: u16,
    /// What the frame carries.
    pub network: Network<'a>,
}

/// What an Ethernet frame carries.
pub enum Network<'a> {
    /// An IPv4 packet.
    V4(Packet<'a, V4>),
    /// An IPv6 packet.
    V6(Packet<'a, V6>),
    /// An ARP message.
    Arp(Arp<'a>),
    /// A protocol that Jeoul does not look into.
    Other(u16),
}

/// An IP packet as disjoint views, with its flow.
pub struct Packet<'a, F: Family> {
    /// The fixed part of the IP header.
    pub header: F::Header<'a>,
    /// What follows it.
    pub transport: Transport<'a>,
    /// The flow, in the direction of this packet.
    pub key: F::Key,
    /// The keyed, symmetric hash of the flow.
    pub hash: u64,
    /// Length of the whole IP packet in bytes, without link-layer padding.
    pub length_bytes: u16,
}

/// The transport header of an IP packet.
pub enum Transport<'a> {
    /// A TCP segment.
    Tcp {
        /// The fixed part of the header.
        header: Tcp<'a>,
        /// Length of the data in bytes.
        data_bytes: u16,
    },
    /// A UDP datagram.
    Udp(Udp<'a>),
    /// An ICMP or ICMPv6 message.
    Icmp(Icmp<'a>),
    /// A piece of a fragmented packet; its key has no ports.
    Fragment,
    /// Another protocol; its key has no ports.
    Other,
}

/// Takes `frame` apart. Refuses what is malformed, by name.
#[inline]
pub fn parse<'a>(frame: &'a mut [u8], zone: Zone, hasher: &FlowHasher) -> Result<Parsed<'a>, Refusal> {
    let (ethernet, rest) = Ethernet::split(frame)?;
    match ethernet.ethertype() {
        ethernet::ETHERTYPE_IPV4 => Ok(Parsed { ethernet, vlan: 0, network: parse_v4(rest, zone, hasher)? }),
        ethernet::ETHERTYPE_IPV6 => Ok(Parsed { ethernet, vlan: 0, network: parse_v6(rest, zone, hasher)? }),
        ethertype => {
            let (vlan, network) = parse_tagged(ethertype, rest, zone, hasher)?;
            Ok(Parsed { ethernet, vlan, network })
        }
    }
}

fn parse_tagged<'a>(
    ethertype: u16,
    rest: &'a mut [u8],
    zone: Zone,
    hasher: &FlowHasher,
) -> Result<(u16, Network<'a>), Refusal> {
    let untagged = ethernet::split_tags(ethertype, rest)?;
    // A tag with VLAN 0 says a priority and nothing else.
    let ids = [untagged.outer, untagged.inner].map(|tag| tag.map_or(0, |tag| tag.id()));
    let vlan = if ids[0] != 0 { ids[0] } else { ids[1] };
    let network = match untagged.ethertype {
        ethernet::ETHERTYPE_IPV4 => parse_v4(untagged.payload, zone, hasher)?,
        ethernet::ETHERTYPE_IPV6 => parse_v6(untagged.payload, zone, hasher)?,
        ethernet::ETHERTYPE_ARP => Network::Arp(Arp::split(untagged.payload)?.0),
        other => Network::Other(other),
    };
    Ok((vlan, network))
}

#[inline]
fn parse_v4<'a>(bytes: &'a mut [u8], zone: Zone, hasher: &FlowHasher) -> Result<Network<'a>, Refusal> {
    let split = Ipv4::split(bytes)?;
    let header = split.header;
    let (transport, source_port, destination_port) = if header.is_fragment() {
        (Transport::Fragment, 0, 0)
    } else {
        parse_transport(header.protocol(), split.payload)?
    };
    let source = (header.source(), source_port);
    let destination = (header.destination(), destination_port);
    let key = KeyV4::new(zone, header.protocol(), source, destination);
    let length_bytes = header.total_length();
    Ok(Network::V4(Packet { header, transport, hash: hasher.flow_v4(&key), key, length_bytes }))
}

#[inline]
fn parse_v6<'a>(bytes: &'a mut [u8], zone: Zone, hasher: &FlowHasher) -> Result<Network<'a>, Refusal> {
    let split = Ipv6::split(bytes)?;
    let header = split.header;
    // An atomic fragment is whole (RFC 6946); any other piece waits for its first.
    let piece = split.fragment.filter(|fragment| !fragment.is_atomic());
    let (transport, source_port, destination_port) = match piece {
        Some(_) => (Transport::Fragment, 0, 0),
        None => parse_transport(split.protocol, split.payload)?,
    };
    let source = (header.source(), source_port);
    let destination = (header.destination(), destination_port);
    let key = KeyV6::new(zone, split.protocol, source, destination);
    // The fixed header is 40 bytes, and a payload length past the frame was refused above, so the sum fits.
    let length_bytes = header.payload_length().saturating_add(Ipv6::LENGTH as u16);
    Ok(Network::V6(Packet { header, transport, hash: hasher.flow_v6(&key), key, length_bytes }))
}

#[inline]
fn parse_transport(protocol: u8, payload: &mut [u8]) -> Result<(Transport<'_>, u16, u16), Refusal> {
    match protocol {
        protocol::TCP => {
            let (header, _options, data) = Tcp::split(payload)?;
            let (source_port, destination_port) = (header.source_port(), header.destination_port());
            // The data lies inside an IP packet, whose length is a u16.
            let data_bytes = data.len() as u16;
            Ok((Transport::Tcp { header, data_bytes }, source_port, destination_port))
        }
        protocol::UDP => {
            let (header, _data) = Udp::split(payload)?;
            let (source_port, destination_port) = (header.source_port(), header.destination_port());
            Ok((Transport::Udp(header), source_port, destination_port))
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let (header, _data) = Icmp::split(payload)?;
            let is_echo = match (protocol, header.kind()) {
                (protocol::ICMP, kind) => matches!(kind, icmp::v4::ECHO_REQUEST | icmp::v4::ECHO_REPLY),
                (_, kind) => matches!(kind, icmp::v6::ECHO_REQUEST | icmp::v6::ECHO_REPLY),
            };
            let identifier = if is_echo { header.identifier() } else { 0 };
            Ok((Transport::Icmp(header), identifier, identifier))
        }
        _ => Ok((Transport::Other, 0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::tcp::TcpFlags;
    use wire::{Mac, build};

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn hasher() -> FlowHasher {
        FlowHasher::new([1; 16])
    }

    fn source_and_destination(frame: &mut [u8]) -> String {
        match parse(frame, Zone(0), &hasher()).unwrap().network {
            Network::V4(packet) => format!("{:?}", packet.key),
            Network::V6(packet) => format!("{:?}", packet.key),
            _ => panic!("not IP"),
        }
    }

    #[test]
    fn a_segment_is_keyed_by_both_ends_and_knows_its_data() {
        let ip = build::ethernet(A, B).ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into());
        let mut frame = ip.tcp(40_000, 80).flags(TcpFlags::ACK).payload(b"hello").finish();
        frame.extend_from_slice(&[0xee; 9]);
        let Network::V4(packet) = parse(&mut frame, Zone(0), &hasher()).unwrap().network else { panic!() };
        assert_eq!(format!("{:?}", packet.key), "198.18.0.1:40000 > 198.18.0.10:80/6 zone 0");
        assert!(matches!(packet.transport, Transport::Tcp { data_bytes: 5, .. }));
        assert_eq!(packet.length_bytes, 45, "link-layer padding is no part of the packet");
    }

    #[test]
    fn a_priority_tag_is_looked_through_and_a_vlan_is_reported() {
        for (id, vlan) in [(0, 0), (20, 20)] {
            let ip = build::ethernet(A, B).vlan(id).ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into());
            let mut frame = ip.udp(1, 2).finish();
            assert_eq!(parse(&mut frame, Zone(0), &hasher()).unwrap().vlan, vlan);
        }
    }

    #[test]
    fn pieces_have_no_ports_and_atomic_pieces_do() {
        let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let ip = || build::ethernet(A, B).ipv6(source, destination);
        let mut piece = ip().fragment(0, true).udp(7, 8).payload(&[0; 64]).finish();
        assert!(source_and_destination(&mut piece).contains("::1:0 > "));
        let mut atomic = ip().fragment(0, false).udp(7, 8).payload(&[0; 64]).finish();
        assert!(source_and_destination(&mut atomic).contains("::1:7 > "));
    }

    #[test]
    fn an_echo_is_keyed_by_its_identifier_alike_both_ways() {
        let (a, b) = ([198, 18, 0, 1].into(), [198, 18, 0, 2].into());
        let hash = |mut frame: Vec<u8>| match parse(&mut frame, Zone(0), &hasher()).unwrap().network {
            Network::V4(packet) => packet.hash,
            _ => panic!("not IPv4"),
        };
        let request = hash(build::ethernet(A, B).ipv4(a, b).echo_request(77, 1).finish());
        let reply = hash(build::ethernet(B, A).ipv4(b, a).echo_reply(77, 1).finish());
        assert_eq!(request, reply);
        assert_ne!(request, hash(build::ethernet(A, B).ipv4(a, b).echo_request(78, 1).finish()));
    }
}
