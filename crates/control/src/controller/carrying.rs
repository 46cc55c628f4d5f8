//! Packets of health checks on their way to the worker that carries them to a server.
//!
//! A packet whose next hop has no MAC address yet waits here for a moment, as the kernel's own would; the worker would
//! have to drop it. So does one for which the worker has no room just now.

use super::reverse_path::Filter;
use super::{Controller, Rings};
use crate::check::{Carriage, Carrier, Parcel};
use crate::compile::legs_by_interface;
use crate::facts::{Facts, NeighbourKey, Resolution};
use crate::members::{Members, ServerKey};
use config::{Config, Encapsulation, Mode, Protocol, Server, Service};
use engine::{Bearer, Carry, Orders};
use hashbrown::HashMap;
use rewrite::MemberId;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tracing::warn;

/// Packets that wait at the most: one for each of as many servers as may be new at once, or twice what checks of
/// thousands of servers send while a worker is held up for a quarter of a second.
const WAITING_MAX: usize = 4_096;

/// When a worker that had no room is tried again.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(1);

/// How long one waits: whoever made it makes it again then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the packets of checks go.
#[derive(Debug, Default)]
pub(super) struct Carriers {
    by_target: HashMap<(IpAddr, Carriage), Destination>,
    waiting: VecDeque<(Instant, Parcel)>,
    /// When there may be room again.
    room_at: Option<Instant>,
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
                let key = ServerKey::of(service, server);
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

    /// Hands over what waits, and what is fresh, as far as that can be done now.
    fn hand_over(
        &mut self,
        now: Instant,
        fresh: impl Iterator<Item = Parcel>,
        (orders, facts): (&Orders, &Facts),
    ) -> Handed {
        let Self { by_target, waiting, room_at, lost } = self;
        let mut handed = Handed::default();
        *room_at = None;
        let waited = waiting.len();
        waiting.extend(fresh.map(|parcel| (now, parcel)));
        for place in 0..waiting.len() {
            let Some((since, parcel)) = waiting.pop_front() else { break };
            // Its service may have gone with the last reload.
            let Some(destination) = by_target.get(&(parcel.vip, parcel.carriage)) else { continue };
            let is_reachable = destination.is_reachable(facts);
            handed.ways.push((parcel.carriage, is_reachable));
            if is_reachable && room_at.is_none() {
                let bearer = Bearer::Server { service: destination.service, place: destination.place };
                let Some(carry) = Carry::new(destination.member, bearer, &parcel.packet) else {
                    *lost += 1;
                    continue;
                };
                if orders.carries.push(carry).is_ok() {
                    handed.any = true;
                    continue;
                }
                *room_at = Some(now + NO_ROOM_PAUSE);
            } else if !is_reachable && place >= waited {
                handed.unknown.extend_from_slice(&destination.next_hops);
            }
            // Whoever misses the answer says it again.
            if now.saturating_duration_since(since) < PATIENCE && waiting.len() < WAITING_MAX {
                waiting.push_back((since, parcel));
            } else {
                *lost += 1;
            }
        }
        handed
    }

    /// When [`Controller::carry`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.room_at
    }

    /// Packets that no worker took.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

