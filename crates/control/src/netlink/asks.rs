//! Which neighbours the kernel is to be asked for, and when. Pure: time and facts are parameters, requests
//! are values.
//!
//! Two kinds. *Kept* neighbours, gateways and servers, are asked for at once and kept fresh as long as they
//! are wanted, since live sessions lean on them and the kernel sees no traffic that would make it probe.
//! *Needed* ones, clients on a link, are asked for when a frame wants them. Either is asked for three times,
//! a second apart, and then left alone for a while (RFC 1122, 2.3.2.1): meanwhile its packets get host
//! unreachable. How many may be asked for at once is bounded, so that nobody fills the kernel's table by
//! sending to addresses that nobody has (RFC 6583).
//!
//! Permanent neighbours are never asked for: the administrator has answered.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::facts::{Facts, Mac, Neighbour, NeighbourKey, NeighbourState, Prefix};

/// Gateways and servers that are kept at the most. Kernels hold 1024 neighbours per family before they refuse
/// more, unless told otherwise (`gc_thresh3`); beyond this bound that is more likely a mistake than a wish.
pub const KEPT_MAX: usize = 4_096;

/// Needed neighbours that are asked for, or given up for the time being, at once. A quarter of what kernels
/// hold by default: a scan of an empty network must leave room for true neighbours.
pub const OUTSTANDING_MAX: usize = 256;

/// How often a neighbour is asked for before it is given up.
const ATTEMPTS_MAX: u32 = 3;

/// From one attempt to the next.
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a neighbour that gave no answer is left alone. Long enough to spare the link, short enough that a
/// host that was just switched on is found while somebody still waits for it.
const HOLD: Duration = Duration::from_secs(10);

/// How often kept neighbours are looked after. The kernel does so by itself every five seconds where it can;
/// this is for kernels that cannot, and for entries that the kernel has thrown away.
const LOOK_AFTER_INTERVAL: Duration = Duration::from_secs(5);

/// Hints that are taken in one second. A host that asks for us is a client about to call, but anybody may
/// ask.
const HINTS_PER_SECOND_MAX: u32 = 64;

/// A request to the kernel about one neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Resolve it and keep it fresh without being asked again.
    Keep(NeighbourKey),
    /// Resolve it, or probe it if it is stale.
    Use(NeighbourKey),
    /// Take this MAC as probably right; a `Keep` or `Use` that follows has it verified.
    Learn(NeighbourKey, Mac),
    /// Let it go.
    Forget(NeighbourKey),
}

/// How far the asking for one neighbour has come.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// Asked for so often; again, or given up, at the time.
    Asking(u32, Instant),
    /// It did not answer; left alone until the time.
    GivenUp(Instant),
}

impl Progress {
    fn due(self) -> Instant {
        match self {
            Self::Asking(_, at) | Self::GivenUp(at) => at,
        }
    }
}

/// The neighbours that are wanted and how far each has come.
#[derive(Debug, Default)]
pub struct Asks {
    /// `None`: resolved, or permanent.
    kept: BTreeMap<NeighbourKey, Option<Progress>>,
    needed: HashMap<NeighbourKey, Progress>,
    look_after_at: Option<Instant>,
    next_deadline: Option<Instant>,
    hint_second: Option<Instant>,
    hints: u32,
    refused: u64,
}

impl Asks {
    /// Makes `wanted` the set of kept neighbours: new ones are asked for at the next [`Asks::advance`], which
    /// is due at once, the others are let go.
    pub fn keep(
        &mut self,
        now: Instant,
        wanted: impl IntoIterator<Item = NeighbourKey>,
        facts: &Facts,
        out: &mut Vec<Ask>,
    ) {
        let mut before = std::mem::take(&mut self.kept);
        for key in wanted {
            if !may_be_neighbour(key, facts) || (self.kept.len() == KEPT_MAX && !self.kept.contains_key(&key))
            {
                self.refused += 1;
                continue;
            }
            self.needed.remove(&key);
            let fresh = Some(Progress::Asking(0, now));
            self.kept.entry(key).or_insert_with(|| before.remove(&key).unwrap_or(fresh));
        }
        out.extend(before.into_keys().filter(|key| !is_permanent(key, facts)).map(Ask::Forget));
        self.look_after_at.get_or_insert(now + LOOK_AFTER_INTERVAL);
        self.next_deadline = Some(now);
    }

    /// A frame wants to go to this neighbour now.
    pub fn need(&mut self, now: Instant, key: NeighbourKey, facts: &Facts, out: &mut Vec<Ask>) {
        match facts.neighbours.get(&key) {
            Some(Neighbour { state: NeighbourState::Stale, .. }) => out.push(self.ask(key)),
            Some(neighbour) if neighbour.usable_mac().is_some() => {}
            _ if self.kept.contains_key(&key) || self.needed.contains_key(&key) => {}
            _ if !may_be_neighbour(key, facts) || !self.make_room() => self.refused += 1,
            _ => {
                out.push(Ask::Use(key));
                let again = now + ATTEMPT_INTERVAL;
                self.needed.insert(key, Progress::Asking(1, again));
                self.next_deadline = self.next_deadline.into_iter().chain([again]).min();
            }
        }
    }

    /// A health check waits for this neighbour: it is asked for even if it gave no answer a moment ago, so that a server
    /// that is back is found by the next check. How often that is, is bounded by the checks' own rhythm.
    pub fn recheck(&mut self, now: Instant, key: NeighbourKey, facts: &Facts, out: &mut Vec<Ask>) {
        match self.kept.get_mut(&key) {
            Some(progress @ Some(Progress::GivenUp(_))) => {
                *progress = Some(Progress::Asking(0, now));
                self.next_deadline = Some(now);
            }
            _ => self.need(now, key, facts, out),
        }
    }

