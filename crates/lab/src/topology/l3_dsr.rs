//! Direct server return across networks: the appliance sends the packet in a tunnel, or with a mark, to a
//! server that may be anywhere, and the server answers the client itself.
//!
//! ```text
//!  client 198.18.0.50 ── .1 ┐                ┌ .1 ── switch ─┬─ server1 198.18.2.11 (and the virtual address
//!                           ├── router r1 ───┤               ├─ server2 .12          on its loopback)
//!  appliance arm .2 ─── .1 ─┘                                └─ server3 .13
//!     198.18.1.0/24
//! ```
//!
//! The virtual addresses 198.18.1.10 and 2001:db8:1::10 lie in the appliance's network, as does the outer
//! source of its tunnels, .251 and ::251. Everybody's gateway is the router.

use crate::error::Result;
use crate::peer::{Decapsulator, Tunnel, rewrite_dscp};
use crate::testbed::Testbed;

use super::host::{HostPlan, Network};
use super::l2_dsr::{APPLIANCE, ROUTER, client_and_router};
use super::site::{PortWording, Site, Wording};
use super::{Hop, Router, SERVER_COUNT, VIP, servers, switch};

const APPLIANCE_NETWORK: Network = Network(1);
const SERVER_NETWORK: Network = Network(2);

/// The number of the tunnels' outer source in the appliance's network.
const TUNNEL_SOURCE: u8 = 251;

/// The mark of the first server; the next ones follow.
const FIRST_DSCP: u8 = 11;

/// How a packet finds its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// IP in IP.
    Ipip,
    /// GUE variant 1.
    Gue,
    /// The server's real address, and a mark that stands for the virtual one.
    Dscp,
}

impl Encapsulation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ipip, Self::Gue, Self::Dscp];

    /// As a configuration writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Dscp => "dscp",
        }
    }
}

/// The lab, without the servers' programs; see the module.
#[derive(Debug)]
pub struct L3Dsr {
    /// Client, appliance and servers. The only port is `arm`.
    pub site: Site,
    /// The router between the networks: `clients`, `appliance` and `servers`.
    pub router: Router,
    /// The servers' tunnel ends, in their order; none for [`Encapsulation::Dscp`].
    pub decapsulators: Vec<Decapsulator>,
}

/// Builds the lab in a testbed. The servers take what the encapsulation brings from here on.
pub fn l3_dsr(testbed: &Testbed, encapsulation: Encapsulation, hop: Hop) -> Result<L3Dsr> {
    let switch = switch(testbed, "switch")?;
    let appliance = testbed.namespace("appliance")?;
    let (client, mut router) = client_and_router(testbed, hop)?;
    let arm = testbed.link((&appliance, "arm"), (&router.namespace, "appliance"))?;
    router.join(arm.second, APPLIANCE_NETWORK, ROUTER)?;
    router.join_switch(testbed, "servers", (&switch, "router"), SERVER_NETWORK, ROUTER)?;
    APPLIANCE_NETWORK.prefixes(APPLIANCE).iter().try_for_each(|prefix| arm.first.add_address(prefix))?;
    APPLIANCE_NETWORK.host(ROUTER).iter().try_for_each(|gateway| appliance.add_default_route(*gateway))?;

    let vips = APPLIANCE_NETWORK.host(VIP);
    let plan = HostPlan {
        name: "",
        network: SERVER_NETWORK,
        number: 0,
        gateway: Some(ROUTER),
        behind_hop: hop == Hop::Servers,
        holds: &vips,
    };
    let servers = servers(testbed, &plan, &switch)?;
    let ports = vec![PortWording::of(&arm.first)];
    let wording = Wording { ports, mode: "l3-dsr", source_nat: "never", ..Wording::default() };
    let encapsulated = format!("encapsulation = \"{}\"", encapsulation.word());
    let (mut decapsulators, mut dscp) = (Vec::new(), Vec::new());
    let mut lines = [vec![encapsulated.clone()], vec![encapsulated]];
    let tunnel = match encapsulation {
        Encapsulation::Ipip => Some(Tunnel::Ipip),
        Encapsulation::Gue => Some(Tunnel::Gue),
        Encapsulation::Dscp => None,
    };
    match tunnel {
        Some(tunnel) => {
            for (lines, source) in lines.iter_mut().zip(APPLIANCE_NETWORK.host(TUNNEL_SOURCE)) {
                lines.push(format!("encapsulation_source = \"{source}\""));
            }
            for server in &servers {
                decapsulators.push(Decapsulator::start(server.namespace(), tunnel, &vips)?);
            }
        }
        None => {
            dscp.extend((0..SERVER_COUNT).map(|index| FIRST_DSCP + index));
            for (server, dscp) in servers.iter().zip(&dscp) {
                rewrite_dscp(server.namespace(), *dscp, server.addresses(), vips)?;
            }
        }
    }
    let wording = Wording { lines, dscp, ..wording };
    let site = Site { client, appliance, ports: vec![arm.first], servers, vips, wording };
    Ok(L3Dsr { site, router, decapsulators })
}
