//! `jeoul real-server`: the set-up that a server of a DSR service needs, as a script to read and then run.
//!
//! The appliance, or a file, says what the service is; everything else is text. Nothing is done to any machine here.
//! Names that go into a script are of few letters ([`FileName`], [`check_interface`]): no quoting is needed, and what
//! does not fit is refused with exit status 2.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use config::{Config, Mode};
use control::operator::{RealServerFacts, Request, ask};

use crate::arguments::OperatingSystem;
use crate::{FAILED, WRONG_INPUT};

mod debian;
mod linux;
mod rhel;
mod windows;

/// Longest service name that becomes part of names of files: what a table of nftables and a unit of systemd take with
/// ease.
const FILE_NAME_BYTES_MAX: usize = 32;
/// Longest name of a Linux interface (IFNAMSIZ without the final zero).
const LINUX_INTERFACE_BYTES_MAX: usize = 15;
/// Longest name of a Windows interface (NDIS_IF_MAX_STRING_SIZE).
const WINDOWS_INTERFACE_BYTES_MAX: usize = 256;

/// What the command line asks for.
pub(crate) struct Wanted<'a> {
    pub service: &'a str,
    pub os: OperatingSystem,
    pub interface: Option<&'a str>,
    pub loopback: Option<&'a str>,
    /// Only the script that undoes the set-up.
    pub undo: bool,
}

/// Prints the script for a service of the file, or else of the appliance that serves the socket.
pub(crate) fn print(wanted: &Wanted<'_>, file: Option<&Path>, socket: &Path) -> ExitCode {
    let facts = match file {
        Some(file) => from_file(file, wanted.service),
        None => from_appliance(socket, wanted.service),
    };
    let text = facts.and_then(|facts| script(wanted, &facts).map_err(|error| (WRONG_INPUT, error)));
    match text {
        // A reader that has gone away (`| head`) has seen what it wanted.
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        },
        Err((exit, error)) => {
            eprintln!("jeoul: {error}");
            ExitCode::from(exit)
        }
    }
}

fn from_file(file: &Path, service: &str) -> Result<RealServerFacts, (u8, String)> {
    let outcome = Config::load(file);
    let Some(config) = outcome.config else {
        let errors = outcome.diagnostics.iter().filter(|finding| finding.is_error());
        let errors: Vec<String> = errors.map(ToString::to_string).collect();
        return Err((WRONG_INPUT, errors.join("\njeoul: ")));
    };
    RealServerFacts::of(&config, service).map_err(|error| (WRONG_INPUT, error))
}

fn from_appliance(socket: &Path, service: &str) -> Result<RealServerFacts, (u8, String)> {
    let request = Request::RealServerFacts { service: service.to_owned() };
    let result = ask(socket, &request).map_err(|error| (error.exit(), error.to_string()))?;
    let understood = serde_json::from_value(result);
    understood.map_err(|error| (FAILED, format!("the appliance is of another version: {error}")))
}

/// The text of the script.
fn script(wanted: &Wanted<'_>, facts: &RealServerFacts) -> Result<String, String> {
    let name = FileName::of(&facts.service)?;
    let is_windows = wanted.os == OperatingSystem::Windows;
    if let Some(interface) = wanted.interface {
        check_interface("--interface", interface, is_windows)?;
    }
    if let Some(loopback) = wanted.loopback {
        check_interface("--loopback", loopback, is_windows)?;
        if !is_windows {
            return Err("--loopback names the adapter that Windows needs; here the VIP is on lo".to_owned());
        }
    }
    if is_windows && facts.mode == Mode::L3Dsr {
        return Err(format!(
            "service {:?} is of mode \"l3-dsr\": Windows servers cannot do it; use mode \"l2-dsr\" or \"routed\" for them",
            facts.service
        ));
    }
    let (set_up, undo) = match wanted.os {
        OperatingSystem::Debian => debian::scripts(&name, facts, wanted.interface),
        OperatingSystem::Rhel => rhel::scripts(&name, facts, wanted.interface),
        OperatingSystem::Windows => windows::scripts(facts, wanted.interface, wanted.loopback),
    };
    Ok(match wanted.undo {
        true => undo,
        false => format!("{set_up}\n{MARKER}{undo}"),
    })
}

/// Stands between the two scripts. The first has ended by then, so that nobody undoes what he has just done by running
/// the whole text.
const MARKER: &str = "\
# ======================================================================================================
# The script that undoes all of this; `jeoul real-server ... --undo` prints it alone.
# ======================================================================================================
";

/// A service's name that can be part of names of files, tables and units: letters, digits, `-` and `_`.
struct FileName(String);

impl FileName {
    fn of(service: &str) -> Result<Self, String> {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        if service.len() <= FILE_NAME_BYTES_MAX && service.chars().all(fits) {
            return Ok(Self(service.to_owned()));
        }
        Err(format!(
            "the name of service {service:?} becomes part of names of files: rename it, with at most \
             {FILE_NAME_BYTES_MAX} letters, digits, - and _"
        ))
    }
}

/// Whether `name` may stand in a script without doing anything there.
fn check_interface(option: &str, name: &str, is_windows: bool) -> Result<(), String> {
    let (more, bytes_max) = match is_windows {
        true => ("-_. #()", WINDOWS_INTERFACE_BYTES_MAX),
        false => ("-_.", LINUX_INTERFACE_BYTES_MAX),
    };
    let fits = |letter: char| letter.is_ascii_alphanumeric() || more.contains(letter);
    let is_name = name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.chars().all(fits);
    if is_name && name.len() <= bytes_max {
        return Ok(());
    }
    let more = more.replace(' ', "").chars().map(String::from).collect::<Vec<_>>().join(" ");
    let space = if is_windows { ", spaces" } else { "" };
    Err(format!(
        "{option} {name:?} is no interface: at most {bytes_max} letters, digits{space} and {more}, the first of them a \
         letter or digit"
    ))
}

/// The prefix length of one address.
fn host_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// What the script is about, in one line.
fn title(facts: &RealServerFacts) -> String {
    let encapsulation = facts.encapsulation.map_or_else(String::new, |word| format!(" with {word}"));
    format!(
        "real server of service {} (VIP {}, {} port {}, mode {}{encapsulation})",
        facts.service, facts.address, facts.protocol, facts.port, facts.mode
    )
}

#[cfg(test)]
mod tests;
