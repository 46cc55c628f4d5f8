//! The table against a plain map, over random histories; and against itself, from several threads at once.
#![cfg(not(loom))]

mod fixture;

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicU8, Ordering},
    thread,
};

use fixture::{CLIENT, SERVER, entry, find, hit, opening};
use proptest::prelude::*;
use session::{Entry, Insert, Lookup, Protocol, Session, TableV4, Timeouts, Visit, tcp::Observation};

const IDLE_TICKS: u32 = 10;
const TIMEOUTS: Timeouts = Timeouts {
    tcp_established_ticks: IDLE_TICKS,
    tcp_transitory_ticks: IDLE_TICKS,
    tcp_closing_ticks: IDLE_TICKS,
    udp_ticks: IDLE_TICKS,
    icmp_ticks: IDLE_TICKS,
};

#[derive(Clone, Debug)]
enum Step {
    Insert { client: u64, server: u64 },
    Packet { side: u64, number: u64 },
    Remove { client: u64 },
    Payload { client: u64, index: usize, value: u64 },
    Wait { ticks: u32 },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..24u64;
    prop_oneof![
        4 => (number.clone(), number.clone()).prop_map(|(client, server)| Step::Insert { client, server }),
        4 => (prop_oneof![Just(CLIENT), Just(SERVER)], number.clone())
            .prop_map(|(side, number)| Step::Packet { side, number }),
        2 => number.clone().prop_map(|client| Step::Remove { client }),
        1 => (number, 0..3usize, any::<u64>()).prop_map(|(client, index, value)| {
            Step::Payload { client, index, value }
        }),
        1 => (0..IDLE_TICKS).prop_map(|ticks| Step::Wait { ticks }),
        1 => Just(Step::Sweep),
    ]
}

/// A session as the plain map knows it.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    server: u64,
    payload: [u64; 3],
    packets: [u32; 2],
    seen: u32,
}

fn known(session: &Session<2, 3>, now: u32) -> (u64, Known) {
    let sides = [session.client, session.server].map(|side| side.direction);
    let seen = now.wrapping_sub(session.idle_ticks(now));
    let packets = sides.map(|direction| direction.progress.packets());
    let server = session.server.key[0] - SERVER;
    (session.client.key[0] - CLIENT, Known { server, payload: session.client.payload, packets, seen })
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let table = TableV4::with_capacity(30);
    let mut map: HashMap<u64, Known> = HashMap::new();
    let mut now = u32::MAX - 20;
    for step in steps {
        match *step {
            Step::Insert { client, server } => {
                let opening = opening(now, Protocol::Udp);
                let outcome = table.insert(&opening, &entry(CLIENT, client), &entry(SERVER, server), |_| ());
                let payload = entry::<2, 3>(CLIENT, client).payload;
                if let Some(there) = map.get(&client) {
                    let same = matches!(outcome, Insert::Duplicate(hit) if hit.payload == there.payload);
                    prop_assert!(same, "{outcome:?} for {there:?}");
                } else if map.values().any(|there| there.server == server) {
                    prop_assert_eq!(outcome, Insert::ServerKeyTaken);
                } else {
                    let inserted = matches!(outcome, Insert::Inserted { .. });
                    prop_assert!(inserted, "{outcome:?}");
                    map.insert(client, Known { server, payload, packets: [1, 0], seen: now });
                }
            }
            Step::Packet { side, number } => {
                let of_number = |(client, there): &(&u64, &mut Known)| {
                    if side == CLIENT { **client == number } else { there.server == number }
                };
                match (find(&table, side, number), map.iter_mut().find(of_number)) {
                    (Lookup::Hit(hit), Some((_, there))) => {
                        table.record(&hit, now, Observation::NOTHING);
                        there.packets[usize::from(side == SERVER)] += 1;
                        there.seen = now;
                    }
                    (found, there) => prop_assert_eq!((found, there), (Lookup::Miss, None)),
                }
            }
            Step::Remove { client } => {
                let removed = match find(&table, CLIENT, client) {
                    Lookup::Hit(hit) => table.remove(hit.slot, hit.birth).map(|session| known(&session, now)),
                    _ => None,
                };
                prop_assert_eq!(removed, map.remove(&client).map(|there| (client, there)));
            }
            Step::Payload { client, index, value } => {
                if let Some(there) = map.get_mut(&client) {
                    prop_assert!(set_word(&table, &hit(find(&table, CLIENT, client)), index, value));
                    there.payload[index] = value;
                }
            }
            Step::Wait { ticks } => now = now.wrapping_add(ticks),
            Step::Sweep => {
                let mut ended = HashMap::new();
                table.sweep(0..table.set_count(), now, &TIMEOUTS, |session| {
                    ended.extend([known(session, now)])
                });
                let old = map
                    .extract_if(|_, there| now.wrapping_sub(there.seen) > IDLE_TICKS)
                    .collect::<HashMap<_, _>>();
                prop_assert_eq!(ended, old);
            }
        }
        let mut there = HashMap::new();
        table.inspect(0..table.set_count(), |session| there.extend([known(session, now)]));
        prop_assert_eq!(table.len(), map.len());
        prop_assert_eq!(&there, &map);
    }
    Ok(())
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn the_table_does_what_a_map_does(steps in prop::collection::vec(step(), 1..200)) {
        run(&steps)?;
    }
}

