//! Every repetition, in tables.

use super::html::Html;
use super::{figures, quantities, ratio_to, settings};
use crate::results::{ConnectionRun, Detail, Figure, Quantity, Results, Spread};
use crate::search::TrialRecord;
use crate::units;

/// A row for each device and setting: median, spread, ratio, each round; below it, what limited which.
pub(super) fn repetitions(html: &mut Html, results: &Results, quantity: Quantity, figures: &[&Figure]) {
    let rounds =
        figures.iter().flat_map(|figure| &figure.repetitions).map(|repetition| repetition.round).max();
    let rounds = rounds.unwrap_or(0);
    let has_ratios =
        figures.iter().any(|figure| ratio_to(results, &figure.key, &results.reference).is_some());
    html.markup("<div class=\"wide\"><table>\n<thead><tr><th>device</th><th class=\"n\">median</th>");
    html.markup("<th class=\"n\">smallest – largest</th><th class=\"n\">spread</th>");
    if has_ratios {
        html.leaf("th", "n", format!("of {}", results.reference));
    }
    for round in 1..=rounds {
        html.leaf("th", "n", round_heading(round));
    }
    html.markup("</tr></thead>\n");
    let all = settings(figures);
    let width = 4 + usize::from(has_ratios) + rounds as usize;
    for setting in &all {
        html.open("tbody", "");
        if all.len() > 1 {
            html.markup("<tr class=\"group\"><th");
            html.attribute("colspan", width);
            html.markup(">");
            html.text(setting);
            html.markup("</th></tr>\n");
        }
        for figure in figures.iter().filter(|figure| figure.key.setting == *setting) {
            row(html, results, quantity, figure, (rounds, has_ratios));
        }
        html.close("tbody");
    }
    html.markup("</table></div>\n");
    limits(html, figures);
}

fn round_heading(round: u32) -> String {
    if round == 1 { "round 1".to_owned() } else { round.to_string() }
}

fn row(
    html: &mut Html,
    results: &Results,
    quantity: Quantity,
    figure: &Figure,
    (rounds, has_ratios): (u32, bool),
) {
    let Some(spread) = Spread::of(&figure.values()) else { return };
    html.open("tr", if results.is_ours(&figure.key.device) { "ours" } else { "" });
    html.leaf("td", "name", &figure.key.device);
    html.leaf("td", "n big", quantity.show(spread.median));
    html.leaf("td", "n", format!("{} – {}", quantity.show(spread.min), quantity.show(spread.max)));
    html.leaf("td", "n", format!("{:.1} %", spread.spread * 100.0));
    if has_ratios {
        html.leaf("td", "n big", ratio_cell(results, figure));
    }
    for round in 1..=rounds {
        let repetition = figure.repetitions.iter().find(|repetition| repetition.round == round);
        let text = repetition.map_or_else(|| "–".to_owned(), |repetition| quantity.show(repetition.value));
        html.leaf("td", "n", text);
    }
    html.close("tr");
}

/// Each sentence about a limit once, with the devices of which it is true.
fn limits(html: &mut Html, figures: &[&Figure]) {
    let mut sentences: Vec<(String, Vec<&str>)> = Vec::new();
    for figure in figures {
        let Some(sentence) = limit_of(figure) else { continue };
        let device = figure.key.device.as_str();
        match sentences.iter_mut().find(|(known, _)| *known == sentence) {
            Some((_, devices)) if devices.contains(&device) => {}
            Some((_, devices)) => devices.push(device),
            None => sentences.push((sentence, vec![device])),
        }
    }
    if sentences.is_empty() {
        return;
    }
    html.open("ul", "limits");
    for (sentence, devices) in sentences {
        html.leaf("li", "", format!("{}: limited by {sentence}.", devices.join(", ")));
    }
    html.close("ul");
}

fn limit_of(figure: &Figure) -> Option<String> {
    let (sentence, count) = figure.limited_by()?;
    let all = figure.repetitions.len();
    Some(if count == all { sentence.to_owned() } else { format!("{sentence} (in {count} of {all} rounds)") })
}

