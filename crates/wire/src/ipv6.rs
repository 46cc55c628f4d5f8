//! IPv6 (RFC 8200) and a bounded walk over its extension headers.

use std::net::Ipv6Addr;

use crate::field::{Header, get, get_u16, get_u32, header, set, set_u16, set_u32};
use crate::{Fragment, Refusal, protocol};

/// Extension headers that are walked at the most. Real packets carry up to two; a longer walk is time for an
/// attacker.
pub const EXTENSIONS_MAX: usize = 8;
/// Bytes of extension headers that are walked at the most. A full segment routing list of 16 hops fits.
pub const EXTENSION_BYTES_MAX: usize = 512;

header! {
    /// The IPv6 header without extension headers.
    Ipv6, 40
}

/// An IPv6 packet taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Ipv6Split<'a> {
    /// The fixed header.
    pub header: Ipv6<'a>,
    /// The extension headers, mostly none.
    pub extensions: &'a mut [u8],
    /// What follows them, up to the payload length: Ethernet's padding is left out.
    pub payload: &'a mut [u8],
    /// What the payload is: a number of [`crate::protocol`]. Of a later fragment it is what the fragment
    /// header names, which may be an extension header that only the first fragment holds.
    pub protocol: u8,
    /// The place in a larger datagram, if there is a fragment header. It may be
    /// [atomic](Fragment::is_atomic).
    pub fragment: Option<Fragment>,
}

impl<'a> Ipv6<'a> {
    /// Length of a fragment header in bytes.
    pub const FRAGMENT_LENGTH: usize = 8;

    /// Takes a packet apart. Its length agrees with the frame, its extension headers are few, in order and
    /// whole (RFC 7112), no routing header has segments left (the destination would not be the final one, and
    /// RFC 5095 forbids type 0), and as a fragment it neither hides a transport header nor ends past 65,535
    /// bytes.
    #[inline]
    pub fn split(bytes: &'a mut [u8]) -> Result<Ipv6Split<'a>, Refusal> {
        let (header, rest) = Self::take(bytes).ok_or(Refusal::Ipv6Truncated)?;
        if header.0[0] >> 4 != 6 {
            return Err(Refusal::Ipv6Version);
        }
        let length = usize::from(header.payload_length());
        // A length of 0 above hop-by-hop options says that the true one is in there (RFC 2675).
        if length == 0 && header.next_header() == protocol::HOP_BY_HOP {
            return Err(Refusal::Ipv6PayloadLength);
        }
        let rest = rest.get_mut(..length).ok_or(Refusal::Ipv6PayloadLength)?;
        let Chain { bytes, protocol, fragment } = walk(header.next_header(), rest)?;
        let (extensions, payload) =
            rest.split_at_mut_checked(bytes).ok_or(Refusal::Ipv6ExtensionTruncated)?;
        if let Some(fragment) = fragment {
            fragment.vet(protocol, 0, payload.len())?;
        }
        Ok(Ipv6Split { header, extensions, payload, protocol, fragment })
    }

    /// Takes apart what an ICMP error quotes of a packet: as much of it as fitted (RFC 4443 section 2.4). Its
    /// length speaks of more than is there and is not believed; the payload is all that follows the extension
    /// headers.
    pub fn split_quoted(bytes: &'a mut [u8]) -> Result<Ipv6Split<'a>, Refusal> {
        let (header, rest) = Self::take(bytes).ok_or(Refusal::QuoteTruncated)?;
        if header.0[0] >> 4 != 6 {
            return Err(Refusal::QuoteMalformed);
        }
        let Chain { bytes, protocol, fragment } =
            walk(header.next_header(), rest).map_err(|refusal| match refusal {
                Refusal::Ipv6ExtensionTruncated => Refusal::QuoteTruncated,
                _ => Refusal::QuoteMalformed,
            })?;
        let (extensions, payload) = rest.split_at_mut_checked(bytes).ok_or(Refusal::QuoteTruncated)?;
        if fragment.is_some_and(|fragment| !fragment.is_first()) {
            return Err(Refusal::QuoteFragment);
        }
        Ok(Ipv6Split { header, extensions, payload, protocol, fragment })
    }

    /// Sets the version to 6, traffic class and flow label to 0.
    #[inline]
    pub fn set_version(&mut self) {
        set_u32::<0, _>(self.0, 6 << 28);
    }

    /// DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (get_u16::<0, _>(self.0) >> 4) as u8
    }

    /// Sets DSCP and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, class: u8) {
        set_u16::<0, _>(self.0, get_u16::<0, _>(self.0) & 0xf00f | u16::from(class) << 4);
    }

    /// Sets the differentiated services code point, 6 bits, and keeps ECN. Bits above the sixth are ignored.
    #[inline]
    pub fn set_dscp(&mut self, dscp: u8) {
        self.set_traffic_class(dscp << 2 | self.traffic_class() & 3);
    }

