//! The judgement on one server: from answers and silence to up and down.
//!
//! ```text
//!   Checking ──first success──▶ Up ──more than `retries` failures in a row, or `timeout` without success──▶ Down
//!      └───────────────the same────────────────────────────────────────────────────────────────────────────▶│
//!                               ▲──────────────`rise` successes in a row────────────────────────────────────┘
//! ```
//!
//! Live traffic that failed shortens the way: [`Checker::condemn`] is Down at once.
//!
//! Checks start `interval` apart, counted from start to start; `dead_interval` while down. With interval 3 s,
//! response time 1 s and two retries, a server that falls silent right after a good check at 0 s is asked at
//! 3, 6 and 9 s and is down at 10 s; one that refuses, at 9 s.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Carrier, Reason};

/// How to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// From the start of a check to the start of the next.
    pub interval: Duration,
    /// A check that is unanswered for this long has failed.
    pub response_time: Duration,
    /// Further failures in a row that are forgiven; one success resets the count.
    pub retries: u32,
    /// Down when no check has succeeded for this long, even if retries are left.
    pub timeout: Option<Duration>,
    /// `interval` while down.
    pub dead_interval: Duration,
    /// Successes in a row that bring a server back, at least 1.
    pub rise: u32,
}

/// What is thought of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Nothing yet.
    Checking,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl Health {
    /// As `show servers` says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered as it should.
    Success,
    /// It did not.
    Failure(Reason),
}

/// What it means that a check's response time has passed without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The server owes this, in words.
    Fails(&'static str),
    /// It owes this, and nothing shows that it takes what is for this VIP at all.
    NotServed(&'static str, IpAddr, Carrier),
    /// Its MAC address is not known: it has not even been asked.
    Unreachable,
    /// Only a complaint would have been a failure.
    Succeeds,
}

/// A change of mind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What was thought before.
    pub from: Health,
    /// What is thought now.
    pub to: Health,
    /// Why, if it is bad.
    pub reason: Option<Reason>,
}

/// What the passing of time did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// The check under way has ended by silence: give up on its answer.
    pub abandoned: bool,
    /// The change of mind that came of it.
    pub turn: Option<Turn>,
}

/// The judgement on one server. Ask [`Checker::expire`] and [`Checker::due`] whenever its deadline has come.
#[derive(Clone, Debug)]
pub struct Checker {
    parameters: Parameters,
    health: Health,
    failures: u32,
    successes: u32,
    last_success: Instant,
    /// When the last check was due, if there was one: the next is an interval later.
    slot: Option<Instant>,
    next_start: Instant,
    under_way_since: Option<Instant>,
    last_check: Option<Instant>,
    response_time: Option<Duration>,
    reason: Option<Reason>,
}

impl Checker {
    /// A checker that knows nothing and makes its first check at `first`.
    pub fn new(parameters: Parameters, first: Instant) -> Self {
        Self {
            parameters,
            health: Health::Checking,
            failures: 0,
            successes: 0,
            last_success: first,
            slot: None,
            next_start: first,
            under_way_since: None,
            last_check: None,
            response_time: None,
            reason: None,
        }
    }

    /// The same server, to be judged in another way from now on: what is thought of it stays, the counts
    /// start anew.
    pub fn judged_by(&self, parameters: Parameters, first: Instant) -> Self {
        let fresh = Self::new(parameters, first);
        Self {
            health: self.health,
            last_check: self.last_check,
            response_time: self.response_time,
            reason: self.reason.clone(),
            ..fresh
        }
    }

    /// What is thought of the server.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Why the last check failed, or why the server is down.
    pub fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// When the last finished check ended.
    pub fn last_check(&self) -> Option<Instant> {
        self.last_check
    }

    /// How long the last good answer took, from the start of its check. Silence is no answer.
    pub fn response_time(&self) -> Option<Duration> {
        self.response_time
    }

    /// Whether a check is to be started now.
    pub fn due(&self, now: Instant) -> bool {
        self.under_way_since.is_none() && self.next_start <= now
    }

    /// A check has been started.
    pub fn start(&mut self, now: Instant) {
        // Late by a little or by whole intervals, the rhythm is kept: what was missed is not caught up with, and
        // checks that were all held up together do not go in lockstep for ever after.
        let late = now.saturating_duration_since(self.next_start).as_nanos();
        let missed = late / self.interval().as_nanos().max(1);
        self.slot = Some(self.next_start + self.interval() * u32::try_from(missed).unwrap_or(u32::MAX));
        self.under_way_since = Some(now);
    }

