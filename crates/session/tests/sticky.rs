//! The persistence table against a plain map, at its bounds, and from several threads at once.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod fixture;

use std::collections::HashMap;
use std::sync::{
    Barrier,
    atomic::{AtomicU32, Ordering},
};
use std::thread;

use proptest::prelude::*;
use session::sticky::{Bound, Held, StickyEntry, StickyKey, StickyTable};

const TIMEOUT: u32 = 10;

/// Places of the smallest table: two sets of sixteen, which every client shares.
const PLACES: usize = 32;

fn smallest() -> StickyTable {
    StickyTable::with_capacity(0)
}

const SERVICES: u64 = 3;

fn key(number: u64) -> StickyKey {
    StickyKey([number % SERVICES, number, !number])
}

fn hash(number: u64) -> u64 {
    fixture::hash(&key(number).0)
}

fn hold(table: &StickyTable, number: u64, now: u32) -> Held {
    table.hold(hash(number), &key(number), now, TIMEOUT)
}

fn bind(table: &StickyTable, number: u64, member: u32, stale: Option<u32>, now: u32) -> Bound {
    table.bind(hash(number), &key(number), member, stale, now, TIMEOUT)
}

fn release(table: &StickyTable, number: u64, member: u32, last_seen: u32) -> bool {
    table.release(hash(number), &key(number), member, last_seen)
}

fn peek(table: &StickyTable, number: u64, now: u32) -> Option<StickyEntry> {
    table.peek(hash(number), &key(number), now)
}

fn live(table: &StickyTable, now: u32) -> Vec<StickyEntry> {
    let mut entries = Vec::new();
    table.inspect(0..table.set_count(), now, |entry| entries.push(*entry));
    entries
}

/// Member and sessions of a client.
fn state(table: &StickyTable, number: u64, now: u32) -> Option<(u32, u32)> {
    peek(table, number, now).map(|entry| (entry.member, entry.sessions))
}

#[test]
fn a_client_stays_with_its_member_while_it_has_sessions_and_for_the_timeout_after() {
    let table = smallest();
    assert_eq!(hold(&table, 1, 0), Held::Unknown);
    assert_eq!(bind(&table, 1, 7, None, 0), Bound::Member(7));
    assert_eq!(hold(&table, 1, 1_000), Held::Member(7), "it has a session");
    assert_eq!(state(&table, 1, 1_000), Some((7, 2)));
    assert!(release(&table, 1, 7, 900));
    assert!(release(&table, 1, 7, 1_005), "the later of both is kept");
    assert_eq!(state(&table, 1, 1_005 + TIMEOUT), Some((7, 0)));
    assert_eq!(state(&table, 1, 1_006 + TIMEOUT), None);
    assert_eq!(hold(&table, 1, 1_006 + TIMEOUT), Held::Unknown);
    assert_eq!(bind(&table, 1, 8, None, 1_006 + TIMEOUT), Bound::Member(8));
}

#[test]
fn a_hold_refreshes_time_and_timeout() {
    let table = smallest();
    bind(&table, 1, 7, None, 0);
    release(&table, 1, 7, 0);
    assert_eq!(table.hold(hash(1), &key(1), 5, 100), Held::Member(7));
    release(&table, 1, 7, 5);
    let expected = StickyEntry { key: key(1), member: 7, sessions: 0, last_seen_tick: 5, timeout_ticks: 100 };
    assert_eq!(peek(&table, 1, 105), Some(expected));
    assert_eq!(peek(&table, 1, 106), None);
}

#[test]
fn a_release_that_has_nothing_to_take_off_changes_nothing() {
    let table = smallest();
    assert!(!release(&table, 1, 7, 5), "nobody knows it");
    bind(&table, 1, 7, None, 0);
    assert!(!release(&table, 1, 8, 5), "another member");
    assert_eq!(state(&table, 1, 0), Some((7, 1)));
    assert!(release(&table, 1, 7, 0));
    assert!(!release(&table, 1, 7, 5), "it never goes below zero");
    assert_eq!(peek(&table, 1, 0).unwrap().last_seen_tick, 0);
}

#[test]
fn a_stale_member_is_replaced_and_its_sessions_count_no_more() {
    let table = smallest();
    bind(&table, 1, 7, None, 0);
    assert_eq!(hold(&table, 1, 1), Held::Member(7));
    assert_eq!(bind(&table, 1, 8, Some(7), 1), Bound::Member(8));
    assert_eq!(state(&table, 1, 1), Some((8, 1)));
    assert!(!release(&table, 1, 7, 1), "of the old member");
    assert_eq!(state(&table, 1, 1), Some((8, 1)));
    assert_eq!(bind(&table, 1, 9, Some(7), 1), Bound::Member(8), "another thread had replaced it");
    assert_eq!(bind(&table, 1, 9, None, 1), Bound::Member(8), "another thread had bound it");
    assert_eq!(state(&table, 1, 1), Some((8, 3)));
}

