//! Whether firewalls are where their groups look for them: a next hop is a neighbour, on the path's port and in the zone.

use config::{Diagnostic, Firewall, FirewallGroup};
use control::facts::{Hop, Resolution, RouteKind};

use super::reach::unreachable;
use super::site::{Leg, Site};

/// A firewall is no neighbour of the appliance.
const NO_NEIGHBOUR: &str = "W0515";
/// A firewall is reached, but not by the port or from the zone that the file says.
const REACHED_ELSEWHERE: &str = "W0516";

/// Examines every firewall of every group.
pub(super) fn check(site: &Site<'_>, findings: &mut Vec<Diagnostic>) {
    for group in &site.config.firewall_groups {
        for firewall in &group.firewalls {
            let Some((code, why)) = out_of_place(site, group, firewall) else { continue };
            let message =
                format!("firewall {:?} of group {:?}: {} {why}", firewall.name, group.name, firewall.address);
            let help = match code {
                NO_NEIGHBOUR => "write the firewall's address on a network of a port, or give the port one",
                _ => "write the address, the `port` and the `zone` of one way to the firewall",
            };
            findings.push(site.config.source.warning(code, firewall.address_at, message).with_help(help));
        }
    }
}

/// What is wrong with the ways to a firewall, unless one of them is right.
fn out_of_place(
    site: &Site<'_>,
    group: &FirewallGroup,
    firewall: &Firewall,
) -> Option<(&'static str, String)> {
    let hops = match site.facts.resolve(firewall.address) {
        Resolution::Forward(hops) => hops,
        Resolution::Stop(RouteKind::Local) => {
            return Some((NO_NEIGHBOUR, "is this machine itself".to_owned()));
        }
        _ => Vec::new(),
    };
    let ways: Vec<(&Leg<'_>, &Hop)> =
        hops.iter().filter_map(|hop| Some((site.leg_at(hop.interface)?, hop))).collect();
    let Some((leg, hop)) = ways.first() else {
        return unreachable(site, firewall.address).map(|why| (NO_NEIGHBOUR, why));
    };
    let is_neighbour = |(_, hop): &&(&Leg<'_>, &Hop)| hop.address == firewall.address;
    if !ways.iter().any(|way| is_neighbour(&way)) {
        let why =
            format!("is on no network of a port, but behind the router {} of {}", hop.address, leg.name);
        return Some((NO_NEIGHBOUR, why));
    }
    let mut legs = ways.iter().filter(is_neighbour).map(|(leg, _)| leg);
    let by_port = |leg: &Leg<'_>| firewall.port.is_none_or(|port| leg.port == Some(port));
    if legs.clone().any(|leg| by_port(leg) && leg.zone == group.zone) {
        return None;
    }
    if let Some(port) = firewall.port.filter(|_| !legs.clone().any(|leg| by_port(leg))) {
        let port = &site.config.ports[port].name;
        return Some((
            REACHED_ELSEWHERE,
            format!("is reached by {}, and its path hangs on port {port:?}", leg.name),
        ));
    }
    let zone = |zone: u8| match site.config.zones.get(usize::from(zone)).filter(|name| !name.is_empty()) {
        Some(name) => format!("zone {name:?}"),
        None => "no named zone".to_owned(),
    };
    let leg = legs.next()?;
    let why =
        format!("is reached by {} in {}, and its group is in {}", leg.name, zone(leg.zone), zone(group.zone));
    Some((REACHED_ELSEWHERE, why))
}
