//! A frame taken apart once.

use crate::family::{Family, NetworkHeader, V4, V6};
use crate::hash::FlowHasher;
use crate::key::{DatagramKey, FlowKey, KeyV4, KeyV6, Zone};
use wire::arp::Arp;
use wire::ethernet::{self, Ethernet, Untagged};
use wire::icmp::{self, Icmp};
use wire::ipv4::{Ipv4, Ipv4Split};
use wire::ipv6::{Ipv6, Ipv6Split};
use wire::protocol;
use wire::tcp::Tcp;
use wire::udp::Udp;
use wire::{Fragment, Refusal};

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
    /// The keyed hash of the flow in this direction: where its session is kept.
    pub hash: u64,
    /// Length of the whole IP packet in bytes, without link-layer padding.
    pub length_bytes: u16,
    /// Its place in its datagram when it is a piece of one. An atomic fragment is whole (RFC 6946) and none.
    pub piece: Option<Fragment>,
}

impl<F: Family> Packet<'_, F> {
    /// Which datagram this is a piece of; nothing when it is whole.
    #[inline]
    pub fn datagram(&self) -> Option<DatagramKey> {
        let piece = self.piece?;
        let ends = (self.header.source(), self.header.destination());
        Some(DatagramKey::new::<F>(self.key.zone(), self.key.protocol(), ends, piece.identification))
    }
}

/// The transport header of an IP packet.
pub enum Transport<'a> {
    /// A TCP segment.
    Tcp {
        /// The fixed part of the header.
        header: Tcp<'a>,
        /// Length of the data in bytes: in a first piece, of that which it holds.
        data_bytes: u16,
    },
    /// A UDP datagram.
    Udp(Udp<'a>),
    /// An ICMP or ICMPv6 message.
    Icmp(Icmp<'a>),
    /// A later piece of a fragmented packet; its key has no ports.
    Fragment,
    /// Another protocol; its key has no ports.
    Other,
}

/// Takes `frame` apart. Refuses what is malformed, by name.
#[inline(always)]
pub fn parse<'a>(frame: &'a mut [u8], zone: Zone, hasher: &FlowHasher) -> Result<Parsed<'a>, Refusal> {
    let (ethernet, rest) = Ethernet::split(frame)?;
    match ethernet.ethertype() {
        ethernet::ETHERTYPE_IPV4 => parse_v4((ethernet, 0), rest, zone, hasher),
        ethernet::ETHERTYPE_IPV6 => parse_v6((ethernet, 0), rest, zone, hasher),
        _ => parse_tagged(ethernet, rest, zone, hasher),
    }
}

/// What the IP packet in `frame` carries: transport header, options and data. For the few packets of which more than
/// the headers is wanted once they are parsed: the options of a SYN, the whole of an ICMP message. A [`Packet`] that
/// lent them to everybody would cost everybody. Refuses what [`parse()`] refuses up to there; what is neither IPv4 nor
/// IPv6 carries nothing.
pub fn segment(frame: &mut [u8]) -> Result<&mut [u8], Refusal> {
    let (ethernet, rest) = Ethernet::split(frame)?;
    let untagged = ethernet::split_tags(ethernet.ethertype(), rest)?;
    match untagged.ethertype {
        ethernet::ETHERTYPE_IPV4 => Ok(Ipv4::split(untagged.payload)?.payload),
        ethernet::ETHERTYPE_IPV6 => Ok(Ipv6::split(untagged.payload)?.payload),
        _ => Ok(&mut []),
    }
}

/// Out of line, so that a frame without tags does not pay for the others.
#[inline(never)]
fn parse_tagged<'a>(
    ethernet: Ethernet<'a>,
    rest: &'a mut [u8],
    zone: Zone,
    hasher: &FlowHasher,
) -> Result<Parsed<'a>, Refusal> {
    let untagged = ethernet::split_tags(ethernet.ethertype(), rest)?;
    let Untagged { outer, inner, ethertype, payload } = untagged;
    // A tag with VLAN 0 says a priority and nothing else.
    let vlan = match outer.map_or(0, |tag| tag.id()) {
        0 => inner.map_or(0, |tag| tag.id()),
        id => id,
    };
    let network = match ethertype {
        ethernet::ETHERTYPE_IPV4 => return parse_v4((ethernet, vlan), payload, zone, hasher),
        ethernet::ETHERTYPE_IPV6 => return parse_v6((ethernet, vlan), payload, zone, hasher),
        ethernet::ETHERTYPE_ARP => Network::Arp(Arp::split(payload)?.0),
        other => Network::Other(other),
    };
    Ok(Parsed { ethernet, vlan, network })
}

