//! The races of the persistence table, in a model of two sets of one entry each, which all clients share.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use loom::thread;
use session::sticky::{Bound, Held, StickyEntry, StickyKey, StickyTable};

const TIMEOUT: u32 = 10;

fn key(number: u64) -> StickyKey {
    StickyKey([number; 3])
}

fn hold(table: &StickyTable, number: u64, now: u32) -> Held {
    table.hold(0, &key(number), now, TIMEOUT)
}

fn bind(table: &StickyTable, number: u64, member: u32, stale: Option<u32>) -> Bound {
    table.bind(0, &key(number), member, stale, 0, TIMEOUT)
}

fn release(table: &StickyTable, number: u64, member: u32, last_seen: u32) -> bool {
    table.release(0, &key(number), member, last_seen)
}

/// What lives, as `(client, member, sessions)`. No entry may be a mixture.
fn live(table: &StickyTable, now: u32) -> Vec<(u64, u32, u32)> {
    let mut entries = Vec::new();
    table.inspect(0..2, now, |entry| {
        let StickyEntry { key: StickyKey([number, ..]), member, sessions, .. } = *entry;
        assert_eq!(key(number), entry.key, "a mixed entry");
        entries.push((number, member, sessions));
    });
    entries.sort_unstable();
    entries
}

/// Both sets are full: client 1 is without sessions and may give way, client 2 has one.
fn fill(table: &StickyTable) {
    bind(table, 1, 7, None);
    bind(table, 2, 7, None);
    release(table, 1, 7, 0);
}

/// The same, with the two in each other's sets.
fn fill_crosswise(table: &StickyTable) {
    bind(table, 2, 7, None);
    bind(table, 1, 7, None);
    release(table, 1, 7, 0);
}

/// Does `one` and `other` at once after `before`, and shows `judge` what both answered.
///
/// Once with each on the thread that starts: loom overlooks that a thread may store to a word before the other one's
/// load of it, where it has loaded that word itself since.
fn race<A: 'static, B: 'static>(
    before: fn(&StickyTable),
    one: fn(&StickyTable) -> A,
    other: fn(&StickyTable) -> B,
    judge: fn(&StickyTable, A, B),
) {
    check(move |table| {
        before(table);
        let second = spawn(table, other);
        let first = one(table);
        judge(table, first, second.join().unwrap());
    });
    check(move |table| {
        before(table);
        let second = spawn(table, one);
        let first = other(table);
        judge(table, second.join().unwrap(), first);
    });
}

fn check(model: impl Fn(&Arc<StickyTable>) + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let table = Arc::new(StickyTable::with_capacity(2));
        assert_eq!((table.capacity(), table.set_count()), (2, 2));
        model(&table);
    });
}

fn spawn<T: 'static>(table: &Arc<StickyTable>, run: fn(&StickyTable) -> T) -> thread::JoinHandle<T> {
    let table = Arc::clone(table);
    thread::spawn(move || run(&table))
}

/// What must hold after two binds of client 1: they agree, and the entry counts just those that were answered.
fn assert_they_agree(table: &StickyTable, one: Bound, other: Bound) {
    let outcomes = [one, other];
    assert!(!outcomes.contains(&Bound::Full) && outcomes != [Bound::Busy; 2], "{outcomes:?}");
    let counted: Vec<_> = outcomes.iter().filter(|outcome| **outcome != Bound::Busy).collect();
    assert!([&Bound::Member(7), &Bound::Member(8)].contains(&counted[0]), "{outcomes:?}");
    assert!(counted.iter().all(|outcome| *outcome == counted[0]), "{outcomes:?}");
    let [(1, member, sessions)] = live(table, 0)[..] else { panic!("{outcomes:?}") };
    assert_eq!((Bound::Member(member), sessions as usize), (*counted[0], counted.len()));
}

#[test]
fn two_first_sessions_of_one_client_get_one_member() {
    race(|_| (), |table| bind(table, 1, 7, None), |table| bind(table, 1, 8, None), assert_they_agree);
}

#[test]
fn two_that_replace_a_stale_member_get_one_member() {
    let before = |table: &StickyTable| assert_eq!(bind(table, 1, 6, None), Bound::Member(6));
    race(before, |table| bind(table, 1, 7, Some(6)), |table| bind(table, 1, 8, Some(6)), assert_they_agree);
}

#[test]
fn of_two_clients_both_are_remembered() {
    let judge = |table: &StickyTable, one, other| {
        let expected = [(one, (1, 7, 1)), (other, (2, 8, 1))];
        let bound: Vec<_> = expected.iter().filter(|(outcome, _)| *outcome != Bound::Busy).collect();
        assert!(bound.iter().all(|(outcome, entry)| *outcome == Bound::Member(entry.1)), "{expected:?}");
        assert_eq!(live(table, 0), bound.iter().map(|(_, entry)| *entry).collect::<Vec<_>>());
    };
    race(|_| (), |table| bind(table, 1, 7, None), |table| bind(table, 2, 8, None), judge);
}

