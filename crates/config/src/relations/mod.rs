//! What things of one file say of each other: names, interfaces, addresses, references, networks.
//!
//! What could not be read has an empty name or the unspecified address and takes no part.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::code;
use crate::findings::Findings;
use crate::model::{
    Config, Mode, Network, Outbound, POOL_PORT_FIRST, Protocol, ReturnPath, Service, SourceNat,
};

mod checks;
mod firewalls;
mod names;
mod paths;
mod replies;
mod roles;

/// Examines a whole file.
pub(crate) fn examine(config: &Config, findings: &Findings) {
    names::examine(config, findings);
    servers_twice(config, findings);
    let mut by_vip: HashMap<IpAddr, Vec<&Service>> = HashMap::new();
    for service in config.services.iter().filter(|service| !service.address.is_unspecified()) {
        by_vip.entry(service.address).or_default().push(service);
    }
    for neighbours in by_vip.values() {
        overlaps(neighbours, findings);
        exhausted_pools(neighbours, findings);
    }
    roles::examine(config, &by_vip, findings);
    marks(config, findings);
    outbounds(config, findings);
    bridges(config, findings);
    replies::examine(config, findings);
    host_addresses(config, findings);
    checks::examine(config, findings);
    firewalls::examine(config, findings);
    paths::examine(config, findings);
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
        let always = match self.source_nat {
            SourceNat::Always => true,
            SourceNat::Auto => self.return_path == ReturnPath::Bypass,
            SourceNat::Never => false,
        };
        always && self.source_addresses.is_empty()
    }
}

/// A server knows by the DSCP which VIP was called.
fn marks(config: &Config, findings: &Findings) {
    let mut vips: HashMap<(IpAddr, u8), &Service> = HashMap::new();
    for service in config.services.iter().filter(|service| !service.address.is_unspecified()) {
        for server in &service.servers {
            let Some(dscp) = server.dscp else { continue };
            let first = *vips.entry((server.address, dscp)).or_insert(service);
            if first.address != service.address {
                let message = format!(
                    "DSCP {dscp} means the VIP {} to server {} already, in service {:?}",
                    first.address, server.address, first.name
                );
                let help = "give each VIP on a server a `dscp` of its own";
                findings.error(code::CONTRADICTION, server.dscp_at, message, help);
            }
        }
    }
}

/// The networks of outbounds, and whether each has an address to stand behind.
fn outbounds(config: &Config, findings: &Findings) {
    let shared = |one: &Outbound, other: &Outbound| -> Option<(Network, Network)> {
        let pairs =
            one.networks.iter().flat_map(|own| other.networks.iter().map(move |theirs| (*own, *theirs)));
        pairs.into_iter().find(|(own, theirs)| own.overlaps(theirs))
    };
    for (index, outbound) in config.outbounds.iter().enumerate() {
        let mut others = config.outbounds[..index].iter();
        if let Some((other, (own, theirs))) = others.find_map(|other| Some((other, shared(outbound, other)?)))
        {
            let message = match own == theirs {
                true => format!("{own} is of outbound {:?} in line {} too", other.name, other.at.line),
                false => format!(
                    "{own} overlaps with {theirs} of outbound {:?} in line {}",
                    other.name, other.at.line
                ),
            };
            let help = "give each network to one outbound";
            findings.error(code::OVERLAPPING_NETWORKS, outbound.networks_at, message, help);
        }
        if outbound.networks.is_empty() || outbound.source_addresses.is_empty() {
            continue;
        }
        for (is_ipv4, family) in [(true, "IPv4"), (false, "IPv6")] {
            let network = outbound.networks.iter().find(|network| network.address.is_ipv4() == is_ipv4);
            let source = outbound.source_addresses.iter().find(|address| address.is_ipv4() == is_ipv4);
            let (message, help) = match (network, source) {
                (Some(network), None) => (
                    format!("no source address for the network {network}"),
                    format!("add an {family} address, or make an outbound of its own for it"),
                ),
                (None, Some(address)) => (
                    format!("{address} is of the family of none of the `networks`"),
                    format!("add an {family} network, or remove the address"),
                ),
                _ => continue,
            };
            findings.error(code::MIXED_FAMILIES, outbound.source_addresses_at, message, help);
        }
    }
}

/// What needs a bridge.
fn bridges(config: &Config, findings: &Findings) {
    if config.bridges.is_empty() {
        for service in config.services.iter().filter(|service| service.mode == Mode::Transparent) {
            let message = "mode \"transparent\" without a bridge".to_owned();
            let help =
                "add a `[[bridge]]` with the `ports` of clients and servers, or use `mode = \"routed\"`";
            findings.error(code::CONTRADICTION, service.mode_at, message, help);
        }
    }
}

/// Only a port with a host leg of its own has addresses.
fn host_addresses(config: &Config, findings: &Findings) {
    for (index, port) in config.ports.iter().enumerate() {
        let Some(address) = port.addresses.first() else { continue };
        let bridge = config.bridges.iter().find(|bridge| bridge.ports.contains(&index));
        let (message, help) = match bridge {
            Some(bridge) => (
                format!("`addresses` of a port of bridge {:?}, which has the host leg", bridge.name),
                "write them in `addresses` of the bridge".to_owned(),
            ),
            None if port.vlan.is_none() => (
                "`addresses` of a port without `vlan`, which has no host leg".to_owned(),
                format!("give them to the interface itself: ip addr add {address} dev {}", port.interface),
            ),
            None => continue,
        };
        findings.error(code::MEANINGLESS_KEY, port.addresses_at, message, help);
    }
}
