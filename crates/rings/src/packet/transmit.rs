//! The transmit ring: slots that we fill, and a kick that never blocks.
//!
//! ```text
//!  0           32             42                                    2048
//!  ├ header ───┼ virtio header ┼─ frame … ────────────────────────────┤
//!  └─ tp_status: ours (0), to be sent, on its way
//! ```
//!
//! The virtio header says one thing: how many bytes the kernel is to copy into the buffer that it sends. All
//! of them. Without it the kernel copies 14, lets the rest of the buffer lie in our slot, and a receiver on
//! the same host, or a driver that wants its bytes in one piece, has to allocate pages and copy it there: on a
//! veth a frame costs a quarter less with it, of 60 bytes and of 1,514 alike, and less than by `sendmmsg`. It
//! also takes the check of the length against the MTU away from the kernel; who forwards has made it.
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

/// Where the kernel reads what is to be sent: behind the header, where a received frame has its link address.
const DATA_OFFSET: usize = TPACKET2_HDRLEN - size_of::<sockaddr_ll>();

/// `struct virtio_net_hdr` (virtio 1.3, section 5.1.6): flags, kind of segmentation, header length, and three
/// more words that mean nothing without either. In the byte order of the machine.
const VIRTIO_BYTES: usize = 10;
/// Where its length of headers lies, which for the kernel is the length to copy.
const VIRTIO_HEADER_LENGTH: usize = 2;
const FRAME_OFFSET: usize = DATA_OFFSET + VIRTIO_BYTES;
const _: () = assert!(FRAME_OFFSET + FRAME_BYTES_MAX <= SLOT_BYTES);

/// The header of a frame of `length` bytes.
#[inline]
fn virtio_header(length: usize) -> [u8; VIRTIO_BYTES] {
    let mut header = [0; VIRTIO_BYTES];
    let [first, second] = (length as u16).to_ne_bytes();
    header[VIRTIO_HEADER_LENGTH] = first;
    header[VIRTIO_HEADER_LENGTH + 1] = second;
    header
}

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
            length.write((VIRTIO_BYTES + frame.len()) as u32);
            let data = address.as_ptr().add(DATA_OFFSET);
            data.cast::<[u8; VIRTIO_BYTES]>().write(virtio_header(frame.len()));
            std::ptr::copy_nonoverlapping(frame.as_ptr(), data.add(VIRTIO_BYTES), frame.len());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_asks_for_all_bytes_and_for_nothing_else() {
        for length in [FRAME_BYTES_MIN, 60, FRAME_BYTES_MAX] {
            let header = virtio_header(length);
            let (copied, rest) = header[2..].split_first_chunk().unwrap();
            assert_eq!(usize::from(u16::from_ne_bytes(*copied)), length);
            assert_eq!((&header[..2], rest), (&[0; 2][..], &[0; 6][..]));
        }
    }
}
