//! `jeoul-gen`: sends what a profile says out of the interfaces that it is told, and says what came back.
//!
//! Exit status: 0 done, 1 failed, 2 wrong input.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use generator::open::DriverChoice;
use generator::profile::{Overrides, Profile};
use generator::report::{Report, Second, StreamReport};
use generator::run::{Failure, Options, run};
use generator::tcp::Failures;
use generator::units::{Rate, duration};
use signal_hook::consts::{SIGINT, SIGTERM};
use wire::Mac;

/// The run was understood and did not succeed.
const FAILED: u8 = 1;

/// What was given cannot be used: the command line or the profile.
const WRONG_INPUT: u8 = 2;

/// A traffic generator: streams of UDP and TCP with loss, order and latency measured.
///
/// Sends what PROFILE says out of the named interfaces, and no others, until the bounds in time and packets of the
/// profile or the command line. Options go before what the profile says. docs/generator.md explains both.
#[derive(Debug, Parser)]
#[command(name = "jeoul-gen", version, max_term_width = 100)]
#[command(after_help = "Exit status: 0 done, 1 failed, 2 wrong input.")]
struct Arguments {
    /// The profile (TOML)
    profile: PathBuf,
    /// The interface of a port of the profile; once for each port
    #[arg(long = "port", value_name = "NAME=INTERFACE", required = true, value_parser = pair)]
    ports: Vec<(String, String)>,
    /// How frames are sent and received; auto takes the fastest that works
    #[arg(long, value_enum, default_value_t)]
    driver: Driver,
    /// The rate of all streams together: 100kpps, 1Mbps, 100%, max
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// The size of all frames, with the 4 bytes of the check sequence
    #[arg(long, value_name = "N")]
    frame_bytes: Option<u64>,
    /// How long frames are sent at the most
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// How many frames are sent at the most, over all streams
    #[arg(long, value_name = "N")]
    packets: Option<u64>,
    /// The next hop of what a port sends, in place of the profile's
    #[arg(long = "destination-mac", value_name = "NAME=MAC", value_parser = pair)]
    destination_macs: Vec<(String, String)>,
    /// The CPU of all ports' thread, or one for each port
    #[arg(long = "cpu", value_name = "N[,N]", value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Prints the report as one JSON object
    #[arg(long)]
    json: bool,
    /// No counters while it runs
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Driver {
    #[default]
    Auto,
    Live,
    AfXdp,
    AfPacket,
}

impl From<Driver> for DriverChoice {
    fn from(driver: Driver) -> Self {
        match driver {
            Driver::Auto => Self::Auto,
            Driver::Live => Self::Live,
            Driver::AfXdp => Self::AfXdp,
            Driver::AfPacket => Self::AfPacket,
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (profile, options) = match prepare(&arguments) {
        Ok(prepared) => prepared,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(WRONG_INPUT);
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("jeoul-gen: cannot catch signal {signal}: {error}");
            return ExitCode::from(FAILED);
        }
    }
    let live = |second: &Second| {
        if !arguments.quiet {
            print_second(second);
        }
    };
    match run(&profile, &options, &stop, live) {
        Ok(report) => print(&report, arguments.json),
        Err(failure) => {
            eprintln!("jeoul-gen: {failure}");
            ExitCode::from(if matches!(failure, Failure::Input(_)) { WRONG_INPUT } else { FAILED })
        }
    }
}

/// The profile as the command line changes it; what is wrong with either, as it is to be shown.
fn prepare(arguments: &Arguments) -> Result<(Profile, Options), String> {
    let mut profile = Profile::load(&arguments.profile).map_err(|refusals| {
        let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })?;
    let mut interfaces = BTreeMap::new();
    for (name, interface) in &arguments.ports {
        if interfaces.insert(name.clone(), interface.clone()).is_some() {
            return Err(format!("jeoul-gen: --port {name} is given twice"));
        }
    }
    let mac = |(name, mac): &(String, String)| {
        let read =
            mac.parse::<Mac>().map_err(|error| format!("jeoul-gen: --destination-mac {mac}: {error}"))?;
        Ok((name.clone(), read))
    };
    let overrides = Overrides {
        rate: arguments.rate,
        frame_bytes: arguments.frame_bytes,
        duration: arguments.duration,
        packets: arguments.packets,
        destination_macs: arguments.destination_macs.iter().map(mac).collect::<Result<_, String>>()?,
    };
    overrides.apply(&mut profile).map_err(|message| format!("jeoul-gen: {message}"))?;
    profile.bounds().map_err(|message| format!("jeoul-gen: {message}"))?;
    Ok((profile, Options { interfaces, driver: arguments.driver.into(), cpus: arguments.cpus.clone() }))
}

fn print_second(second: &Second) {
    let Second { at_s, transmitted, received, lost, begun, opened, failed, held, closed } = *second;
    let frames =
        format!("{at_s:7.1} s  transmitted {transmitted:>10}  received {received:>10}  lost {lost:>8}");
    match begun + opened + failed + held + closed {
        0 => eprintln!("{frames}"),
        _ => {
            eprintln!("{frames}  opened {opened:>8}  failed {failed:>6}  held {held:>9}  closed {closed:>8}")
        }
    }
}

fn print(report: &Report, as_json: bool) -> ExitCode {
    if !as_json {
        report.ports.iter().for_each(|port| {
            let why = port.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
            println!("port {} on {}: {}, {}{why}", port.name, port.interface, port.driver, port.mode);
            if port.receive_dropped > 0 {
                println!(
                    "  {} frames came and found its ring full: the generator lost them",
                    port.receive_dropped
                );
            }
        });
        report
            .streams
            .iter()
            .chain([&report.totals])
            .for_each(|stream| print_stream(stream, report.duration_s));
        println!(
            "{} unknown frames; {:.3} s; limited by {:?}",
            report.unknown_received, report.duration_s, report.limited_by
        );
        return ExitCode::SUCCESS;
    }
    match serde_json::to_string(report) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("jeoul-gen: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn print_stream(stream: &StreamReport, duration_s: f64) {
    println!(
        "{}: transmitted {} ({:.0} pps), received {}, lost {}, reordered {}, duplicated {}, refused {}",
        stream.name,
        stream.transmitted,
        stream.transmitted as f64 / duration_s,
        stream.received,
        stream.lost,
        stream.reordered,
        stream.duplicated,
        stream.transmit_refused
    );
    if stream.connections_begun > 0 {
        let Failures { no_answer, reset, wrong_sequence } = stream.connection_failures;
        println!(
            "  connections: {} begun ({:.0} each second), {} opened, {} open at the most, {} at the end, {} closed",
            stream.connections_begun,
            stream.rate_pps_reached,
            stream.connections_opened,
            stream.connections_held_most,
            stream.connections_held,
            stream.connections_closed
        );
        println!(
            "  {} failed: {no_answer} without an answer, {reset} reset, {wrong_sequence} with a wrong sequence number",
            stream.connections_failed
        );
    }
    if let Some(latency) = &stream.latency_ns {
        let us = |ns: u64| ns as f64 / 1e3;
        println!(
            "  latency in µs: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
            us(latency.p50),
            us(latency.p99),
            us(latency.p99_9),
            us(latency.max)
        );
    }
}