/// The link layer's part of a frame: its header, and the VLAN of its tags.
type Link<'a> = (Ethernet<'a>, u16);

/// What is parsed is large, so each of these writes it where it is to stay; none gives a part of it to another.
#[inline(always)]
fn parse_v4<'a>(
    link: Link<'a>,
    bytes: &'a mut [u8],
    zone: Zone,
    hasher: &FlowHasher,
) -> Result<Parsed<'a>, Refusal> {
    let Ipv4Split { header, payload, .. } = Ipv4::split(bytes)?;
    if header.is_fragment() {
        return piece_v4(link, header, payload, zone, hasher);
    }
    let transport = parse_transport(header.protocol(), payload)?;
    Ok(packet_v4(link, header, transport, None, zone, hasher))
}

#[cold]
#[inline(never)]
fn piece_v4<'a>(
    link: Link<'a>,
    header: Ipv4<'a>,
    payload: &'a mut [u8],
    zone: Zone,
    hasher: &FlowHasher,
) -> Result<Parsed<'a>, Refusal> {
    let piece = header.fragment();
    let transport = parse_piece(piece, header.protocol(), payload)?;
    Ok(packet_v4(link, header, transport, piece, zone, hasher))
}

#[inline(always)]
fn packet_v4<'a>(
    (ethernet, vlan): Link<'a>,
    header: Ipv4<'a>,
    (transport, source_port, destination_port): (Transport<'a>, u16, u16),
    piece: Option<Fragment>,
    zone: Zone,
    hasher: &FlowHasher,
) -> Parsed<'a> {
    let source = (header.source(), source_port);
    let destination = (header.destination(), destination_port);
    let key = KeyV4::new(zone, header.protocol(), source, destination);
    let length_bytes = header.length_bytes();
    let packet = Packet { header, transport, hash: hasher.flow_v4(&key), key, length_bytes, piece };
    Parsed { ethernet, vlan, network: Network::V4(packet) }
}

#[inline(always)]
fn parse_v6<'a>(
    link: Link<'a>,
    bytes: &'a mut [u8],
    zone: Zone,
    hasher: &FlowHasher,
) -> Result<Parsed<'a>, Refusal> {
    let split = Ipv6::split(bytes)?;
    // An atomic fragment is whole (RFC 6946).
    if split.fragment.is_some_and(|fragment| !fragment.is_atomic()) {
        return piece_v6(link, split, zone, hasher);
    }
    let transport = parse_transport(split.protocol, split.payload)?;
    Ok(packet_v6(link, (split.header, split.protocol), transport, None, zone, hasher))
}

#[cold]
fn piece_v6<'a>(
    link: Link<'a>,
    split: Ipv6Split<'a>,
    zone: Zone,
    hasher: &FlowHasher,
) -> Result<Parsed<'a>, Refusal> {
    let transport = parse_piece(split.fragment, split.protocol, split.payload)?;
    Ok(packet_v6(link, (split.header, split.protocol), transport, split.fragment, zone, hasher))
}

#[inline(always)]
fn packet_v6<'a>(
    (ethernet, vlan): Link<'a>,
    (header, protocol): (Ipv6<'a>, u8),
    (transport, source_port, destination_port): (Transport<'a>, u16, u16),
    piece: Option<Fragment>,
    zone: Zone,
    hasher: &FlowHasher,
) -> Parsed<'a> {
    let source = (header.source(), source_port);
    let destination = (header.destination(), destination_port);
    let key = KeyV6::new(zone, protocol, source, destination);
    let length_bytes = header.length_bytes();
    let packet = Packet { header, transport, hash: hasher.flow_v6(&key), key, length_bytes, piece };
    Parsed { ethernet, vlan, network: Network::V6(packet) }
}

