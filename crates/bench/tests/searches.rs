//! The searches against devices made of numbers: they find what is there, and they end.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use bench::profile::Phases;
use bench::search::{
    BackToBack, BackToBackSettings, BurstOutcome, ConnectionOutcome, ConnectionRate, ConnectionRateSettings,
    LossCurve, Throughput, ThroughputResult, ThroughputSettings, Trial, TrialOutcome,
};
use proptest::prelude::*;

fn settings(highest_pps: f64, resolution: f64) -> ThroughputSettings {
    ThroughputSettings {
        highest_pps,
        resolution,
        acceptable_loss: 0.0,
        duration: Duration::from_secs(1),
        retries: 0,
        verify: None,
    }
}

/// A device that forwards `limit_pps` and loses what is beyond.
fn forwards(limit_pps: f64, trial: Trial) -> TrialOutcome {
    let seconds = trial.duration.as_secs_f64();
    let transmitted = (trial.rate_pps * seconds) as u64;
    let received = if trial.rate_pps > limit_pps { (limit_pps * seconds) as u64 } else { transmitted };
    TrialOutcome { reached_pps: trial.rate_pps, transmitted, received: received.min(transmitted) }
}

/// Runs a search to its end, and checks that it states how long that takes.
fn search(settings: ThroughputSettings, mut device: impl FnMut(Trial) -> TrialOutcome) -> ThroughputResult {
    let mut search = Throughput::new(settings);
    let mut trials = 0;
    while let Some(trial) = search.next() {
        assert_eq!(search.next(), Some(trial), "asking again changes nothing");
        assert!(trial.rate_pps > 0.0 && trial.rate_pps <= settings.highest_pps, "{trial:?}");
        trials += 1;
        assert!(trials <= Throughput::trials_max(&settings), "more trials than stated");
        search.note(device(trial));
    }
    search.note(TrialOutcome { reached_pps: 1.0, transmitted: 1, received: 1 });
    let result = search.result();
    assert_eq!(result.trials.len(), trials as usize, "nothing is noted after the end");
    result
}

#[test]
fn a_device_that_never_fails_is_limited_by_the_highest_rate() {
    let result = search(settings(1e6, 0.02), |trial| forwards(2e6, trial));
    assert_eq!((result.passed_pps, result.failed_pps, result.resolved), (1e6, None, true));
    assert!(!result.limited_by_generator);
    assert_eq!(result.trials.len(), 1);
}

#[test]
fn a_generator_that_falls_short_is_named_as_the_limit() {
    let result = search(settings(5e6, 0.02), |trial| {
        let reached = trial.rate_pps.min(3e6);
        forwards(4e6, Trial { rate_pps: reached, ..trial })
    });
    assert!(result.limited_by_generator);
    assert_eq!((result.passed_pps, result.failed_pps), (3e6, None));
}

#[test]
fn a_device_that_passes_nothing_ends_the_search() {
    let result = search(settings(1e6, 0.02), |trial| TrialOutcome { received: 0, ..forwards(1e9, trial) });
    assert_eq!(result.passed_pps, 0.0);
    assert!(result.failed_pps.unwrap() <= 1e3, "{:?}", result.failed_pps);
}

#[test]
fn a_generator_that_sends_nothing_ends_the_search() {
    let nothing = TrialOutcome { reached_pps: 0.0, transmitted: 0, received: 0 };
    let result = search(settings(1e6, 0.02), |_| nothing);
    assert_eq!((result.passed_pps, result.failed_pps, result.resolved), (0.0, None, false));
}

#[test]
fn acceptable_loss_counts_as_none() {
    let lossy = |trial| {
        let outcome = forwards(1e9, trial);
        TrialOutcome { received: outcome.transmitted - outcome.transmitted / 1_000, ..outcome }
    };
    let mut lenient = settings(1e6, 0.02);
    lenient.acceptable_loss = 0.005;
    assert_eq!(search(lenient, lossy).passed_pps, 1e6);
    assert!(search(settings(1e6, 0.02), lossy).passed_pps < 1e6);
}

#[test]
fn a_retry_forgives_one_hiccup() {
    let mut patient = settings(1e6, 0.02);
    patient.retries = 1;
    let mut trials = 0;
    let result = search(patient, |trial| {
        trials += 1;
        let outcome = forwards(6e5, trial);
        // Every fourth run loses a packet whatever the rate.
        let hiccup = u64::from(trials % 4 == 0);
        TrialOutcome { received: outcome.received - hiccup, ..outcome }
    });
    assert!((5.8e5..=6e5).contains(&result.passed_pps), "{}", result.passed_pps);
}

