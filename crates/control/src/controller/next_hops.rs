//! Which next hops the plan is to know: those that are kept resolved, and every neighbour that the kernel knows.

use crate::compile::{legs_by_interface, ways};
use crate::facts::{Facts, NeighbourKey, Resolution, RouteKind};
use crate::links::NextHop;
use crate::members::Members;
use config::Config;
use hashbrown::{HashMap, HashSet};
use wire::Mac;

/// Gateways of routes and next hops of servers and firewalls, on interfaces of ours: to be kept resolved at all times.
/// Firewalls that were removed and still have sessions are among them.
pub(super) fn kept(config: &Config, facts: &Facts, members: &Members) -> HashSet<NeighbourKey> {
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
    for (key, path) in members.all().filter_map(|(key, member)| Some((key, member.path()?))) {
        let ways = ways(config, facts, &ports, key.address, path);
        kept.extend(ways.map(|(_, hop)| (hop.interface, hop.address)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Interface, NextHop as Way, Prefix, Route, RouteTable};
    use crate::fixtures::{firewall, group};
    use crate::members::Moment;
    use std::net::IpAddr;

    fn config(firewalls: &[u8]) -> Config {
        let outcome = config::parse("[[port]]\nname = \"a\"\ninterface = \"eth1\"\n", "test.toml");
        let config = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
        let firewalls = firewalls.iter().map(|&last| firewall(&format!("fw{last}"), last)).collect();
        Config { firewall_groups: vec![group("fw", 0, firewalls)], ..config }
    }

    #[test]
    fn the_way_to_a_removed_firewall_is_kept_until_its_last_session_has_ended() {
        let mut facts = Facts::default();
        let eth1 =
            Interface { index: 1, name: "eth1".to_owned(), mac: [2; 6], mtu: 1500, up: true, running: true };
        facts.interfaces.insert(1, eth1);
        facts.add_route(Route {
            destination: Prefix::new(IpAddr::from([198, 18, 1, 0]), 24),
            table: RouteTable::Main,
            metric: 0,
            kind: RouteKind::Unicast,
            next_hops: vec![Way { gateway: None, interface: Some(1), weight: 1 }],
        });
        let mut members = Members::default();
        members.configure(&config(&[1, 2]), Moment::now()).unwrap();
        let after = config(&[2]);
        members.configure(&after, Moment::now()).unwrap();
        let hop = |last: u8| (1, IpAddr::from([198, 18, 1, last]));
        assert_eq!(kept(&after, &facts, &members), HashSet::from([hop(1), hop(2)]));
        members.release_empty(|_| 0);
        assert_eq!(kept(&after, &facts, &members), HashSet::from([hop(2)]));
    }
}
