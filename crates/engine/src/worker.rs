//! A worker: everything that one pinned thread owns, with one public method.

use crate::counters::WorkerCounters;
use crate::egress::Outcome;
use crate::park::{Awaited, Parked};
use crate::path::{Answer, Step, World};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::shared::{Orders, Shared};
use crate::sweep::{Resets, Sweep};
use plan::{Plan, Subscriber};
use port::{Frame, HEAD_ROOM_BYTES, PortIndex, Ports};
use session::tick_from_ns;
use std::sync::Arc;

/// Frames that control wants sent, taken in one turn at the most.
const ORDERS_PER_TURN: usize = 32;

/// Packets that control wants carried, taken in one turn at the most: as much as a burst of strangers costs.
const CARRIES_PER_TURN: usize = 16;

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Frames received.
    pub received: u32,
    /// Whether there is more to do at once even if no frame comes: sessions that end by the thousand.
    pub hurries: bool,
    /// Whether something waits that no frame may announce: parked frames, room for resets.
    pub unfinished: bool,
}

/// One worker.
pub struct Worker<P: Ports> {
    ports: P,
    plan: Subscriber<Plan>,
    shared: Arc<Shared>,
    orders: Arc<Orders>,
    counters: Arc<WorkerCounters>,
    scratch: Scratch,
    sweep: Sweep,
}

/// What a worker is made of.
pub struct Parts<P: Ports> {
    /// Its ports.
    pub ports: P,
    /// Where its plans come from.
    pub plan: Subscriber<Plan>,
    /// What it shares with the other workers.
    pub shared: Arc<Shared>,
    /// Frames that control wants it to send.
    pub orders: Arc<Orders>,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// Its number, and how many workers there are: it sweeps its share of the tables.
    pub place: (usize, usize),
}

impl<P: Ports> Worker<P> {
    /// Assembles a worker.
    pub fn new(parts: Parts<P>) -> Self {
        let Parts { ports, plan, shared, orders, counters, place: (worker, workers) } = parts;
        let sweep = Sweep::new(worker, workers, plan.reset_epoch);
        counters.reset_epoch_swept.set(plan.reset_epoch);
        counters.plan_generation.set(plan.generation);
        Self { ports, plan, shared, orders, counters, scratch: Scratch::new(worker), sweep }
    }

    /// The worker's ports, for whoever must wait on them or look at them between turns.
    pub fn ports_mut(&mut self) -> &mut P {
        &mut self.ports
    }

    /// Whether orders wait: to be asked once more before a worker goes to sleep.
    pub fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// One turn at time `now_ns` of a monotonic clock: refresh the plan, then receive, decide and settle one burst of
    /// every ring. Never blocks, allocates, locks or asks the time.
    pub fn turn(&mut self, now_ns: u64) -> Turn {
        let plan_changed = self.plan.refresh();
        let Self { ports, plan, shared, orders, counters, scratch, sweep } = self;
        if plan_changed {
            counters.plan_generation.set(plan.generation);
        }
        let world = World { plan, shared, counters, now_ns, tick: tick_from_ns(now_ns) };
        let mut turn = Turn::default();
        for ring in 0..ports.count().min(usize::from(u16::MAX)) as u16 {
            turn.received += world.receive(ports, scratch, ring);
        }
        world.obey(ports, scratch, orders);
        if scratch.park.is_due(now_ns, plan_changed) {
            world.retry_parked(ports, scratch, plan_changed);
        }
        counters.parked.set(scratch.park.len() as u64);
        let ages_on = sweep.age(&world, turn.received > 0);
        let resets = sweep.reset(&world, ports, scratch);
        turn.hurries = ages_on || resets == Resets::GoOn;
        turn.unfinished = resets == Resets::Stalled || scratch.park.len() > 0;
        ports.flush();
        turn
    }
}

