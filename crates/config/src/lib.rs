//! The configuration file as types; every refusal names file, line and column.
//!
//! [`parse`] turns a text into a [`Config`] or into [`Diagnostic`]s, all of them in one pass: syntax errors,
//! unknown keys with the nearest known one, values, then what things say of each other. It is pure; only
//! [`Config::load`] reads, and only the file. Any thread may call it; the control thread does.
//!
//! It refuses what it does not know, and what it knows but this version does not do: a value that parses has
//! an effect. What only the machine can tell (does the interface exist, does the kernel hold the VIP) is not
//! asked here; such checks point into the text through the [`Position`]s of the model and [`Source::error`].
//! No finding ever shows the hash key. How a misspelt word is answered ([`nearest()`]) serves other files too.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use findings::Findings;
use section::Section;
use toml::de::DeTable;

mod address;
mod appliance;
mod choice;
pub mod code;
mod diagnostic;
mod duration;
mod findings;
mod firewall;
mod health_check;
mod later;
mod model;
mod nearest;
mod outbound;
mod port;
mod probe;
mod relations;
mod responder;
mod section;
mod service;
mod source;
mod way;

pub use diagnostic::{Diagnostic, Severity};
pub use model::{
    Appliance, Bridge, CheckKind, Config, DirectAccess, Driver, Encapsulation, Firewall, FirewallGroup,
    FirewallHash, HashFields, HashKey, HealthCheck, HostAddress, HttpRequest, Mode, MssClamp, Network,
    OnDown, OnFailure, OnRecovery, Outbound, POOL_PORT_FIRST, Passive, Persistence, Polling, Port, PortSet,
    Probe, ProbeResponder, Protocol, ReturnPath, SOURCE_NAT_DEFAULT, Scheduler, Server, Service, SourceNat,
    StatusRange, Timeouts, TlsRequest, UdpRequest, Workers,
};
pub use nearest::nearest;
pub use source::{Position, Source};

/// Longest file that [`Config::load`] reads. All limits at once (4096 services, 65 535 servers) fit in half
/// of it.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest line. The places of findings are counted from the start of their line, and a person has to find
/// them.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// What came of reading a file.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The configuration, unless there is an error.
    pub config: Option<Config>,
    /// Errors and warnings in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Keys at the top of a file.
const TOP_KEYS: &[&str] = &[
    "appliance",
    "timeouts",
    "port",
    "bridge",
    "service",
    "outbound",
    "firewall_group",
    "probe_responder",
    "health_check",
];

/// Reads `text`; `file_name` only appears in the findings.
pub fn parse(text: &str, file_name: &str) -> Outcome {
    if let Some(index) = text.lines().position(|line| line.len() > LINE_BYTES_MAX) {
        return refusal(file_name, format!("line {} is longer than {LINE_BYTES_MAX} bytes", index + 1));
    }
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let table = document.get_ref();
    let hash_key = table.get("appliance").and_then(|appliance| appliance.get_ref().get("hash_key"));
    let secrets: Vec<_> = hash_key.map(|value| value.span()).into_iter().collect();
    let findings = Findings::new(Source::new(file_name, text, &secrets));
    for error in syntax_errors {
        let at = findings.source().position(error.span().unwrap_or_default());
        findings.syntax_error(at, error.message());
    }
    let config = read(Section::top(table, TOP_KEYS, &findings), &findings);
    relations::examine(&config, &findings);
    let diagnostics = findings.into_sorted();
    let valid = !diagnostics.iter().any(Diagnostic::is_error);
    Outcome { config: valid.then_some(config), diagnostics }
}

