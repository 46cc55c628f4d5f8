//! One literal packet per header, taken apart and put together.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[allow(dead_code, reason = "one module for all tests, of which each uses a part")]
mod walk;

use std::net::{Ipv4Addr, Ipv6Addr};

use walk::hex;
use wire::arp::{Arp, OP_REPLY, OP_REQUEST};
use wire::checksum::{Checksum, ChecksumDelta, Pseudo, transport_checksum};
use wire::ethernet::*;
use wire::icmp::{self, Icmp};
use wire::ipv4::{Ipv4, Ipv4Split};
use wire::ipv6::{Ipv6, Ipv6Split};
use wire::nd::{self, AdvertisementFlags, Neighbour};
use wire::tcp::{Tcp, TcpFlags};
use wire::udp::{self, Udp};
use wire::{Fragment, Mac, build, protocol};

const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn ethernet_with_two_tags() {
    let mut frame = hex("02000000000b 02000000000a 88a8 a064 8100 6014 0800 4500");
    let (mut ethernet, rest) = Ethernet::split(&mut frame).unwrap();
    assert_eq!((ethernet.source(), ethernet.destination()), (A, B));
    assert_eq!(ethernet.ethertype(), ETHERTYPE_QINQ);
    let Untagged { outer, inner, ethertype, payload } = split_tags(ethernet.ethertype(), rest).unwrap();
    let (mut outer, mut inner) = (outer.unwrap(), inner.unwrap());
    assert_eq!((outer.id(), outer.priority(), outer.ethertype()), (100, 5, ETHERTYPE_VLAN));
    assert_eq!((inner.id(), inner.priority(), inner.ethertype()), (20, 3, ETHERTYPE_IPV4));
    assert_eq!((ethertype, &payload[..]), (ETHERTYPE_IPV4, &[0x45, 0][..]));
    ethernet.swap();
    ethernet.set_ethertype(ETHERTYPE_VLAN);
    outer.set_id(0xf001);
    assert_eq!((outer.id(), outer.priority()), (1, 5));
    outer.set_id(0xffff);
    outer.set_priority(1);
    inner.set_priority(0);
    inner.set_ethertype(ETHERTYPE_IPV6);
    assert_eq!(frame, hex("02000000000a 02000000000b 8100 2fff 8100 0014 86dd 4500"));
}

#[test]
fn one_tag_or_none() {
    let mut payload = hex("0014 0806 ff");
    let one = split_tags(ETHERTYPE_VLAN, &mut payload).unwrap();
    assert_eq!((one.outer.unwrap().id(), one.inner, one.ethertype, one.payload.len()), (20, None, 0x0806, 1));
    let none = split_tags(ETHERTYPE_ARP, &mut payload).unwrap();
    assert_eq!((none.outer, none.inner, none.ethertype, none.payload.len()), (None, None, 0x0806, 5));
}

#[test]
fn arp_request_becomes_its_reply() {
    let mut frame = build::arp_request(A, v4("198.18.0.1"), v4("198.18.0.10"));
    assert_eq!(
        frame,
        hex(
            "ffffffffffff 02000000000a 0806 0001 0800 06 04 0001 02000000000a c6120001 000000000000 c612000a"
        )
    );
    let (_, rest) = Ethernet::split(&mut frame).unwrap();
    let (mut arp, padding) = Arp::split(rest).unwrap();
    assert!(padding.is_empty());
    assert_eq!((arp.operation(), arp.sender_mac(), arp.target_mac()), (OP_REQUEST, A, Mac::ZERO));
    let (asker, wanted) = (arp.sender_address(), arp.target_address());
    assert_eq!((asker, wanted), (v4("198.18.0.1"), v4("198.18.0.10")));
    arp.set_operation(OP_REPLY);
    arp.set_target_mac(A);
    arp.set_target_address(asker);
    arp.set_sender_mac(B);
    arp.set_sender_address(wanted);
    let reply = build::arp_reply(B, wanted, A, asker);
    assert_eq!(arp.bytes()[..], reply[LENGTH..]);
}

#[test]
fn gratuitous_arp_names_one_address_twice() {
    let mut frame = build::padded(build::gratuitous_arp(A, v4("198.18.0.10")));
    assert_eq!(frame.len(), 60);
    let (ethernet, rest) = Ethernet::split(&mut frame).unwrap();
    let (arp, padding) = Arp::split(rest).unwrap();
    assert!(ethernet.destination().is_broadcast());
    assert_eq!(ethernet.source(), arp.sender_mac());
    assert_eq!((arp.operation(), arp.sender_address()), (OP_REQUEST, arp.target_address()));
    assert_eq!(padding.len(), 60 - 14 - 28);
}

