//! One interface in the hands of one worker: the sockets of the worker's queues.

use super::ring::Descriptor;
use super::socket::{KernelStatistics, XdpSocket};
use super::umem::{CHUNK_BYTES, Held, Holder, Umem};
use port::{BURST_FRAMES_MAX, Burst, FRAME_BYTES_MAX};
use std::os::fd::BorrowedFd;

/// The shortest frame that is sent: an Ethernet header. The kernel would swallow a shorter one with its
/// chunk.
pub(super) const FRAME_BYTES_MIN: usize = 14;

/// Chunks that have to be missing in a fill ring before it is filled up: a burst, so that a full load fills it once
/// a turn and a trickle once in many. Of a short ring, half.
const REFILL_FRAMES: u32 = BURST_FRAMES_MAX as u32;

/// What an AF_XDP port counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpStatistics {
    /// The kernel's counters, summed over the port's queues in this worker's hands.
    pub kernel: KernelStatistics,
    /// Received frames longer than [`FRAME_BYTES_MAX`]; dropped.
    pub oversize: u64,
    /// Descriptors from the kernel that named a chunk it did not have or bytes outside it; dropped.
    pub bad_descriptors: u64,
    /// Frames that found no room in the transmit ring.
    pub transmit_refused: u64,
}

/// A socket, and how many chunks are on either side of it.
#[derive(Debug)]
struct Lane {
    socket: XdpSocket,
    /// Chunks that the kernel has to receive into; at most the length of the rings.
    receiving: u32,
    /// Chunks that the kernel has to send; at most the length of the rings, so that a stalled link keeps no
    /// more.
    sending: u32,
}

/// An AF_XDP port.
#[derive(Debug)]
pub(crate) struct XdpPort {
    lanes: Vec<Lane>,
    entries: u32,
    /// The lane that is looked at first.
    next: usize,
    /// The lane that the last burst came from.
    lent_lane: usize,
    lent: Vec<Held>,
    refusals: Refusals,
    transmit_refused: u64,
}

/// Received frames that were dropped, by reason.
#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    oversize: u64,
    bad_descriptors: u64,
}

impl XdpPort {
    pub(super) fn new(sockets: Vec<XdpSocket>, entries: u32, umem: &mut Umem) -> Self {
        let lanes = sockets.into_iter().map(|socket| Lane { socket, receiving: 0, sending: 0 }).collect();
        let mut port = Self {
            lanes,
            entries,
            next: 0,
            lent_lane: 0,
            lent: Vec::with_capacity(BURST_FRAMES_MAX),
            refusals: Refusals::default(),
            transmit_refused: 0,
        };
        for lane in &mut port.lanes {
            lane.refill(umem, entries);
        }
        port
    }

