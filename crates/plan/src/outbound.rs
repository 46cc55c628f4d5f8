//! Networks behind the appliance whose packets leave under addresses of a pool: masquerade.

use crate::service::SourceNatPool;
use flow::Family;
use rewrite::MemberId;
use std::net::IpAddr;

/// One set of networks with its pool.
#[derive(Clone, Debug)]
pub struct Outbound<F: Family> {
    /// Its name in the configuration.
    pub name: String,
    /// Its row in the member tables, which its sessions are counted under.
    pub id: MemberId,
    /// The networks, as first address and prefix length.
    pub networks: Box<[(F::Address, u8)]>,
    /// What their packets leave under.
    pub pool: SourceNatPool<F>,
}

/// All of one family.
#[derive(Clone, Debug)]
pub struct Outbounds<F: Family>(pub Box<[Outbound<F>]>);

impl<F: Family> Default for Outbounds<F> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<F: Family> Outbound<F> {
    fn contains(&self, address: F::Address) -> bool {
        let wanted = address.into();
        self.networks.iter().any(|&(network, prefix_bits)| is_within(wanted, network.into(), prefix_bits))
    }
}

impl<F: Family> Outbounds<F> {
    /// The one that a new flow from `source` to `destination` leaves by; `None` when it keeps its addresses, as between
    /// two addresses of one set.
    pub fn of(&self, source: F::Address, destination: F::Address) -> Option<&Outbound<F>> {
        self.0.iter().find(|outbound| outbound.contains(source)).filter(|own| !own.contains(destination))
    }
}

/// Whether `address` lies in the network; never for addresses of two families.
fn is_within(address: IpAddr, network: IpAddr, prefix_bits: u8) -> bool {
    let (difference, bits) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits() ^ b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits(), 128),
        _ => return false,
    };
    let host_bits = u32::saturating_sub(bits, u32::from(prefix_bits));
    difference.checked_shr(host_bits).unwrap_or(0) == 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use flow::V4;
    use std::net::Ipv4Addr;

    #[test]
    fn what_leaves_a_network_is_masqueraded_and_what_stays_is_not() {
        let inside = Ipv4Addr::new(198, 18, 1, 0);
        let outbounds = Outbounds::<V4>(Box::new([Outbound {
            name: "servers".into(),
            id: MemberId::default(),
            networks: Box::new([(inside, 24)]),
            pool: SourceNatPool { addresses: Box::new([Ipv4Addr::new(198, 18, 0, 9)]) },
        }]));
        let of = |from: [u8; 4], to: [u8; 4]| outbounds.of(from.into(), to.into()).is_some();
        assert!(of([198, 18, 1, 7], [198, 19, 0, 1]));
        assert!(!of([198, 18, 1, 7], [198, 18, 1, 8]));
        assert!(!of([198, 18, 2, 7], [198, 19, 0, 1]));
    }

    #[test]
    fn every_address_lies_in_the_network_of_no_bits_and_one_in_that_of_all() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(is_within(address("198.18.0.1"), address("0.0.0.0"), 0));
        assert!(is_within(address("2001:db8::1"), address("2001:db8::1"), 128));
        assert!(!is_within(address("2001:db8::1"), address("2001:db8::2"), 128));
        assert!(!is_within(address("2001:db8::1"), address("0.0.0.0"), 0));
    }
}
