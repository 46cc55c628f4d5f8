//! A captured frame in the words in which a test asks about it.

use std::net::IpAddr;

use wire::Fragment;
use wire::arp::Arp;
use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, split_tags};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::{Tcp, TcpFlags};
use wire::udp::Udp;
use wire::{Mac, protocol};

use crate::peer::GUE_PORT;

/// The fields of a packet that tell where it goes and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Ethernet source.
    pub source_mac: Mac,
    /// Ethernet destination.
    pub destination_mac: Mac,
    /// EtherType behind any VLAN tags: ARP, IPv4 or IPv6.
    pub ethertype: u16,
    /// The VLAN of the outermost tag.
    pub vlan: Option<u16>,
    /// IP source; of ARP the sender.
    pub source: IpAddr,
    /// IP destination; of ARP the target.
    pub destination: IpAddr,
    /// A number of [`wire::protocol`]; 0 for ARP.
    pub protocol: u8,
    /// TTL or hop limit; 0 for ARP.
    pub ttl: u8,
    /// DSCP and ECN, as the octet that holds them (RFC 2474, RFC 3168); 0 for ARP.
    pub traffic_class: u8,
    /// Source and destination port of TCP and UDP, but for later fragments.
    pub ports: Option<(u16, u16)>,
    /// What a TCP segment says.
    pub tcp_flags: Option<TcpFlags>,
}

