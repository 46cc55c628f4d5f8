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
    let verified = ThroughputSettings { verify: Some(Duration::from_secs(10)), ..settings(1e6, 0.02) };
    // Nothing is left to be verified either.
    let result = search(verified, |trial| TrialOutcome { received: 0, ..forwards(1e9, trial) });
    assert_eq!(result.passed_pps, 0.0);
    assert!(result.failed_pps.unwrap() <= 1e3, "{:?}", result.failed_pps);
    assert!(result.resolved, "below a thousandth there is nothing to look for");
}

#[test]
fn the_resolution_is_a_share_of_the_rate_that_failed() {
    // The bounds are three quarters and all of a million: a quarter of the upper one lies between.
    let result = search(settings(1e6, 0.25), |trial| forwards(7.5e5, trial));
    assert_eq!((result.passed_pps, result.failed_pps, result.resolved), (7.5e5, Some(1e6), true));
    assert_eq!(result.trials.len(), 2);
}

#[test]
fn what_passes_is_never_more_than_was_asked() {
    let hasty = |trial: Trial| forwards(1e9, Trial { rate_pps: trial.rate_pps * 1.01, ..trial });
    assert_eq!(search(settings(1e6, 0.02), hasty).passed_pps, 1e6);
}

#[test]
fn a_generator_that_was_faster_before_is_not_the_limit() {
    let mut search = Throughput::new(settings(1e6, 0.02));
    search.note(TrialOutcome { reached_pps: 1e6, transmitted: 1_000, received: 800 });
    let asked = search.next().unwrap().rate_pps;
    search.note(TrialOutcome { reached_pps: asked * 0.9, transmitted: 1_000, received: 1_000 });
    let result = search.result();
    assert!(!result.limited_by_generator && !result.resolved);
    assert_eq!((result.passed_pps, result.failed_pps), (asked * 0.9, Some(1e6)));
    assert!(search.next().unwrap().rate_pps > asked * 0.9);
}

#[test]
fn a_slower_run_takes_no_pass_back() {
    let mut search = Throughput::new(settings(1e6, 0.02));
    search.note(TrialOutcome { reached_pps: 1e6, transmitted: 1_000, received: 500 });
    search.note(TrialOutcome { reached_pps: 5e5, transmitted: 1_000, received: 1_000 });
    search.note(TrialOutcome { reached_pps: 4e5, transmitted: 1_000, received: 1_000 });
    assert_eq!(search.result().passed_pps, 5e5);
    assert!(search.next().is_some_and(|trial| trial.rate_pps > 5e5));
}

#[test]
fn a_device_that_fails_what_the_generator_reached_is_the_limit_after_all() {
    let verified = ThroughputSettings { verify: Some(Duration::from_secs(10)), ..settings(5e6, 0.02) };
    let result = search(verified, |trial| {
        let rate_pps = trial.rate_pps.min(3e6);
        forwards(if trial.verifies { 2e6 } else { 4e6 }, Trial { rate_pps, ..trial })
    });
    assert!(!result.limited_by_generator, "{result:?}");
    assert!(result.passed_pps > 0.0 && result.failed_pps.is_some_and(|failed| failed <= 3e6), "{result:?}");
}

