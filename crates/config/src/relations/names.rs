//! Names of things, and the devices that some of them are.

use std::collections::HashMap;

use crate::code;
use crate::findings::Findings;
use crate::model::Config;
use crate::port::NO_VLAN;
use crate::source::Position;

/// What kind of thing has a name, the name, and where it stands.
type Named<'a> = (&'static str, &'a str, Position);

/// Examines a whole file.
pub(super) fn examine(config: &Config, findings: &Findings) {
    let ports = config.ports.iter().map(|port| ("port", port.name.as_str(), port.at));
    let bridges = config.bridges.iter().map(|bridge| ("bridge", bridge.name.as_str(), bridge.at));
    let services = config.services.iter().map(|service| ("service", service.name.as_str(), service.at));
    let outbounds = config.outbounds.iter().map(|outbound| ("outbound", outbound.name.as_str(), outbound.at));
    let groups = config.firewall_groups.iter().map(|group| ("firewall group", group.name.as_str(), group.at));
    let checks = config.health_checks.iter().map(|check| ("health check", check.name.as_str(), check.at));
    twice(ports.chain(bridges), findings);
    twice(services.clone(), findings);
    twice(outbounds.clone(), findings);
    twice(checks, findings);
    twice_beside(services.chain(outbounds), groups, findings);
    interfaces(config, findings);
    host_legs(config, findings);
}

/// Names that stand twice; nothing unread.
fn twice<'a>(named: impl Iterator<Item = Named<'a>>, findings: &Findings) {
    twice_beside(std::iter::empty(), named, findings);
}

/// Names that stand twice, or once among those that have been examined; nothing unread.
fn twice_beside<'a>(
    examined: impl Iterator<Item = Named<'a>>,
    named: impl Iterator<Item = Named<'a>>,
    findings: &Findings,
) {
    let mut seen: HashMap<&str, (&str, Position)> =
        examined.map(|(kind, name, at)| (name, (kind, at))).collect();
    for (kind, name, at) in named.filter(|(_, name, _)| !name.is_empty()) {
        match seen.get(name) {
            Some((first, first_at)) => {
                let message = format!("the {first} in line {} has the name {name:?} too", first_at.line);
                findings.error(
                    code::DUPLICATE_NAME,
                    at,
                    message,
                    format!("give each {kind} a name of its own"),
                );
            }
            None => drop(seen.insert(name, (kind, at))),
        }
    }
}

/// Ports that share an interface take different frames of it, in one way.
fn interfaces(config: &Config, findings: &Findings) {
    let readable = |index: &usize| {
        let port = &config.ports[*index];
        !port.interface.is_empty() && port.vlan != Some(NO_VLAN)
    };
    for index in (0..config.ports.len()).filter(readable) {
        let port = &config.ports[index];
        let before = (0..index).filter(readable).map(|index| &config.ports[index]);
        let mut sharing = before.filter(|other| other.interface == port.interface);
        let Some(first) = sharing.clone().next() else { continue };
        if let Some(twin) = sharing.find(|other| other.vlan == port.vlan) {
            let frames = port.vlan.map_or(String::new(), |vlan| format!("VLAN {vlan} of "));
            let message = format!(
                "the port in line {} takes {frames}the interface {:?} too",
                twin.interface_at.line, port.interface
            );
            let help = "give each port an interface or a `vlan` of its own";
            findings.error(code::DUPLICATE_INTERFACE, port.interface_at, message, help);
        }
        if first.driver != port.driver {
            let message = format!(
                "the port in line {} takes frames of {:?} with driver \"{}\", this one with \"{}\"",
                first.at.line, port.interface, first.driver, port.driver
            );
            let help = "name one driver for all ports of an interface";
            findings.error(code::CONTRADICTION, port.driver_at, message, help);
        }
    }
}

/// A host leg is made under its name, which no interface may have then.
fn host_legs(config: &Config, findings: &Findings) {
    let ports = config.ports.iter().filter(|port| port.vlan.is_some());
    let ports = ports.map(|port| ("port", port.name.as_str(), port.at));
    let bridges = config.bridges.iter().map(|bridge| ("bridge", bridge.name.as_str(), bridge.at));
    for (kind, name, at) in ports.chain(bridges).filter(|(_, name, _)| !name.is_empty()) {
        let Some(taken) = config.ports.iter().find(|port| port.interface == name) else { continue };
        let message = format!(
            "the host leg of this {kind} would have the name of the interface {name:?} in line {}",
            taken.interface_at.line
        );
        let help = format!("choose another name for the {kind}");
        findings.error(code::HOST_LEG_NAME, at, message, help);
    }
}
