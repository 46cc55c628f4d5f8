//! All checks of the appliance in the control thread's loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use config::Probe;
use hashbrown::{HashMap, HashSet};
use mio::event::Event;
use mio::{Registry, Token};

use super::allowance::SOCKETS_MAX;
use super::attempt::{Progress, Start};
use super::carried::{CARRIED_TOKENS, Carried};
use super::checker::{Checker, Health, Outcome, Silence, Turn};
use super::conversation::Conversation;
use super::pool::Pool;
use super::raw::{Heard, Needs, RAW_TOKENS, Raw};
use super::reason::Reason;
use super::wanted::{Ancestors, Carriage, Wanted, Way};

mod carrying;
mod entry;

use entry::{Asking, Entry};

/// Tokens of the loop that the checks need.
pub const TOKENS: usize = SOCKETS_MAX + RAW_TOKENS + CARRIED_TOKENS;

/// From the first check of one server to the first of the next, so that servers are not asked in lockstep for
/// ever after; less where that would take longer than an interval.
const FIRST_CHECK_STEP: Duration = Duration::from_millis(10);

/// Where the steps are shorter than this, as many checks as fall into it begin together: two thousand checks a second
/// then wake the control thread two hundred times a second, not two thousand.
const FIRST_CHECK_GRAIN: Duration = Duration::from_millis(5);

/// When a check is tried again for which this host lacked a descriptor or a port.
const OWN_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Names a check as long as it is wanted; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub(super) u64);

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
    /// How long the last good answer took: of a stream's handshake alone where nothing else is asked.
    pub response_time: Option<Duration>,
}

/// Runs all checks. Lend it [`TOKENS`] tokens of the loop. In each round of the loop, give it the events of these, then
/// call [`Checks::advance`]. Only there are questions asked: a socket that was given back while events were handled has
/// no successor before the last of them, which may be its own.
pub struct Checks {
    first_token: usize,
    entries: HashMap<CheckId, Entry>,
    by_wanted: HashMap<Wanted, CheckId>,
    pool: Pool,
    raw: Raw,
    carried: Carried,
    /// Servers of carried checks whose MAC address is not known.
    shut: HashSet<Carriage>,
    heard: Vec<Heard>,
    queue: VecDeque<CheckId>,
    heap: BinaryHeap<Reverse<(Instant, CheckId)>>,
    /// Something was left unread at this time.
    more_at: Option<Instant>,
    made: u64,
    asked: u64,
    own_errors: u64,
}

impl Checks {
    /// No checks yet, and never more than so many sockets (`socket_allowance`). Sockets are made in the network
    /// namespace of the thread that calls.
    ///
    /// # Errors
    ///
    /// What the kernel says when it cannot copy a descriptor.
    pub fn new(registry: &Registry, first_token: Token, sockets_max: usize) -> std::io::Result<Self> {
        let first_raw = first_token.0 + SOCKETS_MAX;
        Ok(Self {
            first_token: first_token.0,
            entries: HashMap::new(),
            by_wanted: HashMap::new(),
            pool: Pool::new(registry.try_clone()?, first_token.0, sockets_max.min(SOCKETS_MAX)),
            raw: Raw::new(registry.try_clone()?, first_raw),
            carried: Carried::new(registry.try_clone()?, first_raw + RAW_TOKENS),
            shut: HashSet::new(),
            heard: Vec::new(),
            queue: VecDeque::new(),
            heap: BinaryHeap::new(),
            more_at: None,
            made: 0,
            asked: 0,
            own_errors: 0,
        })
    }

