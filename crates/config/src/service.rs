//! Reads `[[service]]` and its `[[service.server]]`.

use std::net::{IpAddr, Ipv4Addr};

use crate::code;
use crate::findings::Findings;
use crate::model::{
    DirectAccess, HealthCheck, Mode, MssClamp, PortSet, Protocol, ReturnPath, Server, Service, SourceNat,
};
use crate::section::{Section, Value};
use crate::{choice, way};

/// Services at the most.
const SERVICES_MAX: usize = 4_096;
/// Servers of all services together at the most: a member's number is 16 bits wide, and one of them means
/// none.
pub(crate) const SERVERS_MAX: usize = 65_535;
/// Largest weight.
pub(crate) const WEIGHT_MAX: u32 = 65_535;
/// Addresses of one pool at the most: four million ports towards each server.
pub(crate) const SOURCE_ADDRESSES_MAX: usize = 64;
/// Lowest MSS that can be clamped to: what every IPv4 host takes (RFC 9293, 3.7.1).
const MSS_MIN: u16 = 536;
/// Highest: about what a jumbo frame holds.
const MSS_MAX: u16 = 9_000;
/// Highest DSCP: six bits (RFC 2474, 3). 0 is what unmarked packets have.
const DSCP_MAX: u8 = 63;
/// Bound of a server's sessions at the most: the table holds no more.
pub(crate) const MAX_SESSIONS_MAX: u32 = crate::appliance::SESSIONS_MAX as u32;

/// Stands for an address that could not be read. No address of the file can be equal to it.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Stands for ports that could not be read. No other port set overlaps with it.
const NO_PORT: PortSet = PortSet::One(0);

pub(crate) const SERVICE_KEYS: &[&str] = &[
    "name",
    "address",
    "protocol",
    "port",
    "mode",
    "encapsulation",
    "encapsulation_source",
    "gue_port",
    "source_nat",
    "source_addresses",
    "return_path",
    "direct_access",
    "mss_clamp",
    "announce",
    "scheduler",
    "hash_fields",
    "persistence",
    "slow_start",
    "quorum",
    "on_down",
    "passive",
    "health_check",
    "server",
];
pub(crate) const SERVER_KEYS: &[&str] = &["address", "port", "weight", "max_sessions", "backup", "dscp"];

/// Reads every `[[service]]`.
pub(crate) fn services(top: Section<'_>, checks: &[HealthCheck], findings: &Findings) -> Vec<Service> {
    let mut servers_left = SERVERS_MAX;
    let mut services = Vec::new();
    for section in top.tables("service", "service", SERVICE_KEYS, SERVICES_MAX) {
        let service = service(section, checks, servers_left, findings);
        servers_left -= service.servers.len();
        services.push(service);
    }
    services
}

fn service(
    section: Section<'_>,
    checks: &[HealthCheck],
    servers_left: usize,
    findings: &Findings,
) -> Service {
    let mode = section.required("mode", "\"routed\"").and_then(|value| value.word());
    let way = way::read(section, mode);
    let name = section.required("name", "\"web\"").and_then(|value| value.name()).unwrap_or_default();
    let address = section
        .required("address", "\"198.18.0.10\"")
        .and_then(|value| value.address())
        .unwrap_or(NO_ADDRESS);
    let choice = choice::read(section, address);
    let service = Service {
        name,
        address,
        protocol: section.optional("protocol").and_then(|value| value.word()).unwrap_or(Protocol::Tcp),
        ports: section.optional("port").map_or(PortSet::One(80), |value| port_set(value).unwrap_or(NO_PORT)),
        mode: mode.unwrap_or(Mode::Routed),
        encapsulation: way.encapsulation,
        encapsulation_source: way.encapsulation_source,
        gue_port: way.gue_port,
        source_nat: way.source_nat,
        source_addresses: way.source_addresses,
        return_path: way.return_path,
        direct_access: section
            .optional("direct_access")
            .and_then(|value| value.word())
            .unwrap_or(DirectAccess::Allow),
        mss_clamp: section.optional("mss_clamp").and_then(mss_clamp).unwrap_or(MssClamp::Auto),
        announce: section.optional("announce").and_then(|value| value.boolean()).unwrap_or(true),
        scheduler: choice.scheduler,
        hash_fields: choice.hash_fields,
        persistence: choice.persistence,
        slow_start: choice.slow_start,
        quorum: choice.quorum,
        on_down: choice.on_down,
        passive: choice.passive,
        health_check: section.optional("health_check").and_then(|value| reference(value, checks)),
        servers: section
            .tables("server", "service.server", SERVER_KEYS, servers_left)
            .into_iter()
            .map(|section| server(section, way.marks))
            .collect(),
        at: section.at("name"),
        address_at: section.at("address"),
        mode_at: section.at("mode"),
        encapsulation_at: section.at("encapsulation"),
        encapsulation_source_at: section.at("encapsulation_source"),
        source_nat_at: section.at("source_nat"),
        source_addresses_at: section.at("source_addresses"),
        health_check_at: section.at("health_check"),
    };
    if service.source_nat == SourceNat::Always && service.return_path != ReturnPath::Bypass {
        let seen = match service.source_addresses[..] {
            [] => service.address.to_string(),
            [only] => only.to_string(),
            [..] => "an address of the pool".to_owned(),
        };
        let message = format!("source NAT hides all clients: servers see {seen} instead");
        let help = "\"auto\" translates only where replies would bypass the appliance; `return_path = \"bypass\"` says that all would";
        findings.warning(code::CLIENTS_HIDDEN, service.source_nat_at, message, help);
    }
    examine_servers(&service, findings);
    choice::examine(section, &service, checks, findings);
    service
}

