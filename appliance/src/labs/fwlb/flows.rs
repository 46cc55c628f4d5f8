//! Flows of every kind through firewalls, and what the firewalls themselves saw of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use lab::topology::fwlb::FwlbSite;
use lab::topology::{HOLD_PORT, UDP_PORT};
use lab::{
    Calls, Datagrams, ESTABLISHED, Firewall, FlowKey, FtpMode, FtpServer, HeldConnections, HeldState,
    INVALID, OPENED, Pinged, RELATED, UNTRACKED, ftp_fetch, ping_many,
};

use super::super::Stopped;
use super::super::report::Report;
use crate::table::{Align, Table};

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many callers send echo requests, in each family, and how many each.
const PINGERS: u16 = 5;
const PINGS: u32 = 4;

/// The file that is fetched.
const FILE_BYTES: u64 = 1_000_000;

/// Rounds of datagrams over every flow.
const DATAGRAM_ROUNDS: u64 = 3;

/// A firewall's share of so many flows, by chance, is within this many standard deviations of its weight's.
const DEVIATIONS: f64 = 4.0;

/// Opens `count` connections of each family from callers to the servers, and half as many from the first server
/// to the callers; all have to be answered.
pub(super) fn open(site: &FwlbSite, count: usize, report: &mut Report) -> Result<HeldConnections, Stopped> {
    let mut all: Option<HeldConnections> = None;
    let mut keep = |held: HeldConnections| match &mut all {
        Some(all) => all.append(held),
        None => all = Some(held),
    };
    for (family, like) in ["IPv4", "IPv6"].into_iter().zip(site.client.addresses()) {
        let callers = callers(site, count, like);
        let calls = |targets: Vec<SocketAddr>, sources: Vec<IpAddr>, count| {
            let (first, further) = targets.split_first()?;
            Some(Calls { further_targets: further.into(), sources, count, hold: true, ..Calls::to(*first) })
        };
        let outwards = callers.iter().map(|caller| SocketAddr::new(*caller, HOLD_PORT)).collect();
        let inwards = calls(servers(site, like, HOLD_PORT), callers, count);
        let outwards = calls(outwards, Vec::new(), count / 2);
        let way =
            [("client to server", inwards, &site.client), ("server to client", outwards, &site.servers[0])];
        for (way, calls, from) in way {
            let Some(calls) = calls else { continue };
            let called = calls.make(from.namespace())?;
            let failures = called.failures();
            let what = format!("{family}: {} connections, {way}, are answered", called.calls.len());
            report.expect_or(failures.is_empty(), what, format!("{failures:?}"));
            keep(called.held);
        }
    }
    all.ok_or_else(|| "no connection was to be opened".into())
}

/// Datagrams over a third as many flows of each family, and echo requests; all have to be answered.
pub(super) fn exchange(site: &FwlbSite, count: usize, report: &mut Report) -> Result<(), Stopped> {
    for (family, like) in ["IPv4", "IPv6"].into_iter().zip(site.client.addresses()) {
        let datagrams = Datagrams {
            targets: servers(site, like, UDP_PORT),
            sources: callers(site, count, like),
            count: (count / 3).max(1),
            interval: Duration::from_millis(50),
            timeout: Duration::from_secs(3),
            limit: PATIENCE,
        };
        let busy = datagrams.start(site.client.namespace())?;
        let deadline = Instant::now() + PATIENCE;
        while busy.rounds() < DATAGRAM_ROUNDS && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let flows = busy.stop();
        let lost: u64 = flows.iter().map(lab::DatagramFlow::lost).sum();
        let sent: u64 = flows.iter().map(|flow| flow.sent).sum();
        let what = format!("{family}: all of {sent} datagrams over {} UDP flows are answered", flows.len());
        report.expect_or(lost == 0 && sent >= DATAGRAM_ROUNDS, what, format!("{lost} are lost"));

        let mut pinged = Pinged { sent: 0, answered: 0 };
        for index in 0..PINGERS {
            let server = &site.servers[usize::from(index) % site.servers.len()];
            let pair = (site.caller(index * 7, like), server.address_like(like));
            let one = ping_many(
                site.client.namespace(),
                pair,
                PINGS,
                Duration::from_millis(10),
                Duration::from_secs(2),
            )?;
            pinged = Pinged { sent: pinged.sent + one.sent, answered: pinged.answered + one.answered };
        }
        let what = format!("{family}: all of {} echo requests are answered", pinged.sent);
        report.expect_or(pinged.sent == pinged.answered, what, format!("{} are", pinged.answered));
    }
    Ok(())
}

