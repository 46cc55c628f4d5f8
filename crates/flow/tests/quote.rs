//! Quoted packets: read as the packets they were, and translated into the packets they should have been.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test may")]

use flow::quote::{Inner, Quote, icmp_checksum_is_valid, rewrite_quote, set_icmp_checksum};
use flow::{Family, FlowHasher, Network, V4, V6, Zone, parse};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::build::{self, EthernetBuilder, IpBuilder};
use wire::tcp::TcpFlags;
use wire::{Mac, Refusal, check, icmp, protocol};

const GUE_PORT: u16 = 6635;

type Ends<F> = ((<F as Family>::Address, u16), (<F as Family>::Address, u16));

fn ethernet() -> EthernetBuilder {
    build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
}

/// What a packet is made of but for its ends.
#[derive(Clone, Debug)]
struct Details {
    protocol: u8,
    sequence: u32,
    data: Vec<u8>,
    with_options: bool,
}

fn details() -> impl Strategy<Value = Details> {
    let protocol = prop::sample::select(vec![protocol::TCP, protocol::UDP, protocol::ICMP]);
    let data = prop::collection::vec(any::<u8>(), 0..80);
    (protocol, any::<u32>(), data, any::<bool>()).prop_map(|(protocol, sequence, data, with_options)| {
        Details { protocol, sequence, data, with_options }
    })
}

/// A whole frame with right checksums.
fn frame<F: Family>(details: &Details, ends: Ends<F>) -> Vec<u8> {
    let Details { protocol, sequence, data, with_options } = details;
    let ip: IpBuilder = match (ends.0.0.into(), ends.1.0.into()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) if *with_options => {
            ethernet().ipv4(source, destination).options(&[0x94, 4, 0, 0])
        }
        (IpAddr::V4(source), IpAddr::V4(destination)) => ethernet().ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) if *with_options => ethernet()
            .ipv6(source, destination)
            .extension(protocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
            .extension(protocol::DESTINATION_OPTIONS, &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (IpAddr::V6(source), IpAddr::V6(destination)) => ethernet().ipv6(source, destination),
        _ => panic!("two families"),
    };
    let (source_port, destination_port) = (ends.0.1, ends.1.1);
    match *protocol {
        protocol::TCP => {
            let tcp = ip.tcp(source_port, destination_port).flags(TcpFlags::ACK).sequence(*sequence);
            tcp.payload(data).finish()
        }
        protocol::UDP => ip.udp(source_port, destination_port).payload(data).finish(),
        _ => ip.echo_request(source_port, 1).payload(data).finish(),
    }
}

fn message(quoted: &[u8]) -> Vec<u8> {
    [&[3, 1, 0xab, 0xcd, 0, 0, 0, 0], quoted].concat()
}

/// The quote says what the parser says of the whole packet, and becomes the packet that would have been built from
/// the other ends, however much of it is there.
fn same_as_the_packet<F: Family>(
    details: &Details,
    ends: [Ends<F>; 2],
    cut: prop::sample::Index,
) -> Result<(), TestCaseError> {
    let (mut old, new) = (frame::<F>(details, ends[0]), frame::<F>(details, ends[1]));
    let options_bytes = match (details.with_options, F::VERSION) {
        (false, _) => 0,
        (true, 4) => 4,
        (true, _) => 8 + 16,
    };
    let network_bytes = options_bytes + if F::VERSION == 4 { 20 } else { 40 };
    let shortest = network_bytes + 8;
    let end = 14 + shortest + cut.index(old.len() - 14 - shortest + 1);
    // Half a TCP checksum can be neither read nor changed.
    let halves = details.protocol == protocol::TCP && end == 14 + network_bytes + 17;
    let end = end - usize::from(halves);

    let mut quoted = old[14..end].to_vec();
    let quote = Quote::<F>::parse(&mut quoted).unwrap();
    let key = match parse(&mut old, Zone(2), &FlowHasher::new([0; 16])).unwrap().network {
        Network::V4(packet) => format!("{:?}", packet.key),
        Network::V6(packet) => format!("{:?}", packet.key),
        _ => panic!("not IP"),
    };
    prop_assert_eq!(format!("{:?}", quote.key(Zone(2))), key);
    let is_tcp = details.protocol == protocol::TCP;
    prop_assert_eq!(quote.tcp_sequence, is_tcp.then_some(details.sequence));
    prop_assert_eq!(quote.network_bytes, network_bytes);

    let mut error = message(&old[14..end]);
    prop_assert_eq!(rewrite_quote::<F>(&mut error, ends[1].0, ends[1].1), Ok(()));
    prop_assert_eq!(&error[8..], &new[14..end]);
    prop_assert_eq!(&error[..8], &message(&[])[..], "the message itself is the caller's");
    Ok(())
}

