//! The record, how a mode is compiled into it, and how it is replayed.

use crate::shape::{Carriage, Shape};
use flow::plain::{PlainPacket, PortHeader};
use flow::{Family, NetworkHeader, Packet, Transport};
use wire::checksum::ChecksumDelta;
use wire::{icmp, protocol};

/// Which row of the link table a packet leaves by; 0 means that no link is known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkIndex(pub u16);

impl LinkIndex {
    /// The next hop was not resolved when the translation was made: ask the routes again.
    pub const UNRESOLVED: LinkIndex = LinkIndex(0);
}

/// Which server serves a session: an index that is used again, and a generation that tells its users apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId {
    /// Row of the member tables.
    pub index: u16,
    /// Counts how often the row was given to somebody new.
    pub generation: u16,
}

impl MemberId {
    /// Both numbers in one.
    pub fn to_bits(self) -> u32 {
        u32::from(self.index) << 16 | u32::from(self.generation)
    }

    /// From what [`MemberId::to_bits`] made.
    pub fn from_bits(bits: u32) -> Self {
        Self { index: (bits >> 16) as u16, generation: bits as u16 }
    }
}

/// Which way the packets of a translation go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client towards the server.
    #[default]
    Request,
    /// From the server towards the client.
    Reply,
}

/// What becomes of every packet of one direction of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation<F: Family> {
    /// Source address and port that the packet leaves with; of the outer header where it gets one.
    pub source: (F::Address, u16),
    /// Destination address and port that the packet leaves with; of the outer header where it gets one.
    pub destination: (F::Address, u16),
    /// How the sum of both addresses changes. What the ports and the hop limit add to it is known from the packet.
    pub address_delta: ChecksumDelta,
    /// What else becomes of the packet.
    pub shape: Shape,
    /// The way out; see [`Translation::to_firewall`].
    pub link: LinkIndex,
    /// The server that the session belongs to, or the firewall.
    pub member: MemberId,
    /// Which way.
    pub direction: Direction,
    /// When the session was made, so that a person can be told its age; see [`Translation::from_firewall`].
    pub born: Birth,
}

/// A coarse point in time: 15 bits of 2^32 ns (4.3 s) each, which come round after 39 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Birth(u16);

impl Birth {
    /// Bits that are kept.
    pub const BITS: u32 = 15;
    const UNIT_NS_LOG2: u32 = 32;

    /// The point that `now_ns` of the monotonic clock falls into.
    pub fn at(now_ns: u64) -> Self {
        Self::from_bits((now_ns >> Self::UNIT_NS_LOG2) as u16)
    }

    /// Nanoseconds since then, to within one unit; wrong by multiples of 39 hours after that time.
    pub fn age_ns(self, now_ns: u64) -> u64 {
        u64::from(Self::at(now_ns).0.wrapping_sub(self.0) & Self::MASK) << Self::UNIT_NS_LOG2
    }

    const MASK: u16 = (1 << Self::BITS) - 1;

    pub(crate) fn to_bits(self) -> u16 {
        self.0
    }

    pub(crate) fn from_bits(bits: u16) -> Self {
        Self(bits & Self::MASK)
    }
}

/// Source and destination of a packet, each an address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints<F: Family> {
    /// Where it comes from.
    pub source: (F::Address, u16),
    /// Where it goes.
    pub destination: (F::Address, u16),
}

