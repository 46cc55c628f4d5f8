//! What a configuration and the machine say of each other: interfaces, addresses, routes, CPUs.
//!
//! Pure: `jeoul check` and the start of `jeoul run` ask the same questions of what the kernel has told, and
//! every finding points into the file. Any thread.

use std::net::IpAddr;

use config::{Config, Diagnostic, Position, Workers};
use control::facts::{Facts, Interface, InterfaceIndex, Prefix, Resolution, RouteKind};

/// How grave a missing interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// A warning: the file may be meant for another machine, or for later.
    Check,
    /// An error: nothing can start without its ports.
    Run,
}

/// A port's interface does not exist.
const INTERFACE_MISSING: &str = "E0501";
/// A port's interface is no Ethernet interface.
const NOT_ETHERNET: &str = "E0502";
/// The kernel holds an address that the appliance claims.
const ADDRESS_HELD: &str = "E0503";
/// A CPU that does not exist, or that this process may not use.
const NO_SUCH_CPU: &str = "E0504";
/// As [`INTERFACE_MISSING`], where the file is only looked at.
const INTERFACE_ABSENT: &str = "W0501";
/// Two ports have one MAC address.
const SHARED_MAC: &str = "W0502";
/// A port's interface is down.
const INTERFACE_DOWN: &str = "W0503";
/// An announced address lies outside the networks of all ports.
const OFF_LINK: &str = "W0504";
/// No route, or none through a port, leads to a server.
const UNREACHABLE_SERVER: &str = "W0505";
/// A port has an interface without any address.
const NO_ADDRESS: &str = "W0506";

/// What is wrong with `config` on a machine of which the kernel says `facts`.
pub(crate) fn check(config: &Config, facts: &Facts, strictness: Strictness) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let ports = ports(config, facts, strictness, &mut findings);
    claimed_addresses(config, facts, &mut findings);
    // Without one of its interfaces this machine's networks and routes say nothing about the appliance's.
    if let Some(ports) = ports {
        networks(config, facts, &ports, &mut findings);
        servers(config, facts, &ports, &mut findings);
    }
    findings
}

/// What is wrong with the CPU numbers of `config` where only `available` may be used.
pub(crate) fn check_cpus(config: &Config, available: &[usize]) -> Vec<Diagnostic> {
    let appliance = &config.appliance;
    let listed = available.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let missing = |cpu: usize, at: Position| {
        let message = format!("CPU {cpu} does not exist, or this process may not use it");
        config.source.error(NO_SUCH_CPU, at, message).with_help(format!("there are: {listed}"))
    };
    let mut findings = Vec::new();
    if !available.contains(&appliance.control_cpu) {
        findings.push(missing(appliance.control_cpu, appliance.control_cpu_at));
    }
    match &appliance.workers {
        Workers::List(cpus) => {
            let absent = cpus.iter().filter(|cpu| !available.contains(cpu));
            findings.extend(absent.map(|cpu| missing(*cpu, appliance.workers_at)));
        }
        Workers::Auto if available.iter().all(|cpu| *cpu == appliance.control_cpu) => {
            let message = "`auto` leaves no CPU for a worker beside the control CPU";
            let finding = config.source.error(NO_SUCH_CPU, appliance.workers_at, message);
            findings
                .push(finding.with_help(format!("let them share it: workers = [{}]", appliance.control_cpu)));
        }
        Workers::Auto => {}
    }
    findings
}

/// The interfaces of all ports, unless one is missing.
fn ports<'a>(
    config: &Config,
    facts: &'a Facts,
    strictness: Strictness,
    findings: &mut Vec<Diagnostic>,
) -> Option<Vec<&'a Interface>> {
    let mut found: Vec<&Interface> = Vec::new();
    for port in &config.ports {
        let Some(interface) = facts.interface_named(&port.interface) else {
            findings.push(missing_interface(config, facts, port, strictness));
            continue;
        };
        let name = &port.interface;
        if interface.mac == [0; 6] {
            let message = format!("interface {name} has no Ethernet address");
            findings.push(config.source.error(NOT_ETHERNET, port.interface_at, message));
        }
        if !interface.up {
            let message = format!("interface {name} is down");
            let finding = config.source.warning(INTERFACE_DOWN, port.interface_at, message);
            findings.push(finding.with_help(format!("ip link set {name} up")));
        }
        if !facts.addresses.iter().any(|held| held.interface == interface.index && is_global(held.address)) {
            let message =
                format!("interface {name} has no address: nobody can use the appliance as a gateway there");
            let finding = config.source.warning(NO_ADDRESS, port.interface_at, message);
            findings.push(finding.with_help(format!("ip addr add ADDRESS/LENGTH dev {name}")));
        }
        if let Some(twin) = found.iter().find(|other| other.mac == interface.mac && other.mac != [0; 6]) {
            let message = format!("interfaces {} and {name} have one MAC address", twin.name);
            let finding = config.source.warning(SHARED_MAC, port.interface_at, message);
            findings.push(
                finding.with_help("a switch that both are on would send each other's frames to either"),
            );
        }
        found.push(interface);
    }
    (found.len() == config.ports.len()).then_some(found)
}

