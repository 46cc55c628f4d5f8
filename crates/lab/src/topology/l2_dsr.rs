//! Direct server return on one network: the appliance hands the packet as it is to a server, which answers
//! itself.
//!
//! ```text
//!  client 198.18.0.50 ── router ── switch ─┬─ server1 198.18.1.11 (and the virtual address on its loopback)
//!               198.18.0.1  198.18.1.1     ├─ server2 .12
//!                                │         └─ server3 .13
//!                          appliance arm 198.18.1.2
//! ```
//!
//! The virtual addresses 198.18.1.10 and 2001:db8:1::10 lie in the servers' network; the appliance alone
//! answers for them. The servers' gateway is the router, so replies never cross the appliance.

use crate::error::Result;
use crate::testbed::Testbed;

use super::host::{Host, HostPlan, Network};
use super::site::{PortWording, Site, Wording};
use super::{CLIENT, Hop, Router, VIP, servers, switch};

pub(super) const CLIENT_NETWORK: Network = Network(0);
pub(super) const SERVER_NETWORK: Network = Network(1);
pub(super) const ROUTER: u8 = 1;
pub(super) const APPLIANCE: u8 = 2;

/// The lab, without peers; see the module.
#[derive(Debug)]
pub struct L2Dsr {
    /// Client, appliance and servers. The only port is `arm`.
    pub site: Site,
    /// The router between the networks: `clients` and `servers`.
    pub router: Router,
}

/// Builds the lab in a testbed.
pub fn l2_dsr(testbed: &Testbed, hop: Hop) -> Result<L2Dsr> {
    let switch = switch(testbed, "switch")?;
    let appliance = testbed.namespace("appliance")?;
    let (client, mut router) = client_and_router(testbed, hop)?;
    router.join_switch(testbed, "servers", (&switch, "router"), SERVER_NETWORK, ROUTER)?;

    let arm = testbed.link((&appliance, "arm"), (&switch, "appliance"))?;
    arm.second.join_bridge(super::SWITCH)?;
    SERVER_NETWORK.prefixes(APPLIANCE).iter().try_for_each(|prefix| arm.first.add_address(prefix))?;
    SERVER_NETWORK.host(ROUTER).iter().try_for_each(|gateway| appliance.add_default_route(*gateway))?;

    let vips = SERVER_NETWORK.host(VIP);
    let plan = HostPlan {
        name: "",
        network: SERVER_NETWORK,
        number: 0,
        gateway: Some(ROUTER),
        behind_hop: hop == Hop::Servers,
        holds: &vips,
    };
    let servers = servers(testbed, &plan, &switch)?;
    let wording = Wording {
        ports: vec![PortWording::of(&arm.first)],
        mode: "l2-dsr",
        source_nat: "never",
        ..Wording::default()
    };
    Ok(L2Dsr { site: Site { client, appliance, ports: vec![arm.first], servers, vips, wording }, router })
}

/// The client and, as its gateway, a router that is in the client's network only.
pub(super) fn client_and_router(testbed: &Testbed, hop: Hop) -> Result<(Host, Router)> {
    let mut router = Router::create(testbed, "router")?;
    let plan = HostPlan {
        name: "client",
        network: CLIENT_NETWORK,
        number: CLIENT,
        gateway: Some(ROUTER),
        behind_hop: hop == Hop::Client,
        holds: &[],
    };
    let (client, end) = Host::create(testbed, &plan, (&router.namespace, "clients"))?;
    router.join(end, CLIENT_NETWORK, ROUTER)?;
    Ok((client, router))
}
