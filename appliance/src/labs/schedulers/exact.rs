//! Schedulers whose shares can be told beforehand.

use std::collections::BTreeMap;

use lab::{Call, Called, Calls, per_server};

use super::super::appliance::Running;
use super::super::report::Report;
use super::super::{Stopped, Wish};
use super::scene::{
    HASH, LEAST_CONNECTIONS, Offer, ROUND_ROBIN, Scene, Share, WEIGHTED_LEAST_CONNECTIONS,
    WEIGHTED_ROUND_ROBIN, all_answered, judge, of,
};

/// Weights of the two weighted services, in the order of their servers.
const WEIGHTS: [usize; 3] = [5, 3, 2];

/// Their sum: a cycle.
const CYCLE: usize = 10;

/// Sessions held under the schedulers that count them. No multiple of eight, so that "within one" says something.
const HELD: usize = 100;

/// Clients of the hash, each with an address of its own.
const SOURCES: u16 = 2_000;

/// Weights of its servers, in order.
const HASH_WEIGHTS: [usize; 4] = [4, 2, 1, 1];

/// How far a share of so many hashed clients may be from its weight, in standard deviations of drawn ones. The key is
/// fixed, so what is met once is met always.
const DEVIATIONS: f64 = 4.0;

pub(super) fn round_robin(scene: &Scene<'_>, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let count = wish.requests.next_multiple_of(ROUND_ROBIN.servers.len());
    report.section(format!("round-robin: {count} sessions by eight callers at once"));
    let called = scene.call(&ROUND_ROBIN.calls(count))?;
    let each = (count / ROUND_ROBIN.servers.len()) as f64;
    let shares = shares_of(&scene.names(&ROUND_ROBIN), &called, |_| (each, 0.0));
    judge("every server has exactly its turn", &called, &shares, report);
    Ok(())
}

pub(super) fn weighted_round_robin(
    scene: &Scene<'_>,
    wish: Wish,
    report: &mut Report,
) -> Result<(), Stopped> {
    let count = wish.requests.next_multiple_of(CYCLE);
    report.section(format!("weighted-round-robin, 5:3:2: {count} sessions by eight callers at once"));
    let called = scene.call(&WEIGHTED_ROUND_ROBIN.calls(count))?;
    let names = scene.names(&WEIGHTED_ROUND_ROBIN);
    let shares = shares_of(&names, &called, |place| ((WEIGHTS[place] * count / CYCLE) as f64, 0.0));
    judge("every cycle is exact", &called, &shares, report);

    let cycle = scene.call(&Calls { concurrency: 1, ..WEIGHTED_ROUND_ROBIN.calls(CYCLE) })?;
    let turns: Vec<&str> = cycle.calls.iter().filter_map(|call| call.answer.as_deref().ok()).collect();
    report.note(format!("one cycle, one call after the other: {}", turns.join(", ")));
    let longest = turns.chunk_by(|a, b| a == b).map(<[&str]>::len).max().unwrap_or_default();
    report.expect_or(longest <= 2, "it is spread, not in bursts", format!("{longest} in a row"));
    Ok(())
}

pub(super) fn least_connections(
    scene: &Scene<'_>,
    running: &Running,
    report: &mut Report,
) -> Result<(), Stopped> {
    let offer = &LEAST_CONNECTIONS;
    report.section(format!("least-connections: {HELD} sessions that stay, by sixteen callers at once"));
    let mut called = scene.call(&hold(offer, HELD))?;
    let names = scene.names(offer);
    let shares = within_one(&names, &called.per_server());
    judge("no server has two more than another", &called, &shares, report);

    let leaves = |call: &Call| call.answer.as_ref().is_ok_and(|server| names[..2].contains(&server.as_str()));
    let (gone, stayed): (Vec<Call>, Vec<Call>) = called.calls.iter().cloned().partition(leaves);
    let places: Vec<bool> = called.calls.iter().map(leaves).collect();
    called.held.close(|place| places[place]);
    scene.wait_for_sessions(running, offer, called.held.len())?;
    report.note(format!(
        "all {} clients of {} and {} hang up, and as many call anew",
        gone.len(),
        names[0],
        names[1]
    ));
    let again = scene.call(&hold(offer, gone.len()))?;
    let mut counts = per_server(&stayed);
    again.per_server().into_iter().for_each(|(server, count)| *counts.entry(server).or_default() += count);
    judge("again no server has two more than another", &again, &within_one(&names, &counts), report);
    Ok(())
}

/// [`HELD`] sessions, as evenly as they can be dealt out.
fn within_one<'a>(names: &[&'a str], counts: &BTreeMap<&str, usize>) -> Vec<Share<'a>> {
    let (low, high) = (HELD / names.len(), HELD.div_ceil(names.len()));
    let share = |server: &&'a str| {
        let got = of(server, counts);
        Share { server, asked: format!("{low} or {high}"), got, good: (low..=high).contains(&got) }
    };
    names.iter().map(share).collect()
}

pub(super) fn weighted_least_connections(scene: &Scene<'_>, report: &mut Report) -> Result<(), Stopped> {
    report.section(format!(
        "weighted-least-connections, 5:3:2: {HELD} sessions that stay, by sixteen callers at once"
    ));
    let called = scene.call(&hold(&WEIGHTED_LEAST_CONNECTIONS, HELD))?;
    let names = scene.names(&WEIGHTED_LEAST_CONNECTIONS);
    let shares = shares_of(&names, &called, |place| ((WEIGHTS[place] * HELD / CYCLE) as f64, 1.0));
    judge("sessions are in proportion to the weights", &called, &shares, report);
    Ok(())
}

pub(super) fn hash(scene: &Scene<'_>, report: &mut Report) -> Result<(), Stopped> {
    report.section(format!("hash of the source address, 4:2:1:1: {SOURCES} clients, twice"));
    let sources = (0..SOURCES).map(|index| scene.lab.caller(index, HASH.vip)).collect();
    let calls = Calls { sources, ..HASH.calls(usize::from(SOURCES)) };
    let (first, second) = (scene.call(&calls)?, scene.call(&calls)?);
    let all: usize = HASH_WEIGHTS.iter().sum();
    let shares = shares_of(&scene.names(&HASH), &first, |place| {
        let part = HASH_WEIGHTS[place] as f64 / all as f64;
        let count = f64::from(SOURCES);
        (count * part, DEVIATIONS * (count * part * (1.0 - part)).sqrt())
    });
    judge("shares are near the weights", &first, &shares, report);
    all_answered(&second, report);
    let moved =
        first.calls.iter().zip(&second.calls).filter(|(one, other)| one.answer != other.answer).count();
    report.expect_or(moved == 0, "every client has the same server both times", format!("{moved} moved"));
    Ok(())
}

/// Sixteen callers at once, who stay on the line.
fn hold(offer: &Offer, count: usize) -> Calls {
    Calls { hold: true, concurrency: 16, ..offer.calls(count) }
}

/// What each server got, against what `asked` says of its place: a number and how far from it is near.
fn shares_of<'a>(names: &[&'a str], called: &Called, asked: impl Fn(usize) -> (f64, f64)) -> Vec<Share<'a>> {
    let counts = called.per_server();
    let share = |(place, name): (usize, &&'a str)| {
        let (share, tolerance) = asked(place);
        Share::near(name, share, tolerance, of(name, &counts))
    };
    names.iter().enumerate().map(share).collect()
}
