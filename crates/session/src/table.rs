//! The table itself: making it, looking up, and the few words that every packet writes.

use crossbeam::utils::CachePadded;
use prefetch::prefetch;

use crate::{
    slot::{Contents, Slot},
    sync::{AtomicU64, Ordering, WAIT_LOOKS, spin_loop},
    tags::{Probe, SLOTS_PER_SET, TagSet},
    tcp::Observation,
    word::{Activity, Direction, Flags, Header, Progress, SlotIndex},
};

/// Slots per thousand that may be taken when the table holds its capacity. Higher saves memory, but two
/// candidate sets of 16 begin to refuse: 0.02 % at 900, 1 % at 950.
pub const LOAD_PER_MILLE: usize = 900;

/// Shards of the session counter: enough that workers which insert at once seldom meet in one.
const COUNTER_SHARDS: usize = 16;

/// How often a packet's update of the activity word is tried against others. Each failure means that another
/// thread updated it in the same tick, so the last word lost is worth a tick.
const ACTIVITY_TRIES: usize = 8;

/// The shared session table; see the crate's documentation. All methods may be called by any number of
/// threads at once.
pub struct Table<const KEY: usize, const PAYLOAD: usize, const LINES: usize> {
    pub(crate) tags: Box<[TagSet]>,
    pub(crate) slots: Box<[Slot<KEY, PAYLOAD, LINES>]>,
    pub(crate) count: [CachePadded<AtomicU64>; COUNTER_SHARDS],
    capacity_sessions: usize,
}

/// A stretch of memory that the table holds, for advice to the kernel about page sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Address of its first byte.
    pub address: usize,
    /// Length in bytes.
    pub bytes: usize,
}

/// A live side of a session, as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<const PAYLOAD: usize> {
    /// The slot found.
    pub slot: SlotIndex,
    /// The birth number that both sides share.
    pub birth: u16,
    /// The slot of the other side.
    pub peer: SlotIndex,
    /// The payload words of this direction.
    pub payload: [u64; PAYLOAD],
    /// Activity and progress of this direction.
    pub direction: Direction,
}

/// A live side of a session that was found by [`Table::find_first`]: what a caller in a hurry keeps in registers.
pub struct Found<'t, const KEY: usize, const PAYLOAD: usize, const LINES: usize> {
    slot: &'t Slot<KEY, PAYLOAD, LINES>,
    header: Header,
    /// The slot.
    pub index: SlotIndex,
    /// The payload words of this direction.
    pub payload: [u64; PAYLOAD],
    /// Activity and progress of this direction.
    pub direction: Direction,
}

impl<const KEY: usize, const PAYLOAD: usize, const LINES: usize> Found<'_, KEY, PAYLOAD, LINES> {
    /// The birth number that both sides share.
    #[inline(always)]
    pub fn birth(&self) -> u16 {
        self.header.birth()
    }

    /// Notes one packet, as [`Table::record`] does, which shows no new flag. False when that did not succeed at once, and is
    /// left to [`Table::record`].
    #[inline(always)]
    pub fn note(&self, now_tick: u32, seen: Observation) -> bool {
        let current = self.direction.activity;
        if current.would_change(current.last_seen_tick(), seen.flags) || self.slot.header() != self.header {
            return false;
        }
        // Where a million sessions share a core, most packets are the first of their tick.
        let is_of_this_tick = !current.would_change(now_tick, seen.flags);
        if !is_of_this_tick && self.slot.swap_activity(current, current.after(now_tick, seen.flags)).is_err()
        {
            return false;
        }
        self.slot.set_progress(self.direction.progress.after(seen));
        true
    }
}

impl<const PAYLOAD: usize> Hit<PAYLOAD> {
    pub(crate) fn new<const KEY: usize>(slot: SlotIndex, contents: &Contents<KEY, PAYLOAD>) -> Self {
        let Contents { header, payload, direction, .. } = *contents;
        Self { slot, birth: header.birth(), peer: header.peer(), payload, direction }
    }

    /// Whether this is the client's side.
    #[inline]
    pub fn is_client(&self) -> bool {
        self.direction.activity.flags().contains(Flags::CLIENT)
    }

