//! What each member carries now: atomics outside the plan, shared by all workers, so that every worker chooses by one
//! picture (SPEC section 6).
//!
//! ```text
//!   row, one cache line   │ sessions │ response time │ byte rate │ byte rate of a session │
//!   written by            │ workers  │ workers, control │ both   │ control                │
//! ```
//!
//! and the time at which the next new session is due, of members whose new sessions are limited in rate.
//!
//! *Sessions* is exact: a worker reserves its place before it stores a session, by compare-and-swap, and gives it back when
//! the session begins to close, or ends, or was not stored after all. The others are estimates; a lost update of one is
//! made good by the next.

use crate::sync::{AtomicU64, Ordering};
use rewrite::MemberId;

/// How often a place is tried for against other workers. Each failure is a session that another one has opened or ended
/// there at that moment, so a worker gives up only when it has lost so many times in a row.
const RESERVE_TRIES: usize = 64;

/// A new response time counts for one part in so many: after as many sessions, two thirds of what is known is new.
const RESPONSE_MEMORY_SESSIONS: u64 = 8;

const SECOND_NS: u64 = 1_000_000_000;

/// One member's row, on a line of its own: neighbours in the table belong to other services and other workers.
#[derive(Debug)]
#[repr(align(64))]
struct Row {
    sessions: AtomicU64,
    response_ns: AtomicU64,
    rate_bytes_per_s: AtomicU64,
    session_rate_bytes_per_s: AtomicU64,
    /// When the next new session is due, in nanoseconds of the workers' clock, where they are limited in rate.
    due_ns: AtomicU64,
}

/// The rows of all members, by member index.
#[derive(Debug)]
pub struct Loads {
    rows: Box<[Row]>,
}

impl Loads {
    /// Rows for so many members, all idle.
    pub fn new(members: usize) -> Self {
        Self { rows: (0..members).map(|_| Row::new([0; 4])).collect() }
    }

    /// Rows of its own that say what these say now.
    pub fn detached(&self) -> Self {
        Self { rows: self.rows.iter().map(|row| Row::new(row.read())).collect() }
    }

    fn row(&self, member: MemberId) -> Option<&Row> {
        self.rows.get(usize::from(member.index))
    }

    /// Sessions that neither close nor have ended. Any thread.
    pub fn sessions(&self, member: MemberId) -> u64 {
        self.row(member).map_or(0, |row| row.sessions.load(Ordering::Relaxed))
    }

