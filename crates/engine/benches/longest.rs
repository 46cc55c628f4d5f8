//! The longest turn: how long turns take while something large happens, as histograms.
//!
//! Beside each turn stands an *empty* one: a loop that reads the clock for as long as the median turn takes,
//! in the same run, on the same thread. What it takes longer is what the machine itself steals. A turn during
//! which the thread was switched out (its count of time slices in `schedstat` went up: it never sleeps, so
//! each is involuntary) is shown apart. Time that a hypervisor takes is seen by neither, and by both alike.
//!
//! Nothing is asserted about time: the figures are read beside the bar of 100 µs.

mod world;

use hdrhistogram::Histogram;
use port::BURST_FRAMES_MAX;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::pairs::Random;
use world::plan::PlanSpec;
use world::{CAPACITY_SESSIONS, OUTSIDE, Seat, Setup, Talk, World};

/// Turns of a scenario that has no end of its own.
const TURNS: u64 = 200_000;
/// Turns from one plan to the next.
const TURNS_PER_PLAN: u64 = 100;
/// Turns until the empty ones follow the median anew.
const TURNS_PER_MEDIAN: u64 = 4_096;
/// Servers of the world in which many die, and those that do.
const SERVERS: u16 = 128;
const DYING: u16 = 100;
const ROUNDS_OF_DEATH: u64 = 3;
/// Entries of a transmit ring, unless a user says otherwise.
const RING_ENTRIES: usize = 2_048;
/// Sessions that go on while all others expire.
const KEPT: usize = 1_000;
const IDLE_MS: u64 = 10_000;
/// A sweep that is never through would be a defect; this ends the bench.
const TURNS_MAX: u64 = 2_000_000;

fn main() {
    // Small first, so that the memory of the large ones is not held by all.
    let mut quiet = Times::new();
    let mut world = World::with_sessions(Talk::TcpV4, CAPACITY_SESSIONS);
    for _ in 0..TURNS {
        quiet.measure(&mut world.seat, CAPACITY_SESSIONS);
    }
    quiet.report("nothing else");
    reloads(&mut world, false).report("a reload every 100 turns");
    reloads(&mut world, true).report("a reload every 100 turns, every route new");
    drop(world);
    deaths().report(&format!("{DYING} of {SERVERS} servers die, a million sessions"));
    expiries(None).report("a million sessions expire, real clock");
    expiries(Some(Duration::from_millis(1))).report("the same, every turn a millisecond late");
}

/// Plans from another thread, as control publishes them.
fn reloads(world: &mut World, is_rerouted: bool) -> Times {
    let mut times = Times::new();
    let (turns, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let World { seat, publisher, shared, .. } = world;
    let first = publisher.current();
    let mut spec = PlanSpec {
        generation: first.generation,
        route_epoch: first.route_epoch,
        reset_epoch: first.reset_epoch,
        ..PlanSpec::default()
    };
    let generation = spec.generation;
    std::thread::scope(|scope| {
        let control = scope.spawn(|| {
            let mut next = 0;
            while !done.load(Ordering::Acquire) {
                spec.generation += 1;
                spec.route_epoch = spec.route_epoch.wrapping_add(u16::from(is_rerouted));
                let plan = spec.plan(shared);
                next += TURNS_PER_PLAN;
                while turns.load(Ordering::Acquire) < next && !done.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_micros(50));
                }
                publisher.publish(plan);
            }
            spec.generation
        });
        for turn in 0..TURNS {
            times.measure(seat, CAPACITY_SESSIONS);
            turns.store(turn, Ordering::Release);
        }
        done.store(true, Ordering::Release);
        let last = control.join().expect("publishing does not panic");
        println!("{} plans were published", last - generation);
    });
    times
}

/// The sweep that resets the sessions of dead servers, from the publication to its end.
fn deaths() -> Times {
    let mut times = Times::new();
    for _ in 0..ROUNDS_OF_DEATH {
        let mut setup = Setup::of(Talk::TcpV4, CAPACITY_SESSIONS);
        setup.plan.servers = SERVERS;
        setup.buffers = 2 * RING_ENTRIES + 4 * BURST_FRAMES_MAX;
        setup.transmit_frames = RING_ENTRIES;
        let mut world = World::new(&setup);
        world.publish(&PlanSpec { generation: 2, reset_epoch: 1, dead: DYING, ..setup.plan });
        let mut turns = 0;
        while world.seat.counters.reset_epoch_swept.get() < 1 && turns < TURNS_MAX {
            times.measure(&mut world.seat, CAPACITY_SESSIONS);
            turns += 1;
        }
        println!("{turns} turns until the last session was reset, {} frames sent for it", {
            world.seat.counters.injected.get()
        });
    }
    times
}

