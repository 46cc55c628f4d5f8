//! Results as a run might give them: what tests of reports and comparisons look at.

use bench::profile::{Family, FrameSize, Job, Setting, TrialKind};
use bench::results::{
    Bucket, ConnectionFailures, ConnectionRun, Detail, DeviceFacts, Environment, Fact, FigureKey,
    GeneratorLimit, Latency, Limit, LoadFacts, Quantity, Repetition, Results, SecondPoint, limit,
};
use bench::search::{LossCurve, Throughput, ThroughputSettings, TrialOutcome};
use std::time::Duration;

/// Devices with what they forward, in packets a second, and their median round trip, in nanoseconds.
const DEVICES: [(&str, bool, f64, u64); 8] = [
    ("direct", false, 4.6e6, 9_000),
    ("bare-forwarder/af_xdp", false, 0.66e6, 26_000),
    ("jeoul/af_xdp", true, 0.641e6, 28_100),
    ("testpmd/af_xdp", false, 0.69e6, 27_500),
    ("nftables", false, 0.251e6, 52_000),
    ("kernel", false, 0.766e6, 40_000),
    ("xdp-redirect", false, 2.24e6, 18_000),
    ("jeoul/af_packet", true, 0.52e6, 44_000),
];

/// Rounds drift together, and each device a little by itself.
const DRIFT: [f64; 5] = [1.0, 0.93, 1.04, 0.88, 0.97];

fn setting(bytes: u16) -> Setting {
    Setting { frame_bytes: Some(FrameSize::Bytes(bytes)), flows: Some(1_000_000), family: Family::Ipv4 }
}

pub fn key(trial: &str, kind: TrialKind, device: &str, setting: Setting, quantity: Quantity) -> FigureKey {
    FigureKey { trial: trial.into(), kind, job: Job::SlbRouted, device: device.into(), setting, quantity }
}

/// A run of five rounds in which everything is shown that a report can show.
pub fn results() -> Results {
    let environment = Environment {
        kernel: "6.18.44".into(),
        cpu: "AMD EPYC".into(),
        cores: 2,
        memory_bytes: 24 << 30,
        virtualisation: "kvm".into(),
        jeoul: "jeoul 0.1.0".into(),
        link: "veth, native XDP, copy mode, offloads off".into(),
        topology: "jeoul-gen ── left ═ veth ═ [ device ] ═ veth ═ right ── jeoul-gen\n   CPU 0                 CPU 1".into(),
        pinning: vec![Fact::new("generator", "CPU 0"), Fact::new("device", "CPU 1")],
        facts: vec![Fact::new("huge pages", "512 of 2 MiB"), Fact::new("governor", "none")],
    };
    let mut results = Results::new(
        "Jeoul beside what you would use instead",
        "bare-forwarder/af_xdp",
        "title = \"Jeoul beside what you would use instead\"\nrounds = 5\n",
        environment,
    );
    results.started_at = "2026-11-27T05:00:00Z".into();
    results.duration_s = 552.0;
    results.rounds = 5;
    results.devices = DEVICES.iter().map(|(name, is_ours, ..)| facts(name, *is_ours)).collect();
    for (bytes, packets_per_second) in [(64, 4.6e6), (512, 4.3e6), (1518, 3.4e6)] {
        results.generator_limits.push(GeneratorLimit {
            frame_bytes: Some(FrameSize::Bytes(bytes)),
            packets_per_second,
            how: "live frames (BPF_PROG_TEST_RUN), received by AF_XDP; median of 5 rounds".into(),
        });
    }
    results.notes.push("This run crosses the kernel's veth: about 1.3 µs of each packet is its transmission, whoever forwards.".into());
    results.not_measured("zero-copy", "veth has none; a network card with AF_XDP zero-copy would be needed");
    results.not_measured("nginx-stream", "nginx is not installed; apt-get install nginx libnginx-mod-stream");
    for (index, drift) in DRIFT.iter().enumerate() {
        record_round(&mut results, index as u32 + 1, *drift);
    }
    results.summarise();
    results
}

