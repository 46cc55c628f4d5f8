//! A run from its beginning to its report: open the ports, start the threads, look once a second, wait for
//! what is late, add up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use core_affinity::CoreId;
use wire::Mac;

use crate::account::Account;
use crate::leg::{Leg, Progress, Terms, now_ns};
use crate::open::{DriverChoice, OpenPort};
use crate::profile::{Bounds, Profile};
use crate::report::{Limit, Measured, Report, Second, StreamReport};
use crate::schedule::Schedule;
use crate::sender::{Budget, Sender};
use crate::stamp::Signature;

/// From the threads' start to the first frame: they need to be there.
const LEAD_NS: u64 = 10_000_000;

/// How long late frames are waited for after the last one was sent.
const DRAIN_NS: u64 = 200_000_000;

/// With nothing missing, the wait ends when nothing has come for so long.
const QUIET_NS: u64 = 30_000_000;

/// How often the control thread looks.
const LOOK: Duration = Duration::from_millis(5);

const SECOND_NS: u64 = 1_000_000_000;

/// A stream that reached less of its rate was limited by its ring or its thread.
const REACHED_SHARE: f64 = 0.99;

/// What a run needs beside its profile.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Interfaces by the ports' names.
    pub interfaces: BTreeMap<String, String>,
    /// How frames are sent and received.
    pub driver: DriverChoice,
    /// CPUs: one for all ports, or one for each in the profile's order. None: one thread, not pinned.
    pub cpus: Vec<usize>,
}

