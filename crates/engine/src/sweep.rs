//! Walks over the session tables, a slice a turn: sessions that have been idle for too long end, and those of a server
//! that died are reset at both ends.

use crate::path::World;
use crate::scratch::Scratch;
use port::Ports;
use session::{Timeouts, ticks_in};
use std::ops::Range;
use std::time::Duration;

/// How long one walk for age over the whole table takes, when turns come often enough.
const AGE_WALK_NS: u64 = 2_000_000_000;
/// Sets of a busy and of an idle turn at the most: 64 sets cost a loaded worker a few microseconds at the worst.
const AGE_SETS_BUSY_MAX: u64 = 64;
const AGE_SETS_IDLE_MAX: u64 = 4_096;
/// Sets of one slice of a reset walk: 16 slots each, so a million sessions take about 1,100 turns.
const RESET_SETS: usize = 128;

/// How many turns a reset walk waits for a full transmit ring before it goes on without: a ring that drains at all does so
/// within a few, and one whose link is gone must not hold up the others.
const RESET_STALLS_MAX: u32 = 64;

/// One worker's walk over its share of one table.
#[derive(Default)]
struct Walk {
    next: usize,
}

impl Walk {
    /// The next `count` sets of `share`, from its start again once it is through; true when this slice ends it.
    fn slice(&mut self, share: &Range<usize>, count: usize) -> (Range<usize>, bool) {
        let start = self.next.clamp(share.start, share.end);
        let end = (start + count).min(share.end);
        let is_last = end == share.end;
        self.next = if is_last { share.start } else { end };
        (start..end, is_last)
    }
}

/// All walks of one worker.
pub(crate) struct Sweep {
    worker: usize,
    workers: usize,
    age: [Walk; 2],
    aged_at_ns: u64,
    reset: [Walk; 2],
    /// The epoch whose dead this walk looks for, and how many tables it has still to walk.
    reset_epoch: u64,
    reset_tables_left: usize,
    reset_stalls: u32,
}

impl Sweep {
    pub fn new(worker: usize, workers: usize, reset_epoch: u64) -> Self {
        let walks = || [Walk::default(), Walk::default()];
        Self {
            worker,
            workers,
            age: walks(),
            aged_at_ns: 0,
            reset: walks(),
            reset_epoch,
            reset_tables_left: 0,
            reset_stalls: 0,
        }
    }

    fn share(&self, sets: usize) -> Range<usize> {
        sets * self.worker / self.workers..sets * (self.worker + 1) / self.workers
    }

    /// Ends what has been idle for too long in the slices that are due.
    pub fn age(&mut self, world: &World<'_>, busy: bool) {
        let elapsed_ns = world.now_ns.saturating_sub(self.aged_at_ns).min(AGE_WALK_NS);
        let most = if busy { AGE_SETS_BUSY_MAX } else { AGE_SETS_IDLE_MAX };
        let timeouts = timeouts(&world.plan.timeouts);
        let due = |sets: usize| (sets as u64 * elapsed_ns / AGE_WALK_NS).min(most) as usize;
        let shares = self.shares(world);
        if shares.iter().all(|share| due(share.len()) == 0) {
            return;
        }
        self.aged_at_ns = world.now_ns;
        let (slice, _) = self.age[0].slice(&shares[0], due(shares[0].len()).max(1));
        let path = world.v4();
        path.table.sweep(slice, world.tick, &timeouts, |ended| path.release(ended));
        let (slice, _) = self.age[1].slice(&shares[1], due(shares[1].len()).max(1));
        let path = world.v6();
        path.table.sweep(slice, world.tick, &timeouts, |ended| path.release(ended));
    }

    fn shares(&self, world: &World<'_>) -> [Range<usize>; 2] {
        [world.v4().table.set_count(), world.v6().table.set_count()].map(|sets| self.share(sets))
    }

    /// Resets the sessions of dead servers in the next slice; true while there is more to do.
    pub fn reset<P: Ports>(&mut self, world: &World<'_>, ports: &mut P, scratch: &mut Scratch) -> bool {
        let shares = self.shares(world);
        if self.reset_tables_left == 0 {
            if self.reset_epoch == world.plan.reset_epoch {
                return false;
            }
            self.reset_epoch = world.plan.reset_epoch;
            self.reset_tables_left = 2;
            self.reset.iter_mut().zip(&shares).for_each(|(walk, share)| walk.next = share.start);
        }
        let table = 2 - self.reset_tables_left;
        let (slice, done) = self.reset[table].slice(&shares[table], RESET_SETS);
        let start = slice.start;
        let insist = self.reset_stalls < RESET_STALLS_MAX;
        let told_all = match table {
            0 => world.v4().reset_dead(slice, (ports, scratch), insist),
            _ => world.v6().reset_dead(slice, (ports, scratch), insist),
        };
        if !told_all && insist {
            self.reset[table].next = start;
            self.reset_stalls += 1;
            return true;
        }
        self.reset_stalls = 0;
        self.reset_tables_left -= usize::from(done);
        if self.reset_tables_left == 0 {
            world.counters.reset_epoch_swept.set(self.reset_epoch);
        }
        true
    }
}

fn timeouts(plan: &plan::Timeouts) -> Timeouts {
    let ticks = |ms| ticks_in(Duration::from_millis(ms));
    Timeouts {
        tcp_established_ticks: ticks(plan.tcp_established_ms),
        tcp_transitory_ticks: ticks(plan.tcp_transitory_ms),
        tcp_closing_ticks: ticks(plan.tcp_closing_ms),
        udp_ticks: ticks(plan.udp_ms),
        icmp_ticks: ticks(plan.icmp_ms),
    }
}
