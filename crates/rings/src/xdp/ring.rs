//! Our halves of the four rings that an AF_XDP socket shares with the kernel.
//!
//! Each ring has one producer and one consumer, each of which writes one index and reads the other's. The
//! types keep the roles apart: only a [`Producer`] can push and only a [`Consumer`] can take, and a ring of
//! addresses is another type than a ring of descriptors. Indices run freely and wrap; the other side's index
//! is read only when the cached one says that there is nothing to do.

use super::mapping::Mapping;
use crate::Error;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// The kernel's frame descriptor, `struct xdp_desc`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// Offset of the first byte in the UMEM.
    pub address: u64,
    /// Length in bytes.
    pub length: u32,
    /// Flags; nonzero for a piece of a frame in several chunks, which is never asked for.
    pub options: u32,
}

/// What a ring can hold: plain integers, of which any bytes are a value, since the kernel writes them.
pub(super) trait Entry: Copy {}
impl Entry for u64 {}
impl Entry for Descriptor {}

/// Where the words of a ring lie in its mapping, as `XDP_MMAP_OFFSETS` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    pub producer: u64,
    pub consumer: u64,
    pub flags: u64,
    pub entries: u64,
}

impl Offsets {
    /// How long the mapping of a ring of `count` entries is.
    pub(super) fn mapping_bytes<T: Entry>(&self, count: u32) -> Result<usize, Error> {
        let bytes = self.entries.saturating_add(u64::from(count) * size_of::<T>() as u64);
        let fits = |word: u64| word.is_multiple_of(4) && word.saturating_add(4) <= bytes;
        let sound = [self.producer, self.consumer, self.flags].into_iter().all(fits)
            && self.entries.is_multiple_of(8)
            && bytes <= u64::from(u32::MAX);
        match sound {
            true => Ok(bytes as usize),
            false => Err(Error::OutOfBounds {
                what: format!("ring offsets {self:?} that the kernel gave"),
                value: bytes,
                bound: u64::from(u32::MAX),
                advice: "use driver = \"af_packet\" on this kernel",
            }),
        }
    }
}

/// The words of a ring, wherever they lie.
#[derive(Debug)]
struct Words<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    /// A power of two.
    count: u32,
    /// Keeps all of the above mapped.
    _mapping: Mapping,
}

// SAFETY: the pointers lead into the mapping, which is owned here and belongs to the process; this half is
// used by one thread at a time, since pushing and taking need `&mut`.
unsafe impl<T: Entry> Send for Words<T> {}

impl<T: Entry> Words<T> {
    fn new(mapping: Mapping, offsets: &Offsets, count: u32) -> Result<Self, Error> {
        assert!(count.is_power_of_two(), "a ring of {count} entries");
        assert!(offsets.mapping_bytes::<T>(count)? <= mapping.bytes(), "a ring longer than its mapping");
        let at = |offset: u64| {
            // SAFETY: `mapping_bytes` has checked that every word and all entries lie inside the mapping.
            unsafe { mapping.start().add(offset as usize) }
        };
        Ok(Self {
            producer: at(offsets.producer).cast(),
            consumer: at(offsets.consumer).cast(),
            flags: at(offsets.flags).cast(),
            entries: at(offsets.entries).cast(),
            count,
            _mapping: mapping,
        })
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: an aligned word inside the mapping, which lives as long as `self`; both sides use it
        // atomically.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for the producer's index.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as for the producer's index.
        unsafe { self.flags.as_ref() }
    }

    #[inline]
    fn entry(&self, index: u32) -> NonNull<T> {
        // SAFETY: the masked index is below `count`, and `count` entries lie inside the mapping.
        unsafe { self.entries.add((index & (self.count - 1)) as usize) }
    }
}

/// The half that fills a ring: fill and transmit.
#[derive(Debug)]
pub(super) struct Producer<T> {
    words: Words<T>,
    /// Our index, ahead of the published one by what was pushed since.
    index: u32,
    /// The kernel's index when it was last read.
    consumed: u32,
}

impl<T: Entry> Producer<T> {
    pub(super) fn new(mapping: Mapping, offsets: &Offsets, count: u32) -> Result<Self, Error> {
        let words = Words::new(mapping, offsets, count)?;
        let index = words.producer().load(Ordering::Relaxed);
        let consumed = words.consumer().load(Ordering::Acquire);
        Ok(Self { words, index, consumed })
    }

    /// Puts `entry` in the ring, unseen until [`Producer::publish`]. False when the ring is full.
    #[inline]
    pub(super) fn push(&mut self, entry: T) -> bool {
        if self.index.wrapping_sub(self.consumed) >= self.words.count {
            self.consumed = self.words.consumer().load(Ordering::Acquire);
            if self.index.wrapping_sub(self.consumed) >= self.words.count {
                return false;
            }
        }
        // SAFETY: a slot inside the mapping that the kernel has consumed and does not read before it is
        // published.
        unsafe { self.words.entry(self.index).write_volatile(entry) };
        self.index = self.index.wrapping_add(1);
        true
    }

    /// Lets the kernel see all that was pushed.
    #[inline]
    pub(super) fn publish(&mut self) {
        self.words.producer().store(self.index, Ordering::Release);
    }

    /// Entries that the kernel has not taken yet.
    #[inline]
    pub(super) fn pending(&mut self) -> u32 {
        self.consumed = self.words.consumer().load(Ordering::Acquire);
        self.index.wrapping_sub(self.consumed)
    }

    /// Whether the kernel sleeps and wants a system call to look at the ring. For what was published just now
    /// that is certain only behind a full fence; otherwise both sides could go to sleep.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.words.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// The half that empties a ring: receive and completion.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    words: Words<T>,
    /// Our index, ahead of the published one by what was taken since.
    index: u32,
    /// The kernel's index when it was last read.
    produced: u32,
}

