//! What to send next, and what it meant: searches as state machines without I/O.
//!
//! All have the same shape: `next` says what the generator is to do, `note` takes what came of it, and `next` says
//! `None` when nothing more is to be learnt. `next` may be asked again without harm. Each ends after a number of trials
//! that it states beforehand, whatever the device does.

mod back_to_back;
mod connection_rate;
mod loss_curve;
mod throughput;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use back_to_back::{BackToBack, BackToBackResult, BackToBackSettings, Burst, BurstOutcome};
pub use connection_rate::{
    ConnectionOutcome, ConnectionRate, ConnectionRateResult, ConnectionRateSettings, ConnectionStep,
};
pub use loss_curve::{LossCurve, LossPoint};
pub use throughput::{Throughput, ThroughputResult, ThroughputSettings};

/// One run of the generator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Packets a second.
    pub rate_pps: f64,
    /// How long.
    pub duration: Duration,
    /// Whether it confirms a result instead of looking for one.
    pub verifies: bool,
}

/// What came of a run of the generator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialOutcome {
    /// Packets a second that the generator really sent.
    pub reached_pps: f64,
    /// Packets that left the generator.
    pub transmitted: u64,
    /// Packets of these that came back, each counted once.
    pub received: u64,
}

impl TrialOutcome {
    /// The share of packets that did not come back, 0 to 1. With nothing sent, all of it is lost.
    pub fn loss(&self) -> f64 {
        if self.transmitted == 0 {
            return 1.0;
        }
        self.transmitted.saturating_sub(self.received) as f64 / self.transmitted as f64
    }

    /// Packets a second that came back.
    pub fn delivered_pps(&self) -> f64 {
        self.reached_pps * (1.0 - self.loss())
    }
}

/// A trial and its outcome, as raw results keep it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Packets a second that were asked for.
    pub asked_pps: f64,
    /// For how long, in seconds.
    pub duration_s: f64,
    /// Whether it confirmed a result.
    pub verifies: bool,
    /// Whether it passed.
    pub passed: bool,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: TrialOutcome,
}

/// The share of an asked rate that a generator has to reach; with less, it is the generator that is measured.
const REACHED_MIN: f64 = 0.98;

/// Whether a generator fell short of the rate that it was asked for.
pub(crate) fn fell_short(asked: f64, reached: f64) -> bool {
    reached < asked * REACHED_MIN
}

/// Halvings that take a span of `ratio` to one of 1.
fn halvings(ratio: f64) -> u32 {
    // Ratios of rates and resolutions: at most some dozens of halvings; the cast saturates.
    ratio.max(1.0).log2().ceil() as u32
}
