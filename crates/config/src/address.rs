//! Reads addresses: alone, on a network, and the networks themselves.

use std::net::IpAddr;

use crate::code;
use crate::model::{HostAddress, Network};
use crate::section::Value;

impl Value<'_> {
    /// An address that a host across a router can have.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        const FORM: &str = "write an IPv4 or IPv6 address without prefix length or port, as \"198.18.0.10\"";
        let text = self.text("\"198.18.0.10\"")?;
        let Ok(address) = text.parse::<IpAddr>() else {
            self.error(code::MALFORMED, format!("{text:?} is not an IP address"), FORM);
            return None;
        };
        self.usable(address)
    }

    /// An address that a host has on its network: "198.18.0.2/24".
    pub(crate) fn host_address(&self) -> Option<HostAddress> {
        let network = self.prefix("an address with its prefix length", "198.18.0.2/24")?;
        let (address, prefix_length) = (self.usable(network.address)?, network.prefix_length);
        if prefix_length == 0 {
            let message = format!("{address}/0 puts every other address on this network");
            self.error(code::OUT_OF_RANGE, message, "write the prefix length of its network");
            return None;
        }
        // On networks of two addresses and of one, these have no meaning (RFC 3021, RFC 6164).
        let reserves = network.host_bits() > 1;
        let kind = match address {
            _ if reserves && address == network.first() => "the network itself",
            IpAddr::V4(_) if reserves && address == network.last() => "the network's broadcast address",
            _ => return Some(HostAddress { address, prefix_length }),
        };
        let message = format!("{address}/{prefix_length} is {kind}");
        self.error(code::UNUSABLE_ADDRESS, message, "write the address of one host in it");
        None
    }

    /// A network, named by its first address: "198.18.1.0/24".
    pub(crate) fn network(&self) -> Option<Network> {
        let network = self.prefix("a network", "198.18.1.0/24")?;
        let (first, length) = (network.first(), network.prefix_length);
        if network.address != first {
            let message = format!("{}/{length} is an address in a network", network.address);
            self.error(code::MALFORMED, message, format!("write \"{first}/{length}\""));
            return None;
        }
        // The unspecified address begins every network that is half of all addresses or all of them.
        if !first.is_unspecified() {
            self.usable(first)?;
        }
        Some(network)
    }

    /// Any address with any prefix length of its family, as if it were a network.
    fn prefix(&self, what: &str, example: &str) -> Option<Network> {
        let form = || format!("write {what} as \"{example}\"");
        let text = self.text(&format!("[\"{example}\"]"))?;
        let malformed = |help: String| {
            self.error(code::MALFORMED, format!("{text:?} is not {what}"), help);
            None
        };
        let Some((address, length)) = text.split_once('/') else { return malformed(form()) };
        let Ok(address) = address.parse::<IpAddr>() else { return malformed(form()) };
        let bits = Network::address_bits(address);
        // What `parse` takes beyond digits is a sign.
        let length = length.parse::<u8>().ok().filter(|_| !length.starts_with('+'));
        match length.filter(|length| *length <= bits) {
            Some(prefix_length) => Some(Network { address, prefix_length }),
            None => malformed(format!("the prefix length is a number from 0 to {bits}")),
        }
    }

    fn usable(&self, address: IpAddr) -> Option<IpAddr> {
        if let Some(kind) = unusable(address) {
            let message = format!("{address} is {kind}");
            self.error(code::UNUSABLE_ADDRESS, message, "write a unicast address that can be routed");
            return None;
        }
        Some(address)
    }
}

/// Why no server, VIP or pool can have the address.
fn unusable(address: IpAddr) -> Option<&'static str> {
    let is = |condition: bool, kind: &'static str| condition.then_some(kind);
    is(address.is_unspecified(), "the unspecified address")
        .or(is(address.is_loopback(), "a loopback address"))
        .or(is(address.is_multicast(), "a multicast address"))
        .or(match address {
            IpAddr::V4(v4) => is(v4.is_broadcast(), "the broadcast address")
                // RFC 1122, 3.2.1.3: "this host on this network", never a destination.
                .or(is(v4.octets()[0] == 0, "an address of \"this network\""))
                // RFC 3927, 7: never routed.
                .or(is(v4.is_link_local(), "a link-local address")),
            IpAddr::V6(v6) => is(v6.is_unicast_link_local(), "a link-local address")
                // RFC 4291, 2.5.5.2: never on the wire.
                .or(is(v6.to_ipv4_mapped().is_some(), "an IPv4 address in IPv6 clothes")),
        })
}
