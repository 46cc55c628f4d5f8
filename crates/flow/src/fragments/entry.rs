//! One datagram under way: its words, its bitmap, and what a piece does to them. Everything here is called by the one
//! thread that holds the entry's set.

use crate::key::DatagramKey;
use crate::sync::{AtomicU64, BITMAP_WORDS, Ordering};
use wire::Fragment;

/// Units of eight bytes in the longest datagram.
const UNITS_MAX: usize = BITMAP_WORDS * 64;

/// `state | key: 5 words | payload: 2 words`: one cache line.
#[repr(align(64))]
pub(crate) struct Entry {
    state: AtomicU64,
    key: [AtomicU64; 5],
    payload: [AtomicU64; 2],
}

/// Which units of a datagram were seen.
pub(crate) struct Bitmap([AtomicU64; BITMAP_WORDS]);

/// The state word: `born tick:32 | end units:14 | held units:14 | 0:2 | live:1 | poisoned:1`. An end of 0 is not known
/// yet; a dead entry is all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(u64);

impl State {
    const POISONED: u64 = 1;
    const LIVE: u64 = 2;
    const COUNT_MASK: u64 = 0x3fff;
    const DEAD: Self = Self(0);

    fn new(born_tick: u32, end_units: usize, held_units: usize) -> Self {
        Self(u64::from(born_tick) << 32 | (end_units as u64) << 18 | (held_units as u64) << 4 | Self::LIVE)
    }

    fn born_tick(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn end_units(self) -> usize {
        (self.0 >> 18 & Self::COUNT_MASK) as usize
    }

    fn held_units(self) -> usize {
        (self.0 >> 4 & Self::COUNT_MASK) as usize
    }

    fn is_poisoned(self) -> bool {
        self.0 & Self::POISONED != 0
    }

    /// Whether a datagram is under way here that is younger than `timeout_ticks`. The clocks of two workers may be a
    /// tick apart, so one from the future is young.
    pub(crate) fn is_live(self, now_tick: u32, timeout_ticks: u32) -> bool {
        let age_ticks = now_tick.wrapping_sub(self.born_tick()).cast_signed();
        self.0 & Self::LIVE != 0 && age_ticks < timeout_ticks.cast_signed()
    }
}

/// What a piece is to its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// All of it is new.
    New,
    /// None of it is.
    Duplicate,
    /// It overlaps or contradicts what was seen, or another piece has.
    Overlaps,
}

impl Entry {
    pub(crate) fn new() -> Self {
        let word = |_| AtomicU64::new(0);
        Self { state: word(0), key: std::array::from_fn(word), payload: std::array::from_fn(word) }
    }

    pub(crate) fn state(&self) -> State {
        State(self.state.load(Ordering::Relaxed))
    }

    pub(crate) fn has_key(&self, key: &DatagramKey) -> bool {
        // The word with the identification first: it tells most others apart.
        self.key.iter().zip(&key.0).rev().all(|(word, &wanted)| word.load(Ordering::Relaxed) == wanted)
    }

    pub(crate) fn payload(&self) -> [u64; 2] {
        self.payload.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    /// Starts a datagram of which nothing was seen.
    pub(crate) fn start(&self, bitmap: &Bitmap, key: &DatagramKey, payload: [u64; 2], now_tick: u32) {
        bitmap.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.key.iter().zip(key.0).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        self.payload.iter().zip(payload).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        self.state.store(State::new(now_tick, 0, 0).0, Ordering::Relaxed);
    }

    /// Marks what `piece` brings. A datagram that is whole by it frees the entry; one that it overlaps is poisoned.
    pub(crate) fn mark(&self, bitmap: &Bitmap, piece: Fragment) -> Marked {
        let state = self.state();
        if state.is_poisoned() {
            return Marked::Overlaps;
        }
        let start = usize::from(piece.offset_bytes / 8);
        let end = start + usize::from(piece.length_bytes).div_ceil(8);
        if start == end {
            // It brings nothing.
            return Marked::Duplicate;
        }
        let known = if end > UNITS_MAX { 0 } else { bitmap.count(start, end) };
        let end_known = state.end_units();
        let contradicts = match (piece.more, end_known) {
            _ if end > UNITS_MAX => true,
            (true, 0) => false,
            // The last piece lies behind it and is not empty.
            (true, _) => end >= end_known,
            (false, 0) => known > 0 || bitmap.count(end, UNITS_MAX) > 0,
            (false, _) => end != end_known,
        };
        if contradicts || known > 0 && known < end - start {
            self.state.store(state.0 | State::POISONED, Ordering::Relaxed);
            return Marked::Overlaps;
        }
        if known > 0 {
            return Marked::Duplicate;
        }
        bitmap.set(start, end);
        let held_units = state.held_units() + end - start;
        let end_units = if piece.more { end_known } else { end };
        let is_whole = held_units == end_units;
        let next = if is_whole { State::DEAD } else { State::new(state.born_tick(), end_units, held_units) };
        self.state.store(next.0, Ordering::Relaxed);
        Marked::New
    }
}

impl Bitmap {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// The words that units `start..end` lie in, each with a mask of those units.
    fn words(&self, start: usize, end: usize) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let first = start / 64;
        let words = self.0.get(first..end.div_ceil(64)).unwrap_or_default();
        words.iter().zip(first..).map(move |(word, index)| {
            let (from, to) = (start.saturating_sub(index * 64), (end - index * 64).min(64));
            (word, u64::MAX >> (64 - to) & u64::MAX << from)
        })
    }

    /// How many of the units `start..end` were seen.
    fn count(&self, start: usize, end: usize) -> usize {
        let seen =
            |(word, mask): (&AtomicU64, u64)| (word.load(Ordering::Relaxed) & mask).count_ones() as usize;
        self.words(start, end).map(seen).sum()
    }

    fn set(&self, start: usize, end: usize) {
        for (word, mask) in self.words(start, end) {
            word.store(word.load(Ordering::Relaxed) | mask, Ordering::Relaxed);
        }
    }
}
