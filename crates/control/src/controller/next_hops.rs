//! Which next hops the plan is to know: those that are kept resolved, and every neighbour that the kernel knows.

use crate::compile::legs_by_interface;
use crate::facts::{Facts, NeighbourKey, Resolution, RouteKind};
use crate::links::NextHop;
use config::Config;
use hashbrown::{HashMap, HashSet};
use wire::Mac;

/// Gateways of routes and next hops of servers, on interfaces of ours: to be kept resolved at all times.
pub(super) fn kept(config: &Config, facts: &Facts) -> HashSet<NeighbourKey> {
    let ports = legs_by_interface(config, facts);
    let mut kept = HashSet::new();
    let mut keep = |resolution: Resolution| {
        if let Resolution::Forward(hops) = resolution {
            let ours = hops.iter().filter(|hop| ports.contains_key(&hop.interface));
            kept.extend(ours.map(|hop| (hop.interface, hop.address)));
        }
    };
    for route in facts.all_routes().filter(|route| route.kind == RouteKind::Unicast) {
        for gateway in route.next_hops.iter().filter_map(|next_hop| next_hop.gateway) {
            keep(facts.resolve(gateway));
        }
    }
    for server in config.services.iter().flat_map(|service| &service.servers) {
        keep(facts.resolve(server.address));
    }
    kept
}

/// Every next hop that is to have a link row, with its MAC where one is known.
pub(super) fn links(
    config: &Config,
    facts: &Facts,
    kept: &HashSet<NeighbourKey>,
) -> HashMap<NextHop, Option<Mac>> {
    let ports = legs_by_interface(config, facts);
    let mut wanted = HashMap::new();
    for (&(interface, address), neighbour) in &facts.neighbours {
        if let (Some(&port), Some(mac)) = (ports.get(&interface), neighbour.usable_mac()) {
            wanted.insert((port, address), Some(Mac(mac)));
        }
    }
    for &(interface, address) in kept {
        if let Some(&port) = ports.get(&interface) {
            wanted.entry((port, address)).or_insert(None);
        }
    }
    wanted
}
