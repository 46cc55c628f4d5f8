//! The memory that a packet socket shares with the kernel, cut into slots.
//!
//! One mapping holds the receive ring and, behind it, the transmit ring. Only the worker that owns the port
//! touches it; a slot belongs to the kernel or to us, and its first word says to whom.

use crate::Error;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Bytes of one slot: header, head room and the longest frame, with four slots on two pages.
pub(super) const SLOT_BYTES: usize = 2_048;

/// Bytes of one block, the unit in which the kernel allocates a ring. Larger ones are harder to find in a
/// fragmented memory, smaller ones cost a pointer each; 64 KiB is what the kernel hands out without
/// compaction.
pub(super) const BLOCK_BYTES: usize = 65_536;

/// Slots in one block.
pub(super) const BLOCK_SLOTS: usize = BLOCK_BYTES / SLOT_BYTES;

/// A mapping that ends with its last ring.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is plain memory, tied to no thread; who may touch which slot is the rings' business.
unsafe impl Send for Mapping {}
// SAFETY: a shared `Mapping` gives out addresses only; see `Slots`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the rings of `socket`, which are `slots` long together.
    pub(super) fn new(socket: BorrowedFd<'_>, slots: usize) -> Result<Arc<Self>, Error> {
        let bytes = slots * SLOT_BYTES;
        // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast::<u8>()) {
            Some(base) if address != libc::MAP_FAILED => Ok(Arc::new(Self { base, bytes })),
            _ => Err(Error::last(format!("mapping {} MiB of packet rings", bytes >> 20))),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; the rings, which hold it by `Arc`, are gone.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// The slots of one ring. Exactly one ring is made of each range of slots.
#[derive(Debug)]
pub(super) struct Slots {
    mapping: Arc<Mapping>,
    first: usize,
    count: usize,
}

impl Slots {
    /// `count` slots from `first` on, which must all be inside the mapping.
    pub(super) fn new(mapping: &Arc<Mapping>, first: usize, count: usize) -> Self {
        assert!(count > 0 && (first + count) * SLOT_BYTES <= mapping.bytes, "slots outside their mapping");
        Self { mapping: Arc::clone(mapping), first, count }
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
        // SAFETY: `new` has checked that all `count` slots lie inside the mapping.
        unsafe { self.mapping.base.add((self.first + index) * SLOT_BYTES) }
    }

    /// The word that says whose slot it is.
    #[inline]
    pub(super) fn status(&self, index: usize) -> &AtomicU32 {
        // SAFETY: `tp_status` is the first, aligned word of a slot (checked in `receive`), inside the
        // mapping, which lives as long as `self`; we and the kernel access it as a whole word only.
        unsafe { self.address(index).cast::<AtomicU32>().as_ref() }
    }
}
