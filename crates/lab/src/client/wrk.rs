//! wrk: one bounded run that opens a connection for every request.
//!
//! Any thread; blocks. Refuses targets outside the lab's networks.

use std::net::SocketAddr;
use std::time::Duration;

use crate::address::lab_address;
use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// How much longer than its duration a run may take: connections that hang are given up after two seconds.
const GRACE: Duration = Duration::from_secs(15);

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WrkReport {
    /// Requests that were answered, each on a connection of its own.
    pub requests: u64,
    /// Requests answered a second.
    pub requests_per_s: f64,
    /// Connections and requests that failed, for whatever reason.
    pub failed: u64,
}

/// Requests over so many connections at once, for so long.
pub fn run_wrk(
    namespace: &Namespace,
    target: SocketAddr,
    parallel: u32,
    duration: Duration,
) -> Result<WrkReport> {
    lab_address(target.ip())?;
    let mut command = namespace.command("wrk")?;
    command.args(["--threads", "1", "--connections", &parallel.to_string()]);
    command.args(["--duration", &format!("{}s", duration.as_secs().max(1))]);
    command.args(["--header", "Connection: close", &format!("http://{target}/")]);
    let output = namespace.output_within(command, duration + GRACE)?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_report(&text).ok_or_else(|| Error::unusable(text.trim(), "wrk's report lacks its sums"))
}

/// `  12345 requests in 3.00s, 1.50MB read`, `Requests/sec:   4115.00`, and perhaps
/// `  Socket errors: connect 0, read 12, write 0, timeout 1` and `  Non-2xx or 3xx responses: 3`.
fn parse_report(text: &str) -> Option<WrkReport> {
    let after = |words: &str| text.lines().find_map(|line| line.trim().strip_prefix(words));
    let requests = text.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok())?;
    let requests_per_s = after("Requests/sec:")?.trim().parse().ok()?;
    let numbers =
        |line: &str| line.split([',', ' ']).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    let failed = ["Socket errors:", "Non-2xx or 3xx responses:"].iter().filter_map(|words| after(words));
    Some(WrkReport { requests, requests_per_s, failed: failed.map(numbers).sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_failures_are_read() {
        let text = "Running 2s test @ http://198.18.0.10:80/\n  1 threads and 64 connections\n  Thread Stats   Avg\n\
                    \x20 8312 requests in 2.00s, 1.61MB read\n\
                    \x20 Socket errors: connect 0, read 12, write 0, timeout 1\nRequests/sec:   4150.25\n";
        let report = WrkReport { requests: 8_312, requests_per_s: 4_150.25, failed: 13 };
        assert_eq!(parse_report(text), Some(report));
        assert_eq!(parse_report("unable to connect"), None);
    }
}