impl World<'_> {
    /// One burst of one ring.
    #[inline]
    fn receive<P: Ports>(&self, ports: &mut P, scratch: &mut Scratch, ring: u16) -> u32 {
        let index = PortIndex(ring);
        let mut burst = ports.receive(index);
        if burst.is_empty() {
            return 0;
        }
        let received = burst.len() as u32;
        let (verdicts, sent) = self.burst(scratch, ring, &mut burst);
        drop(burst);
        let refused = u64::from(ports.settle(index, &verdicts).refused);
        self.counters.received.add(u64::from(received));
        self.counters.transmitted.add(u64::from(sent).saturating_sub(refused));
        if refused > 0 {
            self.counters.drops[DropReason::TransmitRefused.index()].add(refused);
        }
        self.send_copies(ports, scratch);
        received
    }

    /// Sends what control wants sent.
    fn obey<P: Ports>(&self, ports: &mut P, scratch: &mut Scratch, orders: &Orders) {
        for _ in 0..ORDERS_PER_TURN {
            let Some(order) = orders.frames.pop() else { break };
            // A full ring loses it; what must arrive is said again.
            let _lost = self.send_own(ports, order.port, order.frame());
        }
        for _ in 0..CARRIES_PER_TURN {
            let Some(carry) = orders.carries.pop() else { break };
            self.obey_carry(ports, scratch, &carry);
        }
    }

    /// Looks once more at the frames that wait for a next hop.
    fn retry_parked<P: Ports>(&self, ports: &mut P, scratch: &mut Scratch, plan_changed: bool) {
        let mut position = 0;
        while position < scratch.park.len() {
            let parked = scratch.park.take(position);
            // To decide again before anything has changed would only move the schedulers on.
            let waits = match parked.awaited {
                Awaited::NextHop(leg, address) => {
                    self.now_ns < parked.deadline_ns && !plan_changed && self.next_hop(leg, address).is_none()
                }
                Awaited::FirstPiece(_) => false,
            };
            if waits {
                scratch.park.put_back(position, parked);
                position += 1;
                continue;
            }
            match self.retry(ports, scratch, parked) {
                Some(still_parked) => {
                    scratch.park.put_back(position, still_parked);
                    position += 1;
                }
                None => continue,
            }
        }
        self.send_copies(ports, scratch);
    }

    /// Tries one parked frame; gives it back when it has to go on waiting.
    fn retry<P: Ports>(&self, ports: &mut P, scratch: &mut Scratch, mut parked: Parked) -> Option<Parked> {
        let Parked { ingress, deadline_ns, .. } = parked;
        let length = usize::from(parked.length);
        // The frame was copied in at that place and is no longer than the buffer, so there always is one.
        let mut frame = Frame::new(&mut parked.bytes[..], HEAD_ROOM_BYTES, length)?;
        let decided = match self.decide_one(scratch, ingress, frame.bytes_mut()) {
            // What it quotes may have to wait as well, and not for longer than it has.
            Step::Quoting => self.quoting(scratch, ingress, &mut frame),
            step => step,
        };
        let step = match decided {
            Step::Park { port, next_hop } if self.now_ns < deadline_ns => {
                parked.awaited = Awaited::NextHop(port, next_hop);
                return Some(parked);
            }
            Step::AwaitFirst { source } if self.now_ns < deadline_ns => {
                parked.awaited = Awaited::FirstPiece(source);
                return Some(parked);
            }
            Step::Park { .. } => Step::Answer(Answer::HostUnreachable),
            Step::AwaitFirst { .. } => DropReason::FragmentUnmatched.into(),
            step => step,
        };
        let sent = match self.finish(scratch, ingress, &mut frame, step) {
            Ok(Outcome::Sent(ring)) if ports.inject(ring, frame.bytes()) => Ok(()),
            Ok(Outcome::Sent(_)) => Err(DropReason::TransmitRefused),
            Ok(Outcome::Parked) => Err(DropReason::NextHopUnresolved),
            Ok(Outcome::Taken) => {
                self.counters.taken.add(1);
                scratch.park.release(parked);
                return None;
            }
            Err(reason) => Err(reason),
        };
        match sent {
            Ok(()) => self.counters.transmitted.add(1),
            Err(reason) => self.counters.drop_for(reason),
        }
        scratch.park.release(parked);
        None
    }
}
