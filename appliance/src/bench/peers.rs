//! Trials with real clients and servers: connections, round trips, a long transfer, and no traffic at all.
//!
//! Clients, servers and everything that they start run on the peers' CPU.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use ::bench::profile::{Family, Method};
use ::bench::results::{FigureKey, Latency, LoadFacts, Quantity, Repetition, limit_of_peers};
use core_affinity::CoreId;
use lab::device::Device;
use lab::topology::straight::{self, VIPS};
use lab::{Iperf3, NginxServer, UdpEcho, first_answer, round_trips, run_iperf3_over, run_wrk};

use super::Stopped;
use super::cpu::{ProcessWatch, Watch};
use super::devices::{self, Cpus};
use super::rounds::{Bench, Turn};

/// Where all servers listen: the one port that the proxies balance.
pub(super) const PORT: u16 = 80;

/// The longest that a transfer may take; one that is slower is given up.
const TRANSFER_LIMIT: Duration = Duration::from_secs(180);

/// Between the first word with a device and the time without traffic that is measured.
const SETTLE: Duration = Duration::from_millis(300);

/// Has a turn's trial done; what came of it in a few words.
pub(super) fn measure(bench: &mut Bench<'_>, turn: Turn<'_>, device: &Device) -> Result<String, Stopped> {
    let cpu = bench.cpus.peers;
    let vip = VIPS[usize::from(turn.step.setting.family == Family::Ipv6)];
    let trial = PeerTrial { turn, device, vip, cpus: bench.cpus };
    let cpus = bench.cpus;
    let limited_by = |busy: &[Option<f64>]| {
        let busy = |index: usize| busy.get(index).copied().flatten();
        let facts = LoadFacts {
            generator_cpu_percent: busy(0),
            device_cpu_percent: busy(1),
            device_polls: devices::polls(turn.device),
            shares_cpu: cpus.are_shared(),
            ..LoadFacts::default()
        };
        limit_of_peers(&facts).to_string()
    };
    // What a thread starts stays on the thread's CPU.
    let measured = thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            core_affinity::set_for_current(CoreId { id: cpu.into() });
            trial.figures().map_err(|error| error.to_string())
        });
        pinned.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let (figures, said) = measured?;
    for figure in figures {
        match figure {
            Found::Value(quantity, value) => {
                let key = FigureKey::of(turn.trial, turn.device, turn.step.setting, quantity);
                bench.results.record(key, Repetition::new(turn.step.round, value));
            }
            Found::UnderLoad(quantity, value, busy) => {
                let key = FigureKey::of(turn.trial, turn.device, turn.step.setting, quantity);
                let repetition = Repetition::new(turn.step.round, value).limited_by(limited_by(&busy));
                bench.results.record(key, repetition);
            }
            Found::Latency(latency) => {
                let key = FigureKey::of(turn.trial, turn.device, turn.step.setting, Quantity::LatencyP50);
                bench.results.record_latency(&key, turn.step.round, latency, None);
            }
        }
    }
    Ok(said)
}

/// What a trial found.
enum Found {
    Value(Quantity, f64),
    /// With how busy the peers' CPU and the device's were.
    UnderLoad(Quantity, f64, Vec<Option<f64>>),
    Latency(Latency),
}

struct PeerTrial<'t> {
    turn: Turn<'t>,
    device: &'t Device,
    vip: IpAddr,
    cpus: Cpus,
}

