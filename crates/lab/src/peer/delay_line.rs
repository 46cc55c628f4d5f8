//! A delay line: a hop in user space that holds every frame of one direction for a set time, for kernels
//! without netem.
//!
//! Frames keep their order, also when the delay changes: a frame is due a delay after it came, and never before
//! the one in front of it. At most [`FRAMES_MAX`] wait; one more is dropped and counted. Frames of the other
//! direction pass at once. Any thread may hold the handle; dropped, the line ends and what waits is lost.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pnet::datalink::{DataLinkReceiver, DataLinkSender};

use super::packet_socket::{self, BUFFER_BYTES, LOOK_INTERVAL, send};
use crate::error::{Error, Result};
use crate::link::Endpoint;

/// Frames that wait at once: what a server sends in a second at some 50 Mbit/s.
const FRAMES_MAX: usize = 4096;

/// The longest delay. A connection that waits longer has other troubles.
const DELAY_MAX: Duration = Duration::from_secs(1);

/// A running delay line; see the module.
#[derive(Debug)]
pub struct DelayLine {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    ending: AtomicBool,
    delay_us: AtomicU64,
    dropped: AtomicU64,
}

/// A frame and when it is to leave.
struct Waiting {
    due: Instant,
    frame: Vec<u8>,
}

impl DelayLine {
    /// Starts it, without a delay yet. What comes in by `slowed` will be held before it leaves by `other`. Both are
    /// in one namespace, whose kernel has no business with them.
    pub fn start(slowed: &Endpoint, other: &Endpoint) -> Result<Self> {
        [slowed, other].iter().try_for_each(|end| end.silence_ipv6())?;
        let (to_slowed, from_slowed) = packet_socket::open(slowed, BUFFER_BYTES)?;
        let (to_other, from_other) = packet_socket::open(other, BUFFER_BYTES)?;
        let state = Arc::<State>::default();
        let (queue, waiting) = mpsc::sync_channel(FRAMES_MAX);
        let spawn = |work: Box<dyn FnOnce(&State) + Send>| {
            let state = Arc::clone(&state);
            thread::spawn(move || work(&state))
        };
        let threads = vec![
            spawn(Box::new(move |state| pass(state, from_other, to_slowed))),
            spawn(Box::new(move |state| hold(state, from_slowed, &queue))),
            spawn(Box::new(move |state| release(state, &waiting, to_other))),
        ];
        Ok(Self { state, threads })
    }

    /// Holds frames for so long from now on. Those that already wait are due when they were.
    pub fn set_delay(&self, delay: Duration) -> Result<()> {
        if delay > DELAY_MAX {
            return Err(Error::unusable(
                format!("{delay:?}"),
                "a delay line holds frames for 1 s at the most",
            ));
        }
        self.state.delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Frames that found the line full, or could not be sent.
    pub fn dropped_frames(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        self.state.ending.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl State {
    fn count(&self, done: Option<()>) {
        if done.is_none() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives each frame that comes to `take`, until the end.
    fn each_frame(&self, mut from: Box<dyn DataLinkReceiver>, mut take: impl FnMut(&[u8]) -> Option<()>) {
        while !self.ending.load(Ordering::Relaxed) {
            match from.next() {
                Ok(frame) => self.count(take(frame)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                // An interface that is down must not keep a CPU busy.
                Err(_) => thread::sleep(LOOK_INTERVAL),
            }
        }
    }
}

/// The direction without a delay.
fn pass(state: &State, from: Box<dyn DataLinkReceiver>, mut to: Box<dyn DataLinkSender>) {
    state.each_frame(from, |frame| send(&mut *to, frame));
}

/// Takes what comes, each with its time.
fn hold(state: &State, from: Box<dyn DataLinkReceiver>, queue: &SyncSender<Waiting>) {
    state.each_frame(from, |frame| {
        let delay = Duration::from_micros(state.delay_us.load(Ordering::Relaxed));
        queue.try_send(Waiting { due: Instant::now() + delay, frame: frame.to_vec() }).ok()
    });
}

/// Sends what waits, each at its time, until nobody takes any more.
fn release(state: &State, waiting: &Receiver<Waiting>, mut to: Box<dyn DataLinkSender>) {
    while let Ok(Waiting { due, frame }) = waiting.recv() {
        if state.ending.load(Ordering::Relaxed) {
            return;
        }
        // In steps, since the end may come meanwhile.
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if state.ending.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(left.min(LOOK_INTERVAL));
        }
        state.count(send(&mut *to, &frame));
    }
}
