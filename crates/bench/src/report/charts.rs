//! Which plot shows which figures.

use super::html::Html;
use super::plot::{Axis, Bar, Column, Curve, bars, columns, curves};
use super::scale::Scale;
use super::{ratio_to, seconds, settings};
use crate::profile::{Job, Setting};
use crate::results::{Bucket, Detail, Figure, Latency, Quantity, Ratio, Results, Spread};
use crate::search::LossPoint;
use crate::units;

/// Colours of curves, by the device's place in the profile.
const CURVES: [&str; 8] = ["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7"];

/// A generator's limit this many times beyond the longest bar is written and not drawn: the bars would be slivers.
const LIMIT_REACH: f64 = 1.6;

/// A figure from this share of the generator's limit on is taken for the limit itself.
const GENERATOR_SHARE: f64 = 0.9;

/// The plots of figures that count the same in one trial.
pub(super) fn section(html: &mut Html, results: &Results, quantity: Quantity, figures: &[&Figure]) {
    let all = settings(figures);
    let drawn: Vec<&Figure> =
        figures.iter().copied().filter(|figure| !is_generators_own(results, figure)).collect();
    let max = drawn.iter().flat_map(|figure| figure.values()).fold(0.0, f64::max);
    // One scale for all panels, so that bars of different sizes can be compared.
    let limit = figures.iter().filter_map(|figure| generator_limit(results, figure)).fold(0.0, f64::max);
    let max = if limit <= max * LIMIT_REACH { max.max(limit) } else { max };
    // Percentiles have their curve; failures are few, and their table says why.
    if !matches!(quantity, Quantity::LatencyP99 | Quantity::LatencyP999 | Quantity::FailedConnections) {
        open_panels(html, all.len());
        for setting in &all {
            let figures: Vec<&Figure> = of_setting(&drawn, setting);
            figure_of(html, all.len() > 1, setting, |html| bar_panel(html, results, &figures, max));
        }
        html.close("div");
        let direction = if quantity.higher_is_better() { "longer is better" } else { "shorter is better" };
        let has_ratios =
            figures.iter().any(|figure| ratio_to(results, &figure.key, &results.reference).is_some());
        let ratios = match has_ratios {
            true => format!("; behind the dot the ratio to {}", results.reference),
            false => String::new(),
        };
        let caption = format!(
            "Medians, {direction}{ratios}. The line is from the smallest to the largest repetition, and each circle is one."
        );
        html.leaf("p", "about", caption);
    }
    for setting in &all {
        let figures: Vec<&Figure> = of_setting(figures, setting);
        loss_panel(html, results, setting, &figures);
        latency_panel(html, results, setting, &figures);
        seconds::panel(html, results, setting, &figures);
        figures.iter().for_each(|figure| histogram_panel(html, figure));
    }
}

/// One of one setting alone, several beside each other.
fn open_panels(html: &mut Html, count: usize) {
    html.open("div", if count > 1 { "panels" } else { "panels single" });
}

fn figure_of(html: &mut Html, is_titled: bool, setting: &Setting, draw: impl FnOnce(&mut Html)) {
    html.open("figure", "");
    if is_titled {
        html.leaf("h4", "", setting);
    }
    draw(html);
    html.close("figure");
}

fn of_setting<'a>(figures: &[&'a Figure], setting: &Setting) -> Vec<&'a Figure> {
    figures.iter().copied().filter(|figure| figure.key.setting == *setting).collect()
}

fn bar_panel(html: &mut Html, results: &Results, figures: &[&Figure], max: f64) {
    let drawn: Vec<Bar> = figures.iter().filter_map(|figure| bar(results, figure)).collect();
    let Some(first) = figures.first() else { return };
    let limit = generator_limit(results, first).map(|limit_pps| (limit_pps, limit_label(limit_pps)));
    let limit = limit.or_else(|| seconds::asked(figures));
    let name = format!("{}, {}, {}", first.key.trial, first.key.quantity.title(), first.key.setting);
    bars(html, &name, &drawn, max, limit);
}

/// The generator's limit, where a figure can be held against it.
fn generator_limit(results: &Results, figure: &Figure) -> Option<f64> {
    let is_rate =
        matches!(figure.key.quantity, Quantity::Throughput | Quantity::Delivered | Quantity::NewFlows);
    let limit = results.generator_limit(figure.key.setting.frame_bytes).filter(|_| is_rate)?;
    Some(limit.packets_per_second)
}

