//! Reads `[appliance]` and `[timeouts]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::code;
use crate::findings::Findings;
use crate::model::{Appliance, HashKey, Polling, Timeouts, Workers};
use crate::section::{Section, Value};
use crate::source::Position;

/// CPU numbers below this: as many as the kernel's default CPU set holds.
const CPUS_MAX: usize = 1_024;
/// Sessions at the least: below this the table's sets fill up unevenly.
const SESSIONS_MIN: usize = 1_024;
/// Sessions at the most, of either family: 64 million of IPv4 are about 9 GiB.
pub(crate) const SESSIONS_MAX: usize = 64_000_000;
/// Longest path of a Unix socket: `sun_path` less its final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest other path: `PATH_MAX` less its final zero.
const PATH_BYTES_MAX: usize = 4_095;
/// Digits of a hash key: 128 bits.
const HASH_KEY_DIGITS: usize = 32;

/// Shortest idle time: the sweep's own step.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Longest idle time: a week.
const TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

pub(crate) const APPLIANCE_KEYS: &[&str] = &[
    "name",
    "workers",
    "control_cpu",
    "polling",
    "session_capacity",
    "session_capacity_ipv6",
    "persistence_capacity",
    "socket",
    "hash_key",
    "state_directory",
];
pub(crate) const TIMEOUT_KEYS: &[&str] = &["tcp_established", "tcp_transitory", "tcp_closing", "udp", "icmp"];

/// Reads `[appliance]`; without it, all defaults.
pub(crate) fn appliance(top: Section<'_>, findings: &Findings) -> Appliance {
    let section = top.table("appliance", "appliance", APPLIANCE_KEYS);
    let value = |key| section.and_then(|section| section.optional(key));
    let at = |key| section.map_or(Position::default(), |section| section.at(key));

    let capacity = |key| value(key).and_then(|value: Value| value.integer(SESSIONS_MIN..=SESSIONS_MAX));
    let session_capacity = capacity("session_capacity").unwrap_or(1_000_000);
    let path = |key, bytes_max, default: &str| {
        let path = value(key).and_then(|value: Value| value.line(bytes_max, default));
        PathBuf::from(path.unwrap_or_else(|| default.to_owned()))
    };
    let appliance = Appliance {
        name: value("name").and_then(|value| value.name()),
        workers: value("workers").and_then(workers).unwrap_or(Workers::List(vec![1])),
        workers_at: at("workers"),
        control_cpu: value("control_cpu").and_then(|value| value.integer(0..=CPUS_MAX - 1)).unwrap_or(0),
        control_cpu_at: at("control_cpu"),
        polling: value("polling").and_then(|value| value.word()).unwrap_or(Polling::Adaptive),
        session_capacity,
        session_capacity_ipv6: capacity("session_capacity_ipv6")
            .unwrap_or((session_capacity / 10).max(SESSIONS_MIN)),
        persistence_capacity: capacity("persistence_capacity").unwrap_or(65_536),
        socket: path("socket", SOCKET_PATH_BYTES_MAX, "/run/jeoul/control.sock"),
        hash_key: value("hash_key").and_then(hash_key),
        state_directory: path("state_directory", PATH_BYTES_MAX, "/var/lib/jeoul"),
    };
    if let Workers::List(cpus) = &appliance.workers
        && cpus.contains(&appliance.control_cpu)
    {
        let message = format!("CPU {} has a worker and the control thread", appliance.control_cpu);
        findings.warning(
            code::SHARED_CPU,
            appliance.workers_at,
            message,
            "give the control thread a CPU of its own",
        );
    }
    appliance
}

fn workers(value: Value<'_>) -> Option<Workers> {
    match value.as_text() {
        Some("auto") => Some(Workers::Auto),
        Some(text) => {
            value.refuse_word(text, &["auto"]);
            None
        }
        None if !value.is_list() => {
            value.wrong_type("a list of CPU numbers or \"auto\"", "for example `workers = [1, 2]`");
            None
        }
        None => value.distinct(CPUS_MAX, "[1, 2]", |cpu| cpu.integer(0..=CPUS_MAX - 1)).map(Workers::List),
    }
}

/// Says nothing of what it read, only how much.
fn hash_key(value: Value<'_>) -> Option<HashKey> {
    let text = value.text("\"...\"")?;
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let Some(digits) = digits.filter(|digits| digits.len() == HASH_KEY_DIGITS) else {
        let message = format!("`hash_key` is not {HASH_KEY_DIGITS} hexadecimal digits");
        let digits = text.chars().filter(char::is_ascii_hexdigit).count();
        let others = text.chars().count() - digits;
        let help = format!(
            "this has {digits} such digits and {others} other characters; `openssl rand -hex 16` makes a key"
        );
        value.error(code::MALFORMED, message, help);
        return None;
    };
    let mut key = [0; 16];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(HashKey(key))
}

/// Reads `[timeouts]`; without it, all defaults.
pub(crate) fn timeouts(top: Section<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    if let Some(section) = top.table("timeouts", "timeouts", TIMEOUT_KEYS) {
        for (key, timeout) in [
            ("tcp_established", &mut timeouts.tcp_established),
            ("tcp_transitory", &mut timeouts.tcp_transitory),
            ("tcp_closing", &mut timeouts.tcp_closing),
            ("udp", &mut timeouts.udp),
            ("icmp", &mut timeouts.icmp),
        ] {
            let value = section.optional(key).and_then(|value| value.duration(TIMEOUT_MIN..=TIMEOUT_MAX));
            *timeout = value.unwrap_or(*timeout);
        }
    }
    timeouts
}
