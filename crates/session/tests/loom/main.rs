//! Every interleaving of the table's races, each in a model of one set: with two preemptions, with three
//! where it takes three, and with none where the model is large and stale loads alone show the fault.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p session --test loom --profile loom`.
#![cfg(loom)]

mod sticky;

use std::sync::Arc;

use loom::thread;
use session::{
    Entry, Flags, Hit, Insert, Lookup, Opening, Protocol, Session, TableV4, Timeouts, Visit, tcp::Observation,
};

const TIMEOUTS: Timeouts = Timeouts {
    tcp_established_ticks: 10,
    tcp_transitory_ticks: 10,
    tcp_closing_ticks: 10,
    udp_ticks: 10,
    icmp_ticks: 10,
};
const OPENING: Opening = Opening {
    tick: 0,
    protocol: Protocol::Udp,
    epoch: 0,
    seen: Observation::NOTHING,
    marks: Flags::NONE,
    now_us: 0,
};

/// All keys share one tag, so that every look meets every slot.
fn entry(number: u64) -> Entry<2, 3> {
    Entry { hash: 7, key: [number, !number], payload: [number; 3] }
}

fn insert(table: &TableV4, client: u64, server: u64) -> Insert<3> {
    table.insert(&OPENING, &entry(client), &entry(server), |_| panic!("nothing is evicted"))
}

fn inserted(table: &TableV4, client: u64, server: u64) -> Hit<3> {
    match insert(table, client, server) {
        Insert::Inserted { client, .. } => client,
        other => panic!("{other:?}"),
    }
}

/// Looks a key up and checks that what is found is its own and whole.
fn find(table: &TableV4, number: u64) -> Lookup<3> {
    let Entry { hash, key, payload } = entry(number);
    let found = table.find(&table.probe(hash), &key);
    if let Lookup::Hit(hit) = found {
        assert_eq!(hit.payload, payload, "a mixed slot");
    }
    found
}

fn live(table: &TableV4) -> Vec<Session<2, 3>> {
    let mut sessions = Vec::new();
    table.inspect(0..1, |session| sessions.push(*session));
    assert_eq!(sessions.len(), table.len());
    sessions
}

fn check(model: impl Fn(&Arc<TableV4>) + Sync + Send + 'static) {
    check_with(2, model);
}

fn check_with(preemptions: usize, model: impl Fn(&Arc<TableV4>) + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(move || {
        let table = Arc::new(TableV4::with_capacity(1));
        assert_eq!(table.set_count(), 1);
        model(&table);
    });
}

fn spawn<T: 'static>(
    table: &Arc<TableV4>,
    run: impl FnOnce(&TableV4) -> T + 'static,
) -> thread::JoinHandle<T> {
    let table = Arc::clone(table);
    thread::spawn(move || run(&table))
}

/// Replaces one payload word of the side that was hit.
fn set_word<const K: usize, const P: usize, const L: usize>(
    table: &session::Table<K, P, L>,
    hit: &session::Hit<P>,
    index: usize,
    value: u64,
) -> bool {
    table.update_payload_words(hit.client_slot(), hit.birth, index, |session| {
        let mut words = [session.client.payload[index], session.server.payload[index]];
        words[usize::from(!hit.is_client())] = value;
        Some(words)
    })
}

#[test]
fn a_session_appears_whole() {
    check(|table| {
        let reader = spawn(table, |table| [find(table, 1), find(table, 2)]);
        inserted(table, 1, 2);
        reader.join().unwrap();
        assert!(matches!(find(table, 1), Lookup::Hit(_)));
        assert!(matches!(find(table, 2), Lookup::Hit(_)));
    });
}

