//! Routed mode with one interface, in its three wirings.

use lab::Testbed;
use lab::topology::Hop;
use lab::topology::one_arm_routed::{Wiring, one_arm_routed as build};

use super::super::report::Report;
use super::super::{Stopped, Wish};
use super::{Mode, Replies, Rewrites, Seen, tell};

const SWITCH_PICTURE: &str = "\
client ──────── router ──────── switch ───┬── server1 198.18.2.11, 2001:db8:2::11
198.18.0.50     198.18.0.1         │      ├── server2 .12
                198.18.1.1         │ arm  └── server3 .13
                      ┌────────────┴───────────┐
                      │ appliance   198.18.1.2 │
                      │             198.18.2.1 │
                      └────────────────────────┘
                  VIP 198.18.1.10, 2001:db8:1::10
";

const VLAN_PICTURE: &str = "\
client ── VLAN 10 ──┐                               ┌── server1 198.18.1.11, 2001:db8:1::11
198.18.0.50         │                               ├── server2 .12
                 switch ──────── VLAN 20 ───────────┴── server3 .13
                    ║ trunk
     ┌──────────────╨────────────────────────┐
     │ appliance  outside 198.18.0.1 VLAN 10 │
     │            inside  198.18.1.1 VLAN 20 │
     └───────────────────────────────────────┘
          VIP 198.18.0.10, 2001:db8::10
";

const GATEWAY_LEGEND: [&str; 3] = [
    "The servers' gateway is the appliance (return_path = \"gateway\"), so replies come back to it and the",
    "servers see the client's own address. Frames go out by the arm by which they came in, with the",
    "appliance's own MAC as their source, as any router's.",
];

const BYPASS_LEGEND: [&str; 4] = [
    "The servers' gateway is the router, which is in their network too, as 198.18.2.254: a reply to the client's",
    "own address would never see the appliance (return_path = \"bypass\"). So the source is translated to the",
    "VIP, the one address whose replies come back: the router knows whose the VIP is, and it passes them on to",
    "the appliance.",
];

const VLAN_LEGEND: [&str; 2] = [
    "One cable, two networks: the appliance is the gateway between the VLANs of its only interface. Both ports",
    "have its MAC; the tag alone tells the sides apart.",
];

const GATEWAY_FRAMES: [&str; 8] = [
    "client out: SYN client > router, client > vip, ttl 64",
    "arm in: SYN router > appliance, client > vip, ttl 63",
    "arm out: SYN appliance > server, client > server, ttl 62",
    "server in: SYN appliance > server, client > server, ttl 62",
    "server out: SYN ACK server > appliance, server > client, ttl 64",
    "arm in: SYN ACK server > appliance, server > client, ttl 64",
    "arm out: SYN ACK appliance > router, vip > client, ttl 63",
    "client in: SYN ACK router > client, vip > client, ttl 62",
];

const BYPASS_FRAMES: [&str; 8] = [
    "client out: SYN client > router, client > vip, ttl 64",
    "arm in: SYN router > appliance, client > vip, ttl 63",
    "arm out: SYN appliance > server, vip > server, ttl 62",
    "server in: SYN appliance > server, vip > server, ttl 62",
    "server out: SYN ACK server > router, server > vip, ttl 64",
    "arm in: SYN ACK router > appliance, server > vip, ttl 63",
    "arm out: SYN ACK appliance > router, vip > client, ttl 62",
    "client in: SYN ACK router > client, vip > client, ttl 61",
];

const VLAN_FRAMES: [&str; 8] = [
    "client out: SYN client > appliance, client > vip, ttl 64",
    "trunk in: SYN client > appliance, client > vip, ttl 64, vlan 10",
    "trunk out: SYN appliance > server, client > server, ttl 63, vlan 20",
    "server in: SYN appliance > server, client > server, ttl 63",
    "server out: SYN ACK server > appliance, server > client, ttl 64",
    "trunk in: SYN ACK server > appliance, server > client, ttl 64, vlan 20",
    "trunk out: SYN ACK appliance > client, vip > client, ttl 63, vlan 10",
    "client in: SYN ACK appliance > client, vip > client, ttl 63",
];

/// The lab `one-arm-routed` in one wiring.
pub(in super::super) fn one_arm_routed(
    testbed: Testbed,
    wiring: Wiring,
    wish: Wish,
    report: &mut Report,
) -> Result<(), Stopped> {
    let lab = build(&testbed, wiring, Hop::None)?;
    if wiring == Wiring::GatewayRouter {
        // The router is on the VIP's wire too. Over IPv6 it says so (RFC 4861, 8.2), and from then on the servers'
        // replies take the short way, which is as right but is another drawing.
        for server in &lab.site.servers {
            server.namespace().set_parameter("net.ipv6.conf.eth0.accept_redirects", "0")?;
        }
    }
    let (title, picture, legend, frames): (_, _, &[&str], _) = match wiring {
        Wiring::GatewayAppliance => (
            "Routed with one arm: the appliance is the servers' gateway",
            SWITCH_PICTURE,
            &GATEWAY_LEGEND,
            &GATEWAY_FRAMES,
        ),
        Wiring::GatewayRouter => (
            "Routed with one arm: the servers' gateway is another router",
            SWITCH_PICTURE,
            &BYPASS_LEGEND,
            &BYPASS_FRAMES,
        ),
        Wiring::TwoVlans => {
            ("Routed with one arm: two VLANs of one interface", VLAN_PICTURE, &VLAN_LEGEND, &VLAN_FRAMES)
        }
    };
    let (request, reply) = match wiring {
        Wiring::GatewayAppliance => {
            ("destination MAC, source MAC, destination, TTL", "destination MAC, source MAC, source, TTL")
        }
        Wiring::GatewayRouter => (
            "destination MAC, source MAC, destination, source, TTL",
            "destination MAC, source MAC, destination, source, TTL",
        ),
        Wiring::TwoVlans => (
            "destination MAC, source MAC, destination, TTL, VLAN",
            "destination MAC, source MAC, source, TTL, VLAN",
        ),
    };
    let servers_see = if wiring == Wiring::GatewayRouter { Seen::Pool } else { Seen::Client };
    let mode = Mode {
        title,
        picture,
        legend,
        site: &lab.site,
        router: lab.router.as_ref(),
        others: &[],
        frames,
        rewrites: Rewrites { request, reply: Some(reply) },
        servers_see,
        replies: Replies::CrossAppliance,
        warnings: &[],
    };
    tell(testbed, &mode, wish, report, |_report| Ok(()))
}
