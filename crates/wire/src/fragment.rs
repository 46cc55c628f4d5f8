//! What a fragment says about its place in a datagram, alike for both families.

use crate::{Refusal, protocol};

/// The place of a fragment in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where its first byte belongs; a multiple of 8.
    pub offset_bytes: u16,
    /// How much of its datagram it holds.
    pub length_bytes: u16,
    /// Whether another one follows.
    pub more: bool,
    /// What the fragments of one datagram have in common; 16 bits in IPv4.
    pub identification: u32,
}

impl Fragment {
    /// Whether it holds the transport header.
    #[inline]
    pub const fn is_first(self) -> bool {
        self.offset_bytes == 0
    }

    /// Whether it is a whole datagram under an IPv6 fragment header, to be handled alone (RFC 6946).
    #[inline]
    pub const fn is_atomic(self) -> bool {
        self.offset_bytes == 0 && !self.more
    }

    /// Refuses the shapes that only attacks have. `header_bytes` is what the datagram holds in front of its
    /// fragmented part and counts in its length, `payload_bytes` what it holds from the transport header on.
    #[cold]
    pub(crate) fn vet(self, protocol: u8, header_bytes: usize, payload_bytes: usize) -> Result<(), Refusal> {
        let end_bytes = usize::from(self.offset_bytes) + usize::from(self.length_bytes);
        if header_bytes + end_bytes > usize::from(u16::MAX) {
            return Err(Refusal::FragmentPastEnd);
        }
        // RFC 1858 section 3: the first piece holds the whole transport header. Section 4 and RFC 3128: no
        // piece starts where it would overlay TCP's flags.
        let hides = self.is_first() && self.more && payload_bytes < transport_header_bytes(protocol);
        let overlays = self.offset_bytes == 8 && protocol == protocol::TCP;
        if hides || overlays {
            return Err(Refusal::FragmentTiny);
        }
        // RFC 791 section 3.2 and RFC 8200 section 4.5: only the last piece may end anywhere.
        if self.more && !self.length_bytes.is_multiple_of(8) { Err(Refusal::FragmentUneven) } else { Ok(()) }
    }
}

const fn transport_header_bytes(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => 20,
        protocol::UDP | protocol::ICMP | protocol::ICMPV6 => 8,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a piece behind 20 bytes of header.
    fn vet(offset_bytes: u16, more: bool, protocol: u8, length_bytes: u16) -> Result<(), Refusal> {
        let fragment = Fragment { offset_bytes, length_bytes, more, identification: 1 };
        fragment.vet(protocol, 20, usize::from(length_bytes))
    }

    #[test]
    fn tiny_and_overlaying_pieces_are_refused() {
        assert_eq!(vet(0, true, protocol::TCP, 16), Err(Refusal::FragmentTiny));
        assert_eq!(vet(0, true, protocol::TCP, 24), Ok(()));
        assert_eq!(vet(0, true, protocol::UDP, 7), Err(Refusal::FragmentTiny));
        assert_eq!(vet(8, true, protocol::TCP, 1000), Err(Refusal::FragmentTiny));
        assert_eq!(vet(8, true, protocol::UDP, 1000), Ok(()));
        assert_eq!(vet(0, false, protocol::UDP, 1), Ok(()), "an atomic one is no fragment");
    }

    #[test]
    fn a_datagram_ends_by_65535() {
        assert_eq!(vet(65_512, false, protocol::UDP, 3), Ok(()));
        assert_eq!(vet(65_512, false, protocol::UDP, 4), Err(Refusal::FragmentPastEnd));
    }

    #[test]
    fn only_the_last_piece_may_end_within_eight_bytes() {
        assert_eq!(vet(8, false, protocol::UDP, 1001), Ok(()));
        assert_eq!(vet(8, true, protocol::UDP, 1001), Err(Refusal::FragmentUneven));
    }
}
