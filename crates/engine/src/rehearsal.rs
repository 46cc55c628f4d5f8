//! A worker beside the live ones, turned by hand over ports of memory: what a packet would meet is found out by letting it
//! happen to copies.
//!
//! The worker is the very one that carries traffic; only what it stands on is its own: a detached plan, whose schedulers
//! go on by themselves, small tables, counters that nobody else reads. Nothing that happens here is seen outside. For the
//! control thread: it allocates, and a turn takes as long as it takes.

use crate::counters::WorkerCounters;
use crate::path::World;
use crate::reason::DropReason;
use crate::reply_way::ReplyWay;
use crate::shared::{Report, Shared, orders};
use crate::worker::{Parts, Worker};
use flow::{KeyV4, KeyV6, Zone};
use plan::{Beyond, Plan, Publisher, Resolution, ReturnPath};
use port::PortIndex;
use port::memory::MemoryPorts;
use rewrite::{LinkIndex, MemberId};
use session::tick_from_ns;
use std::net::IpAddr;
use std::sync::Arc;

/// Sessions that its tables hold.
const SESSIONS: usize = 64;

/// Buffers, and frames that each ring holds until they are taken: a flood takes one for each port.
const BUFFERS: usize = 256;

/// A detached worker.
pub struct Rehearsal {
    worker: Worker<MemoryPorts>,
    plan: Publisher<Plan>,
    shared: Arc<Shared>,
    counters: Arc<WorkerCounters>,
}

/// The key of a flow of either family.
#[derive(Clone, Copy, Debug)]
pub enum AnyKey {
    /// Of IPv4.
    V4(KeyV4),
    /// Of IPv6.
    V6(KeyV6),
}

impl From<KeyV4> for AnyKey {
    fn from(key: KeyV4) -> Self {
        Self::V4(key)
    }
}

impl From<KeyV6> for AnyKey {
    fn from(key: KeyV6) -> Self {
        Self::V6(key)
    }
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// The same in a word.
    pub fate: Fate,
    /// The frames that came of it, each with the index of the ring that it left by.
    pub sent: Vec<(u16, Vec<u8>)>,
    /// The members that it was counted for, by their rows: its server, and the firewalls that it passes.
    pub members: Vec<u16>,
}

/// What became of a frame, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was sent on.
    Sent,
    /// It was turned into its answer.
    Answered,
    /// It waits for this next hop.
    Parked {
        /// The leg that the next hop hangs on, by port index.
        port: u16,
        /// The next hop.
        next_hop: IpAddr,
    },
    /// It was dropped.
    Dropped(DropReason),
    /// There is no such ring, or the frame is longer than a ring takes.
    Refused,
}

/// The counters that tell what became of a frame.
struct Counted {
    answered: u64,
    drops: Vec<u64>,
    members: Vec<u64>,
}

impl Rehearsal {
    /// A worker that decides as those of `live` do under `plan`, over a ring of memory for each ring of the plan. The
    /// session tables are empty.
    pub fn new(plan: &Plan, live: &Shared) -> Self {
        let shared = Arc::new(live.detached(SESSIONS));
        let counters = Arc::new(WorkerCounters::new(plan.ports.len(), plan.members.len()));
        let rings = plan.rings.len();
        let plan = Publisher::new(plan.detached());
        let worker = Worker::new(Parts {
            ports: MemoryPorts::new(rings, BUFFERS, BUFFERS),
            plan: plan.subscribe(),
            shared: shared.clone(),
            orders: Arc::new(orders()),
            counters: counters.clone(),
            place: (0, 1),
        });
        Self { worker, plan, shared, counters }
    }

    /// The detached plan.
    pub fn plan(&self) -> &Plan {
        self.plan.current()
    }