const THREADS: u64 = 4;
const ROUNDS: u64 = 20_000;

/// A source-NAT port for each insert ever tried: taken once, given back once.
struct Ports(Vec<AtomicU8>);

impl Ports {
    fn take(&self, port: u64) {
        assert_eq!(self.0[port as usize].swap(1, Ordering::Relaxed), 0, "port {port} was used twice");
    }

    fn give_back(&self, port: u64) {
        assert_eq!(self.0[port as usize].swap(2, Ordering::Relaxed), 1, "port {port} was given back twice");
    }
}

/// Payload of the hammer: number and side, port, port.
fn hammer_entry(side: u64, number: u64, port: u64) -> Entry<2, 3> {
    let plain = entry::<2, 3>(side, number);
    Entry { payload: [plain.payload[0], port, port], ..plain }
}

fn hammer(table: &TableV4, ports: &Ports, thread: u64) {
    let mut random = thread * 77 + 1;
    for round in 0..ROUNDS {
        random = fixture::hash(&[random]);
        let (number, server) = (random % 96, (random >> 8) % 96);
        let (tick, port) = (round as u32 / 64, thread * ROUNDS + round);
        let ended = |session: &Session<2, 3>| ports.give_back(session.client.payload[1]);
        match (random >> 16) % 8 {
            0..3 => {
                ports.take(port);
                let (client, server) =
                    (hammer_entry(CLIENT, number, port), hammer_entry(SERVER, server, port));
                match table.insert(&opening(tick, Protocol::Udp), &client, &server, ended) {
                    Insert::Inserted { .. } | Insert::Evicted => {}
                    _ => ports.give_back(port),
                }
            }
            3..6 => {
                let side = if random >> 20 & 1 == 0 { CLIENT } else { SERVER };
                let plain = entry::<2, 3>(side, number);
                if let Lookup::Hit(hit) = table.find(&table.probe(plain.hash), &plain.key) {
                    assert_eq!(
                        (hit.payload[0], hit.payload[1]),
                        (plain.payload[0], hit.payload[2]),
                        "a mixed slot"
                    );
                    table.record(&hit, tick, Observation::NOTHING);
                    set_word(table, &hit, 0, plain.payload[0]);
                    table.peer_direction(&hit);
                }
            }
            6 => {
                table.sweep(0..table.set_count(), tick, &TIMEOUTS, ended);
            }
            _ => {
                let plain = entry::<2, 3>(CLIENT, number);
                if let Lookup::Hit(hit) = table.find(&table.probe(plain.hash), &plain.key) {
                    table.remove(hit.slot, hit.birth).iter().for_each(ended);
                }
            }
        }
    }
}

#[test]
fn threads_that_do_everything_at_once_leave_every_key_and_port_single() {
    // Room for 64 of 96 possible sessions, so that sets fill and sessions are evicted, too.
    let table = TableV4::with_capacity(64);
    let ports = Ports((0..THREADS * ROUNDS).map(|_| AtomicU8::new(0)).collect());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, ports) = (&table, &ports);
            scope.spawn(move || hammer(table, ports, thread));
        }
    });
    let (mut clients, mut servers) = (HashSet::new(), HashSet::new());
    table.inspect(0..table.set_count(), |session| {
        assert!(clients.insert(session.client.key), "two sessions of one client key");
        assert!(servers.insert(session.server.key), "two sessions of one server key");
    });
    assert_eq!(clients.len(), table.len());
    let end_all = |_: &Session<2, 3>| Visit::End;
    table.visit(0..table.set_count(), 0, end_all, |session| ports.give_back(session.client.payload[1]));
    assert!(table.is_empty());
    assert!(ports.0.iter().all(|port| port.load(Ordering::Relaxed) != 1), "a port was never given back");
    let mut room = 0;
    while matches!(fixture::insert(&table, 0, 1_000 + room), Insert::Inserted { .. }) && room < 64 {
        room += 1;
    }
    assert!(room > 55, "only {room} of 64 fit: slots were lost");
}