fn facts(name: &str, is_ours: bool) -> DeviceFacts {
    DeviceFacts {
        name: name.into(),
        is_ours,
        version: if is_ours { "jeoul 0.1.0".into() } else { "1.0".into() },
        driver: "AF_XDP, copy mode".into(),
        commands: vec![format!("ip netns exec device {name} --run")],
        configuration: "[appliance]\nworkers = [1]\n".into(),
        facts: vec![],
    }
}

fn record_round(results: &mut Results, round: u32, drift: f64) {
    for (index, (device, _, pps, round_trip_ns)) in DEVICES.into_iter().enumerate() {
        let own = 1.0 + ((round as usize * 7 + index * 3) % 5) as f64 * 0.004;
        let rate = pps * drift * own;
        flood(results, round, device, rate);
        if index != 0 && index < 5 {
            searches(results, round, device, rate * 0.9);
        }
        let latency = Latency {
            count: 400_000,
            min_ns: round_trip_ns / 2,
            mean_ns: round_trip_ns as f64 * 1.1 / drift,
            p50_ns: (round_trip_ns as f64 / drift) as u64,
            p90_ns: (round_trip_ns as f64 * 1.3 / drift) as u64,
            p99_ns: (round_trip_ns as f64 * 2.2 / drift) as u64,
            p99_9_ns: (round_trip_ns as f64 * 6.0 / drift) as u64,
            max_ns: round_trip_ns * 40,
            rate_pps: 0.0,
        };
        let none = Setting::default();
        let key = key("round-trip slb-routed", TrialKind::RoundTrip, device, none, Quantity::LatencyP50);
        results.record_latency(&key, round, latency, None);
    }
    turns(results, round);
    ramp(results, round);
    held(results, round);
}

fn flood(results: &mut Results, round: u32, device: &str, rate: f64) {
    for (bytes, factor) in [(64, 1.0), (512, 0.93), (1518, 0.74)] {
        let facts = LoadFacts {
            offered_pps: 4.6e6,
            delivered_pps: rate * factor,
            generator_limit_pps: Some(4.6e6),
            generator_fell_short: device == "direct",
            device_polls: device.contains('/'),
            device_cpu_percent: Some(100.0),
            ring_drops: 5,
            ..LoadFacts::default()
        };
        let repetition = Repetition::new(round, rate * factor).limited_by(limit(&facts).to_string());
        let key = key("flood slb-routed", TrialKind::Flood, device, setting(bytes), Quantity::Delivered);
        results.record(key, repetition);
    }
    for (job, factor) in [(Job::Routing, 1.09), (Job::Switching, 1.16)] {
        if device.starts_with("jeoul") {
            let trial = format!("flood {job}");
            let plain =
                FigureKey { job, ..key(&trial, TrialKind::Flood, device, setting(64), Quantity::Delivered) };
            results.record(plain, Repetition::new(round, rate * factor));
        }
    }
}

fn searches(results: &mut Results, round: u32, device: &str, rate: f64) {
    let forwards = |rate_pps: f64| {
        let transmitted = rate_pps as u64;
        TrialOutcome { reached_pps: rate_pps, transmitted, received: transmitted.min(rate as u64) }
    };
    let mut search = Throughput::new(ThroughputSettings {
        highest_pps: 4.6e6,
        resolution: 0.02,
        acceptable_loss: 0.0,
        duration: Duration::from_secs(1),
        retries: 0,
        verify: None,
    });
    while let Some(trial) = search.next() {
        search.note(forwards(trial.rate_pps));
    }
    let found = search.result();
    let throughput =
        key("throughput slb-routed", TrialKind::Throughput, device, setting(64), Quantity::Throughput);
    results
        .record(throughput, Repetition::new(round, found.passed_pps).with_detail(Detail::Throughput(found)));
    let mut curve = LossCurve::new(1.0e6, 0.1, Duration::from_secs(1));
    while let Some(trial) = curve.next() {
        curve.note(forwards(trial.rate_pps));
    }
    let points = curve.points().to_vec();
    let most = points.iter().map(|point| point.delivered_pps).fold(0.0, f64::max);
    let key = key("loss-curve slb-routed", TrialKind::LossCurve, device, setting(64), Quantity::Delivered);
    results.record(key, Repetition::new(round, most).with_detail(Detail::LossCurve(points)));
}