    /// The worker's own tables.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Lets `frame` arrive by `ring` at `now_ns` of the workers' clock.
    pub fn play(&mut self, ring: u16, frame: &[u8], now_ns: u64) -> Played {
        let before = self.counted();
        let is_taken = self.worker.ports_mut().push(PortIndex(ring), frame);
        self.worker.turn(now_ns);
        let after = self.counted();
        let rings = self.plan.current().rings.len() as u16;
        let sent = (0..rings)
            .flat_map(|ring| {
                let ports = self.worker.ports_mut();
                std::iter::from_fn(move || ports.take(PortIndex(ring)).map(|frame| (ring, frame)))
                    .collect::<Vec<_>>()
            })
            .collect();
        let dropped = grown(&before.drops, &after.drops).next();
        let dropped = dropped.and_then(|index| DropReason::all().nth(index));
        let unresolved = std::iter::from_fn(|| self.shared.reports.pop()).find_map(|report| match report {
            Report::Unresolved { port, address } => Some(Fate::Parked { port, next_hop: address }),
            _ => None,
        });
        let fate = match (dropped, unresolved) {
            _ if !is_taken => Fate::Refused,
            (Some(reason), _) => Fate::Dropped(reason),
            (None, Some(parked)) => parked,
            (None, None) if after.answered > before.answered => Fate::Answered,
            (None, None) => Fate::Sent,
        };
        let members = grown(&before.members, &after.members).map(|index| index as u16).collect();
        Played { fate, sent, members }
    }

    /// How the reply of `server` would find `client`, whose request came in by `port`; `hash` is that of its flow. `None`
    /// for addresses of two families and for a port that there is not.
    pub fn reply_way(
        &self,
        port: u16,
        (client, server): (IpAddr, IpAddr),
        (path, hash): (ReturnPath, u64),
        now_ns: u64,
    ) -> Option<ReplyWay> {
        let plan = self.plan.current();
        let leg = plan.ports.get(usize::from(port))?.bridge.unwrap_or(port);
        let world = World {
            plan,
            shared: &self.shared,
            counters: &self.counters,
            now_ns,
            tick: tick_from_ns(now_ns),
        };
        let link = |index: LinkIndex| self.shared.links.get(index);
        match (client, server) {
            (IpAddr::V4(client), IpAddr::V4(server)) => {
                let link = match plan.v4.routes.resolve(server, hash) {
                    Resolution::Link(index) => link(index),
                    _ => None,
                };
                Some(world.v4().reply_way((leg, port), client, (server, link), path))
            }
            (IpAddr::V6(client), IpAddr::V6(server)) => {
                let link = match plan.v6.routes.resolve(server, hash) {
                    Resolution::Link(index) => link(index),
                    _ => None,
                };
                Some(world.v6().reply_way((leg, port), client, (server, link), path))
            }
            _ => None,
        }
    }

    /// What stands between a host in `zone` and `address`, if firewalls do: no more specific route stays in the zone.
    pub fn beyond(&self, zone: Zone, address: IpAddr, now_ns: u64) -> Option<Beyond> {
        let (plan, shared, counters) = (self.plan.current(), &*self.shared, &*self.counters);
        let world = World { plan, shared, counters, now_ns, tick: tick_from_ns(now_ns) };
        match address {
            IpAddr::V4(address) => world.v4().beyond(zone, address),
            IpAddr::V6(address) => world.v6().beyond(zone, address),
        }
    }

    /// Lets the worker know what `live` remembers of the client of `key`; gives the member that the client is to come back
    /// to.
    pub fn recall_client(&self, live: &Shared, key: impl Into<AnyKey>, now_ns: u64) -> Option<MemberId> {
        let plan = self.plan.current();
        let (shared, counters) = (&*self.shared, &*self.counters);
        let world = World { plan, shared, counters, now_ns, tick: tick_from_ns(now_ns) };
        let entry = match key.into() {
            AnyKey::V4(key) => world.v4().recall(&live.sticky, &key),
            AnyKey::V6(key) => world.v6().recall(&live.sticky, &key),
        };
        entry.map(|entry| MemberId::from_bits(entry.member))
    }

    fn counted(&self) -> Counted {
        let counters = &self.counters;
        let packets = |member: &crate::MemberCounters| member.packets_in.get() + member.packets_out.get();
        Counted {
            answered: counters.answered.get(),
            drops: counters.drops.iter().map(metrics::Counter::get).collect(),
            members: counters.members.iter().map(packets).collect(),
        }
    }
}

/// The places of the counters that have moved.
fn grown(before: &[u64], after: &[u64]) -> impl Iterator<Item = usize> {
    before
        .iter()
        .zip(after)
        .enumerate()
        .filter(|(_, (before, after))| before != after)
        .map(|(place, _)| place)
}
