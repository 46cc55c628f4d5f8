//! One measured quantity of one device, with every repetition.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ConnectionRun, Spread};
use crate::profile::{Device, Job, Setting, Trial, TrialKind, words};
use crate::search::{BackToBackResult, ConnectionRateResult, LossPoint, ThroughputResult};
use crate::units;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// The highest rate without loss, packets a second.
    Throughput,
    /// What comes out of a flood, packets a second.
    Delivered,
    /// Sessions opened, a second.
    NewFlows,
    /// Half of all packets took at most so long, nanoseconds.
    LatencyP50,
    /// 99 of 100 did.
    LatencyP99,
    /// 999 of 1000 did.
    LatencyP999,
    /// The longest burst without loss, packets.
    Burst,
    /// Connections a second.
    ConnectionRate,
    /// Connections held at once.
    Connections,
    /// Connections that failed.
    FailedConnections,
    /// Bits a second of a transfer.
    Goodput,
    /// Of one CPU, percent.
    Cpu,
    /// How late the first packet after idle time was, nanoseconds.
    FirstPacket,
    /// Time of a turn at p99.99, nanoseconds.
    TurnP9999,
    /// Time a packet, as a multiple of the calibration loop of the same run.
    Calibrations,
    /// Instructions a packet.
    Instructions,
    /// Bytes a session.
    SessionBytes,
}

words!(Quantity {
    Throughput = "throughput",
    Delivered = "delivered",
    NewFlows = "new-flows",
    LatencyP50 = "latency-p50",
    LatencyP99 = "latency-p99",
    LatencyP999 = "latency-p99.9",
    Burst = "burst",
    ConnectionRate = "connection-rate",
    Connections = "connections",
    FailedConnections = "failed-connections",
    Goodput = "goodput",
    Cpu = "cpu",
    FirstPacket = "first-packet",
    TurnP9999 = "turn-p99.99",
    Calibrations = "calibrations",
    Instructions = "instructions",
    SessionBytes = "session-bytes",
});

impl Quantity {
    /// What a table's heading calls it.
    pub fn title(self) -> &'static str {
        match self {
            Quantity::Throughput => "Throughput without loss",
            Quantity::Delivered => "Delivered",
            Quantity::NewFlows => "New sessions",
            Quantity::LatencyP50 => "Latency p50",
            Quantity::LatencyP99 => "Latency p99",
            Quantity::LatencyP999 => "Latency p99.9",
            Quantity::Burst => "Longest burst without loss",
            Quantity::ConnectionRate => "Connection rate",
            Quantity::Connections => "Concurrent connections",
            Quantity::FailedConnections => "Failed connections",
            Quantity::Goodput => "Transfer",
            Quantity::Cpu => "CPU",
            Quantity::FirstPacket => "First packet after idle",
            Quantity::TurnP9999 => "Turn p99.99",
            Quantity::Calibrations => "Cost of a packet in memory",
            Quantity::Instructions => "Instructions per packet",
            Quantity::SessionBytes => "Memory per session",
        }
    }

    /// What a device does, as a sentence says it: "delivers 640 kpps".
    pub fn sentence(self, value: f64) -> String {
        let shown = self.show(value);
        match self {
            Quantity::Throughput => format!("forwards {shown} without loss"),
            Quantity::Delivered => format!("delivers {shown}"),
            Quantity::NewFlows => format!("opens {} sessions a second", units::short(value)),
            Quantity::LatencyP50 => format!("takes {shown} at the median"),
            Quantity::LatencyP99 => format!("takes {shown} at p99"),
            Quantity::LatencyP999 => format!("takes {shown} at p99.9"),
            Quantity::Burst => format!("lets a burst of {shown} packets through whole"),
            Quantity::ConnectionRate => format!("lets {} connections a second through", units::short(value)),
            Quantity::Connections => format!("holds {shown} connections at once"),
            Quantity::FailedConnections => format!("lets {shown} connections fail"),
            Quantity::Goodput => format!("transfers {shown}"),
            Quantity::Cpu => format!("takes {shown} of one CPU"),
            Quantity::FirstPacket => format!("forwards the first packet after idle time in {shown}"),
            Quantity::TurnP9999 => format!("ends 9,999 of 10,000 turns within {shown}"),
            Quantity::Calibrations => format!("takes {shown} per packet"),
            Quantity::Instructions => format!("takes {shown} instructions per packet"),
            Quantity::SessionBytes => format!("takes {shown} per session"),
        }
    }

    /// Whether a higher figure is the better one.
    pub fn higher_is_better(self) -> bool {
        !matches!(
            self,
            Quantity::LatencyP50
                | Quantity::LatencyP99
                | Quantity::LatencyP999
                | Quantity::FirstPacket
                | Quantity::TurnP9999
                | Quantity::Cpu
                | Quantity::FailedConnections
                | Quantity::Calibrations
                | Quantity::Instructions
                | Quantity::SessionBytes
        )
    }

    /// A value as a person reads it: "1.23 Mpps", "27.5 µs".
    pub fn show(self, value: f64) -> String {
        match self {
            Quantity::Throughput | Quantity::Delivered => format!("{}pps", units::short(value)),
            Quantity::NewFlows | Quantity::ConnectionRate => format!("{}/s", units::short(value)),
            Quantity::Goodput => format!("{}bit/s", units::short(value)),
            Quantity::Burst
            | Quantity::Connections
            | Quantity::FailedConnections
            | Quantity::Instructions => units::short(value),
            Quantity::Cpu => format!("{} %", units::three_digits(value)),
            Quantity::Calibrations => format!("{} cal", units::three_digits(value)),
            Quantity::SessionBytes => format!("{} B", units::three_digits(value)),
            Quantity::LatencyP50
            | Quantity::LatencyP99
            | Quantity::LatencyP999
            | Quantity::FirstPacket
            | Quantity::TurnP9999 => units::nanoseconds(value),
        }
    }
}

