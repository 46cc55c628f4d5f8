//! The persistence table: which member a client of a service was given, for as long as it is remembered.
//!
//! A client's first session binds it to a member, [`StickyTable::bind`]; its later ones find that member,
//! [`StickyTable::hold`]. Both count the session in the entry, and [`StickyTable::release`] takes it off when the
//! session has ended. An entry is live while it has sessions, and for its timeout after the last traffic.
//!
//! ```text
//!   keyed hash ──▶ set a, set b        an entry is in one of two sets of sixteen, and never moves
//!
//!   set    ┌ claim ┐  ┌───────────────── entry, 64 bytes ───────────────────┐
//!          │ 0 · 1 │  │ stamp │ key: 3 words │ member:32 sessions:32 │ life │   sixteen of them
//!          └───────┘  └─────────────────────────────────────────────────────┘
//!                       └─ under the claim ─┘ └─ release too, without a claim ─┘
//!
//!   life   last seen tick:32 │ timeout ticks:32
//! ```
//!
//! **Threads.** Any may call anything at any time; workers do when a session opens or ends, never for a packet.
//! `hold` claims the set of the entry that it found, `bind` both sets of its key, the lower first, so that a key has
//! one entry and two first sessions on two workers get one member. A claim is a compare-and-swap for a few dozen
//! loads and stores; who finds it taken looks a few hundred times and then says `Busy`, and its session goes on
//! without memory. [`peek`](StickyTable::peek) and [`inspect`](StickyTable::inspect) take no claim and write nothing:
//! who looks cannot hold up a worker. Only [`retain`](StickyTable::retain) has the control thread claim sets, when a
//! service is gone. There is no lock to sleep on and no allocation.
//!
//! **A count that comes down.** A session that ended but stays counted would keep its entry for ever, so `release`
//! must not depend on a claim that another thread may sit on. It takes none. It looks the key up under the stamps and
//! swaps the word of member and count; a failed swap is another thread's success, so it ends. It cannot miss: an entry
//! with sessions keeps its place and its key, since only one without sessions gives way and only a holder of the claim
//! counts up. And it cannot take from another member: the swap compares that too. Where it errs, it errs towards
//! forgetting. A session of a replaced member that ends after this very member was bound to the client once more takes
//! off a session that is not its own. So does a `release` that stalls between look-up and swap while its member is
//! replaced, the entry gives way, and its place goes to another client of the first member. Then an entry may be
//! forgotten a timeout after its last traffic although a session lives: that client's next session is scheduled like a
//! first one.
//!
//! **Bounds.** Memory is fixed: 68 bytes an entry, taken at the start. When both sets are full of live entries, the one
//! without sessions that has been idle longest gives way; when all have sessions, the new client is refused as
//! [`Bound::Full`].

mod entry;

use crate::sync::{AtomicU32, ENTRIES_PER_SET, Ordering, WAIT_LOOKS, spin_loop};
use entry::Entry;
use std::ops::Range;

/// Who is remembered: the identity of the service, and the client's address masked to the prefix length, as two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StickyKey(pub [u64; 3]);

/// An entry as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StickyEntry {
    /// Whose it is.
    pub key: StickyKey,
    /// The member's word, as [`StickyTable::bind`] was given it.
    pub member: u32,
    /// Live sessions that count on it.
    pub sessions: u32,
    /// Tick of the last traffic that the table was told of: an opening, or the last packet of a session that ended.
    pub last_seen_tick: u32,
    /// How long it outlives that traffic once it has no sessions.
    pub timeout_ticks: u32,
}

impl StickyEntry {
    /// Ticks since the last traffic. The clocks of two workers may be a tick apart, so the future is now.
    pub fn idle_ticks(&self, now_tick: u32) -> u32 {
        now_tick.wrapping_sub(self.last_seen_tick).cast_signed().max(0).cast_unsigned()
    }

    /// Whether [`StickyTable::retain`] has made it forgotten.
    fn is_void(&self) -> bool {
        self.sessions == 0 && self.timeout_ticks == 0
    }

    /// Whether it is remembered at `now_tick`.
    pub fn is_live(&self, now_tick: u32) -> bool {
        self.sessions > 0 || self.idle_ticks(now_tick) <= self.timeout_ticks
    }
}

/// What is remembered of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Its member, on which one more session counts now: [`StickyTable::release`] it when it ends, or comes to nothing.
    Member(u32),
    /// Nothing: choose a member and [`StickyTable::bind`] it.
    Unknown,
    /// Another thread held the set all the while: go on without memory.
    Busy,
}

