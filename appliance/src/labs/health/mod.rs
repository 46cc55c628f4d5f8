//! Every kind of health check against every way in which a server fails that it can see: when it notices, and when it
//! notices that all is well again.

mod cases;
mod judging;
mod lateness;
mod scene;
mod wire;

use std::thread;
use std::time::{Duration, Instant};

use lab::Testbed;
use lab::topology::slb_routed::{Options, Plan, slb_routed_as};

use super::appliance::{Running, keep_routed, workers};
use super::report::Report;
use super::{Stopped, Wish};
use cases::{CASES, Case, Kind};
use lateness::Lateness;
use scene::{Scene, Within};

/// How long all is well before anything breaks: so that every check has been made more than once, and none is the first.
const WELL: Duration = Duration::from_secs(4);

/// The CPU of the appliance's control thread, where the file does not say otherwise.
const CONTROL_CPU: usize = 0;

/// How often descriptors are counted. Checks come and go; the least of so many looks is what stays.
const DESCRIPTOR_LOOKS: usize = 40;
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(13);

const PICTURE: &str = "\
                 appliance  inside ──── switch ─┬─ server1  198.18.1.11  2001:db8:1::11   a program for each check
                            198.18.1.1          ├─ server2  198.18.1.12  2001:db8:1::12   pinged
                            2001:db8:1::1       ├─ server3  198.18.1.13  2001:db8:1::13   pinged
                                                └─ server4  198.18.1.14  2001:db8:1::14   pinged
";

/// When what was done to each case's servers.
struct Times {
    broken: Vec<Within>,
    repaired: Vec<Within>,
    /// How late the machine was with anything meanwhile.
    lateness: Duration,
}

/// Runs the lab.
pub(super) fn run(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    report.section(format!("{} servers, each to be broken in its own way, in both families", CASES.len()));
    report.quote(PICTURE);
    let lab = slb_routed_as(&testbed, &Plan { servers: 4, ..Plan::default() })?;
    let mut scene = Scene::start(&lab)?;
    let options = Options { driver: wish.driver.word().into(), workers: workers(), ..Options::default() };
    let file = lab.write_text(&scene.configuration(&options))?;
    let running = Running::start(lab.outside.namespace(), file, lab.socket(), wish, report)?;
    let seen = watch(&mut scene, &running, report);
    if seen.is_err() || !report.is_good() {
        running.quote_last_words(report);
    }
    if wish.keep {
        keep_routed(testbed, &lab, &running, seen, report);
    }
    seen?;
    running.stop(report)
}

fn watch(scene: &mut Scene<'_>, running: &Running, report: &mut Report) -> Result<(), Stopped> {
    let capture = wire::listen(scene.lab)?;
    report.section("All is well");
    well(scene, report);
    let descriptors = steady_descriptors(running)?;

    let lateness = Lateness::watch(CONTROL_CPU);
    report.section("All break at once, and are repaired when all are down");
    let broken = scene.break_all()?;
    let all_down = running.wait_for_servers(judging::is_as_broken)?;
    report.expect(all_down, "all are down that their checks can see, and no others");
    if !all_down {
        running.quote("servers", report)?;
    }
    let repaired = scene.repair_all()?;
    let all_up = running.wait_for_servers(|row| row["state"] == "up")?;
    report.expect(all_up, "all are up again");
    let lateness = lateness.most();

    let wire = wire::Wire::of(capture, report)?;
    judging::judge(scene, running, &wire, &Times { broken, repaired, lateness }, report)?;

    report.section("Half-open checks on the wire");
    let half_open = |(index, case): (usize, &Case)| (case.kind == Kind::HalfOpen).then(|| Case::port(index));
    let ports: Vec<u16> = CASES.iter().enumerate().filter_map(half_open).collect();
    wire.judge_half_open(&ports, report);
    let accepted = scene.accepted(&ports);
    report.expect_or(accepted == 0, "no program has accepted a connection of theirs", accepted);

    report.section("What the appliance keeps");
    let after = steady_descriptors(running)?;
    report.note(format!("descriptors before: {descriptors}, and after: {after}"));
    report.expect(after == descriptors, "it has as many descriptors as before");
    Ok(())
}

/// Lets some time pass. Two services that ask the same of a server share the check.
fn well(scene: &Scene<'_>, report: &mut Report) {
    let (before, began) = (scene.shared_checks(), Instant::now());
    thread::sleep(WELL);
    let (made, elapsed) = (scene.shared_checks() - before, began.elapsed());
    let most = elapsed.as_millis() / cases::Pace::Quick.timers().interval.as_millis() + 1;
    let what =
        format!("two services with the same check ask once: {made} times in {elapsed:.1?}, at most {most}");
    report.expect(made > 0 && u128::from(made) <= most, what);
}

/// Descriptors of the appliance while no check is under way.
fn steady_descriptors(running: &Running) -> Result<usize, Stopped> {
    let mut least = usize::MAX;
    for _ in 0..DESCRIPTOR_LOOKS {
        least = least.min(running.descriptors()?);
        thread::sleep(DESCRIPTOR_PAUSE);
    }
    Ok(least)
}
