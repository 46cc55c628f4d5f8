//! The words of a slot that mean something to this crate: header, activity, progress. Plain values, no
//! atomics.

use crate::tcp::Observation;

/// The number of a slot: sixteen times its set, plus its place in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotIndex(pub u32);

impl SlotIndex {
    /// The peer of a slot that holds no session: free, or reserved by an insert that has not published it
    /// yet.
    pub(crate) const VACANT: Self = Self(u32::MAX);

    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Word 0: `stamp:16 | birth:16 | peer:32`. An odd stamp says that the slot is free or being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header(pub(crate) u64);

impl Header {
    /// A slot that has never been used.
    pub(crate) const NEVER_USED: Self = Self::new(1, 0, SlotIndex::VACANT);

    pub(crate) const fn new(stamp: u16, birth: u16, peer: SlotIndex) -> Self {
        Self((stamp as u64) << 48 | (birth as u64) << 32 | peer.0 as u64)
    }

    #[inline]
    pub(crate) fn stamp(self) -> u16 {
        (self.0 >> 48) as u16
    }

    #[inline]
    pub(crate) fn birth(self) -> u16 {
        (self.0 >> 32) as u16
    }

    #[inline]
    pub(crate) fn peer(self) -> SlotIndex {
        SlotIndex(self.0 as u32)
    }

    #[inline]
    pub(crate) fn is_even(self) -> bool {
        self.stamp() & 1 == 0
    }

    /// Odd and nobody's session: what a reserved or a free slot looks like.
    pub(crate) fn is_vacant(self) -> bool {
        self.peer() == SlotIndex::VACANT
    }

    /// The same header with the next stamp: even becomes odd, odd becomes even.
    #[inline]
    pub(crate) fn stepped(self) -> Self {
        Self::new(self.stamp().wrapping_add(1), self.birth(), self.peer())
    }

    /// What an even header becomes when its session has ended.
    pub(crate) fn vacated(self) -> Self {
        Self::new(self.stamp().wrapping_add(1) | 1, self.birth(), SlotIndex::VACANT)
    }
}

/// What was seen in one direction, with which side it is and which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// Nothing was seen.
    pub const NONE: Self = Self(0);
    /// This side sent a SYN.
    pub const SYN: Self = Self(1 << 0);
    /// This side acknowledged what the other side had really sent: its half of the handshake is done.
    pub const ACKNOWLEDGED: Self = Self(1 << 1);
    /// This side sent a FIN in sequence.
    pub const FIN: Self = Self(1 << 2);
    /// This side sent a RST in sequence.
    pub const RST: Self = Self(1 << 3);
    /// The appliance reset the session; set on both sides.
    pub const RESET: Self = Self(1 << 4);
    /// The sequence end of this direction is known.
    pub const SEQUENCE_KNOWN: Self = Self(1 << 5);
    /// This slot is the client side.
    pub const CLIENT: Self = Self(1 << 6);
    /// Whoever counts sessions counts this one no more, though it lives on for a while. On the client's side; set by
    /// [`Table::mark_left`](crate::Table::mark_left).
    pub const LEFT: Self = Self(1 << 7);
    const PROTOCOL_SHIFT: u32 = 8;
    /// The other direction passes elsewhere: servers answer their clients directly. Set on both sides when the session is
    /// made.
    pub const ONE_WAY: Self = Self(1 << 10);
    /// The session counts on an entry of the persistence table. Set on both sides when the session is made.
    pub const REMEMBERED: Self = Self(1 << 11);
    /// A packet of this direction came over another firewall than the session's, while both lived.
    pub const DRIFTED: Self = Self(1 << 12);
    /// The session was moved from a firewall that failed to another one. On the side that noticed.
    pub const MOVED: Self = Self(1 << 13);

