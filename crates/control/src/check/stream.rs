//! One conversation on a TCP socket of the kernel, then an orderly close.
//!
//! The socket stays a little after the verdict: closed with the peer's bytes unread, it would send a reset, which
//! servers log as an error. So it sends its FIN, then reads and throws away a bounded rest until the peer closes too.
//!
//! A TCP check costs five system calls: socket, connect, the poll's registration, shutdown, close. Whether the
//! handshake is whole is read from the event; a socket is asked for its error only where the event speaks of one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::attempt::{Progress, Start};
use super::conversation::Conversation;
use super::{Outcome, Reason};

/// What a peer may say after the verdict before it is cut off. The longest greetings of mail servers stay below; a
/// peer that pours out bytes is reset.
const FAREWELL_BYTES_MAX: usize = 16 << 10;

/// Bytes that are read at once.
const READ_BYTES: usize = 4 << 10;

/// ECONNRESET and EPIPE of errno(3): the connection was there, and the peer has ended it by a reset. A SYN that is
/// answered with a reset is ECONNREFUSED.
const RESET_AFTER_HANDSHAKE: [i32; 2] = [104, 32];

/// A conversation under way, or its socket being closed.
pub(super) struct StreamProbe {
    stream: TcpStream,
    conversation: Conversation,
    phase: Phase,
    /// Why nothing more can be said. The kernel tells it once, and whoever reads then sees a mere end.
    unsaid: Option<Reason>,
    farewell_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Talking,
    Closing,
}

enum Handshake {
    Pending,
    Whole,
    /// It was whole, and that is all that there was.
    WholeThenReset,
    Failed(Reason),
}

impl StreamProbe {
    pub(super) fn start(
        server: SocketAddr,
        conversation: Conversation,
        registry: &Registry,
        token: Token,
    ) -> Start<Self> {
        let registered = TcpStream::connect(server).and_then(|mut stream| {
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match registered {
            Ok(stream) => {
                let phase = Phase::Connecting;
                Start::UnderWay(Self { stream, conversation, phase, unsaid: None, farewell_bytes: 0 })
            }
            Err(error) => Start::failed(error),
        }
    }

    /// What the peer owes.
    pub(super) fn awaited(&self) -> &'static str {
        self.conversation.awaited()
    }

    /// The poll has something to say of the socket.
    pub(super) fn ready(&mut self, event: &Event) -> Progress {
        let mut outcome = None;
        let mut fresh_close = false;
        if self.phase == Phase::Connecting {
            match self.handshake(event) {
                Handshake::Pending => return Progress::default(),
                Handshake::Failed(reason) => return Progress::over(Outcome::Failure(reason)),
                Handshake::WholeThenReset => {
                    let verdict = self.conversation.opened();
                    return Progress::over(verdict.unwrap_or(Outcome::Failure(Reason::Reset)));
                }
                Handshake::Whole => outcome = self.conversation.opened(),
            }
            self.phase = Phase::Talking;
        }
        if self.phase == Phase::Talking {
            outcome = outcome.or_else(|| self.talk(event));
            if self.conversation.is_over() {
                // The FIN. It fails only where the peer has reset the connection just now.
                let _reset_or_sent = self.stream.shutdown(Shutdown::Write);
                self.phase = Phase::Closing;
                fresh_close = true;
            }
        }
        let finished = self.phase == Phase::Closing && self.peer_is_done(event, fresh_close);
        Progress { outcome, finished }
    }

    fn handshake(&self, event: &Event) -> Handshake {
        if event.is_error() || event.is_write_closed() {
            return match self.stream.take_error() {
                Ok(Some(error)) | Err(error) => match error.raw_os_error() {
                    Some(code) if RESET_AFTER_HANDSHAKE.contains(&code) => Handshake::WholeThenReset,
                    _ => Handshake::Failed(Reason::from(&error)),
                },
                Ok(None) => Handshake::Failed(Reason::Reset),
            };
        }
        if event.is_writable() { Handshake::Whole } else { Handshake::Pending }
    }

    /// Says what is to be said and hears what is to be heard.
    fn talk(&mut self, event: &Event) -> Option<Outcome> {
        self.say();
        if !event.is_readable() && !event.is_read_closed() && !event.is_error() {
            return None;
        }
        let mut buffer = [0; READ_BYTES];
        loop {
            let outcome = match self.stream.read(&mut buffer) {
                Ok(0) => match (self.conversation.closed(), self.unsaid.take()) {
                    (Some(Outcome::Failure(_)), Some(reason)) => Some(Outcome::Failure(reason)),
                    (outcome, _) => outcome,
                },
                Ok(length) => {
                    let outcome = self.conversation.received(&buffer[..length]);
                    self.say();
                    // A short read says that there is no more, unless the end is behind it (epoll(7)).
                    if outcome.is_none() && (length == buffer.len() || event.is_read_closed()) {
                        continue;
                    }
                    return outcome;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(error) => {
                    self.conversation.broken();
                    Some(Outcome::Failure(Reason::from(&error)))
                }
            };
            return outcome;
        }
    }

    /// Writes as much as the kernel takes. Who can say no more may have an answer to read all the same.
    fn say(&mut self) {
        while !self.conversation.unsent().is_empty() && self.unsaid.is_none() {
            match self.stream.write(self.conversation.unsent()) {
                Ok(length) if length > 0 => self.conversation.sent(length),
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => self.unsaid = Some(Reason::from(&error)),
            }
        }
    }

    /// Whether the peer has closed, or has said too much.
    fn peer_is_done(&mut self, event: &Event, fresh_close: bool) -> bool {
        if event.is_error() {
            return true;
        }
        if !event.is_readable() && !event.is_read_closed() {
            return false;
        }
        // Both ends have closed, ours first: what lies there unread is gone without a reset (RFC 9293, 3.6).
        if event.is_read_closed() && !fresh_close {
            return true;
        }
        let mut buffer = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(length) => self.farewell_bytes += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
            if self.farewell_bytes > FAREWELL_BYTES_MAX {
                return true;
            }
        }
    }
}
