//! Link rows: next hop → MAC, port, MTU. Atomics outside the plan.
//!
//! A translation names its way out by row, never by MAC, so that a gateway's new MAC reaches every live flow with one
//! store and recompiles nothing. Written by control, read by workers. Row 0 is never given out: it means "unresolved".

use crate::sync::{AtomicU64, Ordering};
use rewrite::LinkIndex;
use wire::Mac;

/// Where a link leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The egress port's index.
    pub port: u16,
    /// The next hop's MAC.
    pub mac: Mac,
}

/// The rows. Their number is fixed; which next hop holds which row is the control thread's business.
#[derive(Debug)]
pub struct LinkTable {
    /// port:16 ‖ MAC:48; 0 while the next hop is not known.
    rows: Box<[AtomicU64]>,
}

impl LinkTable {
    /// Rows in a table: all that 16 bits can name.
    pub const ROWS: usize = 1 << 16;

    /// A table of `rows` unresolved rows, at most [`Self::ROWS`].
    pub fn new(rows: usize) -> Self {
        Self { rows: (0..rows.min(Self::ROWS)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// A table of its own in which every link leads where it leads here now.
    pub fn detached(&self) -> Self {
        let copy = |row: &AtomicU64| AtomicU64::new(row.load(Ordering::Relaxed));
        Self { rows: self.rows.iter().map(copy).collect() }
    }

    /// How many rows there are, row 0 included.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Where `link` leads now; `None` while its next hop has no known MAC.
    #[inline]
    pub fn get(&self, link: LinkIndex) -> Option<Link> {
        let word = self.rows.get(usize::from(link.0))?.load(Ordering::Relaxed);
        if word == 0 {
            return None;
        }
        let bytes = word.to_be_bytes();
        let mac = Mac([bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]);
        Some(Link { port: (word >> 48) as u16, mac })
    }

    /// Says where `link` leads, or that nobody knows. Control thread only. Row 0 and rows past the end stay as they are.
    pub fn set(&self, link: LinkIndex, to: Option<Link>) {
        if link == LinkIndex::UNRESOLVED {
            return;
        }
        let word = to.map_or(0, |Link { port, mac: Mac(mac) }| {
            mac.iter().fold(u64::from(port), |word, &byte| word << 8 | u64::from(byte))
        });
        if let Some(row) = self.rows.get(usize::from(link.0)) {
            row.store(word, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_back_what_was_set_and_row_zero_never_leads_anywhere() {
        let table = LinkTable::new(4);
        let link = Link { port: 3, mac: Mac([2, 0, 0, 0, 0, 9]) };
        table.set(LinkIndex(2), Some(link));
        table.set(LinkIndex(0), Some(link));
        table.set(LinkIndex(9), Some(link));
        assert_eq!(table.get(LinkIndex(2)), Some(link));
        assert_eq!(table.get(LinkIndex(0)), None);
        assert_eq!(table.get(LinkIndex(9)), None);
        table.set(LinkIndex(2), None);
        assert_eq!(table.get(LinkIndex(2)), None);
    }
}
