//! A worker between memory ports: one outside, towards clients, one inside, towards servers.
//!
//! ```text
//!   clients 198.19.0.0/16 ── gateway ── port 0 │ worker │ port 1 ── servers 198.18.1.1 and following
//!   2001:db8:1::/48            VIP 198.18.0.10, 2001:db8::10: TCP 80, UDP 53           2001:db8:2::1 …
//! ```
//!
//! The first three servers stand for firewalls too, before 198.18.2.0/24.
#![allow(dead_code, reason = "each bench uses its own part")]

pub mod calibration;
pub mod pairs;
pub mod plan;
pub mod talk;

use ::plan::{Plan, Publisher};
use engine::{Parts, Shared, Turn, Worker, WorkerCounters, orders};
use flow::{FlowHasher, FlowKey};
use plan::PlanSpec;
use port::memory::MemoryPorts;
use port::{BURST_FRAMES_MAX, PortIndex};
use session::Lookup;
use std::sync::Arc;
use std::time::{Duration, Instant};
use talk::Passage;
pub use talk::Talk;

pub const OUTSIDE: PortIndex = PortIndex(0);
pub const INSIDE: PortIndex = PortIndex(1);

const BUFFERS: usize = 4 * BURST_FRAMES_MAX;
/// What `session_capacity` is unless a user says otherwise.
pub const CAPACITY_SESSIONS: usize = 1_000_000;
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// When the clock of every worker begins.
pub const START_NS: u64 = 1_000_000_000;

fn hasher() -> FlowHasher {
    FlowHasher::new([7; 16])
}

/// What a worker that gets ten million packets a second has for each burst. A clock that goes on by so much
/// each turn, whatever the machine does, makes the instructions of a run countable.
const TURN_NS: u64 = 100 * BURST_FRAMES_MAX as u64;

/// How a world begins.
#[derive(Clone, Copy)]
pub struct Setup {
    pub talk: Talk,
    /// Sessions of the talk's family that the tables have room for.
    pub capacity: usize,
    /// Those that are established before the bench begins.
    pub established: usize,
    /// Clients that can be remembered.
    pub clients: usize,
    /// Frames that lie in the ports at the most.
    pub buffers: usize,
    /// Frames that one port sends in a turn at the most.
    pub transmit_frames: usize,
    pub workers: usize,
    pub plan: PlanSpec,
}

impl Setup {
    pub fn of(talk: Talk, established: usize) -> Self {
        Self {
            talk,
            capacity: established.max(CAPACITY_SESSIONS),
            established,
            clients: 64,
            buffers: BUFFERS,
            transmit_frames: BUFFERS,
            workers: 1,
            plan: PlanSpec { passage: talk.passage(), ..PlanSpec::default() },
        }
    }
}

/// One worker with its ports, and its clock.
pub struct Seat {
    worker: Worker<MemoryPorts>,
    pub shared: Arc<Shared>,
    pub counters: Arc<WorkerCounters>,
    pub talk: Talk,
    pub now_ns: u64,
    /// How far the clock goes on each turn.
    pub turn_ns: u64,
}

/// The workers over one set of tables, and who tells them what to do.
pub struct World {
    /// The first worker.
    pub seat: Seat,
    /// The others.
    pub others: Vec<Seat>,
    pub shared: Arc<Shared>,
    pub talk: Talk,
    pub publisher: Publisher<Plan>,
}

impl World {
    /// A world whose table holds `sessions` established sessions.
    pub fn with_sessions(talk: Talk, sessions: usize) -> Self {
        Self::new(&Setup::of(talk, sessions))
    }

    pub fn new(setup: &Setup) -> Self {
        let Setup { talk, capacity, .. } = *setup;
        let is_v6 = talk == Talk::TcpV6;
        let sizes = engine::Sizes {
            sessions_v4: if is_v6 { CAPACITY_SESSIONS } else { capacity },
            sessions_v6: if is_v6 { capacity } else { CAPACITY_SESSIONS / 10 },
            links: setup.plan.links(),
            members: usize::from(setup.plan.members()),
            clients: setup.clients,
        };
        let shared = Arc::new(Shared::new(sizes, hasher()));
        let regions = [shared.sessions_v4.memory_regions(), shared.sessions_v6.memory_regions()];
        for region in regions.as_flattened() {
            let pages = rings::memory::prefer_huge_pages_at(region.address, region.bytes);
            // A region of less than a huge page is not worth the word.
            if let Some(reason) = pages.reason.filter(|_| region.bytes >= HUGE_PAGE_BYTES) {
                println!("{} of {} bytes on huge pages: {reason}", pages.collapsed_bytes, region.bytes);
            }
        }
        let publisher = Publisher::new(setup.plan.plan(&shared));
        let seat = |place| Seat::new(setup, &shared, &publisher, place);
        let (first, others) = (seat(0), (1..setup.workers).map(seat).collect());
        let mut world = Self { seat: first, others, shared: shared.clone(), talk, publisher };
        world.establish(setup.established);
        world
    }

    /// Has the workers work by another plan from their next turn on.
    pub fn publish(&mut self, plan: &PlanSpec) {
        self.publisher.publish(plan.plan(&self.shared));
    }

