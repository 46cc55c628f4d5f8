//! Reads `[[firewall_group]]`, its `[[firewall_group.firewall]]`, `[[probe_responder]]`, and the zones that ports name.

use std::net::{IpAddr, Ipv4Addr};

use crate::code;
use crate::findings::Findings;
use crate::model::{
    Bridge, Firewall, FirewallGroup, FirewallHash, HealthCheck, Network, OnFailure, OnRecovery, Port,
    ProbeResponder,
};
use crate::nearest::nearest;
use crate::section::{Section, Value};
use crate::service::{MAX_SESSIONS_MAX, WEIGHT_MAX, reference};

/// Zones at the most, the one without a name among them.
const ZONES_MAX: usize = 16;
/// Longest name of a zone.
const ZONE_BYTES_MAX: usize = 15;
/// Groups at the most.
const GROUPS_MAX: usize = 64;
/// Firewalls of one group at the most.
const FIREWALLS_MAX: usize = 64;
/// Networks of one group, and of what one firewall translates to, at the most.
const NETWORKS_MAX: usize = 256;
/// New sessions per second of a firewall at the most.
const SESSION_RATE_MAX: u32 = 100_000_000;
/// Responders at the most: one for each firewall that there can be.
const RESPONDERS_MAX: usize = GROUPS_MAX * FIREWALLS_MAX;

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
pub(crate) const RESPONDER_KEYS: &[&str] = &["address", "firewall", "group"];

/// Stands for an address that could not be read. No address of the file can be equal to it.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

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
        let Some((value, name)) = named(section) else { return 0 };
        if let Some(place) = self.names.iter().position(|known| *known == name) {
            return place as u8;
        }
        if self.names.len() == ZONES_MAX {
            let message = format!("more than {} zones", ZONES_MAX - 1);
            value.error(code::TOO_MANY, message, "give ports that may reach each other one zone");
            return 0;
        }
        self.names.push(name);
        (self.names.len() - 1) as u8
    }

    /// The zone that a group names: there must be a port in it.
    fn of_group(&self, section: Section<'_>) -> u8 {
        let Some((value, name)) = named(section) else { return 0 };
        let place = self.names.iter().position(|known| *known == name);
        if place.is_none() {
            let names: Vec<&str> = self.names.iter().skip(1).map(String::as_str).collect();
            let help = match nearest(&name, &names) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("add `zone = {name:?}` to the ports that the firewalls hang on"),
            };
            value.error(code::UNKNOWN_REFERENCE, format!("no port is in a zone {name:?}"), help);
        }
        place.unwrap_or_default() as u8
    }

    pub(crate) fn into_names(self) -> Vec<String> {
        self.names
    }
}

fn named(section: Section<'_>) -> Option<(Value<'_>, String)> {
    let value = section.optional("zone")?;
    Some((value, value.line(ZONE_BYTES_MAX, "outside")?))
}

/// Reads every `[[firewall_group]]`.
pub(crate) fn groups(
    top: Section<'_>,
    ports: &[Port],
    zones: &Zones,
    checks: &[HealthCheck],
) -> Vec<FirewallGroup> {
    let sections = top.tables("firewall_group", "firewall_group", GROUP_KEYS, GROUPS_MAX);
    sections.into_iter().map(|section| group(section, ports, zones, checks)).collect()
}

fn group(section: Section<'_>, ports: &[Port], zones: &Zones, checks: &[HealthCheck]) -> FirewallGroup {
    FirewallGroup {
        name: section.required("name", "\"fw\"").and_then(|value| value.name()).unwrap_or_default(),
        zone: zones.of_group(section),
        networks: networks(section.required("networks", "[\"198.19.0.0/16\"]")),
        hash: section.optional("hash").and_then(|value| value.word()).unwrap_or(FirewallHash::AddressPair),
        on_failure: section.optional("on_failure").and_then(|value| value.word()).unwrap_or(OnFailure::Move),
        on_recovery: section
            .optional("on_recovery")
            .and_then(|value| value.word())
            .unwrap_or(OnRecovery::Sticky),
        health_check: section.optional("health_check").and_then(|value| reference(value, checks)),
        firewalls: section
            .tables("firewall", "firewall_group.firewall", FIREWALL_KEYS, FIREWALLS_MAX)
            .into_iter()
            .map(|section| firewall(section, ports))
            .collect(),
        at: section.at("name"),
        zone_at: section.at("zone"),
        networks_at: section.at("networks"),
        health_check_at: section.at("health_check"),
    }
}

