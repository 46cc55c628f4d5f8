//! Plots as inline SVG that are as wide as their place.
//!
//! Horizontal places are percentages and letters have a size of their own, so that a plot is as readable on a phone as on
//! paper. Curves, which know no percentages, lie in a picture of 1000 by 1000 that is stretched below the letters.

use super::html::Html;
use super::scale::{Scale, tick_label};

/// One bar, with the repetitions that it stands for.
pub(super) struct Bar {
    pub(super) label: String,
    /// What stands at its end.
    pub(super) value_label: String,
    pub(super) is_ours: bool,
    pub(super) median: f64,
    /// Every repetition.
    pub(super) values: Vec<f64>,
}

/// Height of one bar with its line of text, in pixels.
const BAR_ROW: f64 = 42.0;

/// Room above the bars for the name of the limit, in pixels.
const LIMIT_ROW: f64 = 18.0;

/// Bars below each other, on the scale of the largest `max`. `limit`: a line that is drawn through all, with its name.
pub(super) fn bars(html: &mut Html, name: &str, bars: &[Bar], max: f64, limit: Option<(f64, String)>) {
    let scale = Scale::linear(max);
    let top = if limit.is_some() { LIMIT_ROW } else { 0.0 };
    let height = top + bars.len() as f64 * BAR_ROW;
    open_svg(html, name, height);
    for (index, bar) in bars.iter().enumerate() {
        draw_bar(html, bar, top + index as f64 * BAR_ROW, &scale);
    }
    if let Some((value, label)) = limit {
        let at = scale.place(value) * 100.0;
        // Across the bars and not across what is written above them.
        for index in (0..bars.len()).filter(|_| value <= max) {
            let bar_top = top + index as f64 * BAR_ROW + 17.0;
            line(html, "limit", (at, at), (bar_top, bar_top + 16.0));
        }
        html.markup("<text class=\"limit ");
        html.markup(if at > 50.0 { "end\" x=\"" } else { "start\" x=\"" });
        html.number(at);
        html.markup("%\" y=\"11\">");
        html.text(label);
        html.markup(if value > max { " →</text>\n" } else { "</text>\n" });
    }
    html.close("svg");
}

fn draw_bar(html: &mut Html, bar: &Bar, top: f64, scale: &Scale) {
    let class = if bar.is_ours { "ours" } else { "" };
    place_text(html, class, (0.0, top + 13.0), &bar.label);
    place_text(html, if bar.is_ours { "ours end" } else { "end" }, (100.0, top + 13.0), &bar.value_label);
    rectangle(html, "track", (0.0, 100.0), (top + 19.0, 12.0));
    let class = if bar.is_ours { "bar ours" } else { "bar" };
    rectangle(html, class, (0.0, scale.place(bar.median) * 100.0), (top + 19.0, 12.0));
    let places = bar.values.iter().map(|value| scale.place(*value) * 100.0);
    let (low, high) = places.clone().fold((100.0, 0.0), |(low, high), at| (at.min(low), at.max(high)));
    if high > low {
        line(html, "whisker", (low, high), (top + 25.0, top + 25.0));
    }
    for at in places {
        circle(html, "dot", (at, top + 25.0), 2.5);
    }
}

/// One curve of a plot.
pub(super) struct Curve {
    pub(super) class: &'static str,
    /// Dashed: what was asked for, not what was measured.
    pub(super) is_dashed: bool,
    /// From left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// An axis and what its ticks say.
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) title: &'static str,
    pub(super) label: fn(f64) -> String,
    /// Whether larger values are to the left, or below.
    pub(super) is_reversed: bool,
}

impl Axis {
    /// Numbers as they are.
    pub(super) fn new(scale: Scale, title: &'static str) -> Axis {
        Axis { scale, title, label: tick_label, is_reversed: false }
    }

    fn place(&self, value: f64) -> f64 {
        let place = self.scale.place(value);
        if self.is_reversed { 1.0 - place } else { place }
    }
}

/// Height of a plot of curves, and of the part above its lower axis, in pixels.
const PLOT_HEIGHT: f64 = 290.0;
const PLOT_TOP: f64 = 34.0;
const PLOT_BOTTOM: f64 = 250.0;

/// Left and right edge of curves, in percent: the numbers of the upright axis stand left of it.
const PLOT_LEFT: f64 = 2.0;
const PLOT_RIGHT: f64 = 98.0;

/// Points of a curve from which on they are drawn as its line alone.
const POINTS_MANY: usize = 32;

/// Labels of a lower axis from which on a narrow screen has room for every other one.
const LABELS_MANY: usize = 6;

/// Curves over two axes.
pub(super) fn curves(html: &mut Html, name: &str, curves: &[Curve], x: &Axis, y: &Axis) {
    let across = |value: f64| PLOT_LEFT + x.place(value) * (PLOT_RIGHT - PLOT_LEFT);
    let up = |value: f64| PLOT_BOTTOM - y.place(value) * (PLOT_BOTTOM - PLOT_TOP);
    open_svg(html, name, PLOT_HEIGHT);
    place_text(html, "soft", (0.0, 11.0), y.title);
    for tick in y.scale.ticks() {
        line(html, "grid", (0.0, 100.0), (up(tick), up(tick)));
    }
    lower_axis(html, x, across);
    html.markup("<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" x=\"0\" width=\"100%\" y=\"");
    html.number(PLOT_TOP);
    html.markup("\" height=\"");
    html.number(PLOT_BOTTOM - PLOT_TOP);
    html.markup("\">\n");
    for curve in curves {
        html.markup("<polyline class=\"curve ");
        html.markup(curve.class);
        html.markup(if curve.is_dashed { " tried\" points=\"" } else { "\" points=\"" });
        for (value_x, value_y) in &curve.points {
            html.number(across(*value_x) * 10.0);
            html.markup(",");
            html.number(1_000.0 * (1.0 - y.place(*value_y)));
            html.markup(" ");
        }
        html.markup("\"/>\n");
    }
    html.close("svg");
    for curve in curves.iter().filter(|curve| !curve.is_dashed && curve.points.len() < POINTS_MANY) {
        for (value_x, value_y) in &curve.points {
            circle(html, curve.class, (across(*value_x), up(*value_y)), 3.5);
        }
    }
    // Last, so that no curve runs through them.
    for tick in y.scale.ticks() {
        place_text(html, "soft above", (0.0, up(tick) - 4.0), &(y.label)(tick));
    }
    html.close("svg");
}