fn missing_interface(
    config: &Config,
    facts: &Facts,
    port: &config::Port,
    strictness: Strictness,
) -> Diagnostic {
    let message = format!("interface {} does not exist here", port.interface);
    let finding = match strictness {
        Strictness::Check => config.source.warning(INTERFACE_ABSENT, port.interface_at, message),
        Strictness::Run => config.source.error(INTERFACE_MISSING, port.interface_at, message),
    };
    let ethernet = facts.interfaces.values().filter(|interface| interface.mac != [0; 6]);
    let names = ethernet.map(|interface| interface.name.as_str()).collect::<Vec<_>>().join(", ");
    match names.is_empty() {
        true => finding,
        false => finding.with_help(format!("there are: {names}")),
    }
}

/// Every address that the appliance answers for: what it is called, where it stands, whether it is announced.
/// A VIP that several services have comes once.
fn claimed(config: &Config) -> Vec<(IpAddr, &'static str, Position, bool)> {
    let mut claimed: Vec<(IpAddr, &'static str, Position, bool)> = Vec::new();
    for service in &config.services {
        let vip = (service.address, "the VIP", service.address_at, service.announce);
        let pool = service.source_addresses.iter();
        let pool =
            pool.map(|address| (*address, "the pool address", service.source_addresses_at, service.announce));
        for one in std::iter::once(vip).chain(pool) {
            if !claimed.iter().any(|other| other.0 == one.0) {
                claimed.push(one);
            }
        }
    }
    claimed
}

fn claimed_addresses(config: &Config, facts: &Facts, findings: &mut Vec<Diagnostic>) {
    for (address, role, at, _) in claimed(config) {
        let Some(held) = facts.addresses.iter().find(|held| held.address == address) else { continue };
        let interface = name_of(facts, held.interface);
        let message = format!("{role} {address} is an address of the kernel, on {interface}");
        let help = format!(
            "the appliance answers for it alone: ip addr del {address}/{} dev {interface}",
            held.prefix_length
        );
        findings.push(config.source.error(ADDRESS_HELD, at, message).with_help(help));
    }
}

fn networks(config: &Config, facts: &Facts, ports: &[&Interface], findings: &mut Vec<Diagnostic>) {
    let on_ports = |address: IpAddr| {
        let own = facts.addresses.iter();
        own.filter(|held| ports.iter().any(|port| port.index == held.interface))
            .any(|held| Prefix::new(held.address, held.prefix_length).contains(address))
    };
    for (address, role, at, announced) in claimed(config) {
        if announced && !on_ports(address) {
            let message =
                format!("{role} {address} lies outside the networks of all ports, so nobody asks for it");
            let finding = config.source.warning(OFF_LINK, at, message);
            findings.push(finding.with_help("if it is routed to this appliance, say `announce = false`"));
        }
    }
}

fn servers(config: &Config, facts: &Facts, ports: &[&Interface], findings: &mut Vec<Diagnostic>) {
    let mut known: Vec<IpAddr> = Vec::new();
    for server in config.services.iter().flat_map(|service| &service.servers) {
        let address = server.address;
        if known.contains(&address) {
            continue;
        }
        known.push(address);
        let Some(why) = unreachable(facts, ports, address) else { continue };
        findings.push(config.source.warning(
            UNREACHABLE_SERVER,
            server.at,
            format!("server {address} {why}"),
        ));
    }
}

/// Why no frame of the appliance reaches `address`, unless one does.
fn unreachable(facts: &Facts, ports: &[&Interface], address: IpAddr) -> Option<String> {
    match facts.resolve(address) {
        Resolution::Forward(hops) => {
            let by_port = hops.iter().any(|hop| ports.iter().any(|port| port.index == hop.interface));
            let first = hops.first().map_or_else(String::new, |hop| name_of(facts, hop.interface));
            (!by_port).then(|| format!("is reached through {first}, which is no port of the appliance"))
        }
        Resolution::Stop(RouteKind::Local) => {
            Some("is this machine itself; the appliance serves others".into())
        }
        Resolution::Stop(RouteKind::Broadcast) => Some("is a broadcast address here".into()),
        Resolution::Stop(kind) => Some(format!("is closed off by a route of the kind {}", kind_word(kind))),
        Resolution::Severed => Some("has a route, but all its ways out are down".into()),
        Resolution::NoRoute => Some("has no route from here".into()),
    }
}

fn kind_word(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Unicast => "unicast",
        RouteKind::Blackhole => "blackhole",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Prohibit => "prohibit",
        RouteKind::Local => "local",
        RouteKind::Broadcast => "broadcast",
    }
}

fn name_of(facts: &Facts, index: InterfaceIndex) -> String {
    facts
        .interfaces
        .get(&index)
        .map_or_else(|| format!("interface {index}"), |interface| interface.name.clone())
}

/// Link-local IPv6 addresses come by themselves and serve no client.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