/// Every shorter quote is refused and left alone.
fn too_short<F: Family>(details: &Details, ends: [Ends<F>; 2], network_bytes: usize) {
    let frame = frame::<F>(details, ends[0]);
    for bytes in 0..network_bytes + 8 {
        let mut error = message(&frame[14..14 + bytes]);
        let parsed = Quote::<F>::parse(&mut error[8..]).map(drop);
        assert_eq!(parsed, Err(Refusal::QuoteTruncated), "{bytes} bytes");
        let before = error.clone();
        let rewritten = rewrite_quote::<F>(&mut error, ends[1].0, ends[1].1);
        assert_eq!((rewritten, error), (Err(Refusal::QuoteTruncated), before), "{bytes} bytes");
    }
}

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc612_0000 | number & 0x1_ffff)
}

fn v6(number: u128) -> Ipv6Addr {
    Ipv6Addr::from_bits(0x2001_0db8 << 96 | number >> 32)
}

proptest! {
    #[test]
    fn an_ipv4_quote_is_read_and_translated_as_the_packet_itself(
        details in details(), addresses: [u32; 4], ports: [u16; 4], cut: prop::sample::Index,
    ) {
        let [a, b, c, d] = addresses.map(v4);
        let ends = [((a, ports[0]), (b, ports[1])), ((c, ports[2]), (d, ports[3]))];
        same_as_the_packet::<V4>(&details, ends, cut)?;
    }

    #[test]
    fn an_ipv6_quote_is_read_and_translated_as_the_packet_itself(
        details in details(), addresses: [u128; 4], ports: [u16; 4], cut: prop::sample::Index,
    ) {
        let [a, b, c, d] = addresses.map(v6);
        let ends = [((a, ports[0]), (b, ports[1])), ((c, ports[2]), (d, ports[3]))];
        same_as_the_packet::<V6>(&details, ends, cut)?;
    }

    #[test]
    fn nothing_that_is_quoted_makes_it_panic(mut quoted in prop::collection::vec(any::<u8>(), 0..120), version: bool) {
        if let Some(first) = quoted.first_mut() {
            *first = if version { 0x45 } else { 0x60 };
        }
        let _ = Quote::<V4>::parse(&mut quoted).map(|quote| quote.inner(&quoted, GUE_PORT));
        let _ = Quote::<V6>::parse(&mut quoted).map(|quote| quote.inner(&quoted, GUE_PORT));
        let _ = rewrite_quote::<V4>(&mut quoted, (v4(1), 1), (v4(2), 2));
        let _ = rewrite_quote::<V6>(&mut quoted, (v6(1), 1), (v6(2), 2));
    }
}

#[test]
fn fewer_than_eight_bytes_of_transport_are_refused_and_left_alone() {
    for protocol in [protocol::TCP, protocol::UDP, protocol::ICMP] {
        let details = Details { protocol, sequence: 1, data: vec![1; 30], with_options: false };
        let ends = |a, b| ((v4(a), 1000), (v4(b), 80));
        too_short::<V4>(&details, [ends(1, 2), ends(3, 4)], 20);
        let ends = |a: u128, b: u128| ((v6(a << 32), 1000), (v6(b << 32), 80));
        too_short::<V6>(&details, [ends(1, 2), ends(3, 4)], 40);
    }
}

#[test]
fn a_later_fragment_is_refused_and_a_first_one_is_read() {
    let piece = |offset| ethernet().ipv4(v4(1), v4(2)).fragment(offset, true).raw(protocol::UDP, &[7; 16]);
    assert_eq!(Quote::<V4>::parse(&mut piece(64)[14..]), Err(Refusal::QuoteFragment));
    assert_eq!(Quote::<V4>::parse(&mut piece(0)[14..]).unwrap().source, (v4(1), 0x0707));
    let piece = |offset| ethernet().ipv6(v6(1), v6(2)).fragment(offset, true).raw(protocol::UDP, &[7; 16]);
    assert_eq!(Quote::<V6>::parse(&mut piece(64)[14..]), Err(Refusal::QuoteFragment));
    assert_eq!(Quote::<V6>::parse(&mut piece(0)[14..]).unwrap().source, (v6(1), 0x0707));
}

