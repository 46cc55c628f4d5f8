//! One entry: its words, who may write which, and the count that every thread may change at any time.

use super::{StickyEntry, StickyKey};
use crate::sync::{AtomicU64, Ordering, fence};

/// `stamp | key: 3 words | holding | life`: a cache line.
///
/// The stamp is even for as long as the key stands and odd before the first; only who holds the claim to the set
/// changes it. Holding and life move on their own.
#[repr(align(64))]
pub(super) struct Entry {
    stamp: AtomicU64,
    key: [AtomicU64; 3],
    holding: AtomicU64,
    life: AtomicU64,
}

/// `member:32 | sessions:32`, one word so that a session is never taken from another member than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holding(u64);

impl Holding {
    fn first(member: u32) -> Self {
        Self(u64::from(member) << 32 | 1)
    }

    fn member(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn sessions(self) -> u32 {
        self.0 as u32
    }

    /// The count stands still at its end rather than run into the member.
    fn one_more(self) -> Self {
        Self(self.0 + u64::from(self.sessions() < u32::MAX))
    }

    /// `None` when `member` has no session here that could end.
    fn one_less(self, member: u32) -> Option<Self> {
        (self.member() == member && self.sessions() > 0).then(|| Self(self.0 - 1))
    }
}

/// `last seen tick:32 | timeout ticks:32`.
#[derive(Clone, Copy)]
struct Life(u64);

impl Life {
    fn new(last_seen_tick: u32, timeout_ticks: u32) -> Self {
        Self(u64::from(last_seen_tick) << 32 | u64::from(timeout_ticks))
    }

    fn last_seen_tick(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn timeout_ticks(self) -> u32 {
        self.0 as u32
    }

    /// The later of both ticks: a session that ends may have been silent for longer than its sisters.
    fn last_seen_or(self, tick: u32) -> u32 {
        let is_later = tick.wrapping_sub(self.last_seen_tick()).cast_signed() > 0;
        if is_later { tick } else { self.last_seen_tick() }
    }
}

impl Entry {
    /// A place that no key ever had. Its stamp is not zero, so making one writes to its cache line.
    pub(super) fn new() -> Self {
        let word = |_| AtomicU64::new(0);
        Self {
            stamp: AtomicU64::new(1),
            key: std::array::from_fn(word),
            holding: AtomicU64::new(0),
            life: AtomicU64::new(0),
        }
    }

    /// Acquire: who sees a session gone sees when it had traffic last.
    fn holding(&self) -> Holding {
        Holding(self.holding.load(Ordering::Acquire))
    }

    pub(super) fn member(&self) -> u32 {
        self.holding().member()
    }

    /// The stamp while a key stands here.
    fn stamp(&self) -> Option<u64> {
        Some(self.stamp.load(Ordering::Acquire)).filter(|stamp| stamp.is_multiple_of(2))
    }

    /// Whether the key that stood here under `stamp` still does. The fence pairs with the one in
    /// [`start`](Self::start): who saw a word of the next key sees the next stamp.
    fn is_unchanged(&self, stamp: u64) -> bool {
        fence(Ordering::Acquire);
        self.stamp.load(Ordering::Relaxed) == stamp
    }

    /// Whether `key` stands here. Needs no claim: a key that comes or goes meanwhile counts as absent.
    pub(super) fn has_key(&self, key: &StickyKey) -> bool {
        let is_equal =
            || self.key.iter().zip(key.0).all(|(word, value)| word.load(Ordering::Relaxed) == value);
        self.stamp().is_some_and(|stamp| is_equal() && self.is_unchanged(stamp))
    }

    /// The entry as plain data, without a claim; `None` while no key stands here.
    pub(super) fn read(&self) -> Option<StickyEntry> {
        let stamp = self.stamp()?;
        let key = StickyKey(self.key.each_ref().map(|word| word.load(Ordering::Relaxed)));
        // In this order: a session that ends leaves its last traffic first and the count second.
        let holding = self.holding();
        let life = Life(self.life.load(Ordering::Relaxed));
        self.is_unchanged(stamp).then(|| StickyEntry {
            key,
            member: holding.member(),
            sessions: holding.sessions(),
            last_seen_tick: life.last_seen_tick(),
            timeout_ticks: life.timeout_ticks(),
        })
    }

