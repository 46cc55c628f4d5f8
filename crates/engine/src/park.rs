//! Frames whose next hop is not known yet (RULES L4: a bounded queue, then host unreachable).

use port::FRAME_BYTES_MAX;
use std::net::IpAddr;

/// Frames that one worker keeps at the most: enough for the first packets of clients behind a few dozen new next hops,
/// and 100 KiB.
pub(crate) const PARKED_MAX: usize = 64;

/// How long a frame waits: three solicitations one second apart, as the kernel sends them, and a little.
pub(crate) const PARKED_NS_MAX: u64 = 3_500_000_000;

/// How often the parked frames are looked at again.
pub(crate) const RETRY_NS: u64 = 1_000_000;

/// A next hop that frames wait for: the index of its port, and its address.
pub(crate) type Awaited = (u16, IpAddr);

/// A frame that waits.
pub(crate) struct Parked {
    pub ingress: u16,
    pub length: u16,
    pub deadline_ns: u64,
    /// What it waits for: a next hop on a port.
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
            waiting: Vec::with_capacity(PARKED_MAX),
            free: (0..PARKED_MAX).map(|_| vec![0; PARKED_BYTES].into_boxed_slice()).collect(),
            retry_at_ns: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Keeps a copy of `frame` until `deadline_ns`; false when there is no room or the frame is too long.
    pub fn keep(&mut self, ingress: u16, frame: &[u8], awaited: Awaited, deadline_ns: u64) -> bool {
        if frame.len() > FRAME_BYTES_MAX {
            return false;
        }
        let Some(mut bytes) = self.free.pop() else { return false };
        bytes[port::HEAD_ROOM_BYTES..port::HEAD_ROOM_BYTES + frame.len()].copy_from_slice(frame);
        self.waiting.push(Parked { ingress, length: frame.len() as u16, deadline_ns, awaited, bytes });
        true
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
