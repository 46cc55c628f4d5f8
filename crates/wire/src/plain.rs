//! What most frames are: no tags, no options or extension headers, no piece of anything, TCP or UDP.
//!
//! Such a frame has its headers at places that are known beforehand, so a few comparisons on loads that do not wait for
//! each other settle that every `split` of this crate would take it apart, and into what. For whatever is out of the
//! ordinary, malformed frames among it, [`plain`] says nothing, and the splits say what it is.

use crate::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::ipv4::Ipv4;
use crate::ipv6::Ipv6;
use crate::protocol;
use crate::tcp::Tcp;
use crate::udp::Udp;

/// Which headers follow each other, from the first byte of the frame on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// Ethernet, IPv4, TCP.
    TcpV4,
    /// Ethernet, IPv4, UDP.
    UdpV4,
    /// Ethernet, IPv6, TCP.
    TcpV6,
    /// Ethernet, IPv6, UDP.
    UdpV6,
}

/// Version 4, and a header without options.
const V4_WITHOUT_OPTIONS: u8 = 0x45;
/// More fragments, and the fragment offset.
const PIECE_MASK: u16 = 0x3fff;

/// Says what `frame` is if it is plain and well formed; see the module.
#[inline(always)]
pub fn plain(frame: &[u8]) -> Option<Plain> {
    let (link, rest) = frame.split_first_chunk::<{ ethernet::LENGTH }>()?;
    match u16::from_be_bytes([link[12], link[13]]) {
        ETHERTYPE_IPV4 => plain_v4(rest),
        ETHERTYPE_IPV6 => plain_v6(rest),
        _ => None,
    }
}

#[inline(always)]
fn plain_v4(packet: &[u8]) -> Option<Plain> {
    let header: &[u8; Ipv4::LENGTH] = packet.first_chunk()?;
    let is_piece = u16::from_be_bytes([header[6], header[7]]) & PIECE_MASK != 0;
    if header[0] != V4_WITHOUT_OPTIONS || is_piece || !is_sum_valid(header) {
        return None;
    }
    let total_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]));
    match transport(header[9], packet.get(Ipv4::LENGTH..total_bytes)?)? {
        protocol::TCP => Some(Plain::TcpV4),
        _ => Some(Plain::UdpV4),
    }
}

#[inline(always)]
fn plain_v6(packet: &[u8]) -> Option<Plain> {
    let (header, rest) = packet.split_first_chunk::<{ Ipv6::LENGTH }>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let payload_bytes = usize::from(u16::from_be_bytes([header[4], header[5]]));
    match transport(header[6], rest.get(..payload_bytes)?)? {
        protocol::TCP => Some(Plain::TcpV6),
        _ => Some(Plain::UdpV6),
    }
}

/// The protocol, if it is TCP or UDP and the header and what it says of lengths lie within `payload`.
#[inline(always)]
fn transport(protocol: u8, payload: &[u8]) -> Option<u8> {
    let is_whole = match protocol {
        protocol::TCP => {
            let header: &[u8; Tcp::LENGTH] = payload.first_chunk()?;
            let header_bytes = usize::from(header[12] >> 4) * 4;
            Tcp::LENGTH <= header_bytes && header_bytes <= payload.len()
        }
        protocol::UDP => {
            let header: &[u8; Udp::LENGTH] = payload.first_chunk()?;
            let length_bytes = usize::from(u16::from_be_bytes([header[4], header[5]]));
            Udp::LENGTH <= length_bytes && length_bytes <= payload.len()
        }
        _ => false,
    };
    is_whole.then_some(protocol)
}

