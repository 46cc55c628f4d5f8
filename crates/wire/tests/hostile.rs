//! Frames that lie: every refusal is reached, nothing panics, and the vectors' verdicts hold.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod walk;

use std::collections::BTreeSet;

use proptest::prelude::*;
use walk::{hex, vectors, walk};
use wire::check::{Fault, frame_checksums};
use wire::checksum::{Pseudo, transport_checksum};
use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::TcpFlags;
use wire::{Mac, Refusal, build, nd, protocol};

const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

fn link() -> build::EthernetBuilder {
    build::ethernet(A, B)
}

fn over4() -> build::IpBuilder {
    link().ipv4([198, 18, 0, 1].into(), [198, 18, 0, 2].into())
}

fn over6() -> build::IpBuilder {
    link().ipv6("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap())
}

/// One frame of each kind, all of them right.
fn valid_frames() -> Vec<Vec<u8>> {
    let syn =
        |ip: build::IpBuilder| ip.tcp(40_000, 80).flags(TcpFlags::SYN).options(&[2, 4, 5, 0xb4]).finish();
    let quoted = over4().udp(1, 2).payload(b"quoted").finish();
    let tagged = link().service_vlan(7).vlan(20).ipv4([198, 18, 0, 1].into(), [198, 18, 0, 2].into());
    vec![
        build::padded(build::arp_request(A, [198, 18, 0, 1].into(), [198, 18, 0, 2].into())),
        syn(over4().options(&[0x94, 4, 0, 0])),
        syn(over6().extension(protocol::HOP_BY_HOP, &[]).extension(protocol::DESTINATION_OPTIONS, &[])),
        syn(tagged),
        build::padded(over4().udp(53, 53).payload(b"x").finish()),
        over6().fragment(0, false).udp(53, 53).payload(b"x").finish(),
        over4().fragment(8, true).raw(protocol::UDP, &[0; 16]),
        over6().fragment(8, true).raw(protocol::TCP + 1, &[0; 16]),
        over4().echo_request(1, 2).payload(b"ping").finish(),
        over6().echo_reply(1, 2).payload(b"ping").finish(),
        over4().icmp_error(3, 3, [0; 4], &quoted[14..]),
        build::neighbour_solicitation(A, "2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()),
        build::unsolicited_advertisement(B, "2001:db8::2".parse().unwrap()),
    ]
}

#[test]
fn what_is_built_parses_and_sums_up() {
    for frame in valid_frames() {
        assert_eq!(walk(&frame), Ok(()), "{frame:02x?}");
        assert_eq!(frame_checksums(&frame), Ok(()), "{frame:02x?}");
    }
}

#[test]
fn every_prefix_is_refused_or_parsed() {
    for frame in valid_frames() {
        for length in 0..frame.len() {
            let whole = frame_checksums(&frame[..length]);
            let refused = walk(&frame[..length]).is_err();
            // Only a cut within padding, of which 60-byte frames alone have some, leaves the packet whole.
            assert!(refused || frame.len() == 60 && whole.is_ok(), "{length} of {frame:02x?}");
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_parsed() {
    for frame in valid_frames() {
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 0x80 >> (bit % 8);
            let _ = (walk(&damaged), frame_checksums(&damaged));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_behind_any_ethertype(
        kind in prop::sample::select(vec![
            ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP, ETHERTYPE_VLAN, ETHERTYPE_QINQ,
        ]),
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        steered: bool,
    ) {
        if let (true, Some(first)) = (steered, bytes.first_mut()) {
            *first = if kind == ETHERTYPE_IPV6 { 0x60 } else { 0x45 };
        }
        let frame = link().raw(kind, &bytes);
        let _ = (walk(&frame), frame_checksums(&frame));
    }

    #[test]
    fn any_extension_chain(
        kinds in prop::collection::vec(prop::sample::select(vec![0u8, 6, 17, 43, 44, 51, 58, 59, 60]), 0..12),
        bytes in prop::collection::vec(0u8..4, 0..600),
    ) {
        let mut rest = bytes;
        for (at, kind) in rest.chunks_mut(8).zip(&kinds) {
            at[0] = *kind;
        }
        let frame = over6().raw(kinds.first().copied().unwrap_or(60), &rest);
        let _ = (walk(&frame), frame_checksums(&frame));
    }
}

/// `frame` with the bytes at `at` replaced, and the IPv4 header checksum, where there is one, made right
/// again.
fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    if frame[12..14] == [8, 0] && !(24..26).contains(&at) {
        let header = frame[14..].first_chunk_mut().unwrap();
        let mut ip = wire::ipv4::Ipv4::over(header);
        ip.set_checksum(ip.compute_checksum(&[]));
    }
    frame
}

/// A neighbour discovery frame whose message was changed and summed up again.
fn discovery(source: &str, destination: &str, hop_limit: u8, message: &[u8]) -> Vec<u8> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    let mut message = message.to_vec();
    let pseudo = Pseudo::V6 { source, destination };
    if let Some(checksum) = transport_checksum(pseudo, protocol::ICMPV6, &message) {
        message[2..4].copy_from_slice(&checksum.to_bits().to_be_bytes());
    }
    link().ipv6(source, destination).ttl(hop_limit).raw(protocol::ICMPV6, &message)
}

/// A solicitation or an advertisement for 2001:db8::2 with the bytes at `at` replaced.
fn message(kind: u8, at: usize, bytes: &[u8]) -> Vec<u8> {
    let (target, source) = ("2001:db8::2".parse().unwrap(), "2001:db8::1".parse().unwrap());
    let mut message = match kind {
        135 => nd::solicitation(target, A, source, target),
        _ => nd::advertisement(target, A, nd::AdvertisementFlags::default(), source, target),
    };
    message[at..at + bytes.len()].copy_from_slice(bytes);
    message.to_vec()
}

fn lies() -> Vec<(Refusal, Vec<u8>)> {
    use Refusal::*;
    let udp = || over4().udp(1, 2).payload(&[7; 8]).finish();
    let tcp = || over4().tcp(1, 2).finish();
    let arp = || build::arp_request(A, [198, 18, 0, 1].into(), [198, 18, 0, 2].into());
    let udp6 = || over6().udp(1, 2).finish();
    let (one, two, group) = ("2001:db8::1", "2001:db8::2", "ff02::1");
    let nine = (0..9).fold(over6(), |ip, _| ip.extension(protocol::DESTINATION_OPTIONS, &[]));
    let long = over6().extension(protocol::DESTINATION_OPTIONS, &[0; 518]);
    vec![
        (EthernetTruncated, vec![0; 13]),
        (VlanTruncated, link().raw(ETHERTYPE_VLAN, &[0, 1, 8])),
        (VlanTooDeep, link().vlan(1).vlan(2).vlan(3).raw(ETHERTYPE_IPV4, &[])),
        (ArpTruncated, arp()[..41].to_vec()),
        (ArpUnsupported, with(arp(), 15, &[6])),
        (ArpUnsupported, with(arp(), 16, &[0x86, 0xdd])),
        (ArpUnsupported, with(arp(), 18, &[8])),
        (ArpUnsupported, with(arp(), 19, &[16])),
        (Ipv4Truncated, udp()[..33].to_vec()),
        (Ipv4Version, with(udp(), 14, &[0x65])),
        (Ipv4HeaderLength, with(udp(), 14, &[0x44])),
        (Ipv4HeaderLength, with(udp(), 14, &[0x4f])),
        (Ipv4TotalLength, with(udp(), 16, &[0, 19])),
        (Ipv4TotalLength, with(udp(), 16, &[0, 37])),
        (Ipv4Checksum, with(udp(), 24, &[0xff, 0xff])),
        (Ipv6Truncated, udp6()[..53].to_vec()),
        (Ipv6Version, with(udp6(), 14, &[0x40])),
        (Ipv6PayloadLength, with(udp6(), 18, &[0, 9])),
        (Ipv6PayloadLength, with(over6().extension(0, &[0xc2, 4, 0, 1, 0, 0]).raw(59, &[]), 18, &[0, 0])),
        (Ipv6ExtensionTruncated, over6().raw(protocol::DESTINATION_OPTIONS, &[17, 0, 1, 4, 0, 0, 0])),
        (Ipv6ExtensionTruncated, over6().raw(protocol::DESTINATION_OPTIONS, &[17, 1, 1, 4, 0, 0, 0, 0])),
        (Ipv6ExtensionTooMany, nine.raw(protocol::NO_NEXT_HEADER, &[])),
        (Ipv6ExtensionTooMany, long.raw(protocol::NO_NEXT_HEADER, &[])),
        (Ipv6HopByHopNotFirst, over6().extension(60, &[]).extension(0, &[]).raw(59, &[])),
        (Ipv6RoutingHeader, over6().extension(43, &[0, 1, 0, 0, 0, 0]).raw(59, &[])),
        (Ipv6RoutingHeader, over6().extension(43, &[4, 1, 0, 0, 0, 0]).raw(59, &[])),
        (Ipv6FragmentRepeated, over6().fragment(0, true).raw(44, &[17, 0, 0, 1, 0, 0, 0, 0])),
        (TcpTruncated, over4().raw(protocol::TCP, &[0; 19])),
        (TcpDataOffset, with(tcp(), 46, &[0x40])),
        (TcpDataOffset, with(tcp(), 46, &[0x60])),
        (UdpTruncated, over4().raw(protocol::UDP, &[0; 7])),
        (UdpLength, with(udp(), 38, &[0, 7])),
        (UdpLength, with(udp(), 38, &[0, 17])),
        (IcmpTruncated, over4().raw(protocol::ICMP, &[0; 7])),
        (IcmpTruncated, over6().raw(protocol::ICMPV6, &[0; 7])),
        (FragmentTiny, over4().fragment(0, true).raw(protocol::TCP, &[0; 16])),
        (FragmentTiny, over4().fragment(8, false).raw(protocol::TCP, &[0; 16])),
        (FragmentTiny, over6().fragment(0, true).raw(protocol::UDP, &[0; 7])),
        (FragmentUneven, over4().fragment(0, true).raw(protocol::TCP, &[0; 21])),
        (FragmentUneven, over6().fragment(8, true).raw(protocol::UDP, &[0; 9])),
        (UdpLength, over4().fragment(0, true).raw(protocol::UDP, &[0; 16])),
        (FragmentPastEnd, over4().fragment(65_528, false).raw(protocol::UDP, &[0; 8])),
        (FragmentPastEnd, over6().fragment(65_528, false).raw(protocol::UDP, &[0; 8])),
        (NdTruncated, discovery(one, two, 255, &message(135, 0, &[])[..23])),
        (NdHopLimit, discovery(one, two, 254, &message(135, 0, &[]))),
        (NdCode, discovery(one, two, 255, &message(136, 1, &[1]))),
        (NdChecksum, over6().ttl(255).raw(protocol::ICMPV6, &message(135, 2, &[0, 0]))),
        (NdTarget, discovery(one, two, 255, &message(135, 8, &[0xff]))),
        (NdSource, discovery(group, two, 255, &message(135, 0, &[]))),
        (NdSource, discovery("::", two, 255, &message(136, 0, &[]))),
        (NdSource, discovery("::", "ff02::1:ff00:2", 255, &message(135, 0, &[]))),
        (NdSource, discovery("::", two, 255, &message(135, 0, &[])[..24])),
        (NdSolicited, discovery(one, group, 255, &message(136, 4, &[0x40]))),
        (NdOption, discovery(one, two, 255, &message(135, 25, &[0]))),
        (NdOption, discovery(one, two, 255, &message(135, 25, &[2]))),
        (NdOption, discovery(one, two, 255, &message(135, 26, &[3]))),
        (NdOption, discovery(one, two, 255, &message(135, 0, &[])[..25])),
    ]
}

/// What an ICMP error might quote, and must not.
fn quoted_lies() -> Vec<(Refusal, u8, Vec<u8>)> {
    use Refusal::*;
    let v4 = |at: u16| over4().fragment(at, true).raw(protocol::UDP, &[0; 8]).split_off(14);
    let v6 = |at: u16| over6().fragment(at, true).raw(protocol::UDP, &[0; 8]).split_off(14);
    let routed = over6().extension(43, &[4, 1, 0, 0, 0, 0]).raw(59, &[]).split_off(14);
    vec![
        (QuoteTruncated, 4, v4(0)[..19].to_vec()),
        (QuoteTruncated, 4, with(v4(0), 0, &[0x4f])),
        (QuoteMalformed, 4, with(v4(0), 0, &[0x44])),
        (QuoteMalformed, 4, with(v4(0), 0, &[0x95])),
        (QuoteFragment, 4, v4(8)),
        (QuoteTruncated, 6, v6(0)[..39].to_vec()),
        (QuoteTruncated, 6, v6(0)[..47].to_vec()),
        (QuoteMalformed, 6, with(v6(0), 0, &[0x50])),
        (QuoteMalformed, 6, routed),
        (QuoteFragment, 6, v6(8)),
    ]
}

#[test]
fn every_refusal_has_a_frame_that_earns_it() {
    let mut earned = BTreeSet::new();
    for (refusal, frame) in lies() {
        assert_eq!(walk(&frame), Err(refusal), "{refusal}: {frame:02x?}");
        earned.insert(refusal);
    }
    for (refusal, version, mut quoted) in quoted_lies() {
        let split = match version {
            4 => Ipv4::split_quoted(&mut quoted).map(drop),
            _ => Ipv6::split_quoted(&mut quoted).map(drop),
        };
        assert_eq!(split, Err(refusal), "{refusal}: {quoted:02x?}");
        earned.insert(refusal);
    }
    // No frame asks for the neighbour discovery parser but the two that it knows.
    let other = nd::parse(&[134; 24], "2001:db8::1".parse().unwrap(), "ff02::1".parse().unwrap(), 255);
    earned.insert(other.unwrap_err());
    assert_eq!(earned, Refusal::ALL.iter().copied().collect());
}

/// What the classes of the vectors that speak of a lie in a header are refused for.
fn refusals_of_class(class: &str) -> &'static [Refusal] {
    use Refusal::*;
    match class {
        "eth_short" => &[EthernetTruncated, VlanTruncated],
        "arp_bad_header" => &[ArpUnsupported, ArpTruncated],
        "ip4_short" => &[Ipv4Truncated],
        "ip4_version" => &[Ipv4Version],
        "ip4_ihl_lt5" | "ip4_ihl_gt_frame" => &[Ipv4HeaderLength],
        "ip4_totlen_lt_ihl" | "ip4_totlen_gt_frame" => &[Ipv4TotalLength],
        "ip4_csum" => &[Ipv4Checksum],
        "ip6_short" => &[Ipv6Truncated],
        "ip6_version" => &[Ipv6Version],
        "ip6_plen_gt_frame" => &[Ipv6PayloadLength],
        "ip6_rh0_segleft" => &[Ipv6RoutingHeader],
        "ip6_ext_trunc" => &[Ipv6ExtensionTruncated],
        "tcp_dataofs_gt_len" => &[TcpDataOffset],
        "udp_len_gt_packet" => &[UdpLength],
        "icmp6_short" => &[IcmpTruncated],
        _ => &[],
    }
}

#[test]
fn third_party_frames_get_the_verdict_that_their_class_deserves() {
    let Some(text) = vectors("frames/frames.jsonl") else { return };
    let mut count = 0;
    for line in text.lines() {
        let frame: serde_json::Value = serde_json::from_str(line).unwrap();
        let bytes = hex(frame["hex"].as_str().unwrap());
        let classes: Vec<_> = frame["class"].as_array().unwrap().iter().filter_map(|c| c.as_str()).collect();
        let verdict = walk(&bytes);
        for length in 0..bytes.len() {
            let _ = walk(&bytes[..length]);
        }
        count += 1;
        let deserved: Vec<_> = classes.iter().flat_map(|class| refusals_of_class(class)).collect();
        let (id, said) = (&frame["id"], frame["v"].as_str().unwrap());
        if !deserved.is_empty() {
            assert!(
                verdict.is_err_and(|refusal| deserved.contains(&&refusal)),
                "{id} {classes:?}: {verdict:?}"
            );
        } else if said == "ok" && !classes.contains(&"vlan3") {
            assert_eq!(verdict, Ok(()), "{id} {classes:?}");
            assert_eq!(frame_checksums(&bytes), Ok(()), "{id} {classes:?}");
        }
        // The classes were made without regard to the home address option.
        let damaged =
            !classes.contains(&"ip6_dstopt") && classes.iter().any(|class| class.ends_with("_csum"));
        if damaged && !classes.contains(&"udp_zero_csum") && verdict.is_ok() {
            let found = frame_checksums(&bytes);
            assert!(matches!(found, Err(Fault::Transport { .. })), "{id} {classes:?}: {found:?}");
        }
    }
    assert!(count > 400, "{count}");
}
