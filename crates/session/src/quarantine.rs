//! Source-NAT ports that were freed a short while ago and must rest (RFC 6888 REQ-8).
//!
//! A fixed table of ticks, addressed by the hash of the key that the port made unique. Two keys that share a place
//! make each other rest longer than needed, which costs another try for a port and nothing else.

use crate::sync::{AtomicU32, Ordering};

/// Places: at 10,000 sessions a second nearly a million keys rest at once. 4 MiB.
const PLACES: usize = 1 << 20;

/// The table. Any thread may call it.
pub struct Quarantine {
    /// Tick of the latest release, plus one; 0 for none.
    freed: Box<[AtomicU32]>,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { freed: (0..PLACES).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl Quarantine {
    fn place(&self, hash: u64) -> &AtomicU32 {
        &self.freed[(hash % PLACES as u64) as usize]
    }

    /// The port of the key with this hash was freed.
    pub fn freed(&self, hash: u64, now_tick: u32) {
        self.place(hash).store(now_tick.wrapping_add(1).max(1), Ordering::Relaxed);
    }

    /// Whether the port of the key with this hash was freed less than `rest_ticks` ago.
    pub fn rests(&self, hash: u64, now_tick: u32, rest_ticks: u32) -> bool {
        let freed = self.place(hash).load(Ordering::Relaxed);
        // Another worker's clock may be a tick ahead of this one's: then it was freed just now.
        let rested = (now_tick.wrapping_add(1).wrapping_sub(freed) as i32).max(0);
        freed != 0 && (rested as u32) < rest_ticks
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_freed_port_rests_and_is_free_again() {
        let quarantine = Quarantine::default();
        assert!(!quarantine.rests(7, 1_000, 100));
        quarantine.freed(7, 1_000);
        assert!(quarantine.rests(7, 1_000, 100));
        assert!(quarantine.rests(7, 1_099, 100));
        assert!(!quarantine.rests(7, 1_100, 100));
        assert!(quarantine.rests(7, 998, 100), "freed by a worker whose clock is ahead");
        assert!(!quarantine.rests(8, 1_050, 100));
    }
}
