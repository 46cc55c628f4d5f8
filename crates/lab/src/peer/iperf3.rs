//! iperf3: a server, and one bounded run of its client.
//!
//! Any thread; blocks. Refuses targets outside the lab's networks.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use crate::address::lab_address;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::program;

/// How long the server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running server on one port, IPv4 and IPv6; see the module.
#[derive(Debug)]
pub struct Iperf3 {
    _process: Process,
}

/// What a run came to, as both ends saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iperf3Report {
    /// Bytes that the client has sent.
    pub sent_bytes: u64,
    /// Bytes that the server had received when the client told it that the test was over; some may have been
    /// on their way.
    pub received_bytes: u64,
    /// Segments that were sent again.
    pub retransmitted_segments: u64,
    /// What the server received per second, in bits.
    pub received_bps: f64,
}

impl Iperf3 {
    /// Starts it and waits until it listens. The name, unique in the testbed, is its log's.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self> {
        let path = namespace.directory().join(format!("{name}.iperf3.log"));
        let log = fs::File::create(&path).map_err(Error::system(format!("creating {}", path.display())))?;
        let stderr = log.try_clone().map_err(Error::system(format!("opening {}", path.display())))?;
        let mut command = namespace.command("iperf3")?;
        command.args(["--server", "--forceflush", "--port", &port.to_string()]).stdout(log).stderr(stderr);
        let process = namespace.spawn(command)?;
        let said = || fs::read_to_string(&path).unwrap_or_default();
        let listens =
            program::wait_until(START_LIMIT, || !process.is_running() || said().contains("Server listening"));
        if listens && process.is_running() {
            return Ok(Self { _process: process });
        }
        Err(Error::TooSlow { waiting_for: format!("iperf3 to listen on port {port}: {}", said()) })
    }
}

/// Sends so many bytes over one TCP connection from a namespace to an [`Iperf3`] server.
pub fn run_iperf3(
    namespace: &Namespace,
    target: SocketAddr,
    length_bytes: u64,
    limit: Duration,
) -> Result<Iperf3Report> {
    run_iperf3_over(namespace, target, length_bytes, 1, limit)
}

/// The same over several connections at once, which share the bytes among them.
pub fn run_iperf3_over(
    namespace: &Namespace,
    target: SocketAddr,
    length_bytes: u64,
    streams: u32,
    limit: Duration,
) -> Result<Iperf3Report> {
    let address = lab_address(target.ip())?.to_string();
    let (port, length) = (target.port().to_string(), length_bytes.to_string());
    let mut command = namespace.command("iperf3")?;
    command.args(["--client", &address, "--port", &port, "--bytes", &length, "--json"]);
    command.args(["--parallel", &streams.to_string()]);
    let output = program::run(&mut command, limit)?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_report(&text).ok_or_else(|| Error::unusable("iperf3's report", "it lacks the sums of both ends"))
}

fn parse_report(text: &str) -> Option<Iperf3Report> {
    Some(Iperf3Report {
        sent_bytes: number(text, "sum_sent", "bytes")? as u64,
        received_bytes: number(text, "sum_received", "bytes")? as u64,
        retransmitted_segments: number(text, "sum_sent", "retransmits")? as u64,
        received_bps: number(text, "sum_received", "bits_per_second")?,
    })
}

/// A number in one of the report's objects, which hold no others.
fn number(text: &str, object: &str, key: &str) -> Option<f64> {
    let (_, object) = text.split_once(&format!("\"{object}\":"))?;
    let (object, _) = object.split_once('}')?;
    let (_, value) = object.split_once(&format!("\"{key}\":"))?;
    value.split(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_both_ends_are_read() {
        let text = r#"{ "end": { "streams": [{ "sender": { "bytes": 1 } }],
            "sum_sent": { "start": 0, "bytes": 10000000, "bits_per_second": 9e9, "retransmits": 3, "sender": true },
            "sum_received": { "bytes": 9999000, "bits_per_second": 4000000000.5, "sender": true } } }"#;
        let report = parse_report(text).unwrap();
        assert_eq!((report.sent_bytes, report.received_bytes), (10_000_000, 9_999_000));
        assert_eq!((report.retransmitted_segments, report.received_bps), (3, 4_000_000_000.5));
        assert_eq!(parse_report("{ \"error\": \"unable to connect\" }"), None);
    }
}
