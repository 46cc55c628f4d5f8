//! One port at work: what is due goes out, what comes in is counted. One thread owns it.
//!
//! A turn never blocks. It sends at most a burst of each stream, wakes the kernel once, and receives until
//! nothing is left, or as much as keeps the next burst in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use metrics::Counter;
use port::Ports;
use rings::WorkerPorts;
use rustix::time::{ClockId, clock_gettime};

use crate::account::Account;
use crate::sender::{Budget, PORT, Sender};
use crate::sizes::FCS_BYTES;
use crate::stamp::Signature;

/// Bursts that one turn receives at the most.
const BURSTS_PER_TURN: usize = 8;

/// How long after the end what was due before it is still sent.
const LATE_NS: u64 = 2_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`, which is `bpf_ktime_get_ns`'s clock too.
#[inline]
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What all legs of a run share.
#[derive(Debug)]
pub struct Terms {
    /// When the first frames are due.
    pub start_ns: u64,
    /// How long frames are sent.
    pub duration_ns: u64,
    /// Frames that may be sent.
    pub budget: Budget,
    /// Asked to end early.
    pub stop: AtomicBool,
}

/// What a leg has done so far; it writes, anyone reads.
#[derive(Debug, Default)]
pub struct Progress {
    /// Frames sent.
    pub transmitted: Counter,
    /// Different stamped frames received.
    pub received: Counter,
    /// Frames missing among those up to the highest received.
    pub missing: Counter,
    /// Received frames that bear no stamp of ours.
    pub unknown: Counter,
    /// When the last frame was sent, in nanoseconds since the start; 0 as long as more are to be sent.
    pub over_ns: Counter,
}

/// See the module.
pub struct Leg {
    ports: WorkerPorts,
    senders: Vec<Sender>,
    /// By stream; `None` for those that are not expected here.
    accounts: Vec<Option<Account>>,
    signature: Signature,
    progress: Arc<Progress>,
    is_over: bool,
}

impl Leg {
    /// A leg over the rings of one port.
    pub fn new(
        ports: WorkerPorts,
        senders: Vec<Sender>,
        accounts: Vec<Option<Account>>,
        signature: Signature,
    ) -> Self {
        Self { ports, senders, accounts, signature, progress: Arc::default(), is_over: false }
    }

    /// What it has done, for other threads.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// One turn; false when there was nothing to do.
    pub fn turn(&mut self, terms: &Terms) -> bool {
        let now_ns = now_ns();
        let sent = if self.is_over { 0 } else { self.transmit(terms, now_ns) };
        self.ports.flush();
        let received = self.receive();
        sent + received > 0
    }

    fn transmit(&mut self, terms: &Terms, now_ns: u64) -> u64 {
        let Some(since_start_ns) = now_ns.checked_sub(terms.start_ns) else { return 0 };
        let elapsed_ns = since_start_ns.min(terms.duration_ns);
        let mut sent = 0;
        for sender in &mut self.senders {
            sent += sender.transmit(&mut self.ports, &terms.budget, elapsed_ns, now_ns);
        }
        self.progress.transmitted.add(sent);
        let is_late = since_start_ns > terms.duration_ns + LATE_NS;
        let is_due = since_start_ns >= terms.duration_ns;
        self.is_over = terms.stop.load(Relaxed)
            || terms.budget.is_spent()
            || self.senders.iter().all(|sender| sender.is_over(elapsed_ns))
            || is_due && (is_late || self.senders.iter_mut().all(|sender| sender.is_settled(elapsed_ns)));
        if self.is_over {
            self.progress.over_ns.set(elapsed_ns.max(1));
        }
        sent
    }

    fn receive(&mut self) -> u64 {
        let Self { ports, accounts, signature, progress, .. } = self;
        let mut total = 0;
        for _ in 0..BURSTS_PER_TURN {
            let burst = ports.receive(PORT);
            if burst.is_empty() {
                break;
            }
            let now_ns = now_ns();
            total += burst.len() as u64;
            let (mut received, mut unknown) = (0, 0);
            for frame in &burst {
                let found = signature.find(frame.bytes());
                let account = found
                    .and_then(|stamp| Some((accounts.get_mut(usize::from(stamp.stream))?.as_mut()?, stamp)));
                let Some((account, stamp)) = account else {
                    unknown += 1;
                    continue;
                };
                let before = account.received;
                let latency_ns = stamp.time_ns.map(|sent_ns| now_ns.saturating_sub(sent_ns));
                account.note(stamp.sequence, u64::from(frame.length()) + FCS_BYTES as u64, latency_ns);
                received += account.received - before;
            }
            drop(burst);
            ports.settle(PORT, &[]);
            progress.received.add(received);
            progress.unknown.add(unknown);
        }
        if total > 0 {
            progress.missing.set(accounts.iter().flatten().map(Account::missing).sum());
        }
        total
    }

    /// What came of it all.
    pub fn into_results(self) -> (Vec<Sender>, Vec<Option<Account>>) {
        (self.senders, self.accounts)
    }
}
