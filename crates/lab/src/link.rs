//! A link: one veth pair straight between two namespaces, made so that raw sockets see what a wire would
//! carry.
//!
//! One queue each way, because a socket on queue 0 of a veth with more queues may receive nothing; every
//! offload that leaves frames unfinished or oversized (checksums, segmentation, scatter-gather, receive
//! merging) off at both ends.

use wire::Mac;

use crate::address::Prefix;
use crate::error::Result;
use crate::namespace::Namespace;
use crate::program;

/// The offloads, as `ethtool` calls them.
const OFFLOADS: [&str; 6] = ["rx", "tx", "sg", "tso", "gso", "gro"];

/// One end of a [`Link`].
#[derive(Clone, Debug)]
pub struct Endpoint {
    namespace: Namespace,
    interface: String,
    mac: Mac,
}

/// Two interfaces joined back to back.
#[derive(Clone, Debug)]
pub struct Link {
    /// The end that was named first.
    pub first: Endpoint,
    /// The other end.
    pub second: Endpoint,
}

impl Link {
    /// Makes the pair: (namespace, interface name) twice. Both ends are up, without addresses.
    pub(crate) fn create(first: (&Namespace, &str), second: (&Namespace, &str)) -> Result<Self> {
        let [first, second] = [first, second].map(|(namespace, interface)| {
            let mac = Mac(namespace.ledger().next_mac()?);
            Ok(Endpoint { namespace: namespace.clone(), interface: interface.into(), mac })
        });
        let (first, second): (Endpoint, Endpoint) = (first?, second?);
        let (a, b) = (first.mac.to_string(), second.mac.to_string());
        let words =
            [&["link", "add"][..], &first.attributes(&a), &["type", "veth", "peer"], &second.attributes(&b)];
        program::ip(&words.concat())?;
        for end in [&first, &second] {
            let settings = OFFLOADS.iter().flat_map(|offload| [*offload, "off"]);
            let arguments: Vec<&str> = ["-K", &end.interface].into_iter().chain(settings).collect();
            end.namespace.output("ethtool", &arguments)?;
            end.namespace.set_link(&end.interface, true)?;
        }
        Ok(Self { first, second })
    }
}

impl Endpoint {
    fn attributes<'a>(&'a self, mac: &'a str) -> [&'a str; 10] {
        let queues = ["numrxqueues", "1", "numtxqueues", "1"];
        let [a, b, c, d] = queues;
        ["name", &self.interface, "netns", self.namespace.name(), a, b, c, d, "address", mac]
    }

    /// The namespace that it is in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The interface's name there.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its hardware address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Gives it an address, `198.18.0.1/24`, usable at once.
    pub fn add_address(&self, prefix: &str) -> Result<()> {
        let prefix: Prefix = prefix.parse()?;
        let text = prefix.to_string();
        let mut words = vec!["address", "add", &text, "dev", &self.interface];
        if prefix.address().is_ipv6() {
            words.push("nodad");
        }
        self.namespace.ip(&words)?;
        Ok(())
    }

    /// Makes it a port of a bridge in its namespace.
    pub fn join_bridge(&self, bridge: &str) -> Result<()> {
        self.namespace.ip(&["link", "set", &self.interface, "master", bridge])?;
        Ok(())
    }

    /// Takes the interface down or up; see [`Namespace::set_link`].
    pub fn set_up(&self, up: bool) -> Result<()> {
        self.namespace.set_link(&self.interface, up)
    }
}
