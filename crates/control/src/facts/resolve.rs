//! From a destination to the neighbours that a packet for it may be handed to.

use std::net::IpAddr;

use super::{Facts, InterfaceIndex, NextHop, Prefix, Route, RouteKind, RouteTable};

/// How many routes may stand between a destination and its neighbour. Routing daemons resolve one or two
/// levels; a loop of routes ends here.
const RECURSION_DEPTH_MAX: u32 = 8;

/// How many routes are followed for one destination at the most: recursion through wide routes multiplies.
const ROUTES_FOLLOWED_MAX: usize = 1_024;

/// Shares are counted in this many parts while next hops are resolved through other routes. A highly
/// composite number splits evenly among the usual counts of next hops; eight levels deep, a share below one
/// part counts as one.
const SHARE_PARTS: u64 = 720_720 << 16;

/// A neighbour that packets for a destination may be handed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The interface to send by.
    pub interface: InterfaceIndex,
    /// The neighbour: a gateway, or the destination itself.
    pub address: IpAddr,
    /// Its share among all hops, in lowest terms.
    pub weight: u64,
}

/// Where a destination leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// To one of these neighbours, by weight; never empty.
    Forward(Vec<Hop>),
    /// Nowhere, for the route says so: [`RouteKind::Unicast`] is never in here.
    Stop(RouteKind),
    /// A route there is, but each of its ways out is down or leads in circles.
    Severed,
    /// Nowhere: no route.
    NoRoute,
}

/// What following the routes of one destination has found so far.
struct Expansion {
    hops: Vec<Hop>,
    routes_followed: usize,
}

impl Facts {
    /// The route that counts for `destination`: table `local` before `main`, then the longest prefix, then
    /// the lowest metric.
    pub fn route(&self, destination: IpAddr) -> Option<&Route> {
        let first_of = |table| self.matching(destination).find(move |route| route.table == table);
        first_of(RouteTable::Local).or_else(|| first_of(RouteTable::Main))
    }

    /// Where `destination` leads, with gateways resolved through other routes where they name no interface,
    /// and ways out left away whose interface is down.
    pub fn resolve(&self, destination: IpAddr) -> Resolution {
        let Some(route) = self.route(destination) else { return Resolution::NoRoute };
        if route.kind != RouteKind::Unicast {
            return Resolution::Stop(route.kind);
        }
        let mut expansion = Expansion { hops: Vec::new(), routes_followed: 0 };
        self.expand(route, destination, SHARE_PARTS, RECURSION_DEPTH_MAX, &mut expansion);
        let mut hops = expansion.hops;
        if hops.is_empty() {
            return Resolution::Severed;
        }
        let divisor = hops.iter().fold(0, |divisor, hop| greatest_common_divisor(divisor, hop.weight));
        for hop in &mut hops {
            hop.weight /= divisor;
        }
        Resolution::Forward(hops)
    }

    fn matching(&self, destination: IpAddr) -> impl Iterator<Item = &Route> {
        let longest = if destination.is_ipv4() { 32 } else { 128 };
        let prefixes = (0..=longest).rev().map(move |length| Prefix::new(destination, length));
        prefixes.filter_map(|prefix| self.routes.get(&prefix)).flatten()
    }

    /// Divides `share` among the living next hops of `route` and adds them to the expansion.
    fn expand(&self, route: &Route, destination: IpAddr, share: u64, depth: u32, into: &mut Expansion) {
        into.routes_followed += 1;
        let living = || route.next_hops.iter().filter(|next_hop| self.lives(next_hop));
        let total: u64 = living().map(|next_hop| u64::from(next_hop.weight)).sum();
        for next_hop in living() {
            // `total` holds this weight, so it is zero only where the weight is.
            let part = (u128::from(share) * u128::from(next_hop.weight) / u128::from(total.max(1))) as u64;
            let address = next_hop.gateway.unwrap_or(destination);
            if let Some(interface) = next_hop.interface {
                into.hops.push(Hop { interface, address, weight: part.max(1) });
            } else if depth > 1 && into.routes_followed < ROUTES_FOLLOWED_MAX {
                let via = self.route(address).filter(|via| via.kind == RouteKind::Unicast);
                if let Some(via) = via {
                    self.expand(via, address, part, depth - 1, into);
                }
            }
        }
    }

    fn lives(&self, next_hop: &NextHop) -> bool {
        let carries = |index| self.interfaces.get(&index).is_some_and(super::Interface::carries);
        next_hop.interface.is_none_or(carries)
    }
}

