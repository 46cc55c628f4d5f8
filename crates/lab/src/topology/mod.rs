//! The labs that have a name, and what they are made of.

pub mod fwlb;
mod gateway;
mod hop;
mod host;
pub mod l2_dsr;
pub mod l3_dsr;
pub mod one_arm_routed;
pub mod routed_two_ports;
mod site;
pub mod slb_groups;
pub mod slb_routed;
pub mod straight;
pub mod transparent_inline;
pub mod transparent_one_arm;
pub mod traps;

use crate::error::Result;
use crate::namespace::Namespace;
use crate::testbed::Testbed;

pub use gateway::Router;
pub use hop::{HOP_MTU_BYTES, Hop};
pub use host::{Host, Network};
pub use site::{BRIDGE, HOLD_PORT, HTTP_PORT, Options, Peers, Site, SiteService, TRANSFER_PORT, UDP_PORT};

use host::HostPlan;

/// The bridge of every switch namespace.
const SWITCH: &str = "br0";

/// How many servers every lab has.
const SERVER_COUNT: u8 = 3;

/// The number of the first server in its network.
const FIRST_SERVER: u8 = 11;

/// The number of every client in its network.
const CLIENT: u8 = 50;

/// The number of the virtual addresses in their network.
const VIP: u8 = 10;

/// A namespace that is a switch.
fn switch(testbed: &Testbed, role: &str) -> Result<Namespace> {
    let namespace = testbed.namespace(role)?;
    namespace.add_bridge(SWITCH)?;
    Ok(namespace)
}

/// `server1` to `server3` on a switch, each like `plan` but for its name and its number.
fn servers(testbed: &Testbed, plan: &HostPlan<'_>, switch: &Namespace) -> Result<Vec<Host>> {
    let server = |index: u8| {
        let name = format!("server{}", index + 1);
        let plan = HostPlan { name: &name, number: FIRST_SERVER + index, ..*plan };
        Host::on_switch(testbed, &plan, switch)
    };
    (0..SERVER_COUNT).map(server).collect()
}
