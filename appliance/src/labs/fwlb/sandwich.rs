//! Three firewalls that track connections and forgive nothing, between two appliances: both directions of every
//! flow cross the same one; one dies, and comes back.

use std::time::{Duration, Instant};

use lab::topology::fwlb::{FwlbOptions, FwlbPlan, FwlbSite, fwlb_site};
use lab::{FirewallPolicy, Testbed};

use super::super::report::Report;
use super::super::{Stopped, Wish};
use super::{Ends, Peers, faults, finish, flows};

/// The firewall that dies, as an index.
const VICTIM: usize = 1;

/// How long an answer is waited for where it may never come.
const SILENCE: Duration = Duration::from_secs(1);

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(20);

const PICTURE: &str = "\
client ── outside [outer] front ──┬── fw1 .1 ──┬── back [inner] inside ──┬── server1  198.19.0.11
198.18.0.50      .100        .100 ├── fw2 .2 ──┤   .100       .100       ├── server2  198.19.0.12
2001:db8::50                      └── fw3 .3 ──┘                         └── server3  198.19.0.13

near legs: 198.18.1.0/24  2001:db8:1::/64     callers behind the client: 198.18.64.0/20  2001:db8:64::/64
far legs:  198.18.2.0/24  2001:db8:2::/64     servers: 198.19.0.0/24  2001:db8:256::/64
";

/// Runs the lab.
pub(in crate::labs) fn run(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    report.section("Two appliances, and three firewalls that track connections between them");
    report.quote(PICTURE);
    let policy = FirewallPolicy { reads_ftp: true, ..FirewallPolicy::default() };
    let plan = FwlbPlan { firewalls: vec![policy; 3], ..FwlbPlan::sandwich() };
    let mut site = fwlb_site(&testbed, &plan)?;
    let _peers = Peers::start(&site)?;
    let ends = Ends::start(&site, &FwlbOptions::default(), wish, report)?;
    report.expect(true, "both ends see every firewall up");
    let seen = watch(&mut site, &ends, wish, report);
    finish(testbed, &site, &ends, seen, wish, report)
}

fn watch(site: &mut FwlbSite, ends: &Ends, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    report.section("Flows of every kind, in both directions");
    let mut held = flows::open(site, wish.requests, report)?;
    let states = held.probe(PATIENCE);
    let alive = states.iter().filter(|state| flows::is_alive(state)).count();
    report.expect_or(
        alive == held.len(),
        format!("all of {} connections stay open", held.len()),
        format!("{alive} do"),
    );
    flows::exchange(site, wish.requests, report)?;
    flows::fetch_files(site, report)?;
    flows::judge(&site.firewalls, report)?;
    let drifted = ends.drifted_flows()?;
    report.expect_or(drifted == 0, "no flow drifted", drifted);

    let name = site.firewalls[VICTIM].name().to_owned();
    report.section(format!("{name} dies"));
    let doomed = flows::tracked_by(&site.firewalls[VICTIM], &held)?;
    let began = Instant::now();
    site.firewalls[VICTIM].kill()?;
    let is_seen = ends.wait_for(|row| (row["name"] == name.as_str()) == (row["state"] == "down"))?;
    if !is_seen {
        ends.quote("firewalls", report)?;
        return Err(format!("{name} was never shown as down at both ends, or others were too").into());
    }
    report.note(format!("both ends show it as down {:.0?} later", began.elapsed()));
    held.close(|place| doomed.get(place).copied().unwrap_or_default());
    let doomed = doomed.iter().filter(|is_doomed| **is_doomed).count();
    report.note(format!("{doomed} connections were its own; they move to firewalls that do not know them"));
    expect_alive(&mut held, "of the others lives", report);
    let more = flows::open(site, (wish.requests / 3).max(1), report)?;
    held.append(more);

    report.section(format!("{name} returns"));
    site.firewalls[VICTIM].restore()?;
    let is_back = ends.wait_for(|row| row["state"] == "up")?;
    report.expect(is_back, format!("both ends show {name} as up"));
    expect_alive(&mut held, "stays where it is, and lives", report);
    let more = flows::open(site, (wish.requests / 3).max(1), report)?;
    let own = flows::tracked_by(&site.firewalls[VICTIM], &more)?;
    let own = own.iter().filter(|is_own| **is_own).count();
    report.expect(own > 0, format!("{name} has {own} new connections"));
    held.append(more);
    expect_alive(&mut held, "lives", report);
    let drifted = ends.drifted_flows()?;
    report.expect_or(drifted == 0, "no flow drifted", drifted);

    faults::each(site, ends, report)?;

    report.section("What the appliances have counted");
    ends.quote("firewalls", report)?;
    ends.quote("drops", report)
}

fn expect_alive(held: &mut lab::HeldConnections, what: &str, report: &mut Report) {
    let states = held.probe(SILENCE.max(PATIENCE / 4));
    let lost = states.iter().filter(|state| !flows::is_alive(state)).count();
    let what = format!("every one of {} connections {what}", states.len());
    report.expect_or(lost == 0, what, format!("{lost} do not"));
}