/// Whether the words of a header add up to 0xffff (RFC 1071). The order of bytes does not matter to that (section 2.B),
/// and a sum is as good as its remainder, since the first word of a header is not zero.
#[inline(always)]
fn is_sum_valid(header: &[u8; Ipv4::LENGTH]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    words.iter().fold(0, |sum, word| sum + u64::from(u32::from_ne_bytes(*word))).is_multiple_of(0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::Ethernet;
    use crate::{Mac, build};
    use proptest::prelude::*;

    /// What the splits make of a frame, where that is plain.
    fn by_splitting(frame: &mut [u8]) -> Option<Plain> {
        let (link, rest) = Ethernet::split(frame).ok()?;
        let transport = |protocol, payload: &mut [u8]| match protocol {
            protocol::TCP => Tcp::split(payload).is_ok(),
            protocol::UDP => Udp::split(payload).is_ok(),
            _ => false,
        };
        match link.ethertype() {
            ETHERTYPE_IPV4 => {
                let split = Ipv4::split(rest).ok()?;
                let is_plain = split.options.is_empty() && !split.header.is_fragment();
                let kind = if split.header.protocol() == protocol::TCP { Plain::TcpV4 } else { Plain::UdpV4 };
                (is_plain && transport(split.header.protocol(), split.payload)).then_some(kind)
            }
            ETHERTYPE_IPV6 => {
                let split = Ipv6::split(rest).ok()?;
                let kind = if split.protocol == protocol::TCP { Plain::TcpV6 } else { Plain::UdpV6 };
                (split.extensions.is_empty() && transport(split.protocol, split.payload)).then_some(kind)
            }
            _ => None,
        }
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let ethernet = || build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let v4 = ethernet().ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into());
        let ends = ["2001:db8::1", "2001:db8::2"].map(|end| end.parse().unwrap());
        let v6 = ethernet().ipv6(ends[0], ends[1]);
        match kind {
            0 => v4.tcp(7, 8).options(&[1; 8]).payload(payload).finish(),
            1 => v4.udp(7, 8).payload(payload).finish(),
            2 => v6.tcp(7, 8).payload(payload).finish(),
            3 => v6.udp(7, 8).payload(payload).finish(),
            4 => v4.echo_request(7, 1).payload(payload).finish(),
            5 => v6.extension(protocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0]).udp(7, 8).payload(payload).finish(),
            6 => v4.fragment(64, true).raw(protocol::UDP, &[0; 64]),
            _ => ethernet().vlan(20).ipv4([198, 18, 0, 1].into(), [198, 18, 0, 2].into()).udp(1, 2).finish(),
        }
    }

    #[test]
    fn the_four_kinds_are_known() {
        let kinds = [Plain::TcpV4, Plain::UdpV4, Plain::TcpV6, Plain::UdpV6];
        for (number, kind) in kinds.into_iter().enumerate() {
            assert_eq!(plain(&frame(number as u8, b"hello")), Some(kind));
            assert_eq!(plain(&build::padded(frame(number as u8, b""))), Some(kind), "padding is no harm");
        }
        assert!((4..8).all(|number| plain(&frame(number, b"hello")).is_none()));
    }

    /// A frame with a byte changed, and a right header checksum over it where it is IPv4.
    fn changed(kind: u8, at: usize, byte: u8) -> Vec<u8> {
        let mut frame = frame(kind, b"hello");
        frame[at] = byte;
        if frame[12..14] == [8, 0] {
            let mut header = Ipv4::over(frame[14..].first_chunk_mut().unwrap());
            let checksum = header.compute_checksum(&[]);
            header.set_checksum(checksum);
        }
        frame
    }

    #[test]
    fn what_most_frames_also_carry_does_no_harm() {
        // The class of service, and that a packet must not be cut.
        assert_eq!(plain(&changed(1, 15, 0xb8)), Some(Plain::UdpV4));
        assert_eq!(plain(&changed(1, 20, 0x40)), Some(Plain::UdpV4));
        assert_eq!(plain(&changed(3, 14, 0x6b)), Some(Plain::UdpV6));
        // Longer headers of TCP, and a datagram that ends before its packet does.
        assert_eq!(plain(&changed(2, 54 + 12, 6 << 4)), Some(Plain::TcpV6));
        assert_eq!(plain(&changed(3, 54 + 5, 8)), Some(Plain::UdpV6));
    }

    #[test]
    fn pieces_other_versions_and_lengths_that_lie_are_not_plain() {
        for (kind, at, byte) in [
            // More fragments; an offset of one unit, of the most in its upper byte.
            (1, 20, 0x20),
            (1, 21, 1),
            (1, 20, 0x1f),
            (1, 14, 0x55),
            (3, 14, 0x40),
            (3, 14, 0x70),
            // A TCP header of less than 20 bytes, and of more than there are.
            (0, 34 + 12, 4 << 4),
            (2, 54 + 12, 4 << 4),
            (2, 54 + 12, 15 << 4),
            // A datagram of less than its header, and of more than there is.
            (1, 34 + 5, 7),
            (3, 54 + 5, 14),
        ] {
            let mut frame = changed(kind, at, byte);
            assert_eq!(plain(&frame), None, "{kind} {at} {byte}");
            assert_eq!(by_splitting(&mut frame), None, "{kind} {at} {byte}");
        }
    }

    proptest! {
        /// Of a frame with a few broken bytes, cut anywhere, both say the same.
        #[test]
        fn what_is_plain_is_what_the_splits_find_plain(
            kind in 0u8..8,
            payload in prop::collection::vec(any::<u8>(), 0..40),
            breaks in prop::collection::vec((0usize..80, any::<u8>()), 0..3),
            mends_checksum: bool,
            cut in 0usize..40,
        ) {
            let mut frame = frame(kind, &payload);
            for (at, byte) in breaks {
                if let Some(target) = frame.get_mut(at) {
                    *target = byte;
                }
            }
            frame.truncate(frame.len().saturating_sub(cut / 4 * (cut % 4)));
            if mends_checksum && frame.len() >= 34 && frame[12..14] == [8, 0] {
                let mut header = Ipv4::over(frame[14..].first_chunk_mut().unwrap());
                let checksum = header.compute_checksum(&[]);
                header.set_checksum(checksum);
            }
            prop_assert_eq!(plain(&frame), by_splitting(&mut frame));
        }
    }
}
