//! Reads how a `[[service]]` chooses among its servers, and what it does as they fail and return.

use std::net::IpAddr;
use std::time::Duration;

use crate::code;
use crate::findings::Findings;
use crate::model::{
    HashField, HashFields, HealthCheck, Network, OnDown, Passive, Persistence, PersistenceKey, Probe,
    Protocol, Scheduler, Service,
};
use crate::section::{Section, Value};
use crate::service::SERVERS_MAX;

/// Fields that can be hashed.
const HASH_FIELDS_MAX: usize = 5;
/// Shortest time that a client's server is remembered: the step that the clock of sessions has.
const PERSISTENCE_MIN: Duration = Duration::from_secs(1);
/// Longest: a week, as of sessions.
const PERSISTENCE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Shortest way back to a whole share.
const SLOW_START_MIN: Duration = Duration::from_secs(1);
/// Longest.
const SLOW_START_MAX: Duration = Duration::from_secs(3600);
/// Failures on live traffic at the most.
const FAILURES_MAX: u32 = 10_000;
/// Shortest window in which they count.
const WINDOW_MIN: Duration = Duration::from_millis(100);
/// Longest.
const WINDOW_MAX: Duration = Duration::from_secs(3600);

/// Stands for a scheduler that could not be read. Nothing is held against it.
const NO_SCHEDULER: Scheduler = Scheduler::WeightedRoundRobin;

pub(crate) const PERSISTENCE_KEYS: &[&str] = &["key", "prefix_length", "timeout"];
pub(crate) const PASSIVE_KEYS: &[&str] = &["failures", "window"];

/// What was read, with every default filled in.
pub(crate) struct Choice {
    pub(crate) scheduler: Scheduler,
    pub(crate) hash_fields: HashFields,
    pub(crate) persistence: Option<Persistence>,
    pub(crate) slow_start: Option<Duration>,
    pub(crate) quorum: u32,
    pub(crate) on_down: OnDown,
    pub(crate) passive: Option<Passive>,
}

/// Reads the keys; `address` is the VIP, or unspecified where it could not be read.
pub(crate) fn read(section: Section<'_>, address: IpAddr) -> Choice {
    let value = |key| section.optional(key);
    let scheduler = value("scheduler").map_or(Some(Scheduler::RoundRobin), |value| value.word());
    if let Some(scheduler) = scheduler.filter(|scheduler| *scheduler != Scheduler::Hash) {
        let why = format!("means nothing to the scheduler \"{scheduler}\"");
        section.meaningless("hash_fields", &why, "add `scheduler = \"hash\"`");
    }
    Choice {
        scheduler: scheduler.unwrap_or(NO_SCHEDULER),
        hash_fields: value("hash_fields").and_then(hash_fields).unwrap_or_default(),
        persistence: persistence(section, address),
        slow_start: value("slow_start").and_then(|value| value.duration(SLOW_START_MIN..=SLOW_START_MAX)),
        quorum: value("quorum").and_then(|value| value.integer(1..=SERVERS_MAX as u32)).unwrap_or(1),
        on_down: value("on_down").and_then(|value| value.word()).unwrap_or(OnDown::Reset),
        passive: passive(section),
    }
}

fn hash_fields(value: Value<'_>) -> Option<HashFields> {
    let fields = value.distinct(HASH_FIELDS_MAX, "[\"source-address\"]", |item| item.word::<HashField>())?;
    Some(HashFields {
        source_address: fields.contains(&HashField::SourceAddress),
        destination_address: fields.contains(&HashField::DestinationAddress),
        source_port: fields.contains(&HashField::SourcePort),
        destination_port: fields.contains(&HashField::DestinationPort),
        source_mac: fields.contains(&HashField::SourceMac),
    })
}

fn persistence(section: Section<'_>, address: IpAddr) -> Option<Persistence> {
    const EXAMPLE: &str = "{ key = \"source-address\", timeout = \"5m\" }";
    let table = section.inline_table("persistence", "service.persistence", PERSISTENCE_KEYS, EXAMPLE)?;
    // The only key that there is; what is read of it is whether it is that one.
    let _: Option<PersistenceKey> = table.optional("key").and_then(|value| value.word());
    let bits = Network::address_bits(address);
    let bits_max = if address.is_unspecified() { 128 } else { bits };
    let prefix_length = table.optional("prefix_length").and_then(|value| value.integer(1..=bits_max));
    let timeout = table.required("timeout", "\"5m\"");
    let timeout = timeout.and_then(|value| value.duration(PERSISTENCE_MIN..=PERSISTENCE_MAX))?;
    Some(Persistence { prefix_length: prefix_length.unwrap_or(bits), timeout })
}

fn passive(section: Section<'_>) -> Option<Passive> {
    const EXAMPLE: &str = "{ failures = 5, window = \"10s\" }";
    let table = section.inline_table("passive", "service.passive", PASSIVE_KEYS, EXAMPLE)?;
    let failures = table.required("failures", "5").and_then(|value| value.integer(1..=FAILURES_MAX));
    let window =
        table.required("window", "\"10s\"").and_then(|value| value.duration(WINDOW_MIN..=WINDOW_MAX));
    Some(Passive { failures: failures?, window: window? })
}

