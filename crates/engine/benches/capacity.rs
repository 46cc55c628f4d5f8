//! Ten million concurrent IPv4 sessions: made by a worker, one packet each, and what memory they take.
//!
//! Prints the table's own bytes beside what the process holds more than before, since a page that was never
//! touched would not show in the first, and a queue that grew would not in the table.

mod world;

use port::BURST_FRAMES_MAX;
use std::time::Duration;
use world::{Setup, Talk, World};

const SESSIONS: usize = 10_000_000;
const BAR_GIB: f64 = 1.4;
const GIB: f64 = (1u64 << 30) as f64;

fn main() {
    let before = resident_bytes();
    let mut setup = Setup::of(Talk::UdpV4, 0);
    setup.capacity = SESSIONS;
    let mut world = World::new(&setup);
    let mut took = Duration::ZERO;
    for first in (0..SESSIONS).step_by(BURST_FRAMES_MAX) {
        took +=
            world.seat.forward((first..first + BURST_FRAMES_MAX).map(|number| Talk::UdpV4.opening(number)));
    }
    let table = &world.shared.sessions_v4;
    let (held, bytes) = (table.len(), table.memory_bytes());
    println!(
        "capacity: {held} of {SESSIONS} IPv4 sessions held ({:.3} %), {} refused",
        held as f64 * 100.0 / SESSIONS as f64,
        SESSIONS.saturating_sub(held)
    );
    println!(
        "capacity: {:.3} GiB of table (bar: {BAR_GIB}), {:.1} bytes per session; the process grew by {:.3} GiB",
        bytes as f64 / GIB,
        bytes as f64 / SESSIONS as f64,
        resident_bytes().saturating_sub(before) as f64 / GIB
    );
    println!(
        "capacity: {:.0} ns per session into the filling table",
        took.as_nanos() as f64 / SESSIONS as f64
    );
    assert!(held >= SESSIONS / 1_000 * 995, "the table refused more than it should");
}

/// What the process holds in memory; 0 where the kernel does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1_024
}
