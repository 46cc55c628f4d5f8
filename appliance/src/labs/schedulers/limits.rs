//! What stands before a scheduler: room at a server, a server that returns, backups and the quorum.

use std::time::Duration;

use lab::{Call, Called, Calls, Failure, per_server};

use super::super::Stopped;
use super::super::appliance::Running;
use super::super::report::Report;
use super::scene::{
    BACKUP, MAX_SESSIONS, Offer, QUORUM, SLOW_START, Scene, Share, all_answered, judge, of, table,
};
use crate::table::{Align, Table};

/// Sessions that the two servers may have, in order; see the scene.
const ROOM: [usize; 2] = [15, 10];

/// Callers at the limited servers, more than they have room for.
const CROWD: usize = 60;

/// Of the sessions that stay, so many end; then so many call at once.
const ENDED: usize = 6;

/// The slow start of the scene.
const SLOW_START_TIME: Duration = Duration::from_secs(4);

/// How long calls go on after a server's return, in seconds: two more than its slow start takes.
const WATCHED_S: usize = 6;

/// Calls in one second of these, if the machine is quick enough.
const CALLS_PER_S: usize = 400;

const SLOW_CALLERS: usize = 8;

/// Calls to a service that is there or not.
const FEW: usize = 30;

pub(super) fn max_sessions(scene: &Scene<'_>, running: &Running, report: &mut Report) -> Result<(), Stopped> {
    let offer = &MAX_SESSIONS;
    report.section(format!("max_sessions 15 and 10: {CROWD} callers at once, who stay"));
    let crowd = |count| Calls { hold: true, concurrency: 16, ..offer.calls(count) };
    let names = scene.names(offer);
    let mut called = scene.call(&crowd(CROWD))?;
    table(&full(&names, &called.calls), report);
    report.expect(full(&names, &called.calls).iter().all(|share| share.good), "each server is exactly full");
    let refused = called.failures().get(&Failure::Refused).copied().unwrap_or_default();
    let over = CROWD - ROOM.iter().sum::<usize>();
    let what = format!("the other {over} are refused at once");
    report.expect_or(refused == over, what, format!("{:?}", called.failures()));

    let mut stayed: Vec<Call> = called.calls.iter().filter(|call| call.answer.is_ok()).cloned().collect();
    called.held.close(|place| place < ENDED);
    stayed.drain(..ENDED.min(stayed.len()));
    scene.wait_for_sessions(running, offer, called.held.len())?;
    let again = scene.call(&crowd(CROWD))?;
    report.note(format!("{ENDED} hang up, and {CROWD} more call:"));
    stayed.extend(again.calls.iter().filter(|call| call.answer.is_ok()).cloned());
    table(&full(&names, &stayed), report);
    report.expect(full(&names, &stayed).iter().all(|share| share.good), "each server is exactly full again");
    Ok(())
}

fn full<'a>(names: &[&'a str], calls: &[Call]) -> Vec<Share<'a>> {
    let counts = per_server(calls);
    let share = |(name, room): (&&'a str, usize)| Share::near(name, room as f64, 0.0, of(name, &counts));
    names.iter().zip(ROOM).map(share).collect()
}

pub(super) fn slow_start(
    scene: &mut Scene<'_>,
    running: &Running,
    report: &mut Report,
) -> Result<(), Stopped> {
    let offer = &SLOW_START;
    let names = scene.names(offer);
    report.section(format!("slow_start of 4 s: {} returns", names[0]));
    scene.set_up(running, 0, false)?;
    scene.set_up(running, 0, true)?;
    let pause = Duration::from_secs(1) * SLOW_CALLERS as u32 / CALLS_PER_S as u32;
    let limit = Duration::from_secs(WATCHED_S as u64);
    let calls = offer.calls(WATCHED_S * CALLS_PER_S);
    let called = scene.call(&Calls { concurrency: SLOW_CALLERS, pause, limit, ..calls })?;
    let mut rows = Table::new([
        ("SECOND", Align::Left),
        ("CALLS", Align::Right),
        ("ASKED FOR IT", Align::Right),
        ("MEASURED", Align::Right),
    ]);
    let percents: Vec<f64> = (0..WATCHED_S).map(|second| percent_in(&called, names[0], second)).collect();
    for (second, percent) in percents.iter().enumerate() {
        let calls = in_second(&called, second).len().to_string();
        let asked = asked_percent(second as f64 + 0.5, names.len());
        rows.row([second.to_string(), calls, format!("{asked:.0} %"), format!("{percent:.0} %")]);
    }
    report.table(&rows);
    all_answered(&called, report);
    let whole = 100.0 / names.len() as f64;
    // The calls begin when the return is seen, which is a little after it.
    let slow = percents[0] < whole / 1.5;
    report.expect(slow, "in its first second it has less than two thirds of its share");
    let between = percents[0] < percents[2] && percents[2] < whole * 1.2;
    report.expect(between, "in its third it has more than in its first");
    let last = percents[WATCHED_S - 1];
    report.expect_or(
        (last - whole).abs() < whole / 5.0,
        "in the end it has its whole share",
        format!("{last:.0} %"),
    );
    Ok(())
}

