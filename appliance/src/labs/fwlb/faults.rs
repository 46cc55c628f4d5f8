//! What goes wrong on the path over one firewall, and what both ends make of it.

use std::time::Instant;

use lab::Firewall;
use lab::topology::fwlb::{FwlbSite, Side};

use serde_json::Value;

use super::super::Stopped;
use super::super::report::Report;
use super::Ends;
use crate::table::{Align, Table};

/// The firewall that is struck, as an index, and the one that answers stray to.
const STRUCK: usize = 0;
const OTHER: usize = 2;

/// The legs' places.
const NEAR: usize = 0;
const FAR: usize = 1;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A leg is dead.
    Cut(usize),
    /// Nothing comes in by a leg.
    Deaf(usize),
    /// What the inner appliance sends to it comes to another firewall.
    Astray,
}

/// All faults, with their names, and what both ends have to make of them.
const FAULTS: [(&str, Fault, &str); 5] = [
    ("its near leg is dead", Fault::Cut(NEAR), "down"),
    ("its far leg is dead", Fault::Cut(FAR), "down"),
    ("it hears nothing from outside", Fault::Deaf(NEAR), "down"),
    ("it hears nothing from inside", Fault::Deaf(FAR), "down"),
    ("its answers go to another", Fault::Astray, "asymmetric"),
];

/// Undoes a fault.
type Cure<'a> = Box<dyn FnOnce() -> Result<(), Stopped> + 'a>;

/// Brings each fault about, and takes it back once both ends have seen it.
pub(super) fn each(site: &FwlbSite, ends: &Ends, report: &mut Report) -> Result<(), Stopped> {
    let struck = &site.firewalls[STRUCK];
    report.section(format!("What can go wrong on the path over {}", struck.name()));
    let columns = ["FAULT", "OUTER SAYS", "INNER SAYS"].map(|title| (title, Align::Left));
    let mut table = Table::new(columns.into_iter().chain([("AFTER", Align::Right)]));
    let mut findings = Vec::new();
    for (fault, kind, state) in FAULTS {
        let began = Instant::now();
        let cure = strike(site, struck, kind)?;
        let is_due = |row: &Value| row["state"] == if row["name"] == struck.name() { state } else { "up" };
        let is_seen = ends.wait_for(is_due)?;
        let after = began.elapsed();
        let states = ends.states_of(struck.name())?;
        table.row([fault.to_owned()].into_iter().chain(states).chain([format!("{after:.0?}")]));
        findings.push((is_seen, format!("{fault}: both ends call it {state}, and the others up")));
        cure()?;
        let is_cured = ends.wait_for(|row| row["state"] == "up")?;
        findings.push((is_cured, format!("{fault}: once that is over, it is up at both ends")));
    }
    report.table(&table);
    findings.into_iter().for_each(|(seen, what)| report.expect(seen, what));
    Ok(())
}

fn strike<'a>(site: &FwlbSite, struck: &'a Firewall, fault: Fault) -> Result<Cure<'a>, Stopped> {
    Ok(match fault {
        Fault::Cut(leg) => {
            struck.cut(leg)?;
            Box::new(move || Ok(struck.mend(leg)?))
        }
        Fault::Deaf(leg) => until_dropped(struck.make_deaf(leg)?),
        Fault::Astray => until_dropped(site.misroute(Side::Inner, STRUCK, OTHER)?),
    })
}

/// A fault that ends with its handle.
fn until_dropped<'a>(handle: impl Sized + 'a) -> Cure<'a> {
    Box::new(move || {
        drop(handle);
        Ok(())
    })
}
