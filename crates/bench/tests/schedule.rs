//! Who has a turn when.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use bench::schedule::{Next, Schedule};
use bench::{Profile, schedule::Step};

const PROFILE: &str = r#"title = "t"
rounds = 3
[[device]]
kind = "kernel"
[[device]]
kind = "nftables"
[[device]]
kind = "haproxy"
[[trial]]
kind = "flood"
frame_bytes = [64, 128]
[[trial]]
kind = "transfer"
"#;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Runs a schedule in which each turn takes as long as `takes` says of its round.
fn run(profile: &Profile, takes: impl Fn(u32) -> u64) -> (Vec<Step>, Next) {
    let mut schedule = Schedule::new(profile);
    let (mut steps, mut elapsed) = (Vec::new(), Duration::ZERO);
    loop {
        match schedule.next(elapsed) {
            Next::Step(step) => {
                elapsed += seconds(takes(step.round));
                steps.push(step);
            }
            end => return (steps, end),
        }
    }
}

#[test]
fn devices_take_turns_within_each_setting_and_round() {
    let profile = Profile::parse(PROFILE, "p").unwrap();
    let (steps, end) = run(&profile, |_| 1);
    assert_eq!(end, Next::Finished);
    assert_eq!(steps.len(), Schedule::new(&profile).turns());
    let shown: Vec<String> = steps
        .iter()
        .map(|step| {
            let size = step.setting.frame_bytes.map_or("-".into(), |size| size.to_string());
            format!("{}:{size}:{}", step.round, profile.devices[step.device])
        })
        .collect();
    let round = |number: u32| {
        ["64:kernel", "64:nftables", "128:kernel", "128:nftables", "-:kernel", "-:nftables", "-:haproxy"]
            .map(|turn| format!("{number}:{turn}"))
    };
    assert_eq!(shown, [round(1), round(2), round(3)].concat());
}

#[test]
fn no_round_begins_that_would_end_after_the_budget() {
    let mut profile = Profile::parse(PROFILE, "p").unwrap();
    // Seven turns a round: two rounds of ten seconds a turn end at 140 s, a third would at 210 s.
    profile.time_budget = Some(seconds(209));
    let (steps, end) = run(&profile, |_| 10);
    assert_eq!((steps.len(), end), (14, Next::OutOfTime { rounds: 2 }));
    profile.time_budget = Some(seconds(210));
    assert_eq!(run(&profile, |_| 10).1, Next::Finished);
    // The longest round so far counts, not the last.
    profile.time_budget = Some(seconds(150));
    assert_eq!(run(&profile, |round| if round == 1 { 12 } else { 1 }).1, Next::OutOfTime { rounds: 1 });
}

#[test]
fn the_first_round_always_runs_whole() {
    let mut profile = Profile::parse(PROFILE, "p").unwrap();
    profile.time_budget = Some(seconds(1));
    let (steps, end) = run(&profile, |_| 100);
    assert_eq!((steps.len(), end), (7, Next::OutOfTime { rounds: 1 }));
}

#[test]
fn an_estimate_grows_with_rounds_and_trials() {
    let mut profile = Profile::parse(PROFILE, "p").unwrap();
    let three = Schedule::estimate(&profile);
    profile.rounds = 6;
    assert_eq!(Schedule::estimate(&profile), three * 2);
    // Four floods of 2 s and three transfers of a gibibyte at a gigabit, each with what surrounds it.
    assert!(three > seconds(3 * (4 * 2 + 3 * 8)) && three < seconds(3 * 7 * 12), "{three:?}");
}
