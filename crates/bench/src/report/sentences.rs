//! What came out, in sentences: the first thing that a reader sees.

use super::html::Html;
use super::{charts, figures, ratio_to, settings};
use crate::profile::TrialKind;
use crate::results::{Figure, FigureKey, Quantity, Results, Spread};
use crate::units;

/// Figures that open the report as large numbers, at the most.
const CARDS_MAX: usize = 8;

pub(super) fn section(html: &mut Html, results: &Results) {
    let leading: Vec<&Figure> = results.figures.iter().filter(|figure| is_leading(results, figure)).collect();
    if !leading.is_empty() {
        html.open("div", "cards");
        // One card for each kind of trial and quantity is enough; the sentences have the rest.
        let mut shown = Vec::new();
        for figure in &leading {
            let what = (figure.key.kind, figure.key.quantity);
            if !shown.contains(&what) && shown.len() < CARDS_MAX {
                card(html, results, figure);
                shown.push(what);
            }
        }
        html.close("div");
    }
    if !results.notes.is_empty() {
        html.open("div", "notes");
        results.notes.iter().for_each(|note| html.leaf("p", "", note));
        html.close("div");
    }
    let sentences: Vec<String> = leading.iter().filter_map(|figure| sentence(results, figure)).collect();
    if !sentences.is_empty() {
        html.open("ul", "sentences");
        sentences.iter().for_each(|sentence| html.leaf("li", "", sentence));
        html.close("ul");
    }
    html.leaf(
        "p",
        "about",
        "Every number is the median of its rounds. A ratio is taken within each round, of turns that stand side by side in \
         time, and then the median of these ratios: machines drift by more than devices differ.",
    );
}

/// Ours, of the first setting of its trial, neither a further percentile nor what only a curve says.
fn is_leading(results: &Results, figure: &Figure) -> bool {
    let key = &figure.key;
    let same = figures(results, &key.trial, key.quantity);
    results.is_ours(&key.device)
        && settings(&same).first() == Some(&key.setting)
        && key.kind != TrialKind::LossCurve
        && !(key.kind == TrialKind::ConcurrentConnections && key.quantity == Quantity::ConnectionRate)
        && !matches!(key.quantity, Quantity::LatencyP99 | Quantity::LatencyP999 | Quantity::FailedConnections)
}

fn card(html: &mut Html, results: &Results, figure: &Figure) {
    let Some(spread) = Spread::of(&figure.values()) else { return };
    let key = &figure.key;
    html.open("div", "card");
    html.leaf("span", "what", format!("{}: {}", key.trial, lower_first(key.quantity.title())));
    html.leaf("b", "", key.quantity.show(spread.median));
    let reference = ratio_to(results, key, &results.reference);
    let mut words = key.device.clone();
    if let Some(ratio) = reference {
        words += &format!(", {} of {}", units::three_digits(ratio), results.reference);
    }
    html.leaf("span", "", words);
    html.close("div");
}

/// "jeoul/af_xdp delivers 640 kpps in flood slb-routed (…): 0.97 of bare-forwarder/af_xdp, 2.31 of nftables." `None` where
/// there is nothing to hold it against.
fn sentence(results: &Results, figure: &Figure) -> Option<String> {
    let key = &figure.key;
    let spread = Spread::of(&figure.values())?;
    let does = key.quantity.sentence(spread.median);
    let mut text = format!("{} {does} in {} ({})", key.device, key.trial, key.setting);
    if key.quantity == Quantity::LatencyP50 {
        let further = FigureKey { quantity: Quantity::LatencyP999, ..key.clone() };
        if let Some(spread) = results.figure(&further).and_then(|figure| Spread::of(&figure.values())) {
            text += &format!(", and {} at p99.9", further.quantity.show(spread.median));
        }
    }
    let is_wire = |device: &str| {
        let other = FigureKey { device: device.to_owned(), ..key.clone() };
        results.figure(&other).is_some_and(|figure| charts::is_generators_own(results, figure))
    };
    let is_peer = |device: &str| !results.is_ours(device) && !is_wire(device);
    let peers = results.ratios.iter().filter(|ratio| ratio.key == *key && is_peer(&ratio.to));
    let ratios: Vec<String> = peers
        .filter_map(|ratio| Some(format!("{} of {}", units::three_digits(ratio.median()?), ratio.to)))
        .collect();
    (!ratios.is_empty()).then(|| format!("{text}: {}.", ratios.join(", ")))
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    // "CPU" stays as it is.
    let second_is_upper = text.chars().nth(1).is_some_and(char::is_uppercase);
    match letters.next() {
        Some(first) if !second_is_upper => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}