    /// Queue and socket of each lane.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.lanes.iter().map(|lane| (lane.socket.queue, lane.socket.fd()))
    }

    pub(crate) fn is_zero_copy(&self) -> bool {
        self.lanes.iter().all(|lane| lane.socket.is_zero_copy())
    }

    /// Lends the next burst. It comes from one queue, and the queues take turns.
    #[inline]
    pub(crate) fn receive<'a>(&'a mut self, umem: &'a mut Umem) -> Burst<'a> {
        self.release(umem);
        let mut lane = self.next;
        for _ in 0..self.lanes.len() {
            self.lanes[lane].reclaim(umem, &mut self.refusals);
            if self.lent.is_empty() {
                self.lanes[lane].collect(umem, &mut self.lent, &mut self.refusals);
                self.lent_lane = lane;
            }
            self.lanes[lane].refill(umem, self.entries);
            lane = self.after(lane);
        }
        self.next = self.after(self.lent_lane);
        if self.lent.is_empty() {
            // A burst that was filled is copied on return, all 2 KiB of it; this one is not.
            return Burst::new();
        }
        umem.lend(&mut self.lent)
    }

    /// The next lane, in turns.
    #[inline]
    fn after(&self, lane: usize) -> usize {
        if lane + 1 < self.lanes.len() { lane + 1 } else { 0 }
    }

    /// The lane of the last burst: what it forwards leaves by the lane of the same number, so that one flow
    /// keeps to one queue and in order.
    #[inline]
    pub(crate) fn lent_lane(&self) -> usize {
        self.lent_lane
    }

    /// Takes the frames of the last burst, to be settled; to be handed back to [`XdpPort::keep_list`] when
    /// empty.
    #[inline]
    pub(crate) fn take_lent(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.lent)
    }

    /// Keeps the emptied list of [`XdpPort::take_lent`], so that nothing is allocated in a turn.
    #[inline]
    pub(crate) fn keep_list(&mut self, list: Vec<Held>) {
        self.lent = list;
    }

    /// Frees the chunks of a burst that nobody settled.
    #[inline]
    fn release(&mut self, umem: &mut Umem) {
        while let Some(held) = self.lent.pop() {
            umem.give_back(held.chunk);
        }
    }

    /// Queues frames on `lane` without copying them, each with where it lies in its chunk now; gives back how many
    /// were refused, their chunks freed: there was no room, or these are no sendable bytes of a chunk.
    #[inline]
    pub(crate) fn transmit(
        &mut self,
        umem: &mut Umem,
        frames: impl ExactSizeIterator<Item = Held>,
        lane: usize,
    ) -> u32 {
        let count = self.lanes.len();
        // No division where the ports have as many queues, which is the rule.
        let lane = &mut self.lanes[if lane < count { lane } else { lane % count }];
        if lane.sending as usize + frames.len() > self.entries as usize {
            lane.reclaim(umem, &mut self.refusals);
        }
        let (room, mut sent, mut refused) = (self.entries.saturating_sub(lane.sending), 0, 0);
        for held in frames {
            let end = usize::from(held.start) + usize::from(held.length);
            let is_sendable = usize::from(held.length) >= FRAME_BYTES_MIN && end <= CHUNK_BYTES;
            if is_sendable && sent < room {
                let queued = u32::from(lane.queue(umem, held));
                sent += queued;
                refused += 1 - queued;
            } else {
                umem.give_back(held.chunk);
                refused += 1;
            }
        }
        if sent > 0 {
            lane.sending += sent;
            lane.socket.mark_unsent();
        }
        self.transmit_refused += u64::from(refused);
        refused
    }

    /// Queues a copy of `frame`. False when there is no room for it.
    pub(crate) fn transmit_copy(&mut self, umem: &mut Umem, frame: &[u8], lane: usize) -> bool {
        let start = port::HEAD_ROOM_BYTES;
        if frame.len() > CHUNK_BYTES - start {
            self.transmit_refused += 1;
            return false;
        }
        let Some(mut chunk) = umem.take() else {
            self.transmit_refused += 1;
            return false;
        };
        umem.bytes_mut(&mut chunk)[start..start + frame.len()].copy_from_slice(frame);
        let held = Held { chunk, start: start as u16, length: frame.len() as u16 };
        self.transmit(umem, std::iter::once(held), lane) == 0
    }

    #[inline]
    pub(crate) fn flush(&mut self) {
        for lane in &mut self.lanes {
            lane.socket.flush();
        }
    }

    /// Whether frames wait for a later flush.
    pub(crate) fn has_unsent(&self) -> bool {
        self.lanes.iter().any(|lane| lane.socket.has_unsent())
    }

    /// Chunks lent, with the kernel to receive into, and with the kernel to send.
    pub(crate) fn chunks(&self) -> (usize, usize, usize) {
        let receiving = self.lanes.iter().map(|lane| lane.receiving as usize).sum();
        let sending = self.lanes.iter().map(|lane| lane.sending as usize).sum();
        (self.lent.len(), receiving, sending)
    }

    pub(crate) fn statistics(&self) -> XdpStatistics {
        let mut kernel = KernelStatistics::default();
        for lane in &self.lanes {
            let more = lane.socket.statistics();
            kernel.rx_dropped += more.rx_dropped;
            kernel.rx_invalid_descriptors += more.rx_invalid_descriptors;
            kernel.tx_invalid_descriptors += more.tx_invalid_descriptors;
            kernel.rx_ring_full += more.rx_ring_full;
            kernel.rx_fill_ring_empty += more.rx_fill_ring_empty;
            kernel.tx_ring_empty += more.tx_ring_empty;
        }
        XdpStatistics {
            kernel,
            oversize: self.refusals.oversize,
            bad_descriptors: self.refusals.bad_descriptors,
            transmit_refused: self.transmit_refused,
        }
    }
}

