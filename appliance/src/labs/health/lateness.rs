//! How late this machine wakes who sleeps: what no health check can be better than.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use core_affinity::CoreId;

/// How long a nap is.
const NAP: Duration = Duration::from_millis(5);

/// Naps on the CPU of the appliance's control thread until it is dropped.
pub(super) struct Lateness {
    ending: Arc<AtomicBool>,
    most_us: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Lateness {
    /// Begins to measure.
    pub(super) fn watch(cpu: usize) -> Self {
        let (ending, most_us) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (flag, most) = (Arc::clone(&ending), Arc::clone(&most_us));
        let thread = thread::spawn(move || {
            // Where it cannot be pinned, it measures on whatever CPU is free.
            let _ = core_affinity::set_for_current(CoreId { id: cpu });
            while !flag.load(Ordering::Relaxed) {
                let began = Instant::now();
                thread::sleep(NAP);
                let late = began.elapsed().saturating_sub(NAP);
                most.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            }
        });
        Self { ending, most_us, thread: Some(thread) }
    }

    /// The latest that it was woken so far.
    pub(super) fn most(&self) -> Duration {
        Duration::from_micros(self.most_us.load(Ordering::Relaxed))
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // A panic of the thread has already been printed.
        drop(self.thread.take().map(JoinHandle::join));
    }
}
