//! IPv4 (RFC 791).

use std::net::Ipv4Addr;

use crate::checksum::{Checksum, ChecksumDelta, Sum};
use crate::field::{Header, get, get_u16, header, set, set_u16};
use crate::{Fragment, Refusal};

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
/// The fragment offset, in units of 8 bytes.
const OFFSET_MASK: u16 = 0x1fff;

header! {
    /// The IPv4 header without its options.
    Ipv4, 20
}

/// An IPv4 packet taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Ipv4Split<'a> {
    /// The fixed part of the header.
    pub header: Ipv4<'a>,
    /// Its options, mostly none.
    pub options: &'a mut [u8],
    /// What the packet carries, up to its total length: Ethernet's padding is left out.
    pub payload: &'a mut [u8],
}

impl<'a> Ipv4<'a> {
    /// Takes a packet apart. Its lengths agree with the frame, its header checksum is right (RFC 1812 section
    /// 5.2.2), and as a fragment it neither hides a transport header nor ends past 65,535 bytes.
    #[inline]
    pub fn split(bytes: &'a mut [u8]) -> Result<Ipv4Split<'a>, Refusal> {
        let (header, rest) = Self::take(bytes).ok_or(Refusal::Ipv4Truncated)?;
        if header.0[0] >> 4 != 4 {
            return Err(Refusal::Ipv4Version);
        }
        let header_length = header.header_length();
        let options_length = header_length.checked_sub(Self::LENGTH).ok_or(Refusal::Ipv4HeaderLength)?;
        let (options, rest) = rest.split_at_mut_checked(options_length).ok_or(Refusal::Ipv4HeaderLength)?;
        let payload_length =
            usize::from(header.total_length()).checked_sub(header_length).ok_or(Refusal::Ipv4TotalLength)?;
        let payload = rest.get_mut(..payload_length).ok_or(Refusal::Ipv4TotalLength)?;
        if !Sum::new().add_bytes(header.0).add_bytes(options).is_valid() {
            return Err(Refusal::Ipv4Checksum);
        }
        if let Some(fragment) = header.fragment() {
            fragment.vet(header.protocol(), header_length, payload_length)?;
        }
        Ok(Ipv4Split { header, options, payload })
    }

    /// Takes apart what an ICMP error quotes of a packet: the IP header and at least eight bytes (RFC 792), and
    /// seldom all. Its length speaks of more than is there, and its checksum was right before somebody lowered
    /// the TTL, so neither is believed. The payload is all that follows.
    pub fn split_quoted(bytes: &'a mut [u8]) -> Result<Ipv4Split<'a>, Refusal> {
        let (header, rest) = Self::take(bytes).ok_or(Refusal::QuoteTruncated)?;
        if header.0[0] >> 4 != 4 {
            return Err(Refusal::QuoteMalformed);
        }
        let options_length =
            header.header_length().checked_sub(Self::LENGTH).ok_or(Refusal::QuoteMalformed)?;
        let (options, payload) = rest.split_at_mut_checked(options_length).ok_or(Refusal::QuoteTruncated)?;
        if header.fragment_offset_bytes() > 0 {
            Err(Refusal::QuoteFragment)
        } else {
            Ok(Ipv4Split { header, options, payload })
        }
    }

    /// Length of header and options in bytes; a multiple of 4.
    #[inline]
    pub fn header_length(&self) -> usize {
        usize::from(self.0[0] & 0x0f) * 4
    }

    /// Sets the version to 4 and the length of header and options, at most 60. A remainder of 4 is cut off.
    #[inline]
    pub fn set_header_length(&mut self, bytes: u8) {
        self.0[0] = 0x40 | (bytes / 4) & 0x0f;
    }

    /// Differentiated services code point, 6 bits.
    #[inline]
    pub fn dscp(&self) -> u8 {
        self.0[1] >> 2
    }

    /// Sets the code point and keeps ECN. Bits above the sixth are ignored.
    #[inline]
    pub fn set_dscp(&mut self, dscp: u8) {
        self.0[1] = dscp << 2 | self.ecn();
    }

    /// Sets the code point, keeps ECN, and says how the header checksum changes by it.
    #[inline]
    #[must_use = "the header checksum is wrong until the change is added"]
    pub fn replace_dscp(&mut self, dscp: u8) -> ChecksumDelta {
        let old = get_u16::<0, _>(self.0);
        self.set_dscp(dscp);
        ChecksumDelta::between16(old, get_u16::<0, _>(self.0))
    }

    /// Explicit congestion notification, 2 bits.
    #[inline]
    pub fn ecn(&self) -> u8 {
        self.0[1] & 3
    }

    /// Sets congestion notification and keeps the code point. Bits above the second are ignored.
    #[inline]
    pub fn set_ecn(&mut self, ecn: u8) {
        self.0[1] = self.0[1] & !3 | ecn & 3;
    }

    /// Length of the packet in bytes, header included.
    #[inline]
    pub fn total_length(&self) -> u16 {
        get_u16::<2, _>(self.0)
    }

    /// Sets the total length.
    #[inline]
    pub fn set_total_length(&mut self, length: u16) {
        set_u16::<2, _>(self.0, length);
    }

    /// What the fragments of one datagram have in common.
    #[inline]
    pub fn identification(&self) -> u16 {
        get_u16::<4, _>(self.0)
    }

    /// Sets the identification.
    #[inline]
    pub fn set_identification(&mut self, identification: u16) {
        set_u16::<4, _>(self.0, identification);
    }

    /// Whether routers must not fragment it.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        get_u16::<6, _>(self.0) & DONT_FRAGMENT != 0
    }

    /// Sets whether routers must not fragment it.
    #[inline]
    pub fn set_dont_fragment(&mut self, dont_fragment: bool) {
        let others = get_u16::<6, _>(self.0) & !DONT_FRAGMENT;
        set_u16::<6, _>(self.0, others | if dont_fragment { DONT_FRAGMENT } else { 0 });
    }

    /// Whether another fragment follows.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        get_u16::<6, _>(self.0) & MORE_FRAGMENTS != 0
    }

