//! Datagrams that need no answer: whose way turned out to be closed, also after the check was over.
//!
//! A check of UDP that expects no answer is content with silence, and silence is all that a dead host gives for some
//! seconds: only then does the kernel, or a router, give up asking for its MAC and say that it is unreachable. By that
//! time the check's socket is gone. So the error is heard here, and counts for the check of the same server that comes
//! next.

use std::net::SocketAddr;

use hashbrown::HashMap;
use wire::protocol;
use wire::udp::Udp;

use super::quote::Undelivered;
use crate::check::{CheckId, Reason};

/// A datagram of ours: to whom, and from which of our ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Datagram {
    pub(super) server: SocketAddr,
    pub(super) source_port: u16,
}

/// The last datagram of each check.
#[derive(Default)]
pub(super) struct Datagrams {
    sent: HashMap<Datagram, CheckId>,
}

impl Datagrams {
    pub(super) fn sent(&mut self, id: CheckId, datagram: Datagram) {
        self.sent.insert(datagram, id);
    }

    pub(super) fn forget(&mut self, datagram: Datagram) {
        self.sent.remove(&datagram);
    }

    /// Whose datagram came to nothing.
    pub(super) fn undelivered(&mut self, what: &Undelivered) -> Option<(CheckId, Reason)> {
        if what.protocol != protocol::UDP {
            return None;
        }
        let mut start = what.start;
        let (udp, _) = Udp::split_first_piece(&mut start).ok()?;
        let server = SocketAddr::new(what.destination, udp.destination_port());
        let id = self.sent.remove(&Datagram { server, source_port: udp.source_port() })?;
        Some((id, what.reason.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_finds_its_check_once() {
        let server: SocketAddr = ([198, 18, 1, 2], 53).into();
        let mut datagrams = Datagrams::default();
        datagrams.sent(CheckId(1), Datagram { server, source_port: 40_000 });
        let error = |source: u16, protocol| {
            let mut start = [0; 8];
            start[..2].copy_from_slice(&source.to_be_bytes());
            start[3] = 53;
            start[5] = 8;
            Undelivered { destination: server.ip(), protocol, start, reason: Reason::HostUnreachable }
        };
        assert_eq!(datagrams.undelivered(&error(40_001, protocol::UDP)), None);
        assert_eq!(datagrams.undelivered(&error(40_000, protocol::TCP)), None);
        let found = Some((CheckId(1), Reason::HostUnreachable));
        assert_eq!(datagrams.undelivered(&error(40_000, protocol::UDP)), found);
        assert_eq!(datagrams.undelivered(&error(40_000, protocol::UDP)), None);
    }
}