    /// Both sets of flags together.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in here.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in here.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn of_protocol(protocol: Protocol) -> Self {
        Self((protocol as u16) << Self::PROTOCOL_SHIFT)
    }

    /// The class by which the session ages.
    #[inline]
    pub const fn protocol(self) -> Protocol {
        match self.0 >> Self::PROTOCOL_SHIFT & 3 {
            0 => Protocol::Tcp,
            1 => Protocol::Udp,
            _ => Protocol::Icmp,
        }
    }
}

/// By which rules a session ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP: flags and sequence numbers are tracked.
    Tcp = 0,
    /// UDP, and every other protocol that an `any` service carries.
    Udp = 1,
    /// ICMP queries.
    Icmp = 2,
}

/// One direction's activity word: `last seen:32 | flags:16 | route epoch:16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity(pub(crate) u64);

impl Activity {
    pub(crate) fn new(tick: u32, flags: Flags, epoch: u16) -> Self {
        Self(u64::from(tick) << 32 | u64::from(flags.0) << 16 | u64::from(epoch))
    }

    /// The tick of the last packet that changed this word.
    #[inline]
    pub fn last_seen_tick(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// What was seen in this direction.
    #[inline]
    pub fn flags(self) -> Flags {
        Flags((self.0 >> 16) as u16)
    }

    /// The route epoch under which this direction's egress was resolved.
    #[inline]
    pub fn epoch(self) -> u16 {
        self.0 as u16
    }

    /// Ticks since the last packet; zero when another worker's clock is ahead of `now_tick`.
    #[inline]
    pub fn idle_ticks(self, now_tick: u32) -> u32 {
        (now_tick.wrapping_sub(self.last_seen_tick()) as i32).max(0) as u32
    }

    /// The word after a packet at `now_tick` that showed `flags`. Time never steps back.
    #[inline]
    pub(crate) fn after(self, now_tick: u32, flags: Flags) -> Self {
        let tick = self.last_seen_tick().wrapping_add(self.idle_ticks(now_tick));
        Self::new(tick, self.flags().with(flags), self.epoch())
    }

    /// Whether [`after`](Self::after) would be another word.
    #[inline(always)]
    pub(crate) fn would_change(self, now_tick: u32, flags: Flags) -> bool {
        self.idle_ticks(now_tick) != 0 || !self.flags().contains(flags)
    }

    pub(crate) fn with_epoch(self, epoch: u16) -> Self {
        Self(self.0 & !0xffff | u64::from(epoch))
    }
}

/// One direction's progress word: `sequence end:32 | packets:32`. Packets stop at `u32::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress(pub(crate) u64);

impl Progress {
    pub(crate) fn new(sequence_end: u32, packets: u32) -> Self {
        Self(u64::from(sequence_end) << 32 | u64::from(packets))
    }

    /// The sequence number after the last byte that this direction sent; see [`Flags::SEQUENCE_KNOWN`].
    #[inline]
    pub fn sequence_end(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Packets counted in this direction.
    #[inline]
    pub fn packets(self) -> u32 {
        self.0 as u32
    }

    /// The word after one more packet.
    #[inline(always)]
    pub(crate) fn after(self, seen: Observation) -> Self {
        let end = seen.sequence_end.unwrap_or(self.sequence_end());
        Self::new(end, self.packets().saturating_add(1))
    }
}

/// What is known of one direction of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// When it was last seen, and what was.
    pub activity: Activity,
    /// How far it has got.
    pub progress: Progress,
}

impl Direction {
    /// The sequence end, where one is known.
    #[inline]
    pub fn sequence_end(self) -> Option<u32> {
        self.activity.flags().contains(Flags::SEQUENCE_KNOWN).then(|| self.progress.sequence_end())
    }

    /// When the session was opened, in microseconds that wrap after 71 minutes: kept on the server's side for as long as no
    /// sequence end is known there.
    pub fn opened_us(self) -> Option<u32> {
        let is_kept = !self.activity.flags().intersects(Flags::SEQUENCE_KNOWN.with(Flags::CLIENT));
        is_kept.then(|| self.progress.sequence_end())
    }
}
