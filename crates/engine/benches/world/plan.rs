//! The plans that the worker works by.

use super::talk::{BEYOND, BRIDGE_MAC, GATEWAY, PORT_MACS, Passage, VIP_V4, VIP_V6, server_v4, server_v6};
use super::{INSIDE, OUTSIDE, hasher};
use engine::Shared;
use flow::{Family, V4, V6, Zone};
use plan::{
    Attachment, Cursor, FamilyPlan, FirewallGroup, FirewallHash, FirewallMember, Firewalls,
    GroupWithNetworks, HashFields, Hop, Link, LinksByNextHop, MemberRow, MemberState, Mode, MssClamp,
    OwnedAddresses, Persistence, Plan, PortPlan, PortRange, PreferenceRows, RingPlan, Route,
    RouteTableBuilder, RowMember, Scheduler, Service, ServiceMember, SourceNat, SourceNatPool, Timeouts,
    Wheel,
};
use rewrite::{LinkIndex, MemberId};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use wire::{Mac, protocol};

const CLIENT_GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLIENT_GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const FIREWALLS: u16 = 3;
/// The bridge's port index, where there is one.
const BRIDGE: u16 = 2;
/// What a bridge has learnt stays for as long as a bench runs.
const FOREVER_NS: u64 = 24 * 3_600_000_000_000;
const HOUR_MS: u64 = 3_600_000;
/// Addresses of the pool for source NAT: 198.18.3.0 and following.
const POOL_ADDRESSES: u8 = 8;

/// How a service balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancing {
    RoundRobin,
    Weighted,
    LeastConnections,
    WeightedLeast,
    Hash,
    ResponseTime,
    Bandwidth,
}

impl Balancing {
    pub const ALL: [(&'static str, Self); 7] = [
        ("round-robin", Self::RoundRobin),
        ("weighted", Self::Weighted),
        ("least-connections", Self::LeastConnections),
        ("weighted-least", Self::WeightedLeast),
        ("hash", Self::Hash),
        ("response-time", Self::ResponseTime),
        ("bandwidth", Self::Bandwidth),
    ];

    fn scheduler(self, servers: u16) -> Scheduler {
        match self {
            Self::RoundRobin => Scheduler::RoundRobin,
            Self::Weighted => Scheduler::WeightedRoundRobin,
            Self::LeastConnections => Scheduler::LeastConnections,
            Self::WeightedLeast => Scheduler::WeightedLeastConnections,
            Self::Hash => {
                let member = |index: u16| RowMember {
                    identity: index.to_be_bytes().to_vec(),
                    weight: weight(index),
                    is_backup: false,
                };
                let members: Vec<RowMember> = (0..servers).map(member).collect();
                let rows = PreferenceRows::build(&members, &vec![true; members.len()], &hasher());
                Scheduler::Hash { fields: HashFields::FLOW, rows, rows_without_warming: None }
            }
            Self::ResponseTime => Scheduler::ResponseTime,
            Self::Bandwidth => Scheduler::Bandwidth,
        }
    }
}

fn weight(index: u16) -> u32 {
    1 + u32::from(index % 3)
}

/// What differs between the plans.
#[derive(Clone, Copy, Debug)]
pub struct PlanSpec {
    pub generation: u64,
    pub route_epoch: u16,
    pub reset_epoch: u64,
    pub servers: u16,
    /// Of the servers, the first so many are dead.
    pub dead: u16,
    pub balancing: Balancing,
    pub passage: Passage,
    /// Whether servers see an address of a pool.
    pub is_translated: bool,
    /// Whether clients come back to their servers.
    pub is_persistent: bool,
    /// Idle time of sessions that have seen no answer.
    pub transitory_ms: u64,
    /// Idle time of all others.
    pub established_ms: u64,
}

impl Default for PlanSpec {
    fn default() -> Self {
        Self {
            generation: 1,
            route_epoch: 1,
            reset_epoch: 0,
            servers: 8,
            dead: 0,
            balancing: Balancing::RoundRobin,
            passage: Passage::Routed,
            is_translated: false,
            is_persistent: false,
            transitory_ms: HOUR_MS,
            established_ms: 2 * HOUR_MS,
        }
    }
}

impl PlanSpec {
    /// Rows of all members: the servers of both families, and the firewalls.
    pub fn members(&self) -> u16 {
        2 * self.servers + FIREWALLS
    }

