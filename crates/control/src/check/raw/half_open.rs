//! Half-open checks: SYN, SYN-ACK, RST and never an ACK. No socket; the segments go over raw ones.
//!
//! The server's application never learns of it: its kernel takes a connection back that is reset before it is whole.
//! Which is also why a reset that gets lost leaves something there: half a connection from the same port, which
//! answers the next SYN with an ACK of its own numbers (RFC 5961, 4). Such an ACK is answered with the reset that it
//! lacks, and the SYN goes out once more. Ports take turns, so that this is rare.

use std::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;
use wire::checksum::{Pseudo, transport_checksum};
use wire::protocol;
use wire::tcp::{Tcp, TcpFlags, TcpStart};

use super::quote::Undelivered;
use super::secret::Secret;
use crate::check::{CheckId, Outcome, Reason};

/// A SYN with the one option that everybody sends.
const SYN_BYTES: usize = 24;
const RST_BYTES: usize = 20;

/// The segment size that is offered, though nothing will ever be sent (RFC 9293, 3.7.1): kind, length, 1,220 bytes,
/// which is right for both families.
const MSS_OPTION: [u8; 4] = [2, 4, 0x04, 0xc4];

/// A window that no server takes for an attack.
const WINDOW_BYTES: u16 = 65_535;

/// A check's connection, as far as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::check) struct Call {
    pub(in crate::check) server: SocketAddr,
    pub(in crate::check) port: u16,
}

/// A segment to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct Segment {
    pub(in crate::check) call: Call,
    /// Our address; `None`: it is not known here.
    pub(in crate::check) source: Option<IpAddr>,
    pub(in crate::check) sequence: u32,
    pub(in crate::check) is_syn: bool,
}

/// What a segment brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::check) struct Heard {
    pub(in crate::check) verdict: Option<(CheckId, Outcome)>,
    /// To be sent, in this order.
    pub(in crate::check) answers: [Option<Segment>; 2],
}

/// The connections that are waited for.
#[derive(Default)]
pub(in crate::check) struct Calls {
    secret: Secret,
    pending: HashMap<Call, Pending>,
}

struct Pending {
    id: CheckId,
    source: IpAddr,
    sequence: u32,
    /// The SYN has been sent a second time.
    repeated: bool,
}

impl Calls {
    /// The SYN of a check's `round`-th time; `None`: each of the ports has a check of the same server already.
    pub(in crate::check) fn call(
        &mut self,
        id: CheckId,
        source: IpAddr,
        server: SocketAddr,
        ports: &[u16],
        round: u32,
    ) -> Option<Segment> {
        let mut turns = (0..ports.len()).map(|step| ports[(round as usize + step) % ports.len()]);
        let free = |port: &u16| !self.pending.contains_key(&Call { server, port: *port });
        let call = Call { server, port: turns.find(free)? };
        let sequence = self.secret.draw() as u32;
        self.pending.insert(call, Pending { id, source, sequence, repeated: false });
        Some(Segment { call, source: Some(source), sequence, is_syn: true })
    }

    /// Nobody waits for it any more.
    pub(in crate::check) fn forget(&mut self, call: Call) {
        self.pending.remove(&call);
    }

    /// A segment came to one of our ports. Its checksum is not looked at: from a server on this very host, or on a
    /// virtual machine's link, it is not computed yet. The numbers say enough.
    pub(in crate::check) fn heard(&mut self, from: IpAddr, segment: &mut [u8]) -> Heard {
        let Ok((tcp, ..)) = Tcp::split(segment) else { return Heard::default() };
        let call = Call { server: SocketAddr::new(from, tcp.source_port()), port: tcp.destination_port() };
        let (flags, acknowledged) = (tcp.flags(), tcp.acknowledgement());
        let pending = self.pending.get_mut(&call);
        if !flags.contains(TcpFlags::ACK) {
            // A reset in answer to a SYN acknowledges it (RFC 9293, 3.10.7.3); all else is not for us.
            return Heard::default();
        }
        let awaited =
            pending.as_ref().is_some_and(|pending| acknowledged == pending.sequence.wrapping_add(1));
        if flags.contains(TcpFlags::RST) {
            let refused = if awaited { self.pending.remove(&call) } else { None };
            let verdict = refused.map(|pending| (pending.id, Outcome::Failure(Reason::Refused)));
            return Heard { verdict, answers: [None, None] };
        }
        let source = pending.as_ref().map(|pending| pending.source);
        // What acknowledges something is answered by the number that it asks for (RFC 9293, 3.10.7.3).
        let reset = Segment { call, source, sequence: acknowledged, is_syn: false };
        if awaited && flags.contains(TcpFlags::SYN) {
            let verdict = self.pending.remove(&call).map(|pending| (pending.id, Outcome::Success));
            return Heard { verdict, answers: [Some(reset), None] };
        }
        let again = pending.filter(|pending| !pending.repeated).map(|pending| {
            pending.repeated = true;
            Segment { call, source, sequence: pending.sequence, is_syn: true }
        });
        Heard { verdict: None, answers: [Some(reset), again] }
    }

