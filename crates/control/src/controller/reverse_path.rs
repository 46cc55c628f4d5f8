//! Whether the kernel lets in what servers answer to carried checks.
//!
//! Such an answer comes from a VIP, by the interface that leads to the server. A kernel that filters by reverse path
//! (RFC 3704; `rp_filter`, IPv4 alone) drops it without a word where its own route to the VIP leads elsewhere, and every
//! server would seem to lack the VIP. So it is said at the start, and at each reload.

use crate::facts::{Facts, InterfaceIndex, Resolution};
use std::fs;
use std::net::IpAddr;

/// How a kernel looks back (ip-sysctl: `rp_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Not at all.
    Off,
    /// The source must be reached by the interface that the packet came in by.
    Strict,
    /// The source must be reached by any.
    Loose,
}

impl Filter {
    /// Of an interface: the greater of its own number and the one of all. What cannot be read is off.
    pub(super) fn of(interface: &str) -> Self {
        let number = |name: &str| -> u8 {
            let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
            fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
        };
        match number(interface).max(number("all")) {
            0 => Self::Off,
            1 => Self::Strict,
            _ => Self::Loose,
        }
    }

    /// Whether it drops what comes from `source` by this interface.
    pub(super) fn drops(self, facts: &Facts, source: IpAddr, interface: InterfaceIndex) -> bool {
        let way_back = match facts.resolve(source) {
            Resolution::Forward(hops) => hops,
            _ => Vec::new(),
        };
        match self {
            _ if source.is_ipv6() => false,
            Self::Off => false,
            Self::Strict => !way_back.iter().any(|hop| hop.interface == interface),
            Self::Loose => way_back.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Interface, NextHop, Prefix, Route, RouteKind, RouteTable};

    #[test]
    fn a_filter_looks_at_the_way_back_of_ipv4() {
        let mut facts = Facts::default();
        for index in 1..=2 {
            let name = format!("eth{index}");
            let interface = Interface { index, name, mac: [0; 6], mtu: 1500, up: true, running: true };
            facts.interfaces.insert(index, interface);
        }
        facts.add_route(Route {
            destination: Prefix::new([198, 18, 0, 0].into(), 24),
            table: RouteTable::Main,
            metric: 0,
            kind: RouteKind::Unicast,
            next_hops: vec![NextHop { gateway: None, interface: Some(1), weight: 1 }],
        });
        let routed = IpAddr::from([198, 18, 0, 10]);
        let nowhere = IpAddr::from([198, 18, 9, 10]);
        let v6: IpAddr = "2001:db8::10".parse().unwrap();
        let drops = |filter: Filter, source, interface| filter.drops(&facts, source, interface);
        assert!(!drops(Filter::Strict, routed, 1) && drops(Filter::Strict, routed, 2));
        assert!(!drops(Filter::Loose, routed, 2) && drops(Filter::Loose, nowhere, 1));
        assert!(!drops(Filter::Off, nowhere, 1) && !drops(Filter::Strict, v6, 1));
    }
}
