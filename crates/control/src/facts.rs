//! What the kernel knows about links, addresses, routes and neighbours, as plain data.
//!
//! [`crate::netlink::Mirror`] keeps it true; the compiler of plans and the resolver of neighbours read it. It
//! lives on the control thread. Only the tables `main` and `local` are in it: policy routing, routes by type
//! of service and routes by source address are left out, since a worker looks a destination up by its address
//! alone.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hashbrown::HashMap;

mod prefix;
mod resolve;

pub use prefix::Prefix;
pub use resolve::{Hop, Resolution};

/// The kernel's number of an interface, never zero.
pub type InterfaceIndex = u32;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub index: InterfaceIndex,
    /// The kernel's name.
    pub name: String,
    /// Its Ethernet address; zero for an interface that has none.
    pub mac: Mac,
    /// The longest IP packet it sends, in bytes.
    pub mtu: u32,
    /// The administrator wants it up.
    pub up: bool,
    /// It has a carrier and may send.
    pub running: bool,
}

impl Interface {
    /// Whether a frame that is given to it can leave.
    pub fn carries(&self) -> bool {
        self.up && self.running
    }
}

/// An address of the host on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The interface that has it.
    pub interface: InterfaceIndex,
    /// The address itself.
    pub address: IpAddr,
    /// How many leading bits name the network.
    pub prefix_length: u8,
}

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Sends it to a next hop or to a neighbour.
    Unicast,
    /// Drops it without a word.
    Blackhole,
    /// Answers host unreachable.
    Unreachable,
    /// Answers administratively prohibited.
    Prohibit,
    /// The host takes it; IPv6 anycast addresses of the host too.
    Local,
    /// A broadcast address of one of the host's networks.
    Broadcast,
}

/// Where a route stands. The kernel asks `local` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTable {
    /// The host's own and its broadcast addresses, kept by the kernel.
    Local,
    /// Everybody's routes.
    Main,
}

/// One way out of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The router to hand the packet to; `None`: the destination is a neighbour. An IPv4 route may have an
    /// IPv6 gateway (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// The interface to send by; `None`: by which the gateway itself is reached.
    pub interface: Option<InterfaceIndex>,
    /// Its share among the route's next hops, at least 1.
    pub weight: u32,
}

/// A route of the tables `main` or `local`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which destinations it is for.
    pub destination: Prefix,
    /// Where it stands.
    pub table: RouteTable,
    /// Among routes to the same prefix the lowest counts ("priority" in the kernel).
    pub metric: u32,
    /// What it does.
    pub kind: RouteKind,
    /// Where a unicast route leads, never empty; the other kinds lead nowhere.
    pub next_hops: Vec<NextHop>,
}

/// How well the kernel knows a neighbour (RFC 4861, 7.3.2; the same for ARP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Asked for, no answer yet.
    Incomplete,
    /// It answered just now.
    Reachable,
    /// It answered once; nobody has asked since.
    Stale,
    /// In use while stale; a probe will follow.
    Delay,
    /// Being probed.
    Probe,
    /// It did not answer.
    Failed,
    /// Set by the administrator: true without asking.
    Permanent,
}

/// Who has an address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its Ethernet address, where one is known.
    pub mac: Option<Mac>,
    /// How well it is known.
    pub state: NeighbourState,
    /// It said that it is a router (IPv6).
    pub router: bool,
}

impl Neighbour {
    /// The address to send to, unless the neighbour is unknown or gave no answer.
    pub fn usable_mac(&self) -> Option<Mac> {
        match self.state {
            NeighbourState::Incomplete | NeighbourState::Failed => None,
            _ => self.mac,
        }
    }
}

/// Names a neighbour: an address on a link.
pub type NeighbourKey = (InterfaceIndex, IpAddr);

/// What the kernel knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Interfaces by index.
    pub interfaces: BTreeMap<InterfaceIndex, Interface>,
    /// Addresses of the host, sorted.
    pub addresses: Vec<Address>,
    /// Routes by prefix; routes to the same prefix by metric, then in the kernel's order.
    pub routes: BTreeMap<Prefix, Vec<Route>>,
    /// Neighbours by interface and address.
    pub neighbours: HashMap<NeighbourKey, Neighbour>,
    /// Grows by one with every batch of changes that a plan may depend on.
    pub generation: u64,
}

impl Facts {
    /// The interface of that name.
    pub fn interface_named(&self, name: &str) -> Option<&Interface> {
        self.interfaces.values().find(|interface| interface.name == name)
    }

    /// Whether the host itself holds `address`.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|held| held.address == address)
    }

    /// Where frames for `address` on the link of `interface` go, if the kernel knows.
    pub fn mac_of(&self, interface: InterfaceIndex, address: IpAddr) -> Option<Mac> {
        self.neighbours.get(&(interface, address)).and_then(Neighbour::usable_mac)
    }

    /// Adds a route behind those to the same prefix whose metric is not higher.
    pub fn add_route(&mut self, route: Route) {
        let same = self.routes.entry(route.destination).or_default();
        let place = same.partition_point(|other| other.metric <= route.metric);
        same.insert(place, route);
    }

    /// Every route, by prefix and metric.
    pub fn all_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().flatten()
    }
}
