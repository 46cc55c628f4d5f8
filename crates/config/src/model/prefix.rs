//! Addresses with a prefix length.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of the kernel's on a host leg, written "198.18.0.2/24".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostAddress {
    /// The address; neither the first nor the last of its network where that would mean something else.
    pub address: IpAddr,
    /// Bits of the address that name its network: 1..=32 or 1..=128.
    pub prefix_length: u8,
}

impl HostAddress {
    /// The network that it is on.
    pub fn network(&self) -> Network {
        let on = Network { address: self.address, prefix_length: self.prefix_length };
        Network { address: on.first(), ..on }
    }
}

/// A network, written "198.18.1.0/24".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Its first address: all bits behind the prefix are zero.
    pub address: IpAddr,
    /// Bits that all its addresses share: 0..=32 or 0..=128.
    pub prefix_length: u8,
}

impl Network {
    /// Whether `address` is of this network; never one of the other family.
    pub fn contains(&self, address: IpAddr) -> bool {
        let of_address = Network { address, prefix_length: self.prefix_length };
        self.address.is_ipv4() == address.is_ipv4() && of_address.first() == self.first()
    }

    /// Whether some address is of both.
    pub fn overlaps(&self, other: &Network) -> bool {
        // Of two prefixes that share an address, one lies within the other.
        self.contains(other.address) || other.contains(self.address)
    }

    /// Bits of an address of this family.
    pub(crate) fn address_bits(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }

    /// Bits behind the prefix.
    pub(crate) fn host_bits(&self) -> u8 {
        Self::address_bits(self.address).saturating_sub(self.prefix_length)
    }

    /// The address with all bits behind the prefix zero.
    pub(crate) fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !self.host_mask() as u32).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !self.host_mask()).into(),
        }
    }

    /// The address with all bits behind the prefix one.
    pub(crate) fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() | self.host_mask() as u32).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() | self.host_mask()).into(),
        }
    }

    fn host_mask(&self) -> u128 {
        match self.host_bits() {
            128 => u128::MAX,
            bits => (1 << bits) - 1,
        }
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix_length)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix_length)
    }
}