fn greatest_common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Interface;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn hop(gateway: Option<&str>, interface: Option<u32>, weight: u32) -> NextHop {
        NextHop { gateway: gateway.map(ip), interface, weight }
    }

    fn facts(routes: &[(&str, u8, u32, RouteKind, &[NextHop])]) -> Facts {
        let mut facts = Facts::default();
        for index in 1..=3 {
            let name = format!("eth{index}");
            let interface = Interface { index, name, mac: [0; 6], mtu: 1500, up: true, running: true };
            facts.interfaces.insert(index, interface);
        }
        for &(network, length, metric, kind, next_hops) in routes {
            let destination = Prefix::new(ip(network), length);
            let table = if kind == RouteKind::Local { RouteTable::Local } else { RouteTable::Main };
            let route = Route { destination, table, metric, kind, next_hops: next_hops.to_vec() };
            facts.add_route(route);
        }
        facts
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_lowest_metric() {
        use RouteKind::Unicast;
        let facts = facts(&[
            ("0.0.0.0", 0, 0, Unicast, &[hop(Some("198.18.1.1"), Some(1), 1)]),
            ("198.18.2.0", 24, 20, Unicast, &[hop(None, Some(2), 1)]),
            ("198.18.2.0", 24, 10, Unicast, &[hop(None, Some(3), 1)]),
        ]);
        let on_link = vec![Hop { interface: 3, address: ip("198.18.2.7"), weight: 1 }];
        assert_eq!(facts.resolve(ip("198.18.2.7")), Resolution::Forward(on_link));
        let by_gateway = vec![Hop { interface: 1, address: ip("198.18.1.1"), weight: 1 }];
        assert_eq!(facts.resolve(ip("198.19.0.1")), Resolution::Forward(by_gateway));
        assert_eq!(facts.resolve(ip("2001:db8::1")), Resolution::NoRoute);
    }

    #[test]
    fn a_gateway_without_interface_is_resolved_and_shares_are_kept() {
        use RouteKind::Unicast;
        let facts = facts(&[
            ("2001:db8:1::", 48, 0, Unicast, &[hop(Some("2001:db8::a"), None, 1), hop(None, Some(3), 1)]),
            (
                "2001:db8::",
                64,
                0,
                Unicast,
                &[hop(Some("fe80::1"), Some(1), 1), hop(Some("fe80::2"), Some(2), 2)],
            ),
        ]);
        let expected = vec![
            Hop { interface: 1, address: ip("fe80::1"), weight: 1 },
            Hop { interface: 2, address: ip("fe80::2"), weight: 2 },
            Hop { interface: 3, address: ip("2001:db8:1::9"), weight: 3 },
        ];
        assert_eq!(facts.resolve(ip("2001:db8:1::9")), Resolution::Forward(expected));
    }

    #[test]
    fn a_loop_of_routes_ends() {
        let round = [hop(Some("198.18.9.1"), None, 1), hop(Some("198.18.9.2"), None, 1)];
        let facts = facts(&[("198.18.9.0", 24, 0, RouteKind::Unicast, &round)]);
        assert_eq!(facts.resolve(ip("198.18.9.9")), Resolution::Severed);
    }

    #[test]
    fn a_way_out_that_is_down_is_left_away() {
        let both = [hop(Some("198.18.1.1"), Some(1), 1), hop(Some("198.18.2.1"), Some(2), 1)];
        let mut facts = facts(&[("0.0.0.0", 0, 0, RouteKind::Unicast, &both)]);
        facts.interfaces.get_mut(&1).unwrap().running = false;
        let left = vec![Hop { interface: 2, address: ip("198.18.2.1"), weight: 1 }];
        assert_eq!(facts.resolve(ip("198.19.0.1")), Resolution::Forward(left));
        facts.interfaces.get_mut(&2).unwrap().up = false;
        assert_eq!(facts.resolve(ip("198.19.0.1")), Resolution::Severed);
    }

    #[test]
    fn the_local_table_comes_before_a_longer_prefix_of_main() {
        let facts = facts(&[
            ("198.18.5.0", 24, 0, RouteKind::Local, &[]),
            ("198.18.5.7", 32, 0, RouteKind::Unicast, &[hop(None, Some(1), 1)]),
            ("198.18.6.0", 24, 0, RouteKind::Blackhole, &[]),
        ]);
        assert_eq!(facts.resolve(ip("198.18.5.7")), Resolution::Stop(RouteKind::Local));
        assert_eq!(facts.resolve(ip("198.18.6.7")), Resolution::Stop(RouteKind::Blackhole));
    }
}
