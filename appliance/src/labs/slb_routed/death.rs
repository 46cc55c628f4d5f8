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

/// How long the load goes on before the server dies.
const BEFORE: Duration = Duration::from_millis(500);

/// From the moment at which a server is shown as down to the end of its connections. A million sessions are
/// swept within one second; these are sixty.
const RESET_LIMIT: Duration = Duration::from_secs(1);

/// Some 4 s of requests, from before the death until well after its discovery, which takes some 1 s.
const LOAD: Load =
    Load { count: 800, concurrency: 2, pause: Duration::from_millis(10), timeout: Duration::from_secs(3) };

/// What happened, on the clock of the load.
struct Death {
    load: lab::Report,
    killed_at: Duration,
    /// `None`: it was never shown as down, or others were too.
    down_at: Option<Duration>,
    /// The open connections, [`RESET_LIMIT`] after that.
    after: Vec<HeldState>,
}

/// See the module.
pub(super) fn of_a_server(
    lab: &SlbRouted,
    peers: &mut Peers,
    running: &Running,
    wish: Wish,
    report: &mut Report,
) -> Result<(), Stopped> {
    let victim = &lab.servers[VICTIM].name;
    report.section(format!("{victim} dies under load, with {} open connections", 2 * CONNECTIONS));
    let mut held = Vec::new();
    for vip in [VIP_V4, VIP_V6] {
        let target = (vip, HOLD_PORT).into();
        let opened = HeldConnections::open(lab.client.namespace(), target, CONNECTIONS, PATIENCE)?;
        held.push(opened.map_err(|failure| format!("a connection to {vip} was {failure}"))?);
    }
    let before: Vec<HeldState> = held.iter_mut().flat_map(|held| held.probe(PATIENCE)).collect();
    let death = kill(lab, peers, running, &mut held)?;
    judge_load(&death, victim, running, report)?;
    judge_connections(&before, &death.after, victim, report);
    let own: Vec<SocketAddr> = held.iter().flat_map(HeldConnections::local_addresses).collect();
    let left = peers.hold[VICTIM].clients().iter().filter(|client| own.contains(client)).count();
    report.expect_or(left == 0, format!("and at {victim} too"), format!("{left} are open there"));
    while_down(lab, running, wish, report)?;
    back(lab, peers, running, wish, report)
}

/// Kills the web server of the victim under load, waits until it is shown as down and listens for resets.
fn kill(
    lab: &SlbRouted,
    peers: &mut Peers,
    running: &Running,
    held: &mut [HeldConnections],
) -> Result<Death, Stopped> {
    let addresses = [lab.servers[VICTIM].v4, lab.servers[VICTIM].v6].map(|address| address.to_string());
    let is_victim = |server: &Value| addresses.iter().any(|address| server["address"] == address.as_str());
    let start = Instant::now();
    thread::scope(|scope| {
        let load = scope.spawn(|| run_requests(lab.client.namespace(), (VIP_V4, HTTP_PORT).into(), LOAD));
        thread::sleep(BEFORE);
        let killed_at = start.elapsed();
        peers.web[VICTIM].kill();
        let down = running.wait_for_servers(|server| is_victim(server) == (server["state"] == "down"));
        let down_at = start.elapsed();
        // One family after the other; each has its half of the time.
        let listen = |held: &mut HeldConnections| held.wait_for_ends(RESET_LIMIT / 2);
        let after = held.iter_mut().flat_map(listen).collect();
        let load = load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(Death { load: load?, killed_at, down_at: down?.then_some(down_at), after })
    })
}

fn judge_load(death: &Death, victim: &str, running: &Running, report: &mut Report) -> Result<(), Stopped> {
    let Death { load, killed_at, down_at, .. } = death;
    report.note(format!(
        "kill -9 of its nginx, which is what the checks look at, after {killed_at:.0?} of load"
    ));
    let Some(down_at) = down_at else {
        running.quote("servers", report)?;
        return Err(format!("{victim} was never shown as down, or others were too").into());
    };
    report.note(format!("jeoul shows it as down {:.0?} later", *down_at - *killed_at));
    report.note(format!("the load: {load}"));
    let early = load.failed.iter().filter(|failed| failed.at < *killed_at).count();
    let late = load.failed.iter().filter(|failed| failed.at > *down_at).count();
    let seen = format!("{early} and {late} are");
    report.expect_or(early + late == 0, "no request is lost before its death or once it is down", seen);
    Ok(())
}

fn judge_connections(before: &[HeldState], after: &[HeldState], victim: &str, report: &mut Report) {
    let on_victim = HeldState::Alive(victim.into());
    let (mut doomed, mut reset, mut spared) = (0, 0, 0);
    for (before, after) in before.iter().zip(after) {
        match *before == on_victim {
            true => {
                doomed += 1;
                reset += usize::from(*after == HeldState::Reset);
            }
            false => spared += usize::from(*after == HeldState::Silent),
        }
    }
    let others = before.len() - doomed;
    report.note(format!("{doomed} of the connections are held by a program on {victim} that lives on"));
    let what = format!("its {doomed} open connections are reset at once, at the client");
    report.expect_or(doomed > 0 && reset == doomed, what, format!("{reset} of {doomed}"));
    let what = format!("the {others} of the other servers live on");
    report.expect_or(spared == others, what, format!("{spared} do"));
}

fn while_down(lab: &SlbRouted, running: &Running, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let victim = &lab.servers[VICTIM].name;
    running.quote("servers", report)?;
    for vip in [VIP_V4, VIP_V6] {
        let load = Load { count: wish.requests, ..Load::default() };
        let seen = run_requests(lab.client.namespace(), (vip, HTTP_PORT).into(), load)?;
        report.note(format!("{vip}: {seen}"));
        let good = seen.failed.is_empty() && !seen.per_server.contains_key(victim);
        report.expect(good, format!("{vip}: no request is lost while {victim} is down"));
    }
    Ok(())
}

fn back(
    lab: &SlbRouted,
    peers: &mut Peers,
    running: &Running,
    wish: Wish,
    report: &mut Report,
) -> Result<(), Stopped> {
    report.section(format!("{} returns", lab.servers[VICTIM].name));
    peers.web[VICTIM].revive()?;
    let revived = Instant::now();
    let up = running.wait_for_servers(|server| server["state"] == "up")?;
    report.expect(up, format!("jeoul shows it as up again, {:.0?} after its start", revived.elapsed()));
    ask(lab, wish, report)
}
