//! Answers to those who ask where an address is: a port that takes every frame leaves the kernel none to
//! answer.

use std::net::IpAddr;

use wire::arp::{Arp, OP_REQUEST};
use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV6, Ethernet};
use wire::ipv6::Ipv6;
use wire::nd::{self, AdvertisementFlags, Neighbour};
use wire::{Mac, build, protocol};

use crate::flows::Network;

/// Whose addresses a port answers for.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// The port's own address.
    pub mac: Mac,
    /// Networks of which every address is the generator's.
    pub networks: Vec<Network>,
}

impl Neighbours {
    /// The answer to a frame; `None` when it asks nothing, or for somebody else.
    pub fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let mut frame = frame.to_vec();
        let (ethernet, rest) = Ethernet::split(&mut frame).ok()?;
        match ethernet.ethertype() {
            ETHERTYPE_ARP => {
                let (arp, _padding) = Arp::split(rest).ok()?;
                let (target, asker) = (arp.target_address(), arp.sender_address());
                let asked = arp.operation() == OP_REQUEST && self.is_ours(target.into());
                asked.then(|| build::arp_reply(self.mac, target, arp.sender_mac(), asker))
            }
            ETHERTYPE_IPV6 => {
                let ip = Ipv6::split(rest).ok().filter(|ip| ip.protocol == protocol::ICMPV6)?;
                let (source, destination) = (ip.header.source(), ip.header.destination());
                let message = nd::parse(ip.payload, source, destination, ip.header.hop_limit()).ok()?;
                // Who asks without an address of its own looks for a duplicate; nobody owns these alone.
                let Neighbour::Solicitation { target, source_mac: Some(mac) } = message else { return None };
                let flags = AdvertisementFlags { solicited: true, overrides: true, router: false };
                let asked = self.is_ours(target.into());
                asked.then(|| build::neighbour_advertisement(self.mac, target, mac, source, flags))
            }
            _ => None,
        }
    }

    fn is_ours(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use wire::check;

    const US: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const ASKER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn addresses_of_our_networks_are_answered_and_no_others() {
        let networks = ["198.18.0.0/24", "2001:db8::/64"].map(|text| text.parse().unwrap()).to_vec();
        let neighbours = Neighbours { mac: US, networks };
        let asker = "198.18.0.1".parse().unwrap();
        let answer = neighbours.answer(&build::arp_request(ASKER, asker, [198, 18, 0, 77].into()));
        assert_eq!(answer, Some(build::arp_reply(US, [198, 18, 0, 77].into(), ASKER, asker)));
        assert_eq!(neighbours.answer(&build::arp_request(ASKER, asker, [198, 18, 1, 77].into())), None);
        let asker = "2001:db8::1".parse().unwrap();
        let solicit = |target: &str| build::neighbour_solicitation(ASKER, asker, target.parse().unwrap());
        let answer = neighbours.answer(&solicit("2001:db8::77")).unwrap();
        assert_eq!(check::frame_checksums(&answer), Ok(()));
        assert_eq!(answer[..12], [ASKER.0, US.0].concat());
        assert_eq!(neighbours.answer(&solicit("2001:db8:1::77")), None);
        assert_eq!(neighbours.answer(&answer), None);
    }
}
