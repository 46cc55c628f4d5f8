//! The straight testbed: a device between two links, with a generator or with real peers at their far ends.
//!
//! ```text
//!              ┌───────────────── clients 198.18.0.2 ── outside 198.18.0.1 ┐
//!   gen, or:   │  198.19.0.0/16 behind it                                  │ device
//!   client,    │                                                           │
//!   server     └───────────────── servers 198.18.1.11 ── inside 198.18.1.1 ┘
//!                                 .12, .13 and .14 too
//! ```
//!
//! The virtual address is 198.18.0.10 (2001:db8::10). Clients call it through the gateway 198.18.0.1; the servers hold
//! it too, on their loopback, for devices that only forward. So the same frames, and the same calls, cross every
//! device. A [wire](Straight::wire) has no device: the two ends see each other.
//!
//! Links have one queue and no offloads. Everybody's neighbours are permanent, since a generator answers no ARP and
//! nobody shall be measured while he asks. Any thread; blocks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Mac;

use crate::error::Result;
use crate::link::{Endpoint, Link};
use crate::namespace::Namespace;
use crate::testbed::Testbed;

/// The virtual addresses, IPv4 and IPv6.
pub const VIPS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)),
];

/// Where clients beyond the clients' link are: a generator's flows come from here.
pub const CALLERS: [&str; 2] = ["198.19.0.0/16", "2001:db8:64::/64"];

/// How many servers a device has to choose from.
pub const SERVERS: u8 = 4;

/// What the servers are called; all of them are at the servers' end.
const FIRST_SERVER: u8 = 11;

/// The clients' own addresses.
const CLIENT: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2))];

/// The device's addresses.
const OUTSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
const INSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 18, 1, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1))];

/// The lengths of their networks.
const LENGTHS: [u8; 2] = [24, 64];

/// Of a device that is a bridge: one network that holds both sides.
pub(crate) const BRIDGE: [&str; 2] = ["198.18.0.1/23", "2001:db8::1/47"];

/// The interface names at the far ends.
const CLIENTS_LEG: &str = "clients";
const SERVERS_LEG: &str = "servers";

/// The testbed; see the module.
#[derive(Clone, Debug)]
pub struct Straight {
    /// The end from which is called.
    pub clients: Endpoint,
    /// The end that is called.
    pub servers: Endpoint,
    between: Option<Between>,
}

/// The place for a device.
#[derive(Clone, Debug)]
struct Between {
    outside: Endpoint,
    inside: Endpoint,
}

/// Who is at the far ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarEnds {
    /// A generator: both ends are in one namespace, `gen`, whose kernel says nothing.
    Generator,
    /// Programs: the ends are in namespaces of their own, `client` and `server`, with addresses and routes.
    Peers,
}

/// A server's address, by its place, in the family of `like`.
pub fn server(index: u8, like: IpAddr) -> IpAddr {
    let number = FIRST_SERVER + index % SERVERS;
    match like {
        IpAddr::V4(_) => Ipv4Addr::new(198, 18, 1, number).into(),
        // .11 has ::11 beside it.
        IpAddr::V6(_) => {
            Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(number) + 0x11 - u16::from(FIRST_SERVER))
                .into()
        }
    }
}

/// All servers, in the family of `like`.
pub fn servers(like: IpAddr) -> impl Iterator<Item = IpAddr> {
    (0..SERVERS).map(move |index| server(index, like))
}

impl Straight {
    /// Both links, with a namespace `device` between them that does nothing yet.
    pub fn with_device(testbed: &Testbed, far_ends: FarEnds) -> Result<Self> {
        let (client, server) = far_ends.namespaces(testbed)?;
        let device = testbed.namespace("device")?;
        let outer = testbed.link((&client, CLIENTS_LEG), (&device, "outside"))?;
        let inner = testbed.link((&server, SERVERS_LEG), (&device, "inside"))?;
        let between = Between { outside: outer.second, inside: inner.second };
        let straight = Self { clients: outer.first, servers: inner.first, between: Some(between) };
        straight.settle(far_ends)?;
        Ok(straight)
    }

    /// One link without a device.
    pub fn wire(testbed: &Testbed, far_ends: FarEnds) -> Result<Self> {
        let (client, server) = far_ends.namespaces(testbed)?;
        let Link { first, second } = testbed.link((&client, CLIENTS_LEG), (&server, SERVERS_LEG))?;
        let straight = Self { clients: first, servers: second, between: None };
        straight.settle(far_ends)?;
        Ok(straight)
    }