impl PeerTrial<'_> {
    fn target(&self) -> SocketAddr {
        (self.vip, PORT).into()
    }

    fn figures(&self) -> Result<(Vec<Found>, String), Stopped> {
        match &self.turn.trial.method {
            Method::ConnectionRate(search) => self.connections(search.parallel, search.phases.sustain),
            Method::RoundTrip { duration } => self.round_trips(*duration),
            Method::Transfer { bytes, streams } => self.transfer(*bytes, *streams),
            Method::Idle { duration } => self.idle(*duration),
            other => Err(format!("{:?} is no trial with clients and servers", other.kind()).into()),
        }
    }

    fn watch(&self) -> Watch {
        Watch::begin(&[self.cpus.peers, self.cpus.device])
    }

    /// wrk against nginx, a connection for every request.
    fn connections(&self, parallel: u32, duration: Duration) -> Result<(Vec<Found>, String), Stopped> {
        let straight = self.device.straight();
        let _server = NginxServer::start_for_load(straight.servers.namespace(), "web", &[PORT])?;
        let watch = self.watch();
        let report = run_wrk(straight.clients.namespace(), self.target(), parallel, duration)?;
        let busy = watch.busy_percent();
        if report.requests == 0 {
            return Err("no request was answered".into());
        }
        let mut said = Quantity::ConnectionRate.show(report.requests_per_s);
        if report.failed > 0 {
            said += &format!(", {} failed", report.failed);
        }
        Ok((vec![Found::UnderLoad(Quantity::ConnectionRate, report.requests_per_s, busy)], said))
    }

    /// Servers on every address that may be called.
    fn echo(&self) -> Result<UdpEcho, Stopped> {
        let addresses: Vec<IpAddr> = straight::servers(self.vip).chain([self.vip]).collect();
        Ok(UdpEcho::start_at(self.device.straight().servers.namespace(), "echo", PORT, &addresses)?)
    }

    fn round_trips(&self, duration: Duration) -> Result<(Vec<Found>, String), Stopped> {
        let _echo = self.echo()?;
        let times = round_trips(self.device.straight().clients.namespace(), self.target(), duration)?;
        let latency = latency(times).ok_or("no question was answered")?;
        let said = format!(
            "p50 {}, p99.9 {}",
            Quantity::LatencyP50.show(latency.p50_ns as f64),
            Quantity::LatencyP999.show(latency.p99_9_ns as f64)
        );
        Ok((vec![Found::Latency(latency)], said))
    }

    fn transfer(&self, bytes: u64, streams: u32) -> Result<(Vec<Found>, String), Stopped> {
        let straight = self.device.straight();
        let _server = Iperf3::start(straight.servers.namespace(), "transfer", PORT)?;
        let watch = self.watch();
        let report =
            run_iperf3_over(straight.clients.namespace(), self.target(), bytes, streams, TRANSFER_LIMIT)?;
        let busy = watch.busy_percent();
        let bits_per_s = report.received_bps;
        let found = Found::UnderLoad(Quantity::Goodput, bits_per_s, busy);
        Ok((vec![found], Quantity::Goodput.show(bits_per_s)))
    }

    /// What the device costs without traffic, and how late the answer to the first question is then.
    fn idle(&self, duration: Duration) -> Result<(Vec<Found>, String), Stopped> {
        let _echo = self.echo()?;
        let client = self.device.straight().clients.namespace();
        // The path is known to work, and everything that learns has learned.
        first_answer(client, self.target())?.second.ok_or("no question was answered")?;
        thread::sleep(SETTLE);
        let process =
            self.device.process_id().and_then(ProcessWatch::begin).ok_or("it has no process to watch")?;
        thread::sleep(duration);
        let busy = process.busy_percent();
        let first =
            first_answer(client, self.target())?.first.ok_or("the first question after idle was lost")?;
        let first_ns = first.as_secs_f64() * 1e9;
        let mut found = vec![Found::Value(Quantity::FirstPacket, first_ns)];
        found.extend(busy.map(|busy| Found::Value(Quantity::Cpu, busy)));
        let busy = busy.map_or_else(|| "no CPU books".into(), |busy| Quantity::Cpu.show(busy));
        Ok((found, format!("{busy}, first answer {}", Quantity::FirstPacket.show(first_ns))))
    }
}

/// The percentiles of some times; none of none.
fn latency(mut times_ns: Vec<u64>) -> Option<Latency> {
    times_ns.sort_unstable();
    let (first, last) = (*times_ns.first()?, *times_ns.last()?);
    // Counts of a run, far below 2^53; the index is below the length.
    let at = |share: f64| times_ns[((times_ns.len() - 1) as f64 * share).round() as usize];
    let mean_ns = times_ns.iter().map(|time| *time as f64).sum::<f64>() / times_ns.len() as f64;
    Some(Latency {
        count: times_ns.len() as u64,
        min_ns: first,
        mean_ns,
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        p99_9_ns: at(0.999),
        max_ns: last,
        rate_pps: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let latency = latency((1..=1_001).rev().collect()).unwrap();
        assert_eq!((latency.min_ns, latency.p50_ns, latency.p99_ns, latency.p99_9_ns), (1, 501, 991, 1_000));
        assert_eq!((latency.max_ns, latency.count, latency.mean_ns), (1_001, 1_001, 501.0));
        assert!(super::latency(Vec::new()).is_none());
    }
}
