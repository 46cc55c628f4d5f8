//! The devices of a profile, as the lab builds them, and what a report says of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::bench::profile::{
    Client, Device, DeviceKind, Driver, Family, Job, Method, Phases, Polling, Setting, Trial,
};
use ::bench::results::DeviceFacts;
use lab::device::{self, Kind, Plan, Tools};

/// New flows a second that a device must have room for: more than any device opens.
const NEW_FLOWS_PER_SECOND_MAX: u64 = 1_500_000;

/// Flows of trials that open their own: connections and questions.
const FLOWS_OF_PEERS: u32 = 200_000;

/// Flows of connections that the generator opens: none begins again while its last one is remembered.
pub(super) const FLOWS_OF_CONNECTIONS: u32 = 1_000_000;

/// Longer than any turn of any trial; a device is ended with its turn.
const BOUND: Duration = Duration::from_secs(3_600);

/// Which CPU does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cpus {
    /// The generator, or clients and servers; and whatever is not work of the device.
    pub peers: u16,
    /// The device's work.
    pub device: u16,
}

impl Cpus {
    /// The first two that this process may use; both the same where there is one.
    pub(super) fn of(available: &[usize]) -> Self {
        let at = |index: usize| {
            available.get(index).or(available.first()).and_then(|cpu| u16::try_from(*cpu).ok())
        };
        Self { peers: at(0).unwrap_or(0), device: at(1).unwrap_or(0) }
    }

    /// Whether they are in each other's way.
    pub(super) fn are_shared(self) -> bool {
        self.peers == self.device
    }
}

/// Our own programs: this one, and those beside it.
pub(super) fn tools() -> std::io::Result<(Tools, PathBuf)> {
    let jeoul = std::env::current_exe()?;
    let directory = jeoul.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok((Tools { jeoul, forwarders: directory.clone() }, directory))
}

/// What is to be built for a turn.
pub(super) fn plan(device: &Device, trial: &Trial, setting: Setting, cpus: Cpus) -> Plan {
    Plan {
        kind: kind(device.kind),
        driver: match device.driver {
            Some(Driver::AfPacket) => device::Driver::AfPacket,
            Some(Driver::AfXdp) | None => device::Driver::AfXdp,
        },
        busy: device.polling == Some(Polling::Busy),
        job: job(trial.job),
        source_nat: translates_sources(device, trial),
        flows: flows(&trial.method, setting),
        ipv6: setting.family == Family::Ipv6,
        cpu: cpus.device,
        control_cpu: cpus.peers,
        bound: BOUND,
    }
}

/// How many flows the device must hold at once.
fn flows(method: &Method, setting: Setting) -> u32 {
    let flows = match method {
        Method::NewFlows { duration, .. } => duration.as_secs().max(1) * NEW_FLOWS_PER_SECOND_MAX,
        Method::ConcurrentConnections(held) => held.connections,
        Method::Ramp { rate_per_s, phases, .. } => flows_of_ramp(*rate_per_s, phases),
        Method::ConnectionRate(search) if search.client == Client::Generator => FLOWS_OF_CONNECTIONS.into(),
        _ => setting.flows.unwrap_or(FLOWS_OF_PEERS.into()),
    };
    u32::try_from(flows).unwrap_or(u32::MAX)
}

/// Connections that a ramp begins.
pub(super) fn connections_of_ramp(rate_per_s: f64, phases: &Phases) -> u64 {
    let at_top_s = (phases.ramp_up + phases.ramp_down).as_secs_f64() / 2.0 + phases.sustain.as_secs_f64();
    // A hundred million a second for some days at the most, far below 2^53.
    (rate_per_s * at_top_s).ceil() as u64
}

/// Flows that they have: one each, as long as no more are remembered.
pub(super) fn flows_of_ramp(rate_per_s: f64, phases: &Phases) -> u64 {
    connections_of_ramp(rate_per_s, phases).clamp(1, FLOWS_OF_CONNECTIONS.into())
}

/// What says how many connections the kernel tracks at the most.
pub(super) const TRACKED_MAX: &str = "net.netfilter.nf_conntrack_max";

