//! Routed mode with one arm: request and reply pass the appliance by the same interface.
//!
//! On one switch, with two networks on it, and clients behind a router:
//!
//! ```text
//!  client 198.18.0.50 ── router ── switch ─┬─ server1 198.18.2.11
//!               198.18.0.1  198.18.1.1     ├─ server2 .12
//!                          (198.18.2.254)  └─ server3 .13
//!                                │
//!             appliance arm 198.18.1.2, 198.18.2.1;  virtual address 198.18.1.10
//! ```
//!
//! Or through two VLANs of one interface:
//!
//! ```text
//!  client 198.18.0.50 ── VLAN 10 ┐                                   ┌ server1 198.18.1.11
//!                                ├─ trunk  appliance                 ├ server2 .12
//!                     ┌─ VLAN 20 ┘  outside 198.18.0.1 (VLAN 10)     ├ server3 .13
//!                     │             inside  198.18.1.1 (VLAN 20)     │
//!                     └──────────────────── switch ──────────────────┘
//!                                   virtual address 198.18.0.10
//! ```

use crate::error::Result;
use crate::peer::VlanSwitch;
use crate::testbed::Testbed;

use super::host::{Host, HostPlan, Network};
use super::l2_dsr::{APPLIANCE, CLIENT_NETWORK, ROUTER, client_and_router};
use super::site::{PortWording, Site, Wording};
use super::{CLIENT, Hop, Router, VIP, servers, switch};

/// The VLAN of the clients.
pub const CLIENT_VLAN: u16 = 10;
/// The VLAN of the servers.
pub const SERVER_VLAN: u16 = 20;

/// The router's number in the servers' network.
const FAR_ROUTER: u8 = 254;

/// How the arm is wired, and which way the servers answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// One switch; the servers' gateway is the appliance.
    GatewayAppliance,
    /// One switch; the servers' gateway is the router, so a reply comes back only to the appliance's own
    /// address.
    GatewayRouter,
    /// Two VLANs of one interface.
    TwoVlans,
}

impl Wiring {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::GatewayAppliance, Self::GatewayRouter, Self::TwoVlans];
}

/// The lab, without peers; see the module.
#[derive(Debug)]
pub struct OneArmRouted {
    /// Client, appliance and servers. The only interface is `arm`, or `trunk`.
    pub site: Site,
    /// The router between the networks, `clients` and `servers`; none with VLANs.
    pub router: Option<Router>,
    /// The switch at the trunk, with VLANs.
    pub vlan_switch: Option<VlanSwitch>,
}

/// Builds the lab in a testbed.
pub fn one_arm_routed(testbed: &Testbed, wiring: Wiring, hop: Hop) -> Result<OneArmRouted> {
    match wiring {
        Wiring::GatewayAppliance => one_switch(testbed, 1, "gateway", hop),
        Wiring::GatewayRouter => one_switch(testbed, FAR_ROUTER, "bypass", hop),
        Wiring::TwoVlans => two_vlans(testbed, hop),
    }
}

fn one_switch(testbed: &Testbed, gateway: u8, return_path: &str, hop: Hop) -> Result<OneArmRouted> {
    let (near, far) = (Network(1), Network(2));
    let (switch, appliance) = (switch(testbed, "switch")?, testbed.namespace("appliance")?);
    let (client, mut router) = client_and_router(testbed, hop)?;
    router.join_switch(testbed, "servers", (&switch, "router"), near, ROUTER)?;
    for (family, prefix) in far.prefixes(FAR_ROUTER).iter().enumerate() {
        if gateway == FAR_ROUTER {
            router.ends.last().map_or(Ok(()), |end| end.add_address(prefix))?;
        } else {
            router.namespace.add_route(&far.destinations()[family], near.host(APPLIANCE)[family])?;
        }
    }
    let arm = testbed.link((&appliance, "arm"), (&switch, "appliance"))?;
    arm.second.join_bridge(super::SWITCH)?;
    let own = [near.prefixes(APPLIANCE), far.prefixes(1)].concat();
    own.iter().try_for_each(|prefix| arm.first.add_address(prefix))?;
    near.host(ROUTER).iter().try_for_each(|gateway| appliance.add_default_route(*gateway))?;
    let plan = HostPlan {
        name: "",
        network: far,
        number: 0,
        gateway: Some(gateway),
        behind_hop: hop == Hop::Servers,
        holds: &[],
    };
    let servers = servers(testbed, &plan, &switch)?;
    let line = format!("return_path = \"{return_path}\"");
    let wording = Wording {
        ports: vec![PortWording::of(&arm.first)],
        mode: "routed",
        source_nat: "auto",
        lines: [vec![line.clone()], vec![line]],
        ..Wording::default()
    };
    let site = Site { client, appliance, ports: vec![arm.first], servers, vips: near.host(VIP), wording };
    Ok(OneArmRouted { site, router: Some(router), vlan_switch: None })
}

fn two_vlans(testbed: &Testbed, hop: Hop) -> Result<OneArmRouted> {
    let server_network = Network(1);
    let (switch, appliance) = (switch(testbed, "switch")?, testbed.namespace("appliance")?);
    let access = testbed.namespace("access")?;
    let trunk = testbed.link((&appliance, "trunk"), (&access, "trunk"))?;
    let uplink = testbed.link((&access, "vlan20"), (&switch, "uplink"))?;
    uplink.second.join_bridge(super::SWITCH)?;
    let plan = HostPlan {
        name: "client",
        network: CLIENT_NETWORK,
        number: CLIENT,
        gateway: Some(1),
        behind_hop: hop == Hop::Client,
        holds: &[],
    };
    let (client, clients) = Host::create(testbed, &plan, (&access, "vlan10"))?;
    let behind_hop = hop == Hop::Servers;
    let servers = servers(testbed, &HostPlan { network: server_network, behind_hop, ..plan }, &switch)?;
    for end in [&trunk.first, &trunk.second, &uplink.first, &clients] {
        end.silence_ipv6()?;
    }
    let ports = [(CLIENT_VLAN, clients), (SERVER_VLAN, uplink.first)];
    let vlan_switch = VlanSwitch::start(&trunk.second, &ports)?;
    let port = |name: &str, vlan, network: Network| PortWording {
        name: name.into(),
        interface: "trunk".into(),
        vlan: Some((vlan, network.prefixes(1))),
    };
    let wording = Wording {
        ports: vec![
            port("outside", CLIENT_VLAN, CLIENT_NETWORK),
            port("inside", SERVER_VLAN, server_network),
        ],
        mode: "routed",
        source_nat: "auto",
        ..Wording::default()
    };
    let vips = CLIENT_NETWORK.host(VIP);
    let site = Site { client, appliance, ports: vec![trunk.first], servers, vips, wording };
    Ok(OneArmRouted { site, router: None, vlan_switch: Some(vlan_switch) })
}