    /// Makes `wanted` the checks that run; gives the id of each, the same for the same. A check that was
    /// there before goes on as if nothing had happened. One that asks the same in another rhythm, or that takes
    /// the place of another of the same target, keeps what was thought until it is judged anew. What is new begins
    /// with the next [`Checks::advance`].
    pub fn update(&mut self, now: Instant, wanted: &[Wanted]) -> Vec<CheckId> {
        let before = std::mem::take(&mut self.by_wanted);
        let ancestors = Ancestors::new(&before, wanted);
        let mut new = 0;
        let mut ids = Vec::with_capacity(wanted.len());
        for want in wanted {
            let known = self.by_wanted.get(want).or_else(|| before.get(want)).copied();
            let id = known.unwrap_or_else(|| {
                let step = FIRST_CHECK_STEP.min(want.parameters.interval / wanted.len().max(1) as u32);
                let grains = (step * new).as_nanos() / FIRST_CHECK_GRAIN.as_nanos();
                let first = now + FIRST_CHECK_GRAIN * u32::try_from(grains).unwrap_or_default();
                new += 1;
                let ancestor = ancestors.of(want).and_then(|id| self.entries.get(&id));
                let fresh = || Checker::new(want.parameters, first);
                let checker =
                    ancestor.map_or_else(fresh, |old| old.checker.judged_by(want.parameters, first));
                self.insert(want.clone(), checker)
            });
            self.by_wanted.insert(want.clone(), id);
            ids.push(id);
        }
        let kept: HashSet<CheckId> = ids.iter().copied().collect();
        for id in before.into_values().filter(|id| !kept.contains(id)) {
            self.release(id);
            // What it has left in the queue and in the heap is skipped there.
            if let Some(watched) = self.entries.remove(&id).and_then(|entry| entry.watched) {
                self.raw.forget_datagram(watched);
            }
        }
        self.raw.keep(self.needs());
        self.keep_carried();
        ids
    }

    /// Whether an event with this token is for the checks.
    pub fn owns(&self, token: Token) -> bool {
        (self.first_token..self.first_token + TOKENS).contains(&token.0)
    }

    /// Takes an event.
    pub fn handle(&mut self, now: Instant, event: &Event, out: &mut Vec<Transition>) {
        if event.token().0 >= self.first_token + SOCKETS_MAX {
            if !self.carried.notice(event.token()) {
                self.raw.notice(event.token());
            }
            return self.listen(now, out);
        }
        if let Some((id, progress)) = self.pool.handle(event) {
            self.take(now, id, progress, out);
        }
    }

    /// What became of a check.
    fn take(&mut self, now: Instant, id: CheckId, progress: Progress, out: &mut Vec<Transition>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(outcome) = progress.outcome {
            entry.closing_until = Some(now + entry.wanted.parameters.response_time);
            let turn = entry.checker.conclude(now, outcome);
            out.extend(turn.map(|turn| Transition { id, at: now, turn }));
            // What became of a datagram is known now, and is not to be heard a second time.
            if let Some(watched) = entry.watched.take() {
                self.raw.forget_datagram(watched);
            }
        }
        if progress.finished {
            self.release(id);
        }
        self.schedule(id);
    }