    /// Where the payload belongs in its datagram; a multiple of 8.
    #[inline]
    pub fn fragment_offset_bytes(&self) -> u16 {
        (get_u16::<6, _>(self.0) & OFFSET_MASK) << 3
    }

    /// Sets the place in the datagram and keeps the don't-fragment bit. A remainder of 8 is cut off.
    #[inline]
    pub fn set_fragment(&mut self, offset_bytes: u16, more: bool) {
        let others = get_u16::<6, _>(self.0) & DONT_FRAGMENT;
        set_u16::<6, _>(self.0, others | offset_bytes >> 3 | if more { MORE_FRAGMENTS } else { 0 });
    }

    /// Whether this is a piece of a larger datagram.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        get_u16::<6, _>(self.0) & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Its place in the larger datagram, if it is a piece of one.
    #[inline]
    pub fn fragment(&self) -> Option<Fragment> {
        self.is_fragment().then(|| Fragment {
            offset_bytes: self.fragment_offset_bytes(),
            // At most 60 bytes of header.
            length_bytes: self.total_length().saturating_sub(self.header_length() as u16),
            more: self.more_fragments(),
            identification: u32::from(self.identification()),
        })
    }

    /// How many more routers may forward it.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.0[8]
    }

    /// Sets the TTL.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        self.0[8] = ttl;
    }

    /// What the payload is: a number of [`crate::protocol`].
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.0[9]
    }

    /// Sets the protocol.
    #[inline]
    pub fn set_protocol(&mut self, protocol: u8) {
        self.0[9] = protocol;
    }

    /// The header checksum.
    #[inline]
    pub fn checksum(&self) -> Checksum {
        Checksum::from_bits(get_u16::<10, _>(self.0))
    }

    /// Sets the header checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: Checksum) {
        set_u16::<10, _>(self.0, checksum.to_bits());
    }

    /// Follows a change of the header.
    #[inline]
    pub fn update_checksum(&mut self, delta: ChecksumDelta) {
        self.set_checksum(self.checksum().updated(delta));
    }

    /// The checksum that header and `options` should have.
    #[inline]
    pub fn compute_checksum(&self, options: &[u8]) -> Checksum {
        let (before, after) = (get::<0, 10, _>(self.0), get::<12, 8, _>(self.0));
        Sum::new().add_bytes(&before).add_bytes(&after).add_bytes(options).finish()
    }

    /// Who sent it.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        get::<12, 4, _>(self.0).into()
    }

    /// Sets the sender.
    #[inline]
    pub fn set_source(&mut self, address: Ipv4Addr) {
        set::<12, 4, _>(self.0, address.octets());
    }

    /// Who is to receive it.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        get::<16, 4, _>(self.0).into()
    }

    /// Sets the receiver.
    #[inline]
    pub fn set_destination(&mut self, address: Ipv4Addr) {
        set::<16, 4, _>(self.0, address.octets());
    }
}
