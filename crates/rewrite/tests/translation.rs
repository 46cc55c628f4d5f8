//! A translation against the plainer oracle: take the frame apart, put the right one together, compare every checksum.

use flow::{Family, FlowHasher, Network, V4, V6, Zone, parse};
use proptest::prelude::*;
use rewrite::{Birth, Course, Direction, Endpoints, LinkIndex, MemberId, Shape, Translation, Words, apply};
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::{Mac, build, check};

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 1]);
const APPLIANCE: Mac = Mac([2, 0, 0, 0, 0, 2]);
const MEMBER: MemberId = MemberId { index: 513, generation: 7 };

fn translate<F: Family>(arriving: Endpoints<F>, leaving: Endpoints<F>) -> Translation<F> {
    shaped(arriving, leaving, Shape::ROUTED)
}

fn shaped<F: Family>(arriving: Endpoints<F>, leaving: Endpoints<F>, shape: Shape) -> Translation<F> {
    let (direction, link) = (Direction::Request, LinkIndex(9));
    let course = Course { member: MEMBER, direction, link, born: Birth::at(77 << 32) };
    rewrite::translate(arriving, leaving, shape, course)
}

fn apply_v4(frame: &mut [u8], translation: &Translation<V4>) {
    match parse(frame, Zone(0), &FlowHasher::new([0; 16])).map(|parsed| parsed.network) {
        Ok(Network::V4(mut packet)) => apply(translation, &mut packet),
        _ => panic!("not IPv4"),
    }
}

fn apply_v6(frame: &mut [u8], translation: &Translation<V6>) {
    match parse(frame, Zone(0), &FlowHasher::new([0; 16])).map(|parsed| parsed.network) {
        Ok(Network::V6(mut packet)) => apply(translation, &mut packet),
        _ => panic!("not IPv6"),
    }
}

fn ends_v4() -> impl Strategy<Value = Endpoints<V4>> {
    (any::<u32>(), any::<u16>(), any::<u32>(), any::<u16>()).prop_map(|(a, p, b, q)| Endpoints {
        source: (Ipv4Addr::from_bits(a), p),
        destination: (Ipv4Addr::from_bits(b), q),
    })
}

fn ends_v6() -> impl Strategy<Value = Endpoints<V6>> {
    (any::<u128>(), any::<u16>(), any::<u128>(), any::<u16>()).prop_map(|(a, p, b, q)| Endpoints {
        source: (Ipv6Addr::from_bits(a), p),
        destination: (Ipv6Addr::from_bits(b), q),
    })
}

fn frame_v4(ends: Endpoints<V4>, ttl: u8, udp: bool, payload: &[u8]) -> Vec<u8> {
    let ip = build::ethernet(CLIENT, APPLIANCE).ipv4(ends.source.0, ends.destination.0).ttl(ttl);
    if udp {
        ip.udp(ends.source.1, ends.destination.1).payload(payload).finish()
    } else {
        ip.tcp(ends.source.1, ends.destination.1).payload(payload).finish()
    }
}

fn frame_v6(ends: Endpoints<V6>, ttl: u8, udp: bool, payload: &[u8]) -> Vec<u8> {
    let ip = build::ethernet(CLIENT, APPLIANCE).ipv6(ends.source.0, ends.destination.0).ttl(ttl);
    if udp {
        ip.udp(ends.source.1, ends.destination.1).payload(payload).finish()
    } else {
        ip.tcp(ends.source.1, ends.destination.1).payload(payload).finish()
    }
}

/// Both zeros of one's complement say the same; only UDP may not send the positive one.
fn assert_same_frame(found: &[u8], expected: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(check::frame_checksums(found), Ok(()));
    prop_assert_eq!(check::frame_checksums(expected), Ok(()));
    prop_assert_eq!(found.len(), expected.len());
    let differing = found.iter().zip(expected).filter(|(a, b)| a != b).count();
    prop_assert!(differing <= 2, "only a checksum's two zeros may differ: {found:02x?} {expected:02x?}");
    Ok(())
}

