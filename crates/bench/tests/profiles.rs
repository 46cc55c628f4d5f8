//! Profiles: those of `configs/bench`, and what is said of wrong ones.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bench::profile::{Client, DeviceKind, Driver, FrameSize, LatencyRate, Method, ROUNDS_DEFAULT};
use bench::{Profile, Schedule};
use proptest::prelude::*;

/// A profile that is right, to be broken.
const SMALL: &str = r#"title = "t"
[[device]]
kind = "jeoul"
driver = "af_xdp"
[[device]]
kind = "haproxy"
[[trial]]
kind = "throughput"
frame_bytes = [64, "imix"]
"#;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/bench")
}

fn sample(name: &str) -> Profile {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    Profile::parse(&text, name).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(|error| error.render() + "\n").collect::<String>())
    })
}

/// The findings about `text`, a line each.
fn findings(text: &str) -> Vec<String> {
    Profile::parse(text, "p.toml").unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn every_sample_profile_is_right() {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["connections.toml", "fwlb.toml", "quick.toml", "slb-modes.toml", "throughput.toml"]);
    for name in names {
        let profile = sample(&name);
        assert!(profile.rounds == 3 || profile.rounds >= ROUNDS_DEFAULT, "{name}");
        assert!(!profile.devices.is_empty() && !profile.trials.is_empty(), "{name}");
        assert!(Schedule::estimate(&profile) > Duration::ZERO);
    }
}

#[test]
fn the_quick_profile_keeps_within_ten_minutes() {
    let profile = sample("quick.toml");
    assert!(profile.time_budget.unwrap() < Duration::from_secs(600));
    assert_eq!(profile.devices[profile.reference].name, "bare-forwarder/af_xdp");
    // Even if every search took all the trials that it may, one round fits; usually three do.
    let mut one_round = profile.clone();
    one_round.rounds = 1;
    assert!(
        Schedule::estimate(&one_round) < Duration::from_secs(480),
        "{:?}",
        Schedule::estimate(&one_round)
    );
}

#[test]
fn a_small_profile_gets_its_defaults() {
    let profile = Profile::parse(SMALL, "p.toml").unwrap();
    assert_eq!(profile.rounds, ROUNDS_DEFAULT);
    assert_eq!(profile.devices[0].driver, Some(Driver::AfXdp));
    assert_eq!(profile.devices[0].name, "jeoul/af_xdp");
    assert_eq!(profile.devices[profile.reference].kind, DeviceKind::Haproxy, "the first peer");
    let trial = &profile.trials[0];
    assert_eq!(trial.name, "throughput slb-routed");
    assert_eq!(trial.devices, [0], "a proxy sees no frames of a flood");
    let sizes: Vec<_> = trial.settings.iter().map(|setting| setting.frame_bytes.unwrap()).collect();
    assert_eq!(sizes, [FrameSize::Bytes(64), FrameSize::Imix]);
    let Method::Throughput { acceptable_loss, resolution, retries, verify, .. } = trial.method else {
        panic!()
    };
    assert_eq!((acceptable_loss, resolution, retries, verify), (0.0, 0.02, 0, None));
}

#[test]
fn sizes_default_to_those_of_rfc_2544() {
    let profile = Profile::parse(&SMALL.replace("frame_bytes = [64, \"imix\"]", ""), "p.toml").unwrap();
    let sizes: Vec<String> =
        profile.trials[0].settings.iter().map(|setting| setting.frame_bytes.unwrap().to_string()).collect();
    assert_eq!(sizes, ["64", "128", "256", "512", "1024", "1280", "1518"]);
}

#[test]
fn rates_and_clients_are_told_apart() {
    let connections = sample("connections.toml");
    let Method::ConnectionRate(wrk) = &connections.trials[0].method else { panic!() };
    assert_eq!((wrk.client, wrk.parallel), (Client::Wrk, 64));
    let throughput = sample("throughput.toml");
    let rates: Vec<LatencyRate> = throughput
        .trials
        .iter()
        .filter_map(|trial| if let Method::Latency { rate, .. } = trial.method { Some(rate) } else { None })
        .collect();
    assert_eq!(rates, [LatencyRate::OfThroughput(1.0), LatencyRate::PacketsPerSecond(100_000.0)]);
}

