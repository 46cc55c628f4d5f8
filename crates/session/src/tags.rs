//! The tag array: sixteen 16-bit tags a set, compared all at once.
//!
//! A tag of zero is a free slot. Reserving and freeing a slot are single atomic steps on its tag word.

use crate::{
    sync::{AtomicU64, Ordering},
    word::SlotIndex,
};
use wide::{i8x16, i16x16};

/// Slots in one set. Two candidate sets of 16 carry a load of 0.90 with two refusals in ten thousand; 8 would
/// refuse one in a hundred, 32 would compare twice as many tags a packet.
pub const SLOTS_PER_SET: usize = 16;

/// Place `p` of a set is lane `p % 4` of word `p / 4`.
const WORDS: usize = 4;
const LANES: usize = 4;
const LANE_BITS: usize = 16;

/// The tags of one set. Two sets share a cache line, none straddles two.
#[repr(align(32))]
pub(crate) struct TagSet([AtomicU64; WORDS]);

impl TagSet {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Writes every word, so that its page is really there.
    pub(crate) fn clear(&self) {
        for word in &self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// One bit for each slot whose tag is `tag`.
    #[inline(always)]
    pub(crate) fn matches(&self, tag: u16) -> u32 {
        matches(std::array::from_fn(|word| self.0[word].load(Ordering::Acquire)), tag)
    }

    /// Puts `tag` in `place`, if that is still free.
    pub(crate) fn reserve_place(&self, place: usize, tag: u16) -> bool {
        let (word, shift) = (&self.0[place / LANES], LANE_BITS * (place % LANES));
        let mut current = word.load(Ordering::Relaxed);
        while current >> shift & 0xffff == 0 {
            let next = current | u64::from(tag) << shift;
            // Acquire: what the last owner of the slot did is done before this one writes.
            match word.compare_exchange_weak(current, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(actual) => current = actual,
            }
        }
        false
    }

    /// The tag at `place`.
    pub(crate) fn tag(&self, place: usize) -> u16 {
        (self.0[place / LANES].load(Ordering::Acquire) >> (LANE_BITS * (place % LANES))) as u16
    }

    /// Frees `place`. Only its owner may.
    pub(crate) fn free(&self, place: usize) {
        self.0[place / LANES].fetch_and(!(0xffff << (LANE_BITS * (place % LANES))), Ordering::Release);
    }
}

/// One bit for each of the sixteen lanes of `words` that holds `tag`.
#[inline(always)]
fn matches(words: [u64; WORDS], tag: u16) -> u32 {
    let lanes: i16x16 = bytemuck::must_cast(words);
    // A lane of ones stays ones when it is made half as wide.
    i8x16::from_i16x16_saturate(lanes.simd_eq(i16x16::splat(tag as i16))).to_bitmask()
}

/// Where a key may be, and which of these places bear its tag. Made by [`Table::probe`](crate::Table::probe).
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    pub(crate) sets: [u32; 2],
    pub(crate) tag: u16,
    /// Bits 0..16: places in the first set. Bits 16..32: places in the second.
    pub(crate) matches: u32,
}

impl Probe {
    /// Both sets and the tag from one hash. Multiply-shift uses the upper bits of each half, so the set count
    /// may be any number; the tag uses the lowest byte of each half, which up to 2^24 sets do not reach.
    #[inline]
    pub(crate) fn new(hash: u64, set_count: usize) -> Self {
        let sets = [hash >> 32, hash & 0xffff_ffff].map(|half| ((half * set_count as u64) >> 32) as u32);
        let tag = ((hash >> 24 & 0xff00) | (hash & 0xff)) as u16;
        Self { sets, tag: tag.max(1), matches: 0 }
    }

    /// The places of one set that `places` has a bit for, as if they matched.
    #[inline]
    pub(crate) fn whole(set: u32, places: u32) -> Self {
        Self { sets: [set; 2], tag: 0, matches: places & ((1 << SLOTS_PER_SET) - 1) }
    }

    /// How many slots bore the key's tag: zero says that the key was absent, and a few thousandths of all
    /// keys see more than one.
    pub fn candidates(self) -> u32 {
        self.matches.count_ones()
    }

    /// The tag, never zero.
    #[inline(always)]
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// Whether both look for their keys in the same places under the same tag, as they do for one key, and hardly for two.
    #[inline(always)]
    pub fn is_at(&self, other: &Self) -> bool {
        (self.sets, self.tag) == (other.sets, other.tag)
    }

