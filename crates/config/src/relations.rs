//! What things of one file say of each other: names, interfaces, addresses, references.
//!
//! What could not be read has an empty name or the unspecified address and takes no part.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::code;
use crate::findings::Findings;
use crate::model::{Config, POOL_PORT_FIRST, Protocol, Service, SourceNat};
use crate::source::Position;

/// Examines a whole file.
pub(crate) fn examine(config: &Config, findings: &Findings) {
    names(config, findings);
    servers_twice(config, findings);
    let mut by_vip: HashMap<IpAddr, Vec<&Service>> = HashMap::new();
    for service in config.services.iter().filter(|service| !service.address.is_unspecified()) {
        by_vip.entry(service.address).or_default().push(service);
    }
    for neighbours in by_vip.values() {
        overlaps(neighbours, findings);
        exhausted_pools(neighbours, findings);
    }
    roles(config, &by_vip, findings);
    checks(config, findings);
}

fn names(config: &Config, findings: &Findings) {
    let ports = config.ports.iter().map(|port| (port.name.as_str(), port.at));
    let services = config.services.iter().map(|service| (service.name.as_str(), service.at));
    let checks = config.health_checks.iter().map(|check| (check.name.as_str(), check.at));
    let interfaces = config.ports.iter().map(|port| (port.interface.as_str(), port.interface_at));
    for (kind, named) in [
        ("port", ports.collect::<Vec<_>>()),
        ("service", services.collect()),
        ("health check", checks.collect()),
    ] {
        for (name, at, first) in twice(named) {
            let message = format!("the {kind} in line {} has the name {name:?} too", first.line);
            findings.error(code::DUPLICATE_NAME, at, message, format!("give each {kind} a name of its own"));
        }
    }
    for (interface, at, first) in twice(interfaces.collect()) {
        let message = format!("the port in line {} takes the interface {interface:?} too", first.line);
        findings.error(code::DUPLICATE_INTERFACE, at, message, "give each port an interface of its own");
    }
}

/// What stands twice, where it does so again, and where it stood first; nothing unread.
fn twice(named: Vec<(&str, Position)>) -> Vec<(&str, Position, Position)> {
    let mut seen = HashMap::new();
    let mut again = Vec::new();
    for (name, at) in named.into_iter().filter(|(name, _)| !name.is_empty()) {
        match seen.get(name) {
            Some(first) => again.push((name, at, *first)),
            None => drop(seen.insert(name, at)),
        }
    }
    again
}

fn servers_twice(config: &Config, findings: &Findings) {
    for service in &config.services {
        let mut seen = HashSet::new();
        for server in service.servers.iter().filter(|server| !server.address.is_unspecified()) {
            if !seen.insert((server.address, server.port.or(service.ports.single()))) {
                let message = format!("server {} is in service {:?} already", server.address, service.name);
                let help = "remove one of the two; a larger share is a larger `weight`";
                findings.error(code::DUPLICATE_VALUE, server.at, message, help);
            }
        }
    }
}

/// Among services of one VIP: some packet belongs to two.
fn overlaps(neighbours: &[&Service], findings: &Findings) {
    for (index, service) in neighbours.iter().enumerate() {
        let overlap = |other: &&&Service| {
            service.protocol.overlaps(other.protocol)
                && service.ports.overlaps(other.ports)
                && other.is_readable()
        };
        let Some(other) = neighbours[..index].iter().find(overlap).filter(|_| service.is_readable()) else {
            continue;
        };
        let describe = |service: &Service| format!("protocol {}, port {}", service.protocol, service.ports);
        let message = format!(
            "service {:?} ({}) overlaps with {:?} in line {} ({})",
            service.name,
            describe(service),
            other.name,
            other.at.line,
            describe(other)
        );
        let help = "give them different addresses, protocols or ports";
        findings.error(code::OVERLAPPING_SERVICES, service.at, message, help);
    }
}

