//! The workers' threads: pinned, polling, asleep only when told that they may be.

use super::places;
use super::rings::WorkerLosses;
use config::Polling;
use control::controller::{ControlWaker, WorkerHandle};
use engine::{Parts, Worker, WorkerCounters};
use port::PortIndex;
use rings::WorkerPorts;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::error;

/// How long an adaptive worker goes on polling without a frame before it sleeps. Longer keeps latency low between frames
/// of one exchange, shorter leaves the CPU to others.
const SPIN: Duration = Duration::from_micros(50);

/// How long a sleeping worker stays away at the most: sessions must age even when nothing comes.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// How long a worker that waits for a neighbour, or for room in a ring, sleeps at the most.
const SLEEP_UNFINISHED: Duration = Duration::from_millis(1);

/// How often the rings are asked for what they lost: system calls that have no place in a turn.
const STATISTICS_INTERVAL: Duration = Duration::from_millis(500);

/// The running workers.
pub struct Workers {
    polling: Polling,
    clock: Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<(JoinHandle<()>, ::rings::wait::Waker, Arc<AtomicBool>)>,
}

impl Workers {
    /// No worker yet; `clock` is where every worker's time begins.
    pub fn new(polling: Polling, clock: Instant) -> Self {
        Self { polling, clock, stop: Arc::default(), threads: Vec::new() }
    }

    /// Starts a worker on `cpu`. `control` is woken when the worker has something to report.
    pub fn start(
        &mut self,
        cpu: usize,
        parts: Parts<WorkerPorts>,
        losses: WorkerLosses,
        control: ControlWaker,
    ) -> std::io::Result<WorkerHandle> {
        let waker = parts.ports.waker();
        let (counters, orders) = (parts.counters.clone(), parts.orders.clone());
        let (ended, panicked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let thread = Thread {
            polling: self.polling,
            clock: self.clock,
            stop: self.stop.clone(),
            counters: counters.clone(),
            reports: parts.shared.clone(),
            losses,
            control: control.clone(),
        };
        let (marks, wake_control) = ((ended.clone(), panicked.clone()), control);
        let handle = std::thread::Builder::new().name(format!("worker-{cpu}")).spawn(move || {
            places::pin(cpu, "a worker");
            let outcome = catch_unwind(AssertUnwindSafe(|| thread.run(Worker::new(parts))));
            if outcome.is_err() {
                error!("the worker on CPU {cpu} has failed; this is a defect in Jeoul, please report it");
                marks.1.store(true, Ordering::Release);
            }
            marks.0.store(true, Ordering::Release);
            wake_control.wake();
        })?;
        self.threads.push((handle, waker.clone(), panicked));
        Ok(WorkerHandle { cpu, counters, orders, ended, wake: Box::new(move || waker.wake()) })
    }

    /// Ends all workers; true when none had failed.
    pub fn stop(self) -> bool {
        self.stop.store(true, Ordering::Release);
        let mut well = true;
        for (thread, waker, panicked) in self.threads {
            waker.wake();
            well &= thread.join().is_ok() && !panicked.load(Ordering::Acquire);
        }
        well
    }
}

/// What a worker's thread needs beside the worker.
struct Thread {
    polling: Polling,
    clock: Instant,
    stop: Arc<AtomicBool>,
    counters: Arc<WorkerCounters>,
    reports: Arc<engine::Shared>,
    losses: WorkerLosses,
    control: ControlWaker,
}

impl Thread {
    fn run(self, mut worker: Worker<WorkerPorts>) {
        let mut now = Instant::now();
        let started = now;
        let (mut last_busy, mut statistics_at) = (now, now);
        while !self.stop.load(Ordering::Acquire) {
            let turn = worker.turn(now.duration_since(self.clock).as_nanos() as u64);
            // The end of this turn is the beginning of the next: one look at the clock for each.
            let end = Instant::now();
            if turn.received > 0 {
                let turn_ns = end.duration_since(now).as_nanos() as u64;
                self.counters.turns_busy.add(1);
                self.counters.busy_ns.add(turn_ns);
                self.counters.turn_ns.record(turn_ns);
                last_busy = end;
            }
            if !self.reports.reports.is_empty() || !self.reports.punts.is_empty() {
                self.control.wake();
            }
            if end >= statistics_at {
                self.publish_statistics(&mut worker);
                self.counters.elapsed_ns.set(end.duration_since(started).as_nanos() as u64);
                statistics_at = end + STATISTICS_INTERVAL;
            }
            now = end;
            if self.polling == Polling::Adaptive
                && end.duration_since(last_busy) > SPIN
                && !turn.hurries
                && !worker.has_orders()
            {
                let longest = if turn.unfinished { SLEEP_UNFINISHED } else { SLEEP_MAX };
                worker.ports_mut().wait(Some(longest));
                now = Instant::now();
            }
        }
    }

    fn publish_statistics(&self, worker: &mut Worker<WorkerPorts>) {
        for (place, losses) in self.losses.iter().enumerate() {
            if let Some(statistics) = worker.ports_mut().statistics(PortIndex(place as u16)) {
                losses.set(&statistics);
            }
        }
    }
}
