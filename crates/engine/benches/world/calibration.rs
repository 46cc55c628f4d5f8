//! What one random cache line of a session table costs on this machine in this minute: the yardstick beside
//! each figure.

use session::Table;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Chains of loads, each of which needs the value of its last load to know the next: so many misses are in
/// flight.
const CHAINS: usize = 16;
const ROUNDS: u32 = 1_024;
/// Knuth's multiplier for 64-bit linear congruential generators.
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;

/// Time for each of many random lines of `table`.
pub fn line_ns<const KEY: usize, const PAYLOAD: usize, const LINES: usize>(
    table: &Table<KEY, PAYLOAD, LINES>,
    seed: u64,
) -> f64 {
    let slots = table.set_count() as u64 * session::SLOTS_PER_SET as u64;
    let mut chains: [u64; CHAINS] = std::array::from_fn(|chain| seed.wrapping_add(chain as u64) * MULTIPLIER);
    let started = Instant::now();
    for _ in 0..ROUNDS {
        for state in &mut chains {
            let slot = ((*state >> 32) * slots) >> 32;
            *state = (*state ^ table.line_word(slot as usize)).wrapping_mul(MULTIPLIER).wrapping_add(1);
        }
    }
    let took: Duration = started.elapsed();
    black_box(chains);
    took.as_nanos() as f64 / (f64::from(ROUNDS) * CHAINS as f64)
}
