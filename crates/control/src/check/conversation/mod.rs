//! What a check says over a byte stream, and what it makes of the answer: no socket, no clock.
//!
//! ```text
//!   opened ─────────▶┐                    ┌─▶ unsent bytes ──▶ the stream; `sent` takes them off
//!   received bytes ─▶┼─▶ Conversation ────┤
//!   closed ─────────▶┘                    └─▶ the verdict, once
//! ```
//!
//! Whoever has a stream (a socket of the kernel, or TCP in user space) runs it:
//!
//! 1. [`Conversation::new`] when the SYN goes out, [`Conversation::opened`] when the handshake is whole. A TCP
//!    check has its verdict with that.
//! 2. After each call, [`Conversation::unsent`] goes into the stream as far as it will go, and
//!    [`Conversation::sent`] says how far that was.
//! 3. What comes goes to [`Conversation::received`], in pieces of any size; the peer's FIN is
//!    [`Conversation::closed`]. A reset is the stream's own knowledge: a failure by [`Reason::Reset`], unless the
//!    conversation [is over](Conversation::is_over), and [`Conversation::broken`] ends it.
//! 4. With the verdict the conversation is over: what is unsent then (the end of TLS) goes out, then a FIN; what
//!    comes after that is thrown away.
//!
//! The verdict does not depend on how the bytes were cut into pieces. It never waits by itself: silence is for the
//! caller to notice, who says with [`Conversation::awaited`] what was missed. Of what a peer says, at most
//! [`ANSWER_BYTES_MAX`] are looked at, whatever it says.

mod body;
mod http;
mod tls;

use std::net::SocketAddr;

use config::Probe;

use super::{Outcome, Reason};
use http::Exchange;
use tls::Session;

pub use body::BODY_BYTES_SEARCHED;
pub use http::{HEAD_BYTES_MAX, HEADERS_MAX};

/// What a peer may say before its verdict is due, in bytes of the stream. The longest chains of certificates (64 KiB,
/// RFC 8446, 4.4.2 allows more) with a head and a searched body behind it stay below.
pub const ANSWER_BYTES_MAX: usize = 128 << 10;

/// One conversation with a server. See the module.
pub struct Conversation {
    content: Content,
    state: State,
    unsent: Vec<u8>,
    received_bytes: usize,
}

enum Content {
    /// TCP: that the server listens is enough.
    Nothing,
    Http(Box<Exchange>),
    Tls(Box<Session>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Talking,
    Over,
}

impl Conversation {
    /// What `probe` has to say to `server`; `None` where it does not speak over a stream.
    pub fn new(probe: &Probe, server: SocketAddr) -> Option<Self> {
        let content = match probe {
            Probe::Tcp => Content::Nothing,
            Probe::Http(request) if request.tls => Content::Tls(Box::new(Session::https(request, server))),
            Probe::Http(request) => Content::Http(Box::new(Exchange::new(request, server))),
            Probe::Tls(request) => Content::Tls(Box::new(Session::handshake(request, server))),
            Probe::Icmp | Probe::TcpHalfOpen | Probe::Udp(_) => return None,
        };
        Some(Self { content, state: State::Opening, unsent: Vec::new(), received_bytes: 0 })
    }

    /// The handshake of TCP is whole.
    pub fn opened(&mut self) -> Option<Outcome> {
        self.state = State::Talking;
        let outcome = match &mut self.content {
            Content::Nothing => Some(Outcome::Success),
            Content::Http(exchange) => {
                self.unsent.extend_from_slice(exchange.request());
                None
            }
            Content::Tls(session) => session.opened(&mut self.unsent),
        };
        self.end_with(outcome)
    }

    /// The server has said something. What it says before it is asked, or after the verdict, is nobody's business.
    pub fn received(&mut self, bytes: &[u8]) -> Option<Outcome> {
        if self.state != State::Talking {
            return None;
        }
        let looked_at = &bytes[..bytes.len().min(ANSWER_BYTES_MAX - self.received_bytes)];
        self.received_bytes += looked_at.len();
        let outcome = match &mut self.content {
            Content::Nothing => None,
            Content::Http(exchange) => exchange.received(looked_at),
            Content::Tls(session) => session.received(looked_at, &mut self.unsent),
        };
        let too_much = || {
            let reason = Reason::AnswerTooLong { bytes_max: ANSWER_BYTES_MAX };
            (looked_at.len() < bytes.len()).then_some(Outcome::Failure(reason))
        };
        self.end_with(outcome.or_else(too_much))
    }

    /// The server will say no more.
    pub fn closed(&mut self) -> Option<Outcome> {
        if self.state != State::Talking {
            return None;
        }
        let outcome = match &mut self.content {
            Content::Nothing => None,
            Content::Http(exchange) => Some(exchange.closed()),
            Content::Tls(session) => Some(session.closed()),
        };
        self.end_with(outcome)
    }

    /// The stream has ended by a reset or another error, which is its caller's to judge.
    pub fn broken(&mut self) {
        self.state = State::Over;
    }

    /// What is to be sent, in order; empty: nothing now.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// So many bytes of it are on their way.
    pub fn sent(&mut self, bytes: usize) {
        self.unsent.drain(..bytes.min(self.unsent.len()));
    }

    /// Whether the verdict has been given.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// What the server owes now, in words.
    pub fn awaited(&self) -> &'static str {
        match (&self.content, self.state) {
            (_, State::Opening) | (Content::Nothing, _) => "SYN-ACK",
            (Content::Http(exchange), _) => exchange.awaited(),
            (Content::Tls(session), _) => session.awaited(),
        }
    }

    fn end_with(&mut self, outcome: Option<Outcome>) -> Option<Outcome> {
        if outcome.is_some() {
            self.state = State::Over;
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
