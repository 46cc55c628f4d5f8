//! All checks of the appliance in the control thread's loop.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use mio::{Registry, Token};

use super::checker::{Checker, Health, Parameters, Turn};
use super::reason::Reason;
use super::tcp::{AWAITED, Start, TcpProbe};

/// Sockets that checks hold at once. With it, 512 silent servers a second can be found out at a response time
/// of one second, and half of the usual 1024 descriptors of a process are left to everything else. Checks
/// beyond it wait for their turn; waiting is no failure.
pub const SOCKETS_MAX: usize = 512;

/// From the first check of one server to the first of the next, so that servers are not asked in lockstep for
/// ever after; less where that would take longer than an interval.
const FIRST_CHECK_STEP: Duration = Duration::from_millis(10);

/// When a check is tried again for which this host lacked a descriptor or a port.
const OWN_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Names a check as long as it is wanted; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(u64);

/// A TCP check that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Whom to ask.
    pub address: SocketAddr,
    /// How to judge.
    pub parameters: Parameters,
}

/// A change of mind about a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// By which check.
    pub id: CheckId,
    /// When.
    pub at: Instant,
    /// What was thought before and now, and why.
    pub turn: Turn,
}

/// What is known by a check, to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// What is thought of the server.
    pub health: Health,
    /// Why the last check failed or the server is down.
    pub reason: Option<&'a Reason>,
    /// When the last check ended.
    pub last_check: Option<Instant>,
}

struct Entry {
    wanted: Wanted,
    checker: Checker,
    /// The socket in use: asking, or being closed until the time.
    slot: Option<usize>,
    closing_until: Option<Instant>,
    /// In the queue for a socket.
    waiting: bool,
    /// This host could not ask; not before the time.
    not_before: Option<Instant>,
    /// The one entry of the heap that counts.
    scheduled: Option<Instant>,
}

impl Entry {
    fn deadline(&self) -> Option<Instant> {
        let next = match (self.waiting, self.not_before) {
            (true, _) => self.checker.overdue_at(),
            (false, Some(at)) => Some(self.checker.overdue_at().map_or(at, |overdue| overdue.min(at))),
            (false, None) => Some(self.checker.next_deadline()),
        };
        next.into_iter().chain(self.closing_until).min()
    }
}

/// Runs all checks. Lend it [`SOCKETS_MAX`] tokens of the loop; give it events of these and the time of its
/// deadline.
pub struct Checks {
    registry: Registry,
    first_token: usize,
    entries: BTreeMap<CheckId, Entry>,
    by_wanted: HashMap<Wanted, CheckId>,
    /// Who uses the socket of each token.
    slots: Vec<Option<(CheckId, TcpProbe)>>,
    free: Vec<usize>,
    queue: VecDeque<CheckId>,
    heap: BinaryHeap<Reverse<(Instant, CheckId)>>,
    made: u64,
    own_errors: u64,
}

impl Checks {
    /// No checks yet. Sockets are made in the network namespace of the thread that calls.
    pub fn new(registry: Registry, first_token: Token) -> Self {
        Self {
            registry,
            first_token: first_token.0,
            entries: BTreeMap::new(),
            by_wanted: HashMap::new(),
            slots: (0..SOCKETS_MAX).map(|_| None).collect(),
            free: (0..SOCKETS_MAX).rev().collect(),
            queue: VecDeque::new(),
            heap: BinaryHeap::new(),
            made: 0,
            own_errors: 0,
        }
    }

    /// Makes `wanted` the checks that run; gives the id of each, the same for the same. A check that was
    /// there before goes on as if nothing had happened; one that differs only in how to judge keeps its
    /// verdict until it is judged anew.
    pub fn update(&mut self, now: Instant, wanted: &[Wanted], out: &mut Vec<Transition>) -> Vec<CheckId> {
        let before = std::mem::take(&mut self.by_wanted);
        let mut verdicts = HashMap::new();
        for (old, id) in &before {
            verdicts.entry(old.address).or_insert(*id);
        }
        let mut new = 0;
        let mut ids = Vec::with_capacity(wanted.len());
        for want in wanted {
            let known = self.by_wanted.get(want).or_else(|| before.get(want)).copied();
            let id = known.unwrap_or_else(|| {
                let step = FIRST_CHECK_STEP.min(want.parameters.interval / wanted.len().max(1) as u32);
                let first = now + step * new;
                new += 1;
                let ancestor = verdicts.get(&want.address).and_then(|id| self.entries.get(id));
                let fresh = || Checker::new(want.parameters, first);
                let checker =
                    ancestor.map_or_else(fresh, |old| old.checker.judged_by(want.parameters, first));
                self.insert(*want, checker)
            });
            self.by_wanted.insert(*want, id);
            ids.push(id);
        }
        let kept: HashSet<CheckId> = ids.iter().copied().collect();
        for id in before.into_values().filter(|id| !kept.contains(id)) {
            self.release(id);
            self.entries.remove(&id);
        }
        // What a check that is gone has left in the queue and in the heap is skipped there.
        self.serve_queue(now, out);
        ids
    }

    /// Whether an event with this token is for the checks.
    pub fn owns(&self, token: Token) -> bool {
        (self.first_token..self.first_token + SOCKETS_MAX).contains(&token.0)
    }

