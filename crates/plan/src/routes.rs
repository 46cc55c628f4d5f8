//! Longest-prefix routes, and the next hops on each port's own networks.
//!
//! One map for each prefix length that occurs, asked from the longest on: a lookup costs as many probes as there are
//! lengths in use, which on a balancer is a handful. Only packets without a session come here.

use flow::Family;
use hashbrown::HashMap;
use rewrite::LinkIndex;
use std::net::IpAddr;
use std::sync::Arc;

/// One way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop<F: Family> {
    /// Index of the egress port.
    pub port: u16,
    /// The gateway; `None` on a port's own network, where the destination is its own next hop.
    pub gateway: Option<F::Address>,
}

/// What is to be done with packets to a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<F: Family> {
    /// Forward by one of these, chosen by the hash of the flow; never empty.
    Forward(Box<[Hop<F>]>),
    /// Unreachable, prohibited, blackhole, or through an interface that is no port.
    Reject,
}

/// What the routes say of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution<F: Family> {
    /// Leave by this link.
    Link(LinkIndex),
    /// The next hop has no link yet: control must resolve it.
    Unresolved {
        /// Index of the egress port.
        port: u16,
        /// The next hop.
        next_hop: F::Address,
    },
    /// No route leads there.
    Unreachable,
}

/// Which next hop holds which link row.
pub type LinksByNextHop<F> = HashMap<(u16, <F as Family>::Address), LinkIndex>;

/// The routes of one family, frozen.
#[derive(Clone, Debug)]
pub struct RouteTable<F: Family> {
    /// Longest prefix first.
    lengths: Vec<(u8, HashMap<u128, Route<F>>)>,
    links: Arc<LinksByNextHop<F>>,
}

impl<F: Family> Default for RouteTable<F> {
    fn default() -> Self {
        Self { lengths: Vec::new(), links: Arc::default() }
    }
}

/// Collects routes. The first one given for a prefix stays, so give them by rising metric.
#[derive(Debug)]
pub struct RouteTableBuilder<F: Family> {
    table: RouteTable<F>,
}

/// An address as the high bits of a word, so that both families mask alike.
pub(crate) fn high_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

pub(crate) fn masked(bits: u128, prefix_bits: u8) -> u128 {
    if prefix_bits == 0 { 0 } else { bits & (u128::MAX << (128 - u32::from(prefix_bits.min(128)))) }
}

impl<F: Family> RouteTableBuilder<F> {
    /// No routes yet; `links` says which next hops have a row.
    pub fn new(links: Arc<LinksByNextHop<F>>) -> Self {
        Self { table: RouteTable { lengths: Vec::new(), links } }
    }

    /// Adds the route to `network`/`prefix_bits`, unless there is one already. Host bits are ignored.
    pub fn add(&mut self, network: F::Address, prefix_bits: u8, route: Route<F>) {
        let lengths = &mut self.table.lengths;
        let position = match lengths.binary_search_by(|(length, _)| prefix_bits.cmp(length)) {
            Ok(position) => position,
            Err(position) => {
                lengths.insert(position, (prefix_bits, HashMap::new()));
                position
            }
        };
        lengths[position].1.entry(masked(high_bits(network.into()), prefix_bits)).or_insert(route);
    }

    /// Freezes the table.
    pub fn build(self) -> RouteTable<F> {
        self.table
    }
}

impl<F: Family> RouteTable<F> {
    /// The longest matching route.
    pub fn route(&self, destination: F::Address) -> Option<&Route<F>> {
        let bits = high_bits(destination.into());
        self.lengths.iter().find_map(|(length, routes)| routes.get(&masked(bits, *length)))
    }

    /// The longest matching route that leaves by a port which `may` says, with its length.
    fn route_by(&self, destination: F::Address, may: impl Fn(u16) -> bool) -> Option<(u8, &[Hop<F>])> {
        let bits = high_bits(destination.into());
        self.lengths.iter().find_map(|(length, routes)| match routes.get(&masked(bits, *length)) {
            Some(Route::Forward(hops)) if hops.iter().any(|hop| may(hop.port)) => Some((*length, &**hops)),
            _ => None,
        })
    }

