//! Frames that wait: for their next hop (RULES L4: a bounded queue, then host unreachable), or as a piece of a datagram
//! for its first piece (RULES F2).

use crate::arrival::Ingress;
use port::FRAME_BYTES_MAX;
use std::net::IpAddr;

/// Frames that wait for a next hop in one worker at the most: enough for the first packets of clients behind a few dozen
/// new next hops, and 100 KiB.
pub(crate) const PARKED_MAX: usize = 64;

/// Pieces that wait for their first in one worker at the most: four datagrams of the longest kind that come last piece
/// first, and 300 KiB.
pub(crate) const PIECES_MAX: usize = 192;
/// Those of them that one source may have: two such datagrams.
const PIECES_OF_SOURCE_MAX: usize = 96;
/// How long a piece waits. Where the order of a datagram's pieces changes on the way, it does so by milliseconds.
pub(crate) const PIECE_NS_MAX: u64 = 1_000_000_000;

/// How long a frame waits: three solicitations one second apart, as the kernel sends them, and a little.
pub(crate) const PARKED_NS_MAX: u64 = 3_500_000_000;

/// How often the parked frames are looked at again.
pub(crate) const RETRY_NS: u64 = 1_000_000;

/// What a frame waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// A next hop: the port index of its leg, and its address.
    NextHop(u16, IpAddr),
    /// The first piece of its datagram, from the source with this hash.
    FirstPiece(u64),
}

impl Awaited {
    fn is_piece(self) -> bool {
        matches!(self, Awaited::FirstPiece(_))
    }
}

/// A frame that waits.
pub(crate) struct Parked {
    pub ingress: Ingress,
    pub length: u16,
    pub deadline_ns: u64,
    /// What it waits for.
    pub awaited: Awaited,
    /// Head room in front, as in a ring's buffer, so that the frame can become any answer.
    pub bytes: Box<[u8]>,
}

/// Bytes of a parked frame's buffer.
pub(crate) const PARKED_BYTES: usize = port::HEAD_ROOM_BYTES + FRAME_BYTES_MAX;

/// The frames that wait, and the buffers that are free. Allocates only when it is made.
pub(crate) struct Park {
    waiting: Vec<Parked>,
    free: Vec<Box<[u8]>>,
    retry_at_ns: u64,
}

impl Park {
    pub fn new() -> Self {
        Self {
            waiting: Vec::with_capacity(PARKED_MAX + PIECES_MAX),
            free: (0..PARKED_MAX + PIECES_MAX).map(|_| vec![0; PARKED_BYTES].into_boxed_slice()).collect(),
            retry_at_ns: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Keeps a copy of `frame` until `deadline_ns`; false when there is no room or the frame is too long.
    pub fn keep(&mut self, ingress: Ingress, frame: &[u8], awaited: Awaited, deadline_ns: u64) -> bool {
        if frame.len() > FRAME_BYTES_MAX || !self.has_room(awaited) {
            return false;
        }
        let Some(mut bytes) = self.free.pop() else { return false };
        bytes[port::HEAD_ROOM_BYTES..port::HEAD_ROOM_BYTES + frame.len()].copy_from_slice(frame);
        self.waiting.push(Parked { ingress, length: frame.len() as u16, deadline_ns, awaited, bytes });
        true
    }

    /// Neither kind of frame takes the other's room.
    fn has_room(&self, awaited: Awaited) -> bool {
        let is_alike = |parked: &&Parked| parked.awaited.is_piece() == awaited.is_piece();
        let alike = self.waiting.iter().filter(is_alike).count();
        let of_source = || self.waiting.iter().filter(|parked| parked.awaited == awaited).count();
        match awaited {
            Awaited::NextHop(..) => alike < PARKED_MAX,
            Awaited::FirstPiece(_) => alike < PIECES_MAX && of_source() < PIECES_OF_SOURCE_MAX,
        }
    }

    /// Whether it is time to look at the frames again.
    pub fn is_due(&mut self, now_ns: u64, plan_changed: bool) -> bool {
        let due = !self.waiting.is_empty() && (plan_changed || now_ns >= self.retry_at_ns);
        if due {
            self.retry_at_ns = now_ns + RETRY_NS;
        }
        due
    }

    /// Takes the frame that waits at `position`, oldest first; the later ones move up.
    pub fn take(&mut self, position: usize) -> Parked {
        self.waiting.remove(position)
    }

    /// Puts a frame back where it was taken.
    pub fn put_back(&mut self, position: usize, parked: Parked) {
        self.waiting.insert(position, parked);
    }

    /// Gives a taken frame's buffer back.
    pub fn release(&mut self, parked: Parked) {
        self.free.push(parked.bytes);
    }
}
