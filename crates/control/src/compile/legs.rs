//! Ports, bridges and rings of a configuration, in the order in which the data plane counts them.
//!
//! Ports come first, in the order of the file, then bridges. Rings come in the order in which [`RingPlaces`] lists them:
//! the interfaces, each once, then the host legs. Whoever opens the rings must open them in that order.

use crate::facts::{Facts, Interface};
use config::{Config, HostAddress};
use flow::{Family, V4, V6, Zone};
use hashbrown::HashMap;
use plan::{Attachment, PortPlan, RingPlan};
use std::net::IpAddr;
use wire::Mac;

/// The rings that a configuration needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingPlaces {
    /// Interfaces, each once, with the first port that names it, by index.
    pub interfaces: Vec<(String, usize)>,
    /// TAP devices behind them.
    pub host_legs: Vec<HostLegPlace>,
}

/// A TAP device at which the kernel has its addresses: of a bridge, or of a port with a VLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLegPlace {
    /// The device's name.
    pub name: String,
    /// The bridge or port, by port index.
    pub leg: u16,
    /// The interfaces behind it. The first lends it its MAC address, the narrowest its MTU.
    pub interfaces: Vec<String>,
    /// What the kernel is to hold on it.
    pub addresses: Vec<HostAddress>,
}

/// The rings of `config`.
pub fn ring_places(config: &Config) -> RingPlaces {
    let mut interfaces: Vec<(String, usize)> = Vec::new();
    for (place, port) in config.ports.iter().enumerate() {
        if !interfaces.iter().any(|(name, _)| *name == port.interface) {
            interfaces.push((port.interface.clone(), place));
        }
    }
    let of_ports = config
        .ports
        .iter()
        .enumerate()
        .filter(|(place, port)| port.vlan.is_some() && bridge_of(config, *place).is_none());
    let of_ports = of_ports.map(|(place, port)| HostLegPlace {
        name: port.name.clone(),
        leg: place as u16,
        interfaces: vec![port.interface.clone()],
        addresses: port.addresses.clone(),
    });
    let of_bridges = config.bridges.iter().enumerate().map(|(number, bridge)| HostLegPlace {
        name: bridge.name.clone(),
        leg: (config.ports.len() + number) as u16,
        interfaces: bridge.ports.iter().map(|&port| config.ports[port].interface.clone()).collect(),
        addresses: bridge.addresses.clone(),
    });
    let host_legs = of_ports.chain(of_bridges).collect();
    RingPlaces { interfaces, host_legs }
}

/// The bridge that a port is a member of, by its place in the file.
pub fn bridge_of(config: &Config, port: usize) -> Option<usize> {
    config.bridges.iter().position(|bridge| bridge.ports.contains(&port))
}

/// The leg that a port belongs to, by port index: its bridge, or itself.
pub fn leg_of(config: &Config, port: usize) -> u16 {
    bridge_of(config, port).map_or(port, |bridge| config.ports.len() + bridge) as u16
}

/// The kernel's name of the interface at which the host has the addresses of a leg; `None` for a port that has none of
/// its own, being a member of a bridge, and where there is no such leg.
pub fn leg_interface(config: &Config, leg: u16) -> Option<&str> {
    let leg = usize::from(leg);
    match config.ports.get(leg) {
        Some(_) if bridge_of(config, leg).is_some() => None,
        Some(port) if port.vlan.is_some() => Some(&port.name),
        Some(port) => Some(&port.interface),
        None => config.bridges.get(leg - config.ports.len()).map(|bridge| bridge.name.as_str()),
    }
}

/// The zone of a leg, as an index into [`Config::zones`]; `None` where there is no such leg.
pub(crate) fn leg_zone(config: &Config, leg: u16) -> Option<u8> {
    let leg = usize::from(leg);
    match config.ports.get(leg) {
        Some(port) => Some(bridge_of(config, leg).map_or(port.zone, |bridge| config.bridges[bridge].zone)),
        None => config.bridges.get(leg - config.ports.len()).map(|bridge| bridge.zone),
    }
}

/// Every leg, by port index.
pub fn legs(config: &Config) -> impl Iterator<Item = (u16, &str)> {
    let count = config.ports.len() + config.bridges.len();
    (0..count as u16).filter_map(|leg| Some((leg, leg_interface(config, leg)?)))
}

/// Which leg is at which of the kernel's interfaces.
pub(crate) fn legs_by_interface(config: &Config, facts: &Facts) -> HashMap<u32, u16> {
    legs(config).filter_map(|(leg, name)| Some((facts.interface_named(name)?.index, leg))).collect()
}

/// The rings, as the data plane needs them.
pub(super) fn rings(config: &Config) -> Vec<RingPlan> {
    let places = ring_places(config);
    let of_interfaces = places.interfaces.iter().map(|(interface, _)| {
        let ports = || (0..).zip(&config.ports).filter(|(_, port)| port.interface == *interface);
        let untagged = ports().find(|(_, port)| port.vlan.is_none()).map(|(place, _)| place);
        let tagged = ports().filter_map(|(place, port): (u16, _)| Some((port.vlan?, place))).collect();
        let is_trunk = untagged.is_some_and(|port| bridge_of(config, usize::from(port)).is_some());
        RingPlan { untagged, tagged, is_trunk, host_leg_of: None }
    });
    let of_host_legs =
        places.host_legs.iter().map(|place| RingPlan { host_leg_of: Some(place.leg), ..RingPlan::default() });
    of_interfaces.chain(of_host_legs).collect()
}

