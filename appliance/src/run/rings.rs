//! The rings, opened and held for the controller.

use crate::machine;
use config::{Config, Diagnostic, Driver};
use control::compile::{HostLegPlace, bridge_of, ring_places};
use control::controller::{Loss, RingFacts, Rings};
use control::facts::Facts;
use metrics::Counter;
use rings::ethtool::{self, ReceiveOffloads};
use rings::interface::{GroupMembership, MulticastMembership, PromiscuousMembership, join_ipv6_group};
use rings::steering::{Attach, Gate, Owner, Steering};
use rings::{Error, HostLegSpec, PortSpec, PortStatistics, RingLengths, WorkerPorts};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use tracing::{info, warn};
use wire::Mac;

/// The longest IP packet that a ring carries.
pub const MTU_BYTES_MAX: u16 = (port::FRAME_BYTES_MAX - wire::ethernet::LENGTH) as u16;

/// What the rings of one worker lost, by ring, in the order of [`PortStatistics::losses`]. The worker writes it.
pub type WorkerLosses = Arc<Vec<RingLosses>>;

/// Ways in which one ring can lose frames at the most: those of an AF_XDP ring.
const LOSSES_MAX: usize = 8;

/// What one worker's ring lost: each way with its name.
#[derive(Debug, Default)]
pub struct RingLosses {
    counters: [Counter; LOSSES_MAX],
    /// Which kind of ring it is; see [`RingLosses::named`].
    kind: Counter,
}

impl RingLosses {
    /// Copies what the ring counted.
    pub fn set(&self, statistics: &PortStatistics) {
        self.kind.set(match statistics {
            PortStatistics::Xdp(_) => 0,
            PortStatistics::Packet(_) => 1,
            PortStatistics::Tap(_) => 2,
        });
        for (counter, (_, lost)) in self.counters.iter().zip(statistics.losses()) {
            counter.set(lost);
        }
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = match self.kind.get() {
            0 => PortStatistics::Xdp(Default::default()).losses(),
            1 => PortStatistics::Packet(Default::default()).losses(),
            _ => PortStatistics::Tap(Default::default()).losses(),
        };
        self.counters.iter().zip(names).map(|(counter, (name, _))| (name, counter.get()))
    }
}

/// The open rings, as the controller and the end of the run need them.
pub struct Machine {
    steering: Steering,
    /// One for each interface, in the order of the rings.
    gates: Vec<Arc<Gate>>,
    losses: Vec<WorkerLosses>,
    interfaces: Vec<String>,
    /// Which ring each port of the configuration has its frames from.
    ring_of_port: Vec<usize>,
    groups: BTreeMap<(usize, Ipv6Addr), (MulticastMembership, GroupMembership)>,
    _promiscuous: Vec<PromiscuousMembership>,
}

/// Receive offloads that merge frames or strip tags, switched off until this is dropped.
pub fn switch_offloads_off(config: &Config) -> Vec<ReceiveOffloads> {
    let mut switched = Vec::new();
    for (interface, _) in ring_places(config).interfaces {
        match ReceiveOffloads::switch_off(&interface) {
            Ok(offloads) => {
                let names: Vec<&str> = offloads.switched_off().collect();
                if !names.is_empty() {
                    info!("{interface}: switched off until the end: {}", names.join(", "));
                }
                offloads.warnings().iter().for_each(|warning| warn!("{interface}: {warning}"));
                switched.push(offloads);
            }
            Err(reason) => warn!("{interface}: offloads stay as they are: {reason}"),
        }
    }
    switched
}

/// Gives every AF_XDP port a queue for each worker, where the driver can.
pub fn raise_channels(config: &Config, workers: usize) {
    for (interface, port) in ring_places(config).interfaces {
        if config.ports[port].driver == Driver::AfPacket {
            continue;
        }
        let queues = rings::interface::find(&interface).map_or(0, |found| found.receive_queues as usize);
        if queues < workers
            && let Err(reason) = ethtool::raise_channels(&interface, workers as u32)
        {
            info!("{interface}: it keeps its {queues} queues: {reason}");
        }
    }
}

