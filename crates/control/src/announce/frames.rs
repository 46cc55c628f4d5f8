//! The frames of announcements and questions, built by a library: they are few, and none of them is on the packet path.

use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet::packet::icmpv6::ndp::{
    MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NdpOption, NdpOptionType, NdpOptionTypes,
    NeighborAdvertFlags,
};
use pnet::packet::icmpv6::{Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet, checksum};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::util::MacAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::Mac;
use wire::nd::solicited_node;

const ETHERNET_BYTES: usize = 14;
const ARP_BYTES: usize = 28;
const IPV6_BYTES: usize = 40;
/// A solicitation or an advertisement with one option, the link-layer address.
const DISCOVERY_BYTES: usize = 32;

/// All nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What tells the link that `address` is at `mac`. `None` cannot happen: every buffer is made for its frame.
pub(super) fn announcement(mac: Mac, address: IpAddr) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(address) => gratuitous_arp(mac, address),
        IpAddr::V6(address) => unsolicited_advertisement(mac, address),
    }
}

/// What asks the link of `own`, at `mac`, who has `target`; `None` for two families.
pub(super) fn question(mac: Mac, own: IpAddr, target: IpAddr) -> Option<Vec<u8>> {
    match (own, target) {
        (IpAddr::V4(own), IpAddr::V4(target)) => arp_request(mac, own, target),
        (IpAddr::V6(own), IpAddr::V6(target)) => solicitation(mac, own, target),
        _ => None,
    }
}

fn ethernet(mac: Mac, destination: MacAddr, ethertype: EtherType, payload: &[u8]) -> Option<Vec<u8>> {
    let mut frame = vec![0; ETHERNET_BYTES + payload.len()];
    let mut ethernet = MutableEthernetPacket::new(&mut frame)?;
    ethernet.set_source(MacAddr::from(mac.0));
    ethernet.set_destination(destination);
    ethernet.set_ethertype(ethertype);
    ethernet.set_payload(payload);
    Some(frame)
}

/// An announcement in request form, which all stacks learn from (RFC 5227 section 3).
fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> Option<Vec<u8>> {
    arp_request(mac, address, address)
}

fn arp_request(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Option<Vec<u8>> {
    let mut message = [0; ARP_BYTES];
    let mut arp = MutableArpPacket::new(&mut message)?;
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(ArpOperations::Request);
    arp.set_sender_hw_addr(MacAddr::from(mac.0));
    arp.set_sender_proto_addr(sender);
    arp.set_target_proto_addr(target);
    ethernet(mac, MacAddr::broadcast(), EtherTypes::Arp, &message)
}

/// Override set, solicited not: everyone replaces what he knew (RFC 4861 section 7.2.6).
fn unsolicited_advertisement(mac: Mac, address: Ipv6Addr) -> Option<Vec<u8>> {
    let mut message = [0; DISCOVERY_BYTES];
    let mut advertisement = MutableNeighborAdvertPacket::new(&mut message)?;
    advertisement.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
    advertisement.set_flags(NeighborAdvertFlags::Override);
    advertisement.set_target_addr(address);
    advertisement.set_options(&[link_layer_address(mac, NdpOptionTypes::TargetLLAddr)]);
    discovery(mac, address, ALL_NODES, message)
}

/// To the group of all whose addresses end like `target` (RFC 4861 section 7.2.2, RFC 4291 section 2.7.1).
fn solicitation(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Option<Vec<u8>> {
    let mut message = [0; DISCOVERY_BYTES];
    let mut solicitation = MutableNeighborSolicitPacket::new(&mut message)?;
    solicitation.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
    solicitation.set_target_addr(target);
    solicitation.set_options(&[link_layer_address(mac, NdpOptionTypes::SourceLLAddr)]);
    discovery(mac, source, solicited_node(target), message)
}

fn link_layer_address(mac: Mac, option_type: NdpOptionType) -> NdpOption {
    NdpOption { option_type, length: 1, data: mac.0.to_vec() }
}

/// `message`, its checksum still zero, on its way from `source` to a group.
fn discovery(
    mac: Mac,
    source: Ipv6Addr,
    group: Ipv6Addr,
    mut message: [u8; DISCOVERY_BYTES],
) -> Option<Vec<u8>> {
    let sum = checksum(&Icmpv6Packet::new(&message)?, &source, &group);
    MutableIcmpv6Packet::new(&mut message)?.set_checksum(sum);
    let mut packet = [0; IPV6_BYTES + DISCOVERY_BYTES];
    let mut ip = MutableIpv6Packet::new(&mut packet)?;
    ip.set_version(6);
    ip.set_payload_length(DISCOVERY_BYTES as u16);
    ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
    // 255 proves that the sender is on the link (RFC 4861 section 7.1.2).
    ip.set_hop_limit(255);
    ip.set_source(source);
    ip.set_destination(group);
    ip.set_payload(&message);
    let members = MacAddr::from(Mac::of_ipv6_multicast(group).0);
    ethernet(mac, members, EtherTypes::Ipv6, &packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::build;

    #[test]
    fn two_builders_that_know_nothing_of_each_other_agree() {
        let mac = Mac([2, 0, 0, 0, 0, 7]);
        let v4 = Ipv4Addr::new(198, 18, 0, 10);
        assert_eq!(announcement(mac, v4.into()), Some(build::gratuitous_arp(mac, v4)));
        let v6: Ipv6Addr = "2001:db8::10".parse().unwrap();
        assert_eq!(announcement(mac, v6.into()), Some(build::unsolicited_advertisement(mac, v6)));
        let (own, own_6) = (Ipv4Addr::new(198, 18, 0, 1), "fe80::1".parse().unwrap());
        assert_eq!(question(mac, own.into(), v4.into()), Some(build::arp_request(mac, own, v4)));
        let solicitation = build::neighbour_solicitation(mac, own_6, v6);
        assert_eq!(question(mac, own_6.into(), v6.into()), Some(solicitation));
        assert_eq!(question(mac, own.into(), v6.into()), None);
    }
}
