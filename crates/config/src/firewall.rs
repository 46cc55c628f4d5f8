//! Reads `[[firewall_group]]`, its `[[firewall_group.firewall]]`, and the zones that ports name.

use std::net::{IpAddr, Ipv4Addr};

use crate::code;
use crate::findings::Findings;
use crate::model::{
    Bridge, Firewall, FirewallGroup, FirewallHash, HealthCheck, Network, OnFailure, OnRecovery, Port,
};
use crate::nearest::nearest;
use crate::section::{Section, Value, quoted};
use crate::service::{MAX_SESSIONS_MAX, WEIGHT_MAX, reference};

/// Zones at the most, the one without a name among them.
const ZONES_MAX: usize = 16;
/// Longest name of a zone.
const ZONE_BYTES_MAX: usize = 15;
/// Groups at the most.
pub(crate) const GROUPS_MAX: usize = 64;
/// Firewalls of one group at the most.
pub(crate) const FIREWALLS_MAX: usize = 64;
/// Networks of one group at the most.
const NETWORKS_MAX: usize = 256;
/// Networks that one firewall translates to at the most.
const NAT_ADDRESSES_MAX: usize = 64;
/// New sessions per second of a firewall at the most.
const SESSION_RATE_MAX: u32 = 100_000_000;

pub(crate) const GROUP_KEYS: &[&str] =
    &["name", "zone", "networks", "hash", "on_failure", "on_recovery", "health_check", "firewall"];
pub(crate) const FIREWALL_KEYS: &[&str] = &[
    "name",
    "address",
    "port",
    "far_address",
    "weight",
    "max_sessions",
    "max_session_rate",
    "nat_addresses",
];

/// Stands for an address that could not be read. No address of the file can be equal to it.
pub(crate) const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Stands for a zone that could not be read, or that there is not. Nothing of the file is in it.
pub(crate) const NO_ZONE: u8 = u8::MAX;

/// Names of zones, in the order in which ports and bridges name them first. Number 0 has no name.
pub(crate) struct Zones {
    names: Vec<String>,
}

impl Zones {
    /// The zone without a name.
    pub(crate) fn new() -> Self {
        Self { names: vec![String::new()] }
    }

    /// The zone that a port or bridge is in.
    pub(crate) fn of_port(&mut self, section: Section<'_>) -> u8 {
        let Some(value) = section.optional("zone") else { return 0 };
        let Some(name) = name(value) else { return NO_ZONE };
        if let Some(place) = self.names.iter().position(|known| *known == name) {
            return place as u8;
        }
        if self.names.len() == ZONES_MAX {
            let message = format!("more than {} zones", ZONES_MAX - 1);
            value.error(code::TOO_MANY, message, "give ports that may reach each other one zone");
            return NO_ZONE;
        }
        self.names.push(name);
        (self.names.len() - 1) as u8
    }

    /// The zone that a group names: there must be a port in it.
    fn of_group(&self, section: Section<'_>, ports: &[Port]) -> u8 {
        let names: Vec<&str> = self.names.iter().skip(1).map(String::as_str).collect();
        let Some(value) = section.optional("zone") else {
            if ports.iter().all(|port| port.zone != 0) && !ports.is_empty() {
                let help = format!("say in which zone its firewalls are: {}", quoted(&names));
                section.contradiction(
                    "zone",
                    "`firewall_group` without `zone`, and every port is in one",
                    &help,
                );
            }
            return 0;
        };
        let Some(name) = name(value) else { return NO_ZONE };
        if let Some(place) = self.names.iter().position(|known| *known == name) {
            return place as u8;
        }
        let help = match nearest(&name, &names) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("add `zone = {name:?}` to the ports that the firewalls hang on"),
        };
        value.error(code::UNKNOWN_REFERENCE, format!("no port is in a zone {name:?}"), help);
        NO_ZONE
    }

    pub(crate) fn into_names(self) -> Vec<String> {
        self.names
    }
}

fn name(value: Value<'_>) -> Option<String> {
    value.line(ZONE_BYTES_MAX, "outside")
}

/// Reads every `[[firewall_group]]`.
pub(crate) fn groups(
    top: Section<'_>,
    ports: &[Port],
    zones: &Zones,
    checks: &[HealthCheck],
    findings: &Findings,
) -> Vec<FirewallGroup> {
    let sections = top.tables("firewall_group", "firewall_group", GROUP_KEYS, GROUPS_MAX);
    if let Some(section) = sections.first()
        && !top.has("appliance", "hash_key")
    {
        let message =
            "`firewall_group` without `hash_key` in `[appliance]`: the other end cannot choose alike";
        let help = "add `hash_key`, the same at both ends; `openssl rand -hex 16` makes one";
        findings.error(code::MISSING_KEY, section.at, message.to_owned(), help);
    }
    sections.into_iter().map(|section| group(section, ports, zones, checks, findings)).collect()
}

