//! What a whole turn costs a packet: one worker between memory ports, bursts of 64 frames of 60 bytes from
//! the outside.
//!
//! Only the time inside `turn` counts; frames are made before and thrown away after it. They are therefore in
//! the core's caches, where a driver would have put them into the last level at best. Beside each figure
//! stands a calibration of the same seconds: random cache lines of the very table that the turn works on, on
//! huge pages, 16 loads in flight.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod world;

use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use flow::FlowKey;
use port::BURST_FRAMES_MAX;
use session::{Lookup, Probe, TableV4, TableV6};
use std::time::{Duration, Instant};
use world::{CAPACITY_SESSIONS, OUTSIDE, Talk, World, calibration};

/// Turns between two calibrations: both are then over before a scheduler thinks of another task, and the
/// median of many such pairs shows the machine undisturbed.
const TURNS_PER_CALIBRATION: u64 = 32;
/// Clients beyond this number never have a session when a bench begins.
const STRANGERS_FROM: usize = 2_000_000;

/// Numbers as a generator of Steele, Lea and Flood (SplitMix64) gives them.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
    }
}

/// Nanoseconds per packet and per calibration line, of stretches of the same run.
#[derive(Default)]
struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    fn median(&self, of: impl Fn(&(f64, f64)) -> f64) -> f64 {
        let mut values: Vec<f64> = self.0.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn report(&self, title: &str) {
        if !self.0.is_empty() {
            let (packet, line) = (self.median(|pair| pair.0), self.median(|pair| pair.1));
            let ratio = self.median(|pair| pair.0 / pair.1);
            println!(
                "{title}: {packet:.1} ns per packet, calibration {line:.2} ns per line, ratio {ratio:.1}"
            );
        }
    }
}

/// Measures bursts in stretches, each followed by a calibration. `burst` gives back what of its time counts.
fn measure(
    bencher: &mut Bencher<'_>,
    pairs: &mut Pairs,
    world: &mut World,
    mut burst: impl FnMut(&mut World) -> Duration,
) {
    bencher.iter_custom(|bursts| {
        let mut total = Duration::ZERO;
        for first in (0..bursts).step_by(TURNS_PER_CALIBRATION as usize) {
            let count = TURNS_PER_CALIBRATION.min(bursts - first);
            let stretch: Duration = (0..count).map(|_| burst(world)).sum();
            let line_ns = match world.talk {
                Talk::TcpV6 => calibration::line_ns(&world.shared.sessions_v6, first),
                Talk::TcpV4 | Talk::UdpV4 | Talk::CrossingV4 => {
                    calibration::line_ns(&world.shared.sessions_v4, first)
                }
            };
            let packets = count * BURST_FRAMES_MAX as u64;
            pairs.0.push((stretch.as_nanos() as f64 / packets as f64, line_ns));
            total += stretch;
        }
        total
    });
}

/// Benches `burst` under `title` in a world that is made only if somebody asks for this bench.
fn bench(
    criterion: &mut Criterion,
    title: &str,
    make: impl Fn() -> World,
    mut burst: impl FnMut(&mut World, &mut Random) -> Duration,
) {
    let (mut world, mut random, mut pairs) = (None, Random(1), Pairs::default());
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(BURST_FRAMES_MAX as u64));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    group.bench_function(title, |bencher| {
        let world = world.get_or_insert_with(&make);
        measure(bencher, &mut pairs, world, |world| burst(world, &mut random));
    });
    group.finish();
    pairs.report(title);
}

/// One turn over 64 frames, all of which must be forwarded but for the few whose session found no room.
fn forwarded(world: &mut World, frames: impl IntoIterator<Item = Vec<u8>>) -> Duration {
    world.feed(OUTSIDE, frames);
    let took = world.timed_turn();
    let [inside, _] = world.discard_sent();
    assert!(inside + 8 >= BURST_FRAMES_MAX, "{inside} frames of {BURST_FRAMES_MAX} were forwarded");
    took
}

fn established(criterion: &mut Criterion, title: &str, talk: Talk, sessions: usize) {
    let make = || World::with_sessions(talk, sessions);
    bench(criterion, title, make, |world, random| {
        forwarded(world, (0..BURST_FRAMES_MAX).map(|_| talk.packet(random.below(sessions))))
    });
}

fn turns(criterion: &mut Criterion) {
    established(criterion, "turn/1", Talk::TcpV4, 1);
    established(criterion, "turn/1k", Talk::TcpV4, 1_000);
    established(criterion, "turn/100k", Talk::TcpV4, 100_000);
    established(criterion, "turn/1M", Talk::TcpV4, CAPACITY_SESSIONS);
    established(criterion, "turn/1M udp", Talk::UdpV4, CAPACITY_SESSIONS);
    established(criterion, "turn/1M ipv6", Talk::TcpV6, CAPACITY_SESSIONS);
    established(criterion, "turn/1k firewalls", Talk::CrossingV4, 1_000);
    established(criterion, "turn/1M firewalls", Talk::CrossingV4, CAPACITY_SESSIONS);
}

/// Packets that no session is found for, in a table that holds nine tenths of its sessions.
fn misses(criterion: &mut Criterion) {
    let make = || World::with_sessions(Talk::TcpV4, CAPACITY_SESSIONS / 10 * 9);
    let mut next = STRANGERS_FROM;
    bench(criterion, "turn/new sessions", make, |world, _| {
        let numbers = next..next + BURST_FRAMES_MAX;
        next = if numbers.end < 2 * STRANGERS_FROM { numbers.end } else { STRANGERS_FROM };
        let took = forwarded(world, numbers.clone().map(|number| Talk::TcpV4.opening(number)));
        numbers.for_each(|number| world.forget(number));
        took
    });
    let make_crossing = || World::with_sessions(Talk::CrossingV4, CAPACITY_SESSIONS / 10 * 9);
    bench(criterion, "turn/new sessions firewalls", make_crossing, |world, _| {
        let numbers = next..next + BURST_FRAMES_MAX;
        next = if numbers.end < 2 * STRANGERS_FROM { numbers.end } else { STRANGERS_FROM };
        let took = forwarded(world, numbers.clone().map(|number| Talk::CrossingV4.opening(number)));
        numbers.for_each(|number| world.forget(number));
        took
    });
    bench(criterion, "turn/not balanced", make, |world, random| {
        forwarded(world, (0..BURST_FRAMES_MAX).map(|_| Talk::TcpV4.direct(random.below(STRANGERS_FROM))))
    });
    bench(criterion, "look-up/miss", make, |world, random| {
        let keys: [_; BURST_FRAMES_MAX] =
            std::array::from_fn(|_| world.key_v4(STRANGERS_FROM + random.below(STRANGERS_FROM)));
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
