//! Flows of every sort, and what the firewalls themselves say about who crossed which.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::topology::fwlb::{Side, published_address};
use lab::topology::{HOLD_PORT, Host, UDP_PORT};
use lab::{
    Called, Calls, FtpMode, FtpServer, INVALID, RELATED, UNTRACKED, ask_udp, ftp_fetch, ftp_store, ping_many,
};

use super::super::Stopped;
use super::super::report::Report;
use super::scene::Scene;
use crate::table::{Align, Table};

/// Datagrams, and echo requests, of each family.
const DATAGRAMS: usize = 100;
const PINGS: u32 = 10;

/// How long one transfer of FTP may take.
const FTP_LIMIT: Duration = Duration::from_secs(20);

/// Threads that call at the same time.
const CONCURRENCY: usize = 16;

/// TCP flows of both families together.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// From the client to the servers.
    pub inwards: usize,
    /// From the servers to the client.
    pub outwards: usize,
}

/// Both addresses of a host.
pub(super) fn addresses(host: &Host) -> [IpAddr; 2] {
    [host.v4, host.v6]
}

/// Calls `targets` in turn from `sources` in turn.
pub(super) fn call(
    host: &Host,
    sources: Vec<IpAddr>,
    targets: &[IpAddr],
    (count, hold): (usize, bool),
) -> Result<Called, Stopped> {
    let targets: Vec<SocketAddr> = targets.iter().map(|&target| (target, HOLD_PORT).into()).collect();
    let Some((&first, further)) = targets.split_first() else { return Err("nobody to call".into()) };
    let calls = Calls {
        further_targets: further.to_vec(),
        count,
        concurrency: CONCURRENCY,
        sources,
        hold,
        ..Calls::to(first)
    };
    Ok(calls.make(host.end.namespace())?)
}

/// Flows from both ends, and what the firewalls say of them.
pub(super) fn all_cross_one_firewall(scene: &Scene, load: Load, report: &mut Report) -> Result<(), Stopped> {
    report.section(format!(
        "{} TCP flows inwards, {} outwards, and UDP and ICMP beside them",
        load.inwards, load.outwards
    ));
    let (client, servers) = (&scene.site.client, &scene.site.servers);
    let before = scene.drifted()?;
    // Callers of 64: so many pairs of hosts that each firewall gets its share of them.
    for family in 0..2 {
        let like = addresses(client)[family];
        let of_servers: Vec<IpAddr> = servers.iter().map(|server| addresses(server)[family]).collect();
        let callers = scene.callers(load.inwards / 2, like);
        let called = call(client, callers.clone(), &of_servers, (load.inwards / 2, false))?;
        let (name, failures) = (["IPv4", "IPv6"][family], called.failures());
        report.expect_or(
            failures.is_empty(),
            format!("{name}: {} flows inwards all complete", called.calls.len()),
            format!("{failures:?}"),
        );
        let mut failures = BTreeMap::new();
        let count = load.outwards / 2 / servers.len();
        for (place, server) in servers.iter().enumerate() {
            // Each server calls others of the client's addresses.
            let targets: Vec<IpAddr> = callers.iter().skip(place).step_by(servers.len()).copied().collect();
            let called = call(server, Vec::new(), &targets, (count, false))?;
            called.failures().into_iter().for_each(|(failure, n)| {
                *failures.entry(format!("{failure:?}")).or_insert(0) += n;
            });
        }
        report.expect_or(
            failures.is_empty(),
            format!("{name}: {} flows outwards all complete", count * servers.len()),
            format!("{failures:?}"),
        );
        let udp = lab::Load { count: DATAGRAMS, ..lab::Load::default() };
        let asked = ask_udp(client.end.namespace(), (of_servers[0], UDP_PORT).into(), udp)?;
        report.expect_or(asked.failed.is_empty(), format!("{name}: UDP is answered"), &asked);
        for server in &of_servers {
            let pinged = ping_many(
                client.end.namespace(),
                (like, *server),
                PINGS,
                Duration::from_millis(20),
                Duration::from_secs(1),
            )?;
            report.expect_or(
                pinged.answered == u64::from(PINGS),
                format!("{name}: echo requests to {server} are answered"),
                format!("{pinged:?}"),
            );
        }
    }
    judge(scene, report)?;
    let drifted = scene.drifted()? - before;
    report.expect_or(drifted == 0, "no flow drifted, say both ends", format!("{drifted} did"));
    Ok(())
}

