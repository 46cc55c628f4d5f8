//! What a configuration and the machine say of each other: interfaces, addresses, routes, CPUs.
//!
//! Pure: `jeoul check` and the start of `jeoul run` ask the same questions of what the kernel has told, and
//! every finding points into the file. Any thread.

use config::{Config, Diagnostic, Position};
use control::facts::Facts;

use site::Site;

mod addresses;
mod cpus;
mod firewalls;
mod interfaces;
mod reach;
mod replies;
mod site;
mod sizes;

pub(crate) use cpus::check_cpus;

/// How grave it is that the machine is not as the file needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// A warning: the file may be meant for another machine, or for later.
    Check,
    /// An error: nothing can start without its ports, or with requests that go round in circles.
    Run,
}

/// A finding's codes: as the error that it is in `run`, and as the warning that it is in `check`.
struct Codes {
    error: &'static str,
    warning: &'static str,
}

impl Strictness {
    fn finding(self, codes: &Codes, config: &Config, at: Position, message: String) -> Diagnostic {
        match self {
            Strictness::Check => config.source.warning(codes.warning, at, message),
            Strictness::Run => config.source.error(codes.error, at, message),
        }
    }
}

/// What is wrong with `config` on a machine of which the kernel says `facts`.
pub(crate) fn check(config: &Config, facts: &Facts, strictness: Strictness) -> Vec<Diagnostic> {
    let facts = site::with_host_legs(config, facts);
    let mut findings = Vec::new();
    let all_there = interfaces::check(config, &facts, strictness, &mut findings);
    addresses::held(config, &facts, &mut findings);
    // Without one of its interfaces this machine's networks and routes say nothing about the appliance's.
    if all_there {
        let site = Site::new(config, &facts);
        addresses::off_link(&site, &mut findings);
        reach::check(&site, strictness, &mut findings);
        replies::check(&site, &mut findings);
        sizes::check(&site, &mut findings);
        firewalls::check(&site, &mut findings);
    }
    findings
}

#[cfg(test)]
mod tests;
