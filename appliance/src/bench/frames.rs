//! Trials with the generator: what comes through, how late, and what limited it.

use std::time::Duration;

use ::bench::profile::{DeviceKind, LatencyRate, Method, Setting};
use ::bench::results::{Detail, FigureKey, LoadFacts, Quantity, Repetition, limit};
use ::bench::search::{
    BackToBack, BackToBackSettings, BurstOutcome, LossCurve, Throughput, ThroughputSettings, Trial,
};
use lab::device::Device;

use super::Stopped;
use super::cpu::Watch;
use super::devices;
use super::generator::{Order, Outcome, Send};
use super::rounds::{Bench, Turn};

/// How fast sessions are opened before a trial: slower than any device opens them, if it can.
const WARM_UP_PPS: f64 = 400_000.0;

/// The longest that sessions are opened before a trial.
const WARM_UP_MAX: Duration = Duration::from_secs(4);

/// The shortest: caches, and a generator's first frames.
const WARM_UP_MIN: Duration = Duration::from_millis(100);

/// Flows of a trial in which every packet opens one; more packets than that begin again.
const NEW_FLOWS: u64 = 10_000_000;

/// Where a search begins when the generator's limit is not known.
const HIGHEST_PPS: f64 = 10e6;

/// The longest that a burst may take.
const BURST_MAX: Duration = Duration::from_secs(10);

/// A run with what was seen of the CPUs meanwhile.
pub(super) struct Observed {
    pub(super) outcome: Outcome,
    pub(super) device_percent: Option<f64>,
    generator_percent: Option<f64>,
}

/// Has a turn's trial done; what came of it in a few words.
pub(super) fn measure(bench: &mut Bench<'_>, turn: Turn<'_>, device: &Device) -> Result<String, Stopped> {
    let mut trial = FrameTrial { bench, turn, device };
    let opens_its_own = matches!(
        turn.trial.method,
        Method::NewFlows { .. }
            | Method::ConnectionRate(_)
            | Method::ConcurrentConnections(_)
            | Method::Ramp { .. }
    );
    if !opens_its_own && devices::has_sessions(turn.device, turn.trial.job) {
        trial.warm_up()?;
    }
    match turn.trial.method.clone() {
        Method::Flood { duration, highest_pps } => {
            trial.flood(duration, highest_pps, None, Quantity::Delivered)
        }
        Method::NewFlows { duration, highest_pps } => {
            trial.flood(duration, highest_pps, Some(NEW_FLOWS), Quantity::NewFlows)
        }
        Method::Throughput { duration, highest_pps, resolution, acceptable_loss, retries, verify } => {
            let highest_pps = highest_pps.or(trial.bench.limit(turn.step.setting)).unwrap_or(HIGHEST_PPS);
            let settings =
                ThroughputSettings { highest_pps, resolution, acceptable_loss, duration, retries, verify };
            trial.throughput(settings)
        }
        Method::Latency { duration, rate } => trial.latency(duration, rate),
        Method::LossCurve { duration, highest_pps, step } => {
            let highest_pps = highest_pps.or(trial.bench.limit(turn.step.setting)).unwrap_or(HIGHEST_PPS);
            trial.loss_curve(LossCurve::new(highest_pps, step, duration))
        }
        Method::BackToBack { searches, longest_packets, resolution, settle } => {
            trial.back_to_back(BackToBackSettings { searches, longest_packets, resolution, settle })
        }
        Method::ConnectionRate(search) => trial.connection_rate(search),
        Method::ConcurrentConnections(held) => trial.hold(&held),
        Method::Ramp { rate_per_s, failures_max, phases } => trial.ramp(rate_per_s, failures_max, &phases),
        other => Err(format!("{:?} is no trial of the generator", other.kind()).into()),
    }
}

/// One turn's trial.
pub(super) struct FrameTrial<'b, 'p, 't> {
    pub(super) bench: &'b mut Bench<'p>,
    pub(super) turn: Turn<'t>,
    device: &'t Device,
}