fn lower_axis(html: &mut Html, x: &Axis, across: impl Fn(f64) -> f64) {
    let ticks = x.scale.ticks();
    for (index, tick) in ticks.iter().copied().enumerate() {
        line(html, "grid", (across(tick), across(tick)), (PLOT_BOTTOM, PLOT_BOTTOM + 4.0));
        let class = match x.place(tick) {
            place if place < 0.04 => "soft",
            place if place > 0.96 => "soft end",
            _ if ticks.len() >= LABELS_MANY && index % 2 == 1 => "soft middle spare",
            _ => "soft middle",
        };
        place_text(html, class, (across(tick), PLOT_BOTTOM + 17.0), &(x.label)(tick));
    }
    place_text(html, "soft end", (100.0, PLOT_HEIGHT - 4.0), x.title);
}

/// One upright bar of a histogram: where it ends, and how many; of these the part that is shown apart.
pub(super) struct Column {
    pub(super) label: String,
    pub(super) count: u64,
    pub(super) apart: u64,
}

/// Columns beside each other on a logarithmic scale of counts.
pub(super) fn columns(html: &mut Html, name: &str, columns: &[Column]) {
    let counts = || columns.iter().flat_map(|column| [column.count, column.apart]);
    // Counts of a run, below 2^53. From below 1, so that a single one is seen.
    let scale = Scale::logarithmic(counts().map(|count| count as f64).chain([0.5]));
    let up = |count: f64| PLOT_BOTTOM - scale.place(count) * (PLOT_BOTTOM - PLOT_TOP);
    open_svg(html, name, PLOT_HEIGHT);
    place_text(html, "soft", (0.0, 11.0), "turns");
    for tick in scale.ticks().into_iter().filter(|tick| *tick >= 1.0) {
        line(html, "grid", (0.0, 100.0), (up(tick), up(tick)));
        place_text(html, "soft", (0.0, up(tick) - 4.0), &tick_label(tick));
    }
    let width = 92.0 / columns.len().max(1) as f64;
    let every = columns.len().div_ceil(8).max(1);
    for (index, column) in columns.iter().enumerate() {
        let left = 7.0 + index as f64 * width;
        let bars = [("bar ours", column.count, left), ("bar out", column.apart, left + width * 0.55)];
        for (class, count, left) in bars.into_iter().filter(|(_, count, _)| *count > 0) {
            let top = up(count as f64);
            let wide = if class == "bar out" { width * 0.35 } else { width * 0.9 };
            rectangle(html, class, (left, wide), (top, PLOT_BOTTOM - top));
        }
        if index % every == 0 {
            place_text(html, "soft", (left, PLOT_BOTTOM + 17.0), &column.label);
        }
    }
    place_text(html, "soft end", (100.0, PLOT_HEIGHT - 4.0), "a turn took at most");
    html.close("svg");
}

fn open_svg(html: &mut Html, name: &str, height: f64) {
    html.markup("<svg role=\"img\"");
    html.attribute("aria-label", name);
    html.markup(" height=\"");
    html.number(height);
    html.markup("\">\n");
}

/// Horizontal places are percentages, vertical ones pixels.
fn place_text(html: &mut Html, class: &'static str, (x, y): (f64, f64), text: &str) {
    html.markup("<text class=\"");
    html.markup(class);
    html.markup("\" x=\"");
    html.number(x);
    html.markup("%\" y=\"");
    html.number(y);
    html.markup("\">");
    html.text(text);
    html.markup("</text>\n");
}

fn rectangle(html: &mut Html, class: &'static str, (x, width): (f64, f64), (y, height): (f64, f64)) {
    html.markup("<rect class=\"");
    html.markup(class);
    html.markup("\" x=\"");
    html.number(x);
    html.markup("%\" width=\"");
    html.number(width);
    html.markup("%\" y=\"");
    html.number(y);
    html.markup("\" height=\"");
    html.number(height);
    html.markup("\"/>\n");
}

fn line(html: &mut Html, class: &'static str, (x1, x2): (f64, f64), (y1, y2): (f64, f64)) {
    html.markup("<line class=\"");
    html.markup(class);
    for (name, value) in [("\" x1=\"", x1), ("%\" x2=\"", x2), ("%\" y1=\"", y1), ("\" y2=\"", y2)] {
        html.markup(name);
        html.number(value);
    }
    html.markup("\"/>\n");
}

fn circle(html: &mut Html, class: &'static str, (x, y): (f64, f64), radius: f64) {
    html.markup("<circle class=\"");
    html.markup(class);
    for (name, value) in [("\" cx=\"", x), ("%\" cy=\"", y), ("\" r=\"", radius)] {
        html.markup(name);
        html.number(value);
    }
    html.markup("\"/>\n");
}