fn group(
    section: Section<'_>,
    ports: &[Port],
    zones: &Zones,
    checks: &[HealthCheck],
    findings: &Findings,
) -> FirewallGroup {
    let firewalls = section.tables("firewall", "firewall_group.firewall", FIREWALL_KEYS, FIREWALLS_MAX);
    if firewalls.is_empty() && section.optional("firewall").is_none_or(|value| value.is_empty_list()) {
        let help = "add `[[firewall_group.firewall]]` with `name` and `address`";
        findings.error(code::MISSING_KEY, section.at, "`firewall_group` without a firewall".into(), help);
    }
    FirewallGroup {
        name: section.required("name", "\"fw\"").and_then(|value| value.name()).unwrap_or_default(),
        zone: zones.of_group(section, ports),
        networks: networks(section.required("networks", "[\"198.19.0.0/16\"]"), NETWORKS_MAX),
        hash: section.optional("hash").and_then(|value| value.word()).unwrap_or(FirewallHash::AddressPair),
        on_failure: section.optional("on_failure").and_then(|value| value.word()).unwrap_or(OnFailure::Move),
        on_recovery: section
            .optional("on_recovery")
            .and_then(|value| value.word())
            .unwrap_or(OnRecovery::Sticky),
        health_check: section.optional("health_check").and_then(|value| reference(value, checks)),
        firewalls: firewalls.into_iter().map(|section| firewall(section, ports)).collect(),
        at: section.at("name"),
        zone_at: section.at("zone"),
        networks_at: section.at("networks"),
        health_check_at: section.at("health_check"),
    }
}

fn networks(value: Option<Value<'_>>, limit: usize) -> Vec<Network> {
    value
        .and_then(|value| value.distinct(limit, "[\"198.19.0.0/16\"]", |item| item.network()))
        .unwrap_or_default()
}

fn firewall(section: Section<'_>, ports: &[Port]) -> Firewall {
    let bound = |key, most| section.optional(key).and_then(|value: Value<'_>| value.integer::<u32>(1..=most));
    Firewall {
        name: section.required("name", "\"fw1\"").and_then(|value| value.name()).unwrap_or_default(),
        address: section
            .required("address", "\"198.18.1.1\"")
            .and_then(|value| value.address())
            .unwrap_or(NO_ADDRESS),
        port: section.optional("port").and_then(|value| port(value, ports)),
        far_address: section.optional("far_address").and_then(|value| value.address()),
        weight: section.optional("weight").and_then(|value| value.integer(0..=WEIGHT_MAX)).unwrap_or(1),
        max_sessions: bound("max_sessions", MAX_SESSIONS_MAX),
        max_session_rate: bound("max_session_rate", SESSION_RATE_MAX),
        nat_addresses: networks(section.optional("nat_addresses"), NAT_ADDRESSES_MAX),
        at: section.at("name"),
        address_at: section.at("address"),
        port_at: section.at("port"),
        far_address_at: section.at("far_address"),
        nat_addresses_at: section.at("nat_addresses"),
    }
}

fn port(value: Value<'_>, ports: &[Port]) -> Option<usize> {
    let name = value.text("\"fw1-leg\"")?;
    let place = ports.iter().position(|port| port.name == name && !name.is_empty());
    if place.is_none() {
        let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        let help = match nearest(name, &names) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("add a `[[port]]` with `name = {name:?}`"),
        };
        value.error(code::UNKNOWN_REFERENCE, format!("no port has the name {name:?}"), help);
    }
    place
}

/// Ports of a bridge are in its zone, and name none of their own.
pub(crate) fn zones_of_members(ports: &mut [Port], bridges: &[Bridge], findings: &Findings) {
    for bridge in bridges {
        for &port in &bridge.ports {
            let port = &mut ports[port];
            if port.zone != 0 {
                let message = format!("`zone` of a port of bridge {:?}, which has the zone", bridge.name);
                let help = "write it in `zone` of the bridge";
                findings.error(code::MEANINGLESS_KEY, port.zone_at, message, help);
            }
            port.zone = bridge.zone;
        }
    }
}