/// Whether a figure only repeats the generator's limit, as that of a wire does. The limit is drawn as a line; a bar of
/// its own would make slivers of all others.
pub(super) fn is_generators_own(results: &Results, figure: &Figure) -> bool {
    let median = Spread::of(&figure.values()).map_or(0.0, |spread| spread.median);
    !results.is_ours(&figure.key.device)
        && generator_limit(results, figure).is_some_and(|limit_pps| median >= limit_pps * GENERATOR_SHARE)
}

fn limit_label(limit_pps: f64) -> String {
    format!("the generator's own limit: {}pps", units::short(limit_pps))
}

fn bar(results: &Results, figure: &Figure) -> Option<Bar> {
    let spread = Spread::of(&figure.values())?;
    let mut value_label = figure.key.quantity.show(spread.median);
    if figure.key.device == results.reference {
        value_label += " · reference";
    } else if let Some(ratio) = ratio_to(results, &figure.key, &results.reference) {
        value_label += &format!(" · {}", units::three_digits(ratio));
    }
    Some(Bar {
        label: figure.key.device.clone(),
        value_label,
        is_ours: results.is_ours(&figure.key.device),
        median: spread.median,
        values: figure.values(),
    })
}

/// What balancing costs: the same frames plainly switched and routed, and balanced, by the same device.
pub(super) fn balancing_section(html: &mut Html, results: &Results) {
    let is_plain = |figure: &Figure| matches!(figure.key.job, Job::Routing | Job::Switching);
    let delivered =
        |figure: &&Figure| figure.key.quantity == Quantity::Delivered && results.is_ours(&figure.key.device);
    let ours: Vec<&Figure> = results.figures.iter().filter(delivered).collect();
    let plain: Vec<&Figure> = ours.iter().copied().filter(|figure| is_plain(figure)).collect();
    let mut groups: Vec<Vec<&Figure>> = Vec::new();
    for figure in &plain {
        let same = |other: &&Figure| {
            (&other.key.device, other.key.setting, other.key.kind)
                == (&figure.key.device, figure.key.setting, figure.key.kind)
        };
        let group: Vec<&Figure> = ours.iter().copied().filter(same).collect();
        if group.iter().any(|figure| !is_plain(figure)) && !groups.contains(&group) {
            groups.push(group);
        }
    }
    if groups.is_empty() {
        return;
    }
    html.leaf("h2", "", "Plain switching and routing beside balancing");
    let about = "An inline box is designed for all of them: what comes out of a flood when the same device switches, routes, \
                 or balances the same frames. Ratios are to the first row, round by round.";
    html.leaf("p", "about", about);
    open_panels(html, groups.len());
    let max = groups.iter().flatten().flat_map(|figure| figure.values()).fold(0.0, f64::max);
    for mut group in groups {
        group.sort_by_key(|figure| (!is_plain(figure), figure.key.job));
        balancing_panel(html, &group, max);
    }
    html.close("div");
}

fn balancing_panel(html: &mut Html, group: &[&Figure], max: f64) {
    let Some(first) = group.first() else { return };
    let title = format!("{}, {}", first.key.device, first.key.setting);
    let drawn = group.iter().filter_map(|figure| {
        let spread = Spread::of(&figure.values())?;
        let mut value_label = figure.key.quantity.show(spread.median);
        if let Some(ratio) = Ratio::of(figure, first).median().filter(|_| figure.key != first.key) {
            value_label += &format!(" · {}", units::three_digits(ratio));
        }
        Some(Bar {
            label: figure.key.job.to_string(),
            value_label,
            is_ours: !matches!(figure.key.job, Job::Routing | Job::Switching),
            median: spread.median,
            values: figure.values(),
        })
    });
    let drawn: Vec<Bar> = drawn.collect();
    html.open("figure", "");
    html.leaf("h4", "", &title);
    bars(html, &title, &drawn, max, None);
    html.close("figure");
}

/// The colour of a device's curves.
pub(super) fn colour(results: &Results, device: &str) -> &'static str {
    let ours = results.devices.iter().filter(|facts| facts.is_ours);
    let peers = results.devices.iter().filter(|facts| !facts.is_ours);
    let index = ours.chain(peers).position(|facts| facts.name == device).unwrap_or(0);
    CURVES[index % CURVES.len()]
}

