//! Transparent mode: inline, where every frame crosses the bridge, and with one arm, where the appliance is a
//! station beside all others.

use std::time::{Duration, Instant};

use lab::topology::transparent_inline::{TransparentInline, transparent_inline};
use lab::topology::transparent_one_arm::transparent_one_arm;
use lab::topology::{HTTP_PORT, Hop};
use lab::{Capture, Direction, Load, Testbed, run_requests};

use super::super::report::Report;
use super::super::{Stopped, Wish};
use super::{Mode, Replies, Rewrites, Seen, tell};

/// How long a ping is waited for.
const PING_LIMIT: Duration = Duration::from_secs(5);

const INLINE_PICTURE: &str = "\
client .50 ──┐                                               ┌── server1 .11
             │              ┌─────────────────┐              │
hosta  .21 ──┼── switch ────┤outside   inside ├──── switch ──┼── server2 .12
             │              │  appliance  .2  │              │
router .1  ──┘              └── bridge br0 ───┘              ├── server3 .13
   │                                                         │
remote 198.18.5.50        VIP 198.18.0.10, 2001:db8::10      └── hostb   .22

one network: 198.18.0.0/24, 2001:db8::/64
";

const INLINE_LEGEND: [&str; 3] = [
    "The appliance is the only way between the two switches, and nobody's gateway. It takes requests by",
    "answering ARP and neighbour discovery for the VIP with its own MAC. As in the textbook, the source MAC of",
    "what it passes stays the client's (request) and the server's (reply): to the switches it is a cable.",
];

const INLINE_FRAMES: [&str; 8] = [
    "client out: SYN client > appliance, client > vip, ttl 64",
    "outside in: SYN client > appliance, client > vip, ttl 64",
    "inside out: SYN client > server, client > server, ttl 64",
    "server in: SYN client > server, client > server, ttl 64",
    "server out: SYN ACK server > client, server > client, ttl 64",
    "inside in: SYN ACK server > client, server > client, ttl 64",
    "outside out: SYN ACK server > client, vip > client, ttl 64",
    "client in: SYN ACK server > client, vip > client, ttl 64",
];

const ONE_ARM_PICTURE: &str = "\
client .50 ───────── switch ─────┬── server1 .11
                        │        ├── server2 .12
                        │ arm    └── server3 .13
               ┌────────┴────────┐
               │  appliance  .2  │
               └── bridge br0 ───┘
         VIP 198.18.0.10, 2001:db8::10

one network: 198.18.0.0/24, 2001:db8::/64
";

const ONE_ARM_LEGEND: [&str; 4] = [
    "A server would answer its neighbour, the client, past the appliance and from an address that the client",
    "has not called. So the source is translated, to the VIP and a port of its own, and the reply comes back.",
    "Here the source MAC is the appliance's own in both directions, not the client's: with the client's MAC on",
    "a second port, the switch would send the client's own frames to the appliance.",
];

const ONE_ARM_FRAMES: [&str; 8] = [
    "client out: SYN client > appliance, client > vip, ttl 64",
    "arm in: SYN client > appliance, client > vip, ttl 64",
    "arm out: SYN appliance > server, vip > server, ttl 64",
    "server in: SYN appliance > server, vip > server, ttl 64",
    "server out: SYN ACK server > appliance, server > vip, ttl 64",
    "arm in: SYN ACK server > appliance, server > vip, ttl 64",
    "arm out: SYN ACK appliance > client, vip > client, ttl 64",
    "client in: SYN ACK appliance > client, vip > client, ttl 64",
];

/// The lab `transparent-inline`.
pub(in super::super) fn inline(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let lab = transparent_inline(&testbed, Hop::None)?;
    let mode = Mode {
        title: "Transparent mode, inline: a bridge in the only way",
        picture: INLINE_PICTURE,
        legend: &INLINE_LEGEND,
        site: &lab.site,
        router: Some(&lab.router),
        others: &[],
        frames: &INLINE_FRAMES,
        rewrites: Rewrites { request: "destination MAC, destination", reply: Some("source") },
        servers_see: Seen::Client,
        replies: Replies::CrossAppliance,
        warnings: &[],
    };
    tell(testbed, &mode, wish, report, |report| strangers(&lab, report))
}

/// The lab `transparent-one-arm`.
pub(in super::super) fn one_arm(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let site = transparent_one_arm(&testbed, Hop::None)?;
    let mode = Mode {
        title: "Transparent mode, one arm: a station beside all others",
        picture: ONE_ARM_PICTURE,
        legend: &ONE_ARM_LEGEND,
        site: &site,
        router: None,
        others: &[],
        frames: &ONE_ARM_FRAMES,
        rewrites: Rewrites {
            request: "destination MAC, source MAC, destination, source",
            reply: Some("destination MAC, source MAC, destination, source"),
        },
        servers_see: Seen::Pool,
        replies: Replies::CrossAppliance,
        warnings: &[],
    };
    tell(testbed, &mode, wish, report, |_report| Ok(()))
}

/// What is not for a service crosses the bridge as it is; and a client from behind the router is served too.
fn strangers(lab: &TransparentInline, report: &mut Report) -> Result<(), Stopped> {
    report.section("What is not for a service crosses byte for byte");
    let (host_a, host_b) = (&lab.host_a, &lab.host_b);
    let a = Capture::start(&host_a.end, "stranger-a", Direction::Out)?;
    let b = Capture::start(&host_b.end, "stranger-b", Direction::In)?;
    for address in host_b.addresses() {
        let started = Instant::now();
        let answered = host_a.namespace().ping(address, PING_LIMIT)?;
        let what = format!("hosta pings hostb, {address}, through the appliance");
        report.expect_or(answered, what, format!("no answer for {:.1?}", started.elapsed()));
    }
    let (sent, received) = (a.stop()?, b.stop()?);
    let of_ping = |captured: &lab::Captured| -> Vec<Vec<u8>> {
        let is_it = |frame: &&lab::Frame| {
            let between = |packet: lab::Packet| {
                host_b.addresses().contains(&packet.destination)
                    && host_a.addresses().contains(&packet.source)
                    && packet.protocol != 0
            };
            frame.packet().is_some_and(between)
        };
        captured.frames.iter().filter(is_it).map(|frame| frame.bytes.clone()).collect()
    };
    let (sent, received) = (of_ping(&sent), of_ping(&received));
    let what = format!("the {} IP frames that hosta has sent are those that hostb has received", sent.len());
    let alike = !sent.is_empty() && sent.iter().all(|frame| received.contains(frame));
    report.expect_or(alike, what, format!("{} received", received.len()));

    for vip in lab.site.vips {
        let load = Load { count: lab.site.servers.len(), ..Load::default() };
        let seen = run_requests(lab.remote.namespace(), (vip, HTTP_PORT).into(), load)?;
        let is_own = seen.clients_seen.keys().eq([&lab.remote.address_like(vip)]);
        let what = format!("a client behind the router calls {vip}, and servers see its own address");
        report.expect_or(seen.failed.is_empty() && is_own, what, seen);
    }
    Ok(())
}