    /// The device's ends of both links; none of a wire.
    pub fn device(&self) -> Option<(&Endpoint, &Endpoint)> {
        self.between.as_ref().map(|Between { outside, inside }| (outside, inside))
    }

    /// Whom clients send to: the device, or what answers in its place.
    pub fn next_hop(&self) -> Mac {
        self.clients.opposite().mac()
    }

    fn settle(&self, far_ends: FarEnds) -> Result<()> {
        match far_ends {
            FarEnds::Generator => {
                [&self.clients, &self.servers].iter().try_for_each(|end| end.silence_ipv6())
            }
            FarEnds::Peers => self.settle_clients().and_then(|()| self.settle_servers()),
        }
    }

    /// Clients reach the virtual address as a neighbour and everything else by the gateway: both are behind the link.
    fn settle_clients(&self) -> Result<()> {
        let Endpoints { end, namespace, opposite } = Endpoints::of(&self.clients);
        add_addresses(end, CLIENT)?;
        for (vip, gateway) in VIPS.into_iter().zip(OUTSIDE) {
            namespace.add_neighbour(vip, opposite, end.interface())?;
            namespace.add_neighbour(gateway, opposite, end.interface())?;
            namespace.add_default_route(gateway)?;
        }
        // A port of a connection that has just ended is free for the next one, or a second of calls uses them up.
        namespace
            .set_parameters(&[("net.ipv4.ip_local_port_range", "1024 65535"), ("net.ipv4.tcp_tw_reuse", "1")])
    }

    fn settle_servers(&self) -> Result<()> {
        let Endpoints { end, namespace, opposite } = Endpoints::of(&self.servers);
        for index in 0..SERVERS {
            add_addresses(end, VIPS.map(|vip| server(index, vip)))?;
        }
        for (vip, gateway) in VIPS.into_iter().zip(INSIDE) {
            namespace.hold_address(vip)?;
            namespace.add_neighbour(gateway, opposite, end.interface())?;
            namespace.add_default_route(gateway)?;
        }
        Ok(())
    }

    /// Gives the device's kernel its addresses, neighbours, and the way to callers, as a router has them.
    pub(crate) fn address_device(&self) -> Result<()> {
        let Some((outside, inside)) = self.device() else { return Ok(()) };
        add_addresses(outside, OUTSIDE)?;
        add_addresses(inside, INSIDE)?;
        self.know_neighbours(outside.namespace(), outside.interface(), inside.interface())
    }

    /// Tells a namespace where clients and servers are.
    pub(crate) fn know_neighbours(&self, namespace: &Namespace, outside: &str, inside: &str) -> Result<()> {
        for ((client, vip), callers) in CLIENT.into_iter().zip(VIPS).zip(CALLERS) {
            namespace.add_neighbour(client, self.clients.mac(), outside)?;
            namespace.add_route(callers, client)?;
            for server in servers(vip) {
                namespace.add_neighbour(server, self.servers.mac(), inside)?;
            }
        }
        Ok(())
    }
}

impl FarEnds {
    fn namespaces(self, testbed: &Testbed) -> Result<(Namespace, Namespace)> {
        match self {
            Self::Generator => {
                let namespace = testbed.namespace("gen")?;
                Ok((namespace.clone(), namespace))
            }
            Self::Peers => Ok((testbed.namespace("client")?, testbed.namespace("server")?)),
        }
    }
}

/// An end, where it is, and who is opposite.
struct Endpoints<'a> {
    end: &'a Endpoint,
    namespace: &'a Namespace,
    opposite: Mac,
}

impl<'a> Endpoints<'a> {
    fn of(end: &'a Endpoint) -> Self {
        Self { end, namespace: end.namespace(), opposite: end.opposite().mac() }
    }
}

/// Gives an end an address of each family.
fn add_addresses(end: &Endpoint, addresses: [IpAddr; 2]) -> Result<()> {
    addresses
        .iter()
        .zip(LENGTHS)
        .try_for_each(|(address, length)| end.add_address(&format!("{address}/{length}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_read_alike_in_both_families() {
        let of = |vip: IpAddr| servers(vip).map(|server| server.to_string()).collect::<Vec<_>>();
        assert_eq!(of(VIPS[0]), ["198.18.1.11", "198.18.1.12", "198.18.1.13", "198.18.1.14"]);
        assert_eq!(of(VIPS[1]), ["2001:db8:1::11", "2001:db8:1::12", "2001:db8:1::13", "2001:db8:1::14"]);
    }
}
