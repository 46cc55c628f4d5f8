//! Ending sessions: by hand, by age, by a dead server; and looking at them.
//!
//! The client slot's stamp is the session's lock word. Whoever ends a session or writes to it holds that
//! stamp odd for a few stores, so exactly one thread ends each session, and the server side needs no
//! protection of its own.

use arrayvec::ArrayVec;
use prefetch::prefetch;
use std::ops::Range;

use crate::{
    slot::Slot,
    state::Timeouts,
    sync::{Ordering, WAIT_LOOKS, spin_loop},
    table::{Hit, Table},
    tags::{Probe, SLOTS_PER_SET},
    view::{Session, Side},
    word::{Activity, Flags, Header, SlotIndex},
};

/// How often a mark is tried against workers that note packets at the same time; each failure is one of
/// theirs.
const MARK_TRIES: usize = 64;

/// Sets of a sweep whose far sides are asked for together: enough misses to keep the memory busy where all of them end.
const SETS_AHEAD: usize = 4;

/// Client sides of so many sets.
type IdleSides = ArrayVec<SlotIndex, { SETS_AHEAD * SLOTS_PER_SET }>;

/// What a visitor wants done with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Leave it alone.
    Keep,
    /// End it now.
    End,
    /// Mark it as reset by the appliance: it lives on for `tcp_closing` to answer late segments.
    MarkReset,
}

impl<const KEY: usize, const PAYLOAD: usize, const LINES: usize> Table<KEY, PAYLOAD, LINES> {
    /// The session whose client side was born in `client` under `birth`.
    pub fn session(&self, client: SlotIndex, birth: u16) -> Option<Session<KEY, PAYLOAD>> {
        self.session_at(client).filter(|session| session.birth == birth)
    }

    fn session_at(&self, client: SlotIndex) -> Option<Session<KEY, PAYLOAD>> {
        let near = self.slot(client)?.read()?;
        let far = self.slot(near.header.peer())?.read()?;
        let linked = far.header.birth() == near.header.birth() && far.header.peer() == client;
        let is_client = near.direction.activity.flags().contains(Flags::CLIENT);
        (linked && is_client).then(|| Session {
            birth: near.header.birth(),
            client: Side::new(client, &near),
            server: Side::new(near.header.peer(), &far),
        })
    }

    /// Ends a session. Of all threads that try, one gets it; `None` for the others, and for one that has
    /// ended. Also `None`, and the session lives, if another thread held it for too long: try again.
    pub fn remove(&self, client: SlotIndex, birth: u16) -> Option<Session<KEY, PAYLOAD>> {
        self.remove_if(client, birth, |_| true)
    }

    /// Waits for the session's lock word (its client slot's stamp) and takes it; `None` when that session is
    /// gone or its holder kept it for longer than a few looks.
    pub(crate) fn lock(&self, client: SlotIndex, birth: u16) -> Option<Header> {
        let slot = self.slot(client)?;
        for _ in 0..WAIT_LOOKS {
            let header = slot.header();
            if header.is_vacant() || header.birth() != birth {
                return None;
            }
            if header.is_even() {
                // Which side a slot is never changes under one stamp, so a seized slot is what it was.
                if !slot.activity().flags().contains(Flags::CLIENT) {
                    return None;
                }
                if slot.seize(header) {
                    return Some(header.stepped());
                }
            }
            spin_loop();
        }
        None
    }

    /// Ends a session if it still deserves it once nobody else can end it.
    pub(crate) fn remove_if(
        &self,
        client: SlotIndex,
        birth: u16,
        deserves: impl FnOnce(&Session<KEY, PAYLOAD>) -> bool,
    ) -> Option<Session<KEY, PAYLOAD>> {
        let held = self.lock(client, birth)?;
        let (near, far) = (&self.slots[client.index()], &self.slots[held.peer().index()]);
        let session = self.held_session(client, held);
        if !deserves(&session) {
            near.set_header(held.stepped());
            return None;
        }
        self.vacate(held.peer(), far, far.header());
        self.vacate(client, near, held);
        self.counter(client).fetch_sub(1, Ordering::Relaxed);
        Some(session)
    }

