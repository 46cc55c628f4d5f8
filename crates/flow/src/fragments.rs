//! The fragment map: which flow a later piece belongs to, and whether it overlaps another.
//!
//! Only the first piece of a datagram holds ports. [`FragmentTable::note_first`] keeps what the caller decided for it;
//! [`FragmentTable::find`] gives that back for every other piece, in any order and on any worker. A piece that comes
//! before its first finds nothing: the caller may park it and ask again.
//!
//! ```text
//!   source hash ──▶ set a, set b        32 datagrams a source, whoever else sends
//!
//!   set    ┌ claim ┐  ┌────────── entry, 64 bytes ──────────┐   ┌── bitmap, 1 KiB ──┐
//!          │ 0 · 1 │  │ state │ key: 5 words │ payload: 2   │   │ a bit for 8 bytes │   sixteen of both
//!          └───────┘  └──────────────────────────────────────┘   └───────────────────┘
//! ```
//!
//! **Overlap.** Pieces that overlap are an attack on whoever looks at the first and lets the receiver see the second
//! (RFC 1858, RFC 3128), so the datagram is poisoned: every later piece is refused (RFC 5722, RFC 8200 section 4.5;
//! for IPv4 alike). A piece of which every byte was seen before is a duplicate, which the network makes by itself;
//! that piece alone is refused. It is judged in units of eight bytes, in which offsets count. The bytes themselves are
//! not kept, and so not compared.
//!
//! **Bounds.** Memory is fixed: 1,088 bytes a datagram, taken at the start. A datagram leaves when it is whole, or
//! after [`TIMEOUT_NS`]. A full pair of sets never gives up a datagram in time: the new one is refused as
//! [`Noted::Full`], so a flood from one address harms that address.
//!
//! **Threads.** Any may call anything at any time. Who looks also marks, so each call claims a set for itself by
//! compare-and-swap, for a few dozen loads and stores; who finds it claimed looks a few hundred times and then says
//! `Busy`. There is no lock to sleep on and no allocation. A look goes through one set after the other; a first piece
//! is noted under both claims, the lower set's first, so that one datagram has one entry.

mod entry;

use crate::key::DatagramKey;
use crate::sync::{AtomicU32, DATAGRAMS_PER_SET, Ordering, WAIT_LOOKS, spin_loop};
use entry::{Bitmap, Entry, Marked};
use wire::Fragment;

/// Datagrams that an appliance follows at once. They take 4.25 MiB; a datagram is under way for about a millisecond,
/// so this is a few million fragmented datagrams a second as long as none loses a piece.
pub const DATAGRAMS: usize = 4096;

/// How long a datagram may be under way, in nanoseconds: 30 s. RFC 791 section 3.2 asks 15 s at least of a receiver,
/// RFC 8200 section 4.5 has it wait for 60 s. No path delays a piece for that long, while an IPv4 sender comes round
/// to the same identification within seconds (RFC 4963), so the shorter wait mistakes fewer datagrams for another.
pub const TIMEOUT_NS: u64 = 30_000_000_000;

/// Ages are counted in ticks of 100 ms, in 32 bits; they wrap after 13 years.
const TICK_NS: u64 = 100_000_000;
const TIMEOUT_TICKS: u32 = (TIMEOUT_NS / TICK_NS) as u32;

/// What became of a first piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// The datagram is followed from now on.
    Fresh,
    /// It was already, and this piece brings nothing new: drop the piece.
    Duplicate,
    /// It overlaps another piece, or two others do: drop it. Every piece that follows fares alike.
    Overlaps,
    /// The source has as many datagrams under way as it may, or others that share its sets have: drop it.
    Full,
    /// Another thread held a set all the while: drop it.
    Busy,
}

impl From<Marked> for Noted {
    fn from(marked: Marked) -> Self {
        match marked {
            Marked::New => Self::Fresh,
            Marked::Duplicate => Self::Duplicate,
            Marked::Overlaps => Self::Overlaps,
        }
    }
}

/// What is known about the datagram of a later piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// What was noted with its first piece. This piece counts as seen.
    Payload([u64; 2]),
    /// Its first piece was not seen yet, or its datagram is whole or too old.
    Unknown,
    /// It brings nothing new: drop it.
    Duplicate,
    /// It overlaps another piece, or two others do: drop it. Every piece that follows fares alike.
    Overlaps,
    /// Another thread held a set all the while: drop it.
    Busy,
}

/// A claim to a set, in a cache line of its own.
#[repr(align(64))]
struct Claim(AtomicU32);

/// The entries of one set for one thread, until it is dropped.
struct Held<'a> {
    claim: &'a AtomicU32,
    entries: &'a [Entry],
    bitmaps: &'a [Bitmap],
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.claim.store(0, Ordering::Release);
    }
}

