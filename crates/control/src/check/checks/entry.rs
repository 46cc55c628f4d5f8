//! What is kept for each check.

use std::time::Instant;

use config::Probe;

use crate::check::checker::Checker;
use crate::check::raw::half_open::Call;
use crate::check::raw::{Asked, Watched};
use crate::check::reason::Reason;
use crate::check::wanted::{Wanted, Way};

/// Where a check's question is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asking {
    Nothing,
    /// In the queue for a socket.
    Queued,
    /// On a socket of the pool: asking, or being closed.
    Socket(usize),
    /// On a raw socket.
    Raw(Asked),
    /// Carried, over TCP: asking, or being closed.
    Carried(Call),
}

/// One check, and how far it has come.
pub(super) struct Entry {
    pub(super) wanted: Wanted,
    pub(super) checker: Checker,
    pub(super) asking: Asking,
    /// When a socket that has served its turn is closed, whether its peer has closed or not.
    pub(super) closing_until: Option<Instant>,
    /// When a connection of its own wants to be looked at.
    pub(super) carried_at: Option<Instant>,
    /// This host could not ask; not before the time.
    pub(super) not_before: Option<Instant>,
    /// How often it has asked.
    pub(super) rounds: u32,
    /// The last datagram, whose fate may be told later, and was.
    pub(super) watched: Option<Watched>,
    pub(super) undelivered: Option<Reason>,
    /// The one entry of the heap that counts.
    pub(super) scheduled: Option<Instant>,
}

impl Entry {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = match (self.asking, self.not_before) {
            (Asking::Queued, _) => self.checker.overdue_at(),
            (_, Some(at)) => Some(self.checker.overdue_at().map_or(at, |overdue| overdue.min(at))),
            (_, None) => Some(self.checker.next_deadline()),
        };
        next.into_iter().chain(self.closing_until).chain(self.carried_at).min()
    }

    /// A datagram that needs no answer.
    pub(super) fn is_content_with_silence(&self) -> bool {
        matches!(&*self.wanted.probe, Probe::Udp(request) if request.expect_reply.is_none())
    }

    pub(super) fn needs_socket(&self) -> bool {
        match (&*self.wanted.probe, self.wanted.target.way) {
            (Probe::Icmp | Probe::TcpHalfOpen, _) => false,
            (Probe::Udp(_), _) => true,
            (Probe::Tcp | Probe::Http(_) | Probe::Tls(_), way) => way == Way::Kernel,
        }
    }
}
