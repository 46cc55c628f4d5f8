//! `jeoul lab`: a testbed, real traffic, a report that tells what was seen, nothing left behind.
//!
//! The appliance in a lab is this very program, started and asked as a user would. Everything here blocks. A
//! lab that cannot be built, and one that did not show what it should, end with exit status 1.

mod appliance;
mod fwlb;
mod health;
mod modes;
mod report;
mod schedulers;
mod shares;
mod slb_groups;
mod slb_routed;
mod traps;

use std::process::ExitCode;

use lab::Testbed;
use lab::topology::{l3_dsr, one_arm_routed};

use crate::arguments::{Driver, Encapsulation, Lab, Topology, Wiring};
use crate::{FAILED, WRONG_INPUT};
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
pub(crate) fn run(lab: Lab) -> ExitCode {
    if let Some(refusal) = refusal(lab) {
        eprintln!("jeoul: {refusal}");
        return ExitCode::from(WRONG_INPUT);
    }
    let wish = Wish { driver: lab.driver, keep: lab.keep, requests: lab.requests as usize };
    let mut report = Report::default();
    match run_to_end(lab, wish, &mut report) {
        Ok(()) if report.verdict() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(FAILED),
        Err(error) => {
            eprintln!("jeoul: the lab stopped: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Why an option does not fit the lab.
fn refusal(lab: Lab) -> Option<&'static str> {
    if lab.encapsulation.is_some() && lab.topology != Topology::L3Dsr {
        return Some("`--encapsulation` is an option of the lab l3-dsr alone");
    }
    if lab.wiring.is_some() && lab.topology != Topology::OneArmRouted {
        return Some("`--wiring` is an option of the lab one-arm-routed alone");
    }
    None
}

fn run_to_end(lab: Lab, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    match lab.topology {
        Topology::SlbRouted => slb_routed::run(build("slb-routed")?, wish, report),
        Topology::SlbGroups => slb_groups::run(build("slb-groups")?, wish, report),
        Topology::TransparentInline => modes::transparent_inline(build("transparent-inline")?, wish, report),
        Topology::TransparentOneArm => modes::transparent_one_arm(build("transparent-1")?, wish, report),
        Topology::L2Dsr => modes::l2_dsr(build("l2-dsr")?, wish, report),
        Topology::L3Dsr => {
            let chosen = lab.encapsulation.map(encapsulation);
            let all = l3_dsr::Encapsulation::ALL.into_iter();
            one_after_the_other(all, chosen, wish, |encapsulation, wish| {
                let testbed = build(&format!("l3-dsr-{}", encapsulation.word()))?;
                modes::l3_dsr(testbed, encapsulation, wish, report)
            })
        }
        Topology::OneArmRouted => {
            let chosen = lab.wiring.map(wiring);
            let all = one_arm_routed::Wiring::ALL.into_iter();
            one_after_the_other(all, chosen, wish, |wiring, wish| {
                let testbed = build(&format!("one-arm-{}", wiring as u8))?;
                modes::one_arm_routed(testbed, wiring, wish, report)
            })
        }
        Topology::Schedulers => schedulers::run(build("schedulers")?, wish, report),
        Topology::FwlbSandwich => fwlb::sandwich(build("fwlb-sandwich")?, wish, report),
        Topology::FwlbStealth => fwlb::stealth(build("fwlb-stealth")?, wish, report),
        Topology::FwlbDmz => fwlb::dmz(build("fwlb-dmz")?, wish, report),
        Topology::FwlbNat => fwlb::nat(build("fwlb-nat")?, wish, report),
        Topology::FwlbFailover => fwlb::failover(wish, report),
        Topology::Health => health::run(build("health")?, wish, report),
        Topology::Traps => traps::run(wish, report),
    }
}

/// Runs all kinds of a lab, or the chosen one. The last one is left standing, where that is wished.
fn one_after_the_other<K>(
    all: impl Iterator<Item = K>,
    chosen: Option<K>,
    wish: Wish,
    mut run: impl FnMut(K, Wish) -> Result<(), Stopped>,
) -> Result<(), Stopped> {
    let mut kinds = match chosen {
        Some(kind) => vec![kind],
        None => all.collect(),
    }
    .into_iter()
    .peekable();
    while let Some(kind) = kinds.next() {
        let is_last = kinds.peek().is_none();
        run(kind, Wish { keep: wish.keep && is_last, ..wish })?;
    }
    Ok(())
}

fn encapsulation(word: Encapsulation) -> l3_dsr::Encapsulation {
    match word {
        Encapsulation::Ipip => l3_dsr::Encapsulation::Ipip,
        Encapsulation::Gue => l3_dsr::Encapsulation::Gue,
        Encapsulation::Dscp => l3_dsr::Encapsulation::Dscp,
    }
}

fn wiring(word: Wiring) -> one_arm_routed::Wiring {
    match word {
        Wiring::GatewayAppliance => one_arm_routed::Wiring::GatewayAppliance,
        Wiring::GatewayRouter => one_arm_routed::Wiring::GatewayRouter,
        Wiring::TwoVlans => one_arm_routed::Wiring::TwoVlans,
    }
}

/// An empty testbed, once all programs that a lab needs are found.
fn build(label: &str) -> Result<Testbed, Stopped> {
    Testbed::check_machine()?;
    ["nginx", "nft", "tcpdump"].iter().try_for_each(|name| lab::find_program(name).map(|_path| ()))?;
    Ok(Testbed::new(label)?)
}