impl<T: Entry> Consumer<T> {
    pub(super) fn new(mapping: Mapping, offsets: &Offsets, count: u32) -> Result<Self, Error> {
        let words = Words::new(mapping, offsets, count)?;
        let index = words.consumer().load(Ordering::Relaxed);
        Ok(Self { words, index, produced: index })
    }

    /// Takes the oldest entries, at most `most`; their slots stay ours until [`Consumer::release`]. What the
    /// caller does not look at is gone all the same.
    #[inline]
    pub(super) fn take(&mut self, most: u32) -> Taken<'_, T> {
        let mut known = self.produced.wrapping_sub(self.index);
        if known < most {
            let produced = self.words.producer().load(Ordering::Acquire);
            // An index that runs ahead of what the ring can hold is not believed.
            if produced.wrapping_sub(self.index) <= self.words.count {
                self.produced = produced;
                known = produced.wrapping_sub(self.index);
            }
        }
        let count = known.min(most);
        let next = self.index;
        self.index = next.wrapping_add(count);
        Taken { words: &self.words, next, end: self.index }
    }

    /// The oldest entries that are known to wait and were not taken, at most `most`. They stay where they are.
    #[inline]
    pub(super) fn peek(&self, most: u32) -> Taken<'_, T> {
        let known = self.produced.wrapping_sub(self.index);
        Taken { words: &self.words, next: self.index, end: self.index.wrapping_add(known.min(most)) }
    }

    /// Gives the slots of all taken entries back to the kernel.
    #[inline]
    pub(super) fn release(&mut self) {
        self.words.consumer().store(self.index, Ordering::Release);
    }
}

/// Entries of a ring that the kernel has filled, oldest first.
pub(super) struct Taken<'a, T> {
    words: &'a Words<T>,
    next: u32,
    end: u32,
}

impl<T: Entry> Iterator for Taken<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.next == self.end {
            return None;
        }
        // SAFETY: a slot inside the mapping, written before the index that was read with acquire; any bytes
        // are a `T`.
        let entry = unsafe { self.words.entry(self.next).read_volatile() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end.wrapping_sub(self.next) as usize;
        (left, Some(left))
    }
}

impl<T: Entry> ExactSizeIterator for Taken<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSETS: Offsets = Offsets { producer: 0, consumer: 64, flags: 128, entries: 192 };

    /// Both halves over the same words, as if the other were the kernel.
    fn pair(count: u32, start: u32) -> (Producer<u64>, Consumer<u64>) {
        let bytes = OFFSETS.mapping_bytes::<u64>(count).unwrap();
        let mapping = Mapping::anonymous(bytes).unwrap();
        let words = Words::<u64>::new(mapping, &OFFSETS, count).unwrap();
        words.producer().store(start, Ordering::Relaxed);
        words.consumer().store(start, Ordering::Relaxed);
        let Words { producer, consumer, flags, entries, .. } = words;
        // The second mapping is only there to be owned.
        let other = Mapping::anonymous(bytes).unwrap();
        let shared = Words { producer, consumer, flags, entries, count, _mapping: other };
        (
            Producer { words, index: start, consumed: start },
            Consumer { words: shared, index: start, produced: start },
        )
    }

    #[test]
    fn entries_come_out_in_order_across_the_wrap_of_the_index() {
        let (mut producer, mut consumer) = pair(4, u32::MAX - 5);
        for round in 0..10u64 {
            for entry in 0..4 {
                assert!(producer.push(round * 4 + entry));
            }
            assert!(!producer.push(99), "a fifth entry in a ring of four");
            assert_eq!(consumer.take(4).len(), 0, "seen before it was published");
            producer.publish();
            assert_eq!(producer.pending(), 4);
            let first = round * 4;
            assert_eq!(consumer.take(3).collect::<Vec<_>>(), [first, first + 1, first + 2]);
            assert_eq!(consumer.take(3).collect::<Vec<_>>(), [first + 3]);
            assert_eq!(consumer.take(3).len(), 0);
            assert!(!producer.push(99), "a slot that was not released yet");
            consumer.release();
            assert_eq!(producer.pending(), 0);
        }
    }

    #[test]
    fn what_is_peeked_at_is_still_there_to_be_taken() {
        let (mut producer, mut consumer) = pair(4, u32::MAX - 1);
        for entry in 0..4 {
            assert!(producer.push(entry));
        }
        producer.publish();
        assert_eq!(consumer.peek(4).len(), 0, "nobody has looked yet");
        assert_eq!(consumer.take(1).collect::<Vec<_>>(), [0]);
        assert_eq!(consumer.peek(2).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(consumer.peek(64).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(consumer.take(4).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(consumer.peek(4).len(), 0);
    }

    #[test]
    fn an_index_beyond_the_ring_is_not_believed() {
        let (producer, mut consumer) = pair(4, 0);
        producer.words.producer().store(5, Ordering::Release);
        assert_eq!(consumer.take(64).len(), 0);
        producer.words.producer().store(u32::MAX, Ordering::Release);
        assert_eq!(consumer.take(64).len(), 0);
        producer.words.producer().store(4, Ordering::Release);
        assert_eq!(consumer.take(64).len(), 4);
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        let unaligned = Offsets { flags: 129, ..OFFSETS };
        assert!(unaligned.mapping_bytes::<u64>(4).is_err());
        let outside = Offsets { consumer: 1 << 20, ..OFFSETS };
        assert!(outside.mapping_bytes::<u64>(4).is_err());
        let overflowing = Offsets { entries: u64::MAX - 7, ..OFFSETS };
        assert!(overflowing.mapping_bytes::<u64>(4).is_err());
    }
}
