//! A worker between memory ports: one outside, towards clients, one inside, towards eight servers.
//!
//! ```text
//!   clients 198.19.0.0/16 ── gateway ── port 0 │ worker │ port 1 ── servers 198.18.1.1 to .8
//!   2001:db8:1::/48            VIP 198.18.0.10, 2001:db8::10: TCP 80, UDP 53           2001:db8:2::1 to ::8
//! ```
//!
//! The first three servers stand for firewalls too, before 198.18.2.0/24.

pub mod calibration;

use engine::{Parts, Shared, Turn, Worker, WorkerCounters, orders};
use flow::{Family, FlowHasher, FlowKey, KeyV4, Network, V4, V6, Zone, parse};
use plan::{
    Attachment, Cursor, FamilyPlan, FirewallGroup, FirewallHash, FirewallMember, Firewalls,
    GroupWithNetworks, Hop, Link, LinksByNextHop, MemberRow, MemberState, Mode, MssClamp, OwnedAddresses,
    Plan, PortPlan, PortRange, PreferenceRows, Publisher, RingPlan, Route, RouteTableBuilder, RowMember,
    Scheduler, Service, ServiceMember, SourceNat, Timeouts, Wheel,
};
use port::memory::MemoryPorts;
use port::{BURST_FRAMES_MAX, PortIndex};
use rewrite::{LinkIndex, MemberId};
use session::Lookup;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::tcp::TcpFlags;
use wire::{Mac, build, protocol};

pub const OUTSIDE: PortIndex = PortIndex(0);
pub const INSIDE: PortIndex = PortIndex(1);

const PORT_MACS: [Mac; 2] = [Mac([2, 0, 0, 0, 1, 0]), Mac([2, 0, 0, 0, 1, 1])];
const GATEWAY: Mac = Mac([2, 0, 0, 0, 2, 0]);
const CLIENT_GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLIENT_GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const VIP_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);
const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const SERVERS: u16 = 8;
const FIREWALLS: u16 = 3;
/// Rows of all members: the servers of both families, and the firewalls.
const MEMBERS: u16 = 2 * SERVERS + FIREWALLS;
/// A host beyond the firewalls.
const BEYOND: Ipv4Addr = Ipv4Addr::new(198, 18, 2, 10);
const BUFFERS: usize = 4 * BURST_FRAMES_MAX;
/// What `session_capacity` is unless a user says otherwise.
pub const CAPACITY_SESSIONS: usize = 1_000_000;
const SEQUENCE: u32 = 1_000;

/// What the clients talk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    TcpV4,
    TcpV6,
    UdpV4,
    /// TCP with a host beyond firewalls.
    CrossingV4,
}

