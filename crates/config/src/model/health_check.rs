//! `[[health_check]]`: how a server's life is felt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::source::Position;

/// `[[health_check]]`: how a server's life is felt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Its name in `health_check` of a service; unique.
    pub name: String,
    /// What is asked.
    pub probe: Probe,
    /// Which port is asked; `None`: the server's, or else the service's, which is then only one.
    pub port: Option<u16>,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// A check unanswered for this long has failed; at most `interval` and `dead_interval`.
    pub response_time: Duration,
    /// Further failures in a row that are forgiven; one success resets the count.
    pub retries: u32,
    /// Down when no check has succeeded for this long, if that comes first; at least `interval +
    /// response_time`.
    pub timeout: Option<Duration>,
    /// `interval` of a server that is down.
    pub dead_interval: Duration,
    /// Successes in a row that bring it back; at least 1.
    pub rise: u32,
    /// Where the name stands.
    pub at: Position,
    /// Where `kind` stands.
    pub kind_at: Position,
}

/// What a health check asks, and what it takes for a good answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// An ICMP echo request, and its reply.
    Icmp,
    /// A full TCP handshake, then FIN.
    Tcp,
    /// SYN, SYN-ACK, then RST and never an ACK.
    TcpHalfOpen,
    /// A request, and a status and perhaps a body that please.
    Http(HttpRequest),
    /// A datagram, and perhaps an answer to it.
    Udp(UdpRequest),
    /// A TLS handshake to its end.
    Tls(TlsRequest),
}

impl Probe {
    /// The word for it.
    pub fn kind(&self) -> CheckKind {
        match self {
            Probe::Icmp => CheckKind::Icmp,
            Probe::Tcp => CheckKind::Tcp,
            Probe::TcpHalfOpen => CheckKind::TcpHalfOpen,
            Probe::Http(_) => CheckKind::Http,
            Probe::Udp(_) => CheckKind::Udp,
            Probe::Tls(_) => CheckKind::Tls,
        }
    }
}

/// The kinds of checks, as the file spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    /// [`Probe::Icmp`].
    Icmp,
    /// [`Probe::Tcp`].
    Tcp,
    /// [`Probe::TcpHalfOpen`].
    TcpHalfOpen,
    /// [`Probe::Http`].
    Http,
    /// [`Probe::Udp`].
    Udp,
    /// [`Probe::Tls`].
    Tls,
}

/// `kind = "http"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpRequest {
    /// What is asked for; begins with a slash.
    pub path: String,
    /// The Host header; `None`: the server's address.
    pub host: Option<String>,
    /// Whether TLS is spoken (`tls = true`). Certificates are not looked at.
    pub tls: bool,
    /// Any of these will do; never empty.
    pub expect_status: Vec<StatusRange>,
    /// What must stand in the body as well, byte by byte.
    pub expect_body: Option<String>,
}

/// Status codes from `first` to `last`, both included (RFC 9110, 15); `100 <= first <= last <= 599`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// `kind = "udp"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UdpRequest {
    /// The datagram's payload; may be empty.
    pub send: Vec<u8>,
    /// What must stand in the answer. `None`: no answer is needed, and only ICMP unreachable or no way to the host at all is
    /// a failure.
    pub expect_reply: Option<Vec<u8>>,
}

/// `kind = "tls"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsRequest {
    /// The name that the client asks for (SNI, RFC 6066 section 3); `None`: none.
    pub server_name: Option<String>,
}