/// The header that RFC 1071's explanations are usually done with, given options and padding.
#[test]
fn ipv4_with_options_and_padding() {
    let mut bytes = hex("46 2d 0020 1234 4000 40 11 0000 c6120001 c612000a 94040000 0102030405060708 000000");
    let checksum = Ipv4::over(bytes.first_chunk_mut().unwrap()).compute_checksum(&[0x94, 4, 0, 0]);
    Ipv4::over(bytes.first_chunk_mut().unwrap()).set_checksum(checksum);
    let Ipv4Split { header: mut ip, options, payload } = Ipv4::split(&mut bytes).unwrap();
    assert_eq!((ip.header_length(), ip.total_length()), (24, 32));
    assert_eq!((ip.dscp(), ip.ecn(), ip.identification()), (11, 1, 0x1234));
    assert!(ip.dont_fragment() && !ip.more_fragments() && !ip.is_fragment());
    assert_eq!((ip.fragment(), ip.fragment_offset_bytes()), (None, 0));
    assert_eq!((ip.ttl(), ip.protocol()), (64, protocol::UDP));
    assert_eq!((ip.source(), ip.destination()), (v4("198.18.0.1"), v4("198.18.0.10")));
    assert_eq!(options, [0x94, 4, 0, 0]);
    assert_eq!(payload, [1, 2, 3, 4, 5, 6, 7, 8], "padding is cut off");

    ip.set_ttl(63);
    ip.set_destination(v4("198.18.1.11"));
    let change = ChecksumDelta::between_ipv4(v4("198.18.0.10"), v4("198.18.1.11"));
    ip.update_checksum(change.plus(ChecksumDelta::TTL_DECREMENT));
    assert_eq!(ip.checksum(), ip.compute_checksum(options));
    ip.set_source(v4("198.19.0.1"));
    ip.set_dscp(46);
    ip.set_ecn(2);
    ip.set_identification(0xbeef);
    ip.set_dont_fragment(false);
    ip.set_fragment(1480, true);
    ip.set_protocol(protocol::TCP);
    ip.set_total_length(33);
    let place = Fragment { offset_bytes: 1480, length_bytes: 9, more: true, identification: 0xbeef };
    assert_eq!(ip.fragment(), Some(place));
    assert_eq!((ip.dscp(), ip.ecn(), ip.dont_fragment()), (46, 2, false));
    ip.set_dont_fragment(true);
    ip.set_fragment(1480, true);
    assert!(ip.dont_fragment());
    assert_eq!((ip.fragment_offset_bytes(), ip.more_fragments()), (1480, true), "flags keep each other");
    ip.set_checksum(Checksum::from_bits(0xabcd));
    assert_eq!(bytes[..24], hex("46 ba 0021 beef 60b9 3f 06 abcd c6130001 c612010b 94040000"));
}

#[test]
fn ipv6_with_every_extension() {
    let frame = build::ethernet(A, B)
        .ipv6(v6("2001:db8::1"), v6("2001:db8::a"))
        .traffic_class(0xb9)
        .flow_label(0x1_2345)
        .ttl(7)
        .extension(protocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
        .extension(protocol::ROUTING, &[4, 0, 0, 0, 0, 0])
        .extension(protocol::DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0, 1, 6])
        .extension(protocol::AUTHENTICATION, &[0; 14])
        .identification(0xdead_beef)
        .fragment(0, false)
        .udp(53, 5353)
        .payload(b"abc")
        .finish();
    let mut bytes = build::padded(frame).split_off(LENGTH);
    bytes.extend([0; 9]);
    assert_eq!(bytes[..8], hex("6b912345 0043 00 07"));
    let Ipv6Split { header: mut ip, extensions, payload, protocol, fragment } =
        Ipv6::split(&mut bytes).unwrap();
    assert_eq!((ip.traffic_class(), ip.flow_label(), ip.hop_limit()), (0xb9, 0x1_2345, 7));
    assert_eq!((ip.payload_length(), ip.next_header()), (67, protocol::HOP_BY_HOP));
    assert_eq!((ip.source(), ip.destination()), (v6("2001:db8::1"), v6("2001:db8::a")));
    assert_eq!((extensions.len(), payload.len(), protocol), (8 + 8 + 16 + 16 + 8, 11, protocol::UDP));
    let fragment = fragment.unwrap();
    assert_eq!(
        fragment,
        Fragment { offset_bytes: 0, length_bytes: 11, more: false, identification: 0xdead_beef }
    );
    assert!(fragment.is_atomic() && fragment.is_first());

    ip.set_traffic_class(0x12);
    ip.set_flow_label(0xfff0_0001);
    ip.set_payload_length(77);
    ip.set_next_header(6);
    ip.set_hop_limit(200);
    ip.set_source(v6("2001:db8::2"));
    ip.set_destination(v6("2001:db8::b"));
    assert_eq!(
        bytes[..40],
        hex("61200001 004d 06 c8 20010db8000000000000000000000002 20010db800000000000000000000000b")
    );
}

