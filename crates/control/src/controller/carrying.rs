//! Packets of health checks on their way to the worker that carries them to a server.
//!
//! A packet whose next hop has no MAC address yet waits here for a moment, as the kernel's own would; the worker would
//! have to drop it.

use super::reverse_path::Filter;
use super::{Controller, Rings};
use crate::check::{Carriage, Carrier, Parcel};
use crate::compile::legs_by_interface;
use crate::facts::{Facts, NeighbourKey, Resolution};
use crate::members::{Members, ServerKey};
use config::{Config, Encapsulation, Mode, Protocol, Server, Service};
use engine::Carry;
use hashbrown::HashMap;
use rewrite::MemberId;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tracing::warn;

/// Packets that wait for their next hop at the most. With it, every server of a few hundred can be new at once.
const WAITING_MAX: usize = 512;

/// How long one waits: whoever made it makes it again then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the packets of checks go.
#[derive(Debug, Default)]
pub(super) struct Carriers {
    by_target: HashMap<(IpAddr, Carriage), Destination>,
    waiting: VecDeque<(Instant, Parcel)>,
    lost: u64,
}

/// A server as workers know it.
#[derive(Debug)]
struct Destination {
    service: (u8, u16),
    member: MemberId,
    place: u16,
    /// Next hops on its way; any of them may be taken.
    next_hops: Vec<NeighbourKey>,
}

/// How requests get to a server that answers directly; `None` for one that does not.
pub(super) fn carriage(service: &Service, server: &Server) -> Option<Carriage> {
    let source = service.encapsulation_source;
    let by = match (service.mode, service.encapsulation) {
        (Mode::Transparent | Mode::Routed, _) | (Mode::L3Dsr, None) => return None,
        (Mode::L2Dsr, _) => Carrier::Mac,
        (Mode::L3Dsr, Some(Encapsulation::Ipip)) => Carrier::IpInIp(source?),
        (Mode::L3Dsr, Some(Encapsulation::Gue)) => Carrier::Gue(source?, service.gue_port),
        (Mode::L3Dsr, Some(Encapsulation::Dscp)) => Carrier::Dscp(server.dscp?),
    };
    Some(Carriage { server: server.address, by })
}

impl Carriers {
    /// Takes over the servers of a configuration.
    pub(super) fn configure(&mut self, config: &Config, members: &Members) {
        self.by_target.clear();
        for service in config.services.iter().filter(|service| service.health_check.is_some()) {
            let protocol = match service.protocol {
                Protocol::Udp => wire::protocol::UDP,
                Protocol::Tcp | Protocol::Any => wire::protocol::TCP,
            };
            for (place, server) in service.servers.iter().enumerate() {
                let key =
                    ServerKey { service: service.name.clone(), address: server.address, port: server.port };
                let (Some(carriage), Some(member)) = (carriage(service, server), members.get(&key)) else {
                    continue;
                };
                let destination = Destination {
                    service: (protocol, service.ports.bounds().0),
                    member: member.id,
                    // A service has no more servers than there are member rows.
                    place: place as u16,
                    next_hops: Vec::new(),
                };
                self.by_target.insert((service.address, carriage), destination);
            }
        }
    }

    /// Looks the ways to all servers up anew.
    pub(super) fn find_ways(&mut self, config: &Config, facts: &Facts) {
        let ports = legs_by_interface(config, facts);
        for ((_, carriage), destination) in &mut self.by_target {
            let hops = match facts.resolve(carriage.server) {
                Resolution::Forward(hops) => hops,
                _ => Vec::new(),
            };
            // A MAC address leads no further than its link.
            let leads = |address: IpAddr| carriage.by != Carrier::Mac || address == carriage.server;
            let hops = hops.iter().filter(|hop| ports.contains_key(&hop.interface) && leads(hop.address));
            destination.next_hops = hops.map(|hop| (hop.interface, hop.address)).collect();
        }
    }

    /// Says where the kernel is set to drop the answers.
    pub(super) fn warn_of_filters(&self, facts: &Facts) {
        let ways = self.by_target.iter().flat_map(|((vip, _), destination)| {
            destination.next_hops.iter().map(move |(interface, _)| (*interface, *vip))
        });
        for (interface, vip) in ways.collect::<BTreeSet<_>>() {
            let Some(name) = facts.interfaces.get(&interface).map(|interface| &interface.name) else {
                continue;
            };
            if Filter::of(name).drops(facts, vip, interface) {
                warn!(
                    "the kernel drops what servers answer to health checks of {vip} by {name}: its own route to \
                     {vip} leads elsewhere, and it filters by reverse path (sysctl net.ipv4.conf.{name}.rp_filter \
                     and net.ipv4.conf.all.rp_filter: the greater counts; 2 is enough where a route leads to {vip}, \
                     else 0)"
                );
            }
        }
    }

    /// Packets that no worker took.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

impl Destination {
    fn is_reachable(&self, facts: &Facts) -> bool {
        self.next_hops.iter().any(|&(interface, address)| facts.mac_of(interface, address).is_some())
    }
}

impl<R: Rings> Controller<R> {
    /// Hands over what checks want carried to the first worker: every worker has every port.
    pub(super) fn carry(&mut self, now: Instant) {
        let Self { checks, carriers, workers, resolver, facts, .. } = self;
        let Carriers { by_target, waiting, lost } = carriers;
        let Some(worker) = workers.first() else { return };
        let mut any = false;
        let fresh: Vec<Parcel> = checks.parcels().collect();
        let old = waiting.drain(..).filter(|(since, _)| now.saturating_duration_since(*since) < PATIENCE);
        let parcels: Vec<(Option<Instant>, Parcel)> = old
            .map(|(since, parcel)| (Some(since), parcel))
            .chain(fresh.into_iter().map(|parcel| (None, parcel)))
            .collect();
        for (since, parcel) in parcels {
            // Its service may have gone with the last reload.
            let Some(destination) = by_target.get(&(parcel.vip, parcel.carriage)) else { continue };
            let is_reachable = destination.is_reachable(facts);
            checks.note_way(parcel.carriage, is_reachable);
            if !is_reachable {
                if since.is_none() {
                    destination.next_hops.iter().for_each(|&key| resolver.recheck(now, key, facts));
                }
                if waiting.len() < WAITING_MAX {
                    waiting.push_back((since.unwrap_or(now), parcel));
                } else {
                    *lost += 1;
                }
                continue;
            }
            let member = (destination.member, destination.place);
            let carry = Carry::new(destination.service, member, &parcel.packet);
            let is_taken = carry.is_some_and(|carry| worker.orders.carries.push(carry).is_ok());
            // Whoever misses the answer says it again.
            *lost += u64::from(!is_taken);
            any |= is_taken;
        }
        if any {
            (worker.wake)();
        }
    }
}
