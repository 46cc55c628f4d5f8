//! `jeoul check`: everything that is wrong with a file, before it is used.

use std::path::Path;
use std::process::ExitCode;

use config::{Config, Diagnostic};
use control::facts::Facts;
use control::netlink::Mirror;

use crate::machine::{self, Strictness};
use crate::{FAILED, WRONG_INPUT};

/// Prints what was found and the verdict.
pub(crate) fn check(file: &Path, offline: bool, strict: bool) -> ExitCode {
    let outcome = Config::load(file);
    let mut findings = outcome.diagnostics;
    let mut asked = Ok(());
    if let Some(config) = outcome.config.as_ref().filter(|_| !offline) {
        asked = compare(config, &mut findings);
    }
    for finding in &findings {
        eprintln!("{}\n", finding.render());
    }
    if let Err(error) = asked {
        eprintln!("jeoul: this machine could not be asked, `--offline` looks at the file alone: {error}");
        return ExitCode::from(FAILED);
    }
    let errors = findings.iter().filter(|finding| finding.is_error() || strict).count();
    let warnings = findings.len() - errors;
    match outcome.config {
        Some(config) if errors == 0 => {
            println!("{}", valid(file, &config, warnings));
            ExitCode::SUCCESS
        }
        _ => {
            let strictly = if strict { " (--strict: warnings count)" } else { "" };
            println!("{}: {}{strictly}", file.display(), tally(errors, warnings));
            ExitCode::from(WRONG_INPUT)
        }
    }
}

/// Adds what this machine has against the file.
fn compare(config: &Config, findings: &mut Vec<Diagnostic>) -> std::io::Result<()> {
    let mut facts = Facts::default();
    Mirror::new(&mut facts)?;
    findings.extend(machine::check(config, &facts, Strictness::Check));
    findings.extend(machine::check_cpus(config, &available_cpus()));
    findings.sort_by_key(|finding| (finding.line, finding.column));
    Ok(())
}

/// The CPUs that this process may use.
pub(crate) fn available_cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect()
}

fn valid(file: &Path, config: &Config, warnings: usize) -> String {
    let servers = config.services.iter().map(|service| service.servers.len()).sum();
    let counts = [
        some(config.ports.len(), "port"),
        some(config.services.len(), "service"),
        some(servers, "server"),
        some(config.health_checks.len(), "health check"),
    ];
    let warned = match warnings {
        0 => String::new(),
        _ => format!("; {}", some(warnings, "warning")),
    };
    format!("{}: valid: {}{warned}", file.display(), counts.join(", "))
}

fn tally(errors: usize, warnings: usize) -> String {
    match warnings {
        0 => some(errors, "error"),
        _ => format!("{}, {}", some(errors, "error"), some(warnings, "warning")),
    }
}

/// `1 port`, `2 ports`.
fn some(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}
