//! Where MAC addresses were seen last: the memory of the bridges (IEEE 802.1Q section 8.8).
//!
//! One table for all bridges, shared by all workers, of a fixed size. Each VLAN learns for itself. Sets of sixteen entries
//! are chosen by a keyed hash, so that nobody can aim at a set. An entry is three words, each written on its own:
//!
//! ```text
//!   key     MAC:48 ‖ VLAN:12 ‖ bridge:4         0: free
//!   place   check:16 ‖ port:16 ‖ last seen:32    the check is of the key, so that words of two owners are not believed
//!   moves   first move:32 ‖ how many:32
//! ```
//!
//! Nothing here is a matter of correctness: a frame for an address that is not known goes to all members of its bridge.
//! An address that moves too often is held where it is, and its frames from elsewhere are dropped: they come round in a
//! loop. Any thread; no lock, no allocation after the start.

use flow::FlowHasher;
use session::TICK_NS;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::Mac;

/// Addresses that are remembered at the most, of all bridges: 400 KiB. Frames to an address beyond it are flooded.
pub const MACS_MAX: usize = 16_384;
/// Entries of a set.
const SET_ENTRIES: usize = 16;
const SETS: usize = MACS_MAX / SET_ENTRIES;

/// Bridges at the most: their number is four bits of a key.
pub const BRIDGES_MAX: usize = 16;

/// How often an address may change its port within [`MOVES_WINDOW_NS`]: a host that roams does it once, a loop at every
/// frame.
const MOVES_MAX: u32 = 5;
const MOVES_WINDOW_NS: u64 = 10_000_000_000;

/// One address in one VLAN of one bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// The bridge's number, below [`BRIDGES_MAX`].
    pub bridge: u8,
    /// The VLAN, 0 for frames without a tag.
    pub vlan: u16,
    /// The address.
    pub mac: Mac,
}

/// A station, and where it is: what `show bridge` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Who.
    pub station: Station,
    /// Behind which port.
    pub port: u16,
    /// When a frame of it came last, as a [`session::tick_from_ns`].
    pub last_seen_tick: u32,
    /// How often it changed its port in the last window in which it did.
    pub moves: u32,
}

/// What came of learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// It is known to be there now.
    Here,
    /// It moves too often, and is held at another port.
    Held,
    /// No room: it stays unknown.
    Full,
}

#[derive(Debug, Default)]
struct Entry {
    key: AtomicU64,
    place: AtomicU64,
    moves: AtomicU64,
}

/// The table.
#[derive(Debug)]
pub struct MacTable {
    entries: Box<[Entry]>,
    hasher: FlowHasher,
}

impl Station {
    #[inline(always)]
    fn key(self) -> u64 {
        let [a, b, c, d, e, f] = self.mac.0;
        let mac = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        mac << 16 | u64::from(self.vlan & 0xfff) << 4 | u64::from(self.bridge & 0xf)
    }

    fn of(key: u64) -> Self {
        let bytes = key.to_be_bytes();
        let mac = Mac([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]);
        Self { bridge: (key & 0xf) as u8, vlan: (key >> 4 & 0xfff) as u16, mac }
    }
}

/// An entry's place word, taken apart.
#[derive(Clone, Copy)]
struct Place {
    check: u16,
    port: u16,
    tick: u32,
}

impl Place {
    fn of(word: u64) -> Self {
        Self { check: (word >> 48) as u16, port: (word >> 32) as u16, tick: word as u32 }
    }

    fn word(self) -> u64 {
        u64::from(self.check) << 48 | u64::from(self.port) << 32 | u64::from(self.tick)
    }

    fn is_fresh(self, tick: u32, ageing_ticks: u32) -> bool {
        tick.wrapping_sub(self.tick) <= ageing_ticks
    }
}

impl MacTable {
    /// An empty table, all memory taken.
    pub fn new(hasher: FlowHasher) -> Self {
        Self { entries: (0..MACS_MAX).map(|_| Entry::default()).collect(), hasher }
    }

    /// A table of its own that knows what this one knows now.
    pub fn detached(&self) -> Self {
        let copy = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        let entry = |entry: &Entry| Entry {
            key: copy(&entry.key),
            place: copy(&entry.place),
            moves: copy(&entry.moves),
        };
        Self { entries: self.entries.iter().map(entry).collect(), hasher: self.hasher }
    }

    #[inline(always)]
    fn set(&self, key: u64) -> (&[Entry], u16) {
        let hash = self.hasher.word(key);
        let first = (hash >> 16) as usize % SETS * SET_ENTRIES;
        // A set lies inside the table: its number was taken modulo the number of sets.
        (self.entries.get(first..first + SET_ENTRIES).unwrap_or_default(), hash as u16)
    }