/// What became of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The client's member, on which one more session counts now: the one that was offered, or the one that another
    /// thread bound first.
    Member(u32),
    /// All entries of both sets have sessions: go on without memory.
    Full,
    /// Another thread held a set all the while: go on without memory.
    Busy,
}

/// A claim to a set, in a cache line of its own.
#[repr(align(64))]
struct Claim(AtomicU32);

/// The entries of one set for one thread, until it is dropped.
struct Claimed<'a> {
    claim: &'a AtomicU32,
    entries: &'a [Entry],
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.claim.store(0, Ordering::Release);
    }
}

impl<'a> Claimed<'a> {
    /// The key's entry, live or not.
    fn entry(&self, key: &StickyKey) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.has_key(key))
    }

    /// Places that another key may have.
    fn vacant(&self, now_tick: u32) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| !is_live(entry, now_tick))
    }

    /// Entries that a full pair of sets may give up, each with its idle time.
    fn without_sessions(&self, now_tick: u32) -> impl Iterator<Item = (u32, &'a Entry)> {
        self.entries.iter().filter_map(move |entry| {
            let seen = entry.read().filter(|seen| seen.sessions == 0)?;
            Some((seen.idle_ticks(now_tick), entry))
        })
    }
}

fn is_live(entry: &Entry, now_tick: u32) -> bool {
    entry.read().is_some_and(|seen| seen.is_live(now_tick))
}

/// The memory of clients and their members, shared by all workers; see the module's documentation.
pub struct StickyTable {
    claims: Box<[Claim]>,
    entries: Box<[Entry]>,
}

impl std::fmt::Debug for StickyTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StickyTable({} entries)", self.capacity())
    }
}

impl StickyTable {
    /// A table of at least `entries`, in whole sets of sixteen and two sets at least. All its memory is taken and
    /// touched here.
    pub fn with_capacity(entries: usize) -> Self {
        let set_count = entries.div_ceil(ENTRIES_PER_SET).max(2);
        Self {
            claims: (0..set_count).map(|_| Claim(AtomicU32::new(0))).collect(),
            entries: (0..set_count * ENTRIES_PER_SET).map(|_| Entry::new()).collect(),
        }
    }

