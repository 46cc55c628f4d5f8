//! The stamp: what a measured frame carries, and how it is found again.
//!
//! ```text
//!   bytes from the packet's end   18        14      13     12          8            0
//!                                 signature stream  flags  sequence    time
//! ```
//!
//! All in network byte order: 32 bits of signature, new in each run; the stream's number; flags, none yet;
//! 32 bits of sequence number, from 0 in each stream; the time in nanoseconds of `CLOCK_MONOTONIC`. It is the
//! *end* of the IP packet, so a device may rewrite addresses and ports, put headers before it or take them
//! away, and the stamp is where it was. A UDP frame of 64 over IPv4 holds exactly this and nothing else.
//!
//! A SYN too short for it carries the *short stamp*: its sequence number is the sequence number, and its
//! acknowledgement number, which counts for nothing without ACK, is the signature plus the stream. It has no
//! time.
//!
//! An ICMP error quotes the packet that it is about, stamp and all; it is never taken for that packet.

use std::hash::{BuildHasher, RandomState};

use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, is_tag};
use wire::protocol;

/// Bytes of a stamp.
pub const STAMP_BYTES: usize = 18;

/// Where the parts of a stamp lie in it.
const STREAM_AT: usize = 4;
pub(crate) const SEQUENCE_AT: usize = 6;
pub(crate) const TIME_AT: usize = 10;

/// What is found in a frame of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the stream, in the order of the profile.
    pub stream: u8,
    /// The frame's number in its stream, modulo 2^32.
    pub sequence: u32,
    /// When it was sent, in nanoseconds of `CLOCK_MONOTONIC`; `None` in a short stamp.
    pub time_ns: Option<u64>,
}

/// What tells frames of this run from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(u32);

impl Signature {
    /// One that no other run has, as far as 32 bits go.
    pub fn random() -> Self {
        Self(RandomState::new().hash_one(std::process::id()) as u32)
    }

    /// A known one.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The stamp as it lies in a packet.
    pub fn encode(self, stream: u8, sequence: u32, time_ns: u64) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..STREAM_AT].copy_from_slice(&self.0.to_be_bytes());
        bytes[STREAM_AT] = stream;
        bytes[SEQUENCE_AT..TIME_AT].copy_from_slice(&sequence.to_be_bytes());
        bytes[TIME_AT..].copy_from_slice(&time_ns.to_be_bytes());
        bytes
    }

    /// The acknowledgement number of a short stamp.
    pub fn short(self, stream: u8) -> u32 {
        self.0.wrapping_add(u32::from(stream))
    }

    /// Finds the stamp in a frame; `None` when it is not one of this run's.
    #[inline]
    pub fn find(self, frame: &[u8]) -> Option<Stamp> {
        let packet = packet(frame)?;
        if matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6) {
            return None;
        }
        // One byte further to the front where the payload has an odd length: stamps begin at even places.
        [0, 1]
            .into_iter()
            .find_map(|odd| self.decode(frame, packet.end.checked_sub(STAMP_BYTES + odd)?))
            .or_else(|| {
                (packet.protocol == protocol::TCP).then(|| self.decode_short(frame.get(packet.payload..)?))?
            })
    }

    #[inline]
    fn decode(self, frame: &[u8], at: usize) -> Option<Stamp> {
        let bytes = frame.get(at..)?.first_chunk::<STAMP_BYTES>()?;
        let (signature, rest) = bytes.split_first_chunk::<4>()?;
        if u32::from_be_bytes(*signature) != self.0 {
            return None;
        }
        let (head, rest) = rest.split_first_chunk::<2>()?;
        let (sequence, time) = rest.split_first_chunk::<4>()?;
        let time_ns = u64::from_be_bytes(*time.first_chunk()?);
        Some(Stamp { stream: head[0], sequence: u32::from_be_bytes(*sequence), time_ns: Some(time_ns) })
    }

    fn decode_short(self, segment: &[u8]) -> Option<Stamp> {
        const SYN: u8 = 0x02;
        const ACK: u8 = 0x10;
        let header = segment.first_chunk::<20>()?;
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        let stream = u8::try_from(word(8).wrapping_sub(self.0)).ok()?;
        let opens = header[13] & (SYN | ACK) == SYN;
        opens.then_some(Stamp { stream, sequence: word(4), time_ns: None })
    }
}

