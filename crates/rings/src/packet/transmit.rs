//! The transmit ring: slots that we fill, and a kick that never blocks.
//!
//! The kernel takes slots in the order in which we filled them, so those that it has not taken are the last
//! ones, side by side. That is what lets [`TransmitRing::flush`] take them back when the link is down: a
//! frame that could not leave is dropped and counted at once, not sent when the link returns, to peers that
//! have long forgotten it.

use super::mapping::{SLOT_BYTES, Slots};
use libc::{
    TP_STATUS_AVAILABLE, TP_STATUS_SEND_REQUEST, TP_STATUS_SENDING, TPACKET2_HDRLEN, sockaddr_ll,
    tpacket2_hdr,
};
use port::FRAME_BYTES_MAX;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::Ordering;

/// Where the kernel reads a frame to be sent: behind the header, where a received frame has its link address.
const DATA_OFFSET: usize = TPACKET2_HDRLEN - size_of::<sockaddr_ll>();
const _: () = assert!(DATA_OFFSET + FRAME_BYTES_MAX <= SLOT_BYTES);

/// The kernel takes no frame without a whole Ethernet header.
const FRAME_BYTES_MIN: usize = 14;

/// The transmit half of a port.
#[derive(Debug)]
pub(super) struct TransmitRing {
    slots: Slots,
    next: usize,
    /// Something was queued that the kernel may not have taken.
    waiting: bool,
    /// Frames refused: no room, or a length that no link carries.
    pub refused: u64,
    /// Frames taken back because the link was down or gone.
    pub withdrawn: u64,
}

impl TransmitRing {
    pub(super) fn new(slots: Slots) -> Self {
        Self { slots, next: 0, waiting: false, refused: 0, withdrawn: 0 }
    }

    /// Copies `frame` into the next slot. False when the ring is full.
    pub(super) fn queue(&mut self, frame: &[u8]) -> bool {
        let status = self.slots.status(self.next).load(Ordering::Acquire);
        let busy = status & (TP_STATUS_SEND_REQUEST | TP_STATUS_SENDING) != 0;
        if busy || frame.len() < FRAME_BYTES_MIN || frame.len() > FRAME_BYTES_MAX {
            self.refused += 1;
            return false;
        }
        let address = self.slots.address(self.next);
        // SAFETY: the slot is ours since the acquiring load; the frame's place in it was checked against its
        // size at compile time and above, and `frame` cannot be in it, since this ring lends nothing.
        unsafe {
            let length = &raw mut (*address.cast::<tpacket2_hdr>().as_ptr()).tp_len;
            length.write(frame.len() as u32);
            let data = address.as_ptr().add(DATA_OFFSET);
            std::ptr::copy_nonoverlapping(frame.as_ptr(), data, frame.len());
        }
        self.slots.status(self.next).store(TP_STATUS_SEND_REQUEST, Ordering::Release);
        self.next = self.slots.after(self.next);
        self.waiting = true;
        true
    }

    /// Lets the kernel take what was queued: one system call, none when there is nothing.
    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>) {
        if !self.waiting {
            return;
        }
        let mut outcome = kick(socket);
        if matches!(&outcome, Err(error) if error.raw_os_error() == Some(libc::ENETDOWN)) {
            // A socket keeps one ENETDOWN from the moment the link went down and gives it to the next call,
            // even when the link has come back meanwhile. Only a second one speaks of now.
            outcome = kick(socket);
        }
        match outcome {
            Err(error) if may_pass(&error) => {}
            Err(_) => self.withdraw(),
            Ok(()) => self.waiting = self.last_is_waiting(),
        }
    }

    fn last_is_waiting(&self) -> bool {
        let last = self.slots.before(self.next);
        self.slots.status(last).load(Ordering::Acquire) & TP_STATUS_SEND_REQUEST != 0
    }

    /// Takes back what the kernel has not taken. It looks at the ring only inside our own calls, so there is
    /// no race.
    fn withdraw(&mut self) {
        while self.last_is_waiting() {
            self.next = self.slots.before(self.next);
            self.slots.status(self.next).store(TP_STATUS_AVAILABLE, Ordering::Release);
            self.withdrawn += 1;
        }
        self.waiting = false;
    }
}

fn kick(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an empty message; what is sent lies in the ring.
    let sent = unsafe { libc::send(socket.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the kernel was merely busy: its send buffer or the driver's queue is full. The next flush tries
/// again.
fn may_pass(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR))
}
