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
/// Sets of a busy and of an idle turn at the most: 64 sets in which nothing ends cost a loaded worker a few microseconds.
const AGE_SETS_BUSY_MAX: u64 = 64;
const AGE_SETS_IDLE_MAX: u64 = 4_096;
/// Sets of a walk for age between two looks at how much ended, and sessions that a turn ends before it leaves the rest to the
/// next one.
const AGE_SETS: usize = 8;
const ENDS_ENOUGH: usize = 128;
/// Sets of a turn of a reset walk at the most: 16 slots each, so a million sessions of which few are dead take about 1,100
/// turns.
const RESET_SETS_MAX: usize = 128;
/// Sets of a reset walk between two looks at how much was done.
const RESET_SETS: usize = 4;
/// Sessions that a turn resets before it leaves the rest to the next one: two frames each, which keeps the longest turn below
/// 100 µs (`cargo bench -p engine --bench longest`).
const RESETS_ENOUGH: u32 = 64;

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

    /// Has `sweep` end what is too old in the next `due` sets, one at least; false when it was stopped before that, since
    /// enough has ended.
    fn age(
        &mut self,
        share: &Range<usize>,
        due: usize,
        mut sweep: impl FnMut(Range<usize>) -> usize,
    ) -> bool {
        let (mut left, mut ended) = (due.max(1), 0);
        while left > 0 && ended < ENDS_ENOUGH {
            let count = left.min(AGE_SETS);
            let (slice, _) = self.slice(share, count);
            ended += sweep(slice);
            left -= count;
        }
        left == 0
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

    /// Ends what has been idle for too long in the slices that are due; true when so much has ended that the rest is left to
    /// the next turn.
    pub fn age(&mut self, world: &World<'_>, busy: bool) -> bool {
        let elapsed_ns = world.now_ns.saturating_sub(self.aged_at_ns).min(AGE_WALK_NS);
        let most = if busy { AGE_SETS_BUSY_MAX } else { AGE_SETS_IDLE_MAX };
        let timeouts = timeouts(&world.plan.timeouts);
        let due = |sets: usize| (sets as u64 * elapsed_ns / AGE_WALK_NS).min(most) as usize;
        let shares = self.shares(world);
        if shares.iter().all(|share| due(share.len()) == 0) {
            return false;
        }
        let [v4, v6] = &mut self.age;
        let is_through = v4.age(&shares[0], due(shares[0].len()), |slice| {
            let path = world.v4();
            path.table.sweep(slice, world.tick, &timeouts, |ended| path.release(ended))
        }) & v6.age(&shares[1], due(shares[1].len()), |slice| {
            let path = world.v6();
            path.table.sweep(slice, world.tick, &timeouts, |ended| path.release(ended))
        });
        // What is left stays due.
        if is_through {
            self.aged_at_ns = world.now_ns;
        }
        !is_through
    }

    fn shares(&self, world: &World<'_>) -> [Range<usize>; 2] {
        [world.v4().table.set_count(), world.v6().table.set_count()].map(|sets| self.share(sets))
    }

    /// Resets the sessions of dead servers in the next slices.
    pub fn reset<P: Ports>(&mut self, world: &World<'_>, ports: &mut P, scratch: &mut Scratch) -> Resets {
        if self.reset_tables_left == 0 {
            if self.reset_epoch == world.plan.reset_epoch {
                return Resets::Done;
            }
            let shares = self.shares(world);
            self.reset_epoch = world.plan.reset_epoch;
            self.reset_tables_left = 2;
            self.reset.iter_mut().zip(&shares).for_each(|(walk, share)| walk.next = share.start);
        }
        let mut resets = 0;
        for _ in 0..RESET_SETS_MAX / RESET_SETS {
            match self.reset_slice(world, ports, scratch) {
                Some(more) => resets += more,
                None => return Resets::Stalled,
            }
            if self.reset_tables_left == 0 {
                world.counters.reset_epoch_swept.set(self.reset_epoch);
                return Resets::Done;
            }
            if resets >= RESETS_ENOUGH {
                break;
            }
        }
        Resets::GoOn
    }

    /// One slice; gives back how many sessions were reset, or nothing when it is to be walked once more.
    fn reset_slice<P: Ports>(
        &mut self,
        world: &World<'_>,
        ports: &mut P,
        scratch: &mut Scratch,
    ) -> Option<u32> {
        let shares = self.shares(world);
        let table = 2 - self.reset_tables_left;
        let (slice, done) = self.reset[table].slice(&shares[table], RESET_SETS);
        let start = slice.start;
        let insist = self.reset_stalls < RESET_STALLS_MAX;
        let (told_all, resets) = match table {
            0 => world.v4().reset_dead(slice, (ports, scratch), insist),
            _ => world.v6().reset_dead(slice, (ports, scratch), insist),
        };
        if !told_all && insist {
            self.reset[table].next = start;
            self.reset_stalls += 1;
            return None;
        }
        self.reset_stalls = 0;
        self.reset_tables_left -= usize::from(done);
        Some(resets)
    }
}

/// How far a turn has come with the sessions of dead servers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resets {
    /// There are none, or none any more.
    Done,
    /// There is more to do at once.
    GoOn,
    /// There is more to do when a ring has room again.
    Stalled,
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
