//! Transparent mode inline: the appliance is a bridge in the only way between clients and servers.
//!
//! ```text
//!  client .50 ─┐                                         ┌─ server1 .11
//!  hosta  .21 ─┼─ switch ── outside [ br0 .2 ] inside ── switch ─┼─ server2 .12
//!  router .1  ─┘                                         ├─ server3 .13
//!     │                                                  └─ hostb   .22
//!  remote 198.18.5.50
//! ```
//!
//! One network for all: 198.18.0.0/24 and 2001:db8::/64; the virtual addresses are .10 and ::10 in it.
//! Everybody's gateway is the router, behind which a second client lives. The appliance's interfaces have no
//! address: its own is on its bridge's host leg.

use crate::error::Result;
use crate::testbed::Testbed;

use super::host::{Host, HostPlan, Network};
use super::site::{PortWording, Site, Wording};
use super::{CLIENT, Hop, Router, VIP, servers, switch};

const NETWORK: Network = Network(0);
const REMOTE_NETWORK: Network = Network(5);
const ROUTER: u8 = 1;
const APPLIANCE: u8 = 2;

/// The lab, without peers; see the module.
#[derive(Debug)]
pub struct TransparentInline {
    /// Client, appliance and servers. Its ports are `outside` and `inside`.
    pub site: Site,
    /// A host outside that has nothing to do with the service.
    pub host_a: Host,
    /// A host inside that has nothing to do with the service.
    pub host_b: Host,
    /// The router, outside.
    pub router: Router,
    /// A client behind the router.
    pub remote: Host,
}

/// Builds the lab in a testbed.
pub fn transparent_inline(testbed: &Testbed, hop: Hop) -> Result<TransparentInline> {
    let appliance = testbed.namespace("appliance")?;
    let (outer, inner) = (switch(testbed, "outer")?, switch(testbed, "inner")?);
    let outside = testbed.link((&appliance, "outside"), (&outer, "appliance"))?;
    let inside = testbed.link((&appliance, "inside"), (&inner, "appliance"))?;
    let ports = vec![outside.first, inside.first];
    [outside.second, inside.second].iter().try_for_each(|end| end.join_bridge(super::SWITCH))?;
    ports.iter().try_for_each(|port| port.silence_ipv6())?;

    let plan = |name, number| HostPlan {
        name,
        network: NETWORK,
        number,
        gateway: Some(ROUTER),
        behind_hop: false,
        holds: &[],
    };
    let behind_hop = hop == Hop::Client;
    let client = HostPlan { behind_hop, ..plan("client", CLIENT) };
    let client = Host::on_switch(testbed, &client, &outer)?;
    let host_a = Host::on_switch(testbed, &plan("hosta", 21), &outer)?;
    let host_b = Host::on_switch(testbed, &plan("hostb", 22), &inner)?;
    let each = HostPlan { behind_hop: hop == Hop::Servers, ..plan("", 0) };
    let servers = servers(testbed, &each, &inner)?;

    let mut router = Router::create(testbed, "router")?;
    router.join_switch(testbed, "lan", (&outer, "router"), NETWORK, ROUTER)?;
    let remote = HostPlan { network: REMOTE_NETWORK, behind_hop, ..plan("remote", CLIENT) };
    let (remote, end) = Host::create(testbed, &remote, (&router.namespace, "remote"))?;
    router.join(end, REMOTE_NETWORK, ROUTER)?;

    let wording = Wording {
        ports: ports.iter().map(PortWording::of).collect(),
        bridge: Some(NETWORK.prefixes(APPLIANCE)),
        mode: "transparent",
        source_nat: "auto",
        ..Wording::default()
    };
    let site = Site { client, appliance, ports, servers, vips: NETWORK.host(VIP), wording };
    Ok(TransparentInline { site, host_a, host_b, router, remote })
}
