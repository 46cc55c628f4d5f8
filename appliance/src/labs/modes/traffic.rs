//! The traffic of every mode: requests, long transfers, datagrams in fragments.

use std::net::IpAddr;
use std::time::Instant;

use lab::topology::{HTTP_PORT, Site, TRANSFER_PORT, UDP_PORT};
use lab::{
    ByteShare, FragmentedQuestion, Load, Order, Way, ask_in_fragments, ask_udp, run_requests, transfer,
    udp_ask_sized,
};

use super::super::report::Report;
use super::super::shares::{self, Run};
use super::super::{Stopped, Wish};
use super::{Mode, PATIENCE, Replies, Seen};
use crate::table::{Align, Table};

/// Questions to each UDP service.
const UDP_QUESTIONS: usize = 99;

/// The length of a transfer.
const TRANSFER_BYTES: u64 = 10_000_000;

/// The lengths of the questions that need fragments.
const QUESTIONS_BYTES: [usize; 2] = [4_000, 60_000];

/// What crosses the appliance of a download whose bytes do not: the client's acknowledgements.
const BYPASSED_PERCENT_MAX: f64 = 10.0;

/// What crosses it of any transfer that does.
const CROSSING_PERCENT_MIN: f64 = 90.0;

/// So many requests that every server has had one, and switches and hosts know each other.
const WARM_UP_REQUESTS: usize = 3;

/// Lets everybody learn where everybody is, so that captures show the traffic alone. Whether all were
/// answered; if not, what was not.
pub(super) fn warm_up(site: &Site) -> Result<Result<(), String>, Stopped> {
    let (client, mut failures) = (site.client.namespace(), Vec::new());
    for vip in site.vips {
        let load = Load {
            count: WARM_UP_REQUESTS,
            concurrency: WARM_UP_REQUESTS,
            timeout: PATIENCE,
            ..Load::default()
        };
        let web = run_requests(client, (vip, HTTP_PORT).into(), load)?;
        let udp = ask_udp(client, (vip, UDP_PORT).into(), load)?;
        let failed = [("TCP", web), ("UDP", udp)].into_iter().filter(|(_, seen)| !seen.failed.is_empty());
        failures.extend(failed.map(|(protocol, seen)| format!("{protocol} to {vip}: {seen}")));
    }
    Ok(if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) })
}

/// Requests over both families, by TCP and UDP, and who answered them.
pub(super) fn requests(mode: &Mode<'_>, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    report.section(format!("{} requests over IPv4 and over IPv6, {UDP_QUESTIONS} over UDP", wish.requests));
    let (site, client) = (mode.site, mode.site.client.namespace());
    let load = |count| Load { count, ..Load::default() };
    let mut runs = Vec::new();
    for (vip, family) in site.vips.into_iter().zip(["v4", "v6"]) {
        let (servers_see, _) = seen(mode, vip);
        let web = run_requests(client, (vip, HTTP_PORT).into(), load(wish.requests))?;
        let udp = ask_udp(client, (vip, UDP_PORT).into(), load(UDP_QUESTIONS))?;
        runs.push(Run { service: format!("web-{family}"), servers_see, seen: web });
        runs.push(Run { service: format!("udp-{family}"), servers_see, seen: udp });
    }
    let servers: Vec<&str> = site.servers.iter().map(|server| server.name.as_str()).collect();
    shares::judge(&runs, &servers, seen(mode, site.vips[0]).1, report);
    Ok(())
}

/// Whom servers see, and in words.
fn seen(mode: &Mode<'_>, vip: IpAddr) -> (IpAddr, &'static str) {
    match mode.servers_see {
        Seen::Client => (mode.site.client.address_like(vip), "the client's own address"),
        Seen::Pool => (vip, "the virtual address, which the appliance translates the source to"),
    }
}