/// What must hold after two inserts that share a key: at most one stays, and one does unless a thread gave
/// up.
fn assert_one_stays(table: &TableV4, outcomes: [Insert<3>; 2]) {
    let winners = outcomes.iter().filter(|outcome| matches!(outcome, Insert::Inserted { .. })).count();
    let sessions = live(table);
    assert_eq!(sessions.len(), winners, "{outcomes:?}");
    assert!(winners <= 1, "{outcomes:?}");
    if !outcomes.contains(&Insert::Busy) {
        assert_eq!(winners, 1, "{outcomes:?}");
    }
    for outcome in outcomes {
        if let (Insert::Duplicate(winner), 1) = (outcome, winners) {
            assert_eq!((winner.slot, winner.birth), (sessions[0].client.slot, sessions[0].birth));
        }
    }
    assert_eq!(table.sweep(0..1, 11, &TIMEOUTS, |_| ()), winners);
    assert_eq!(table.probe(7).candidates(), 0, "a loser left a tag behind");
}

/// Two inserts at once that share a client key, a server key or both.
fn duel(preemptions: usize, clients: [u64; 2], servers: [u64; 2]) {
    check_with(preemptions, move |table| {
        let other = spawn(table, move |table| insert(table, clients[1], servers[1]));
        let outcomes = [insert(table, clients[0], servers[0]), other.join().unwrap()];
        assert_one_stays(table, outcomes);
    });
}

/// Here the two reserve in different tag words, so that only the fences make one see the other; and the later
/// one may get the lower slots, so that it must notice in its first look that it came too late.
#[test]
fn an_insert_into_lower_slots_that_were_freed_meanwhile_does_not_oust_the_first() {
    check_with(0, |table| {
        let [first, second] = [inserted(table, 11, 12), inserted(table, 13, 14)];
        let other = spawn(table, move |table| {
            table.remove(first.slot, first.birth);
            insert(table, 1, 2)
        });
        let outcomes = [insert(table, 1, 3), other.join().unwrap()];
        assert!(table.remove(second.slot, second.birth).is_some());
        assert_one_stays(table, outcomes);
    });
}

#[test]
fn of_two_inserts_of_one_client_key_one_stays() {
    duel(2, [1, 1], [2, 3]);
}

#[test]
fn of_two_inserts_of_one_server_key_one_stays() {
    duel(2, [1, 2], [3, 3]);
}

#[test]
fn of_two_inserts_of_both_keys_one_stays() {
    duel(3, [1, 1], [2, 2]);
}

#[test]
fn a_reader_never_sees_two_sessions_in_one_slot() {
    check(|table| {
        let old = inserted(table, 1, 2);
        let writer = spawn(table, move |table| {
            assert!(table.remove(old.slot, old.birth).is_some());
            // The server side takes the freed client slot or the other one: both are rewritten.
            inserted(table, 3, 4)
        });
        find(table, 1);
        find(table, 3);
        writer.join().unwrap();
        assert_eq!(find(table, 1), Lookup::Miss);
        assert!(matches!(find(table, 3), Lookup::Hit(_)));
    });
}

#[test]
fn one_thread_ends_a_session() {
    check(|table| {
        let old = inserted(table, 1, 2);
        let other = spawn(table, |table| table.sweep(0..1, 11, &TIMEOUTS, |_| ()));
        let here = usize::from(table.remove(old.slot, old.birth).is_some());
        assert_eq!(here + other.join().unwrap(), 1);
        assert_eq!((table.len(), find(table, 1), find(table, 2)), (0, Lookup::Miss, Lookup::Miss));
    });
}

#[test]
fn a_sweep_against_a_packet() {
    check(|table| {
        inserted(table, 1, 2);
        let sweeper = spawn(table, |table| table.sweep(0..1, 11, &TIMEOUTS, |_| ()));
        if let Lookup::Hit(hit) = find(table, 2) {
            table.record(&hit, 11, Observation::NOTHING);
        }
        let ended = sweeper.join().unwrap();
        assert_eq!(live(table).len(), 1 - ended);
        let found = matches!(find(table, 1), Lookup::Hit(_));
        assert_eq!(found, ended == 0);
    });
}

#[test]
fn a_payload_word_changes_whole_and_never_in_another_session() {
    check(|table| {
        let old = inserted(table, 1, 2);
        let writer = spawn(table, move |table| {
            table.remove(old.slot, old.birth);
            insert(table, 3, 4)
        });
        set_word(table, &old, 1, 99);
        writer.join().unwrap();
        for session in live(table) {
            let expected = if session.client.key[0] == 1 { 99 } else { 3 };
            assert_eq!(session.client.payload[1], expected);
        }
    });
}

