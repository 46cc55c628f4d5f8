//! Checksums against the RFCs' examples, the vectors, and a sum done the plain way.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[allow(dead_code, reason = "one module for all tests, of which each uses a part")]
mod walk;

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use walk::{hex, vectors};
use wire::check::{Fault, frame_checksums};
use wire::checksum::*;
use wire::ipv4::Ipv4;
use wire::udp::{self, Udp};
use wire::{Mac, Refusal, build, protocol};

/// RFC 1071 section 1, word by word, the odd byte padded on the right.
fn plain(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn rfc_1071_section_3() {
    let bytes = hex("0001 f203 f4f5 f6f7");
    assert_eq!(Sum::new().add_bytes(&bytes).finish().to_bits(), 0x220d);
}

#[test]
fn rfc_1624_section_4() {
    let delta = ChecksumDelta::between16(0x5555, 0x3285);
    assert_eq!(Checksum::from_bits(0xdd2f).updated(delta).to_bits(), 0x0000, "and not 0xffff");
}

#[test]
fn a_ttl_step_is_one_constant() {
    for ttl in 1..=u8::MAX {
        let (old, new) = (u16::from(ttl) << 8 | 17, u16::from(ttl - 1) << 8 | 17);
        let start = Checksum::from_bits(0x1234);
        let expected = start.updated(ChecksumDelta::between16(old, new));
        assert_eq!(start.updated(ChecksumDelta::TTL_DECREMENT), expected, "ttl {ttl}");
    }
}

/// Every pair of a coarse lattice, for the checksums at which carries turn.
#[test]
fn by_difference_equals_anew_at_the_edges() {
    let words = (0..=u16::MAX).step_by(257).chain([1, 0x7fff, 0x8000, 0xfffe]);
    for base in [0x0000, 0x0001, 0x7fff, 0x8000, 0xfffe, 0xffff] {
        for old in words.clone() {
            for new in words.clone() {
                // 1 keeps the sum from being zero, as a protocol number does in earnest.
                let sum = |word| Sum::new().add_u16(1).add_u16(base).add_u16(word).finish();
                assert_eq!(
                    sum(old).updated(ChecksumDelta::between16(old, new)),
                    sum(new),
                    "{base:x} {old:x} {new:x}"
                );
            }
        }
    }
}

#[test]
fn linux_kernel_self_test() {
    let Some(text) = vectors("checksum/checksums.json") else { return };
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let kernel = &vectors["linux_kunit"];
    let number = |value: &serde_json::Value| {
        u16::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    let data = hex(kernel["data_hex"].as_str().unwrap());
    let start = Sum::new().add_u16(number(&kernel["initial_sum_folded_be"]));
    let expected = kernel["checksum_of_first_n_bytes_be"].as_array().unwrap();
    assert!(expected.len() > 90);
    for (length, value) in expected.iter().enumerate() {
        assert_eq!(start.add_bytes(&data[..length]).finish().to_bits(), number(value), "{length} bytes");
    }
}

#[test]
fn frames_with_known_verdicts() {
    let Some(text) = vectors("checksum/checksums.json") else { return };
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut seen = 0;
    for frame in ["dpdk", "zeek"].iter().flat_map(|from| vectors[*from]["frames"].as_array().unwrap()) {
        let (name, valid) = (frame["name"].as_str().unwrap(), frame["valid"].as_bool().unwrap());
        if name.starts_with("mip6") {
            continue; // The checksum of a mobility header is not ours to know.
        }
        let mut bytes = hex(frame["frame_hex"].as_str().unwrap());
        if bytes[14] >> 4 == 6 {
            // One of them says IPv4 in its EtherType.
            bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
        }
        let verdict = frame_checksums(&bytes);
        if verdict == Err(Fault::Refused(Refusal::Ipv6RoutingHeader)) {
            assert!(name.contains("route"), "{name}");
            continue;
        }
        assert_eq!(verdict.is_ok(), valid, "{name}: {verdict:?}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_flipped_bit_is_found() {
    let Some(text) = vectors("checksum/checksums.json") else { return };
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    for frame in vectors["dpdk"]["frames"].as_array().unwrap() {
        let mut bytes = hex(frame["frame_hex"].as_str().unwrap());
        let transport = frame["l4_offset"].as_u64().unwrap() as usize;
        let version = bytes[14] >> 4;
        bytes[12..14].copy_from_slice(if version == 6 { &[0x86, 0xdd] } else { &[8, 0] });
        let checked = if version == 6 { transport } else { 14 };
        for bit in checked * 8..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 0x80 >> (bit % 8);
            assert!(frame_checksums(&damaged).is_err(), "{} bit {bit}", frame["name"]);
        }
    }
}

#[test]
fn a_missing_udp_checksum_passes_over_ipv4_only() {
    let link = || build::ethernet(Mac::ZERO, Mac::ZERO);
    let over4 = link().ipv4([198, 18, 0, 1].into(), [198, 18, 0, 2].into()).udp(1, 2).without_checksum();
    assert_eq!(frame_checksums(&over4.finish()), Ok(()));
    let over6 = link().ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST).udp(1, 2).without_checksum();
    let fault = frame_checksums(&over6.finish()).unwrap_err();
    assert!(matches!(fault, Fault::Transport { protocol: 17, found: udp::NO_CHECKSUM, .. }));
    assert!(
        fault.to_string().starts_with("the checksum of protocol 17 is 0x0000 and should be 0x"),
        "{fault}"
    );
}

/// The data makes the sum come to zero, which UDP alone must not send.
#[test]
fn a_sum_of_zero_goes_out_as_its_twin_in_udp_alone() {
    let pseudo = Pseudo::V4 { source: [198, 18, 0, 1].into(), destination: [198, 18, 0, 2].into() };
    for (protocol, header, sent) in [(protocol::UDP, 8, 0xffff), (protocol::TCP, 20, 0x0000)] {
        let mut segment = vec![0; header + 2];
        let rest = transport_checksum(pseudo, protocol, &segment).unwrap().to_bits();
        segment[header..].copy_from_slice(&rest.to_be_bytes());
        let checksum = transport_checksum(pseudo, protocol, &segment).unwrap();
        assert_eq!(checksum.to_bits(), sent, "protocol {protocol}");
    }
}

#[test]
fn a_segment_that_cannot_hold_a_checksum_has_none() {
    let pseudo = Pseudo::V4 { source: Ipv4Addr::LOCALHOST, destination: Ipv4Addr::LOCALHOST };
    assert_eq!(transport_checksum(pseudo, protocol::TCP, &[0; 17]), None);
    assert_eq!(transport_is_valid(pseudo, protocol::TCP, &[0; 17]), None);
    assert_eq!(transport_checksum(pseudo, protocol::IPV4, &[0; 20]), None);
    assert_eq!(transport_checksum(pseudo, protocol::UDP, &[0; 65_536]), None);
}

proptest! {
    #[test]
    fn any_bytes_in_any_runs(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..100) {
        prop_assert_eq!(Sum::new().add_bytes(&bytes).finish().to_bits(), plain(&bytes));
        let cut = (cut * 2).min(bytes.len() & !1);
        let split = Sum::new().add_bytes(&bytes[cut..]).add_bytes(&bytes[..cut]);
        prop_assert_eq!(split.finish().to_bits(), plain(&bytes));
    }

    #[test]
    fn deltas_add_up_in_any_order(a: u16, b: u16, c: u16) {
        let [a, b, c] = [a, b, c].map(ChecksumDelta::from_bits);
        prop_assert_eq!(a.plus(b).plus(c), c.plus(b.plus(a)));
        prop_assert_eq!(a.plus(ChecksumDelta::NONE), a);
    }

    #[test]
    fn by_difference_equals_anew_for_ipv4(
        source: [u8; 4], destination: [u8; 4], new: [u8; 4], ttl in 1u8.., protocol: u8,
    ) {
        let mut bytes = [0; 20];
        let mut ip = Ipv4::over(&mut bytes);
        ip.set_header_length(20);
        ip.set_ttl(ttl);
        ip.set_protocol(protocol);
        ip.set_source(source.into());
        ip.set_destination(destination.into());
        ip.set_checksum(ip.compute_checksum(&[]));
        ip.set_ttl(ttl - 1);
        ip.set_destination(new.into());
        let delta = ChecksumDelta::between_ipv4(destination.into(), new.into());
        ip.update_checksum(delta.plus(ChecksumDelta::TTL_DECREMENT));
        prop_assert_eq!(ip.checksum(), ip.compute_checksum(&[]));
        prop_assert_eq!(ip.checksum().to_bits(), {
            let mut zeroed = *ip.bytes();
            zeroed[10..12].fill(0);
            plain(&zeroed)
        });
    }

    /// A NAT to another server and port, and its checksum, right or wrong, for UDP over IPv6.
    #[test]
    fn by_difference_equals_anew_for_udp(
        old: [u8; 16], new: [u8; 16], ports: (u16, u16),
        data in proptest::collection::vec(any::<u8>(), 0..40),
        damage: u16,
    ) {
        let pseudo = |destination: [u8; 16]| {
            Pseudo::V6 { source: Ipv6Addr::LOCALHOST, destination: destination.into() }
        };
        let mut segment = [&[0; 8][..], &data].concat();
        let length = segment.len() as u16;
        let right = |segment: &[u8], to| transport_checksum(pseudo(to), protocol::UDP, segment).unwrap();
        {
            let mut udp = Udp::over(segment.first_chunk_mut().unwrap());
            udp.set_destination_port(ports.0);
            udp.set_length(length);
        }
        let start = right(&segment, old).updated(ChecksumDelta::from_bits(damage));
        let was_right = damage == 0 || damage == 0xffff;
        let mut udp = Udp::over(segment.first_chunk_mut().unwrap());
        udp.set_checksum(udp::on_wire(start));
        udp.set_destination_port(ports.1);
        let delta = ChecksumDelta::between_ipv6(old.into(), new.into());
        udp.update_checksum(delta.plus(ChecksumDelta::between16(ports.0, ports.1)));
        let found = udp.checksum();
        prop_assert_ne!(found, udp::NO_CHECKSUM);
        prop_assert_eq!(found == right(&segment, new), was_right, "wrong stays wrong, right stays right");
        prop_assert_eq!(transport_is_valid(pseudo(new), protocol::UDP, &segment), Some(was_right));
    }

    #[test]
    fn a_32_bit_number_changes(old: u32, new: u32, rest: u16) {
        let sum = |number: u32| Sum::new().add_u16(rest | 1).add_bytes(&number.to_be_bytes()).finish();
        prop_assert_eq!(sum(old).updated(ChecksumDelta::between32(old, new)), sum(new));
    }
}
