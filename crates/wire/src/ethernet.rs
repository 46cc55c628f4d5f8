//! Ethernet II and 802.1Q tags.

use crate::field::{get, get_u16, header, set, set_u16};
use crate::{Mac, Refusal};

/// IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// An 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// An 802.1ad service tag.
pub const ETHERTYPE_QINQ: u16 = 0x88a8;

/// Length of the Ethernet header in bytes.
pub const LENGTH: usize = Ethernet::LENGTH;

header! {
    /// The Ethernet header.
    Ethernet, 14
}

impl<'a> Ethernet<'a> {
    /// Takes the header off the front of a frame.
    #[inline]
    pub fn split(frame: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Refusal> {
        Self::take(frame).ok_or(Refusal::EthernetTruncated)
    }

    /// Who is to receive it.
    #[inline]
    pub fn destination(&self) -> Mac {
        Mac(get::<0, 6, _>(self.0))
    }

    /// Sets the receiver.
    #[inline]
    pub fn set_destination(&mut self, mac: Mac) {
        set::<0, 6, _>(self.0, mac.0);
    }

    /// Who sent it.
    #[inline]
    pub fn source(&self) -> Mac {
        Mac(get::<6, 6, _>(self.0))
    }

    /// Sets the sender.
    #[inline]
    pub fn set_source(&mut self, mac: Mac) {
        set::<6, 6, _>(self.0, mac.0);
    }

    /// What follows. Below 0x0600 it is the length of an 802.3 frame.
    #[inline]
    pub fn ethertype(&self) -> u16 {
        get_u16::<12, _>(self.0)
    }

    /// Sets what follows.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: u16) {
        set_u16::<12, _>(self.0, ethertype);
    }

    /// Exchanges sender and receiver.
    #[inline]
    pub fn swap(&mut self) {
        let (source, destination) = (self.source(), self.destination());
        self.set_source(destination);
        self.set_destination(source);
    }
}

header! {
    /// A VLAN tag as it lies behind the EtherType that announces it: tag control, then the EtherType of what
    /// follows.
    Vlan, 4
}

impl<'a> Vlan<'a> {
    /// Takes a tag off the front of what follows a VLAN EtherType.
    #[inline]
    pub fn split(bytes: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Refusal> {
        Self::take(bytes).ok_or(Refusal::VlanTruncated)
    }

    /// The VLAN, 12 bits; 0 says that the tag carries a priority only.
    #[inline]
    pub fn id(&self) -> u16 {
        get_u16::<0, _>(self.0) & 0x0fff
    }

    /// Sets the VLAN and keeps priority and drop eligibility. Bits above the twelfth are ignored.
    #[inline]
    pub fn set_id(&mut self, id: u16) {
        set_u16::<0, _>(self.0, get_u16::<0, _>(self.0) & 0xf000 | id & 0x0fff);
    }

    /// The priority, 0 to 7.
    #[inline]
    pub fn priority(&self) -> u8 {
        self.0[0] >> 5
    }

    /// Sets the priority. Bits above the third are ignored.
    #[inline]
    pub fn set_priority(&mut self, priority: u8) {
        self.0[0] = self.0[0] & 0x1f | priority << 5;
    }

    /// What follows.
    #[inline]
    pub fn ethertype(&self) -> u16 {
        get_u16::<2, _>(self.0)
    }

    /// Sets what follows.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: u16) {
        set_u16::<2, _>(self.0, ethertype);
    }
}

/// What lies behind an Ethernet header once its tags are taken off.
#[derive(Debug, PartialEq, Eq)]
pub struct Untagged<'a> {
    /// The tag next to the addresses.
    pub outer: Option<Vlan<'a>>,
    /// The tag behind it.
    pub inner: Option<Vlan<'a>>,
    /// The EtherType behind the tags.
    pub ethertype: u16,
    /// What it announces.
    pub payload: &'a mut [u8],
}

/// Takes up to two tags off what follows the Ethernet header whose `ethertype` is given.
#[inline]
pub fn split_tags(ethertype: u16, bytes: &mut [u8]) -> Result<Untagged<'_>, Refusal> {
    if !is_tag(ethertype) {
        return Ok(Untagged { outer: None, inner: None, ethertype, payload: bytes });
    }
    let (outer, rest) = Vlan::split(bytes)?;
    let ethertype = outer.ethertype();
    if !is_tag(ethertype) {
        return Ok(Untagged { outer: Some(outer), inner: None, ethertype, payload: rest });
    }
    let (inner, payload) = Vlan::split(rest)?;
    let ethertype = inner.ethertype();
    if is_tag(ethertype) {
        return Err(Refusal::VlanTooDeep);
    }
    Ok(Untagged { outer: Some(outer), inner: Some(inner), ethertype, payload })
}

/// Whether a VLAN tag follows.
#[inline]
pub const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ)
}
