//! Flows as arithmetic: the number of a flow says its source address and port, and the other way round.
//! Nothing is stored for a flow.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::units::Malformed;

/// Flows of one stream at the most.
pub const FLOWS_MAX: u64 = 10_000_000;

/// A network, `198.19.0.0/16`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix_length: u8,
}

const NETWORK_FORM: Malformed = Malformed(
    "write an address, \"198.19.0.1\", or a network by its first address, \"198.19.0.0/16\" or \"2001:db8::/64\"",
);

impl FromStr for Network {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| NETWORK_FORM)?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| NETWORK_FORM)?;
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let prefix_length = length.unwrap_or(bits);
        let network = Self { first, prefix_length };
        if prefix_length > bits || network.low_bits() & network.host_mask() != 0 {
            return Err(NETWORK_FORM);
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_length)
    }
}

impl Network {
    /// The address that names it.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        if self.first.is_ipv4() != address.is_ipv4() {
            return false;
        }
        let mask = self.host_mask();
        bits(self.first) & !mask == bits(address) & !mask
    }

    fn low_bits(&self) -> u128 {
        bits(self.first)
    }

    fn host_mask(&self) -> u128 {
        let host_bits = if self.first.is_ipv4() { 32 } else { 128 } - u32::from(self.prefix_length);
        1u128.checked_shl(host_bits).map_or(u128::MAX, |end| end - 1)
    }

    /// The low 32 bits of the first address that a host can have, and how many follow it. The network's own
    /// and its broadcast address are no hosts' (RFC 3021 excepted), nor is IPv6's anycast (RFC 4291, 2.6.1).
    fn hosts(&self) -> (u32, u64) {
        let count = self.host_mask().min(u128::from(u32::MAX)) as u64 + 1;
        let low = self.low_bits() as u32;
        match (self.first, count) {
            (_, ..=2) => (low, count),
            (IpAddr::V4(_), _) => (low.wrapping_add(1), count - 2),
            (IpAddr::V6(_), _) => (low.wrapping_add(1), count - 1),
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The flows of one stream. Flow `f` has the address `f mod addresses`, and the port `f div addresses`, so
/// that a few flows come from many addresses already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flows {
    first: IpAddr,
    address_low: u32,
    addresses: u64,
    port_first: u16,
    count: u32,
}

/// Addresses and ports that make fewer flows than were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// What they make.
    pub possible: u64,
}

impl Flows {
    /// `count` flows from these sources; `count` is from 1 to [`FLOWS_MAX`].
    pub fn new(source: Network, ports: RangeInclusive<u16>, count: u64) -> Result<Self, TooMany> {
        let (address_low, addresses) = source.hosts();
        let ports_count = u64::from(ports.end().saturating_sub(*ports.start())) + 1;
        let possible = addresses.saturating_mul(ports_count).min(FLOWS_MAX);
        if count == 0 || count > possible {
            return Err(TooMany { possible });
        }
        // Fewer addresses than there are where fewer flows are asked for: the inverse must know.
        let addresses = addresses.min(count);
        let (first, port_first) = (source.first(), *ports.start());
        Ok(Self { first, address_low, addresses, port_first, count: count as u32 })
    }

    /// How many.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many source addresses they have.
    pub fn addresses(&self) -> u32 {
        // At most as many as flows.
        self.addresses as u32
    }

    /// The low 32 bits of the first source address.
    pub fn address_low(&self) -> u32 {
        self.address_low
    }

    /// The first source port.
    pub fn port_first(&self) -> u16 {
        self.port_first
    }

    /// The low 32 bits of the source address, and the source port, of a flow below [`Flows::count`].
    #[inline]
    pub fn source(&self, flow: u32) -> (u32, u16) {
        let addresses = self.addresses();
        let (address, port) = (flow % addresses, flow / addresses);
        (self.address_low.wrapping_add(address), self.port_first.wrapping_add(port as u16))
    }