/// Files over FTP in both modes, between the client and the first server: each data connection has to cross the
/// firewall that knows of it from its control connection.
pub(super) fn fetch_files(site: &FwlbSite, report: &mut Report) -> Result<(), Stopped> {
    let server = &site.servers[0];
    let _server = FtpServer::start(server.namespace(), &server.name, FILE_BYTES)?;
    let related = || -> Result<u64, Stopped> {
        site.firewalls.iter().map(|firewall| Ok(firewall.counter(RELATED)?)).sum()
    };
    let before = related()?;
    for address in server.addresses() {
        for (mode, opener) in [(FtpMode::Active, "the server"), (FtpMode::Passive, "the client")] {
            let fetched = ftp_fetch(site.client.namespace(), address, mode, PATIENCE)?;
            let what = format!("a file from {address}, its data connection opened by {opener}, is whole");
            report.expect_or(fetched == Ok(FILE_BYTES), what, format!("{fetched:?}"));
        }
    }
    let related = related()? - before;
    let what = "the firewalls knew each of 4 data connections from its control connection";
    report.expect_or(related == 4, what, related);
    Ok(())
}

/// What the firewalls say: each connection crossed one of them, in both directions, and each has its share.
pub(super) fn judge(firewalls: &[Firewall], report: &mut Report) -> Result<(), Stopped> {
    let titles = ["FIREWALL", "TCP", "UDP", "ICMP", "OPENED", "ESTABLISHED", "INVALID", "UNTRACKED"];
    let align = |title| (title, if title == "FIREWALL" { Align::Left } else { Align::Right });
    let mut table = Table::new(titles.map(align));
    let (mut flows, mut dropped): (Vec<BTreeSet<FlowKey>>, u64) = (Vec::new(), 0);
    for firewall in firewalls {
        let protocols = firewall.flows_per_protocol()?;
        let of = |protocols_of: &[u8]| {
            protocols_of.iter().filter_map(|number| protocols.get(number)).sum::<usize>().to_string()
        };
        let mut cells = vec![firewall.name().to_owned(), of(&[6]), of(&[17]), of(&[1, 58])];
        for name in [OPENED, ESTABLISHED, INVALID, UNTRACKED] {
            let count = firewall.counter(name)?;
            dropped += if [INVALID, UNTRACKED].contains(&name) { count } else { 0 };
            cells.push(count.to_string());
        }
        table.row(cells);
        flows.push(firewall.flow_set()?);
    }
    report.table(&table);
    let shared = |one: usize| (one + 1..flows.len()).any(|other| !flows[one].is_disjoint(&flows[other]));
    let is_disjoint = !(0..flows.len()).any(shared);
    report.expect(is_disjoint, "no two firewalls track one connection: both directions cross the same");
    report.expect_or(dropped == 0, "no firewall dropped anything", format!("{dropped} packets"));
    let tcp = |flows: &BTreeSet<FlowKey>| flows.iter().filter(|flow| flow.protocol == 6).count();
    let counts: Vec<usize> = flows.iter().map(tcp).collect();
    let (sum, number) = (counts.iter().sum::<usize>() as f64, counts.len() as f64);
    let share = sum / number;
    // Callers meet firewalls by a hash: a binomial share, or a tenth, whichever is more.
    let tolerance = (DEVIATIONS * (share * (1.0 - 1.0 / number)).sqrt()).max(share / 10.0);
    let is_fair = counts.iter().all(|count| (*count as f64 - share).abs() <= tolerance);
    let what = format!("each firewall has {share:.0} connections, give or take {tolerance:.0}");
    report.expect_or(is_fair, what, format!("{counts:?}"));
    Ok(())
}

/// Which of these connections a firewall tracks, by their places.
pub(super) fn tracked_by(firewall: &Firewall, held: &HeldConnections) -> Result<Vec<bool>, Stopped> {
    let flows = firewall.flow_set()?;
    let ends: BTreeSet<SocketAddr> = flows
        .iter()
        .filter(|flow| flow.protocol == 6)
        .flat_map(|flow| [flow.source, flow.destination])
        .collect();
    Ok(held.local_addresses().iter().map(|own| ends.contains(own)).collect())
}

/// Whether it has answered.
pub(super) fn is_alive(state: &HeldState) -> bool {
    matches!(state, HeldState::Alive(_))
}

fn callers(site: &FwlbSite, count: usize, like: IpAddr) -> Vec<IpAddr> {
    (0..count as u16).map(|index| site.caller(index, like)).collect()
}

fn servers(site: &FwlbSite, like: IpAddr, port: u16) -> Vec<SocketAddr> {
    site.servers.iter().map(|server| (server.address_like(like), port).into()).collect()
}
