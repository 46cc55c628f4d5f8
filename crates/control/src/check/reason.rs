//! Why a check failed, in words that a person can act on.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::time::Duration;

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
    /// The address does not answer ARP or ND, or a router said so.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_can_act_on_each() {
        let silent = Reason::Silent { awaited: "SYN-ACK", within: Duration::from_secs(1) };
        assert_eq!(silent.to_string(), "no SYN-ACK within 1 s");
        let overdue =
            Reason::Overdue { within: Duration::from_millis(2_500), last: Some(Box::new(Reason::Refused)) };
        assert_eq!(overdue.to_string(), "no check succeeded for 2500 ms: connection refused");
        let traffic = Reason::Traffic { failed: 5, within: Duration::from_secs(10) };
        assert_eq!(traffic.to_string(), "5 of its new connections failed within 10 s");
        assert_eq!(Reason::from(&Error::from_raw_os_error(113)), Reason::HostUnreachable);
    }
}