    /// The check under way has ended. An end that comes when none is under way says nothing.
    pub fn conclude(&mut self, now: Instant, outcome: Outcome) -> Option<Turn> {
        let since = self.under_way_since.take()?;
        if outcome == Outcome::Success {
            self.response_time = Some(now.saturating_duration_since(since));
        }
        self.end(now, outcome)
    }

    fn end(&mut self, now: Instant, outcome: Outcome) -> Option<Turn> {
        self.last_check = Some(now);
        let turn = self.judge(now, outcome);
        self.plan(now);
        turn
    }

    /// Lets time pass: silence ends the check under way, and too long without success is down. `silence` is what
    /// it means for the check under way.
    pub fn expire(&mut self, now: Instant, silence: Silence) -> Expired {
        let within = self.parameters.response_time;
        let abandoned = self.under_way_since.take_if(|since| *since + within <= now).is_some();
        let mut turn = None;
        if abandoned {
            let outcome = match silence {
                Silence::Fails(awaited) => Outcome::Failure(Reason::Silent { awaited, within }),
                Silence::NotServed(awaited, vip, by) => {
                    Outcome::Failure(Reason::NotServed { awaited, within, vip, by })
                }
                Silence::Unreachable => Outcome::Failure(Reason::HostUnreachable),
                Silence::Succeeds => Outcome::Success,
            };
            turn = self.end(now, outcome);
        }
        if self.overdue_at().is_some_and(|at| at <= now) {
            let within = self.parameters.timeout.unwrap_or_default();
            let last = self.reason.take().map(Box::new);
            turn = self.turn(Health::Down, Some(Reason::Overdue { within, last }));
            self.plan(now);
        }
        Expired { abandoned, turn }
    }

    /// Something else than a check saw the server fail: it is down at once, and up again by `rise` checks, the first of
    /// them a `dead_interval` from now. A check under way says nothing any more: it began before.
    pub fn condemn(&mut self, now: Instant, reason: Reason) -> Option<Turn> {
        if self.health == Health::Down {
            return None;
        }
        self.under_way_since = None;
        (self.failures, self.successes) = (0, 0);
        let turn = self.turn(Health::Down, Some(reason));
        self.slot = Some(now);
        self.plan(now);
        turn
    }

    /// Makes the next check due now, if none is under way.
    pub fn hasten(&mut self, now: Instant) {
        if self.under_way_since.is_none() {
            self.next_start = self.next_start.min(now);
        }
    }

    /// When something is to be done.
    pub fn next_deadline(&self) -> Instant {
        let answer = self.under_way_since.map(|since| since + self.parameters.response_time);
        let next = answer.unwrap_or(self.next_start);
        self.overdue_at().map_or(next, |at| at.min(next))
    }

    /// When the server is down for lack of success, if nothing comes before.
    pub fn overdue_at(&self) -> Option<Instant> {
        let timeout = self.parameters.timeout.filter(|_| self.health != Health::Down)?;
        Some(self.last_success + timeout)
    }

    fn judge(&mut self, now: Instant, outcome: Outcome) -> Option<Turn> {
        match outcome {
            Outcome::Success => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                self.last_success = now;
                let needed = if self.health == Health::Down { self.parameters.rise } else { 1 };
                if self.successes < needed {
                    return None;
                }
                self.turn(Health::Up, None)
            }
            Outcome::Failure(reason) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures > self.parameters.retries {
                    return self.turn(Health::Down, Some(reason));
                }
                self.reason = Some(reason);
                None
            }
        }
    }

    /// Plans the next check, which is never in the past: a change of mind may have shortened the interval.
    fn plan(&mut self, now: Instant) {
        if let Some(slot) = self.slot {
            self.next_start = (slot + self.interval()).max(now);
        }
    }

    fn interval(&self) -> Duration {
        if self.health == Health::Down { self.parameters.dead_interval } else { self.parameters.interval }
    }

    fn turn(&mut self, to: Health, reason: Option<Reason>) -> Option<Turn> {
        self.reason.clone_from(&reason);
        let from = std::mem::replace(&mut self.health, to);
        (from != to).then_some(Turn { from, to, reason })
    }
}

#[cfg(test)]
mod tests;