    /// Whose SYN came to nothing.
    pub(in crate::check) fn undelivered(&mut self, what: &Undelivered) -> Option<(CheckId, Outcome)> {
        if what.protocol != protocol::TCP {
            return None;
        }
        let mut start = what.start;
        let (tcp, _) = TcpStart::split(&mut start).ok()?;
        let server = SocketAddr::new(what.destination, tcp.destination_port());
        let call = Call { server, port: tcp.source_port() };
        self.pending.get(&call).filter(|pending| pending.sequence == tcp.sequence())?;
        Some((self.pending.remove(&call)?.id, Outcome::Failure(what.reason.clone())))
    }
}

impl Segment {
    /// The segment as it goes over the wire from `source`, behind the IP header.
    pub(in crate::check) fn bytes(&self, source: IpAddr) -> Vec<u8> {
        let mut bytes = vec![0; if self.is_syn { SYN_BYTES } else { RST_BYTES }];
        // RFC 9293, 3.1, field by field; without an ACK the acknowledgement number is 0.
        bytes[..2].copy_from_slice(&self.call.port.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.call.server.port().to_be_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[12] = (bytes.len() as u8 / 4) << 4;
        bytes[13] = if self.is_syn { TcpFlags::SYN.0 } else { TcpFlags::RST.0 };
        if self.is_syn {
            bytes[14..16].copy_from_slice(&WINDOW_BYTES.to_be_bytes());
            bytes[RST_BYTES..].copy_from_slice(&MSS_OPTION);
        }
        let pseudo = match (source, self.call.server.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Pseudo::V4 { source, destination }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Pseudo::V6 { source, destination }),
            _ => None,
        };
        let checksum = pseudo.and_then(|pseudo| transport_checksum(pseudo, protocol::TCP, &bytes));
        if let Some(checksum) = checksum {
            bytes[16..18].copy_from_slice(&checksum.to_bits().to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use wire::checksum::transport_is_valid;

    use super::*;

    const ID: CheckId = CheckId(7);
    const PORTS: [u16; 3] = [61_440, 61_441, 61_442];

    fn here() -> IpAddr {
        [198, 18, 1, 1].into()
    }

    fn server() -> SocketAddr {
        ([198, 18, 1, 2], 80).into()
    }

    /// What the server says on a connection.
    fn says(call: Call, flags: TcpFlags, sequence: u32, acknowledgement: u32) -> Vec<u8> {
        let mut bytes = vec![0; RST_BYTES];
        bytes[12] = 5 << 4;
        let (mut tcp, ..) = Tcp::split(&mut bytes).unwrap();
        tcp.set_source_port(call.server.port());
        tcp.set_destination_port(call.port);
        tcp.set_sequence(sequence);
        tcp.set_acknowledgement(acknowledgement);
        tcp.set_flags(flags);
        bytes
    }

    fn called() -> (Calls, Segment) {
        let mut calls = Calls::default();
        let syn = calls.call(ID, here(), server(), &PORTS, 0).unwrap();
        (calls, syn)
    }

    const SYN_ACK: TcpFlags = TcpFlags(0x12);
    const RST_ACK: TcpFlags = TcpFlags(0x14);

    #[test]
    fn a_syn_ack_is_success_and_is_answered_with_the_number_that_it_asks_for() {
        let (mut calls, syn) = called();
        let next = syn.sequence.wrapping_add(1);
        let mut answer = says(syn.call, SYN_ACK, 5_000, next);
        let heard = calls.heard(server().ip(), &mut answer.clone());
        assert_eq!(heard.verdict, Some((ID, Outcome::Success)));
        let reset = Segment { sequence: next, is_syn: false, ..syn };
        assert_eq!(heard.answers, [Some(reset), None]);
        let mut bytes = reset.bytes(here());
        let pseudo = Pseudo::V4 { source: [198, 18, 1, 1].into(), destination: [198, 18, 1, 2].into() };
        assert_eq!(transport_is_valid(pseudo, protocol::TCP, &bytes), Some(true));
        let (tcp, ..) = Tcp::split(&mut bytes).unwrap();
        assert_eq!((tcp.flags(), tcp.sequence(), tcp.acknowledgement()), (TcpFlags::RST, next, 0));

        // The same once more: the reset was lost, and is said again.
        let again = calls.heard(server().ip(), &mut answer);
        assert_eq!(again.verdict, None);
        assert_eq!(again.answers, [Some(Segment { source: None, ..reset }), None]);
    }

    #[test]
    fn a_syn_is_what_it_should_be_in_both_families() {
        let server = "[2001:db8::2]:443".parse().unwrap();
        let source: IpAddr = "2001:db8::1".parse().unwrap();
        let syn = Calls::default().call(ID, source, server, &PORTS, 1).unwrap();
        let mut bytes = syn.bytes(source);
        let pseudo = Pseudo::V6 {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
        };
        assert_eq!(transport_is_valid(pseudo, protocol::TCP, &bytes), Some(true));
        let (tcp, options, data) = Tcp::split(&mut bytes).unwrap();
        assert_eq!((tcp.source_port(), tcp.destination_port()), (61_441, 443));
        assert_eq!((tcp.flags(), tcp.sequence()), (TcpFlags::SYN, syn.sequence));
        assert_eq!((&*options, &*data), (&MSS_OPTION[..], &[][..]));
    }

    #[test]
    fn only_a_reset_that_acknowledges_the_syn_is_a_refusal() {
        let (mut calls, syn) = called();
        let next = syn.sequence.wrapping_add(1);
        for (flags, acknowledgement) in [(TcpFlags::RST, next), (RST_ACK, next + 1), (TcpFlags::SYN, next)] {
            let mut stray = says(syn.call, flags, 0, acknowledgement);
            assert_eq!(calls.heard(server().ip(), &mut stray), Heard::default());
        }
        let mut elsewhere = says(syn.call, RST_ACK, 0, next);
        assert_eq!(calls.heard([198, 18, 1, 3].into(), &mut elsewhere), Heard::default());
        let heard = calls.heard(server().ip(), &mut says(syn.call, RST_ACK, 0, next));
        assert_eq!(heard.verdict, Some((ID, Outcome::Failure(Reason::Refused))));
        assert_eq!(heard.answers, [None, None], "a reset is not answered");
    }

    #[test]
    fn what_an_earlier_check_left_there_is_reset_and_asked_again_once() {
        let (mut calls, syn) = called();
        let mut challenge = says(syn.call, TcpFlags::ACK, 9_000, 1_234);
        let heard = calls.heard(server().ip(), &mut challenge.clone());
        let reset = Segment { sequence: 1_234, is_syn: false, ..syn };
        assert_eq!(heard, Heard { verdict: None, answers: [Some(reset), Some(syn)] });
        let second = calls.heard(server().ip(), &mut challenge);
        assert_eq!(second, Heard { verdict: None, answers: [Some(reset), None] });
        let next = syn.sequence.wrapping_add(1);
        let heard = calls.heard(server().ip(), &mut says(syn.call, SYN_ACK, 1, next));
        assert_eq!(heard.verdict, Some((ID, Outcome::Success)));
    }

    #[test]
    fn an_answer_to_a_check_that_was_given_up_counts_for_nothing() {
        let (mut calls, syn) = called();
        calls.forget(syn.call);
        let mut late = says(syn.call, SYN_ACK, 5_000, syn.sequence.wrapping_add(1));
        let heard = calls.heard(server().ip(), &mut late);
        assert_eq!(heard.verdict, None);
        assert!(heard.answers[0].is_some(), "the server is not left with half a connection");
    }

    #[test]
    fn ports_take_turns_and_one_server_is_asked_from_each_once() {
        let mut calls = Calls::default();
        let mut port = |round| calls.call(ID, here(), server(), &PORTS, round).map(|syn| syn.call.port);
        assert_eq!([port(1), port(1), port(1), port(1)], [Some(61_441), Some(61_442), Some(61_440), None]);
        assert!(calls.call(ID, here(), ([198, 18, 1, 3], 80).into(), &PORTS, 1).is_some());
        assert!(calls.call(ID, here(), ([198, 18, 1, 4], 80).into(), &[], 1).is_none());
    }

    #[test]
    fn a_quoted_syn_has_failed() {
        let (mut calls, syn) = called();
        let start = *syn.bytes(here()).first_chunk().unwrap();
        let (destination, reason) = (server().ip(), Reason::Prohibited);
        let right = Undelivered { destination, protocol: protocol::TCP, start, reason: reason.clone() };
        let mut forged = right.clone();
        forged.start[7] ^= 1;
        assert_eq!(calls.undelivered(&forged), None);
        assert_eq!(calls.undelivered(&Undelivered { protocol: protocol::UDP, ..right.clone() }), None);
        assert_eq!(calls.undelivered(&right), Some((ID, Outcome::Failure(reason))));
    }

    #[test]
    fn torn_segments_are_nothing() {
        for length in 0..RST_BYTES {
            assert_eq!(Calls::default().heard(server().ip(), &mut vec![0x50; length]), Heard::default());
        }
    }
}