impl Held<'_> {
    fn live(&self, now_tick: u32) -> impl Iterator<Item = (&Entry, &Bitmap)> {
        let is_live = move |entry: &Entry| entry.state().is_live(now_tick, TIMEOUT_TICKS);
        self.entries.iter().zip(self.bitmaps).filter(move |(entry, _)| is_live(entry))
    }

    /// Marks `piece` in the datagram of `key`, if it is here. The payload is read first: a whole datagram is gone.
    fn mark(&self, key: &DatagramKey, piece: Fragment, now_tick: u32) -> Option<(Marked, [u64; 2])> {
        let (entry, bitmap) = self.live(now_tick).find(|(entry, _)| entry.has_key(key))?;
        let payload = entry.payload();
        Some((entry.mark(bitmap, piece), payload))
    }

    /// A place for another datagram.
    fn vacancy(&self, now_tick: u32) -> Option<(&Entry, &Bitmap)> {
        let is_live = |entry: &Entry| entry.state().is_live(now_tick, TIMEOUT_TICKS);
        self.entries.iter().zip(self.bitmaps).find(|(entry, _)| !is_live(entry))
    }
}

/// The map of fragmented datagrams under way, shared by all workers; see the module's documentation.
pub struct FragmentTable {
    claims: Box<[Claim]>,
    entries: Box<[Entry]>,
    bitmaps: Box<[Bitmap]>,
}

impl std::fmt::Debug for FragmentTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FragmentTable({} datagrams)", self.entries.len())
    }
}

impl FragmentTable {
    /// A map of at least `datagrams`, in whole sets of sixteen and two sets at least. All its memory is taken here.
    pub fn with_capacity(datagrams: usize) -> Self {
        let set_count = datagrams.div_ceil(DATAGRAMS_PER_SET).max(2);
        let count = set_count * DATAGRAMS_PER_SET;
        Self {
            claims: (0..set_count).map(|_| Claim(AtomicU32::new(0))).collect(),
            entries: (0..count).map(|_| Entry::new()).collect(),
            bitmaps: (0..count).map(|_| Bitmap::new()).collect(),
        }
    }

    /// Datagrams that are under way at `now_ns`. Looks at every entry; not for the hot path.
    pub fn count(&self, now_ns: u64) -> usize {
        let now_tick = tick(now_ns);
        self.entries.iter().filter(|entry| entry.state().is_live(now_tick, TIMEOUT_TICKS)).count()
    }

    /// Follows the datagram of a first `piece`, for whose others `payload` is kept. `source_hash` is
    /// [`FlowHasher::source_hash`](crate::FlowHasher::source_hash) of the same key.
    pub fn note_first(
        &self,
        source_hash: u64,
        key: &DatagramKey,
        payload: [u64; 2],
        piece: Fragment,
        now_ns: u64,
    ) -> Noted {
        let now_tick = tick(now_ns);
        let sets = self.sets_of(source_hash);
        let (Some(low), Some(high)) = (self.claim(sets[0].min(sets[1])), self.claim(sets[0].max(sets[1])))
        else {
            return Noted::Busy;
        };
        if let Some((marked, _)) = low.mark(key, piece, now_tick).or_else(|| high.mark(key, piece, now_tick))
        {
            return marked.into();
        }
        // To the emptier set, so that a source is shut out only by those that fill both of its sets.
        let order = if high.live(now_tick).count() < low.live(now_tick).count() {
            [&high, &low]
        } else {
            [&low, &high]
        };
        let Some((entry, bitmap)) = order.iter().find_map(|set| set.vacancy(now_tick)) else {
            return Noted::Full;
        };
        entry.start(bitmap, key, payload, now_tick);
        entry.mark(bitmap, piece).into()
    }

    /// What was noted for the datagram of a later `piece`, which counts as seen from now on.
    pub fn find(&self, source_hash: u64, key: &DatagramKey, piece: Fragment, now_ns: u64) -> Found {
        let now_tick = tick(now_ns);
        for set in self.sets_of(source_hash) {
            let Some(held) = self.claim(set) else { return Found::Busy };
            match held.mark(key, piece, now_tick) {
                Some((Marked::New, payload)) => return Found::Payload(payload),
                Some((Marked::Duplicate, _)) => return Found::Duplicate,
                Some((Marked::Overlaps, _)) => return Found::Overlaps,
                None => {}
            }
        }
        Found::Unknown
    }

    /// The two sets of a source, never the same one twice.
    fn sets_of(&self, source_hash: u64) -> [usize; 2] {
        let below = |half: u64, bound: usize| (((half & 0xffff_ffff) * bound as u64) >> 32) as usize;
        let count = self.claims.len();
        let first = below(source_hash, count);
        let step = 1 + below(source_hash >> 32, count - 1);
        [first, (first + step) % count]
    }

    fn claim(&self, set: usize) -> Option<Held<'_>> {
        let claim = &self.claims.get(set)?.0;
        let start = set * DATAGRAMS_PER_SET;
        let entries = self.entries.get(start..start + DATAGRAMS_PER_SET)?;
        let bitmaps = self.bitmaps.get(start..start + DATAGRAMS_PER_SET)?;
        for _ in 0..WAIT_LOOKS {
            if claim.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Some(Held { claim, entries, bitmaps });
            }
            spin_loop();
        }
        None
    }
}

fn tick(now_ns: u64) -> u32 {
    (now_ns / TICK_NS) as u32
}
