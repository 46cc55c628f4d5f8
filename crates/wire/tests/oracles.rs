//! The same frames read by two parsers that nobody here wrote.
#![allow(clippy::unwrap_used, reason = "a test may")]

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pnet::packet::{
    Packet, ethernet::EthernetPacket, icmp, icmpv6, ip::IpNextHeaderProtocol, ipv4, ipv6, tcp, udp,
};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::checksum::{Pseudo, transport_checksum};
use wire::ethernet::{Ethernet, split_tags};
use wire::tcp::TcpFlags;
use wire::{Mac, build, ipv4::Ipv4, ipv6::Ipv6, protocol};

/// What a transport header is made of.
#[derive(Clone, Debug)]
struct Transport {
    kind: u8,
    ports: (u16, u16),
    numbers: (u32, u32),
    flags: u8,
    options: Vec<u8>,
    data: Vec<u8>,
}

fn transports() -> impl Strategy<Value = Transport> {
    let kind = prop::sample::select(vec![protocol::TCP, protocol::UDP, protocol::ICMP]);
    let options = prop::collection::vec(1u8..2, 0..40);
    let data = prop::collection::vec(any::<u8>(), 0..64);
    (kind, any::<(u16, u16)>(), any::<(u32, u32)>(), any::<u8>(), options, data).prop_map(
        |(kind, ports, numbers, flags, options, data)| Transport {
            kind,
            ports,
            numbers,
            flags,
            options,
            data,
        },
    )
}

fn finish(ip: build::IpBuilder, transport: &Transport) -> Vec<u8> {
    let Transport { kind, ports, numbers, flags, options, data } = transport;
    match *kind {
        protocol::TCP => ip
            .tcp(ports.0, ports.1)
            .flags(TcpFlags(*flags))
            .sequence(numbers.0)
            .acknowledgement(numbers.1)
            .window(numbers.0 as u16)
            .options(options)
            .payload(data)
            .finish(),
        protocol::UDP => ip.udp(ports.0, ports.1).payload(data).finish(),
        _ => ip.echo_request(ports.0, ports.1).payload(data).finish(),
    }
}

/// Reads `frame` with etherparse and holds our views of its transport header against it.
fn same_transport_as_etherparse(sliced: &SlicedPacket<'_>, kind: u8, payload: &mut [u8]) {
    match sliced.transport.as_ref().unwrap() {
        TransportSlice::Tcp(theirs) => {
            let (ours, options, data) = wire::tcp::Tcp::split(payload).unwrap();
            assert_eq!(kind, protocol::TCP);
            assert_eq!(
                (ours.source_port(), ours.destination_port()),
                (theirs.source_port(), theirs.destination_port())
            );
            assert_eq!(ours.sequence(), theirs.sequence_number());
            assert_eq!(ours.acknowledgement(), theirs.acknowledgment_number());
            assert_eq!(ours.data_offset_bytes(), usize::from(theirs.data_offset()) * 4);
            assert_eq!(
                (ours.window(), ours.urgent_pointer()),
                (theirs.window_size(), theirs.urgent_pointer())
            );
            assert_eq!(ours.checksum().to_bits(), theirs.checksum());
            for (flag, set) in [
                (TcpFlags::FIN, theirs.fin()),
                (TcpFlags::SYN, theirs.syn()),
                (TcpFlags::RST, theirs.rst()),
                (TcpFlags::PSH, theirs.psh()),
                (TcpFlags::ACK, theirs.ack()),
                (TcpFlags::URG, theirs.urg()),
                (TcpFlags::ECE, theirs.ece()),
                (TcpFlags::CWR, theirs.cwr()),
            ] {
                assert_eq!(ours.flags().contains(flag), set, "{flag:?}");
            }
            assert_eq!((&*options, &*data), (theirs.options(), theirs.payload()));
        }
        TransportSlice::Udp(theirs) => {
            let (ours, data) = wire::udp::Udp::split(payload).unwrap();
            assert_eq!(kind, protocol::UDP);
            assert_eq!(
                (ours.source_port(), ours.destination_port()),
                (theirs.source_port(), theirs.destination_port())
            );
            assert_eq!((ours.length(), ours.checksum().to_bits()), (theirs.length(), theirs.checksum()));
            assert_eq!(&*data, theirs.payload());
        }
        TransportSlice::Icmpv4(theirs) => {
            let (ours, data) = wire::icmp::Icmp::split(payload).unwrap();
            assert_eq!((ours.kind(), ours.code()), (theirs.type_u8(), theirs.code_u8()));
            assert_eq!((ours.checksum().to_bits(), &*data), (theirs.checksum(), theirs.payload()));
        }
        TransportSlice::Icmpv6(theirs) => {
            let (ours, data) = wire::icmp::Icmp::split(payload).unwrap();
            assert_eq!((ours.kind(), ours.code()), (theirs.type_u8(), theirs.code_u8()));
            assert_eq!((ours.checksum().to_bits(), &*data), (theirs.checksum(), theirs.payload()));
        }
        TransportSlice::Igmp(_) => panic!("nobody built IGMP"),
    }
}

