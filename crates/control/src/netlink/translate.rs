//! From the kernel's messages to facts. Pure: no socket, no clock.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::NLM_F_REPLACE;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteType, RouteVia,
};

use super::Changes;
use crate::facts::{
    Address, Facts, Interface, Neighbour, NeighbourKey, NeighbourState, NextHop, Prefix, Route, RouteKind,
    RouteTable,
};

/// `RT_TABLE_MAIN` and `RT_TABLE_LOCAL` of rtnetlink(7).
const TABLE_MAIN: u32 = 254;
const TABLE_LOCAL: u32 = 255;

/// What an event did.
#[derive(Default)]
pub(super) struct Effect {
    /// What is different now.
    pub(super) changes: Changes,
    /// Which tables may differ from the kernel's and must be read again.
    pub(super) doubtful: Changes,
}

/// Applies one event, sent with the netlink header's `flags`.
pub(super) fn apply(event: &Message, flags: u16, facts: &mut Facts) -> Effect {
    let mut effect = Effect::default();
    match event {
        Message::NewLink(message) => new_link(message, facts, &mut effect),
        Message::DelLink(message) if message.header.interface_family == AddressFamily::Unspec => {
            effect.changes.links = facts.interfaces.remove(&message.header.index).is_some();
            effect.doubtful.routes = true;
        }
        Message::NewAddress(message) => {
            if let Some(address) = address(message)
                && let Err(place) = facts.addresses.binary_search(&address)
            {
                facts.addresses.insert(place, address);
                effect.changes.addresses = true;
            }
        }
        Message::DelAddress(message) => {
            if let Some(address) = address(message)
                && let Ok(place) = facts.addresses.binary_search(&address)
            {
                facts.addresses.remove(place);
                effect.changes.addresses = true;
                // IPv4 routes that prefer it as source go too, on most kernels without a message.
                effect.doubtful.routes = true;
            }
        }
        Message::NewRoute(message) => new_route(message, flags, facts, &mut effect),
        Message::DelRoute(message) => delete_route(message, facts, &mut effect),
        Message::NewNeighbour(message) => {
            if let Some((key, neighbour)) = neighbour(message) {
                let before = match neighbour {
                    Some(now) => facts.neighbours.insert(key, now),
                    None => facts.neighbours.remove(&key),
                };
                effect.changes.neighbours = plain(before) != plain(neighbour);
            }
        }
        Message::DelNeighbour(message) => {
            if let Some((key, _)) = neighbour(message) {
                effect.changes.neighbours = plain(facts.neighbours.remove(&key)).is_some();
            }
        }
        _ => {}
    }
    effect
}

/// What of a neighbour a plan depends on.
fn plain(neighbour: Option<Neighbour>) -> Option<([u8; 6], bool)> {
    neighbour.and_then(|neighbour| Some((neighbour.usable_mac()?, neighbour.router)))
}

fn new_link(message: &LinkMessage, facts: &mut Facts, effect: &mut Effect) {
    let Some(interface) = interface(message, facts.interfaces.get(&message.header.index)) else { return };
    let up = interface.up;
    let before = facts.interfaces.insert(interface.index, interface);
    // An interface that is set down takes its IPv4 routes along, on most kernels without a message.
    effect.doubtful.routes = before.as_ref().is_some_and(|before| before.up != up);
    effect.changes.links = before.as_ref() != facts.interfaces.get(&message.header.index);
}

/// The interface that a message describes; what it leaves out is as `before`.
pub(super) fn interface(message: &LinkMessage, before: Option<&Interface>) -> Option<Interface> {
    // The bridge speaks of its ports by the same message and another family.
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let empty = Interface {
        index: message.header.index,
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        up: false,
        running: false,
    };
    let mut interface = before.cloned().unwrap_or(empty);
    interface.up = message.header.flags.contains(LinkFlags::Up);
    interface.running = message.header.flags.contains(LinkFlags::Running);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Address(mac) => interface.mac = mac.as_slice().try_into().unwrap_or_default(),
            _ => {}
        }
    }
    Some(interface)
}

/// The host's address that a message names.
pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    let mut remote = None;
    let mut local = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(address) => remote = Some(*address),
            AddressAttribute::Local(address) => local = Some(*address),
            _ => {}
        }
    }
    // On a point-to-point link the plain attribute is the peer's address.
    let address = local.or(remote)?;
    Some(Address { interface: message.header.index, address, prefix_length: message.header.prefix_len })
}

fn new_route(message: &RouteMessage, flags: u16, facts: &mut Facts, effect: &mut Effect) {
    let Some(route) = route(message) else { return };
    let same = facts.routes.entry(route.destination).or_default();
    let mut alike = same.iter_mut().filter(|other| is_alike(other, &route));
    match (alike.next(), alike.next()) {
        (Some(only), None) if *only == route => {}
        (Some(only), None) if flags & NLM_F_REPLACE != 0 => {
            *only = route;
            effect.changes.routes = true;
        }
        // Before, behind or beside the other, as a further next hop: the message does not tell.
        (Some(_), _) => effect.doubtful.routes = true,
        (None, _) => {
            facts.add_route(route);
            effect.changes.routes = true;
        }
    }
}