/// A plot of curves with its key.
pub(super) fn curve_panel(
    html: &mut Html,
    (title, setting): (&str, &Setting),
    drawn: &[(&Figure, Curve)],
    (x, y): (&Axis, &Axis),
) {
    html.open("div", "panels single");
    html.open("figure", "");
    html.leaf("h4", "", format!("{title}, {setting}"));
    html.open("div", "key");
    for (figure, curve) in drawn.iter().filter(|(_, curve)| !curve.is_dashed) {
        html.markup("<span><i class=\"");
        html.markup(curve.class);
        html.markup("\"></i>");
        html.text(&figure.key.device);
        html.close("span");
    }
    html.close("div");
    let name = format!("{title}, {setting}");
    let plain: Vec<Curve> = drawn
        .iter()
        .map(|(_, curve)| Curve {
            class: curve.class,
            is_dashed: curve.is_dashed,
            points: curve.points.clone(),
        })
        .collect();
    curves(html, &name, &plain, x, y);
    html.leaf("figcaption", "", "For each device the repetition that is nearest to its median.");
    html.close("figure");
    html.close("div");
}

/// What of a figure's typical repetition is of the wanted kind.
pub(super) fn typical<'a, T>(
    figures: &[&'a Figure],
    wanted: impl Fn(&'a Detail) -> Option<&'a T>,
) -> Vec<(&'a Figure, &'a T)> {
    let details = figures.iter().filter_map(|figure| {
        let detail = figure.typical()?.detail.as_ref()?;
        Some((*figure, wanted(detail)?))
    });
    details.collect()
}

fn loss_panel(html: &mut Html, results: &Results, setting: &Setting, figures: &[&Figure]) {
    let found =
        typical(figures, |detail| if let Detail::LossCurve(points) = detail { Some(points) } else { None });
    let points = || found.iter().flat_map(|(_, points)| points.iter());
    if points().next().is_none() {
        return;
    }
    let x = Axis::new(
        Scale::linear(points().map(|point| point.offered_pps).fold(0.0, f64::max)),
        "offered, packets/s",
    );
    let most = points().map(|point| point.loss * 100.0).fold(1.0, f64::max);
    let y = Axis::new(Scale::linear(most), "lost, %");
    let curve = |figure: &Figure, points: &[LossPoint]| {
        let mut points: Vec<(f64, f64)> =
            points.iter().map(|point| (point.offered_pps, point.loss * 100.0)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Curve { class: colour(results, &figure.key.device), is_dashed: false, points }
    };
    let drawn: Vec<_> = found.iter().map(|(figure, points)| (*figure, curve(figure, points))).collect();
    curve_panel(html, ("Loss against offered load", setting), &drawn, (&x, &y));
}

fn latency_panel(html: &mut Html, results: &Results, setting: &Setting, figures: &[&Figure]) {
    let found =
        typical(figures, |detail| if let Detail::Latency(latency) = detail { Some(latency) } else { None });
    if found.is_empty() {
        return;
    }
    let points = |latency: &Latency| latency.curve();
    let all = || found.iter().flat_map(|(_, latency)| points(latency));
    let x = Axis {
        scale: Scale::logarithmic(all().map(|(above, _)| above)),
        title: "percentile",
        label: percentile_label,
        is_reversed: true,
    };
    let y = Axis {
        label: units::nanoseconds_round,
        ..Axis::new(Scale::logarithmic(all().map(|(_, value_ns)| value_ns)), "latency")
    };
    let curve = |figure: &Figure, latency: &Latency| Curve {
        class: colour(results, &figure.key.device),
        is_dashed: false,
        points: points(latency),
    };
    let drawn: Vec<_> = found.iter().map(|(figure, latency)| (*figure, curve(figure, latency))).collect();
    curve_panel(html, ("Latency by percentile", setting), &drawn, (&x, &y));
}

/// "p99.9" for a thousandth that took longer.
fn percentile_label(above: f64) -> String {
    if above >= 1.0 {
        return "p0".to_owned();
    }
    // As many nines as the share has places: 0.001 is 99.9.
    let decimals = (-above.log10()).round().max(2.0) as usize - 2;
    format!("p{:.decimals$}", (1.0 - above) * 100.0)
}

fn histogram_panel(html: &mut Html, figure: &Figure) {
    let found =
        typical(
            &[figure],
            |detail| if let Detail::Histogram(buckets) = detail { Some(buckets) } else { None },
        );
    let Some((_, buckets)) = found.first() else { return };
    let column = |bucket: &Bucket| Column {
        label: units::nanoseconds_round(bucket.up_to_ns as f64),
        count: bucket.count.saturating_sub(bucket.switched_out),
        apart: bucket.switched_out,
    };
    let drawn: Vec<Column> = buckets.iter().map(column).collect();
    html.open("div", "panels single");
    html.open("figure", "");
    let title = format!("{}: how long turns took", figure.key.device);
    html.leaf("h4", "", &title);
    columns(html, &title, &drawn);
    html.leaf(
        "figcaption",
        "",
        "Counts on a logarithmic scale. Narrow bars: turns in which the thread was switched out against its will.",
    );
    html.close("figure");
    html.close("div");
}
