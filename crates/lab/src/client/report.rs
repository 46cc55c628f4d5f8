//! What came of a client's requests.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustix::io::Errno;

/// An answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server that answered, by its name.
    pub server: String,
    /// The client's address as that server saw it.
    pub client_seen: Option<IpAddr>,
    /// From the first packet of the request to the last of the answer.
    pub latency: Duration,
}

/// Why a request got no answer, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// A reset while connecting, or an ICMP port unreachable.
    Refused,
    /// A reset of an established connection.
    Reset,
    /// The connection ended before the answer was complete.
    Closed,
    /// Nothing came in time.
    TimedOut,
    /// No way there, said by the own kernel or by an ICMP error.
    Unreachable,
    /// Longer than its way allows, said by the own kernel or by an ICMP error.
    TooLong,
    /// An answer that says no: its HTTP status.
    Status(u16),
    /// An answer that is none.
    Malformed,
    /// Anything else that the system says.
    Other(String),
}

/// A failure and its time since the start of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// When the request failed.
    pub at: Duration,
    /// Why.
    pub failure: Failure,
}

/// What came of many requests.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Answered requests of each server.
    pub per_server: BTreeMap<String, usize>,
    /// Answered requests by the client address that the server saw.
    pub clients_seen: BTreeMap<IpAddr, usize>,
    /// Requests without an answer, in order of time.
    pub failed: Vec<Failed>,
    latencies: Vec<Duration>,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) {
            return Self::TooLong;
        }
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::ConnectionReset | Kind::BrokenPipe => Self::Reset,
            Kind::UnexpectedEof => Self::Closed,
            Kind::TimedOut | Kind::WouldBlock => Self::TimedOut,
            Kind::HostUnreachable | Kind::NetworkUnreachable => Self::Unreachable,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl Report {
    /// Sorts out what the requests of one load came to, each with the time at which it ended.
    pub(super) fn of(results: impl IntoIterator<Item = (Duration, Result<Answer, Failure>)>) -> Self {
        let mut report = Self::default();
        for (at, result) in results {
            match result {
                Ok(answer) => {
                    *report.per_server.entry(answer.server).or_default() += 1;
                    if let Some(client) = answer.client_seen {
                        *report.clients_seen.entry(client).or_default() += 1;
                    }
                    report.latencies.push(answer.latency);
                }
                Err(failure) => report.failed.push(Failed { at, failure }),
            }
        }
        report.latencies.sort_unstable();
        report.failed.sort_by_key(|failed| failed.at);
        report
    }

    /// How many requests were made.
    pub fn sent(&self) -> usize {
        self.answered() + self.failed.len()
    }

    /// How many requests were answered.
    pub fn answered(&self) -> usize {
        self.latencies.len()
    }

    /// How many requests failed, by kind.
    pub fn failures(&self) -> BTreeMap<&Failure, usize> {
        let mut kinds = BTreeMap::new();
        self.failed.iter().for_each(|failed| *kinds.entry(&failed.failure).or_default() += 1);
        kinds
    }

    /// The latency that `percent` of the answered requests did not exceed (nearest rank); none without an
    /// answer.
    pub fn latency(&self, percent: f64) -> Option<Duration> {
        let rank = (percent / 100.0 * self.latencies.len() as f64).ceil() as usize;
        let last = self.latencies.len().checked_sub(1)?;
        Some(self.latencies[rank.saturating_sub(1).min(last)])
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => write!(f, "refused"),
            Self::TooLong => write!(f, "too long"),
            Self::Reset => write!(f, "reset"),
            Self::Closed => write!(f, "closed"),
            Self::TimedOut => write!(f, "timed out"),
            Self::Unreachable => write!(f, "unreachable"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Malformed => write!(f, "malformed answer"),
            Self::Other(text) => write!(f, "{text}"),
        }
    }
}

/// One line: `300/300 answered (server1 100, server2 100, server3 100), p50 ..., p99 ...`, with the failures
/// if any.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} answered", self.answered(), self.sent())?;
        let shares = self.per_server.iter().map(|(server, count)| format!("{server} {count}"));
        let shares = shares.collect::<Vec<_>>().join(", ");
        if let (Some(median), Some(slow)) = (self.latency(50.0), self.latency(99.0)) {
            write!(f, " ({shares}), p50 {median:.0?}, p99 {slow:.0?}")?;
        }
        for (failure, count) in self.failures() {
            write!(f, ", {count} {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(server: &str, latency_ms: u64) -> (Duration, Result<Answer, Failure>) {
        let latency = Duration::from_millis(latency_ms);
        (latency, Ok(Answer { server: server.into(), client_seen: None, latency }))
    }

    #[test]
    fn counts_shares_failures_and_percentiles() {
        let mut results: Vec<_> =
            (1..=100).map(|ms| answer(if ms % 2 == 0 { "a" } else { "b" }, ms)).collect();
        results.push((Duration::from_secs(2), Err(Failure::Reset)));
        results.push((Duration::from_secs(1), Err(Failure::TimedOut)));
        let report = Report::of(results);
        assert_eq!((report.sent(), report.answered()), (102, 100));
        assert_eq!(report.per_server, BTreeMap::from([("a".into(), 50), ("b".into(), 50)]));
        assert_eq!(report.failed[0].failure, Failure::TimedOut, "in order of time");
        for (percent, latency_ms) in [(0.0, 1), (1.0, 1), (50.0, 50), (99.0, 99), (99.9, 100), (100.0, 100)] {
            assert_eq!(report.latency(percent), Some(Duration::from_millis(latency_ms)), "{percent}");
        }
        let line = report.to_string();
        assert_eq!(line, "100/102 answered (a 50, b 50), p50 50ms, p99 99ms, 1 reset, 1 timed out");
        assert_eq!(Report::default().latency(50.0), None);
    }
}