    /// The stamp first, the tag second: a reader that follows the tag finds an odd stamp, never an old
    /// session.
    fn vacate(&self, index: SlotIndex, slot: &Slot<KEY, PAYLOAD, LINES>, header: Header) {
        slot.set_header(header.vacated());
        self.tags[index.index() / SLOTS_PER_SET].free(index.index() % SLOTS_PER_SET);
    }

    /// Ends the sessions of `sets` that have been silent for too long, and shows each to `ended`. Returns how
    /// many.
    ///
    /// A worker walks its own share, a few sets a turn. Walks over the same sets end each session once. A
    /// packet that is noted while its session ends, after hours of silence, comes too late: the next one
    /// finds no session.
    pub fn sweep(
        &self,
        sets: Range<usize>,
        now_tick: u32,
        timeouts: &Timeouts,
        mut ended: impl FnMut(&Session<KEY, PAYLOAD>),
    ) -> usize {
        let mut count = 0;
        let end = sets.end;
        for start in sets.step_by(SETS_AHEAD) {
            for client in self.idle_sides(start..end.min(start + SETS_AHEAD), now_tick, timeouts.shortest()) {
                let is_expired = |session: &Session<KEY, PAYLOAD>| session.is_expired(now_tick, timeouts);
                let Some(session) = self.session_at(client).filter(is_expired) else { continue };
                if let Some(session) = self.remove_if(client, session.birth, is_expired) {
                    ended(&session);
                    count += 1;
                }
            }
        }
        count
    }

    /// Client sides in a few sets that have been silent for longer than `shortest`. What the end of their sessions waits for
    /// is asked for: the other side.
    fn idle_sides(&self, sets: Range<usize>, now_tick: u32, shortest: u32) -> IdleSides {
        let mut idle = IdleSides::new();
        for client in self.client_slots(sets) {
            let near = &self.slots[client.index()];
            if near.activity().idle_ticks(now_tick) <= shortest {
                continue;
            }
            // There is room for every slot of the sets.
            let _kept = idle.try_push(client);
            // A slot that is being written may name any other.
            let peer = near.header().peer();
            if let (Some(far), Some(tags)) = (self.slot(peer), self.tags.get(peer.index() / SLOTS_PER_SET)) {
                far.prefetch();
                prefetch(tags);
            }
        }
        idle
    }

    /// Shows every session of `sets` to `decide` and does what it says; those that really end are shown to
    /// `ended`. For workers: it writes.
    pub fn visit(
        &self,
        sets: Range<usize>,
        now_tick: u32,
        mut decide: impl FnMut(&Session<KEY, PAYLOAD>) -> Visit,
        mut ended: impl FnMut(&Session<KEY, PAYLOAD>),
    ) {
        for client in self.client_slots(sets) {
            let Some(session) = self.session_at(client) else { continue };
            match decide(&session) {
                Visit::Keep => {}
                Visit::MarkReset => {
                    self.mark_reset(client, session.birth, now_tick);
                }
                Visit::End => {
                    if let Some(session) = self.remove(client, session.birth) {
                        ended(&session);
                    }
                }
            }
        }
    }

    /// Shows every session of `sets` to `see` and writes nothing: for the control thread.
    pub fn inspect(&self, sets: Range<usize>, mut see: impl FnMut(&Session<KEY, PAYLOAD>)) {
        for client in self.client_slots(sets) {
            if let Some(session) = self.session_at(client) {
                see(&session);
            }
        }
    }

    /// Live client sides in `sets`; sets beyond the table are passed over.
    fn client_slots(&self, sets: Range<usize>) -> impl Iterator<Item = SlotIndex> {
        let sets = sets.start..sets.end.min(self.tags.len());
        sets.flat_map(|set| Probe::whole(set as u32, !self.tags[set].matches(0)).slots()).filter(|&index| {
            let slot = &self.slots[index.index()];
            slot.header().is_even() && slot.activity().flags().contains(Flags::CLIENT)
        })
    }