/// Opens the rings of every port and host leg for `workers` workers, gates shut.
pub fn open(config: &Config, workers: usize) -> Result<(Machine, Vec<WorkerPorts>), Error> {
    let places = ring_places(config);
    let steering = Steering::new(super::STEERED_ADDRESSES_MAX)?;
    let spec = |(interface, port): &(String, usize)| PortSpec {
        interface: interface.clone(),
        driver: match config.ports[*port].driver {
            Driver::Auto => rings::steering::Driver::Auto,
            Driver::AfXdp => rings::steering::Driver::AfXdp,
            Driver::AfPacket => rings::steering::Driver::AfPacket,
        },
        attach: Attach::Auto,
    };
    let specs: Vec<PortSpec> = places.interfaces.iter().map(spec).collect();
    let host_legs: Vec<HostLegSpec> = places.host_legs.iter().map(host_leg).collect::<Result<_, _>>()?;
    let opened = rings::open(&steering, &specs, &host_legs, workers, &RingLengths::default())?;
    for ((interface, _), gate) in places.interfaces.iter().zip(&opened.gates) {
        let facts = gate.facts();
        let reason = facts.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        info!("{interface}: {}, {}{reason}", facts.driver, facts.mode);
    }
    for leg in &places.host_legs {
        for held in &leg.addresses {
            rings::interface::add_address(&leg.name, held.address, held.prefix_length)?;
        }
        info!("{}: the host's leg, over {}", leg.name, leg.interfaces.join(", "));
    }
    let mut promiscuous = Vec::new();
    for ((interface, _), gate) in places.interfaces.iter().zip(&opened.gates) {
        take_what_ports_want(config, interface, gate)?;
        if is_bridged(config, interface) {
            promiscuous.push(PromiscuousMembership::join(interface)?);
        }
    }
    let ring_count = places.interfaces.len() + places.host_legs.len();
    let ring_of =
        |port: &config::Port| places.interfaces.iter().position(|(name, _)| *name == port.interface);
    let machine = Machine {
        steering,
        gates: opened.gates,
        losses: (0..workers)
            .map(|_| Arc::new((0..ring_count).map(|_| RingLosses::default()).collect()))
            .collect(),
        interfaces: places.interfaces.iter().map(|(name, _)| name.clone()).collect(),
        // Every port's interface has a ring.
        ring_of_port: config.ports.iter().map(|port| ring_of(port).unwrap_or_default()).collect(),
        groups: BTreeMap::new(),
        _promiscuous: promiscuous,
    };
    Ok((machine, opened.workers))
}

/// A host leg has the MAC address of its first interface, so that a NIC's filter lets its frames in, and carries what the
/// narrowest of them carries.
fn host_leg(place: &HostLegPlace) -> Result<HostLegSpec, Error> {
    let found: Vec<rings::interface::Interface> =
        place.interfaces.iter().map(|name| rings::interface::find(name)).collect::<Result<_, _>>()?;
    let mtu = found.iter().map(|interface| interface.mtu).min().unwrap_or_default();
    let mac = found.first().map(|interface| interface.mac).unwrap_or_default();
    Ok(HostLegSpec { name: place.name.clone(), mac, mtu: mtu.min(u32::from(MTU_BYTES_MAX)) })
}

/// Which frames of an interface come to the workers: everything where it belongs to a bridge, else those of its VLANs,
/// and those without a tag if a port has them.
fn take_what_ports_want(config: &Config, interface: &str, gate: &Gate) -> Result<(), Error> {
    if is_bridged(config, interface) {
        return gate.set_takes_all(true);
    }
    let ports = || config.ports.iter().filter(|port| port.interface == interface);
    let vlans: Vec<u16> = ports().filter_map(|port| port.vlan).collect();
    if !vlans.is_empty() {
        gate.set_vlans(&vlans)?;
        gate.set_untagged(ports().any(|port| port.vlan.is_none()))?;
    }
    Ok(())
}

fn is_bridged(config: &Config, interface: &str) -> bool {
    let mut ports = config.ports.iter().enumerate().filter(|(_, port)| port.interface == interface);
    ports.any(|(place, _)| bridge_of(config, place).is_some())
}

impl Machine {
    /// The gates of all ports.
    pub fn gates(&self) -> Vec<Arc<Gate>> {
        self.gates.clone()
    }

    /// Where each worker writes what its rings lost.
    pub fn losses_of_workers(&self) -> Vec<WorkerLosses> {
        self.losses.clone()
    }

