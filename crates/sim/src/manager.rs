//! What the control thread does to its workers, done when a test says so.

use config::Config;
use control::compile::{Epochs, Inputs, RingPlaces, Services, compile, legs, other_firewalls, ring_places};
use control::facts::Facts;
use control::links::{Links, NextHop};
use control::members::{Health, Member, Members, Moment, ServerKey, Wish};
use engine::{Bearer, Carry, Orders, Parts, Shared, WorkerCounters, orders};
use flow::FlowHasher;
use hashbrown::HashMap;
use plan::{Plan, Publisher};
use port::Ports;
use std::net::IpAddr;
use std::sync::Arc;
use wire::Mac;

/// Member rows that a world counts for.
const MEMBERS: usize = 256;
/// Clients that a world remembers.
const CLIENTS: usize = 64;
/// Link rows of a world.
const LINKS: usize = 256;
/// The longest IP packet that the rings carry: a frame less its Ethernet header and two tags.
const MTU_BYTES_MAX: u16 = port::FRAME_BYTES_MAX as u16 - 14 - 8;
/// Why a server's health changed.
const SAYS_SO: &str = "the test says so";
/// The secret of a configuration that names none.
const HASH_KEY: [u8; 16] = [7; 16];

/// Sessions that the tables hold, instead of what the configuration says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// IPv4 sessions.
    pub sessions_v4: Option<usize>,
    /// IPv6 sessions.
    pub sessions_v6: Option<usize>,
}

/// Configuration, facts and members, and the plans made of them.
pub struct Manager {
    config: Config,
    facts: Facts,
    members: Members,
    links: Links,
    services: Services,
    epochs: Epochs,
    publisher: Publisher<Plan>,
    hasher: FlowHasher,
    shared: Arc<Shared>,
    workers: Vec<(Arc<WorkerCounters>, Arc<Orders>)>,
    now_ns: u64,
}

impl Manager {
    /// A manager that has published its first plan. Servers that a check watches count as up.
    pub fn new(config_text: &str, facts: Facts, sizes: Sizes) -> Result<Self, String> {
        let config = read(config_text)?;
        let hasher = FlowHasher::new(config.appliance.hash_key.map_or(HASH_KEY, |key| *key.bytes()));
        let sessions_v4 = sizes.sessions_v4.unwrap_or(config.appliance.session_capacity);
        let sessions_v6 = sizes.sessions_v6.unwrap_or(config.appliance.session_capacity_ipv6);
        let sizes =
            engine::Sizes { sessions_v4, sessions_v6, links: LINKS, members: MEMBERS, clients: CLIENTS };
        let shared = Arc::new(Shared::new(sizes, hasher));
        let mut members = Members::default();
        configure(&mut members, &config)?;
        let mut links = Links::new(&shared.links);
        links.update(&shared.links, &next_hops(&config, &facts));
        let (epochs, mut services) = (Epochs::default(), Services::default());
        let inputs = Inputs {
            config: &config,
            members: &members,
            links: &links,
            facts: &facts,
            mtu_bytes_max: MTU_BYTES_MAX,
            hasher,
            now_ns: 0,
        };
        let publisher = Publisher::new(compile(&inputs, epochs, &mut services));
        let (workers, now_ns) = (Vec::new(), 0);
        Ok(Self {
            config,
            facts,
            members,
            links,
            services,
            epochs,
            publisher,
            hasher,
            shared,
            workers,
            now_ns,
        })
    }

