//! Ports made of memory: what a test or a bench feeds in, and what came out.
//!
//! Buffers are allocated when the ports are made and reused, so that a turn over memory ports allocates nothing.

use crate::{
    BURST_FRAMES_MAX, Burst, FRAME_BYTES_MAX, Frame, HEAD_ROOM_BYTES, PortIndex, Ports, Settled, Verdict,
};
use std::collections::VecDeque;

/// Bytes of one buffer: head room, the longest frame, some tail room.
const BUFFER_BYTES: usize = 2_048;
const _: () = assert!(HEAD_ROOM_BYTES + FRAME_BYTES_MAX <= BUFFER_BYTES);

#[derive(Clone)]
struct Buffer {
    bytes: Box<[u8; BUFFER_BYTES]>,
    start: u16,
    length: u16,
}

impl Buffer {
    fn empty() -> Self {
        Self { bytes: Box::new([0; BUFFER_BYTES]), start: HEAD_ROOM_BYTES as u16, length: 0 }
    }

    fn fill(&mut self, frame: &[u8]) {
        self.start = HEAD_ROOM_BYTES as u16;
        // No longer than a buffer, as every caller has seen.
        self.length = frame.len() as u16;
        self.bytes[HEAD_ROOM_BYTES..HEAD_ROOM_BYTES + frame.len()].copy_from_slice(frame);
    }
}

struct Queue {
    arriving: VecDeque<Buffer>,
    /// How many of the first that arrived are lent.
    lent: usize,
    sent: VecDeque<Buffer>,
}

/// A set of ports whose rings are queues in memory. Refuses frames longer than [`FRAME_BYTES_MAX`].
pub struct MemoryPorts {
    queues: Vec<Queue>,
    free: Vec<Buffer>,
    transmit_capacity: usize,
}

impl MemoryPorts {
    /// `count` ports that share `buffers` buffers; each holds `transmit_capacity` sent frames until they are taken.
    pub fn new(count: usize, buffers: usize, transmit_capacity: usize) -> Self {
        let queue = || Queue {
            arriving: VecDeque::with_capacity(buffers),
            lent: 0,
            sent: VecDeque::with_capacity(transmit_capacity),
        };
        Self {
            queues: (0..count).map(|_| queue()).collect(),
            free: (0..buffers).map(|_| Buffer::empty()).collect(),
            transmit_capacity,
        }
    }

    /// Lets `frame` arrive at `port`. False when no buffer is free, the frame is too long or there is no such port.
    pub fn push(&mut self, port: PortIndex, frame: &[u8]) -> bool {
        if frame.len() > FRAME_BYTES_MAX || port.index() >= self.queues.len() {
            return false;
        }
        let Some(mut buffer) = self.free.pop() else { return false };
        buffer.fill(frame);
        self.queues[port.index()].arriving.push_back(buffer);
        true
    }

    /// Takes the oldest frame sent by `port`.
    pub fn take(&mut self, port: PortIndex) -> Option<Vec<u8>> {
        let buffer = self.queues.get_mut(port.index())?.sent.pop_front()?;
        let (start, length) = (usize::from(buffer.start), usize::from(buffer.length));
        let frame = buffer.bytes[start..start + length].to_vec();
        self.free.push(buffer);
        Some(frame)
    }

    /// Throws away all that `port` sent and gives back how many frames that was. Allocates nothing.
    pub fn discard_sent(&mut self, port: PortIndex) -> usize {
        let queue = &mut self.queues[port.index()];
        let count = queue.sent.len();
        self.free.extend(queue.sent.drain(..));
        count
    }

    /// Frames that have arrived at `port` and were not received yet.
    pub fn waiting(&self, port: PortIndex) -> usize {
        let queue = &self.queues[port.index()];
        queue.arriving.len() - queue.lent
    }

    /// Buffers that hold no frame: all of them, once everything is settled and taken.
    pub fn free_buffers(&self) -> usize {
        self.free.len()
    }

    fn release_lent(&mut self, port: PortIndex) {
        let Self { queues, free, .. } = self;
        let queue = &mut queues[port.index()];
        free.extend(queue.arriving.drain(..queue.lent));
        queue.lent = 0;
    }
}

