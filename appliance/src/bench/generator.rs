//! `jeoul-gen` as a child inside the generator's namespace.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::bench::profile::{Family, FrameSize, Phases, Setting};
use ::bench::results::{ConnectionFailures, ConnectionRun, Latency, SecondPoint};
use ::bench::search::TrialOutcome;
use lab::device::Device;
use lab::{Mac, topology::straight};
use serde_json::Value;

use super::Stopped;

/// The program, which stands beside this one.
const NAME: &str = "jeoul-gen";

/// How much longer than its duration a run may take: it opens rings first and waits for late frames at the end.
const GRACE: Duration = Duration::from_secs(20);

/// No run sends more a second, so a bound in packets that follows from this never ends one.
const PACKETS_PER_SECOND_MAX: f64 = 50e6;

/// What the generator counts for a connection, at both ends.
const PACKETS_PER_CONNECTION: f64 = 10.0;

/// And for data on one, with its answer.
const PACKETS_PER_EXCHANGE: f64 = 3.0;

/// An answer later than this is none.
const TIMEOUT_MAX: Duration = Duration::from_secs(1);

/// Where the generator's frames go to; where servers listen in other trials.
const DESTINATION_PORT: u16 = super::peers::PORT;

/// The program and where it runs.
#[derive(Debug)]
pub(super) struct Generator {
    binary: PathBuf,
    cpu: u16,
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub setting: Setting,
    /// Instead of the setting's.
    pub flows: Option<u64>,
    pub send: Send,
    pub duration: Duration,
}

/// When frames are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Send {
    /// Evenly, so many a second.
    Rate(f64),
    /// As fast as it can.
    Flood,
    /// So many, as fast as it can.
    Burst(u64),
    /// So many, evenly at so many a second.
    Count(u64, f64),
    /// Connections, opened and closed again evenly at so many a second; the far end answers.
    Connections(f64),
    /// Connections that are all held at once.
    Held(Held),
    /// Connections whose rate goes up to so many a second, stays, goes down.
    Ramp(f64, Phases),
}

/// Connections that are opened, held and closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub connections: u64,
    /// Opened a second, and closed.
    pub rate_per_s: f64,
    /// Of each, from its handshake to its end.
    pub hold: Duration,
    /// Each has data on it once in so long.
    pub exchange: Duration,
}

impl Held {
    /// The longest that it may take: opening and closing, each with twice the time that it needs.
    pub(super) fn duration(&self) -> Duration {
        let opening = Duration::from_secs_f64(self.connections as f64 / self.rate_per_s);
        opening * 3 + self.hold + TIMEOUT_MAX
    }

    /// The generator asks that none is longer than a hold.
    fn timeout(&self) -> Duration {
        self.hold.min(TIMEOUT_MAX)
    }

    /// Frames of all of it, and a few questions more than there are.
    fn packets(&self) -> f64 {
        let rounds = (self.duration().as_secs_f64() / self.exchange.as_secs_f64()).ceil() + 1.0;
        self.connections as f64 * (PACKETS_PER_CONNECTION + rounds * PACKETS_PER_EXCHANGE)
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub reached_pps: f64,
    pub transmitted: u64,
    pub received: u64,
    pub duration_s: f64,
    pub latency: Option<Latency>,
    /// Connections, without what they were asked and bound to be.
    pub connections: ConnectionRun,
    /// How its ports are driven.
    pub driver: String,
    /// What was typed.
    pub command: String,
}

impl Outcome {
    /// Frames a second that came back.
    pub(super) fn delivered_pps(&self) -> f64 {
        if self.duration_s > 0.0 { self.received as f64 / self.duration_s } else { 0.0 }
    }

    /// As a search wants it.
    pub(super) fn of_trial(&self) -> TrialOutcome {
        let Self { reached_pps, transmitted, received, .. } = *self;
        TrialOutcome { reached_pps, transmitted, received }
    }
}

impl Generator {
    /// The program beside this one; an error says how to build it.
    pub(super) fn find(directory: &Path, cpu: u16) -> Result<Self, Stopped> {
        let binary = directory.join(NAME);
        if !binary.is_file() {
            return Err(
                format!("{NAME} is not beside this program: build it, `cargo build --bin {NAME}`").into()
            );
        }
        Ok(Self { binary, cpu })
    }

    /// Sends through a device and says what came back.
    pub(super) fn run(&self, device: &Device, order: &Order) -> Result<Outcome, Stopped> {
        let straight = device.straight();
        let (clients, servers) = (&straight.clients, &straight.servers);
        let namespace = clients.namespace();
        let file = namespace.directory().join("generator.toml");
        fs::write(&file, profile_text(order, device.destination()))?;
        let mut command = namespace.command(&self.binary.to_string_lossy())?;
        command.arg(&file).args(["--json", "--quiet", "--cpu", &self.cpu.to_string()]);
        for end in [clients, servers] {
            command.args(["--port", &format!("{0}={0}", end.interface())]);
        }
        let typed = format!("{NAME} generator.toml --json --quiet --cpu {}", self.cpu);
        let output = namespace.output_within(command, order.duration + GRACE)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            return Err(format!("{NAME} failed ({}): {said}", output.status).into());
        }
        let report: Value = serde_json::from_slice(&output.stdout)?;
        parse(&report, typed).ok_or_else(|| format!("{NAME}'s report lacks its totals: {report}").into())
    }
}