#[test]
fn from_a_device_that_collapses_the_search_climbs_in_growing_steps() {
    let mut search = Throughput::new(settings(1e6, 0.02));
    // A tenth comes out under overload, and that much passes.
    search.note(TrialOutcome { reached_pps: 1e6, transmitted: 1_000, received: 100 });
    let mut asked = Vec::new();
    for _ in 0..4 {
        let Trial { rate_pps, .. } = search.next().unwrap();
        asked.push(rate_pps.round() as u64);
        search.note(TrialOutcome { reached_pps: rate_pps, transmitted: 1_000, received: 1_000 });
    }
    assert_eq!(asked, [100_000, 102_000, 106_080, 114_566], "2, 4 and 8 % up");
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

#[test]
fn a_generator_may_miss_a_rate_by_two_in_a_hundred() {
    for (reach, is_limit) in [(0.985, false), (0.975, true)] {
        let result = search(settings(1e6, 0.02), |trial| {
            forwards(1e9, Trial { rate_pps: trial.rate_pps * reach, ..trial })
        });
        assert_eq!(result.limited_by_generator, is_limit, "{reach}");
    }
}

#[test]
fn loss_is_of_what_was_sent() {
    let loss = |transmitted, received| TrialOutcome { reached_pps: 1.0, transmitted, received }.loss();
    assert_eq!([loss(0, 0), loss(4, 3), loss(4, 4)], [1.0, 0.25, 0.0]);
    assert_eq!(loss(4, 5), 0.0, "a duplicate is no loss");
}

#[test]
fn on_its_way_down_the_search_never_leaves_out_more_than_half() {
    let mut asked = Vec::new();
    // Whatever the rate, a packet is lost, so that what comes out says nothing of where to look.
    search(settings(1e6, 0.02), |trial| {
        asked.push(trial.rate_pps);
        TrialOutcome { reached_pps: trial.rate_pps, transmitted: 1_000_000, received: 999_999 }
    });
    assert!(asked.windows(2).all(|pair| pair[1] >= pair[0] * 0.499), "{asked:?}");
}

fn bursts(searches: u32, longest_packets: u64, resolution: f64) -> BackToBack {
    BackToBack::new(BackToBackSettings { searches, longest_packets, resolution, settle: Duration::ZERO })
}

#[test]
fn searches_for_bursts_end_at_their_resolution_and_at_one_packet() {
    let mut search = bursts(1, 1_000, 0.5);
    assert!(!search.result().limited_by_longest, "nothing is known yet");
    let mut sent = Vec::new();
    while let Some(burst) = search.next() {
        sent.push(burst.packets);
        search.note(BurstOutcome { transmitted: burst.packets, received: burst.packets.min(700) });
    }
    assert_eq!((sent, search.result().bursts_packets), (vec![1_000, 500], vec![500]));
    // Even one packet alone is lost.
    let mut search = bursts(1, 8, 0.02);
    let mut sent = Vec::new();
    while let Some(burst) = search.next() {
        sent.push(burst.packets);
        search.note(BurstOutcome { transmitted: burst.packets, received: 0 });
    }
    assert_eq!((sent, search.result().bursts_packets), (vec![8, 4, 2, 1], vec![0]));
}

#[test]
fn bursts_have_a_mean_and_a_deviation() {
    let mut search = bursts(2, 1_000, 0.5);
    for (transmitted, received) in [(1_000, 1_000), (1_000, 999), (500, 500)] {
        search.note(BurstOutcome { transmitted, received });
    }
    let result = search.result();
    assert_eq!(result.bursts_packets, [1_000, 500], "each search begins anew");
    assert_eq!((result.mean_packets, result.deviation_packets), (750.0, 250.0));
    assert!(!result.limited_by_longest, "one of them failed");
    // A device that keeps up has no need of a buffer.
    assert_eq!(result.buffer_time_s(1e6, 2e6), Some(0.0));
    assert_eq!(result.buffer_time_s(0.0, 1e6), None);
}

fn connected(reached_per_s: f64, attempted: u64, failed: u64) -> ConnectionOutcome {
    ConnectionOutcome { reached_per_s, attempted, failed }
}

#[test]
fn the_highest_rate_of_connections_ends_the_search() {
    let settings = ConnectionRateSettings { highest_per_s: 3_000.0, ..connection_settings(1_000.0) };
    let mut search = ConnectionRate::new(settings);
    let mut asked = Vec::new();
    while let Some(step) = search.next() {
        asked.push(step.rate_per_s);
        search.note(connected(step.rate_per_s, 1_000, 0));
    }
    assert_eq!(asked, [1_000.0, 2_000.0, 3_000.0]);
    let result = search.result();
    assert_eq!((result.passed_per_s, result.failed_per_s), (3_000.0, None));
    assert!(!result.limited_by_client);
}

#[test]
fn a_step_without_connections_says_nothing() {
    assert_eq!(connected(0.0, 0, 0).failures(), 1.0);
    let mut search = ConnectionRate::new(connection_settings(1_000.0));
    search.note(connected(0.0, 0, 0));
    assert_eq!(search.next().unwrap().rate_per_s, 1_000.0);
    let result = search.result();
    assert_eq!((result.passed_per_s, result.failed_per_s, result.limited_by_client), (0.0, None, false));
    assert!(!result.steps[0].passed);
}

#[test]
fn a_client_that_falls_short_ends_the_search_where_nothing_fails() {
    let mut search = ConnectionRate::new(connection_settings(1e6));
    // Even at the highest rate that may be asked for.
    search.note(connected(3e5, 1_000, 0));
    assert!(search.next().is_none());
    let result = search.result();
    assert_eq!((result.passed_per_s, result.limited_by_client), (3e5, true));
}

#[test]
fn a_failure_counts_at_the_rate_that_the_client_reached() {
    let mut search = ConnectionRate::new(connection_settings(1_000.0));
    search.note(connected(1_000.0, 1_000, 0));
    // Asked for twice as many, it tried fewer than before, and some failed: the pass is taken back.
    search.note(connected(900.0, 1_000, 100));
    let result = search.result();
    assert_eq!((result.passed_per_s, result.failed_per_s), (0.0, Some(900.0)));
    assert_eq!(search.next().unwrap().rate_per_s, 450.0);
}

#[test]
fn below_one_connection_a_second_there_is_nothing_to_find() {
    let mut search = ConnectionRate::new(connection_settings(8.0));
    let mut asked = Vec::new();
    while let Some(step) = search.next() {
        asked.push(step.rate_per_s);
        search.note(connected(step.rate_per_s, 1_000, 1_000));
    }
    assert_eq!(asked, [8.0, 4.0, 2.0, 1.0]);
}

#[test]
fn a_loss_curve_is_drawn_over_what_was_sent() {
    let mut curve = LossCurve::new(1e6, 0.3, Duration::from_secs(1));
    while curve.next().is_some() {
        curve.note(TrialOutcome { reached_pps: 5e5, transmitted: 10, received: 9 });
    }
    let asked: Vec<u64> = curve.points().iter().map(|point| point.asked_pps.round() as u64).collect();
    assert_eq!(asked, [1_000_000, 700_000, 400_000, 100_000]);
    assert!(curve.points().iter().all(|point| point.offered_pps == 5e5));
}
