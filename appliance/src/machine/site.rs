//! The legs of the appliance on this machine, and which way leads out of which.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use config::{Config, HostAddress};
use control::compile::{HostLegPlace, legs, ring_places};
use control::facts::{
    Address, Facts, Hop, Interface, InterfaceIndex, NextHop, Prefix, Resolution, Route, RouteKind, RouteTable,
};

/// What the kernel says, and what it will say once the host legs are there: they are made by `run`, and their
/// addresses stand in the file.
pub(super) fn with_host_legs<'a>(config: &Config, facts: &'a Facts) -> Cow<'a, Facts> {
    let mut facts = Cow::Borrowed(facts);
    for place in ring_places(config).host_legs {
        let index = match facts.interface_named(&place.name) {
            Some(there) => there.index,
            None => add_interface(facts.to_mut(), &place),
        };
        for address in place.addresses {
            if !facts.holds(address.address) {
                add_address(facts.to_mut(), index, address);
            }
        }
    }
    facts
}

fn add_interface(facts: &mut Facts, place: &HostLegPlace) -> InterfaceIndex {
    let behind = || place.interfaces.iter().filter_map(|name| facts.interface_named(name));
    let interface = Interface {
        index: facts.interfaces.last_key_value().map_or(1, |(last, _)| last.saturating_add(1)),
        name: place.name.clone(),
        mac: behind().next().map_or([0; 6], |first| first.mac),
        mtu: behind().map(|one| one.mtu).min().unwrap_or_default(),
        up: true,
        running: true,
    };
    let index = interface.index;
    facts.interfaces.insert(index, interface);
    index
}

/// Adds an address with what the kernel adds to it: the network's route and the local one.
fn add_address(
    facts: &mut Facts,
    interface: InterfaceIndex,
    HostAddress { address, prefix_length }: HostAddress,
) {
    facts.addresses.push(Address { interface, address, prefix_length });
    let on_link = NextHop { gateway: None, interface: Some(interface), weight: 1 };
    let network = Route {
        destination: Prefix::new(address, prefix_length),
        table: RouteTable::Main,
        metric: 0,
        kind: RouteKind::Unicast,
        next_hops: vec![on_link],
    };
    facts.add_route(network.clone());
    facts.add_route(Route {
        destination: Prefix::host(address),
        table: RouteTable::Local,
        kind: RouteKind::Local,
        next_hops: Vec::new(),
        ..network
    });
}

/// A port, or a bridge as a whole, where the appliance has addresses.
pub(super) struct Leg<'a> {
    /// The kernel's interface: of the port, or the host leg.
    pub interface: &'a Interface,
    /// What stands in the file: `port "inside"`.
    pub name: String,
    /// Index into the file's ports, unless it is a bridge.
    pub port: Option<usize>,
    /// Index into the file's zones.
    pub zone: u8,
    /// Members of the bridge; `None`: a port.
    pub members: Option<usize>,
    /// Networks of the host's addresses there.
    pub networks: Vec<Prefix>,
}

impl Leg<'_> {
    pub(super) fn network_with(&self, address: IpAddr) -> Option<Prefix> {
        self.networks.iter().copied().find(|network| network.contains(address))
    }

    /// Whether what goes out where it came in has not crossed the appliance: between two members of a bridge it has.
    pub(super) fn is_one_arm(&self) -> bool {
        self.members.is_none_or(|members| members == 1)
    }

    pub(super) fn is(&self, other: &Leg<'_>) -> bool {
        self.interface.index == other.interface.index
    }
}

/// The appliance on this machine.
pub(super) struct Site<'a> {
    pub config: &'a Config,
    pub facts: &'a Facts,
    pub legs: Vec<Leg<'a>>,
}

impl<'a> Site<'a> {
    pub(super) fn new(config: &'a Config, facts: &'a Facts) -> Self {
        let leg = |(leg, name): (u16, &str)| {
            let interface = facts.interface_named(name)?;
            let held = facts.addresses.iter().filter(|held| held.interface == interface.index);
            let networks = held.map(|held| Prefix::new(held.address, held.prefix_length)).collect();
            let leg = usize::from(leg);
            let bridge = leg.checked_sub(config.ports.len()).and_then(|bridge| config.bridges.get(bridge));
            let (name, zone) = match (config.ports.get(leg), bridge) {
                (Some(port), _) => (format!("port {:?}", port.name), port.zone),
                (None, Some(bridge)) => (format!("bridge {:?}", bridge.name), bridge.zone),
                (None, None) => return None,
            };
            let port = bridge.is_none().then_some(leg);
            Some(Leg {
                interface,
                name,
                port,
                zone,
                members: bridge.map(|bridge| bridge.ports.len()),
                networks,
            })
        };
        Self { config, facts, legs: legs(config).filter_map(leg).collect() }
    }

    /// The leg that is at this interface.
    pub(super) fn leg_at(&self, interface: InterfaceIndex) -> Option<&Leg<'a>> {
        self.legs.iter().find(|leg| leg.interface.index == interface)
    }

    /// The leg in one of whose networks `address` is.
    pub(super) fn leg_with(&self, address: IpAddr) -> Option<&Leg<'a>> {
        self.legs.iter().find(|leg| leg.network_with(address).is_some())
    }

    /// By which leg and to which next hop packets for `address` leave; `None`: by none.
    pub(super) fn way_to(&self, address: IpAddr) -> Option<(&Leg<'a>, Hop)> {
        let Resolution::Forward(hops) = self.facts.resolve(address) else { return None };
        hops.into_iter().find_map(|hop| Some((self.leg_at(hop.interface)?, hop)))
    }

    /// The leg by which the default route of the family of `address` leaves.
    pub(super) fn default_leg(&self, address: IpAddr) -> Option<&Leg<'a>> {
        let anywhere = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.way_to(anywhere).map(|(leg, _)| leg)
    }
}

/// The kernel's name of an interface.
pub(super) fn name_of(facts: &Facts, index: InterfaceIndex) -> String {
    facts
        .interfaces
        .get(&index)
        .map_or_else(|| format!("interface {index}"), |interface| interface.name.clone())
}

/// Link-local IPv6 addresses come by themselves and serve no client.
pub(super) fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}
