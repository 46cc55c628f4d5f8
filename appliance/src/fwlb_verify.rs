//! `jeoul fwlb verify`: whether two files are the two ends of one sandwich.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use config::{Config, Diagnostic};
use control::fwlb::{FirewallShare, Pair, Report, Severity, verify as compare};

use crate::table::{Align, Table, printable};
use crate::units::percent;
use crate::{FAILED, WRONG_INPUT};

/// Spaces in front of what is said of a pair.
const INDENT: usize = 2;

/// Compares the two files and prints what came of it.
pub(crate) fn verify(outer: &Path, inner: &Path, (flows, seed): (u64, Option<u64>), json: bool) -> ExitCode {
    let (Some(outer), Some(inner)) = (read(outer), read(inner)) else { return ExitCode::from(WRONG_INPUT) };
    let report = compare(&outer, &inner, flows, seed.unwrap_or_else(seed_of_now));
    let text = match json {
        true => serde_json::to_string_pretty(&report).map(|text| text + "\n").map_err(Into::into),
        false => Ok(render(&report)),
    };
    // A reader that has gone away (`| head`) has seen what it wanted.
    if text.and_then(|text| std::io::stdout().write_all(text.as_bytes())).is_err() {
        return ExitCode::from(FAILED);
    }
    if !json {
        eprint!("{}", findings(&report));
    }
    if report.agree { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// The file, if it is one of an appliance with firewalls; else standard error says why not.
fn read(file: &Path) -> Option<Config> {
    let outcome = Config::load(file);
    let Some(config) = outcome.config else {
        outcome.diagnostics.iter().filter(|finding| finding.is_error()).for_each(tell);
        return None;
    };
    if config.firewall_groups.is_empty() {
        eprintln!("jeoul: {}: there is no `[[firewall_group]]` in it", file.display());
        return None;
    }
    Some(config)
}

fn tell(finding: &Diagnostic) {
    eprintln!("{}\n", finding.render());
}

/// Another one each time: many runs see more flows than one.
fn seed_of_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

/// For people: what was found out of each pair, and the verdict. Pure.
fn render(report: &Report) -> String {
    let mut text = String::new();
    for pair in &report.pairs {
        text += &of_pair(pair, report.seed);
        text.push('\n');
    }
    for alone in &report.without_partner {
        let group = printable(&alone.group);
        text += &format!("Group {group:?} of the {} end has no partner.\n", alone.end.word());
    }
    if !report.without_partner.is_empty() {
        text.push('\n');
    }
    text + if report.agree { "The two ends agree.\n" } else { "The two ends do not agree.\n" }
}

fn of_pair(pair: &Pair, seed: u64) -> String {
    let proof = &pair.proof;
    let mut text = format!(
        "{} (outer) and {} (inner): {} and {} in common\n",
        printable(&pair.outer),
        printable(&pair.inner),
        some(pair.names_in_common, "name", "s"),
        some(pair.far_addresses_in_common, "far address", "es"),
    );
    let mut lines = Table::new([("", Align::Left), ("", Align::Left)]);
    let mut line = |name: &str, words: String| lines.row([name.to_owned(), words]);
    line("fingerprint", fingerprints(pair));
    let placed = match proof.disagreeing_flows {
        _ if proof.flows == 0 => "no flow lies between the networks of the two".to_owned(),
        0 => "both ends place each on the same firewall, in both directions".to_owned(),
        some => format!("the ends place {some} of them on different firewalls"),
    };
    line("flows", format!("{} at random, seed {seed}: {placed}", proof.flows));
    // Where ends do not agree on where flows are, where these move to says nothing.
    let has_failures = proof.disagreeing_flows == 0 && proof.flows > 0;
    if has_failures {
        line("failures", failures(pair).to_owned());
    }
    // The lines have no titles.
    text += lines.render(INDENT).split_once('\n').map_or("", |(_, lines)| lines);
    text.push('\n');
    text + &shares(&proof.firewalls, has_failures).render(INDENT)
}

fn fingerprints(pair: &Pair) -> String {
    match (&pair.outer_fingerprint, &pair.inner_fingerprint) {
        (Some(one), Some(other)) if one == other => format!("{one} at both ends"),
        (one, other) => {
            let word = |print: &Option<String>| print.clone().unwrap_or_else(|| "none".to_owned());
            format!("{} at the outer end, {} at the inner", word(one), word(other))
        }
    }
}

fn failures(pair: &Pair) -> &'static str {
    let is_right = |firewall: &FirewallShare| {
        let failure = &firewall.failure;
        failure.disagreeing_flows == 0 && failure.others_stay && failure.all_return
    };
    match pair.proof.firewalls.iter().all(is_right) {
        true => "each moves its own flows alone, both ends agree where to, and on return all come back",
        false => "not each of them does what it should",
    }
}

fn shares(firewalls: &[FirewallShare], has_failures: bool) -> Table {
    let mut table = Table::new([
        ("FIREWALL", Align::Left),
        ("WEIGHT", Align::Right),
        ("FLOWS", Align::Right),
        ("SHARE", Align::Right),
        ("IF IT FAILS, THEY GO TO", Align::Left),
    ]);
    for firewall in firewalls {
        let weight = |weight: Option<u32>| weight.map_or_else(|| "-".to_owned(), |weight| weight.to_string());
        let (outer, inner) = (weight(firewall.outer_weight), weight(firewall.inner_weight));
        let moved = firewall.failure.moved_flows;
        let takers = firewall.failure.to.iter();
        let takers: Vec<String> = takers
            .map(|taker| format!("{} {}", taker.name, percent(taker.flows as f64 / moved as f64)))
            .collect();
        let to = match takers.is_empty() {
            _ if !has_failures => "?".to_owned(),
            true if moved > 0 && firewall.failure.disagreeing_flows == 0 => "nobody: dropped".to_owned(),
            _ => takers.join(", "),
        };
        table.row([
            firewall.name.clone(),
            if outer == inner { outer } else { format!("{outer}, {inner}") },
            firewall.flows.to_string(),
            percent(firewall.share),
            to,
        ]);
    }
    table
}

/// All that does not fit, a line each. Pure.
fn findings(report: &Report) -> String {
    let line = |finding: &control::fwlb::Finding| {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let of = match (&finding.outer, &finding.inner) {
            (Some(outer), Some(inner)) => format!("{outer} and {inner}: "),
            _ => String::new(),
        };
        printable(&format!("{word}: {of}{}", finding.text)) + "\n"
    };
    report.findings.iter().map(line).collect()
}

/// `1 name`, `2 names`.
fn some(count: usize, noun: &str, ending: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { ending })
}
