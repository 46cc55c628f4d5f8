//! Results and comparisons: nothing is lost, medians are medians, a run does not differ from itself.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod sample;

use bench::compare::Verdict;
use bench::profile::{Family, FrameSize, Setting, TrialKind};
use bench::results::{
    Environment, FORMAT, Figure, FigureKey, Latency, Limit, LoadFacts, Quantity, ReadError, Repetition,
    Results, Spread, limit, limit_of_peers,
};
use bench::{Comparison, Profile};
use proptest::prelude::*;

fn key(device: &str) -> FigureKey {
    sample::key("flood", TrialKind::Flood, device, Setting::default(), Quantity::Delivered)
}

/// Results with one figure for each device, and as many rounds as it has values.
fn results(devices: &[(&str, &[f64])]) -> Results {
    let mut results = Results::new("t", devices[0].0, "", Environment::default());
    for (device, values) in devices {
        for (index, value) in values.iter().enumerate() {
            results.record(key(device), Repetition::new(index as u32 + 1, *value));
        }
    }
    results.summarise();
    results
}

#[test]
fn raw_results_survive_json() {
    let results = sample::results();
    let json = results.to_json().unwrap();
    // Too long to be printed.
    assert!(Results::from_json(&json).unwrap() == results);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["format"], FORMAT);
    // What somebody finds with `jq`.
    let first = &value["figures"][0];
    assert_eq!(first["trial"], "flood slb-routed");
    assert_eq!(first["kind"], "flood");
    assert_eq!(first["frame_bytes"], 64);
    assert_eq!(first["quantity"], "delivered");
    assert_eq!(first["repetitions"].as_array().unwrap().len(), 5);
    assert!(first["spread"]["median"].is_f64());
}

#[test]
fn imix_is_a_word_among_numbers() {
    for (size, json) in [(FrameSize::Bytes(1518), "1518"), (FrameSize::Imix, "\"imix\"")] {
        assert_eq!(serde_json::to_string(&size).unwrap(), json);
        assert_eq!(serde_json::from_str::<FrameSize>(json).unwrap(), size);
    }
    assert!(serde_json::from_str::<FrameSize>("\"jumbo\"").is_err());
    assert!(serde_json::from_str::<FrameSize>("70000").is_err());
}

#[test]
fn another_format_is_refused_by_name() {
    let json = sample::results().to_json().unwrap().replace("\"format\": 1", "\"format\": 2");
    let error = Results::from_json(&json).unwrap_err();
    assert!(matches!(error, ReadError::Format(2)), "{error}");
    assert!(error.to_string().contains("format 2"));
    assert!(matches!(Results::from_json("{}").unwrap_err(), ReadError::Malformed(_)));
    assert!(matches!(Results::from_json("no").unwrap_err(), ReadError::Malformed(_)));
}

#[test]
fn ratios_are_taken_within_rounds() {
    // The machine halves after the first round; a quotient of medians would be 0.5, or 1.
    let results = results(&[("a", &[100.0, 50.0, 50.0]), ("b", &[80.0, 40.0, 40.0])]);
    let ratio = &results.ratios[0];
    assert_eq!((ratio.key.device.as_str(), ratio.to.as_str()), ("b", "a"));
    assert_eq!(ratio.by_round, [0.8, 0.8, 0.8]);
    assert_eq!(ratio.median(), Some(0.8));
}

#[test]
fn ratios_pair_rounds_by_number_and_leave_out_zeros() {
    let mut results = results(&[("a", &[10.0, 0.0, 40.0]), ("b", &[])]);
    results.record(key("b"), Repetition::new(3, 20.0));
    results.record(key("b"), Repetition::new(2, 20.0));
    results.summarise();
    assert_eq!(results.ratios[0].by_round, [0.5]);
}

#[test]
fn figures_of_other_settings_are_never_put_in_one_ratio() {
    let mut results = results(&[("a", &[10.0])]);
    let ipv6 = Setting { family: Family::Ipv6, ..Setting::default() };
    results.record(FigureKey { setting: ipv6, ..key("b") }, Repetition::new(1, 5.0));
    results.record(FigureKey { trial: "other".into(), ..key("b") }, Repetition::new(1, 5.0));
    results.summarise();
    assert_eq!(results.ratios, []);
}

#[test]
fn ours_are_held_against_every_peer() {
    let results = sample::results();
    let peers: Vec<&str> = results
        .ratios
        .iter()
        .filter(|ratio| ratio.key.device == "jeoul/af_packet" && ratio.key.quantity == Quantity::LatencyP50)
        .map(|ratio| ratio.to.as_str())
        .collect();
    assert_eq!(
        peers,
        ["direct", "bare-forwarder/af_xdp", "testpmd/af_xdp", "nftables", "kernel", "xdp-redirect"]
    );
}

