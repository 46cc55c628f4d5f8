//! Transparent mode with one arm: client, servers and the appliance are stations of one switch.
//!
//! ```text
//!  client .50 ── switch ─┬─ server1 .11
//!                  │     ├─ server2 .12
//!      appliance arm     └─ server3 .13
//!          [ br0 .2 ]
//! ```
//!
//! One network: 198.18.0.0/24 and 2001:db8::/64, the virtual addresses are .10 and ::10 in it. A server would
//! answer the client straight, from an address that the client has not called, so the appliance has to
//! translate the source.

use crate::error::Result;
use crate::testbed::Testbed;

use super::host::{Host, HostPlan, Network};
use super::site::{PortWording, Site, Wording};
use super::{CLIENT, Hop, VIP, servers, switch};

const NETWORK: Network = Network(0);
const APPLIANCE: u8 = 2;

/// Builds the lab, without peers, in a testbed. The only port is `arm`.
pub fn transparent_one_arm(testbed: &Testbed, hop: Hop) -> Result<Site> {
    let (appliance, switch) = (testbed.namespace("appliance")?, switch(testbed, "switch")?);
    let arm = testbed.link((&appliance, "arm"), (&switch, "appliance"))?;
    arm.second.join_bridge(super::SWITCH)?;
    arm.first.silence_ipv6()?;
    let plan = |name, number, behind_hop| HostPlan {
        name,
        network: NETWORK,
        number,
        gateway: None,
        behind_hop,
        holds: &[],
    };
    let client = Host::on_switch(testbed, &plan("client", CLIENT, hop == Hop::Client), &switch)?;
    let servers = servers(testbed, &plan("", 0, hop == Hop::Servers), &switch)?;
    let wording = Wording {
        ports: vec![PortWording::of(&arm.first)],
        bridge: Some(NETWORK.prefixes(APPLIANCE)),
        mode: "transparent",
        source_nat: "auto",
        ..Wording::default()
    };
    Ok(Site { client, appliance, ports: vec![arm.first], servers, vips: NETWORK.host(VIP), wording })
}
