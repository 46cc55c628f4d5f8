//! ICMP errors that speak of a packet of ours (RFC 792, RFC 4443): what it was, and what became of it.

use std::net::IpAddr;

use wire::icmp::{Icmp, v4, v6};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;

use crate::check::Reason;

/// A packet that was not delivered. Only what every error quotes is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::check) struct Undelivered {
    /// Where it was to go.
    pub(in crate::check) destination: IpAddr,
    /// A number of [`wire::protocol`].
    pub(in crate::check) protocol: u8,
    /// Its first eight bytes behind the IP header.
    pub(in crate::check) start: [u8; 8],
    /// Why not.
    pub(in crate::check) reason: Reason,
}

/// Reads an ICMP message of a family; `None` if it is no error, none that ends a check, or none that can be read.
pub(in crate::check) fn undelivered(message: &mut [u8], is_v4: bool) -> Option<Undelivered> {
    let (icmp, quote) = Icmp::split(message).ok()?;
    let (kind, code) = (icmp.kind(), icmp.code());
    if is_v4 {
        let reason = reason_v4(kind, code)?;
        let quoted = Ipv4::split_quoted(quote).ok()?;
        let (destination, protocol) = (quoted.header.destination().into(), quoted.header.protocol());
        Some(Undelivered { destination, protocol, start: *quoted.payload.first_chunk()?, reason })
    } else {
        let reason = reason_v6(kind, code)?;
        let quoted = Ipv6::split_quoted(quote).ok()?;
        let (destination, protocol) = (quoted.header.destination().into(), quoted.protocol);
        Some(Undelivered { destination, protocol, start: *quoted.payload.first_chunk()?, reason })
    }
}

/// Codes of RFC 792 and RFC 1812, 5.2.7.1. What is too long is sent again by nobody here: checks are short.
fn reason_v4(kind: u8, code: u8) -> Option<Reason> {
    match (kind, code) {
        (v4::UNREACHABLE, v4::CODE_NETWORK | 6 | 11) => Some(Reason::NetworkUnreachable),
        (v4::UNREACHABLE, v4::CODE_HOST | 5 | 7 | 8 | 12) => Some(Reason::HostUnreachable),
        (v4::UNREACHABLE, 2) => Some(Reason::ProtocolUnreachable),
        (v4::UNREACHABLE, v4::CODE_PORT) => Some(Reason::PortUnreachable),
        (v4::UNREACHABLE, 9 | 10 | v4::CODE_PROHIBITED) => Some(Reason::Prohibited),
        (v4::TIME_EXCEEDED, 0) => Some(Reason::TimeExceeded),
        _ => None,
    }
}

/// Codes of RFC 4443, 3.1 and 3.3.
fn reason_v6(kind: u8, code: u8) -> Option<Reason> {
    match (kind, code) {
        (v6::UNREACHABLE, v6::CODE_NO_ROUTE) => Some(Reason::NetworkUnreachable),
        (v6::UNREACHABLE, v6::CODE_PROHIBITED | 2 | 5 | 6) => Some(Reason::Prohibited),
        (v6::UNREACHABLE, v6::CODE_ADDRESS) => Some(Reason::HostUnreachable),
        (v6::UNREACHABLE, v6::CODE_PORT) => Some(Reason::PortUnreachable),
        // A header that it does not know: it speaks no such protocol.
        (v6::PARAMETER_PROBLEM, 1) => Some(Reason::ProtocolUnreachable),
        (v6::TIME_EXCEEDED, 0) => Some(Reason::TimeExceeded),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use wire::build::ethernet;
    use wire::{Mac, protocol};

    use super::*;

    const ETHERNET_BYTES: usize = 14;

    fn v4_error(kind: u8, code: u8) -> Option<Undelivered> {
        let packet = |frame: Vec<u8>| frame[ETHERNET_BYTES..].to_vec();
        let (here, there) = ([198, 18, 1, 1].into(), [198, 18, 1, 2].into());
        let frame = || ethernet(Mac([2; 6]), Mac([2; 6]));
        let sent = packet(frame().ipv4(here, there).udp(40_000, 53).payload(b"x").finish());
        let error = packet(frame().ipv4(there, here).icmp_error(kind, code, [0; 4], &sent));
        undelivered(&mut error[20..].to_vec(), true)
    }

    #[test]
    fn an_error_says_what_it_is_about() {
        let undelivered = v4_error(3, 3).unwrap();
        assert_eq!(undelivered.destination, IpAddr::from([198, 18, 1, 2]));
        assert_eq!(undelivered.protocol, protocol::UDP);
        assert_eq!(undelivered.start[..4], [0x9c, 0x40, 0, 53]);
        assert_eq!(undelivered.reason, Reason::PortUnreachable);
        assert_eq!(v4_error(3, 1).unwrap().reason, Reason::HostUnreachable);
        assert_eq!(v4_error(3, 13).unwrap().reason, Reason::Prohibited);
        assert_eq!(v4_error(11, 0).unwrap().reason, Reason::TimeExceeded);
        assert_eq!(v4_error(3, 4), None, "fragmentation needed is no end");
        assert_eq!(v4_error(5, 1), None, "nor is a redirect");
    }

    #[test]
    fn a_torn_error_is_none() {
        for length in 0..8 + 20 + 8 {
            let mut message = vec![0; length];
            if let Some(kind) = message.first_mut() {
                *kind = 3;
            }
            if let Some(version) = message.get_mut(8) {
                *version = 0x45;
            }
            assert_eq!(undelivered(&mut message, true), None);
            assert_eq!(undelivered(&mut message, false), None);
        }
    }
}
