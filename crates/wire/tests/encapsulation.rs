//! Encapsulated packets, read by two parsers that nobody here wrote.
#![allow(clippy::unwrap_used, reason = "a test may")]

use etherparse::{IpNumber, Ipv4Slice, Ipv6Slice, UdpSlice};
use pnet::packet::{ipv4, ipv6, udp};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::check::frame_checksums;
use wire::checksum::ChecksumDelta;
use wire::encapsulation::*;
use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::{Mac, build, protocol};

const PORTS: Ports = Ports { source: 50_123, gue: 6080 };

fn ethernet() -> build::EthernetBuilder {
    build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
}

/// An IP packet of either version and what an outer header takes from it.
fn inner() -> impl Strategy<Value = (Vec<u8>, Inner)> {
    let data = prop::collection::vec(any::<u8>(), 0..200);
    (any::<bool>(), any::<bool>(), any::<u8>(), data).prop_map(|(is_v4, dont_fragment, class, data)| {
        if is_v4 {
            let ip = ethernet().ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into()).traffic_class(class);
            let ip = if dont_fragment { ip.dont_fragment() } else { ip };
            let mut packet = ip.udp(1, 2).payload(&data).finish().split_off(14);
            let inner = Inner::of_ipv4(&Ipv4::split(&mut packet).unwrap().header);
            assert_eq!((inner.traffic_class, inner.dont_fragment), (class, dont_fragment));
            (packet, inner)
        } else {
            let (a, b) = ("2001:db8::1".parse().unwrap(), "2001:db8::10".parse().unwrap());
            let ip = ethernet().ipv6(a, b).traffic_class(class);
            let mut packet = ip.udp(1, 2).payload(&data).finish().split_off(14);
            let inner = Inner::of_ipv6(&Ipv6::split(&mut packet).unwrap().header);
            assert_eq!((inner.traffic_class, inner.dont_fragment), (class, true));
            (packet, inner)
        }
    })
}

/// Holds the outer IPv4 header of `bytes` against both parsers.
fn outer_ipv4(bytes: &[u8], inner: Inner, ends: EndsV4, identification: u16, number: u8) {
    let theirs = Ipv4Slice::from_slice(bytes).unwrap();
    let header = theirs.header();
    assert_eq!((header.source_addr(), header.destination_addr()), (ends.source, ends.destination));
    assert_eq!((header.dcp().value() << 2) | header.ecn().value(), inner.traffic_class);
    assert_eq!((header.dont_fragment(), header.more_fragments()), (inner.dont_fragment, false));
    assert_eq!(
        (header.identification(), header.ttl(), header.protocol()),
        (identification, 64, IpNumber(number))
    );
    assert_eq!((header.ihl(), usize::from(header.total_len())), (5, bytes.len()));
    assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
    let theirs = ipv4::Ipv4Packet::new(bytes).unwrap();
    assert_eq!(theirs.get_checksum(), ipv4::checksum(&theirs));
}

/// The same for IPv6.
fn outer_ipv6(bytes: &[u8], inner: Inner, ends: EndsV6, flow_label: u32, number: u8) {
    let theirs = Ipv6Slice::from_slice(bytes).unwrap();
    let header = theirs.header();
    assert_eq!((header.source_addr(), header.destination_addr()), (ends.source, ends.destination));
    assert_eq!(header.traffic_class(), inner.traffic_class);
    assert_eq!((header.flow_label().value(), header.hop_limit()), (flow_label & 0xf_ffff, 64));
    assert_eq!(
        (header.next_header(), usize::from(header.payload_length())),
        (IpNumber(number), bytes.len() - 40)
    );
    let theirs = ipv6::Ipv6Packet::new(bytes).unwrap();
    assert_eq!((theirs.get_version(), theirs.get_flow_label()), (6, flow_label & 0xf_ffff));
}

/// Holds an encapsulating UDP header against a parser, and what follows against the packet that was put in.
fn udp_and_packet(bytes: &[u8], packet: &[u8]) {
    let theirs = UdpSlice::from_slice(bytes).unwrap();
    assert_eq!((theirs.source_port(), theirs.destination_port()), (PORTS.source, PORTS.gue));
    assert_eq!((usize::from(theirs.length()), theirs.payload()), (8 + packet.len(), packet));
}