/// The checksum that pnet computes for a transport segment.
fn pnet_checksum(pseudo: Pseudo, kind: u8, segment: &[u8]) -> u16 {
    match (pseudo, kind) {
        (Pseudo::V4 { source, destination }, protocol::TCP) => {
            tcp::ipv4_checksum(&tcp::TcpPacket::new(segment).unwrap(), &source, &destination)
        }
        (Pseudo::V6 { source, destination }, protocol::TCP) => {
            tcp::ipv6_checksum(&tcp::TcpPacket::new(segment).unwrap(), &source, &destination)
        }
        (Pseudo::V4 { source, destination }, protocol::UDP) => {
            udp::ipv4_checksum(&udp::UdpPacket::new(segment).unwrap(), &source, &destination)
        }
        (Pseudo::V6 { source, destination }, protocol::UDP) => {
            udp::ipv6_checksum(&udp::UdpPacket::new(segment).unwrap(), &source, &destination)
        }
        (Pseudo::V6 { source, destination }, _) => {
            icmpv6::checksum(&icmpv6::Icmpv6Packet::new(segment).unwrap(), &source, &destination)
        }
        _ => icmp::checksum(&icmp::IcmpPacket::new(segment).unwrap()),
    }
}

fn same_checksum_as_pnet(pseudo: Pseudo, kind: u8, segment: &[u8]) {
    let ours = transport_checksum(pseudo, kind, segment).unwrap().to_bits();
    let theirs = pnet_checksum(pseudo, kind, segment);
    let theirs = if kind == protocol::UDP && theirs == 0 { 0xffff } else { theirs };
    assert_eq!(ours, theirs);
}