/// Among services of one VIP: source NAT from the VIP itself, all of whose ports are services.
fn exhausted_pools(neighbours: &[&Service], findings: &Findings) {
    let exhausted = |protocol: Protocol| {
        // Services that overlap have been refused, so that their ports can be summed up.
        let taken = neighbours.iter().filter(|service| service.protocol.overlaps(protocol)).map(|service| {
            let (first, last) = service.ports.bounds();
            (u32::from(last) + 1).saturating_sub(u32::from(first.max(POOL_PORT_FIRST)))
        });
        taken.sum::<u32>() > u32::from(u16::MAX - POOL_PORT_FIRST)
    };
    let exhausted = [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol, exhausted(protocol)));
    for service in neighbours.iter().filter(|service| service.uses_vip_as_pool()) {
        if exhausted.iter().any(|(protocol, exhausted)| *exhausted && service.protocol.overlaps(*protocol)) {
            let message =
                format!("source NAT of {:?} finds no port of its VIP that is not a service", service.name);
            let help = "add `source_addresses` with an address of its own";
            findings.error(code::CONTRADICTION, service.at, message, help);
        }
    }
}

impl Service {
    fn is_readable(&self) -> bool {
        self.ports.bounds() != (0, 0)
    }

    fn uses_vip_as_pool(&self) -> bool {
        self.source_nat == SourceNat::Always && self.source_addresses.is_empty()
    }
}

/// An address is a VIP, a server or one of a pool.
fn roles(config: &Config, by_vip: &HashMap<IpAddr, Vec<&Service>>, findings: &Findings) {
    let servers = config.services.iter().flat_map(|service| &service.servers);
    let servers: HashSet<IpAddr> = servers.map(|server| server.address).collect();
    for service in &config.services {
        for server in &service.servers {
            if let Some(vip) = by_vip.get(&server.address).and_then(|services| services.first()) {
                let message = format!("server {} is the VIP of service {:?}", server.address, vip.name);
                let help = "write the server's own address: a VIP is held by the appliance alone";
                findings.error(code::ADDRESS_CONFLICT, server.at, message, help);
            }
        }
        for address in &service.source_addresses {
            let at = service.source_addresses_at;
            if !service.address.is_unspecified() && address.is_ipv4() != service.address.is_ipv4() {
                let message =
                    format!("{address} is not of the address family of the VIP {}", service.address);
                findings.error(code::MIXED_FAMILIES, at, message, "write addresses of the VIP's family");
            }
            let role = match by_vip.contains_key(address) {
                true => "a VIP",
                false if servers.contains(address) => "a server",
                false => continue,
            };
            let help = "write addresses that nothing else has";
            findings.error(code::ADDRESS_CONFLICT, at, format!("{address} is {role} already"), help);
        }
    }
}

fn checks(config: &Config, findings: &Findings) {
    let mut used = HashSet::from([""]);
    for service in &config.services {
        let Some(index) = service.health_check else { continue };
        let check = &config.health_checks[index];
        used.insert(check.name.as_str());
        if check.port.is_some() || !service.is_readable() {
            continue;
        }
        if service.ports.single().is_none() {
            let message = format!(
                "health check {:?} has no port, and service {:?} has several",
                check.name, service.name
            );
            findings.error(
                code::CONTRADICTION,
                service.health_check_at,
                message,
                "add `port` to the health check",
            );
        } else if service.protocol == Protocol::Udp {
            let message = format!("health check {:?} asks by TCP for a port of UDP", check.name);
            let help = "add `port` to the health check, if the servers answer TCP on another one";
            findings.warning(code::CHECK_PROTOCOL, service.health_check_at, message, help);
        }
    }
    for check in config.health_checks.iter().filter(|check| !used.contains(check.name.as_str())) {
        let message = format!("no service uses health check {:?}", check.name);
        let help = "name it in `health_check` of a service, or remove it";
        findings.warning(code::UNUSED_CHECK, check.at, message, help);
    }
}
