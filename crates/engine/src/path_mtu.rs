//! How much the ways to the far ends of IPv6 tunnels carry, as routers on them have told.
//!
//! Mostly nobody needs to remember: the client hears of a narrow link and sends less. But no IPv6 host sends less than 1,280
//! bytes at a time (RFC 8200 section 5), and those become longer than some links by the tunnel's own header. They have to
//! be cut into pieces where they enter the tunnel (RFC 2473 section 7.1), and that is only known from what was told.
//!
//! Shared by all workers. A row is one word, so there is nothing to be torn; rows that meet oust each other, which costs a
//! packet and another error.

use flow::FlowHasher;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU64, Ordering};

/// What every IPv6 link carries (RFC 8200 section 5): nobody is believed who says less.
pub(crate) const MTU_BYTES_MIN: u16 = 1_280;

/// Far ends that are remembered at the most: 32 KiB.
const ROWS: usize = 4_096;

/// How long one is remembered, in ticks of 134 ms: ten minutes (RFC 8201 section 4).
const AGE_TICKS_MAX: u32 = 4_470;

/// Separates these hashes from the secret's other uses.
const PURPOSE_PATH: u64 = u64::from_le_bytes(*b"path mtu");

/// The table.
pub struct PathMtus {
    rows: Box<[AtomicU64]>,
    hasher: FlowHasher,
}

/// One row taken apart; all zeros when nothing is remembered.
#[derive(Clone, Copy)]
struct Row {
    check: u16,
    mtu_bytes: u16,
    tick: u32,
}

impl Row {
    fn of(word: u64) -> Self {
        Self { check: (word >> 48) as u16, mtu_bytes: (word >> 32) as u16, tick: word as u32 }
    }

    fn word(self) -> u64 {
        u64::from(self.check) << 48 | u64::from(self.mtu_bytes) << 32 | u64::from(self.tick)
    }
}

impl PathMtus {
    pub(crate) fn new(hasher: FlowHasher) -> Self {
        Self { rows: (0..ROWS).map(|_| AtomicU64::new(0)).collect(), hasher }
    }

    /// The row of `end`, and what tells it from others in the same place.
    fn row(&self, end: Ipv6Addr) -> Option<(&AtomicU64, u16)> {
        let hash = self.hasher.dispatch(PURPOSE_PATH, &end.octets());
        Some((self.rows.get((hash >> 16) as usize % ROWS)?, hash as u16))
    }

    /// Remembers that a link on the way to `end` carries `mtu_bytes`.
    pub(crate) fn note(&self, end: Ipv6Addr, mtu_bytes: u16, tick: u32) {
        if let Some((row, check)) = self.row(end) {
            let mtu_bytes = mtu_bytes.max(MTU_BYTES_MIN);
            row.store(Row { check, mtu_bytes, tick }.word(), Ordering::Relaxed);
        }
    }

    /// What the way to `end` carries, in bytes, if a router has told so of late.
    pub(crate) fn of(&self, end: Ipv6Addr, tick: u32) -> Option<u16> {
        let (row, check) = self.row(end)?;
        let row = Row::of(row.load(Ordering::Relaxed));
        let is_its = row.mtu_bytes != 0 && row.check == check;
        (is_its && tick.wrapping_sub(row.tick) <= AGE_TICKS_MAX).then_some(row.mtu_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_remembered_for_ten_minutes_and_of_this_end_alone() {
        let paths = PathMtus::new(FlowHasher::new([7; 16]));
        let [near, far] = [1, 2].map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        assert_eq!(paths.of(far, 0), None);
        let then = u32::MAX - 9;
        paths.note(far, 1_300, then);
        assert_eq!(paths.of(far, then), Some(1_300));
        assert_eq!(paths.of(near, then), None);
        assert_eq!(paths.of(far, then.wrapping_add(AGE_TICKS_MAX)), Some(1_300));
        assert_eq!(paths.of(far, then.wrapping_add(AGE_TICKS_MAX + 1)), None);
        paths.note(far, 68, then);
        assert_eq!(paths.of(far, then), Some(MTU_BYTES_MIN), "no link carries less");
    }
}
