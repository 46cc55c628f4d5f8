//! `jeoul lab`: a testbed, real traffic, a report that tells what was seen, nothing left behind.
//!
//! The appliance in a lab is this very program, started and asked as a user would. Everything here blocks. A
//! lab that cannot be built, and one that did not show what it should, end with exit status 1.

mod appliance;
mod report;
mod slb_groups;
mod slb_routed;

use std::process::ExitCode;

use lab::Testbed;

use crate::FAILED;
use crate::arguments::{Driver, Topology};
use report::Report;

/// What the command line says about a lab.
#[derive(Clone, Copy, Debug)]
struct Wish {
    driver: Driver,
    keep: bool,
    requests: usize,
}

/// Why a lab could not go on. What the appliance did wrong is a finding of the report instead.
type Stopped = Box<dyn std::error::Error>;

/// Runs a lab to its end.
pub(crate) fn run(topology: Topology, driver: Driver, keep: bool, requests: u32) -> ExitCode {
    let wish = Wish { driver, keep, requests: requests as usize };
    let mut report = Report::default();
    let ended = match topology {
        Topology::SlbRouted => build("slb-routed").and_then(|bed| slb_routed::run(bed, wish, &mut report)),
        Topology::SlbGroups => build("slb-groups").and_then(|bed| slb_groups::run(bed, wish, &mut report)),
    };
    match ended {
        Ok(()) if report.verdict() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(FAILED),
        Err(error) => {
            eprintln!("jeoul: the lab stopped: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// An empty testbed, once all programs that a lab needs are found.
fn build(label: &str) -> Result<Testbed, Stopped> {
    Testbed::check_machine()?;
    ["nginx", "nft", "tcpdump"].iter().try_for_each(|name| lab::find_program(name).map(|_path| ()))?;
    Ok(Testbed::new(label)?)
}