/// Where the IP packet of a frame lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// Offset of the IP header.
    pub start: usize,
    /// Offset of what follows IPv4's or IPv6's fixed header and IPv4's options.
    pub payload: usize,
    /// Offset of the first byte behind it; padding may follow.
    pub end: usize,
    /// IPv4's protocol or IPv6's next header.
    pub protocol: u8,
    pub is_ipv4: bool,
}

/// Tags of a frame at the most that are looked behind.
const TAGS_MAX: usize = 2;

/// Finds the IP packet in a frame.
#[inline]
pub(crate) fn packet(frame: &[u8]) -> Option<Packet> {
    let half = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let mut start = wire::ethernet::LENGTH;
    let mut ethertype = half(start - 2)?;
    for _ in 0..TAGS_MAX {
        if !is_tag(ethertype) {
            break;
        }
        start += 4;
        ethertype = half(start - 2)?;
    }
    match ethertype {
        ETHERTYPE_IPV4 => {
            let header = frame.get(start..)?.first_chunk::<20>()?;
            let payload = start + usize::from(header[0] & 0x0f) * 4;
            let end = start + usize::from(u16::from_be_bytes([header[2], header[3]]));
            (end <= frame.len()).then_some(Packet { start, payload, end, protocol: header[9], is_ipv4: true })
        }
        ETHERTYPE_IPV6 => {
            let header = frame.get(start..)?.first_chunk::<40>()?;
            let payload = start + 40;
            let end = payload + usize::from(u16::from_be_bytes([header[4], header[5]]));
            (end <= frame.len()).then_some(Packet {
                start,
                payload,
                end,
                protocol: header[6],
                is_ipv4: false,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::{Mac, build};

    const SIGNATURE: Signature = Signature(0xdead_beef);

    fn udp(payload: &[u8]) -> Vec<u8> {
        build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
            .ipv4([198, 18, 0, 1].into(), [198, 18, 0, 2].into())
            .udp(1024, 9)
            .payload(payload)
            .finish()
    }

    #[test]
    fn a_stamp_is_laid_out_as_documented() {
        assert_eq!(
            SIGNATURE.encode(7, 0x0102_0304, 0x1112_1314_1516_1718),
            [0xde, 0xad, 0xbe, 0xef, 7, 0, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]
        );
    }

    #[test]
    fn the_shortest_datagram_holds_a_stamp_and_nothing_else() {
        let frame = udp(&SIGNATURE.encode(1, 2, 3));
        assert_eq!(frame.len(), 60);
        assert_eq!(SIGNATURE.find(&frame), Some(Stamp { stream: 1, sequence: 2, time_ns: Some(3) }));
        assert_eq!(Signature(1).find(&frame), None);
    }

    #[test]
    fn padding_tags_and_outer_headers_do_not_hide_a_stamp() {
        let stamp = SIGNATURE.encode(1, 2, 3);
        let mut padded = udp(&stamp);
        padded.resize(padded.len() + 9, 0);
        let inner = &udp(&stamp)[14..];
        let macs = || build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let (a, b) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let tunnel = macs().vlan(7).ipv6(a, b).raw(protocol::IPV4, inner);
        let odd = udp(&[&[0, 0][..], &stamp, &[0]].concat());
        for frame in [padded, tunnel, odd] {
            assert_eq!(SIGNATURE.find(&frame), Some(Stamp { stream: 1, sequence: 2, time_ns: Some(3) }));
        }
    }

    #[test]
    fn an_error_that_quotes_a_stamp_is_not_the_packet_it_quotes() {
        let quoted = udp(&SIGNATURE.encode(1, 2, 3));
        let error = build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
            .ipv4([198, 18, 0, 9].into(), [198, 18, 0, 1].into())
            .icmp_error(3, 3, [0; 4], &quoted[14..]);
        assert!(error.ends_with(&SIGNATURE.encode(1, 2, 3)));
        assert_eq!(SIGNATURE.find(&error), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_found(signature: u32, stream: u8, sequence: u32, time_ns: u64, front in 0usize..64) {
            let signature = Signature(signature);
            let payload = [&vec![0xa5; front][..], &signature.encode(stream, sequence, time_ns)].concat();
            let found = signature.find(&udp(&payload));
            prop_assert_eq!(found, Some(Stamp { stream, sequence, time_ns: Some(time_ns) }));
        }

        #[test]
        fn any_bytes_are_searched_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            SIGNATURE.find(&bytes);
        }
    }
}
