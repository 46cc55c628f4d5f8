//! The maximum segment size of a SYN, against a parser that nobody here wrote and sums done anew.
#![allow(clippy::unwrap_used, reason = "a test may")]

use etherparse::{SlicedPacket, TcpOptionElement, TransportSlice};
use proptest::prelude::*;
use wire::check::frame_checksums;
use wire::tcp::{Tcp, TcpFlags, clamp_mss};
use wire::{Mac, build};

/// One option that a stack may send, padding among them, so that others lie at odd places too.
fn option() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => any::<u16>().prop_map(|mss| [&[2, 4][..], &mss.to_be_bytes()].concat()),
        2 => Just(vec![1]),
        1 => (0..15u8).prop_map(|shift| vec![3, 3, shift]),
        1 => Just(vec![4, 2]),
        1 => any::<[u8; 8]>().prop_map(|times| [&[8, 10][..], &times].concat()),
    ]
}

fn syn(options: &[u8], data: &[u8]) -> Vec<u8> {
    let ip = build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
        .ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into());
    ip.tcp(40_000, 80).flags(TcpFlags::SYN).options(options).payload(data).finish()
}

/// Clamps the options of a frame and brings its checksum up to date; whether there was anything to lower.
fn clamp(frame: &mut [u8], mss_bytes_max: u16) -> bool {
    let (mut tcp, options, _) = Tcp::split(&mut frame[34..]).unwrap();
    let Some(delta) = clamp_mss(options, mss_bytes_max) else { return false };
    tcp.update_checksum(delta);
    true
}

fn elements(frame: &[u8]) -> Vec<TcpOptionElement> {
    match SlicedPacket::from_ethernet(frame).unwrap().transport {
        Some(TransportSlice::Tcp(tcp)) => tcp.options_iterator().map_while(Result::ok).collect(),
        _ => panic!("not TCP"),
    }
}

proptest! {
    #[test]
    fn only_a_larger_segment_size_is_lowered_and_the_checksum_follows(
        options in prop::collection::vec(option(), 0..5), mss_bytes_max: u16, data: [u8; 3],
    ) {
        let mut options = options.concat();
        options.truncate(40);
        let before = syn(&options, &data);
        let mut after = before.clone();
        let is_lowered = clamp(&mut after, mss_bytes_max);
        prop_assert_eq!(frame_checksums(&after), Ok(()));
        let expected: Vec<_> = elements(&before).into_iter().map(|element| match element {
            TcpOptionElement::MaximumSegmentSize(mss) => {
                TcpOptionElement::MaximumSegmentSize(mss.min(mss_bytes_max))
            }
            other => other,
        }).collect();
        prop_assert_eq!(&elements(&after), &expected);
        prop_assert_eq!(is_lowered, elements(&before) != expected);
        prop_assert_eq!(is_lowered, before != after);
    }

    #[test]
    fn no_options_make_it_panic_or_write_beside_a_segment_size(
        mut options in prop::collection::vec(prop_oneof![0..6u8, any::<u8>()], 0..40), mss_bytes_max: u16,
    ) {
        let before = options.clone();
        let delta = clamp_mss(&mut options, mss_bytes_max);
        prop_assert_eq!(delta.is_some(), before != options);
        for at in (0..before.len()).filter(|&at| before[at] != options[at]) {
            let starts = [at.wrapping_sub(2), at.wrapping_sub(3)];
            prop_assert!(starts.iter().any(|&start| before.get(start..start.wrapping_add(2)) == Some(&[2, 4])));
        }
        prop_assert_eq!(clamp_mss(&mut options, mss_bytes_max), None, "once is enough");
    }
}

#[test]
fn options_that_lie_about_their_length_end_the_search() {
    let mss = [2, 4, 0xff, 0xff];
    for (lie, is_reached) in [
        (&[][..], true),
        (&[1, 1, 1], true),
        (&[4, 2], true),
        (&[2, 3, 9], true),
        (&[0], false),
        (&[0, 2], false),
        (&[3, 0], false),
        (&[3, 1], false),
        (&[3, 40], false),
    ] {
        let mut options = [lie, &mss].concat();
        assert_eq!(clamp_mss(&mut options, 1400).is_some(), is_reached, "{lie:?}");
        let expected = if is_reached { [5, 120] } else { [0xff, 0xff] };
        assert_eq!(options[lie.len() + 2..], expected, "{lie:?}");
    }
    for end in 0..4 {
        assert_eq!(clamp_mss(&mut mss.to_vec()[..end], 1400), None, "cut off at {end}");
    }
    assert_eq!(clamp_mss(&mut mss.to_vec(), 0xffff), None, "as large as it may be");
}
