//! Which addresses the firewalls of a lab translate to.

use std::net::IpAddr;

use crate::peer::Translation;

use super::Side;

/// The addresses that a firewall has for itself, by its index: what goes there goes to it.
pub fn nat_networks(firewall: usize) -> [String; 2] {
    let [v4, v6] = addresses(firewall, 0);
    [format!("{v4}/28"), format!("{v6}/124")]
}

/// Where a firewall shows `server1` to the clients, in the family of `like`.
pub fn published_address(firewall: usize, like: IpAddr) -> IpAddr {
    let [v4, v6] = addresses(firewall, 8);
    if like.is_ipv4() { v4 } else { v6 }
}

/// `published`: the addresses of who answers.
pub(super) fn translation(firewall: usize, published: [IpAddr; 2]) -> Translation {
    let [v4, v6] = addresses(firewall, 0);
    Translation {
        hidden: Side::Inner.hosts().destinations().into(),
        sources: vec![format!("{v4}/29"), format!("{v6}/125")],
        published: addresses(firewall, 8).into_iter().zip(published).collect(),
    }
}

/// One of a firewall's sixteen, of which a lab has nine firewalls at the most.
fn addresses(firewall: usize, place: u8) -> [IpAddr; 2] {
    let number = (firewall as u8) * 16 + place;
    [[198, 18, 9, number].into(), [0x2001, 0xdb8, 9, 0, 0, 0, 0, u16::from(number)].into()]
}