    /// Takes an event.
    pub fn handle(&mut self, now: Instant, token: Token, out: &mut Vec<Transition>) {
        let Some((id, probe)) =
            token.0.checked_sub(self.first_token).and_then(|slot| self.slots.get_mut(slot)?.as_mut())
        else {
            return;
        };
        let (id, progress) = (*id, probe.ready());
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(outcome) = progress.outcome {
            entry.closing_until = Some(now + entry.wanted.parameters.response_time);
            let turn = entry.checker.conclude(now, outcome);
            out.extend(turn.map(|turn| Transition { id, at: now, turn }));
        }
        if progress.finished {
            self.release(id);
            self.serve_queue(now, out);
        }
        self.schedule(id);
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Instant, out: &mut Vec<Transition>) {
        while let Some(Reverse((at, id))) = self.heap.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.heap.pop();
            let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.scheduled == Some(at)) else {
                continue;
            };
            entry.scheduled = None;
            self.serve(now, id, out);
            self.schedule(id);
        }
        self.serve_queue(now, out);
    }

    /// Takes the server of a check for down, because of what was seen elsewhere.
    pub fn condemn(&mut self, now: Instant, id: CheckId, reason: Reason, out: &mut Vec<Transition>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(turn) = entry.checker.condemn(now, reason) else { return };
        // Its turn in the queue is void: the next check is an interval away.
        (entry.waiting, entry.not_before) = (false, None);
        out.push(Transition { id, at: now, turn });
        self.release(id);
        self.serve_queue(now, out);
        self.schedule(id);
    }

    /// Has a server asked at once, out of turn; if it is being asked already, that will do.
    pub fn hasten(&mut self, now: Instant, id: CheckId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.checker.hasten(now);
            self.schedule(id);
        }
    }

    /// When [`Checks::advance`] has something to do. It may be early: a deadline that was put off stays until
    /// it passes.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// What is known by a check.
    pub fn status(&self, id: CheckId) -> Option<Status<'_>> {
        let checker = &self.entries.get(&id)?.checker;
        Some(Status { health: checker.health(), reason: checker.reason(), last_check: checker.last_check() })
    }

    /// How many checks run, how many of them hold a socket, and how many wait for one.
    pub fn load(&self) -> (usize, usize, usize) {
        let waiting = self.entries.values().filter(|entry| entry.waiting).count();
        (self.entries.len(), SOCKETS_MAX - self.free.len(), waiting)
    }

    /// How often this host lacked what a check needs: descriptors, ports or memory.
    pub fn own_errors(&self) -> u64 {
        self.own_errors
    }

    fn insert(&mut self, wanted: Wanted, checker: Checker) -> CheckId {
        let id = CheckId(self.made);
        self.made += 1;
        let entry = Entry {
            wanted,
            checker,
            slot: None,
            closing_until: None,
            waiting: false,
            not_before: None,
            scheduled: None,
        };
        self.entries.insert(id, entry);
        self.schedule(id);
        id
    }

    /// What one check has to do now.
    fn serve(&mut self, now: Instant, id: CheckId, out: &mut Vec<Transition>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let expired = entry.checker.expire(now, AWAITED);
        out.extend(expired.turn.map(|turn| Transition { id, at: now, turn }));
        let due = entry.checker.due(now) && !entry.waiting && entry.not_before.is_none_or(|at| at <= now);
        let closed = entry.closing_until.is_some_and(|until| until <= now);
        // A socket that still waits for its peer's FIN makes way for the next check.
        if expired.abandoned || closed || due {
            self.release(id);
        }
        if due && let Some(entry) = self.entries.get_mut(&id) {
            // Through the queue even where a socket is free: those who wait came first.
            entry.waiting = true;
            self.queue.push_back(id);
        }
    }

    /// Starts one check in a free slot.
    fn start(&mut self, now: Instant, id: CheckId, slot: usize, out: &mut Vec<Transition>) {
        // Gone, or condemned while it waited.
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.waiting) else {
            return self.free.push(slot);
        };
        entry.waiting = false;
        entry.not_before = None;
        match TcpProbe::start(entry.wanted.address, &self.registry, Token(self.first_token + slot)) {
            Start::UnderWay(probe) => {
                entry.checker.start(now);
                entry.slot = Some(slot);
                self.slots[slot] = Some((id, probe));
                return;
            }
            Start::Over(outcome) => {
                entry.checker.start(now);
                let turn = entry.checker.conclude(now, outcome);
                out.extend(turn.map(|turn| Transition { id, at: now, turn }));
            }
            Start::NotNow(error) => {
                self.own_errors += 1;
                entry.not_before = Some(now + OWN_ERROR_PAUSE);
                if self.own_errors.is_power_of_two() {
                    let times = self.own_errors;
                    tracing::warn!(%error, times, "checks have to wait: this host lacks something");
                }
            }
        }
        self.free.push(slot);
    }

    /// Gives free sockets to those who wait, in the order in which they came.
    fn serve_queue(&mut self, now: Instant, out: &mut Vec<Transition>) {
        while !self.queue.is_empty()
            && let Some(slot) = self.free.pop()
            && let Some(id) = self.queue.pop_front()
        {
            self.start(now, id, slot, out);
            self.schedule(id);
        }
    }

    /// Closes the socket of a check, if it has one.
    fn release(&mut self, id: CheckId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.closing_until = None;
        if let Some(slot) = entry.slot.take()
            && let Some((_, probe)) = self.slots[slot].take()
        {
            probe.close(&self.registry);
            self.free.push(slot);
        }
    }

    fn schedule(&mut self, id: CheckId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let deadline = entry.deadline();
        if entry.scheduled != deadline {
            entry.scheduled = deadline;
            self.heap.extend(deadline.map(|at| Reverse((at, id))));
        }
    }
}