#[test]
fn a_second_repetition_of_a_round_takes_the_firsts_place() {
    let mut results = results(&[("a", &[1.0, 2.0])]);
    results.record(key("a"), Repetition::new(1, 9.0));
    assert_eq!(results.figures[0].values(), [9.0, 2.0]);
}

#[test]
fn latency_becomes_three_figures() {
    let mut results = results(&[("a", &[1.0])]);
    let latency = Latency { count: 10, p50_ns: 5, p99_ns: 7, p99_9_ns: 9, max_ns: 11, ..Latency::default() };
    results.record_latency(&key("a"), 1, latency.clone(), Some("x".into()));
    for (quantity, value) in
        [(Quantity::LatencyP50, 5.0), (Quantity::LatencyP99, 7.0), (Quantity::LatencyP999, 9.0)]
    {
        let figure = results.figure(&FigureKey { quantity, ..key("a") }).unwrap();
        assert_eq!(figure.values(), [value]);
        assert_eq!(figure.limited_by(), Some(("x", 1)));
    }
    // With ten packets there is no thousandth: the longest stands for a tenth.
    assert_eq!(latency.curve(), [(0.5, 5.0), (0.1, 11.0)]);
}

#[test]
fn the_limit_that_most_rounds_name_is_the_figures() {
    let repetitions = ["b", "a", "a"].iter().enumerate();
    let repetitions =
        repetitions.map(|(round, limit)| Repetition::new(round as u32, round as f64).limited_by(*limit));
    let figure = Figure { key: key("x"), repetitions: repetitions.collect(), spread: None };
    assert_eq!(figure.limited_by(), Some(("a", 2)));
    assert_eq!(figure.typical().unwrap().value, 1.0);
}

#[test]
fn limits_follow_from_facts() {
    let lossy = LoadFacts { offered_pps: 4e6, delivered_pps: 1e6, ..LoadFacts::default() };
    let whole = LoadFacts { offered_pps: 1e6, delivered_pps: 1e6, ..LoadFacts::default() };
    let cases = [
        (LoadFacts { generator_fell_short: true, ..lossy }, Limit::Generator),
        (LoadFacts { generator_limit_pps: Some(1.02e6), ..whole }, Limit::Generator),
        (LoadFacts { generator_limit_pps: Some(1.02e6), ..lossy }, Limit::Unknown),
        (whole, Limit::Generator),
        (LoadFacts { asked_pps: Some(1e6), generator_cpu_percent: Some(99.0), ..whole }, Limit::Asked),
        (LoadFacts { link_bits_per_s: Some(1e9), delivered_bits_per_s: Some(0.99e9), ..lossy }, Limit::Link),
        (LoadFacts { shares_cpu: true, device_cpu_percent: Some(100.0), ..lossy }, Limit::SharedCpu),
        (LoadFacts { device_cpu_percent: Some(99.0), ..lossy }, Limit::DeviceCpu),
        (
            LoadFacts { device_cpu_percent: Some(99.0), device_polls: true, ring_drops: 1, ..lossy },
            Limit::DeviceRings,
        ),
        (LoadFacts { device_cpu_percent: Some(50.0), refused: 1, ..lossy }, Limit::Refused),
        (LoadFacts { device_cpu_percent: Some(50.0), ..lossy }, Limit::Unknown),
    ];
    for (facts, expected) in cases {
        assert_eq!(limit(&facts), expected, "{facts:?}");
        // A sentence without numbers, so that rounds say the same.
        assert!(!expected.to_string().contains(|letter: char| letter.is_ascii_digit()));
    }
}

#[test]
fn a_run_does_not_differ_from_itself() {
    let results = sample::results();
    let comparison = Comparison::of(&results, &results);
    assert!(!comparison.has_difference());
    assert_eq!(comparison.figures.len(), results.figures.len());
    // What is 0 in both has no ratio.
    assert!(comparison.figures.iter().all(|figure| figure.ratio == (figure.a.median != 0.0).then_some(1.0)));
    let text = comparison.to_string();
    assert!(text.ends_with("no difference larger than the spreads\n"), "{text}");
    assert!(!text.contains("machines differ") && !text.contains("Only in"), "{text}");
}

#[test]
fn a_difference_counts_when_it_is_larger_than_both_spreads() {
    let verdict = |a: &[f64], b: &[f64]| {
        let comparison = Comparison::of(&results(&[("d", a)]), &results(&[("d", b)]));
        comparison.figures[0].verdict
    };
    assert_eq!(
        verdict(&[10.0, 11.0, 12.0], &[12.0, 13.0, 14.0]),
        Verdict::NoDifference,
        "exactly one spread"
    );
    assert_eq!(verdict(&[10.0, 11.0, 12.0], &[12.5, 13.5, 14.0]), Verdict::Better);
    assert_eq!(verdict(&[12.5, 13.5, 14.0], &[10.0, 11.0, 12.0]), Verdict::Worse);
    assert_eq!(
        verdict(&[10.0], &[10.1]),
        Verdict::Better,
        "without repetitions there is no spread to hide in"
    );
}

