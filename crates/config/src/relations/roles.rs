//! An address has one role: a VIP, a server, one of a pool, an outer source, a probe address, or the host's own.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::code;
use crate::findings::Findings;
use crate::model::{Config, HostAddress, Service};
use crate::source::Position;

type ByVip<'a> = HashMap<IpAddr, Vec<&'a Service>>;

/// Examines a whole file.
pub(super) fn examine(config: &Config, by_vip: &ByVip<'_>, findings: &Findings) {
    servers(config, by_vip, findings);
    let servers = config.services.iter().flat_map(|service| &service.servers);
    let servers: HashSet<IpAddr> = servers.map(|server| server.address).collect();
    let role = |address: &IpAddr| match by_vip.contains_key(address) {
        true => Some("a VIP"),
        false => servers.contains(address).then_some("a server"),
    };
    let taken = |address: IpAddr, role: &str, at: Position| {
        let help = "write addresses that nothing else has";
        findings.error(code::ADDRESS_CONFLICT, at, format!("{address} is {role} already"), help);
    };
    let mut claimed: HashMap<IpAddr, &'static str> = HashMap::new();
    for (address, kind, at) in sources(config) {
        claimed.insert(address, kind);
        if let Some(role) = role(&address) {
            taken(address, role, at);
        }
    }
    for responder in &config.probe_responders {
        let (address, at) = (responder.address, responder.at);
        let before = claimed.insert(address, "a probe address");
        if let Some(role) = role(&address).or(before) {
            taken(address, role, at);
        }
    }
    families(config, findings);
    let mut held = HashSet::new();
    for (HostAddress { address, .. }, at) in host_legs(config) {
        let again = (!held.insert(address)).then_some("an address of a host leg");
        if let Some(role) = role(&address).or(claimed.get(&address).copied()).or(again) {
            taken(address, role, at);
        }
    }
}

fn servers(config: &Config, by_vip: &ByVip<'_>, findings: &Findings) {
    for server in config.services.iter().flat_map(|service| &service.servers) {
        if let Some(vip) = by_vip.get(&server.address).and_then(|services| services.first()) {
            let message = format!("server {} is the VIP of service {:?}", server.address, vip.name);
            let help = "write the server's own address: a VIP is held by the appliance alone";
            findings.error(code::ADDRESS_CONFLICT, server.at, message, help);
        }
    }
}

/// Every address that the appliance sends from in another's place, what it is, and where it stands.
pub(super) fn sources(config: &Config) -> impl Iterator<Item = (IpAddr, &'static str, Position)> {
    let of_services = config.services.iter().flat_map(|service| {
        let pool = service.source_addresses.iter();
        let pool = pool.map(|address| (*address, "a pool address", service.source_addresses_at));
        let outer = service.encapsulation_source.iter();
        pool.chain(outer.map(|address| (*address, "an outer source", service.encapsulation_source_at)))
    });
    let of_outbounds = config.outbounds.iter().flat_map(|outbound| {
        let pool = outbound.source_addresses.iter();
        pool.map(|address| (*address, "a pool address", outbound.source_addresses_at))
    });
    of_services.chain(of_outbounds)
}

/// What a service sends from is of its VIP's family.
fn families(config: &Config, findings: &Findings) {
    for service in config.services.iter().filter(|service| !service.address.is_unspecified()) {
        let pool = service.source_addresses.iter().map(|address| (address, service.source_addresses_at));
        let outer = service.encapsulation_source.iter();
        let outer = outer.map(|address| (address, service.encapsulation_source_at));
        for (address, at) in pool.chain(outer) {
            if address.is_ipv4() != service.address.is_ipv4() {
                let message =
                    format!("{address} is not of the address family of the VIP {}", service.address);
                findings.error(code::MIXED_FAMILIES, at, message, "write addresses of the VIP's family");
            }
        }
    }
}

/// What the kernel is given, and where it stands.
fn host_legs(config: &Config) -> impl Iterator<Item = (HostAddress, Position)> {
    let bridges = config.bridges.iter().map(|bridge| (&bridge.addresses, bridge.addresses_at));
    let ports = config.ports.iter().filter(|port| port.vlan.is_some());
    let ports = ports.map(|port| (&port.addresses, port.addresses_at));
    ports.chain(bridges).flat_map(|(addresses, at)| addresses.iter().map(move |address| (*address, at)))
}