proptest! {
    #[test]
    fn a_translated_ipv4_packet_is_the_one_that_its_new_ends_would_have_sent(
        arriving in ends_v4(), leaving in ends_v4(), ttl in 2u8.., udp: bool,
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut frame = frame_v4(arriving, ttl, udp, &payload);
        apply_v4(&mut frame, &translate(arriving, leaving));
        assert_same_frame(&frame, &frame_v4(leaving, ttl - 1, udp, &payload))?;
    }

    #[test]
    fn a_translated_ipv6_packet_is_the_one_that_its_new_ends_would_have_sent(
        arriving in ends_v6(), leaving in ends_v6(), ttl in 2u8.., udp: bool,
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut frame = frame_v6(arriving, ttl, udp, &payload);
        apply_v6(&mut frame, &translate(arriving, leaving));
        assert_same_frame(&frame, &frame_v6(leaving, ttl - 1, udp, &payload))?;
    }

    #[test]
    fn the_reply_undoes_the_request(client in ends_v4(), server in ends_v4(), udp: bool) {
        let original = frame_v4(client, 64, udp, b"x");
        let mut frame = original.clone();
        apply_v4(&mut frame, &translate(client, server));
        apply_v4(&mut frame, &translate(server, client));
        let restored = frame_v4(client, 62, udp, b"x");
        assert_same_frame(&frame, &restored)?;
    }

    #[test]
    fn a_wrong_checksum_stays_wrong(
        arriving in ends_v4(), leaving in ends_v4(), udp: bool, damage in 1u8..,
    ) {
        let mut frame = frame_v4(arriving, 64, udp, b"payload");
        // The last byte is payload: damaging it makes the transport checksum wrong (RULES C7).
        *frame.last_mut().unwrap() ^= damage;
        apply_v4(&mut frame, &translate(arriving, leaving));
        prop_assert!(check::frame_checksums(&frame).is_err());
    }

    #[test]
    fn words_give_back_the_translation(v4 in (ends_v4(), ends_v4()), v6 in (ends_v6(), ends_v6())) {
        for direction in [Direction::Request, Direction::Reply] {
            let translation = Translation { direction, ..translate(v4.0, v4.1) };
            prop_assert_eq!(Translation::<V4>::from_words(&translation.to_words()), translation);
            let translation = Translation { direction, ..translate(v6.0, v6.1) };
            prop_assert_eq!(Translation::<V6>::from_words(&translation.to_words()), translation);
        }
    }
}

#[test]
fn a_udp_datagram_without_checksum_keeps_none() {
    let ends = |last: u8, port| Endpoints::<V4> {
        source: (Ipv4Addr::new(198, 18, 0, last), port),
        destination: (Ipv4Addr::new(198, 18, 0, 10), 53),
    };
    let ip = build::ethernet(CLIENT, APPLIANCE).ipv4(ends(1, 7).source.0, ends(1, 7).destination.0);
    let mut frame = ip.udp(7, 53).without_checksum().payload(b"x").finish();
    apply_v4(&mut frame, &translate(ends(1, 7), ends(9, 1_000)));
    assert_eq!(&frame[40..42], &[0, 0]);
}

#[test]
fn the_link_word_holds_the_link_and_nothing_shares_its_bits() {
    let ends = Endpoints::<V4> {
        source: (Ipv4Addr::new(198, 18, 0, 1), 1),
        destination: (Ipv4Addr::new(198, 18, 0, 2), 2),
    };
    let translation = translate(ends, ends.swapped());
    let other = Translation { link: LinkIndex(4_711), ..translation };
    let (mut words, changed) = (translation.to_words(), other.to_words());
    words[Translation::<V4>::LINK_WORD] = changed[Translation::<V4>::LINK_WORD];
    assert_eq!(Translation::<V4>::from_words(&words), other);
}

#[test]
fn an_age_is_known_to_within_a_unit_also_across_the_wrap() {
    const UNIT_NS: u64 = 1 << 32;
    for born_ns in [0, 5 * UNIT_NS, ((1 << Birth::BITS) - 1) * UNIT_NS] {
        let age_ns = Birth::at(born_ns).age_ns(born_ns + 10 * UNIT_NS + 1);
        assert_eq!(age_ns, 10 * UNIT_NS);
    }
}