#[test]
fn a_tag_is_put_in_front_changed_and_taken_off_again() {
    // A payload that no parser looks into.
    const LLDP: u16 = 0x88cc;
    let service = Tag { ethertype: ETHERTYPE_QINQ, control: 0x7064 };
    let link = || build::ethernet(A, B);
    let payload = [0x45; 46];
    for (inside, frame) in [
        (link().raw(LLDP, &payload), link().tag(ETHERTYPE_QINQ, 0x7064).raw(LLDP, &payload)),
        (
            link().vlan(20).raw(LLDP, &payload),
            link().tag(ETHERTYPE_QINQ, 0x7064).vlan(20).raw(LLDP, &payload),
        ),
    ] {
        let mut bytes = [&[0xee; Tag::LENGTH], &inside[..]].concat();
        insert_tag(bytes.first_chunk_mut().unwrap(), service);
        assert_eq!(bytes, frame);
        replace_tag(
            bytes.first_chunk_mut().unwrap(),
            Tag { ethertype: ETHERTYPE_VLAN, ..service }.with_id(0xf123),
        );
        let changed = bytes.clone();
        let theirs = etherparse::SlicedPacket::from_ethernet(&changed).unwrap();
        let outer = theirs.vlan().unwrap();
        let outer = match &outer {
            etherparse::VlanSlice::SingleVlan(tag) => tag.clone(),
            etherparse::VlanSlice::DoubleVlan(tags) => tags.outer.clone(),
        };
        assert_eq!((outer.priority_code_point().value(), outer.drop_eligible_indicator()), (3, true));
        assert_eq!(outer.vlan_identifier().value(), 0x123);
        assert_eq!(bytes[12..14], [0x81, 0x00]);
        strip_tag(bytes.first_chunk_mut().unwrap());
        assert_eq!(bytes[Tag::LENGTH..], inside);
    }
}

#[test]
fn a_tag_says_priority_eligibility_and_vlan_as_its_header_does() {
    for mut frame in [
        build::ethernet(A, B).tag(ETHERTYPE_QINQ, 0xb123).raw(ETHERTYPE_IPV4, &[]),
        build::ethernet(A, B).tag(ETHERTYPE_QINQ, 0xb123).vlan(7).raw(ETHERTYPE_IPV4, &[]),
    ] {
        let (ethernet, rest) = Ethernet::split(&mut frame).unwrap();
        let untagged = split_tags(ethernet.ethertype(), rest).unwrap();
        let header = untagged.outer.unwrap();
        let tag = Tag { ethertype: ethernet.ethertype(), control: header.control() };
        assert_eq!((tag.id(), tag.priority()), (header.id(), header.priority()));
        assert_eq!((tag.id(), tag.priority(), tag.is_drop_eligible()), (0x123, 5, true));
    }
}

#[test]
fn a_later_ipv6_fragment_is_not_read_past_its_fragment_header() {
    let mut frame = build::ethernet(A, B)
        .ipv6(v6("2001:db8::1"), v6("2001:db8::a"))
        .fragment(1448, true)
        .raw(protocol::DESTINATION_OPTIONS, &[0xff; 16]);
    let ip = Ipv6::split(&mut frame[LENGTH..]).unwrap();
    assert_eq!((ip.extensions.len(), ip.payload.len(), ip.protocol), (8, 16, protocol::DESTINATION_OPTIONS));
    let fragment = ip.fragment.unwrap();
    assert_eq!((fragment.offset_bytes, fragment.length_bytes, fragment.more), (1448, 16, true));
    assert!(!fragment.is_first());
}