    fn establish(&mut self, sessions: usize) {
        let (talk, seat) = (self.talk, &mut self.seat);
        for first in (0..sessions).step_by(BURST_FRAMES_MAX) {
            let numbers = first..sessions.min(first + BURST_FRAMES_MAX);
            seat.feed(OUTSIDE, numbers.clone().map(|number| talk.opening(number)));
            seat.timed_turn();
            let mut answers = Vec::with_capacity(BURST_FRAMES_MAX);
            while let Some(mut opening) = seat.worker.ports_mut().take(INSIDE) {
                // Who answers directly is not heard here.
                if talk.passage() != Passage::Direct {
                    answers.push(talk.answer(&mut opening));
                }
            }
            seat.feed(INSIDE, answers);
            seat.timed_turn();
            seat.discard_sent();
            seat.feed(OUTSIDE, numbers.map(|number| talk.packet(number)));
            seat.timed_turn();
            seat.discard_sent();
        }
        let held = self.held();
        // Where both sides of a session have one hash, a few more find no room.
        assert!(held >= sessions - sessions / 100, "{held} of {sessions} sessions were opened");
    }

    /// Sessions in both tables.
    pub fn held(&self) -> usize {
        self.shared.sessions_v4.len() + self.shared.sessions_v6.len()
    }

    /// The calibration beside this world: one random line of its table, in nanoseconds.
    pub fn line_ns(&self, seed: u64) -> f64 {
        match self.talk {
            Talk::TcpV6 => calibration::line_ns(&self.shared.sessions_v6, seed),
            _ => calibration::line_ns(&self.shared.sessions_v4, seed),
        }
    }
}

impl Seat {
    fn new(setup: &Setup, shared: &Arc<Shared>, publisher: &Publisher<Plan>, place: usize) -> Self {
        let counters = Arc::new(WorkerCounters::new(2, usize::from(setup.plan.members())));
        let worker = Worker::new(Parts {
            ports: MemoryPorts::new(2, setup.buffers, setup.transmit_frames),
            plan: publisher.subscribe(),
            shared: shared.clone(),
            orders: Arc::new(orders()),
            counters: counters.clone(),
            place: (place, setup.workers),
        });
        let (shared, talk) = (shared.clone(), setup.talk);
        Self { worker, shared, counters, talk, now_ns: START_NS, turn_ns: TURN_NS }
    }

    /// Lets frames arrive at `port`.
    pub fn feed<F: AsRef<[u8]>>(&mut self, port: PortIndex, frames: impl IntoIterator<Item = F>) {
        let ports = self.worker.ports_mut();
        let is_taken = |frame: F| ports.push(port, frame.as_ref());
        assert!(frames.into_iter().all(is_taken), "buffers suffice for a burst");
    }

    /// One turn, and how long it took.
    pub fn timed_turn(&mut self) -> Duration {
        let started = Instant::now();
        self.turn();
        started.elapsed()
    }

    /// One turn.
    pub fn turn(&mut self) -> Turn {
        self.now_ns += self.turn_ns;
        turn(&mut self.worker, self.now_ns)
    }

    /// Throws away what was sent; gives back how many frames went inside and how many outside.
    pub fn discard_sent(&mut self) -> [usize; 2] {
        [INSIDE, OUTSIDE].map(|port| self.worker.ports_mut().discard_sent(port))
    }

    /// One turn over 64 frames of clients, all of which must be forwarded but for the few whose session found no room.
    pub fn forward(&mut self, frames: impl IntoIterator<Item = Vec<u8>>) -> Duration {
        self.forward_from(OUTSIDE, frames)
    }

    /// The same for frames that arrive at `port` and leave by the other one.
    pub fn forward_from<F: AsRef<[u8]>>(
        &mut self,
        port: PortIndex,
        frames: impl IntoIterator<Item = F>,
    ) -> Duration {
        self.feed(port, frames);
        let took = self.timed_turn();
        let sent = self.discard_sent()[port.index()];
        assert!(sent + 8 >= BURST_FRAMES_MAX, "{sent} frames of {BURST_FRAMES_MAX} were forwarded");
        took
    }

    /// What reaches the server of a packet of the established session of client `number`, if that found room.
    pub fn reaches_server(&mut self, number: usize) -> Option<Vec<u8>> {
        self.feed(OUTSIDE, [self.talk.packet(number)]);
        self.turn();
        let reached = self.worker.ports_mut().take(INSIDE);
        self.discard_sent();
        reached
    }

    /// Ends the IPv4 session of client `number`.
    pub fn forget(&mut self, number: usize) {
        let (table, key) = (&self.shared.sessions_v4, self.talk.key_v4(number));
        if let Lookup::Hit(hit) = table.find(&table.probe(key.hash(&self.shared.hasher)), key.words()) {
            table.remove(hit.client_slot(), hit.birth);
        }
    }
}

/// Never inlined, so that a profiler can be told to look at nothing else.
#[inline(never)]
fn turn(worker: &mut Worker<MemoryPorts>, now_ns: u64) -> Turn {
    worker.turn(now_ns)
}
