//! One queue of a TAP device in the hands of one worker.

use super::RECEIVES_BETWEEN_READS;
use port::{BURST_FRAMES_MAX, Burst, FRAME_BYTES_MAX, Frame, HEAD_ROOM_BYTES};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes of one buffer: head room, the longest frame and room behind it for what the engine appends.
const BUFFER_BYTES: usize = 2_048;

/// Where a frame is read to, so that its network header begins a cache line.
const FRAME_OFFSET: usize = 128 - 14;

const _: () = assert!(FRAME_OFFSET >= HEAD_ROOM_BYTES);
// A frame that is too long must not look like one that is not: the kernel cuts it off at the buffer's end.
const _: () = assert!(FRAME_OFFSET + FRAME_BYTES_MAX < BUFFER_BYTES);

/// The shortest frame that is written: an Ethernet header.
const FRAME_BYTES_MIN: usize = 14;

/// What a TAP port counted since it was opened. What the host said while nobody read, the kernel counts as
/// dropped on transmit, on the device itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapStatistics {
    /// Frames from the host longer than [`FRAME_BYTES_MAX`]: somebody has raised the device's MTU. Dropped.
    pub oversize: u64,
    /// Frames that the device did not take: it is down or gone, its buffer is full, or their length is none.
    pub transmit_refused: u64,
}

/// A queue, and the buffers that its frames are read into.
#[derive(Debug)]
pub(crate) struct TapPort {
    queue: OwnedFd,
    buffers: Box<[[u8; BUFFER_BYTES]]>,
    /// Frames that the last burst lent: frame `i` lies in buffer `i`.
    lent_count: usize,
    /// Receives to pass over before the next read.
    pause: u32,
    /// The device was removed by somebody; its descriptor says so for ever.
    gone: bool,
    statistics: TapStatistics,
}

impl TapPort {
    /// The port over a queue that does not block.
    pub(super) fn new(queue: OwnedFd) -> Self {
        let buffers = vec![[0; BUFFER_BYTES]; BURST_FRAMES_MAX].into_boxed_slice();
        Self { queue, buffers, lent_count: 0, pause: 0, gone: false, statistics: TapStatistics::default() }
    }

    /// Lends the frames that the host has sent, at most a burst. Never blocks. What the last burst lent is
    /// gone.
    #[inline]
    pub(crate) fn receive(&mut self) -> Burst<'_> {
        self.lent_count = 0;
        if self.pause > 0 {
            self.pause -= 1;
            // A burst that was filled is copied on return, all 2 KiB of it; this one is not.
            return Burst::new();
        }
        self.read_burst()
    }

    fn read_burst(&mut self) -> Burst<'_> {
        let mut lengths = [0; BURST_FRAMES_MAX];
        // An oversize frame has its buffer read over and is one of the burst's reads all the same.
        for _ in 0..BURST_FRAMES_MAX {
            let Some(length) = self.read_frame() else { break };
            if length > FRAME_BYTES_MAX {
                self.statistics.oversize += 1;
                continue;
            }
            lengths[self.lent_count] = length;
            self.lent_count += 1;
        }
        if self.lent_count == 0 {
            self.pause = RECEIVES_BETWEEN_READS - 1;
            return Burst::new();
        }
        let read = self.buffers.iter_mut().zip(lengths).take(self.lent_count);
        read.filter_map(|(buffer, length)| Frame::new(buffer, FRAME_OFFSET, length)).collect()
    }

    /// Reads one frame into the next buffer; its length, or `None` when there is none.
    fn read_frame(&mut self) -> Option<usize> {
        let room = self.buffers.get_mut(self.lent_count)?.get_mut(FRAME_OFFSET..)?;
        // SAFETY: the room outlives the call and its true size is passed.
        let length = unsafe { libc::read(self.queue.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
        if let Ok(length) = usize::try_from(length) {
            return Some(length);
        }
        self.gone = io::Error::last_os_error().raw_os_error() == Some(libc::EBADFD);
        None
    }

    /// `length` bytes at `start` of the buffer of frame `index` of the last burst, as the engine left them;
    /// `None` when they are not all in that buffer or there is no such frame.
    #[inline]
    pub(crate) fn lent(&self, index: usize, start: usize, length: usize) -> Option<&[u8]> {
        self.buffers[..self.lent_count].get(index)?.get(start..start.checked_add(length)?)
    }

    /// Ends the last burst.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.lent_count = 0;
    }

    /// Hands a frame to the host's stack, now. False when it was not taken.
    #[inline]
    pub(crate) fn transmit(&mut self, frame: &[u8]) -> bool {
        let taken = write(self.queue.as_fd(), frame);
        self.note(taken)
    }

    /// Hands a lent frame back to the host that sent it.
    pub(crate) fn reflect(&mut self, index: usize, start: usize, length: usize) -> bool {
        let taken = match self.lent(index, start, length) {
            Some(frame) => write(self.queue.as_fd(), frame),
            None => false,
        };
        self.note(taken)
    }

    /// Counts what was not taken. What was may have been answered already: the next receive asks.
    #[inline]
    fn note(&mut self, taken: bool) -> bool {
        self.pause = if taken { 0 } else { self.pause };
        self.statistics.transmit_refused += u64::from(!taken);
        taken
    }

    /// Makes the next receive ask the device, since the worker may have been woken for it.
    #[inline]
    pub(crate) fn ask_next(&mut self) {
        self.pause = 0;
    }

    /// The queue, readable when frames wait; `None` when the device was removed.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.gone).then(|| self.queue.as_fd())
    }

    /// What was counted since the port was opened. No system call.
    pub(crate) fn statistics(&self) -> TapStatistics {
        self.statistics
    }
}

#[inline]
fn write(queue: BorrowedFd<'_>, frame: &[u8]) -> bool {
    if frame.len() < FRAME_BYTES_MIN || frame.len() > FRAME_BYTES_MAX {
        return false;
    }
    // SAFETY: the bytes outlive the call.
    let written = unsafe { libc::write(queue.as_raw_fd(), frame.as_ptr().cast(), frame.len()) };
    usize::try_from(written) == Ok(frame.len())
}