    /// Link rows: two gateways, the servers of both families, and some.
    pub fn links(&self) -> usize {
        4 * usize::from(self.servers) + 64
    }

    /// The plan; links and what schedulers go by are written to `shared`.
    pub fn plan(&self, shared: &Shared) -> Plan {
        let port = |index: usize| PortPlan {
            name: format!("port{index}"),
            mac: PORT_MACS[index],
            mtu_bytes: 1_500,
            zone: Zone(0),
            address_v4: None,
            address_v6: None,
            attachment: Attachment::Ring { ring: index as u16, vlan: 0 },
            host_ring: None,
            bridge: (self.passage == Passage::Bridge).then_some(BRIDGE),
        };
        let bridge = PortPlan {
            name: "bridge".to_owned(),
            mac: BRIDGE_MAC,
            attachment: Attachment::Bridge {
                number: 0,
                members: Box::new([OUTSIDE.0, INSIDE.0]),
                ageing_ns: FOREVER_NS,
            },
            bridge: None,
            ..port(0)
        };
        let ports = [port(0), port(1)].into_iter().chain((self.passage == Passage::Bridge).then_some(bridge));
        for row in 0..2 * self.servers {
            let id = MemberId { index: row, generation: 1 };
            shared.loads.note_response(id, 1_000_000 + u64::from(row) * 10_000);
            let before = shared.loads.rate_bytes_per_s(id);
            shared.loads.set_rate(id, before, 1_000_000 + u64::from(row), 1_000);
        }
        Plan {
            generation: self.generation,
            route_epoch: self.route_epoch,
            reset_epoch: self.reset_epoch,
            ports: Arc::new(ports.collect()),
            rings: Arc::new([RingPlan::of(0), RingPlan::of(1)]),
            timeouts: Timeouts {
                tcp_established_ms: self.established_ms,
                tcp_transitory_ms: self.transitory_ms,
                tcp_closing_ms: self.established_ms.min(60_000),
                udp_ms: self.established_ms,
                icmp_ms: self.established_ms.min(60_000),
            },
            v4: FamilyPlan {
                firewalls: Arc::new(self.firewalls()),
                ..self.family::<V4>(shared, VIP_V4, CLIENT_GATEWAY_V4, server_v4, 0, pool_v4())
            },
            v6: self.family::<V6>(shared, VIP_V6, CLIENT_GATEWAY_V6, server_v6, self.servers, pool_v6()),
            members: (0..self.members()).map(|row| self.member_row(row)).collect(),
        }
    }

    fn member_row(&self, row: u16) -> MemberRow {
        let firewall = row.checked_sub(2 * self.servers);
        MemberRow {
            generation: 1,
            state: if row % self.servers < self.dead && firewall.is_none() {
                MemberState::Dead
            } else {
                MemberState::Up
            },
            mss_clamp: MssClamp::Auto,
            link: firewall.map_or(LinkIndex::UNRESOLVED, |place| LinkIndex(2 + place)),
        }
    }

    /// A group of firewalls at the first servers' addresses.
    fn firewalls(&self) -> Firewalls<V4> {
        let name = |place: u16| format!("fw{place}");
        let row_member =
            |place| RowMember { identity: name(place).into_bytes(), weight: 1, is_backup: false };
        let row_members: Vec<RowMember> = (0..FIREWALLS).map(row_member).collect();
        let member = |place: u16| FirewallMember {
            name: name(place),
            id: MemberId { index: 2 * self.servers + place, generation: 1 },
            address: server_v4(place),
            state: MemberState::Up,
            sessions_max: u64::MAX,
            sessions_per_s_max: u32::MAX,
        };
        let group = FirewallGroup {
            name: "fw".to_owned(),
            zone: Zone(0),
            hash: FirewallHash::AddressPair,
            returns: false,
            members: (0..FIREWALLS).map(member).collect(),
            rows: PreferenceRows::build(&row_members, &[true; FIREWALLS as usize], &hasher()),
        };
        let networks = vec![(BEYOND, 24)];
        Firewalls::new(vec![GroupWithNetworks { group, networks, translated: Vec::new() }])
    }

