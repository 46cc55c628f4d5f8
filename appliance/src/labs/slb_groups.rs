//! One virtual address, two services on different pairs of servers; one service of a server dies, its other
//! one stays.

use lab::topology::slb_groups::GROUPS;
use lab::topology::slb_routed::{SlbRouted, VIP_V4, slb_routed};
use lab::{Load, NginxServer, Testbed, run_requests};

use super::appliance::{Running, keep_routed};
use super::report::Report;
use super::{Stopped, Wish};
use crate::table::{Align, Table};

/// The server both of whose services are looked at, as an index.
const WITH_BOTH: usize = 1;

/// Runs the lab.
pub(super) fn run(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    report.section("One virtual address, two services on different pairs of servers");
    let lab = slb_routed(&testbed)?;
    let mut peers = Vec::new();
    for (service, port, group) in GROUPS {
        for server in &lab.servers[group] {
            let name = peer_name(&server.name, service);
            peers.push(NginxServer::start(server.namespace(), &name, &[port])?);
        }
    }
    let running = Running::start_routed(&lab, &lab.group_services(), wish, report)?;
    let seen = watch(&lab, &running, &mut peers, wish, report);
    if seen.is_err() || !report.is_good() {
        running.quote_last_words(report);
    }
    if wish.keep {
        keep_routed(testbed, &lab, &running, seen, report);
    }
    seen?;
    running.stop(report)
}

fn watch(
    lab: &SlbRouted,
    running: &Running,
    peers: &mut [NginxServer],
    wish: Wish,
    report: &mut Report,
) -> Result<(), Stopped> {
    let all = |_: &str, _: usize| true;
    ask(lab, wish, all, report)?;

    let victim = peer_name(&lab.servers[WITH_BOTH].name, "https");
    report.section("https dies on server2");
    let peer = peers.iter_mut().find(|peer| peer.name() == victim).ok_or("no such peer")?;
    peer.kill();
    report.note("kill -9 of the server on port 443");
    let dead = lab.servers[WITH_BOTH].v4.to_string();
    let is_dead =
        |server: &serde_json::Value| server["service"] == "https" && server["address"] == dead.as_str();
    let down = running.wait_for_servers(|server| is_dead(server) == (server["state"] == "down"))?;
    report.expect(down, "https on server2 is down, and nothing else is");
    running.quote("servers", report)?;
    ask(lab, wish, |service, server| service != "https" || server != WITH_BOTH, report)?;

    report.section("https returns on server2");
    peer.revive()?;
    let up = running.wait_for_servers(|server| server["state"] == "up")?;
    report.expect(up, "all are up");
    ask(lab, wish, all, report)?;
    running.quote("services", report)
}

/// Puts the load on both services and holds the shares against who should have answered.
fn ask(
    lab: &SlbRouted,
    wish: Wish,
    serves: impl Fn(&str, usize) -> bool,
    report: &mut Report,
) -> Result<(), Stopped> {
    let titles = [("SERVICE", Align::Left), ("VIP", Align::Left)];
    let names = lab.servers.iter().map(|server| (server.name.as_str(), Align::Right));
    let mut table = Table::new(titles.into_iter().chain(names));
    let mut as_expected = Vec::new();
    for (service, port, group) in GROUPS {
        let load = Load { count: wish.requests, ..Load::default() };
        let seen = run_requests(lab.client.namespace(), (VIP_V4, port).into(), load)?;
        let share = |index: usize| {
            let name = peer_name(&lab.servers[index].name, service);
            seen.per_server.get(&name).copied().unwrap_or_default()
        };
        let living: Vec<usize> = group.clone().filter(|index| serves(service, *index)).collect();
        let even = living.iter().all(|index| share(*index).abs_diff(wish.requests / living.len()) <= 1);
        as_expected.push((service, even && seen.answered() == wish.requests, seen.to_string()));
        let cells = (0..lab.servers.len()).map(|index| match group.contains(&index) {
            true => share(index).to_string(),
            false => "-".into(),
        });
        table.row([service.to_string(), format!("{VIP_V4}:{port}")].into_iter().chain(cells));
    }
    report.table(&table);
    for (service, good, seen) in as_expected {
        let what = format!(
            "{service}: {} of {} answered, evenly by its living servers",
            wish.requests, wish.requests
        );
        report.expect_or(good, what, seen);
    }
    Ok(())
}

fn peer_name(server: &str, service: &str) -> String {
    format!("{server}-{service}")
}
