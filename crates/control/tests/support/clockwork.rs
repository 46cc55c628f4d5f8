//! The checks in a loop whose clock goes only when told: servers answer in real time, and each verdict falls at its
//! literal time.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::Probe;
use control::check::{CheckId, Checks, Health, Parameters, Target, Transition, Wanted};
use mio::{Events, Poll, Token};

/// A test that waits longer than this for the kernel has failed.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Sockets that the checks may hold.
pub const SOCKETS: usize = 512;

pub fn parameters() -> Parameters {
    Parameters {
        interval: Duration::from_secs(3),
        response_time: Duration::from_secs(1),
        retries: 2,
        timeout: None,
        dead_interval: Duration::from_secs(3),
        rise: 1,
    }
}

pub fn asking(probe: Probe, address: &str) -> Wanted {
    let address: SocketAddr = address.parse().unwrap();
    let target = Target::by_kernel(address.ip(), Some(address.port()));
    Wanted { target, probe: Arc::new(probe), parameters: parameters() }
}

/// The checks in a loop whose clock goes only when told.
pub struct Clockwork {
    pub poll: Poll,
    pub checks: Checks,
    pub start: Instant,
    pub now: Instant,
    pub out: Vec<Transition>,
}

impl Clockwork {
    pub fn new() -> Self {
        let poll = Poll::new().unwrap();
        let checks = Checks::new(poll.registry(), Token(100), SOCKETS).unwrap();
        let start = Instant::now();
        Self { poll, checks, start, now: start, out: Vec::new() }
    }

    pub fn update(&mut self, wanted: &[Wanted]) -> Vec<CheckId> {
        let ids = self.checks.update(self.now, wanted);
        self.checks.advance(self.now, &mut self.out);
        ids
    }

    /// Gives the kernel this much real time and takes what it says; the clock stands still.
    pub fn listen(&mut self, real: Duration) {
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, Some(real)).unwrap();
        for event in &events {
            assert!(self.checks.owns(event.token()));
            self.checks.handle(self.now, event, &mut self.out);
        }
        self.checks.advance(self.now, &mut self.out);
    }

    /// Waits, with the clock standing still, for the answer to the check that has just been made.
    pub fn answered(&mut self, id: CheckId) {
        let end = Instant::now() + PATIENCE;
        while self.checks.status(id).unwrap().last_check != Some(self.now) {
            assert!(Instant::now() < end, "no answer");
            self.listen(Duration::from_millis(10));
        }
    }

    /// Waits until all sockets are closed, with the clock standing still.
    pub fn closed(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.checks.load().1 > 0 {
            assert!(Instant::now() < end, "a socket stays open");
            self.listen(Duration::from_millis(10));
        }
    }

    /// Lets the clock go to the given time.
    pub fn go_to(&mut self, milliseconds: u64) {
        let target = self.start + Duration::from_millis(milliseconds);
        while let Some(at) = self.checks.next_deadline().filter(|at| *at <= target) {
            self.now = self.now.max(at);
            self.checks.advance(self.now, &mut self.out);
        }
        self.now = target;
    }

    pub fn take_turns(&mut self) -> Vec<(u128, Health, Health, Option<String>)> {
        let start = self.start;
        let plain = |transition: Transition| {
            let turn = transition.turn;
            let reason = turn.reason.map(|reason| reason.to_string());
            ((transition.at - start).as_millis(), turn.from, turn.to, reason)
        };
        self.out.drain(..).map(plain).collect()
    }
}

pub fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