    /// The host of `key` said that it has `mac`, by asking for an address of ours. The caller has left out
    /// what claims an address that the appliance owns; refused here are group addresses, the host's own,
    /// those that are not of this link, and permanent ones. Another MAC than the known one is believed, as the
    /// kernel believes who asks for an address of its own: it is verified, and a host that moved is not lost.
    pub fn hint(&mut self, now: Instant, key: NeighbourKey, mac: Mac, facts: &Facts, out: &mut Vec<Ask>) {
        let group = mac[0] & 1 != 0;
        let welcome = may_be_neighbour(key, facts) && is_on_link(key, facts) && !is_permanent(&key, facts);
        if group || mac == [0; 6] || !welcome {
            self.refused += 1;
        } else if facts.mac_of(key.0, key.1) != Some(mac) {
            if self
                .hint_second
                .is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1))
            {
                self.hint_second = Some(now);
                self.hints = 0;
            }
            if self.hints == HINTS_PER_SECOND_MAX {
                self.refused += 1;
                return;
            }
            self.hints += 1;
            self.needed.remove(&key);
            out.extend([Ask::Learn(key, mac), self.ask(key)]);
        }
    }

    /// Asks for what is due, gives up what did not answer.
    pub fn advance(&mut self, now: Instant, facts: &Facts, out: &mut Vec<Ask>) {
        let look_after = self.look_after_at.is_some_and(|at| at <= now);
        if look_after {
            self.look_after_at = Some(now + LOOK_AFTER_INTERVAL);
        }
        for (key, progress) in &mut self.kept {
            if look_after && progress.is_none() {
                match facts.neighbours.get(key) {
                    Some(Neighbour { state: NeighbourState::Stale, .. }) => out.push(Ask::Keep(*key)),
                    Some(neighbour) if neighbour.usable_mac().is_some() => {}
                    _ => *progress = Some(Progress::Asking(0, now)),
                }
            }
            *progress = match *progress {
                _ if is_permanent(key, facts) => None,
                Some(Progress::GivenUp(until)) if until <= now => Some(Progress::Asking(0, now)),
                other => other,
            };
            *progress = progress.and_then(|progress| step(now, progress, *key, Ask::Keep, facts, out));
        }
        self.needed.retain(|key, progress| {
            let expired = matches!(*progress, Progress::GivenUp(until) if until <= now);
            let next = step(now, *progress, *key, Ask::Use, facts, out);
            *progress = next.unwrap_or(*progress);
            next.is_some() && !expired
        });
        let dues = self.kept.values().flatten().chain(self.needed.values()).map(|progress| progress.due());
        self.next_deadline = dues.chain(self.look_after_at.filter(|_| !self.kept.is_empty())).min();
    }

    /// Lets every kept neighbour go. Needed ones age in the kernel by themselves.
    pub fn forget_all(&mut self, facts: &Facts, out: &mut Vec<Ask>) {
        let kept = std::mem::take(self).kept;
        out.extend(kept.into_keys().filter(|key| !is_permanent(key, facts)).map(Ask::Forget));
    }

    /// When [`Asks::advance`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// Whether the neighbour was asked for as often as it is worth: its packets get host unreachable.
    pub fn is_given_up(&self, key: NeighbourKey) -> bool {
        let progress = self.kept.get(&key).copied().flatten().or_else(|| self.needed.get(&key).copied());
        matches!(progress, Some(Progress::GivenUp(_)))
    }

    /// How many wishes were turned down: no such neighbour can be, or too many at once.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn ask(&self, key: NeighbourKey) -> Ask {
        if self.kept.contains_key(&key) { Ask::Keep(key) } else { Ask::Use(key) }
    }

    /// At the bound a neighbour that gave no answer makes room; one that may still answer does not.
    fn make_room(&mut self) -> bool {
        if self.needed.len() < OUTSTANDING_MAX {
            return true;
        }
        let given_up = self.needed.iter().find(|(_, progress)| matches!(progress, Progress::GivenUp(_)));
        let key = given_up.map(|(key, _)| *key);
        key.is_some_and(|key| self.needed.remove(&key).is_some())
    }
}

/// One step for one neighbour; `None`: it has answered.
fn step(
    now: Instant,
    progress: Progress,
    key: NeighbourKey,
    ask: fn(NeighbourKey) -> Ask,
    facts: &Facts,
    out: &mut Vec<Ask>,
) -> Option<Progress> {
    match progress {
        Progress::Asking(attempts, _) if attempts > 0 && facts.mac_of(key.0, key.1).is_some() => None,
        Progress::GivenUp(_) if facts.mac_of(key.0, key.1).is_some() => None,
        Progress::Asking(attempts, at) if at <= now && attempts < ATTEMPTS_MAX => {
            out.push(ask(key));
            Some(Progress::Asking(attempts + 1, now + ATTEMPT_INTERVAL))
        }
        Progress::Asking(_, at) if at <= now => Some(Progress::GivenUp(now + HOLD)),
        waiting => Some(waiting),
    }
}

fn is_permanent(key: &NeighbourKey, facts: &Facts) -> bool {
    facts.neighbours.get(key).is_some_and(|neighbour| neighbour.state == NeighbourState::Permanent)
}

fn may_be_neighbour((_, address): NeighbourKey, facts: &Facts) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || broadcast
        || facts.holds(address))
}

fn is_on_link((interface, address): NeighbourKey, facts: &Facts) -> bool {
    let here = facts.addresses.iter().filter(|own| own.interface == interface);
    here.map(|own| Prefix::new(own.address, own.prefix_length)).any(|network| network.contains(address))
}

#[cfg(test)]
mod tests;
