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
    announced: bool,
}

/// Every address that the appliance answers for; one that several services have comes once.
fn claimed(config: &Config) -> Vec<Claim> {
    let of_services = config.services.iter().flat_map(|service| {
        let announced = service.announce;
        let vip = Claim { address: service.address, role: "the VIP", at: service.address_at, announced };
        let at = service.source_addresses_at;
        let pool = service.source_addresses.iter();
        let pool = pool.map(move |&address| Claim { address, role: "the pool address", at, announced });
        let at = service.encapsulation_source_at;
        let outer = service.encapsulation_source.into_iter();
        let outer =
            outer.map(move |address| Claim { address, role: "the outer source", at, announced: false });
        std::iter::once(vip).chain(pool).chain(outer)
    });
    let of_outbounds = config.outbounds.iter().flat_map(|outbound| {
        let at = outbound.source_addresses_at;
        let pool = outbound.source_addresses.iter();
        pool.map(move |&address| Claim { address, role: "the pool address", at, announced: true })
    });
    let mut seen = std::collections::HashSet::new();
    of_services.chain(of_outbounds).filter(|claim| seen.insert(claim.address)).collect()
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
    for Claim { address, role, at, announced } in claimed(site.config) {
        if announced && site.leg_with(address).is_none() {
            let message =
                format!("{role} {address} lies outside the networks of all ports, so nobody asks for it");
            let finding = site.config.source.warning(OFF_LINK, at, message);
            findings.push(finding.with_help("if it is routed to this appliance, say `announce = false`"));
        }
    }
}