fn turns(results: &mut Results, round: u32) {
    let bounds = [1_000u64, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000];
    let counts = [120u64, 88_000, 412_000, 90_000, 7_000, 350, 12, 3, 1];
    let buckets = bounds.iter().zip(counts).map(|(&up_to_ns, count)| {
        let switched_out = if up_to_ns > 32_000 { count } else { 0 };
        Bucket { up_to_ns, count, switched_out }
    });
    let key = key(
        "reload of 100 servers",
        TrialKind::Idle,
        "jeoul/af_xdp",
        Setting::default(),
        Quantity::TurnP9999,
    );
    let value = 31_000.0 + f64::from(round) * 500.0;
    results.record(key, Repetition::new(round, value).with_detail(Detail::Histogram(buckets.collect())));
}

fn ramp(results: &mut Results, round: u32) {
    for (device, most) in [("jeoul/af_xdp", 50_000u64), ("nftables", 38_000)] {
        let seconds = (0..12u64).map(|second| {
            let begun = 50_000 * second.min(11 - second).min(4) / 4;
            let opened = begun.min(most);
            let at_s = second as f64 + 1.002;
            SecondPoint { at_s, begun, opened, failed: begun - opened, held: 3, closed: opened }
        });
        let run = connections(seconds.collect());
        let key =
            key("ramp slb-routed", TrialKind::Ramp, device, Setting::default(), Quantity::ConnectionRate);
        let failed = FigureKey { quantity: Quantity::FailedConnections, ..key.clone() };
        let failures = run.failures.total() as f64;
        let value = most as f64 + f64::from(round);
        results.record(key, Repetition::new(round, value).with_detail(Detail::Connections(run)));
        results.record(failed, Repetition::new(round, failures));
    }
}

/// A million that are held, of which one device may track a quarter.
fn held(results: &mut Results, round: u32) {
    for (device, bound) in [("jeoul/af_xdp", None), ("nftables", Some(262_144u64))] {
        let most = bound.unwrap_or(1_000_000);
        let mut held = 0;
        let seconds = (1..=56u64).map(|second| {
            let begun = if second <= 20 { 50_000 } else { 0 };
            let opened = begun.min(most - held);
            let closed = if second > 36 { held.min(50_000) } else { 0 };
            held = held + opened - closed;
            SecondPoint { at_s: second as f64 + 0.002, begun, opened, failed: begun - opened, held, closed }
        });
        let run = ConnectionRun { bound, held_most: most, ..connections(seconds.collect()) };
        let limit = if bound.is_some() { Limit::Sessions } else { Limit::AskedConnections };
        let trial = "concurrent-connections slb-routed";
        let kind = TrialKind::ConcurrentConnections;
        let key = |quantity| key(trial, kind, device, Setting::default(), quantity);
        let value = run.held_at_once() as f64;
        let failed = run.failures.total() as f64;
        let repetition = Repetition::new(round, value).limited_by(limit.to_string());
        results.record(key(Quantity::Connections), repetition.with_detail(Detail::Connections(run)));
        results.record(key(Quantity::ConnectionRate), Repetition::new(round, 49_900.0 + f64::from(round)));
        results.record(key(Quantity::FailedConnections), Repetition::new(round, failed));
    }
}

/// The sums of a run.
fn connections(seconds: Vec<SecondPoint>) -> ConnectionRun {
    let sum = |of: fn(&SecondPoint) -> u64| seconds.iter().map(of).sum::<u64>();
    ConnectionRun {
        asked: sum(|second| second.begun),
        begun: sum(|second| second.begun),
        opened: sum(|second| second.opened),
        closed: sum(|second| second.closed),
        held_most: 3,
        failures: ConnectionFailures { no_answer: sum(|second| second.failed), ..Default::default() },
        bound: None,
        seconds,
    }
}