fn read(top: Section<'_>, findings: &Findings) -> Config {
    let mut zones = firewall::Zones::new();
    let mut ports = port::ports(top, &mut zones, findings);
    let bridges = port::bridges(top, &ports, &mut zones);
    firewall::zones_of_members(&mut ports, &bridges, findings);
    let health_checks = health_check::health_checks(top, findings);
    let firewall_groups = firewall::groups(top, &ports, &zones, &health_checks, findings);
    Config {
        appliance: appliance::appliance(top, findings),
        timeouts: appliance::timeouts(top),
        bridges,
        ports,
        services: service::services(top, &health_checks, findings),
        outbounds: outbound::outbounds(top),
        probe_responders: responder::responders(top, &firewall_groups, findings),
        zones: zones.into_names(),
        firewall_groups,
        health_checks,
        source: findings.source().clone(),
    }
}

impl Config {
    /// Reads the file at `path`, which holds at most [`FILE_BYTES_MAX`].
    pub fn load(path: &Path) -> Outcome {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return refusal(&name, format!("cannot read the file: {error}"));
        }
        if bytes.len() > FILE_BYTES_MAX {
            return refusal(&name, format!("the file is longer than {FILE_BYTES_MAX} bytes"));
        }
        match String::from_utf8(bytes) {
            Ok(text) => parse(&text, &name),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
                refusal(&name, format!("line {line} is not UTF-8"))
            }
        }
    }
}

/// The only finding about a text that is not looked into.
fn refusal(file_name: &str, message: String) -> Outcome {
    let unreadable = Source::new(file_name, "", &[]).error(code::UNREADABLE, Position::default(), message);
    Outcome { config: None, diagnostics: vec![unreadable] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_explain_every_key() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let files = std::fs::read_dir(folder).expect("configs/ exists");
        // Profiles of benches have a folder of their own below, and keys of their own.
        let examples: String = files
            .map(|file| file.expect("an entry").path())
            .filter(|path| path.is_file())
            .map(|path| std::fs::read_to_string(path).expect("a text"))
            .collect();
        let tables = [
            ("", TOP_KEYS),
            ("appliance", appliance::APPLIANCE_KEYS),
            ("timeouts", appliance::TIMEOUT_KEYS),
            ("port", port::PORT_KEYS),
            ("bridge", port::BRIDGE_KEYS),
            ("service", service::SERVICE_KEYS),
            ("service.server", service::SERVER_KEYS),
            ("service.persistence", choice::PERSISTENCE_KEYS),
            ("service.passive", choice::PASSIVE_KEYS),
            ("outbound", outbound::KEYS),
            ("firewall_group", firewall::GROUP_KEYS),
            ("firewall_group.firewall", firewall::FIREWALL_KEYS),
            ("probe_responder", responder::KEYS),
            ("health_check", health_check::KEYS),
            ("health_check.send", probe::PAYLOAD_KEYS),
            ("health_check.expect_reply", probe::PAYLOAD_KEYS),
        ];
        // What stands in a table, commented out or not, with the headers of the tables below it.
        let mut explained = std::collections::HashSet::new();
        let mut table = String::new();
        for line in examples.lines().map(|line| line.trim_start_matches("# ")) {
            let header = line.split(' ').next().unwrap_or_default();
            if header.starts_with('[') && header.ends_with(']') {
                table = header.trim_matches(['[', ']']).to_owned();
                let (above, key) = table.rsplit_once('.').unwrap_or(("", &table));
                explained.insert((above.to_owned(), key.to_owned()));
            } else if let Some((key, value)) = line.split_once(" = ") {
                explained.insert((table.clone(), key.to_owned()));
                // A table in braces, each of whose keys stands behind the brace or a comma.
                let inside = value.strip_prefix('{').and_then(|rest| rest.split_once('}'));
                for pair in inside.map_or("", |(inside, _)| inside).split(',') {
                    let inner = pair.split_once(" = ").map_or("", |(inner, _)| inner.trim());
                    explained.insert((format!("{table}.{key}"), inner.to_owned()));
                }
            }
        }
        for (table, keys) in tables {
            for &key in keys {
                assert!(explained.contains(&(table.to_owned(), key.to_owned())), "{key} in [{table}]");
            }
        }
    }
}
