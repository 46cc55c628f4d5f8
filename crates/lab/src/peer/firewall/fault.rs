//! What goes wrong around firewalls: one direction dead, and answers that come back another way.

use crate::error::Result;
use crate::link::Endpoint;
use crate::namespace::Namespace;
use wire::Mac;

/// Before every other hook.
const FIRST: i32 = -500;

/// A leg that lets nothing in; dropped, it hears again.
#[derive(Debug)]
pub struct Deafness {
    _table: Table,
}

impl Deafness {
    /// Neighbours still find each other, as over ARP with IPv4: what is dead is the way of the packets.
    pub(super) fn start(leg: &Endpoint) -> Result<Self> {
        let interface = leg.interface();
        let table = Table { namespace: leg.namespace().clone(), name: format!("netdev deaf_{interface}") };
        table.install(&format!(
            "chain ingress {{ type filter hook ingress device \"{interface}\" priority {FIRST}; policy accept; \
             icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept; \
             meta protocol {{ ip, ip6 }} drop; }};"
        ))?;
        Ok(Self { _table: table })
    }
}

/// Answers that go astray; dropped, they find back.
#[derive(Debug)]
pub struct Misrouting {
    _table: Table,
}

/// Makes the switch of a segment deliver to `wrong` what is sent to `right`: the answers to what came over one
/// firewall then go back over another. Neighbour discovery is left alone.
pub fn misroute_answers(switch: &Namespace, right: &Endpoint, wrong: &Endpoint) -> Result<Misrouting> {
    let (from, to): (Mac, Mac) = (right.mac(), wrong.mac());
    let interface = right.interface();
    let table = Table { namespace: switch.clone(), name: format!("bridge astray_{interface}_{}", from.0[5]) };
    table.install(&format!(
        "chain prerouting {{ type filter hook prerouting priority {FIRST}; policy accept; \
         icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept; \
         ether type {{ ip, ip6 }} ether daddr {from} ether daddr set {to}; }};"
    ))?;
    Ok(Misrouting { _table: table })
}

/// A table of rules with its family; dropped, it is taken back.
#[derive(Debug)]
struct Table {
    namespace: Namespace,
    name: String,
}

impl Table {
    fn install(&self, chains: &str) -> Result<()> {
        self.namespace.output("nft", &[&format!("table {} {{ {chains} }}", self.name)]).map(drop)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // Fails only where the namespace is gone, and the table with it.
        let _ = self.namespace.output("nft", &[&format!("delete table {}", self.name)]);
    }
}
