//! Walks over the session tables, a slice a turn: sessions that have been idle for too long end, and those of a server
//! that died are reset at both ends.

use crate::path::World;
use crate::scratch::Scratch;
use port::Ports;
use session::{TICK_NS, Timeouts, ticks_in};
use std::ops::Range;
use std::time::Duration;

/// How long one walk for age over the whole table takes, when turns come often enough.
const AGE_WALK_NS: u64 = 2_000_000_000;
/// The same for a worker under load whose walks end next to nothing: each passes through the caches what traffic needs
/// there. Sessions end later by the difference, or an eighth of the shortest timeout if that is less.
const AGE_WALK_FRUITLESS_NS: u64 = 8_000_000_000;
/// A walk has not been fruitless once it has ended a session in one of so many of its sets.
const SETS_PER_END: usize = 64;
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
    /// Sessions that ended since it last began.
    ended: usize,
    /// Whether the last one had ended next to nothing when it was through.
    fruitless: bool,
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

    /// How long it takes. An idle worker has the time to look twice.
    fn lasts_ns(&self, busy: bool, fruitless_ns: u64) -> u64 {
        if busy && self.fruitless { fruitless_ns } else { AGE_WALK_NS }
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
            let (slice, is_last) = self.slice(share, count);
            let more = sweep(slice);
            (ended, self.ended) = (ended + more, self.ended + more);
            // At once when it is worth while, else when it is through.
            let fruitless = self.ended.saturating_mul(SETS_PER_END) <= share.len();
            if is_last || !fruitless {
                self.fruitless = fruitless;
            }
            if is_last {
                self.ended = 0;
            }
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
        let elapsed_ns = world.now_ns.saturating_sub(self.aged_at_ns);
        let most = if busy { AGE_SETS_BUSY_MAX } else { AGE_SETS_IDLE_MAX };
        let timeouts = timeouts(&world.plan.timeouts);
        let shares = self.shares(world);
        let fruitless_ns = fruitless_walk_ns(&timeouts);
        let due = |walk: &Walk, share: &Range<usize>| {
            let walk_ns = walk.lasts_ns(busy, fruitless_ns);
            (share.len() as u64 * elapsed_ns.min(walk_ns) / walk_ns).min(most) as usize
        };
        let [v4, v6] = &mut self.age;
        let (due_v4, due_v6) = (due(v4, &shares[0]), due(v6, &shares[1]));
        // Some sets at once, or all of a small table: the rest of a division is forgotten.
        let is_enough = |due: usize, share: &Range<usize>| due > 0 && due >= share.len().min(AGE_SETS);
        if !is_enough(due_v4, &shares[0]) && !is_enough(due_v6, &shares[1]) {
            return false;
        }
        let is_through = v4.age(&shares[0], due_v4, |slice| {
            let path = world.v4();
            path.table.sweep(slice, world.tick, &timeouts, |ended| path.release(ended))
        }) & v6.age(&shares[1], due_v6, |slice| {
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

/// How long a fruitless walk of a loaded worker takes.
fn fruitless_walk_ns(timeouts: &Timeouts) -> u64 {
    (u64::from(timeouts.shortest()) * TICK_NS / 8).clamp(AGE_WALK_NS, AGE_WALK_FRUITLESS_NS)
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Range<usize> = 0..256;
    const SLOW_NS: u64 = 7_000_000_000;

    #[test]
    fn a_loaded_worker_takes_its_time_once_a_whole_walk_has_ended_next_to_nothing() {
        let mut walk = Walk::default();
        assert!(walk.age(&SHARE, SHARE.len() - AGE_SETS, |_| 0));
        assert_eq!(walk.lasts_ns(true, SLOW_NS), AGE_WALK_NS, "it is not through");
        assert!(walk.age(&SHARE, AGE_SETS, |_| 0));
        assert_eq!(walk.lasts_ns(true, SLOW_NS), SLOW_NS);
        assert_eq!(walk.lasts_ns(false, SLOW_NS), AGE_WALK_NS, "an idle one has time");
    }

    #[test]
    fn a_walk_that_ends_sessions_is_quick_at_once_and_for_one_walk_more() {
        let mut walk = Walk { fruitless: true, ..Walk::default() };
        walk.age(&SHARE, AGE_SETS, |_| SHARE.len() / SETS_PER_END);
        assert!(walk.fruitless, "as few as are next to nothing");
        walk.age(&SHARE, AGE_SETS, |_| 1);
        assert!(!walk.fruitless, "in the midst of a walk");
        walk.age(&SHARE, SHARE.len() - 2 * AGE_SETS, |_| 0);
        assert!(!walk.fruitless, "what that walk ended counts for the next");
        walk.age(&SHARE, SHARE.len(), |_| 0);
        assert!(walk.fruitless, "which ended nothing");
    }

    #[test]
    fn no_session_outlives_its_timeout_by_more_than_an_eighth_or_two_seconds() {
        let after = |ticks| fruitless_walk_ns(&Timeouts { tcp_closing_ticks: ticks, ..Timeouts::default() });
        assert_eq!(after(ticks_in(Duration::from_secs(4))), AGE_WALK_NS);
        let between = after(ticks_in(Duration::from_secs(32)));
        assert!((4_000_000_000..4_100_000_000).contains(&between), "{between}");
        assert_eq!(fruitless_walk_ns(&longest()), AGE_WALK_FRUITLESS_NS);
    }

    fn longest() -> Timeouts {
        let ticks = u32::MAX;
        Timeouts {
            tcp_established_ticks: ticks,
            tcp_transitory_ticks: ticks,
            tcp_closing_ticks: ticks,
            udp_ticks: ticks,
            icmp_ticks: ticks,
        }
    }
}
