//! What a fragment says about its place in a datagram, alike for both families.

use crate::{Refusal, protocol};

/// The place of a fragment in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where its first byte belongs; a multiple of 8.
    pub offset_bytes: u16,
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
    /// fragmented part and counts in its length.
    #[inline]
    pub(crate) fn vet(self, protocol: u8, header_bytes: usize, payload_bytes: usize) -> Result<(), Refusal> {
        if header_bytes + usize::from(self.offset_bytes) + payload_bytes > usize::from(u16::MAX) {
            return Err(Refusal::FragmentPastEnd);
        }
        // RFC 1858 section 3: the first piece holds the whole transport header. Section 4 and RFC 3128: no
        // piece starts where it would overlay TCP's flags.
        let hides = self.is_first() && self.more && payload_bytes < transport_header_bytes(protocol);
        let overlays = self.offset_bytes == 8 && protocol == protocol::TCP;
        if hides || overlays { Err(Refusal::FragmentTiny) } else { Ok(()) }
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

    fn fragment(offset_bytes: u16, more: bool) -> Fragment {
        Fragment { offset_bytes, more, identification: 1 }
    }

    #[test]
    fn tiny_and_overlaying_pieces_are_refused() {
        assert_eq!(fragment(0, true).vet(protocol::TCP, 20, 19), Err(Refusal::FragmentTiny));
        assert_eq!(fragment(0, true).vet(protocol::TCP, 20, 20), Ok(()));
        assert_eq!(fragment(0, true).vet(protocol::UDP, 20, 7), Err(Refusal::FragmentTiny));
        assert_eq!(fragment(8, true).vet(protocol::TCP, 20, 1000), Err(Refusal::FragmentTiny));
        assert_eq!(fragment(8, true).vet(protocol::UDP, 20, 1000), Ok(()));
        assert_eq!(fragment(0, false).vet(protocol::UDP, 20, 1), Ok(()), "an atomic one is no fragment");
    }

    #[test]
    fn a_datagram_ends_by_65535() {
        assert_eq!(fragment(65_512, false).vet(protocol::UDP, 20, 3), Ok(()));
        assert_eq!(fragment(65_512, false).vet(protocol::UDP, 20, 4), Err(Refusal::FragmentPastEnd));
    }
}
