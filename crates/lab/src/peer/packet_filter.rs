//! What a host's packet filter throws away: a server that is there and says nothing.
//!
//! By nftables in the host's namespace, so a program that listens there is none the wiser. Any thread.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;
use crate::namespace::Namespace;

/// What is thrown away as it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// TCP segments that open a connection to this port.
    Syns(u16),
    /// ICMP and ICMPv6 echo requests.
    EchoRequests,
}

/// A rule in force; see the module. Dropped, it is taken back.
#[derive(Debug)]
pub struct PacketFilter {
    namespace: Namespace,
    table: String,
}

impl PacketFilter {
    /// Throws it away from here on.
    pub fn start(namespace: &Namespace, discarded: Discarded) -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let table = format!("lab{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let rules = match discarded {
            Discarded::Syns(port) => {
                format!("tcp dport {port} tcp flags & (fin|syn|rst|ack) == syn drop")
            }
            Discarded::EchoRequests => "icmp type echo-request drop; icmpv6 type echo-request drop".into(),
        };
        let hook = "type filter hook input priority 0; policy accept;";
        let text = format!("table inet {table} {{ chain input {{ {hook} {rules}; }}; }}");
        namespace.output("nft", &[&text])?;
        Ok(Self { namespace: namespace.clone(), table })
    }
}

impl Drop for PacketFilter {
    fn drop(&mut self) {
        // Fails only where the namespace is gone, and the rule with it.
        let _ = self.namespace.output("nft", &["delete", "table", "inet", &self.table]);
    }
}
