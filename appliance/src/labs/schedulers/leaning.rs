//! Schedulers that go by what servers do: they lean away from a slow one, and from a busy one.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use lab::{Calls, Chatter, HeldState};

use super::super::Stopped;
use super::super::report::Report;
use super::scene::{
    BANDWIDTH, DELAYED, Offer, PATIENCE, RESPONSE_TIME, Scene, Share, all_answered, of, table,
};

/// How long the delay line holds what the slow server sends.
const DELAY: Duration = Duration::from_millis(20);

/// Sessions after which a response time is known anew: a server's average forgets two thirds in eight of its own, and
/// four servers share these.
const LEARNING: usize = 64;

/// Sessions over which shares are measured.
const MEASURED: usize = 240;

/// Sessions after which a server that is quick again has its share again at the latest. It has to have a few of them to
/// show it, and it gets one in a hundred at first.
const RETURN_MAX: usize = 10_000;

/// What one loud connection sends in a round, and gets back.
const LOUD_BYTES: usize = 50_000;

/// From one round to the next: a megabyte a second each way.
const LOUD_INTERVAL: Duration = Duration::from_millis(50);

/// How long connections are loud before new ones are looked at. The average of a byte rate forgets half in one second.
const LOUD_BEFORE: Duration = Duration::from_secs(2);

/// Calls beside the loud connections, and how long each of the two callers rests after one.
const BESIDE: usize = 60;
const BESIDE_PAUSE: Duration = Duration::from_millis(80);

/// Loud connections end by themselves, whatever happens.
const LOUD_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn response_time(scene: &Scene<'_>, report: &mut Report) -> Result<(), Stopped> {
    let offer = &RESPONSE_TIME;
    let slow = &scene.lab.servers[DELAYED];
    let line = slow.delay.as_ref().ok_or("the slow server has no delay line")?;
    report.section(format!("response-time: {} becomes slow to answer, {DELAY:?} a packet", slow.name));
    let before = scene.call(&offer.calls(MEASURED))?;
    report.note(format!("{MEASURED} sessions while all are quick:"));
    all_answered(&before, report);
    let served = scene.names(offer).iter().all(|name| of(name, &before.per_server()) > 0);
    report.expect(served, "every server has some");

    line.set_delay(DELAY)?;
    let learning = scene.call(&offer.calls(LEARNING))?;
    all_answered(&learning, report);
    let during = scene.call(&offer.calls(MEASURED))?;
    report.note(format!("{MEASURED} sessions, after {LEARNING} in which it is slow:"));
    let shares = lean(scene, offer, &slow.name, MEASURED, &during.per_server());
    table(&shares, report);
    all_answered(&during, report);
    let away = shares.iter().all(|share| share.good);
    report.expect(away, format!("{} has less than half of an equal share, and each other more", slow.name));

    line.set_delay(Duration::ZERO)?;
    let mut sessions = 0;
    let returned = loop {
        let after = scene.call(&offer.calls(MEASURED))?;
        let own = of(&slow.name, &after.per_server());
        if own >= MEASURED / offer.servers.len() / 2 || sessions >= RETURN_MAX {
            break own >= MEASURED / offer.servers.len() / 2;
        }
        sessions += MEASURED;
    };
    let what = format!("quick again, it has more than half of an equal share, {sessions} sessions later");
    report.expect(returned, what);
    Ok(())
}

pub(super) fn bandwidth(scene: &Scene<'_>, report: &mut Report) -> Result<(), Stopped> {
    let offer = &BANDWIDTH;
    report.section("bandwidth: a session of one server moves a megabyte a second each way");
    let names = scene.names(offer);
    let mut opened = scene.call(&Calls { hold: true, ..offer.calls(8) })?;
    all_answered(&opened, report);
    let loud = names[0];
    let is_loud: Vec<bool> = opened.calls.iter().map(|call| call.answer.as_deref() == Ok(loud)).collect();
    opened.held.close(|place| !is_loud[place]);
    // One is enough; it has to be there.
    opened.held.close(|place| place > 0);
    if opened.held.is_empty() {
        return Err(format!("none of eight sessions is {loud}'s").into());
    }
    let chatter =
        Chatter { padding_bytes: LOUD_BYTES, interval: LOUD_INTERVAL, timeout: PATIENCE, limit: LOUD_LIMIT };
    let busy = opened.held.keep_busy(chatter);
    thread::sleep(LOUD_BEFORE);
    let beside = scene.call(&Calls { concurrency: 2, pause: BESIDE_PAUSE, ..offer.calls(BESIDE) })?;
    let rested = busy.stop();
    report.note(format!("{BESIDE} new sessions beside them, from {LOUD_BEFORE:?} on:"));
    let shares = lean(scene, offer, loud, BESIDE, &beside.per_server());
    table(&shares, report);
    all_answered(&beside, report);
    let away = shares.iter().all(|share| share.good);
    report.expect(away, format!("{loud} has less than half of an equal share, and each other more"));
    let unharmed = rested.states.iter().all(|state| *state == HeldState::Alive(loud.into()));
    report.expect(unharmed, format!("its own session goes on at {loud}"));
    Ok(())
}

/// Less than half of an equal share for one server, and more than that for each other. How the others share the rest is
/// a matter of microseconds and no part of this.
fn lean<'a>(
    scene: &Scene<'a>,
    offer: &Offer,
    burdened: &str,
    count: usize,
    counts: &BTreeMap<&str, usize>,
) -> Vec<Share<'a>> {
    let names = scene.names(offer);
    let (half, its) = (count / names.len() / 2, of(burdened, counts));
    let share = |server: &'a str| {
        let got = of(server, counts);
        match server == burdened {
            true => Share { server, asked: format!("< {half}"), got, good: got < half },
            false => Share { server, asked: format!("> {its}"), got, good: got > its },
        }
    };
    names.into_iter().map(share).collect()
}
