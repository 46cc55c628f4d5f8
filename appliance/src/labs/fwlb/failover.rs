//! A firewall fails under open flows: what becomes of its own, and that the others' lose nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lab::topology::UDP_PORT;
use lab::topology::fwlb::{FwlbOptions, FwlbPlan, Side};
use lab::{Chatter, Datagrams, Filtering, FirewallPolicy, HeldConnections, HeldState};
use serde_json::Value;

use super::super::report::Report;
use super::super::{Stopped, Wish, build};
use super::flows::{addresses, call};
use super::scene::{DOWN_WITHIN, LATE, Scene};
use super::wire::Wire;
use super::{BOTH, options};

/// The firewall that fails, by its place.
const FAILS: usize = 1;

/// Long enough for an answer that comes at all.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Within it TCP has repeated itself, that was silent when the firewall failed: after 0.2, 0.6 and 1.4 s (RFC 6298).
const LONGEST_PAUSE: Duration = Duration::from_millis(1_800);

/// Flows of each sort in the lab of kinds.
const FLOWS: usize = 60;

/// How all of a firewall's flows fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They go on over another firewall.
    Survive,
    /// Nothing comes of them any more: the others know nothing of them.
    Break,
    /// Both ends are reset at once.
    Reset,
    /// They stand still, and go on when the firewall is back.
    Wait,
}

/// One kind of firewalls under one policy.
struct Kind {
    title: &'static str,
    plan: FwlbPlan,
    on_failure: &'static str,
    fate: Fate,
}

fn kinds() -> Vec<Kind> {
    let picks_up = FirewallPolicy { filtering: Filtering::PicksUp, ..FirewallPolicy::default() };
    let kind = |title, plan, on_failure, fate| Kind { title, plan, on_failure, fate };
    vec![
        kind("Strict firewalls, on_failure = \"move\"", FwlbPlan::sandwich(), "move", Fate::Break),
        kind(
            "Firewalls that pick up in the middle, on_failure = \"move\"",
            FwlbPlan { firewalls: vec![picks_up; 3], ..FwlbPlan::sandwich() },
            "move",
            Fate::Survive,
        ),
        kind(
            "Strict firewalls that share what they know (conntrackd), on_failure = \"move\"",
            FwlbPlan { share_flows: true, ..FwlbPlan::sandwich() },
            "move",
            Fate::Survive,
        ),
        kind("Strict firewalls, on_failure = \"reset\"", FwlbPlan::sandwich(), "reset", Fate::Reset),
        kind("Strict firewalls, on_failure = \"keep\"", FwlbPlan::sandwich(), "keep", Fate::Wait),
    ]
}

/// The lab of kinds.
pub(super) fn on_every_kind(wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let mut kinds = kinds().into_iter().enumerate().peekable();
    while let Some((number, kind)) = kinds.next() {
        let options = FwlbOptions { on_failure: kind.on_failure.into(), ..options(wish) };
        let testbed = build(&format!("failover-{number}"))?;
        let wish = Wish { keep: wish.keep && kinds.peek().is_none(), ..wish };
        let mut scene =
            Scene::start(testbed, (kind.title, super::SANDWICH), &kind.plan, &options, wish, report)?;
        let seen = fail(&mut scene, FLOWS, kind.fate, report);
        scene.end(seen, wish, report)?;
    }
    Ok(())
}

/// On strict firewalls, as most labs have them.
pub(super) fn of_strict_firewalls(
    scene: &mut Scene,
    count: usize,
    report: &mut Report,
) -> Result<(), Stopped> {
    report.section(format!("A firewall fails under {count} open flows, and returns"));
    fail(scene, count, Fate::Break, report)
}

