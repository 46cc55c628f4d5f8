//! Inserting a session: two slots, two keys, no lock, and exactly one winner.
//!
//! ```text
//!   reserve both      tag 0 → tag, by compare-and-swap; the slots stay odd        ─┐ fence
//!   look              a key that is live already: give up                          ┘
//!   publish           server side, then client side: odd → even                   ─┐ fence
//!   look again        of two equal keys the lower client slot stays                ┘
//! ```
//!
//! Why one look is not enough, and two are. Let A and B insert the same key. If A's first look finds B
//! published, A gives up. Otherwise B published after A looked, so after A reserved: B's second look sees A's
//! tag. The same holds the other way round. So either one has given up already, or each sees the other's tag
//! in its second look, waits until it is published or gone, and both judge by the same rule. Nobody waits
//! before it has published, so nobody waits in a circle. (The sequentially consistent fences are what "so"
//! rests on: without them both could look past each other's store.)
//!
//! Client and server keys are both judged by the *client* slots, lest A win one key, B the other, and both
//! give up.

use crate::{
    slot::Contents,
    sync::{Ordering, fence},
    table::{Hit, Lookup, Table},
    tags::{Probe, SLOTS_PER_SET},
    tcp::Observation,
    view::Session,
    word::{Activity, Direction, Flags, Header, Progress, Protocol, SlotIndex},
};

/// Sessions that an insert tries to evict from two full sets before it calls the table full. A try fails only
/// when another thread is faster, or a packet changes the session's state at that moment.
const EVICTION_TRIES: usize = 4;

/// One side of a session to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<const KEY: usize, const PAYLOAD: usize> {
    /// The keyed hash of `key`.
    pub hash: u64,
    /// The key under which packets of this direction are found.
    pub key: [u64; KEY],
    /// What is kept for them.
    pub payload: [u64; PAYLOAD],
}

/// The packet that opens a session. It counts as the client side's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Now.
    pub tick: u32,
    /// By which rules the session ages.
    pub protocol: Protocol,
    /// The route epoch under which both egress links were resolved.
    pub epoch: u16,
    /// What the packet showed: [`tcp::open`](crate::tcp::open), or [`Observation::NOTHING`].
    pub seen: Observation,
    /// What holds for the session all its life: [`Flags::ONE_WAY`], [`Flags::REMEMBERED`]. Set on both sides.
    pub marks: Flags,
    /// Now, in microseconds of a clock that may wrap. The server's side keeps it until it knows a sequence end:
    /// [`Direction::opened_us`].
    pub now_us: u32,
}

/// What became of an insert. In every case but `Inserted` and `Evicted` the caller still owns its source-NAT
/// port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert<const PAYLOAD: usize> {
    /// The session lives.
    Inserted {
        /// Its client side.
        client: Hit<PAYLOAD>,
        /// Its server side.
        server: Hit<PAYLOAD>,
    },
    /// The client key has a session already, perhaps since a moment ago: free the port and replay this one.
    Duplicate(Hit<PAYLOAD>),
    /// Another session has the server key: choose another member or another source port.
    ServerKeyTaken,
    /// No room, and nobody that may be evicted.
    Full,
    /// Another thread was about to insert what may be the same key and did not finish: drop the packet.
    Busy,
    /// The new session lost its key but could not be withdrawn, since another thread evicted it or held it
    /// just then. Whoever ends it is told, and frees its port. Drop the packet.
    Evicted,
}

/// How a key fares among the slots that bear its tag.
enum Contest<const PAYLOAD: usize> {
    Unopposed,
    Taken(Hit<PAYLOAD>),
    Undecided,
}

impl<const KEY: usize, const PAYLOAD: usize, const LINES: usize> Table<KEY, PAYLOAD, LINES> {
    /// Inserts a session of two sides. The caller has looked up `client.key` in vain.
    ///
    /// A full pair of sets gives up its longest idle half-open or closing session, never an established one;
    /// UDP and ICMP count as half-open while unanswered. `evicted` is told of each, so that its port can be
    /// freed, whatever becomes of the insert.
    pub fn insert(
        &self,
        opening: &Opening,
        client: &Entry<KEY, PAYLOAD>,
        server: &Entry<KEY, PAYLOAD>,
        mut evicted: impl FnMut(&Session<KEY, PAYLOAD>),
    ) -> Insert<PAYLOAD> {
        let (client_probe, server_probe) = (self.locate(client.hash), self.locate(server.hash));
        let Some(client_slot) = self.reserve(client_probe, opening.tick, &mut evicted) else {
            return Insert::Full;
        };
        let Some(server_slot) = self.reserve(server_probe, opening.tick, &mut evicted) else {
            self.free_tag(client_slot);
            return Insert::Full;
        };
        self.slots[server_slot.index()].prefetch();
        fence(Ordering::SeqCst);
        let own = [client_slot, server_slot];
        let obstacle = match self.published(self.others(client_probe, own), &client.key) {
            Contest::Taken(hit) => Some(Insert::Duplicate(hit)),
            Contest::Undecided => Some(Insert::Busy),
            Contest::Unopposed => match self.published(self.others(server_probe, own), &server.key) {
                Contest::Taken(_) => Some(Insert::ServerKeyTaken),
                Contest::Undecided => Some(Insert::Busy),
                Contest::Unopposed => None,
            },
        };
        if let Some(obstacle) = obstacle {
            self.free_tag(server_slot);
            self.free_tag(client_slot);
            return obstacle;
        }
        let (client_hit, server_hit) = self.publish(opening, (client_slot, client), (server_slot, server));
        fence(Ordering::SeqCst);
        match self.judge((client_probe, client), (server_probe, server), &client_hit) {
            None => Insert::Inserted { client: client_hit, server: server_hit },
            Some(_) if self.remove(client_slot, client_hit.birth).is_none() => Insert::Evicted,
            Some(lost) => lost,
        }
    }

