//! The textbook's two traps in one lab, and their cures.
//!
//! ```text
//!  client 198.18.0.50 ── router ── switch ─┬─ server1 198.18.1.11
//!               198.18.0.1  198.18.1.1     ├─ server2 .12
//!                                │         ├─ server3 .13
//!            appliance arm 198.18.1.2      └─ caller  .14
//!            virtual address 198.18.1.10
//! ```
//!
//! The first trap: the appliance sends a request on to a server, whose gateway is the router; the reply goes
//! to the client straight, from an address that it has not called. The second: a host of the servers' own
//! network calls the virtual address; the server answers its neighbour straight, whatever its gateway is.
//!
//! With [`Variant::OwnPorts`] the appliance is the switch:
//!
//! ```text
//!  client ── router ── uplink [ br0 198.18.1.2 ] ports server1, server2, server3 and caller, a host behind each
//! ```

use crate::error::Result;
use crate::link::Endpoint;
use crate::namespace::Namespace;
use crate::testbed::Testbed;

use super::host::{Host, HostPlan};
use super::l2_dsr::{APPLIANCE, ROUTER, SERVER_NETWORK, client_and_router};
use super::site::{PortWording, Site, Wording};
use super::{FIRST_SERVER, Hop, Router, SERVER_COUNT, SWITCH, VIP, switch};

/// A trap, or one of its cures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// No cure: the replies bypass the appliance.
    Bypass,
    /// The appliance is the servers' gateway: cures the first trap alone.
    Gateway,
    /// The appliance translates the source where the reply would bypass it: cures both.
    SourceNat,
    /// The servers answer from the virtual address: cures both.
    Dsr,
    /// The appliance is a bridge, and each server, and the caller, is behind a port of its own: cures both.
    OwnPorts,
}

impl Variant {
    /// All of them, the trap first.
    pub const ALL: [Self; 5] = [Self::Bypass, Self::Gateway, Self::SourceNat, Self::Dsr, Self::OwnPorts];

    /// Whether a client behind the router gets answers.
    pub fn cures_one_arm(self) -> bool {
        self != Self::Bypass
    }

    /// Whether a host of the servers' network gets answers.
    pub fn cures_same_subnet(self) -> bool {
        !matches!(self, Self::Bypass | Self::Gateway)
    }

    /// Mode, source NAT and return path.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Bypass => ("routed", "never", "any"),
            Self::Gateway => ("routed", "never", "gateway"),
            Self::SourceNat => ("routed", "auto", "any"),
            Self::Dsr => ("l2-dsr", "never", "any"),
            Self::OwnPorts => ("transparent", "never", "any"),
        }
    }
}

/// The lab, without peers; see the module.
#[derive(Debug)]
pub struct Traps {
    /// Client, appliance and servers. The only port is `arm`; with own ports they are `uplink` and those that
    /// are called like the hosts behind them.
    pub site: Site,
    /// A host of the servers' network that is no server: the client of the second trap.
    pub caller: Host,
    /// The router between the networks, `clients` and `servers`.
    pub router: Router,
}

/// Builds the lab in a testbed.
pub fn traps(testbed: &Testbed, variant: Variant, hop: Hop) -> Result<Traps> {
    let (switch, appliance) = (switch(testbed, "switch")?, testbed.namespace("appliance")?);
    let (client, mut router) = client_and_router(testbed, hop)?;
    router.join_switch(testbed, "servers", (&switch, "router"), SERVER_NETWORK, ROUTER)?;
    let own_ports = variant == Variant::OwnPorts;
    let first = if own_ports { "uplink" } else { "arm" };
    let first = testbed.link((&appliance, first), (&switch, "appliance"))?;
    first.second.join_bridge(SWITCH)?;
    let mut ports = vec![first.first];
    let vips = SERVER_NETWORK.host(VIP);
    let plan = HostPlan {
        name: "caller",
        network: SERVER_NETWORK,
        number: FIRST_SERVER + SERVER_COUNT,
        gateway: Some(if variant == Variant::Gateway { APPLIANCE } else { ROUTER }),
        behind_hop: false,
        holds: &[],
    };
    let place = if own_ports { None } else { Some(&switch) };
    let mut servers = Vec::new();
    for index in 0..SERVER_COUNT {
        let name = format!("server{}", index + 1);
        let holds: &[_] = if variant == Variant::Dsr { &vips } else { &[] };
        let behind_hop = hop == Hop::Servers;
        let server = HostPlan { name: &name, number: FIRST_SERVER + index, behind_hop, holds, ..plan };
        servers.push(place_host(testbed, &server, place, &appliance, &mut ports)?);
    }
    let caller = place_host(testbed, &plan, place, &appliance, &mut ports)?;
    let own = SERVER_NETWORK.prefixes(APPLIANCE);
    if own_ports {
        ports.iter().try_for_each(Endpoint::silence_ipv6)?;
    } else {
        ports.iter().try_for_each(|arm| own.iter().try_for_each(|prefix| arm.add_address(prefix)))?;
        SERVER_NETWORK.host(ROUTER).iter().try_for_each(|gateway| appliance.add_default_route(*gateway))?;
    }
    let (mode, source_nat, return_path) = variant.words();
    // The other modes have no choice of it.
    let lines = if mode == "routed" { vec![format!("return_path = \"{return_path}\"")] } else { Vec::new() };
    let wording = Wording {
        ports: ports.iter().map(PortWording::of).collect(),
        bridge: own_ports.then_some(own),
        mode,
        source_nat,
        lines: [lines.clone(), lines],
        ..Wording::default()
    };
    Ok(Traps { site: Site { client, appliance, ports, servers, vips, wording }, caller, router })
}

/// A host on the switch, or behind a port of the appliance, which is then called like it.
fn place_host(
    testbed: &Testbed,
    plan: &HostPlan<'_>,
    switch: Option<&Namespace>,
    appliance: &Namespace,
    ports: &mut Vec<Endpoint>,
) -> Result<Host> {
    if let Some(switch) = switch {
        return Host::on_switch(testbed, plan, switch);
    }
    let (host, port) = Host::create(testbed, plan, (appliance, plan.name))?;
    ports.push(port);
    Ok(host)
}
