//! `show bridge`: the bridges, their members, and who was seen behind them.

use super::{Controller, Rings};
use engine::Sighting;
use serde_json::{Value, json};
use session::{TICK_NS, tick_from_ns};
use std::time::Instant;

impl<R: Rings> Controller<R> {
    /// A row for each MAC address that a bridge knows, its own among them.
    pub(super) fn show_bridge(&self, now: Instant) -> Vec<Value> {
        let tick = tick_from_ns(now.duration_since(self.clock).as_nanos() as u64);
        let ageing = |number: u8| {
            let bridge = self.config.bridges.get(usize::from(number));
            bridge.map_or(0, |bridge| tick_from_ns(bridge.ageing.as_nanos() as u64))
        };
        let mut seen: Vec<Sighting> = Vec::new();
        self.shared.macs.inspect(tick, ageing, |sighting| seen.push(sighting));
        seen.sort_by_key(|seen| (seen.station.bridge, seen.station.vlan, seen.port, seen.station.mac.0));
        let own = self.config.bridges.iter().filter_map(|bridge| {
            let interface = self.facts.interface_named(&bridge.name)?;
            Some(row(&bridge.name, "(host)", 0, wire::Mac(interface.mac).to_string(), 0, 0))
        });
        let others = seen.iter().filter_map(|seen| {
            let bridge = self.config.bridges.get(usize::from(seen.station.bridge))?;
            let port = self.config.ports.get(usize::from(seen.port))?;
            let idle_s = u64::from(tick.wrapping_sub(seen.last_seen_tick)) * TICK_NS / 1_000_000_000;
            let mac = seen.station.mac.to_string();
            Some(row(&bridge.name, &port.name, seen.station.vlan, mac, idle_s, seen.moves))
        });
        own.chain(others).collect()
    }
}

fn row(bridge: &str, port: &str, vlan: u16, mac: String, idle_s: u64, moves: u32) -> Value {
    json!({"bridge": bridge, "mac": mac, "vlan": vlan, "port": port, "idle_s": idle_s, "moves": moves})
}
