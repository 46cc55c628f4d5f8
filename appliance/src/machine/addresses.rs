//! Addresses that the appliance claims: whether the kernel leaves them alone, and whether anybody asks for them.

use std::net::IpAddr;

use config::{Config, Diagnostic, Position};
use control::facts::Facts;

use super::site::{Site, name_of};

/// The kernel holds an address that the appliance claims.
const ADDRESS_HELD: &str = "E0503";
/// An announced address lies outside the networks of all ports.
const OFF_LINK: &str = "W0504";

/// An address that the appliance answers for.
struct Claim {
    address: IpAddr,
    role: &'static str,
    at: Position,
    /// What to do where no port is on its network; `None`: nothing, nobody asks for it.
    off_link_help: Option<&'static str>,
}

/// Help for an address that the services' clients and servers ask for.
const SAY_ROUTED: &str = "if it is routed to this appliance, say `announce = false`";
/// Help for an address that firewalls ask for.
const GIVE_ROUTE: &str =
    "write an address of a network that the firewalls are on, or give them a route to it by this appliance";

/// Every address that the appliance answers for; one that several services have comes once.
fn claimed(config: &Config) -> Vec<Claim> {
    let of_services = config.services.iter().flat_map(|service| {
        let off_link_help = service.announce.then_some(SAY_ROUTED);
        let vip = Claim { address: service.address, role: "the VIP", at: service.address_at, off_link_help };
        let at = service.source_addresses_at;
        let pool = service.source_addresses.iter();
        let pool = pool.map(move |&address| Claim { address, role: "the pool address", at, off_link_help });
        let at = service.encapsulation_source_at;
        let outer = service.encapsulation_source.into_iter();
        let outer =
            outer.map(move |address| Claim { address, role: "the outer source", at, off_link_help: None });
        std::iter::once(vip).chain(pool).chain(outer)
    });
    let of_outbounds = config.outbounds.iter().flat_map(|outbound| {
        let at = outbound.source_addresses_at;
        let pool = outbound.source_addresses.iter();
        let off_link_help = Some(SAY_ROUTED);
        pool.map(move |&address| Claim { address, role: "the pool address", at, off_link_help })
    });
    let of_paths = config.probe_responders.iter().map(|responder| {
        let firewall = &config.firewall_groups[responder.group].firewalls[responder.firewall];
        // Behind a firewall that is a bridge, the other end takes the path's port, whatever its routes say.
        let off_link_help = firewall.port.is_none().then_some(GIVE_ROUTE);
        Claim { address: responder.address, role: "the probe address", at: responder.at, off_link_help }
    });
    let mut seen = std::collections::HashSet::new();
    of_services.chain(of_outbounds).chain(of_paths).filter(|claim| seen.insert(claim.address)).collect()
}

/// Claimed addresses that the kernel holds.
pub(super) fn held(config: &Config, facts: &Facts, findings: &mut Vec<Diagnostic>) {
    for Claim { address, role, at, .. } in claimed(config) {
        let Some(held) = facts.addresses.iter().find(|held| held.address == address) else { continue };
        let interface = name_of(facts, held.interface);
        let message = format!("{role} {address} is an address of the kernel, on {interface}");
        let help = format!(
            "the appliance answers for it alone: ip addr del {address}/{} dev {interface}",
            held.prefix_length
        );
        findings.push(config.source.error(ADDRESS_HELD, at, message).with_help(help));
    }
}

/// Announced addresses that lie in no network of a leg.
pub(super) fn off_link(site: &Site<'_>, findings: &mut Vec<Diagnostic>) {
    for Claim { address, role, at, off_link_help } in claimed(site.config) {
        let Some(help) = off_link_help.filter(|_| site.leg_with(address).is_none()) else { continue };
        let message =
            format!("{role} {address} lies outside the networks of all ports, so nobody asks for it");
        findings.push(site.config.source.warning(OFF_LINK, at, message).with_help(help));
    }
}
