//! The eight bytes that ICMP messages of both families begin with (RFC 792, RFC 4443).

use crate::Refusal;
use crate::checksum::{Checksum, ChecksumDelta};
use crate::field::{Header, get, get_u16, get_u32, header, set, set_u16, set_u32};

/// Types and codes for IPv4 (RFC 792).
pub mod v4 {
    /// Answer to an echo request.
    pub const ECHO_REPLY: u8 = 0;
    /// The packet could not be delivered.
    pub const UNREACHABLE: u8 = 3;
    /// A better next hop.
    pub const REDIRECT: u8 = 5;
    /// Asks for an echo reply.
    pub const ECHO_REQUEST: u8 = 8;
    /// TTL reached 0, or fragments stayed away.
    pub const TIME_EXCEEDED: u8 = 11;
    /// A field of the header is wrong.
    pub const PARAMETER_PROBLEM: u8 = 12;

    /// Unreachable: no route.
    pub const CODE_NETWORK: u8 = 0;
    /// Unreachable: the next hop does not answer.
    pub const CODE_HOST: u8 = 1;
    /// Unreachable: nobody listens on the port.
    pub const CODE_PORT: u8 = 3;
    /// Unreachable: too long and not to be fragmented; the last 16 bits of the rest say the MTU (RFC 1191).
    pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;
    /// Unreachable: forbidden here (RFC 1812 section 5.2.7.1).
    pub const CODE_PROHIBITED: u8 = 13;

    /// Whether a message of this type belongs to an echo and so has an identifier.
    #[inline]
    pub const fn is_echo(kind: u8) -> bool {
        matches!(kind, ECHO_REQUEST | ECHO_REPLY)
    }

    /// Whether a message of this type reports an error and quotes the packet at fault. 4 is the retired
    /// source quench.
    #[inline]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | 4 | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

/// Types and codes for IPv6 (RFC 4443, RFC 4861).
pub mod v6 {
    /// The packet could not be delivered.
    pub const UNREACHABLE: u8 = 1;
    /// Longer than the next link carries; the rest says the MTU.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Hop limit reached 0, or fragments stayed away.
    pub const TIME_EXCEEDED: u8 = 3;
    /// A field of the header is wrong.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Asks for an echo reply.
    pub const ECHO_REQUEST: u8 = 128;
    /// Answer to an echo request.
    pub const ECHO_REPLY: u8 = 129;
    /// Asks for a router's advertisement.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// A router presents itself.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Who has the target address?
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// The sender has the target address.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// A better next hop.
    pub const REDIRECT: u8 = 137;

    /// Unreachable: no route.
    pub const CODE_NO_ROUTE: u8 = 0;
    /// Unreachable: forbidden here.
    pub const CODE_PROHIBITED: u8 = 1;
    /// Unreachable: the next hop does not answer.
    pub const CODE_ADDRESS: u8 = 3;
    /// Unreachable: nobody listens on the port.
    pub const CODE_PORT: u8 = 4;

    /// Whether a message of this type belongs to an echo and so has an identifier.
    #[inline]
    pub const fn is_echo(kind: u8) -> bool {
        matches!(kind, ECHO_REQUEST | ECHO_REPLY)
    }

    /// Whether a message of this type reports an error and quotes the packet at fault (RFC 4443 section 2.1).
    #[inline]
    pub const fn is_error(kind: u8) -> bool {
        kind < 128
    }
}

header! {
    /// The start of an ICMP message: type, code, checksum and four bytes that the type gives a meaning.
    Icmp, 8
}

impl<'a> Icmp<'a> {
    /// Takes the header off the front of an IP payload.
    #[inline]
    pub fn split(payload: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Refusal> {
        Self::take(payload).ok_or(Refusal::IcmpTruncated)
    }

    /// The type of the message.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.0[0]
    }

    /// Sets the type.
    #[inline]
    pub fn set_kind(&mut self, kind: u8) {
        self.0[0] = kind;
    }

    /// The code, which tells messages of one type apart.
    #[inline]
    pub fn code(&self) -> u8 {
        self.0[1]
    }

    /// Sets the code.
    #[inline]
    pub fn set_code(&mut self, code: u8) {
        self.0[1] = code;
    }

    /// The checksum. Zero is a value like any other.
    #[inline]
    pub fn checksum(&self) -> Checksum {
        Checksum::from_bits(get_u16::<2, _>(self.0))
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: Checksum) {
        set_u16::<2, _>(self.0, checksum.to_bits());
    }

    /// Follows a change of what the checksum covers.
    #[inline]
    pub fn update_checksum(&mut self, delta: ChecksumDelta) {
        self.set_checksum(self.checksum().updated(delta));
    }

    /// The four bytes that the type gives a meaning.
    #[inline]
    pub fn rest(&self) -> [u8; 4] {
        get::<4, 4, _>(self.0)
    }

    /// Sets these four bytes.
    #[inline]
    pub fn set_rest(&mut self, rest: [u8; 4]) {
        set::<4, 4, _>(self.0, rest);
    }

    /// Echo: which series of requests.
    #[inline]
    pub fn identifier(&self) -> u16 {
        get_u16::<4, _>(self.0)
    }

    /// Sets the identifier of an echo.
    #[inline]
    pub fn set_identifier(&mut self, identifier: u16) {
        set_u16::<4, _>(self.0, identifier);
    }

    /// Echo: which request of the series.
    #[inline]
    pub fn sequence(&self) -> u16 {
        get_u16::<6, _>(self.0)
    }

    /// Sets the sequence number of an echo.
    #[inline]
    pub fn set_sequence(&mut self, sequence: u16) {
        set_u16::<6, _>(self.0, sequence);
    }

    /// Packet too big, fragmentation needed: what the next link carries, in bytes. IPv4 uses the low 16 bits.
    #[inline]
    pub fn mtu(&self) -> u32 {
        get_u32::<4, _>(self.0)
    }

    /// Sets the MTU.
    #[inline]
    pub fn set_mtu(&mut self, mtu: u32) {
        set_u32::<4, _>(self.0, mtu);
    }
}
