//! Both ends of TCP connections: a client that keeps a few words for each flow, and a far end that keeps
//! nothing and answers whatever comes, to where it came from.
//!
//! Nothing is sent twice. What is lost makes its connection fail, and that is the measure.

mod client;
mod outcome;
mod server;

use std::net::IpAddr;

use wire::checksum::{Pseudo, Sum};
use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::{Tcp, TcpFlags};
use wire::{Mac, build, protocol};

pub use client::{Client, FRAMES_PER_CONNECTION, FRAMES_PER_EXCHANGE};
pub use outcome::{Counts, Failures, Outcome, Reason};
pub use server::answer;

use crate::sizes::{FCS_BYTES, FRAME_BYTES_MAX};
use crate::stamp::packet;

/// The longest frame as a buffer holds it.
const BUFFER_BYTES: usize = FRAME_BYTES_MAX - FCS_BYTES;

/// Bytes of the longest headers: Ethernet, IPv6, TCP.
const HEADERS_BYTES_MAX: usize = 14 + 40 + 20;

/// A segment as one of its ends sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Source and destination of the frame.
    pub macs: [Mac; 2],
    /// Source of the packet.
    pub source: IpAddr,
    /// Destination of the packet, of the same family.
    pub destination: IpAddr,
    /// Source and destination port.
    pub ports: [u16; 2],
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Bytes of data; all zeros in what we send.
    pub data_bytes: usize,
}

impl Segment {
    /// Reads a frame; `None` when it is no TCP segment. Checksums are not looked at: that costs as much as all
    /// the rest, and a device that breaks them shows it in its other peers.
    #[inline]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let packet = packet(frame).filter(|packet| packet.protocol == protocol::TCP)?;
        let tcp = frame.get(packet.payload..packet.end)?.first_chunk::<20>()?;
        let half = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
        let address = |at: usize| -> Option<IpAddr> {
            let bytes = frame.get(packet.start + at..)?;
            Some(match packet.is_ipv4 {
                true => IpAddr::from(*bytes.first_chunk::<4>()?),
                false => IpAddr::from(*bytes.first_chunk::<16>()?),
            })
        };
        let (source_at, destination_at) = if packet.is_ipv4 { (12, 16) } else { (8, 24) };
        let mac = |at: usize| Some(Mac(*frame.get(at..)?.first_chunk::<6>()?));
        Some(Self {
            macs: [mac(6)?, mac(0)?],
            source: address(source_at)?,
            destination: address(destination_at)?,
            ports: [half(0), half(2)],
            sequence: word(4),
            acknowledgement: word(8),
            flags: TcpFlags(tcp[13]),
            data_bytes: (packet.end - packet.payload).checked_sub(usize::from(tcp[12] >> 4) * 4)?,
        })
    }

    /// Bytes of its frame in a buffer, without check sequence.
    pub fn frame_bytes(&self) -> usize {
        let network_bytes = if self.source.is_ipv4() { Ipv4::LENGTH } else { Ipv6::LENGTH };
        let bytes = wire::ethernet::LENGTH + network_bytes + Tcp::LENGTH + self.data_bytes;
        bytes.clamp(build::ETHERNET_BYTES_MIN, BUFFER_BYTES)
    }

    /// The sequence number behind it: SYN and FIN take one each (RFC 9293, section 3.4).
    pub fn end(&self) -> u32 {
        let flags = [TcpFlags::SYN, TcpFlags::FIN].iter().filter(|flag| self.flags.contains(**flag)).count();
        self.sequence.wrapping_add(self.data_bytes as u32 + flags as u32)
    }
}

/// Writes segments into a buffer of its own. Allocates nothing.
#[derive(Debug)]
pub struct Writer {
    /// Zeros behind the headers, always.
    buffer: Box<[u8; BUFFER_BYTES]>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { buffer: Box::new([0; BUFFER_BYTES]) }
    }
}

impl Writer {
    /// The whole frame of a segment, padded to Ethernet's shortest; data beyond the longest frame is left
    /// out.
    pub fn write(&mut self, segment: &Segment) -> &[u8] {
        let (head, _zeros) = self.buffer.split_at_mut(HEADERS_BYTES_MAX);
        head.fill(0);
        let network_bytes = if segment.source.is_ipv4() { Ipv4::LENGTH } else { Ipv6::LENGTH };
        let headers_bytes = wire::ethernet::LENGTH + network_bytes + Tcp::LENGTH;
        let data_bytes = segment.data_bytes.min(BUFFER_BYTES - headers_bytes);
        let transport_bytes = (Tcp::LENGTH + data_bytes) as u16;
        let transport = write_network(head, segment, transport_bytes);
        if let Some((header, pseudo)) = transport {
            write_transport(header, segment, pseudo, transport_bytes);
        }
        &self.buffer[..(headers_bytes + data_bytes).max(build::ETHERNET_BYTES_MIN)]
    }
}