/// The walk that ends a million sessions while some go on. `late` is how far the clock goes on each turn; `None`
/// follows the real one.
fn expiries(late: Option<Duration>) -> Times {
    let mut times = Times::new();
    let mut setup = Setup::of(Talk::TcpV4, CAPACITY_SESSIONS);
    setup.plan.established_ms = IDLE_MS;
    setup.plan.transitory_ms = IDLE_MS;
    let mut world = World::new(&setup);
    world.seat.now_ns += 2 * IDLE_MS * 1_000_000;
    let (mut turns, mut last) = (0, Instant::now());
    while world.held() > 2 * KEPT && turns < TURNS_MAX {
        world.seat.turn_ns = late.unwrap_or_else(|| last.elapsed()).as_nanos() as u64;
        last = Instant::now();
        times.measure(&mut world.seat, KEPT);
        turns += 1;
    }
    println!("{turns} turns until {} sessions were left", world.held());
    times
}

/// How long turns took, and empty ones.
struct Times {
    random: Random,
    slices: Slices,
    turn: Apart,
    empty: Apart,
    empty_for: Duration,
}

/// Durations in nanoseconds, those of undisturbed turns apart from those that were switched out.
struct Apart {
    undisturbed: Histogram<u64>,
    switched_out: Histogram<u64>,
}

impl Times {
    fn new() -> Self {
        let apart = || Apart { undisturbed: histogram(), switched_out: histogram() };
        let slices = Slices::open();
        Self {
            random: Random(1),
            slices,
            turn: apart(),
            empty: apart(),
            empty_for: Duration::from_micros(10),
        }
    }

    /// One turn over a burst of random sessions among the first `sessions`, and an empty one.
    fn measure(&mut self, seat: &mut Seat, sessions: usize) {
        seat.feed(OUTSIDE, (0..BURST_FRAMES_MAX).map(|_| Talk::TcpV4.packet(self.random.below(sessions))));
        let before = self.slices.count();
        let took = seat.timed_turn();
        let between = self.slices.count();
        self.turn.record(took, before != between);
        seat.discard_sent();
        let turns = self.turn.undisturbed.len();
        if turns.is_power_of_two() || turns.is_multiple_of(TURNS_PER_MEDIAN) {
            self.empty_for = Duration::from_nanos(self.turn.undisturbed.value_at_quantile(0.5).max(1_000));
        }
        let before = self.slices.count();
        let started = Instant::now();
        let took = loop {
            let took = started.elapsed();
            if took >= self.empty_for {
                break took;
            }
        };
        self.empty.record(took, before != self.slices.count());
    }

    fn report(&self, title: &str) {
        println!("longest turn, {title}:");
        if !self.slices.is_known() {
            println!("  (this kernel does not say when a thread is switched out)");
        }
        for (what, apart) in [("turn", &self.turn), ("empty", &self.empty)] {
            row(what, &apart.undisturbed);
            row(&format!("{what}, out"), &apart.switched_out);
        }
        print!("  µs:");
        for step in self.turn.undisturbed.iter_log(4_000, 2.0) {
            if step.count_since_last_iteration() > 0 {
                let (to, count) = (step.value_iterated_to() / 1_000, step.count_since_last_iteration());
                print!("  ≤{} {count}", to + 1);
            }
        }
        println!();
    }
}

impl Apart {
    fn record(&mut self, took: Duration, is_switched_out: bool) {
        let histogram = if is_switched_out { &mut self.switched_out } else { &mut self.undisturbed };
        histogram.saturating_record(took.as_nanos() as u64);
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("bounds and digits are within the crate's own")
}

fn row(what: &str, histogram: &Histogram<u64>) {
    let us = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    println!(
        "  {what:>10}: {:>8} times, p50 {:.1}, p99 {:.1}, p99.9 {:.1}, p99.99 {:.1}, longest {:.1} µs",
        histogram.len(),
        us(0.5),
        us(0.99),
        us(0.999),
        us(0.9999),
        histogram.max() as f64 / 1_000.0
    );
}

/// How often the thread was given a core, as the kernel counts it.
struct Slices {
    file: Option<File>,
}

impl Slices {
    fn open() -> Self {
        Self { file: File::open("/proc/thread-self/schedstat").ok() }
    }

    fn is_known(&self) -> bool {
        self.count().is_some()
    }

    fn count(&self) -> Option<u64> {
        let mut bytes = [0; 96];
        let length = self.file.as_ref()?.read_at(&mut bytes, 0).ok()?;
        std::str::from_utf8(bytes.get(..length)?).ok()?.split_whitespace().nth(2)?.parse().ok()
    }
}
