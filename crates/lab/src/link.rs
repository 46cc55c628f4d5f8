//! A link: one veth pair straight between two namespaces, made so that raw sockets see what a wire would
//! carry.
//!
//! One queue each way where nothing else is said, because a socket on queue 0 of a veth with more queues may
//! receive nothing; every offload that leaves frames unfinished or oversized (checksums, segmentation, scatter-gather, receive
//! merging) off at both ends.

use std::fs;

use wire::Mac;

use crate::address::Prefix;
use crate::error::{Error, Result};
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
    opposite: Opposite,
}

/// The other end of a link.
#[derive(Clone, Debug)]
struct Opposite {
    namespace: Namespace,
    interface: String,
    mac: Mac,
}

/// What the kernel has counted on an interface, in whole Ethernet frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received.
    pub received_bytes: u64,
    /// Frames received.
    pub received_frames: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Frames sent.
    pub sent_frames: u64,
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
    /// Makes the pair: (namespace, interface name) twice, and how many queues there are each way. Both ends are
    /// up, without addresses.
    pub(crate) fn create(first: (&Namespace, &str), second: (&Namespace, &str), queues: u8) -> Result<Self> {
        let [first, second] = [first, second].map(|(namespace, interface)| {
            let mac = Mac(namespace.ledger().next_mac()?);
            Ok(Opposite { namespace: namespace.clone(), interface: interface.into(), mac })
        });
        let (first, second): (Opposite, Opposite) = (first?, second?);
        let (first, second) = (second.clone().seen_from(first.clone()), first.seen_from(second));
        let (a, b, queues) = (first.mac.to_string(), second.mac.to_string(), queues.to_string());
        let (a, b) = (first.attributes(&a, &queues), second.attributes(&b, &queues));
        let words = [&["link", "add"][..], &a, &["type", "veth", "peer"], &b];
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

impl Opposite {
    /// The end that has `self` opposite.
    fn seen_from(self, Opposite { namespace, interface, mac }: Self) -> Endpoint {
        Endpoint { namespace, interface, mac, opposite: self }
    }
}

impl Endpoint {
    /// The other end of its link. A capture there sees what a ring of a program's has put on the link or has taken
    /// from it, which passes no tap at this end.
    pub fn opposite(&self) -> Self {
        let Self { namespace, interface, mac, opposite } = self.clone();
        Opposite { namespace, interface, mac }.seen_from(opposite)
    }

    fn attributes<'a>(&'a self, mac: &'a str, queues: &'a str) -> [&'a str; 10] {
        let [a, b, c, d] = ["numrxqueues", queues, "numtxqueues", queues];
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

    /// Sets the longest IP packet that it carries, in bytes.
    pub fn set_mtu(&self, mtu_bytes: u16) -> Result<()> {
        self.namespace.ip(&["link", "set", &self.interface, "mtu", &mtu_bytes.to_string()])?;
        Ok(())
    }

    /// Has the kernel poll what comes in (NAPI), as it does with network cards: a veth does so only with an XDP program
    /// or while it merges frames. Frames that a program redirects to the link are lost where their receiver does not
    /// poll. UDP is not merged; TCP segments of one flow may be.
    pub fn poll_receive(&self) -> Result<()> {
        self.namespace.output("ethtool", &["-K", &self.interface, "gro", "on"])?;
        Ok(())
    }

    /// Takes IPv6 off the interface, so that the kernel says nothing there by itself.
    pub fn silence_ipv6(&self) -> Result<()> {
        self.namespace.set_parameter(&format!("net/ipv6/conf/{}/disable_ipv6", self.interface), "1")
    }

    /// What has crossed it since it was made. Frames that a ring takes or gives are counted too.
    pub fn counters(&self) -> Result<Counters> {
        // `/proc/net` would be the namespace of the process's first thread.
        let path = "/proc/thread-self/net/dev";
        let text = self
            .namespace
            .run(|| fs::read_to_string(path).map_err(Error::system(format!("reading {path}"))))??;
        parse_counters(&text, &self.interface)
            .ok_or_else(|| Error::unusable(self.interface.as_str(), "the kernel counts nothing for it"))
    }

    /// Takes the interface down or up; see [`Namespace::set_link`].
    pub fn set_up(&self, up: bool) -> Result<()> {
        self.namespace.set_link(&self.interface, up)
    }
}

/// A line of `/proc/net/dev`: the name, eight columns of receiving, eight of sending; bytes and frames come
/// first.
fn parse_counters(text: &str, interface: &str) -> Option<Counters> {
    let of_interface = |line: &str| {
        let (name, columns) = line.split_once(':')?;
        (name.trim() == interface).then(|| columns.to_string())
    };
    let columns = text.lines().find_map(of_interface)?;
    let columns: Vec<u64> = columns.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let at = |index: usize| columns.get(index).copied();
    Some(Counters {
        received_bytes: at(0)?,
        received_frames: at(1)?,
        sent_bytes: at(8)?,
        sent_frames: at(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_those_of_the_named_interface() {
        let text = "Inter-|   Receive\n face |bytes\n    lo:       1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n\
                    \x20eth0:    1000      10    0    0    0     0          0         0   2000 20 0 0 0 0 0 0\n";
        let counters =
            Counters { received_bytes: 1000, received_frames: 10, sent_bytes: 2000, sent_frames: 20 };
        assert_eq!(parse_counters(text, "eth0"), Some(counters));
        assert_eq!(parse_counters(text, "eth1"), None);
    }
}
