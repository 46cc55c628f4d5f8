//! What the kernel of the appliance's namespace sends by itself, counted by nftables where locally made
//! packets pass.
//!
//! A capture could not tell: it may see the appliance's own frames too. Those never pass these hooks.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use lab::topology::slb_routed::{VIP_V4, VIP_V6};
use lab::{Endpoint, Namespace};
use serde_json::Value;

use super::super::Stopped;
use super::super::report::Report;

/// Counters in the kernel's way out; see the module.
pub(super) struct Kernel {
    namespace: Namespace,
}

impl Kernel {
    /// From here on.
    pub(super) fn watch(outside: &Endpoint, inside: &Endpoint) -> Result<Self, Stopped> {
        let namespace = outside.namespace().clone();
        let file = namespace.directory().join("kernel.nft");
        fs::write(&file, rules(outside.interface(), inside.interface()))?;
        namespace.output("nft", &["-f", &file.to_string_lossy()])?;
        Ok(Self { namespace })
    }

    /// Tells what was counted. That the kernel's own checks and discovery were shows that the counters count.
    pub(super) fn judge(&self, report: &mut Report) -> Result<(), Stopped> {
        let output = self.namespace.output("nft", &["-j", "list", "counters"])?;
        let counted = packets_by_name(&serde_json::from_slice(&output.stdout)?);
        let count = |name: &str| counted.get(name).copied().unwrap_or_default();
        let (checks, discovery) = (count("checks"), count("discovery"));
        report.note(format!(
            "its kernel sent {checks} segments of health checks, {discovery} of ARP, ND and MLD"
        ));
        report.expect(checks > 0 && discovery > 0, "what the appliance's kernel sends is counted");
        for (name, what) in [
            ("virtual", "it sent nothing for a virtual address"),
            ("forwarded", "it forwarded nothing"),
            ("others", "it sent nothing else either: no reset, no unreachable"),
        ] {
            report.expect_or(count(name) == 0, what, format!("{} packets", count(name)));
        }
        Ok(())
    }
}

fn rules(outside: &str, inside: &str) -> String {
    // The target of an advertisement (RFC 4861, 4.4) has no name in the language of older versions.
    let v6_hex = match VIP_V6 {
        IpAddr::V6(address) => format!("{:#034x}", address.to_bits()),
        IpAddr::V4(address) => format!("{:#010x}", address.to_bits()),
    };
    format!(
        "table inet lab {{
           counter checks {{ }}
           counter discovery {{ }}
           counter virtual {{ }}
           counter forwarded {{ }}
           counter others {{ }}
           chain sent {{
             type filter hook output priority 0
             oifname != {{ \"{outside}\", \"{inside}\" }} return
             ip saddr {VIP_V4} counter name virtual return
             ip daddr {VIP_V4} counter name virtual return
             ip6 saddr {VIP_V6} counter name virtual return
             ip6 daddr {VIP_V6} counter name virtual return
             icmpv6 type nd-neighbor-advert @th,64,128 {v6_hex} counter name virtual return
             ip daddr 198.18.1.0/24 meta l4proto tcp counter name checks return
             ip6 daddr 2001:db8:1::/64 meta l4proto tcp counter name checks return
             icmpv6 type {{ 131, 132, 133, 135, 136, 143 }} counter name discovery return
             counter name others
           }}
           chain through {{
             type filter hook forward priority 0
             counter name forwarded
           }}
         }}
         table arp lab {{
           counter discovery {{ }}
           counter virtual {{ }}
           chain sent {{
             type filter hook output priority 0
             arp saddr ip {VIP_V4} counter name virtual return
             counter name discovery
           }}
         }}
"
    )
}

/// The sums of counters with one name, of all tables.
fn packets_by_name(listing: &Value) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    let objects = listing["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    for counter in objects.iter().map(|object| &object["counter"]) {
        if let (Some(name), Some(packets)) = (counter["name"].as_str(), counter["packets"].as_u64()) {
            *counted.entry(name.to_string()).or_default() += packets;
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_one_name_are_one() {
        let counter = |family: &str, packets: u64| {
            let counter = serde_json::json!({"family": family, "name": "virtual", "packets": packets});
            serde_json::json!({"counter": counter})
        };
        let metainfo = serde_json::json!({"metainfo": {"version": "1.0.6"}});
        let listing = serde_json::json!({"nftables": [metainfo, counter("inet", 2), counter("arp", 3)]});
        assert_eq!(packets_by_name(&listing), BTreeMap::from([("virtual".into(), 5)]));
    }
}
