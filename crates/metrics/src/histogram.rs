//! A histogram of durations that a worker fills without allocating and control turns into percentiles.

use crate::{Counter, counters};
use hdrhistogram::{CreationError, Histogram};

/// Buckets per power of two: a recorded value is known to within 1/16 of itself.
const STEPS_PER_OCTAVE_LOG2: u32 = 4;
const STEPS_PER_OCTAVE: u64 = 1 << STEPS_PER_OCTAVE_LOG2;
/// Durations of 2^36 ns (69 s) and more share the last bucket.
const OCTAVES: u32 = 36;
const BUCKETS: usize = ((OCTAVES - STEPS_PER_OCTAVE_LOG2 + 1) as u64 * STEPS_PER_OCTAVE) as usize;

/// Durations in nanoseconds, counted in log-linear buckets; fixed size, one writer.
#[derive(Debug)]
pub struct DurationHistogram {
    buckets: Box<[Counter]>,
    maximum_ns: Counter,
}

impl Default for DurationHistogram {
    fn default() -> Self {
        Self { buckets: counters(BUCKETS), maximum_ns: Counter::default() }
    }
}

fn bucket_of(duration_ns: u64) -> usize {
    if duration_ns < STEPS_PER_OCTAVE {
        return duration_ns as usize;
    }
    let octave = duration_ns.ilog2();
    let step = (duration_ns >> (octave - STEPS_PER_OCTAVE_LOG2)) - STEPS_PER_OCTAVE;
    let index = u64::from(octave - STEPS_PER_OCTAVE_LOG2 + 1) * STEPS_PER_OCTAVE + step;
    (index as usize).min(BUCKETS - 1)
}

/// The smallest duration that falls into `bucket`.
fn floor_of(bucket: usize) -> u64 {
    let (octave, step) = (bucket as u64 / STEPS_PER_OCTAVE, bucket as u64 % STEPS_PER_OCTAVE);
    if octave == 0 { step } else { (STEPS_PER_OCTAVE + step) << (octave - 1) }
}

impl DurationHistogram {
    /// Counts one duration. Only the owning worker may call it.
    #[inline]
    pub fn record(&self, duration_ns: u64) {
        self.buckets[bucket_of(duration_ns)].add(1);
        if duration_ns > self.maximum_ns.get() {
            self.maximum_ns.set(duration_ns);
        }
    }

    /// The longest duration so far, in nanoseconds, exact.
    pub fn maximum_ns(&self) -> u64 {
        self.maximum_ns.get()
    }

    /// Adds what was counted so far to `total`, each value rounded down to its bucket. Any thread.
    pub fn add_to(&self, total: &mut Histogram<u64>) {
        for (bucket, count) in self.buckets.iter().enumerate() {
            if count.get() > 0 {
                total.saturating_record_n(floor_of(bucket).max(1), count.get());
            }
        }
    }

    /// An empty histogram of the range that [`Self::add_to`] fills.
    pub fn empty_total() -> Result<Histogram<u64>, CreationError> {
        Histogram::new_with_bounds(1, 1 << OCTAVES, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_begins_where_the_one_before_ends() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(floor_of(bucket)), bucket);
            if bucket > 0 {
                assert_eq!(bucket_of(floor_of(bucket) - 1), bucket - 1);
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_within_a_sixteenth() {
        let histogram = DurationHistogram::default();
        for duration_ns in 1..=10_000 {
            histogram.record(duration_ns);
        }
        let mut total = DurationHistogram::empty_total().unwrap();
        histogram.add_to(&mut total);
        assert_eq!(total.len(), 10_000);
        assert_eq!(histogram.maximum_ns(), 10_000);
        for percent in [50u64, 90, 99] {
            let (exact, found) = (percent * 100, total.value_at_percentile(percent as f64));
            assert!(found <= exact + exact / 50 && found + exact / 15 >= exact, "{percent} %: {found}");
        }
    }
}