/// What came of handing packets over.
#[derive(Debug, Default)]
struct Handed {
    /// The worker has something to do.
    any: bool,
    /// Whether the way to a server is known, for each packet.
    ways: Vec<(Carriage, bool)>,
    /// Next hops of fresh packets whose MAC address is not known.
    unknown: Vec<NeighbourKey>,
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
        let Some(worker) = workers.first() else { return };
        let handed = carriers.hand_over(now, checks.parcels(), (&worker.orders, facts));
        handed.ways.into_iter().for_each(|(carriage, is_open)| checks.note_way(carriage, is_open));
        handed.unknown.into_iter().for_each(|key| resolver.recheck(now, key, facts));
        if handed.any {
            (worker.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Neighbour, NeighbourState};

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 1, 10));
    const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 1, 11));
    const CARRIAGE: Carriage = Carriage { server: SERVER, by: Carrier::Mac };

    fn carriers() -> Carriers {
        let mut carriers = Carriers::default();
        let destination = Destination {
            service: (wire::protocol::TCP, 80),
            member: MemberId::default(),
            place: 0,
            next_hops: vec![(1, SERVER)],
        };
        carriers.by_target.insert((VIP, CARRIAGE), destination);
        carriers
    }

    fn known(is_known: bool) -> Facts {
        let mut facts = Facts::default();
        let neighbour = Neighbour { mac: Some([2; 6]), state: NeighbourState::Reachable, router: false };
        facts.neighbours.extend(is_known.then_some(((1, SERVER), neighbour)));
        facts
    }

    fn parcels(range: std::ops::Range<u16>) -> impl Iterator<Item = Parcel> {
        range.map(|number| Parcel { vip: VIP, carriage: CARRIAGE, packet: number.to_be_bytes().to_vec() })
    }

    fn taken(orders: &Orders) -> Vec<u16> {
        let packets = std::iter::from_fn(|| orders.carries.pop());
        packets.map(|carry| u16::from_be_bytes(carry.packet().try_into().unwrap())).collect()
    }

    #[test]
    fn a_worker_without_room_gets_every_packet_later_and_in_order() {
        let (mut carriers, orders, facts) = (carriers(), engine::orders(), known(true));
        let now = Instant::now();
        let room = orders.carries.capacity() as u16;
        assert!(carriers.hand_over(now, parcels(0..2 * room + 9), (&orders, &facts)).any);
        assert_eq!(carriers.next_deadline(), Some(now + NO_ROOM_PAUSE));
        let mut all = taken(&orders);
        assert_eq!(all.len(), usize::from(room));
        // What comes meanwhile goes behind.
        carriers.hand_over(now, parcels(2 * room + 9..2 * room + 10), (&orders, &facts));
        all.extend(taken(&orders));
        carriers.hand_over(now, parcels(0..0), (&orders, &facts));
        all.extend(taken(&orders));
        assert_eq!(all, (0..2 * room + 10).collect::<Vec<_>>());
        assert_eq!((carriers.next_deadline(), carriers.lost()), (None, 0));
        assert!(
            !carriers.hand_over(now, parcels(0..0), (&orders, &facts)).any,
            "nobody is woken for nothing"
        );
    }

    #[test]
    fn a_packet_waits_for_its_next_hop_and_not_for_ever() {
        let (mut carriers, orders) = (carriers(), engine::orders());
        let now = Instant::now();
        let handed = carriers.hand_over(now, parcels(0..1), (&orders, &known(false)));
        assert_eq!((handed.any, handed.ways), (false, vec![(CARRIAGE, false)]));
        assert_eq!(handed.unknown, [(1, SERVER)], "it is asked for");
        let again = carriers.hand_over(now, parcels(0..0), (&orders, &known(false)));
        assert!(again.unknown.is_empty(), "once a packet");
        let handed = carriers.hand_over(now, parcels(0..0), (&orders, &known(true)));
        assert_eq!((handed.any, handed.ways), (true, vec![(CARRIAGE, true)]));
        assert_eq!(taken(&orders), [0]);
        carriers.hand_over(now, parcels(1..2), (&orders, &known(false)));
        carriers.hand_over(now + PATIENCE, parcels(0..0), (&orders, &known(false)));
        assert_eq!(carriers.lost(), 1);
        carriers.hand_over(now + PATIENCE, parcels(0..0), (&orders, &known(true)));
        assert!(taken(&orders).is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_what_has_nowhere_to_go_is_gone() {
        let (mut carriers, orders) = (carriers(), engine::orders());
        let now = Instant::now();
        carriers.hand_over(now, parcels(0..WAITING_MAX as u16 + 7), (&orders, &known(false)));
        assert_eq!((carriers.waiting.len(), carriers.lost()), (WAITING_MAX, 7));
        carriers.by_target.clear();
        carriers.hand_over(now, parcels(0..0), (&orders, &known(true)));
        assert_eq!((carriers.waiting.len(), taken(&orders).len()), (0, 0));
    }
}
