//! Trials with connections of the generator: how many a second, how many at once, and a ramp.

use std::time::Duration;

use ::bench::profile::{self, Concurrency, DeviceKind, Phases};
use ::bench::results::{ConnectionRun, Detail, Limit, LoadFacts, Quantity, Repetition, limit};
use ::bench::search::{ConnectionOutcome, ConnectionRate, ConnectionRateSettings};

use super::Stopped;
use super::devices;
use super::frames::{FrameTrial, Observed};
use super::generator::{Held, Send};

impl FrameTrial<'_, '_, '_> {
    /// RFC 9411, 7.2. Each step begins with connections at half its rate, which do not count.
    pub(super) fn connection_rate(&mut self, search: profile::ConnectionRate) -> Result<String, Stopped> {
        let mut steps = ConnectionRate::new(ConnectionRateSettings {
            start_per_s: search.start_per_s,
            highest_per_s: search.highest_per_s,
            resolution: search.resolution,
            failures_max: search.failures_max,
            phases: search.phases,
        });
        let mut last = None;
        while let Some(step) = steps.next() {
            if !step.phases.ramp_up.is_zero() {
                self.connect(step.rate_per_s / 2.0, step.phases.ramp_up)?;
            }
            let observed = self.connect(step.rate_per_s, step.phases.sustain)?;
            let (attempted, failed) =
                (observed.outcome.connections.begun, observed.outcome.connections.failures.total());
            // Connections of some seconds, far below 2^53.
            let reached_per_s = attempted as f64 / step.phases.sustain.as_secs_f64();
            steps.note(ConnectionOutcome { reached_per_s, attempted, failed });
            last = Some(observed);
        }
        let result = steps.result();
        let passed = result.passed_per_s;
        let limited_by = last.map(|observed| match result.limited_by_client {
            true => Limit::Generator.to_string(),
            // The search ended at a rate at which the device let connections fail.
            false => self.failing_limit(&observed).to_string(),
        });
        let repetition = Repetition {
            limited_by,
            ..Repetition::new(self.turn.step.round, passed).with_detail(Detail::ConnectionRate(result))
        };
        self.record(Quantity::ConnectionRate, repetition);
        Ok(Quantity::ConnectionRate.show(passed))
    }

    fn connect(&self, rate_per_s: f64, duration: Duration) -> Result<Observed, Stopped> {
        self.run(Send::Connections(rate_per_s), duration, Some(devices::FLOWS_OF_CONNECTIONS.into()))
    }

    /// RFC 9411, 7.5: opened, all held at once with data on them, closed.
    pub(super) fn hold(&mut self, held: &Concurrency) -> Result<String, Stopped> {
        let order = Held {
            connections: held.connections,
            rate_per_s: held.rate_per_s,
            hold: held.hold(),
            exchange: held.exchange(),
        };
        let observed = self.run(Send::Held(order), order.duration(), Some(held.connections))?;
        let bound = self.bound(held.connections);
        let run = ConnectionRun { asked: held.connections, bound, ..observed.outcome.connections.clone() };
        let (at_once, failed) = (run.held_at_once(), run.failures.total());
        let limit = run.limit_of_held(held, self.failing_limit(&observed));
        let opening_per_s = run.opening_per_s(held.opening().as_secs_f64());
        if let Some(bound) = bound.filter(|_| limit == Limit::Sessions) {
            self.explain_bound(held.connections, at_once, bound);
        }
        let round = self.turn.step.round;
        let repetition = Repetition::new(round, at_once as f64).limited_by(limit.to_string());
        self.record(Quantity::Connections, repetition.with_detail(Detail::Connections(run)));
        self.record(Quantity::ConnectionRate, Repetition::new(round, opening_per_s));
        self.record(Quantity::FailedConnections, Repetition::new(round, failed as f64));
        Ok(format!(
            "{} of {} at once, opened at {}, {failed} failed; {limit}",
            Quantity::Connections.show(at_once as f64),
            Quantity::Connections.show(held.connections as f64),
            Quantity::ConnectionRate.show(opening_per_s)
        ))
    }

    /// RFC 9411, 4.3.4: up, stay, down, in one run.
    pub(super) fn ramp(
        &mut self,
        rate_per_s: f64,
        failures_max: f64,
        phases: &Phases,
    ) -> Result<String, Stopped> {
        let flows = devices::flows_of_ramp(rate_per_s, phases);
        let observed = self.run(Send::Ramp(rate_per_s, *phases), phases.total(), Some(flows))?;
        let asked = devices::connections_of_ramp(rate_per_s, phases);
        let run = ConnectionRun { asked, ..observed.outcome.connections.clone() };
        let (sustained, failed) = (run.sustained_per_s(phases), run.failures.total());
        let limit = run.limit_of_ramp(failures_max, self.failing_limit(&observed));
        let round = self.turn.step.round;
        let repetition = Repetition::new(round, sustained).limited_by(limit.to_string());
        self.record(Quantity::ConnectionRate, repetition.with_detail(Detail::Connections(run)));
        self.record(Quantity::FailedConnections, Repetition::new(round, failed as f64));
        Ok(format!(
            "{} while it stays, of {} asked, {failed} failed; {limit}",
            Quantity::ConnectionRate.show(sustained),
            Quantity::ConnectionRate.show(rate_per_s)
        ))
    }

    /// What limited a device that let connections fail, by what was seen of the CPUs.
    fn failing_limit(&self, observed: &Observed) -> Limit {
        limit(&LoadFacts {
            // A wire loses nothing: the generator could not take it.
            generator_fell_short: self.turn.device.kind == DeviceKind::Direct,
            offered_pps: 1.0,
            device_cpu_percent: observed.device_percent,
            device_polls: devices::polls(self.turn.device),
            shares_cpu: self.bench.cpus.are_shared(),
            // On a veth there is nowhere else to lose a frame than before the device.
            ring_drops: 1,
            ..LoadFacts::default()
        })
    }

    /// Connections that the device may track, where that is fewer than `wanted`. The appliance is configured for all.
    fn bound(&self, wanted: u64) -> Option<u64> {
        let tracked = devices::tracked_max().filter(|_| self.turn.device.kind == DeviceKind::Nftables)?;
        (tracked < wanted).then_some(tracked)
    }

    fn explain_bound(&mut self, wanted: u64, at_once: u64, bound: u64) {
        let what =
            format!("{}, {}: {wanted} connections at once", self.turn.device.name, self.turn.trial.name);
        let why = format!(
            "it held {at_once}, for the kernel tracks {bound} connections and no more: sysctl {}",
            devices::TRACKED_MAX
        );
        self.bench.results.not_measured(what, why);
    }
}