/// Why there is no report.
#[derive(Debug)]
pub enum Failure {
    /// What was given does not fit together.
    Input(String),
    /// The machine refused.
    Rings(rings::Error),
    /// A thread ended by a defect.
    Thread,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) => f.write_str(message),
            Self::Rings(error) => error.fmt(f),
            Self::Thread => f.write_str("a thread of the generator ended by a defect"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<rings::Error> for Failure {
    fn from(error: rings::Error) -> Self {
        Self::Rings(error)
    }
}

/// Runs `profile`. `live` is told once a second; `stop` ends it early. Control thread; blocks until the end.
pub fn run(
    profile: &Profile,
    options: &Options,
    stop: &Arc<AtomicBool>,
    live: impl FnMut(&Second),
) -> Result<Report, Failure> {
    let bounds = profile.bounds().map_err(Failure::Input)?;
    check(profile, options)?;
    let open = open(profile, options)?;
    let reports = open.iter().map(|port| port.report.clone()).collect();
    let signature = Signature::random();
    let senders = senders(profile, &open, signature)?;
    open.iter().try_for_each(OpenPort::open)?;
    let mut legs = Vec::new();
    let mut holds = Vec::new();
    for (index, (port, senders)) in open.into_iter().zip(senders).enumerate() {
        let (ports, hold) = port.into_parts();
        holds.push(hold);
        legs.push(Leg::new(ports, senders, accounts(profile, index), signature));
    }
    let outcome = drive(legs, options, &bounds, stop, live)?;
    drop(holds);
    Ok(add_up(profile, reports, outcome))
}

fn check(profile: &Profile, options: &Options) -> Result<(), Failure> {
    for port in &profile.ports {
        if !options.interfaces.contains_key(&port.name) {
            let message =
                format!("port {0:?} has no interface; name it with --port {0}=INTERFACE", port.name);
            return Err(Failure::Input(message));
        }
    }
    for name in options.interfaces.keys() {
        if !profile.ports.iter().any(|port| port.name == *name) {
            let known: Vec<&str> = profile.ports.iter().map(|port| port.name.as_str()).collect();
            let message = format!("--port {name}: the profile has no such port; it has {}", known.join(", "));
            return Err(Failure::Input(message));
        }
    }
    if let Some(stream) = profile.streams.iter().find(|stream| stream.protocol.connects()) {
        return Err(Failure::Input(format!("stream {}: connections are not built yet", stream.name)));
    }
    let (cpus, ports) = (options.cpus.len(), profile.ports.len());
    if cpus > 1 && cpus != ports {
        return Err(Failure::Input(format!(
            "--cpu names {cpus} CPUs for {ports} ports; name one, or one for each"
        )));
    }
    Ok(())
}

fn open(profile: &Profile, options: &Options) -> Result<Vec<OpenPort>, Failure> {
    let open = |port: &crate::profile::Port| {
        let interface = options.interfaces.get(&port.name).map_or("", String::as_str);
        Ok(OpenPort::new(&port.name, interface, options.driver)?)
    };
    profile.ports.iter().map(open).collect()
}

/// By port, the senders of its streams.
fn senders(profile: &Profile, open: &[OpenPort], signature: Signature) -> Result<Vec<Vec<Sender>>, Failure> {
    let mut senders: Vec<Vec<Sender>> = open.iter().map(|_| Vec::new()).collect();
    for (index, stream) in profile.streams.iter().enumerate() {
        let port = &open[stream.transmit];
        let schedule = Schedule::new(&stream.mode, stream.sizes, port.link_bits_per_second).ok_or_else(|| {
            Failure::Input(format!(
                "stream {}: a rate in percent, and {} does not say how fast its link is; give frames or bits",
                stream.name, port.report.interface
            ))
        })?;
        let destination: Mac = stream.destination_mac.unwrap_or(open[stream.receive].mac);
        senders[stream.transmit].push(Sender::new(
            stream,
            index,
            schedule,
            [port.mac, destination],
            signature,
        ));
    }
    Ok(senders)
}

fn accounts(profile: &Profile, port: usize) -> Vec<Option<Account>> {
    let streams = profile.streams.iter();
    streams.map(|stream| (stream.receive == port).then(|| Account::new(stream.latency))).collect()
}

/// What the threads came back with.
struct Outcome {
    senders: Vec<Sender>,
    accounts: Vec<Vec<Option<Account>>>,
    unknown: u64,
    seconds: Vec<Second>,
    duration_ns: u64,
    is_spent: bool,
    ended_early: bool,
}

fn drive(
    legs: Vec<Leg>,
    options: &Options,
    bounds: &Bounds,
    stop: &Arc<AtomicBool>,
    live: impl FnMut(&Second),
) -> Result<Outcome, Failure> {
    let progress: Vec<Arc<Progress>> = legs.iter().map(Leg::progress).collect();
    let terms = Terms {
        start_ns: now_ns() + LEAD_NS,
        duration_ns: u64::try_from(bounds.duration.as_nanos()).unwrap_or(u64::MAX),
        budget: Budget::new(bounds.packets),
        stop: AtomicBool::new(false),
    };
    let finished = AtomicBool::new(false);
    let (seconds, legs) = thread::scope(|scope| {
        let (terms, finished) = (&terms, &finished);
        let threads: Vec<_> = crews(legs, &options.cpus)
            .into_iter()
            .map(|(legs, cpu)| scope.spawn(move || work(legs, cpu, terms, finished)))
            .collect();
        let seconds = watch(&progress, terms, stop, live);
        finished.store(true, Relaxed);
        let legs: Result<Vec<Vec<Leg>>, _> = threads.into_iter().map(|thread| thread.join()).collect();
        (seconds, legs)
    });
    let legs = legs.map_err(|_| Failure::Thread)?;
    let mut outcome = Outcome {
        senders: Vec::new(),
        accounts: Vec::new(),
        unknown: progress.iter().map(|progress| progress.unknown.get()).sum(),
        seconds,
        duration_ns: progress.iter().map(|progress| progress.over_ns.get()).max().unwrap_or(0),
        is_spent: terms.budget.is_spent(),
        ended_early: terms.stop.load(Relaxed),
    };
    for leg in legs.into_iter().flatten() {
        let (senders, accounts) = leg.into_results();
        outcome.senders.extend(senders);
        outcome.accounts.push(accounts);
    }
    Ok(outcome)
}

/// Which legs share a thread, and on which CPU.
fn crews(legs: Vec<Leg>, cpus: &[usize]) -> Vec<(Vec<Leg>, Option<usize>)> {
    if cpus.len() < 2 {
        return vec![(legs, cpus.first().copied())];
    }
    let mut crews: Vec<(Vec<Leg>, Option<usize>)> = Vec::new();
    for (leg, &cpu) in legs.into_iter().zip(cpus) {
        match crews.iter_mut().find(|(_, of)| *of == Some(cpu)) {
            Some((crew, _)) => crew.push(leg),
            None => crews.push((vec![leg], Some(cpu))),
        }
    }
    crews
}

/// A thread's whole life.
fn work(mut legs: Vec<Leg>, cpu: Option<usize>, terms: &Terms, finished: &AtomicBool) -> Vec<Leg> {
    if let Some(id) = cpu
        && !core_affinity::set_for_current(CoreId { id })
    {
        eprintln!("jeoul-gen: a thread could not be pinned to CPU {id}; it runs where the kernel puts it");
    }
    while !finished.load(Relaxed) {
        let busy = legs.iter_mut().fold(false, |busy, leg| leg.turn(terms) | busy);
        if !busy {
            // Costs little on a CPU of one's own, and lets others work on a shared one.
            thread::yield_now();
        }
    }
    legs
}

/// Counters at one moment.
#[derive(Clone, Copy, Default)]
struct Look {
    transmitted: u64,
    received: u64,
    missing: u64,
    is_over: bool,
}

fn look(progress: &[Arc<Progress>]) -> Look {
    progress.iter().fold(Look { is_over: true, ..Look::default() }, |sum, leg| Look {
        transmitted: sum.transmitted + leg.transmitted.get(),
        received: sum.received + leg.received.get(),
        missing: sum.missing + leg.missing.get(),
        is_over: sum.is_over && leg.over_ns.get() > 0,
    })
}

/// Looks until all is sent and what is late has come, or has not for too long.
fn watch(
    progress: &[Arc<Progress>],
    terms: &Terms,
    stop: &AtomicBool,
    mut live: impl FnMut(&Second),
) -> Vec<Second> {
    let mut seconds = Vec::new();
    let mut before = Look::default();
    let mut next_ns = terms.start_ns + SECOND_NS;
    let (mut over_ns, mut quiet_since_ns, mut received) = (None, terms.start_ns, 0);
    loop {
        thread::sleep(LOOK);
        terms.stop.fetch_or(stop.load(Relaxed), Relaxed);
        let (now_ns, now) = (now_ns(), look(progress));
        if now.received != received {
            (received, quiet_since_ns) = (now.received, now_ns);
        }
        if now.is_over {
            over_ns.get_or_insert(now_ns);
        }
        let is_drained = over_ns.is_some_and(|over_ns| {
            let is_quiet = now_ns.saturating_sub(quiet_since_ns.max(over_ns)) >= QUIET_NS;
            now_ns - over_ns >= DRAIN_NS || is_quiet && now.received >= now.transmitted
        });
        if now_ns >= next_ns || is_drained {
            let second = Second {
                at_s: now_ns.saturating_sub(terms.start_ns) as f64 / 1e9,
                transmitted: now.transmitted - before.transmitted,
                received: now.received - before.received,
                lost: now.missing as i64 - before.missing as i64,
            };
            live(&second);
            seconds.push(second);
            before = now;
            next_ns += SECOND_NS;
        }
        if is_drained {
            return seconds;
        }
    }
}

fn add_up(profile: &Profile, ports: Vec<crate::open::PortReport>, mut outcome: Outcome) -> Report {
    let duration_s = outcome.duration_ns as f64 / 1e9;
    let mut measured = Vec::new();
    for (index, stream) in profile.streams.iter().enumerate() {
        let sender = outcome.senders.iter().find(|sender| sender.stream == index);
        let account = outcome.accounts.iter_mut().find_map(|accounts| accounts[index].take());
        measured.push(Measured {
            sent: sender.map(Sender::sent).unwrap_or_default(),
            asked_per_second: sender.and_then(|sender| sender.asked_per_second(outcome.duration_ns)),
            account: account.unwrap_or_else(|| Account::new(stream.latency)),
        });
    }
    let streams: Vec<StreamReport> = profile
        .streams
        .iter()
        .zip(&measured)
        .map(|(stream, measured)| StreamReport::new(stream, measured, duration_s))
        .collect();
    let totals = StreamReport::total(&streams, &measured, duration_s);
    let fell_short = |stream: &StreamReport| {
        stream.rate_pps_asked.is_none_or(|asked| stream.rate_pps_reached < REACHED_SHARE * asked)
    };
    let limited_by = match outcome.is_spent {
        true => Limit::Packets,
        false if streams.iter().any(fell_short) => Limit::Transmit,
        false => Limit::Rate,
    };
    Report {
        tool: "jeoul-gen",
        version: env!("CARGO_PKG_VERSION"),
        profile: profile.name.clone(),
        ports,
        duration_s,
        streams,
        totals,
        seconds: outcome.seconds,
        unknown_received: outcome.unknown,
        limited_by,
        ended_early: outcome.ended_early,
    }
}
