//! What is done to a packet beyond its own headers' addresses, on its way out: an outer header (RFC 2003, RFC 2473, GUE
//! variant 1), and a bound for the segment size that a SYN announces.
//!
//! Both move or search bytes that the parsed views do not hold, so the decision is kept here, a record a frame, and done
//! to the frame itself in the last stage.

use crate::reason::DropReason;
use flow::{Family, FlowHasher, NetworkHeader, Packet, segment};
use port::Frame;
use rewrite::{Carriage, Translation};
use std::net::IpAddr;
use wire::encapsulation::{
    EndsV4, EndsV6, GUE_V4_BYTES, GUE_V6_BYTES, IPIP_V4_BYTES, IPIP_V6_BYTES, Inner, Ports, gue_v4, gue_v6,
    ipip_v4, ipip_v6,
};
use wire::ethernet::{self, Ethernet};
use wire::protocol;
use wire::tcp::{Tcp, clamp_mss};

/// Separates what others see of a flow's hash from the secret's other uses: "entropy".
const PURPOSE_ENTROPY: u64 = u64::from_be_bytes(*b"\0entropy");

/// A number that a flow has for its own and that others may see: it tells nothing of the hash `hash`, by which its session
/// is found.
pub(crate) fn entropy(hash: u64, hasher: &FlowHasher) -> u32 {
    hasher.dispatch(PURPOSE_ENTROPY, &hash.to_le_bytes()) as u32
}

/// What is to be done to one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrapping {
    pub outer: Option<Outer>,
    /// The largest segment size that a SYN may announce, in bytes.
    pub mss_bytes_max: Option<u16>,
    /// What the way out carries, in bytes, where the packet is longer and may be split.
    pub split_to_bytes: Option<u16>,
}

/// What an outer header is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outer {
    source: IpAddr,
    destination: IpAddr,
    /// Of the UDP header, where there is one.
    ports: Option<Ports>,
    inner: Inner,
    /// The flow's own, by which routers spread flows; also tells the outer packets' fragments apart.
    entropy: u32,
}

/// What a way out has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes of what goes on the wire, outer header included, in one piece.
    pub way_bytes: u16,
    /// The longest packet that leaves in one piece.
    pub whole_bytes: u16,
    /// The longest packet whose sender is not told to send less.
    pub packet_bytes: u16,
}

impl Room {
    /// Of a way that carries packets of up to `mtu_bytes`, with nothing put in front of them.
    pub fn of(mtu_bytes: u16) -> Self {
        Self { way_bytes: mtu_bytes, whole_bytes: mtu_bytes, packet_bytes: mtu_bytes }
    }
}

impl Wrapping {
    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Does it.
    pub fn put_on(&self, frame: &mut Frame<'_>) -> Result<(), DropReason> {
        if let Some(mss_bytes_max) = self.mss_bytes_max {
            clamp(frame, mss_bytes_max)?;
        }
        self.outer.map_or(Ok(()), |outer| outer.put_on(frame))
    }
}

impl Outer {
    /// The header that `translation` puts in front of `packet`, once its hop limit has fallen.
    pub fn over<F: Family>(
        packet: &Packet<'_, F>,
        translation: &Translation<F>,
        hasher: &FlowHasher,
    ) -> Self {
        let is_gue = translation.shape.carriage() == Carriage::Gue;
        let ports = Ports { source: translation.source.1, gue: translation.destination.1 };
        Self {
            source: translation.source.0.into(),
            destination: translation.destination.0.into(),
            ports: is_gue.then_some(ports),
            inner: Inner {
                protocol: if F::VERSION == 4 { protocol::IPV4 } else { protocol::IPV6 },
                traffic_class: packet.header.traffic_class(),
                dont_fragment: packet.header.dont_fragment(),
                length_bytes: packet.length_bytes,
            },
            entropy: entropy(packet.hash, hasher),
        }
    }

    /// Where the tunnel ends.
    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    /// How much longer the packet gets.
    pub fn overhead_bytes(&self) -> u16 {
        overhead_bytes(self.source.is_ipv4(), self.ports.is_some())
    }

    /// Puts the header between the link layer and the packet. Padding behind the packet is left away.
    fn put_on(&self, frame: &mut Frame<'_>) -> Result<(), DropReason> {
        let link_bytes = link_bytes(frame)?;
        let impossible = |_| DropReason::AnswerImpossible;
        frame.set_length(link_bytes + usize::from(self.inner.length_bytes)).map_err(impossible)?;
        let overhead_bytes = usize::from(self.overhead_bytes());
        frame.prepend(overhead_bytes).map_err(impossible)?;
        let bytes = frame.bytes_mut();
        bytes.copy_within(overhead_bytes..overhead_bytes + link_bytes, 0);
        let (header, packet) = bytes[link_bytes..].split_at_mut(overhead_bytes);
        self.write(header, packet).ok_or(DropReason::TooLong)
    }

