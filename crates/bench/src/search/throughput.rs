//! The highest rate without loss (RFC 2544, section 26.1).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Trial, TrialOutcome, TrialRecord, fell_short, halvings};

/// The search ends without a rate below this share of the highest.
const LOWEST_SHARE: f64 = 0.001;

/// How often a rate found is verified at the most; each failure leads to a lower one.
const VERIFICATIONS_MAX: u32 = 3;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThroughputSettings {
    /// The first rate, in packets a second: what the generator reaches, or what the link carries.
    pub highest_pps: f64,
    /// The search ends when the bounds are this near, as a share of the upper one; above 0.
    pub resolution: f64,
    /// Loss that still counts as none, as a share; 0 for RFC 2544.
    pub acceptable_loss: f64,
    /// Of each trial.
    pub duration: Duration,
    /// How often a rate that failed is tried again: it fails only if every try does. 0 for RFC 2544.
    pub retries: u32,
    /// The rate found is tried once more for so long.
    pub verify: Option<Duration>,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThroughputResult {
    /// The highest rate that passed, in packets a second; 0: none did.
    pub passed_pps: f64,
    /// The lowest rate that failed; `None`: none did.
    pub failed_pps: Option<f64>,
    /// The bounds are as near as was asked for.
    pub resolved: bool,
    /// The longer trial at `passed_pps` passed too; `Some(false)`: every one failed, and `passed_pps` is below them all
    /// but not verified; `None`: there was none.
    pub verified: Option<bool>,
    /// The generator could not reach a rate at which the device fails: the device can do more.
    pub limited_by_generator: bool,
    /// Every trial, in order.
    pub trials: Vec<TrialRecord>,
}

/// A search for the highest rate without loss.
///
/// It begins at the highest rate (RFC 2544) and then where the device said that it ends: at what came out of the trial
/// that failed. From there it takes growing steps up or down until it has a bound on either side, and halves what is
/// between them. The bounds only ever come nearer, with one exception.
///
/// **Trials that contradict each other.** Where a rate fails that is not above one that passed, the failure stands and
/// every pass at or above it is taken back: no loss means no loss, and the lower figure is the honest one. It can happen in
/// the verifying trial, and where the generator fell short of the rate that it was asked for: such a trial counts at the
/// rate that was reached. Where the generator falls short of the highest rate it ever reached and nothing is lost, the
/// search is over and *limited by the generator*.
#[derive(Clone, Debug)]
pub struct Throughput {
    settings: ThroughputSettings,
    /// Rates that passed and were not taken back, ascending.
    passed_pps: Vec<f64>,
    failed_pps: Option<f64>,
    /// The most that the generator has reached.
    reached_pps: f64,
    /// What came out of the last trial that failed.
    delivered_pps: f64,
    /// Tries of the present rate that failed.
    failed_tries: u32,
    /// Steps in one direction while there is no bound on the other side.
    steps: u32,
    /// A rate failed after another had passed: the bounds are the search's own.
    bracketed: bool,
    /// The highest rate passed.
    reached_top: bool,
    verifications: u32,
    verified: Option<bool>,
    limited_by_generator: bool,
    /// The trial that `note` is waited for.
    pending: Option<Trial>,
    trials: Vec<TrialRecord>,
}

impl Throughput {
    /// A search that has not begun.
    pub fn new(settings: ThroughputSettings) -> Throughput {
        let mut search = Throughput {
            settings,
            passed_pps: Vec::new(),
            failed_pps: None,
            reached_pps: 0.0,
            delivered_pps: settings.highest_pps,
            failed_tries: 0,
            steps: 0,
            bracketed: false,
            reached_top: false,
            verifications: 0,
            verified: None,
            limited_by_generator: false,
            pending: None,
            trials: Vec::new(),
        };
        search.pending = search.choose();
        search
    }

    /// Trials at the most, whatever the device does. A device without noise takes two thirds of them or fewer.
    pub fn trials_max(settings: &ThroughputSettings) -> u32 {
        let steps = halvings(1.0 / settings.resolution) + halvings(1.0 / LOWEST_SHARE);
        (2 + 2 * steps) * (1 + settings.retries) + VERIFICATIONS_MAX
    }

    /// What to send next; `None`: the search is over.
    pub fn next(&self) -> Option<Trial> {
        self.pending
    }

    /// Takes what came of the trial that [`Throughput::next`] named. Without one it does nothing.
    pub fn note(&mut self, outcome: TrialOutcome) {
        let Some(trial) = self.pending else { return };
        let passed = outcome.transmitted > 0 && outcome.loss() <= self.settings.acceptable_loss;
        self.trials.push(TrialRecord {
            asked_pps: trial.rate_pps,
            duration_s: trial.duration.as_secs_f64(),
            verifies: trial.verifies,
            passed,
            outcome,
        });
        // A run in which nothing was sent says nothing about the device; the bound on trials ends a row of them.
        if outcome.transmitted > 0 {
            self.judge(trial, passed, outcome);
        }
        self.pending = self.choose();
    }

    /// What was found so far, or, when `next` says `None`, found.
    pub fn result(&self) -> ThroughputResult {
        ThroughputResult {
            passed_pps: self.low_pps(),
            failed_pps: self.failed_pps,
            resolved: self.is_resolved(),
            verified: self.verified,
            limited_by_generator: self.limited_by_generator,
            trials: self.trials.clone(),
        }
    }

    fn low_pps(&self) -> f64 {
        self.passed_pps.last().copied().unwrap_or(0.0)
    }

    fn is_resolved(&self) -> bool {
        match self.failed_pps {
            Some(high) => {
                let low = self.low_pps();
                high - low <= self.settings.resolution * high
                    || high <= self.settings.highest_pps * LOWEST_SHARE
            }
            None => self.reached_top,
        }
    }

    fn judge(&mut self, trial: Trial, passed: bool, outcome: TrialOutcome) {
        let short = fell_short(trial.rate_pps, outcome.reached_pps);
        // What passes is never more than was asked, nor than was sent. What fails is the rate that was asked, unless the
        // generator fell short: a per mille of jitter is no contradiction.
        let rate_pps = outcome.reached_pps.min(trial.rate_pps);
        if short && passed && self.reached_pps < trial.rate_pps && !trial.verifies {
            self.limited_by_generator = true;
        }
        self.reached_pps = self.reached_pps.max(outcome.reached_pps);
        if trial.verifies {
            self.verifications += 1;
            self.verified = Some(passed);
            if !passed {
                self.fail(rate_pps, &outcome);
            }
        } else if passed {
            self.reached_top |= !short && trial.rate_pps >= self.settings.highest_pps;
            self.pass(rate_pps);
        } else if self.failed_tries < self.settings.retries {
            self.failed_tries += 1;
        } else {
            self.fail(if short { rate_pps } else { trial.rate_pps }, &outcome);
        }
    }

    fn pass(&mut self, rate_pps: f64) {
        self.failed_tries = 0;
        if self.passed_pps.is_empty() {
            self.steps = 0;
        }
        // At or above a rate that failed, it is the failure that stands.
        if self.failed_pps.is_none_or(|failed| rate_pps < failed) && rate_pps > self.low_pps() {
            self.passed_pps.push(rate_pps);
        }
        self.steps += 1;
    }

    fn fail(&mut self, rate_pps: f64, outcome: &TrialOutcome) {
        self.failed_tries = 0;
        self.limited_by_generator = false;
        self.bracketed |= !self.passed_pps.is_empty();
        self.failed_pps = Some(self.failed_pps.map_or(rate_pps, |failed| failed.min(rate_pps)));
        self.passed_pps.retain(|passed| *passed < rate_pps);
        self.delivered_pps = outcome.delivered_pps();
        if self.passed_pps.is_empty() {
            self.steps += 1;
        }
    }

    fn choose(&self) -> Option<Trial> {
        let settings = &self.settings;
        // Doubles hold every count of trials.
        if self.trials.len() >= Throughput::trials_max(settings) as usize {
            return None;
        }
        let low_pps = self.low_pps();
        if self.limited_by_generator || self.is_resolved() {
            let verifies =
                low_pps > 0.0 && self.verified != Some(true) && self.verifications < VERIFICATIONS_MAX;
            let duration = settings.verify.filter(|_| verifies)?;
            return Some(Trial { rate_pps: low_pps, duration, verifies: true });
        }
        let rate_pps = match self.failed_pps {
            None => settings.highest_pps,
            // The same rate again, or the next.
            Some(_) if self.failed_tries > 0 => self.trials.last()?.asked_pps,
            Some(high) if low_pps == 0.0 => self.below(high),
            Some(high) => self.between(low_pps, high),
        };
        Some(Trial { rate_pps, duration: settings.duration, verifies: false })
    }

    /// A share of a rate that grows with each step, from the resolution to a half.
    fn stride(&self) -> f64 {
        let exponent = self.steps.saturating_sub(1).min(30);
        (self.settings.resolution * f64::from(1u32 << exponent)).min(0.5)
    }

    /// Nothing has passed yet: what came out, or a step down where that is hardly less.
    fn below(&self, high_pps: f64) -> f64 {
        let lowest_pps = self.settings.highest_pps * LOWEST_SHARE;
        self.delivered_pps.min(high_pps * (1.0 - self.stride())).max(lowest_pps)
    }

    /// The middle, or a step up where the upper bound is still the first trial's.
    fn between(&self, low_pps: f64, high_pps: f64) -> f64 {
        let middle = low_pps.midpoint(high_pps);
        if self.bracketed { middle } else { middle.min(low_pps * (1.0 + self.stride())) }
    }
}
