//! The table from outside, one behaviour a test.
#![cfg(not(loom))]

mod fixture;

use fixture::{CLIENT, Connection, SERVER, entry, find, hit, insert, insert_answered, opening};
use session::{
    Entry, Flags, Insert, LOAD_PER_MILLE, Lookup, Protocol, SLOTS_PER_SET, State, Table, TableV4, TableV6,
    Timeouts, Visit, tcp,
};

const UDP_TICKS: u32 = 10;
const TIMEOUTS: Timeouts = Timeouts {
    tcp_established_ticks: 1_000,
    tcp_transitory_ticks: 100,
    tcp_closing_ticks: 20,
    udp_ticks: UDP_TICKS,
    icmp_ticks: 10,
};

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
fn either_side_is_found_and_names_the_other() {
    let table = TableV6::with_capacity(100);
    let Insert::Inserted { client, server } = insert(&table, 5, 7) else { panic!() };
    assert_eq!(hit(find(&table, CLIENT, 7)), client);
    assert_eq!(hit(find(&table, SERVER, 7)), server);
    assert_eq!((client.peer, server.peer), (server.slot, client.slot));
    assert_eq!((client.birth, client.is_client()), (server.birth, !server.is_client()));
    assert_eq!(client.payload, entry::<5, 8>(CLIENT, 7).payload);
    assert_eq!(client.direction.progress.packets(), 1);
    assert_eq!(table.peer_direction(&client), Some(server.direction));
    assert_eq!(find(&table, CLIENT, 8), Lookup::Miss);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_packet_in_a_hurry_is_noted_with_its_tick_and_leaves_new_flags_to_others() {
    let table = TableV4::with_capacity(100);
    insert(&table, 5, 7);
    let Entry { hash, key, .. } = entry::<2, 3>(SERVER, 7);
    let note = |tick, flags| {
        let found = table.find_first(&table.probe(hash), &key).unwrap();
        found.note(tick, tcp::Observation { flags, sequence_end: None })
    };
    assert!(note(5, Flags::NONE) && note(9, Flags::NONE), "the tick may be the same or a new one");
    let noted = hit(find(&table, SERVER, 7)).direction;
    assert_eq!((noted.activity.last_seen_tick(), noted.progress.packets()), (9, 2));
    assert!(!note(9, Flags::FIN), "whoever closes is looked at");
    assert_eq!(hit(find(&table, SERVER, 7)).direction, noted);
}

#[test]
fn a_probe_taken_before_the_insert_finds_it() {
    let table = TableV4::with_capacity(100);
    let (old, key) = (table.probe(entry::<2, 3>(CLIENT, 1).hash), entry::<2, 3>(CLIENT, 1).key);
    insert(&table, 0, 1);
    assert!(matches!(table.find(&old, &key), Lookup::Hit(_)));
}

#[test]
fn taken_keys_are_refused_and_leave_nothing_behind() {
    let table = TableV4::with_capacity(100);
    insert(&table, 0, 1);
    let winner = hit(find(&table, CLIENT, 1));
    assert_eq!(insert(&table, 0, 1), Insert::Duplicate(winner));
    let stranger = table.insert(&opening(0, Protocol::Udp), &entry(CLIENT, 2), &entry(SERVER, 1), |_| ());
    assert_eq!(stranger, Insert::ServerKeyTaken);
    assert_eq!(find(&table, CLIENT, 2), Lookup::Miss);
    assert_eq!(table.len(), 1);
    for number in 2..=100 {
        assert!(insert_answered(&table, 0, number), "a refused insert kept a slot");
    }
}

#[test]
fn a_session_ends_once_and_its_hits_become_void() {
    let table = TableV4::with_capacity(100);
    let Insert::Inserted { client, server } = insert(&table, 0, 1) else { panic!() };
    assert!(table.remove(server.slot, server.birth).is_none(), "the client side names a session");
    let removed = table.remove(client.slot, client.birth).expect("it lives");
    assert_eq!((removed.client.slot, removed.server.slot), (client.slot, server.slot));
    assert!(table.remove(client.slot, client.birth).is_none());
    assert_eq!((find(&table, CLIENT, 1), find(&table, SERVER, 1)), (Lookup::Miss, Lookup::Miss));
    assert_eq!(table.len(), 0);

    let Insert::Inserted { client: next, .. } = insert(&table, 9, 1) else { panic!() };
    assert_eq!(next.slot, client.slot, "the same slot, another life");
    assert_ne!(next.birth, client.birth);
    table.record(&client, 50, tcp::Observation { flags: session::Flags::FIN, sequence_end: Some(1) });
    assert!(!set_word(&table, &client, 0, 1));
    assert!(!set_word(&table, &server, 0, 1));
    assert!(!table.set_epoch(&client, 1));
    assert!(!table.mark_reset(client.slot, client.birth, 50));
    assert_eq!(hit(find(&table, CLIENT, 1)), next);
}

#[test]
fn a_packet_of_either_side_keeps_the_session() {
    let table = TableV4::with_capacity(100);
    let Insert::Inserted { client, server } = insert(&table, 0, 1) else { panic!() };
    let sweep = |tick| table.sweep(0..table.set_count(), tick, &TIMEOUTS, |_| ());
    assert_eq!(sweep(UDP_TICKS), 0, "idle for exactly the timeout");
    table.record(&server, UDP_TICKS, tcp::Observation::NOTHING);
    assert_eq!(sweep(2 * UDP_TICKS), 0);
    table.record(&client, 2 * UDP_TICKS, tcp::Observation::NOTHING);
    assert_eq!(sweep(3 * UDP_TICKS), 0);
    assert_eq!(hit(find(&table, CLIENT, 1)).direction.progress.packets(), 2);
    assert_eq!(sweep(3 * UDP_TICKS + 1), 1);
    assert_eq!(table.len(), 0);
}

#[test]
fn ticks_wrap_and_a_clock_behind_is_not_an_age() {
    let table = TableV4::with_capacity(100);
    insert(&table, u32::MAX - 1, 1);
    let sweep = |tick| table.sweep(0..table.set_count(), tick, &TIMEOUTS, |_| ());
    assert_eq!(sweep(u32::MAX - 5), 0, "another worker's clock is behind");
    assert_eq!(sweep(UDP_TICKS - 2), 0);
    assert_eq!(sweep(UDP_TICKS), 1);
}

#[test]
fn each_state_has_its_own_timeout() {
    let connection = Connection::established();
    let table = &connection.table;
    let sweep = |tick| table.sweep(0..table.set_count(), tick, &TIMEOUTS, |_| ());
    assert_eq!(sweep(TIMEOUTS.tcp_established_ticks), 0);
    table.visit(0..table.set_count(), 50, |_| Visit::MarkReset, |_| ());
    assert_eq!(sweep(50 + TIMEOUTS.tcp_closing_ticks), 0);
    assert_eq!(sweep(51 + TIMEOUTS.tcp_closing_ticks), 1);
    assert!(State::of(session::Flags::NONE, session::Flags::NONE) == State::TcpTransitory);
}

#[test]
fn a_payload_word_and_an_epoch_are_replaced() {
    let table = TableV4::with_capacity(100);
    let Insert::Inserted { client, server } = insert(&table, 0, 1) else { panic!() };
    assert!(set_word(&table, &client, 1, 111) && set_word(&table, &server, 2, 222));
    assert!(table.set_epoch(&server, 9));
    let (client_now, server_now) = (hit(find(&table, CLIENT, 1)), hit(find(&table, SERVER, 1)));
    assert_eq!(client_now.payload, [client.payload[0], 111, client.payload[2]]);
    assert_eq!(server_now.payload, [server.payload[0], server.payload[1], 222]);
    assert_eq!((client_now.direction.activity.epoch(), server_now.direction.activity.epoch()), (0, 9));
    assert!(set_word(&table, &client, 0, 5), "the older hit still names the session");
}

#[test]
fn a_visitor_ends_what_it_chooses_and_hears_of_each() {
    let table = TableV4::with_capacity(1_000);
    (0..1_000).for_each(|number| assert!(insert_answered(&table, 0, number)));
    let mut ended = 0;
    let odd = |key: u64| (key - SERVER) % 2 == 1;
    let choose = |s: &session::Session<2, 3>| if odd(s.server.key[0]) { Visit::End } else { Visit::Keep };
    table.visit(0..table.set_count(), 0, choose, |_| ended += 1);
    let mut seen = 0;
    table.inspect(0..usize::MAX, |session| {
        seen += 1;
        assert!(!odd(session.server.key[0]));
    });
    assert_eq!((ended, seen, table.len()), (500, 500, 500));
}

#[test]
fn a_full_table_gives_up_half_open_sessions_and_no_other() {
    let table = TableV4::with_capacity(7);
    assert_eq!(table.set_count(), 1);
    (0..4).for_each(|number| assert!(insert_answered(&table, 0, number)));
    let mut evicted = Vec::new();
    for number in 100..200 {
        let half_open = opening(number as u32, Protocol::Tcp);
        let outcome = table.insert(&half_open, &entry(CLIENT, number), &entry(SERVER, number), |s| {
            assert_eq!(s.state(), State::TcpTransitory);
            evicted.push((s.client.payload[0] - CLIENT) / 2);
        });
        assert!(matches!(outcome, Insert::Inserted { .. }));
    }
    assert_eq!(evicted, (100..196).collect::<Vec<_>>(), "the longest idle first");
    for number in 0..4 {
        hit(find(&table, CLIENT, number));
    }
    assert_eq!(table.len(), 8);
    let last: Vec<_> = (1_000..1_004)
        .map(|number| {
            table.insert(&opening(500, Protocol::Udp), &entry(CLIENT, number), &entry(SERVER, number), |_| ())
        })
        .collect();
    for outcome in last {
        let Insert::Inserted { server, .. } = outcome else { panic!("{outcome:?}") };
        table.record(&server, 500, tcp::Observation::NOTHING);
    }
    assert_eq!(insert(&table, 600, 5_000), Insert::Full, "all are answered now");
}

fn fill_and_age<const K: usize, const P: usize, const L: usize>(capacity: u64) {
    let table = Table::<K, P, L>::with_capacity(capacity as usize);
    let slots = table.set_count() * SLOTS_PER_SET;
    assert!(slots * LOAD_PER_MILLE / 1000 <= 2 * capacity as usize + SLOTS_PER_SET, "no more than is needed");
    let mut held = Vec::new();
    for number in 0..capacity {
        if insert_answered(&table, 0, number) {
            held.push(number);
        }
    }
    let load = 2.0 * table.len() as f64 / slots as f64;
    let bytes = table.memory_bytes() as f64 / capacity as f64;
    println!(
        "{capacity} sessions of {K} key words: {} held, load {load:.4}, {bytes:.1} bytes each",
        held.len()
    );
    assert!(held.len() as u64 * 100 >= capacity * 99, "{} of {capacity} fit", held.len());
    assert_eq!(table.len(), held.len());
    for &number in &held {
        hit(find(&table, CLIENT, number));
        hit(find(&table, SERVER, number));
    }
    let mut ended = 0;
    for set in 0..table.set_count() {
        ended += table.sweep(set..set + 1, UDP_TICKS + 1, &TIMEOUTS, |_| ());
    }
    assert_eq!((ended, table.len()), (held.len(), 0));
    assert!((0..table.set_count() as u64).all(|number| find(&table, CLIENT, number) == Lookup::Miss));
}

#[test]
fn every_capacity_really_fits_then_ages_to_nothing() {
    for capacity in [1, 7, 8, 100, 1_000] {
        fill_and_age::<2, 3, 1>(capacity);
    }
    fill_and_age::<2, 3, 1>(200_000);
    fill_and_age::<5, 8, 2>(20_000);
}

#[test]
fn a_million_sessions_are_held_and_aged() {
    fill_and_age::<2, 3, 1>(1_000_000);
}

#[test]
fn memory_per_session_is_bounded_and_laid_out_in_lines() {
    let per_session = |bytes: usize| bytes as f64 / 100_000.0;
    let (v4, v6) = (TableV4::with_capacity(100_000), TableV6::with_capacity(100_000));
    assert!(per_session(v4.memory_bytes()) < 148.0);
    assert!(per_session(v6.memory_bytes()) < 290.0);
    for region in v4.memory_regions().into_iter().chain(v6.memory_regions()) {
        assert_eq!((region.address % 32, region.bytes % 32), (0, 0));
    }
    assert_eq!(v4.memory_regions()[0].address % 64, 0);
}