    /// Entries that there are places for.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that the table holds.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.claims) + size_of_val(&*self.entries)
    }

    /// Sets in the table: what [`inspect`](Self::inspect) walks.
    pub fn set_count(&self) -> usize {
        self.claims.len()
    }

    /// Finds the client's live entry and counts one more session on it, from now on with this timeout. `hash` is the
    /// keyed hash of `key`.
    ///
    /// Who gets a member that is dead or drained offers another by [`bind`](Self::bind) and names it as stale. When
    /// that answers `Full` or `Busy`, what was counted here is still to be released.
    pub fn hold(&self, hash: u64, key: &StickyKey, now_tick: u32, timeout_ticks: u32) -> Held {
        let Some((set, _)) = self.find(hash, key) else { return Held::Unknown };
        let Some(claimed) = self.claim(set) else { return Held::Busy };
        match claimed.entry(key).filter(|entry| is_live(entry, now_tick)) {
            Some(entry) => Held::Member(entry.count_one(now_tick, timeout_ticks)),
            None => Held::Unknown,
        }
    }

    /// Binds the client to `member` and counts its first session, where it has no live entry or that names the member
    /// `stale`. Where another thread was faster, the entry stands as it is and counts one more session: the answer
    /// says whose.
    ///
    /// `stale` is what [`hold`](Self::hold) answered to this very session, which it counted. Bound to a member, the
    /// session counts once in all. Sessions of a member that is replaced count no more, and to release them changes
    /// nothing.
    pub fn bind(
        &self,
        hash: u64,
        key: &StickyKey,
        member: u32,
        stale: Option<u32>,
        now_tick: u32,
        timeout_ticks: u32,
    ) -> Bound {
        let [low, high] = self.sets_of(hash);
        let (Some(low), Some(high)) = (self.claim(low), self.claim(high)) else { return Bound::Busy };
        if let Some(entry) = low.entry(key).or_else(|| high.entry(key)) {
            let (there, is_live) = (entry.member(), is_live(entry, now_tick));
            return Bound::Member(if is_live && stale != Some(there) {
                entry.count_one(now_tick, timeout_ticks)
            } else if is_live && there == member {
                // Not stale after all: the session that `hold` counted is this one.
                entry.refresh(now_tick, timeout_ticks);
                member
            } else {
                // In its old place even when it is dead, so that no key ever has two.
                entry.replace(member, now_tick, timeout_ticks);
                member
            });
        }
        // To the emptier set, which is what lets two sets of sixteen fill up.
        let emptier = if high.vacant(now_tick).count() > low.vacant(now_tick).count() { &high } else { &low };
        let idle = || low.without_sessions(now_tick).chain(high.without_sessions(now_tick));
        let longest_idle = || idle().max_by_key(|&(idle_ticks, _)| idle_ticks).map(|(_, entry)| entry);
        let Some(entry) = emptier.vacant(now_tick).next().or_else(longest_idle) else { return Bound::Full };
        entry.start(key, member, now_tick, timeout_ticks);
        Bound::Member(member)
    }

    /// Takes one session off the client's entry, if that still names `member`, and tells it of the session's last
    /// traffic. Once for every session that [`hold`](Self::hold) or [`bind`](Self::bind) counted, by a thread that
    /// knows of the session from the table of sessions. Never waits; false when there was nothing to take off, since
    /// the member was replaced.
    pub fn release(&self, hash: u64, key: &StickyKey, member: u32, last_seen_tick: u32) -> bool {
        self.find(hash, key).is_some_and(|(_, entry)| entry.take_one(member, last_seen_tick))
    }

    /// The client's live entry; counts nothing. For whoever explains or shows.
    pub fn peek(&self, hash: u64, key: &StickyKey, now_tick: u32) -> Option<StickyEntry> {
        let (_, entry) = self.find(hash, key)?;
        entry.read().filter(|seen| seen.key == *key && seen.is_live(now_tick))
    }

    /// Shows every entry of `sets` that is live to `see`. An entry that is being given to another client meanwhile is
    /// passed over.
    pub fn inspect(&self, sets: Range<usize>, now_tick: u32, mut see: impl FnMut(&StickyEntry)) {
        for set in sets.start..sets.end.min(self.set_count()) {
            let entries = self.entries_of(set).iter().filter_map(Entry::read);
            entries.filter(|seen| seen.is_live(now_tick)).for_each(|seen| see(&seen));
        }
    }

    /// Forgets every client whose key `keep` refuses, sessions or not. For the control thread: a set that a worker holds is
    /// waited for. Sessions of those that go count nowhere any more, and to release them changes nothing.
    pub fn retain(&self, keep: impl Fn(&StickyKey) -> bool) {
        for set in 0..self.set_count() {
            let is_kept = |entry: &Entry| entry.read().is_none_or(|seen| seen.is_void() || keep(&seen.key));
            while self.entries_of(set).iter().any(|entry| !is_kept(entry)) {
                let Some(claimed) = self.claim(set) else { continue };
                claimed.entries.iter().filter(|entry| !is_kept(entry)).for_each(Entry::void);
            }
        }
    }

    /// Where the key stands, live or not, and in which set.
    fn find(&self, hash: u64, key: &StickyKey) -> Option<(usize, &Entry)> {
        let places = self.sets_of(hash).into_iter();
        let mut places = places.flat_map(|set| self.entries_of(set).iter().map(move |entry| (set, entry)));
        places.find(|(_, entry)| entry.has_key(key))
    }

    fn entries_of(&self, set: usize) -> &[Entry] {
        let start = set * ENTRIES_PER_SET;
        self.entries.get(start..start + ENTRIES_PER_SET).unwrap_or_default()
    }

    /// The two sets of a key, never the same one twice, the lower first: the order in which they are claimed.
    fn sets_of(&self, hash: u64) -> [usize; 2] {
        let below = |half: u64, bound: usize| (((half & 0xffff_ffff) * bound as u64) >> 32) as usize;
        let count = self.set_count();
        let first = below(hash, count);
        let second = (first + 1 + below(hash >> 32, count - 1)) % count;
        [first.min(second), first.max(second)]
    }

    fn claim(&self, set: usize) -> Option<Claimed<'_>> {
        let claim = &self.claims.get(set)?.0;
        for _ in 0..WAIT_LOOKS {
            if claim.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Some(Claimed { claim, entries: self.entries_of(set) });
            }
            spin_loop();
        }
        None
    }
}