impl Packet {
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let mut frame = frame.to_vec();
        let (ethernet, rest) = Ethernet::split(&mut frame).ok()?;
        let untagged = split_tags(ethernet.ethertype(), rest).ok()?;
        let packet = Self {
            source_mac: ethernet.source(),
            destination_mac: ethernet.destination(),
            ethertype: untagged.ethertype,
            vlan: untagged.outer.map(|tag| tag.id()),
            source: IpAddr::from([0; 4]),
            destination: IpAddr::from([0; 4]),
            protocol: 0,
            ttl: 0,
            traffic_class: 0,
            ports: None,
            tcp_flags: None,
        };
        match untagged.ethertype {
            ETHERTYPE_ARP => {
                let (arp, _padding) = Arp::split(untagged.payload).ok()?;
                let (source, destination) = (arp.sender_address().into(), arp.target_address().into());
                Some(Self { source, destination, ..packet })
            }
            ETHERTYPE_IPV4 => {
                let ip = Ipv4::split(untagged.payload).ok()?;
                let (source, destination) = (ip.header.source().into(), ip.header.destination().into());
                let (protocol, ttl) = (ip.header.protocol(), ip.header.ttl());
                let fragment = ip.header.fragment();
                let traffic_class = ip.header.dscp() << 2 | ip.header.ecn();
                let packet = Self { source, destination, protocol, ttl, traffic_class, ..packet };
                packet.with_transport(fragment, ip.payload)
            }
            ETHERTYPE_IPV6 => {
                let ip = Ipv6::split(untagged.payload).ok()?;
                let (source, destination) = (ip.header.source().into(), ip.header.destination().into());
                let (protocol, ttl) = (ip.protocol, ip.header.hop_limit());
                let fragment = ip.fragment;
                let traffic_class = ip.header.traffic_class();
                let packet = Self { source, destination, protocol, ttl, traffic_class, ..packet };
                packet.with_transport(fragment, ip.payload)
            }
            _ => None,
        }
    }

    /// The packet inside a tunnel (IP in IP, or GUE variant 1), with the MAC addresses and the tag of the
    /// frame that carried it. A fragment of a tunnel's packet shows nothing.
    pub(super) fn inside(frame: &[u8]) -> Option<Self> {
        let mut bytes = frame.to_vec();
        let (ethernet, rest) = Ethernet::split(&mut bytes).ok()?;
        let header = [ethernet.destination().0, ethernet.source().0].concat();
        let untagged = split_tags(ethernet.ethertype(), rest).ok()?;
        let tag = untagged.outer.map(|tag| tag.id());
        let (protocol, payload) = match untagged.ethertype {
            ETHERTYPE_IPV4 => {
                let ip = Ipv4::split(untagged.payload).ok()?;
                (Some(ip.header.protocol()).filter(|_| !ip.header.is_fragment())?, ip.payload)
            }
            ETHERTYPE_IPV6 => {
                let ip = Ipv6::split(untagged.payload).ok()?;
                (Some(ip.protocol).filter(|_| ip.fragment.is_none())?, ip.payload)
            }
            _ => return None,
        };
        let packet = match protocol {
            protocol::IPV4 | protocol::IPV6 => payload,
            protocol::UDP => {
                let (udp, data) = Udp::split(payload).ok()?;
                Some(data).filter(|_| udp.destination_port() == GUE_PORT)?
            }
            _ => return None,
        };
        let ethertype = match packet.first()? >> 4 {
            4 => ETHERTYPE_IPV4,
            6 => ETHERTYPE_IPV6,
            _ => return None,
        };
        let inner = [&header, &ethertype.to_be_bytes()[..], &*packet].concat();
        Some(Self { vlan: tag, ..Self::of(&inner)? })
    }

    /// A first fragment's header tells the length of the whole datagram, so only its ports are taken.
    fn with_transport(self, fragment: Option<Fragment>, payload: &mut [u8]) -> Option<Self> {
        let ports = || {
            let [a, b, c, d] = *payload.first_chunk()?;
            Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
        };
        match self.protocol {
            protocol::TCP | protocol::UDP if fragment.is_some() => {
                let first = fragment.is_some_and(|fragment| fragment.offset_bytes == 0);
                Some(Self { ports: ports().filter(|_| first), ..self })
            }
            protocol::TCP => {
                let (tcp, _options, _data) = Tcp::split(payload).ok()?;
                let ports = Some((tcp.source_port(), tcp.destination_port()));
                Some(Self { ports, tcp_flags: Some(tcp.flags()), ..self })
            }
            protocol::UDP => {
                let (udp, _data) = Udp::split(payload).ok()?;
                Some(Self { ports: Some((udp.source_port(), udp.destination_port())), ..self })
            }
            _ => Some(self),
        }
    }

    /// Whether it is from or to this address.
    pub fn involves(&self, address: IpAddr) -> bool {
        self.source == address || self.destination == address
    }

    /// Whether one of its ports is this.
    pub fn has_port(&self, port: u16) -> bool {
        self.ports.is_some_and(|(source, destination)| source == port || destination == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_packet_in_words() {
        let frame = wire::build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
            .ipv4([198, 18, 0, 50].into(), [198, 18, 0, 10].into())
            .tcp(40_000, 80)
            .flags(TcpFlags::SYN)
            .finish();
        let packet = Packet::of(&frame).unwrap();
        assert!(packet.involves("198.18.0.10".parse().unwrap()));
        assert!(!packet.involves("198.18.0.11".parse().unwrap()));
        assert_eq!((packet.protocol, packet.ports), (protocol::TCP, Some((40_000, 80))));
        assert_eq!(packet.tcp_flags, Some(TcpFlags::SYN));
        assert!(packet.has_port(80) && !packet.has_port(81));
    }

    #[test]
    fn the_first_fragment_alone_has_ports() {
        let builder = || {
            let ethernet = wire::build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
            ethernet.ipv6("2001:db8::50".parse().unwrap(), "2001:db8::10".parse().unwrap())
        };
        // A UDP header that tells of a datagram of 4,008 bytes.
        let piece = [0x0f, 0xa0, 0x00, 0x35, 0x0f, 0xa8, 0x12, 0x34];
        let first = Packet::of(&builder().fragment(0, true).raw(protocol::UDP, &piece)).unwrap();
        assert_eq!((first.protocol, first.ports), (protocol::UDP, Some((4_000, 53))));
        let second = Packet::of(&builder().fragment(8, false).raw(protocol::UDP, &piece)).unwrap();
        assert_eq!((second.protocol, second.ports), (protocol::UDP, None));
    }

    #[test]
    fn a_tunnel_shows_what_is_inside_with_its_own_frame() {
        let macs = || wire::build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])).vlan(20);
        let inner =
            macs().ipv4([198, 18, 0, 50].into(), [198, 18, 1, 10].into()).traffic_class(0x2e).tcp(4_000, 80);
        let packet = &inner.finish()[18..];
        let outer = || macs().ipv6("2001:db8:1::251".parse().unwrap(), "2001:db8:2::11".parse().unwrap());
        for frame in
            [outer().raw(protocol::IPV4, packet), outer().udp(50_000, GUE_PORT).payload(packet).finish()]
        {
            let inside = Packet::inside(&frame).unwrap();
            assert_eq!(inside.destination, "198.18.1.10".parse::<IpAddr>().unwrap());
            assert_eq!(
                (inside.ports, inside.traffic_class, inside.vlan),
                (Some((4_000, 80)), 0x2e, Some(20))
            );
            assert_eq!(inside.source_mac, Packet::of(&frame).unwrap().source_mac);
        }
        assert_eq!(Packet::inside(&outer().udp(50_000, 53).payload(packet).finish()), None);
        assert_eq!(Packet::inside(&inner_less()), None);
    }

    fn inner_less() -> Vec<u8> {
        let ethernet = wire::build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        ethernet.ipv4([198, 18, 0, 50].into(), [198, 18, 1, 10].into()).raw(protocol::IPV4, &[])
    }
}
