//! Echo requests and what comes of them (RFC 792, RFC 4443): no socket.
//!
//! A reply belongs to a check if it comes from the right address, has our identifier, the sequence number of a check
//! that waits, and this check's token. The numbers are drawn so that nobody can guess them who has not seen the
//! request; a check that has been given up is forgotten, so that its answer counts for no later one.

use std::net::IpAddr;

use hashbrown::HashMap;
use wire::checksum::{Checksum, Sum};
use wire::icmp::{Icmp, v4, v6};
use wire::protocol;

use super::quote::Undelivered;
use super::secret::Secret;
use crate::check::{CheckId, Outcome};

/// An echo request: the header and a token.
pub(in crate::check) const ECHO_BYTES: usize = 16;

/// How many sequence numbers are tried for one that no waiting check has. With half of them in use, one check in
/// 2^64 has to come back later.
const SEQUENCE_TRIES: usize = 64;

/// The echoes that are waited for. A check's number is its sequence number.
pub(super) struct Echoes {
    identifier: u16,
    secret: Secret,
    pending: HashMap<u16, Pending>,
}

struct Pending {
    id: CheckId,
    address: IpAddr,
    token: [u8; 8],
}

impl Echoes {
    pub(super) fn new() -> Self {
        let mut secret = Secret::default();
        Self { identifier: secret.draw() as u16, secret, pending: HashMap::new() }
    }

    /// What tells our echoes from those of other programs on this host.
    pub(super) fn identifier(&self) -> u16 {
        self.identifier
    }

    /// A request to `address`, and its number; `None`: all numbers are in use.
    pub(super) fn ask(&mut self, id: CheckId, address: IpAddr) -> Option<(u16, [u8; ECHO_BYTES])> {
        let mut tries = std::iter::repeat_with(|| self.secret.draw() as u16).take(SEQUENCE_TRIES);
        let sequence = tries.find(|sequence| !self.pending.contains_key(sequence))?;
        let token = self.secret.draw().to_be_bytes();
        self.pending.insert(sequence, Pending { id, address, token });
        Some((sequence, self.request(sequence, address, token)))
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&mut self, sequence: u16) {
        self.pending.remove(&sequence);
    }

    /// Whose reply this message is.
    pub(super) fn reply(&mut self, from: IpAddr, message: &mut [u8]) -> Option<(CheckId, Outcome)> {
        let (icmp, payload) = Icmp::split(message).ok()?;
        let kind = if from.is_ipv4() { v4::ECHO_REPLY } else { v6::ECHO_REPLY };
        if icmp.kind() != kind || icmp.code() != 0 || icmp.identifier() != self.identifier {
            return None;
        }
        let sequence = icmp.sequence();
        let pending = self.pending.get(&sequence)?;
        if pending.address != from || *payload != pending.token {
            return None;
        }
        Some((self.pending.remove(&sequence)?.id, Outcome::Success))
    }

    /// Whose request came to nothing.
    pub(super) fn undelivered(&mut self, what: &Undelivered) -> Option<(CheckId, Outcome)> {
        let mut start = what.start;
        let (icmp, _) = Icmp::split(&mut start).ok()?;
        let is_v4 = what.destination.is_ipv4();
        let kind = if is_v4 { v4::ECHO_REQUEST } else { v6::ECHO_REQUEST };
        let right_protocol = what.protocol == if is_v4 { protocol::ICMP } else { protocol::ICMPV6 };
        if !right_protocol || icmp.kind() != kind || icmp.identifier() != self.identifier {
            return None;
        }
        let sequence = icmp.sequence();
        self.pending.get(&sequence).filter(|pending| pending.address == what.destination)?;
        Some((self.pending.remove(&sequence)?.id, Outcome::Failure(what.reason.clone())))
    }