    /// One family's part of the plan; its members and links are numbered from `base` on.
    fn family<F: Family>(
        &self,
        shared: &Shared,
        vip: F::Address,
        gateway: F::Address,
        server: fn(u16) -> F::Address,
        base: u16,
        pool: Box<[F::Address]>,
    ) -> FamilyPlan<F> {
        let link = |place: u16| LinkIndex(1 + base * 2 + place);
        let [outside, inside] = match self.passage {
            Passage::Bridge => [BRIDGE; 2],
            Passage::Routed | Passage::Direct => [OUTSIDE.0, INSIDE.0],
        };
        shared.links.set(link(0), Some(Link { port: outside, mac: GATEWAY }));
        let mut links = LinksByNextHop::<F>::from_iter([((outside, gateway), link(0))]);
        for index in 0..self.servers {
            let mac = Mac([2, 0, 0, 0, 3, index as u8]);
            shared.links.set(link(1 + index), Some(Link { port: inside, mac }));
            links.insert((inside, server(index)), link(1 + index));
        }
        let mut routes = RouteTableBuilder::new(Arc::new(links));
        let route = |port, gateway| Route::Forward(Box::new([Hop { port, gateway }]));
        routes.add(F::unspecified(), 0, route(outside, Some(gateway)));
        for index in 0..self.servers {
            routes.add(server(index), 128, route(inside, None));
        }
        let mut owned = OwnedAddresses::default();
        for (protocol, port) in [(protocol::TCP, 80), (protocol::UDP, 53)] {
            owned.listen(Arc::new(self.service(vip, (protocol, port), server, base, &pool)));
        }
        FamilyPlan { owned, routes: Arc::new(routes.build()), ..FamilyPlan::default() }
    }

    fn service<F: Family>(
        &self,
        vip: F::Address,
        (protocol, port): (u8, u16),
        server: fn(u16) -> F::Address,
        base: u16,
        pool: &[F::Address],
    ) -> Service<F> {
        let scheduler = self.balancing.scheduler(self.servers);
        let share = |index: u16| if scheduler.has_weights() { weight(index) } else { 1 };
        let state = |index: u16| if index < self.dead { MemberState::Dead } else { MemberState::Up };
        let member = |index| ServiceMember {
            id: MemberId { index: base + index, generation: 1 },
            address: server(index),
            port: None,
            state: state(index),
            weight: share(index),
            sessions_max: u64::MAX,
            warming: None,
            dscp: 0,
        };
        Service {
            name: format!("service-{port}"),
            address: vip,
            protocol: Some(protocol),
            ports: PortRange { first: port, last: port },
            announce: true,
            members: (0..self.servers).map(member).collect(),
            available: (self.dead..self.servers).collect(),
            cursor: Cursor::default(),
            persistence: self.is_persistent.then_some(Persistence {
                identity: u64::from(port),
                prefix_length: 32,
                timeout_ms: 60_000,
            }),
            positions: (0..self.servers).map(|at| (member(at).id, at)).collect(),
            wheel: Wheel::new((self.dead..self.servers).map(share)),
            scheduler: scheduler.clone(),
            mode: match self.passage {
                Passage::Routed => Mode::Routed,
                Passage::Bridge => Mode::Transparent,
                Passage::Direct => Mode::L2Direct,
            },
            source_nat: match self.is_translated {
                true => SourceNat::Always(SourceNatPool { addresses: pool.into() }),
                false => SourceNat::Never,
            },
            rows: None,
        }
    }
}

fn pool_v4() -> Box<[Ipv4Addr]> {
    (0..POOL_ADDRESSES).map(|last| Ipv4Addr::new(198, 18, 3, last)).collect()
}

fn pool_v6() -> Box<[Ipv6Addr]> {
    (0..POOL_ADDRESSES).map(|last| Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, u16::from(last))).collect()
}