/// What the firewalls themselves say: whose connections are whose, what they dropped, and how even they share.
pub(super) fn judge(scene: &Scene, report: &mut Report) -> Result<(), Stopped> {
    let columns = [
        ("FIREWALL", Align::Left),
        ("TCP", Align::Right),
        ("UDP", Align::Right),
        ("ICMP", Align::Right),
        ("INVALID", Align::Right),
        ("UNTRACKED", Align::Right),
    ];
    let mut table = Table::new(columns);
    let (mut shares, mut weights, mut dropped, mut shared) = (Vec::new(), Vec::new(), 0, 0);
    let mut seen = BTreeSet::new();
    for firewall in &scene.site.firewalls {
        let flows = firewall.flow_set()?;
        let protocols = firewall.flows_per_protocol()?;
        let of = |protocol: u8| protocols.get(&protocol).copied().unwrap_or_default();
        let (invalid, untracked) = (firewall.counter(INVALID)?, firewall.counter(UNTRACKED)?);
        let icmp = of(1) + of(58);
        table.row([firewall.name().to_owned()].into_iter().chain(
            [of(6) as u64, of(17) as u64, icmp as u64, invalid, untracked].map(|number| number.to_string()),
        ));
        shares.push(of(6));
        weights.push(weight_of(scene, firewall.name())?);
        dropped += invalid + untracked;
        shared += flows.intersection(&seen).count();
        seen.extend(flows);
    }
    report.table(&table);
    report.expect_or(shared == 0, "the firewalls' connections are disjoint", format!("{shared} are on two"));
    report.expect_or(
        dropped == 0,
        "no firewall saw anything that it did not know",
        format!("{dropped} packets"),
    );
    let (flows, whole) = (shares.iter().sum::<usize>(), weights.iter().sum::<usize>().max(1));
    let is_even = shares.iter().zip(&weights).all(|(share, weight)| {
        let due = flows * weight / whole;
        // Pairs of hosts are drawn by the hash: what falls to one firewall scatters by the root of it at the most.
        share.abs_diff(due) <= (due / 10).max(3 * (due as f64).sqrt() as usize)
    });
    report.expect_or(
        is_even,
        format!(
            "shares of TCP are as the weights {weights:?}, within a tenth or what chance allows few flows"
        ),
        format!("{shares:?}"),
    );
    Ok(())
}

/// The weight of a firewall, as the outer end has it.
fn weight_of(scene: &Scene, name: &str) -> Result<usize, Stopped> {
    let rows = scene.firewalls(Side::Outer)?;
    let row = rows.iter().find(|row| row["name"] == name);
    Ok(row.and_then(|row| row["weight"].as_u64()).unwrap_or(1) as usize)
}

/// Active and passive FTP: the control and the data connection cross one firewall, or it would not know the second.
pub(super) fn ftp(scene: &Scene, length_bytes: u64, report: &mut Report) -> Result<(), Stopped> {
    report
        .section("FTP, active and passive, through firewalls that let only announced data connections pass");
    let (client, server) = (&scene.site.client, &scene.site.servers[0]);
    let program = FtpServer::start(server.end.namespace(), "ftp", length_bytes)?;
    let (before, mut transfers) = (related(scene)?, 0);
    for address in addresses(server) {
        for mode in [FtpMode::Active, FtpMode::Passive] {
            let name = format!("{mode:?} FTP with {address}").to_lowercase();
            let fetched = ftp_fetch(client.end.namespace(), address, mode, FTP_LIMIT)?;
            report.expect_or(
                fetched == Ok(length_bytes),
                format!("{name}: a file of {length_bytes} bytes is fetched"),
                format!("{fetched:?}"),
            );
            let file = format!("{mode:?}-{}", if address.is_ipv4() { 4 } else { 6 });
            let stored = ftp_store(client.end.namespace(), address, mode, FTP_LIMIT, (&file, length_bytes))?;
            report.expect_or(
                stored == Ok(()) && program.stored_bytes(&file)? == length_bytes,
                format!("{name}: and one is stored"),
                format!("{stored:?}"),
            );
            transfers += 2;
        }
    }
    let opened = related(scene)? - before;
    report.expect_or(
        opened == transfers,
        format!("each of {transfers} data connections opened at the firewall that knew of it"),
        format!("{opened} did"),
    );
    judge_drops(scene, report)
}