impl FrameTrial<'_, '_, '_> {
    fn setting(&self) -> Setting {
        self.turn.step.setting
    }

    fn key(&self, quantity: Quantity) -> FigureKey {
        FigureKey::of(self.turn.trial, self.turn.device, self.setting(), quantity)
    }

    pub(super) fn run(
        &self,
        send: Send,
        duration: Duration,
        flows: Option<u64>,
    ) -> Result<Observed, Stopped> {
        let cpus = self.bench.cpus;
        let watch = Watch::begin(&[cpus.device, cpus.peers]);
        let order = Order { setting: self.setting(), flows, send, duration };
        let outcome = self.bench.generate(self.device, &order)?;
        let mut busy = watch.busy_percent().into_iter();
        let (device_percent, generator_percent) = (busy.next().flatten(), busy.next().flatten());
        Ok(Observed { outcome, device_percent, generator_percent })
    }

    /// Sends each flow once, so that its session is there.
    fn warm_up(&self) -> Result<(), Stopped> {
        let flows = self.setting().flows.unwrap_or(1);
        // Flows have an upper bound of millions.
        let needed = Duration::from_secs_f64(flows as f64 / WARM_UP_PPS);
        let duration = needed.clamp(WARM_UP_MIN, WARM_UP_MAX);
        self.run(Send::Count(flows.max(1_000), WARM_UP_PPS), duration, None).map(drop)
    }

    /// What limited a run, as a sentence.
    fn limited_by(&self, observed: &Observed, asked_pps: Option<f64>, fell_short: bool) -> String {
        let outcome = &observed.outcome;
        let polls = devices::polls(self.turn.device);
        let lost = outcome.transmitted.saturating_sub(outcome.received);
        limit(&LoadFacts {
            asked_pps,
            offered_pps: outcome.reached_pps,
            delivered_pps: outcome.delivered_pps(),
            generator_limit_pps: self.bench.limit(self.setting()),
            // What a wire loses, the generator itself could not take.
            generator_fell_short: fell_short || self.turn.device.kind == DeviceKind::Direct,
            device_cpu_percent: observed.device_percent,
            device_polls: polls,
            generator_cpu_percent: observed.generator_percent,
            shares_cpu: self.bench.cpus.are_shared(),
            // On a veth there is nowhere else to lose a frame than before the device.
            ring_drops: lost,
            ..LoadFacts::default()
        })
        .to_string()
    }

    pub(super) fn record(&mut self, quantity: Quantity, repetition: Repetition) {
        let key = self.key(quantity);
        self.bench.results.record(key, repetition);
    }

    /// As much as possible in; what comes out.
    fn flood(
        &mut self,
        duration: Duration,
        highest_pps: Option<f64>,
        flows: Option<u64>,
        quantity: Quantity,
    ) -> Result<String, Stopped> {
        let observed = self.run(highest_pps.map_or(Send::Flood, Send::Rate), duration, flows)?;
        let limited_by = self.limited_by(&observed, highest_pps, false);
        let delivered = observed.outcome.delivered_pps();
        self.record(quantity, Repetition::new(self.turn.step.round, delivered).limited_by(limited_by));
        Ok(format!("{} of {} offered", quantity.show(delivered), quantity.show(observed.outcome.reached_pps)))
    }

    fn throughput(&mut self, settings: ThroughputSettings) -> Result<String, Stopped> {
        let mut search = Throughput::new(settings);
        let mut last = None;
        while let Some(Trial { rate_pps, duration, .. }) = search.next() {
            let observed = self.run(Send::Rate(rate_pps), duration, None)?;
            search.note(observed.outcome.of_trial());
            last = Some((observed, rate_pps));
        }
        let result = search.result();
        let limited_by = last
            .map(|(observed, asked)| self.limited_by(&observed, Some(asked), result.limited_by_generator));
        let passed = result.passed_pps;
        let repetition = Repetition {
            limited_by,
            ..Repetition::new(self.turn.step.round, passed).with_detail(Detail::Throughput(result))
        };
        self.record(Quantity::Throughput, repetition);
        self.bench.throughput.insert((self.turn.step.device, self.setting()), passed);
        Ok(Quantity::Throughput.show(passed))
    }

    fn latency(&mut self, duration: Duration, rate: LatencyRate) -> Result<String, Stopped> {
        let rate_pps = match rate {
            LatencyRate::PacketsPerSecond(rate) => rate,
            LatencyRate::OfThroughput(share) => {
                let throughput = self.bench.throughput.get(&(self.turn.step.device, self.setting()));
                share * throughput.ok_or("its throughput was not measured in this round")?
            }
        };
        let observed = self.run(Send::Rate(rate_pps), duration, None)?;
        let latency = observed.outcome.latency.clone().ok_or("no frame came back")?;
        let limited_by = self.limited_by(&observed, Some(rate_pps), false);
        let said = format!(
            "p50 {}, p99.9 {} at {}",
            Quantity::LatencyP50.show(latency.p50_ns as f64),
            Quantity::LatencyP999.show(latency.p99_9_ns as f64),
            Quantity::Throughput.show(rate_pps)
        );
        let key = self.key(Quantity::LatencyP50);
        self.bench.results.record_latency(&key, self.turn.step.round, latency, Some(limited_by));
        Ok(said)
    }

    fn loss_curve(&mut self, mut curve: LossCurve) -> Result<String, Stopped> {
        let mut limited_by = None;
        while let Some(Trial { rate_pps, duration, .. }) = curve.next() {
            let observed = self.run(Send::Rate(rate_pps), duration, None)?;
            limited_by.get_or_insert_with(|| self.limited_by(&observed, Some(rate_pps), false));
            curve.note(observed.outcome.of_trial());
        }
        let points = curve.points().to_vec();
        let highest = points.iter().map(|point| point.delivered_pps).fold(0.0, f64::max);
        let said = format!("{} points, {} at the most", points.len(), Quantity::Delivered.show(highest));
        let repetition = Repetition {
            limited_by,
            ..Repetition::new(self.turn.step.round, highest).with_detail(Detail::LossCurve(points))
        };
        self.record(Quantity::Delivered, repetition);
        Ok(said)
    }

    fn back_to_back(&mut self, settings: BackToBackSettings) -> Result<String, Stopped> {
        let mut search = BackToBack::new(settings);
        while let Some(burst) = search.next() {
            let Outcome { transmitted, received, .. } =
                self.run(Send::Burst(burst.packets), BURST_MAX, None)?.outcome;
            search.note(BurstOutcome { transmitted, received });
            std::thread::sleep(burst.settle);
        }
        let result = search.result();
        let mean = result.mean_packets;
        let repetition = Repetition::new(self.turn.step.round, mean).with_detail(Detail::BackToBack(result));
        self.record(Quantity::Burst, repetition);
        Ok(format!("{} packets", Quantity::Burst.show(mean)))
    }
}