    /// Bits of the longest prefix that leads to `destination` by a port which `may` says.
    pub fn prefix_bits_by(&self, destination: F::Address, may: impl Fn(u16) -> bool) -> Option<u8> {
        self.route_by(destination, may).map(|(length, _)| length)
    }

    /// The same as [`Self::resolve`], by ports which `may` says alone.
    pub fn resolve_by(&self, destination: F::Address, hash: u64, may: impl Fn(u16) -> bool) -> Resolution<F> {
        let Some((_, hops)) = self.route_by(destination, &may) else { return Resolution::Unreachable };
        let count = hops.iter().filter(|hop| may(hop.port)).count();
        let place = ((u128::from(hash) * count as u128) >> 64) as usize;
        match hops.iter().filter(|hop| may(hop.port)).nth(place) {
            Some(hop) => self.at(hop.port, hop.gateway.unwrap_or(destination)),
            None => Resolution::Unreachable,
        }
    }

    /// Port and next hop of a packet to `destination`; `hash` chooses among equal ways, one for each flow.
    pub fn next_hop(&self, destination: F::Address, hash: u64) -> Option<(u16, F::Address)> {
        let Some(Route::Forward(hops)) = self.route(destination) else { return None };
        let hop = hops.get(((u128::from(hash) * hops.len() as u128) >> 64) as usize)?;
        Some((hop.port, hop.gateway.unwrap_or(destination)))
    }

    /// Whether both addresses lie on one port's own network, so that their hosts reach each other without a router.
    pub fn share_network(&self, one: F::Address, other: F::Address) -> bool {
        let (Some(route), Some(other)) = (self.route(one), self.route(other)) else { return false };
        let is_on_link = |hop: &Hop<F>| hop.gateway.is_none();
        std::ptr::eq(route, other) && matches!(route, Route::Forward(hops) if hops.iter().any(is_on_link))
    }

    /// How a packet to `destination` leaves.
    pub fn resolve(&self, destination: F::Address, hash: u64) -> Resolution<F> {
        let Some((port, next_hop)) = self.next_hop(destination, hash) else { return Resolution::Unreachable };
        self.at(port, next_hop)
    }

    fn at(&self, port: u16, next_hop: F::Address) -> Resolution<F> {
        match self.links.get(&(port, next_hop)) {
            Some(&link) => Resolution::Link(link),
            None => Resolution::Unresolved { port, next_hop },
        }
    }