/// Writes Ethernet and IP; gives back where TCP's header goes, and what its checksum covers beside it.
fn write_network<'a>(
    head: &'a mut [u8],
    segment: &Segment,
    transport_bytes: u16,
) -> Option<(&'a mut [u8; Tcp::LENGTH], Pseudo)> {
    let (ethernet, rest) = head.split_first_chunk_mut()?;
    let mut ethernet = Ethernet::over(ethernet);
    ethernet.set_source(segment.macs[0]);
    ethernet.set_destination(segment.macs[1]);
    match (segment.source, segment.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ethernet.set_ethertype(ETHERTYPE_IPV4);
            let (ip, rest) = rest.split_first_chunk_mut()?;
            let mut ip = Ipv4::over(ip);
            ip.set_header_length(Ipv4::LENGTH as u8);
            ip.set_total_length(Ipv4::LENGTH as u16 + transport_bytes);
            ip.set_dont_fragment(true);
            ip.set_ttl(64);
            ip.set_protocol(protocol::TCP);
            ip.set_source(source);
            ip.set_destination(destination);
            ip.set_checksum(ip.compute_checksum(&[]));
            Some((rest.first_chunk_mut()?, Pseudo::V4 { source, destination }))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ethernet.set_ethertype(ETHERTYPE_IPV6);
            let (ip, rest) = rest.split_first_chunk_mut()?;
            let mut ip = Ipv6::over(ip);
            ip.set_version();
            ip.set_payload_length(transport_bytes);
            ip.set_next_header(protocol::TCP);
            ip.set_hop_limit(64);
            ip.set_source(source);
            ip.set_destination(destination);
            Some((rest.first_chunk_mut()?, Pseudo::V6 { source, destination }))
        }
        // A stream of two families is refused with its profile.
        _ => None,
    }
}

fn write_transport(header: &mut [u8; Tcp::LENGTH], segment: &Segment, pseudo: Pseudo, transport_bytes: u16) {
    let mut tcp = Tcp::over(header);
    tcp.set_source_port(segment.ports[0]);
    tcp.set_destination_port(segment.ports[1]);
    tcp.set_sequence(segment.sequence);
    tcp.set_acknowledgement(segment.acknowledgement);
    tcp.set_data_offset_bytes(Tcp::LENGTH as u8);
    tcp.set_flags(segment.flags);
    tcp.set_window(u16::MAX);
    // The data is zeros, which add nothing.
    let sum = Sum::new().add_pseudo(pseudo, protocol::TCP, transport_bytes).add_bytes(tcp.bytes());
    tcp.set_checksum(sum.finish());
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::check;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_right(
            is_ipv4: bool, ports: [u16; 2], sequence: u32, acknowledgement: u32, flags in 0u8..64, data_bytes in 0usize..1_400,
        ) {
            let (source, destination): (IpAddr, IpAddr) = match is_ipv4 {
                true => ("198.18.0.1".parse().unwrap(), "198.18.0.2".parse().unwrap()),
                false => ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()),
            };
            let macs = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
            let flags = TcpFlags(flags);
            let segment =
                Segment { macs, source, destination, ports, sequence, acknowledgement, flags, data_bytes };
            let mut writer = Writer::default();
            let frame = writer.write(&segment);
            prop_assert_eq!(check::frame_checksums(frame), Ok(()));
            prop_assert_eq!(Segment::read(frame), Some(segment));
        }
    }

    #[test]
    fn a_writer_leaves_nothing_of_one_family_in_the_other() {
        let mut writer = Writer::default();
        let macs = [Mac([2; 6]), Mac([4; 6])];
        let segment = |source: &str, destination: &str, data_bytes| Segment {
            macs,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            ports: [1, 2],
            sequence: u32::MAX,
            acknowledgement: u32::MAX,
            flags: TcpFlags::ACK,
            data_bytes,
        };
        writer.write(&segment("2001:db8::1", "2001:db8::2", 0));
        let frame = writer.write(&segment("198.18.0.1", "198.18.0.2", 40));
        assert_eq!(check::frame_checksums(frame), Ok(()));
        assert!(frame[54..].iter().all(|byte| *byte == 0));
    }
}
