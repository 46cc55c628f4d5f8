//! `show sessions --sticky`: which clients are to come back to which server.

use super::{Controller, Rings};
use crate::compile::persistence_of;
use hashbrown::{HashMap, HashSet};
use plan::Persistence;
use rewrite::MemberId;
use serde_json::{Value, json};
use session::sticky::StickyEntry;
use session::{TICK_NS, tick_from_ns};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

/// Sets that one call of `next` looks at before it gives the loop its turn.
const SETS_PER_ROW: usize = 256;

impl<R: Rings> Controller<R> {
    /// Every remembered client as a row, a few at a time.
    pub(super) fn sticky_rows(&self, now: Instant) -> Box<dyn Iterator<Item = Value>> {
        let services: HashMap<u64, (String, Persistence, bool)> = self
            .config
            .services
            .iter()
            .filter_map(|service| {
                let persistence = persistence_of(service, service.persistence?, &self.shared.hasher);
                Some((persistence.identity, (service.name.clone(), persistence, service.address.is_ipv4())))
            })
            .collect();
        let servers: HashMap<MemberId, String> =
            self.members.all().map(|(key, member)| (member.id, super::checking::endpoint(key))).collect();
        let shared = self.shared.clone();
        let tick = tick_from_ns(now.duration_since(self.clock).as_nanos() as u64);
        let sets = (0..shared.sticky.set_count()).step_by(SETS_PER_ROW);
        Box::new(sets.flat_map(move |set| {
            let mut rows = Vec::new();
            shared.sticky.inspect(set..set + SETS_PER_ROW, tick, |entry| {
                let Some((service, persistence, is_ipv4)) = services.get(&entry.key.0[0]) else { return };
                rows.push(json!({
                    "service": service,
                    "client": client(entry, persistence, *is_ipv4),
                    "server": servers.get(&MemberId::from_bits(entry.member)),
                    "sessions": entry.sessions,
                    "idle_s": seconds(entry.idle_ticks(tick)),
                    "timeout_s": seconds(entry.timeout_ticks),
                }));
            });
            rows
        }))
    }

    /// After a reload, forgets the clients of services that remember none any more, or others: nobody would take their
    /// sessions off. Comes after the workers have the new plan, or they would remember some anew.
    pub(super) fn forget_clients(&mut self) {
        if !std::mem::take(&mut self.clients_are_other) {
            return;
        }
        let of = |service: &config::Service| {
            service.persistence.map(|kept| persistence_of(service, kept, &self.shared.hasher).identity)
        };
        let live: HashSet<u64> = self.config.services.iter().filter_map(of).collect();
        self.shared.sticky.retain(|key| live.contains(&key.0[0]));
    }
}

/// The client's address, or its network where a part of the address counts.
fn client(entry: &StickyEntry, persistence: &Persistence, is_ipv4: bool) -> String {
    let bits = u128::from(entry.key.0[1]) << 64 | u128::from(entry.key.0[2]);
    let (address, whole) = match is_ipv4 {
        true => (IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32)), 32),
        false => (IpAddr::V6(Ipv6Addr::from_bits(bits)), 128),
    };
    match persistence.prefix_length {
        length if length == whole => address.to_string(),
        length => format!("{address}/{length}"),
    }
}

fn seconds(ticks: u32) -> u64 {
    u64::from(ticks) * TICK_NS / 1_000_000_000
}