#[test]
fn a_rate_that_fails_its_verification_is_taken_back() {
    let mut verified = settings(1e6, 0.02);
    verified.verify = Some(Duration::from_secs(10));
    // Over ten seconds it forwards less than in one.
    let result = search(verified, |trial| forwards(if trial.verifies { 4e5 } else { 6e5 }, trial));
    assert!(result.passed_pps < 6e5, "{}", result.passed_pps);
    assert!(result.failed_pps.unwrap() > result.passed_pps);
    assert_eq!(result.trials.iter().filter(|trial| trial.verifies).count(), 3);
    assert_eq!(result.verified, Some(false));
    // One that forwards as much is verified at once.
    let result = search(verified, |trial| forwards(6e5, trial));
    assert_eq!(result.verified, Some(true));
    assert_eq!(result.trials.iter().filter(|trial| trial.verifies).count(), 1);
}

#[test]
fn of_trials_that_contradict_each_other_the_lower_failure_stands() {
    let mut search = Throughput::new(settings(1e6, 0.02));
    let lost = |reached_pps| TrialOutcome { reached_pps, transmitted: 1_000, received: 500 };
    let whole = |reached_pps| TrialOutcome { reached_pps, transmitted: 1_000, received: 1_000 };
    search.note(lost(1e6));
    let passed = search.next().unwrap().rate_pps;
    search.note(whole(passed));
    assert_eq!(search.result().passed_pps, passed);
    // The generator falls short, and at the lower rate that it reaches something is lost.
    search.note(lost(passed / 2.0));
    let result = search.result();
    assert_eq!((result.passed_pps, result.failed_pps), (0.0, Some(passed / 2.0)));
    assert!(search.next().unwrap().rate_pps < passed / 2.0);
}

proptest! {
    #[test]
    fn a_hidden_limit_is_found(highest in 1e3..1e7f64, share in 0.002..0.999f64, resolution in 0.001..0.25f64) {
        let limit = highest * share;
        let result = search(settings(highest, resolution), |trial| {
            let passed = trial.rate_pps <= limit;
            // What comes out under overload is anything up to the limit: some devices collapse.
            let received = if passed { 1_000_000 } else { (limit * share / trial.rate_pps * 1e6) as u64 };
            TrialOutcome { reached_pps: trial.rate_pps, transmitted: 1_000_000, received }
        });
        prop_assert!(result.resolved, "{result:?}");
        prop_assert!(result.passed_pps <= limit, "{} of {limit}", result.passed_pps);
        let failed = result.failed_pps.unwrap();
        prop_assert!(failed > limit);
        prop_assert!(failed - result.passed_pps <= resolution * failed + 1e-6 || failed <= highest * 0.001);
        // Without noise, two thirds of what is stated are enough.
        let stated = Throughput::trials_max(&settings(highest, resolution)) as usize;
        prop_assert!(result.trials.len() <= stated * 2 / 3, "{} of {stated}", result.trials.len());
    }

    #[test]
    fn noise_neither_hangs_it_nor_carries_it_above_the_limit(
        share in 0.01..1.2f64,
        hiccups in prop::collection::vec((0.0..1.0f64, 0.3..1.05f64), 300),
        retries in 0u32..3,
        verify in prop::option::of(Just(Duration::from_secs(5))),
    ) {
        let limit = 1e6 * share;
        let noisy = ThroughputSettings { retries, verify, ..settings(1e6, 0.02) };
        let mut hiccups = hiccups.into_iter();
        let result = search(noisy, |trial| {
            let (chance, reach) = hiccups.next().unwrap();
            // One run in five loses something at any rate, one in ten is sent too slowly.
            let rate_pps = if chance > 0.9 { trial.rate_pps * reach } else { trial.rate_pps };
            let outcome = forwards(limit, Trial { rate_pps, ..trial });
            let lost = u64::from(chance < 0.2).min(outcome.received);
            TrialOutcome { received: outcome.received - lost, ..outcome }
        });
        // The device counts whole packets.
        prop_assert!(result.passed_pps <= limit + 1.0, "{} of {limit}", result.passed_pps);
        let consistent = result.failed_pps.is_none_or(|failed| failed > result.passed_pps);
        prop_assert!(consistent, "{result:?}");
    }

    #[test]
    fn two_tries_of_a_hiccup_in_ten_find_the_limit_nearly(
        share in 0.05..0.95f64,
        chances in prop::collection::vec(0.0..1.0f64, 300),
    ) {
        let limit = 1e6 * share;
        let patient = ThroughputSettings { retries: 3, ..settings(1e6, 0.02) };
        let mut chances = chances.into_iter();
        let result = search(patient, |trial| {
            let outcome = forwards(limit, trial);
            TrialOutcome { received: outcome.received - u64::from(chances.next().unwrap() < 0.02), ..outcome }
        });
        prop_assert!(result.passed_pps <= limit);
        // Four hiccups of one in fifty in a row have a chance of one in six million.
        prop_assert!(result.passed_pps >= limit * 0.96, "{} of {limit}", result.passed_pps);
    }

    #[test]
    fn a_burst_as_long_as_the_buffer_is_found(buffer in 0u64..2_000_000, searches in 1u32..5) {
        let settings = BackToBackSettings {
            searches, longest_packets: 1_000_000, resolution: 0.02, settle: Duration::from_millis(1),
        };
        let mut search = BackToBack::new(settings);
        let mut bursts = 0;
        while let Some(burst) = search.next() {
            bursts += 1;
            prop_assert!(bursts <= BackToBack::bursts_max(&settings));
            prop_assert!(burst.packets >= 1);
            search.note(BurstOutcome { transmitted: burst.packets, received: burst.packets.min(buffer) });
        }
        let result = search.result();
        prop_assert_eq!(result.bursts_packets.len(), searches as usize);
        let capped = buffer.min(1_000_000) as f64;
        prop_assert!(result.mean_packets <= capped);
        prop_assert!(result.mean_packets >= capped * 0.97 - 1.0, "{} of {capped}", result.mean_packets);
        prop_assert_eq!(result.limited_by_longest, buffer >= 1_000_000);
        prop_assert!(result.deviation_packets < 1e-6);
    }

    #[test]
    fn a_rate_of_connections_is_found(limit in 1.0..5e5f64, start in 1.0..5e4f64, reach in 1e3..1e6f64) {
        let settings = connection_settings(start);
        let mut search = ConnectionRate::new(settings);
        let mut steps = 0;
        while let Some(step) = search.next() {
            steps += 1;
            prop_assert!(steps <= ConnectionRate::steps_max(&settings));
            let reached_per_s = step.rate_per_s.min(reach);
            let failed = if reached_per_s > limit { 1_000 } else { 9 };
            search.note(ConnectionOutcome { reached_per_s, attempted: 100_000, failed });
        }
        let result = search.result();
        prop_assert!(result.passed_per_s <= limit.min(reach));
        if result.limited_by_client {
            prop_assert!(reach <= limit);
        } else if limit > 2.0 && limit < reach * 0.9 {
            prop_assert!(result.passed_per_s >= limit * 0.94, "{} of {limit}", result.passed_per_s);
        }
    }
}