/// The last session ends while the next one opens, long after the first: the entry is never dead in between, no
/// session is counted twice or not at all, and the one that ends never keeps the other from its member.
#[test]
fn a_release_against_a_hold() {
    let before = |table: &StickyTable| assert_eq!(bind(table, 1, 7, None), Bound::Member(7));
    race(
        before,
        |table| release(table, 1, 7, 95),
        |table| hold(table, 1, 100),
        |table, released, held| {
            assert_eq!((released, held), (true, Held::Member(7)));
            assert_eq!(live(table, 100), [(1, 7, 1)]);
        },
    );
}

#[test]
fn two_releases_both_count_and_the_later_traffic_is_kept() {
    let before = |table: &StickyTable| {
        bind(table, 1, 7, None);
        assert_eq!(hold(table, 1, 0), Held::Member(7));
    };
    race(
        before,
        |table| release(table, 1, 7, 3),
        |table| release(table, 1, 7, 5),
        |table, one, other| {
            assert_eq!((one, other), (true, true));
            assert_eq!(live(table, 15), [(1, 7, 0)]);
            assert_eq!(live(table, 16), []);
        },
    );
}

/// A bind holds both sets: a release comes through all the same, however long it does.
#[test]
fn a_release_against_a_bind_that_takes_another_place() {
    race(
        fill,
        |table| release(table, 2, 7, 5),
        |table| bind(table, 3, 8, None),
        |table, released, bound| {
            assert_eq!((released, bound), (true, Bound::Member(8)), "an entry with sessions keeps its place");
            let entries = live(table, 5);
            // Client 2 may have given way instead, if it was without sessions by then.
            assert!(
                [[(2, 7, 0), (3, 8, 1)], [(1, 7, 0), (3, 8, 1)]].contains(&entries[..].try_into().unwrap())
            );
        },
    );
}

#[test]
fn a_release_of_a_stale_member_takes_nothing_from_the_next() {
    let before = |table: &StickyTable| assert_eq!(bind(table, 1, 7, None), Bound::Member(7));
    race(
        before,
        |table| release(table, 1, 7, 5),
        |table| bind(table, 1, 8, Some(7)),
        |table, _, bound| {
            assert_eq!(bound, Bound::Member(8));
            assert_eq!(live(table, 5), [(1, 8, 1)]);
        },
    );
}

#[test]
fn an_entry_that_is_held_does_not_give_way() {
    let judge = |table: &StickyTable, held, bound| {
        let first = match (held, bound) {
            (Held::Member(7), Bound::Full | Bound::Busy) => (1, 7, 1),
            (Held::Unknown | Held::Busy, Bound::Member(8)) => (3, 8, 1),
            // Each found the other's claim and gave up.
            (Held::Busy, Bound::Busy) => (1, 7, 0),
            outcome => panic!("{outcome:?}"),
        };
        let mut expected = [first, (2, 7, 1)];
        expected.sort_unstable();
        assert_eq!(live(table, 0), expected);
    };
    for before in [fill, fill_crosswise] {
        race(before, |table| hold(table, 1, 0), |table| bind(table, 3, 8, None), judge);
    }
}

/// Control forgets a service while a worker opens and another one ends a session of it: nothing stays counted.
#[test]
fn what_is_forgotten_stays_forgotten() {
    let before = |table: &StickyTable| assert_eq!(bind(table, 1, 7, None), Bound::Member(7));
    let forget = |table: &StickyTable| table.retain(|_| false);
    race(
        before,
        forget,
        |table| hold(table, 1, 1),
        |table, (), held| {
            assert!([Held::Member(7), Held::Unknown, Held::Busy].contains(&held), "{held:?}");
            assert_eq!(live(table, 2), []);
        },
    );
    race(before, forget, |table| release(table, 1, 7, 1), |table, (), _| assert_eq!(live(table, 2), []));
}

/// Who looks without a claim sees a client whole or not at all while its place changes hands.
#[test]
fn a_look_is_never_a_mixture() {
    let look = |table: &StickyTable| (live(table, 0), table.peek(0, &key(3), 0));
    race(
        fill,
        |table| bind(table, 3, 8, None),
        look,
        |_, bound, (entries, peeked)| {
            assert_eq!(bound, Bound::Member(8));
            assert!(entries.contains(&(2, 7, 1)) && entries.len() <= 2, "{entries:?}");
            assert!(
                entries.iter().all(|entry| [(1, 7, 0), (2, 7, 1), (3, 8, 1)].contains(entry)),
                "{entries:?}"
            );
            assert!(peeked.is_none_or(|entry| (entry.member, entry.sessions) == (8, 1)), "{peeked:?}");
        },
    );
}