proptest! {
    #[test]
    fn ipv4_frames(
        macs: ([u8; 6], [u8; 6]), vlan in prop::option::of(1u16..4095),
        addresses: (u32, u32), ttl: u8, class: u8,
        identification: u16, dont_fragment: bool, options in prop::collection::vec(1u8..2, 0..40),
        transport in transports(),
    ) {
        let (source, destination) = (Ipv4Addr::from_bits(addresses.0), Ipv4Addr::from_bits(addresses.1));
        let mut link = build::ethernet(Mac(macs.0), Mac(macs.1));
        if let Some(id) = vlan {
            link = link.vlan(id);
        }
        let mut ip = link.ipv4(source, destination).ttl(ttl).traffic_class(class).options(&options);
        ip = ip.identification(identification.into());
        if dont_fragment {
            ip = ip.dont_fragment();
        }
        let frame = build::padded(finish(ip, &transport));
        let mut copy = frame.clone();
        let (ethernet, rest) = Ethernet::split(&mut copy).unwrap();
        let pnet = EthernetPacket::new(&frame).unwrap();
        prop_assert_eq!(ethernet.source().0, pnet.get_source().octets());
        prop_assert_eq!(ethernet.destination().0, pnet.get_destination().octets());
        prop_assert_eq!(ethernet.ethertype(), pnet.get_ethertype().0);
        let untagged = split_tags(ethernet.ethertype(), rest).unwrap();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let their_vlan = sliced.vlan_ids().first().map(|id| id.value());
        prop_assert_eq!(untagged.outer.map(|tag| tag.id()), their_vlan);

        let pnet = ipv4::Ipv4Packet::new(&frame[if vlan.is_some() { 18 } else { 14 }..]).unwrap();
        let ours = Ipv4::split(untagged.payload).unwrap();
        let Some(NetSlice::Ipv4(theirs)) = &sliced.net else { panic!("not IPv4") };
        let theirs = theirs.header();
        let ip = &ours.header;
        prop_assert_eq!((ip.source(), ip.destination()), (theirs.source_addr(), theirs.destination_addr()));
        prop_assert_eq!((ip.source(), ip.destination()), (pnet.get_source(), pnet.get_destination()));
        prop_assert_eq!(ip.dscp() << 2 | ip.ecn(), class);
        prop_assert_eq!((ip.dscp(), ip.ecn()), (theirs.dcp().value(), theirs.ecn().value()));
        prop_assert_eq!((ip.ttl(), ip.protocol()), (theirs.ttl(), theirs.protocol().0));
        prop_assert_eq!(ip.total_length(), theirs.total_len());
        prop_assert_eq!(ip.identification(), theirs.identification());
        prop_assert_eq!(ip.dont_fragment(), theirs.dont_fragment());
        prop_assert_eq!(ip.more_fragments(), theirs.more_fragments());
        prop_assert_eq!(ip.header_length(), usize::from(pnet.get_header_length()) * 4);
        prop_assert_eq!(ip.checksum().to_bits(), ipv4::checksum(&pnet));
        prop_assert_eq!(&*ours.options, theirs.options());
        let pseudo = Pseudo::V4 { source, destination };
        same_checksum_as_pnet(pseudo, transport.kind, ours.payload);
        same_transport_as_etherparse(&sliced, transport.kind, ours.payload);
    }

    #[test]
    fn ipv6_frames(
        addresses: (u128, u128), limit: u8, class: u8, label in 0u32..1 << 20, hop_by_hop: bool, atomic: bool,
        transport in transports(),
    ) {
        let (source, destination) = (Ipv6Addr::from_bits(addresses.0), Ipv6Addr::from_bits(addresses.1));
        let mut ip = build::ethernet(Mac::ZERO, Mac::ZERO).ipv6(source, destination);
        ip = ip.ttl(limit).traffic_class(class).flow_label(label);
        if hop_by_hop {
            ip = ip.extension(protocol::HOP_BY_HOP, &[1, 4]);
            ip = ip.extension(protocol::DESTINATION_OPTIONS, &[1, 12]);
        }
        if atomic {
            ip = ip.fragment(0, false);
        }
        let frame = finish(ip, &transport);
        let mut copy = frame.clone();
        let ours = Ipv6::split(&mut copy[14..]).unwrap();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(NetSlice::Ipv6(theirs)) = &sliced.net else { panic!("not IPv6") };
        let pnet = ipv6::Ipv6Packet::new(&frame[14..]).unwrap();
        let ip = &ours.header;
        prop_assert_eq!(ip.source(), theirs.header().source_addr());
        prop_assert_eq!((ip.source(), ip.destination()), (pnet.get_source(), pnet.get_destination()));
        prop_assert_eq!(ip.hop_limit(), pnet.get_hop_limit());
        prop_assert_eq!(ip.traffic_class(), theirs.header().traffic_class());
        prop_assert_eq!(ip.flow_label(), pnet.get_flow_label());
        prop_assert_eq!(IpNextHeaderProtocol(ip.next_header()), pnet.get_next_header());
        prop_assert_eq!(ip.payload_length(), theirs.header().payload_length());
        prop_assert_eq!(usize::from(ip.payload_length()), pnet.payload().len());
        prop_assert_eq!(&*ours.extensions, theirs.extensions().slice());
        prop_assert_eq!(&*ours.payload, theirs.payload().payload);
        prop_assert_eq!(ours.protocol, theirs.payload().ip_number.0);
        prop_assert_eq!(ours.fragment.is_some_and(|fragment| fragment.is_atomic()), atomic);
        same_checksum_as_pnet(Pseudo::V6 { source, destination }, ours.protocol, ours.payload);
        same_transport_as_etherparse(&sliced, ours.protocol, ours.payload);
    }
}