#[test]
fn lower_latency_is_better() {
    let with = |value_ns| {
        let mut results = results(&[("d", &[])]);
        let key = FigureKey { quantity: Quantity::LatencyP50, ..key("d") };
        results.record(key, Repetition::new(1, value_ns));
        results.summarise();
        results
    };
    assert_eq!(Comparison::of(&with(50.0), &with(40.0)).figures[0].verdict, Verdict::Better);
}

#[test]
fn other_machines_and_missing_figures_are_named() {
    let a = results(&[("d", &[10.0]), ("gone", &[1.0])]);
    let mut b = results(&[("d", &[20.0]), ("new", &[1.0])]);
    b.environment.kernel = "6.1".into();
    let comparison = Comparison::of(&a, &b);
    assert_eq!(comparison.machines.len(), 1);
    let text = comparison.to_string();
    for words in [
        "machines differ",
        "kernel:  in A, 6.1 in B",
        "Only in A:",
        "gone",
        "Only in B:",
        "new",
        "2.00  better",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&comparison.to_json().unwrap()).unwrap();
    assert_eq!(json["figures"][0]["verdict"], "better");
    assert_eq!(json["only_b"][0]["device"], "new");
}

#[test]
fn ratios_to_the_reference_stand_beside_figures_of_a_drifted_machine() {
    let a = results(&[("reference", &[100.0, 101.0]), ("d", &[90.0, 91.0])]);
    let b = results(&[("reference", &[50.0, 50.5]), ("d", &[45.0, 45.5])]);
    let text = Comparison::of(&a, &b).to_string();
    assert!(text.contains("0.50  worse; of reference: 0.90, then 0.90"), "{text}");
}

#[test]
fn a_key_is_made_of_a_profiles_trial() {
    let text =
        "title = \"t\"\n[[device]]\nkind = \"kernel\"\n[[trial]]\nkind = \"flood\"\nframe_bytes = 64\n";
    let profile = Profile::parse(text, "p").unwrap();
    let (trial, device) = (&profile.trials[0], &profile.devices[0]);
    let key = FigureKey::of(trial, device, trial.settings[0], Quantity::Delivered);
    assert_eq!(key.to_string(), "flood slb-routed: Delivered, kernel, 64-byte frames, 1,000 flows, IPv4");
}

proptest! {
    #[test]
    fn the_median_is_what_as_many_are_below_as_above(values in prop::collection::vec(-1e9..1e9f64, 1..40)) {
        let spread = Spread::of(&values).unwrap();
        let below = values.iter().filter(|value| **value < spread.median).count();
        let above = values.iter().filter(|value| **value > spread.median).count();
        prop_assert!(below <= values.len() / 2 && above <= values.len() / 2);
        prop_assert!(values.contains(&spread.min) && values.contains(&spread.max));
        prop_assert!(values.iter().all(|value| (spread.min..=spread.max).contains(value)));
        prop_assert_eq!(spread.count, values.len());
        if values.len() % 2 == 1 {
            prop_assert!(values.contains(&spread.median));
        }
        let expected = (spread.max - spread.min) / spread.median.abs();
        prop_assert!(spread.median == 0.0 || spread.spread == expected);
    }

    #[test]
    fn the_order_of_repetitions_means_nothing(mut values in prop::collection::vec(0.0..1e9f64, 1..20)) {
        let before = Spread::of(&values);
        values.reverse();
        prop_assert_eq!(Spread::of(&values), before);
    }
}

#[test]
fn of_two_in_the_middle_the_mean_counts() {
    let spread = Spread::of(&[1.0, 9.0, 3.0, 2.0]).unwrap();
    assert_eq!((spread.median, spread.min, spread.max, spread.spread), (2.5, 1.0, 9.0, 3.2));
}

#[test]
fn without_numbers_there_is_no_spread() {
    assert_eq!(Spread::of(&[]), None);
    assert_eq!(Spread::of(&[f64::NAN, f64::INFINITY]), None);
}

#[test]
fn who_waits_for_whom_follows_from_the_cpus() {
    let both = LoadFacts {
        generator_cpu_percent: Some(99.0),
        device_cpu_percent: Some(99.0),
        ..LoadFacts::default()
    };
    let device = LoadFacts { generator_cpu_percent: Some(60.0), ..both };
    for (facts, limit) in [
        (both, Limit::Peers),
        (device, Limit::DeviceCpu),
        (LoadFacts { device_polls: true, ..device }, Limit::Way),
        (LoadFacts { shares_cpu: true, ..both }, Limit::SharedCpu),
    ] {
        assert_eq!(limit_of_peers(&facts), limit, "{facts:?}");
    }
}