    /// What a worker with these ports is made of. `place` is its number, and how many there are.
    pub fn parts<P: Ports>(&mut self, ports: P, place: (usize, usize)) -> Parts<P> {
        let counters = Arc::new(WorkerCounters::new(self.config.ports.len(), MEMBERS));
        let orders = Arc::new(orders());
        self.workers.push((counters.clone(), orders.clone()));
        Parts {
            ports,
            plan: self.publisher.subscribe(),
            shared: self.shared.clone(),
            orders,
            counters,
            place,
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the kernel is said to know.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The plan in force.
    pub fn plan(&self) -> &Plan {
        self.publisher.current()
    }

    /// The tables that the workers share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Flows of a firewall that were seen over another one, by all workers.
    pub fn drifted(&self, firewall: &ServerKey) -> u64 {
        let Some(row) = self.members.get(firewall).map(|member| usize::from(member.id.index)) else {
            return 0;
        };
        let of = |counters: &WorkerCounters| counters.members.get(row).map(|row| row.drifted_flows.get());
        self.counters().filter_map(of).sum()
    }

    /// What every worker counts.
    pub fn counters(&self) -> impl Iterator<Item = &WorkerCounters> {
        self.workers.iter().map(|(counters, _)| &**counters)
    }

    /// Has the first worker carry `packet` to a server; false when there is no such server or no room.
    pub fn carry(&self, server: &ServerKey, packet: &[u8]) -> bool {
        let service = self.config.services.iter().find(|service| service.name == server.service);
        let carry = service.and_then(|service| {
            let is_it = |known: &config::Server| (known.address, known.port) == (server.address, server.port);
            let place = service.servers.iter().position(is_it)?;
            let protocol = match service.protocol {
                config::Protocol::Udp => wire::protocol::UDP,
                config::Protocol::Tcp | config::Protocol::Any => wire::protocol::TCP,
            };
            let port = service.ports.bounds().0;
            let bearer = Bearer::Server { service: (protocol, port), place: place as u16 };
            Carry::new(self.members.get(server)?.id, bearer, packet)
        });
        let orders = self.orders(0);
        orders.zip(carry).is_some_and(|(orders, carry)| orders.carries.push(carry).is_ok())
    }

    /// What control wants of a worker.
    pub fn orders(&self, worker: usize) -> Option<&Orders> {
        self.workers.get(worker).map(|(_, orders)| &**orders)
    }

    /// How many rings the configuration has.
    pub fn rings(&self) -> usize {
        self.plan().rings.len()
    }

    /// The ring of that name: a port without a VLAN, a host leg by its bridge or port, or an interface.
    pub fn ring(&self, name: &str) -> Option<usize> {
        let places = ring_places(&self.config);
        let host_leg = || places.host_legs.iter().position(|leg| leg.name == name);
        let port = self.config.ports.iter().find(|port| port.name == name && port.vlan.is_none());
        let interface = port.map_or(name, |port| port.interface.as_str());
        let interface = places.interfaces.iter().position(|(known, _)| known == interface);
        interface.or_else(|| Some(places.interfaces.len() + host_leg()?))
    }

    /// A name of that ring.
    pub fn ring_name(&self, ring: usize) -> String {
        let RingPlaces { interfaces, host_legs } = ring_places(&self.config);
        let host_leg = || host_legs.get(ring.checked_sub(interfaces.len())?).map(|leg| leg.name.clone());
        interfaces.get(ring).map(|(name, _)| name.clone()).or_else(host_leg).unwrap_or_default()
    }

    /// The port or bridge of that name, by port index.
    pub fn leg(&self, name: &str) -> Option<usize> {
        self.plan().ports.iter().position(|port| port.name == name)
    }

    /// Says what time the workers will have when they next hear of something.
    pub fn set_time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Every server, removed ones that still drain among them.
    pub fn members(&self) -> impl Iterator<Item = (&ServerKey, &Member)> {
        self.members.all()
    }

    /// The server that `name` (`service/address` or `service/address:port`) means.
    pub fn server(&self, name: &str) -> Option<ServerKey> {
        let (service, server) = name.split_once('/')?;
        let (address, port) = match server.parse() {
            Ok(address) => (address, None),
            Err(_) => {
                let end: std::net::SocketAddr = server.parse().ok()?;
                (end.ip(), Some(end.port()))
            }
        };
        let mut known = self.members.all().map(|(key, _)| key).filter(|key| key.service == service);
        known.find(|key| key.address == address && (port.is_none() || key.port == port)).cloned()
    }

    /// Says how a server fares, and publishes that.
    pub fn set_health(&mut self, server: &ServerKey, health: Health) {
        if self.members.set_health(server, health, &SAYS_SO, Moment::now()) {
            self.publish();
        }
    }

    /// Says what the operator wants of a server, and publishes that.
    pub fn set_wish(&mut self, server: &ServerKey, wish: Wish) {
        if self.members.set_wish(server, wish, Moment::now()) {
            self.publish();
        }
    }

    /// Changes what the kernel knows. A plan is published only when a link row alone does not tell the workers.
    pub fn change_facts<T>(&mut self, change: impl FnOnce(&mut Facts) -> T) -> T {
        let before = self.facts.clone();
        let outcome = change(&mut self.facts);
        let rows = self.links.update(&self.shared.links, &next_hops(&self.config, &self.facts));
        let other_ways = before.routes != self.facts.routes || before.interfaces != self.facts.interfaces;
        if rows.removed || other_ways {
            self.epochs.route_epoch = self.epochs.route_epoch.wrapping_add(1);
        }
        if rows.added || rows.removed || other_ways || before.addresses != self.facts.addresses {
            self.publish();
        }
        outcome
    }

    /// Takes over another configuration, ports excepted.
    pub fn reload(&mut self, config_text: &str) -> Result<(), String> {
        self.config = read(config_text)?;
        configure(&mut self.members, &self.config)?;
        self.publish();
        Ok(())
    }

    /// Gives up the rows of removed servers that have no session left.
    pub fn release_empty(&mut self) {
        let sessions = |index: u16| -> u64 {
            let of = |counters: &WorkerCounters| {
                let member = counters.members.get(usize::from(index));
                member.map_or((0, 0), |member| (member.sessions_created.get(), member.sessions_ended.get()))
            };
            let sums = self.workers.iter().map(|(counters, _)| of(counters));
            let (created, ended) = sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            created.wrapping_sub(ended)
        };
        if self.members.release_empty(|member| sessions(member.index)) {
            self.publish();
        }
    }

    fn publish(&mut self) {
        self.epochs.generation += 1;
        let inputs = Inputs {
            config: &self.config,
            members: &self.members,
            links: &self.links,
            facts: &self.facts,
            mtu_bytes_max: MTU_BYTES_MAX,
            hasher: self.hasher,
            now_ns: self.now_ns,
        };
        let mut plan = compile(&inputs, self.epochs, &mut self.services);
        if other_firewalls(self.publisher.current(), &plan) {
            self.epochs.route_epoch = self.epochs.route_epoch.wrapping_add(1);
            plan.route_epoch = self.epochs.route_epoch;
        }
        self.publisher.publish(plan);
    }
}

fn read(config_text: &str) -> Result<Config, String> {
    let outcome = config::parse(config_text, "world.toml");
    let complaints = outcome.diagnostics.iter().map(|finding| finding.to_string());
    outcome.config.ok_or_else(|| complaints.collect::<Vec<_>>().join("\n"))
}

fn configure(members: &mut Members, config: &Config) -> Result<(), String> {
    members.configure(config, Moment::now()).map_err(|error| error.to_string())?;
    let unchecked: Vec<ServerKey> = members
        .all()
        .filter(|(_, member)| member.is_configured() && member.health() == Health::Checking)
        .map(|(key, _)| key.clone())
        .collect();
    for key in unchecked {
        members.set_health(&key, Health::Up, &SAYS_SO, Moment::now());
    }
    Ok(())
}

/// The neighbours on the ports' links, each with its MAC.
fn next_hops(config: &Config, facts: &Facts) -> HashMap<NextHop, Option<Mac>> {
    let port_of = |interface: u32| {
        let name = &facts.interfaces.get(&interface)?.name;
        legs(config).find(|(_, known)| known == name).map(|(leg, _)| leg)
    };
    let known =
        facts.neighbours.iter().filter_map(|(&(interface, address), neighbour): (&(u32, IpAddr), _)| {
            Some(((port_of(interface)?, address), neighbour.usable_mac().map(Mac)))
        });
    known.collect()
}
