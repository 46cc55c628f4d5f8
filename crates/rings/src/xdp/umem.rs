//! The UMEM: one piece of memory cut into chunks, and who holds each of them.
//!
//! A chunk in our hands is a [`Chunk`], which cannot be copied and is made nowhere else, so to hold one is to
//! be alone with its bytes. A chunk that the kernel holds is a place in a table. An address that the kernel
//! gives back is believed only when the table says that the kernel had that chunk, for that purpose: not even
//! a kernel gone wrong can make two frames share bytes.

use super::mapping::Mapping;
use crate::{Error, memory};
use port::{Burst, FRAME_BYTES_MAX, Frame, HEAD_ROOM_BYTES};
use prefetch::prefetch;
use std::sync::atomic::AtomicU8;

/// Bytes of one chunk: a full frame with its head room in the smallest size that the kernel takes without
/// huge chunks of memory for small frames.
pub(super) const CHUNK_BYTES: usize = 2_048;

/// What the kernel keeps free in front of each received frame, besides the head room that was asked for.
const KERNEL_HEAD_ROOM_BYTES: usize = 256;

/// Bytes of a cache line where it matters.
const LINE_BYTES: usize = 64;

/// The head room that is asked for: a whole number of cache lines, so that the headers of IPv4 and TCP lie in one
/// line with the Ethernet header and not in two.
pub(super) const CHUNK_HEAD_ROOM_BYTES: usize = HEAD_ROOM_BYTES.next_multiple_of(LINE_BYTES);
const _: () = assert!(KERNEL_HEAD_ROOM_BYTES + CHUNK_HEAD_ROOM_BYTES + FRAME_BYTES_MAX <= CHUNK_BYTES);
const _: () = assert!(CHUNK_BYTES <= u16::MAX as usize);

/// A chunk that this process holds.
#[derive(Debug)]
pub(crate) struct Chunk(u32);

/// A frame in a chunk that this process holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub chunk: Chunk,
    pub start: u16,
    pub length: u16,
}

/// Who holds a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// This process: free, lent to the engine, or on its way from one ring to another.
    Us,
    /// The kernel, to receive into: in a fill ring, with the driver, or in a receive ring.
    Receive,
    /// The kernel, to send: in a transmit ring, with the driver, or in a completion ring.
    Transmit,
}

/// The memory of all AF_XDP ports of one worker.
pub(crate) struct Umem {
    memory: Mapping,
    holders: Box<[Holder]>,
    /// Numbers of the free chunks, the first `free_count` of these. The most recently freed one is the first to
    /// be used again: it is still in the cache.
    free: Box<[u32]>,
    free_count: usize,
}

impl std::fmt::Debug for Umem {
    /// Without its thousands of chunks.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Umem").field("chunks", &self.chunks()).field("free", &self.free_chunks()).finish()
    }
}

impl Umem {
    /// A UMEM of `chunks` chunks, all free.
    pub(super) fn new(chunks: u32) -> Result<Self, Error> {
        let memory = Mapping::anonymous(chunks as usize * CHUNK_BYTES)?;
        // SAFETY: zeros of our own, mapped for as long as `memory` lives; nothing else refers to them yet.
        let bytes = unsafe { std::slice::from_raw_parts_mut(memory.start().as_ptr(), memory.bytes()) };
        memory::prefer_huge_pages(bytes);
        // Touched now, so that the first frames do not wait for pages.
        bytes.fill(0);
        Ok(Self {
            memory,
            holders: vec![Holder::Us; chunks as usize].into_boxed_slice(),
            free: (0..chunks).rev().collect(),
            free_count: chunks as usize,
        })
    }

    /// Start and length, to be registered with the kernel.
    pub(super) fn region(&self) -> (u64, u64) {
        (self.memory.start().as_ptr() as u64, self.memory.bytes() as u64)
    }

    /// Chunks in all.
    pub(crate) fn chunks(&self) -> usize {
        self.holders.len()
    }

    /// Chunks that hold no frame and are with nobody.
    pub(crate) fn free_chunks(&self) -> usize {
        self.free_count
    }

    #[inline]
    pub(super) fn take(&mut self) -> Option<Chunk> {
        let last = self.free_count.checked_sub(1)?;
        let number = *self.free.get(last)?;
        self.free_count = last;
        Some(Chunk(number))
    }

    #[inline]
    pub(crate) fn give_back(&mut self, chunk: Chunk) {
        // There is a place for every chunk, and no chunk is there twice.
        self.free[self.free_count] = chunk.0;
        self.free_count += 1;
    }

    /// Hands a chunk to the kernel; what comes out is its address.
    #[inline]
    pub(super) fn hand_over(&mut self, chunk: Chunk, holder: Holder) -> u64 {
        self.holders[chunk.0 as usize] = holder;
        u64::from(chunk.0) * CHUNK_BYTES as u64
    }

    /// Frees the chunk at `address`, which was handed over and then found no room in the ring.
    #[cold]
    pub(super) fn withdraw(&mut self, address: u64, holder: Holder) {
        if let Some((chunk, _)) = self.take_over(address, holder) {
            self.give_back(chunk);
        }
    }

