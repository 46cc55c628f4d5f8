//! From what changed to what workers see: links, plan, steering, announcements, in the order that loses nothing.

use super::world::Rings;
use super::{Controller, next_hops};
use crate::announce::{Place, Speaker, asker};
use crate::compile::{
    Epochs, Inputs, compile, host_addresses, legs_by_interface, other_firewalls, owned_addresses,
};
use crate::facts::Prefix;
use crate::netlink::Changes;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;
use tracing::{error, info, warn};
use wire::Mac;

/// What has changed since the last plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dirty {
    /// Configuration, or the state of a server.
    pub members: bool,
    /// Links, addresses or routes of the kernel.
    pub routes: bool,
    /// Neighbours of the kernel.
    pub neighbours: bool,
    /// Which addresses are whose.
    pub addresses: bool,
}

impl Dirty {
    pub fn all() -> Self {
        Self { members: true, routes: true, neighbours: true, addresses: true }
    }

    pub fn add(&mut self, changes: Changes) {
        self.routes |= changes.links || changes.addresses || changes.routes;
        self.neighbours |= changes.neighbours || changes.links;
        self.addresses |= changes.addresses || changes.links || changes.routes;
    }
}

impl<R: Rings> Controller<R> {
    /// Brings everything up to date that depends on what is dirty.
    pub(super) fn bring_up_to_date(&mut self, now: Instant) {
        let dirty = std::mem::take(&mut self.dirty);
        if dirty == Dirty::default() {
            return;
        }
        if dirty.addresses {
            // First the frames, then the plan: an address that is claimed before anyone serves it loses a frame, one that
            // is served while the kernel still answers for it loses the connection.
            self.steer();
        }
        if dirty.members {
            self.tell_fingerprints();
        }
        if dirty.routes || dirty.members {
            self.kept = next_hops::kept(&self.config, &self.facts, &self.members);
            self.resolver.keep(now, self.kept.iter().copied(), &self.facts);
            self.carriers.find_ways(&self.config, &self.facts);
        }
        let wanted = next_hops::links(&self.config, &self.facts, &self.kept);
        let changes = self.links.update(&self.shared.links, &wanted);
        if dirty.routes || changes.removed {
            self.epochs.route_epoch = self.epochs.route_epoch.wrapping_add(1);
        }
        if dirty.members || dirty.routes || changes.added || changes.removed {
            self.publish(now);
        }
        if dirty.addresses || dirty.members {
            self.announcer.set(now, &self.places_to_announce());
        }
    }

    fn publish(&mut self, now: Instant) {
        self.epochs.generation += 1;
        let inputs = Inputs {
            config: &self.config,
            members: &self.members,
            links: &self.links,
            facts: &self.facts,
            mtu_bytes_max: self.mtu_bytes_max,
            hasher: self.shared.hasher,
            now_ns: self.clock.elapsed().as_nanos() as u64,
        };
        let mut plan = compile(&inputs, self.epochs, &mut self.services);
        let other_firewalls = other_firewalls(self.publisher.current(), &plan);
        if other_firewalls {
            self.epochs.route_epoch = self.epochs.route_epoch.wrapping_add(1);
            plan.route_epoch = self.epochs.route_epoch;
        }
        self.totals.note(&self.workers, &self.shared.loads, self.members.all().map(|(_, member)| member.id));
        self.publisher.publish(plan);
        self.wake_workers();
        if other_firewalls {
            self.watch_firewalls(now);
        }
    }

    pub(super) fn wake_workers(&self) {
        self.workers.iter().for_each(|worker| (worker.wake)());
    }

    fn steer(&mut self) {
        let owned: Vec<IpAddr> = owned_addresses(&self.config).into_iter().collect();
        for address in owned.iter().filter(|&&address| self.facts.holds(address)) {
            error!(
                "{address} is owned by the appliance and must not be configured in the kernel; remove it there"
            );
        }
        let host: Vec<IpAddr> = host_addresses(&self.facts).collect();
        if let Err(reason) = self.rings.steer(&host, &owned) {
            error!("steering addresses: {reason}");
        }
        for (place, port) in self.config.ports.iter().enumerate() {
            let Some(interface) = self.facts.interface_named(&port.interface) else { continue };
            let mac = Mac(interface.mac);
            let known = self.publisher.current().ports.get(place).map(|port| port.mac);
            if known != Some(mac)
                && let Err(reason) = self.rings.set_mac(place as u16, mac)
            {
                warn!("port {}: {reason}", port.name);
            }
        }
    }

    /// Each announced address on every port whose networks hold it and whose link is up.
    fn places_to_announce(&self) -> BTreeMap<Place, Speaker> {
        let ports = legs_by_interface(&self.config, &self.facts);
        let mut places = BTreeMap::new();
        let silent = |address: &IpAddr| {
            let mut users =
                self.config.services.iter().filter(|service| service.address == *address).peekable();
            users.peek().is_some() && users.all(|service| !service.announce)
        };
        let owned = owned_addresses(&self.config);
        for address in owned.iter().filter(|address| !silent(address)) {
            for held in &self.facts.addresses {
                let Some(&port) = ports.get(&held.interface) else { continue };
                let Some(interface) = self.facts.interfaces.get(&held.interface) else { continue };
                if interface.carries() && Prefix::new(held.address, held.prefix_length).contains(*address) {
                    let own = asker(&self.facts, held.interface, *address, &owned);
                    places.insert((port, *address), Speaker { mac: Mac(interface.mac), own });
                }
            }
        }
        places
    }

    /// Sends what is to be announced and asked for now, through the first worker: every worker has every port.
    pub(super) fn announce(&mut self, now: Instant) {
        let frames = self.announcer.due(now);
        if frames.is_empty() {
            return;
        }
        let Some(worker) = self.workers.first() else { return };
        for (port, frame) in frames {
            // A full queue loses one of several announcements, or a question that comes again.
            if let Some(order) = engine::Order::new(port, &frame) {
                let _lost = worker.orders.frames.push(order);
            }
        }
        (worker.wake)();
    }

    /// Gives up the rows of removed servers whose last session has ended.
    pub(super) fn release_members(&mut self) {
        let Self { members, totals, workers, dirty, shared, .. } = self;
        if members.release_empty(|member| totals.of(workers, &shared.loads, member).sessions_held()) {
            info!("a removed server has no session left");
            dirty.members = true;
        }
    }

    pub(super) fn epochs_at_start() -> Epochs {
        Epochs { generation: 0, route_epoch: 1 }
    }
}
