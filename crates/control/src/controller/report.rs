//! What `show` shows, as JSON (SPEC section 8). Reads counters and tables that workers write; writes nothing.

use super::Controller;
use super::world::Rings;
use engine::DropReason;
use metrics::DurationHistogram;
use serde_json::{Value, json};
use std::time::Instant;

impl<R: Rings> Controller<R> {
    /// `show status`.
    pub(super) fn show_status(&self, now: Instant) -> Value {
        let reasons = self.degradations();
        let sum = |count: fn(&engine::WorkerCounters) -> u64| -> u64 {
            self.workers.iter().map(|worker| count(&worker.counters)).sum()
        };
        let services = self.show_services();
        let services_up = services.iter().filter(|service| service["state"] == "up").count();
        let servers = self.show_servers();
        let servers_up = servers.iter().filter(|server| server["state"] == "up").count();
        let (firewalls_total, firewalls_up, drifted_flows) = self.count_firewalls();
        let differing = self.members.all().filter(|(_, member)| !member.differs().is_empty()).count();
        json!({
            "name": self.name,
            "version": env!("CARGO_PKG_VERSION"),
            "state": if reasons.is_empty() { "forwarding" } else { "degraded" },
            "reasons": reasons,
            "uptime_s": now.duration_since(self.started).as_secs(),
            "plan_generation": self.publisher.current().generation,
            "config_file": self.config_path.display().to_string(),
            "config_loaded_s_ago": now.duration_since(self.config_loaded).as_secs(),
            "workers": self.workers.len(),
            "sessions_ipv4": self.shared.sessions_v4.len(),
            "capacity_ipv4": self.shared.sessions_v4.capacity_sessions(),
            "sessions_ipv6": self.shared.sessions_v6.len(),
            "capacity_ipv6": self.shared.sessions_v6.capacity_sessions(),
            "services_up": services_up,
            "services_total": services.len(),
            "servers_up": servers_up,
            "servers_total": servers.len(),
            "servers_differing": differing,
            "firewalls_up": firewalls_up,
            "firewalls_total": firewalls_total,
            "drifted_flows": drifted_flows,
            "received": sum(|counters| counters.received.get()),
            "transmitted": sum(|counters| counters.transmitted.get()),
            "answered": sum(|counters| counters.answered.get()),
            "injected": sum(|counters| counters.injected.get()),
            "carries_lost": self.carriers.lost() + self.probing.lost() + sum(|counters| counters.carries_lost.get()),
            "copied": sum(|counters| counters.copied.get()),
            "copies_refused": sum(|counters| counters.copies_refused.get()),
            "tiny_mtus": sum(|counters| counters.tiny_mtus.get()),
            "sessionless": sum(|counters| counters.sessionless.get()),
            "parked": sum(|counters| counters.parked.get()),
            "taken": sum(|counters| counters.taken.get()),
            "punts_lost": sum(|counters| counters.punts_lost.get()),
            "dropped": sum(engine::WorkerCounters::dropped),
            "sessions_evicted": sum(|counters| counters.sessions_evicted.get()),
            "persistence_lost": sum(|counters| counters.persistence_lost.get()),
            "source_ports_hurried": sum(|counters| counters.source_ports_hurried.get()),
            "pending_reload_error": self.reload_error,
        })
    }

    /// Why the appliance does less than it should; empty when it does not.
    fn degradations(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for worker in self.workers.iter().filter(|worker| worker.has_ended()) {
            reasons.push(format!("the worker on CPU {} has ended", worker.cpu));
        }
        for port in &self.config.ports {
            match self.facts.interface_named(&port.interface) {
                None => reasons.push(format!("port {}: there is no interface {}", port.name, port.interface)),
                Some(interface) if !interface.carries() => {
                    reasons.push(format!("port {}: the link of {} is down", port.name, port.interface));
                }
                Some(_) => {}
            }
        }
        if self.conflicts.len() > 0 {
            reasons.push("another host claims an address of ours: see `show neighbours`".to_owned());
        }
        reasons.extend(self.firewall_degradations());
        let tables = [
            ("IPv4", self.shared.sessions_v4.len(), self.shared.sessions_v4.capacity_sessions()),
            ("IPv6", self.shared.sessions_v6.len(), self.shared.sessions_v6.capacity_sessions()),
        ];
        for (family, held, capacity) in tables {
            if held >= capacity {
                reasons.push(format!("the {family} session table is full: {held} of {capacity} sessions"));
            }
        }
        reasons
    }

