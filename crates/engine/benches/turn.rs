//! What a whole turn costs a packet: one worker between memory ports, bursts of 64 frames of 60 bytes from
//! the outside.
//!
//! Only the time inside `turn` counts; frames are made before and thrown away after it. They are therefore in
//! the core's caches, where a driver would have put them into the last level at best. Beside each figure
//! stands a calibration of the same seconds: random cache lines of the very table that the turn works on, on
//! huge pages, 16 loads in flight.
//!
//! `-- 'turn/(1k|1M|8M|1M ipv6|new sessions)$'` runs what the bars are set for, in about a minute.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod world;

use criterion::{Criterion, criterion_group, criterion_main};
use flow::FlowKey;
use port::BURST_FRAMES_MAX;
use session::{Lookup, Probe, TableV4, TableV6};
use std::cell::RefCell;
use std::time::Instant;
use world::pairs::{bench, bench_prepared};
use world::{CAPACITY_SESSIONS, INSIDE, Talk, World};

/// Clients beyond this number never have a session when a bench begins.
const STRANGERS_FROM: usize = 2_000_000;

/// Sessions of the large table.
const LARGE_SESSIONS: usize = 8_000_000;

fn established(criterion: &mut Criterion, title: &str, talk: Talk, sessions: usize) {
    let make = || World::with_sessions(talk, sessions);
    bench(criterion, title, &mut None, make, |world, random| {
        world.seat.forward((0..BURST_FRAMES_MAX).map(|_| talk.packet(random.below(sessions))))
    });
}

fn turns(criterion: &mut Criterion) {
    established(criterion, "turn/1", Talk::TcpV4, 1);
    established(criterion, "turn/1k", Talk::TcpV4, 1_000);
    established(criterion, "turn/100k", Talk::TcpV4, 100_000);
    established(criterion, "turn/1M", Talk::TcpV4, CAPACITY_SESSIONS);
    established(criterion, "turn/8M", Talk::TcpV4, LARGE_SESSIONS);
    established(criterion, "turn/1M udp", Talk::UdpV4, CAPACITY_SESSIONS);
    established(criterion, "turn/1M ipv6", Talk::TcpV6, CAPACITY_SESSIONS);
    established(criterion, "turn/1k firewalls", Talk::CrossingV4, 1_000);
    established(criterion, "turn/1M firewalls", Talk::CrossingV4, CAPACITY_SESSIONS);
    established(criterion, "turn/1M bridge", Talk::BridgeV4, CAPACITY_SESSIONS);
    bridge_replies(criterion, "turn/1M bridge replies", CAPACITY_SESSIONS);
    established(criterion, "turn/1M direct", Talk::DirectV4, CAPACITY_SESSIONS);
}

/// Packets of servers that a bridge switches on to their clients, under the VIP's address.
fn bridge_replies(criterion: &mut Criterion, title: &str, sessions: usize) {
    let talk = Talk::BridgeV4;
    let make = || World::with_sessions(talk, sessions);
    let replies = RefCell::new(Vec::new());
    let prepare = |world: &mut World| {
        let reply = |number| Some(talk.reply(&mut world.seat.reaches_server(number)?));
        *replies.borrow_mut() = (0..sessions).filter_map(reply).collect();
    };
    bench_prepared(criterion, title, &mut None, make, prepare, |world, random| {
        let replies = replies.borrow();
        let frames = (0..BURST_FRAMES_MAX).map(|_| &replies[random.below(replies.len())]);
        world.seat.forward_from(INSIDE, frames)
    });
}

/// SYNs of clients that have no session, in a table that holds nine tenths of its sessions. The bench ends
/// each session itself, between two turns; `sessions` leaves that to the worker.
fn new_sessions(criterion: &mut Criterion, title: &str, talk: Talk) {
    let make = || World::with_sessions(talk, CAPACITY_SESSIONS / 10 * 9);
    let mut next = STRANGERS_FROM;
    bench(criterion, title, &mut None, make, |world, _| {
        let numbers = next..next + BURST_FRAMES_MAX;
        next = if numbers.end < 2 * STRANGERS_FROM { numbers.end } else { STRANGERS_FROM };
        let took = world.seat.forward(numbers.clone().map(|number| talk.opening(number)));
        numbers.for_each(|number| world.seat.forget(number));
        took
    });
}

/// Packets that no session is found for, in a table that holds nine tenths of its sessions.
fn misses(criterion: &mut Criterion) {
    new_sessions(criterion, "turn/new sessions", Talk::TcpV4);
    new_sessions(criterion, "turn/new sessions firewalls", Talk::CrossingV4);
    let make = || World::with_sessions(Talk::TcpV4, CAPACITY_SESSIONS / 10 * 9);
    let mut slot = None;
    bench(criterion, "turn/not balanced", &mut slot, make, |world, random| {
        let numbers = (0..BURST_FRAMES_MAX).map(|_| random.below(STRANGERS_FROM));
        world.seat.forward(numbers.map(|number| Talk::TcpV4.direct(number)))
    });
    bench(criterion, "look-up/miss", &mut slot, make, |world, random| {
        let keys: [_; BURST_FRAMES_MAX] =
            std::array::from_fn(|_| Talk::TcpV4.key_v4(STRANGERS_FROM + random.below(STRANGERS_FROM)));
        let (table, hasher) = (&world.shared.sessions_v4, &world.shared.hasher);
        let started = Instant::now();
        let asked: [Probe; BURST_FRAMES_MAX] =
            std::array::from_fn(|i| table.ask_for_tags(keys[i].hash(hasher)));
        let probes = asked.map(|probe| table.look(probe));
        probes.iter().for_each(|probe| table.ask_for_slot(probe));
        let missed = |(probe, key): &(&Probe, &flow::KeyV4)| table.find(probe, key.words()) == Lookup::Miss;
        let misses = probes.iter().zip(&keys).filter(missed).count();
        let took = started.elapsed();
        assert_eq!(misses, BURST_FRAMES_MAX);
        took
    });
}

/// What the tables hold in memory, tags and spare slots included, for each session of two sides.
fn memory(_: &mut Criterion) {
    let (v4, v6) = (TableV4::with_capacity(CAPACITY_SESSIONS), TableV6::with_capacity(CAPACITY_SESSIONS));
    for (family, bytes) in [("IPv4", v4.memory_bytes()), ("IPv6", v6.memory_bytes())] {
        println!("memory: {:.1} bytes per {family} session", bytes as f64 / CAPACITY_SESSIONS as f64);
    }
}

criterion_group!(benches, memory, turns, misses);
criterion_main!(benches);
