//! A plain frame taken apart: the same views as [`parse()`](crate::parse()) gives, without looking twice.
//!
//! [`wire::plain`] has seen that the frame is well formed and which headers it has, so that nothing is left but to lay
//! the views over it. They fit into registers, where a [`Packet`], which may be anything, does not.

use crate::family::{Family, NetworkHeader, V4, V6};
use crate::hash::FlowHasher;
use crate::key::{FlowKey, Zone};
use crate::parse::{Network, Packet, Parsed, Transport};
use wire::Header;
use wire::checksum::ChecksumDelta;
use wire::ethernet::Ethernet;
use wire::plain::Plain;
use wire::protocol;
use wire::tcp::Tcp;
use wire::udp::Udp;

/// The headers of a plain frame as disjoint views.
pub struct PlainPacket<'a, F: Family, T> {
    /// The Ethernet header.
    pub ethernet: Ethernet<'a>,
    /// The IP header.
    pub header: F::Header<'a>,
    /// The transport header: [`Tcp`] or [`Udp`].
    pub transport: T,
    /// Length of the frame in bytes.
    pub frame_bytes: usize,
}

/// What TCP and UDP have in common.
pub trait PortHeader<'a>: Header<'a> {
    /// IP protocol number.
    const PROTOCOL: u8;
    /// Source and destination port: source:16 ‖ destination:16.
    fn ports(&self) -> u32;
    /// Overwrites both ports. No checksum is touched.
    fn set_ports(&mut self, ports: u32);
    /// Follows a change of what the checksum covers.
    fn update_checksum(&mut self, delta: ChecksumDelta);
    /// The header, if it is TCP's.
    fn as_tcp(&self) -> Option<&Tcp<'a>>;
}

impl<'a> PortHeader<'a> for Tcp<'a> {
    const PROTOCOL: u8 = protocol::TCP;

    #[inline(always)]
    fn ports(&self) -> u32 {
        Tcp::ports(self)
    }

    #[inline(always)]
    fn set_ports(&mut self, ports: u32) {
        Tcp::set_ports(self, ports);
    }

    #[inline(always)]
    fn update_checksum(&mut self, delta: ChecksumDelta) {
        Tcp::update_checksum(self, delta);
    }

    #[inline(always)]
    fn as_tcp(&self) -> Option<&Tcp<'a>> {
        Some(self)
    }
}

impl<'a> PortHeader<'a> for Udp<'a> {
    const PROTOCOL: u8 = protocol::UDP;

    #[inline(always)]
    fn ports(&self) -> u32 {
        Udp::ports(self)
    }

    #[inline(always)]
    fn set_ports(&mut self, ports: u32) {
        Udp::set_ports(self, ports);
    }

    #[inline(always)]
    fn update_checksum(&mut self, delta: ChecksumDelta) {
        Udp::update_checksum(self, delta);
    }

    #[inline(always)]
    fn as_tcp(&self) -> Option<&Tcp<'a>> {
        None
    }
}

impl<'a, F: Family, T: PortHeader<'a>> PlainPacket<'a, F, T> {
    /// Lays the views over `frame`, which [`wire::plain::plain`] has said to have these headers. Of any other frame that
    /// is long enough they would say nonsense, and do no more harm than that.
    #[inline(always)]
    pub fn over(frame: &'a mut [u8]) -> Option<Self> {
        let frame_bytes = frame.len();
        let (ethernet, rest) = Ethernet::take(frame)?;
        let (header, rest) = F::Header::take(rest)?;
        let (transport, _) = T::take(rest)?;
        Some(Self { ethernet, header, transport, frame_bytes })
    }

    /// The flow, in the direction of this packet.
    #[inline(always)]
    pub fn key(&self, zone: Zone) -> F::Key {
        F::Key::of_ports(
            zone,
            T::PROTOCOL,
            self.header.source(),
            self.header.destination(),
            self.transport.ports(),
        )
    }
}

