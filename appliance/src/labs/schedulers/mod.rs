//! Every way to choose a server, asked against measured, under concurrent calls on two workers.

mod exact;
mod leaning;
mod limits;
mod scene;
mod sticky;

use lab::Testbed;
use lab::topology::slb_routed::{Plan, SlbRouted, slb_routed_as};
use serde_json::Value;

use super::appliance::{Running, keep_routed};
use super::report::Report;
use super::{Stopped, Wish};
use scene::{DELAYED, Scene};

/// How many servers there are.
const SERVERS: u16 = 8;

/// Of a hundred packets each of the two workers takes so many at the least, or not both were there.
const WORKER_PERCENT_MIN: u64 = 5;

const PICTURE: &str = "\
clients ──────────── outside  appliance  inside ──── switch ─┬─ server1 .11
198.18.0.50          VIP 198.18.0.10   198.18.1.1            ┊
198.18.64.0/20       VIP 2001:db8::10  2001:db8:1::1         ├─ server7 .17
2001:db8:64::/64        two workers                          └─ delay line ── server8 .18
";

/// Runs the lab.
pub(super) fn run(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    report.section("Many clients, two workers and eight servers");
    report.quote(PICTURE);
    let plan = Plan { servers: SERVERS, queues: 2, delayed: vec![DELAYED as u16], callers: true };
    let lab = slb_routed_as(&testbed, &plan)?;
    let mut scene = Scene::start(&lab)?;
    let file = lab.write_text(&scene.configuration(wish)?)?;
    let running = Running::start(lab.outside.namespace(), file, lab.socket(), wish, report)?;
    let seen = watch(&mut scene, &running, wish, report);
    if seen.is_err() || !report.is_good() {
        running.quote_last_words(report);
    }
    if wish.keep {
        keep_routed(testbed, &lab, &running, seen, report);
    }
    seen?;
    running.stop(report)
}

fn watch(scene: &mut Scene<'_>, running: &Running, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    exact::round_robin(scene, wish, report)?;
    exact::weighted_round_robin(scene, wish, report)?;
    exact::least_connections(scene, running, report)?;
    exact::weighted_least_connections(scene, report)?;
    exact::hash(scene, report)?;
    leaning::response_time(scene, report)?;
    leaning::bandwidth(scene, report)?;
    sticky::persistence(scene, running, report)?;
    limits::max_sessions(scene, running, report)?;
    limits::slow_start(scene, running, report)?;
    limits::backup(scene, running, report)?;
    limits::quorum(scene, running, report)?;
    both_workers(scene.lab, running, report)
}

/// Both workers have had their part in all of it.
fn both_workers(lab: &SlbRouted, running: &Running, report: &mut Report) -> Result<(), Stopped> {
    report.section("What the two workers have done");
    running.quote("workers", report)?;
    running.quote("services", report)?;
    let packets: Vec<u64> =
        running.rows("workers")?.iter().filter_map(|row: &Value| row["packets"].as_u64()).collect();
    let all: u64 = packets.iter().sum();
    let shared = packets.len() == 2 && packets.iter().all(|own| own * 100 >= all * WORKER_PERCENT_MIN);
    let what = "both workers have taken part in it";
    report.expect_or(shared, what, format!("packets of each: {packets:?}"));
    let lost: u64 =
        lab.servers.iter().filter_map(|server| server.delay.as_ref()?.dropped_frames().into()).sum();
    report.expect_or(lost == 0, "the delay line has lost nothing", format!("{lost} frames"));
    Ok(())
}
