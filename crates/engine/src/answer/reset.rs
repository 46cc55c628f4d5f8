//! TCP resets: in answer to a segment, and out of the blue when a server has died.

use super::{HOP_LIMIT, Responder, link_layer};
use crate::reason::DropReason;
use port::Frame;
use std::net::IpAddr;
use wire::checksum::{Pseudo, transport_checksum};
use wire::ethernet::{self, Ethernet};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::{Tcp, TcpFlags};
use wire::{Mac, protocol};

/// Bytes of the longest reset: Ethernet, IPv6, TCP.
pub(crate) const RESET_BYTES_MAX: usize = ethernet::LENGTH + Ipv6::LENGTH + Tcp::LENGTH;

/// What a reset says.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    sequence: u32,
    acknowledgement: u32,
    flags: TcpFlags,
}

impl Numbers {
    /// The reset that `segment` deserves (RFC 9293 section 3.10.7.1).
    fn answering(segment: &Tcp<'_>, data_bytes: usize) -> Self {
        let flags = segment.flags();
        if flags.contains(TcpFlags::ACK) {
            let sequence = segment.acknowledgement();
            return Self { sequence, acknowledgement: 0, flags: TcpFlags::RST };
        }
        let phantoms = u32::from(flags.contains(TcpFlags::SYN)) + u32::from(flags.contains(TcpFlags::FIN));
        let acknowledgement = segment.sequence().wrapping_add(data_bytes as u32).wrapping_add(phantoms);
        Self { sequence: 0, acknowledgement, flags: TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0) }
    }

    fn write(self, segment: &mut Tcp<'_>, ports: (u16, u16)) {
        segment.set_source_port(ports.0);
        segment.set_destination_port(ports.1);
        segment.set_sequence(self.sequence);
        segment.set_acknowledgement(self.acknowledgement);
        segment.set_data_offset_bytes(Tcp::LENGTH as u8);
        segment.set_flags(self.flags);
        segment.set_window(0);
        segment.set_urgent_pointer(0);
    }
}

impl Responder<'_> {
    pub(super) fn reset(&self, frame: &mut Frame<'_>) -> Result<(), DropReason> {
        let (link_bytes, ethertype, sender) = link_layer(frame)?;
        let packet = &mut frame.bytes_mut()[link_bytes..];
        let packet_bytes = match ethertype {
            ethernet::ETHERTYPE_IPV4 => reset_v4(packet)?,
            _ => reset_v6(packet)?,
        };
        frame.set_length(link_bytes + packet_bytes).map_err(|_| DropReason::AnswerImpossible)?;
        let (mut ethernet, _) = Ethernet::split(frame.bytes_mut())?;
        ethernet.set_destination(sender);
        ethernet.set_source(self.port.mac);
        Ok(())
    }
}

/// Turns the segment in `payload` into its reset; gives back how many bytes that is.
fn turn(payload: &mut [u8], pseudo: Pseudo) -> Result<usize, DropReason> {
    let (mut segment, _, data) = Tcp::split(payload)?;
    let ports = (segment.destination_port(), segment.source_port());
    Numbers::answering(&segment, data.len()).write(&mut segment, ports);
    let segment = &mut payload[..Tcp::LENGTH];
    let checksum = transport_checksum(pseudo, protocol::TCP, segment).ok_or(DropReason::AnswerImpossible)?;
    Tcp::split(segment)?.0.set_checksum(checksum);
    Ok(Tcp::LENGTH)
}

/// IP options and extension headers stay as they are: rebuilding the packet around them is not worth it for a reset.
fn reset_v4(packet: &mut [u8]) -> Result<usize, DropReason> {
    let mut ip = Ipv4::split(packet)?;
    let (source, destination) = (ip.header.destination(), ip.header.source());
    let length = ip.header.header_length() + turn(ip.payload, Pseudo::V4 { source, destination })?;
    ip.header.set_source(source);
    ip.header.set_destination(destination);
    ip.header.set_total_length(length as u16);
    ip.header.set_ttl(HOP_LIMIT);
    ip.header.set_checksum(ip.header.compute_checksum(ip.options));
    Ok(length)
}