/// Where the session of a plain frame is kept: [`FlowKey::hash`].
#[inline(always)]
pub fn hash(plain: Plain, frame: &mut [u8], zone: Zone, hasher: &FlowHasher) -> Option<u64> {
    match plain {
        Plain::TcpV4 => Some(PlainPacket::<V4, Tcp<'_>>::over(frame)?.key(zone).hash(hasher)),
        Plain::UdpV4 => Some(PlainPacket::<V4, Udp<'_>>::over(frame)?.key(zone).hash(hasher)),
        Plain::TcpV6 => Some(PlainPacket::<V6, Tcp<'_>>::over(frame)?.key(zone).hash(hasher)),
        Plain::UdpV6 => Some(PlainPacket::<V6, Udp<'_>>::over(frame)?.key(zone).hash(hasher)),
    }
}

/// What [`parse()`](crate::parse()) makes of a plain frame, for whoever takes any packet.
#[inline]
pub fn parsed<'a>(plain: Plain, frame: &'a mut [u8], zone: Zone, hasher: &FlowHasher) -> Option<Parsed<'a>> {
    match plain {
        Plain::TcpV4 => whole::<V4, Tcp<'a>>(frame, zone, hasher, tcp, Network::V4),
        Plain::UdpV4 => whole::<V4, Udp<'a>>(frame, zone, hasher, udp, Network::V4),
        Plain::TcpV6 => whole::<V6, Tcp<'a>>(frame, zone, hasher, tcp, Network::V6),
        Plain::UdpV6 => whole::<V6, Udp<'a>>(frame, zone, hasher, udp, Network::V6),
    }
}

#[inline(always)]
fn whole<'a, F: Family, T: PortHeader<'a>>(
    frame: &'a mut [u8],
    zone: Zone,
    hasher: &FlowHasher,
    transport_of: impl Fn(T, u16) -> Transport<'a>,
    network_of: impl Fn(Packet<'a, F>) -> Network<'a>,
) -> Option<Parsed<'a>> {
    let plain = PlainPacket::<F, T>::over(frame)?;
    let (key, length_bytes) = (plain.key(zone), plain.header.length_bytes());
    let PlainPacket { ethernet, header, transport, .. } = plain;
    let transport = transport_of(transport, length_bytes - F::HEADER_BYTES as u16);
    let packet = Packet { header, transport, hash: key.hash(hasher), key, length_bytes, piece: None };
    Some(Parsed { ethernet, vlan: 0, network: network_of(packet) })
}

#[inline(always)]
fn tcp(header: Tcp<'_>, payload_bytes: u16) -> Transport<'_> {
    let data_bytes = payload_bytes - header.data_offset_bytes() as u16;
    Transport::Tcp { header, data_bytes }
}

#[inline(always)]
fn udp(header: Udp<'_>, _payload_bytes: u16) -> Transport<'_> {
    Transport::Udp(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use wire::{Mac, build};

    /// All that a packet says of itself.
    fn told(parsed: Parsed<'_>) -> String {
        fn packet<F: Family>(packet: &Packet<'_, F>, bytes: &[u8]) -> String {
            let transport = match &packet.transport {
                Transport::Tcp { header, data_bytes } => format!("{header:?} {data_bytes}"),
                Transport::Udp(header) => format!("{header:?}"),
                _ => panic!("TCP or UDP"),
            };
            let Packet { key, hash, length_bytes, piece, .. } = packet;
            format!("{bytes:?} {transport} {key:?} {hash} {length_bytes} {}", piece.is_some())
        }
        let Parsed { ethernet, vlan, network } = parsed;
        let network = match network {
            Network::V4(v4) => packet(&v4, v4.header.bytes()),
            Network::V6(v6) => packet(&v6, v6.header.bytes()),
            _ => panic!("all are IP"),
        };
        format!("{ethernet:?} {vlan} {network}")
    }

    #[test]
    fn a_plain_frame_is_what_parsing_makes_of_it() {
        let ethernet = || build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let v4 = || ethernet().ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into());
        let ends = ["2001:db8::1", "2001:db8::2"].map(|end| end.parse().unwrap());
        let v6 = || ethernet().ipv6(ends[0], ends[1]);
        let hasher = FlowHasher::new([3; 16]);
        for mut frame in [
            v4().tcp(40_000, 80).options(&[1; 4]).payload(b"hello").finish(),
            v4().udp(40_000, 80).finish(),
            v6().tcp(40_000, 80).finish(),
            v6().udp(40_000, 80).finish(),
        ] {
            let kind = wire::plain::plain(&frame).unwrap();
            let plain = hash(kind, &mut frame, Zone(3), &hasher);
            let found = match parse(&mut frame, Zone(3), &hasher).unwrap().network {
                Network::V4(packet) => packet.hash,
                Network::V6(packet) => packet.hash,
                _ => panic!("all are IP"),
            };
            assert_eq!(plain, Some(found), "{kind:?}");
            let short = told(parsed(kind, &mut frame, Zone(3), &hasher).unwrap());
            assert_eq!(short, told(parse(&mut frame, Zone(3), &hasher).unwrap()));
        }
    }
}