/// The offsets of later pieces count from behind the fragment header, so that is where a first piece's length
/// begins, whatever headers follow.
#[test]
fn a_first_ipv6_fragment_counts_the_headers_behind_its_fragment_header() {
    let options = [protocol::UDP, 0, 1, 4, 0, 0, 0, 0];
    let mut frame = build::ethernet(A, B)
        .ipv6(v6("2001:db8::1"), v6("2001:db8::a"))
        .fragment(0, true)
        .raw(protocol::DESTINATION_OPTIONS, &[options, [0; 8]].concat());
    let ip = Ipv6::split(&mut frame[LENGTH..]).unwrap();
    assert_eq!((ip.extensions.len(), ip.payload.len(), ip.protocol), (16, 8, protocol::UDP));
    assert_eq!(ip.fragment.unwrap().length_bytes, 16);
}

#[test]
fn tcp_with_options() {
    let mut bytes = hex("9c40 0050 01020304 0a0b0c0d 60 12 faf0 1234 0005 020405b4 6869");
    let (mut tcp, options, data) = Tcp::split(&mut bytes).unwrap();
    assert_eq!((tcp.source_port(), tcp.destination_port()), (40_000, 80));
    assert_eq!((tcp.sequence(), tcp.acknowledgement()), (0x0102_0304, 0x0a0b_0c0d));
    assert_eq!((tcp.data_offset_bytes(), tcp.window()), (24, 64_240));
    assert_eq!(tcp.flags(), TcpFlags::SYN | TcpFlags::ACK);
    assert!(tcp.flags().contains(TcpFlags::SYN) && !tcp.flags().contains(TcpFlags::SYN | TcpFlags::FIN));
    assert!(tcp.flags().intersects(TcpFlags::SYN | TcpFlags::FIN));
    assert_eq!(
        (format!("{:?}", tcp.flags()), format!("{:?}", TcpFlags::NONE)),
        ("SYN|ACK".into(), "-".into())
    );
    assert_eq!((tcp.checksum().to_bits(), tcp.urgent_pointer()), (0x1234, 5));
    assert_eq!((&options[..], &data[..]), (&[2, 4, 5, 0xb4][..], &b"hi"[..]));

    tcp.set_source_port(1);
    tcp.set_destination_port(2);
    tcp.set_sequence(3);
    tcp.set_acknowledgement(4);
    tcp.set_data_offset_bytes(20);
    tcp.set_flags(TcpFlags::RST);
    tcp.set_window(5);
    tcp.set_checksum(Checksum::from_bits(6));
    tcp.set_urgent_pointer(7);
    assert_eq!(bytes[..20], hex("0001 0002 00000003 00000004 50 04 0005 0006 0007"));
}

#[test]
fn udp_data_ends_where_its_length_says() {
    let mut bytes = hex("0035 14e9 000b 0000 616263 7f7f");
    let (mut udp, data) = Udp::split(&mut bytes).unwrap();
    assert_eq!((udp.source_port(), udp.destination_port(), udp.length()), (53, 5353, 11));
    assert_eq!((udp.checksum(), &data[..]), (udp::NO_CHECKSUM, &b"abc"[..]));
    udp.update_checksum(ChecksumDelta::between16(53, 54));
    assert_eq!(udp.checksum(), udp::NO_CHECKSUM, "none stays none");
    udp.set_checksum(Checksum::from_bits(0xffff));
    udp.update_checksum(ChecksumDelta::between16(53, 53));
    assert_eq!(udp.checksum().to_bits(), 0xffff, "zero goes out as its twin");
    udp.set_source_port(1);
    udp.set_destination_port(2);
    udp.set_length(8);
    assert_eq!(bytes[..8], hex("0001 0002 0008 ffff"));
}

#[test]
fn echo_request_becomes_its_reply() {
    let mut frame = build::ethernet(A, B)
        .ipv4(v4("198.18.0.1"), v4("198.18.0.10"))
        .echo_request(0x1234, 7)
        .payload(b"ping")
        .finish();
    let ip = Ipv4::split(&mut frame[LENGTH..]).unwrap();
    let (mut echo, data) = Icmp::split(ip.payload).unwrap();
    assert_eq!((echo.kind(), echo.code(), data.len()), (icmp::v4::ECHO_REQUEST, 0, 4));
    assert_eq!((echo.identifier(), echo.sequence(), echo.rest()), (0x1234, 7, [0x12, 0x34, 0, 7]));
    echo.set_kind(icmp::v4::ECHO_REPLY);
    echo.update_checksum(ChecksumDelta::between16(0x0800, 0));
    let reply = build::ethernet(A, B)
        .ipv4(v4("198.18.0.1"), v4("198.18.0.10"))
        .echo_reply(0x1234, 7)
        .payload(b"ping")
        .finish();
    assert_eq!(frame, reply);
}

