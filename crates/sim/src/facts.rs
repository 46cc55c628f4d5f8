//! What the kernel would know, as lines of text.

use crate::frame::Scope;
use control::facts::{
    Address, Facts, Interface, Neighbour, NeighbourState, NextHop, Prefix, Route, RouteKind, RouteTable,
};
use std::net::IpAddr;
use std::str::FromStr;

/// Changes `facts` as `line` says:
///
/// ```text
///   interface eth1 OUTSIDE mtu 1500        a new one, or a changed one
///   address eth1 198.18.0.2/24             with the routes that the kernel makes of it
///   route 0.0.0.0/0 via 198.18.0.1         or `no route 0.0.0.0/0`
///   neighbour eth1 198.18.0.50 CLIENT      or `no neighbour eth1 198.18.0.50`
/// ```
pub fn apply(facts: &mut Facts, scope: &Scope, line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let done = match *words {
        ["interface", name, station, "mtu", mtu] => interface(facts, scope, name, station, mtu),
        ["address", name, prefix] => address(facts, name, prefix),
        ["route", prefix, "via", gateway] => route(facts, prefix, gateway),
        ["no", "route", prefix] => parse_prefix(prefix)
            .and_then(|(network, length)| facts.routes.remove(&Prefix::new(network, length)).map(drop)),
        ["neighbour", name, address, station] => neighbour(facts, scope, name, address, station),
        ["no", "neighbour", name, address] => address.parse().ok().and_then(|address| {
            let interface = facts.interface_named(name)?.index;
            facts.neighbours.remove(&(interface, address)).map(drop)
        }),
        _ => None,
    };
    facts.generation += 1;
    done.ok_or_else(|| format!("{line:?} is no fact"))
}

fn parse_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}

fn interface(facts: &mut Facts, scope: &Scope, name: &str, station: &str, mtu: &str) -> Option<()> {
    let index = match facts.interface_named(name) {
        Some(interface) => interface.index,
        None => facts.interfaces.len() as u32 + 1,
    };
    let (mac, mtu) = (scope.station(station)?.0, u32::from_str(mtu).ok()?);
    let interface = Interface { index, name: name.to_owned(), mac, mtu, up: true, running: true };
    facts.interfaces.insert(index, interface);
    Some(())
}

fn address(facts: &mut Facts, name: &str, prefix: &str) -> Option<()> {
    let interface = facts.interface_named(name)?.index;
    let (address, prefix_length) = parse_prefix(prefix)?;
    facts.addresses.push(Address { interface, address, prefix_length });
    facts.addresses.sort();
    let own_network = NextHop { gateway: None, interface: Some(interface), weight: 1 };
    let mut add = |destination, table, kind, next_hops| {
        facts.add_route(Route { destination, table, metric: 0, kind, next_hops });
    };
    let network = Prefix::new(address, prefix_length);
    add(network, RouteTable::Main, RouteKind::Unicast, vec![own_network]);
    add(Prefix::host(address), RouteTable::Local, RouteKind::Local, Vec::new());
    if let (IpAddr::V4(first), true) = (network.network(), prefix_length < 31) {
        let last = first.to_bits() | u32::MAX.checked_shr(u32::from(prefix_length)).unwrap_or(0);
        let last = IpAddr::V4(last.into());
        add(Prefix::host(last), RouteTable::Local, RouteKind::Broadcast, Vec::new());
    }
    Some(())
}

fn route(facts: &mut Facts, prefix: &str, gateway: &str) -> Option<()> {
    let (network, length) = parse_prefix(prefix)?;
    let next_hop = NextHop { gateway: Some(gateway.parse().ok()?), interface: None, weight: 1 };
    facts.add_route(Route {
        destination: Prefix::new(network, length),
        table: RouteTable::Main,
        metric: 0,
        kind: RouteKind::Unicast,
        next_hops: vec![next_hop],
    });
    Some(())
}

fn neighbour(facts: &mut Facts, scope: &Scope, name: &str, address: &str, station: &str) -> Option<()> {
    let interface = facts.interface_named(name)?.index;
    let mac = Some(scope.station(station)?.0);
    let neighbour = Neighbour { mac, state: NeighbourState::Reachable, router: false };
    facts.neighbours.insert((interface, address.parse().ok()?), neighbour);
    Some(())
}
