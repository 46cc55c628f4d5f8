//! The fragment map against a plain map of plain sets, and at its bounds.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test may")]

use flow::fragments::{Found, FragmentTable, Noted, TIMEOUT_NS};
use flow::{DatagramKey, FlowHasher, V4, V6, Zone};
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread;
use wire::{Fragment, protocol};

const SECOND_NS: u64 = 1_000_000_000;

/// The smallest map: two sets of sixteen, which every source shares.
fn smallest() -> FragmentTable {
    FragmentTable::with_capacity(0)
}

fn key(source: u32, identification: u32) -> DatagramKey {
    let ends = (Ipv4Addr::from_bits(0xc612_0000 + source), Ipv4Addr::new(198, 18, 0, 10));
    DatagramKey::new::<V4>(Zone(0), protocol::UDP, ends, identification)
}

fn source_hash(key: &DatagramKey) -> u64 {
    FlowHasher::new([3; 16]).source_hash(key)
}

fn piece(offset_bytes: u16, length_bytes: u16, more: bool) -> Fragment {
    Fragment { offset_bytes, length_bytes, more, identification: 0 }
}

fn note(table: &FragmentTable, key: &DatagramKey, payload: [u64; 2], piece: Fragment, now_ns: u64) -> Noted {
    table.note_first(source_hash(key), key, payload, piece, now_ns)
}

fn find(table: &FragmentTable, key: &DatagramKey, piece: Fragment, now_ns: u64) -> Found {
    table.find(source_hash(key), key, piece, now_ns)
}

/// A datagram as the plain map knows it.
struct Known {
    payload: [u64; 2],
    born_ns: u64,
    units: BTreeSet<u16>,
    end: Option<u16>,
    poisoned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    New,
    Duplicate,
    Overlaps,
}

impl Known {
    /// Piece by piece as RFC 5722 has it, in units of eight bytes.
    fn add(&mut self, piece: Fragment) -> Verdict {
        let units: BTreeSet<u16> =
            (piece.offset_bytes / 8..(piece.offset_bytes + piece.length_bytes).div_ceil(8)).collect();
        if self.poisoned {
            return Verdict::Overlaps;
        }
        let shared = units.intersection(&self.units).count();
        let end = units.last().unwrap() + 1;
        let last_seen = self.units.last().copied();
        let fits = match self.end {
            Some(whole) if piece.more => end < whole,
            Some(whole) => end == whole,
            None if piece.more => true,
            None => shared == 0 && last_seen.is_none_or(|last| last < end),
        };
        if !fits || shared > 0 && shared < units.len() {
            self.poisoned = true;
            return Verdict::Overlaps;
        }
        if shared > 0 {
            return Verdict::Duplicate;
        }
        self.units.extend(units);
        if !piece.more {
            self.end = Some(end);
        }
        Verdict::New
    }

    fn is_whole(&self) -> bool {
        self.end.is_some_and(|end| self.units.len() == usize::from(end))
    }
}

