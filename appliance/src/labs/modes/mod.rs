//! The labs of the forwarding modes: one story for all of them, with what each mode is to show.

mod direct;
mod frames;
mod one_arm_routed;
mod traffic;
mod transparent;

use std::net::IpAddr;
use std::time::Duration;

use lab::topology::{Host, Options, Router, Site};
use lab::{Mac, Namespace, Testbed};

use super::appliance::{self, Running, keep, workers};
use super::report::Report;
use super::{Stopped, Wish};

pub(super) use direct::{l2_dsr, l3_dsr};
pub(super) use frames::{Caller, Rewrites, Watch};
pub(super) use one_arm_routed::one_arm_routed;
pub(super) use transparent::{inline as transparent_inline, one_arm as transparent_one_arm};

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mode's lab, and what is to be seen in it.
pub(super) struct Mode<'a> {
    /// What the story is called.
    pub title: &'a str,
    /// The drawing.
    pub picture: &'a str,
    /// Where a hardware address is another than in the textbook's drawing, and why; and what else the frames
    /// tell.
    pub legend: &'a [&'a str],
    pub site: &'a Site,
    pub router: Option<&'a Router>,
    /// Addresses that are neither the client's nor a server's nor virtual, with their names.
    pub others: &'a [(IpAddr, &'a str)],
    /// The frames of one request and its reply, in the words of [`frames`].
    pub frames: &'a [&'a str],
    pub rewrites: Rewrites<'a>,
    /// Whether servers see the client's own address, or the virtual one.
    pub servers_see: Seen,
    pub replies: Replies,
    /// The codes of the warnings of `jeoul check`.
    pub warnings: &'a [&'a str],
}

/// Whom servers see as their client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Client,
    /// The pool for source NAT, which is the virtual address in all labs.
    Pool,
}

/// Which way replies take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    CrossAppliance,
    BypassAppliance,
}

/// Tells the story from the start of the appliance to its end. `further` is what only this mode has to show.
pub(super) fn tell(
    testbed: Testbed,
    mode: &Mode<'_>,
    wish: Wish,
    report: &mut Report,
    further: impl FnOnce(&mut Report) -> Result<(), Stopped>,
) -> Result<(), Stopped> {
    let site = mode.site;
    report.section(mode.title);
    report.quote(mode.picture);
    report.text("");
    mode.legend.iter().for_each(|line| report.note(line));
    report.text("");
    let _peers = site.start_peers()?;
    let running = start(site, mode.warnings, wish, report)?;
    let seen = watch(mode, &running, wish, report).and_then(|()| further(report));
    if seen.is_err() || !report.is_good() {
        running.quote_last_words(report);
    }
    if wish.keep {
        let ends = [&site.client].into_iter().chain(&site.servers).map(Host::namespace);
        let ends: Vec<&Namespace> = ends.chain([&site.appliance]).collect();
        keep(testbed, &ends, site.vips[0], &running, seen, report);
    }
    seen?;
    running.stop(report)
}

/// Checks the lab's file, holds the warnings against those that are due, and starts the appliance with it.
pub(super) fn start(
    site: &Site,
    warnings: &[&str],
    wish: Wish,
    report: &mut Report,
) -> Result<Running, Stopped> {
    let options = Options { driver: wish.driver.word().into(), workers: workers(), ..Options::default() };
    let file = site.write_configuration(&options)?;
    let checked = appliance::check(&site.appliance, &file)?;
    report.note("jeoul check appliance.toml");
    checked.findings.values().for_each(|words| report.quote(words));
    report.quote(&checked.verdict);
    let said: Vec<&str> = checked.findings.keys().map(String::as_str).collect();
    let what = match warnings {
        [] => "the check has nothing to warn of".into(),
        codes => format!("the check warns: {}", codes.join(", ")),
    };
    report.expect_or(checked.status == Some(0) && said == warnings, what, format!("{said:?}"));
    Running::start(&site.appliance, file, site.socket(), wish, report)
}

fn watch(mode: &Mode<'_>, running: &Running, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let warm = traffic::warm_up(mode.site)?;
    report.section("One request and its reply, frame by frame");
    let caller = Caller::of(mode.site, &mode.site.client, mode.router, mode.others)?;
    let watch = Watch::start(&caller, "one")?;
    let answers = caller.call_each_family(PATIENCE)?;
    watch.judge(&caller, mode.frames, &mode.rewrites, report)?;
    for (answer, family) in answers.into_iter().zip(["IPv4", "IPv6"]) {
        report.expect_or(answer.is_ok(), format!("{family}: the request is answered"), format!("{answer:?}"));
    }
    // Waiting in vain for each of many requests would tell no more.
    warm.map_err(|failures| format!("the very first requests were not answered: {failures}"))?;
    traffic::requests(mode, wish, report)?;
    traffic::transfers(mode, report)?;
    traffic::datagrams(mode, report)?;
    report.section("What the appliance has counted");
    ["services", "drops"].iter().try_for_each(|what| running.quote(what, report))
}

/// The hardware addresses of all interfaces in the appliance's namespace, host legs among them.
fn appliance_macs(namespace: &Namespace) -> Result<Vec<Mac>, Stopped> {
    let output = namespace.output("ip", &["-brief", "link", "show"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.lines().filter_map(|line| line.split_whitespace().nth(2));
    Ok(words.filter_map(parse_mac).collect())
}

fn parse_mac(text: &str) -> Option<Mac> {
    let octets = text.split(':').map(|octet| u8::from_str_radix(octet, 16));
    let octets = octets.collect::<Result<Vec<u8>, _>>().ok()?;
    octets.try_into().ok().map(Mac)
}
