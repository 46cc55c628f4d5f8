//! How far repetitions lie apart.

use serde::{Deserialize, Serialize};

/// Several values of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// `max` less `min`, as a share of the median; 0 where that is 0.
    pub spread: f64,
}

impl Spread {
    /// Of `values`; `None` without any that is finite.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let count = sorted.len();
        let median = sorted[(count - 1) / 2].midpoint(sorted[count / 2]);
        let spread = if median == 0.0 { 0.0 } else { (max - min) / median.abs() };
        Some(Spread { count, median, min, max, spread })
    }
}