    /// `show ports`.
    pub(super) fn show_ports(&self) -> Vec<Value> {
        let rings = self.rings.ports();
        let ports = self.config.ports.iter().enumerate().map(|(place, port)| {
            let interface = self.facts.interface_named(&port.interface);
            let facts = rings.get(place).cloned().unwrap_or_default();
            let sum = |count: fn(&engine::PortCounters) -> u64| -> u64 {
                self.workers.iter().filter_map(|worker| worker.counters.ports.get(place)).map(count).sum()
            };
            json!({
                "name": port.name,
                "interface": port.interface,
                "driver": facts.driver,
                "mode": facts.mode,
                "reason": facts.reason,
                "link": if interface.is_some_and(|interface| interface.carries()) { "up" } else { "down" },
                "mtu": interface.map_or(0, |interface| interface.mtu),
                "mac": interface.map(|interface| wire::Mac(interface.mac).to_string()),
                "rx_packets": sum(|counters| counters.rx_packets.get()),
                "rx_bytes": sum(|counters| counters.rx_bytes.get()),
                "tx_packets": sum(|counters| counters.tx_packets.get()),
                "tx_bytes": sum(|counters| counters.tx_bytes.get()),
                "rx_dropped": facts.rx_dropped,
                "tx_dropped": facts.tx_dropped,
            })
        });
        ports.collect()
    }

    /// `show workers`.
    pub(super) fn show_workers(&self) -> Vec<Value> {
        let workers = self.workers.iter().map(|worker| {
            let counters = &worker.counters;
            let elapsed_ns = counters.elapsed_ns.get().max(1);
            let (created, ended) = (counters.sessions_opened.get(), counters.sessions_closed.get());
            json!({
                "cpu": worker.cpu,
                "packets": counters.received.get(),
                "busy_ratio": counters.busy_ns.get() as f64 / elapsed_ns as f64,
                // Sessions that this worker made and none has ended: another worker may end what this one made.
                "sessions": created as i64 - ended as i64,
                "plan_generation": counters.plan_generation.get(),
                "polling": self.config.appliance.polling.to_string(),
                "state": if worker.has_ended() { "ended" } else { "running" },
            })
        });
        workers.collect()
    }

    /// `show drops`: every reason that has dropped something.
    pub(super) fn show_drops(&self) -> Vec<Value> {
        let by_workers = DropReason::all().map(|reason| {
            let packets: u64 =
                self.workers.iter().map(|worker| worker.counters.drops[reason.index()].get()).sum();
            json!({"reason": reason.name(), "packets": packets, "meaning": reason.sentence()})
        });
        let outside = self
            .rings
            .losses()
            .into_iter()
            .map(|loss| json!({"reason": loss.reason, "packets": loss.packets, "meaning": loss.meaning}));
        let mut drops: Vec<Value> = by_workers.chain(outside).filter(|drop| drop["packets"] != 0).collect();
        drops.sort_by_key(|drop| std::cmp::Reverse(drop["packets"].as_u64()));
        drops
    }

    /// `show neighbours`: the next hops that the plan knows, and who claims what is ours.
    pub(super) fn show_neighbours(&self, now: Instant) -> Vec<Value> {
        let legs = crate::compile::legs_by_interface(&self.config, &self.facts);
        let mut known: Vec<_> = self.facts.neighbours.keys().chain(&self.kept).collect();
        known.sort();
        known.dedup();
        let shown = known.into_iter().filter_map(|key| {
            let leg = self.leg_name(*legs.get(&key.0)?)?;
            let neighbour = self.facts.neighbours.get(key);
            Some(json!({
                "port": leg,
                "address": key.1,
                "mac": neighbour.and_then(|neighbour| neighbour.mac).map(|mac| wire::Mac(mac).to_string()),
                "state": neighbour.map_or("unknown".to_owned(), |n| format!("{:?}", n.state).to_lowercase()),
                "kind": if self.kept.contains(key) { "next-hop" } else { "on-link" },
            }))
        });
        shown.chain(self.conflicts.rows(now, |leg| self.leg_name(leg).map(str::to_owned))).collect()
    }

    /// How a port or bridge is called.
    pub(super) fn leg_name(&self, leg: u16) -> Option<&str> {
        let place = usize::from(leg);
        let port = self.config.ports.get(place).map(|port| port.name.as_str());
        let bridge =
            || self.config.bridges.get(place - self.config.ports.len()).map(|bridge| bridge.name.as_str());
        port.or_else(bridge)
    }

    /// `show latency`: how long busy turns took.
    pub(super) fn show_latency(&self) -> Vec<Value> {
        let workers = self.workers.iter().filter_map(|worker| {
            let mut total = DurationHistogram::empty_total().ok()?;
            worker.counters.turn_ns.add_to(&mut total);
            let us = |quantile: f64| total.value_at_quantile(quantile) as f64 / 1_000.0;
            Some(json!({
                "cpu": worker.cpu,
                "p50_us": us(0.5),
                "p99_us": us(0.99),
                "p999_us": us(0.999),
                "max_us": worker.counters.turn_ns.maximum_ns() as f64 / 1_000.0,
                "turns": total.len(),
            }))
        });
        workers.collect()
    }
}
