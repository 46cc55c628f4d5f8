//! What a run says at its end, as one JSON object. Counters are integers, durations have their unit in the
//! name.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::account::{Account, latencies};
use crate::open::PortReport;
use crate::profile::Stream;
use crate::sender::Sent;
use crate::tcp::{Client, Counts, Failures};

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `jeoul-gen`.
    pub tool: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The profile's file.
    pub profile: String,
    /// How each port was driven.
    pub ports: Vec<PortReport>,
    /// How long frames were sent.
    pub duration_s: f64,
    /// By stream.
    pub streams: Vec<StreamReport>,
    /// Over all streams.
    pub totals: StreamReport,
    /// By second of the run, and one for the rest with the time of waiting for late frames.
    pub seconds: Vec<Second>,
    /// Received frames that bear no stamp of this run, or came by another port than their stream's.
    pub unknown_received: u64,
    /// What kept it from sending more.
    pub limited_by: Limit,
    /// Whether it was told to end before its bounds.
    pub ended_early: bool,
}

/// What kept a run from sending more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// Nothing: it sent what was asked.
    Rate,
    /// The ring, or the thread that fills it.
    Transmit,
    /// The bound in packets.
    Packets,
}

/// One stream, or all of them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamReport {
    /// The stream's name; `totals` for all.
    pub name: String,
    /// The size of its frames, check sequence included; the mean of a mix.
    pub frame_bytes: u64,
    /// How many flows it has.
    pub flows: u64,
    /// Frames each second that were asked for, or connections of a stream of these; null for as many as
    /// possible.
    pub rate_pps_asked: Option<f64>,
    /// Frames each second that were sent, or connections that were begun.
    pub rate_pps_reached: f64,
    /// Frames sent.
    pub transmitted: u64,
    /// Frames, or connections, that were due and not sent.
    pub transmit_refused: u64,
    /// Different frames received.
    pub received: u64,
    /// Sent and not received.
    pub lost: u64,
    /// Received behind a later one.
    pub reordered: u64,
    /// Copies received beside the first.
    pub duplicated: u64,
    /// Bytes of what was sent, check sequences included.
    pub bytes_transmitted: u64,
    /// Bytes of all that was received, copies and check sequences included.
    pub bytes_received: u64,
    /// TCP connections of which a SYN was sent.
    pub connections_begun: u64,
    /// Of these, that were established.
    pub connections_opened: u64,
    /// That failed, before that or after.
    pub connections_failed: u64,
    /// Why they failed.
    pub connection_failures: Failures,
    /// That ended as they should.
    pub connections_closed: u64,
    /// That are still open at the end of the run.
    pub connections_held: u64,
    /// The most that were open at once; of several streams the sum.
    pub connections_held_most: u64,
    /// From stamp to receipt, or for connections from SYN to SYN-ACK; null where nothing was measured.
    pub latency_ns: Option<Latency>,
}

/// Durations in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of the statistics say it all")]
pub struct Latency {
    pub count: u64,
    pub min: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
}

impl Latency {
    /// Of what a histogram holds; `None` when it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile: f64| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
        })
    }
}

/// One second of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Second {
    /// Its end, in seconds since the first frame was due.
    pub at_s: f64,
    /// Frames sent in it.
    pub transmitted: u64,
    /// Different frames received in it.
    pub received: u64,
    /// Gaps in the sequences seen in it, less those filled by late frames.
    pub lost: i64,
    /// Connections of which a SYN was sent in it.
    pub begun: u64,
    /// Connections that were established in it.
    pub opened: u64,
    /// Connections that failed in it.
    pub failed: u64,
    /// Connections that are open at its end.
    pub held: u64,
    /// Connections that ended in it as they should.
    pub closed: u64,
}

/// What was measured of one stream.
#[derive(Debug, Default)]
pub struct Measured {
    /// By its sender.
    pub sent: Sent,
    /// What was asked of it each second: frames, or connections.
    pub asked_per_second: Option<f64>,
    /// What it sent of that.
    pub begun: u64,
    /// Different frames received.
    pub received: u64,
    /// Sent and not received.
    pub lost: u64,
    /// Received behind a later one.
    pub reordered: u64,
    /// Copies received beside the first.
    pub duplicated: u64,
    /// Bytes of all that was received.
    pub bytes_received: u64,
    /// Connections, by how far they came.
    pub connections: Counts,
    /// How late frames or answers were.
    pub latency: Option<Histogram<u64>>,
}