/// A long transfer each way over each family, and how much of it crossed the appliance.
pub(super) fn transfers(mode: &Mode<'_>, report: &mut Report) -> Result<(), Stopped> {
    report.section("10 MB each way, and what of it crossed the appliance");
    let (site, client) = (mode.site, &mode.site.client);
    let columns = [("FAMILY", Align::Left), ("WAY", Align::Left), ("RIGHT BYTES", Align::Right)];
    let more = [("SECONDS", Align::Right), ("ALL BYTES", Align::Right), ("CROSSED", Align::Right)];
    let mut table = Table::new(columns.into_iter().chain(more).chain([("SHARE", Align::Right)]));
    let mut findings = Vec::new();
    let (mut crossed_bytes, mut all_bytes) = (0, 0);
    for (vip, family) in site.vips.into_iter().zip(["IPv4", "IPv6"]) {
        for way in [Way::Download, Way::Upload] {
            [client]
                .into_iter()
                .chain(&site.servers)
                .try_for_each(|host| host.namespace().forget_path_mtu())?;
            let (watch, started) = (ByteShare::watch(&client.end, &site.ports)?, Instant::now());
            let target = (vip, TRANSFER_PORT).into();
            let came = transfer(client.namespace(), target, way, TRANSFER_BYTES, PATIENCE)?;
            let (share, seconds) = (watch.so_far()?, started.elapsed().as_secs_f64());
            (crossed_bytes, all_bytes) = (crossed_bytes + share.crossed_bytes, all_bytes + share.all_bytes);
            let right_bytes = came.as_ref().map_or(0, |came| came.right_bytes);
            let word = if way == Way::Download { "download" } else { "upload" };
            table.row([
                family.into(),
                word.into(),
                right_bytes.to_string(),
                format!("{seconds:.2}"),
                share.all_bytes.to_string(),
                share.crossed_bytes.to_string(),
                format!("{:.1} %", share.percent()),
            ]);
            let instead =
                came.map_or_else(|why| why.to_string(), |came| format!("{} bytes", came.right_bytes));
            let whole = right_bytes == TRANSFER_BYTES;
            findings.push((whole, format!("{family} {word}: all 10 MB arrive as they were sent"), instead));
            let bypasses = mode.replies == Replies::BypassAppliance && way == Way::Download;
            let (holds, what) = match bypasses {
                true => {
                    (share.percent() <= BYPASSED_PERCENT_MAX, "the client's acknowledgements alone cross")
                }
                false => (share.percent() >= CROSSING_PERCENT_MIN, "its bytes cross"),
            };
            let what = format!("{family} {word}: {what} the appliance");
            findings.push((holds, what, format!("{:.1} %", share.percent())));
        }
    }
    report.table(&table);
    report.note(format!("of all bytes of these transfers, {} % crossed the appliance", {
        crossed_bytes * 100 / u64::max(all_bytes, 1)
    }));
    findings.into_iter().for_each(|(holds, what, instead)| report.expect_or(holds, what, instead));
    Ok(())
}

/// Long questions, in the fragments that the kernel makes and in some that leave from behind.
pub(super) fn datagrams(mode: &Mode<'_>, report: &mut Report) -> Result<(), Stopped> {
    report.section("UDP questions of 4 kB and 60 kB, and answers as long, in fragments");
    let client = &mode.site.client;
    for (vip, family) in mode.site.vips.into_iter().zip(["IPv4", "IPv6"]) {
        let target = (vip, UDP_PORT).into();
        for (index, bytes) in QUESTIONS_BYTES.into_iter().enumerate() {
            let asked = client.namespace().run(|| udp_ask_sized(target, bytes, PATIENCE))?;
            let what = match &asked {
                Ok(echoed) if echoed.attempts > 1 => {
                    format!("{family}, {bytes} bytes: answered at attempt {}", echoed.attempts)
                }
                _ => format!("{family}, {bytes} bytes: answered"),
            };
            report.expect_or(asked.is_ok(), what, format!("{asked:?}"));
            let identification = 0x4a45 + u32::try_from(index).unwrap_or(0);
            let question = FragmentedQuestion { source: client.address_like(vip), identification, bytes };
            let answers =
                ask_in_fragments(client.namespace(), target, &[question], Order::LastFirst, PATIENCE)?;
            let what = format!("{family}, {bytes} bytes: answered with its last fragment first");
            report.expect_or(answers.iter().all(Result::is_ok), what, format!("{answers:?}"));
        }
    }
    Ok(())
}
