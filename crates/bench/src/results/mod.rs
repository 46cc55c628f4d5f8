//! What a bench found: every repetition, what was around it, and what could not be measured.
//!
//! [`Results`] is the raw JSON beside a report. Medians, spreads and ratios stand in it for readers with `jq`, and are
//! always computed anew from the repetitions when it is read.

mod connections;
mod environment;
mod figure;
mod limit;
mod ratio;
mod spread;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use connections::{ConnectionFailures, ConnectionRun, SecondPoint};
pub use environment::{DeviceFacts, Environment, Fact};
pub use figure::{Bucket, Detail, Figure, FigureKey, Latency, Quantity, Repetition};
pub use limit::{Limit, LoadFacts, limit, limit_of_peers};
pub use ratio::Ratio;
pub use spread::Spread;

use crate::profile::{FrameSize, Job, TrialKind};

/// The format of raw results that this version writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// Something that a profile asks for and this run could not give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotMeasured {
    /// What: a device, a trial, rounds.
    pub what: String,
    /// Why not, and what would be needed.
    pub why: String,
}

/// What the generator reaches by itself, with a wire for a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratorLimit {
    /// With frames of this size; `None`: with any.
    pub frame_bytes: Option<FrameSize>,
    /// Packets a second sent and received.
    pub packets_per_second: f64,
    /// How it sends, and how it was measured.
    pub how: String,
}

/// Something that a person should know before believing the figures.
pub type Note = String;

/// Everything that one run of `jeoul bench` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT`].
    pub format: u32,
    /// The profile's title.
    pub title: String,
    /// When it began: RFC 3339, UTC.
    pub started_at: String,
    /// How long it took, in seconds.
    pub duration_s: f64,
    /// Rounds that are whole.
    pub rounds: u32,
    /// The device that ratios are of.
    pub reference: String,
    /// The profile, word by word.
    pub profile: String,
    /// The machine.
    pub environment: Environment,
    /// What the figures' devices are, in the profile's order.
    pub devices: Vec<DeviceFacts>,
    /// The generator's own limit.
    pub generator_limits: Vec<GeneratorLimit>,
    /// Every figure, in the order of first measurement.
    pub figures: Vec<Figure>,
    /// Ratios of each figure to the reference's and of ours to each peer's.
    pub ratios: Vec<Ratio>,
    /// What is missing, and why.
    pub not_measured: Vec<NotMeasured>,
    /// What limits the meaning of all figures alike.
    pub notes: Vec<Note>,
}

/// Why raw results cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// Not JSON, or not of this shape.
    Malformed(serde_json::Error),
    /// Of another version.
    Format(u64),
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Malformed(error) => write!(formatter, "not the raw results of a bench: {error}"),
            ReadError::Format(format) => {
                write!(formatter, "raw results of format {format}; this version reads format {FORMAT}")
            }
        }
    }
}

impl std::error::Error for ReadError {}

impl Results {
    /// Results without figures. `reference` names the device that ratios are of.
    pub fn new(title: &str, reference: &str, profile: &str, environment: Environment) -> Results {
        Results {
            format: FORMAT,
            title: title.to_owned(),
            started_at: String::new(),
            duration_s: 0.0,
            rounds: 0,
            reference: reference.to_owned(),
            profile: profile.to_owned(),
            environment,
            devices: Vec::new(),
            generator_limits: Vec::new(),
            figures: Vec::new(),
            ratios: Vec::new(),
            not_measured: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Keeps one repetition of a figure. A second one of the same round takes the first one's place. A value that is no
    /// number is not kept, but named as not measured.
    pub fn record(&mut self, key: FigureKey, repetition: Repetition) {
        if !repetition.value.is_finite() {
            self.not_measured(format!("{key}, round {}", repetition.round), "the result was no number");
            return;
        }
        let figure = match self.figures.iter_mut().position(|figure| figure.key == key) {
            Some(index) => &mut self.figures[index],
            None => {
                self.figures.push(Figure { key, repetitions: Vec::new(), spread: None });
                // Just pushed, so there is a last one; an index cannot fail either way.
                let last = self.figures.len() - 1;
                &mut self.figures[last]
            }
        };
        figure.repetitions.retain(|kept| kept.round != repetition.round);
        figure.repetitions.push(repetition);
        figure.repetitions.sort_by_key(|kept| kept.round);
    }

    /// Keeps the figures of one latency measurement: median, p99 and p99.9, the first with all of it as its detail.
    pub fn record_latency(
        &mut self,
        key: &FigureKey,
        round: u32,
        latency: Latency,
        limited_by: Option<String>,
    ) {
        let parts = [
            (Quantity::LatencyP50, latency.p50_ns),
            (Quantity::LatencyP99, latency.p99_ns),
            (Quantity::LatencyP999, latency.p99_9_ns),
        ];
        for (quantity, value_ns) in parts {
            let detail = (quantity == Quantity::LatencyP50).then(|| Detail::Latency(latency.clone()));
            let limited_by = limited_by.clone();
            // Nanoseconds of a run of seconds, far below 2^53.
            let repetition = Repetition { round, value: value_ns as f64, limited_by, detail };
            self.record(FigureKey { quantity, ..key.clone() }, repetition);
        }
    }

    /// Adds to what is missing, once.
    pub fn not_measured(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let missing = NotMeasured { what: what.into(), why: why.into() };
        if !self.not_measured.contains(&missing) {
            self.not_measured.push(missing);
        }
    }

    /// The figure of `key`.
    pub fn figure(&self, key: &FigureKey) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.key == *key)
    }

    /// Computes spreads and ratios from the repetitions; to be called when the last one is recorded.
    pub fn summarise(&mut self) {
        for figure in &mut self.figures {
            figure.spread = Spread::of(&figure.values());
        }
        self.ratios = ratio::ratios(self);
    }

    /// The raw JSON, with line breaks, ending in one.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// Reads raw JSON of [`FORMAT`]. Spreads and ratios are computed anew.
    pub fn from_json(text: &str) -> Result<Results, ReadError> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(ReadError::Malformed)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format != u64::from(FORMAT) => return Err(ReadError::Format(format)),
            _ => {}
        }
        let mut results: Results = serde_json::from_value(value).map_err(ReadError::Malformed)?;
        results.summarise();
        Ok(results)
    }

    /// The kinds of a device's name that stand for the appliance itself.
    pub fn is_ours(&self, device: &str) -> bool {
        self.devices.iter().any(|facts| facts.name == device && facts.is_ours)
    }

    /// The generator's limit with frames of this size, in packets a second.
    pub fn generator_limit(&self, frame_bytes: Option<FrameSize>) -> Option<&GeneratorLimit> {
        let of_size = self.generator_limits.iter().find(|limit| limit.frame_bytes == frame_bytes);
        of_size.or_else(|| self.generator_limits.iter().find(|limit| limit.frame_bytes.is_none()))
    }

    /// What is shown together: trials with their kind and job, in order of first measurement.
    pub fn trials(&self) -> Vec<(String, TrialKind, Job)> {
        let mut trials = Vec::new();
        for key in self.figures.iter().map(|figure| &figure.key) {
            let trial = (key.trial.clone(), key.kind, key.job);
            if !trials.contains(&trial) {
                trials.push(trial);
            }
        }
        trials
    }
}