    /// Gives the place to `key`. Only under the claim, and only where no session is counted.
    pub(super) fn start(&self, key: &StickyKey, member: u32, now_tick: u32, timeout_ticks: u32) {
        let odd = self.stamp.load(Ordering::Relaxed) | 1;
        self.stamp.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        self.key.iter().zip(key.0).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        self.replace(member, now_tick, timeout_ticks);
        self.stamp.store(odd + 1, Ordering::Release);
    }

    /// Gives the key another member and counts its first session. Only under the claim. Sessions of the last member
    /// count for nothing from now on.
    pub(super) fn replace(&self, member: u32, now_tick: u32, timeout_ticks: u32) {
        self.life.store(Life::new(now_tick, timeout_ticks).0, Ordering::Relaxed);
        // A swap, so that it has its place among the releases, which come without a claim.
        self.holding.swap(Holding::first(member).0, Ordering::AcqRel);
    }

    /// Takes all sessions off, and lets the entry die with this tick. Only under the claim.
    pub(super) fn void(&self) {
        self.change_life(|life| Life::new(life.last_seen_tick(), 0));
        let without = |word| Some(word & !u64::from(u32::MAX));
        let _always = self.holding.fetch_update(Ordering::AcqRel, Ordering::Acquire, without);
    }

    /// Counts one more session and returns its member. Only under the claim: the key and the member stand still.
    pub(super) fn count_one(&self, now_tick: u32, timeout_ticks: u32) -> u32 {
        self.refresh(now_tick, timeout_ticks);
        let one_more = |word| Some(Holding(word).one_more().0);
        let (Ok(before) | Err(before)) =
            self.holding.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        Holding(before).member()
    }

    /// Notes traffic now, and the timeout from now on.
    pub(super) fn refresh(&self, now_tick: u32, timeout_ticks: u32) {
        self.change_life(|life| Life::new(life.last_seen_or(now_tick), timeout_ticks));
    }

    /// Takes one session off `member`; false when it has none here. Needs no claim.
    ///
    /// Each turn of a loop here that fails is the success of another thread at the same entry, so this ends: nobody
    /// can hold it up by being descheduled.
    pub(super) fn take_one(&self, member: u32, last_seen_tick: u32) -> bool {
        if self.holding().one_less(member).is_none() {
            return false;
        }
        // The traffic first: else an entry whose last session ends could look dead for a moment.
        self.change_life(|life| Life::new(life.last_seen_or(last_seen_tick), life.timeout_ticks()));
        let one_less = |word| Holding(word).one_less(member).map(|next| next.0);
        self.holding.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok()
    }

    fn change_life(&self, change: impl Fn(Life) -> Life) {
        // It is never refused, so both arms are the same.
        let _ =
            self.life.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| Some(change(Life(word)).0));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_count_stays_within_its_half_of_the_word() {
        let most = Holding(7 << 32 | u64::from(u32::MAX));
        assert_eq!(most.one_more(), most, "it stands still at its end");
        assert_eq!(Holding::first(7).one_more(), Holding(7 << 32 | 2));
        assert_eq!(Holding::first(7).one_less(7), Some(Holding(7 << 32)));
        assert_eq!(Holding(7 << 32).one_less(7), None, "it never goes below zero");
        assert_eq!(Holding::first(7).one_less(8), None);
    }

    #[test]
    fn the_later_tick_is_kept_when_ticks_wrap() {
        let before = Life::new(u32::MAX - 1, 10);
        assert_eq!(before.last_seen_or(3), 3);
        assert_eq!(Life::new(3, 10).last_seen_or(u32::MAX - 1), 3);
        assert_eq!((before.last_seen_tick(), before.timeout_ticks()), (u32::MAX - 1, 10));
    }
}
