//! One conversation over a TCP connection in user space, then an orderly close.

use std::net::SocketAddr;
use std::time::Instant;

use super::user_tcp::{State, UserTcp};
use crate::check::attempt::Progress;
use crate::check::conversation::Conversation;
use crate::check::{Outcome, Reason};

/// What a peer may say after the verdict before it is cut off, as over the kernel's sockets.
const FAREWELL_BYTES_MAX: usize = 16 << 10;

/// Bytes that are read at once.
const READ_BYTES: usize = 4 << 10;

/// A conversation under way, or being closed.
pub(super) struct CarriedStream {
    tcp: UserTcp,
    conversation: Conversation,
    phase: Phase,
    farewell_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Talking,
    /// The verdict is given; what is unsent goes out, and then the FIN.
    Closing,
}

impl CarriedStream {
    /// Begins it; see [`UserTcp::connect`].
    pub(super) fn start(
        ends: (SocketAddr, SocketAddr),
        conversation: Conversation,
        seed: u64,
        now: Instant,
    ) -> Self {
        let tcp = UserTcp::connect(ends.0, ends.1, seed, now);
        Self { tcp, conversation, phase: Phase::Connecting, farewell_bytes: 0 }
    }

    /// What the peer owes.
    pub(super) fn awaited(&self) -> &'static str {
        self.conversation.awaited()
    }

    /// Whether the SYN has not been answered yet.
    pub(super) fn is_connecting(&self) -> bool {
        self.phase == Phase::Connecting
    }

    /// Whether `sequence` is the number of the SYN.
    pub(super) fn is_first(&self, sequence: u32) -> bool {
        self.tcp.is_first(sequence)
    }

    /// Takes a TCP segment from the peer.
    pub(super) fn receive(&mut self, segment: &[u8], now: Instant) -> Progress {
        self.tcp.receive(segment, now);
        self.go_on(now)
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, now: Instant) -> Progress {
        self.tcp.advance(now);
        self.go_on(now)
    }

    /// The packets that are to be carried now, once.
    pub(super) fn outgoing(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.tcp.outgoing()
    }

    /// When [`CarriedStream::advance`] has something to do.
    pub(super) fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        self.tcp.next_deadline(now)
    }

    /// Gives it up. A peer that knows of the connection is told, by one packet more.
    pub(super) fn give_up(&mut self) {
        self.tcp.abort();
    }

    fn go_on(&mut self, now: Instant) -> Progress {
        let mut outcome = None;
        if self.phase == Phase::Connecting {
            match self.tcp.state() {
                State::Connecting => return Progress::default(),
                // A reset is all that ends what has not begun (RFC 9293 section 3.10.7.3).
                State::Closed => return Progress::over(Outcome::Failure(Reason::Refused)),
                State::Open => {
                    outcome = self.conversation.opened();
                    self.phase = Phase::Talking;
                }
            }
        }
        if self.phase == Phase::Talking {
            outcome = outcome.or_else(|| self.talk(now));
            if self.conversation.is_over() {
                self.phase = Phase::Closing;
            }
        }
        let finished = self.phase == Phase::Closing && self.is_closed(now);
        Progress { outcome, finished }
    }

    /// Says what is to be said and hears what is to be heard.
    fn talk(&mut self, now: Instant) -> Option<Outcome> {
        self.say(now);
        let mut buffer = [0; READ_BYTES];
        loop {
            let length = self.tcp.read(&mut buffer);
            if length == 0 {
                break;
            }
            let outcome = self.conversation.received(&buffer[..length]);
            self.say(now);
            if outcome.is_some() {
                return outcome;
            }
        }
        match self.tcp.state() {
            // We have closed nothing yet, and a peer that only closes leaves it open.
            State::Closed => {
                self.conversation.broken();
                Some(Outcome::Failure(Reason::Reset))
            }
            _ if self.tcp.is_at_end() => self.conversation.closed(),
            _ => None,
        }
    }

    fn say(&mut self, now: Instant) {
        let written = self.tcp.write(self.conversation.unsent());
        self.conversation.sent(written);
        // What has been read makes room at the peer, too.
        self.tcp.advance(now);
    }

    /// Ends the connection in order, and says whether that is done.
    fn is_closed(&mut self, now: Instant) -> bool {
        self.say(now);
        if self.conversation.unsent().is_empty() {
            self.tcp.close();
        }
        let mut buffer = [0; READ_BYTES];
        loop {
            let length = self.tcp.read(&mut buffer);
            self.farewell_bytes += length;
            if length == 0 {
                break;
            }
        }
        if self.farewell_bytes > FAREWELL_BYTES_MAX {
            self.tcp.abort();
        }
        self.tcp.advance(now);
        self.tcp.state() == State::Closed
    }
}
