//! One self-contained HTML file: sentences, plots, every repetition, where and how it was measured.
//!
//! It loads nothing from anywhere, runs no script, follows the reader's light or dark colours, and prints. Plots are inline
//! SVG of our own: a plotting library brings colours and sizes that neither follow the reader's nor fit a phone, for what
//! is here two hundred lines. Whatever comes from a result is escaped in one place, the module `html`.

mod charts;
mod html;
mod method;
mod plot;
mod scale;
mod seconds;
mod sentences;
mod surroundings;
mod tables;

use crate::profile::{Setting, TrialKind};
use crate::results::{Figure, FigureKey, Quantity, Results};
use crate::units;
use html::Html;

/// The look of it.
const STYLE: &str = include_str!("style.css");

/// The report of `results`, as one HTML file. Spreads and ratios are taken as they are: call
/// [`Results::summarise`] before.
pub fn html(results: &Results) -> String {
    let mut html = Html::default();
    html.markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // Even if something of a result were taken for markup, it could load and run nothing.
    html.markup("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n");
    html.leaf("title", "", &results.title);
    html.open("style", "");
    html.markup(STYLE);
    html.close("style");
    html.markup("</head>\n<body>\n");
    head(&mut html, results);
    sentences::section(&mut html, results);
    charts::balancing_section(&mut html, results);
    for (trial, kind, _) in results.trials() {
        trial_section(&mut html, results, &trial, kind);
    }
    surroundings::sections(&mut html, results);
    html.markup("<footer>Made by <code>jeoul bench</code>. The raw results, with every repetition, are the JSON file beside \
                 this page; <code>jeoul bench compare A.json B.json</code> puts two of them beside each other.</footer>\n");
    html.markup("</body>\n</html>\n");
    html.into_string()
}

fn head(html: &mut Html, results: &Results) {
    html.leaf("h1", "", &results.title);
    let rounds = match results.rounds {
        1 => "1 round".to_owned(),
        rounds => format!("{rounds} interleaved rounds"),
    };
    let environment = &results.environment;
    let facts = [
        results.started_at.clone(),
        format!("{rounds} in {}", units::seconds(results.duration_s)),
        environment.jeoul.clone(),
        format!("{} × {}", environment.cores, environment.cpu),
        format!("Linux {}", environment.kernel),
        environment.link.clone(),
    ];
    let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    html.leaf("p", "when", facts.join(" · "));
}

fn trial_section(html: &mut Html, results: &Results, trial: &str, kind: TrialKind) {
    html.leaf("h2", "", trial);
    let counted = quantities(results, trial);
    html.leaf("p", "about", method::about(kind, &counted));
    for quantity in counted {
        let figures = figures(results, trial, quantity);
        html.leaf("h3", "", heading(kind, quantity));
        charts::section(html, results, quantity, &figures);
        tables::repetitions(html, results, quantity, &figures);
    }
    tables::searches(html, results, trial);
    tables::connections(html, results, trial);
}

/// What a quantity is called in a trial of this kind.
fn heading(kind: TrialKind, quantity: Quantity) -> &'static str {
    match (kind, quantity) {
        (TrialKind::ConcurrentConnections, Quantity::ConnectionRate) => {
            "Connection rate while they are opened"
        }
        (TrialKind::Ramp, Quantity::ConnectionRate) => "Connection rate while it stays",
        _ => quantity.title(),
    }
}

/// What a trial counts, in order of first measurement.
fn quantities(results: &Results, trial: &str) -> Vec<Quantity> {
    let mut quantities = Vec::new();
    for key in results.figures.iter().map(|figure| &figure.key).filter(|key| key.trial == trial) {
        if !quantities.contains(&key.quantity) {
            quantities.push(key.quantity);
        }
    }
    quantities
}

/// Figures of one trial that count the same.
fn figures<'a>(results: &'a Results, trial: &str, quantity: Quantity) -> Vec<&'a Figure> {
    let wanted = |key: &FigureKey| key.trial == trial && key.quantity == quantity;
    results.figures.iter().filter(|figure| wanted(&figure.key)).collect()
}

/// Settings of figures, in order of first appearance.
fn settings(figures: &[&Figure]) -> Vec<Setting> {
    let mut settings = Vec::new();
    for figure in figures {
        if !settings.contains(&figure.key.setting) {
            settings.push(figure.key.setting);
        }
    }
    settings
}

/// The ratio of a figure to another device's, as a person reads it; `None` where there is none.
fn ratio_to(results: &Results, key: &FigureKey, device: &str) -> Option<f64> {
    results.ratios.iter().find(|ratio| ratio.key == *key && ratio.to == device)?.median()
}
