//! One device beside another: a quotient for each round, and the median of these.

use serde::{Deserialize, Serialize};

use super::{Figure, FigureKey, Results, Spread};

/// A figure of one device over the same of another.
///
/// Machines drift within an hour by more than devices differ, so the quotient is taken in each round, of turns that
/// stand side by side, and the median is of the quotients. A quotient of medians would mix rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The figure above the line.
    pub key: FigureKey,
    /// The device below it.
    pub to: String,
    /// The quotient of each round that has both, in order; none where the lower is 0.
    pub by_round: Vec<f64>,
    /// Of these.
    pub spread: Option<Spread>,
}

impl Ratio {
    /// `figure` over `other`, round by round.
    pub fn of(figure: &Figure, other: &Figure) -> Ratio {
        let by_round: Vec<f64> = figure
            .repetitions
            .iter()
            .filter_map(|repetition| {
                let beside = other.repetitions.iter().find(|beside| beside.round == repetition.round)?;
                (beside.value != 0.0).then(|| repetition.value / beside.value)
            })
            .collect();
        let spread = Spread::of(&by_round);
        Ratio { key: figure.key.clone(), to: other.key.device.clone(), by_round, spread }
    }

    /// The median of the quotients.
    pub fn median(&self) -> Option<f64> {
        self.spread.map(|spread| spread.median)
    }
}

/// Of every figure to the reference device's, and of ours to each peer's.
pub(super) fn ratios(results: &Results) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for figure in &results.figures {
        for other in &results.figures {
            let same = FigureKey { device: figure.key.device.clone(), ..other.key.clone() } == figure.key;
            let is_other = figure.key.device != other.key.device;
            let is_wanted = other.key.device == results.reference
                || results.is_ours(&figure.key.device) && !results.is_ours(&other.key.device);
            if same && is_other && is_wanted {
                ratios.push(Ratio::of(figure, other));
            }
        }
    }
    ratios.retain(|ratio| ratio.spread.is_some());
    ratios
}
