//! Workers over ports of memory, turned by hand.

use crate::manager::Manager;
use engine::Worker;
use flow::{Family, V4, V6};
use hashbrown::{HashMap, HashSet};
use port::PortIndex;
use port::memory::MemoryPorts;
use rewrite::{MemberId, Translation, Words};
use session::Flags;
use std::time::Duration;

/// Frames that wait to be taken from one port at the most.
const TRANSMIT_FRAMES: usize = 4_096;

/// When a world begins: long after the clock did, so that nothing rests on a time of zero.
const START_NS: u64 = 1_000_000_000_000;

/// Turns until a world must have come to rest.
const TURNS_MAX: usize = 100_000;

/// A manager, its workers, and the time.
pub struct World {
    /// The control side.
    pub manager: Manager,
    workers: Vec<Worker<MemoryPorts>>,
    buffers: usize,
    now_ns: u64,
}

impl World {
    /// `workers` workers with `buffers` buffers each.
    pub fn new(mut manager: Manager, workers: usize, buffers: usize) -> Self {
        let rings = manager.rings();
        manager.set_time(START_NS);
        let worker = |number| {
            let ports = MemoryPorts::new(rings, buffers, TRANSMIT_FRAMES);
            Worker::new(manager.parts(ports, (number, workers)))
        };
        Self { workers: (0..workers).map(worker).collect(), manager, buffers, now_ns: START_NS }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The time.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Lets time pass. The workers notice at their next turn.
    pub fn pass(&mut self, time: Duration) {
        self.now_ns += time.as_nanos() as u64;
        self.manager.set_time(self.now_ns);
    }

    /// Lets `frame` arrive at `port` of `worker`; false when the port has no room or does not take such a frame.
    pub fn push(&mut self, worker: usize, port: usize, frame: &[u8]) -> bool {
        let worker = self.workers.get_mut(worker);
        worker.is_some_and(|worker| worker.ports_mut().push(PortIndex(port as u16), frame))
    }

    /// One turn of every worker; gives back how many frames were received.
    pub fn turn(&mut self) -> usize {
        self.workers.iter_mut().map(|worker| worker.turn(self.now_ns).received as usize).sum()
    }

    /// Turns until every frame is received and every walk over the tables is through.
    ///
    /// # Panics
    /// When the workers do not come to rest.
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let epoch = self.manager.plan().reset_epoch;
            let received = self.turn();
            let swept = self.manager.counters().all(|counters| counters.reset_epoch_swept.get() == epoch);
            if received == 0 && swept {
                return;
            }
        }
        panic!("the workers do not come to rest");
    }

    /// Takes a frame that `port` sent, those of the first worker first.
    pub fn take(&mut self, port: usize) -> Option<Vec<u8>> {
        self.workers.iter_mut().find_map(|worker| worker.ports_mut().take(PortIndex(port as u16)))
    }

    /// Throws away what all ports sent, and gives back how many frames that was. Allocates nothing.
    pub fn discard_sent(&mut self) -> usize {
        let rings = self.manager.rings() as u16;
        let discard = |worker: &mut Worker<MemoryPorts>| -> usize {
            (0..rings).map(|port| worker.ports_mut().discard_sent(PortIndex(port))).sum()
        };
        self.workers.iter_mut().map(discard).sum()
    }

    /// Sessions in both tables.
    pub fn sessions(&self) -> usize {
        self.manager.shared().sessions_v4.len() + self.manager.shared().sessions_v6.len()
    }

    /// Frames dropped for the reason of that name, by all workers; `None` when there is no such reason.
    pub fn dropped(&self, reason: &str) -> Option<u64> {
        let reason = engine::DropReason::all().find(|known| known.name() == reason)?;
        Some(self.manager.counters().map(|counters| counters.drops[reason.index()].get()).sum())
    }

    /// Checks the books: what holds after every turn, exactly.
    pub fn check_books(&mut self) -> Result<(), String> {
        for counters in self.manager.counters() {
            let received = counters.received.get();
            let (sent, dropped) = (counters.transmitted.get(), counters.dropped());
            let (parked, taken) = (counters.parked.get(), counters.taken.get());
            if received != sent + dropped + parked + taken {
                return Err(format!(
                    "{received} received, {sent} sent, {dropped} dropped, {parked} parked, {taken} taken"
                ));
            }
        }
        let (created, ended) = self.manager.counters().fold((0, 0), |(created, ended), counters| {
            (created + counters.sessions_opened.get(), ended + counters.sessions_closed.get())
        });
        let live = self.sessions() as u64;
        if created - ended != live {
            return Err(format!("{created} sessions created, {ended} ended, {live} live"));
        }
        Ok(())
    }

    /// Checks that every member carries exactly the sessions that count there, and that the persistence table has counted
    /// no more than there are. Walks both tables of sessions.
    pub fn check_loads(&self) -> Result<(), String> {
        let shared = self.manager.shared();
        let mut counted: HashMap<MemberId, u64> = HashMap::new();
        let mut remembered = 0u64;
        let mut see = |holders: HashSet<MemberId>, flags: Flags| {
            for holder in holders {
                *counted.entry(holder).or_default() += u64::from(!flags.contains(Flags::LEFT));
            }
            remembered += u64::from(flags.contains(Flags::REMEMBERED));
        };
        let (v4, v6) = (&shared.sessions_v4, &shared.sessions_v6);
        v4.inspect(0..v4.set_count(), |session| {
            let sides = [session.client.payload, session.server.payload]
                .map(|words| Translation::<V4>::from_words(&words));
            see(self.holders(&sides), session.client.direction.activity.flags());
        });
        v6.inspect(0..v6.set_count(), |session| {
            let sides = [session.client.payload, session.server.payload]
                .map(|words| Translation::<V6>::from_words(&words));
            see(self.holders(&sides), session.client.direction.activity.flags());
        });
        for (_, member) in self.manager.members() {
            let (is, should) =
                (shared.loads.sessions(member.id), counted.remove(&member.id).unwrap_or_default());
            if is != should {
                return Err(format!("{:?} carries {should} sessions and counts {is}", member.id));
            }
        }
        let mut held = 0;
        let tick = session::tick_from_ns(self.now_ns);
        let sticky = &shared.sticky;
        sticky.inspect(0..sticky.set_count(), tick, |entry| held += u64::from(entry.sessions));
        match held > remembered {
            true => Err(format!("{held} sessions are held by clients, and {remembered} live")),
            false => Ok(()),
        }
    }

    /// Everybody at whom a session counts: its server, and the firewalls on its way.
    fn holders<F: Family>(&self, sides: &[Translation<F>; 2]) -> HashSet<MemberId> {
        let rows = sides.iter().flat_map(|side| [side.to_firewall(), side.from_firewall()]).flatten();
        let generation = |row: u16| self.manager.plan().members[usize::from(row)].generation;
        let firewalls = rows.map(|index| MemberId { index, generation: generation(index) });
        firewalls.chain([sides[0].member]).collect()
    }

    /// Checks that every buffer is free again, once nothing waits and everything sent was taken.
    pub fn check_buffers(&mut self) -> Result<(), String> {
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let free = worker.ports_mut().free_buffers();
            if free != self.buffers {
                return Err(format!("worker {number} has {free} of {} buffers", self.buffers));
            }
        }
        Ok(())
    }
}
