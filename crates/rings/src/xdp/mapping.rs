//! Memory that is shared with the kernel: unmapped when its one owner is dropped.

use crate::Error;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A mapped piece of memory.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and this value is its only owner.
unsafe impl Send for Mapping {}

impl Mapping {
    /// `bytes` zeros of our own.
    pub(super) fn anonymous(bytes: usize) -> Result<Self, Error> {
        Self::map(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0, "UMEM")
    }

    /// The ring of `socket` that lies at `offset`.
    pub(super) fn ring(socket: BorrowedFd<'_>, bytes: usize, offset: i64) -> Result<Self, Error> {
        Self::map(bytes, libc::MAP_SHARED | libc::MAP_POPULATE, socket.as_raw_fd(), offset, "an AF_XDP ring")
    }

    fn map(bytes: usize, flags: i32, fd: i32, offset: i64, what: &str) -> Result<Self, Error> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses the place, so nothing that is already mapped is touched.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(Error::last(format!("mapping {bytes} bytes for {what}")));
        }
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Self { start, bytes }),
            None => Err(Error::last(format!("mapping {what} at address 0"))),
        }
    }

    /// Where it starts; valid for [`Mapping::bytes`] bytes as long as the mapping lives.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Its length.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and nothing borrows from a value that is being dropped.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
