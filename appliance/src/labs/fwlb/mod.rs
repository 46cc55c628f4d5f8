//! Firewalls between appliances: that both directions of every flow cross the same one, and what becomes of flows when one
//! of them fails.

mod failover;
mod faults;
mod flows;
mod scene;

use lab::topology::fwlb::{FwlbOptions, FwlbPlan, Side};
use lab::{FirewallPolicy, Testbed};

use super::report::Report;
use super::{Stopped, Wish};
use flows::Load;
use scene::Scene;

/// Bytes of a file that FTP moves.
const FTP_BYTES: u64 = 200_000;

const SANDWICH: &str = "\
client ─── outside [outer] front ──┬── fw1 ──┬── back [inner] inside ──┬── server1
198.18.0.50  .100     198.18.1.100 ├── fw2 ──┤ 198.18.2.100            ├── server2   198.19.0.0/24
2001:db8::50                       └── fw3 ──┘                         └── server3
";

const STEALTH: &str = "\
client ─── [outer] ── fw1 198.18.1.1 ── a bridge that filters ── 198.18.1.2 fw1 ── [inner] ─── servers
                  ├── fw2 198.18.1.9 ── a bridge that filters ── 198.18.1.10 fw2 ──┤
                  └── fw3 198.18.1.17 ─ a bridge that filters ── 198.18.1.18 fw3 ──┘
";

const DMZ: &str = "\
client ─── [outer] ──┬── fw1 ──┬── [inner] ─── servers      198.19.0.0/24
                     ├── fw2 ──┤
                     └── fw3 ──┴── [dmz] ───── dmz servers  198.19.1.0/24
";

const NAT: &str = "\
client ─── [outer] ──┬── fw1, behind 198.18.9.0/28  ──┬── [inner] ─── servers
                     ├── fw2, behind 198.18.9.16/28 ──┤
                     └── fw3, behind 198.18.9.32/28 ──┘
";

fn options(wish: Wish) -> FwlbOptions {
    FwlbOptions {
        driver: wish.driver.word().into(),
        workers: super::appliance::workers(),
        ..FwlbOptions::default()
    }
}

/// Stateful firewalls between two appliances.
pub(super) fn sandwich(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let policy = FirewallPolicy { reads_ftp: true, ..FirewallPolicy::default() };
    let plan = FwlbPlan { firewalls: vec![policy; 3], ..FwlbPlan::sandwich() };
    let title = "Three stateful firewalls between two appliances";
    let mut scene = Scene::start(testbed, (title, SANDWICH), &plan, &options(wish), wish, report)?;
    let seen = watch_sandwich(&mut scene, wish, report);
    scene.end(seen, wish, report)
}

fn watch_sandwich(scene: &mut Scene, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let load = Load { inwards: 7 * wish.requests, outwards: 3 * wish.requests + wish.requests / 2 };
    flows::all_cross_one_firewall(scene, load, report)?;
    flows::ftp(scene, FTP_BYTES, report)?;
    failover::of_strict_firewalls(scene, wish.requests, report)?;
    faults::each_is_seen_at_both_ends(scene, report)
}

/// Firewalls that are bridges.
pub(super) fn stealth(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let options = FwlbOptions { hash: "five-tuple".into(), ..options(wish) };
    let title = "Three firewalls that are bridges, a path of its own for each";
    let mut scene = Scene::start(testbed, (title, STEALTH), &FwlbPlan::stealth(), &options, wish, report)?;
    let load = Load { inwards: 2 * wish.requests, outwards: wish.requests };
    let seen = flows::all_cross_one_firewall(&scene, load, report)
        .and_then(|()| failover::of_strict_firewalls(&mut scene, wish.requests, report));
    scene.end(seen, wish, report)
}

/// Three zones.
pub(super) fn dmz(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let title = "Firewalls with three legs, and an appliance in each of three zones";
    let mut scene = Scene::start(testbed, (title, DMZ), &FwlbPlan::dmz(), &options(wish), wish, report)?;
    let load = Load { inwards: 2 * wish.requests, outwards: wish.requests };
    let seen = flows::all_cross_one_firewall(&scene, load, report)
        .and_then(|()| flows::between_three_zones(&scene, wish.requests, report))
        .and_then(|()| faults::a_third_leg_dies_for_its_zone_alone(&mut scene, report));
    scene.end(seen, wish, report)
}

/// Firewalls that translate.
pub(super) fn nat(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let title = "Firewalls that hide the servers, each behind addresses of its own";
    let scene = Scene::start(testbed, (title, NAT), &FwlbPlan::nat(), &options(wish), wish, report)?;
    let seen = flows::translated(&scene, wish.requests, report);
    scene.end(seen, wish, report)
}

/// A firewall's failure, on three kinds of firewalls and under three policies.
pub(super) fn failover(wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    failover::on_every_kind(wish, report)
}

/// The sides that a pair of ends lies on.
const BOTH: [Side; 2] = [Side::Outer, Side::Inner];