proptest! {
    #[test]
    fn outer_headers_are_what_other_parsers_expect(
        (packet, inner) in inner(), addresses: [u32; 2], wide: [u128; 2], identification: u16, label: u32,
        dirt: u8,
    ) {
        let [source, destination] = addresses.map(Ipv4Addr::from_bits);
        let v4 = EndsV4 { source, destination };
        let [source, destination] = wide.map(Ipv6Addr::from_bits);
        let v6 = EndsV6 { source, destination };
        let framed = |outer: &[u8], ethertype| ethernet().raw(ethertype, &[outer, &packet].concat());

        // Head room holds whatever it held.
        let mut outer = [dirt; IPIP_V4_BYTES];
        ipip_v4(&mut outer, inner, v4, identification).unwrap();
        outer_ipv4(&framed(&outer, ETHERTYPE_IPV4)[14..], inner, v4, identification, inner.protocol);
        prop_assert_eq!(frame_checksums(&framed(&outer, ETHERTYPE_IPV4)), Ok(()));

        let mut outer = [dirt; IPIP_V6_BYTES];
        ipip_v6(&mut outer, inner, v6, label).unwrap();
        outer_ipv6(&framed(&outer, ETHERTYPE_IPV6)[14..], inner, v6, label, inner.protocol);

        let mut outer = [dirt; GUE_V4_BYTES];
        gue_v4(&mut outer, inner, v4, identification, PORTS).unwrap();
        let frame = framed(&outer, ETHERTYPE_IPV4);
        outer_ipv4(&frame[14..], inner, v4, identification, protocol::UDP);
        udp_and_packet(&frame[34..], &packet);
        prop_assert_eq!(&frame[34 + 6..][..2], &[0, 0]);
        prop_assert_eq!(frame_checksums(&frame), Ok(()));

        let mut outer = [dirt; GUE_V6_BYTES];
        gue_v6(&mut outer, inner, v6, label, PORTS, Some(&packet)).unwrap();
        let frame = framed(&outer, ETHERTYPE_IPV6);
        outer_ipv6(&frame[14..], inner, v6, label, protocol::UDP);
        udp_and_packet(&frame[54..], &packet);
        let theirs = udp::UdpPacket::new(&frame[54..]).unwrap();
        let right = udp::ipv6_checksum(&theirs, &v6.source, &v6.destination);
        prop_assert_eq!(theirs.get_checksum(), if right == 0 { 0xffff } else { right });
        prop_assert_eq!(frame_checksums(&frame), Ok(()));

        let with = outer;
        gue_v6(&mut outer, inner, v6, label, PORTS, None).unwrap();
        prop_assert_eq!(&outer[..46], &with[..46]);
        prop_assert_eq!(&outer[46..], &[0, 0]);
    }

    #[test]
    fn a_new_code_point_keeps_congestion_and_the_checksum_right((mut packet, _) in inner(), dscp: u8) {
        if packet[0] >> 4 == 4 {
            let mut ip = Ipv4::split(&mut packet).unwrap().header;
            let ecn = ip.ecn();
            let delta = ip.replace_dscp(dscp);
            ip.update_checksum(delta);
            prop_assert_eq!((ip.dscp(), ip.ecn()), (dscp & 0x3f, ecn));
            prop_assert_eq!(ip.checksum(), ip.compute_checksum(&[]));
            prop_assert_eq!(Ipv4::split(&mut packet).map(drop), Ok(()));
        } else {
            let before = packet.clone();
            let mut ip = Ipv6::split(&mut packet).unwrap().header;
            let class = ip.traffic_class();
            ip.set_dscp(dscp);
            prop_assert_eq!(ip.traffic_class(), dscp << 2 | class & 3);
            ip.set_traffic_class(class);
            prop_assert_eq!(packet, before);
        }
    }
}

#[test]
fn a_packet_that_leaves_no_room_for_a_header_is_refused_and_nothing_is_written() {
    let (source, destination) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2));
    let v4 = EndsV4 { source, destination };
    let v6 = EndsV6 { source: source.to_ipv6_mapped(), destination: destination.to_ipv6_mapped() };
    let inner = |room: usize| Inner {
        protocol: protocol::IPV4,
        traffic_class: 0,
        dont_fragment: false,
        length_bytes: u16::MAX - room as u16,
    };
    let mut a = [9; IPIP_V4_BYTES];
    assert_eq!(ipip_v4(&mut a, inner(IPIP_V4_BYTES - 1), v4, 0), Err(TooLong));
    assert_eq!(a, [9; IPIP_V4_BYTES]);
    assert_eq!(ipip_v4(&mut a, inner(IPIP_V4_BYTES), v4, 0), Ok(()));
    let mut b = [9; IPIP_V6_BYTES];
    assert_eq!(ipip_v6(&mut b, inner(IPIP_V6_BYTES - 1), v6, 0), Err(TooLong));
    assert_eq!(b, [9; IPIP_V6_BYTES]);
    assert_eq!(ipip_v6(&mut b, inner(IPIP_V6_BYTES), v6, 0), Ok(()));
    let mut c = [9; GUE_V4_BYTES];
    assert_eq!(gue_v4(&mut c, inner(GUE_V4_BYTES - 1), v4, 0, PORTS), Err(TooLong));
    assert_eq!(c, [9; GUE_V4_BYTES]);
    assert_eq!(gue_v4(&mut c, inner(GUE_V4_BYTES), v4, 0, PORTS), Ok(()));
    let mut d = [9; GUE_V6_BYTES];
    assert_eq!(gue_v6(&mut d, inner(GUE_V6_BYTES - 1), v6, 0, PORTS, None), Err(TooLong));
    assert_eq!(d, [9; GUE_V6_BYTES]);
    assert_eq!(gue_v6(&mut d, inner(GUE_V6_BYTES), v6, 0, PORTS, None), Ok(()));
}

#[test]
fn the_same_code_point_again_changes_no_checksum() {
    let mut packet = ethernet()
        .ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into())
        .traffic_class(0xb9)
        .udp(1, 2)
        .finish()
        .split_off(14);
    let mut ip = Ipv4::split(&mut packet).unwrap().header;
    let before = ip.checksum();
    let delta: ChecksumDelta = ip.replace_dscp(46);
    assert_eq!(before.updated(delta), before);
}

/// Among all source ports there is one with which the sum comes to nothing.
#[test]
fn a_udp_checksum_of_zero_is_sent_as_its_twin() {
    let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let ends = EndsV6 { source, destination };
    let packet = ethernet().ipv6(source, destination).udp(1, 2).finish().split_off(14);
    let inner = Inner {
        protocol: protocol::IPV6,
        traffic_class: 0,
        dont_fragment: true,
        length_bytes: packet.len() as u16,
    };
    let mut twins = 0;
    for source in 0..=u16::MAX {
        let mut outer = [0; GUE_V6_BYTES];
        gue_v6(&mut outer, inner, ends, 0, Ports { source, gue: 6080 }, Some(&packet)).unwrap();
        assert_ne!(outer[46..], [0, 0]);
        twins += u32::from(outer[46..] == [0xff, 0xff]);
    }
    assert_eq!(twins, 1);
}
