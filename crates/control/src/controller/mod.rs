//! The control thread: one loop that holds everything together.
//!
//! ```text
//!   netlink ──▶ facts ─┐                                        ┌─▶ steering    (which frames are ours)
//!   checks ───▶ health ┼─▶ what is dirty ─▶ links, plan ────────┼─▶ workers     (published, woken)
//!   operator ─▶ wishes ┤                                        └─▶ announcements
//!   probes ───▶ paths ─┤
//!   reports ──▶ needs ─┘   (workers: unresolved next hops, neighbours heard of, conflicts)
//! ```
//!
//! Events only say what is dirty; once a round everything that depends on it is brought up to date, in one place and in
//! one order. Nothing here touches a frame of traffic.

mod bridges;
mod carrying;
mod checking;
mod conflicts;
mod drift;
mod firewall_rows;
mod firewall_watch;
mod next_hops;
mod operating;
mod passive;
mod probing;
mod publishing;
mod rates;
mod report;
mod responses;
mod reverse_path;
mod server_rows;
mod session_rows;
mod sticky_rows;
mod totals;
mod world;

pub(crate) use session_rows::{Names, session_row};
pub use totals::MemberTotals;
pub use world::{ControlWaker, Loss, RingFacts, Rings, WorkerHandle};

use crate::announce::Announcer;
use crate::check::{Checks, socket_allowance};
use crate::compile::{Epochs, Services};
use crate::facts::{Facts, NeighbourKey};
use crate::links::Links;
use crate::members::{Members, Moment};
use crate::netlink::{Mirror, Resolver};
use crate::operator;
use crate::signals::Signals;
use carrying::Carriers;
use checking::CheckUsers;
use config::Config;
use conflicts::Conflicts;
use engine::{Report, Shared};
use firewall_watch::FirewallWatch;
use hashbrown::HashSet;
use mio::{Events, Interest, Poll, Token, Waker};
use passive::TrafficWatch;
use plan::{Plan, Publisher, Subscriber};
use probing::Probing;
use publishing::Dirty;
use rates::Rates;
use responses::Responses;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use totals::Totals;
use tracing::{debug, error, info, warn};

const TOKEN_WAKER: Token = Token(0);
const TOKEN_NETLINK: Token = Token(1);
const TOKEN_SIGNALS: Token = Token(2);
const TOKEN_OPERATOR: usize = 16;
const TOKEN_CHECKS: usize = 1_024;

/// How often the loop comes round when nothing happens: rows of drained servers are given up, ended workers noticed.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// Reports of workers that are taken in one round at the most.
const REPORTS_PER_ROUND: usize = 1_024;

const EVENTS_PER_ROUND: usize = 1_024;

/// What a controller is made of.
pub struct ControllerParts<R> {
    /// A configuration that was found right.
    pub config: Config,
    /// Where it came from, and is read from again at a reload.
    pub config_path: PathBuf,
    /// Where operators find it.
    pub place: operator::Place,
    /// What the appliance calls itself.
    pub name: String,
    /// What the kernel knew when the mirror was made.
    pub facts: Facts,
    /// Keeps them true.
    pub mirror: Mirror,
    /// What is shared with the workers.
    pub shared: Arc<Shared>,
    /// The rings.
    pub rings: R,
    /// The longest IP packet that a ring carries, in bytes.
    pub mtu_bytes_max: u16,
    /// Where the workers' time begins.
    pub clock: Instant,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// SIGTERM or SIGINT.
    Signalled,
    /// A worker's thread has ended by itself.
    WorkerFailed,
}

/// The control thread's state.
pub struct Controller<R> {
    poll: Poll,
    waker: Arc<Waker>,
    signals: Signals,
    /// Taken out while it is answering, for the answers come from here.
    operator: Option<operator::Server>,
    mirror: Mirror,
    resolver: Resolver,
    checks: Checks,
    check_users: CheckUsers,
    carriers: Carriers,
    probing: Probing,
    traffic: TrafficWatch,
    announcer: Announcer,
    conflicts: Conflicts,
    rings: R,

    config: Config,
    config_path: PathBuf,
    config_loaded: Instant,
    reload_error: Option<String>,
    name: String,
    facts: Facts,
    members: Members,
    links: Links,
    services: Services,
    kept: HashSet<NeighbourKey>,
    totals: Totals,
    rates: Rates,
    responses: Responses,
    firewall_watch: FirewallWatch,
    epochs: Epochs,
    dirty: Dirty,
    /// A reload may have left clients remembered that nobody asks for.
    clients_are_other: bool,
    mtu_bytes_max: u16,

