//! Why a check failed, in words that a person can act on.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::net::IpAddr;
use std::time::Duration;

use super::Carrier;
use crate::probe::Fault;

/// How much of an expected text a reason repeats.
const SHOWN_CHARACTERS_MAX: usize = 64;

/// Why a check failed or a server is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody listens on the port.
    Refused,
    /// The connection was there and was reset.
    Reset,
    /// What was waited for did not come within the response time.
    Silent {
        /// What was waited for.
        awaited: &'static str,
        /// For how long.
        within: Duration,
    },
    /// The same of a VIP that the server should hold.
    NotServed {
        /// What was waited for.
        awaited: &'static str,
        /// For how long.
        within: Duration,
        /// The VIP.
        vip: IpAddr,
        /// How it was asked.
        by: Carrier,
    },
    /// The address does not answer ARP or ND, or a router says so.
    HostUnreachable,
    /// There is no route.
    NetworkUnreachable,
    /// A firewall, a prohibit route or a packet filter of this host forbids it.
    Prohibited,
    /// No check has succeeded for the time that `timeout` allows.
    Overdue {
        /// That time.
        within: Duration,
        /// Why the last check failed, if one has.
        last: Option<Box<Reason>>,
    },
    /// Live traffic failed, whatever checks say.
    Traffic {
        /// New connections that the server reset or did not answer.
        failed: u32,
        /// Within which time.
        within: Duration,
    },
    /// The host says that nobody listens on the UDP port.
    PortUnreachable,
    /// The host says that it does not speak the protocol.
    ProtocolUnreachable,
    /// A router says that the packet has gone round for too long.
    TimeExceeded,
    /// The answer to a datagram does not say what it should.
    NotInReply {
        /// What is missing.
        expected: String,
        /// How much of an answer is searched at the most.
        searched_bytes: usize,
    },
    /// An HTTP status that was not asked for.
    Status {
        /// What would have pleased, as the configuration writes it.
        expected: String,
        /// What came.
        got: u16,
    },
    /// The body does not say what it should.
    NotInBody {
        /// What is missing.
        expected: String,
        /// How much of a body is searched at the most.
        searched_bytes: usize,
    },
    /// What came is no HTTP/1 answer.
    NotHttp {
        /// It is TLS, which the check does not speak.
        speaks_tls: bool,
    },
    /// The head of an HTTP answer does not end.
    HeadTooLong {
        /// How long it may be.
        bytes_max: usize,
    },
    /// An HTTP answer with more header fields than anybody needs.
    TooManyHeaders {
        /// How many it may have.
        max: usize,
    },
    /// The server talked and talked.
    AnswerTooLong {
        /// How much it may say.
        bytes_max: usize,
    },
    /// The server closed the connection too soon.
    ClosedEarly,
    /// The server closed the connection before TLS was agreed on.
    ClosedInHandshake,
    /// What came is no TLS.
    NotTls,
    /// TLS came to no agreement.
    Tls(String),
    /// A path through a firewall does not bear.
    Path(Fault),
    /// Whatever else the kernel said.
    Other(String),
}

