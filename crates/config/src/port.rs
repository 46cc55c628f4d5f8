//! Reads `[[port]]` and `[[bridge]]`.

use std::time::Duration;

use crate::code;
use crate::findings::Findings;
use crate::firewall::Zones;
use crate::model::{Bridge, Driver, HostAddress, Port};
use crate::nearest::nearest;
use crate::section::{Section, Value};
use crate::source::Position;

/// Ports at the most: each worker polls a ring of each.
const PORTS_MAX: usize = 64;
/// Bridges at the most: one of each port.
const BRIDGES_MAX: usize = PORTS_MAX;
/// Longest interface name: `IFNAMSIZ` less its final zero.
const INTERFACE_BYTES_MAX: usize = 15;
/// What [`can_be_device`] asks for, in words.
const DEVICE_NAMES: &str = "at most 15 bytes without `/`, `:` or white space";
/// Lowest VLAN: 0 marks a priority, and no VLAN (IEEE 802.1Q, table 9-2).
const VLAN_MIN: u16 = 1;
/// Highest VLAN: 4095 is reserved (IEEE 802.1Q, table 9-2).
const VLAN_MAX: u16 = 4_094;
/// Stands for a VLAN that could not be read.
pub(crate) const NO_VLAN: u16 = 0;
/// Addresses of a host leg at the most.
const HOST_ADDRESSES_MAX: usize = 64;
/// Shortest time after which a MAC address is forgotten (IEEE 802.1Q, 8.8.3).
const AGEING_MIN: Duration = Duration::from_secs(10);
/// Longest: a host that moved is not found before it speaks.
const AGEING_MAX: Duration = Duration::from_secs(3_600);
/// What IEEE 802.1Q recommends (8.8.3).
const AGEING_DEFAULT: Duration = Duration::from_secs(300);

pub(crate) const PORT_KEYS: &[&str] = &["name", "interface", "vlan", "driver", "zone", "addresses"];
pub(crate) const BRIDGE_KEYS: &[&str] = &["name", "ports", "zone", "addresses", "ageing"];

/// Reads every `[[port]]`.
pub(crate) fn ports(top: Section<'_>, zones: &mut Zones, findings: &Findings) -> Vec<Port> {
    let sections = top.tables("port", "port", PORT_KEYS, PORTS_MAX);
    if sections.is_empty() && top.optional("port").is_none_or(|value| value.is_list()) {
        let help = "add `[[port]]` with `name` and `interface`";
        findings.error(code::MISSING_KEY, top.at, "no `[[port]]`: no frame would be taken".into(), help);
    }
    sections.into_iter().map(|section| port(section, zones)).collect()
}

fn port(section: Section<'_>, zones: &mut Zones) -> Port {
    let vlan = section.optional("vlan");
    let is_vlan = vlan.is_some();
    Port {
        name: section
            .required("name", "\"outside\"")
            .and_then(|value| if is_vlan { host_leg(value) } else { value.name() })
            .unwrap_or_default(),
        interface: section.required("interface", "\"eth1\"").and_then(interface).unwrap_or_default(),
        vlan: vlan.map(|value| value.integer(VLAN_MIN..=VLAN_MAX).unwrap_or(NO_VLAN)),
        driver: section.optional("driver").and_then(|value| value.word()).unwrap_or(Driver::Auto),
        zone: zones.of_port(section),
        addresses: host_addresses(section),
        at: section.at("name"),
        interface_at: section.at("interface"),
        vlan_at: section.at("vlan"),
        driver_at: section.at("driver"),
        zone_at: section.at("zone"),
        addresses_at: section.at("addresses"),
    }
}

/// Reads every `[[bridge]]`.
pub(crate) fn bridges(top: Section<'_>, ports: &[Port], zones: &mut Zones) -> Vec<Bridge> {
    let mut owners = vec![None; ports.len()];
    let sections = top.tables("bridge", "bridge", BRIDGE_KEYS, BRIDGES_MAX);
    sections
        .into_iter()
        .map(|section| Bridge {
            name: section.required("name", "\"br0\"").and_then(host_leg).unwrap_or_default(),
            ports: section
                .required("ports", "[\"outside\", \"inside\"]")
                .and_then(|value| bridged(value, section.at("name"), ports, &mut owners))
                .unwrap_or_default(),
            zone: zones.of_port(section),
            addresses: host_addresses(section),
            ageing: section
                .optional("ageing")
                .and_then(|value| value.duration(AGEING_MIN..=AGEING_MAX))
                .unwrap_or(AGEING_DEFAULT),
            at: section.at("name"),
            ports_at: section.at("ports"),
            addresses_at: section.at("addresses"),
        })
        .collect()
}

/// The ports of a bridge; `owners` says where the bridge stands that a port is in already.
fn bridged(
    value: Value<'_>,
    at: Position,
    ports: &[Port],
    owners: &mut [Option<Position>],
) -> Option<Vec<usize>> {
    let mut indices = Vec::new();
    for item in value.items(PORTS_MAX, "[\"outside\", \"inside\"]")? {
        let Some(name) = item.text("[\"outside\", \"inside\"]") else { continue };
        let Some(index) = ports.iter().position(|port| port.name == name && !name.is_empty()) else {
            let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
            let help = match nearest(name, &names) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("add a `[[port]]` with `name = {name:?}`"),
            };
            item.error(code::UNKNOWN_REFERENCE, format!("no port has the name {name:?}"), help);
            continue;
        };
        match owners[index].replace(at) {
            Some(first) => {
                let message = format!("port {name:?} is in the bridge of line {} already", first.line);
                item.error(code::DUPLICATE_VALUE, message, "leave it in one bridge");
            }
            None => indices.push(index),
        }
    }
    Some(indices)
}

fn host_addresses(section: Section<'_>) -> Vec<HostAddress> {
    let Some(value) = section.optional("addresses").filter(|value| !value.is_empty_list()) else {
        return Vec::new();
    };
    value.distinct(HOST_ADDRESSES_MAX, "[\"198.18.0.2/24\"]", |item| item.host_address()).unwrap_or_default()
}

/// The name of an interface that somebody else makes.
fn interface(value: Value<'_>) -> Option<String> {
    let name = value.name()?;
    if !can_be_device(&name) {
        let message = format!("{name:?} cannot be the name of an interface");
        value.error(code::MALFORMED, message, format!("{DEVICE_NAMES}, as `ip link` shows it"));
        return None;
    }
    Some(name)
}

/// The name of a host leg: of an interface that the appliance has the kernel make.
fn host_leg(value: Value<'_>) -> Option<String> {
    let name = value.name()?;
    let message = format!("{name:?} cannot be the name of a host leg, the device of a bridge or a VLAN");
    if !can_be_device(&name) {
        value.error(code::MALFORMED, message, DEVICE_NAMES);
        return None;
    }
    // The kernel puts a number in the place of `%d`, and keeps its settings for all and for new interfaces
    // under these names (`__dev_alloc_name`, `sysctl_dev_name_is_allowed`).
    if name.contains('%') || ["all", "default", "lo"].contains(&name.as_str()) {
        value.error(code::MALFORMED, message, "write it without `%`, and not \"all\", \"default\" or \"lo\"");
        return None;
    }
    Some(name)
}

/// The kernel's own rule for interface names (`dev_valid_name`).
fn can_be_device(name: &str) -> bool {
    let odd = name.chars().any(|letter| letter == '/' || letter == ':' || letter.is_whitespace());
    !odd && name != "." && name != ".." && name.len() <= INTERFACE_BYTES_MAX
}
