//! What came of the frames of one stream: received, lost, reordered, duplicated, how late.
//!
//! Sequence numbers are remembered in a window of [`WINDOW`] bits behind the highest one. A frame that comes
//! later than that is counted as reordered, since nobody can tell any more whether it is a second copy.
//! Reordered is what comes behind a higher number (RFC 4737, section 3); duplicates are beside `received`
//! (RFC 5560), so that lost is sent less received.

use hdrhistogram::Histogram;

/// Sequence numbers that are remembered.
pub const WINDOW: u64 = 1 << 16;

/// Latencies above are counted as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// See the module. Owned by the thread that receives.
#[derive(Clone, Debug)]
pub struct Account {
    /// One above the highest number that came, of 64 bits.
    next: u64,
    seen: Box<[u64]>,
    /// Different frames that came.
    pub received: u64,
    /// Those of them that came behind a higher number.
    pub reordered: u64,
    /// Copies of frames that had come.
    pub duplicated: u64,
    /// Bytes of all that came, check sequence included.
    pub bytes: u64,
    /// Nanoseconds from stamp to receipt; `None` where it is not recorded.
    pub latency: Option<Histogram<u64>>,
}

/// What a sequence number said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Higher than all before.
    New,
    /// Behind a higher one.
    Reordered,
    /// Seen before.
    Duplicate,
}

impl Account {
    /// Nothing came yet.
    pub fn new(with_latency: bool) -> Self {
        Self {
            next: 0,
            seen: vec![0; (WINDOW / 64) as usize].into(),
            received: 0,
            reordered: 0,
            duplicated: 0,
            bytes: 0,
            latency: with_latency.then(latencies),
        }
    }

    /// Counts one frame.
    #[inline]
    pub fn note(&mut self, sequence: u32, bytes: u64, latency_ns: Option<u64>) -> Arrival {
        self.bytes += bytes;
        let arrival = self.arrive(sequence);
        match arrival {
            Arrival::New => self.received += 1,
            Arrival::Reordered => {
                self.received += 1;
                self.reordered += 1;
            }
            Arrival::Duplicate => self.duplicated += 1,
        }
        if let (Some(histogram), Some(latency_ns)) = (&mut self.latency, latency_ns) {
            histogram.saturating_record(latency_ns.max(1));
        }
        arrival
    }

    /// Frames that are missing among those up to the highest that came: lost, or still to come late.
    pub fn missing(&self) -> u64 {
        self.next.saturating_sub(self.received)
    }

    #[inline]
    fn arrive(&mut self, sequence: u32) -> Arrival {
        // The number of 64 bits that is nearest to the next one.
        let ahead = i64::from(sequence.wrapping_sub(self.next as u32) as i32);
        let Some(number) = self.next.checked_add_signed(ahead) else { return Arrival::Duplicate };
        if number >= self.next {
            self.forget_up_to(number);
            self.next = number + 1;
            self.mark(number);
            return Arrival::New;
        }
        if self.next - number > WINDOW {
            return Arrival::Reordered;
        }
        if self.mark(number) { Arrival::Duplicate } else { Arrival::Reordered }
    }

    /// Clears the places of the numbers from the next one up to `number`.
    #[inline]
    fn forget_up_to(&mut self, number: u64) {
        if number - self.next >= WINDOW {
            self.seen.fill(0);
            return;
        }
        for passed in self.next..=number {
            let (word, bit) = place(passed);
            self.seen[word] &= !bit;
        }
    }

    /// Remembers a number; whether it was remembered before.
    #[inline]
    fn mark(&mut self, number: u64) -> bool {
        let (word, bit) = place(number);
        let before = self.seen[word] & bit != 0;
        self.seen[word] |= bit;
        before
    }
}

#[inline]
fn place(number: u64) -> (usize, u64) {
    let at = number % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

/// An empty histogram of latencies, exact to a thousandth.
pub fn latencies() -> Histogram<u64> {
    // The bounds are constants for which there is a histogram.
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).unwrap_or_else(|_| unreachable!())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn loss_reordering_and_copies_are_told_apart() {
        let mut account = Account::new(true);
        let arrivals = [0, 1, 4, 2, 2, 5, 4].map(|sequence| account.note(sequence, 64, Some(1_000)));
        use Arrival::{Duplicate, New, Reordered};
        assert_eq!(arrivals, [New, New, New, Reordered, Duplicate, New, Duplicate]);
        assert_eq!((account.received, account.reordered, account.duplicated), (5, 1, 2));
        assert_eq!((account.missing(), account.bytes), (1, 7 * 64));
    }

    #[test]
    fn numbers_go_on_behind_two_to_the_thirty_second() {
        let mut account = Account::new(false);
        account.next = u64::from(u32::MAX);
        assert_eq!(account.note(u32::MAX, 64, None), Arrival::New);
        assert_eq!(account.note(0, 64, None), Arrival::New);
        assert_eq!(account.next, (1 << 32) + 1);
        assert_eq!(account.note(u32::MAX, 64, None), Arrival::Duplicate);
    }

    #[test]
    fn a_gap_longer_than_the_window_forgets_what_was_before() {
        let mut account = Account::new(false);
        account.note(0, 64, None);
        account.note(WINDOW as u32 + 1, 64, None);
        assert_eq!(account.note(1, 64, None), Arrival::Reordered);
        assert_eq!(account.missing(), WINDOW - 1);
    }

    proptest! {
        #[test]
        fn counts_agree_with_a_set(steps in proptest::collection::vec(-300i64..400, 1..500)) {
            let mut account = Account::new(false);
            let mut seen = HashSet::new();
            let (mut highest, mut reordered, mut duplicated) = (-1i64, 0, 0);
            for step in steps {
                let number = (highest + step).max(0);
                account.note(number as u32, 64, None);
                if !seen.insert(number) {
                    duplicated += 1;
                } else if number < highest {
                    reordered += 1;
                }
                highest = highest.max(number);
            }
            prop_assert_eq!((account.reordered, account.duplicated), (reordered, duplicated));
            prop_assert_eq!(account.received, seen.len() as u64);
            prop_assert_eq!(account.missing(), (highest + 1) as u64 - seen.len() as u64);
        }
    }
}
