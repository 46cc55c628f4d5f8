//! Ethernet II and 802.1Q tags.

use crate::field::{Header, get, get_u16, header, set, set_u16};
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

    /// Priority (3 bits), drop eligibility (1 bit) and VLAN (12 bits).
    #[inline]
    pub fn control(&self) -> u16 {
        get_u16::<0, _>(self.0)
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

/// A VLAN tag as a value, as it lies behind the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// [`ETHERTYPE_VLAN`] or [`ETHERTYPE_QINQ`].
    pub ethertype: u16,
    /// Priority (3 bits), drop eligibility (1 bit) and VLAN (12 bits).
    pub control: u16,
}

impl Tag {
    /// Length of a tag in bytes.
    pub const LENGTH: usize = 4;

    /// The VLAN; 0 says that the tag carries a priority only.
    #[inline]
    pub const fn id(self) -> u16 {
        self.control & 0x0fff
    }

    /// The priority, 0 to 7.
    #[inline]
    pub const fn priority(self) -> u8 {
        (self.control >> 13) as u8
    }

    /// Whether it goes first when there is no room for all.
    #[inline]
    pub const fn is_drop_eligible(self) -> bool {
        self.control & 0x1000 != 0
    }

    /// The same tag for another VLAN: priority and drop eligibility stay. Bits above the twelfth are ignored.
    #[inline]
    #[must_use]
    pub const fn with_id(self, id: u16) -> Self {
        Self { control: self.control & 0xf000 | id & 0x0fff, ..self }
    }

    #[inline]
    fn bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.ethertype.to_be_bytes(), self.control.to_be_bytes());
        [a, b, c, d]
    }
}

/// Addresses and a tag behind them, or the room for one in front of them.
pub const TAGGED_BYTES: usize = 2 * 6 + Tag::LENGTH;

/// Puts `tag` in front of the other tags of a frame. `start` is four bytes of room, then the addresses of the frame,
/// which begins with `start` afterwards and is four bytes longer.
#[inline]
pub fn insert_tag(start: &mut [u8; TAGGED_BYTES], tag: Tag) {
    let addresses: [u8; 12] = get::<4, 12, _>(start);
    set::<0, 12, _>(start, addresses);
    set::<12, 4, _>(start, tag.bytes());
}

/// Makes `tag` the outermost of a frame that has one already. `start` is how the frame begins: addresses and tag.
#[inline]
pub fn replace_tag(start: &mut [u8; TAGGED_BYTES], tag: Tag) {
    set::<12, 4, _>(start, tag.bytes());
}

/// Takes the outermost tag off a frame that has one. `start` is how the frame begins: addresses and tag. It begins
/// four bytes later afterwards.
#[inline]
pub fn strip_tag(start: &mut [u8; TAGGED_BYTES]) {
    let addresses: [u8; 12] = get::<0, 12, _>(start);
    set::<4, 12, _>(start, addresses);
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