    /// Next hops that have a row, with their port.
    pub fn links(&self) -> &LinksByNextHop<F> {
        &self.links
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use flow::{V4, V6};
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn on_link(port: u16) -> Route<V4> {
        Route::Forward(Box::new([Hop { port, gateway: None }]))
    }

    fn unresolved_port(table: &RouteTable<V4>, to: Ipv4Addr) -> Option<u16> {
        match table.resolve(to, 0) {
            Resolution::Unresolved { port, .. } => Some(port),
            _ => None,
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_reject_is_unreachable() {
        let mut builder = RouteTableBuilder::<V4>::new(Arc::default());
        builder.add(Ipv4Addr::UNSPECIFIED, 0, on_link(0));
        builder.add(Ipv4Addr::new(198, 18, 0, 0), 16, on_link(1));
        builder.add(Ipv4Addr::new(198, 18, 7, 0), 24, Route::Reject);
        builder.add(Ipv4Addr::new(198, 18, 7, 7), 32, on_link(2));
        builder.add(Ipv4Addr::new(198, 18, 7, 7), 32, on_link(9));
        let table = builder.build();
        assert_eq!(unresolved_port(&table, Ipv4Addr::new(198, 19, 0, 1)), Some(0));
        assert_eq!(unresolved_port(&table, Ipv4Addr::new(198, 18, 9, 1)), Some(1));
        assert_eq!(table.resolve(Ipv4Addr::new(198, 18, 7, 1), 0), Resolution::Unreachable);
        assert_eq!(unresolved_port(&table, Ipv4Addr::new(198, 18, 7, 7)), Some(2));
    }

    #[test]
    fn a_route_by_another_port_gives_way_to_a_shorter_one_by_ours() {
        let mut builder = RouteTableBuilder::<V4>::new(Arc::default());
        builder.add(Ipv4Addr::UNSPECIFIED, 0, on_link(0));
        builder.add(Ipv4Addr::new(198, 18, 7, 0), 24, on_link(1));
        let table = builder.build();
        let to = Ipv4Addr::new(198, 18, 7, 7);
        let bits = |port| table.prefix_bits_by(to, |own| own == port);
        assert_eq!([0, 1, 2].map(bits), [Some(0), Some(24), None]);
        let by = |port| match table.resolve_by(to, u64::MAX, |own| own == port) {
            Resolution::Unresolved { port, .. } => Some(port),
            _ => None,
        };
        assert_eq!([0, 1, 2].map(by), [Some(0), Some(1), None]);
    }

    #[test]
    fn two_hosts_share_a_network_and_not_a_gateway() {
        let mut builder = RouteTableBuilder::<V4>::new(Arc::default());
        let gateway = Some(Ipv4Addr::new(198, 18, 1, 1));
        builder.add(Ipv4Addr::UNSPECIFIED, 0, Route::Forward(Box::new([Hop { port: 0, gateway }])));
        builder.add(Ipv4Addr::new(198, 18, 1, 0), 24, on_link(0));
        builder.add(Ipv4Addr::new(198, 18, 2, 0), 24, on_link(0));
        let table = builder.build();
        let share = |a: [u8; 4], b: [u8; 4]| table.share_network(a.into(), b.into());
        assert!(share([198, 18, 1, 7], [198, 18, 1, 8]));
        assert!(!share([198, 18, 1, 7], [198, 18, 2, 8]), "two networks of one port");
        assert!(!share([198, 19, 1, 7], [198, 19, 1, 8]), "both behind the gateway");
    }

    #[test]
    fn a_gateway_stands_for_its_destinations_and_equal_ways_are_shared_by_hash() {
        let gateways: [Ipv6Addr; 2] = ["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        let links =
            gateways.iter().zip(1..).map(|(&gateway, link)| ((0, gateway), LinkIndex(link))).collect();
        let mut builder = RouteTableBuilder::<V6>::new(Arc::new(links));
        let hops = gateways.map(|gateway| Hop { port: 0, gateway: Some(gateway) });
        builder.add(Ipv6Addr::UNSPECIFIED, 0, Route::Forward(Box::new(hops)));
        let table = builder.build();
        let to = "2001:db8:9::1".parse().unwrap();
        assert_eq!(table.resolve(to, 0), Resolution::Link(LinkIndex(1)));
        assert_eq!(table.resolve(to, u64::MAX), Resolution::Link(LinkIndex(2)));
    }

    proptest! {
        #[test]
        fn lookups_equal_a_linear_search(
            routes in prop::collection::vec((any::<u32>(), 0u8..=32), 0..40),
            destination: u32,
        ) {
            let mut builder = RouteTableBuilder::<V4>::new(Arc::default());
            for (index, &(network, length)) in routes.iter().enumerate() {
                // Nested prefixes of the destination make matches likely.
                let network = if index.is_multiple_of(2) { destination } else { network };
                builder.add(Ipv4Addr::from_bits(network), length, on_link(index as u16));
            }
            let table = builder.build();
            let mask = |length: u8| if length == 0 { 0 } else { u32::MAX << (32 - length) };
            let matches = |index: usize| {
                let (network, length) = routes[index];
                let network = if index.is_multiple_of(2) { destination } else { network };
                (network ^ destination) & mask(length) == 0
            };
            let best = (0..routes.len()).filter(|&index| matches(index)).max_by_key(|&index| {
                (routes[index].1, std::cmp::Reverse(index))
            });
            let found = unresolved_port(&table, Ipv4Addr::from_bits(destination)).map(usize::from);
            prop_assert_eq!(found, best);
        }
    }
}