    /// Takes back the chunk at `address`, and the address's offset in it; `None` when the kernel did not hold
    /// it so.
    #[inline]
    pub(super) fn take_over(&mut self, address: u64, holder: Holder) -> Option<(Chunk, u16)> {
        let index = usize::try_from(address / CHUNK_BYTES as u64).ok()?;
        let held = self.holders.get_mut(index)?;
        if *held != holder || holder == Holder::Us {
            return None;
        }
        *held = Holder::Us;
        // There are as many holders as chunks, and a chunk's number has 32 bits.
        Some((Chunk(index as u32), (address % CHUNK_BYTES as u64) as u16))
    }

    #[inline]
    fn start_of(&self, chunk: &Chunk) -> *mut u8 {
        assert!((chunk.0 as usize) < self.holders.len(), "a chunk of another UMEM");
        // SAFETY: the number is below the count of chunks, all of which lie inside the mapping.
        unsafe { self.memory.start().as_ptr().add(chunk.0 as usize * CHUNK_BYTES) }
    }

    /// The bytes of a chunk.
    #[inline]
    pub(super) fn bytes_mut<'a>(&'a mut self, chunk: &'a mut Chunk) -> &'a mut [u8] {
        // SAFETY: inside the mapping (`start_of`); the chunk is ours alone and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start_of(chunk), CHUNK_BYTES) }
    }

    /// The bytes of a held frame; `None` when they are not all in its chunk.
    #[inline]
    pub(crate) fn frame<'a>(&'a self, held: &'a Held) -> Option<&'a [u8]> {
        // SAFETY: inside the mapping (`start_of`); the chunk is ours and nothing writes it while it is
        // borrowed.
        let bytes = unsafe { std::slice::from_raw_parts(self.start_of(&held.chunk), CHUNK_BYTES) };
        let start = usize::from(held.start);
        bytes.get(start..start + usize::from(held.length))
    }

    /// Asks for the first lines of the frame of `length` bytes at `address`, which another CPU has written: the headers
    /// of IPv4 with TCP lie in one, those of IPv6 in two. Anything may be said to it, and nothing is believed.
    #[inline]
    pub(super) fn prefetch(&self, address: u64, length: u32) {
        let bytes = self.memory.bytes() as u64;
        let second = if length as usize > LINE_BYTES { LINE_BYTES as u64 } else { 0 };
        if address < bytes.saturating_sub(second) {
            for at in [address, address + second] {
                // SAFETY: inside the mapping, as was checked; nothing is read, and others may write an atomic byte.
                prefetch(unsafe { self.memory.start().add(at as usize).cast::<AtomicU8>().as_ref() });
            }
        }
    }

    /// Lends the held frames, with all of their chunks as room around them.
    #[inline]
    pub(super) fn lend<'a>(&'a mut self, held: &'a mut [Held]) -> Burst<'a> {
        held.iter_mut()
            .take(port::BURST_FRAMES_MAX)
            .filter_map(|held| {
                // SAFETY: inside the mapping (`start_of`). No two `Chunk`s have the same number, so the
                // slices are disjoint, and both the chunks and the UMEM are borrowed exclusively as long as
                // they live.
                let bytes =
                    unsafe { std::slice::from_raw_parts_mut(self.start_of(&held.chunk), CHUNK_BYTES) };
                Frame::new(bytes, usize::from(held.start), usize::from(held.length))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_gets_a_chunk_back_into_our_hands_once_and_for_its_purpose() {
        let mut umem = Umem::new(4).unwrap();
        let chunk = umem.take().unwrap();
        let address = umem.hand_over(chunk, Holder::Receive);
        assert!(umem.take_over(address, Holder::Transmit).is_none(), "for another purpose");
        assert!(umem.take_over(address + CHUNK_BYTES as u64, Holder::Receive).is_none(), "one that we hold");
        let (chunk, offset) = umem.take_over(address + 352, Holder::Receive).unwrap();
        assert_eq!(offset, 352);
        assert!(umem.take_over(address, Holder::Receive).is_none(), "twice");
        umem.give_back(chunk);
        assert_eq!(umem.free_chunks(), 4);
        assert!(umem.take_over(4 * CHUNK_BYTES as u64, Holder::Receive).is_none(), "behind the end");
        assert!(umem.take_over(u64::MAX, Holder::Receive).is_none(), "far behind the end");
        // What a kernel gone wrong names may be asked for as well: nothing is computed from it before it is bounded.
        umem.prefetch(u64::MAX, u32::MAX);
    }

    #[test]
    fn lent_frames_do_not_overlap() {
        let mut umem = Umem::new(2).unwrap();
        let mut held: Vec<Held> = (0..2)
            .map(|_| Held { chunk: umem.take().unwrap(), start: 96, length: CHUNK_BYTES as u16 - 96 })
            .collect();
        let mut burst = umem.lend(&mut held);
        burst[0].bytes_mut().fill(1);
        burst[1].bytes_mut().fill(2);
        assert!(burst[0].bytes().iter().all(|&byte| byte == 1));
        drop(burst);
        assert!(umem.frame(&held[1]).unwrap().iter().all(|&byte| byte == 2));
        held[1].length += 1;
        assert!(umem.frame(&held[1]).is_none(), "a frame that ends behind its chunk");
    }
}