fn reset_v6(packet: &mut [u8]) -> Result<usize, DropReason> {
    let mut ip = Ipv6::split(packet)?;
    let (source, destination) = (ip.header.destination(), ip.header.source());
    let length = ip.extensions.len() + turn(ip.payload, Pseudo::V6 { source, destination })?;
    ip.header.set_source(source);
    ip.header.set_destination(destination);
    ip.header.set_payload_length(length as u16);
    ip.header.set_hop_limit(HOP_LIMIT);
    Ok(Ipv6::LENGTH + length)
}

/// A segment that nobody asked for: the last word to one end of a session whose server has died.
pub(crate) struct Parting {
    /// Our MAC and the next hop's.
    pub macs: (Mac, Mac),
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
    /// What the receiver expects next from the other end.
    pub sequence: u32,
    /// What the other end expects next from the receiver.
    pub acknowledgement: u32,
    /// Whether it resets the connection. One that does not is an acknowledgement that its receiver cannot take, and so
    /// makes it say what it would have expected (RFC 9293 section 3.10.7.4).
    pub is_reset: bool,
}

impl Parting {
    /// Writes the frame and gives back its length; `None` when the ends are of two families.
    pub fn write(&self, frame: &mut [u8; RESET_BYTES_MAX]) -> Option<usize> {
        frame.fill(0);
        let (mut ethernet, packet) = Ethernet::split(frame).ok()?;
        ethernet.set_source(self.macs.0);
        ethernet.set_destination(self.macs.1);
        let reset = if self.is_reset { TcpFlags::RST } else { TcpFlags::NONE };
        let numbers = Numbers {
            sequence: self.sequence,
            acknowledgement: self.acknowledgement,
            flags: reset | TcpFlags::ACK,
        };
        let ports = (self.source.1, self.destination.1);
        let header_bytes = match (self.source.0, self.destination.0) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ethernet.set_ethertype(ethernet::ETHERTYPE_IPV4);
                let (header, rest) = packet.split_first_chunk_mut()?;
                let mut header = Ipv4::over(header);
                header.set_header_length(Ipv4::LENGTH as u8);
                header.set_total_length((Ipv4::LENGTH + Tcp::LENGTH) as u16);
                header.set_dont_fragment(true);
                header.set_ttl(HOP_LIMIT);
                header.set_protocol(protocol::TCP);
                header.set_source(source);
                header.set_destination(destination);
                header.set_checksum(header.compute_checksum(&[]));
                fill(rest, numbers, ports, Pseudo::V4 { source, destination })?;
                Ipv4::LENGTH
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ethernet.set_ethertype(ethernet::ETHERTYPE_IPV6);
                let (header, rest) = packet.split_first_chunk_mut()?;
                let mut header = Ipv6::over(header);
                header.set_version();
                header.set_payload_length(Tcp::LENGTH as u16);
                header.set_next_header(protocol::TCP);
                header.set_hop_limit(HOP_LIMIT);
                header.set_source(source);
                header.set_destination(destination);
                fill(rest, numbers, ports, Pseudo::V6 { source, destination })?;
                Ipv6::LENGTH
            }
            _ => return None,
        };
        Some(ethernet::LENGTH + header_bytes + Tcp::LENGTH)
    }
}

fn fill(segment: &mut [u8], numbers: Numbers, ports: (u16, u16), pseudo: Pseudo) -> Option<()> {
    let segment = segment.first_chunk_mut::<{ Tcp::LENGTH }>()?;
    numbers.write(&mut Tcp::over(segment), ports);
    let checksum = transport_checksum(pseudo, protocol::TCP, segment)?;
    Tcp::over(segment).set_checksum(checksum);
    Some(())
}
