//! A run from its beginning to its report: open the ports, start the threads, look once a second, wait for
//! what is late, add up.

mod outcome;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use core_affinity::CoreId;

use crate::account::Account;
use crate::leg::{Leg, Progress, Terms, Work, now_ns};
use crate::neighbours::Neighbours;
use crate::open::{DriverChoice, OpenPort, PortReport};
use crate::profile::{Bounds, Profile};
use crate::report::{Report, Second};
use crate::schedule::Schedule;
use crate::sender::{Budget, Sender};
use crate::stamp::Signature;
use crate::tcp::Client;

use outcome::{Drops, Outcome};

/// From the threads' start to the first frame: they need to be there.
const LEAD_NS: u64 = 10_000_000;

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

/// Runs `profile`. `each_second` is told of each; `stop` ends it early. Control thread; blocks until the end.
pub fn run(
    profile: &Profile,
    options: &Options,
    stop: &Arc<AtomicBool>,
    each_second: impl FnMut(&Second),
) -> Result<Report, Failure> {
    let bounds = profile.bounds().map_err(Failure::Input)?;
    check(profile, options)?;
    let open = open(profile, options)?;
    let mut reports: Vec<PortReport> = open.iter().map(|port| port.report.clone()).collect();
    let signature = Signature::random();
    let works = works(profile, &open, signature)?;
    // What the interfaces drop of live frames is in their own counters.
    let drops: Vec<Option<Drops>> = open.iter().map(|port| port.is_live.then(|| Drops::of(port))).collect();
    open.iter().try_for_each(OpenPort::open)?;
    let mut legs = Vec::new();
    let mut holds = Vec::new();
    for (port, work) in open.into_iter().zip(works) {
        let (ports, hold) = port.into_parts();
        holds.push(hold);
        legs.push(Leg::new(ports, work));
    }
    let mut outcome = drive(legs, options, &bounds, stop, each_second)?;
    drops.iter().enumerate().for_each(|(port, drops)| outcome.refuse(profile, port, drops.as_ref()));
    drop(holds);
    for (report, dropped) in reports.iter_mut().zip(&outcome.receive_dropped) {
        report.receive_dropped = *dropped;
    }
    Ok(outcome.report(profile, reports))
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
        OpenPort::new(&port.name, interface, options.driver)
    };
    let mut ports: Vec<OpenPort> = profile.ports.iter().map(open).collect::<Result<_, _>>()?;
    for (index, port) in ports.iter_mut().enumerate() {
        let mut sent = profile.streams.iter().filter(|stream| stream.transmit == index).peekable();
        if sent.peek().is_some() && sent.all(|stream| !stream.protocol.connects()) {
            port.choose_live(options.driver)?;
        }
    }
    Ok(ports)
}

/// By port, what its leg works with.
fn works(profile: &Profile, open: &[OpenPort], signature: Signature) -> Result<Vec<Work>, Failure> {
    let work = |(index, port): (usize, &OpenPort)| Work {
        port: index,
        senders: Vec::new(),
        clients: Vec::new(),
        answers: profile.streams.iter().any(|stream| stream.protocol.connects() && stream.receive == index),
        accounts: accounts(profile, index),
        signature,
        neighbours: Neighbours { mac: port.mac, networks: profile.ports[index].answers.clone() },
    };
    let mut works: Vec<Work> = open.iter().enumerate().map(work).collect();
    for (index, stream) in profile.streams.iter().enumerate() {
        let port = &open[stream.transmit];
        let schedule = Schedule::new(&stream.mode, stream.sizes, port.link_bits_per_second).ok_or_else(|| {
            Failure::Input(format!(
                "stream {}: a rate in percent, and {} does not say how fast its link is; give frames or bits",
                stream.name, port.report.interface
            ))
        })?;
        let macs = [port.mac, stream.destination_mac.unwrap_or(open[stream.receive].mac)];
        if stream.protocol.connects() {
            works[stream.transmit].clients.push(Client::new(stream, index, schedule, macs));
            continue;
        }
        let mut sender = Sender::new(stream, index, schedule, macs, signature);
        if port.is_live {
            sender.go_live(port.index)?;
        }
        works[stream.transmit].senders.push(sender);
    }
    Ok(works)
}

/// By stream, what is expected at a port. Frames of connections bear no stamp.
fn accounts(profile: &Profile, port: usize) -> Vec<Option<Account>> {
    let is_expected = |stream: &crate::profile::Stream| stream.receive == port && !stream.protocol.connects();
    profile.streams.iter().map(|stream| is_expected(stream).then(|| Account::new(stream.latency))).collect()
}

fn drive(
    legs: Vec<Leg>,
    options: &Options,
    bounds: &Bounds,
    stop: &Arc<AtomicBool>,
    each_second: impl FnMut(&Second),
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
        let seconds = watch::watch(&progress, terms, stop, each_second);
        finished.store(true, Relaxed);
        let legs: Result<Vec<Vec<Leg>>, _> = threads.into_iter().map(|thread| thread.join()).collect();
        (seconds, legs)
    });
    let legs = legs.map_err(|_| Failure::Thread)?;
    let mut outcome = Outcome {
        senders: Vec::new(),
        clients: Vec::new(),
        accounts: Vec::new(),
        receive_dropped: Vec::new(),
        unknown: progress.iter().map(|progress| progress.unknown.get()).sum(),
        seconds,
        duration_ns: progress.iter().map(|progress| progress.over_ns.get()).max().unwrap_or(0),
        is_spent: terms.budget.is_spent(),
        ended_early: terms.stop.load(Relaxed),
    };
    // Legs come back by thread, which may not be the order of the ports.
    let mut legs: Vec<Leg> = legs.into_iter().flatten().collect();
    legs.sort_by_key(Leg::port);
    for mut leg in legs {
        outcome.receive_dropped.push(leg.receive_dropped());
        let work = leg.into_work()?;
        outcome.senders.extend(work.senders);
        outcome.clients.extend(work.clients);
        outcome.accounts.push(work.accounts);
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
