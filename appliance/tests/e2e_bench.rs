//! `jeoul bench` as a user runs it: a report, raw results with figures, a summary; compared with itself it is the same.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::JEOUL;
use serde_json::Value;

/// Everything as short as a profile allows, on as few flows as a debug build warms up at once.
const PROFILE: &str = r#"
title = "A bench of a test"
rounds = 1
reference = "direct"
flows = 1_000

[[device]]
kind = "direct"

[[device]]
kind = "jeoul"
driver = "af_xdp"
polling = "adaptive"

[[trial]]
kind = "flood"
frame_bytes = 64
duration = "100ms"

[[trial]]
kind = "round-trip"
duration = "100ms"
devices = ["jeoul/af_xdp"]

[[trial]]
kind = "concurrent-connections"
connections = 500
rate = 5_000
sustain = "300ms"
devices = ["jeoul/af_xdp"]

[[trial]]
kind = "ramp"
rate = 1_000
ramp_up = "100ms"
sustain = "200ms"
ramp_down = "100ms"
devices = ["direct"]
"#;

#[test]
fn a_bench_reports_figures_and_does_not_differ_from_itself() {
    e2e::with_driver("af_xdp", |_driver| {
        build_generator();
        let directory = std::env::temp_dir().join(format!("jeoul-e2e-bench-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("tiny.toml"), PROFILE).unwrap();
        let output = jeoul(&directory, &["bench", "tiny.toml", "--output", "out"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let progress = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}\n{progress}");
        let results: Value =
            serde_json::from_slice(&fs::read(directory.join("out/results.json")).unwrap()).unwrap();
        for (device, quantity) in [
            ("direct", "delivered"),
            ("jeoul/af_xdp", "delivered"),
            ("jeoul/af_xdp", "latency-p99.9"),
            ("jeoul/af_xdp", "connections"),
            ("direct", "connection-rate"),
        ] {
            let figures = results["figures"].as_array().unwrap().iter();
            let mut of_both = figures.filter(|figure| figure["device"] == device);
            let figure = of_both.find(|figure| figure["quantity"] == quantity);
            let value = figure.and_then(|figure| figure["repetitions"][0]["value"].as_f64());
            assert!(value.is_some_and(|value| value > 0.0), "{device}, {quantity}: {progress}");
            assert!(said.lines().any(|line| line.starts_with(&format!("  {device} "))), "{said}");
        }
        let report = fs::read_to_string(directory.join("out/report.html")).unwrap();
        assert!(report.contains("jeoul/af_xdp") && report.contains("<svg"), "{report}");
        for curve in ["Connections held, second by second", "Connections opened, second by second"] {
            assert!(report.contains(curve), "{report}");
        }
        for trial in ["concurrent-connections slb-routed", "ramp slb-routed"] {
            let figures = results["figures"].as_array().unwrap().iter();
            let run = |figure: &Value| figure["repetitions"][0]["detail"]["connections"].clone();
            let runs: Vec<Value> =
                figures.filter(|figure| figure["trial"] == trial).map(run).filter(Value::is_object).collect();
            let count = |of: &str| runs[0][of].as_u64().unwrap();
            // What a busy machine loses has failed, and nothing is lost sight of.
            let failures = ["no_answer", "reset", "wrong_sequence"].map(|why| &runs[0]["failures"][why]);
            let failed: u64 = failures.iter().filter_map(|count| count.as_u64()).sum();
            assert_eq!((runs.len(), count("begun")), (1, count("closed") + failed), "{runs:?}");
            assert!(count("asked") >= count("begun") && count("closed") > 0, "{runs:?}");
        }

        let same = ["bench", "compare", "out/results.json", "out/results.json"];
        let compared = jeoul(&directory, &same);
        let text = String::from_utf8_lossy(&compared.stdout).into_owned();
        assert_eq!(compared.status.code(), Some(0), "{text}");
        assert!(text.ends_with("\nno difference larger than the spreads\n"), "{text}");
        assert_eq!(unread(&directory, &same), (Some(0), String::new()));
        fs::remove_dir_all(&directory).unwrap();
    });
}

/// The workspace's tests have it built; this package's alone do not.
fn build_generator() {
    if Path::new(JEOUL).with_file_name("jeoul-gen").is_file() {
        return;
    }
    let status = Command::new(env!("CARGO")).args(["build", "--quiet", "--bin", "jeoul-gen"]).status();
    assert!(status.unwrap().success());
}

fn jeoul(directory: &Path, words: &[&str]) -> Output {
    Command::new(JEOUL).current_dir(directory).args(words).output().unwrap()
}

/// The exit code and complaints of a command whose reader has left before it says anything.
fn unread(directory: &Path, words: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(JEOUL);
    command.current_dir(directory).args(words).stdout(Stdio::from(writer));
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
