//! Drift of every firewall group, read from the workers' counters once a second and at every change of a firewall's state;
//! see [`super::drift`]. It is told in the log, and in `show firewalls`.

use super::drift::{Drift, window};
use super::{Controller, Rings};
use hashbrown::HashMap;
use plan::MemberState;
use rewrite::MemberId;
use serde_json::{Value, json};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tracing::warn;

/// From one warning about a group to the next.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A flow that was seen over another firewall than its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DriftedFlow {
    pub protocol: u8,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Its own firewall, by name.
    pub firewall: String,
    /// The one that it came over.
    pub seen_over: String,
}

impl DriftedFlow {
    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "protocol": super::session_rows::protocol_name(self.protocol),
            "source": self.source.to_string(),
            "destination": self.destination.to_string(),
            "firewall": self.firewall,
            "seen_over": self.seen_over,
        })
    }
}

impl fmt::Display for DriftedFlow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = super::session_rows::protocol_name(self.protocol);
        let Self { source, destination, firewall, seen_over, .. } = self;
        write!(out, "{protocol} {source} to {destination}, of {firewall} and seen over {seen_over}")
    }
}

/// What both ends decide by, of one firewall: a change of it reaches them at different times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    id: MemberId,
    name: String,
    state: MemberState,
    weight: u32,
}

/// One group.
#[derive(Debug)]
struct Watched {
    drift: Drift<DriftedFlow>,
    standings: Vec<Standing>,
    warned: Option<Instant>,
    /// Confirmed since the last warning.
    untold: u64,
}

impl Watched {
    /// How much drift is to be warned of now, if any: no more often than the interval says.
    fn tell(&mut self, now: Instant, confirmed: u64) -> Option<u64> {
        self.untold += confirmed;
        let is_due = self.warned.is_none_or(|warned| now >= warned + WARNING_INTERVAL);
        (self.untold > 0 && is_due).then(|| {
            self.warned = Some(now);
            std::mem::take(&mut self.untold)
        })
    }
}

/// Every group, by name.
#[derive(Debug, Default)]
pub(super) struct FirewallWatch {
    groups: HashMap<String, Watched>,
}

impl FirewallWatch {
    /// Confirmed drift of a firewall.
    pub fn drifted_flows(&self, group: &str, member: MemberId) -> u64 {
        self.groups.get(group).map_or(0, |watched| watched.drift.drifted_flows(member))
    }

    /// The last flow of a group that drifted.
    pub fn last_drifted_flow(&self, group: &str) -> Option<&DriftedFlow> {
        self.groups.get(group).and_then(|watched| watched.drift.last_flow())
    }

    /// The group of a firewall, and the firewall's name.
    fn find(&mut self, member: MemberId) -> Option<(&mut Watched, String)> {
        self.groups.values_mut().find_map(|watched| {
            let name = watched.standings.iter().find(|standing| standing.id == member)?.name.clone();
            Some((watched, name))
        })
    }

    /// A worker told of a flow of the firewall `expected` that was seen over `seen`.
    pub fn note_flow(
        &mut self,
        now: Instant,
        (expected, seen): (MemberId, MemberId),
        (protocol, source, destination): (u8, SocketAddr, SocketAddr),
    ) {
        let seen_over = self.find(seen).map(|(_, name)| name);
        let Some((watched, firewall)) = self.find(expected) else { return };
        let seen_over = seen_over.unwrap_or_else(|| "another".to_owned());
        watched.drift.note_flow(now, DriftedFlow { protocol, source, destination, firewall, seen_over });
    }
}

impl<R: Rings> Controller<R> {
    /// Reads the drift counters of all firewalls, after looking whether a state has changed.
    pub(super) fn watch_firewalls(&mut self, now: Instant) {
        let groups = &self.config.firewall_groups;
        self.firewall_watch.groups.retain(|name, _| groups.iter().any(|group| group.name == *name));
        if groups.is_empty() {
            return;
        }
        let mut standings: HashMap<&str, Vec<Standing>> = HashMap::new();
        for (key, member) in self.members.all() {
            let Some(path) = member.path() else { continue };
            let (name, state, weight) = (path.name.clone(), member.state(), member.weight());
            let standing = Standing { id: member.id, name, state, weight };
            standings.entry(&key.service).or_default().push(standing);
        }
        for group in groups {
            let check = group.health_check.and_then(|place| self.config.health_checks.get(place));
            let window = window(check);
            let mut standings = standings.remove(group.name.as_str()).unwrap_or_default();
            standings.sort_by_key(|standing| standing.id.index);
            let counted = |standing: &Standing| {
                let totals = self.totals.of(&self.workers, &self.shared.loads, standing.id);
                (standing.id, totals.drifted_flows)
            };
            let counters: Vec<(MemberId, u64)> = standings.iter().map(counted).collect();
            let watched = self.firewall_watch.groups.entry(group.name.clone()).or_insert_with(|| Watched {
                drift: Drift::new(now, window),
                standings: standings.clone(),
                warned: None,
                untold: 0,
            });
            watched.drift.set_window(window);
            let mut confirmed = 0;
            if watched.standings != standings {
                confirmed += watched.drift.note_change(now);
                watched.standings = standings;
            }
            confirmed += watched.drift.sample(now, &counters);
            if let Some(flows) = watched.tell(now, confirmed) {
                let name = &group.name;
                match watched.drift.last_flow() {
                    Some(last) => {
                        warn!(
                            "firewall group {name}: {flows} flows have drifted while their firewalls lived, last {last}"
                        );
                    }
                    None => {
                        warn!("firewall group {name}: {flows} flows have drifted while their firewalls lived")
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(now: Instant) -> Watched {
        let standing = |index: u16| Standing {
            id: MemberId { index, generation: 0 },
            name: format!("fw{index}"),
            state: MemberState::Up,
            weight: 1,
        };
        let standings = vec![standing(1), standing(2)];
        Watched { drift: Drift::new(now, Duration::from_secs(1)), standings, warned: None, untold: 0 }
    }

    #[test]
    fn drift_is_warned_of_once_an_interval_and_none_is_left_out() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut watched = watched(start);
        assert_eq!(watched.tell(at(0), 0), None);
        assert_eq!(watched.tell(at(1), 2), Some(2));
        assert_eq!([watched.tell(at(2), 3), watched.tell(at(10), 4)], [None, None]);
        assert_eq!(watched.tell(at(11), 0), Some(7));
        assert_eq!(watched.tell(at(50), 0), None);
    }

    #[test]
    fn a_drifted_flow_is_named_with_both_firewalls() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut watch = FirewallWatch { groups: HashMap::from([("fw".to_owned(), watched(start))]) };
        let id = |index: u16| MemberId { index, generation: 0 };
        let ends =
            (wire::protocol::TCP, "198.18.0.5:1000".parse().unwrap(), "198.19.0.1:80".parse().unwrap());
        watch.note_flow(at(5), (id(1), id(2)), ends);
        watch.note_flow(at(5), (id(7), id(2)), ends);
        assert_eq!(watch.last_drifted_flow("fw"), None, "it may be none yet");
        watch.groups.get_mut("fw").unwrap().drift.sample(at(7), &[]);
        let named = watch.last_drifted_flow("fw").map(ToString::to_string);
        assert_eq!(named.as_deref(), Some("tcp 198.18.0.5:1000 to 198.19.0.1:80, of fw1 and seen over fw2"));
    }
}