    /// Listens to the solicited-node groups of the owned IPv6 addresses on every port, and tells routers and snooping
    /// switches so (RFC 4291 section 2.8, RFC 3810).
    fn join_groups(&mut self, owned: &[IpAddr]) {
        let groups = owned.iter().filter_map(|address| match address {
            IpAddr::V6(address) => Some(wire::nd::solicited_node(*address)),
            IpAddr::V4(_) => None,
        });
        let places = |group| (0..self.interfaces.len()).map(move |place| (place, group));
        let wanted: std::collections::BTreeSet<(usize, Ipv6Addr)> = groups.flat_map(places).collect();
        self.groups.retain(|place, _| wanted.contains(place));
        for (place, group) in wanted {
            if self.groups.contains_key(&(place, group)) {
                continue;
            }
            let interface = &self.interfaces[place];
            let joined = MulticastMembership::join(interface, Mac::of_ipv6_multicast(group).0)
                .and_then(|link| Ok((link, join_ipv6_group(interface, group)?)));
            match joined {
                Ok(memberships) => drop(self.groups.insert((place, group), memberships)),
                Err(reason) => warn!("{interface}: {group} was not joined: {reason}"),
            }
        }
    }
}

impl Rings for Machine {
    fn steer(&mut self, host: &[IpAddr], owned: &[IpAddr]) -> Result<(), String> {
        self.join_groups(owned);
        let host = host.iter().map(|&address| (address, Owner::Host));
        let owned = owned.iter().map(|&address| (address, Owner::Claimed));
        let addresses: Vec<(IpAddr, Owner)> = host.chain(owned).collect();
        self.steering.set_addresses(&addresses).map_err(|error| error.to_string())
    }

    fn set_mac(&mut self, port: u16, mac: Mac) -> Result<(), String> {
        let ring = self.ring_of_port.get(usize::from(port));
        match ring.and_then(|&ring| self.gates.get(ring)) {
            Some(gate) => gate.set_mac(mac.0).map_err(|error| error.to_string()),
            None => Err(format!("there is no port {port}")),
        }
    }

    fn ports(&self) -> Vec<RingFacts> {
        // Ports of one interface share its rings, and what they lose.
        let ports = self.ring_of_port.iter().filter_map(|&ring| {
            let facts = self.gates.get(ring)?.facts();
            let lost = |is_wanted: fn(&str) -> bool| -> u64 {
                let of_port = self.losses.iter().filter_map(|worker| worker.get(ring));
                of_port
                    .flat_map(RingLosses::named)
                    .filter(|(name, _)| is_wanted(name))
                    .map(|(_, lost)| lost)
                    .sum()
            };
            Some(RingFacts {
                driver: facts.driver.to_owned(),
                mode: facts.mode.to_owned(),
                reason: facts.reason,
                rx_dropped: lost(|name| name.starts_with("rx_") || name == "bad_descriptors"),
                tx_dropped: lost(|name| name.starts_with("tx_") || name.starts_with("transmit_")),
            })
        });
        ports.collect()
    }

    fn losses(&self) -> Vec<Loss> {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (name, lost) in self.losses.iter().flat_map(|worker| worker.iter()).flat_map(RingLosses::named) {
            // The engine counts what a ring refused to send, so that it is in one place.
            if name != "transmit_refused" {
                *sums.entry(name).or_default() += lost;
            }
        }
        let ring = sums.into_iter().map(|(name, packets)| Loss {
            reason: format!("ring-{}", name.replace('_', "-")),
            meaning: "counted by the rings, before a worker saw the frame or after it let go of it"
                .to_owned(),
            packets,
        });
        let steering: Vec<_> = self.gates.iter().filter_map(|gate| gate.counters().ok()).collect();
        let foreign: u64 = steering.iter().map(|counters| counters.foreign_mac).sum();
        let missing: u64 = steering.iter().map(|counters| counters.socket_missing).sum();
        let steered = [
            (
                "steering-foreign-mac",
                "its destination MAC is another host's; dropped before the rings",
                foreign,
            ),
            ("steering-socket-missing", "its queue had no socket; dropped before the rings", missing),
        ];
        let steered = steered.into_iter().map(|(reason, meaning, packets)| Loss {
            reason: reason.to_owned(),
            meaning: meaning.to_owned(),
            packets,
        });
        ring.chain(steered).collect()
    }

    fn vet(&self, config: &Config, facts: &Facts) -> Vec<Diagnostic> {
        machine::check(config, facts, machine::Strictness::Run)
    }
}