    /// Notes that a frame of `station` came by `port`.
    pub(crate) fn learn(&self, station: Station, port: u16, tick: u32, ageing_ticks: u32) -> Learned {
        let key = station.key();
        let (set, check) = self.set(key);
        let here = Place { check, port, tick };
        let mut free = None;
        for entry in set {
            let held = entry.key.load(Ordering::Relaxed);
            let place = Place::of(entry.place.load(Ordering::Relaxed));
            if held == key {
                return entry.see(place, here, ageing_ticks);
            }
            if free.is_none() && (held == 0 || !place.is_fresh(tick, ageing_ticks)) {
                free = Some((entry, held));
            }
        }
        let Some((entry, held)) = free else { return Learned::Full };
        if entry.key.compare_exchange(held, key, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            // Another worker was faster; the next frame tries again.
            return Learned::Full;
        }
        entry.moves.store(0, Ordering::Relaxed);
        entry.place.store(here.word(), Ordering::Relaxed);
        Learned::Here
    }

    /// Notes that a frame of `station` came by `port` if it is known to be there; false where there is more to it, and
    /// [`Self::learn`] is to be asked.
    #[inline]
    pub(crate) fn hear(&self, station: Station, port: u16, tick: u32) -> bool {
        let key = station.key();
        let (set, check) = self.set(key);
        let Some(entry) = set.iter().find(|entry| entry.key.load(Ordering::Relaxed) == key) else {
            return false;
        };
        entry.is_here(Place::of(entry.place.load(Ordering::Relaxed)), Place { check, port, tick })
    }

    /// The port that `station` is behind.
    #[inline]
    pub(crate) fn find(&self, station: Station, tick: u32, ageing_ticks: u32) -> Option<u16> {
        let key = station.key();
        let (set, check) = self.set(key);
        let entry = set.iter().find(|entry| entry.key.load(Ordering::Relaxed) == key)?;
        let place = Place::of(entry.place.load(Ordering::Relaxed));
        (place.check == check && place.is_fresh(tick, ageing_ticks)).then_some(place.port)
    }

