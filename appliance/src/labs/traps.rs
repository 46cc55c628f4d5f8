//! The textbook's two traps, broken and then cured, with what `jeoul check` says of each.
//!
//! The first: the appliance hangs on one arm, and the servers' replies go to the client past it. The second: a
//! host of the servers' own network calls the virtual address, and the server answers its neighbour straight.

mod story;

use std::time::Duration;

use lab::topology::traps::{Traps, Variant, traps};
use lab::topology::{HTTP_PORT, Hop, Host};
use lab::{Failure, Load, Namespace, run_requests};

use super::appliance::keep;
use super::modes::{Caller, Watch, start};
use super::report::Report;
use super::{Stopped, Wish, build};
use crate::table::{Align, Table};
use story::{Outcome, Story};

/// Requests of each caller, so that every server has its turn.
const REQUESTS: usize = 3;

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where no answer can come, so long it is waited for: less than until the first retransmission.
const SILENCE: Duration = Duration::from_millis(500);

const PICTURE: &str = "\
client ──────── router ──────── switch ─────┬── server1 .11
198.18.0.50     198.18.0.1         │        ├── server2 .12
                198.18.1.1         │ arm    ├── server3 .13
                           ┌───────┴──────┐ └── caller  .14, no server, of their network
                           │ appliance .2 │
                           └──────────────┘     198.18.1.0/24, 2001:db8:1::/64
                     VIP 198.18.1.10, 2001:db8:1::10

with own ports the appliance is the switch:

client ──────── router ── uplink ┌── appliance ──┐ ─── server1 .11
                                 │ bridge br0 .2 │ ─── server2 .12
                                 │  a port each  │ ─── server3 .13
                                 └───────────────┘ ─── caller  .14
";

/// Runs the lab: all variants one after the other. The last one is left standing, where that is wished.
pub(super) fn run(wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    report.section("Two traps");
    report.quote(PICTURE);
    report.text("");
    report.note(
        "The first trap: the servers' replies go to the client past the appliance, from an address that",
    );
    report.note(
        "the client has not called. The second: a host of the servers' own network calls the VIP, and the",
    );
    report.note("server answers its neighbour straight, whatever its gateway is.");
    let columns = ["", "A CLIENT CALLS", "A NEIGHBOUR CALLS", "A SERVER CALLS", "JEOUL CHECK WARNS"];
    let mut summary = Table::new(columns.map(|title| (title, Align::Left)));
    for variant in Variant::ALL {
        let is_last = Some(&variant) == Variant::ALL.last();
        let wish = Wish { keep: wish.keep && is_last, ..wish };
        let row = tell(variant, wish, report)?;
        summary.row(row);
    }
    report.section("All in one table");
    report.table(&summary);
    Ok(())
}

/// One variant; its row of the summary.
fn tell(variant: Variant, wish: Wish, report: &mut Report) -> Result<[String; 5], Stopped> {
    let testbed = build(&format!("traps-{}", variant as u8))?;
    let story = Story::of(variant);
    report.section(story.title);
    story.words.iter().for_each(|line| report.note(line));
    report.text("");
    let lab = traps(&testbed, variant, Hop::None)?;
    let _peers = lab.site.start_peers()?;
    let running = start(&lab.site, story.warnings, wish, report)?;
    let seen = watch(&lab, &story, report);
    if seen.is_err() || !report.is_good() {
        running.quote_last_words(report);
    }
    if wish.keep {
        let hosts = [&lab.site.client, &lab.caller].into_iter().chain(&lab.site.servers);
        let ends: Vec<&Namespace> = hosts.map(Host::namespace).chain([&lab.site.appliance]).collect();
        keep(testbed, &ends, lab.site.vips[0], &running, seen.map(drop), report);
    }
    let row = seen?;
    running.stop(report)?;
    Ok(row)
}

fn watch(lab: &Traps, story: &Story, report: &mut Report) -> Result<[String; 5], Stopped> {
    let server = lab.site.servers.first().ok_or("the lab has no server")?;
    let callers = [
        (&lab.site.client, "a client behind the router", story.client, story.client_frames),
        (&lab.caller, "a neighbour of the servers", story.neighbour, story.caller_frames),
        (server, "a server", story.server, story.server_frames()),
    ];
    for (host, who, outcome, frames) in callers {
        // Before the captures, so that everybody knows everybody and no switch floods.
        let mut asked = Vec::new();
        for vip in lab.site.vips {
            let load =
                Load { count: REQUESTS, concurrency: REQUESTS, timeout: outcome.limit(), ..Load::default() };
            asked.push(run_requests(host.namespace(), (vip, HTTP_PORT).into(), load)?);
        }
        report.text(format!("\n   {who}, {}, calls:\n", host.name));
        if !frames.is_empty() {
            let caller = Caller::of(&lab.site, host, Some(&lab.router), &[])?;
            let watch = Watch::start(&caller, &host.name)?;
            caller.call_each_family(outcome.limit())?.iter().for_each(drop);
            watch.judge_briefly(&caller, frames, report)?;
        }
        for (seen, family) in asked.iter().zip(["IPv4", "IPv6"]) {
            report.expect_or(outcome.holds(seen), format!("{family}: {who} calls: {outcome}"), seen);
        }
    }
    let cells = callers.map(|(_, _, outcome, _)| outcome.to_string());
    let warned = if story.warnings.is_empty() { "of nothing".into() } else { story.warnings.join(", ") };
    let [client, neighbour, server] = cells;
    Ok([story.name.into(), client, neighbour, server, warned])
}

impl Outcome {
    /// How long an answer is waited for.
    fn limit(self) -> Duration {
        if self == Self::Silence { SILENCE } else { PATIENCE }
    }

    fn holds(self, seen: &lab::Report) -> bool {
        let failures: Vec<&Failure> = seen.failures().into_keys().collect();
        match self {
            Self::Answered => failures.is_empty(),
            Self::Silence => seen.answered() == 0 && failures == [&Failure::TimedOut],
            Self::Refused => seen.answered() == 0 && failures == [&Failure::Refused],
            Self::ByOthers => {
                seen.answered() > 0 && failures.iter().all(|failure| **failure == Failure::Refused)
            }
        }
    }
}