/// A client's end of a flow: protocol and address.
type End = (&'static str, SocketAddr);

/// Which firewall each flow crosses, by its client's end, as the outer appliance says: firewalls that share what they know
/// do not say it themselves.
fn places(scene: &Scene) -> Result<BTreeMap<End, String>, Stopped> {
    let rows = scene.running(Side::Outer)?.rows("sessions")?;
    let place = |row: &Value| {
        let protocol = ["tcp", "udp"].into_iter().find(|protocol| row["protocol"] == *protocol)?;
        let client = row["client"].as_str()?.parse().ok()?;
        Some(((protocol, client), row["firewall"].as_str()?.to_owned()))
    };
    Ok(rows.iter().filter_map(place).collect())
}

fn fail(scene: &mut Scene, count: usize, fate: Fate, report: &mut Report) -> Result<(), Stopped> {
    let server = addresses(&scene.site.servers[0])[0];
    let callers = scene.callers(count, server);
    let called = call(&scene.site.client, callers.clone(), &[server], (count, true))?;
    report.expect_or(called.held.len() == count, format!("{count} flows are open"), called.held.len());
    let drifted_before = scene.drifted()?;
    let datagrams = Datagrams {
        targets: vec![(server, UDP_PORT).into()],
        sources: callers.clone(),
        count: FLOWS,
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(90),
        limit: Duration::from_secs(60),
    };
    let asking = datagrams.start(scene.site.client.end.namespace())?;
    std::thread::sleep(Duration::from_millis(400));
    let before = places(scene)?;
    let locals = called.held.local_addresses();
    let name = scene.site.firewalls[FAILS].name().to_owned();
    let hit: Vec<bool> = locals.iter().map(|local| before.get(&("tcp", *local)) == Some(&name)).collect();
    let count_hit = hit.iter().filter(|hit| **hit).count();
    let wire = (!scene.site.segments.is_empty()).then(|| Wire::watch(scene)).transpose()?;
    let chatter = Chatter {
        padding_bytes: 0,
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(700),
        limit: Duration::from_secs(60),
    };
    let busy = (fate != Fate::Reset).then_some(chatter);
    let mut resting = Some(called.held);
    let busy = busy.and_then(|chatter| Some(resting.take()?.keep_busy(chatter)));
    // Or the captures would not know what each end waits for.
    resting.iter_mut().for_each(|held| drop(held.probe(PATIENCE)));
    std::thread::sleep(Duration::from_millis(300));
    let broken_at = Instant::now();
    break_it(scene, fate)?;
    report.note(format!("{name} fails; {count_hit} of the flows cross it"));
    report.expect(count_hit > 0 && count_hit < count, "some of the flows cross it, and some do not");
    for side in BOTH {
        let took = scene.wait_for_state(side, &name, (broken_at, |row: &Value| row["state"] != "up"))?;
        let within = DOWN_WITHIN + LATE;
        report.expect_or(
            took.is_some_and(|took| took <= within),
            format!(
                "the {} end notices within {DOWN_WITHIN:?}, this machine's own lateness aside",
                side.name()
            ),
            format!("{took:?}"),
        );
        took.iter().for_each(|took| report.note(format!("     after {took:.0?}")));
    }
    let fresh = call(&scene.site.client, callers, &[server], (2 * FLOWS, false))?;
    let failures = fresh.failures();
    report.expect_or(failures.is_empty(), "from then on every new flow succeeds", format!("{failures:?}"));
    let (held, states) = match (busy, resting) {
        (Some(busy), _) => {
            std::thread::sleep(LONGEST_PAUSE);
            let rested = busy.stop();
            (rested.held, rested.states)
        }
        (None, resting) => {
            let mut held = resting.ok_or("the flows are gone")?;
            let states = held.wait_for_ends(LATE);
            (held, states)
        }
    };
    let ends = locals.iter().zip(&hit).filter(|(_, hit)| **hit).map(|(local, _)| *local).collect();
    let near = scene.site.firewalls[FAILS].legs()[0].mac();
    match (wire, fate) {
        (Some(wire), Fate::Reset) => wire.judge_resets(&ends, report)?,
        (Some(wire), _) => wire.judge_ways(&ends, (near, fate == Fate::Wait), report)?,
        (None, _) => {}
    }
    judge_fate(scene, (held, states), &hit, (fate, broken_at), report)?;
    let flows = asking.stop();
    let others: Vec<_> = flows
        .iter()
        .filter(|flow| before.get(&("udp", flow.local)).is_some_and(|place| *place != name))
        .collect();
    let lost: u64 = others.iter().map(|flow| flow.lost()).sum();
    let sent: u64 = others.iter().map(|flow| flow.sent).sum();
    report.expect_or(
        lost <= sent / 1_000,
        format!("{} UDP flows of the other firewalls lost nothing of {sent} datagrams", others.len()),
        format!("{lost} lost"),
    );
    let after = places(scene)?;
    let moved = locals.iter().zip(&hit).filter(|(local, hit)| {
        !**hit
            && after.get(&("tcp", **local)).is_some_and(|place| before.get(&("tcp", **local)) != Some(place))
    });
    let moved = moved.count();
    report.expect_or(moved == 0, "none of the others' flows has moved", format!("{moved} have"));
    let drifted = scene.drifted()? - drifted_before;
    report.expect_or(drifted == 0, "no flow drifted, say both ends", format!("{drifted} did"));
    Ok(())
}

fn break_it(scene: &mut Scene, fate: Fate) -> Result<(), Stopped> {
    let firewall = &mut scene.site.firewalls[FAILS];
    match fate {
        // Its cables are pulled, and it keeps what it knows.
        Fate::Wait => (0..2).try_for_each(|leg| firewall.cut(leg))?,
        _ => firewall.kill()?,
    }
    Ok(())
}

fn mend_it(scene: &mut Scene, fate: Fate) -> Result<(), Stopped> {
    let firewall = &mut scene.site.firewalls[FAILS];
    match fate {
        Fate::Wait => (0..2).try_for_each(|leg| firewall.mend(leg))?,
        _ => firewall.restore()?,
    }
    Ok(())
}

/// What became of the flows, then and when the firewall is back.
fn judge_fate(
    scene: &mut Scene,
    (mut held, states): (HeldConnections, Vec<HeldState>),
    hit: &[bool],
    (fate, broken_at): (Fate, Instant),
    report: &mut Report,
) -> Result<(), Stopped> {
    let lives = |state: &HeldState| matches!(state, HeldState::Alive(_));
    let of = |states: &[HeldState], which: bool, is: &dyn Fn(&HeldState) -> bool| {
        states.iter().zip(hit).filter(|(state, hit)| **hit == which && is(state)).count()
    };
    let all = |which: bool| hit.iter().filter(|hit| **hit == which).count();
    if fate == Fate::Reset {
        let reset = of(&states, true, &|state| *state == HeldState::Reset);
        report.expect_or(
            reset == all(true),
            format!("its {} flows are reset at once", all(true)),
            format!("{reset} were"),
        );
        let others = held.probe(PATIENCE);
        let living = of(&others, false, &lives);
        report.expect_or(living == all(false), format!("the {} others live", all(false)), living);
    } else {
        let living = of(&states, false, &lives);
        report.expect_or(
            living == all(false),
            format!("the {} others answer all the while", all(false)),
            format!("{living} do"),
        );
    }
    if fate == Fate::Survive || fate == Fate::Break {
        let now = held.probe(PATIENCE);
        let living = of(&now, true, &lives);
        let (right, words) = match fate {
            Fate::Survive => (living == all(true), "go on over another firewall"),
            _ => (living == 0, "break: the others know nothing of them"),
        };
        report.expect_or(right, format!("its {} flows {words}", all(true)), format!("{living} live"));
    }
    report.note(format!("it was away for {:.1?}", broken_at.elapsed()));
    mend_it(scene, fate)?;
    for side in [Side::Outer, Side::Inner] {
        let is_up = scene.wait_for(side, |row| row["state"] == "up")?;
        report.expect(is_up, format!("the {} end takes it back", side.name()));
    }
    let now = held.probe(PATIENCE);
    let living = of(&now, false, &lives);
    report.expect_or(living == all(false), "the others live on after its return", format!("{living} do"));
    if fate == Fate::Wait {
        let living = of(&now, true, &lives);
        report.expect_or(living == all(true), "its own flows go on", format!("{living} do"));
    }
    Ok(())
}