impl Measured {
    /// Of a stream of stamped frames.
    pub fn frames(sent: Sent, asked_per_second: Option<f64>, account: Account) -> Self {
        Self {
            sent,
            asked_per_second,
            begun: sent.packets,
            received: account.received,
            lost: sent.packets.saturating_sub(account.received),
            reordered: account.reordered,
            duplicated: account.duplicated,
            bytes_received: account.bytes,
            connections: Counts::default(),
            latency: account.latency,
        }
    }

    /// Of a stream of connections, over the first `duration_ns`. Its frames bear no numbers: what is lost
    /// shows as a connection that failed.
    pub fn connections(client: Client, duration_ns: u64) -> Self {
        let refused = client.given_up();
        let asked_per_second = client.asked_per_second(duration_ns);
        let outcome = client.into_outcome();
        let sent = Sent { packets: outcome.transmitted, bytes: outcome.bytes_transmitted, refused };
        Self {
            sent,
            asked_per_second,
            begun: outcome.counts.begun,
            received: outcome.received,
            bytes_received: outcome.bytes_received,
            connections: outcome.counts,
            latency: outcome.latency,
            ..Self::default()
        }
    }
}

impl StreamReport {
    /// The report of `stream`, which sent for `duration_s`.
    pub fn new(stream: &Stream, measured: &Measured, duration_s: f64) -> Self {
        Self {
            name: stream.name.clone(),
            frame_bytes: stream.sizes.mean_bytes().round() as u64,
            flows: u64::from(stream.flows.count()),
            rate_pps_asked: measured.asked_per_second,
            rate_pps_reached: per_second(measured.begun, duration_s),
            transmitted: measured.sent.packets,
            transmit_refused: measured.sent.refused,
            received: measured.received,
            lost: measured.lost,
            reordered: measured.reordered,
            duplicated: measured.duplicated,
            bytes_transmitted: measured.sent.bytes,
            bytes_received: measured.bytes_received,
            latency_ns: measured.latency.as_ref().and_then(Latency::of),
            ..Self::connections(measured.connections)
        }
    }

    /// What there is to say of connections alone.
    fn connections(counts: Counts) -> Self {
        Self {
            connections_begun: counts.begun,
            connections_opened: counts.opened,
            connections_failed: counts.failures.total(),
            connection_failures: counts.failures,
            connections_closed: counts.closed,
            connections_held: counts.held,
            connections_held_most: counts.held_most,
            ..Self::default()
        }
    }

    /// All streams as one.
    pub fn total(streams: &[Self], measured: &[Measured], duration_s: f64) -> Self {
        let sum = |of: fn(&Self) -> u64| streams.iter().map(of).sum::<u64>();
        let (transmitted, bytes) = (sum(|s| s.transmitted), sum(|s| s.bytes_transmitted));
        let mut latency = latencies();
        for histogram in measured.iter().filter_map(|measured| measured.latency.as_ref()) {
            // All of them have the same bounds, so that none is refused.
            let _ = latency.add(histogram);
        }
        let mut connections = Counts::default();
        measured.iter().for_each(|measured| connections += measured.connections);
        Self {
            name: "totals".to_owned(),
            frame_bytes: bytes.checked_div(transmitted).unwrap_or(0),
            flows: sum(|s| s.flows),
            rate_pps_asked: streams.iter().map(|stream| stream.rate_pps_asked).sum(),
            rate_pps_reached: per_second(measured.iter().map(|measured| measured.begun).sum(), duration_s),
            transmitted,
            transmit_refused: sum(|s| s.transmit_refused),
            received: sum(|s| s.received),
            lost: sum(|s| s.lost),
            reordered: sum(|s| s.reordered),
            duplicated: sum(|s| s.duplicated),
            bytes_transmitted: bytes,
            bytes_received: sum(|s| s.bytes_received),
            latency_ns: Latency::of(&latency),
            ..Self::connections(connections)
        }
    }
}

fn per_second(count: u64, duration_s: f64) -> f64 {
    if duration_s > 0.0 { count as f64 / duration_s } else { 0.0 }
}
