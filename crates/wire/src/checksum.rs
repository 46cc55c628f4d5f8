//! The Internet checksum: whole (RFC 1071) and by difference (RFC 1624).
//!
//! A rewrite never sums a packet anew: it adds the [`ChecksumDelta`] of what it changes, so a checksum that
//! came in wrong goes out wrong and the receiver still learns of the damage. Deltas add up in any order, so a
//! translation adds its own once and applies one number per packet.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{protocol, udp};

/// A checksum as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Checksum(u16);

impl Checksum {
    /// The field's 16 bits as a number.
    #[inline]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// A field of these 16 bits.
    #[inline]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The checksum after a change of what it covers: HC' = ~(~HC + ~m + m'), RFC 1624 equation 3. The form
    /// of RFC 1141, HC + m + ~m', would give 0xffff where 0 is right.
    #[inline]
    pub const fn updated(self, delta: ChecksumDelta) -> Self {
        Self(!add(!self.0, delta.0))
    }
}

/// The one's-complement difference that a change makes to a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ChecksumDelta(u16);

impl ChecksumDelta {
    /// Nothing changes.
    pub const NONE: Self = Self(0);
    /// IPv4's TTL goes down by one: the word of TTL and protocol loses 0x0100.
    pub const TTL_DECREMENT: Self = Self::between16(0x0100, 0);

    /// The difference as a number, to be stored.
    #[inline]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// A difference that was stored.
    #[inline]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// A 16-bit word, at an even place, goes from `old` to `new`.
    #[inline]
    pub const fn between16(old: u16, new: u16) -> Self {
        Self(add(!old, new))
    }

    /// A 32-bit number at an even place goes from `old` to `new`.
    #[inline]
    pub const fn between32(old: u32, new: u32) -> Self {
        // A sum of 32-bit numbers folds into that of their halves (RFC 1071 section 2.B).
        let sum = !old as u64 + new as u64;
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        Self((sum >> 16) as u16 + sum as u16)
    }

    /// An IPv4 address changes.
    #[inline]
    pub const fn between_ipv4(old: Ipv4Addr, new: Ipv4Addr) -> Self {
        Self::between32(old.to_bits(), new.to_bits())
    }

    /// An IPv6 address changes.
    #[inline]
    pub const fn between_ipv6(old: Ipv6Addr, new: Ipv6Addr) -> Self {
        let (old, new) = (old.segments(), new.segments());
        let mut delta = Self::NONE;
        let mut i = 0;
        while i < 8 {
            delta = delta.plus(Self::between16(old[i], new[i]));
            i += 1;
        }
        delta
    }

    /// Both changes. The order does not matter.
    #[inline]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }
}

/// One's-complement addition: the carry comes round.
#[inline]
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u16
}

/// The addresses that a transport checksum covers beside the packet itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pseudo {
    /// RFC 793 section 3.1 and RFC 768.
    V4 {
        /// Source of the packet.
        source: Ipv4Addr,
        /// Destination of the packet.
        destination: Ipv4Addr,
    },
    /// RFC 8200 section 8.1.
    V6 {
        /// Source of the packet; the home address where that option is present.
        source: Ipv6Addr,
        /// The final destination: the routing header's last hop while segments are left.
        destination: Ipv6Addr,
    },
}

/// A sum in progress. Bytes may be added in several runs as long as each starts at an even place of the
/// packet.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes; an odd one at the end counts as if a zero followed (RFC 1071 section 4.1).
    #[inline]
    pub fn add_bytes(mut self, bytes: &[u8]) -> Self {
        // Four bytes at a time: a carry of a 32-bit sum folds into the same 16 bits (RFC 1071 section 2.B),
        // and 64 bits hold the sum of 16 GiB.
        let (words, tail) = bytes.as_chunks::<4>();
        for word in words {
            self.0 += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(tail) {
            *to = *from;
        }
        self.0 += u64::from(u32::from_be_bytes(last));
        self
    }

    /// Adds a 16-bit word.
    #[inline]
    pub const fn add_u16(mut self, word: u16) -> Self {
        self.0 += word as u64;
        self
    }

    /// Adds IPv4's pseudo header. `length` is that of transport header and data.
    #[inline]
    pub fn add_ipv4_pseudo(self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Self {
        self.add_bytes(&source.octets())
            .add_bytes(&destination.octets())
            .add_u16(u16::from(protocol))
            .add_u16(length)
    }

    /// Adds IPv6's pseudo header. `length` is that of transport header and data.
    #[inline]
    pub fn add_ipv6_pseudo(self, source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: u32) -> Self {
        self.add_bytes(&source.octets())
            .add_bytes(&destination.octets())
            .add_bytes(&length.to_be_bytes())
            .add_u16(u16::from(protocol))
    }

    /// Adds the pseudo header for `length` bytes of transport header and data.
    #[inline]
    pub fn add_pseudo(self, pseudo: Pseudo, protocol: u8, length: u16) -> Self {
        match pseudo {
            Pseudo::V4 { source, destination } => self.add_ipv4_pseudo(source, destination, protocol, length),
            Pseudo::V6 { source, destination } => {
                self.add_ipv6_pseudo(source, destination, protocol, u32::from(length))
            }
        }
    }

    /// The checksum of what was added, its own field not among it. UDP's needs [`udp::on_wire`] as well.
    #[inline]
    pub const fn finish(self) -> Checksum {
        Checksum(!self.folded())
    }

    /// Whether what was added, its checksum field among it, is undamaged.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.folded() == 0xffff
    }

    #[inline]
    const fn folded(self) -> u16 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        add((sum >> 16) as u16, sum as u16)
    }
}

/// The right checksum of a transport `segment` (header and data), whatever its checksum field holds now.
/// Nothing for a protocol whose checksum is unknown here, and for a segment too short to hold one. A segment
/// that no IP packet can carry (above 65,535 bytes) has none either.
pub fn transport_checksum(pseudo: Pseudo, protocol: u8, segment: &[u8]) -> Option<Checksum> {
    let at = checksum_place(protocol)?;
    let before = segment.get(..at)?;
    let after = segment.get(at + 2..)?;
    let sum = covered(pseudo, protocol, segment)?.add_bytes(before).add_bytes(after);
    let checksum = sum.finish();
    Some(if protocol == protocol::UDP { udp::on_wire(checksum) } else { checksum })
}

/// Whether the checksum of a transport `segment` is right. An IPv4 UDP datagram without one is. Nothing in
/// the same cases as [`transport_checksum`].
pub fn transport_is_valid(pseudo: Pseudo, protocol: u8, segment: &[u8]) -> Option<bool> {
    let at = checksum_place(protocol)?;
    let field = segment.get(at..at + 2)?;
    if protocol == protocol::UDP && field == [0, 0] {
        return Some(udp::may_lack_checksum(pseudo));
    }
    Some(covered(pseudo, protocol, segment)?.add_bytes(segment).is_valid())
}

/// The sum of what a transport checksum covers beside the segment. ICMP for IPv4 alone has no pseudo header.
fn covered(pseudo: Pseudo, protocol: u8, segment: &[u8]) -> Option<Sum> {
    let length = u16::try_from(segment.len()).ok()?;
    Some(if protocol == protocol::ICMP {
        Sum::new()
    } else {
        Sum::new().add_pseudo(pseudo, protocol, length)
    })
}

/// Where the checksum lies in a transport header.
const fn checksum_place(protocol: u8) -> Option<usize> {
    match protocol {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        protocol::ICMP | protocol::ICMPV6 => Some(2),
        _ => None,
    }
}