    /// Does what is due. Call it once a round, after the events.
    pub fn advance(&mut self, now: Instant, out: &mut Vec<Transition>) {
        if self.more_at.take().is_some() {
            self.listen(now, out);
        }
        while let Some(Reverse((at, id))) = self.heap.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.heap.pop();
            let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.scheduled == Some(at)) else {
                continue;
            };
            entry.scheduled = None;
            self.serve(now, id, out);
            self.schedule(id);
            if self.raw.is_talkative() {
                self.listen(now, out);
            }
        }
        self.serve_queue(now, out);
    }

    /// Takes the server of a check for down, because of what was seen elsewhere.
    pub fn condemn(&mut self, now: Instant, id: CheckId, reason: Reason, out: &mut Vec<Transition>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(turn) = entry.checker.condemn(now, reason) else { return };
        // Its turn in the queue is void: the next check is an interval away.
        if matches!(entry.asking, Asking::Queued) {
            entry.asking = Asking::Nothing;
        }
        entry.not_before = None;
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
        let timer = self.heap.peek().map(|Reverse((at, _))| *at);
        timer.into_iter().chain(self.more_at).min()
    }

    /// What is known by a check.
    pub fn status(&self, id: CheckId) -> Option<Status<'_>> {
        let checker = &self.entries.get(&id)?.checker;
        Some(Status {
            health: checker.health(),
            reason: checker.reason(),
            last_check: checker.last_check(),
            response_time: checker.response_time(),
        })
    }

    /// How many checks run, how many sockets they hold of their own, and how many wait for one.
    pub fn load(&self) -> (usize, usize, usize) {
        let waiting = self.entries.values().filter(|entry| matches!(entry.asking, Asking::Queued)).count();
        (self.entries.len(), self.pool.used(), waiting)
    }

    /// How often a server was asked.
    pub fn asked(&self) -> u64 {
        self.asked
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
            asking: Asking::Nothing,
            closing_until: None,
            carried_at: None,
            not_before: None,
            rounds: 0,
            watched: None,
            undelivered: None,
            scheduled: None,
        };
        self.entries.insert(id, entry);
        self.schedule(id);
        id
    }

    /// Which shared sockets the checks need.
    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for entry in self.entries.values() {
            let family = usize::from(entry.wanted.target.address.is_ipv6());
            let half_open = matches!(*entry.wanted.probe, Probe::TcpHalfOpen);
            let carried = entry.wanted.target.way != Way::Kernel;
            needs.tcp[family] |= half_open && !carried;
            needs.icmp[family] |= half_open
                || carried
                || matches!(*entry.wanted.probe, Probe::Icmp)
                || entry.is_content_with_silence();
        }
        needs
    }

    /// Reads the shared sockets.
    fn listen(&mut self, now: Instant, out: &mut Vec<Transition>) {
        let mut heard = std::mem::take(&mut self.heard);
        self.raw.listen(&mut heard);
        for heard in heard.drain(..) {
            match heard {
                Heard::Verdict(id, outcome) => {
                    let Some(entry) = self.entries.get_mut(&id) else { continue };
                    entry.asking = Asking::Nothing;
                    let turn = entry.checker.conclude(now, outcome);
                    out.extend(turn.map(|turn| Transition { id, at: now, turn }));
                    self.schedule(id);
                }
                Heard::Undelivered(id, reason) => {
                    let Some(entry) = self.entries.get_mut(&id) else { continue };
                    entry.watched = None;
                    if matches!(entry.asking, Asking::Socket(_)) {
                        let turn = entry.checker.conclude(now, Outcome::Failure(reason));
                        out.extend(turn.map(|turn| Transition { id, at: now, turn }));
                        self.release(id);
                        self.schedule(id);
                    } else {
                        entry.undelivered = Some(reason);
                    }
                }
                Heard::Lost(what) => {
                    if let Some((id, progress)) = self.carried.undelivered(&what) {
                        self.take(now, id, progress, out);
                    }
                }
            }
        }
        self.heard = heard;
        self.listen_to_carried(now, out);
        self.more_at = (self.raw.has_more() || self.carried.has_more()).then_some(now);
    }

    /// What one check has to do now.
    fn serve(&mut self, now: Instant, id: CheckId, out: &mut Vec<Transition>) {
        self.serve_carried(now, id, out);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let silence = match entry.asking {
            _ if entry.wanted.target.way != Way::Kernel => self.silence_of_carried(id),
            Asking::Socket(_) if entry.is_content_with_silence() => Silence::Succeeds,
            Asking::Socket(slot) => Silence::Fails(self.pool.awaited(slot)),
            Asking::Raw(asked) => Silence::Fails(asked.awaited()),
            Asking::Carried(_) | Asking::Nothing | Asking::Queued => Silence::Fails("answer"),
        };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let expired = entry.checker.expire(now, silence);
        out.extend(expired.turn.map(|turn| Transition { id, at: now, turn }));
        let queued = matches!(entry.asking, Asking::Queued);
        let due = entry.checker.due(now) && !queued && entry.not_before.is_none_or(|at| at <= now);
        let closed = entry.closing_until.is_some_and(|until| until <= now);
        // A socket that still waits for its peer's FIN makes way for the next check.
        if expired.abandoned || closed || due {
            self.release(id);
        }
        let Some(entry) = self.entries.get_mut(&id).filter(|_| due) else { return };
        if entry.needs_socket() {
            // Through the queue even where a socket is free: those who wait came first.
            entry.asking = Asking::Queued;
            self.queue.push_back(id);
        } else {
            self.start(now, id, out);
        }
    }

    /// Asks. A check that needs a socket has room for it.
    fn start(&mut self, now: Instant, id: CheckId, out: &mut Vec<Transition>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.asking = Asking::Nothing;
        entry.not_before = None;
        let rounds = entry.rounds;
        let wanted = entry.wanted.clone();
        let start = match wanted.target.way {
            Way::Carried(carriage) => self.ask_carried(now, id, carriage, &wanted),
            Way::Kernel => self.ask(id, &wanted, rounds),
        };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let mut over = None;
        match start {
            Start::UnderWay(asking) => {
                entry.checker.start(now);
                entry.asking = asking;
                entry.rounds = entry.rounds.wrapping_add(1);
                self.look_again(now, id);
                self.asked += 1;
                over = self.watch_datagram(id);
            }
            Start::Over(outcome) => {
                entry.checker.start(now);
                over = Some(outcome);
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
        if let (Some(outcome), Some(entry)) = (over, self.entries.get_mut(&id)) {
            let turn = entry.checker.conclude(now, outcome);
            out.extend(turn.map(|turn| Transition { id, at: now, turn }));
        }
    }

    /// Asks by the kernel.
    fn ask(&mut self, id: CheckId, wanted: &Wanted, rounds: u32) -> Start<Asking> {
        let server = wanted.target.socket_address();
        match (Conversation::new(&wanted.probe, server), &*wanted.probe) {
            (Some(conversation), _) => self.pool.start_stream(id, server, conversation).map(Asking::Socket),
            (None, Probe::Udp(request)) => self.pool.start_datagram(id, server, request).map(Asking::Socket),
            (None, Probe::Icmp) => self.raw.ask_echo(id, server.ip()).map(Asking::Raw),
            (None, _) => self.raw.ask_half_open(id, server, rounds).map(Asking::Raw),
        }
    }

    /// A datagram that needs no answer is watched until the next one. What became of the last one is the verdict, if
    /// it is known by now.
    fn watch_datagram(&mut self, id: CheckId) -> Option<Outcome> {
        let entry = self.entries.get_mut(&id).filter(|entry| entry.is_content_with_silence())?;
        let Asking::Socket(slot) = entry.asking else { return None };
        let source_port = self.pool.source(slot)?.port();
        let server = entry.wanted.target.socket_address();
        let last = entry.watched.replace(self.raw.watch_datagram(id, server, source_port));
        if let Some(last) = last {
            self.raw.forget_datagram(last);
        }
        let reason = entry.undelivered.take()?;
        self.release(id);
        Some(Outcome::Failure(reason))
    }

    /// Gives free sockets to those who wait, in the order in which they came.
    fn serve_queue(&mut self, now: Instant, out: &mut Vec<Transition>) {
        while self.pool.has_room()
            && let Some(id) = self.queue.pop_front()
        {
            // Not what is gone, or was condemned while it waited.
            if self.entries.get(&id).is_some_and(|entry| matches!(entry.asking, Asking::Queued)) {
                self.start(now, id, out);
                self.schedule(id);
            }
        }
    }

    /// Closes the socket of a check, if it has one, and waits for no answer any more.
    fn release(&mut self, id: CheckId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        (entry.closing_until, entry.carried_at) = (None, None);
        match entry.asking {
            Asking::Socket(slot) => self.pool.close(slot),
            Asking::Raw(asked) => self.raw.forget(asked),
            Asking::Carried(call) => self.carried.release(call),
            // What waits goes on waiting.
            Asking::Nothing | Asking::Queued => return,
        }
        entry.asking = Asking::Nothing;
    }

    /// Sees to it that the check is served at its deadline. An earlier entry of the heap will do: it is looked at
    /// again then.
    fn schedule(&mut self, id: CheckId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(deadline) = entry.deadline() else { return };
        if entry.scheduled.is_none_or(|at| at > deadline) {
            entry.scheduled = Some(deadline);
            self.heap.push(Reverse((deadline, id)));
        }
    }
}