/// How the choice fits the rest of its service.
pub(crate) fn examine(section: Section<'_>, service: &Service, checks: &[HealthCheck], findings: &Findings) {
    examine_scheduler(section, service, checks, findings);
    examine_persistence(section, service, findings);
    examine_passive(section, service);
    // Backups do not count towards it, unless there is nobody else.
    let first = service.servers.iter().filter(|server| !server.is_backup).count();
    let (servers, which) = match first {
        0 => (service.servers.len(), "servers"),
        _ if first < service.servers.len() => (first, "servers that are no backups"),
        _ => (first, "servers"),
    };
    if service.quorum as usize > servers.max(1) {
        let message = format!("`quorum` is {}, more than the number of {which}, {servers}", service.quorum);
        section.contradiction("quorum", &message, "write a number up to that, or add servers");
    }
    if let Some(server) = service.servers.first().filter(|_| service.servers.iter().all(|one| one.is_backup))
    {
        // It works, and is what is left of a service whose other servers were taken out; hence no error.
        let message = "every server of the service is a backup: all of them serve".to_owned();
        let help = "remove `backup` from those that are meant to serve first";
        findings.warning(code::ONLY_BACKUPS, server.at, message, help);
    }
}

/// Whether the scheduler sees what it decides by.
fn examine_scheduler(section: Section<'_>, service: &Service, checks: &[HealthCheck], findings: &Findings) {
    let scheduler = service.scheduler;
    let weighted = match scheduler {
        Scheduler::RoundRobin => Some(Scheduler::WeightedRoundRobin),
        Scheduler::LeastConnections => Some(Scheduler::WeightedLeastConnections),
        _ => None,
    };
    let weighs = service.servers.iter().find(|server| server.weight > 1);
    if let Some((weighted, server)) = weighted.zip(weighs) {
        let message = format!("the scheduler \"{scheduler}\" ignores weights other than 0");
        let help = format!("write `scheduler = \"{weighted}\"` to honour them");
        findings.warning(code::WEIGHT_IGNORED, server.weight_at, message, help);
    }
    let unseen = match service.mode.is_dsr() {
        true => format!("in mode \"{}\", where no reply passes", service.mode),
        false => "for UDP, which has no handshake".to_owned(),
    };
    if scheduler == Scheduler::ResponseTime && (service.mode.is_dsr() || service.protocol == Protocol::Udp) {
        let check = service.health_check.map(|index| &checks[index].probe);
        let message = match check {
            Some(Probe::Udp(request)) if request.expect_reply.is_none() => {
                format!("the scheduler \"{scheduler}\" {unseen}, with a health check that waits for no reply")
            }
            None if section.optional("health_check").is_none() => {
                format!("the scheduler \"{scheduler}\" {unseen}, without a health check to measure by")
            }
            _ => return,
        };
        let help = "add a `health_check` that is answered, or choose another scheduler";
        section.contradiction("scheduler", &message, help);
    }
    if scheduler == Scheduler::Bandwidth && service.mode.is_dsr() {
        let message =
            format!("the scheduler \"{scheduler}\" {unseen}: it counts the bytes of requests alone");
        let help = "choose \"weighted-least-connections\", if the replies are what weighs";
        findings.warning(code::REQUESTS_COUNTED_ALONE, section.at("scheduler"), message, help);
    }
}

/// Whether stickiness keeps together what would not stay together without it.
fn examine_persistence(section: Section<'_>, service: &Service, findings: &Findings) {
    let Some(persistence) = service.persistence else { return };
    let HashFields { source_address, source_port, destination_port, source_mac, destination_address: _ } =
        service.hash_fields;
    // Nothing that differs between two sessions of one client at one service is hashed.
    let by_client_alone = source_address
        && !source_port
        && !source_mac
        && (!destination_port || service.ports.single().is_some());
    let whole = persistence.prefix_length == Network::address_bits(service.address);
    if service.scheduler == Scheduler::Hash && by_client_alone && whole {
        let message =
            "the scheduler \"hash\" sends all sessions of a client to one server already".to_owned();
        let help = "remove `persistence`, or choose a shorter `prefix_length` or another scheduler";
        findings.warning(code::PERSISTENCE_IDLE, section.at("persistence"), message, help);
    }
}

/// Whether there is something to watch, and a way back up.
fn examine_passive(section: Section<'_>, service: &Service) {
    if service.mode.is_dsr() {
        let why = format!("in mode \"{}\": no reply passes, so that no failure is seen", service.mode);
        section.meaningless("passive", &why, "use `mode = \"routed\"`");
    } else if service.protocol == Protocol::Udp {
        let why = "of a service of UDP alone: it watches TCP handshakes";
        section.meaningless("passive", why, "use a check of kind \"udp\" that expects a reply");
    } else if section.optional("passive").is_some() && section.optional("health_check").is_none() {
        let message = "`passive` without a health check: nothing would bring a server back that it took down";
        section.contradiction("passive", message, "add `health_check`, or remove `passive`");
    }
}