/// How many these are; none where it tracks none.
pub(super) fn tracked_max() -> Option<u64> {
    let path = Path::new("/proc/sys").join(TRACKED_MAX.replace('.', "/"));
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn kind(kind: DeviceKind) -> Kind {
    match kind {
        DeviceKind::Jeoul => Kind::Jeoul,
        DeviceKind::BareForwarder => Kind::BareForwarder,
        DeviceKind::Testpmd => Kind::Testpmd,
        DeviceKind::Nftables => Kind::Nftables,
        DeviceKind::Kernel => Kind::Kernel,
        DeviceKind::Haproxy => Kind::Haproxy,
        DeviceKind::NginxStream => Kind::NginxStream,
        DeviceKind::Direct => Kind::Direct,
        DeviceKind::XdpRedirect => Kind::XdpRedirect,
    }
}

fn job(job: Job) -> device::Job {
    match job {
        Job::SlbRouted => device::Job::SlbRouted,
        Job::SlbTransparent => device::Job::SlbTransparent,
        Job::SlbL2Dsr => device::Job::SlbL2Dsr,
        Job::SlbL3Dsr => device::Job::SlbL3Dsr,
        Job::Fwlb => device::Job::Fwlb,
        Job::Routing => device::Job::Routing,
        Job::Switching => device::Job::Switching,
    }
}

/// Whether a device changes both ends of a flow: the appliance does where frames are all that counts, which is the most
/// that it ever does to one. Peers do as little as balances at all. Where connections at once are counted it does not
/// either: ports of a pool would be a bound of their own.
fn translates_sources(device: &Device, trial: &Trial) -> bool {
    device.kind == DeviceKind::Jeoul
        && trial.job == Job::SlbRouted
        && !matches!(trial.method, Method::ConcurrentConnections(_))
        && super::rounds::sends_frames(&trial.method)
}

/// Whether its CPU is busy whatever it does, so that its load says nothing.
pub(super) fn polls(device: &Device) -> bool {
    match device.kind {
        DeviceKind::BareForwarder | DeviceKind::Testpmd => true,
        DeviceKind::Jeoul => device.polling == Some(Polling::Busy),
        _ => false,
    }
}

/// Whether it remembers flows, so that the first packet of each costs more than the others.
pub(super) fn has_sessions(device: &Device, job: Job) -> bool {
    match device.kind {
        DeviceKind::Jeoul => !matches!(job, Job::Routing | Job::Switching),
        DeviceKind::Nftables => true,
        _ => false,
    }
}

/// What is known of a device before it has run: the rest comes from its first turn.
pub(super) fn facts(device: &Device) -> DeviceFacts {
    DeviceFacts {
        name: device.name.clone(),
        is_ours: device.kind == DeviceKind::Jeoul,
        version: version(device.kind),
        ..DeviceFacts::default()
    }
}

fn version(kind: DeviceKind) -> String {
    match kind {
        DeviceKind::Jeoul => concat!("jeoul ", env!("CARGO_PKG_VERSION")).into(),
        DeviceKind::BareForwarder | DeviceKind::XdpRedirect => "benches/forwarders of this version".into(),
        DeviceKind::Direct => "a veth pair".into(),
        DeviceKind::Kernel => environment_kernel(),
        DeviceKind::Nftables => format!("{}, {}", first_line("nft", &["--version"]), environment_kernel()),
        DeviceKind::Haproxy => first_line("haproxy", &["-v"]),
        DeviceKind::NginxStream => first_line("nginx", &["-v"]),
        DeviceKind::Testpmd => match first_line("dpkg-query", &["--show", "dpdk-dev", "dpdk"]) {
            unknown if unknown.is_empty() => "DPDK".into(),
            package => package.replace('\t', " "),
        },
    }
}

fn environment_kernel() -> String {
    format!("Linux {}", super::environment::kernel())
}

/// What a program says first; nothing if it is not there.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(path) = lab::find_program(program) else { return String::new() };
    let Ok(output) = Command::new(path).args(arguments).output() else { return String::new() };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_and_peers_have_a_cpu_each_where_there_are_two() {
        assert_eq!(Cpus::of(&[0, 1]), Cpus { peers: 0, device: 1 });
        assert_eq!(Cpus::of(&[2, 5, 7]), Cpus { peers: 2, device: 5 });
        assert!(Cpus::of(&[3]).are_shared() && Cpus::of(&[]).are_shared());
    }

    #[test]
    fn new_flows_need_room_for_every_packet() {
        let new = Method::NewFlows { duration: Duration::from_secs(2), highest_pps: None };
        let setting = Setting { flows: Some(1_000), ..Setting::default() };
        assert_eq!(flows(&new, setting), 3_000_000);
        let flood = Method::Flood { duration: Duration::from_secs(2), highest_pps: None };
        assert_eq!(flows(&flood, setting), 1_000);
        let seconds = Duration::from_secs;
        let phases = Phases { ramp_up: seconds(2), sustain: seconds(3), ramp_down: seconds(4) };
        let ramp = |rate_per_s| Method::Ramp { rate_per_s, failures_max: 0.0, phases };
        assert_eq!([ramp(1_000.0), ramp(1e6)].map(|ramp| flows(&ramp, setting)), [6_000, 1_000_000]);
    }
}
