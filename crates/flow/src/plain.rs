//! A plain frame taken apart: the same views as [`parse()`](crate::parse()) gives, without looking twice.
//!
//! [`wire::plain`] has seen that the frame is well formed and which headers it has, so that nothing is left but to lay
//! the views over it. They fit into registers, where a [`Packet`](crate::Packet), which may be anything, does not.

use crate::family::{Family, NetworkHeader, V4, V6};
use crate::hash::FlowHasher;
use crate::key::{FlowKey, Zone};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Network, parse};
    use wire::{Mac, build};

    #[test]
    fn a_plain_frame_has_the_key_and_hash_that_parsing_gives() {
        let ethernet = || build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let v4 = || ethernet().ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into());
        let ends = ["2001:db8::1", "2001:db8::2"].map(|end| end.parse().unwrap());
        let v6 = || ethernet().ipv6(ends[0], ends[1]);
        let hasher = FlowHasher::new([3; 16]);
        for mut frame in [
            v4().tcp(40_000, 80).finish(),
            v4().udp(40_000, 80).finish(),
            v6().tcp(40_000, 80).finish(),
            v6().udp(40_000, 80).finish(),
        ] {
            let kind = wire::plain::plain(&frame).unwrap();
            let plain = hash(kind, &mut frame, Zone(3), &hasher);
            let parsed = match parse(&mut frame, Zone(3), &hasher).unwrap().network {
                Network::V4(packet) => packet.hash,
                Network::V6(packet) => packet.hash,
                _ => panic!("all are IP"),
            };
            assert_eq!(plain, Some(parsed), "{kind:?}");
        }
    }
}
