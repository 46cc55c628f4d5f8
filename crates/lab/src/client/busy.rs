//! Held connections that keep exchanging lines while something else happens, so that each moment of it is under
//! load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::held::{HeldConnections, HeldState};

/// How much is exchanged, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Chatter {
    /// How much longer than a bare number each line is; the answers are as long.
    pub padding_bytes: usize,
    /// Between the starts of two rounds, in each of which every connection sends a line. A round that takes
    /// longer is followed by the next at once.
    pub interval: Duration,
    /// How long the answers of a round may take.
    pub timeout: Duration,
    /// When it ends by itself.
    pub limit: Duration,
}

/// Connections at work; see the module. Dropped, they end.
#[derive(Debug)]
pub struct BusyConnections {
    ending: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<Rested>>,
}

/// Connections after their work.
#[derive(Debug)]
pub struct Rested {
    /// The connections.
    pub held: HeldConnections,
    /// How each was in its last round, or in the first that went wrong.
    pub states: Vec<HeldState>,
}

impl HeldConnections {
    /// Puts the connections to work, on a thread of their own.
    pub fn keep_busy(mut self, chatter: Chatter) -> BusyConnections {
        let (ending, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (flag, counter) = (Arc::clone(&ending), Arc::clone(&rounds));
        let thread = thread::spawn(move || {
            let mut states: Vec<HeldState> = Vec::new();
            let start = Instant::now();
            while !flag.load(Ordering::Relaxed) && start.elapsed() < chatter.limit {
                let began = Instant::now();
                let now = self.probe_with(chatter.padding_bytes, chatter.timeout);
                states.truncate(now.len());
                for (place, state) in now.into_iter().enumerate() {
                    match states.get_mut(place) {
                        None => states.push(state),
                        Some(known @ HeldState::Alive(_)) => *known = state,
                        Some(_wrong) => {}
                    }
                }
                counter.fetch_add(1, Ordering::Relaxed);
                thread::sleep(chatter.interval.saturating_sub(began.elapsed()));
            }
            Rested { held: self, states }
        });
        BusyConnections { ending, rounds, thread: Some(thread) }
    }
}

impl BusyConnections {
    /// Rounds that were finished so far.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Lets them rest after the round under way.
    pub fn stop(mut self) -> Rested {
        match self.end() {
            Some(rested) => rested,
            None => Rested { held: HeldConnections::of(Vec::new()), states: Vec::new() },
        }
    }

    fn end(&mut self) -> Option<Rested> {
        self.ending.store(true, Ordering::Relaxed);
        let joined = self.thread.take()?.join();
        Some(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for BusyConnections {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // A panic of the thread has already been printed.
        drop(self.thread.take().map(JoinHandle::join));
    }
}
