//! Hosts of a lab: a name, a namespace, an address of each family, a gateway, and perhaps a narrow hop before
//! it.
//!
//! Every network of a lab has a number: 198.18.N.0/24 and 2001:db8:N::/64, and a host in it a number too,
//! which reads alike in both families: host 11 is 198.18.N.11 and 2001:db8:N::11. From 256 on it lies in
//! 198.19: network 256 is 198.19.0.0/24 and 2001:db8:256::/64.

use std::net::IpAddr;

use crate::error::Result;
use crate::link::Endpoint;
use crate::namespace::Namespace;
use crate::testbed::Testbed;

use super::hop;

/// A network of a lab by its number; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub u16);

impl Network {
    /// A host's addresses, IPv4 and IPv6.
    pub fn host(self, number: u8) -> [IpAddr; 2] {
        let [above, network] = self.0.to_be_bytes();
        let v4 = IpAddr::from([198, 18 + above, network, number]);
        // .11 has ::11 beside it, as people write it: the decimal digits, read as hexadecimal ones.
        let digit = |value: u16| value % 10;
        let written = |value: u16| digit(value / 100) << 8 | digit(value / 10) << 4 | digit(value);
        let v6 = IpAddr::from([0x2001, 0xdb8, written(self.0), 0, 0, 0, 0, written(number.into())]);
        [v4, v6]
    }

    /// A host's addresses with the network's length: `198.18.0.11/24`.
    pub fn prefixes(self, number: u8) -> [String; 2] {
        let [v4, v6] = self.host(number);
        [format!("{v4}/24"), format!("{v6}/64")]
    }

    /// The network itself, as a route's destination.
    pub fn destinations(self) -> [String; 2] {
        self.prefixes(0)
    }
}

/// A host; see the module.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name, which is its namespace's role too.
    pub name: String,
    /// Its own interface, `eth0`.
    pub end: Endpoint,
    /// The interface that its network sees: its own, or that of the router before it.
    pub wire: Endpoint,
    /// Its IPv4 address.
    pub v4: IpAddr,
    /// Its IPv6 address.
    pub v6: IpAddr,
    /// The virtual addresses on its loopback, as direct server return wants them.
    pub held: Vec<IpAddr>,
}

/// What a host shall be.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostPlan<'a> {
    pub name: &'a str,
    pub network: Network,
    pub number: u8,
    /// The number of its gateway in its network.
    pub gateway: Option<u8>,
    /// Whether a narrow hop stands before it; see [`hop`].
    pub behind_hop: bool,
    /// Other addresses that it holds and answers from (those of direct server return).
    pub holds: &'a [IpAddr],
}

impl HostPlan<'_> {
    pub(super) fn gateways(&self) -> Option<[IpAddr; 2]> {
        self.gateway.map(|number| self.network.host(number))
    }
}

impl Host {
    /// Makes it and its link to `at`: a namespace, and the interface's name there. Gives that end too.
    pub(super) fn create(
        testbed: &Testbed,
        plan: &HostPlan<'_>,
        at: (&Namespace, &str),
    ) -> Result<(Self, Endpoint)> {
        let (end, wire, far) = if plan.behind_hop {
            hop::create(testbed, plan, at)?
        } else {
            let namespace = testbed.namespace(plan.name)?;
            let link = testbed.link((&namespace, "eth0"), at)?;
            for prefix in plan.network.prefixes(plan.number) {
                link.first.add_address(&prefix)?;
            }
            for gateway in plan.gateways().into_iter().flatten() {
                namespace.add_default_route(gateway)?;
            }
            (link.first.clone(), link.first, link.second)
        };
        plan.holds.iter().try_for_each(|address| end.namespace().hold_address(*address))?;
        let [v4, v6] = plan.network.host(plan.number);
        Ok((Self { name: plan.name.into(), end, wire, v4, v6, held: plan.holds.to_vec() }, far))
    }

    /// Makes it as a station of a switch, at a port of its name.
    pub(super) fn on_switch(testbed: &Testbed, plan: &HostPlan<'_>, switch: &Namespace) -> Result<Self> {
        let (host, port) = Self::create(testbed, plan, (switch, plan.name))?;
        port.join_bridge(super::SWITCH)?;
        Ok(host)
    }

    /// Where it lives.
    pub fn namespace(&self) -> &Namespace {
        self.end.namespace()
    }

    /// Its IPv4 and its IPv6 address.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4, self.v6]
    }

    /// All addresses that it answers from.
    pub fn all_addresses(&self) -> Vec<IpAddr> {
        self.addresses().into_iter().chain(self.held.iter().copied()).collect()
    }

    /// Its address of the same family as `like`.
    pub fn address_like(&self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() { self.v4 } else { self.v6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_reads_alike_in_both_families() {
        assert_eq!(Network(0).host(50).map(|ip| ip.to_string()), ["198.18.0.50", "2001:db8::50"]);
        assert_eq!(Network(2).host(251).map(|ip| ip.to_string()), ["198.18.2.251", "2001:db8:2::251"]);
        assert_eq!(Network(12).destinations(), ["198.18.12.0/24", "2001:db8:12::/64"]);
        assert_eq!(Network(257).destinations(), ["198.19.1.0/24", "2001:db8:257::/64"]);
    }
}