/// The median of the rounds' ratios, with the smallest and the largest.
fn ratio_cell(results: &Results, figure: &Figure) -> String {
    if figure.key.device == results.reference {
        return "1".to_owned();
    }
    let ratio = results.ratios.iter().find(|ratio| ratio.key == figure.key && ratio.to == results.reference);
    let Some(spread) = ratio.and_then(|ratio| ratio.spread) else { return "–".to_owned() };
    let [median, min, max] = [spread.median, spread.min, spread.max].map(units::three_digits);
    if min == max { median } else { format!("{median} ({min} – {max})") }
}

/// Every trial of every search, folded away.
pub(super) fn searches(html: &mut Html, results: &Results, trial: &str) {
    let found: Vec<(&Figure, u32, &[TrialRecord])> = quantities(results, trial)
        .into_iter()
        .flat_map(|quantity| figures(results, trial, quantity))
        .flat_map(|figure| figure.repetitions.iter().map(move |repetition| (figure, repetition)))
        .filter_map(|(figure, repetition)| match &repetition.detail {
            Some(Detail::Throughput(result)) => Some((figure, repetition.round, result.trials.as_slice())),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return;
    }
    html.markup(
        "<details><summary>Every trial of every search</summary>\n<div class=\"wide\"><table>\n<thead><tr>",
    );
    for heading in ["device", "setting", "round", "asked", "reached", "sent", "lost", ""] {
        html.leaf("th", "", heading);
    }
    html.markup("</tr></thead>\n<tbody>\n");
    for (figure, round, trials) in found {
        for record in trials {
            html.open("tr", "");
            html.leaf("td", "name", &figure.key.device);
            html.leaf("td", "name", figure.key.setting);
            html.leaf("td", "n", round);
            html.leaf("td", "n", format!("{}pps", units::short(record.asked_pps)));
            html.leaf("td", "n", format!("{}pps", units::short(record.outcome.reached_pps)));
            html.leaf("td", "n", units::grouped(record.outcome.transmitted));
            let lost = record.outcome.transmitted.saturating_sub(record.outcome.received);
            html.leaf("td", "n", units::grouped(lost));
            html.leaf("td", "", verdict(record));
            html.close("tr");
        }
    }
    html.markup("</tbody></table></div></details>\n");
}

/// What came of the connections of every run, and why they failed, folded away.
pub(super) fn connections(html: &mut Html, results: &Results, trial: &str) {
    let found: Vec<(&Figure, u32, &ConnectionRun)> = quantities(results, trial)
        .into_iter()
        .flat_map(|quantity| figures(results, trial, quantity))
        .flat_map(|figure| figure.repetitions.iter().map(move |repetition| (figure, repetition)))
        .filter_map(|(figure, repetition)| match &repetition.detail {
            Some(Detail::Connections(run)) => Some((figure, repetition.round, run)),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return;
    }
    html.markup(
        "<details><summary>Every run, and why connections failed</summary>\n<div class=\"wide\"><table>\n<thead><tr>\
         <th>device</th><th>setting</th>",
    );
    for heading in [
        "round",
        "asked",
        "begun",
        "opened",
        "open at once",
        "closed",
        "failed",
        "no answer",
        "reset",
        "wrong sequence",
        "may track",
    ] {
        html.leaf("th", "n", heading);
    }
    html.markup("</tr></thead>\n<tbody>\n");
    for (figure, round, run) in found {
        html.open("tr", "");
        html.leaf("td", "name", &figure.key.device);
        html.leaf("td", "name", figure.key.setting);
        html.leaf("td", "n", round);
        let failures = &run.failures;
        for count in [
            run.asked,
            run.begun,
            run.opened,
            run.held_most,
            run.closed,
            failures.total(),
            failures.no_answer,
            failures.reset,
            failures.wrong_sequence,
        ] {
            html.leaf("td", "n", units::grouped(count));
        }
        html.leaf("td", "n", run.bound.map_or_else(|| "–".to_owned(), units::grouped));
        html.close("tr");
    }
    html.markup("</tbody></table></div></details>\n");
}

fn verdict(record: &TrialRecord) -> &'static str {
    match (record.passed, record.verifies) {
        (true, false) => "passed",
        (false, false) => "failed",
        (true, true) => "verified",
        (false, true) => "failed its verification",
    }
}
