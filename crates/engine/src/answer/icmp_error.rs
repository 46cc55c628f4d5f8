//! ICMP errors, which quote the packet at fault as its sender sent it (RFC 792, RFC 1812 section 4.3, RFC 4443).

use super::{HOP_LIMIT, Responder, link_layer};
use crate::path::Answer;
use crate::reason::DropReason;
use port::Frame;
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::checksum::{Pseudo, Sum, transport_checksum};
use wire::ethernet::{self, Ethernet};
use wire::icmp::{self, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::{Mac, protocol};

/// An ICMP error is at most so long, IP header included: 576 bytes (RFC 1812 section 4.3.2.3).
const ERROR_BYTES_MAX_V4: usize = 576;
/// The minimum MTU (RFC 4443 section 2.4 (c)).
const ERROR_BYTES_MAX_V6: usize = 1_280;

/// Type, code and what follows the checksum.
type Message = (u8, u8, u32);

fn message_v4(error: Answer) -> Message {
    use icmp::v4;
    match error {
        Answer::TimeExceeded => (v4::TIME_EXCEEDED, 0, 0),
        Answer::TooBig { mtu_bytes } => {
            (v4::UNREACHABLE, v4::CODE_FRAGMENTATION_NEEDED, u32::from(mtu_bytes))
        }
        Answer::NetworkUnreachable => (v4::UNREACHABLE, v4::CODE_NETWORK, 0),
        Answer::HostUnreachable => (v4::UNREACHABLE, v4::CODE_HOST, 0),
        _ => (v4::UNREACHABLE, v4::CODE_PORT, 0),
    }
}

fn message_v6(error: Answer) -> Message {
    use icmp::v6;
    match error {
        Answer::TimeExceeded => (v6::TIME_EXCEEDED, 0, 0),
        Answer::TooBig { mtu_bytes } => (v6::PACKET_TOO_BIG, 0, u32::from(mtu_bytes)),
        Answer::NetworkUnreachable => (v6::UNREACHABLE, v6::CODE_NO_ROUTE, 0),
        Answer::HostUnreachable => (v6::UNREACHABLE, v6::CODE_ADDRESS, 0),
        _ => (v6::UNREACHABLE, v6::CODE_PORT, 0),
    }
}

/// What a frame counts as when its error may not be sent.
fn dropped_as(error: Answer) -> DropReason {
    match error {
        Answer::TimeExceeded => DropReason::HopLimit,
        Answer::TooBig { .. } => DropReason::TooLong,
        Answer::NetworkUnreachable => DropReason::NoRoute,
        Answer::HostUnreachable => DropReason::NextHopUnresolved,
        _ => DropReason::NoService,
    }
}

impl Responder<'_> {
    pub(super) fn icmp_error(&self, frame: &mut Frame<'_>, error: Answer) -> Result<(), DropReason> {
        let (link_bytes, ethertype, sender) = link_layer(frame)?;
        let is_v4 = ethertype == ethernet::ETHERTYPE_IPV4;
        let packet = &mut frame.bytes_mut()[link_bytes..];
        let (headers_bytes, quote_bytes, ends) = if is_v4 {
            let (source, destination, packet_bytes) = self.ends_v4(packet, error)?;
            let headers = Ipv4::LENGTH + Icmp::LENGTH;
            let pseudo = Pseudo::V4 { source, destination };
            (headers, packet_bytes.min(ERROR_BYTES_MAX_V4 - headers), pseudo)
        } else {
            let (source, destination, packet_bytes) = self.ends_v6(packet, error)?;
            let headers = Ipv6::LENGTH + Icmp::LENGTH;
            let pseudo = Pseudo::V6 { source, destination };
            (headers, packet_bytes.min(ERROR_BYTES_MAX_V6 - headers), pseudo)
        };
        let reframed = frame
            .trim_front(link_bytes)
            .and_then(|()| frame.set_length(quote_bytes))
            .and_then(|()| frame.prepend(ethernet::LENGTH + headers_bytes));
        reframed.map_err(|_| DropReason::AnswerImpossible)?;
        self.write_error(frame.bytes_mut(), sender, ends, error).ok_or(DropReason::AnswerImpossible)
    }

    /// Source and destination of the error, and the length of the packet that it quotes.
    fn ends_v4(&self, packet: &mut [u8], error: Answer) -> Result<(Ipv4Addr, Ipv4Addr, usize), DropReason> {
        let ip = Ipv4::split(packet)?;
        let is_error = ip.header.protocol() == protocol::ICMP
            && ip.payload.first().is_none_or(|&kind| icmp::v4::is_error(kind));
        // RFC 1812 section 4.3.2.7: never about an error, nor about a later fragment.
        if is_error || ip.header.fragment_offset_bytes() > 0 {
            return Err(dropped_as(error));
        }
        let called = ip.header.destination();
        let own = self.plan.v4.owned.get(called).map(|_| called).or(self.port.address_v4);
        let source = own.ok_or(dropped_as(error))?;
        Ok((source, ip.header.source(), usize::from(ip.header.total_length())))
    }

    fn ends_v6(&self, packet: &mut [u8], error: Answer) -> Result<(Ipv6Addr, Ipv6Addr, usize), DropReason> {
        let ip = Ipv6::split(packet)?;
        let is_error = ip.protocol == protocol::ICMPV6
            && ip.payload.first().is_none_or(|&kind| icmp::v6::is_error(kind));
        if is_error || ip.fragment.is_some_and(|fragment| !fragment.is_first()) {
            return Err(dropped_as(error));
        }
        let called = ip.header.destination();
        let own = self.plan.v6.owned.get(called).map(|_| called).or(self.port.address_v6);
        let source = own.ok_or(dropped_as(error))?;
        Ok((source, ip.header.source(), Ipv6::LENGTH + ip.extensions.len() + ip.payload.len()))
    }

    /// Writes the headers in front of the quote; `None` cannot happen on a frame that was reframed for it.
    fn write_error(&self, frame: &mut [u8], sender: Mac, ends: Pseudo, error: Answer) -> Option<()> {
        let (mut ethernet, packet) = Ethernet::split(frame).ok()?;
        ethernet.set_source(self.port.mac);
        ethernet.set_destination(sender);
        let packet_bytes = u16::try_from(packet.len()).ok()?;
        match ends {
            Pseudo::V4 { source, destination } => {
                ethernet.set_ethertype(ethernet::ETHERTYPE_IPV4);
                let (header, message) = packet.split_first_chunk_mut::<{ Ipv4::LENGTH }>()?;
                header.fill(0);
                let mut header = Ipv4::over(header);
                header.set_header_length(Ipv4::LENGTH as u8);
                header.set_total_length(packet_bytes);
                header.set_ttl(HOP_LIMIT);
                header.set_protocol(protocol::ICMP);
                header.set_source(source);
                header.set_destination(destination);
                header.set_checksum(header.compute_checksum(&[]));
                write_message(message, message_v4(error))?;
                let checksum = Sum::new().add_bytes(message).finish();
                Icmp::split(message).ok()?.0.set_checksum(checksum);
            }
            Pseudo::V6 { source, destination } => {
                ethernet.set_ethertype(ethernet::ETHERTYPE_IPV6);
                let (header, message) = packet.split_first_chunk_mut::<{ Ipv6::LENGTH }>()?;
                header.fill(0);
                let mut header = Ipv6::over(header);
                header.set_version();
                header.set_payload_length(u16::try_from(message.len()).ok()?);
                header.set_next_header(protocol::ICMPV6);
                header.set_hop_limit(HOP_LIMIT);
                header.set_source(source);
                header.set_destination(destination);
                write_message(message, message_v6(error))?;
                let checksum = transport_checksum(ends, protocol::ICMPV6, message)?;
                Icmp::split(message).ok()?.0.set_checksum(checksum);
            }
        }
        Some(())
    }
}

/// The eight bytes in front of the quote, checksum 0.
fn write_message(message: &mut [u8], (kind, code, rest): Message) -> Option<()> {
    let header = message.first_chunk_mut::<{ Icmp::LENGTH }>()?;
    header.fill(0);
    let mut header = Icmp::over(header);
    header.set_kind(kind);
    header.set_code(code);
    header.set_rest(rest.to_be_bytes());
    Some(())
}