#[test]
fn every_finding_has_its_place_and_its_cure() {
    let cases = [
        (
            SMALL.replace("frame_bytes", "frame_byte"),
            "p.toml:9:1: error: unknown key \"frame_byte\" in this trial (did you mean `frame_bytes`?)",
        ),
        (
            SMALL.replace("\"jeoul\"", "\"jeuol\""),
            "p.toml:3:8: error: `kind` cannot be \"jeuol\" (did you mean \"jeoul\"?)",
        ),
        (
            SMALL.replace("driver = \"af_xdp\"\n", ""),
            "p.toml:2:1: error: jeoul lacks `driver` (`driver = \"af_xdp\"` or \"af_packet\")",
        ),
        (
            SMALL.replace("\"haproxy\"", "\"haproxy\"\ndriver = \"af_xdp\""),
            "p.toml:7:10: error: haproxy has no driver (remove `driver`)",
        ),
        (
            SMALL.replace("[64,", "[63,"),
            "p.toml:9:16: error: `frame_bytes` is out of range (from 64 to 1,522)",
        ),
        (
            SMALL.replace("\"imix\"", "\"mix\""),
            "p.toml:9:20: error: `frame_bytes` is no frame size (a number of bytes with the FCS, or \"imix\")",
        ),
        (
            SMALL.replace("title", "rounds = 0\ntitle"),
            "p.toml:1:10: error: `rounds` is out of range (from 1 to 100)",
        ),
        (
            SMALL.replace("\"t\"", "7"),
            "p.toml:1:9: error: `title` is not a text (for instance \"…\", in quotes)",
        ),
        (
            SMALL.replace("title = \"t\"\n", ""),
            "p.toml:1:1: error: the profile lacks `title` (for instance `title = \"Throughput\"`)",
        ),
        (
            format!("{SMALL}resolution = \"0%\""),
            "p.toml:10:14: error: `resolution` is out of range (from 0.1% to 25%)",
        ),
        (
            format!("{SMALL}duration = \"2 s\""),
            "p.toml:10:12: error: `duration` is not a duration (for instance \"500ms\", \"2s\" or \"10m\")",
        ),
        (
            format!("{SMALL}highest_rate = \"2\""),
            "p.toml:10:16: error: `highest_rate` is not a packet rate (for instance \"100kpps\" or \"1.5Mpps\")",
        ),
        (
            format!("{SMALL}flows = [5, 5]"),
            "p.toml:7:1: error: a frame size or number of flows stands twice (remove one)",
        ),
        (
            format!("{SMALL}devices = [\"haproxy\"]"),
            "p.toml:10:12: error: haproxy sees no frames of a generator that opens no connections (it cannot take part in throughput)",
        ),
        (
            SMALL
                .replace("throughput", "idle")
                .replace("frame_bytes = [64, \"imix\"]", "devices = [\"haproxy\"]"),
            "p.toml:9:12: error: haproxy has no process that waits for frames (it cannot take part in idle)",
        ),
        (
            format!("{SMALL}devices = [\"nginx\"]"),
            "p.toml:10:12: error: no device is called \"nginx\" (known: jeoul/af_xdp, haproxy)",
        ),
        (
            format!("{SMALL}[[device]]\nkind = \"haproxy\""),
            "p.toml:10:1: error: two devices are called \"haproxy\" (give one another `name`)",
        ),
        (
            format!("{SMALL}[[trial]]\nkind = \"throughput\""),
            "p.toml:10:1: error: two trials are called \"throughput slb-routed\" (give one another `name`)",
        ),
        (
            format!("{SMALL}[[trial]]\nkind = \"latency\""),
            "p.toml:10:1: error: the rate is a share of a throughput that no earlier trial measures",
        ),
        (SMALL.replace("[[trial]]", "[trial]"), "p.toml:7:1: error: `trial` is not a list of tables"),
        (format!("reference = \"x\"\n{SMALL}"), "p.toml:1:13: error: no device is called \"x\""),
    ];
    for (text, expected) in cases {
        let found = findings(&text);
        assert!(found.iter().any(|line| line.starts_with(expected)), "wanted {expected}\nfound {found:#?}");
    }
}

#[test]
fn syntax_errors_and_endless_files_are_refused() {
    assert!(findings("title = ")[0].starts_with("p.toml:1:"), "{:?}", findings("title = "));
    let long = format!("# {}", "x".repeat(bench::profile::FILE_BYTES_MAX));
    assert!(findings(&long)[0].contains("longer than"));
}

#[test]
fn all_findings_come_in_one_pass_and_are_drawn_as_a_compiler_does() {
    let text = SMALL.replace("\"jeoul\"", "\"j\\u001b[31m\"").replace("64", "6").replace("\"t\"", "1");
    let errors = Profile::parse(&text, "p.toml").unwrap_err();
    let lines: Vec<usize> = errors.iter().map(|error| error.line).collect();
    assert!(lines.len() >= 3 && lines.is_sorted(), "{lines:?}");
    let drawn = errors.last().unwrap().render();
    assert!(drawn.contains("p.toml:9:16") && drawn.contains("^") && drawn.contains("help"), "{drawn}");
    assert!(
        errors
            .iter()
            .all(|error| !error.render().contains('\u{1b}') && !error.to_string().contains('\u{1b}'))
    );
}

#[test]
fn a_quick_run_has_three_rounds_at_the_most() {
    let mut profile = Profile::parse(SMALL, "p.toml").unwrap();
    profile.quicken();
    assert_eq!(profile.rounds, 3);
    profile.rounds = 2;
    profile.quicken();
    assert_eq!(profile.rounds, 2);
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in ".{0,80}") {
        let _ = Profile::parse(&text, "p.toml").map_err(|errors| {
            errors.iter().for_each(|error| drop(error.render()));
        });
    }

    #[test]
    fn any_damage_is_read_without_a_panic(at in 0usize..SMALL.len(), with in "[a-z0-9=\\[\\]\"é\u{85}\n]{0,3}") {
        let mut text = SMALL.to_owned();
        text.replace_range(at..=at, &with);
        let _ = Profile::parse(&text, "p.toml").map_err(|errors| {
            errors.iter().for_each(|error| drop(error.render()));
        });
    }
}
