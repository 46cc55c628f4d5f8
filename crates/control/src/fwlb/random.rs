//! Random flows between networks.

use config::Network;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators"): the same flows for the same
/// seed on every machine.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// An address of one of `networks`, each as likely as another. `None`: there is none.
    pub(super) fn address(&mut self, networks: &[Network]) -> Option<IpAddr> {
        let place = self.next() % (networks.len() as u64).max(1);
        let network = networks.get(place as usize)?;
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        let prefix = u32::from(network.prefix_length);
        Some(match network.address {
            IpAddr::V4(first) => {
                let hosts = u32::MAX.checked_shr(prefix).unwrap_or(0);
                Ipv4Addr::from_bits(first.to_bits() | bits as u32 & hosts).into()
            }
            IpAddr::V6(first) => {
                let hosts = u128::MAX.checked_shr(prefix).unwrap_or(0);
                Ipv6Addr::from_bits(first.to_bits() | bits & hosts).into()
            }
        })
    }
}