#[test]
fn a_session_that_is_bound_to_what_it_held_counts_once() {
    let table = smallest();
    bind(&table, 1, 7, None, 0);
    assert_eq!(hold(&table, 1, 3), Held::Member(7));
    assert_eq!(bind(&table, 1, 7, Some(7), 4), Bound::Member(7));
    assert_eq!(state(&table, 1, 4), Some((7, 2)));
    assert_eq!(peek(&table, 1, 4).unwrap().last_seen_tick, 4);
}

#[test]
fn a_client_that_returns_has_no_second_entry() {
    let table = smallest();
    for number in 1..5 {
        bind(&table, number, 7, None, 0);
    }
    // Client 1 is dead in one set, and the other one is emptier.
    for number in [1, 2, 4] {
        release(&table, number, 7, 0);
    }
    assert_eq!(bind(&table, 1, 8, None, TIMEOUT + 1), Bound::Member(8));
    assert!(release(&table, 1, 8, TIMEOUT + 1), "the dead entry is in the way");
    assert_eq!(state(&table, 1, TIMEOUT + 1), Some((8, 0)));
}

#[test]
fn in_full_sets_the_longest_idle_without_sessions_gives_way() {
    let table = smallest();
    for number in 0..PLACES as u64 {
        assert_eq!(bind(&table, number, 7, None, 0), Bound::Member(7));
    }
    assert_eq!(bind(&table, 100, 7, None, 1), Bound::Full);
    assert_eq!(hold(&table, 100, 1), Held::Unknown);
    release(&table, 3, 7, 4);
    release(&table, 20, 7, 2);
    release(&table, 9, 7, 3);
    assert_eq!(bind(&table, 100, 8, None, 5), Bound::Member(8));
    assert_eq!((peek(&table, 20, 5), state(&table, 100, 5)), (None, Some((8, 1))));
    assert_eq!(bind(&table, 101, 8, None, 5), Bound::Member(8));
    assert_eq!((peek(&table, 9, 5), state(&table, 3, 5)), (None, Some((7, 0))));
    assert_eq!(bind(&table, 20, 8, None, 5), Bound::Member(8));
    assert_eq!(bind(&table, 9, 8, None, 5), Bound::Full);
    assert_eq!(live(&table, 5).len(), PLACES);
}