/// A piece of a fragmented packet. Only the first holds the transport header, and all of it: a shorter one was refused
/// (RFC 1858 section 3).
fn parse_piece(
    piece: Option<Fragment>,
    protocol: u8,
    payload: &mut [u8],
) -> Result<(Transport<'_>, u16, u16), Refusal> {
    match protocol {
        _ if piece.is_some_and(|piece| !piece.is_first()) => Ok((Transport::Fragment, 0, 0)),
        protocol::UDP => {
            let (header, _data) = Udp::split_first_piece(payload)?;
            let (source_port, destination_port) = (header.source_port(), header.destination_port());
            Ok((Transport::Udp(header), source_port, destination_port))
        }
        // No other transport header speaks of the length of the datagram.
        _ => parse_transport(protocol, payload),
    }
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
            let is_echo = match protocol {
                protocol::ICMP => icmp::v4::is_echo(header.kind()),
                _ => icmp::v6::is_echo(header.kind()),
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

    /// Cuts an IP packet's payload, the tail of an unfragmented `frame`, into pieces of 64 bytes.
    fn pieces(
        frame: &[u8],
        ip: impl Fn() -> build::IpBuilder,
        protocol: u8,
        header_bytes: usize,
    ) -> Vec<Vec<u8>> {
        let chunks: Vec<_> = frame[14 + header_bytes..].chunks(64).collect();
        let last = chunks.len() - 1;
        let piece = |(at, chunk): (usize, &&[u8])| {
            ip().identification(0xbeef).fragment(at as u16 * 64, at < last).raw(protocol, chunk)
        };
        chunks.iter().enumerate().map(piece).collect()
    }

    #[test]
    fn a_frame_says_the_vlan_of_its_outermost_tag_that_names_one() {
        let ip = |ethernet: build::EthernetBuilder| {
            ethernet.ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into()).udp(1, 2).finish()
        };
        let link = || build::ethernet(A, B);
        let (vlan, service) = (ethernet::ETHERTYPE_VLAN, ethernet::ETHERTYPE_QINQ);
        for (mut frame, id) in [
            (ip(link()), 0),
            (ip(link().tag(vlan, 0xa000)), 0),
            (ip(link().tag(vlan, 0xa000).vlan(20)), 20),
            (ip(link().tag(service, 0x7064).vlan(20)), 100),
            (link().service_vlan(9).raw(0x88cc, &[0; 46]), 9),
        ] {
            assert_eq!(parse(&mut frame, Zone(0), &hasher()).unwrap().vlan, id);
        }
    }

    #[test]
    fn a_first_piece_has_its_ports_and_later_ones_have_none() {
        let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let v4 = || build::ethernet(A, B).ipv4([198, 18, 0, 1].into(), [198, 18, 0, 2].into());
        let v6 = || build::ethernet(A, B).ipv6(source, destination);
        let data = [0; 100];
        for (whole, mut pieces, keys) in [
            (
                v4().udp(7, 8).payload(&data).finish(),
                pieces(&v4().udp(7, 8).payload(&data).finish(), v4, protocol::UDP, 20),
                ["198.18.0.1:7 > 198.18.0.2:8/17 zone 0", "198.18.0.1:0 > 198.18.0.2:0/17 zone 0"],
            ),
            (
                v4().tcp(7, 8).payload(&data).finish(),
                pieces(&v4().tcp(7, 8).payload(&data).finish(), v4, protocol::TCP, 20),
                ["198.18.0.1:7 > 198.18.0.2:8/6 zone 0", "198.18.0.1:0 > 198.18.0.2:0/6 zone 0"],
            ),
            (
                v4().echo_request(9, 1).payload(&data).finish(),
                pieces(&v4().echo_request(9, 1).payload(&data).finish(), v4, protocol::ICMP, 20),
                ["198.18.0.1:9 > 198.18.0.2:9/1 zone 0", "198.18.0.1:0 > 198.18.0.2:0/1 zone 0"],
            ),
            (
                v6().udp(7, 8).payload(&data).finish(),
                pieces(&v6().udp(7, 8).payload(&data).finish(), v6, protocol::UDP, 40),
                ["2001:db8::1:7 > 2001:db8::2:8/17 zone 0", "2001:db8::1:0 > 2001:db8::2:0/17 zone 0"],
            ),
        ] {
            let mut unbroken = whole.clone();
            assert_eq!(source_and_destination(&mut unbroken), keys[0]);
            assert_eq!(source_and_destination(&mut pieces[0]), keys[0]);
            assert_eq!(source_and_destination(&mut pieces[1]), keys[1]);
        }
    }

    #[test]
    fn a_piece_knows_its_place_and_its_datagram_and_a_whole_packet_has_neither() {
        let v4 = || build::ethernet(A, B).ipv4([198, 18, 0, 1].into(), [198, 18, 0, 2].into());
        let mut pieces = pieces(&v4().tcp(7, 8).payload(&[0; 100]).finish(), v4, protocol::TCP, 20);
        let mut datagrams = Vec::new();
        let places = [(0, 64, true), (64, 56, false)];
        for (frame, (offset_bytes, length_bytes, more)) in pieces.iter_mut().zip(places) {
            // Padding is no part of a piece.
            frame.extend([0; 9]);
            let Network::V4(packet) = parse(frame, Zone(3), &hasher()).unwrap().network else { panic!() };
            let place = Fragment { offset_bytes, length_bytes, more, identification: 0xbeef };
            assert_eq!(packet.piece, Some(place));
            if let Transport::Tcp { data_bytes, .. } = packet.transport {
                assert_eq!(data_bytes, 44, "what the piece holds");
            }
            datagrams.push(packet.datagram().unwrap());
        }
        assert_eq!(datagrams[0], datagrams[1]);
        assert_eq!(datagrams[0].0, [0, 0xc612_0001, 0, 0xc612_0002, 0x0000_beef_0603_0400]);
        let mut whole = v4().dont_fragment().tcp(7, 8).finish();
        let Network::V4(packet) = parse(&mut whole, Zone(3), &hasher()).unwrap().network else { panic!() };
        assert_eq!((packet.piece, packet.datagram()), (None, None));
    }

    #[test]
    fn pieces_of_an_ipv6_datagram_agree_though_their_next_headers_differ() {
        let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let ip =
            |at, more| build::ethernet(A, B).ipv6(source, destination).identification(5).fragment(at, more);
        let options = [protocol::UDP, 0, 1, 4, 0, 0, 0, 0];
        let udp = [0, 7, 0, 8, 0, 108, 0, 0];
        let mut frames = [
            ip(0, true).raw(protocol::DESTINATION_OPTIONS, &[options, udp].concat()),
            ip(16, false).raw(protocol::DESTINATION_OPTIONS, &[0; 100]),
        ];
        let keys = frames.each_mut().map(|frame| match parse(frame, Zone(0), &hasher()).unwrap().network {
            Network::V6(packet) => (packet.key.protocol(), packet.key.source().1, packet.datagram().unwrap()),
            _ => panic!("not IPv6"),
        });
        assert_eq!((keys[0].0, keys[0].1), (protocol::UDP, 7));
        assert_eq!((keys[1].0, keys[1].1), (protocol::DESTINATION_OPTIONS, 0));
        assert_eq!(keys[0].2, keys[1].2);
    }

    #[test]
    fn an_atomic_piece_is_a_whole_packet() {
        let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let ip = build::ethernet(A, B).ipv6(source, destination).fragment(0, false);
        let mut frame = ip.udp(7, 8).payload(&[0; 64]).finish();
        let Network::V6(packet) = parse(&mut frame, Zone(0), &hasher()).unwrap().network else { panic!() };
        assert_eq!((packet.key.source().1, packet.piece), (7, None));
    }

    #[test]
    fn the_segment_of_a_frame_is_what_its_ip_packet_carries() {
        let (a, b) = (std::net::Ipv4Addr::new(198, 18, 0, 1), std::net::Ipv4Addr::new(198, 18, 0, 2));
        let v4 = build::ethernet(A, B).vlan(7).ipv4(a, b).options(&[0x94, 4, 0, 0]);
        let (a, b) = (a.to_ipv6_mapped(), b.to_ipv6_mapped());
        let v6 = build::ethernet(A, B).ipv6(a, b).extension(protocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0]);
        for ip in [v4, v6] {
            let mut frame =
                ip.tcp(7, 8).flags(TcpFlags::SYN).options(&[2, 4, 5, 180]).payload(b"hello").finish();
            frame.extend([0xee; 9]);
            let (_, options, data) = Tcp::split(segment(&mut frame).unwrap()).unwrap();
            assert_eq!((&*options, &*data), (&[2, 4, 5, 180][..], &b"hello"[..]));
        }
        let mut arp = build::ethernet(A, B).raw(ethernet::ETHERTYPE_ARP, &[0; 46]);
        assert_eq!(segment(&mut arp), Ok(&mut [][..]));
    }

    #[test]
    fn an_echo_is_keyed_by_its_identifier_both_ways() {
        let (a, b) = ([198, 18, 0, 1].into(), [198, 18, 0, 2].into());
        let key = |mut frame: Vec<u8>| match parse(&mut frame, Zone(0), &hasher()).unwrap().network {
            Network::V4(packet) => packet.key,
            _ => panic!("not IPv4"),
        };
        let request = key(build::ethernet(A, B).ipv4(a, b).echo_request(77, 1).finish());
        let reply = key(build::ethernet(B, A).ipv4(b, a).echo_reply(77, 1).finish());
        assert_eq!(request, reply.swapped());
        assert_ne!(request, key(build::ethernet(A, B).ipv4(a, b).echo_request(78, 1).finish()));
    }
}
