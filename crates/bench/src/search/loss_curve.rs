//! Loss against offered load (RFC 2544, section 26.3).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Trial, TrialOutcome};

/// Points without loss in a row that end the curve (RFC 2544, 26.3).
const LOSSLESS_MAX: usize = 2;

/// One point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// Packets a second that were asked for.
    pub asked_pps: f64,
    /// Packets a second that the generator sent: where the point is drawn.
    pub offered_pps: f64,
    /// Packets a second that came back.
    pub delivered_pps: f64,
    /// The share that did not, 0 to 1.
    pub loss: f64,
}

/// Runs at the highest rate and at ever lower ones, until two in a row lose nothing.
#[derive(Clone, Debug)]
pub struct LossCurve {
    highest_pps: f64,
    step: f64,
    duration: Duration,
    points: Vec<LossPoint>,
}

impl LossCurve {
    /// A curve without points. `step` is a share of `highest_pps`, above 0; RFC 2544 wants at most 0.1.
    pub fn new(highest_pps: f64, step: f64, duration: Duration) -> LossCurve {
        LossCurve { highest_pps, step, duration, points: Vec::new() }
    }

    /// Points at the most.
    pub fn points_max(step: f64) -> u32 {
        // At most a hundred: steps are 1 % or more.
        (1.0 / step).ceil() as u32
    }

    /// What to send next; `None`: the curve is complete.
    pub fn next(&self) -> Option<Trial> {
        let lossless = self.points.iter().rev().take_while(|point| point.loss == 0.0).count();
        let index = u32::try_from(self.points.len()).ok()?;
        if lossless >= LOSSLESS_MAX || index >= LossCurve::points_max(self.step) {
            return None;
        }
        let share = 1.0 - f64::from(index) * self.step;
        Some(Trial { rate_pps: self.highest_pps * share, duration: self.duration, verifies: false })
    }

    /// Takes what came of the trial that [`LossCurve::next`] named. Without one it does nothing.
    pub fn note(&mut self, outcome: TrialOutcome) {
        let Some(trial) = self.next() else { return };
        self.points.push(LossPoint {
            asked_pps: trial.rate_pps,
            offered_pps: outcome.reached_pps,
            delivered_pps: outcome.delivered_pps(),
            loss: outcome.loss(),
        });
    }

    /// From the highest rate down.
    pub fn points(&self) -> &[LossPoint] {
        &self.points
    }
}