impl From<&Error> for Reason {
    fn from(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::HostUnreachable => Self::HostUnreachable,
            ErrorKind::NetworkUnreachable => Self::NetworkUnreachable,
            ErrorKind::PermissionDenied => Self::Prohibited,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => out.write_str("connection refused"),
            Self::Reset => out.write_str("connection reset"),
            Self::Silent { awaited, within } => write!(out, "no {awaited} within {}", Plain(*within)),
            Self::NotServed { awaited, within, vip, by } => {
                write!(out, "no {awaited} within {}: is the server there, ", Plain(*within))?;
                match by {
                    Carrier::Mac => write!(out, "and {vip} on its loopback?"),
                    Carrier::IpInIp(source) => {
                        write!(out, "taking IP in IP from {source}, and {vip} on its loopback?")
                    }
                    Carrier::Gue(source, port) => {
                        write!(out, "taking GUE from {source} on port {port}, and {vip} on its loopback?")
                    }
                    Carrier::Dscp(dscp) => {
                        write!(out, "turning DSCP {dscp} into {vip}, and that on its loopback?")
                    }
                }
            }
            Self::HostUnreachable => out.write_str("host unreachable"),
            Self::NetworkUnreachable => out.write_str("no route to its network"),
            Self::Prohibited => out.write_str("forbidden by a packet filter or route"),
            Self::Overdue { within, last: None } => write!(out, "no check succeeded for {}", Plain(*within)),
            Self::Overdue { within, last: Some(last) } => {
                write!(out, "no check succeeded for {}: {last}", Plain(*within))
            }
            Self::Traffic { failed: 1, within } => {
                write!(out, "one of its new connections failed within {}", Plain(*within))
            }
            Self::Traffic { failed, within } => {
                write!(out, "{failed} of its new connections failed within {}", Plain(*within))
            }
            Self::PortUnreachable => out.write_str("port unreachable"),
            Self::ProtocolUnreachable => out.write_str("protocol unreachable"),
            Self::TimeExceeded => out.write_str("time exceeded on the way: a routing loop?"),
            Self::NotInReply { expected, searched_bytes } => {
                write!(out, "{expected} not in the first {} of the answer", Size(*searched_bytes))
            }
            Self::Status { expected, got } => write!(out, "expected {expected}, got {got}"),
            Self::NotInBody { expected, searched_bytes } => {
                write!(out, "{expected} not in the first {}", Size(*searched_bytes))
            }
            Self::NotHttp { speaks_tls: false } => out.write_str("not HTTP"),
            Self::NotHttp { speaks_tls: true } => out.write_str("not HTTP: TLS is spoken on this port"),
            Self::HeadTooLong { bytes_max } => write!(out, "HTTP head of more than {}", Size(*bytes_max)),
            Self::TooManyHeaders { max } => write!(out, "HTTP head of more than {max} fields"),
            Self::AnswerTooLong { bytes_max } => write!(out, "answer of more than {}", Size(*bytes_max)),
            Self::ClosedEarly => out.write_str("closed before the whole answer"),
            Self::ClosedInHandshake => out.write_str("closed during the TLS handshake"),
            Self::NotTls => out.write_str("not TLS"),
            Self::Tls(text) => write!(out, "TLS: {text}"),
            Self::Path(fault) => fault.fmt(out),
            Self::Other(text) => out.write_str(text),
        }
    }
}

/// A duration as the configuration writes it.
struct Plain(Duration);

impl fmt::Display for Plain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            milliseconds if milliseconds % 1_000 == 0 => write!(out, "{} s", milliseconds / 1_000),
            milliseconds => write!(out, "{milliseconds} ms"),
        }
    }
}

/// A number of bytes as people say it.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % 1_024 == 0 => write!(out, "{} KiB", bytes / 1_024),
            bytes => write!(out, "{bytes} bytes"),
        }
    }
}

/// What was expected, short enough for a line of a table and with nothing in it that a terminal obeys.
pub(super) fn shown(expected: &[u8]) -> String {
    let text = String::from_utf8_lossy(expected);
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_can_act_on_each() {
        let silent = Reason::Silent { awaited: "SYN-ACK", within: Duration::from_secs(1) };
        assert_eq!(silent.to_string(), "no SYN-ACK within 1 s");
        let not_served = Reason::NotServed {
            awaited: "SYN-ACK",
            within: Duration::from_secs(1),
            vip: [198, 18, 1, 10].into(),
            by: Carrier::Mac,
        };
        let words = "no SYN-ACK within 1 s: is the server there, and 198.18.1.10 on its loopback?";
        assert_eq!(not_served.to_string(), words);
        let overdue =
            Reason::Overdue { within: Duration::from_millis(2_500), last: Some(Box::new(Reason::Refused)) };
        assert_eq!(overdue.to_string(), "no check succeeded for 2500 ms: connection refused");
        let traffic = Reason::Traffic { failed: 5, within: Duration::from_secs(10) };
        assert_eq!(traffic.to_string(), "5 of its new connections failed within 10 s");
        assert_eq!(Reason::from(&Error::from_raw_os_error(113)), Reason::HostUnreachable);
    }
}