    /// Takes a place for one more session if there are fewer than `sessions_max`. Whoever gets one gives it back with
    /// [`Self::release`].
    pub fn reserve(&self, member: MemberId, sessions_max: u64) -> bool {
        let Some(row) = self.row(member) else { return false };
        let mut seen = row.sessions.load(Ordering::Relaxed);
        for _ in 0..RESERVE_TRIES {
            if seen >= sessions_max {
                return false;
            }
            match Self::swap(row, seen) {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
        false
    }

    /// Takes a place without a bound, for a session that somebody else has placed there.
    pub fn occupy(&self, member: MemberId) {
        if let Some(row) = self.row(member) {
            row.sessions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same if there are exactly `seen`: nobody else has changed what the choice was made by.
    pub fn reserve_after(&self, member: MemberId, seen: u64) -> bool {
        self.row(member).is_some_and(|row| Self::swap(row, seen).is_ok())
    }

    fn swap(row: &Row, seen: u64) -> Result<u64, u64> {
        row.sessions.compare_exchange(seen, seen + 1, Ordering::Relaxed, Ordering::Relaxed)
    }

    /// Gives a place back.
    pub fn release(&self, member: MemberId) {
        if let Some(row) = self.row(member) {
            row.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether one more new session keeps within `per_s_max` a second; `u32::MAX`: any does. A member that was idle takes a
    /// tenth of a second's at once (the virtual scheduling of ITU-T I.371 appendix A, by compare-and-swap).
    pub fn is_in_pace(&self, member: MemberId, per_s_max: u32, now_ns: u64) -> bool {
        if per_s_max == u32::MAX {
            return true;
        }
        let Some(row) = self.row(member) else { return false };
        let step_ns = SECOND_NS / u64::from(per_s_max.max(1));
        let ahead_ns = now_ns + (SECOND_NS / 10).saturating_sub(step_ns);
        let next = |due_ns: u64| (due_ns <= ahead_ns).then_some(due_ns.max(now_ns) + step_ns);
        row.due_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// How long the member takes to answer, in nanoseconds; `None` while nobody knows.
    pub fn response_ns(&self, member: MemberId) -> Option<u64> {
        let known = self.row(member)?.response_ns.load(Ordering::Relaxed);
        (known > 0).then_some(known)
    }

    /// Notes that it took `sample_ns` to answer just now.
    pub fn note_response(&self, member: MemberId, sample_ns: u64) {
        let Some(row) = self.row(member) else { return };
        let known = row.response_ns.load(Ordering::Relaxed);
        let next = match known {
            0 => sample_ns,
            _ => {
                let rest = u128::from(known) * u128::from(RESPONSE_MEMORY_SESSIONS - 1);
                ((rest + u128::from(sample_ns)) / u128::from(RESPONSE_MEMORY_SESSIONS)) as u64
            }
        };
        row.response_ns.store(next.max(1), Ordering::Relaxed);
    }

    /// Forgets how long it took: what is behind the row has changed. Control thread only.
    pub fn forget(&self, member: MemberId) {
        if let Some(row) = self.row(member) {
            row.response_ns.store(0, Ordering::Relaxed);
            row.rate_bytes_per_s.store(0, Ordering::Relaxed);
            row.session_rate_bytes_per_s.store(0, Ordering::Relaxed);
        }
    }

    /// Bytes a second of both directions, measured, and expected of sessions too young to be measured.
    pub fn rate_bytes_per_s(&self, member: MemberId) -> u64 {
        self.row(member).map_or(0, |row| row.rate_bytes_per_s.load(Ordering::Relaxed))
    }

    /// Expects of one more session what sessions of its service move on the average.
    pub(crate) fn expect_session(&self, member: MemberId) {
        if let Some(row) = self.row(member) {
            let expected = row.session_rate_bytes_per_s.load(Ordering::Relaxed);
            row.rate_bytes_per_s.fetch_add(expected, Ordering::Relaxed);
        }
    }

    /// Puts `after` in the place of `before` in the member's rate, and lets what workers have added meanwhile stand; says
    /// what a session of its service moves. Control thread only.
    pub fn set_rate(&self, member: MemberId, before: u64, after: u64, session_rate_bytes_per_s: u64) {
        if let Some(row) = self.row(member) {
            row.rate_bytes_per_s.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
            row.session_rate_bytes_per_s.store(session_rate_bytes_per_s, Ordering::Relaxed);
        }
    }
}

impl Row {
    fn new([sessions, response_ns, rate, session_rate]: [u64; 4]) -> Self {
        Self {
            sessions: AtomicU64::new(sessions),
            response_ns: AtomicU64::new(response_ns),
            rate_bytes_per_s: AtomicU64::new(rate),
            session_rate_bytes_per_s: AtomicU64::new(session_rate),
            due_ns: AtomicU64::new(0),
        }
    }

    fn read(&self) -> [u64; 4] {
        [&self.sessions, &self.response_ns, &self.rate_bytes_per_s, &self.session_rate_bytes_per_s]
            .map(|word| word.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    const MEMBER: MemberId = MemberId { index: 1, generation: 0 };

    #[test]
    fn a_bound_holds_among_threads_to_the_session() {
        let (loads, taken) = (Loads::new(2), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        taken.fetch_add(usize::from(loads.reserve(MEMBER, 1_500)), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((taken.load(Ordering::Relaxed), loads.sessions(MEMBER)), (1_500, 1_500));
        loads.release(MEMBER);
        assert!(loads.reserve(MEMBER, 1_500) && !loads.reserve(MEMBER, 1_500));
        loads.occupy(MEMBER);
        assert_eq!(loads.sessions(MEMBER), 1_501);
    }

    #[test]
    fn new_sessions_keep_a_pace_and_an_idle_member_takes_a_tenth_of_a_second_at_once() {
        let loads = Loads::new(2);
        let taken = |from_ms: u64, to_ms: u64| {
            (from_ms..to_ms)
                .flat_map(|ms| [ms * 1_000_000; 2])
                .filter(|&now| loads.is_in_pace(MEMBER, 100, now))
                .count()
        };
        assert_eq!(taken(1_000, 1_001), 2);
        assert_eq!(
            (0..50).filter(|_| loads.is_in_pace(MEMBER, 100, 1_001_000_000)).count(),
            8,
            "ten at once"
        );
        assert_eq!(taken(1_001, 2_001), 100);
        assert_eq!(taken(60_000, 61_000), 109, "the tenth, and then the pace");
        assert!((0..1_000).all(|_| loads.is_in_pace(MEMBER, u32::MAX, 61_000_000_000)));
        assert!(loads.is_in_pace(MEMBER, 1, 90_000_000_000) && !loads.is_in_pace(MEMBER, 1, 90_900_000_000));
    }

    #[test]
    fn a_response_time_follows_within_as_many_sessions_as_it_remembers() {
        let loads = Loads::new(2);
        assert_eq!(loads.response_ns(MEMBER), None);
        loads.note_response(MEMBER, 100_000);
        assert_eq!(loads.response_ns(MEMBER), Some(100_000));
        for _ in 0..RESPONSE_MEMORY_SESSIONS {
            loads.note_response(MEMBER, 20_000_000);
        }
        let now = loads.response_ns(MEMBER).unwrap();
        assert!((12_000_000..20_000_000).contains(&now), "{now}");
        loads.forget(MEMBER);
        assert_eq!(loads.response_ns(MEMBER), None);
    }

    #[test]
    fn what_workers_expect_stays_when_control_puts_a_new_measure_in() {
        let loads = Loads::new(2);
        loads.set_rate(MEMBER, 0, 1_000, 50);
        loads.expect_session(MEMBER);
        loads.set_rate(MEMBER, 1_000, 700, 50);
        assert_eq!(loads.rate_bytes_per_s(MEMBER), 750);
    }

    #[test]
    fn a_row_past_the_end_takes_nobody() {
        let loads = Loads::new(1);
        assert!(!loads.reserve(MEMBER, 10) && !loads.reserve_after(MEMBER, 0));
        loads.release(MEMBER);
        assert_eq!(loads.sessions(MEMBER), 0);
    }
}