fn networks(value: Option<Value<'_>>) -> Vec<Network> {
    value
        .and_then(|value| value.distinct(NETWORKS_MAX, "[\"198.19.0.0/16\"]", |item| item.network()))
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
        nat_addresses: networks(section.optional("nat_addresses")),
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

/// Reads every `[[probe_responder]]`; those whose firewall cannot be found are left out.
pub(crate) fn responders(
    top: Section<'_>,
    groups: &[FirewallGroup],
    findings: &Findings,
) -> Vec<ProbeResponder> {
    let sections = top.tables("probe_responder", "probe_responder", RESPONDER_KEYS, RESPONDERS_MAX);
    sections.into_iter().filter_map(|section| responder(section, groups, findings)).collect()
}

fn responder(section: Section<'_>, groups: &[FirewallGroup], findings: &Findings) -> Option<ProbeResponder> {
    let address = section.required("address", "\"198.18.1.101\"").and_then(|value| value.address());
    let value = section.required("firewall", "\"fw1\"");
    let group = section.optional("group").map(|value| (value, value.text("\"fw\"")));
    let (address, value) = (address?, value?);
    let name = value.text("\"fw1\"")?;
    // Whose addresses are of another family is another path.
    let is_of_family = |firewall: &Firewall| {
        firewall.address.is_ipv4() == address.is_ipv4() || firewall.address == NO_ADDRESS
    };
    let places = |group: usize| {
        let firewalls = groups[group].firewalls.iter();
        let found = firewalls.clone().position(|firewall| firewall.name == name && is_of_family(firewall));
        found.map(|firewall| (group, firewall))
    };
    let is_named = |place: &usize| match &group {
        Some((_, Some(name))) => groups[*place].name == *name,
        Some((_, None)) => false,
        None => true,
    };
    let found: Vec<(usize, usize)> = (0..groups.len()).filter(is_named).filter_map(places).collect();
    match (found[..].first(), &group) {
        (Some(&(group, firewall)), _) if found.len() == 1 => {
            let (at, firewall_at) = (section.at("address"), section.at("firewall"));
            Some(ProbeResponder { address, group, firewall, at, firewall_at })
        }
        (Some(_), _) => {
            let names: Vec<String> =
                found.iter().map(|(group, _)| format!("{:?}", groups[*group].name)).collect();
            let message = format!("firewall {name:?} is in several groups: {}", names.join(", "));
            findings.error(
                code::UNKNOWN_REFERENCE,
                section.at("firewall"),
                message,
                "say which with `group`",
            );
            None
        }
        (None, Some((value, Some(wanted)))) if !groups.iter().any(|group| group.name == *wanted) => {
            let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
            let help = match nearest(wanted, &names) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("add a `[[firewall_group]]` with `name = {wanted:?}`"),
            };
            value.error(code::UNKNOWN_REFERENCE, format!("no firewall group has the name {wanted:?}"), help);
            None
        }
        (None, Some((_, None))) => None,
        (None, _) => {
            let names: Vec<&str> = groups
                .iter()
                .flat_map(|group| &group.firewalls)
                .map(|firewall| firewall.name.as_str())
                .collect();
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let help = match nearest(name, &names) {
                Some(near) if near != name => format!("did you mean {near:?}?"),
                _ => format!("name a firewall that has an {family} address"),
            };
            let message = format!("no firewall of {family} has the name {name:?}");
            findings.error(code::UNKNOWN_REFERENCE, section.at("firewall"), message, help);
            None
        }
    }
}

/// Ports of a bridge are in its zone.
pub(crate) fn zones_of_members(ports: &mut [Port], bridges: &[Bridge]) {
    for bridge in bridges {
        for &port in &bridge.ports {
            ports[port].zone = bridge.zone;
        }
    }
}