#[test]
fn stale_lengths_and_checksums_are_no_matter_and_no_checksum_is_repaired() {
    let details = Details { protocol: protocol::UDP, sequence: 0, data: vec![1; 9], with_options: false };
    let mut quoted = frame::<V4>(&details, ((v4(1), 1000), (v4(2), 53))).split_off(14);
    quoted[8] = 0; // TTL, with the checksum of before
    quoted[2..4].copy_from_slice(&[0xff, 0xff]);
    let header_sum = wire::checksum::Sum::new().add_bytes(&quoted[..20]).finish();
    quoted[26..28].copy_from_slice(&[0, 0]);
    let mut error = message(&quoted);
    assert_eq!(rewrite_quote::<V4>(&mut error, (v4(9), 9), (v4(8), 8)), Ok(()));
    assert_eq!(error[8 + 26..8 + 28], [0, 0], "a datagram without a checksum stays without");
    let after = wire::checksum::Sum::new().add_bytes(&error[8..28]).finish();
    assert_eq!(after, header_sum, "as wrong as before");
}

#[test]
fn the_packet_within_a_tunnelled_one_is_found_when_its_header_is_whole() {
    let inner_v4 = ethernet().ipv4(v4(7), v4(8)).udp(1, 2).finish().split_off(14);
    let inner_v6 = ethernet().ipv6(v6(7), v6(8)).udp(1, 2).finish().split_off(14);
    for (inner, version, protocol, header_bytes) in
        [(&inner_v4, 4, protocol::IPV4, 20), (&inner_v6, 6, protocol::IPV6, 40)]
    {
        let over_v4 = || ethernet().ipv4(v4(1), v4(2));
        let over_v6 = || ethernet().ipv6(v6(1), v6(2));
        let found = |offset_bytes| Some(Inner { offset_bytes, version });
        let look_v4 =
            |quoted: &[u8]| Quote::<V4>::parse(&mut quoted.to_vec()).unwrap().inner(quoted, GUE_PORT);
        let look_v6 =
            |quoted: &[u8]| Quote::<V6>::parse(&mut quoted.to_vec()).unwrap().inner(quoted, GUE_PORT);

        let ipip = over_v4().raw(protocol, inner).split_off(14);
        assert_eq!(look_v4(&ipip), found(20));
        assert_eq!(look_v4(&ipip[..20 + header_bytes]), found(20));
        assert_eq!(look_v4(&ipip[..20 + header_bytes - 1]), None);
        assert_eq!(look_v4(&ipip[..20]), None);
        assert_eq!(look_v6(&over_v6().raw(protocol, inner)[14..]), found(40));
        let gue = over_v4().udp(50_000, GUE_PORT).payload(inner).finish().split_off(14);
        assert_eq!(look_v4(&gue), found(28));
        assert_eq!(look_v4(&gue[..28 + header_bytes - 1]), None);
        let gue = over_v6().udp(50_000, GUE_PORT).payload(inner).finish().split_off(14);
        assert_eq!(look_v6(&gue), found(48));
        let other_port = over_v4().udp(50_000, GUE_PORT + 1).payload(inner).finish().split_off(14);
        assert_eq!(look_v4(&other_port), None);
        let other_protocol = over_v4().raw(protocol ^ protocol::IPV4 ^ protocol::IPV6, inner).split_off(14);
        assert_eq!(look_v4(&other_protocol), None, "the header says one version, the protocol another");
    }
}

#[test]
fn the_checksum_of_a_message_is_judged_and_set_in_both_families() {
    let quoted = ethernet().ipv4(v4(7), v4(8)).udp(1, 2).finish().split_off(14);
    let built_v4 =
        ethernet().ipv4(v4(1), v4(2)).icmp_error(icmp::v4::UNREACHABLE, icmp::v4::CODE_PORT, [0; 4], &quoted);
    let built_v6 =
        ethernet().ipv6(v6(1), v6(2)).icmp_error(icmp::v6::UNREACHABLE, icmp::v6::CODE_PORT, [0; 4], &quoted);
    assert!(icmp_checksum_is_valid::<V4>(v4(1), v4(2), &built_v4[34..]));
    assert!(icmp_checksum_is_valid::<V6>(v6(1), v6(2), &built_v6[54..]));
    for (mut frame, at) in [(built_v4, 34), (built_v6, 54)] {
        let right = frame.clone();
        frame[at + 2] ^= 1;
        assert!(check::frame_checksums(&frame).is_err());
        if at == 34 {
            assert!(!icmp_checksum_is_valid::<V4>(v4(1), v4(2), &frame[at..]));
            set_icmp_checksum::<V4>(v4(1), v4(2), &mut frame[at..]).unwrap();
        } else {
            assert!(!icmp_checksum_is_valid::<V6>(v6(1), v6(2), &frame[at..]));
            set_icmp_checksum::<V6>(v6(1), v6(2), &mut frame[at..]).unwrap();
        }
        assert_eq!(frame, right);
    }
    assert!(!icmp_checksum_is_valid::<V4>(v4(1), v4(2), &[3, 1, 0]));
    assert_eq!(set_icmp_checksum::<V4>(v4(1), v4(2), &mut [3, 1, 0]), Err(Refusal::IcmpTruncated));
}