    /// Forgets every station behind `port`, as when its link went down.
    pub fn forget_port(&self, port: u16) {
        for entry in &self.entries {
            let key = entry.key.load(Ordering::Relaxed);
            if key != 0 && Place::of(entry.place.load(Ordering::Relaxed)).port == port {
                // Lost when a frame of the station has come by another port just now: then it is right again.
                let _newer = entry.key.compare_exchange(key, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Shows every station that was seen within `ageing_ticks` of its bridge, which `ageing_ticks` knows.
    pub fn inspect(&self, tick: u32, ageing_ticks: impl Fn(u8) -> u32, mut see: impl FnMut(Sighting)) {
        for entry in &self.entries {
            let key = entry.key.load(Ordering::Relaxed);
            let place = Place::of(entry.place.load(Ordering::Relaxed));
            let station = Station::of(key);
            if key != 0
                && place.check == self.set(key).1
                && place.is_fresh(tick, ageing_ticks(station.bridge))
            {
                let moves = entry.moves.load(Ordering::Relaxed) as u32;
                see(Sighting { station, port: place.port, last_seen_tick: place.tick, moves });
            }
        }
    }
}

impl Entry {
    /// Whether the entry's own station is where it was; then the time of its last frame is kept.
    #[inline]
    fn is_here(&self, known: Place, here: Place) -> bool {
        let is_here = known.check == here.check && known.port == here.port;
        if is_here && known.tick != here.tick {
            self.place.store(here.word(), Ordering::Relaxed);
        }
        is_here
    }

    /// A frame came from the entry's own station.
    fn see(&self, known: Place, here: Place, ageing_ticks: u32) -> Learned {
        if self.is_here(known, here) {
            return Learned::Here;
        }
        let is_move = known.check == here.check && known.is_fresh(here.tick, ageing_ticks);
        if is_move && !self.may_move(here.tick) {
            return Learned::Held;
        }
        self.place.store(here.word(), Ordering::Relaxed);
        Learned::Here
    }

    /// Counts a change of port; false when there were too many of late.
    fn may_move(&self, tick: u32) -> bool {
        let word = self.moves.load(Ordering::Relaxed);
        let (first, count) = ((word >> 32) as u32, word as u32);
        let window = (MOVES_WINDOW_NS / TICK_NS) as u32;
        let is_new = count == 0 || tick.wrapping_sub(first) > window;
        let (first, count) = if is_new { (tick, 1) } else { (first, count.saturating_add(1)) };
        self.moves.store(u64::from(first) << 32 | u64::from(count), Ordering::Relaxed);
        count <= MOVES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const AGEING: u32 = 100;

    fn table() -> MacTable {
        MacTable::new(FlowHasher::new([3; 16]))
    }

    fn station(number: u16, vlan: u16) -> Station {
        let [high, low] = number.to_be_bytes();
        Station { bridge: 1, vlan, mac: Mac([2, 0, 0, 0, high, low]) }
    }

    #[test]
    fn a_station_is_where_it_was_seen_until_it_is_forgotten() {
        let table = table();
        assert_eq!(table.learn(station(1, 0), 7, 1_000, AGEING), Learned::Here);
        assert_eq!(table.find(station(1, 0), 1_000 + AGEING, AGEING), Some(7));
        assert_eq!(table.find(station(1, 0), 1_001 + AGEING, AGEING), None, "aged");
        assert_eq!(table.find(station(1, 20), 1_000, AGEING), None, "each VLAN learns for itself");
        table.forget_port(7);
        assert_eq!(table.find(station(1, 0), 1_000, AGEING), None);
    }

    #[test]
    fn a_station_that_moves_at_every_frame_is_held_and_let_go_later() {
        let table = table();
        for number in 0..=MOVES_MAX {
            assert_eq!(table.learn(station(1, 0), number as u16 & 1, 1_000, AGEING), Learned::Here);
        }
        let held_at = MOVES_MAX as u16 & 1;
        assert_eq!(table.learn(station(1, 0), 1 - held_at, 1_000, AGEING), Learned::Held);
        assert_eq!(table.learn(station(1, 0), held_at, 1_000, AGEING), Learned::Here);
        assert_eq!(table.find(station(1, 0), 1_000, AGEING), Some(held_at));
        let later = 1_001 + (MOVES_WINDOW_NS / TICK_NS) as u32;
        assert_eq!(table.learn(station(1, 0), held_at, later - 2, AGEING), Learned::Here);
        assert_eq!(table.learn(station(1, 0), 1 - held_at, later, AGEING), Learned::Here);
    }

    #[test]
    fn who_is_where_it_was_is_heard_and_everybody_else_is_learnt() {
        let table = table();
        assert!(!table.hear(station(1, 0), 7, 1_000), "nobody knows it");
        table.learn(station(1, 0), 7, 1_000, AGEING);
        assert!(table.hear(station(1, 0), 7, 1_050));
        assert_eq!(table.find(station(1, 0), 1_050 + AGEING, AGEING), Some(7), "it was heard at 1050");
        assert!(!table.hear(station(1, 0), 8, 1_050), "it has moved");
        assert_eq!(table.find(station(1, 0), 1_050, AGEING), Some(7), "which is for `learn` to say");
        assert!(!table.hear(station(1, 20), 7, 1_050), "each VLAN learns for itself");
    }

    #[test]
    fn a_flood_of_addresses_pushes_nobody_out_and_is_outlived() {
        let table = table();
        table.learn(station(1, 0), 7, 1_000, AGEING);
        let flood = |tick: u32| {
            let macs = (0..4 * MACS_MAX as u32)
                .map(|number| Mac([6, 0, 0, (number >> 16) as u8, (number >> 8) as u8, number as u8]));
            macs.filter(|&mac| {
                table.learn(Station { bridge: 0, vlan: 0, mac }, 1, tick, AGEING) == Learned::Full
            })
            .count()
        };
        assert!(flood(1_000) >= 2 * MACS_MAX);
        assert_eq!(table.find(station(1, 0), 1_000, AGEING), Some(7));
        assert_eq!(table.learn(station(2, 0), 3, 2_000, AGEING), Learned::Here);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in prop::collection::vec((0u16..40, 0u16..3, 0u16..4, 0u32..60), 1..200)) {
            let (table, mut map, mut tick) = (table(), HashMap::new(), 1_000);
            for (number, vlan, port, passed) in steps {
                tick += passed;
                let known = map.get(&(number, vlan)).filter(|&&(_, seen)| tick - seen <= AGEING);
                prop_assert_eq!(table.find(station(number, vlan), tick, AGEING), known.map(|&(port, _)| port));
                if table.learn(station(number, vlan), port, tick, AGEING) == Learned::Here {
                    map.insert((number, vlan), (port, tick));
                }
            }
        }
    }
}
