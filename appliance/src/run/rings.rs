//! The rings, opened and held for the controller.

use crate::machine;
use config::{Config, Diagnostic, Driver};
use control::controller::{Loss, RingFacts, Rings};
use control::facts::Facts;
use metrics::Counter;
use rings::ethtool::{self, ReceiveOffloads};
use rings::interface::{GroupMembership, MulticastMembership, join_ipv6_group};
use rings::steering::{Attach, Gate, Owner, Steering};
use rings::{Error, PortSpec, PortStatistics, RingLengths, WorkerPorts};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use tracing::{info, warn};
use wire::Mac;

/// The longest IP packet that a ring carries.
pub const MTU_BYTES_MAX: u16 = (port::FRAME_BYTES_MAX - wire::ethernet::LENGTH) as u16;

/// What the rings of one worker lost, by port, in the order of [`PortStatistics::losses`]. The worker writes it.
pub type WorkerLosses = Arc<Vec<PortLosses>>;

/// What one worker's ring of one port lost: each way with its name.
#[derive(Debug, Default)]
pub struct PortLosses {
    counters: [Counter; 7],
    is_packet: Counter,
}

impl PortLosses {
    /// Copies what the ring counted.
    pub fn set(&self, statistics: &PortStatistics) {
        self.is_packet.set(u64::from(matches!(statistics, PortStatistics::Packet(_))));
        for (counter, (_, lost)) in self.counters.iter().zip(statistics.losses()) {
            counter.set(lost);
        }
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = if self.is_packet.get() == 1 {
            PortStatistics::Packet(Default::default()).losses()
        } else {
            PortStatistics::Xdp(Default::default()).losses()
        };
        self.counters.iter().zip(names).map(|(counter, (name, _))| (name, counter.get()))
    }
}

/// The open rings, as the controller and the end of the run need them.
pub struct Machine {
    steering: Steering,
    gates: Vec<Arc<Gate>>,
    losses: Vec<WorkerLosses>,
    interfaces: Vec<String>,
    groups: BTreeMap<(usize, Ipv6Addr), (MulticastMembership, GroupMembership)>,
}

/// Receive offloads that merge frames or strip tags, switched off until this is dropped.
pub fn switch_offloads_off(config: &Config) -> Vec<ReceiveOffloads> {
    let mut switched = Vec::new();
    for port in &config.ports {
        match ReceiveOffloads::switch_off(&port.interface) {
            Ok(offloads) => {
                let names: Vec<&str> = offloads.switched_off().collect();
                if !names.is_empty() {
                    info!("port {}: switched off until the end: {}", port.name, names.join(", "));
                }
                offloads.warnings().iter().for_each(|warning| warn!("port {}: {warning}", port.name));
                switched.push(offloads);
            }
            Err(reason) => warn!("port {}: offloads stay as they are: {reason}", port.name),
        }
    }
    switched
}

/// Gives every AF_XDP port a queue for each worker, where the driver can.
pub fn raise_channels(config: &Config, workers: usize) {
    for port in config.ports.iter().filter(|port| port.driver != Driver::AfPacket) {
        let queues = rings::interface::find(&port.interface).map_or(0, |found| found.receive_queues as usize);
        if queues < workers
            && let Err(reason) = ethtool::raise_channels(&port.interface, workers as u32)
        {
            info!("port {}: it keeps its {queues} queues: {reason}", port.name);
        }
    }
}

/// Opens the rings of every port for `workers` workers, gates shut.
pub fn open(config: &Config, workers: usize) -> Result<(Machine, Vec<WorkerPorts>), Error> {
    let steering = Steering::new(super::STEERED_ADDRESSES_MAX)?;
    let specs: Vec<PortSpec> = config
        .ports
        .iter()
        .map(|port| PortSpec {
            interface: port.interface.clone(),
            driver: match port.driver {
                Driver::Auto => rings::steering::Driver::Auto,
                Driver::AfXdp => rings::steering::Driver::AfXdp,
                Driver::AfPacket => rings::steering::Driver::AfPacket,
            },
            attach: Attach::Auto,
        })
        .collect();
    let opened = rings::open(&steering, &specs, &[], workers, &RingLengths::default())?;
    for (port, gate) in config.ports.iter().zip(&opened.gates) {
        let facts = gate.facts();
        let reason = facts.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        info!("port {}: {} on {}, {}{reason}", port.name, facts.driver, port.interface, facts.mode);
    }
    let ports_of_worker = || config.ports.iter().map(|_| PortLosses::default()).collect();
    let machine = Machine {
        steering,
        gates: opened.gates,
        losses: (0..workers).map(|_| Arc::new(ports_of_worker())).collect(),
        interfaces: config.ports.iter().map(|port| port.interface.clone()).collect(),
        groups: BTreeMap::new(),
    };
    Ok((machine, opened.workers))
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
        match self.gates.get(usize::from(port)) {
            Some(gate) => gate.set_mac(mac.0).map_err(|error| error.to_string()),
            None => Err(format!("there is no port {port}")),
        }
    }

    fn ports(&self) -> Vec<RingFacts> {
        let ports = self.gates.iter().enumerate().map(|(place, gate)| {
            let facts = gate.facts();
            let lost = |is_wanted: fn(&str) -> bool| -> u64 {
                let of_port = self.losses.iter().filter_map(|worker| worker.get(place));
                of_port
                    .flat_map(PortLosses::named)
                    .filter(|(name, _)| is_wanted(name))
                    .map(|(_, lost)| lost)
                    .sum()
            };
            RingFacts {
                driver: facts.driver.to_owned(),
                mode: facts.mode.to_owned(),
                reason: facts.reason,
                rx_dropped: lost(|name| name.starts_with("rx_") || name == "bad_descriptors"),
                tx_dropped: lost(|name| name.starts_with("tx_") || name.starts_with("transmit_")),
            }
        });
        ports.collect()
    }

    fn losses(&self) -> Vec<Loss> {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (name, lost) in self.losses.iter().flat_map(|worker| worker.iter()).flat_map(PortLosses::named) {
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
