//! Two runs beside each other.
//!
//! Figures of the same key are compared by their medians, and a difference counts only when it is larger than the distance
//! between smallest and largest repetition of either run. Where the machines differ, or one machine drifted between the
//! runs, absolute figures say little; the ratio to the reference device, taken within each run, is shown beside them.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::profile::words;
use crate::results::{Figure, FigureKey, Results, Spread};
use crate::units;

/// What the difference of two figures means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is within the spread of one run or the other.
    NoDifference,
    /// B is better by more than both spreads.
    Better,
    /// B is worse by more than both spreads.
    Worse,
}

words!(Verdict { NoDifference = "no difference", Better = "better", Worse = "worse" });

/// One figure of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// What it is of.
    #[serde(flatten)]
    pub key: FigureKey,
    /// Of the first run.
    pub a: Spread,
    /// Of the second.
    pub b: Spread,
    /// Median of `b` over median of `a`; `None` where that is 0.
    pub ratio: Option<f64>,
    /// What it means.
    pub verdict: Verdict,
    /// The figure over the reference device's in the first run, median of the rounds' quotients.
    pub to_reference_a: Option<f64>,
    /// The same in the second run.
    pub to_reference_b: Option<f64>,
}

/// Something in which the machines differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MachineDifference {
    /// "kernel", "CPU".
    pub what: String,
    /// In the first run.
    pub a: String,
    /// In the second.
    pub b: String,
}

/// Two runs beside each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Title and start of the first run.
    pub a: String,
    /// Title and start of the second.
    pub b: String,
    /// Empty: as far as is known, it is the same machine.
    pub machines: Vec<MachineDifference>,
    /// The reference device of both; `None`: they have different ones.
    pub reference: Option<String>,
    /// Figures that both have, in the order of the first.
    pub figures: Vec<Compared>,
    /// Figures of the first run alone.
    pub only_a: Vec<FigureKey>,
    /// Figures of the second run alone.
    pub only_b: Vec<FigureKey>,
}

impl Comparison {
    /// Compares `b` with `a`: ratios are of `b` over `a`.
    pub fn of(a: &Results, b: &Results) -> Comparison {
        let title = |results: &Results| format!("{}, {}", results.title, results.started_at);
        let pairs = a.environment.identity().into_iter().zip(b.environment.identity());
        let machines = pairs.filter(|((_, a), (_, b))| a != b).map(|((what, a), (_, b))| MachineDifference {
            what: what.to_owned(),
            a,
            b,
        });
        let only = |these: &Results, those: &Results| -> Vec<FigureKey> {
            let keys = these.figures.iter().map(|figure| &figure.key);
            keys.filter(|key| those.figure(key).is_none()).cloned().collect()
        };
        Comparison {
            a: title(a),
            b: title(b),
            machines: machines.collect(),
            reference: (a.reference == b.reference).then(|| a.reference.clone()),
            figures: a.figures.iter().filter_map(|figure| compared(a, b, figure)).collect(),
            only_a: only(a, b),
            only_b: only(b, a),
        }
    }

    /// Whether any figure differs by more than both spreads.
    pub fn has_difference(&self) -> bool {
        self.figures.iter().any(|figure| figure.verdict != Verdict::NoDifference)
    }

    /// The JSON of it, with line breaks, ending in one.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

fn compared(a: &Results, b: &Results, figure: &Figure) -> Option<Compared> {
    let (of_a, of_b) = (Spread::of(&figure.values())?, Spread::of(&b.figure(&figure.key)?.values())?);
    let difference = of_b.median - of_a.median;
    let verdict = if difference.abs() <= (of_a.max - of_a.min).max(of_b.max - of_b.min) {
        Verdict::NoDifference
    } else if (difference > 0.0) == figure.key.quantity.higher_is_better() {
        Verdict::Better
    } else {
        Verdict::Worse
    };
    let to_reference = |results: &Results| {
        let is_wanted = |key: &FigureKey, to: &str| *key == figure.key && to == results.reference;
        results.ratios.iter().find(|ratio| is_wanted(&ratio.key, &ratio.to))?.median()
    };
    Some(Compared {
        key: figure.key.clone(),
        a: of_a,
        b: of_b,
        ratio: (of_a.median != 0.0).then(|| of_b.median / of_a.median),
        verdict,
        to_reference_a: to_reference(a),
        to_reference_b: to_reference(b),
    })
}

/// The table that `jeoul bench compare` prints; ends with a line break.
impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "A: {}\nB: {}", self.a, self.b)?;
        if !self.machines.is_empty() {
            writeln!(formatter, "\nThe machines differ, so absolute figures say little:")?;
        }
        for MachineDifference { what, a, b } in &self.machines {
            writeln!(formatter, "  {what}: {a} in A, {b} in B")?;
        }
        let mut heading = None;
        for figure in &self.figures {
            let key = &figure.key;
            let title = format!("{}: {}, {}", key.trial, key.quantity.title(), key.setting);
            if heading.as_ref() != Some(&title) {
                writeln!(formatter, "\n{title}")?;
                heading = Some(title);
            }
            writeln!(formatter, "{}", self.line(figure)?)?;
        }
        for (name, keys) in [("A", &self.only_a), ("B", &self.only_b)] {
            if !keys.is_empty() {
                writeln!(formatter, "\nOnly in {name}:")?;
            }
            for key in keys {
                writeln!(formatter, "  {key}")?;
            }
        }
        let summary =
            match self.figures.iter().filter(|figure| figure.verdict != Verdict::NoDifference).count() {
                _ if self.figures.is_empty() => "no figure in common".to_owned(),
                0 => "no difference larger than the spreads".to_owned(),
                1 => "1 figure differs by more than both spreads".to_owned(),
                count => format!("{count} figures differ by more than both spreads"),
            };
        writeln!(formatter, "\n{summary}")
    }
}

impl Comparison {
    fn line(&self, figure: &Compared) -> Result<String, fmt::Error> {
        let quantity = figure.key.quantity;
        let show =
            |spread: &Spread| format!("{:>11} ±{:>2.0}%", quantity.show(spread.median), spread.spread * 50.0);
        let mut line = format!("  {:<28} {}  {}", figure.key.device, show(&figure.a), show(&figure.b));
        match figure.ratio {
            Some(ratio) => write!(line, "  {:>5}", units::three_digits(ratio))?,
            None => write!(line, "  {:>5}", "–")?,
        }
        write!(line, "  {}", figure.verdict)?;
        let references = figure.to_reference_a.zip(figure.to_reference_b);
        if let Some(((of_a, of_b), reference)) = references.zip(self.reference.as_ref()) {
            let (of_a, of_b) = (units::three_digits(of_a), units::three_digits(of_b));
            write!(line, "; of {reference}: {of_a}, then {of_b}")?;
        }
        Ok(line)
    }
}
