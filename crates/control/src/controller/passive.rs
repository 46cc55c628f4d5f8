//! What live traffic says of servers whose service has `passive`: new connections that a server resets or does not answer
//! shorten the way to down.
//!
//! ```text
//!   workers' counters ──every 200 ms──▶ Watched ──delta──▶ Window: 16 slices that slide over `window`
//!                                                             │ failures ≥ `failures` and ≥ successes
//!                          spared: a log line, a check at once ◀─┴─▶ condemned: down, and up again by `rise` checks
//! ```
//!
//! A server is spared where a service would be left without servers, or with fewer than its quorum: traffic alone never
//! takes a service down. What is here is pure but for the last part, the controller's: time and counts are parameters.

use super::checking::endpoint;
use super::{Controller, Rings};
use crate::check::{CheckId, Reason};
use crate::compile::in_use;
use crate::members::{Member, Members, ServerKey};
use config::{Config, Passive};
use rewrite::MemberId;
use std::time::{Duration, Instant};
use tracing::warn;

/// From one look at the counters to the next. What happened counts from the look that found it.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Parts of a window. What is older than the window never counts, what is younger than 15/16 of it always does; each
/// watched server costs eight bytes a slice.
const SLICES: usize = 16;

/// How long a server that was spared is left alone: one log line and one check out of turn in this time.
const SPARED_PAUSE: Duration = Duration::from_secs(10);

/// How TCP handshakes with a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Handshakes {
    made: u64,
    failed: u64,
}

impl Handshakes {
    fn since(self, before: Self) -> Self {
        Self {
            made: self.made.saturating_sub(before.made),
            failed: self.failed.saturating_sub(before.failed),
        }
    }
}

/// Those of the last while, in slices.
#[derive(Clone, Debug)]
struct Window {
    passive: Passive,
    began: Instant,
    /// Counted from `began`.
    newest: u64,
    /// Made and failed, in a ring.
    slices: [(u32, u32); SLICES],
}

impl Window {
    fn new(passive: Passive, began: Instant) -> Self {
        Self { passive, began, newest: 0, slices: [(0, 0); SLICES] }
    }

    /// Begins anew.
    fn clear(&mut self, now: Instant) {
        *self = Self::new(self.passive, now);
    }

    /// Adds what was just found; gives the number of failures when there are too many.
    fn add(&mut self, now: Instant, found: Handshakes) -> Option<u32> {
        // The shortest window is 100 ms, so that a slice is never empty.
        let slice_ns = self.passive.window.as_nanos() / SLICES as u128;
        let current = (now.saturating_duration_since(self.began).as_nanos() / slice_ns) as u64;
        for passed in (self.newest + 1..=current).take(SLICES) {
            self.slices[passed as usize % SLICES] = (0, 0);
        }
        self.newest = self.newest.max(current);
        let slice = &mut self.slices[self.newest as usize % SLICES];
        let add = |count: u32, more: u64| count.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        *slice = (add(slice.0, found.made), add(slice.1, found.failed));
        let sum = |(made, failed): (u32, u32), slice: &(u32, u32)| {
            (made.saturating_add(slice.0), failed.saturating_add(slice.1))
        };
        let (made, failed) = self.slices.iter().fold((0, 0), sum);
        (failed >= self.passive.failures && failed >= made).then_some(failed)
    }
}

/// One server of a service with `passive`.
#[derive(Clone, Debug)]
struct Watched {
    server: ServerKey,
    member: MemberId,
    check: CheckId,
    /// Where the counters stood at the last look.
    counted: Option<Handshakes>,
    window: Window,
    spared_until: Option<Instant>,
}

impl Watched {
    /// Looks at the counters; gives the number of failures when there are too many. Only while the server takes sessions:
    /// what it did before it was down says nothing of what it is now.
    fn look(&mut self, now: Instant, counted: Handshakes, takes_sessions: bool) -> Option<u32> {
        let found = counted.since(self.counted.replace(counted).unwrap_or(counted));
        self.spared_until = self.spared_until.filter(|until| now < *until);
        if !takes_sessions || self.spared_until.is_some() {
            self.window.clear(now);
            return None;
        }
        self.window.add(now, found)
    }

    /// It stays up; nothing is said of it for a while.
    fn spare(&mut self, now: Instant) {
        self.spared_until = Some(now + SPARED_PAUSE);
        self.window.clear(now);
    }
}