    fn request(&self, sequence: u16, address: IpAddr, token: [u8; 8]) -> [u8; ECHO_BYTES] {
        let mut message = [0; ECHO_BYTES];
        message[0] = if address.is_ipv4() { v4::ECHO_REQUEST } else { v6::ECHO_REQUEST };
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        message[8..].copy_from_slice(&token);
        // IPv6's covers the source address as well, and is the kernel's part (RFC 3542, 3.1).
        if address.is_ipv4() {
            let checksum: Checksum = Sum::new().add_bytes(&message).finish();
            message[2..4].copy_from_slice(&checksum.to_bits().to_be_bytes());
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Reason;

    const FIRST: CheckId = CheckId(1);
    const SECOND: CheckId = CheckId(2);

    fn address() -> IpAddr {
        [198, 18, 1, 2].into()
    }

    fn answered(mut request: [u8; ECHO_BYTES]) -> [u8; ECHO_BYTES] {
        request[0] = v4::ECHO_REPLY;
        request
    }

    #[test]
    fn a_request_has_a_right_checksum_and_a_token_of_its_own() {
        let mut echoes = Echoes::new();
        let (_, one) = echoes.ask(FIRST, address()).unwrap();
        let (_, two) = echoes.ask(SECOND, address()).unwrap();
        assert!(Sum::new().add_bytes(&one).is_valid());
        assert_eq!(one[..2], [8, 0]);
        assert_eq!(one[4..6], two[4..6]);
        assert_ne!(one[6..], two[6..]);
        let (_, v6) = echoes.ask(SECOND, "2001:db8::2".parse().unwrap()).unwrap();
        assert_eq!(v6[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn only_the_right_reply_counts_and_only_once() {
        let mut echoes = Echoes::new();
        let (_, request) = echoes.ask(FIRST, address()).unwrap();
        let reply = answered(request);
        assert_eq!(echoes.reply([198, 18, 1, 3].into(), &mut reply.clone()), None, "from somebody else");
        for place in [0, 1, 4, 5, 6, 7, 8, 15] {
            let mut forged = reply;
            forged[place] ^= 1;
            assert_eq!(echoes.reply(address(), &mut forged), None, "byte {place}");
        }
        assert_eq!(echoes.reply(address(), &mut reply[..15].to_vec()), None);
        assert_eq!(echoes.reply(address(), &mut reply.clone()), Some((FIRST, Outcome::Success)));
        assert_eq!(echoes.reply(address(), &mut reply.clone()), None, "a second time");
    }

    #[test]
    fn a_late_reply_counts_for_no_later_check() {
        let mut echoes = Echoes::new();
        let (sequence, request) = echoes.ask(FIRST, address()).unwrap();
        echoes.forget(sequence);
        echoes.pending.insert(sequence, Pending { id: SECOND, address: address(), token: [7; 8] });
        assert_eq!(echoes.reply(address(), &mut answered(request)), None);
        assert!(echoes.pending.contains_key(&sequence));
    }

    #[test]
    fn a_quoted_request_has_failed() {
        let mut echoes = Echoes::new();
        let (_, request) = echoes.ask(FIRST, address()).unwrap();
        let right = Undelivered {
            destination: address(),
            protocol: protocol::ICMP,
            start: *request.first_chunk().unwrap(),
            reason: Reason::HostUnreachable,
        };
        let mut of_another = right.clone();
        of_another.start[7] ^= 1;
        let elsewhere = Undelivered { destination: [198, 18, 1, 3].into(), ..right.clone() };
        let no_echo = Undelivered { protocol: protocol::UDP, ..right.clone() };
        for wrong in [of_another, elsewhere, no_echo] {
            assert_eq!(echoes.undelivered(&wrong), None);
        }
        assert_eq!(echoes.undelivered(&right), Some((FIRST, Outcome::Failure(Reason::HostUnreachable))));
    }

    #[test]
    fn numbers_can_run_out() {
        let mut echoes = Echoes::new();
        for sequence in 0..=u16::MAX {
            echoes.pending.insert(sequence, Pending { id: FIRST, address: address(), token: [0; 8] });
        }
        assert!(echoes.ask(SECOND, address()).is_none());
        assert_eq!(echoes.pending.len(), 1 << 16);
    }
}