    /// What the packets of a flow have in common, 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        get_u32::<0, _>(self.0) & 0x000f_ffff
    }

    /// Sets the flow label. Bits above the twentieth are ignored.
    #[inline]
    pub fn set_flow_label(&mut self, label: u32) {
        set_u32::<0, _>(self.0, get_u32::<0, _>(self.0) & 0xfff0_0000 | label & 0x000f_ffff);
    }

    /// Length in bytes of what follows this header.
    #[inline]
    pub fn payload_length(&self) -> u16 {
        get_u16::<4, _>(self.0)
    }

    /// Sets the payload length.
    #[inline]
    pub fn set_payload_length(&mut self, length: u16) {
        set_u16::<4, _>(self.0, length);
    }

    /// What follows this header: an extension header or the upper layer.
    #[inline]
    pub fn next_header(&self) -> u8 {
        self.0[6]
    }

    /// Sets what follows.
    #[inline]
    pub fn set_next_header(&mut self, protocol: u8) {
        self.0[6] = protocol;
    }

    /// How many more routers may forward it.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.0[7]
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, limit: u8) {
        self.0[7] = limit;
    }

    /// Who sent it.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        get::<8, 16, _>(self.0).into()
    }

    /// Sets the sender.
    #[inline]
    pub fn set_source(&mut self, address: Ipv6Addr) {
        set::<8, 16, _>(self.0, address.octets());
    }

    /// Who is to receive it.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        get::<24, 16, _>(self.0).into()
    }

    /// Sets the receiver.
    #[inline]
    pub fn set_destination(&mut self, address: Ipv6Addr) {
        set::<24, 16, _>(self.0, address.octets());
    }
}

/// What the extension headers come to.
struct Chain {
    bytes: usize,
    protocol: u8,
    fragment: Option<Fragment>,
}

/// Walks the extension headers at the front of `bytes`, the first of which is `first`. A later fragment holds
/// data behind its fragment header, so the walk ends there.
#[inline]
fn walk(first: u8, bytes: &[u8]) -> Result<Chain, Refusal> {
    let mut chain = Chain { bytes: 0, protocol: first, fragment: None };
    let mut count = 0;
    while is_extension(chain.protocol) {
        if count == EXTENSIONS_MAX {
            return Err(Refusal::Ipv6ExtensionTooMany);
        }
        let rest = bytes.get(chain.bytes..).unwrap_or_default();
        // No extension header is shorter than 8 bytes.
        let start = rest.first_chunk::<8>().ok_or(Refusal::Ipv6ExtensionTruncated)?;
        let [next, length, _, segments_left, ..] = *start;
        let length = usize::from(length);
        chain.bytes += match chain.protocol {
            protocol::HOP_BY_HOP if count > 0 => return Err(Refusal::Ipv6HopByHopNotFirst),
            protocol::ROUTING if segments_left > 0 => return Err(Refusal::Ipv6RoutingHeader),
            protocol::FRAGMENT if chain.fragment.is_some() => return Err(Refusal::Ipv6FragmentRepeated),
            protocol::FRAGMENT => 8,
            // Alone among them it counts words of 4 bytes, less 2 (RFC 4302 section 2.2).
            protocol::AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        if chain.bytes > EXTENSION_BYTES_MAX {
            return Err(Refusal::Ipv6ExtensionTooMany);
        }
        if chain.protocol == protocol::FRAGMENT {
            // What is left of the packet, whose length is a u16; none when the last header overstates its own.
            let length_bytes = bytes.len().saturating_sub(chain.bytes) as u16;
            chain.fragment = Some(fragment(start, length_bytes));
        }
        chain.protocol = next;
        count += 1;
        if chain.fragment.is_some_and(|fragment| !fragment.is_first()) {
            break;
        }
    }
    Ok(chain)
}

/// Whether this next header is an extension header that is walked over.
#[inline]
pub const fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
    )
}

/// Writes a fragment header (RFC 8200 section 4.5) in front of data that `next_header` says the kind of.
/// `offset_bytes` is a multiple of 8.
#[inline]
pub fn write_fragment(
    header: &mut [u8; Ipv6::FRAGMENT_LENGTH],
    next_header: u8,
    (offset_bytes, more): (u16, bool),
    identification: u32,
) {
    *header = [next_header, 0, 0, 0, 0, 0, 0, 0];
    set_u16::<2, _>(header, offset_bytes & !7 | u16::from(more));
    set_u32::<4, _>(header, identification);
}

/// Reads a fragment header (RFC 8200 section 4.5) in front of `length_bytes`.
#[inline]
fn fragment(header: &[u8; 8], length_bytes: u16) -> Fragment {
    let place = get_u16::<2, _>(header);
    let identification = get_u32::<4, _>(header);
    Fragment { offset_bytes: place & !7, length_bytes, more: place & 1 != 0, identification }
}
