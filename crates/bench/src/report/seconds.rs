//! Connections second by second.

use super::charts::{colour, curve_panel, typical};
use super::html::Html;
use super::plot::{Axis, Curve};
use super::scale::Scale;
use crate::profile::{Setting, TrialKind};
use crate::results::{ConnectionRun, Detail, Figure, Quantity, Results, SecondPoint};
use crate::units;

/// What is left of a second at the end of a run is drawn from this length on, in seconds; less says nothing of a rate.
const REST_MIN_S: f64 = 0.5;

/// The runs that figures of a setting stand for.
fn runs<'a>(figures: &[&'a Figure]) -> Vec<(&'a Figure, &'a ConnectionRun)> {
    typical(figures, |detail| if let Detail::Connections(run) = detail { Some(run) } else { None })
}

/// How many connections were to be held, with its name.
pub(super) fn asked(figures: &[&Figure]) -> Option<(f64, String)> {
    let held = figures.iter().copied().filter(|figure| figure.key.quantity == Quantity::Connections);
    let (_, run) = runs(&held.collect::<Vec<_>>()).into_iter().next()?;
    // Bounded by ten million.
    Some((run.asked as f64, format!("asked for: {}", units::short(run.asked as f64))))
}

/// Curves over the seconds of a run: of a ramp what was begun and opened, of connections that are held how many are open.
pub(super) fn panel(html: &mut Html, results: &Results, setting: &Setting, figures: &[&Figure]) {
    let found = runs(figures);
    let Some((first, _)) = found.first() else { return };
    let is_ramp = first.key.kind == TrialKind::Ramp;
    let mut drawn = Vec::new();
    for (figure, run) in &found {
        let class = colour(results, &figure.key.device);
        let mut draw = |is_dashed, points| drawn.push((*figure, Curve { class, is_dashed, points }));
        if is_ramp {
            draw(true, rates(run, |second| second.begun));
            draw(false, rates(run, |second| second.opened));
        } else {
            draw(false, held(run));
        }
    }
    let points = || drawn.iter().flat_map(|(_, curve)| curve.points.iter());
    let x = Axis::new(Scale::linear(points().map(|point| point.0).fold(0.0, f64::max)), "seconds");
    let (title, name) = match is_ramp {
        true => ("Connections opened, second by second", "a second; dashed: begun"),
        false => ("Connections held, second by second", "open at once"),
    };
    let y = Axis::new(Scale::linear(points().map(|point| point.1).fold(0.0, f64::max)), name);
    curve_panel(html, (title, setting), &drawn, (&x, &y));
}

/// What was counted in each second, a second, in its middle.
fn rates(run: &ConnectionRun, count: fn(&SecondPoint) -> u64) -> Vec<(f64, f64)> {
    let mut began_s = 0.0;
    let mut points = vec![(0.0, 0.0)];
    for second in &run.seconds {
        let over_s = second.at_s - began_s;
        if over_s >= REST_MIN_S {
            // Counts of a second, below 2^53.
            points.push((f64::midpoint(began_s, second.at_s), count(second) as f64 / over_s));
        }
        began_s = second.at_s;
    }
    points
}

/// How many were open at the end of each second.
fn held(run: &ConnectionRun) -> Vec<(f64, f64)> {
    let ends = run.seconds.iter().map(|second| (second.at_s, second.held as f64));
    [(0.0, 0.0)].into_iter().chain(ends).collect()
}