/// What the run is, as its profile says it.
fn profile_text(order: &Order, destination: Mac) -> String {
    let Order { setting, duration, .. } = order;
    let family = usize::from(setting.family == Family::Ipv6);
    let (vip, source) = (straight::VIPS[family], straight::CALLERS[family]);
    let flows = order.flows.or(setting.flows).unwrap_or(1);
    let size = match setting.frame_bytes {
        Some(FrameSize::Imix) => "imix = true".to_string(),
        Some(FrameSize::Bytes(bytes)) => format!("frame_bytes = {bytes}"),
        None => String::new(),
    };
    let pps = |rate: f64| format!("{:.0}pps", rate.max(1.0));
    let mut more = String::new();
    let (mode, packets) = match order.send {
        Send::Rate(rate) => (format!("{{ continuous = {{ rate = \"{}\" }} }}", pps(rate)), None),
        Send::Flood => ("{ continuous = { rate = \"max\" } }".into(), None),
        Send::Burst(packets) => ("{ continuous = { rate = \"max\" } }".into(), Some(packets)),
        Send::Count(packets, rate) => {
            (format!("{{ continuous = {{ rate = \"{}\" }} }}", pps(rate)), Some(packets))
        }
        Send::Connections(rate) => {
            let packets = (rate * duration.as_secs_f64()).ceil() * PACKETS_PER_CONNECTION;
            // Rates have an upper bound of a hundred million.
            (format!("{{ continuous = {{ rate = \"{}\" }} }}", pps(rate)), Some(packets as u64))
        }
        Send::Held(held) => {
            let ms = |duration: Duration| duration.as_millis().max(1);
            more = format!(
                "hold = \"{}ms\"\nexchange = \"{}ms\"\ntimeout = \"{}ms\"\n",
                ms(held.hold),
                ms(held.exchange),
                ms(held.timeout())
            );
            // Exactly so many, none given up because it was late.
            let (packets, rate) = (held.connections, pps(held.rate_per_s));
            let mode = format!(
                "{{ burst = {{ packets = {packets}, rate = \"{rate}\", gap = \"1s\", count = 1 }} }}"
            );
            (mode, Some(held.packets() as u64))
        }
        Send::Ramp(rate, phases) => {
            let part = |name: &str, phase: Duration| match phase.as_millis() {
                0 => String::new(),
                ms => format!(", {name} = \"{ms}ms\""),
            };
            let parts = [("up", phases.ramp_up), ("sustain", phases.sustain), ("down", phases.ramp_down)];
            let parts: String = parts.into_iter().map(|(name, phase)| part(name, phase)).collect();
            let packets = (rate * phases.total().as_secs_f64()).ceil() * PACKETS_PER_CONNECTION;
            (format!("{{ ramp = {{ rate = \"{}\"{parts} }} }}", pps(rate)), Some(packets as u64))
        }
    };
    let connects = matches!(order.send, Send::Connections(_) | Send::Held(_) | Send::Ramp(..));
    let protocol = if connects { "tcp-handshake" } else { "udp" };
    // Bounded by a day of the highest rate, far below what the type holds.
    let packets = packets.unwrap_or((duration.as_secs_f64() * PACKETS_PER_SECOND_MAX) as u64).max(1);
    let mut text =
        format!("[limits]\nduration = \"{}ms\"\npackets = {packets}\n\n", duration.as_millis().max(1));
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "[[stream]]\nname = \"bench\"\nport = \"clients\"\nreceive = \"servers\"\nprotocol = \"{protocol}\"\n{size}\n\
         flows = {flows}\nsource = \"{source}\"\nsource_ports = \"1024-65535\"\ndestination = \"{vip}\"\n\
         destination_port = {DESTINATION_PORT}\ndestination_mac = \"{destination}\"\nmode = {mode}\nlatency = true\n{more}"
    );
    text
}

fn parse(report: &Value, command: String) -> Option<Outcome> {
    let totals = &report["totals"];
    let drivers: Vec<&str> =
        report["ports"].as_array()?.iter().filter_map(|port| port["driver"].as_str()).collect();
    Some(Outcome {
        reached_pps: totals["rate_pps_reached"].as_f64()?,
        transmitted: totals["transmitted"].as_u64()?,
        received: totals["received"].as_u64()?,
        duration_s: report["duration_s"].as_f64()?,
        latency: latency(totals),
        connections: connections(report),
        driver: drivers.join(", "),
        command,
    })
}