#[test]
fn clients_spread_over_all_sets_so_that_nine_tenths_fit() {
    let table = StickyTable::with_capacity(20_001);
    assert_eq!((table.capacity(), table.set_count()), (20_016, 1_251));
    assert_eq!(table.memory_bytes(), size_of::<StickyTable>() + 20_016 * 68);
    let full =
        (0..18_000).filter(|&number| bind(&table, number, number as u32, None, 0) == Bound::Full).count();
    assert!(full < 18, "{full} of 18,000 were refused");
    let mut seen = HashMap::new();
    table.inspect(0..usize::MAX, 0, |entry| assert!(seen.insert(entry.key, *entry).is_none()));
    assert_eq!(seen.len(), 18_000 - full);
    for (number, entry) in seen.values().map(|entry| (entry.key.0[1], entry)) {
        assert_eq!(peek(&table, number, 0), Some(*entry));
        assert_eq!((entry.member, entry.sessions), (number as u32, 1));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Hold { number: u64, timeout: u32 },
    Bind { number: u64, member: u32, stale: Option<u32>, timeout: u32 },
    Release { number: u64, member: u32, ago: u32 },
    Forget { service: u64 },
    Wait { ticks: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    // More clients than places, and few members, so that a stale one is often the one that is there.
    let (number, member, timeout) = (0..48u64, 0..3u32, 0..TIMEOUT);
    let stale = prop::option::of(member.clone());
    prop_oneof![
        4 => (number.clone(), timeout.clone()).prop_map(|(number, timeout)| Step::Hold { number, timeout }),
        8 => (number.clone(), member.clone(), stale, timeout).prop_map(|(number, member, stale, timeout)| {
            Step::Bind { number, member, stale, timeout }
        }),
        6 => (number, member, 0..4u32).prop_map(|(number, member, ago)| {
            Step::Release { number, member, ago }
        }),
        1 => (0..SERVICES).prop_map(|service| Step::Forget { service }),
        1 => (0..TIMEOUT / 2).prop_map(|ticks| Step::Wait { ticks }),
    ]
}

/// The plain map: live clients only.
#[derive(Default)]
struct Oracle {
    clients: HashMap<u64, StickyEntry>,
    now: u32,
}

impl Oracle {
    /// One more session on a client's entry.
    fn count(&mut self, number: u64, timeout: u32) -> Option<u32> {
        let now = self.now;
        self.clients.get_mut(&number).map(|known| {
            (known.sessions, known.timeout_ticks) = (known.sessions + 1, timeout);
            known.last_seen_tick = now;
            known.member
        })
    }

    fn bind(&mut self, number: u64, member: u32, stale: Option<u32>, timeout: u32) -> Bound {
        let there = self.clients.get(&number).map(|known| known.member);
        if let Some(there) = there.filter(|&there| stale != Some(there) || there == member) {
            self.count(number, timeout);
            let known = self.clients.get_mut(&number).unwrap();
            known.sessions -= u32::from(stale == Some(there));
            return Bound::Member(there);
        }
        if there.is_none() && self.clients.len() == PLACES && self.idlest().is_empty() {
            return Bound::Full;
        }
        let (last_seen_tick, timeout_ticks) = (self.now, timeout);
        let known = StickyEntry { key: key(number), member, sessions: 1, last_seen_tick, timeout_ticks };
        self.clients.insert(number, known);
        Bound::Member(member)
    }

    fn release(&mut self, number: u64, member: u32, ago: u32) -> bool {
        let seen = self.now.wrapping_sub(ago);
        let counted =
            self.clients.get_mut(&number).filter(|known| known.member == member && known.sessions > 0);
        let Some(known) = counted else { return false };
        known.sessions -= 1;
        if self.now.wrapping_sub(known.last_seen_tick) > ago {
            known.last_seen_tick = seen;
        }
        true
    }

    /// Those that may give way: without sessions, and none was idle longer.
    fn idlest(&self) -> Vec<u64> {
        let idle_ticks = |known: &StickyEntry| self.now.wrapping_sub(known.last_seen_tick);
        let without = || self.clients.iter().filter(|(_, known)| known.sessions == 0);
        let longest = without().map(|(_, known)| idle_ticks(known)).max();
        without().filter(|(_, known)| Some(idle_ticks(known)) == longest).map(|(&number, _)| number).collect()
    }

    fn forget(&mut self) {
        let now = self.now;
        let is_live = |known: &StickyEntry| {
            known.sessions > 0 || now.wrapping_sub(known.last_seen_tick) <= known.timeout_ticks
        };
        self.clients.retain(|_, known| is_live(known));
    }
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let table = smallest();
    let mut oracle = Oracle { now: u32::MAX - 20, ..Oracle::default() };
    for step in steps {
        let idlest = oracle.idlest();
        match *step {
            Step::Hold { number, timeout } => {
                let held = table.hold(hash(number), &key(number), oracle.now, timeout);
                prop_assert_eq!(held, oracle.count(number, timeout).map_or(Held::Unknown, Held::Member));
            }
            Step::Bind { number, member, stale, timeout } => {
                let bound = table.bind(hash(number), &key(number), member, stale, oracle.now, timeout);
                prop_assert_eq!(bound, oracle.bind(number, member, stale, timeout));
            }
            Step::Release { number, member, ago } => {
                let released = release(&table, number, member, oracle.now.wrapping_sub(ago));
                prop_assert_eq!(released, oracle.release(number, member, ago));
            }
            Step::Forget { service } => {
                table.retain(|key| key.0[0] != service);
                let refused = oracle.clients.values_mut().filter(|known| known.key.0[0] == service);
                refused.for_each(|known| (known.sessions, known.timeout_ticks) = (0, 0));
            }
            Step::Wait { ticks } => oracle.now = oracle.now.wrapping_add(ticks),
        }
        oracle.forget();
        let seen: HashMap<_, _> =
            live(&table, oracle.now).iter().map(|entry| (entry.key.0[1], *entry)).collect();
        if oracle.clients.len() > PLACES {
            // Which of several that were idle for equally long gave way is the table's choice.
            let gone: Vec<_> = oracle.clients.extract_if(|number, _| !seen.contains_key(number)).collect();
            prop_assert!(gone.len() == 1 && idlest.contains(&gone[0].0), "{gone:?} of {idlest:?}");
        }
        prop_assert_eq!(&seen, &oracle.clients);
        for number in 0..48 {
            prop_assert_eq!(peek(&table, number, oracle.now), oracle.clients.get(&number).copied());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn the_table_does_what_a_map_does(steps in prop::collection::vec(step(), 1..300)) {
        run(&steps)?;
    }
}

const THREADS: u32 = 4;
const ROUNDS: u32 = 20_000;

/// Clients of the hammer: more than the 64 places that it gives them.
const CLIENTS: u64 = 96;

/// Opens a session as a worker does; the member that counts it, if it is remembered. Every member that is offered is
/// new, so that a member which was replaced never comes back, and the sessions of each can be told.
fn open(table: &StickyTable, number: u64, offer: u32, finds_stale: bool, now: u32) -> Option<u32> {
    let stale = match hold(table, number, now) {
        Held::Member(member) if finds_stale => Some(member),
        Held::Member(member) => return Some(member),
        Held::Unknown => None,
        Held::Busy => return None,
    };
    if let Bound::Member(member) = bind(table, number, offer, stale, now) {
        return Some(member);
    }
    if let Some(stale) = stale {
        release(table, number, stale, now);
    }
    None
}

/// Opens and ends sessions, and returns those that are left open as `(client, member)`.
fn hammer(table: &StickyTable, thread: u32) -> Vec<(u64, u32)> {
    let (mut sessions, mut random) = (Vec::new(), u64::from(thread) * 77 + 1);
    for round in 0..ROUNDS {
        random = fixture::hash(&[random]);
        let (number, now) = (random % CLIENTS, round / 64);
        if sessions.len() < 24 && random >> 16 & 1 == 0 {
            let finds_stale = (random >> 17).is_multiple_of(8);
            let member = open(table, number, thread << 24 | round, finds_stale, now);
            sessions.extend(member.map(|member| (number, member)));
        } else if !sessions.is_empty() {
            let (number, member) = sessions.swap_remove((random >> 20) as usize % sessions.len());
            release(table, number, member, now);
        }
        if round.is_multiple_of(256) {
            table.inspect(0..table.set_count(), now, |entry| {
                assert_eq!(key(entry.key.0[1]), entry.key, "a mixed entry");
            });
        }
    }
    sessions
}

#[test]
fn threads_that_do_everything_at_once_leave_exact_counts() {
    let table = StickyTable::with_capacity(64);
    let left: Vec<(u64, u32)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let table = &table;
                scope.spawn(move || hammer(table, thread))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let now = ROUNDS / 64;
    let entries = live(&table, now);
    for entry in &entries {
        let number = entry.key.0[1];
        assert_eq!(entries.iter().filter(|other| other.key == entry.key).count(), 1, "two of one client");
        let open = left.iter().filter(|session| **session == (number, entry.member)).count();
        assert_eq!(entry.sessions, open as u32, "{entry:?}");
    }
    assert!(left.iter().any(|&(number, member)| state(&table, number, now).is_some_and(|s| s.0 == member)));
    for &(number, member) in &left {
        release(&table, number, member, now);
    }
    assert_eq!(live(&table, now + TIMEOUT + 1), [], "a count never came down");
    let later = now + TIMEOUT + 1;
    let room = (1_000..1_064).filter(|&number| bind(&table, number, 7, None, later) != Bound::Full).count();
    assert!(room > 55, "only {room} of 64 fit: places were lost");
}

#[test]
fn first_sessions_of_one_client_at_once_get_one_member() {
    let table = StickyTable::with_capacity(64);
    let barrier = Barrier::new(THREADS as usize);
    let first: Vec<AtomicU32> = (0..2_000).map(|_| AtomicU32::new(u32::MAX)).collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, barrier, first) = (&table, &barrier, &first);
            scope.spawn(move || {
                for (number, first) in (0..).zip(first) {
                    barrier.wait();
                    let Bound::Member(member) = bind(table, number, thread, None, 0) else { continue };
                    let before = first.swap(member, Ordering::Relaxed);
                    assert!(before == u32::MAX || before == member, "{before} and {member}");
                    release(table, number, member, 0);
                }
            });
        }
    });
    assert!(first.iter().all(|first| first.load(Ordering::Relaxed) < THREADS), "a client got no member");
}

#[test]
fn who_is_not_kept_is_forgotten_with_all_sessions_and_the_rest_stays() {
    let table = StickyTable::with_capacity(64);
    (0..20).for_each(|number| assert_eq!(bind(&table, number, 7, None, 0), Bound::Member(7)));
    table.retain(|key| key.0[1] % 2 == 0);
    let kept: Vec<u64> = live(&table, 1).iter().map(|entry| entry.key.0[1]).collect();
    assert_eq!((kept.len(), kept.iter().all(|number| number % 2 == 0)), (10, true));
    release(&table, 3, 7, 1);
    assert_eq!(bind(&table, 3, 9, None, 2), Bound::Member(9), "it begins anew");
    assert_eq!(state(&table, 3, 2).unwrap().0, 9);
}
