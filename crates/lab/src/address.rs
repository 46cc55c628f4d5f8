//! Which addresses a lab may use. Pure; any thread.
//!
//! Refuses every address outside 198.18.0.0/15 (RFC 2544, benchmarks) and 2001:db8::/32 (RFC 3849,
//! documentation), so that a slip in a testbed can never speak for, or to, anybody else. Link-local IPv6
//! comes by itself and is not given here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Passes an address through if a lab may use it.
pub fn lab_address(address: IpAddr) -> Result<IpAddr> {
    let inside = match address {
        IpAddr::V4(v4) => v4.octets()[0] == 198 && v4.octets()[1] & 0xfe == 18,
        IpAddr::V6(v6) => v6.segments()[..2] == [0x2001, 0xdb8],
    };
    if inside { Ok(address) } else { Err(Error::ForeignAddress(address)) }
}

/// A lab address with the length of its network, `198.18.0.1/24`; as a route's destination, the network
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// Refuses foreign addresses, and networks that reach beyond the lab's.
    pub fn new(address: IpAddr, length: u8) -> Result<Self> {
        let (shortest, longest) = if address.is_ipv4() { (15, 32) } else { (32, 128) };
        if !(shortest..=longest).contains(&length) {
            return Err(Error::unusable(
                format!("{address}/{length}"),
                "IPv4 lengths are 15 to 32, IPv6 lengths 32 to 128",
            ));
        }
        Ok(Self { address: lab_address(address)?, length })
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        self.address
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::unusable(text, "an address with a length is wanted, like 198.18.0.1/24");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        Self::new(address.parse().map_err(|_| wrong())?, length.parse().map_err(|_| wrong())?)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_of_the_lab_networks() {
        for inside in ["198.18.0.0", "198.19.255.255", "2001:db8::", "2001:db8:ffff::1"] {
            assert!(lab_address(inside.parse().unwrap()).is_ok(), "{inside}");
        }
        for outside in
            ["198.17.255.255", "198.20.0.0", "10.0.0.1", "127.0.0.1", "2001:db7::1", "::1", "fe80::1"]
        {
            assert!(
                matches!(lab_address(outside.parse().unwrap()), Err(Error::ForeignAddress(_))),
                "{outside}"
            );
        }
    }

    #[test]
    fn a_prefix_stays_inside_the_lab_networks() {
        assert_eq!("198.18.0.1/24".parse::<Prefix>().unwrap().to_string(), "198.18.0.1/24");
        for wrong in ["198.18.0.0/14", "2001:db8::/31", "198.18.0.1/33", "198.18.0.1", "10.0.0.1/24", "x/24"]
        {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }
}