#[derive(Clone, Debug)]
enum Step {
    First { datagram: u32, length_units: u16 },
    Later { datagram: u32, piece: Fragment },
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let datagram = prop_oneof![4 => 0..4u32, 1 => 0..60u32];
    let later = (1..8u16, 1..24u16, any::<bool>()).prop_map(|(at, length, more)| {
        piece(at * 8, if more { length.next_multiple_of(8) } else { length }, more)
    });
    prop_oneof![
        6 => (datagram.clone(), 1..3u16).prop_map(|(datagram, length_units)| Step::First { datagram, length_units }),
        8 => (datagram, later).prop_map(|(datagram, piece)| Step::Later { datagram, piece }),
        1 => (0..12u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let table = smallest();
    let mut map: HashMap<u32, Known> = HashMap::new();
    let mut now_ns = 1;
    for (number, step) in steps.iter().enumerate() {
        map.retain(|_, known| now_ns - known.born_ns < TIMEOUT_NS && !known.is_whole());
        prop_assert_eq!(table.count(now_ns), map.len());
        match *step {
            Step::First { datagram, length_units } => {
                let piece = piece(0, length_units * 8, true);
                let payload = [number as u64, !(number as u64)];
                let noted = note(&table, &key(datagram % 5, datagram), payload, piece, now_ns);
                if !map.contains_key(&datagram) && map.len() == 32 {
                    prop_assert_eq!(noted, Noted::Full);
                    continue;
                }
                let fresh =
                    Known { payload, born_ns: now_ns, units: BTreeSet::new(), end: None, poisoned: false };
                let expected = match map.entry(datagram).or_insert(fresh).add(piece) {
                    Verdict::New => Noted::Fresh,
                    Verdict::Duplicate => Noted::Duplicate,
                    Verdict::Overlaps => Noted::Overlaps,
                };
                prop_assert_eq!(noted, expected, "step {}", number);
            }
            Step::Later { datagram, piece } => {
                let found = find(&table, &key(datagram % 5, datagram), piece, now_ns);
                let expected = match map.get_mut(&datagram) {
                    None => Found::Unknown,
                    Some(known) => match known.add(piece) {
                        Verdict::New => Found::Payload(known.payload),
                        Verdict::Duplicate => Found::Duplicate,
                        Verdict::Overlaps => Found::Overlaps,
                    },
                };
                prop_assert_eq!(found, expected, "step {}", number);
            }
            Step::Wait { seconds } => now_ns += seconds * SECOND_NS,
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn pieces_in_any_order_fare_as_a_plain_map_has_it(steps in prop::collection::vec(step(), 0..250)) {
        run(&steps)?;
    }

    #[test]
    fn a_datagram_cut_anywhere_is_found_in_any_order_and_then_gone(
        cuts in prop::collection::btree_set(1..8190u16, 1..20),
        length_bytes in 65_521..=65_528u32,
        order in any::<prop::sample::Selector>(),
    ) {
        let table = smallest();
        let ends: Vec<u32> = cuts.iter().map(|&unit| u32::from(unit) * 8).chain([length_bytes]).collect();
        let mut starts = vec![0];
        starts.extend(&ends[..ends.len() - 1]);
        let pieces: Vec<Fragment> = starts.iter().zip(&ends)
            .map(|(&start, &end)| piece(start as u16, (end - start) as u16, end != length_bytes))
            .collect();
        let key = key(1, 1);
        prop_assert_eq!(note(&table, &key, [5, 6], pieces[0], 0), Noted::Fresh);
        let mut left: Vec<_> = pieces[1..].to_vec();
        while !left.is_empty() {
            prop_assert_eq!(table.count(0), 1);
            let next = *order.select(&left);
            left.retain(|piece| *piece != next);
            prop_assert_eq!(find(&table, &key, next, 0), Found::Payload([5, 6]));
        }
        prop_assert_eq!((table.count(0), find(&table, &key, pieces[1], 0)), (0, Found::Unknown));
    }
}

#[test]
fn one_source_holds_32_datagrams_and_shuts_nobody_else_out() {
    let table = FragmentTable::with_capacity(1024);
    let first = piece(0, 8, true);
    for identification in 0..32 {
        assert_eq!(note(&table, &key(1, identification), [0; 2], first, 0), Noted::Fresh);
    }
    assert_eq!(note(&table, &key(1, 32), [0; 2], first, 0), Noted::Full);
    assert_eq!(note(&table, &key(1, 31), [0; 2], first, 0), Noted::Duplicate, "what is there stays");
    let refused = (2..202).filter(|&source| note(&table, &key(source, 1), [0; 2], first, 0) != Noted::Fresh);
    assert_eq!(refused.count(), 0, "none shares both sets");
    let just_in_time = TIMEOUT_NS - 1;
    assert_eq!(note(&table, &key(1, 32), [0; 2], first, just_in_time), Noted::Full);
    assert_eq!(note(&table, &key(1, 32), [0; 2], first, TIMEOUT_NS), Noted::Fresh);
    assert_eq!(find(&table, &key(1, 3), piece(8, 8, false), TIMEOUT_NS), Found::Unknown, "too old");
}

#[test]
fn a_datagram_is_told_apart_by_everything_that_makes_it_one() {
    let table = smallest();
    let (a, b) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2));
    let v6 = |address: Ipv4Addr| Ipv6Addr::from_bits(u128::from(address.to_bits()));
    let keys = [
        DatagramKey::new::<V4>(Zone(0), protocol::UDP, (a, b), 1),
        DatagramKey::new::<V4>(Zone(0), protocol::UDP, (b, a), 1),
        DatagramKey::new::<V4>(Zone(0), protocol::TCP, (a, b), 1),
        DatagramKey::new::<V4>(Zone(1), protocol::UDP, (a, b), 1),
        DatagramKey::new::<V4>(Zone(0), protocol::UDP, (a, b), 2),
        DatagramKey::new::<V6>(Zone(0), protocol::UDP, (v6(a), v6(b)), 1),
    ];
    for (number, key) in (0..).zip(&keys) {
        assert_eq!(note(&table, key, [number, 0], piece(0, 8, true), 0), Noted::Fresh);
    }
    for (number, key) in (0..).zip(&keys) {
        assert_eq!(find(&table, key, piece(8, 8, false), 0), Found::Payload([number, 0]));
    }
}

#[test]
fn a_piece_past_the_longest_datagram_poisons_it_and_an_empty_one_does_nothing() {
    let table = smallest();
    assert_eq!(note(&table, &key(1, 1), [0; 2], piece(0, 8, true), 0), Noted::Fresh);
    assert_eq!(find(&table, &key(1, 1), piece(16, 0, false), 0), Found::Duplicate);
    assert_eq!(find(&table, &key(1, 1), piece(65_528, 8, false), 0), Found::Payload([0; 2]));
    assert_eq!(find(&table, &key(1, 1), piece(65_528, u16::MAX, true), 0), Found::Overlaps);
    assert_eq!(find(&table, &key(1, 1), piece(8, 8, true), 0), Found::Overlaps);
    assert_eq!(note(&table, &key(1, 1), [0; 2], piece(0, 8, true), 0), Noted::Overlaps);
}

/// Two datagrams, their pieces spread over threads: each piece is new to exactly one of them.
#[test]
fn threads_that_bring_the_same_pieces_agree_on_who_was_first() {
    let table = FragmentTable::with_capacity(64);
    let keys = [key(1, 1), key(2, 1)];
    for key in &keys {
        assert_eq!(note(&table, key, [9; 2], piece(0, 8, true), 0), Noted::Fresh);
    }
    let bring = || {
        let mut new = 0;
        for number in 1..1000u16 {
            for key in &keys {
                let found = loop {
                    match find(&table, key, piece(number * 8, 8, true), 0) {
                        Found::Busy => thread::yield_now(),
                        found => break found,
                    }
                };
                match found {
                    Found::Payload(payload) => {
                        assert_eq!(payload, [9; 2]);
                        new += 1;
                    }
                    other => assert_eq!(other, Found::Duplicate),
                }
            }
        }
        new
    };
    let new: i32 = thread::scope(|scope| {
        let threads = [scope.spawn(bring), scope.spawn(bring), scope.spawn(bring)];
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    });
    assert_eq!(new, 2 * 999);
}