impl<F: Family> Endpoints<F> {
    /// The endpoints of a packet that answers one with these.
    pub fn swapped(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

/// What all packets of one direction have in common, whatever the mode.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// The server that the session belongs to.
    pub member: MemberId,
    /// Which way.
    pub direction: Direction,
    /// The way out.
    pub link: LinkIndex,
    /// When the session was made.
    pub born: Birth,
}

/// Compiles a direction (SPEC section 4): packets that arrive with `arriving` leave with `leaving`. The other
/// direction's translation is the same call with both swapped, and exchanged. Where `shape` says that they keep their own
/// addresses, `leaving` is of the header that they get in front, or names the server.
pub fn translate<F: Family>(
    arriving: Endpoints<F>,
    leaving: Endpoints<F>,
    shape: Shape,
    course: Course,
) -> Translation<F> {
    let address_delta = match shape.keeps_addresses() {
        true => ChecksumDelta::default(),
        false => F::address_delta(arriving.source.0, leaving.source.0)
            .plus(F::address_delta(arriving.destination.0, leaving.destination.0)),
    };
    let Course { member, direction, link, born } = course;
    let (source, destination) = (leaving.source, leaving.destination);
    Translation { source, destination, address_delta, shape, link, member, direction, born }
}

/// Replays `translation` on `packet`: addresses, ports, hop limit, mark and every checksum. The caller has seen that the
/// hop limit is above 1 where it falls, sets the MAC addresses itself from the link's row, and puts another header in
/// front where the shape wants one.
#[inline(always)]
pub fn apply<F: Family>(translation: &Translation<F>, packet: &mut Packet<'_, F>) {
    let shape = translation.shape;
    if shape.keeps_addresses() {
        if shape.takes_hop() {
            decrement_hop_limit(packet);
        }
        return;
    }
    apply_to_header(translation, &mut packet.header);
    match &mut packet.transport {
        Transport::Tcp { header, .. } => apply_to_ports(translation, header),
        Transport::Udp(header) => apply_to_ports(translation, header),
        Transport::Icmp(header) => {
            // ICMPv6 sums up the addresses too (RFC 4443 section 2.3).
            let is_v6 = F::ICMP == protocol::ICMPV6;
            let mut delta = if is_v6 { translation.address_delta } else { ChecksumDelta::default() };
            // The identifier of a query stands in both ports; an error has none of its own.
            let is_echo = match is_v6 {
                true => icmp::v6::is_echo(header.kind()),
                false => icmp::v4::is_echo(header.kind()),
            };
            if is_echo {
                delta = delta.plus(ChecksumDelta::between16(header.identifier(), translation.source.1));
                header.set_identifier(translation.source.1);
            }
            header.update_checksum(delta);
        }
        Transport::Fragment | Transport::Other => {}
    }
}

/// The same for a plain packet that gets no other header in front.
#[inline(always)]
pub fn apply_plain<'a, F: Family, T: PortHeader<'a>>(
    translation: &Translation<F>,
    packet: &mut PlainPacket<'a, F, T>,
) {
    if translation.shape.keeps_addresses() {
        if translation.shape.takes_hop() {
            let header = &mut packet.header;
            header.set_hop_limit(header.hop_limit().wrapping_sub(1));
            header.update_checksum(F::hop_delta());
        }
        return;
    }
    apply_to_header(translation, &mut packet.header);
    apply_to_ports(translation, &mut packet.transport);
}

/// Addresses, hop limit, mark, and the IP header's checksum.
#[inline(always)]
fn apply_to_header<F: Family>(translation: &Translation<F>, header: &mut F::Header<'_>) {
    let mut delta = translation.address_delta;
    header.set_addresses(translation.source.0, translation.destination.0);
    if translation.shape.takes_hop() {
        header.set_hop_limit(header.hop_limit().wrapping_sub(1));
        delta = delta.plus(F::hop_delta());
    }
    if let Carriage::Marked { dscp } = translation.shape.carriage() {
        header.set_dscp(dscp);
    }
    header.update_checksum(delta);
}

/// Ports, and the transport checksum.
#[inline(always)]
fn apply_to_ports<'a, F: Family, T: PortHeader<'a>>(translation: &Translation<F>, header: &mut T) {
    let new = u32::from(translation.source.1) << 16 | u32::from(translation.destination.1);
    let delta = translation.address_delta.plus(ChecksumDelta::between32(header.ports(), new));
    header.set_ports(new);
    header.update_checksum(delta);
}

impl<F: Family> Translation<F> {
    /// The member row of the firewall that the packet leaves by, whose link the row knows; `None` where `link` is the way
    /// out itself.
    #[inline]
    pub fn to_firewall(&self) -> Option<u16> {
        self.shape.leaves_by_firewall().then_some(self.link.0)
    }

    /// The member row of the firewall that the packet is expected from. It stands in the place of the birth, which the other
    /// direction keeps.
    #[inline]
    pub fn from_firewall(&self) -> Option<u16> {
        self.shape.comes_from_firewall().then_some(self.born.0)
    }

    /// Whether packets of this direction come from the firewall of member row `row`, or leave by it.
    pub fn passes(&self, row: u16) -> bool {
        self.to_firewall() == Some(row) || self.from_firewall() == Some(row)
    }

    /// The same with the firewall `new` in place of that of row `old`.
    #[must_use]
    pub fn moved(self, old: u16, new: MemberId) -> Self {
        let mut moved = self;
        if self.to_firewall() == Some(old) {
            moved.link = LinkIndex(new.index);
        }
        if self.from_firewall() == Some(old) {
            moved.born = Birth(new.index & Birth::MASK);
        }
        if self.member.index == old {
            moved.member = new;
        }
        moved
    }

    /// When the session was made, if this direction knows it.
    pub fn birth(&self) -> Option<Birth> {
        (!self.shape.comes_from_firewall()).then_some(self.born)
    }

    /// The same, leaving by the firewall of that member row.
    #[must_use]
    pub fn leaving_by(self, row: u16) -> Self {
        Self { shape: self.shape.to_firewall(), link: LinkIndex(row), ..self }
    }

    /// The same, coming from the firewall of that member row: not told where the row's number has more than
    /// [`Birth::BITS`] bits.
    #[must_use]
    pub fn coming_from(self, row: u16) -> Self {
        if row > Birth::MASK {
            return self;
        }
        Self { shape: self.shape.from_firewall(), born: Birth(row), ..self }
    }
}

/// What routing alone does to a packet: the hop limit falls by one (RFC 1812 section 5.3.1, RFC 8200 section 3).
#[inline]
pub fn decrement_hop_limit<F: Family>(packet: &mut Packet<'_, F>) {
    let header = &mut packet.header;
    header.set_hop_limit(header.hop_limit().wrapping_sub(1));
    header.update_checksum(F::hop_delta());
}
