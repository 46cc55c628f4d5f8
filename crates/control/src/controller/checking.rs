//! Health checks of the configuration's servers, and what their verdicts mean for them.

use super::carrying::carriage;
use super::{Controller, Rings};
use crate::check::{CheckId, Health as Verdict, Parameters, Status, Target, Transition, Wanted};
use crate::members::{Health, Moment, ServerKey};
use config::{HealthCheck, Probe};
use hashbrown::HashMap;
use mio::event::Event;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tracing::{info, warn};

/// Why a server is up.
pub(super) const SUCCEEDED: &str = "its check succeeded";

/// Which servers hang on which check: one check may serve several.
#[derive(Debug, Default)]
pub(super) struct CheckUsers {
    by_check: HashMap<CheckId, Vec<ServerKey>>,
    by_server: HashMap<ServerKey, CheckId>,
}

impl CheckUsers {
    /// The check that a server hangs on.
    pub fn check_of(&self, server: &ServerKey) -> Option<CheckId> {
        self.by_server.get(server).copied()
    }

    /// The servers that hang on a check.
    pub fn users_of(&self, check: CheckId) -> &[ServerKey] {
        self.by_check.get(&check).map(Vec::as_slice).unwrap_or_default()
    }
}

impl<R: Rings> Controller<R> {
    /// Begins the checks of the configuration in force, and ends all others.
    pub(super) fn watch(&mut self, now: Instant) {
        let (servers, checks): (Vec<ServerKey>, Vec<Wanted>) = self.wanted_checks().into_iter().unzip();
        let ids = self.checks.update(now, &checks);
        self.check_users = CheckUsers::default();
        let at = Moment::now();
        for (server, id) in servers.into_iter().zip(ids) {
            self.check_users.by_check.entry(id).or_default().push(server.clone());
            // A server that was given a check that runs already knows its verdict at once.
            if let Some(status) = self.checks.status(id) {
                let reason: &dyn Display = status.reason.map_or(&SUCCEEDED, |reason| reason);
                self.members.set_health(&server, health(status.health), reason, at);
            }
            self.check_users.by_server.insert(server, id);
        }
        self.carriers.configure(&self.config, &self.members);
        self.carriers.find_ways(&self.config, &self.facts);
        self.carriers.warn_of_filters(&self.facts);
        self.dirty.members = true;
        self.watch_paths(now);
        self.watch_traffic(now);
    }

    fn wanted_checks(&self) -> Vec<(ServerKey, Wanted)> {
        let mut wanted = Vec::new();
        for service in &self.config.services {
            let Some(check) = service.health_check.and_then(|place| self.config.health_checks.get(place))
            else {
                continue;
            };
            let parameters = parameters(check);
            let probe = Arc::new(check.probe.clone());
            for server in &service.servers {
                let port = match check.probe {
                    Probe::Icmp => None,
                    _ => match check.port.or(server.port).or_else(|| service.ports.single()) {
                        Some(port) => Some(port),
                        // A service on many ports has a check with a port of its own: the configuration saw to that.
                        None => continue,
                    },
                };
                let target = match carriage(service, server) {
                    Some(carriage) => Target::carried(service.address, port, carriage),
                    None => Target::by_kernel(server.address, port),
                };
                wanted.push((
                    ServerKey::of(service, server),
                    Wanted { target, probe: probe.clone(), parameters },
                ));
            }
        }
        wanted
    }

    pub(super) fn check_event(&mut self, now: Instant, event: &Event) {
        let mut transitions = Vec::new();
        self.checks.handle(now, event, &mut transitions);
        self.judge(&transitions);
    }

    /// Makes the checks that are due.
    pub(super) fn check(&mut self, now: Instant) {
        let mut transitions = Vec::new();
        self.checks.advance(now, &mut transitions);
        self.judge(&transitions);
    }

    /// Lets changes of mind about servers take effect.
    pub(super) fn judge(&mut self, transitions: &[Transition]) {
        for transition in transitions {
            for server in self.check_users.users_of(transition.id) {
                let name = format!("{} server {}", server.service, endpoint(server));
                let to = transition.turn.to;
                let reason: &dyn Display = match &transition.turn.reason {
                    Some(reason) => {
                        warn!("{name} is {}: {reason}", to.word());
                        reason
                    }
                    None => {
                        info!("{name} is {}", to.word());
                        &SUCCEEDED
                    }
                };
                self.dirty.members |= self.members.set_health(server, health(to), reason, Moment::now());
            }
        }
    }

    /// What the check of a server knows.
    pub(super) fn check_status(&self, server: &ServerKey) -> Option<Status<'_>> {
        self.check_users.check_of(server).and_then(|id| self.checks.status(id))
    }

    /// Seconds since the last check of a server, and why it failed, if it did.
    pub(super) fn last_check(&self, server: &ServerKey) -> (Option<f64>, Option<String>) {
        let Some(status) = self.check_status(server) else { return (None, None) };
        let ago = status.last_check.map(|at| at.elapsed().as_secs_f64());
        (ago, status.reason.map(ToString::to_string))
    }
}

/// How a check of the file is judged.
pub(super) fn parameters(check: &HealthCheck) -> Parameters {
    Parameters {
        interval: check.interval,
        response_time: check.response_time,
        retries: check.retries,
        timeout: check.timeout,
        dead_interval: check.dead_interval,
        rise: check.rise,
    }
}

fn health(verdict: Verdict) -> Health {
    match verdict {
        Verdict::Checking => Health::Checking,
        Verdict::Up => Health::Up,
        Verdict::Down => Health::Down,
    }
}

pub(super) fn endpoint(server: &ServerKey) -> String {
    match server.port {
        Some(port) => SocketAddr::new(server.address, port).to_string(),
        None => server.address.to_string(),
    }
}
