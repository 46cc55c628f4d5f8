//! What came of connections, counted.

use std::ops::AddAssign;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Why a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A SYN, a question or a FIN that nobody answered in time.
    NoAnswer,
    /// A RST came.
    Reset,
    /// Data or a FIN came whose numbers, or whose length, are not what the connection has come to.
    WrongSequence,
}

/// Connections that failed, each by the first reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    /// [`Reason::NoAnswer`].
    pub no_answer: u64,
    /// [`Reason::Reset`].
    pub reset: u64,
    /// [`Reason::WrongSequence`].
    pub wrong_sequence: u64,
}

impl Failures {
    /// One more.
    pub fn note(&mut self, reason: Reason) {
        match reason {
            Reason::NoAnswer => self.no_answer += 1,
            Reason::Reset => self.reset += 1,
            Reason::WrongSequence => self.wrong_sequence += 1,
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.no_answer + self.reset + self.wrong_sequence
    }
}

/// How many connections came how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// A SYN was sent.
    pub begun: u64,
    /// They were established.
    pub opened: u64,
    /// They failed, before that or after.
    pub failures: Failures,
    /// They ended as they should: by a FIN of both ends, or by our RST.
    pub closed: u64,
    /// They are established now.
    pub held: u64,
    /// The most that were at once.
    pub held_most: u64,
}

impl Counts {
    /// One more is established.
    pub(super) fn note_opened(&mut self) {
        self.opened += 1;
        self.held += 1;
        self.held_most = self.held_most.max(self.held);
    }
}

/// Of several streams; the most at once as if each had its most at the same time.
impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.begun += other.begun;
        self.opened += other.opened;
        self.failures.no_answer += other.failures.no_answer;
        self.failures.reset += other.failures.reset;
        self.failures.wrong_sequence += other.failures.wrong_sequence;
        self.closed += other.closed;
        self.held += other.held;
        self.held_most += other.held_most;
    }
}

/// What came of a stream of connections.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many came how far.
    pub counts: Counts,
    /// Frames that the client sent.
    pub transmitted: u64,
    /// Their bytes, check sequences included.
    pub bytes_transmitted: u64,
    /// Frames that came for it.
    pub received: u64,
    /// Their bytes, check sequences included.
    pub bytes_received: u64,
    /// From SYN to SYN-ACK.
    pub latency: Option<Histogram<u64>>,
}
