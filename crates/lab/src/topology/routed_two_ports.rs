//! Routed mode between two networks, as a [`Site`]: the network of [`super::slb_routed`], with the hops,
//! services and peers that all modes' labs have.
//!
//! ```text
//!  client 198.18.0.50 ── outside 198.18.0.1  appliance  inside 198.18.1.1 ── switch ─┬─ server1 198.18.1.11
//!                                                                                    ├─ server2 .12
//!                        virtual address 198.18.0.10                                 └─ server3 .13
//! ```
//!
//! The appliance is everybody's gateway.

use crate::error::Result;
use crate::testbed::Testbed;

use super::host::{Host, HostPlan, Network};
use super::site::{PortWording, Site, Wording};
use super::{CLIENT, Hop, VIP, servers, switch};

const CLIENT_NETWORK: Network = Network(0);
const SERVER_NETWORK: Network = Network(1);
const APPLIANCE: u8 = 1;

/// Builds the lab, without peers, in a testbed. Its ports are `outside` and `inside`.
pub fn routed_two_ports(testbed: &Testbed, hop: Hop) -> Result<Site> {
    let (switch, appliance) = (switch(testbed, "switch")?, testbed.namespace("appliance")?);
    let plan = HostPlan {
        name: "client",
        network: CLIENT_NETWORK,
        number: CLIENT,
        gateway: Some(APPLIANCE),
        behind_hop: hop == Hop::Client,
        holds: &[],
    };
    let (client, outside) = Host::create(testbed, &plan, (&appliance, "outside"))?;
    let inside = testbed.link((&appliance, "inside"), (&switch, "appliance"))?;
    inside.second.join_bridge(super::SWITCH)?;
    let ports = vec![outside, inside.first];
    for (port, network) in ports.iter().zip([CLIENT_NETWORK, SERVER_NETWORK]) {
        network.prefixes(APPLIANCE).iter().try_for_each(|prefix| port.add_address(prefix))?;
    }
    let behind_hop = hop == Hop::Servers;
    let servers = servers(testbed, &HostPlan { network: SERVER_NETWORK, behind_hop, ..plan }, &switch)?;
    let wording = Wording {
        ports: ports.iter().map(PortWording::of).collect(),
        mode: "routed",
        source_nat: "auto",
        ..Wording::default()
    };
    Ok(Site { client, appliance, ports, servers, vips: CLIENT_NETWORK.host(VIP), wording })
}