    /// Takes a free slot in the emptier of the two sets, the first when they are even; makes room if it has
    /// to.
    fn reserve(
        &self,
        probe: Probe,
        now_tick: u32,
        evicted: &mut impl FnMut(&Session<KEY, PAYLOAD>),
    ) -> Option<SlotIndex> {
        for _ in 0..=EVICTION_TRIES {
            // Another thread may have been faster, so it is asked again and again, until both sets are full.
            while let Some(index) = self.room(&probe) {
                let (set, place) = (index.index() / SLOTS_PER_SET, index.index() % SLOTS_PER_SET);
                if self.tags[set].reserve_place(place, probe.tag) {
                    return Some(index);
                }
            }
            evicted(&self.evict(probe, now_tick)?);
        }
        None
    }

    /// A free slot in the emptier of the two sets, the first when they are even.
    #[inline]
    pub(crate) fn room(&self, probe: &Probe) -> Option<SlotIndex> {
        let [first, second] = probe.sets.map(|set| self.tags[set as usize].matches(0));
        let is_second = second.count_ones() > first.count_ones();
        let (set, free) = if is_second { (probe.sets[1], second) } else { (probe.sets[0], first) };
        (free != 0).then(|| SlotIndex(set * SLOTS_PER_SET as u32 + free.trailing_zeros()))
    }

    /// The slots that bear the key's tag now, but for these two: most keys have none.
    #[inline(always)]
    fn others(&self, probe: Probe, own: [SlotIndex; 2]) -> Probe {
        let probe = self.look(probe);
        Probe {
            matches: own.into_iter().fold(probe.matches, |matches, index| matches & !probe.bit_of(index)),
            ..probe
        }
    }

    /// The first look: is the key live already? Slots that other inserts have merely reserved are left to the
    /// second.
    #[inline(always)]
    fn published(&self, others: Probe, key: &[u64; KEY]) -> Contest<PAYLOAD> {
        if others.is_miss() { Contest::Unopposed } else { self.published_among(others, key) }
    }

    #[inline(never)]
    fn published_among(&self, probe: Probe, key: &[u64; KEY]) -> Contest<PAYLOAD> {
        for index in probe.slots() {
            let reserved = self.slot(index).is_none_or(|slot| slot.header().is_vacant());
            match self.examine_unless(reserved, index, probe.tag, key) {
                Lookup::Miss => {}
                Lookup::Hit(hit) => return Contest::Taken(hit),
                Lookup::Busy => return Contest::Undecided,
            }
        }
        Contest::Unopposed
    }

    fn examine_unless(&self, skip: bool, index: SlotIndex, tag: u16, key: &[u64; KEY]) -> Lookup<PAYLOAD> {
        if skip { Lookup::Miss } else { self.examine(index, tag, key) }
    }

    fn publish(
        &self,
        opening: &Opening,
        client: (SlotIndex, &Entry<KEY, PAYLOAD>),
        server: (SlotIndex, &Entry<KEY, PAYLOAD>),
    ) -> (Hit<PAYLOAD>, Hit<PAYLOAD>) {
        // The client slot's own generation tells its sessions apart for 2^15 of them; the slot's number,
        // spread over the word, makes sessions of different client slots unlikely to share a birth in one
        // server slot.
        let generation = self.slots[client.0.index()].header().stamp() >> 1;
        let birth = generation.wrapping_add((client.0.0.wrapping_mul(0x9e37_79b9) >> 16) as u16);
        let protocol = Flags::of_protocol(opening.protocol).with(opening.marks);
        let client_flags = Flags::CLIENT.with(protocol).with(opening.seen.flags);
        let first = Progress::ZERO.after(opening.seen);
        let unanswered = (protocol, Progress::new(opening.now_us, 0));
        let server_hit = self.fill(server, client.0, birth, opening, unanswered);
        let client_hit = self.fill(client, server.0, birth, opening, (client_flags, first));
        self.counter(client.0).fetch_add(1, Ordering::Relaxed);
        (client_hit, server_hit)
    }

