//! The report: every figure is in it, and nothing of a result is taken for markup.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod sample;

use bench::profile::{Setting, TrialKind};
use bench::report::html;
use bench::results::{Fact, FigureKey, Quantity, Repetition};

/// What markup, attributes and terminals would obey.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=y>&\u{1b}[31m\u{202e}";

#[test]
fn every_figure_and_repetition_is_in_the_report() {
    let results = sample::results();
    let report = html(&results);
    // To be looked at.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/report.html"), &report).unwrap();
    assert!(results.figures.len() > 60);
    for figure in &results.figures {
        assert!(report.contains(&figure.key.device), "{}", figure.key);
        for repetition in &figure.repetitions {
            let cell = format!("<td class=\"n\">{}</td>", figure.key.quantity.show(repetition.value));
            assert!(report.contains(&cell), "{}: {cell}", figure.key);
        }
    }
    let ratio = results.ratios.iter().find(|ratio| ratio.key.device == "nftables").unwrap();
    let spread = ratio.spread.unwrap();
    let cell = format!("{:.2} ({:.2} – {:.2})", spread.median, spread.min, spread.max);
    assert!(report.contains(&cell), "{cell}");
    for missing in &results.not_measured {
        assert!(report.contains(&missing.what) && report.contains(&missing.why));
    }
    for words in [
        "the generator&#39;s own limit: 4.60 Mpps",
        "Plain switching and routing beside balancing",
        "Loss against offered load",
        "Latency by percentile",
        "Every trial of every search",
        "how long turns took",
        "Connections opened, second by second",
        "Connections held, second by second",
        "Connection rate while they are opened",
        "asked for: 1.00 M",
        "Every run, and why connections failed",
        "<td class=\"n\">262,144</td>",
        "nftables: limited by a bound on the connections that the device may track",
        "ip netns exec device jeoul/af_xdp --run",
        "limited by the device&#39;s core",
        "crosses the kernel&#39;s veth",
        "5 interleaved rounds in 9 min 12 s",
    ] {
        assert!(report.contains(words), "{words}");
    }
}

#[test]
fn the_report_loads_nothing_and_runs_nothing() {
    let report = html(&sample::results());
    for forbidden in
        ["<script", "<link", "<img", "<iframe", "http://", "https://", "url(", "@import", "src=", "href="]
    {
        assert!(!report.contains(forbidden), "{forbidden}");
    }
    assert!(report.contains("default-src 'none'"));
}

#[test]
fn every_element_is_closed() {
    let report = html(&sample::results());
    for tag in [
        "html", "body", "div", "table", "tr", "td", "th", "svg", "figure", "text", "p", "h2", "details",
        "span", "ul",
    ] {
        let opened =
            report.matches(&format!("<{tag}>")).count() + report.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, report.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(!report.contains("NaN") && !report.contains("inf%"));
}

#[test]
fn nothing_of_a_result_is_taken_for_markup() {
    let mut results = sample::results();
    let text = || HOSTILE.to_owned();
    results.title = text();
    results.started_at = text();
    results.profile = text();
    results.notes = vec![text()];
    results.not_measured(text(), text());
    results.generator_limits[0].how = text();
    let environment = &mut results.environment;
    environment.kernel = text();
    environment.cpu = text();
    environment.virtualisation = text();
    environment.jeoul = text();
    environment.link = text();
    environment.topology = text();
    environment.pinning = vec![Fact::new(text(), text())];
    environment.facts = vec![Fact::new(text(), text())];
    let device = &mut results.devices[2];
    device.version = text();
    device.driver = text();
    device.commands = vec![text()];
    device.configuration = text();
    device.facts = vec![Fact::new(text(), text())];
    device.name = text();
    results.reference = text();
    for figure in &mut results.figures {
        figure.key.trial = text();
        if figure.key.device.starts_with("jeoul") {
            figure.key.device = text();
        }
        figure.repetitions.iter_mut().for_each(|repetition| repetition.limited_by = Some(text()));
    }
    results.summarise();
    let report = html(&results);
    assert!(report.matches("&lt;script&gt;").count() > 30);
    for forbidden in ["<script", "<img", "onerror=y>\"", "\u{1b}", "\u{202e}", "\"'>"] {
        assert!(!report.contains(forbidden), "{forbidden:?}");
    }
}

#[test]
fn results_without_figures_make_a_report_too() {
    let mut results = sample::results();
    results.figures.clear();
    results.devices.clear();
    results.generator_limits.clear();
    results.not_measured.clear();
    results.summarise();
    let report = html(&results);
    assert!(report.contains("Nothing that the profile asks for is missing"));
    assert!(report.ends_with("</html>\n"));
}

#[test]
fn odd_values_are_drawn_within_the_plot() {
    let mut results = sample::results();
    for (round, value) in [0.0, 1e300, -5.0, f64::NAN, f64::INFINITY].into_iter().enumerate() {
        let setting = Setting::default();
        let key: FigureKey = sample::key("odd", TrialKind::Flood, "kernel", setting, Quantity::Delivered);
        results.record(key, Repetition::new(round as u32 + 1, value));
    }
    results.summarise();
    let odd = results.figures.iter().find(|figure| figure.key.trial == "odd").unwrap();
    assert_eq!(odd.repetitions.len(), 3, "what is no number is not kept");
    assert_eq!(results.not_measured.iter().filter(|missing| missing.what.starts_with("odd")).count(), 2);
    let report = html(&results);
    assert!(!report.contains("NaN") && !report.contains("=\"inf") && !report.contains("=\"-"));
}

#[test]
fn a_summary_holds_every_figure_with_its_ratio_and_ours_beside_each_peer() {
    let results = sample::results();
    let summary = bench::Summary(&results).to_string();
    for figure in &results.figures {
        assert!(summary.contains(&figure.key.trial) && summary.contains(figure.key.quantity.title()));
    }
    let row = summary.lines().find(|line| line.starts_with("  nftables ")).unwrap();
    let ratio = results.ratios.iter().find(|ratio| ratio.key.device == "nftables").unwrap();
    assert!(row.contains(&format!(" {:.2} ", ratio.median().unwrap())), "{row}");
    let beside = summary.lines().find(|line| line.starts_with("  jeoul/af_xdp is ")).unwrap();
    assert!(beside.contains("of testpmd/af_xdp") && beside.contains("of nftables"), "{beside}");
    assert!(!beside.contains("of jeoul/af_packet"), "{beside}");
    assert!(summary.lines().any(|line| line.ends_with("  the device's core")), "{summary}");
}