fn connection_settings(start_per_s: f64) -> ConnectionRateSettings {
    let second = Duration::from_secs(1);
    ConnectionRateSettings {
        start_per_s,
        highest_per_s: 1e6,
        resolution: 0.05,
        failures_max: 0.0001,
        phases: Phases { ramp_up: second, sustain: second, ramp_down: second },
    }
}

#[test]
fn one_failure_in_ten_thousand_connections_is_too_much() {
    for (failed, passed) in [(9, true), (10, false), (11, false)] {
        let mut search = ConnectionRate::new(connection_settings(1_000.0));
        search.note(ConnectionOutcome { reached_per_s: 1_000.0, attempted: 100_000, failed });
        assert_eq!(search.result().steps[0].passed, passed, "{failed} of 100,000");
    }
    let strict = ConnectionRateSettings { failures_max: 0.0, ..connection_settings(1_000.0) };
    let mut search = ConnectionRate::new(strict);
    search.note(ConnectionOutcome { reached_per_s: 1_000.0, attempted: 100_000, failed: 0 });
    assert!(search.result().steps[0].passed, "none at all is asked for, and none failed");
}

#[test]
fn a_loss_curve_ends_with_two_points_without_loss() {
    let mut curve = LossCurve::new(1e6, 0.1, Duration::from_secs(1));
    while let Some(trial) = curve.next() {
        curve.note(forwards(7.5e5, trial));
    }
    let offered: Vec<u64> = curve.points().iter().map(|point| point.offered_pps.round() as u64).collect();
    assert_eq!(offered, [1_000_000, 900_000, 800_000, 700_000, 600_000]);
    assert!((curve.points()[0].loss - 0.25).abs() < 1e-9);
    assert_eq!(curve.points()[3].loss, 0.0);
    assert!((curve.points()[0].delivered_pps - 7.5e5).abs() < 1.0);
}

#[test]
fn a_loss_curve_ends_where_the_rate_does() {
    let mut curve = LossCurve::new(1e6, 0.1, Duration::from_secs(1));
    while let Some(trial) = curve.next() {
        assert!(trial.rate_pps > 0.0);
        curve.note(TrialOutcome { received: 0, ..forwards(1.0, trial) });
    }
    assert_eq!(curve.points().len() as u32, LossCurve::points_max(0.1));
    assert_eq!(curve.points().len(), 10);
}

#[test]
fn the_buffer_is_what_the_burst_is_less_what_was_forwarded_meanwhile() {
    let mut search = BackToBack::new(BackToBackSettings {
        searches: 1,
        longest_packets: 30_000,
        resolution: 0.02,
        settle: Duration::ZERO,
    });
    search.note(BurstOutcome { transmitted: 30_000, received: 30_000 });
    assert!(search.next().is_none());
    let result = search.result();
    // RFC 9004, 6.4: 30,000 packets at 1.5 Mpps are 20 ms, of which a throughput of 0.75 Mpps takes half.
    assert!((result.buffer_time_s(1.5e6, 0.75e6).unwrap() - 0.01).abs() < 1e-12);
    assert_eq!(result.buffer_time_s(1.5e6, 0.0), None);
}
