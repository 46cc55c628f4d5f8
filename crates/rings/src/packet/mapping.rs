//! The memory that a packet socket shares with the kernel, cut into slots.
//!
//! One mapping holds one ring. Only the worker that owns the port touches it; a slot belongs to the kernel or
//! to us, and its first word says to whom.

use crate::Error;
use prefetch::prefetch;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

/// Bytes of one slot: header, head room and the longest frame, with four slots on two pages.
pub(super) const SLOT_BYTES: usize = 2_048;

/// Bytes of one block, the unit in which the kernel allocates a ring. Larger ones are harder to find in a
/// fragmented memory, smaller ones cost a pointer each; 64 KiB is what the kernel hands out without
/// compaction.
pub(super) const BLOCK_BYTES: usize = 65_536;

/// Slots in one block.
pub(super) const BLOCK_SLOTS: usize = BLOCK_BYTES / SLOT_BYTES;

/// A mapping that ends with its ring.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is plain memory, tied to no thread; who may touch which slot is the rings' business.
unsafe impl Send for Mapping {}
impl Mapping {
    /// Maps the ring of `socket`, all of it now.
    fn new(socket: BorrowedFd<'_>, slots: usize) -> Result<Self, Error> {
        let bytes = slots * SLOT_BYTES;
        // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast::<u8>()) {
            Some(base) if address != libc::MAP_FAILED => Ok(Self { base, bytes }),
            _ => Err(Error::last(format!("mapping {} MiB of a packet ring", bytes >> 20))),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; nothing borrows from a value that is being dropped.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// The slots of one ring.
#[derive(Debug)]
pub(super) struct Slots {
    mapping: Mapping,
    count: usize,
}

impl Slots {
    /// The ring of `socket`, which was made with `count` slots.
    pub(super) fn new(socket: BorrowedFd<'_>, count: usize) -> Result<Self, Error> {
        assert!(count > 0, "a ring without slots");
        Ok(Self { mapping: Mapping::new(socket, count)?, count })
    }

    /// How many slots there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The slot after `index`, round the ring.
    #[inline]
    pub(super) fn after(&self, index: usize) -> usize {
        if index + 1 == self.count { 0 } else { index + 1 }
    }

    /// The slot before `index`, round the ring.
    #[inline]
    pub(super) fn before(&self, index: usize) -> usize {
        if index == 0 { self.count - 1 } else { index - 1 }
    }

    /// The slot's address, aligned to its size.
    #[inline]
    pub(super) fn address(&self, index: usize) -> NonNull<u8> {
        assert!(index < self.count, "slot {index} of {}", self.count);
        // SAFETY: the mapping holds `count` slots.
        unsafe { self.mapping.base.add(index * SLOT_BYTES) }
    }

    /// Asks for the header of the slot `ahead` slots behind `index`, round the ring, which has more than so many.
    #[inline]
    pub(super) fn prefetch_header(&self, index: usize, ahead: usize) {
        let at = index + ahead;
        prefetch(self.status(if at < self.count { at } else { at - self.count }));
    }

    /// The word that says whose slot it is.
    #[inline]
    pub(super) fn status(&self, index: usize) -> &AtomicU32 {
        // SAFETY: `tp_status` is the first, aligned word of a slot (checked in `receive`), inside the
        // mapping, which lives as long as `self`; we and the kernel access it as a whole word only.
        unsafe { self.address(index).cast::<AtomicU32>().as_ref() }
    }
}
