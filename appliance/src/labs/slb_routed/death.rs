//! A server dies under load and with open connections, and returns.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use lab::topology::slb_routed::{HOLD_PORT, HTTP_PORT, SlbRouted, VIP_V4, VIP_V6};
use lab::{HeldConnections, HeldState, Load, run_requests};
use serde_json::Value;

use super::super::appliance::Running;
use super::super::report::Report;
use super::super::{Stopped, Wish};
use super::{Peers, ask};

/// The server that dies, as an index.
const VICTIM: usize = 1;

/// Open connections of each address family; every server holds a third.
const CONNECTIONS: usize = 30;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the load goes on alone before the server dies.
const BEFORE: Duration = Duration::from_millis(500);

/// From the moment at which a server is shown as down to the end of its connections. A million sessions are swept within
/// one second; these are sixty.
const RESET_LIMIT: Duration = Duration::from_secs(1);

/// Some 4 s of requests, from before the death until well after its discovery, which takes some 1 s.
const LOAD: Load =
    Load { count: 800, concurrency: 2, pause: Duration::from_millis(10), timeout: Duration::from_secs(3) };

/// See the module.
pub(super) fn of_a_server(
    lab: &SlbRouted,
    peers: &mut Peers,
    running: &Running,
    wish: Wish,
    report: &mut Report,
) -> Result<(), Stopped> {
    let victim = lab.servers[VICTIM].name.clone();
    report.section(format!("{victim} dies under load, with {} open connections", 2 * CONNECTIONS));
    let mut held = Vec::new();
    for vip in [VIP_V4, VIP_V6] {
        let opened =
            HeldConnections::open(lab.client.namespace(), (vip, HOLD_PORT).into(), CONNECTIONS, PATIENCE)?;
        held.push(opened.map_err(|failure| format!("a connection to {vip} was {failure}"))?);
    }
    let before: Vec<HeldState> = held.iter_mut().flat_map(|held| held.probe(PATIENCE)).collect();
    let on_victim = HeldState::Alive(victim.clone());
    let doomed = before.iter().filter(|state| **state == on_victim).count();
    report.note(format!("{doomed} of the connections are held by a program on {victim} that lives on"));

    let (addresses, start) = ([lab.servers[VICTIM].v4, lab.servers[VICTIM].v6], Instant::now());
    let is_victim = |server: &Value| addresses.iter().any(|address| server["address"] == address.to_string());
    let (seen, killed_at, down_at, states) = thread::scope(|scope| {
        let load = scope.spawn(|| run_requests(lab.client.namespace(), (VIP_V4, HTTP_PORT).into(), LOAD));
        thread::sleep(BEFORE);
        peers.web[VICTIM].kill();
        let killed_at = start.elapsed();
        let down = running.wait_for_servers(|server| is_victim(server) == (server["state"] == "down"));
        let down_at = start.elapsed();
        let states: Vec<HeldState> =
            held.iter_mut().flat_map(|held| held.wait_for_ends(RESET_LIMIT / 2)).collect();
        let seen = load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        down.map(|down| (seen, killed_at, down.then_some(down_at), states))
    })?;
    let seen = seen?;
    report.note(format!(
        "kill -9 of its nginx after {killed_at:.0?} of load, which is what the checks look at"
    ));
    let Some(down_at) = down_at else {
        running.quote("servers", report)?;
        return Err(format!("{victim} was never shown as down, and only it").into());
    };
    report.note(format!("jeoul shows it as down {:.0?} later", down_at - killed_at));
    report.note(format!("the load: {seen}"));
    let late = seen.failed.iter().filter(|failed| failed.at > down_at).count();
    let early = seen.failed.iter().filter(|failed| failed.at < killed_at).count();
    report.expect_or(
        early + late == 0,
        "no request is lost before its death or once it is down",
        format!("{early} and {late}"),
    );

    let reset =
        before.iter().zip(&states).filter(|(before, now)| **before == on_victim && **now == HeldState::Reset);
    let reset = reset.count();
    let what = format!("its {doomed} open connections are reset at once, at the client");
    report.expect_or(doomed > 0 && reset == doomed, what, format!("{reset} of {doomed}"));
    let others = before.iter().zip(&states).filter(|(before, _)| **before != on_victim);
    let silent = others.clone().filter(|(_, now)| **now == HeldState::Silent).count();
    let what = format!("the {} of the other servers live on", before.len() - doomed);
    report.expect_or(silent == before.len() - doomed, what, format!("{silent} do"));
    let own: Vec<SocketAddr> = held.iter().flat_map(HeldConnections::local_addresses).collect();
    let left = peers.hold[VICTIM].clients().iter().filter(|client| own.contains(client)).count();
    report.expect_or(left == 0, format!("and at {victim} too"), format!("{left} are open there"));
    after(lab, peers, running, wish, report)
}

/// Requests while it is down, and once it is back.
fn after(
    lab: &SlbRouted,
    peers: &mut Peers,
    running: &Running,
    wish: Wish,
    report: &mut Report,
) -> Result<(), Stopped> {
    let victim = &lab.servers[VICTIM].name;
    running.quote("servers", report)?;
    for vip in [VIP_V4, VIP_V6] {
        let load = Load { count: wish.requests, ..Load::default() };
        let seen = run_requests(lab.client.namespace(), (vip, HTTP_PORT).into(), load)?;
        report.note(format!("{vip}: {seen}"));
        let good = seen.failed.is_empty() && !seen.per_server.contains_key(victim);
        report.expect(good, format!("{vip}: no request is lost while {victim} is down"));
    }
    report.section(format!("{victim} returns"));
    peers.web[VICTIM].revive()?;
    let revived = Instant::now();
    let up = running.wait_for_servers(|server| server["state"] == "up")?;
    report.expect(up, format!("jeoul shows it as up again, {:.0?} after its start", revived.elapsed()));
    ask(lab, wish, report)
}