/// What a figure is of. Two figures may be compared if all of it is the same but the device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FigureKey {
    /// The trial's name in the profile.
    pub trial: String,
    /// Its kind.
    pub kind: TrialKind,
    /// What the device did.
    pub job: Job,
    /// The device's name in the profile.
    pub device: String,
    /// What was sent.
    #[serde(flatten)]
    pub setting: Setting,
    /// What is counted.
    pub quantity: Quantity,
}

impl FigureKey {
    /// The key of what `device` shows in `trial` with `setting`.
    pub fn of(trial: &Trial, device: &Device, setting: Setting, quantity: Quantity) -> FigureKey {
        FigureKey {
            trial: trial.name.clone(),
            kind: trial.method.kind(),
            job: trial.job,
            device: device.name.clone(),
            setting,
            quantity,
        }
    }
}

impl fmt::Display for FigureKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}, {}, {}", self.trial, self.quantity.title(), self.device, self.setting)
    }
}

/// Latency of the packets of one run, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Packets measured.
    pub count: u64,
    /// The shortest.
    pub min_ns: u64,
    /// The mean.
    pub mean_ns: f64,
    /// The median.
    pub p50_ns: u64,
    /// 9 of 10 took at most so long.
    pub p90_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// 999 of 1000.
    pub p99_9_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Packets a second at which it was measured; 0: one at a time.
    #[serde(default)]
    pub rate_pps: f64,
}

impl Latency {
    /// Points of the percentile curve: the share of packets above, and how long they took at the most. The last stands
    /// for the longest: one of all.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let points = [(0.5, self.p50_ns), (0.1, self.p90_ns), (0.01, self.p99_ns), (0.001, self.p99_9_ns)];
        // Counts and times of a run, far below 2^53.
        let last = (1.0 / self.count.max(1) as f64, self.max_ns);
        let points = points.into_iter().filter(|(above, _)| *above > last.0);
        points.chain([last]).map(|(above, value_ns)| (above, value_ns as f64)).collect()
    }
}

/// One bar of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its upper bound, in nanoseconds; the lower is the upper of the one before, or 0.
    pub up_to_ns: u64,
    /// How many.
    pub count: u64,
    /// How many of these in which the thread was switched out against its will.
    #[serde(default)]
    pub switched_out: u64,
}

/// What a repetition knows beyond its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Of a latency figure.
    Latency(Latency),
    /// Of a throughput search.
    Throughput(ThroughputResult),
    /// Of a loss curve, from the highest rate down.
    LossCurve(Vec<LossPoint>),
    /// Of a search for the longest burst.
    BackToBack(BackToBackResult),
    /// Of a search for the highest rate of connections.
    ConnectionRate(ConnectionRateResult),
    /// Of connections that are held, or of a ramp.
    Connections(ConnectionRun),
    /// Of turns of a worker, ascending.
    Histogram(Vec<Bucket>),
}

/// One round's value of a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// From 1.
    pub round: u32,
    /// In the quantity's unit.
    pub value: f64,
    /// What limited it, as a sentence ([`super::limit()`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<String>,
    /// What else is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

impl Repetition {
    /// A value alone.
    pub fn new(round: u32, value: f64) -> Repetition {
        Repetition { round, value, limited_by: None, detail: None }
    }

    /// The same, with what limited it.
    #[must_use]
    pub fn limited_by(mut self, limit: impl Into<String>) -> Repetition {
        self.limited_by = Some(limit.into());
        self
    }

    /// The same, with what else is known.
    #[must_use]
    pub fn with_detail(mut self, detail: Detail) -> Repetition {
        self.detail = Some(detail);
        self
    }
}

/// A figure with all its repetitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is of.
    #[serde(flatten)]
    pub key: FigureKey,
    /// One for each round, ascending.
    pub repetitions: Vec<Repetition>,
    /// Of these; filled by [`super::Results::summarise`].
    #[serde(default)]
    pub spread: Option<Spread>,
}

impl Figure {
    /// The values alone.
    pub fn values(&self) -> Vec<f64> {
        self.repetitions.iter().map(|repetition| repetition.value).collect()
    }

    /// What limited it: the sentence that most rounds say, and how many; on a tie the earlier.
    pub fn limited_by(&self) -> Option<(&str, usize)> {
        let sentences: Vec<&str> =
            self.repetitions.iter().filter_map(|repetition| repetition.limited_by.as_deref()).collect();
        let count = |sentence: &str| sentences.iter().filter(|other| **other == sentence).count();
        let most = sentences.iter().map(|sentence| count(sentence)).max()?;
        let sentence = sentences.iter().find(|sentence| count(sentence) == most)?;
        Some((sentence, most))
    }

    /// The repetition whose value is nearest to the median: the one to draw, where only one can be.
    pub fn typical(&self) -> Option<&Repetition> {
        let median = Spread::of(&self.values())?.median;
        self.repetitions.iter().min_by(|a, b| (a.value - median).abs().total_cmp(&(b.value - median).abs()))
    }
}
