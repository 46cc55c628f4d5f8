//! The highest rate of connections (RFC 9411, section 7.2).

use serde::{Deserialize, Serialize};

use super::{fell_short, halvings};
use crate::profile::Phases;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConnectionRateSettings {
    /// The first rate, in connections a second; above 0.
    pub start_per_s: f64,
    /// The highest, in connections a second; at least the first.
    pub highest_per_s: f64,
    /// The search ends when the bounds are this near, as a share of the upper one; above 0.
    pub resolution: f64,
    /// A rate passes with less than this share of failures.
    pub failures_max: f64,
    /// Of each step.
    pub phases: Phases,
}

/// One step: the rate goes up to `rate_per_s`, stays, goes down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConnectionStep {
    /// Connections a second while it stays.
    pub rate_per_s: f64,
    /// How long each phase takes.
    pub phases: Phases,
}

/// What came of a step while the rate stayed; what happened while it went up or down does not count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionOutcome {
    /// Connections a second that the client really tried.
    pub reached_per_s: f64,
    /// Connections tried.
    pub attempted: u64,
    /// Connections of these that were refused, reset or never answered.
    pub failed: u64,
}

impl ConnectionOutcome {
    /// The share of connections that failed, 0 to 1; with none tried, all of it.
    pub fn failures(&self) -> f64 {
        if self.attempted == 0 { 1.0 } else { self.failed as f64 / self.attempted as f64 }
    }
}

/// A step and its outcome, as raw results keep it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionRecord {
    /// Connections a second that were asked for.
    pub asked_per_s: f64,
    /// Whether it passed.
    pub passed: bool,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: ConnectionOutcome,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionRateResult {
    /// The highest rate that passed, in connections a second; 0: none did.
    pub passed_per_s: f64,
    /// The lowest that failed.
    pub failed_per_s: Option<f64>,
    /// The client could not reach a rate at which the device fails.
    pub limited_by_client: bool,
    /// Every step, in order.
    pub steps: Vec<ConnectionRecord>,
}

/// Doubles the rate until a step fails, then halves what is between.
///
/// A step that fails at a rate not above one that passed takes that pass back, as in [`super::Throughput`]; it can only
/// be one in which the client fell short.
#[derive(Clone, Debug)]
pub struct ConnectionRate {
    settings: ConnectionRateSettings,
    passed_per_s: f64,
    failed_per_s: Option<f64>,
    limited_by_client: bool,
    /// The highest rate passed.
    reached_top: bool,
    steps: Vec<ConnectionRecord>,
}

impl ConnectionRate {
    /// A search that has not begun.
    pub fn new(settings: ConnectionRateSettings) -> ConnectionRate {
        ConnectionRate {
            settings,
            passed_per_s: 0.0,
            failed_per_s: None,
            limited_by_client: false,
            reached_top: false,
            steps: Vec::new(),
        }
    }

    /// Steps at the most.
    pub fn steps_max(settings: &ConnectionRateSettings) -> u32 {
        // Up from the first rate or down from it, then between.
        2 + halvings(settings.highest_per_s) + 2 * halvings(1.0 / settings.resolution)
    }

    /// What to do next; `None`: the search is over.
    pub fn next(&self) -> Option<ConnectionStep> {
        let settings = &self.settings;
        // Doubles hold every count of steps.
        if self.limited_by_client || self.steps.len() >= ConnectionRate::steps_max(settings) as usize {
            return None;
        }
        let rate_per_s = match self.failed_per_s {
            None if self.passed_per_s == 0.0 => settings.start_per_s,
            None if self.reached_top => return None,
            None => (self.passed_per_s * 2.0).min(settings.highest_per_s),
            Some(failed) if failed - self.passed_per_s <= settings.resolution * failed => return None,
            Some(failed) => self.passed_per_s.midpoint(failed),
        };
        // Below one connection a second there is nothing to find.
        (rate_per_s >= 1.0).then_some(ConnectionStep { rate_per_s, phases: settings.phases })
    }

    /// Takes what came of the step that [`ConnectionRate::next`] named. Without one it does nothing.
    pub fn note(&mut self, outcome: ConnectionOutcome) {
        let Some(step) = self.next() else { return };
        let short = fell_short(step.rate_per_s, outcome.reached_per_s);
        let rate_per_s = if short { outcome.reached_per_s } else { step.rate_per_s };
        // Less than the share; a share of 0 asks for none at all.
        let failures = outcome.failures();
        let passed = outcome.attempted > 0 && (failures < self.settings.failures_max || outcome.failed == 0);
        self.steps.push(ConnectionRecord { asked_per_s: step.rate_per_s, passed, outcome });
        if outcome.attempted == 0 {
            return;
        }
        if passed {
            self.limited_by_client = short;
            self.reached_top = !short && step.rate_per_s >= self.settings.highest_per_s;
            // Never more than was tried.
            self.passed_per_s = self.passed_per_s.max(rate_per_s.min(outcome.reached_per_s));
        } else {
            if rate_per_s <= self.passed_per_s {
                self.passed_per_s = 0.0;
            }
            self.failed_per_s = Some(self.failed_per_s.map_or(rate_per_s, |failed| failed.min(rate_per_s)));
        }
    }

    /// What was found so far, or, when `next` says `None`, found.
    pub fn result(&self) -> ConnectionRateResult {
        ConnectionRateResult {
            passed_per_s: self.passed_per_s,
            failed_per_s: self.failed_per_s,
            limited_by_client: self.limited_by_client,
            steps: self.steps.clone(),
        }
    }
}
