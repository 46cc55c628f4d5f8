//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use crate::field::{Header, get, get_u16, header, set, set_u16};
use crate::{Mac, Refusal};

/// Who has the target address?
pub const OP_REQUEST: u16 = 1;
/// The sender has the sender address.
pub const OP_REPLY: u16 = 2;

/// Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const IPV4_OVER_ETHERNET: [u8; 6] = [0, 1, 8, 0, 6, 4];

header! {
    /// An ARP message.
    Arp, 28
}

impl<'a> Arp<'a> {
    /// Takes the message off the front of an Ethernet payload; what is left is padding.
    #[inline]
    pub fn split(bytes: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Refusal> {
        let (arp, padding) = Self::take(bytes).ok_or(Refusal::ArpTruncated)?;
        if get::<0, 6, _>(arp.0) != IPV4_OVER_ETHERNET {
            return Err(Refusal::ArpUnsupported);
        }
        Ok((arp, padding))
    }

    /// Writes the types and lengths that every message has.
    #[inline]
    pub fn set_ipv4_over_ethernet(&mut self) {
        set::<0, 6, _>(self.0, IPV4_OVER_ETHERNET);
    }

    /// Request or reply.
    #[inline]
    pub fn operation(&self) -> u16 {
        get_u16::<6, _>(self.0)
    }

    /// Sets the operation.
    #[inline]
    pub fn set_operation(&mut self, operation: u16) {
        set_u16::<6, _>(self.0, operation);
    }

    /// The sender's Ethernet address.
    #[inline]
    pub fn sender_mac(&self) -> Mac {
        Mac(get::<8, 6, _>(self.0))
    }

    /// Sets the sender's Ethernet address.
    #[inline]
    pub fn set_sender_mac(&mut self, mac: Mac) {
        set::<8, 6, _>(self.0, mac.0);
    }

    /// The sender's IPv4 address; unspecified in a probe (RFC 5227).
    #[inline]
    pub fn sender_address(&self) -> Ipv4Addr {
        get::<14, 4, _>(self.0).into()
    }

    /// Sets the sender's IPv4 address.
    #[inline]
    pub fn set_sender_address(&mut self, address: Ipv4Addr) {
        set::<14, 4, _>(self.0, address.octets());
    }

    /// The target's Ethernet address; means nothing in a request.
    #[inline]
    pub fn target_mac(&self) -> Mac {
        Mac(get::<18, 6, _>(self.0))
    }

    /// Sets the target's Ethernet address.
    #[inline]
    pub fn set_target_mac(&mut self, mac: Mac) {
        set::<18, 6, _>(self.0, mac.0);
    }

    /// The target's IPv4 address.
    #[inline]
    pub fn target_address(&self) -> Ipv4Addr {
        get::<24, 4, _>(self.0).into()
    }

    /// Sets the target's IPv4 address.
    #[inline]
    pub fn set_target_address(&mut self, address: Ipv4Addr) {
        set::<24, 4, _>(self.0, address.octets());
    }
}
