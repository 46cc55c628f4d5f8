//! What a firewall passes, in the words of nftables.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::address::{Prefix, lab_address};
use crate::error::Result;
use crate::link::Endpoint;

use super::{ESTABLISHED, INVALID, OPENED, RELATED, UNTRACKED};

/// The table of all rules.
pub(super) const TABLE: &str = "firewall";

/// Where FTP's control connections go.
const FTP_PORT: u16 = 21;

/// What a firewall does with packets of a connection that it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// Drops them: a connection has to begin here, with a SYN, a datagram or an echo request.
    #[default]
    Strict,
    /// Takes a connection over in the middle, from any TCP segment that could be one of it.
    PicksUp,
    /// Filters nothing and tracks as it can: a router.
    Passes,
}

/// What a firewall is; the default is strict and routed, without translation.
#[derive(Clone, Debug, Default)]
pub struct FirewallPolicy {
    /// What it passes.
    pub filtering: Filtering,
    /// Whether its legs are ports of a bridge, so that it has no address.
    pub bridged: bool,
    /// Whether it reads FTP's control connections: the data connections that they announce are related to
    /// them, and pass although nothing else may be opened from there. Without it, no data connection is known
    /// from any other.
    pub reads_ftp: bool,
    /// Which TCP ports may be opened; empty: all.
    pub tcp_ports: Vec<u16>,
    /// Its address translation.
    pub translation: Option<Translation>,
}

/// What a firewall translates, on its near side.
#[derive(Clone, Debug)]
pub struct Translation {
    /// Networks whose connections to the near side get another source.
    pub hidden: Vec<String>,
    /// The sources that they get, a network (and so a family) each.
    pub sources: Vec<String>,
    /// Addresses that are called from the near side, and who answers in their place.
    pub published: Vec<(IpAddr, IpAddr)>,
}

impl FirewallPolicy {
    /// The whole table, for a firewall with these legs.
    pub(super) fn rules(&self, legs: &[Endpoint]) -> Result<String> {
        let counters = [INVALID, UNTRACKED, OPENED, ESTABLISHED, RELATED];
        let counters: String = counters.iter().map(|name| format!("counter {name} {{ }}\n")).collect();
        let helper = if self.reads_ftp { "ct helper ftp { type \"ftp\" protocol tcp; }\n" } else { "" };
        let translation = match (&self.translation, legs.first()) {
            (Some(translation), Some(near)) => translation.chains(near.interface())?,
            _ => String::new(),
        };
        let forward = self.forward();
        Ok(format!(
            "table inet {TABLE} {{\n{counters}{helper}chain forward {{\n\
             type filter hook forward priority filter; policy accept;\n{forward}}}\n{translation}}}"
        ))
    }

    fn forward(&self) -> String {
        if self.filtering == Filtering::Passes {
            return format!("ct state established counter name {ESTABLISHED} accept\n");
        }
        let opened = format!("counter name {OPENED} accept\n");
        let ports = match self.tcp_ports.as_slice() {
            [] => String::new(),
            ports => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                format!("tcp dport {{ {} }} ", ports.join(", "))
            }
        };
        let first = match self.filtering {
            Filtering::Strict => "tcp flags & (fin|syn|rst|ack) == syn ",
            Filtering::PicksUp | Filtering::Passes => "meta l4proto tcp ",
        };
        let helper = if self.reads_ftp {
            format!("tcp dport {FTP_PORT} ct state new ct helper set \"ftp\"\n")
        } else {
            String::new()
        };
        // What hosts of a segment say to each other crosses a bridge, and belongs to no connection.
        format!(
            "icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, \
             mld-listener-done, mld2-listener-report }} accept\n\
             ct state invalid counter name {INVALID} drop\n\
             ct state established counter name {ESTABLISHED} accept\n\
             ct state related counter name {RELATED} accept\n\
             {helper}\
             ct state new {first}{ports}{opened}\
             ct state new meta l4proto udp {opened}\
             ct state new icmp type echo-request {opened}\
             ct state new icmpv6 type echo-request {opened}\
             counter name {UNTRACKED} drop\n"
        )
    }
}

impl Translation {
    fn chains(&self, near: &str) -> Result<String> {
        let (mut source, mut destination) = (String::new(), String::new());
        for hidden in &self.hidden {
            let hidden: Prefix = hidden.parse()?;
            for to in &self.sources {
                let to: Prefix = to.parse()?;
                if to.address().is_ipv4() == hidden.address().is_ipv4() {
                    let family = family_of(to.address());
                    source += &format!("oifname \"{near}\" {family} saddr {hidden} snat {family} to {to}\n");
                }
            }
        }
        for (called, answers) in &self.published {
            let (called, answers) = (lab_address(*called)?, lab_address(*answers)?);
            let family = family_of(called);
            destination +=
                &format!("iifname \"{near}\" {family} daddr {called} dnat {family} to {answers}\n");
        }
        Ok(format!(
            "chain source {{\ntype nat hook postrouting priority srcnat;\n{source}}}\n\
             chain destination {{\ntype nat hook prerouting priority dstnat;\n{destination}}}\n"
        ))
    }
}

/// The family's name in an expression.
fn family_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

/// `counter NAME { packets N bytes N }`, as `nft list counters` prints them.
pub(super) fn parse_counters(text: &str) -> BTreeMap<String, u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let counter = |window: &[&str]| match window {
        ["counter", name, "{", "packets", packets] => Some((name.to_string(), packets.parse().ok()?)),
        _ => None,
    };
    words.windows(5).filter_map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_name() {
        let text = "table inet firewall {\n\tcounter invalid {\n\t\tpackets 3 bytes 180\n\t}\n\
                    \tcounter opened {\n\t\tpackets 0 bytes 0\n\t}\n}\n";
        let counters = BTreeMap::from([("invalid".into(), 3), ("opened".into(), 0)]);
        assert_eq!(parse_counters(text), counters);
    }
}