fn delete_route(message: &RouteMessage, facts: &mut Facts, effect: &mut Effect) {
    let Some(route) = route(message) else { return };
    let Some(same) = facts.routes.get_mut(&route.destination) else { return };
    if let Some(place) = same.iter().position(|other| *other == route) {
        same.remove(place);
        effect.changes.routes = true;
        if same.is_empty() {
            facts.routes.remove(&route.destination);
        }
    } else {
        // A single next hop of an IPv6 route, for one.
        effect.doubtful.routes = same.iter().any(|other| is_alike(other, &route));
    }
}

/// Whether the kernel would call both the same route.
fn is_alike(one: &Route, other: &Route) -> bool {
    (one.destination, one.table, one.metric) == (other.destination, other.table, other.metric)
}

/// The route that a message describes, if it is one that counts here.
pub(super) fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    // A clone is a cached path MTU or redirect, not a route.
    if header.source_prefix_length != 0 || header.tos != 0 || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local | RouteType::Anycast => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        _ => return None,
    };
    let mut table = u32::from(header.table);
    let mut destination = any;
    let mut metric = 0;
    let mut next_hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => destination = ip_address(address)?,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::MultiPath(hops) => next_hops = hops.iter().map(multipath_hop).collect(),
            _ => {}
        }
    }
    let table = match table {
        TABLE_MAIN => RouteTable::Main,
        TABLE_LOCAL => RouteTable::Local,
        _ => return None,
    };
    if kind != RouteKind::Unicast {
        next_hops.clear();
    } else if next_hops.is_empty() {
        next_hops.push(next_hop(&message.attributes, None, 1));
    }
    let destination = Prefix::new(destination, header.destination_prefix_length);
    Some(Route { destination, table, metric, kind, next_hops })
}

fn multipath_hop(hop: &RouteNextHop) -> NextHop {
    let interface = (hop.interface_index != 0).then_some(hop.interface_index);
    // `rtnh_hops` is the weight less one.
    next_hop(&hop.attributes, interface, u32::from(hop.hops) + 1)
}

fn next_hop(attributes: &[RouteAttribute], interface: Option<u32>, weight: u32) -> NextHop {
    let mut hop = NextHop { gateway: None, interface, weight };
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(index) => hop.interface = Some(*index),
            RouteAttribute::Gateway(address) => hop.gateway = ip_address(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => hop.gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => hop.gateway = Some((*address).into()),
            _ => {}
        }
    }
    hop
}

fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// The neighbour that a message names and, unless it is still a blank, what is known of it. Proxy entries and
/// addresses that need no resolution are none.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Option<Neighbour>)> {
    let header = &message.header;
    if header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let state = match header.state {
        Nud::Incomplete => Some(NeighbourState::Incomplete),
        Nud::Reachable => Some(NeighbourState::Reachable),
        Nud::Stale => Some(NeighbourState::Stale),
        Nud::Delay => Some(NeighbourState::Delay),
        Nud::Probe => Some(NeighbourState::Probe),
        Nud::Failed => Some(NeighbourState::Failed),
        Nud::Permanent => Some(NeighbourState::Permanent),
        Nud::Noarp => return None,
        _ => None,
    };
    let mut address: Option<IpAddr> = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some((*v4).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some((*v6).into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let router = header.flags.contains(NeighbourFlags::Router);
    Some(((header.ifindex, address?), state.map(|state| Neighbour { mac, state, router })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(flags: LinkFlags) -> Message {
        let mut message = LinkMessage::default();
        message.header.index = 2;
        message.header.flags = flags;
        message.attributes.push(LinkAttribute::IfName("eth1".to_owned()));
        Message::NewLink(message)
    }

    /// Kernels differ in what they tell of IPv4 routes that go with their link or source address.
    #[test]
    fn routes_are_in_doubt_when_a_link_goes_down_or_an_address_goes() {
        let mut facts = Facts::default();
        let up = LinkFlags::Up | LinkFlags::Running;
        assert!(!apply(&link(up), 0, &mut facts).doubtful.routes);
        let lost_carrier = apply(&link(LinkFlags::Up), 0, &mut facts);
        assert!(lost_carrier.changes.links && !lost_carrier.doubtful.routes);
        assert!(apply(&link(LinkFlags::empty()), 0, &mut facts).doubtful.routes);

        let mut message = AddressMessage::default();
        message.header.index = 2;
        message.header.prefix_len = 24;
        message.attributes.push(AddressAttribute::Local([198, 18, 1, 1].into()));
        assert!(!apply(&Message::NewAddress(message.clone()), 0, &mut facts).doubtful.routes);
        assert!(facts.holds([198, 18, 1, 1].into()));
        assert!(apply(&Message::DelAddress(message), 0, &mut facts).doubtful.routes);
        assert!(facts.addresses.is_empty());
    }

    /// An attribute of a bridge port comes under another family and describes the port only in part.
    #[test]
    fn what_a_bridge_says_of_its_port_is_left_out() {
        let mut facts = Facts::default();
        let Message::NewLink(mut message) = link(LinkFlags::Up) else { unreachable!() };
        message.header.interface_family = AddressFamily::Bridge;
        assert!(apply(&Message::NewLink(message.clone()), 0, &mut facts).changes.is_empty());
        apply(&link(LinkFlags::Up), 0, &mut facts);
        assert!(apply(&Message::DelLink(message), 0, &mut facts).changes.is_empty());
        assert_eq!(facts.interfaces.len(), 1);
    }
}
