//! Path probes of the configuration's firewalls: handed to a worker, their answers read, and what they mean for firewalls.

use super::{Controller, Rings};
use crate::compile::fingerprint;
use crate::members::{Health, Members, Moment, ServerKey};
use crate::probe::{Asking, Event, News, PathStatus, Prober, WantedGroup, WantedPath};
use config::{Config, FirewallGroup, Probe};
use engine::{Bearer, Carry, Shared};
use flow::FlowHasher;
use plan::{Link, Plan};
use rewrite::MemberId;
use std::collections::hash_map::RandomState;
use std::fmt::Display;
use std::hash::BuildHasher;
use std::time::Instant;
use tracing::{info, warn};

use super::checking::{SUCCEEDED, parameters};

/// Packets that are read in one round at the most.
const PUNTS_PER_ROUND: usize = 1_024;

/// All probing of a controller.
#[derive(Debug)]
pub(super) struct Probing {
    prober: Prober,
    lost: u64,
}

impl Probing {
    /// No path yet.
    pub fn new(hasher: FlowHasher, now: Instant) -> Self {
        // Under a key of the operating system's randomness.
        let instance = RandomState::new().hash_one(0);
        Self { prober: Prober::new(instance, hasher, now), lost: 0 }
    }

    /// When there is something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.prober.next_deadline()
    }

    /// Probes that the worker had no room for. They count as unanswered.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// What the configuration wants probed.
fn wanted_groups(config: &Config, members: &Members, hasher: &FlowHasher) -> Vec<WantedGroup> {
    let group = |(place, group): (usize, &FirewallGroup)| {
        let check = config.health_checks.get(group.health_check?)?;
        let asking = match check.probe {
            Probe::Icmp => Asking::Echo,
            // A check that asks a port names it, and no group has one of another kind: the configuration saw to both.
            Probe::Udp(_) => Asking::Datagram(check.port?),
            Probe::TcpHalfOpen => Asking::Syn(check.port?),
            Probe::Tcp | Probe::Http(_) | Probe::Tls(_) => return None,
        };
        let path = |(position, firewall): (usize, &config::Firewall)| {
            let mut responders = config.probe_responders.iter();
            let own = responders.find(|one| (one.group, one.firewall) == (place, position))?.address;
            let member = members.get(&ServerKey::of_firewall(group, firewall))?.id;
            Some(WantedPath { firewall: firewall.name.clone(), member, own, far: firewall.far_address? })
        };
        Some(WantedGroup {
            name: group.name.clone(),
            fingerprint: fingerprint(group, members, hasher),
            asking,
            parameters: parameters(check),
            paths: group.firewalls.iter().enumerate().filter_map(path).collect(),
        })
    };
    config.firewall_groups.iter().enumerate().filter_map(group).collect()
}

/// The link that leads to a firewall now.
fn link_to(plan: &Plan, shared: &Shared, member: MemberId) -> Option<Link> {
    let row = plan.members.get(usize::from(member.index))?;
    (row.generation == member.generation).then(|| shared.links.get(row.link))?
}

fn key_of(config: &Config, group: &str, firewall: &str) -> Option<ServerKey> {
    let group = config.firewall_groups.iter().find(|known| known.name == group)?;
    let firewall = group.firewalls.iter().find(|known| known.name == firewall)?;
    Some(ServerKey::of_firewall(group, firewall))
}

/// How `show firewalls` says it.
pub(super) fn word(health: Health) -> &'static str {
    match health {
        Health::Unchecked | Health::Checking => "checking",
        Health::Up => "up",
        Health::Down => "down",
        Health::Asymmetric => "asymmetric",
    }
}

impl<R: Rings> Controller<R> {
    /// Begins the probes of the configuration in force, and ends all others.
    pub(super) fn watch_paths(&mut self, now: Instant) {
        let wanted = wanted_groups(&self.config, &self.members, &self.shared.hasher);
        self.probing.prober.update(now, &wanted);
        let at = Moment::now();
        for (group, path) in wanted.iter().flat_map(|group| group.paths.iter().map(move |path| (group, path)))
        {
            // What a path that goes on is known to be, its firewall is; one that begins anew must show it.
            let status = self.probing.prober.status(now, &group.name, &path.firewall);
            let key = key_of(&self.config, &group.name, &path.firewall);
            if let (Some(status), Some(key)) = (status, key) {
                let reason: &dyn Display = status.reason.map_or(&SUCCEEDED, |reason| reason);
                self.dirty.members |= self.members.set_health(&key, status.health, reason, at);
            }
        }
    }

