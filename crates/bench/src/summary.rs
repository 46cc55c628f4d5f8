//! The short answer, for a terminal: a line for each figure.

use std::fmt;

use crate::profile::Setting;
use crate::results::{Figure, FigureKey, Quantity, Ratio, Results, Spread};
use crate::units;

/// What stands where nothing is known.
const NOTHING: &str = "–";

/// Results as a table of text: per trial and quantity each device's median, spread, ratio to one of them and what limited
/// it, and below it ours beside each peer's. Every line ends in a line break.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a>(pub &'a Results);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let results = self.0;
        let rounds = if results.rounds == 1 { "1 round" } else { &format!("{} rounds", results.rounds) };
        writeln!(formatter, "{}: {rounds} in {}", results.title, units::seconds(results.duration_s))?;
        let mut tables: Vec<(&str, Quantity, Setting)> = Vec::new();
        for key in results.figures.iter().map(|figure| &figure.key) {
            let table = (key.trial.as_str(), key.quantity, key.setting);
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        tables.into_iter().try_for_each(|table| self.table(formatter, table))
    }
}

impl Summary<'_> {
    fn table(
        &self,
        formatter: &mut fmt::Formatter<'_>,
        (trial, quantity, setting): (&str, Quantity, Setting),
    ) -> fmt::Result {
        let is_wanted =
            |key: &FigureKey| key.trial == trial && key.quantity == quantity && key.setting == setting;
        let figures: Vec<&Figure> = self.0.figures.iter().filter(|figure| is_wanted(&figure.key)).collect();
        let Some(reference) = self.reference(&figures) else { return Ok(()) };
        let name = &reference.key.device;
        writeln!(formatter, "\n{trial}: {}, {setting}; ratios to {name}", quantity.title())?;
        writeln!(
            formatter,
            "  {:<24} {:>11} {:>8} {:>9}  limited by",
            "device", "median", "spread", "ratio"
        )?;
        figures.iter().try_for_each(|figure| row(formatter, figure, reference))?;
        let ours = figures.iter().filter(|figure| self.0.is_ours(&figure.key.device));
        ours.into_iter().try_for_each(|figure| self.beside(formatter, figure, &figures))
    }

    /// The figure that ratios are of: the reference device's, or else the first peer's, or else the first.
    fn reference<'f>(&self, figures: &[&'f Figure]) -> Option<&'f Figure> {
        let named = figures.iter().find(|figure| figure.key.device == self.0.reference);
        let peer = || figures.iter().find(|figure| !self.0.is_ours(&figure.key.device));
        named.or_else(peer).or(figures.first()).copied()
    }

    /// "jeoul/af_xdp is 1.02 of testpmd/af_xdp, 2.61 of nftables".
    fn beside(
        &self,
        formatter: &mut fmt::Formatter<'_>,
        figure: &Figure,
        figures: &[&Figure],
    ) -> fmt::Result {
        let peers = figures.iter().filter(|other| !self.0.is_ours(&other.key.device));
        let ratio = |other: &&Figure| {
            let median = Ratio::of(figure, other).median()?;
            Some(format!("{} of {}", shown(median), other.key.device))
        };
        let ratios: Vec<String> = peers.filter_map(ratio).collect();
        if ratios.is_empty() {
            return Ok(());
        }
        writeln!(formatter, "  {} is {}", figure.key.device, ratios.join(", "))
    }
}

fn row(formatter: &mut fmt::Formatter<'_>, figure: &Figure, reference: &Figure) -> fmt::Result {
    let Some(spread) = Spread::of(&figure.values()) else { return Ok(()) };
    let ratio = Ratio::of(figure, reference).median();
    // The sentence goes on with what follows from it.
    let limited_by = figure.limited_by().and_then(|(sentence, _)| sentence.split([':', ',']).next());
    writeln!(
        formatter,
        "  {:<24} {:>11} {:>8} {:>9}  {}",
        figure.key.device,
        figure.key.quantity.show(spread.median),
        format!("{:.0} %", spread.spread * 100.0),
        ratio.map_or_else(|| NOTHING.to_owned(), shown),
        limited_by.unwrap_or(NOTHING)
    )
}

/// A ratio, without the powers of ten of other figures.
fn shown(ratio: f64) -> String {
    if ratio.abs() < 0.1 { format!("{ratio:.3}") } else { units::three_digits(ratio) }
}