impl Talk {
    fn client(self, number: usize) -> SocketAddr {
        let (host, port) = ((number & 0xffff) as u16, 1_024 + (number >> 16) as u16);
        let [high, low] = host.to_be_bytes();
        match self {
            Talk::TcpV6 => (Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, host), port).into(),
            Talk::TcpV4 | Talk::UdpV4 | Talk::CrossingV4 => (Ipv4Addr::new(198, 19, high, low), port).into(),
        }
    }

    fn service(self) -> SocketAddr {
        match self {
            Talk::TcpV4 => (VIP_V4, 80).into(),
            Talk::TcpV6 => (VIP_V6, 80).into(),
            Talk::UdpV4 => (VIP_V4, 53).into(),
            Talk::CrossingV4 => (BEYOND, 80).into(),
        }
    }

    /// What opens the session of client `number`.
    pub fn opening(self, number: usize) -> Vec<u8> {
        self.frame(OUTSIDE, self.client(number), self.service(), TcpFlags::SYN, (SEQUENCE - 1, 0))
    }

    /// The server's answer to an opening that the worker has forwarded to it.
    fn answer(self, opening: &mut [u8]) -> Vec<u8> {
        let (client, server) = ends(opening);
        let flags = TcpFlags::SYN | TcpFlags::ACK;
        let mut answer = self.frame(INSIDE, server, client, flags, (SEQUENCE - 1, SEQUENCE));
        // It comes from where the opening went.
        answer[6..12].copy_from_slice(&opening[..6]);
        answer
    }

    /// A packet of the established session of client `number`: 60 bytes over IPv4, no data.
    pub fn packet(self, number: usize) -> Vec<u8> {
        self.frame(OUTSIDE, self.client(number), self.service(), TcpFlags::ACK, (SEQUENCE, SEQUENCE))
    }

    /// A packet of client `number` to a server's own address, which is routed and not balanced.
    pub fn direct(self, number: usize) -> Vec<u8> {
        let server = SocketAddr::from((server_v4(0), 80));
        self.frame(OUTSIDE, self.client(number), server, TcpFlags::ACK, (SEQUENCE, SEQUENCE))
    }

    fn frame(
        self,
        port: PortIndex,
        from: SocketAddr,
        to: SocketAddr,
        flags: TcpFlags,
        numbers: (u32, u32),
    ) -> Vec<u8> {
        let ethernet = build::ethernet(GATEWAY, PORT_MACS[port.index()]);
        let ip = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from, to),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from, to),
            _ => unreachable!("both ends are of one family"),
        };
        build::padded(if self == Talk::UdpV4 {
            ip.udp(from.port(), to.port()).finish()
        } else {
            let tcp = ip.tcp(from.port(), to.port()).flags(flags);
            tcp.sequence(numbers.0).acknowledgement(numbers.1).finish()
        })
    }
}

/// Source and destination of a frame.
fn ends(frame: &mut [u8]) -> (SocketAddr, SocketAddr) {
    match parse(frame, Zone(0), &hasher()).expect("the worker sends what parses").network {
        Network::V4(packet) => (packet.key.source().into(), packet.key.destination().into()),
        Network::V6(packet) => (packet.key.source().into(), packet.key.destination().into()),
        _ => unreachable!("only IP is sent"),
    }
}

fn hasher() -> FlowHasher {
    FlowHasher::new([7; 16])
}

fn server_v4(index: u16) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 1, 1 + index as u8)
}

fn server_v6(index: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1 + index)
}

/// What a worker that gets ten million packets a second has for each burst. A clock that goes on by so much
/// each turn, whatever the machine does, makes the instructions of a run countable.
const TURN_NS: u64 = 100 * BURST_FRAMES_MAX as u64;

/// The worker, and its clock.
pub struct World {
    worker: Worker<MemoryPorts>,
    pub shared: Arc<Shared>,
    pub talk: Talk,
    now_ns: u64,
    _publisher: Publisher<Plan>,
}

impl World {
    /// A world whose table holds `sessions` established sessions.
    pub fn with_sessions(talk: Talk, sessions: usize) -> Self {
        let capacity_v6 = if talk == Talk::TcpV6 { CAPACITY_SESSIONS } else { CAPACITY_SESSIONS / 10 };
        let sizes = engine::Sizes {
            sessions_v4: CAPACITY_SESSIONS,
            sessions_v6: capacity_v6,
            links: 64,
            members: usize::from(MEMBERS),
            clients: 64,
        };
        let shared = Arc::new(Shared::new(sizes, hasher()));
        let regions = [shared.sessions_v4.memory_regions(), shared.sessions_v6.memory_regions()];
        for region in regions.as_flattened() {
            let pages = rings::memory::prefer_huge_pages_at(region.address, region.bytes);
            if let Some(reason) = pages.reason {
                println!("{} of {} bytes on huge pages: {reason}", pages.collapsed_bytes, region.bytes);
            }
        }
        let publisher = Publisher::new(plan(&shared));
        let worker = Worker::new(Parts {
            ports: MemoryPorts::new(2, BUFFERS, BUFFERS),
            plan: publisher.subscribe(),
            shared: shared.clone(),
            orders: Arc::new(orders()),
            counters: Arc::new(WorkerCounters::new(2, usize::from(MEMBERS))),
            place: (0, 1),
        });
        let mut world = Self { worker, shared, talk, now_ns: 1_000_000_000, _publisher: publisher };
        world.establish(sessions);
        world
    }