#[test]
fn two_payload_words_are_never_seen_in_the_wrong_order() {
    check(|table| {
        let old = inserted(table, 1, 2);
        let writer = spawn(table, move |table| {
            assert!(set_word(table, &old, 0, 98) && set_word(table, &old, 1, 99));
        });
        let Entry { hash, key, .. } = entry(1);
        if let Lookup::Hit(hit) = table.find(&table.probe(hash), &key) {
            assert!([[1, 1, 1], [98, 1, 1], [98, 99, 1]].contains(&hit.payload), "{:?}", hit.payload);
        }
        writer.join().unwrap();
    });
}

/// A packet on the way that `note` says meets a mark; both sides bear it in the end.
fn mark_against(note: impl Fn(&TableV4) + Sync + Send + Copy + 'static) {
    check(move |table| {
        inserted(table, 1, 2);
        let marker = spawn(table, |table| table.visit(0..1, 5, |_| Visit::MarkReset, |_| ()));
        note(table);
        marker.join().unwrap();
        let session = live(table)[0];
        for side in [session.client, session.server] {
            assert!(side.direction.activity.flags().contains(Flags::RESET));
        }
    });
}

#[test]
fn a_reset_mark_is_not_lost_to_a_packet() {
    mark_against(|table| {
        if let Lookup::Hit(hit) = find(table, 1) {
            table.record(&hit, 6, Observation::NOTHING);
        }
    });
}

#[test]
fn a_reset_mark_is_not_lost_to_a_packet_in_a_hurry() {
    mark_against(|table| {
        let Entry { hash, key, .. } = entry(1);
        if let Some(found) = table.find_first(&table.probe(hash), &key) {
            found.note(6, Observation::NOTHING);
        }
    });
}

#[test]
fn a_session_that_is_moved_is_counted_out_where_it_is_then() {
    for is_ended_first in [true, false] {
        check(move |table| {
            let session = inserted(table, 1, 2);
            // Held by 1; whoever gives a place back counts it here.
            let moved = move |table: &TableV4| {
                let mut counted = false;
                let moved = table.update_payload_words(session.slot, session.birth, 0, |session| {
                    counted = !session.client.direction.activity.flags().contains(Flags::LEFT);
                    (session.client.payload[0] == 1).then_some([5, 5])
                });
                if moved && counted { vec![1] } else { vec![5] }
            };
            let left = move |table: &TableV4| {
                let left = table.mark_left(session.slot, session.birth);
                left.iter().map(|session| session.client.payload[0]).collect::<Vec<_>>()
            };
            let ended = move |table: &TableV4| {
                let ended = table.remove(session.slot, session.birth);
                let counts = |session: &&Session<2, 3>| {
                    !session.client.direction.activity.flags().contains(Flags::LEFT)
                };
                ended.iter().filter(counts).map(|session| session.client.payload[0]).collect::<Vec<_>>()
            };
            let other = spawn(table, move |table| {
                let mut released = if is_ended_first { ended(table) } else { left(table) };
                released.extend(left(table));
                released
            });
            let mut released = moved(table);
            released.extend(other.join().unwrap());
            released.extend(ended(table));
            // It had a place at 1, and the mover took one at 5: each is given back once.
            released.sort_unstable();
            assert_eq!(released, [1, 5]);
        });
    }
}

#[test]
fn a_mark_that_counts_once_is_made_by_one_thread() {
    check(|table| {
        let session = inserted(table, 1, 2);
        let mark = move |table: &TableV4| usize::from(table.mark_once(&session, Flags::DRIFTED));
        let other = spawn(table, move |table| {
            table.record(&session, 3, Observation::NOTHING);
            mark(table)
        });
        let marked = mark(table) + other.join().unwrap();
        assert_eq!(marked, 1);
        assert!(live(table)[0].client.direction.activity.flags().contains(Flags::DRIFTED));
    });
}