fn connections(report: &Value) -> ConnectionRun {
    let (totals, failures) = (&report["totals"], &report["totals"]["connection_failures"]);
    let number = |of: &Value, key: &str| of[key].as_u64().unwrap_or(0);
    let second = |second: &Value| SecondPoint {
        at_s: second["at_s"].as_f64().unwrap_or(0.0),
        begun: number(second, "begun"),
        opened: number(second, "opened"),
        failed: number(second, "failed"),
        held: number(second, "held"),
        closed: number(second, "closed"),
    };
    ConnectionRun {
        asked: 0,
        begun: number(totals, "connections_begun"),
        opened: number(totals, "connections_opened"),
        closed: number(totals, "connections_closed"),
        held_most: number(totals, "connections_held_most"),
        failures: ConnectionFailures {
            no_answer: number(failures, "no_answer"),
            reset: number(failures, "reset"),
            wrong_sequence: number(failures, "wrong_sequence"),
        },
        bound: None,
        seconds: report["seconds"].as_array().into_iter().flatten().map(second).collect(),
    }
}

fn latency(totals: &Value) -> Option<Latency> {
    let latency = &totals["latency_ns"];
    let at = |key: &str| latency[key].as_u64();
    Some(Latency {
        count: at("count")?,
        min_ns: at("min")?,
        mean_ns: latency["mean"].as_f64()?,
        p50_ns: at("p50")?,
        p90_ns: at("p90")?,
        p99_ns: at("p99")?,
        p99_9_ns: at("p99_9")?,
        max_ns: at("max")?,
        rate_pps: totals["rate_pps_reached"].as_f64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(send: Send) -> Order {
        let setting =
            Setting { frame_bytes: Some(FrameSize::Bytes(64)), flows: Some(1_000), family: Family::Ipv4 };
        Order { setting, flows: None, send, duration: Duration::from_millis(1_500) }
    }

    #[test]
    fn every_run_is_bounded_in_time_and_packets() {
        let mac = Mac([2, 0, 0, 0, 0, 2]);
        let text = profile_text(&order(Send::Flood), mac);
        assert!(text.starts_with("[limits]\nduration = \"1500ms\"\npackets = 75000000\n"), "{text}");
        assert!(text.contains("rate = \"max\"") && text.contains("destination_mac = \"02:00:00:00:00:02\""));
        let text = profile_text(&order(Send::Count(500, 250_000.4)), mac);
        assert!(text.contains("packets = 500\n") && text.contains("rate = \"250000pps\""), "{text}");
        let text = profile_text(&order(Send::Connections(1_000.0)), mac);
        assert!(
            text.contains("packets = 15000\n") && text.contains("protocol = \"tcp-handshake\""),
            "{text}"
        );
        let seconds = Duration::from_secs;
        let held = Held { connections: 1_000, rate_per_s: 500.0, hold: seconds(3), exchange: seconds(2) };
        let text = profile_text(&order(Send::Held(held)), mac);
        for words in [
            "packets = 28000\n",
            "hold = \"3000ms\"\nexchange = \"2000ms\"\ntimeout = \"1000ms\"\n",
            "mode = { burst = { packets = 1000, rate = \"500pps\", gap = \"1s\", count = 1 } }",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(held.duration(), seconds(10));
        let phases = Phases { ramp_up: Duration::ZERO, sustain: seconds(2), ramp_down: seconds(1) };
        let text = profile_text(&order(Send::Ramp(100.0, phases)), mac);
        assert!(text.contains("packets = 3000\n"), "{text}");
        assert!(
            text.contains("{ ramp = { rate = \"100pps\", sustain = \"2000ms\", down = \"1000ms\" } }"),
            "{text}"
        );
    }

    #[test]
    fn a_report_is_read() {
        let report = serde_json::json!({
            "ports": [{"driver": "live"}, {"driver": "af_xdp"}], "duration_s": 2.0,
            "totals": {"rate_pps_reached": 500.0, "transmitted": 1000, "received": 900, "latency_ns": null,
                "connections_begun": 9, "connections_opened": 8, "connections_closed": 7, "connections_held_most": 6,
                "connection_failures": {"no_answer": 1, "reset": 2, "wrong_sequence": 3}},
            "seconds": [{"at_s": 1.5, "begun": 9, "opened": 8, "failed": 6, "held": 0, "closed": 7}],
        });
        let outcome = parse(&report, String::new()).unwrap();
        assert_eq!((outcome.delivered_pps(), outcome.driver.as_str()), (450.0, "live, af_xdp"));
        assert!(outcome.latency.is_none());
        let run = outcome.connections;
        assert_eq!((run.begun, run.opened, run.closed, run.held_most), (9, 8, 7, 6));
        assert_eq!((run.failures.no_answer, run.failures.reset, run.failures.wrong_sequence), (1, 2, 3));
        let second = SecondPoint { at_s: 1.5, begun: 9, opened: 8, failed: 6, held: 0, closed: 7 };
        assert_eq!(run.seconds, [second]);
        assert!(parse(&serde_json::json!({"ports": []}), String::new()).is_none());
    }
}