/// Ports and bridges, as the data plane needs them.
pub(super) fn ports(config: &Config, facts: &Facts, mtu_bytes_max: u16) -> Vec<PortPlan> {
    let places = ring_places(config);
    let host_ring = |leg: u16| {
        let place = places.host_legs.iter().position(|place| place.leg == leg)?;
        Some((places.interfaces.len() + place) as u16)
    };
    let mtu_bytes = |interface: &str| {
        let mtu = facts.interface_named(interface).map_or(0, |interface| interface.mtu);
        mtu.min(u32::from(mtu_bytes_max)) as u16
    };
    let of_ports = config.ports.iter().enumerate().map(|(place, port)| {
        let ring = places.interfaces.iter().position(|(name, _)| *name == port.interface);
        // Every port's interface has a ring.
        let ring = ring.unwrap_or_default() as u16;
        let leg = leg_interface(config, place as u16).and_then(|name| facts.interface_named(name));
        let wire = facts.interface_named(&port.interface);
        PortPlan {
            name: port.name.clone(),
            mac: mac(leg.or(wire)),
            mtu_bytes: mtu_bytes(&port.interface),
            zone: Zone(leg_zone(config, place as u16).unwrap_or(port.zone)),
            address_v4: own_v4(facts, leg),
            address_v6: own_v6(facts, leg),
            attachment: Attachment::Ring { ring, vlan: port.vlan.unwrap_or_default() },
            host_ring: host_ring(place as u16),
            bridge: bridge_of(config, place).map(|bridge| (config.ports.len() + bridge) as u16),
        }
    });
    let of_bridges = config.bridges.iter().enumerate().map(|(number, bridge)| {
        let leg = facts.interface_named(&bridge.name);
        let narrowest = bridge.ports.iter().map(|&port| mtu_bytes(&config.ports[port].interface)).min();
        PortPlan {
            name: bridge.name.clone(),
            mac: mac(leg),
            mtu_bytes: narrowest.unwrap_or_default(),
            zone: Zone(bridge.zone),
            address_v4: own_v4(facts, leg),
            address_v6: own_v6(facts, leg),
            attachment: Attachment::Bridge {
                number: number as u8,
                members: bridge.ports.iter().map(|&port| port as u16).collect(),
                ageing_ns: bridge.ageing.as_nanos().min(u128::from(u64::MAX)) as u64,
            },
            host_ring: host_ring((config.ports.len() + number) as u16),
            bridge: None,
        }
    });
    of_ports.chain(of_bridges).collect()
}

fn mac(interface: Option<&Interface>) -> Mac {
    interface.map_or(Mac::ZERO, |interface| Mac(interface.mac))
}

fn own(facts: &Facts, interface: Option<&Interface>, is_wanted: fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let index = interface?.index;
    let held = facts.addresses.iter().filter(|held| held.interface == index);
    held.map(|held| held.address).find(is_wanted)
}

fn own_v4(facts: &Facts, interface: Option<&Interface>) -> Option<std::net::Ipv4Addr> {
    own(facts, interface, IpAddr::is_ipv4).and_then(V4::address)
}

fn own_v6(facts: &Facts, interface: Option<&Interface>) -> Option<std::net::Ipv6Addr> {
    own(facts, interface, is_global_v6).and_then(V6::address)
}

fn is_global_v6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if !address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let outcome = config::parse(text, "test.toml");
        outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics))
    }

    #[test]
    fn vlans_of_one_interface_share_its_ring_and_have_host_legs_of_their_own() {
        let config = config(
            "[[port]]\nname = \"a\"\ninterface = \"eth1\"\nvlan = 10\n\
             [[port]]\nname = \"b\"\ninterface = \"eth1\"\nvlan = 20\n",
        );
        let places = ring_places(&config);
        assert_eq!(places.interfaces, [("eth1".to_owned(), 0)]);
        assert_eq!(places.host_legs.iter().map(|leg| leg.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let rings = rings(&config);
        assert_eq!([0, 10, 20, 30].map(|vlan| rings[0].port(vlan)), [None, Some(0), Some(1), None]);
        assert_eq!(rings[2].host_leg_of, Some(1));
        let ports = ports(&config, &Facts::default(), 1_500);
        assert_eq!(ports.iter().map(|port| port.host_ring).collect::<Vec<_>>(), [Some(1), Some(2)]);
    }

    #[test]
    fn a_bridge_comes_behind_the_ports_and_its_members_have_no_leg_of_their_own() {
        let config = config(
            "[[port]]\nname = \"a\"\ninterface = \"eth1\"\n[[port]]\nname = \"b\"\ninterface = \"eth2\"\n\
             [[port]]\nname = \"c\"\ninterface = \"eth3\"\n[[bridge]]\nname = \"br0\"\nports = [\"a\", \"c\"]\n",
        );
        assert_eq!(legs(&config).collect::<Vec<_>>(), [(1, "eth2"), (3, "br0")]);
        assert_eq!([0, 1, 2].map(|port| leg_of(&config, port)), [3, 1, 3]);
        let rings = rings(&config);
        assert!(rings[0].is_trunk && !rings[1].is_trunk);
        assert_eq!(rings[3].host_leg_of, Some(3));
        let ports = ports(&config, &Facts::default(), 1_500);
        assert_eq!(ports[3].members(), Some(&[0, 2][..]));
        assert_eq!(ports.iter().map(|port| port.bridge).collect::<Vec<_>>(), [Some(3), None, Some(3), None]);
    }
}