    /// The slot of the client side, which names the session: [`Table::session`] and [`Table::remove`] take
    /// it.
    #[inline]
    pub fn client_slot(&self) -> SlotIndex {
        if self.is_client() { self.slot } else { self.peer }
    }
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<const PAYLOAD: usize> {
    /// The key's session.
    Hit(Hit<PAYLOAD>),
    /// No such key.
    Miss,
    /// A slot with the key's tag was being written all the while: wait or drop the packet, but never reset
    /// its sender.
    Busy,
}

impl<const KEY: usize, const PAYLOAD: usize, const LINES: usize> Table<KEY, PAYLOAD, LINES> {
    /// A table that really holds `sessions` sessions of two sides each. All its memory is taken and touched
    /// here.
    ///
    /// # Panics
    /// When that needs more slots than 32 bits can number: over 1.9 thousand million sessions.
    pub fn with_capacity(sessions: usize) -> Self {
        let set_count = (sessions * 2 * 1000).div_ceil(LOAD_PER_MILLE * SLOTS_PER_SET).max(1);
        let slot_count = set_count * SLOTS_PER_SET;
        assert!(slot_count < SlotIndex::VACANT.index(), "{sessions} sessions need more than 2^32 slots");
        let tags: Box<[TagSet]> = (0..set_count).map(|_| TagSet::new()).collect();
        tags.iter().for_each(TagSet::clear);
        Self {
            tags,
            slots: (0..slot_count).map(|_| Slot::new()).collect(),
            count: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))),
            capacity_sessions: sessions,
        }
    }

    /// Sessions that the table was made for.
    pub fn capacity_sessions(&self) -> usize {
        self.capacity_sessions
    }

    /// Bytes that the table holds.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.memory_regions().iter().map(|region| region.bytes).sum::<usize>()
    }

    /// Where the slots and the tags lie. They stay there for as long as the table lives.
    pub fn memory_regions(&self) -> [MemoryRegion; 2] {
        let slots = MemoryRegion { address: self.slots.as_ptr().addr(), bytes: size_of_val(&*self.slots) };
        let tags = MemoryRegion { address: self.tags.as_ptr().addr(), bytes: size_of_val(&*self.tags) };
        [slots, tags]
    }

    /// The first word of slot number `slot`, for benches that measure what one cache line of this very table
    /// costs; zero beyond the table.
    #[inline]
    pub fn line_word(&self, slot: usize) -> u64 {
        self.slots.get(slot).map_or(0, |slot| slot.header().0)
    }

    /// Sets in the table: what [`sweep`](Self::sweep), [`visit`](Self::visit) and [`inspect`](Self::inspect)
    /// walk.
    pub fn set_count(&self) -> usize {
        self.tags.len()
    }

    /// Sessions in the table now: exact when no thread is writing.
    pub fn len(&self) -> usize {
        let sum = self.count.iter().fold(0u64, |sum, shard| sum.wrapping_add(shard.load(Ordering::Relaxed)));
        sum as usize
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn counter(&self, client: SlotIndex) -> &AtomicU64 {
        &self.count[client.index() / SLOTS_PER_SET % COUNTER_SHARDS]
    }

    #[inline(always)]
    pub(crate) fn slot(&self, index: SlotIndex) -> Option<&Slot<KEY, PAYLOAD, LINES>> {
        self.slots.get(index.index())
    }

    /// Which sets a key may be in, and with which tag. `hash` is the key's 64-bit keyed hash.
    #[inline]
    pub fn locate(&self, hash: u64) -> Probe {
        Probe::new(hash, self.tags.len())
    }

    /// First pass over a burst: asks for the tags of both candidate sets.
    #[inline(always)]
    pub fn ask_for_tags(&self, hash: u64) -> Probe {
        let probe = self.locate(hash);
        for set in probe.sets {
            if let Some(tags) = self.tags.get(set as usize) {
                prefetch(tags);
            }
        }
        probe
    }

    /// The sets and the tags that match, at once: for a packet that comes alone.
    #[inline]
    pub fn probe(&self, hash: u64) -> Probe {
        self.look(self.locate(hash))
    }

    /// Second pass: compares the tags of both candidate sets.
    #[inline(always)]
    pub fn look(&self, mut probe: Probe) -> Probe {
        let [first, second] = probe.sets;
        probe.matches = self.tags[first as usize].matches(probe.tag);
        if first != second {
            probe.matches |= self.tags[second as usize].matches(probe.tag) << SLOTS_PER_SET;
        }
        probe
    }

    /// Second pass, when the tags are compared: asks for the first slot whose tag matches.
    #[inline(always)]
    pub fn ask_for_slot(&self, probe: &Probe) {
        if let Some(slot) = probe.first_slot().and_then(|index| self.slot(index)) {
            slot.prefetch();
        }
    }

    /// The same for a key that no slot bears the tag of: asks for the slot that an insert would take.
    #[inline]
    pub fn ask_for_room(&self, probe: &Probe) {
        if let Some(slot) = self.room(probe).and_then(|index| self.slot(index)) {
            slot.prefetch();
        }
    }

    /// Third pass: finds the session of `key`. A probe may be old: a session inserted since is found, and one
    /// removed since is not.
    #[inline]
    pub fn find(&self, probe: &Probe, key: &[u64; KEY]) -> Lookup<PAYLOAD> {
        match self.find_among(*probe, key) {
            Lookup::Miss => {
                let mut newer = self.look(*probe);
                newer.matches &= !probe.matches;
                self.find_among(newer, key)
            }
            found => found,
        }
    }

    /// The same, quickly: only the first slot whose tag matches is looked at, and only once. `None` says nothing: ask
    /// [`find`](Self::find).
    #[inline(always)]
    pub fn find_first(&self, probe: &Probe, key: &[u64; KEY]) -> Option<Found<'_, KEY, PAYLOAD, LINES>> {
        let index = probe.first_slot()?;
        let slot = self.slot(index)?;
        let header = slot.header();
        if !header.is_even() || !slot.has_key(key) {
            return None;
        }
        let Contents { payload, direction, .. } = slot.contents(header);
        slot.unchanged(header).then_some(Found { slot, header, index, payload, direction })
    }

    /// The hit that a slot would be, if a session that was born under `birth` has a side there.
    pub fn hit_at(&self, index: SlotIndex, birth: u16) -> Option<Hit<PAYLOAD>> {
        let contents = self.slot(index)?.read()?;
        (contents.header.birth() == birth).then(|| Hit::new(index, &contents))
    }

    #[inline]
    fn find_among(&self, probe: Probe, key: &[u64; KEY]) -> Lookup<PAYLOAD> {
        let mut otherwise = Lookup::Miss;
        for index in probe.slots() {
            match self.examine(index, probe.tag, key) {
                Lookup::Miss => {}
                Lookup::Busy => otherwise = Lookup::Busy,
                hit => return hit,
            }
        }
        otherwise
    }

    /// Reads one slot for `key`, waiting a little while it is written.
    #[inline]
    pub(crate) fn examine(&self, index: SlotIndex, tag: u16, key: &[u64; KEY]) -> Lookup<PAYLOAD> {
        let Some(slot) = self.slot(index) else { return Lookup::Miss };
        for _ in 0..WAIT_LOOKS {
            let header = slot.header();
            if header.is_even() {
                if !slot.has_key(key) {
                    return Lookup::Miss;
                }
                let contents = slot.contents(header);
                if slot.unchanged(header) {
                    return Lookup::Hit(Hit::new(index, &contents));
                }
            } else if self.tag_of(index) != tag {
                return Lookup::Miss;
            }
            spin_loop();
        }
        Lookup::Busy
    }

    pub(crate) fn tag_of(&self, index: SlotIndex) -> u16 {
        self.tags[index.index() / SLOTS_PER_SET].tag(index.index() % SLOTS_PER_SET)
    }

    /// Notes one packet of the direction that was hit. Touches the slot's own lines only.
    ///
    /// The activity word is written only when it changes (once a tick, or for a new flag), by a
    /// compare-and-swap that loses no flag. Progress is a load and a store: when two workers forward the same
    /// direction at once a count may be lost, and the sequence end may step back by a segment, which the next
    /// one repairs. Call it packet by packet, after the `find` of that packet; not for sessions in
    /// [`State::Reset`](crate::State::Reset), whose time must run out.
    #[inline]
    pub fn record(&self, hit: &Hit<PAYLOAD>, now_tick: u32, seen: Observation) {
        let Some(slot) = self.slot_of(hit) else { return };
        let current = hit.direction.activity;
        if current.would_change(now_tick, seen.flags) {
            self.advance_activity(slot, hit, |activity| activity.after(now_tick, seen.flags));
        }
        slot.set_progress(slot.progress().after(seen));
    }

    /// Sets the route epoch of the direction that was hit. False when its session has ended.
    pub fn set_epoch(&self, hit: &Hit<PAYLOAD>, epoch: u16) -> bool {
        let Some(slot) = self.slot_of(hit) else { return false };
        self.advance_activity(slot, hit, |activity| activity.with_epoch(epoch))
    }

    /// The slot of a hit, if the session that was hit still lives there and nobody is writing it.
    #[inline(always)]
    pub(crate) fn slot_of(&self, hit: &Hit<PAYLOAD>) -> Option<&Slot<KEY, PAYLOAD, LINES>> {
        let slot = self.slot(hit.slot)?;
        let header = slot.header();
        (header.is_even() && header.birth() == hit.birth && header.peer() == hit.peer).then_some(slot)
    }

    /// Changes the activity word, starting from what the hit saw. A slot that has been given to another
    /// session fails the swap, since the words differ, and then the check of its birth.
    fn advance_activity(
        &self,
        slot: &Slot<KEY, PAYLOAD, LINES>,
        hit: &Hit<PAYLOAD>,
        change: impl Fn(Activity) -> Activity,
    ) -> bool {
        let mut current = hit.direction.activity;
        for _ in 0..ACTIVITY_TRIES {
            match slot.swap_activity(current, change(current)) {
                Ok(()) => return true,
                Err(actual) => current = actual,
            }
            if self.slot_of(hit).is_none() {
                return false;
            }
        }
        false
    }

    /// The other direction of a hit, where its session still lives. Costs the other side's cache line.
    pub fn peer_direction(&self, hit: &Hit<PAYLOAD>) -> Option<Direction> {
        let peer = self.slot(hit.peer)?.read()?;
        (peer.header.birth() == hit.birth && peer.header.peer() == hit.slot).then_some(peer.direction)
    }

    /// The direction as it is now, for a second packet of the same burst that was looked up before the first
    /// was noted.
    pub fn direction(&self, hit: &Hit<PAYLOAD>) -> Option<Direction> {
        let slot = self.slot_of(hit)?;
        Some(Direction { activity: slot.activity(), progress: slot.progress() })
    }
}

impl Progress {
    pub(crate) const ZERO: Self = Self(0);
}