/// "auto", "never" or a number of bytes.
fn mss_clamp(value: Value<'_>) -> Option<MssClamp> {
    match value.as_text() {
        Some("auto") => Some(MssClamp::Auto),
        Some("never") => Some(MssClamp::Never),
        Some(text) => {
            match text.parse::<u32>() {
                Ok(bytes) => {
                    let message = format!("`mss_clamp` is a string of digits: {text:?}");
                    value.error(code::MALFORMED, message, format!("write {bytes}, without quotes"));
                }
                Err(_) => value.refuse_word(text, &["auto", "never"]),
            }
            None
        }
        None if value.is_integer() => value.integer(MSS_MIN..=MSS_MAX).map(MssClamp::Bytes),
        None => {
            let help = format!("write \"auto\", \"never\", or bytes from {MSS_MIN} to {MSS_MAX}");
            value.wrong_type("a word or a number of bytes", help);
            None
        }
    }
}

/// 80, "8000-8099" or "any".
fn port_set(value: Value<'_>) -> Option<PortSet> {
    const FORM: &str = "write 80, \"8000-8099\" or \"any\"";
    if value.is_integer() {
        return value.integer(1..=u16::MAX).map(PortSet::One);
    }
    let Some(text) = value.as_text() else {
        value.wrong_type("a port or a range of ports", FORM);
        return None;
    };
    if text == "any" {
        return Some(PortSet::Any);
    }
    let malformed = |help: &str| {
        value.error(code::MALFORMED, format!("{text:?} is neither a port nor a range of ports"), help);
        None
    };
    let port = |digits: &str| digits.parse().ok().filter(|port: &u16| *port != 0 && !digits.starts_with('+'));
    let Some((first, last)) = text.split_once('-') else {
        return match port(text) {
            Some(number) => malformed(&format!("write {number}, without quotes")),
            None => malformed(FORM),
        };
    };
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first < last => Some(PortSet::Range { first, last }),
        (Some(first), Some(last)) if first == last => Some(PortSet::One(first)),
        (Some(first), Some(last)) => malformed(&format!("the lower port comes first: \"{last}-{first}\"")),
        _ => malformed(FORM),
    }
}

pub(crate) fn reference(value: Value<'_>, checks: &[HealthCheck]) -> Option<usize> {
    let name = value.text("\"web-tcp\"")?;
    let index = checks.iter().position(|check| check.name == name && !name.is_empty());
    if index.is_none() {
        let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        let help = match crate::nearest::nearest(name, &names) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("add a `[[health_check]]` with `name = {name:?}`"),
        };
        value.error(code::UNKNOWN_REFERENCE, format!("no health check has the name {name:?}"), help);
    }
    index
}

/// `marks`: whether the service's requests carry a DSCP, as far as that could be read.
fn server(section: Section<'_>, marks: Option<bool>) -> Server {
    let dscp = match marks {
        Some(true) => section.required("dscp", "1"),
        Some(false) | None => section.optional("dscp"),
    };
    if let Some(value) = dscp.filter(|_| marks == Some(false)) {
        let message = "`dscp` of a server whose requests are not marked".to_owned();
        let help = "remove it, or use `mode = \"l3-dsr\"` with `encapsulation = \"dscp\"`";
        value.error(code::MEANINGLESS_KEY, message, help);
    }
    Server {
        address: section
            .required("address", "\"198.18.1.11\"")
            .and_then(|value| value.address())
            .unwrap_or(NO_ADDRESS),
        port: section.optional("port").and_then(|value| value.integer(1..=u16::MAX)),
        weight: section.optional("weight").and_then(|value| value.integer(0..=WEIGHT_MAX)).unwrap_or(1),
        max_sessions: section.optional("max_sessions").and_then(|value| value.integer(1..=MAX_SESSIONS_MAX)),
        is_backup: section.optional("backup").and_then(|value| value.boolean()).unwrap_or(false),
        dscp: dscp.and_then(|value| value.integer(1..=DSCP_MAX)),
        at: section.at("address"),
        port_at: section.at("port"),
        weight_at: section.at("weight"),
        dscp_at: section.at("dscp"),
    }
}

/// Whether `server` is called on another port than the client `called`.
fn changes(server: &Server, called: u16) -> bool {
    server.port.is_some_and(|port| port != called)
}

/// How servers fit their service.
fn examine_servers(service: &Service, findings: &Findings) {
    let address = service.address;
    for server in service.servers.iter().filter(|server| !server.address.is_unspecified()) {
        if !address.is_unspecified() && server.address.is_ipv4() != address.is_ipv4() {
            let message =
                format!("server {} is not of the address family of its VIP {address}", server.address);
            let help = "make one service for IPv4 and one for IPv6";
            findings.error(code::MIXED_FAMILIES, server.at, message, help);
        }
    }
    for server in
        service.servers.iter().filter(|server| server.port.is_some() && service.ports.single().is_none())
    {
        let message = format!("a server port in a service of several ports ({})", service.ports);
        let help = "remove it: such a service keeps the port that the client called";
        findings.error(code::MEANINGLESS_KEY, server.port_at, message, help);
    }
    let called = service.ports.single().filter(|called| service.mode.is_dsr() && *called != 0);
    for server in service.servers.iter().filter(|server| called.is_some_and(|called| changes(server, called)))
    {
        let message =
            format!("mode {:?} changes no port: servers get what clients call", service.mode.to_string());
        let help = format!("remove it, and let the server listen on {}", service.ports);
        findings.error(code::CONTRADICTION, server.port_at, message, help);
    }
    if service.servers.is_empty() {
        let message = "a service without a server: every client is refused".to_owned();
        findings.warning(code::NO_SERVERS, service.at, message, "add a `[[service.server]]` below it");
    }
}
