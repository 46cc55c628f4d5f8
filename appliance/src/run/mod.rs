//! `jeoul run`: from a configuration file to a box that forwards, and in order back again.
//!
//! ```text
//!   file, facts ─▶ offloads off ─▶ tables ─▶ rings (gates shut) ─▶ controller ─▶ workers ─▶ gates open ─▶ control loop
//!                                                                                                        │ SIGTERM
//!   offloads restored ◀── rings closed ◀── workers joined ◀── gates shut ◀───────────────────────────────┘
//! ```
//!
//! Nothing is started unless everything that can be known beforehand is right, and nothing is touched while another
//! appliance serves the same socket. Exit status: 0 ended in order, 1 could not start or a worker failed, 2 the
//! configuration is wrong.

mod hash_key;
mod places;
mod rings;
mod worker;

use crate::machine;
use config::Config;
use control::controller::{Controller, ControllerParts, Ended};
use control::facts::Facts;
use control::netlink::Mirror;
use engine::{Shared, Sizes, WorkerCounters, orders};
use flow::FlowHasher;
use plan::{LinkTable, MEMBERS_MAX};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use tracing::{error, info, warn};

/// Addresses that the steering programs hold at the most: VIPs, pools, the host's own.
const STEERED_ADDRESSES_MAX: u32 = 65_536;

/// Why the appliance did not start, or did not end well.
enum Failure {
    /// The configuration is wrong; the diagnostics have been printed.
    Configuration,
    /// Something else; the sentence says what and what to do.
    Other(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Other(error.to_string())
    }
}

/// Runs the appliance until it is told to end.
pub fn run(config_path: &Path) -> ExitCode {
    match start_and_run(config_path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration) => ExitCode::from(2),
        Err(Failure::Other(reason)) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn start_and_run(config_path: &Path) -> Result<(), Failure> {
    let mut facts = Facts::default();
    let mut mirror = Mirror::new(&mut facts)?;
    let config = load(config_path, &facts)?;
    // Before anything is changed that a running appliance may be using: offloads, channels, programs.
    let socket = &config.appliance.socket;
    let place = control::operator::Place::take(socket)
        .map_err(|error| Failure::Other(format!("{}: {error}", socket.display())))?;
    let clock = Instant::now();
    let hasher = FlowHasher::new(hash_key::load_or_make(&config)?);
    let offloads = rings::switch_offloads_off(&config);
    let cpus = places::cpus(&config)?;
    rings::raise_channels(&config, cpus.len());
    let cpus = places::active(&config, cpus);

    let sizes = Sizes {
        sessions_v4: config.appliance.session_capacity,
        sessions_v6: config.appliance.session_capacity_ipv6,
        links: LinkTable::ROWS,
        members: MEMBERS_MAX,
        clients: config.appliance.persistence_capacity,
    };
    let shared = Arc::new(Shared::new(sizes, hasher));
    report_memory(&shared);

    let (machine, worker_ports) = rings::open(&config, cpus.len())?;
    if let Err(reason) = control::check::raise_descriptor_limit() {
        warn!("health checks have to do with few sockets: {reason}");
    }
    // The host legs are new to the kernel too: the first plan is to know them.
    mirror.drain(Instant::now(), &mut facts)?;
    let gates = machine.gates();
    let losses = machine.losses_of_workers();
    let mut controller = Controller::new(ControllerParts {
        config: config.clone(),
        config_path: config_path.to_owned(),
        place,
        name: appliance_name(&config),
        facts,
        mirror,
        shared: shared.clone(),
        rings: machine,
        mtu_bytes_max: rings::MTU_BYTES_MAX,
        clock,
    })?;

    let workers = start_workers(&config, &cpus, worker_ports, &losses, &shared, &mut controller)?;
    places::pin(config.appliance.control_cpu, "control");
    controller.take_over()?;
    for gate in &gates {
        gate.open()?;
    }
    info!("forwarding on {} ports with {} workers", config.ports.len(), cpus.len());
    tell_systemd(sd_notify::NotifyState::Ready);

    let ended = controller.run();
    tell_systemd(sd_notify::NotifyState::Stopping);
    for gate in &gates {
        if let Err(reason) = gate.shut() {
            warn!("{reason}");
        }
    }
    controller.forget();
    let all_ended_well = workers.stop();
    // In this order: with the controller goes the claim on the socket, and who takes it next switches offloads off anew.
    drop(offloads);
    drop(controller);
    match ended {
        Ok(Ended::Signalled) if all_ended_well => {
            info!("ended");
            Ok(())
        }
        Ok(Ended::Signalled) => Err(Failure::Other("a worker had failed; see above".to_owned())),
        Ok(Ended::WorkerFailed) => {
            Err(Failure::Other("a worker has failed, see above; the appliance ends".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Starts a worker on each of `cpus` and tells the controller of them.
fn start_workers(
    config: &Config,
    cpus: &[usize],
    ports: Vec<::rings::WorkerPorts>,
    losses: &[rings::WorkerLosses],
    shared: &Arc<Shared>,
    controller: &mut Controller<rings::Machine>,
) -> Result<worker::Workers, Failure> {
    let mut workers = worker::Workers::new(config.appliance.polling, controller.clock());
    for (place, ((&cpu, ports), losses)) in cpus.iter().zip(ports).zip(losses).enumerate() {
        let parts = engine::Parts {
            ports,
            plan: controller.subscribe(),
            shared: shared.clone(),
            orders: Arc::new(orders()),
            counters: Arc::new(WorkerCounters::new(config.ports.len(), MEMBERS_MAX)),
            place: (place, cpus.len()),
        };
        let handle = workers.start(cpu, parts, losses.clone(), controller.waker())?;
        controller.add_worker(handle);
    }
    Ok(workers)
}

/// Reads and checks the file; prints what is wrong with it.
fn load(path: &Path, facts: &Facts) -> Result<Config, Failure> {
    let outcome = Config::load(path);
    let mut diagnostics = outcome.diagnostics;
    if let Some(config) = &outcome.config {
        diagnostics.extend(machine::check(config, facts, machine::Strictness::Run));
        diagnostics.extend(machine::check_cpus(config, &crate::check::available_cpus()));
    }
    for diagnostic in &diagnostics {
        eprintln!("{}", diagnostic.render());
    }
    let is_wrong = diagnostics.iter().any(config::Diagnostic::is_error);
    outcome.config.filter(|_| !is_wrong).ok_or(Failure::Configuration)
}

fn appliance_name(config: &Config) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    config.appliance.name.clone().unwrap_or_else(host)
}

/// Asks for huge pages under the session tables and says what came of it: with 4 KiB pages every look-up of a large table
/// costs a page walk beside its cache miss.
fn report_memory(shared: &Shared) {
    let v4 = (shared.sessions_v4.memory_bytes(), shared.sessions_v4.memory_regions());
    let v6 = (shared.sessions_v6.memory_bytes(), shared.sessions_v6.memory_regions());
    for (family, (bytes, regions)) in [("IPv4", v4), ("IPv6", v6)] {
        let huge: usize = regions
            .iter()
            .map(|region| ::rings::memory::prefer_huge_pages_at(region.address, region.bytes).collapsed_bytes)
            .sum();
        info!("{family} sessions: {} MiB, {} MiB of them on huge pages", bytes >> 20, huge >> 20);
    }
}

fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    // Without systemd there is nobody to tell.
    if let Err(reason) = sd_notify::notify(&[state]) {
        warn!("systemd could not be told: {reason}");
    }
}
