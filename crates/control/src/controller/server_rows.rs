//! Services and their servers as `show` shows them, as JSON (SPEC section 8): what they carry, how they fare, since when
//! and why, and where what runs differs from the file.

use super::totals::MemberTotals;
use super::{Controller, Rings};
use crate::compile::in_use;
use crate::members::{Change, Member, ServerKey, Shown};
use config::Service;
use serde_json::{Value, json};

impl<R: Rings> Controller<R> {
    /// `show services`.
    pub(super) fn show_services(&self) -> Vec<Value> {
        let services = self.config.services.iter().map(|service| {
            let servers = self.servers_of(&service.name);
            let totals: MemberTotals = servers.iter().map(|(.., totals)| *totals).sum();
            let shortage = self.shortage(service);
            json!({
                "name": service.name,
                "address": service.address,
                "protocol": service.protocol.to_string(),
                "port": service.ports.to_string(),
                "mode": service.mode.to_string(),
                "scheduler": service.scheduler.to_string(),
                "state": if shortage.is_none() { "up" } else { "down" },
                "reason": shortage,
                "quorum": service.quorum,
                "sessions_active": totals.sessions_active,
                "sessions_closing": totals.sessions_closing(),
                "sessions_total": totals.sessions_created,
                "packets_in": totals.packets_in,
                "bytes_in": totals.bytes_in,
                "packets_out": totals.packets_out,
                "bytes_out": totals.bytes_out,
                "servers": servers.iter().map(|(key, member, totals)| self.server(key, member, totals)).collect::<Vec<_>>(),
            })
        });
        services.collect()
    }

    /// `show servers`.
    pub(super) fn show_servers(&self) -> Vec<Value> {
        let services = self.config.services.iter().flat_map(|service| self.servers_of(&service.name));
        services.map(|(key, member, totals)| self.server(key, member, &totals)).collect()
    }

    /// Why a service takes no sessions; `None` where it does.
    fn shortage(&self, service: &Service) -> Option<String> {
        let is_up = |place: usize| {
            let key = service.servers.get(place).map(|server| ServerKey::of(service, server));
            key.and_then(|key| self.members.get(&key)).is_some_and(Member::takes_sessions)
        };
        if !in_use(service, is_up).is_empty() {
            return None;
        }
        let (total, up) =
            (service.servers.len(), (0..service.servers.len()).filter(|&place| is_up(place)).count());
        Some(match (total, up) {
            (0, _) => "it has no server".to_owned(),
            (_, 0) => format!("none of its {total} servers can take sessions"),
            _ => format!(
                "{up} of its {total} servers could take sessions, and its quorum is {}",
                service.quorum
            ),
        })
    }

    /// The servers of a service: first those of the file, in its order, then removed ones that still drain.
    fn servers_of(&self, service: &str) -> Vec<(&ServerKey, &Member, MemberTotals)> {
        let place = |key: &ServerKey| {
            let configured = self.config.services.iter().find(|other| other.name == service);
            let servers = configured.map(|service| &service.servers[..]).unwrap_or_default();
            let same = |server: &config::Server| server.address == key.address && server.port == key.port;
            servers.iter().position(same).unwrap_or(usize::MAX)
        };
        let mut servers: Vec<_> = self
            .members
            .of_service(service)
            .map(|(key, member)| (key, member, self.totals.of(&self.workers, &self.shared.loads, member.id)))
            .collect();
        servers.sort_by_key(|(key, ..)| (place(key), (*key).clone()));
        servers
    }

    fn server(&self, key: &ServerKey, member: &Member, totals: &MemberTotals) -> Value {
        let service = self.config.services.iter().find(|service| service.name == key.service);
        let port = key.port.or_else(|| service.and_then(|service| service.ports.single()));
        let (last_check, failure) = self.last_check(key);
        // A server that is held back is not helped by a better answer to its check.
        let reason = match member.shown() {
            Shown::Draining | Shown::Disabled => member.held_back().map(str::to_owned).or(failure),
            Shown::Up | Shown::Down | Shown::Asymmetric | Shown::Checking => failure,
        };
        let since = member.history().since();
        json!({
            "service": key.service,
            "address": key.address,
            "port": port,
            "weight": member.weight(),
            "configured_weight": member.configured_weight(),
            "state": member.shown().word(),
            "since": since.to_string(),
            "in_state_s": since.steady.elapsed().as_secs(),
            "differs": member.differs(),
            "sessions_active": totals.sessions_active,
            "sessions_closing": totals.sessions_closing(),
            "sessions_total": totals.sessions_created,
            "packets_in": totals.packets_in,
            "bytes_in": totals.bytes_in,
            "packets_out": totals.packets_out,
            "bytes_out": totals.bytes_out,
            "response_time_ms": self.shared.loads.response_ns(member.id).map(|nanoseconds| nanoseconds as f64 / 1e6),
            "last_check": last_check,
            "reason": reason,
            "history": member.history().changes().map(change).collect::<Vec<_>>(),
        })
    }
}

/// One change of a history.
pub(super) fn change(change: &Change) -> Value {
    json!({
        "at": change.at.to_string(),
        "from": change.from.word(),
        "to": change.to.word(),
        "reason": change.reason,
    })
}
