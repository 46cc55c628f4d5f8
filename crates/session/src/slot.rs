//! One slot: whole cache lines of atomic words, read under its stamp.

use crate::{
    sync::{AtomicU64, Ordering, WAIT_LOOKS, fence, spin_loop},
    word::{Activity, Direction, Header, Progress},
};

/// Words in a cache line.
pub(crate) const WORDS_PER_LINE: usize = 8;

#[repr(align(64))]
struct Line([AtomicU64; WORDS_PER_LINE]);

/// `header | KEY words of key | PAYLOAD words of payload | activity | progress`, in `LINES` cache lines.
pub(crate) struct Slot<const KEY: usize, const PAYLOAD: usize, const LINES: usize>([Line; LINES]);

/// What a slot held at one moment. Activity and progress move on their own, outside the stamp.
#[derive(Clone, Copy)]
pub(crate) struct Contents<const KEY: usize, const PAYLOAD: usize> {
    pub(crate) header: Header,
    pub(crate) key: [u64; KEY],
    pub(crate) payload: [u64; PAYLOAD],
    pub(crate) direction: Direction,
}

impl<const KEY: usize, const PAYLOAD: usize, const LINES: usize> Slot<KEY, PAYLOAD, LINES> {
    const ACTIVITY: usize = 1 + KEY + PAYLOAD;
    const PROGRESS: usize = Self::ACTIVITY + 1;

    /// A free slot. Its odd stamp is not zero, so making one writes to every cache line that has a header.
    pub(crate) fn new() -> Self {
        const { assert!(Self::PROGRESS + 1 == LINES * WORDS_PER_LINE, "a slot fills its cache lines") }
        let slot = Self(std::array::from_fn(|_| Line(std::array::from_fn(|_| AtomicU64::new(0)))));
        slot.set_header(Header::NEVER_USED);
        slot
    }

    #[inline]
    fn word(&self, index: usize) -> &AtomicU64 {
        &self.0[index / WORDS_PER_LINE].0[index % WORDS_PER_LINE]
    }

    /// Asks for every line.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        self.0.iter().for_each(prefetch::prefetch);
    }

    #[inline]
    pub(crate) fn header(&self) -> Header {
        Header(self.word(0).load(Ordering::Acquire))
    }

    /// Only the thread that made the stamp odd, or reserved the slot, may.
    pub(crate) fn set_header(&self, header: Header) {
        self.word(0).store(header.0, Ordering::Release);
    }

    /// Takes an even slot for this thread alone. False when its header is no longer `seen`.
    pub(crate) fn seize(&self, seen: Header) -> bool {
        let odd = seen.stepped().0;
        self.word(0).compare_exchange(seen.0, odd, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(crate) fn activity(&self) -> Activity {
        Activity(self.word(Self::ACTIVITY).load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn progress(&self) -> Progress {
        Progress(self.word(Self::PROGRESS).load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_progress(&self, progress: Progress) {
        self.word(Self::PROGRESS).store(progress.0, Ordering::Relaxed);
    }

    /// Replaces `seen` by `next`; an error carries what is there instead.
    #[inline]
    pub(crate) fn swap_activity(&self, seen: Activity, next: Activity) -> Result<(), Activity> {
        let swapped =
            self.word(Self::ACTIVITY).compare_exchange(seen.0, next.0, Ordering::Relaxed, Ordering::Relaxed);
        swapped.map(drop).map_err(Activity)
    }

    /// Whether these are the key words right now. A mismatch is certain for as long as the stamp stays even.
    #[inline]
    pub(crate) fn has_key(&self, key: &[u64; KEY]) -> bool {
        (0..KEY).fold(0, |difference, i| difference | (self.word(1 + i).load(Ordering::Relaxed) ^ key[i]))
            == 0
    }

    /// All words as they are: whole only for a thread that keeps others from writing, or checks the stamp
    /// afterwards.
    #[inline]
    pub(crate) fn contents(&self, header: Header) -> Contents<KEY, PAYLOAD> {
        Contents {
            header,
            key: std::array::from_fn(|i| self.word(1 + i).load(Ordering::Relaxed)),
            payload: std::array::from_fn(|i| self.word(1 + KEY + i).load(Ordering::Relaxed)),
            direction: Direction { activity: self.activity(), progress: self.progress() },
        }
    }

    /// Whether nothing under the stamp was written since `header` was loaded. The fence pairs with the one
    /// before [`fill`](Self::fill) and the one in [`set_payload`](Self::set_payload): who saw a new word sees
    /// the new stamp.
    #[inline]
    pub(crate) fn unchanged(&self, header: Header) -> bool {
        fence(Ordering::Acquire);
        self.word(0).load(Ordering::Relaxed) == header.0
    }

    /// Reads the slot whole; `None` while it is free, being written, or written again and again.
    pub(crate) fn read(&self) -> Option<Contents<KEY, PAYLOAD>> {
        for _ in 0..WAIT_LOOKS {
            let header = self.header();
            if header.is_even() {
                let contents = self.contents(header);
                if self.unchanged(header) {
                    return Some(contents);
                }
            } else if header.is_vacant() {
                return None;
            }
            spin_loop();
        }
        None
    }

    /// Writes a reserved slot and publishes it under `contents.header`, which is even. Between the
    /// reservation and here the caller has passed a sequentially consistent fence, which is the release fence
    /// that readers rely on.
    pub(crate) fn fill(&self, contents: &Contents<KEY, PAYLOAD>) {
        for (i, &word) in contents.key.iter().chain(&contents.payload).enumerate() {
            self.word(1 + i).store(word, Ordering::Relaxed);
        }
        self.word(Self::ACTIVITY).store(contents.direction.activity.0, Ordering::Relaxed);
        self.set_progress(contents.direction.progress);
        self.set_header(contents.header);
    }

    /// Writes one payload word of a slot whose stamp this thread made odd.
    pub(crate) fn set_payload(&self, index: usize, value: u64) {
        fence(Ordering::Release);
        self.word(1 + KEY + index).store(value, Ordering::Relaxed);
    }
}
