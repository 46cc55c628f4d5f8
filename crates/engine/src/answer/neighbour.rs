//! Who has this address? ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861).

use super::{Asker, Responder, is_announced};
use crate::reason::DropReason;
use port::Frame;
use std::net::{IpAddr, Ipv6Addr};
use wire::arp::{self, Arp};
use wire::ethernet::{self, Ethernet};
use wire::ipv6::Ipv6;
use wire::nd::{self, AdvertisementFlags, Neighbour};
use wire::{Mac, protocol};

/// All nodes on the link, to whom an asker without an address is answered (RFC 4861 section 7.2.4).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

impl Responder<'_> {
    pub(super) fn arp(&self, frame: &mut Frame<'_>) -> Result<Asker, DropReason> {
        let (mut ethernet, rest) = Ethernet::split(frame.bytes_mut())?;
        let untagged = ethernet::split_tags(ethernet.ethertype(), rest)?;
        let (mut message, _) = Arp::split(untagged.payload)?;
        let (asker, asker_mac) = (message.sender_address(), message.sender_mac());
        let target = message.target_address();
        let is_request = message.operation() == arp::OP_REQUEST;
        if !is_request || !is_announced(self.plan.v4.owned.get(target)) || asker_mac.is_multicast() {
            return Err(DropReason::ArpIgnored);
        }
        ethernet.set_destination(ethernet.source());
        ethernet.set_source(self.port.mac);
        message.set_operation(arp::OP_REPLY);
        message.set_target_mac(asker_mac);
        message.set_target_address(asker);
        message.set_sender_mac(self.port.mac);
        message.set_sender_address(target);
        // A prober (RFC 5227 section 2.1.1) has no address yet.
        Ok((!asker.is_unspecified()).then_some((IpAddr::V4(asker), asker_mac)))
    }

    pub(super) fn neighbour(&self, frame: &mut Frame<'_>) -> Result<Asker, DropReason> {
        let (mut ethernet, rest) = Ethernet::split(frame.bytes_mut())?;
        let link_source = ethernet.source();
        let untagged = ethernet::split_tags(ethernet.ethertype(), rest)?;
        let ip = Ipv6::split(untagged.payload)?;
        let (source, destination) = (ip.header.source(), ip.header.destination());
        let (target, source_mac) = match nd::parse(ip.payload, source, destination, ip.header.hop_limit())? {
            Neighbour::Solicitation { target, source_mac } => (target, source_mac),
            Neighbour::Advertisement { target, .. } if self.plan.v6.owned.get(target).is_some() => {
                return Err(DropReason::AddressConflict);
            }
            Neighbour::Advertisement { .. } => return Err(DropReason::NeighbourIgnored),
        };
        if self.plan.v6.owned.get(source).is_some() {
            return Err(DropReason::AddressConflict);
        }
        if !is_announced(self.plan.v6.owned.get(target)) {
            return Err(DropReason::NeighbourIgnored);
        }
        let (listener, listener_mac) = if source.is_unspecified() {
            (ALL_NODES, Mac::of_ipv6_multicast(ALL_NODES))
        } else {
            (source, source_mac.unwrap_or(link_source))
        };
        ethernet.set_destination(listener_mac);
        ethernet.set_source(self.port.mac);
        ethernet.set_ethertype(ethernet::ETHERTYPE_IPV6);
        let flags =
            AdvertisementFlags { router: false, solicited: !source.is_unspecified(), overrides: true };
        let message = nd::advertisement(target, self.port.mac, flags, target, listener);
        write_advertisement(frame, target, listener, &message)?;
        Ok(source_mac.map(|mac| (IpAddr::V6(source), mac)))
    }
}

/// Which address the neighbour discovery message in `frame` claims, and for whom.
pub(crate) fn claim(frame: &mut Frame<'_>) -> Option<(IpAddr, Mac)> {
    let (ethernet, rest) = Ethernet::split(frame.bytes_mut()).ok()?;
    let untagged = ethernet::split_tags(ethernet.ethertype(), rest).ok()?;
    let ip = Ipv6::split(untagged.payload).ok()?;
    let (source, destination) = (ip.header.source(), ip.header.destination());
    let (address, mac) = match nd::parse(ip.payload, source, destination, ip.header.hop_limit()).ok()? {
        Neighbour::Solicitation { source_mac, .. } => (source, source_mac),
        Neighbour::Advertisement { target, target_mac, .. } => (target, target_mac),
    };
    Some((address.into(), mac.unwrap_or(ethernet.source())))
}

/// Lays an advertisement behind the frame's Ethernet header; tags and extension headers of the question are left out.
fn write_advertisement(
    frame: &mut Frame<'_>,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    message: &[u8; nd::MESSAGE_BYTES],
) -> Result<(), DropReason> {
    const IP: usize = ethernet::LENGTH;
    const MESSAGE: usize = IP + Ipv6::LENGTH;
    frame.set_length(MESSAGE + nd::MESSAGE_BYTES).map_err(|_| DropReason::AnswerImpossible)?;
    let bytes = frame.bytes_mut();
    bytes[MESSAGE..].copy_from_slice(message);
    let header = bytes[IP..].first_chunk_mut().ok_or(DropReason::AnswerImpossible)?;
    let mut header = Ipv6::over(header);
    header.set_version();
    header.set_payload_length(nd::MESSAGE_BYTES as u16);
    header.set_next_header(protocol::ICMPV6);
    header.set_hop_limit(nd::HOP_LIMIT);
    header.set_source(source);
    header.set_destination(destination);
    Ok(())
}
