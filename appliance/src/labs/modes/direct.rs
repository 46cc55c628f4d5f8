//! Direct server return: on one network (L2), and across a router by a tunnel or a mark (L3).

use lab::Testbed;
use lab::topology::l2_dsr::l2_dsr as build_l2_dsr;
use lab::topology::l3_dsr::{Encapsulation, l3_dsr as build_l3_dsr};
use lab::topology::{Hop, Network};

use super::super::report::Report;
use super::super::{Stopped, Wish};
use super::{Mode, Replies, Rewrites, Seen, tell};

const L2_PICTURE: &str = "\
client ──────── router ──────── switch ─────┬── server1 .11   each with the VIP
198.18.0.50     198.18.0.1         │        ├── server2 .12   on its loopback,
                198.18.1.1         │ arm    └── server3 .13   silent in ARP and ND
                           ┌───────┴──────┐
                           │ appliance .2 │     198.18.1.0/24, 2001:db8:1::/64
                           └──────────────┘
                     VIP 198.18.1.10, 2001:db8:1::10

request:  client ─▶ router ─▶ appliance ─▶ server      reply:  server ─▶ router ─▶ client
";

const L2_LEGEND: [&str; 3] = [
    "The appliance gives the packet, as it is, in a new frame to the server. The textbook leaves the source MAC",
    "the router's; here it is the appliance's own, because a switch that sees the router's MAC on the",
    "appliance's port would from then on send there what is for the router, the servers' replies among it.",
];

const L2_FRAMES: [&str; 6] = [
    "client out: SYN client > router, client > vip, ttl 64",
    "arm in: SYN router > appliance, client > vip, ttl 63",
    "arm out: SYN appliance > server, client > vip, ttl 63",
    "server in: SYN appliance > server, client > vip, ttl 63",
    "server out: SYN ACK server > router, vip > client, ttl 64",
    "client in: SYN ACK router > client, vip > client, ttl 63",
];

const L3_PICTURE: &str = "\
client ──────── router ─────────────── switch ───┬── server1 .11   each with the VIP
198.18.0.50     198.18.0.1                       ├── server2 .12   on its loopback,
                198.18.1.1                       └── server3 .13   silent in ARP and ND
                198.18.2.1
                    │ arm                            198.18.2.0/24, 2001:db8:2::/64
            ┌───────┴──────┐
            │ appliance .2 │           198.18.1.0/24, 2001:db8:1::/64
            └──────────────┘
      VIP 198.18.1.10, 2001:db8:1::10

request:  client ─▶ router ─▶ appliance ═▶ router ═▶ server      reply:  server ─▶ router ─▶ client
";

const TUNNEL_LEGEND: [&str; 4] = [
    "The packet of the client travels whole inside another one to the server's own address. The outer source,",
    "198.18.1.251 and 2001:db8:1::251, is the appliance's for this alone: servers hold the VIP themselves and",
    "would drop packets that come from it. The appliance is a hop, so the TTL inside is one less; the router",
    "sees the outer header alone.",
];

const DSCP_LEGEND: [&str; 3] = [
    "Not a byte more: the packet goes to the server's own address, and its DSCP, another for each server here,",
    "says which VIP the client has called. The server puts the VIP back. Routers on the way must leave the",
    "DSCP alone.",
];

const TUNNEL_FRAMES: [&str; 6] = [
    "client out: SYN client > router, client > vip, ttl 64",
    "arm in: SYN router > appliance, client > vip, ttl 63",
    "arm out: SYN appliance > router, client > vip, ttl 62, in tunnel > server",
    "server in: SYN router > server, client > vip, ttl 62, in tunnel > server",
    "server out: SYN ACK server > router, vip > client, ttl 64",
    "client in: SYN ACK router > client, vip > client, ttl 63",
];

const DSCP_FRAMES: [&str; 6] = [
    "client out: SYN client > router, client > vip, ttl 64",
    "arm in: SYN router > appliance, client > vip, ttl 63",
    "arm out: SYN appliance > router, client > server, ttl 62, marked",
    "server in: SYN router > server, client > server, ttl 61, marked",
    "server out: SYN ACK server > router, vip > client, ttl 64",
    "client in: SYN ACK router > client, vip > client, ttl 63",
];

/// The lab `l2-dsr`.
pub(in super::super) fn l2_dsr(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let lab = build_l2_dsr(&testbed, Hop::None)?;
    let mode = Mode {
        title: "L2 direct server return: only requests cross the appliance",
        picture: L2_PICTURE,
        legend: &L2_LEGEND,
        site: &lab.site,
        router: Some(&lab.router),
        others: &[],
        frames: &L2_FRAMES,
        rewrites: Rewrites { request: "destination MAC, source MAC", reply: None },
        servers_see: Seen::Client,
        replies: Replies::BypassAppliance,
        warnings: &[],
    };
    tell(testbed, &mode, wish, report, |_report| Ok(()))
}

/// The lab `l3-dsr` with one encapsulation.
pub(in super::super) fn l3_dsr(
    testbed: Testbed,
    encapsulation: Encapsulation,
    wish: Wish,
    report: &mut Report,
) -> Result<(), Stopped> {
    let lab = build_l3_dsr(&testbed, encapsulation, Hop::None)?;
    let [v4, v6] = Network(1).host(251);
    let tunnel = [(v4, "tunnel"), (v6, "tunnel")];
    let (title, is_tunnel) = match encapsulation {
        Encapsulation::Ipip => ("L3 direct server return in IP in IP", true),
        Encapsulation::Gue => ("L3 direct server return in GUE, which is IP in UDP", true),
        Encapsulation::Dscp => ("L3 direct server return by DSCP", false),
    };
    let request = match encapsulation {
        Encapsulation::Dscp => "destination MAC, source MAC, destination, TTL, DSCP",
        Encapsulation::Ipip | Encapsulation::Gue => "destination MAC, source MAC, TTL, an outer header",
    };
    let mode = Mode {
        title,
        picture: L3_PICTURE,
        legend: if is_tunnel { &TUNNEL_LEGEND } else { &DSCP_LEGEND },
        site: &lab.site,
        router: Some(&lab.router),
        others: &tunnel,
        frames: if is_tunnel { &TUNNEL_FRAMES } else { &DSCP_FRAMES },
        rewrites: Rewrites { request, reply: None },
        servers_see: Seen::Client,
        replies: Replies::BypassAppliance,
        // Of a way that is no wider than the clients': the MSS is clamped, and datagrams are split.
        warnings: if is_tunnel { &["W0512"] } else { &[] },
    };
    tell(testbed, &mode, wish, report, |_report| Ok(()))
}