    shared: Arc<Shared>,
    publisher: Publisher<Plan>,
    workers: Vec<WorkerHandle>,
    started: Instant,
    clock: Instant,
    end_requested: bool,
}

impl<R: Rings> Controller<R> {
    /// Makes the loop, and the first plan. Fails when a system call is refused. Signals are taken over from here on.
    pub fn new(parts: ControllerParts<R>) -> io::Result<Self> {
        let ControllerParts {
            config,
            config_path,
            place,
            name,
            facts,
            mut mirror,
            shared,
            rings,
            mtu_bytes_max,
            clock,
        } = parts;
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut mirror, TOKEN_NETLINK, Interest::READABLE)?;
        let mut signals = Signals::new()?;
        registry.register(&mut signals, TOKEN_SIGNALS, Interest::READABLE)?;
        let operator = operator::Server::new(place, registry.try_clone()?, Token(TOKEN_OPERATOR))?;
        let checks = Checks::new(registry, Token(TOKEN_CHECKS), socket_allowance())?;
        let waker = Arc::new(Waker::new(registry, TOKEN_WAKER)?);
        let mut members = Members::default();
        members.configure(&config, Moment::now()).map_err(io::Error::other)?;
        let links = Links::new(&shared.links);
        let mut services = Services::default();
        let epochs = Self::epochs_at_start();
        let inputs = crate::compile::Inputs {
            config: &config,
            members: &members,
            links: &links,
            facts: &facts,
            mtu_bytes_max,
            hasher: shared.hasher,
            now_ns: clock.elapsed().as_nanos() as u64,
        };
        let publisher = Publisher::new(crate::compile::compile(&inputs, epochs, &mut services));
        let now = Instant::now();
        Ok(Self {
            waker,
            signals,
            operator: Some(operator),
            mirror,
            resolver: Resolver::new()?,
            checks,
            check_users: CheckUsers::default(),
            carriers: Carriers::default(),
            probing: Probing::new(shared.hasher, now),
            traffic: TrafficWatch::default(),
            announcer: Announcer::default(),
            conflicts: Conflicts::default(),
            rings,
            config,
            config_path,
            config_loaded: now,
            reload_error: None,
            name,
            facts,
            members,
            links,
            services,
            kept: HashSet::new(),
            totals: Totals::default(),
            rates: Rates::default(),
            responses: Responses::default(),
            firewall_watch: FirewallWatch::default(),
            epochs,
            dirty: Dirty::all(),
            clients_are_other: false,
            mtu_bytes_max,
            shared,
            publisher,
            workers: Vec::new(),
            started: now,
            clock,
            end_requested: false,
            poll,
        })
    }

    /// A reader of plans, for a new worker.
    pub fn subscribe(&self) -> Subscriber<Plan> {
        self.publisher.subscribe()
    }

    /// Where the workers' time begins.
    pub fn clock(&self) -> Instant {
        self.clock
    }

    /// What wakes the loop from another thread.
    pub fn waker(&self) -> ControlWaker {
        ControlWaker(self.waker.clone())
    }

    /// A worker has started.
    pub fn add_worker(&mut self, worker: WorkerHandle) {
        self.workers.push(worker);
    }

    /// Brings everything into force for the first time: addresses are steered, next hops asked for, checks begun.
    pub fn take_over(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.watch(now);
        self.bring_up_to_date(now);
        Ok(())
    }

    /// The loop. Returns when a signal asks for the end, or when a worker has failed.
    pub fn run(&mut self) -> io::Result<Ended> {
        let mut events = Events::with_capacity(EVENTS_PER_ROUND);
        let mut housekeeping = Instant::now() + HOUSEKEEPING_INTERVAL;
        loop {
            let timeout = self.next_deadline(housekeeping).saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = Instant::now();
            for event in &events {
                self.handle(now, event);
            }
            self.look_at_the_kernel(now);
            self.take_reports(now);
            self.probe(now);
            self.check(now);
            self.look_at_traffic(now);
            self.measure_rates(now);
            self.resolver.advance(now, &self.facts);
            self.operate(now, None);
            if now >= housekeeping {
                self.release_members();
                self.forget_clients();
                self.hand_on_responses();
                self.watch_firewalls(now);
                self.forget_conflicts(now);
                housekeeping = now + HOUSEKEEPING_INTERVAL;
            }
            self.bring_up_to_date(now);
            self.announce(now);
            self.carry(now);
            self.publisher.collect();
            if self.end_requested {
                return Ok(Ended::Signalled);
            }
            if self.workers.iter().any(WorkerHandle::has_ended) {
                return Ok(Ended::WorkerFailed);
            }
        }
    }

    /// Leaves the kernel as it was: neighbours that were kept are the kernel's own business again.
    pub fn forget(&mut self) {
        self.resolver.forget_all(&self.facts);
    }

    fn next_deadline(&self, housekeeping: Instant) -> Instant {
        let deadlines = [
            self.mirror.next_deadline(),
            self.resolver.next_deadline(),
            self.checks.next_deadline(),
            self.carriers.next_deadline(),
            self.probing.next_deadline(),
            self.traffic.next_deadline(),
            self.rates.next_deadline(),
            self.announcer.next_deadline(),
            self.operator.as_ref().and_then(|operator| operator.next_deadline(Instant::now())),
        ];
        deadlines.into_iter().flatten().fold(housekeeping, Instant::min)
    }

    fn handle(&mut self, now: Instant, event: &mio::event::Event) {
        match event.token() {
            TOKEN_WAKER | TOKEN_NETLINK => {}
            TOKEN_SIGNALS => self.take_signals(now),
            token if self.checks.owns(token) => self.check_event(now, event),
            token if self.is_operators(token) => self.operate(now, Some(token)),
            token => debug!("an event for nobody: {token:?}"),
        }
    }

    fn is_operators(&self, token: Token) -> bool {
        self.operator.as_ref().is_some_and(|operator| operator.owns(token))
    }

    fn take_signals(&mut self, now: Instant) {
        let requests = self.signals.drain();
        if requests.stop {
            info!("asked to end");
            self.end_requested = true;
        }
        if requests.reload {
            // What was wrong is in the log and in `show status`.
            drop(self.reload(now));
        }
    }

    fn look_at_the_kernel(&mut self, now: Instant) {
        let links_before = self.carrying();
        match self.mirror.drain(now, &mut self.facts) {
            Ok(changes) => self.dirty.add(changes),
            Err(error) => error!("reading the kernel's network: {error}"),
        }
        for (place, (before, after)) in links_before.into_iter().zip(self.carrying()).enumerate() {
            if before != after {
                let port = &self.config.ports[place];
                info!(
                    "port {}: the link of {} is {}",
                    port.name,
                    port.interface,
                    if after { "up" } else { "down" }
                );
            }
            if after && !before {
                self.announcer.renew(now, crate::compile::leg_of(&self.config, place));
            }
            if before && !after {
                // Whoever was behind it is to be found anew.
                self.shared.macs.forget_port(place as u16);
            }
        }
    }

    /// Which ports have a link.
    fn carrying(&self) -> Vec<bool> {
        let carries = |port: &config::Port| {
            self.facts.interface_named(&port.interface).is_some_and(crate::facts::Interface::carries)
        };
        self.config.ports.iter().map(carries).collect()
    }

    fn forget_conflicts(&mut self, now: Instant) {
        for (leg, address, mac) in self.conflicts.forget_old(now) {
            let leg = self.leg_name(leg).unwrap_or_default();
            info!("port {leg}: {mac} no longer claims {address}");
        }
    }

    /// What workers asked for or noticed.
    fn take_reports(&mut self, now: Instant) {
        for _ in 0..REPORTS_PER_ROUND {
            let Some(report) = self.shared.reports.pop() else { break };
            let port = match report {
                Report::Unresolved { port, .. }
                | Report::Neighbour { port, .. }
                | Report::Conflict { port, .. } => port,
                Report::Drift { expected, seen, protocol, source, destination } => {
                    self.firewall_watch.note_flow(now, (expected, seen), (protocol, source, destination));
                    continue;
                }
            };
            let Some(name) = crate::compile::leg_interface(&self.config, port) else { continue };
            let Some(interface) = self.facts.interface_named(name).map(|interface| interface.index) else {
                continue;
            };
            match report {
                Report::Unresolved { address, .. } => {
                    self.resolver.need(now, (interface, address), &self.facts)
                }
                Report::Neighbour { address, mac, .. } => {
                    self.resolver.hint(now, (interface, address), mac.0, &self.facts);
                }
                Report::Conflict { address, mac, .. } => {
                    if self.conflicts.note(now, (port, address, mac)) {
                        let leg = self.leg_name(port).unwrap_or_default();
                        warn!("port {leg}: {mac} claims {address}, which is ours (RFC 5227)");
                    }
                }
                Report::Drift { .. } => {}
            }
        }
    }
}