impl Lane {
    /// Gives the kernel as many chunks to receive into as its rings hold, a batch or more at once.
    #[inline]
    fn refill(&mut self, umem: &mut Umem, entries: u32) {
        let wanted = entries.saturating_sub(self.receiving);
        if wanted < REFILL_FRAMES.min(entries / 2) {
            return;
        }
        let mut filled = 0;
        while filled < wanted {
            let Some(chunk) = umem.take() else { break };
            let address = umem.hand_over(chunk, Holder::Receive);
            if !self.socket.fill.push(address) {
                umem.withdraw(address, Holder::Receive);
                break;
            }
            filled += 1;
        }
        self.receiving += filled;
        self.socket.fill.publish();
    }

    /// Moves up to a burst of received frames to `lent`, and asks for their headers: another CPU has written them, and
    /// whoever looks at them one by one would wait for each. Under load the next burst is there already; asked for now, it
    /// comes while this one is sent.
    #[inline]
    fn collect(&mut self, umem: &mut Umem, lent: &mut Vec<Held>, refusals: &mut Refusals) {
        let taken = self.socket.receive.take(BURST_FRAMES_MAX as u32);
        if taken.len() == 0 {
            return;
        }
        let mut received = 0;
        for descriptor in taken {
            let Some((chunk, start)) = umem.take_over(descriptor.address, Holder::Receive) else {
                refusals.bad_descriptors += 1;
                continue;
            };
            received += 1;
            let length = descriptor.length as usize;
            let room = CHUNK_BYTES - usize::from(start);
            if descriptor.options == 0 && length <= FRAME_BYTES_MAX.min(room) {
                umem.prefetch(descriptor.address, descriptor.length);
                lent.push(Held { chunk, start, length: length as u16 });
                continue;
            }
            umem.give_back(chunk);
            if descriptor.options != 0 || length > room {
                refusals.bad_descriptors += 1;
            } else {
                refusals.oversize += 1;
            }
        }
        self.receiving = self.receiving.saturating_sub(received);
        self.socket.receive.release();
        for next in self.socket.receive.peek(BURST_FRAMES_MAX as u32) {
            umem.prefetch(next.address, next.length);
        }
    }

    /// Frees the chunks that the kernel has sent.
    #[inline]
    fn reclaim(&mut self, umem: &mut Umem, refusals: &mut Refusals) {
        if self.sending == 0 {
            return;
        }
        let taken = self.socket.completion.take(u32::MAX);
        if taken.len() == 0 {
            return;
        }
        let mut freed = 0;
        for address in taken {
            match umem.take_over(address, Holder::Transmit) {
                Some((chunk, _)) => {
                    umem.give_back(chunk);
                    freed += 1;
                }
                None => refusals.bad_descriptors += 1,
            }
        }
        self.sending = self.sending.saturating_sub(freed);
        self.socket.completion.release();
    }

    /// Queues a frame; false, and the chunk freed, when the ring is full. With at most `entries` chunks at
    /// the kernel that is a moment at which the kernel has completed a frame and not yet released its slot.
    #[inline]
    fn queue(&mut self, umem: &mut Umem, held: Held) -> bool {
        let address = umem.hand_over(held.chunk, Holder::Transmit) + u64::from(held.start);
        let descriptor = Descriptor { address, length: u32::from(held.length), options: 0 };
        let queued = self.socket.transmit.push(descriptor);
        if !queued {
            umem.withdraw(address, Holder::Transmit);
        }
        queued
    }
}
