//! Whether the interfaces of the ports are there, and as the appliance needs them.

use config::{Config, Diagnostic, Port};
use control::compile::{bridge_of, leg_interface, ring_places};
use control::facts::{Facts, Interface};

use super::site::is_global;
use super::{Codes, Strictness};

/// A port's interface does not exist.
const INTERFACE_MISSING: Codes = Codes { error: "E0501", warning: "W0501" };
/// A port's interface is no Ethernet interface.
const NOT_ETHERNET: &str = "E0502";
/// Two ports have one MAC address.
const SHARED_MAC: &str = "W0502";
/// A port's interface is down.
const INTERFACE_DOWN: &str = "W0503";
/// A port has an interface without any address.
const NO_ADDRESS: &str = "W0506";
/// The kernel holds an address at an interface whose frames belong to host legs.
const ADDRESS_BEHIND_HOST_LEG: &str = "W0514";

/// Whether the interfaces of all ports are there.
pub(super) fn check(
    config: &Config,
    facts: &Facts,
    strictness: Strictness,
    findings: &mut Vec<Diagnostic>,
) -> bool {
    let mut found: Vec<&Interface> = Vec::new();
    let mut all_there = true;
    for (place, port) in config.ports.iter().enumerate() {
        if config.ports[..place].iter().any(|other| other.interface == port.interface) {
            continue;
        }
        let Some(interface) = facts.interface_named(&port.interface) else {
            findings.push(missing(config, facts, port, strictness));
            all_there = false;
            continue;
        };
        let name = &port.interface;
        if interface.mac == [0; 6] {
            let message = format!("interface {name} has no Ethernet address");
            findings.push(config.source.error(NOT_ETHERNET, port.interface_at, message));
        }
        if !interface.up {
            let message = format!("interface {name} is down");
            let finding = config.source.warning(INTERFACE_DOWN, port.interface_at, message);
            findings.push(finding.with_help(format!("ip link set {name} up")));
        }
        if let Some(twin) = found.iter().find(|other| other.mac == interface.mac && other.mac != [0; 6]) {
            let message = format!("interfaces {} and {name} have one MAC address", twin.name);
            let finding = config.source.warning(SHARED_MAC, port.interface_at, message);
            findings.push(
                finding.with_help("a switch that both are on would send each other's frames to either"),
            );
        }
        behind_host_leg(config, facts, interface, port, findings);
        found.push(interface);
    }
    for place in 0..config.ports.len() {
        without_address(config, facts, place, findings);
    }
    all_there
}

fn missing(config: &Config, facts: &Facts, port: &Port, strictness: Strictness) -> Diagnostic {
    let message = format!("interface {} does not exist here", port.interface);
    let finding = strictness.finding(&INTERFACE_MISSING, config, port.interface_at, message);
    let host_legs = ring_places(config).host_legs;
    let ethernet = facts.interfaces.values().filter(|interface| interface.mac != [0; 6]);
    let ethernet = ethernet.filter(|interface| host_legs.iter().all(|leg| leg.name != interface.name));
    let names = ethernet.map(|interface| interface.name.as_str()).collect::<Vec<_>>().join(", ");
    match names.is_empty() {
        true => finding,
        false => finding.with_help(format!("there are: {names}")),
    }
}

/// A port that is a leg of its own, and at which the host has no address. A bridge does without.
fn without_address(config: &Config, facts: &Facts, place: usize, findings: &mut Vec<Diagnostic>) {
    let port = &config.ports[place];
    let Some(leg) = leg_interface(config, place as u16).and_then(|name| facts.interface_named(name)) else {
        return;
    };
    if facts.addresses.iter().any(|held| held.interface == leg.index && is_global(held.address)) {
        return;
    }
    let (what, help) = match port.vlan {
        None => (
            format!("interface {}", port.interface),
            format!("ip addr add ADDRESS/LENGTH dev {}", port.interface),
        ),
        Some(vlan) => (
            format!("port {:?} (VLAN {vlan} of {})", port.name, port.interface),
            "write `addresses = [\"ADDRESS/LENGTH\"]` below `vlan`".to_owned(),
        ),
    };
    let message = format!("{what} has no address: nobody can use the appliance as a gateway there");
    findings.push(config.source.warning(NO_ADDRESS, port.interface_at, message).with_help(help));
}

/// Addresses at an interface from which no frame reaches the kernel: untagged frames are a bridge's, or nobody's.
fn behind_host_leg(
    config: &Config,
    facts: &Facts,
    interface: &Interface,
    first: &Port,
    findings: &mut Vec<Diagnostic>,
) {
    let ports = || config.ports.iter().enumerate().filter(|(_, port)| port.interface == interface.name);
    let untagged = ports().find(|(_, port)| port.vlan.is_none());
    let Some((place, port)) = untagged.or_else(|| ports().next()) else { return };
    let (why, holder) = match bridge_of(config, place).map(|bridge| &config.bridges[bridge].name) {
        Some(bridge) => (format!("its frames belong to bridge {bridge:?}"), format!("bridge {bridge:?}")),
        None if port.vlan.is_none() => return,
        None => ("only its VLANs have ports".to_owned(), format!("port {:?}", port.name)),
    };
    let held = facts.addresses.iter().filter(|held| held.interface == interface.index);
    for held in held.filter(|held| is_global(held.address)) {
        let (name, address) = (&interface.name, format!("{}/{}", held.address, held.prefix_length));
        let message = format!("interface {name} holds {address}, but {why}: no frame reaches it");
        let help = format!("put \"{address}\" in `addresses` of {holder}: ip addr del {address} dev {name}");
        let finding = config.source.warning(ADDRESS_BEHIND_HOST_LEG, first.interface_at, message);
        findings.push(finding.with_help(help));
    }
}
