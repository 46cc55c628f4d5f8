//! What the control thread sees while a run goes on, and when it has seen enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crate::leg::{ConnectionProgress, Progress, Terms, now_ns};
use crate::report::Second;

/// How long late frames are waited for after the last one was sent.
const DRAIN_NS: u64 = 200_000_000;

/// With nothing missing, the wait ends when nothing has come for so long.
const QUIET_NS: u64 = 30_000_000;

/// How often the control thread looks.
const LOOK: Duration = Duration::from_millis(5);

const SECOND_NS: u64 = 1_000_000_000;

/// Counters at one moment.
#[derive(Clone, Copy, Default)]
struct Look {
    transmitted: u64,
    received: u64,
    missing: u64,
    connections: Connections,
    is_over: bool,
}

/// Connections at one moment, by how far they came.
#[derive(Clone, Copy, Default)]
struct Connections {
    begun: u64,
    opened: u64,
    failed: u64,
    closed: u64,
    held: u64,
}

fn look(progress: &[Arc<Progress>]) -> Look {
    progress.iter().fold(Look { is_over: true, ..Look::default() }, |sum, leg| Look {
        transmitted: sum.transmitted + leg.transmitted.get(),
        received: sum.received + leg.received.get(),
        missing: sum.missing + leg.missing.get(),
        connections: sum.connections.and(&leg.connections),
        is_over: sum.is_over && leg.over_ns.get() > 0,
    })
}

impl Connections {
    fn and(self, leg: &ConnectionProgress) -> Self {
        Self {
            begun: self.begun + leg.begun.get(),
            opened: self.opened + leg.opened.get(),
            failed: self.failed + leg.failed.get(),
            closed: self.closed + leg.closed.get(),
            held: self.held + leg.held.get(),
        }
    }
}

/// Looks until all is sent and what is late has come, or has not for too long.
pub(super) fn watch(
    progress: &[Arc<Progress>],
    terms: &Terms,
    stop: &AtomicBool,
    mut each_second: impl FnMut(&Second),
) -> Vec<Second> {
    let mut seconds = Vec::new();
    let mut before = Look::default();
    let mut next_ns = terms.start_ns + SECOND_NS;
    let (mut over_ns, mut quiet_since_ns, mut received) = (None, terms.start_ns, 0);
    loop {
        thread::sleep(LOOK);
        terms.stop.fetch_or(stop.load(Relaxed), Relaxed);
        let (now_ns, now) = (now_ns(), look(progress));
        if now.received != received {
            (received, quiet_since_ns) = (now.received, now_ns);
        }
        if now.is_over {
            over_ns.get_or_insert(now_ns);
        }
        let is_drained = over_ns.is_some_and(|over_ns| {
            let is_quiet = now_ns.saturating_sub(quiet_since_ns.max(over_ns)) >= QUIET_NS;
            now_ns - over_ns >= DRAIN_NS || is_quiet && now.received >= now.transmitted
        });
        if now_ns >= next_ns || is_drained {
            let second = Second {
                at_s: now_ns.saturating_sub(terms.start_ns) as f64 / 1e9,
                transmitted: now.transmitted - before.transmitted,
                received: now.received - before.received,
                lost: now.missing as i64 - before.missing as i64,
                begun: now.connections.begun - before.connections.begun,
                opened: now.connections.opened - before.connections.opened,
                failed: now.connections.failed - before.connections.failed,
                held: now.connections.held,
                closed: now.connections.closed - before.connections.closed,
            };
            each_second(&second);
            seconds.push(second);
            before = now;
            next_ns += SECOND_NS;
        }
        if is_drained {
            return seconds;
        }
    }
}
