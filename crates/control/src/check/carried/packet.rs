//! IP packets that control makes itself, and the segments that come back by a raw socket.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use wire::checksum::{Pseudo, Sum, transport_checksum, transport_is_valid};
use wire::{Mac, build, ethernet, protocol};

/// Where the checksum stands in a TCP header (RFC 9293 section 3.1).
const TCP_CHECKSUM_AT: usize = 16;

/// And in an ICMP message (RFC 792, RFC 4443 section 2.1).
const ICMP_CHECKSUM: Range<usize> = 2..4;

/// The packet of `protocol` with this payload, whose checksum is right already. The ends are of one family; where they are
/// not, the packet is empty.
pub(super) fn packet((source, destination): (IpAddr, IpAddr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let link = build::ethernet(Mac::default(), Mac::default());
    let builder = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source, destination),
        _ => return Vec::new(),
    };
    builder.raw(protocol, payload).split_off(ethernet::LENGTH)
}

/// The packet of an ICMP message whose checksum may be left open: that of IPv6 covers the addresses, too.
pub(super) fn echo(ends: (IpAddr, IpAddr), message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let (protocol, checksum) = match ends {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let pseudo = Pseudo::V6 { source, destination };
            (protocol::ICMPV6, transport_checksum(pseudo, protocol::ICMPV6, &message))
        }
        _ => (protocol::ICMP, None),
    };
    if let (Some(checksum), Some(field)) = (checksum, message.get_mut(ICMP_CHECKSUM)) {
        field.copy_from_slice(&checksum.to_bits().to_be_bytes());
    }
    packet(ends, protocol, &message)
}

/// The packet of a UDP datagram.
pub(super) fn datagram((source, destination): (SocketAddr, SocketAddr), payload: &[u8]) -> Vec<u8> {
    let link = build::ethernet(Mac::default(), Mac::default());
    let builder = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source, destination),
        _ => return Vec::new(),
    };
    let frame = builder.udp(source.port(), destination.port()).payload(payload).finish();
    frame[ethernet::LENGTH..].to_vec()
}

/// Source and destination port of a TCP segment; `None` where it is too short to have any.
pub(super) fn ports(segment: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *segment.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// The sequence number of a TCP segment.
pub(super) fn sequence(segment: &[u8]) -> Option<u32> {
    segment.get(4..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// Whether a TCP segment is as it was sent. What a virtual link brings from the same machine bears the sum of the pseudo
/// header alone: the rest was left to a network card that is not there, and the kernel takes it for right.
pub(super) fn is_whole(segment: &[u8], source: IpAddr, destination: IpAddr) -> bool {
    let pseudo = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Pseudo::V4 { source, destination },
        (IpAddr::V6(source), IpAddr::V6(destination)) => Pseudo::V6 { source, destination },
        _ => return false,
    };
    let Some(field) = segment.get(TCP_CHECKSUM_AT..).and_then(|rest| rest.first_chunk()) else {
        return false;
    };
    let Ok(length) = u16::try_from(segment.len()) else { return false };
    let left_to_the_card = Sum::new().add_pseudo(pseudo, protocol::TCP, length).finish();
    u16::from_be_bytes(*field) == !left_to_the_card.to_bits()
        || transport_is_valid(pseudo, protocol::TCP, segment) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_segment_is_told_from_a_damaged_one_in_both_families() {
        let families = [("198.18.0.10", "198.18.1.2"), ("2001:db8::10", "2001:db8::2")];
        for (source, destination) in families {
            let (source, destination): (IpAddr, IpAddr) =
                (source.parse().unwrap(), destination.parse().unwrap());
            let link = build::ethernet(Mac::default(), Mac::default());
            let (builder, header_bytes) = match (source, destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => (link.ipv4(source, destination), 20),
                (IpAddr::V6(source), IpAddr::V6(destination)) => (link.ipv6(source, destination), 40),
                _ => unreachable!(),
            };
            let frame = builder.tcp(80, 40_000).payload(b"READY").finish();
            let segment = frame[ethernet::LENGTH + header_bytes..].to_vec();
            assert!(is_whole(&segment, source, destination));
            assert_eq!(packet((source, destination), protocol::TCP, &segment), frame[ethernet::LENGTH..]);
            for place in 0..segment.len() {
                let mut damaged = segment.clone();
                damaged[place] ^= 0x10;
                assert!(!is_whole(&damaged, source, destination), "byte {place}");
            }
            assert!(!is_whole(&segment, destination, destination));
            // As the kernel hands over what never left the machine (skbuff.h, CHECKSUM_PARTIAL).
            let pseudo = match (source, destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => Pseudo::V4 { source, destination },
                (IpAddr::V6(source), IpAddr::V6(destination)) => Pseudo::V6 { source, destination },
                _ => unreachable!(),
            };
            let sum = Sum::new().add_pseudo(pseudo, protocol::TCP, segment.len() as u16).finish();
            let mut unfinished = segment.clone();
            unfinished[16..18].copy_from_slice(&(!sum.to_bits()).to_be_bytes());
            assert!(is_whole(&unfinished, source, destination));
            assert!(!is_whole(&segment[..17], source, destination));
        }
    }
}
