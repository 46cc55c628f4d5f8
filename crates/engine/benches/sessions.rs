//! What a new session costs where sessions also end: a table of a million at nine tenths, SYNs of strangers
//! alone, and the worker's own sweep that ends what got no answer.
//!
//! ```text
//!   every turn:   64 SYNs ─▶ choose, insert two sides, forward
//!                 a slice of the sweep ─▶ as many sessions, idle for a tick, end
//! ```
//!
//! Both are inside the measured time; nothing is removed by the bench. The clock goes on by 16 ms a turn,
//! which is four thousand sessions a second: the sweep then walks as fast as a busy worker's may, and ports
//! of the pool that rest for two minutes leave others. Schedulers follow one another in one table.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod world;

use criterion::{Criterion, criterion_group, criterion_main};
use port::BURST_FRAMES_MAX;
use std::cell::{Cell, RefCell};
use world::pairs::bench_prepared;
use world::plan::{Balancing, PlanSpec};
use world::{CAPACITY_SESSIONS, Setup, Talk, World};

const TURN_NS: u64 = 16_000_000;
/// Sessions that stay. What is on its way between SYN and sweep fills the table to about nine tenths.
const STAYING: usize = CAPACITY_SESSIONS / 100 * 83;
/// Turns until as many sessions end as are made: more than one walk of the sweep.
const TURNS_TO_STEADY: u64 = 5_000;
/// Clients beyond this number have no session that stays.
const STRANGERS_FROM: usize = 2_000_000;
/// Strangers come back after so many others, when their sessions have long ended.
const STRANGERS: usize = 4_000_000;
/// Those that stay are never swept: a year.
const FOREVER_MS: u64 = 365 * 24 * 3_600_000;

fn plan(balancing: Balancing) -> PlanSpec {
    PlanSpec { balancing, transitory_ms: 100, established_ms: FOREVER_MS, ..PlanSpec::default() }
}

fn make() -> World {
    let mut setup = Setup::of(Talk::TcpV4, STAYING);
    setup.plan = plan(Balancing::RoundRobin);
    // Every address that the strangers have.
    setup.clients = 2 * 65_536;
    let mut world = World::new(&setup);
    world.seat.turn_ns = TURN_NS;
    world
}

/// SYNs of strangers from number `next` on, in turns until the table is steady, then measured; gives back the next
/// stranger's number.
fn new_sessions(
    criterion: &mut Criterion,
    title: &str,
    slot: &mut Option<World>,
    next: usize,
    spec: PlanSpec,
) -> usize {
    let (next, seen) = (Cell::new(next), RefCell::new(None));
    let burst = |world: &mut World| {
        let first = STRANGERS_FROM + next.get() % STRANGERS;
        next.set(next.get() + BURST_FRAMES_MAX);
        world.seat.forward((first..first + BURST_FRAMES_MAX).map(|number| Talk::TcpV4.opening(number)))
    };
    let prepare = |world: &mut World| {
        world.publish(&spec);
        for _ in 0..TURNS_TO_STEADY {
            burst(world);
        }
        *seen.borrow_mut() = Some(Seen::of(world));
    };
    bench_prepared(criterion, title, slot, make, prepare, |world, _| {
        let took = burst(world);
        if let Some(seen) = seen.borrow_mut().as_mut() {
            seen.turns += 1;
            seen.held += world.held() as u64;
            seen.now = Counts::of(world);
        }
        took
    });
    if let Some(seen) = seen.into_inner() {
        seen.report(title);
    }
    next.get()
}

#[derive(Clone, Copy)]
struct Counts {
    opened: u64,
    closed: u64,
    hurried: u64,
}

impl Counts {
    fn of(world: &World) -> Self {
        let counters = &world.seat.counters;
        Self {
            opened: counters.sessions_opened.get(),
            closed: counters.sessions_closed.get(),
            hurried: counters.source_ports_hurried.get(),
        }
    }
}

/// What became of sessions in the measured turns.
struct Seen {
    before: Counts,
    now: Counts,
    turns: u64,
    held: u64,
}

impl Seen {
    fn of(world: &World) -> Self {
        Self { before: Counts::of(world), now: Counts::of(world), turns: 0, held: 0 }
    }

    fn report(&self, title: &str) {
        let (opened, closed) = (self.now.opened - self.before.opened, self.now.closed - self.before.closed);
        let share = self.held as f64 / self.turns.max(1) as f64 / CAPACITY_SESSIONS as f64;
        println!(
            "{title}: {opened} sessions opened, {closed} ended by the sweep, the table {:.0} % full, \
             {} ports lent before their rest was over",
            share * 100.0,
            self.now.hurried - self.before.hurried
        );
    }
}

fn schedulers(criterion: &mut Criterion) {
    let (mut slot, mut next) = (None, 0);
    for (name, balancing) in Balancing::ALL {
        let title = format!("new session/{name}");
        next = new_sessions(criterion, &title, &mut slot, next, plan(balancing));
    }
    let round_robin = plan(Balancing::RoundRobin);
    let persistent = PlanSpec { is_persistent: true, ..round_robin };
    next = new_sessions(criterion, "new session/persistence", &mut slot, next, persistent);
    let translated = PlanSpec { is_translated: true, ..round_robin };
    new_sessions(criterion, "new session/source NAT", &mut slot, next, translated);
}

criterion_group!(benches, schedulers);
criterion_main!(benches);
