//! A router of a lab: a namespace whose kernel routes, with one interface per network.

use crate::error::Result;
use crate::link::Endpoint;
use crate::namespace::Namespace;
use crate::testbed::Testbed;

use super::host::Network;

/// A router; see the module.
#[derive(Clone, Debug)]
pub struct Router {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its interfaces, in the order in which they were made.
    pub ends: Vec<Endpoint>,
}

impl Router {
    pub(super) fn create(testbed: &Testbed, role: &str) -> Result<Self> {
        let namespace = testbed.namespace(role)?;
        namespace.forward_packets()?;
        Ok(Self { namespace, ends: Vec::new() })
    }

    /// Puts it into a network, as host `number`, at an end that a host's link has in its namespace.
    pub(super) fn join(&mut self, end: Endpoint, network: Network, number: u8) -> Result<()> {
        network.prefixes(number).iter().try_for_each(|prefix| end.add_address(prefix))?;
        self.ends.push(end);
        Ok(())
    }

    /// Puts it into a network as a station of a switch, with an interface of the given name.
    pub(super) fn join_switch(
        &mut self,
        testbed: &Testbed,
        interface: &str,
        switch: (&Namespace, &str),
        network: Network,
        number: u8,
    ) -> Result<()> {
        let link = testbed.link((&self.namespace, interface), switch)?;
        link.second.join_bridge(super::SWITCH)?;
        self.join(link.first, network, number)
    }
}
