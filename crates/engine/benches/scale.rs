//! What a packet costs where several workers share one table: one, two and four on threads of their own, over
//! memory ports, with sessions of their own (disjoint) and with the same ones (shared).
//!
//! Each thread is pinned to a core, in turns where there are more threads than cores. Costs are CPU time of
//! the thread inside `turn`, so that a thread which waits for its core looks no dearer; the cost of asking
//! that clock is measured and taken off. Frames are made before.
//!
//! Sharing is made visible twice, and nothing is counted on the packet path for it. *Lost counts*: a direction's
//! packets are counted by a load and a store, so two workers on one word at one moment lose a count; what the
//! sessions counted is compared with what was sent. *One word*: the same number of threads add to one word, and
//! each to its own, with nothing else to do: what a contended line costs here.

mod world;

use core_affinity::CoreId;
use port::BURST_FRAMES_MAX;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::pairs::Random;
use world::{CAPACITY_SESSIONS, OUTSIDE, Seat, Setup, Talk, World};

const WORKERS_MAX: usize = 4;
const RUN: Duration = Duration::from_millis(1_500);
/// Different packets of one worker: sessions enough to leave a core's own caches, frames that fit in memory.
const FRAMES: usize = 1 << 18;
/// Bytes of a frame of [`Talk::TcpV4`].
const FRAME_BYTES: usize = 60;
/// Additions of each thread to a word.
const ADDITIONS: u64 = 5_000_000;

#[derive(Clone, Copy)]
struct Scenario {
    title: &'static str,
    sessions: usize,
    is_shared: bool,
}

const SCENARIOS: [Scenario; 5] = [
    Scenario { title: "1M, disjoint", sessions: CAPACITY_SESSIONS, is_shared: false },
    Scenario { title: "1M, shared", sessions: CAPACITY_SESSIONS, is_shared: true },
    Scenario { title: "1k, disjoint", sessions: 1_000, is_shared: false },
    Scenario { title: "1k, shared", sessions: 1_000, is_shared: true },
    Scenario { title: "1, shared", sessions: 1, is_shared: true },
];

/// What one thread did.
#[derive(Clone, Copy, Default)]
struct Share {
    packets: u64,
    forwarded: u64,
    cpu: Duration,
    wall: Duration,
}

fn main() {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut setup = Setup::of(Talk::TcpV4, CAPACITY_SESSIONS);
    setup.workers = WORKERS_MAX;
    let mut world = World::new(&setup);
    let now_ns = world.seat.now_ns;
    world.others.iter_mut().for_each(|seat| seat.now_ns = now_ns);
    println!("scale: {} cores; asking the thread's clock costs {:?}", cores.len(), clock_cost());
    println!(
        "{:>14} {:>8} {:>14} {:>8} {:>14} {:>12} {:>13}",
        "sessions", "workers", "CPU ns/packet", "to one", "packets/s", "cal ns/line", "lost counts"
    );
    for scenario in SCENARIOS {
        let mut alone_ns = f64::NAN;
        for workers in [1, 2, 4] {
            let cost_ns = run(&mut world, scenario, workers, &cores, alone_ns);
            if workers == 1 {
                alone_ns = cost_ns;
            }
        }
    }
    one_word(&cores);
    if cores.len() < WORKERS_MAX {
        println!(
            "scale: {WORKERS_MAX} threads on {} cores take turns: a thread rarely meets another in a line, \
             so these rows understate what four cores would pay",
            cores.len()
        );
    }
}

/// Runs one scenario, prints its row and gives back what a packet cost.
fn run(world: &mut World, scenario: Scenario, workers: usize, cores: &[CoreId], alone_ns: f64) -> f64 {
    let counted_before = counted(world);
    let line_ns = world.line_ns(workers as u64);
    let barrier = Barrier::new(workers);
    let seats: Vec<&mut Seat> =
        [&mut world.seat].into_iter().chain(&mut world.others).take(workers).collect();
    let shares: Vec<Share> = std::thread::scope(|scope| {
        let start = |(place, seat)| {
            let barrier = &barrier;
            scope.spawn(move || {
                pin(cores, place);
                forward(seat, &frames(scenario, place, workers), barrier)
            })
        };
        let threads: Vec<_> = seats.into_iter().enumerate().map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect()
    });
    let packets: u64 = shares.iter().map(|share| share.packets).sum();
    let cost_ns = shares.iter().map(|share| share.cpu.as_nanos() as f64).sum::<f64>() / packets as f64;
    let rate = shares.iter().map(|share| share.packets as f64 / share.wall.as_secs_f64()).sum::<f64>();
    let forwarded: u64 = shares.iter().map(|share| share.forwarded).sum();
    let lost = forwarded.saturating_sub(counted(world) - counted_before);
    println!(
        "{:>14} {workers:>8} {cost_ns:>14.1} {:>8.2} {rate:>14.0} {line_ns:>12.1} {:>11.3} %",
        scenario.title,
        if alone_ns.is_nan() { 1.0 } else { cost_ns / alone_ns },
        lost as f64 * 100.0 / forwarded as f64
    );
    cost_ns
}