    /// Marks both sides as reset by the appliance and starts their time anew. False when the session has
    /// ended, or is held by another thread.
    pub fn mark_reset(&self, client: SlotIndex, birth: u16, now_tick: u32) -> bool {
        let Some(held) = self.lock(client, birth) else { return false };
        let sides = [client, held.peer()].map(|index| &self.slots[index.index()]);
        let marked = sides.map(|slot| Self::mark(slot, |activity| activity.after(now_tick, Flags::RESET)));
        sides[0].set_header(held.stepped());
        marked == [true; 2]
    }

    /// Marks a session as one that is no more counted. One caller of all gets the session, as it was at that moment, and
    /// none when it has ended or is held by another thread: then whoever ends it sees no mark and counts it out.
    pub fn mark_left(&self, client: SlotIndex, birth: u16) -> Option<Session<KEY, PAYLOAD>> {
        let held = self.lock(client, birth)?;
        let slot = &self.slots[client.index()];
        let session = self.held_session(client, held);
        let is_new = !slot.activity().flags().contains(Flags::LEFT)
            && Self::mark(slot, |activity| activity.after(activity.last_seen_tick(), Flags::LEFT));
        slot.set_header(held.stepped());
        is_new.then_some(session)
    }

    /// The session whose lock word this thread holds.
    fn held_session(&self, client: SlotIndex, held: Header) -> Session<KEY, PAYLOAD> {
        let (near, far) = (&self.slots[client.index()], &self.slots[held.peer().index()]);
        Session {
            birth: held.birth(),
            client: Side::new(client, &near.contents(held)),
            server: Side::new(held.peer(), &far.contents(far.header())),
        }
    }

    /// Adds flags to the direction that was hit. True for the one caller that added them.
    pub fn mark_once(&self, hit: &Hit<PAYLOAD>, flags: Flags) -> bool {
        let is_new = |slot: &Slot<KEY, PAYLOAD, LINES>| {
            let mut current = slot.activity();
            for _ in 0..MARK_TRIES {
                if current.flags().contains(flags) {
                    return false;
                }
                match slot.swap_activity(current, current.after(current.last_seen_tick(), flags)) {
                    Ok(()) => return true,
                    Err(actual) => current = actual,
                }
            }
            false
        };
        self.slot_of(hit).is_some_and(is_new)
    }

    /// Changes the activity word of a slot against workers that note packets.
    fn mark(slot: &Slot<KEY, PAYLOAD, LINES>, change: impl Fn(Activity) -> Activity) -> bool {
        let mut current = slot.activity();
        for _ in 0..MARK_TRIES {
            match slot.swap_activity(current, change(current)) {
                Ok(()) => return true,
                Err(actual) => current = actual,
            }
        }
        false
    }

    /// Shows the session to `update` while nobody else can end or change it, and replaces one payload word of each side by
    /// what that says, the client's first; readers see the old words or the new, never a mixture within one side. False when
    /// `update` says nothing, or the session has ended or is held by another thread.
    ///
    /// # Panics
    /// When `index` is not below `PAYLOAD`.
    pub fn update_payload_words(
        &self,
        client: SlotIndex,
        birth: u16,
        index: usize,
        update: impl FnOnce(&Session<KEY, PAYLOAD>) -> Option<[u64; 2]>,
    ) -> bool {
        assert!(index < PAYLOAD, "payload word {index} of {PAYLOAD}");
        let Some(held) = self.lock(client, birth) else { return false };
        let (near, far) = (&self.slots[client.index()], &self.slots[held.peer().index()]);
        let words = update(&self.held_session(client, held));
        if let Some([of_client, of_server]) = words {
            near.set_payload(index, of_client);
            let odd = far.header().stepped();
            far.set_header(odd);
            far.set_payload(index, of_server);
            far.set_header(odd.stepped());
        }
        near.set_header(held.stepped());
        words.is_some()
    }
}