    /// The flow of a source, of which the family is known to be the right one; `None` when it is no flow's.
    #[inline]
    pub fn flow_of(&self, address_low: u32, port: u16) -> Option<u32> {
        let address = u64::from(address_low.wrapping_sub(self.address_low));
        let flow = u64::from(port.checked_sub(self.port_first)?) * self.addresses + address;
        (address < self.addresses && flow < u64::from(self.count)).then_some(flow as u32)
    }

    /// The whole source address of these low 32 bits.
    pub fn address(&self, low: u32) -> IpAddr {
        match self.first {
            IpAddr::V4(_) => Ipv4Addr::from_bits(low).into(),
            IpAddr::V6(first) => {
                Ipv6Addr::from_bits(first.to_bits() & !u128::from(u32::MAX) | u128::from(low)).into()
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn flows(source: &str, ports: RangeInclusive<u16>, count: u64) -> Result<Flows, TooMany> {
        Flows::new(source.parse().unwrap(), ports, count)
    }

    #[test]
    fn a_network_is_read_by_its_first_address() {
        let network: Network = "198.19.0.0/16".parse().unwrap();
        assert!(network.contains("198.19.255.1".parse().unwrap()));
        assert!(!network.contains("198.18.0.1".parse().unwrap()));
        assert!("2001:db8::/64".parse::<Network>().unwrap().contains("2001:db8::1:0:0:1".parse().unwrap()));
        for text in ["198.19.0.1/16", "198.19.0.0/33", "198.19.0.0/", "x/8", "2001:db8::1/64"] {
            assert_eq!(text.parse::<Network>(), Err(NETWORK_FORM), "{text}");
        }
    }

    #[test]
    fn a_network_and_its_broadcast_address_send_nothing() {
        let flows = flows("198.19.0.0/30", 1024..=1024, 2).unwrap();
        let sources: Vec<IpAddr> = (0..2).map(|flow| flows.address(flows.source(flow).0)).collect();
        assert_eq!(sources, ["198.19.0.1".parse::<IpAddr>().unwrap(), "198.19.0.2".parse().unwrap()]);
    }

    #[test]
    fn more_flows_than_sources_are_refused() {
        assert_eq!(flows("198.19.0.0/30", 1..=10, 21), Err(TooMany { possible: 20 }));
        assert_eq!(flows("198.19.0.1", 1..=10, 11), Err(TooMany { possible: 10 }));
        assert_eq!(flows("198.19.0.0/16", 0..=65_535, 0), Err(TooMany { possible: FLOWS_MAX }));
        assert!(flows("198.19.0.0/16", 0..=65_535, FLOWS_MAX).is_ok());
        assert!(flows("2001:db8::/64", 0..=65_535, FLOWS_MAX).is_ok());
    }

    #[test]
    fn all_sources_are_covered_and_no_others() {
        let flows = flows("198.19.0.0/29", 65_530..=65_535, 36).unwrap();
        let seen: HashSet<(IpAddr, u16)> = (0..36)
            .map(|flow| {
                let (low, port) = flows.source(flow);
                (flows.address(low), port)
            })
            .collect();
        let mut wanted = HashSet::new();
        for host in 1..=6 {
            (65_530..=65_535).for_each(|port| {
                wanted.insert((IpAddr::from([198, 19, 0, host]), port));
            });
        }
        assert_eq!(seen, wanted);
        assert_eq!(flows.flow_of(u32::from_be_bytes([198, 19, 0, 7]), 65_530), None);
        assert_eq!(flows.flow_of(u32::from_be_bytes([198, 19, 0, 1]), 65_529), None);
    }

    proptest! {
        #[test]
        fn a_source_names_its_flow(
            prefix in 8u8..=32, first in 0u16..60_000, ports in 0u16..5_000, count in 1u64..100_000, pick: u32,
        ) {
            let source = Network { first: IpAddr::from([198, 0, 0, 0]), prefix_length: prefix };
            let Ok(flows) = Flows::new(source, first..=first + ports, count) else { return Ok(()) };
            let flow = pick % flows.count();
            let (low, port) = flows.source(flow);
            prop_assert_eq!(flows.flow_of(low, port), Some(flow));
            prop_assert!((first..=first + ports).contains(&port));
            prop_assert!(source.contains(flows.address(low)));
        }
    }
}