/// Ties this thread to a core, round them.
fn pin(cores: &[CoreId], place: usize) {
    cores.get(place % cores.len().max(1)).copied().map(core_affinity::set_for_current);
}

/// The frames of one worker, side by side.
fn frames(scenario: Scenario, place: usize, workers: usize) -> Vec<u8> {
    let mut random = Random(place as u64);
    let share = scenario.sessions / workers;
    let mut bytes = Vec::with_capacity(FRAMES * FRAME_BYTES);
    for _ in 0..FRAMES {
        let number = match scenario.is_shared {
            true => random.below(scenario.sessions),
            false => place * share + random.below(share),
        };
        let frame = Talk::TcpV4.packet(number);
        assert_eq!(frame.len(), FRAME_BYTES);
        bytes.extend(frame);
    }
    bytes
}

/// Forwards the frames over and over, and says what that took.
fn forward(seat: &mut Seat, frames: &[u8], barrier: &Barrier) -> Share {
    let mut share = Share::default();
    let asking = clock_cost();
    let mut bursts = frames.chunks_exact(BURST_FRAMES_MAX * FRAME_BYTES).cycle();
    barrier.wait();
    let started = Instant::now();
    while started.elapsed() < RUN {
        // Frames are there whenever there is a burst.
        let Some(burst) = bursts.next() else { break };
        seat.feed(OUTSIDE, burst.chunks_exact(FRAME_BYTES));
        let before = cpu_time();
        seat.turn();
        share.cpu += (cpu_time() - before).saturating_sub(asking);
        share.packets += BURST_FRAMES_MAX as u64;
        // The few whose session the table refused are dropped.
        let [inside, _] = seat.discard_sent();
        assert!(inside + 8 >= BURST_FRAMES_MAX, "{inside} frames of a burst were forwarded");
        share.forwarded += inside as u64;
    }
    share.wall = started.elapsed();
    share
}

/// Packets that the sessions have counted towards servers.
fn counted(world: &World) -> u64 {
    let table = &world.shared.sessions_v4;
    let mut sum = 0;
    table.inspect(0..table.set_count(), |session| {
        sum += u64::from(session.client.direction.progress.packets());
    });
    sum
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What stands between two looks at the thread's clock.
fn clock_cost() -> Duration {
    const LOOKS: u32 = 10_000;
    let started = cpu_time();
    for _ in 0..LOOKS {
        black_box(cpu_time());
    }
    (cpu_time() - started) / LOOKS
}

/// Additions by a load and a store, as a session's packets are counted: to a word of each thread's own, then to one
/// word of all.
fn one_word(cores: &[CoreId]) {
    for workers in [2, 4] {
        let words: Vec<Line> = (0..workers).map(|_| Line::default()).collect();
        let [own, one] = [1, 0].map(|step| {
            let barrier = Barrier::new(workers);
            let add = |place: usize| {
                pin(cores, place);
                let word = &words[place * step].0;
                barrier.wait();
                let before = cpu_time();
                for _ in 0..ADDITIONS {
                    word.store(black_box(word.load(Ordering::Relaxed)) + 1, Ordering::Relaxed);
                }
                cpu_time() - before
            };
            let add = &add;
            let spent: Duration = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..workers).map(|place| scope.spawn(move || add(place))).collect();
                threads.into_iter().map(|thread| thread.join().expect("an addition does not panic")).sum()
            });
            spent.as_nanos() as f64 / (ADDITIONS as f64 * workers as f64)
        });
        println!(
            "scale: an addition by {workers} threads: {own:.1} ns to words of their own, {one:.1} ns to one word"
        );
    }
}

/// A word on lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);