    /// Firewalls may weigh another weight: the far end is to know.
    pub(super) fn tell_fingerprints(&mut self) {
        for group in &self.config.firewall_groups {
            let print = fingerprint(group, &self.members, &self.shared.hasher);
            self.probing.prober.set_fingerprint(&group.name, print);
        }
    }

    /// Reads what workers handed over, and sends the probes that are due.
    pub(super) fn probe(&mut self, now: Instant) {
        let Self { probing: Probing { prober, lost }, shared, publisher, workers, .. } = self;
        let plan = publisher.current();
        let links = |member| link_to(plan, shared, member);
        for _ in 0..PUNTS_PER_ROUND {
            let Some(punt) = shared.punts.pop() else { break };
            prober.take(now, (punt.leg, punt.mac), punt.packet(), &links);
        }
        // Only now: what came in time is not late because this thread was.
        prober.advance(now, &links);
        let (sendings, events) = (prober.sendings(), prober.events());
        if let Some(worker) = workers.first().filter(|_| !sendings.is_empty()) {
            for sending in sendings {
                let carry = Carry::new(sending.member, Bearer::Firewall, &sending.packet);
                let is_taken = carry.is_some_and(|carry| worker.orders.carries.push(carry).is_ok());
                *lost += u64::from(!is_taken);
            }
            (worker.wake)();
        }
        events.iter().for_each(|event| self.learn(event));
    }

    /// Lets a change take effect, and tells it.
    fn learn(&mut self, Event { group, firewall, news }: &Event) {
        let name = format!("{group} firewall {firewall}");
        match news {
            News::Turned { to, reason, .. } => {
                let reason: &dyn Display = match reason {
                    Some(reason) => {
                        warn!("{name} is {}: {reason}", word(*to));
                        reason
                    }
                    None => {
                        info!("{name} is {}", word(*to));
                        &SUCCEEDED
                    }
                };
                if let Some(key) = key_of(&self.config, group, firewall) {
                    self.dirty.members |= self.members.set_health(&key, *to, reason, Moment::now());
                }
            }
            News::Alarm(complaint) => warn!("{name}: {complaint}"),
            News::AlarmEnded => info!("{name}: the two ends agree again"),
        }
    }

    /// What is known of the path over a firewall.
    pub(super) fn path_status(&self, group: &str, firewall: &str) -> Option<PathStatus<'_>> {
        self.probing.prober.status(Instant::now(), group, firewall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups, of which the first is probed; one of its firewalls has no probe address here.
    fn config(kind: &str) -> Config {
        let text = format!(
            r#"
            [appliance]
            hash_key = "000102030405060708090a0b0c0d0e0f"
            [[port]]
            name = "outside"
            interface = "eth1"
            [[firewall_group]]
            name = "fw"
            networks = ["198.19.0.0/16"]
            health_check = "path"
            [[firewall_group.firewall]]
            name = "fw2"
            address = "198.18.1.2"
            far_address = "198.18.2.102"
            weight = 3
            [[firewall_group.firewall]]
            name = "fw1"
            address = "198.18.1.1"
            far_address = "198.18.2.101"
            [[probe_responder]]
            address = "198.18.1.101"
            firewall = "fw1"
            [[probe_responder]]
            address = "198.18.1.102"
            firewall = "fw2"
            [[health_check]]
            name = "path"
            {kind}
            interval = "200ms"
            response_time = "100ms"
            "#
        );
        let outcome = config::parse(&text, "test.toml");
        outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics))
    }

    #[test]
    fn every_path_is_probed_from_its_own_responder_to_its_far_address() {
        let hasher = FlowHasher::new([7; 16]);
        for (kind, asking) in [
            ("kind = \"icmp\"", Asking::Echo),
            ("kind = \"udp\"\nport = 9", Asking::Datagram(9)),
            ("kind = \"tcp-half-open\"\nport = 22", Asking::Syn(22)),
        ] {
            let config = config(kind);
            let mut members = Members::default();
            members.configure(&config, Moment::now()).unwrap();
            let wanted = wanted_groups(&config, &members, &hasher);
            assert_eq!(wanted.len(), 1);
            assert_eq!(wanted[0].asking, asking);
            assert_eq!(wanted[0].fingerprint, fingerprint(&config.firewall_groups[0], &members, &hasher));
            let paths: Vec<_> = wanted[0]
                .paths
                .iter()
                .map(|path| format!("{} {} > {}", path.firewall, path.own, path.far))
                .collect();
            assert_eq!(paths, ["fw2 198.18.1.102 > 198.18.2.102", "fw1 198.18.1.101 > 198.18.2.101"]);
            let key = key_of(&config, "fw", "fw1").unwrap();
            assert_eq!(members.get(&key).map(|member| member.id), Some(wanted[0].paths[1].member));
        }
    }
}