    fn establish(&mut self, sessions: usize) {
        let talk = self.talk;
        for first in (0..sessions).step_by(BURST_FRAMES_MAX) {
            let numbers = first..sessions.min(first + BURST_FRAMES_MAX);
            self.feed(OUTSIDE, numbers.clone().map(|number| talk.opening(number)));
            self.timed_turn();
            let mut answers = Vec::with_capacity(BURST_FRAMES_MAX);
            while let Some(mut opening) = self.worker.ports_mut().take(INSIDE) {
                answers.push(talk.answer(&mut opening));
            }
            self.feed(INSIDE, answers);
            self.timed_turn();
            self.discard_sent();
            self.feed(OUTSIDE, numbers.map(|number| talk.packet(number)));
            self.timed_turn();
            self.discard_sent();
        }
        let held = self.shared.sessions_v4.len() + self.shared.sessions_v6.len();
        // Where both sides of a session have one hash, a few more find no room.
        assert!(held >= sessions - sessions / 100, "{held} of {sessions} sessions were opened");
    }

    /// Lets frames arrive at `port`.
    pub fn feed(&mut self, port: PortIndex, frames: impl IntoIterator<Item = Vec<u8>>) {
        let ports = self.worker.ports_mut();
        assert!(frames.into_iter().all(|frame| ports.push(port, &frame)), "buffers suffice for a burst");
    }

    /// One turn, and how long it took.
    pub fn timed_turn(&mut self) -> Duration {
        self.now_ns += TURN_NS;
        let started = Instant::now();
        turn(&mut self.worker, self.now_ns);
        started.elapsed()
    }

    /// Throws away what was sent; gives back how many frames went inside and how many outside.
    pub fn discard_sent(&mut self) -> [usize; 2] {
        [INSIDE, OUTSIDE].map(|port| self.worker.ports_mut().discard_sent(port))
    }

    /// Ends the IPv4 TCP session of client `number`.
    pub fn forget(&mut self, number: usize) {
        let (table, key) = (&self.shared.sessions_v4, self.key_v4(number));
        if let Lookup::Hit(hit) = table.find(&table.probe(key.hash(&self.shared.hasher)), key.words()) {
            table.remove(hit.client_slot(), hit.birth);
        }
    }

    /// The key of what client `number` sends over IPv4 TCP.
    pub fn key_v4(&self, number: usize) -> KeyV4 {
        match (self.talk.client(number), self.talk.service()) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                KeyV4::new(Zone(0), protocol::TCP, (*from.ip(), from.port()), (*to.ip(), to.port()))
            }
            _ => unreachable!("asked for IPv4 only"),
        }
    }
}

/// Never inlined, so that a profiler can be told to look at nothing else.
#[inline(never)]
fn turn(worker: &mut Worker<MemoryPorts>, now_ns: u64) -> Turn {
    worker.turn(now_ns)
}