    fn fill(
        &self,
        (index, entry): (SlotIndex, &Entry<KEY, PAYLOAD>),
        peer: SlotIndex,
        birth: u16,
        opening: &Opening,
        (flags, progress): (Flags, Progress),
    ) -> Hit<PAYLOAD> {
        let slot = &self.slots[index.index()];
        let activity = Activity::new(opening.tick, flags, opening.epoch);
        let contents = Contents {
            header: Header::new(slot.header().stamp().wrapping_add(1), birth, peer),
            key: entry.key,
            payload: entry.payload,
            direction: Direction { activity, progress },
        };
        slot.fill(&contents);
        Hit::new(index, &contents)
    }

    /// The second look: how the published session `own` fares against others with the same keys. `None`: it
    /// stays.
    #[inline(always)]
    fn judge(
        &self,
        client: (Probe, &Entry<KEY, PAYLOAD>),
        server: (Probe, &Entry<KEY, PAYLOAD>),
        own: &Hit<PAYLOAD>,
    ) -> Option<Insert<PAYLOAD>> {
        match self.contest(client.0, &client.1.key, own) {
            Contest::Taken(hit) => return Some(Insert::Duplicate(hit)),
            Contest::Undecided => return Some(Insert::Busy),
            Contest::Unopposed => {}
        }
        match self.contest(server.0, &server.1.key, own) {
            Contest::Taken(_) => Some(Insert::ServerKeyTaken),
            Contest::Undecided => Some(Insert::Busy),
            Contest::Unopposed => None,
        }
    }

    /// Looks for a session with the same key and a lower client slot, waiting for slots that are still being
    /// written.
    #[inline(always)]
    fn contest(&self, probe: Probe, key: &[u64; KEY], own: &Hit<PAYLOAD>) -> Contest<PAYLOAD> {
        let others = self.others(probe, [own.slot, own.peer]);
        if others.is_miss() { Contest::Unopposed } else { self.contest_among(others, key, own) }
    }

    #[inline(never)]
    fn contest_among(&self, probe: Probe, key: &[u64; KEY], own: &Hit<PAYLOAD>) -> Contest<PAYLOAD> {
        for index in probe.slots() {
            match self.examine(index, probe.tag, key) {
                Lookup::Hit(hit) if hit.client_slot() < own.slot => return Contest::Taken(hit),
                Lookup::Busy => return Contest::Undecided,
                Lookup::Hit(_) | Lookup::Miss => {}
            }
        }
        Contest::Unopposed
    }

    /// Ends the longest idle session of these two sets that is half-open or closing.
    fn evict(&self, probe: Probe, now_tick: u32) -> Option<Session<KEY, PAYLOAD>> {
        let mut passed_over = [SlotIndex::VACANT; EVICTION_TRIES];
        for tried in 0..EVICTION_TRIES {
            let (_, index) =
                self.eviction_candidates(probe, now_tick).filter(|(_, i)| !passed_over.contains(i)).max()?;
            passed_over[tried] = index;
            let Some(side) = self.slot(index).and_then(|slot| slot.read()) else { continue };
            let client = Hit::new(index, &side).client_slot();
            if let Some(session) = self.remove_if(client, side.header.birth(), Session::may_be_evicted) {
                return Some(session);
            }
        }
        None
    }

    /// Sides in these sets whose session may go, with their idle ticks.
    fn eviction_candidates(&self, probe: Probe, now_tick: u32) -> impl Iterator<Item = (u32, SlotIndex)> {
        let all = Probe { matches: if probe.sets[0] == probe.sets[1] { 0xffff } else { u32::MAX }, ..probe };
        all.slots().filter(|&index| self.is_expendable(index)).filter_map(move |index| {
            let slot = self.slot(index)?;
            Some((slot.activity().idle_ticks(now_tick), index))
        })
    }

    /// Whether the session of which `index` is a side may be evicted. In a flood the side's own words settle
    /// it; only FIN and the client side of a datagram protocol need a look at the other side, a second cache
    /// miss.
    fn is_expendable(&self, index: SlotIndex) -> bool {
        let Some(side) = self.slot(index).and_then(|slot| slot.read()) else { return false };
        let hit = Hit::new(index, &side);
        let flags = side.direction.activity.flags();
        let whole =
            || self.session(hit.client_slot(), hit.birth).is_some_and(|session| session.may_be_evicted());
        match flags.protocol() {
            Protocol::Tcp if flags.contains(Flags::RST) || flags.contains(Flags::RESET) => true,
            // Of a session that is seen one way, the server's side tells nothing.
            Protocol::Tcp if flags.contains(Flags::ONE_WAY) && !hit.is_client() => whole(),
            Protocol::Tcp if !flags.contains(Flags::ACKNOWLEDGED) => true,
            Protocol::Tcp => flags.contains(Flags::FIN) && whole(),
            Protocol::Udp | Protocol::Icmp if hit.is_client() => whole(),
            Protocol::Udp | Protocol::Icmp => side.direction.progress.packets() == 0,
        }
    }

    /// Gives back a slot that was reserved and never published.
    fn free_tag(&self, index: SlotIndex) {
        self.tags[index.index() / SLOTS_PER_SET].free(index.index() % SLOTS_PER_SET);
    }
}