    /// Whether no slot bore the key's tag: the key was absent.
    #[inline(always)]
    pub fn is_miss(&self) -> bool {
        self.matches == 0
    }

    /// The first of [`slots`](Self::slots).
    #[inline(always)]
    pub(crate) fn first_slot(&self) -> Option<SlotIndex> {
        let bit = self.matches.trailing_zeros();
        let set = if bit < SLOTS_PER_SET as u32 { self.sets[0] } else { self.sets[1] };
        (self.matches != 0).then_some(SlotIndex(set * SLOTS_PER_SET as u32 + bit % SLOTS_PER_SET as u32))
    }

    /// The bits of [`Self::matches`] that stand for that slot: two where both sets are one, none where it is in neither.
    #[inline(always)]
    pub(crate) fn bit_of(&self, index: SlotIndex) -> u32 {
        let (set, place) = (index.0 / SLOTS_PER_SET as u32, index.0 % SLOTS_PER_SET as u32);
        let bit = |number: usize| u32::from(self.sets[number] == set) << (number * SLOTS_PER_SET) << place;
        bit(0) | bit(1)
    }

    /// The slots whose tag matches, the first set before the second.
    #[inline(always)]
    pub(crate) fn slots(self) -> impl Iterator<Item = SlotIndex> {
        let mut rest = self.matches;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(SlotIndex(self.sets[(bit >> 4) as usize] * SLOTS_PER_SET as u32 + (bit & 15)))
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first free place, taken.
    fn reserve(set: &TagSet, tag: u16) -> Option<usize> {
        let free = set.matches(0);
        (free != 0).then_some(free.trailing_zeros() as usize).filter(|&place| set.reserve_place(place, tag))
    }

    proptest! {
        #[test]
        fn a_match_is_found_in_its_place_and_nowhere_else(tags in prop::array::uniform16(1u16..4)) {
            let set = TagSet::new();
            let places = tags.map(|tag| (reserve(&set, tag).unwrap(), tag));
            for wanted in 1..4 {
                let plain = places.iter().filter(|place| place.1 == wanted);
                prop_assert_eq!(set.matches(wanted), plain.fold(0, |bits, place| bits | 1 << place.0));
            }
            prop_assert!(places.iter().all(|&(place, tag)| set.tag(place) == tag));
        }
    }

    #[test]
    fn a_set_hands_out_sixteen_places_and_no_more() {
        let set = TagSet::new();
        let mut places: Vec<_> = (0..16).map(|i| reserve(&set, 100 + i).unwrap()).collect();
        assert_eq!(reserve(&set, 7), None);
        assert!(!set.reserve_place(3, 7));
        set.free(places[5]);
        assert_eq!(set.tag(places[5]), 0);
        assert_eq!(set.tag(places[4]), 104);
        assert_eq!(reserve(&set, 107), Some(places[5]));
        assert_eq!(set.matches(107), 1 << places[5] | 1 << places[7]);
        places.sort();
        assert_eq!(places, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn a_slot_is_left_out_wherever_it_may_be() {
        let probe = Probe { sets: [3, 8], tag: 1, matches: u32::MAX };
        let [first, second, none] =
            [3 * 16 + 2, 8 * 16 + 15, 4 * 16].map(|slot| probe.bit_of(SlotIndex(slot)));
        assert_eq!([first, second, none], [1 << 2, 1 << 31, 0]);
        let twice = Probe { sets: [3, 3], ..probe };
        assert_eq!(twice.bit_of(SlotIndex(3 * 16 + 2)), 1 << 2 | 1 << 18);
        let slots: Vec<u32> = Probe::whole(3, 0x8001).slots().map(|slot| slot.0).collect();
        assert_eq!(slots, [48, 63]);
    }

    #[test]
    fn any_number_of_sets_is_used_evenly_and_never_exceeded() {
        for set_count in [1usize, 3, 1000, (1 << 24) - 1] {
            let last = Probe::new(u64::MAX, set_count);
            assert_eq!(last.sets, [set_count as u32 - 1; 2]);
            assert_eq!(Probe::new(0, set_count).sets, [0; 2]);
        }
        assert_eq!(Probe::new(0, 3).tag, 1, "zero means free");
    }
}
