//! What a port is: a place where frames come in as bursts and where each burst is settled.
//!
//! The engine sees rings, memory queues and captures through [`Ports`] alone. A burst *lends* its frames; the engine
//! rewrites them in place and answers with one plain [`Verdict`] per frame. It never owns a buffer, so it cannot leak
//! one, send it twice or keep it.
//!
//! One worker owns one `Ports` value; nothing here is shared between threads.
#![forbid(unsafe_code)]

mod frame;
pub mod memory;

pub use frame::{Frame, RoomError};

/// Frames in one burst at the most. Larger bursts amortise a turn's fixed cost better but push the first frames out of
/// the first-level cache before they are settled: 64 frames × (headers + parsed views) stays under 32 KiB.
pub const BURST_FRAMES_MAX: usize = 64;

/// Free bytes that every ring keeps in front of a received frame, for a VLAN tag or an outer header.
/// 96 holds Ethernet + 802.1Q + IPv6 + UDP + GUE with room to spare.
pub const HEAD_ROOM_BYTES: usize = 96;

/// The longest frame a ring must carry, Ethernet header included and frame check sequence excluded: MTU 1500 with two
/// VLAN tags and an outer IPv6 header fits, and so does the 2 KiB UMEM chunk behind the kernel's own 256 bytes.
pub const FRAME_BYTES_MAX: usize = 1_600;

/// Which port of the appliance, in the order of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PortIndex(pub u16);

impl PortIndex {
    /// As an index into per-port arrays.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The frames that one receive lends, in the order in which they came.
pub type Burst<'a> = arrayvec::ArrayVec<Frame<'a>, BURST_FRAMES_MAX>;

/// What is to become of one frame of a burst. Plain data: it names no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it out of `port` (which may be the port it came in by). `start` and `length` are where the frame now lies in
    /// its buffer, as [`Frame::start`] and [`Frame::length`] say after the rewrite.
    Transmit {
        /// The egress port.
        port: PortIndex,
        /// Offset of the first byte in the frame's buffer.
        start: u16,
        /// Length in bytes.
        length: u16,
    },
    /// Give the buffer back. The engine has already counted why.
    Drop,
}

/// What came of settling a burst, or of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Frames that were to be sent and found no room in the egress ring. Their buffers are given back.
    pub refused: u32,
}

/// All the ports of one worker.
///
/// The order in a turn is: for each port `receive`, `settle`; any number of `inject`; then one `flush`.
pub trait Ports {
    /// How many ports there are; valid indices are below it.
    fn count(&self) -> usize;

    /// Lends the next burst of `port`, at most [`BURST_FRAMES_MAX`] frames; empty when nothing came. Never blocks.
    /// A burst that is not settled is dropped at the next `receive` of the same port.
    fn receive(&mut self, port: PortIndex) -> Burst<'_>;

    /// Settles the burst last lent by `port`: `verdicts[i]` belongs to frame `i`. Frames without a verdict are dropped,
    /// as is a frame whose verdict names no existing port or lies outside its buffer.
    fn settle(&mut self, port: PortIndex, verdicts: &[Verdict]) -> Settled;

    /// Copies a rare frame (a reset, an announcement, a parked frame) into the transmit ring of `port`.
    /// False when there was no room for it.
    fn inject(&mut self, port: PortIndex, frame: &[u8]) -> bool;

    /// Wakes the kernel for all that was queued since the last flush: one system call a port at the most.
    fn flush(&mut self);
}