#[test]
fn icmp_fields() {
    let mut bytes = [0; 8];
    let mut icmp = Icmp::over(&mut bytes);
    icmp.set_kind(icmp::v6::PACKET_TOO_BIG);
    icmp.set_code(1);
    icmp.set_mtu(1280);
    icmp.set_checksum(Checksum::from_bits(0xabcd));
    assert_eq!((icmp.mtu(), icmp.rest(), icmp.checksum().to_bits()), (1280, [0, 0, 5, 0], 0xabcd));
    icmp.set_identifier(0x0102);
    icmp.set_sequence(0x0304);
    assert_eq!(bytes, [2, 1, 0xab, 0xcd, 1, 2, 3, 4]);
    Icmp::over(&mut bytes).set_rest([9, 8, 7, 6]);
    assert_eq!(bytes[4..], [9, 8, 7, 6]);
    assert!(icmp::v4::is_error(icmp::v4::UNREACHABLE) && !icmp::v4::is_error(icmp::v4::ECHO_REPLY));
    assert!(icmp::v6::is_error(icmp::v6::TIME_EXCEEDED) && !icmp::v6::is_error(icmp::v6::ECHO_REQUEST));
}

#[test]
fn an_icmp_error_quotes_what_there_is_room_for() {
    let long = vec![7; 3000];
    let (source, destination) = (v4("198.18.0.1"), v4("198.18.0.2"));
    let error = build::ethernet(A, B).ipv4(source, destination).icmp_error(3, 4, [0, 0, 5, 0], &long);
    assert_eq!(error.len(), LENGTH + 576);
    let (source, destination) = (v6("2001:db8::1"), v6("2001:db8::2"));
    let error = build::ethernet(A, B).ipv6(source, destination).icmp_error(2, 0, [0, 0, 5, 0], &long);
    assert_eq!(error.len(), LENGTH + 1280);
    let error = build::ethernet(A, B).ipv6(source, destination).icmp_error(2, 0, [0, 0, 5, 0], &long[..9]);
    assert_eq!(error.len(), LENGTH + 40 + 8 + 9);
}

#[test]
fn neighbour_discovery() {
    let (asker, target) = (v6("2001:db8::1"), v6("2001:db8::28:9c5a"));
    let mut frame = build::neighbour_solicitation(A, asker, target);
    let (ethernet, rest) = Ethernet::split(&mut frame).unwrap();
    assert_eq!(ethernet.destination(), Mac([0x33, 0x33, 0xff, 0x28, 0x9c, 0x5a]));
    let ip = Ipv6::split(rest).unwrap();
    assert_eq!(ip.header.destination(), v6("ff02::1:ff28:9c5a"));
    assert_eq!(ip.header.hop_limit(), nd::HOP_LIMIT);
    assert!(nd::is_solicited_node(ip.header.destination()) && !nd::is_solicited_node(v6("ff02::1")));
    let parsed = nd::parse(ip.payload, asker, ip.header.destination(), 255);
    assert_eq!(parsed, Ok(Neighbour::Solicitation { target, source_mac: Some(A) }));

    let mut frame = build::unsolicited_advertisement(B, target);
    let expected =
        hex("333300000001 02000000000b 86dd 60000000 0020 3a ff 20010db8000000000000000000289c5a \
        ff020000000000000000000000000001 8800 c01d 20000000 20010db8000000000000000000289c5a \
        0201 02000000000b");
    assert_eq!(frame, expected);
    let ip = Ipv6::split(&mut frame[LENGTH..]).unwrap();
    let flags = AdvertisementFlags { overrides: true, ..Default::default() };
    let parsed = nd::parse(ip.payload, target, v6("ff02::1"), 255);
    assert_eq!(parsed, Ok(Neighbour::Advertisement { target, target_mac: Some(B), flags }));
}

#[test]
fn duplicate_address_detection_names_no_mac() {
    let (target, group) = (v6("2001:db8::5"), v6("ff02::1:ff00:5"));
    let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat();
    let pseudo = Pseudo::V6 { source: Ipv6Addr::UNSPECIFIED, destination: group };
    let checksum = transport_checksum(pseudo, protocol::ICMPV6, &message).unwrap();
    message[2..4].copy_from_slice(&checksum.to_bits().to_be_bytes());
    let parsed = nd::parse(&message, Ipv6Addr::UNSPECIFIED, group, 255);
    assert_eq!(parsed, Ok(Neighbour::Solicitation { target, source_mac: None }));
}
