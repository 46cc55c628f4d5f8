//! Frames that find neighbours and tell them where an address is.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::ethernet;
use crate::arp::{Arp, OP_REPLY, OP_REQUEST};
use crate::ethernet::ETHERTYPE_ARP;
use crate::nd::{self, AdvertisementFlags};
use crate::{Mac, protocol};

/// All nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Asks everyone who has `target`.
pub fn arp_request(sender_mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    arp(Mac::BROADCAST, OP_REQUEST, (sender_mac, sender), (Mac::ZERO, target))
}

/// Tells `target` that `sender` is at `sender_mac`.
pub fn arp_reply(sender_mac: Mac, sender: Ipv4Addr, target_mac: Mac, target: Ipv4Addr) -> Vec<u8> {
    arp(target_mac, OP_REPLY, (sender_mac, sender), (target_mac, target))
}

/// Tells everyone that `address` is at `mac`: an announcement of RFC 5227 section 2.3, in request form.
pub fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    arp(Mac::BROADCAST, OP_REQUEST, (mac, address), (Mac::ZERO, address))
}

fn arp(destination: Mac, operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut bytes = [0; Arp::LENGTH];
    let mut arp = Arp::over(&mut bytes);
    arp.set_ipv4_over_ethernet();
    arp.set_operation(operation);
    arp.set_sender_mac(sender.0);
    arp.set_sender_address(sender.1);
    arp.set_target_mac(target.0);
    arp.set_target_address(target.1);
    ethernet(sender.0, destination).raw(ETHERTYPE_ARP, &bytes)
}

/// Asks the solicited-node group who has `target`.
pub fn neighbour_solicitation(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let group = nd::solicited_node(target);
    let message = nd::solicitation(target, mac, source, group);
    discovery(mac, Mac::of_ipv6_multicast(group), source, group, &message)
}

/// Tells `destination` that `target` is at `mac`.
pub fn neighbour_advertisement(
    mac: Mac,
    target: Ipv6Addr,
    destination_mac: Mac,
    destination: Ipv6Addr,
    flags: AdvertisementFlags,
) -> Vec<u8> {
    let message = nd::advertisement(target, mac, flags, target, destination);
    discovery(mac, destination_mac, target, destination, &message)
}

/// Tells all nodes that `address` is at `mac` from now on, whatever they knew (RFC 4861 section 7.2.6).
pub fn unsolicited_advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let flags = AdvertisementFlags { overrides: true, ..AdvertisementFlags::default() };
    neighbour_advertisement(mac, address, Mac::of_ipv6_multicast(ALL_NODES), ALL_NODES, flags)
}

fn discovery(mac: Mac, to: Mac, source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    ethernet(mac, to).ipv6(source, destination).ttl(nd::HOP_LIMIT).raw(protocol::ICMPV6, message)
}
