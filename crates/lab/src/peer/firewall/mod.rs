//! A stateful firewall: nftables with the kernel's connection tracking in a namespace of its own, IPv4 and IPv6.
//!
//! ```text
//!   near (outside) ── [ forward: invalid? drop · established, related? pass · opens a flow? pass · drop ] ── far (inside)
//! ```
//!
//! It passes what belongs to a connection that it has seen opening, and drops the rest under counters that
//! have a name. Its legs have their addresses and routes from whoever builds the lab; as a bridge ("stealth")
//! it needs none. What happens to firewalls can be done to it: [`Firewall::kill`], [`Firewall::cut`],
//! [`Firewall::make_deaf`], [`misroute_answers`]. Any thread; blocks.

mod fault;
mod rules;
mod sharing;
mod tracked;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::error::{Error, Result};
use crate::link::Endpoint;
use crate::namespace::Namespace;

pub use fault::{Deafness, Misrouting, misroute_answers};
pub use rules::{Filtering, FirewallPolicy, Translation};
pub use tracked::{FlowKey, TrackedFlow};

use sharing::Sharing;

/// Packets that connection tracking calls invalid: with strict tracking that is also every TCP segment of a
/// connection whose beginning was not seen.
pub const INVALID: &str = "invalid";
/// Packets that belong to no connection and may not open one.
pub const UNTRACKED: &str = "untracked";
/// Packets that opened a connection and passed.
pub const OPENED: &str = "opened";
/// Packets of connections that were open, or related to one, and passed.
pub const ESTABLISHED: &str = "established";
/// Packets that opened a connection that another one had announced (FTP data), and passed.
pub const RELATED: &str = "related";

/// The bridge of a firewall that is one.
const BRIDGE: &str = "br0";

/// A running firewall; see the module.
#[derive(Debug)]
pub struct Firewall {
    name: String,
    namespace: Namespace,
    legs: Vec<Endpoint>,
    bridged: bool,
    sharing: Option<Sharing>,
}

impl Firewall {
    /// Makes a firewall of a namespace with these legs, the near (outer) one first. It filters from here on.
    pub fn start(name: &str, legs: &[Endpoint], policy: &FirewallPolicy) -> Result<Self> {
        let [near, _far, ..] = legs else {
            return Err(Error::unusable(name, "a firewall has two legs at the least"));
        };
        let namespace = near.namespace().clone();
        if policy.bridged {
            join_into_a_bridge(&namespace, legs)?;
        } else {
            namespace.forward_packets()?;
        }
        let firewall =
            Self { name: name.into(), namespace, legs: legs.into(), bridged: policy.bridged, sharing: None };
        firewall.namespace.output("nft", &[&policy.rules(&firewall.legs)?])?;
        let loose = if policy.filtering == Filtering::Strict { "0" } else { "1" };
        firewall.namespace.set_parameters(&[
            ("net.netfilter.nf_conntrack_tcp_loose", loose),
            ("net.netfilter.nf_conntrack_tcp_be_liberal", "0"),
        ])?;
        Ok(firewall)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it lives.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its legs, the near one first.
    pub fn legs(&self) -> &[Endpoint] {
        &self.legs
    }

    /// All its counters, in packets: [`INVALID`], [`UNTRACKED`] and so on.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>> {
        let output = self.namespace.output("nft", &["list", "counters", "table", "inet", rules::TABLE])?;
        Ok(rules::parse_counters(&String::from_utf8_lossy(&output.stdout)))
    }

