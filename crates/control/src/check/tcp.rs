//! One TCP check on its socket: the whole handshake, then an orderly close.
//!
//! The verdict falls with the handshake. The socket then stays a little: closed with the peer's bytes unread,
//! it would send a reset, which servers log as an error. It reads and throws away a bounded greeting until
//! the peer closes too.

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::{Outcome, Reason};

/// What a peer may say before it is cut off. The longest greetings of mail servers stay below; a peer that
/// pours out bytes is reset.
const GREETING_BYTES_MAX: usize = 16 << 10;

/// Lack of something on this host: ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS and ENOMEM of errno(3), too many
/// files open in all or here, no source port left, no buffers, no memory.
const OWN_ERRORS: [i32; 5] = [23, 24, 99, 105, 12];

/// What a check waits for, in words.
pub(super) const AWAITED: &str = "SYN-ACK";

/// A check under way, or being closed.
pub(super) struct TcpProbe {
    stream: TcpStream,
    connecting: bool,
    greeting_bytes: usize,
}

/// How a check began.
pub(super) enum Start {
    /// The SYN is out.
    UnderWay(TcpProbe),
    /// It ended at once.
    Over(Outcome),
    /// This host lacks something; the server has not been asked.
    NotNow(io::Error),
}

/// What readiness brought.
#[derive(Default)]
pub(super) struct Progress {
    /// The verdict, once.
    pub(super) outcome: Option<Outcome>,
    /// The socket has served its turn.
    pub(super) finished: bool,
}

impl TcpProbe {
    pub(super) fn start(address: SocketAddr, registry: &Registry, token: Token) -> Start {
        let registered = TcpStream::connect(address).and_then(|mut stream| {
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match registered {
            Ok(stream) => Start::UnderWay(Self { stream, connecting: true, greeting_bytes: 0 }),
            Err(error) if error.raw_os_error().is_some_and(|code| OWN_ERRORS.contains(&code)) => {
                Start::NotNow(error)
            }
            Err(error) => Start::Over(Outcome::Failure(Reason::from(&error))),
        }
    }

    /// The socket is ready, or somebody thought so: a stray call does no harm.
    pub(super) fn ready(&mut self) -> Progress {
        let mut progress = Progress::default();
        if self.connecting {
            progress.outcome = self.connected();
            self.connecting = progress.outcome.is_none();
            progress.finished = matches!(progress.outcome, Some(Outcome::Failure(_)));
        }
        if !self.connecting && !progress.finished {
            progress.finished = self.read_greeting();
        }
        progress
    }

    /// Gives the socket back to the kernel.
    pub(super) fn close(mut self, registry: &Registry) {
        // Dropping it takes it out of the poll as well; only a socket that was never in can fail here.
        let _was_registered = registry.deregister(&mut self.stream);
    }

    fn connected(&mut self) -> Option<Outcome> {
        if let Ok(Some(error)) | Err(error) = self.stream.take_error() {
            return Some(Outcome::Failure(Reason::from(&error)));
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                // The FIN. It fails only where the peer has reset the connection just now; the handshake was
                // whole.
                let _reset_or_sent = self.stream.shutdown(Shutdown::Write);
                Some(Outcome::Success)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => None,
            Err(error) => Some(Outcome::Failure(Reason::from(&error))),
        }
    }

    /// Whether the peer has closed, or has said too much.
    fn read_greeting(&mut self) -> bool {
        let mut buffer = [0; 4_096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(length) => self.greeting_bytes += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
            if self.greeting_bytes > GREETING_BYTES_MAX {
                return true;
            }
        }
    }
}