/// Connections that firewalls let pass because another one had announced them.
fn related(scene: &Scene) -> Result<u64, Stopped> {
    let counters = scene.site.firewalls.iter().map(|firewall| firewall.counter(RELATED));
    Ok(counters.collect::<Result<Vec<_>, _>>()?.iter().sum())
}

fn judge_drops(scene: &Scene, report: &mut Report) -> Result<(), Stopped> {
    let mut dropped = 0;
    for firewall in &scene.site.firewalls {
        dropped += firewall.counter(INVALID)? + firewall.counter(UNTRACKED)?;
    }
    report.expect_or(
        dropped == 0,
        "no firewall saw anything that it did not know",
        format!("{dropped} packets"),
    );
    Ok(())
}

/// Flows to and from the third zone.
pub(super) fn between_three_zones(scene: &Scene, count: usize, report: &mut Report) -> Result<(), Stopped> {
    report.section(format!("{count} flows between each two of three zones"));
    let site = &scene.site;
    for family in 0..2 {
        let all = |hosts: &[Host]| hosts.iter().map(|host| addresses(host)[family]).collect::<Vec<_>>();
        let callers = scene.callers(count, addresses(&site.client)[family]);
        let ways = [
            ("outside to the third zone", &site.client, callers, all(&site.dmz_servers)),
            ("the third zone to the inside", &site.dmz_servers[0], Vec::new(), all(&site.servers)),
            ("the inside to the third zone", &site.servers[1], Vec::new(), all(&site.dmz_servers)),
            (
                "the third zone to the outside",
                &site.dmz_servers[1],
                Vec::new(),
                vec![addresses(&site.client)[family]],
            ),
        ];
        for (name, from, sources, targets) in ways {
            let called = call(from, sources, &targets, (count, false))?;
            let failures = called.failures();
            let what = format!("{}: {count} flows from {name} all complete", ["IPv4", "IPv6"][family]);
            report.expect_or(failures.is_empty(), what, format!("{failures:?}"));
        }
    }
    judge_drops(scene, report)?;
    let drifted = scene.drifted()?;
    report.expect_or(drifted == 0, "no flow drifted, say all three ends", format!("{drifted} did"));
    Ok(())
}

/// Flows through firewalls that translate.
pub(super) fn translated(scene: &Scene, count: usize, report: &mut Report) -> Result<(), Stopped> {
    report.section(format!(
        "{count} flows outwards, hidden behind a firewall, and to what each firewall shows"
    ));
    let site = &scene.site;
    for family in 0..2 {
        let like = addresses(&site.client)[family];
        let callers = scene.callers(count, like);
        let called = call(&site.servers[0], Vec::new(), &callers, (count, false))?;
        let (name, failures) = (["IPv4", "IPv6"][family], called.failures());
        report.expect_or(
            failures.is_empty(),
            format!("{name}: {count} flows outwards all complete"),
            format!("{failures:?}"),
        );
        for (place, firewall) in site.firewalls.iter().enumerate() {
            let target = published_address(place, like);
            let called = call(&site.client, callers.clone(), &[target], (count, false))?;
            let right = called.per_server().keys().all(|server| **server == site.servers[0].name);
            let failures = called.failures();
            report.expect_or(
                failures.is_empty() && right,
                format!("{name}: {count} flows to {target}, which {} shows, reach server1", firewall.name()),
                format!("{failures:?}"),
            );
        }
    }
    for row in scene.firewalls(Side::Outer)? {
        let total = row["sessions_total"].as_u64().unwrap_or_default();
        report.expect(total > 0, format!("{} of {} had its part", row["name"], row["group"]));
    }
    judge_drops(scene, report)?;
    let drifted = scene.drifted()?;
    report.expect_or(drifted == 0, "no flow drifted, say both ends", format!("{drifted} did"));
    Ok(())
}
