//! The prototype of a stream's frames of one size, and what differs from frame to frame.
//!
//! Built once. The sums of all that stays the same are kept without the fields that change, so that a frame's
//! checksums are these sums plus its own fields (RFC 1071, section 2): exact, and independent of the frame
//! before it.

use std::net::IpAddr;

use rings::live::{LiveChecksum, LiveFrame};
use wire::tcp::TcpFlags;
use wire::{Mac, build, protocol};

use crate::flows::Flows;
use crate::profile::{Protocol, Stream};
use crate::sizes::FCS_BYTES;
use crate::stamp::{SEQUENCE_AT, STAMP_BYTES, Signature, TIME_AT, packet};

const IPV4_CHECKSUM_AT: usize = 10;
const TCP_CHECKSUM_AT: usize = 16;
const UDP_CHECKSUM_AT: usize = 6;

/// A checksum: its place in the frame, and the sum of what it covers beside the fields that change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partial {
    pub at: usize,
    pub sum: u16,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Template {
    frame: Vec<u8>,
    /// The low 32 bits of the source address.
    pub(crate) address_at: usize,
    pub(crate) port_at: usize,
    pub(crate) sequence_at: usize,
    /// `None` with a short stamp.
    pub(crate) time_at: Option<usize>,
    /// IPv4's, which covers the address alone.
    pub(crate) network: Option<Partial>,
    pub(crate) transport: Partial,
    pub(crate) is_udp: bool,
    headers_bytes: usize,
}

impl Template {
    /// The prototype of frames of `frame_bytes`, check sequence included, which is a size of the stream.
    pub fn new(stream: &Stream, index: u8, frame_bytes: usize, macs: [Mac; 2], signature: Signature) -> Self {
        let [source_mac, destination_mac] = macs;
        let ethernet = build::ethernet(source_mac, destination_mac);
        // The fields that change are zero in the prototype.
        let ip = match (stream.flows.address(0), stream.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => ethernet.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => ethernet.ipv6(source, destination),
            // A profile with two families in one stream is refused.
            (IpAddr::V4(source), IpAddr::V6(_)) => ethernet.ipv4(source, source),
            (IpAddr::V6(source), IpAddr::V4(_)) => ethernet.ipv6(source, source),
        };
        let payload_bytes = frame_bytes.saturating_sub(FCS_BYTES + stream.headers_bytes());
        let stamped = payload_bytes >= STAMP_BYTES;
        let mut payload = vec![0; payload_bytes];
        // At an even place, where its numbers are whole words of the checksum.
        let stamp_at = payload_bytes.saturating_sub(STAMP_BYTES) & !1;
        if stamped {
            payload[stamp_at..stamp_at + STAMP_BYTES].copy_from_slice(&signature.encode(index, 0, 0));
        }
        let frame = match stream.protocol {
            Protocol::Udp => ip.udp(0, stream.destination_port).payload(&payload).finish(),
            _ => ip
                .tcp(0, stream.destination_port)
                .flags(TcpFlags::SYN)
                .acknowledgement(if stamped { 0 } else { signature.short(index) })
                .payload(&payload)
                .finish(),
        };
        Self::over(
            build::padded(frame),
            stream.headers_bytes(),
            stamped.then_some(stream.headers_bytes() + stamp_at),
        )
    }

    /// Finds the places in a frame that was just built, and takes the sums from its checksums.
    fn over(frame: Vec<u8>, headers_bytes: usize, stamp_at: Option<usize>) -> Self {
        let places =
            packet(&frame).map(|packet| (packet.start, packet.payload, packet.is_ipv4, packet.protocol));
        // A frame that was built has an IP packet.
        let (ip, transport, is_ipv4, protocol) = places.unwrap_or_default();
        let is_udp = protocol == protocol::UDP;
        let partial = |at: usize| Partial { at, sum: !u16::from_be_bytes([frame[at], frame[at + 1]]) };
        let network = is_ipv4.then(|| partial(ip + IPV4_CHECKSUM_AT));
        let transport_checksum = partial(transport + if is_udp { UDP_CHECKSUM_AT } else { TCP_CHECKSUM_AT });
        Self {
            address_at: ip + if is_ipv4 { 12 } else { 8 + 12 },
            port_at: transport,
            sequence_at: stamp_at.map_or(transport + 4, |stamp| stamp + SEQUENCE_AT),
            time_at: stamp_at.map(|stamp| stamp + TIME_AT),
            network,
            transport: transport_checksum,
            is_udp,
            headers_bytes,
            frame,
        }
    }

    /// The same for the kernel, which then makes the frames of these flows itself.
    pub fn live(&self, flows: &Flows) -> LiveFrame {
        let checksum = |partial: Partial| LiveChecksum { at: partial.at, sum: partial.sum };
        LiveFrame {
            frame: self.frame.clone(),
            headers_bytes: self.headers_bytes,
            flows: flows.count(),
            addresses: flows.addresses(),
            address_first: flows.address_low(),
            port_first: flows.port_first(),
            address_at: self.address_at,
            port_at: self.port_at,
            sequence_at: self.sequence_at,
            time_at: self.time_at,
            network_checksum: self.network.map(checksum),
            transport_checksum: checksum(self.transport),
            zero_is_ones: self.is_udp,
        }
    }

    /// The frame as it was last patched.
    #[inline]
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Makes it the frame of this source, sequence number and time.
    #[inline]
    pub fn patch(&mut self, (address_low, port): (u32, u16), sequence: u32, time_ns: u64) {
        let mut sum = words(u64::from(address_low)) + u64::from(port) + words(u64::from(sequence));
        put(&mut self.frame, self.address_at, address_low.to_be_bytes());
        put(&mut self.frame, self.port_at, port.to_be_bytes());
        put(&mut self.frame, self.sequence_at, sequence.to_be_bytes());
        if let Some(at) = self.time_at {
            put(&mut self.frame, at, time_ns.to_be_bytes());
            sum += words(time_ns);
        }
        if let Some(network) = self.network {
            let checksum = !fold(u64::from(network.sum) + words(u64::from(address_low)));
            put(&mut self.frame, network.at, checksum.to_be_bytes());
        }
        let checksum = !fold(u64::from(self.transport.sum) + sum);
        // RFC 768: a checksum of zero says that there is none.
        let checksum = if self.is_udp && checksum == 0 { u16::MAX } else { checksum };
        put(&mut self.frame, self.transport.at, checksum.to_be_bytes());
    }
}

#[inline]
fn put<const N: usize>(frame: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *place = bytes;
    }
}

/// The sum of the 16-bit words of a number.
#[inline]
fn words(number: u64) -> u64 {
    (number >> 48) + (number >> 32 & 0xffff) + (number >> 16 & 0xffff) + (number & 0xffff)
}

/// Folds the carries of a sum of fewer than 2^16 words back into it.
#[inline]
pub(crate) fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}