impl Ports for MemoryPorts {
    fn count(&self) -> usize {
        self.queues.len()
    }

    fn receive(&mut self, port: PortIndex) -> Burst<'_> {
        self.release_lent(port);
        let queue = &mut self.queues[port.index()];
        queue.lent = queue.arriving.len().min(BURST_FRAMES_MAX);
        let lent = queue.arriving.iter_mut().take(queue.lent);
        lent.filter_map(|Buffer { bytes, start, length }| {
            Frame::new(&mut bytes[..], usize::from(*start), usize::from(*length))
        })
        .collect()
    }

    fn settle(&mut self, port: PortIndex, verdicts: &[Verdict]) -> Settled {
        let mut settled = Settled::default();
        let lent = std::mem::take(&mut self.queues[port.index()].lent);
        for index in 0..lent {
            let Some(mut buffer) = self.queues[port.index()].arriving.pop_front() else { break };
            match verdicts.get(index) {
                Some(&Verdict::Transmit { port: egress, start, length })
                    if usize::from(start) + usize::from(length) <= BUFFER_BYTES =>
                {
                    (buffer.start, buffer.length) = (start, length);
                    match self.queues.get_mut(egress.index()) {
                        Some(queue) if queue.sent.len() < self.transmit_capacity => {
                            queue.sent.push_back(buffer)
                        }
                        _ => {
                            settled.refused += 1;
                            self.free.push(buffer);
                        }
                    }
                }
                _ => self.free.push(buffer),
            }
        }
        settled
    }

    fn inject(&mut self, port: PortIndex, frame: &[u8]) -> bool {
        if frame.len() > FRAME_BYTES_MAX || port.index() >= self.queues.len() {
            return false;
        }
        if self.queues[port.index()].sent.len() >= self.transmit_capacity {
            return false;
        }
        let Some(mut buffer) = self.free.pop() else { return false };
        buffer.fill(frame);
        self.queues[port.index()].sent.push_back(buffer);
        true
    }

    fn flush(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: PortIndex = PortIndex(0);
    const RIGHT: PortIndex = PortIndex(1);

    #[test]
    fn a_forwarded_frame_leaves_by_its_egress_and_a_dropped_one_nowhere() {
        let mut ports = MemoryPorts::new(2, 4, 4);
        assert!(ports.push(LEFT, &[1; 60]));
        assert!(ports.push(LEFT, &[2; 60]));
        let burst = ports.receive(LEFT);
        assert_eq!(burst.len(), 2);
        let verdict = Verdict::Transmit { port: RIGHT, start: burst[0].start(), length: burst[0].length() };
        drop(burst);
        assert_eq!(ports.settle(LEFT, &[verdict, Verdict::Drop]), Settled { refused: 0 });
        assert_eq!(ports.take(RIGHT), Some(vec![1; 60]));
        assert_eq!(ports.take(RIGHT), None);
        assert_eq!(ports.free_buffers(), 4);
    }

    #[test]
    fn an_unsettled_burst_is_dropped_and_no_buffer_is_lost() {
        let mut ports = MemoryPorts::new(1, 2, 4);
        assert!(ports.push(LEFT, &[1; 60]));
        assert_eq!(ports.receive(LEFT).len(), 1);
        assert_eq!(ports.receive(LEFT).len(), 0);
        assert_eq!(ports.free_buffers(), 2);
    }

    #[test]
    fn a_full_or_missing_egress_refuses() {
        let mut ports = MemoryPorts::new(1, 3, 1);
        for _ in 0..2 {
            assert!(ports.push(LEFT, &[1; 60]));
        }
        assert_eq!(ports.receive(LEFT).len(), 2);
        let reflect = Verdict::Transmit { port: LEFT, start: 96, length: 60 };
        assert_eq!(ports.settle(LEFT, &[reflect, reflect]).refused, 1);
        assert!(!ports.inject(LEFT, &[0; 60]));
        assert!(ports.push(LEFT, &[1; 60]));
        assert_eq!(ports.receive(LEFT).len(), 1);
        let nowhere = Verdict::Transmit { port: PortIndex(9), start: 96, length: 60 };
        assert_eq!(ports.settle(LEFT, &[nowhere]).refused, 1);
    }
}