    /// One of its counters, in packets.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let counters = self.counters()?;
        counters.get(name).copied().ok_or_else(|| Error::unusable(name, "the firewall has no such counter"))
    }

    /// The connections that it tracks. A table that changes meanwhile may show one twice.
    pub fn flows(&self) -> Result<Vec<TrackedFlow>> {
        // `/proc/net` would be the namespace of the process's first thread.
        let path = "/proc/thread-self/net/nf_conntrack";
        let read = || fs::read_to_string(path).map_err(Error::system(format!("reading {path}")));
        Ok(self.namespace.run(read)??.lines().filter_map(tracked::parse).collect())
    }

    /// The same as a set in which a connection is one, whichever end this firewall saw opening it: two
    /// firewalls have shared no connection where their sets are disjoint.
    pub fn flow_set(&self) -> Result<BTreeSet<FlowKey>> {
        Ok(self.flows()?.iter().map(|flow| flow.original.either_way()).collect())
    }

    /// How many connections it tracks of each protocol, by its number.
    pub fn flows_per_protocol(&self) -> Result<BTreeMap<u8, usize>> {
        let mut counts = BTreeMap::new();
        self.flow_set()?.iter().for_each(|flow| *counts.entry(flow.protocol).or_default() += 1);
        Ok(counts)
    }

    /// Forgets all connections, as a restart would.
    pub fn forget_flows(&self) -> Result<()> {
        self.namespace.output("conntrack", &["--flush"]).map(drop)
    }

    /// Shares its connections, from here on, with all firewalls that do the same on this leg's segment, each with a
    /// number of its own from 1 to 254. Nothing is forwarded from or to the leg.
    pub fn share_flows_over(&mut self, leg: &Endpoint, number: u8) -> Result<()> {
        self.sharing = Some(Sharing::start(&self.name, leg, number)?);
        Ok(())
    }

    /// Ends it as a power cut would: no leg has a carrier, and what it knew is lost.
    pub fn kill(&mut self) -> Result<()> {
        // First, or it would tell the others to forget too.
        if let Some(sharing) = &mut self.sharing {
            sharing.kill();
        }
        (0..self.legs.len()).try_for_each(|leg| self.cut(leg))?;
        self.forget_flows()
    }

    /// Brings all legs back, as it was started.
    pub fn restore(&mut self) -> Result<()> {
        (0..self.legs.len()).try_for_each(|leg| self.mend(leg))?;
        self.sharing.as_mut().map_or(Ok(()), Sharing::revive)
    }

    /// Pulls the cable of a leg: 0 is the near one, 1 the far one.
    pub fn cut(&self, leg: usize) -> Result<()> {
        self.cable(leg)?.set_up(false)
    }

    /// Puts the cable of a leg back.
    pub fn mend(&self, leg: usize) -> Result<()> {
        self.cable(leg)?.set_up(true)
    }

    /// Lets nothing in by a leg but neighbour discovery, while the handle lives: one way is dead, the other
    /// works.
    pub fn make_deaf(&self, leg: usize) -> Result<Deafness> {
        Deafness::start(self.leg(leg)?)
    }

    /// The end whose downfall is the cable's: a routed firewall's own would forget IPv6 addresses and routes,
    /// so the switch's; a bridge has none to forget, and no switch may be at the other end.
    fn cable(&self, leg: usize) -> Result<Endpoint> {
        let own = self.leg(leg)?;
        Ok(if self.bridged { own.clone() } else { own.opposite() })
    }

    fn leg(&self, leg: usize) -> Result<&Endpoint> {
        self.legs.get(leg).ok_or_else(|| Error::unusable(leg.to_string(), "the firewall has no such leg"))
    }
}

/// Frames between the legs pass the hooks of IPv4 and IPv6 (the kernel's `br_netfilter`), where connections
/// are tracked.
fn join_into_a_bridge(namespace: &Namespace, legs: &[Endpoint]) -> Result<()> {
    namespace.add_bridge(BRIDGE)?;
    let call = |family: &str| namespace.set_parameter(&format!("net.bridge.bridge-nf-call-{family}"), "1");
    ["iptables", "ip6tables"].into_iter().try_for_each(call)?;
    legs.iter().try_for_each(|leg| leg.silence_ipv6().and_then(|()| leg.join_bridge(BRIDGE)))
}