fn plan(shared: &Shared) -> Plan {
    let port = |index: usize| PortPlan {
        name: format!("port{index}"),
        mac: PORT_MACS[index],
        mtu_bytes: 1_500,
        zone: Zone(0),
        address_v4: None,
        address_v6: None,
        attachment: Attachment::Ring { ring: index as u16, vlan: 0 },
        host_ring: None,
        bridge: None,
    };
    let hour_ms = 3_600_000;
    let member = MemberRow {
        generation: 1,
        state: MemberState::Up,
        mss_clamp: MssClamp::Auto,
        link: LinkIndex::UNRESOLVED,
    };
    Plan {
        generation: 1,
        route_epoch: 1,
        reset_epoch: 0,
        ports: Arc::new([port(0), port(1)].into_iter().collect()),
        rings: Arc::new([RingPlan::of(0), RingPlan::of(1)]),
        timeouts: Timeouts {
            tcp_established_ms: 2 * hour_ms,
            tcp_transitory_ms: hour_ms,
            tcp_closing_ms: 60_000,
            udp_ms: hour_ms,
            icmp_ms: 60_000,
        },
        v4: FamilyPlan {
            firewalls: Arc::new(firewalls()),
            ..family::<V4>(shared, VIP_V4, CLIENT_GATEWAY_V4, server_v4, 0)
        },
        v6: family::<V6>(shared, VIP_V6, CLIENT_GATEWAY_V6, server_v6, SERVERS),
        members: (0..MEMBERS)
            .map(|row| {
                let firewall = row.checked_sub(2 * SERVERS);
                let link = firewall.map_or(LinkIndex::UNRESOLVED, |place| LinkIndex(2 + place));
                MemberRow { link, ..member }
            })
            .collect(),
    }
}

/// A group of firewalls at the first servers' addresses.
fn firewalls() -> Firewalls<V4> {
    let name = |place: u16| format!("fw{place}");
    let row_member = |place| RowMember { identity: name(place).into_bytes(), weight: 1, is_backup: false };
    let row_members: Vec<RowMember> = (0..FIREWALLS).map(row_member).collect();
    let member = |place: u16| FirewallMember {
        name: name(place),
        id: MemberId { index: 2 * SERVERS + place, generation: 1 },
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
    shared: &Shared,
    vip: F::Address,
    gateway: F::Address,
    server: fn(u16) -> F::Address,
    base: u16,
) -> FamilyPlan<F> {
    let link = |place: u16| LinkIndex(1 + base * 2 + place);
    shared.links.set(link(0), Some(Link { port: OUTSIDE.0, mac: GATEWAY }));
    let mut links = LinksByNextHop::<F>::from_iter([((OUTSIDE.0, gateway), link(0))]);
    for index in 0..SERVERS {
        let mac = Mac([2, 0, 0, 0, 3, index as u8]);
        shared.links.set(link(1 + index), Some(Link { port: INSIDE.0, mac }));
        links.insert((INSIDE.0, server(index)), link(1 + index));
    }
    let mut routes = RouteTableBuilder::new(Arc::new(links));
    let route = |port: PortIndex, gateway| Route::Forward(Box::new([Hop { port: port.0, gateway }]));
    routes.add(F::unspecified(), 0, route(OUTSIDE, Some(gateway)));
    for index in 0..SERVERS {
        routes.add(server(index), 128, route(INSIDE, None));
    }
    let mut owned = OwnedAddresses::default();
    for (protocol, port) in [(protocol::TCP, 80), (protocol::UDP, 53)] {
        owned.listen(Arc::new(service(vip, protocol, port, server, base)));
    }
    FamilyPlan { owned, routes: Arc::new(routes.build()), ..FamilyPlan::default() }
}

fn service<F: Family>(
    vip: F::Address,
    protocol: u8,
    port: u16,
    server: fn(u16) -> F::Address,
    base: u16,
) -> Service<F> {
    let member = |index| ServiceMember {
        id: MemberId { index: base + index, generation: 1 },
        address: server(index),
        port: None,
        state: MemberState::Up,
        weight: 1,
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
        members: (0..SERVERS).map(member).collect(),
        available: (0..SERVERS).collect(),
        scheduler: Scheduler::RoundRobin,
        cursor: Cursor::default(),
        persistence: None,
        positions: (0..SERVERS).map(|at| (member(at).id, at)).collect(),
        wheel: Wheel::new((0..SERVERS).map(|_| 1)),
        mode: Mode::Routed,
        source_nat: SourceNat::Never,
        rows: None,
    }
}