/// All that are watched.
#[derive(Clone, Debug, Default)]
pub(super) struct TrafficWatch {
    watched: Vec<Watched>,
    next_look: Option<Instant>,
}

impl TrafficWatch {
    /// Makes these the servers that are watched. One that was watched before in the same way goes on as if nothing had
    /// happened.
    fn follow(&mut self, now: Instant, wanted: Vec<(ServerKey, MemberId, CheckId, Passive)>) {
        let mut before = std::mem::take(&mut self.watched);
        before.sort_by(|one, other| one.server.cmp(&other.server));
        let keep = |(server, member, check, passive): (ServerKey, MemberId, CheckId, Passive)| {
            let known = before.binary_search_by(|known| known.server.cmp(&server)).ok();
            let known = known.map(|place| &before[place]);
            match known.filter(|known| (known.member, known.window.passive) == (member, passive)) {
                Some(known) => Watched { check, ..known.clone() },
                None => {
                    let window = Window::new(passive, now);
                    Watched { server, member, check, counted: None, window, spared_until: None }
                }
            }
        };
        self.watched = wanted.into_iter().map(keep).collect();
        self.next_look = (!self.watched.is_empty()).then(|| self.next_look.unwrap_or(now));
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_look
    }
}

/// The service that needs the server behind a check, which `users` share: without them it would take no sessions.
fn who_needs<'a>(config: &Config, members: &Members, users: &'a [ServerKey]) -> Option<&'a str> {
    let takes = |key: &ServerKey| members.get(key).is_some_and(Member::takes_sessions);
    let needed = users.iter().filter(|user| takes(user)).find(|user| {
        let service = config.services.iter().find(|service| service.name == user.service);
        service.is_some_and(|service| {
            let others = in_use(service, |place| {
                let key = service.servers.get(place).map(|server| ServerKey::of(service, server));
                key.is_some_and(|key| takes(&key) && !users.contains(&key))
            });
            others.is_empty()
        })
    });
    needed.map(|user| user.service.as_str())
}

impl<R: Rings> Controller<R> {
    /// Watches the traffic of the configuration in force.
    pub(super) fn watch_traffic(&mut self, now: Instant) {
        let mut wanted = Vec::new();
        for service in &self.config.services {
            let Some(passive) = service.passive else { continue };
            for server in &service.servers {
                let key = ServerKey::of(service, server);
                let (Some(member), Some(check)) = (self.members.get(&key), self.check_users.check_of(&key))
                else {
                    continue;
                };
                wanted.push((key, member.id, check, passive));
            }
        }
        self.traffic.follow(now, wanted);
    }

    /// Looks at the traffic, if it is time, and judges.
    pub(super) fn look_at_traffic(&mut self, now: Instant) {
        if self.traffic.next_look.is_none_or(|at| now < at) {
            return;
        }
        self.traffic.next_look = Some(now + LOOK_INTERVAL);
        let Self { traffic, members, totals, workers, shared, .. } = self;
        let accused: Vec<(usize, u32)> = (0..)
            .zip(&mut traffic.watched)
            .filter_map(|(place, watched)| {
                let totals = totals.of(workers, &shared.loads, watched.member);
                let counted = Handshakes { made: totals.connects_made, failed: totals.connects_failed };
                let takes_sessions = members.get(&watched.server).is_some_and(Member::takes_sessions);
                watched.look(now, counted, takes_sessions).map(|failed| (place, failed))
            })
            .collect();
        // One after the other: whom the first leaves alone is needed.
        for (place, failed) in accused {
            self.accuse(now, place, failed);
        }
    }

    fn accuse(&mut self, now: Instant, place: usize, failed: u32) {
        let watched = &mut self.traffic.watched[place];
        let (check, within) = (watched.check, watched.window.passive.window);
        let reason = Reason::Traffic { failed, within };
        let users = self.check_users.users_of(check);
        if let Some(service) = who_needs(&self.config, &self.members, users) {
            let (own, address) = (&watched.server.service, endpoint(&watched.server));
            warn!("{own} server {address} stays up, for {service} cannot do without it: {reason}");
            watched.spare(now);
            self.checks.hasten(now, check);
            return;
        }
        let mut transitions = Vec::new();
        self.checks.condemn(now, check, reason, &mut transitions);
        self.judge(&transitions);
    }
}

#[cfg(test)]
mod tests;