    /// `None` when the packet is too long to have another header; the length of `header` always fits.
    fn write(&self, header: &mut [u8], packet: &[u8]) -> Option<()> {
        let Self { inner, entropy, .. } = *self;
        match (self.source, self.destination, self.ports) {
            (IpAddr::V4(source), IpAddr::V4(destination), ports) => {
                let (ends, id) = (EndsV4 { source, destination }, identification(entropy, packet));
                match ports {
                    None => ipip_v4(header.first_chunk_mut::<IPIP_V4_BYTES>()?, inner, ends, id),
                    Some(ports) => gue_v4(header.first_chunk_mut::<GUE_V4_BYTES>()?, inner, ends, id, ports),
                }
            }
            (IpAddr::V6(source), IpAddr::V6(destination), ports) => {
                let ends = EndsV6 { source, destination };
                match ports {
                    None => ipip_v6(header.first_chunk_mut::<IPIP_V6_BYTES>()?, inner, ends, entropy),
                    // Receivers refuse a zero checksum over IPv6 unless they were told otherwise.
                    Some(ports) => {
                        let header = header.first_chunk_mut::<GUE_V6_BYTES>()?;
                        gue_v6(header, inner, ends, entropy, ports, Some(packet))
                    }
                }
            }
            _ => return None,
        }
        .ok()
    }
}

/// How much longer an outer header makes a packet.
pub(crate) fn overhead_bytes(is_v4: bool, is_gue: bool) -> u16 {
    let bytes = match (is_v4, is_gue) {
        (true, false) => IPIP_V4_BYTES,
        (true, true) => GUE_V4_BYTES,
        (false, false) => IPIP_V6_BYTES,
        (false, true) => GUE_V6_BYTES,
    };
    bytes as u16
}

/// Where the IPv4 word of flags and fragment offset has the offset (RFC 791 section 3.1).
const FRAGMENT_PLACE: u16 = 0x1fff;

/// Spreads the places of fragments over all identifications: odd, so that no two places of a packet have one.
const PLACE_SPREAD: u16 = 0x9e37;

/// What tells the fragments of one outer packet from those of the next: the inner packet's own identification and, of a
/// fragment, its place, mixed with its flow (RFC 6864 section 4.3 asks for uniqueness only where fragments may be made).
/// The fragments of an inner packet have one identification, and each that is wrapped may be split again.
fn identification(entropy: u32, packet: &[u8]) -> u16 {
    let word = |at: usize| {
        let bytes = packet.get(at..at + 2).and_then(|bytes| bytes.first_chunk()).copied();
        u16::from_be_bytes(bytes.unwrap_or_default())
    };
    let place = word(6) & FRAGMENT_PLACE;
    word(4).wrapping_add(place.wrapping_mul(PLACE_SPREAD)) ^ (entropy >> 16) as u16
}

/// Bytes in front of the packet: addresses, tags, EtherType.
fn link_bytes(frame: &mut Frame<'_>) -> Result<usize, DropReason> {
    let length = usize::from(frame.length());
    let (ethernet, rest) = Ethernet::split(frame.bytes_mut())?;
    let untagged = ethernet::split_tags(ethernet.ethertype(), rest)?;
    Ok(length - untagged.payload.len())
}

/// Lowers the segment size that a SYN announces.
fn clamp(frame: &mut Frame<'_>, mss_bytes_max: u16) -> Result<(), DropReason> {
    let (mut header, options, _data) = Tcp::split(segment(frame.bytes_mut())?)?;
    if let Some(delta) = clamp_mss(options, mss_bytes_max) {
        header.update_checksum(delta);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::identification;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_fragments_of_an_inner_packet_share_an_outer_identification() {
        let inner = |identification: u16, place: u16| {
            let words = [0x4500, 1500, identification, 0x2000 | place];
            words.map(u16::to_be_bytes).concat()
        };
        let places = (0..8_192).map(|place| identification(0xabcd_0000, &inner(77, place)));
        assert_eq!(places.collect::<BTreeSet<u16>>().len(), 8_192);
        // Nor do those of neighbours, cut as Ethernet cuts them.
        let cut = (70..80).flat_map(|id| (0..44).map(move |piece| inner(id, piece * 185)));
        let all: BTreeSet<u16> = cut.map(|packet| identification(0, &packet)).collect();
        assert_eq!(all.len(), 440);
    }
}