/// The part of all sessions that a server in its slow start is to get, so many seconds after its return.
fn asked_percent(at_s: f64, servers: usize) -> f64 {
    let part = (at_s / SLOW_START_TIME.as_secs_f64()).min(1.0);
    100.0 * part / (servers as f64 - 1.0 + part)
}

fn in_second(called: &Called, second: usize) -> Vec<Call> {
    called.calls.iter().filter(|call| call.at.as_secs() == second as u64).cloned().collect()
}

fn percent_in(called: &Called, server: &str, second: usize) -> f64 {
    let calls = in_second(called, second);
    100.0 * of(server, &per_server(&calls)) as f64 / calls.len().max(1) as f64
}

pub(super) fn backup(scene: &mut Scene<'_>, running: &Running, report: &mut Report) -> Result<(), Stopped> {
    let names = scene.names(&BACKUP);
    report.section(format!("backup: {} is there for {} and {}", names[2], names[0], names[1]));
    let each = FEW / 2;
    served(scene, &BACKUP, "both are up", &[each, each, 0], report)?;
    scene.set_up(running, 0, false)?;
    served(scene, &BACKUP, "one is down", &[0, FEW, 0], report)?;
    scene.set_up(running, 1, false)?;
    served(scene, &BACKUP, "both are down", &[0, 0, FEW], report)?;
    scene.set_up(running, 0, true)?;
    served(scene, &BACKUP, "one is up again", &[FEW, 0, 0], report)?;
    scene.set_up(running, 1, true)
}

/// Few calls, and what each server is to have of them.
fn served(
    scene: &Scene<'_>,
    offer: &Offer,
    when: &str,
    asked: &[usize],
    report: &mut Report,
) -> Result<(), Stopped> {
    let called = scene.call(&offer.calls(FEW))?;
    let counts = called.per_server();
    let names = scene.names(offer);
    let shares: Vec<Share<'_>> = names
        .iter()
        .zip(asked)
        .map(|(name, asked)| Share::near(name, *asked as f64, 0.0, of(name, &counts)))
        .collect();
    report.note(format!("{when}:"));
    judge(&format!("{when}: it is there when it is to be"), &called, &shares, report);
    Ok(())
}

pub(super) fn quorum(scene: &mut Scene<'_>, running: &Running, report: &mut Report) -> Result<(), Stopped> {
    report.section("quorum of two among three");
    let names = scene.names(&QUORUM);
    let ask = |scene: &Scene<'_>, served: bool, when: String, report: &mut Report| -> Result<(), Stopped> {
        let called = scene.call(&QUORUM.calls(FEW))?;
        let refused = called.failures().get(&Failure::Refused).copied().unwrap_or_default();
        let (what, seen) = match served {
            true => ("all are answered", called.failures().is_empty()),
            false => ("all are refused", refused == FEW),
        };
        report.expect_or(seen, format!("{when}: {what}"), format!("{:?}", called.failures()));
        Ok(())
    };
    ask(scene, true, "all three are up".into(), report)?;
    scene.set_up(running, 0, false)?;
    ask(scene, true, format!("{} is down", names[0]), report)?;
    scene.set_up(running, 1, false)?;
    ask(scene, false, format!("{} is down too", names[1]), report)?;
    scene.set_up(running, 1, true)?;
    ask(scene, true, format!("{} is up again", names[1]), report)?;
    scene.set_up(running, 0, true)
}
