//! Frames of which more than one copy leaves: what a bridge floods, and pieces of what is too long for its way.
//!
//! A port can send the frame that it lent once. Everything beyond that is kept here, a copy a frame, until the burst is
//! settled, and injected then. All memory is taken when the worker is made.

use crate::path::Egress;
use arrayvec::ArrayVec;
use port::{BURST_FRAMES_MAX, FRAME_BYTES_MAX, Frame, HEAD_ROOM_BYTES};

/// Frames of one burst that can be copied: every one of a burst, as often as it is split.
const COPIES_MAX: usize = 2 * BURST_FRAMES_MAX;

/// Ways out of one frame at the most: as many as a bridge can have members, and its host leg.
pub(crate) const WAYS_MAX: usize = 65;

/// Bytes of one buffer: head room, the longest frame.
const BUFFER_BYTES: usize = HEAD_ROOM_BYTES + FRAME_BYTES_MAX;

/// Where a frame leaves, each a port or a host leg.
pub(crate) type Ways = ArrayVec<Egress, WAYS_MAX>;

struct Kept {
    length: usize,
    ways: Ways,
}

/// The copies of one burst.
pub(crate) struct Copies {
    kept: Vec<Kept>,
    buffers: Box<[[u8; BUFFER_BYTES]]>,
    /// Where a copy is made ready for one of its ways, which may put a tag in front.
    work: Box<[u8; BUFFER_BYTES]>,
}

impl Copies {
    pub fn new() -> Self {
        Self {
            kept: Vec::with_capacity(COPIES_MAX),
            buffers: vec![[0; BUFFER_BYTES]; COPIES_MAX].into_boxed_slice(),
            work: Box::new([0; BUFFER_BYTES]),
        }
    }

    /// Keeps a copy of `frame` for each of `ways`; false when there is no room.
    pub fn keep(&mut self, frame: &[u8], ways: Ways) -> bool {
        if frame.len() > FRAME_BYTES_MAX {
            return false;
        }
        let Some(buffer) = self.buffers.get_mut(self.kept.len()) else { return false };
        buffer[..frame.len()].copy_from_slice(frame);
        self.kept.push(Kept { length: frame.len(), ways });
        true
    }

    /// Shows every copy with its way, ready to be changed, and forgets them.
    pub fn drain(&mut self, mut send: impl FnMut(&mut Frame<'_>, Egress)) {
        let Self { kept, buffers, work } = self;
        for (kept, buffer) in kept.drain(..).zip(buffers.iter()) {
            for way in kept.ways {
                work[HEAD_ROOM_BYTES..][..kept.length].copy_from_slice(&buffer[..kept.length]);
                // The copy lies inside the buffer, which is no longer than a frame's may be.
                if let Some(mut frame) = Frame::new(&mut work[..], HEAD_ROOM_BYTES, kept.length) {
                    send(&mut frame, way);
                }
            }
        }
    }
}
