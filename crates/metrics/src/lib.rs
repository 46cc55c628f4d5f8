//! Counters and histograms that one worker owns and anyone may read.
//!
//! Only the owner writes, so an increment is a relaxed load and a relaxed store: no locked instruction on the packet
//! path. A second writer would lose increments, never corrupt one. Readers see each value whole, but two values read
//! one after the other may be from different turns.
#![forbid(unsafe_code)]

mod histogram;

pub use histogram::DurationHistogram;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows, written by one thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the owning worker may call it.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// The current value. Any thread.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Overwrites the value: for gauges. Only the owning worker may call it.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}

/// `count` counters in one allocation.
pub fn counters(count: usize) -> Box<[Counter]> {
    (0..count).map(|_| Counter::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_adds_up_and_a_gauge_is_overwritten() {
        let counter = Counter::default();
        counter.add(2);
        counter.add(3);
        assert_eq!(counter.get(), 5);
        counter.set(1);
        assert_eq!(counter.get(), 1);
    }
}
