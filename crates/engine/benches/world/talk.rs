//! What clients, servers and the wire between them say.

use super::{INSIDE, OUTSIDE, hasher};
use flow::{FlowKey, KeyV4, Network, Zone, parse};
use port::PortIndex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wire::tcp::TcpFlags;
use wire::{Mac, build, protocol};

pub const PORT_MACS: [Mac; 2] = [Mac([2, 0, 0, 0, 1, 0]), Mac([2, 0, 0, 0, 1, 1])];
/// The appliance's MAC address where its ports are members of a bridge.
pub const BRIDGE_MAC: Mac = Mac([2, 0, 0, 0, 1, 2]);
pub const GATEWAY: Mac = Mac([2, 0, 0, 0, 2, 0]);
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// A host beyond the firewalls.
pub const BEYOND: Ipv4Addr = Ipv4Addr::new(198, 18, 2, 10);
const SEQUENCE: u32 = 1_000;

pub fn server_v4(index: u16) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 1, 1 + index as u8)
}

pub fn server_v6(index: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1 + index)
}

/// What the clients talk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    TcpV4,
    TcpV6,
    UdpV4,
    /// TCP with a host beyond firewalls.
    CrossingV4,
    /// TCP over a bridge between clients and servers.
    BridgeV4,
    /// TCP with servers that hold the VIP themselves and answer past the appliance.
    DirectV4,
}

/// How a packet passes the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    Routed,
    Bridge,
    Direct,
}

impl Talk {
    fn client(self, number: usize) -> SocketAddr {
        let (host, port) = ((number & 0xffff) as u16, 1_024 + (number >> 16) as u16);
        let [high, low] = host.to_be_bytes();
        match self {
            Talk::TcpV6 => (Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, host), port).into(),
            _ => (Ipv4Addr::new(198, 19, high, low), port).into(),
        }
    }

    fn service(self) -> SocketAddr {
        match self {
            Talk::TcpV4 | Talk::BridgeV4 | Talk::DirectV4 => (VIP_V4, 80).into(),
            Talk::TcpV6 => (VIP_V6, 80).into(),
            Talk::UdpV4 => (VIP_V4, 53).into(),
            Talk::CrossingV4 => (BEYOND, 80).into(),
        }
    }

    /// How its packets pass the appliance.
    pub fn passage(self) -> Passage {
        match self {
            Talk::BridgeV4 => Passage::Bridge,
            Talk::DirectV4 => Passage::Direct,
            _ => Passage::Routed,
        }
    }

    /// What opens the session of client `number`.
    pub fn opening(self, number: usize) -> Vec<u8> {
        self.frame(OUTSIDE, self.client(number), self.service(), TcpFlags::SYN, (SEQUENCE - 1, 0))
    }

    /// The server's answer to an opening that the worker has forwarded to it.
    pub fn answer(self, opening: &mut [u8]) -> Vec<u8> {
        self.server_says(opening, TcpFlags::SYN | TcpFlags::ACK, (SEQUENCE - 1, SEQUENCE))
    }

    /// A packet of the server's once the session is established.
    pub fn reply(self, opening: &mut [u8]) -> Vec<u8> {
        self.server_says(opening, TcpFlags::ACK, (SEQUENCE, SEQUENCE))
    }

    fn server_says(self, opening: &mut [u8], flags: TcpFlags, numbers: (u32, u32)) -> Vec<u8> {
        let (client, server) = ends(opening);
        let mut frame = self.frame(INSIDE, server, client, flags, numbers);
        // It comes from where the opening went, and over a bridge it goes to where that came from.
        frame[6..12].copy_from_slice(&opening[..6]);
        if self == Talk::BridgeV4 {
            frame[..6].copy_from_slice(&GATEWAY.0);
        }
        frame
    }

    /// A packet of the established session of client `number`: 60 bytes over IPv4, no data.
    pub fn packet(self, number: usize) -> Vec<u8> {
        self.frame(OUTSIDE, self.client(number), self.service(), TcpFlags::ACK, (SEQUENCE, SEQUENCE))
    }

    /// A packet of client `number` to a server's own address, which is routed and not balanced.
    pub fn direct(self, number: usize) -> Vec<u8> {
        let server = SocketAddr::from((server_v4(0), 80));
        self.frame(OUTSIDE, self.client(number), server, TcpFlags::ACK, (SEQUENCE, SEQUENCE))
    }

    /// The key of what client `number` sends over IPv4.
    pub fn key_v4(self, number: usize) -> KeyV4 {
        let protocol = if self == Talk::UdpV4 { protocol::UDP } else { protocol::TCP };
        match (self.client(number), self.service()) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                KeyV4::new(Zone(0), protocol, (*from.ip(), from.port()), (*to.ip(), to.port()))
            }
            _ => unreachable!("asked for IPv4 only"),
        }
    }

    fn frame(
        self,
        port: PortIndex,
        from: SocketAddr,
        to: SocketAddr,
        flags: TcpFlags,
        numbers: (u32, u32),
    ) -> Vec<u8> {
        let own = if self == Talk::BridgeV4 { BRIDGE_MAC } else { PORT_MACS[port.index()] };
        let ethernet = build::ethernet(GATEWAY, own);
        let ip = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from, to),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from, to),
            _ => unreachable!("both ends are of one family"),
        };
        build::padded(if self == Talk::UdpV4 {
            ip.udp(from.port(), to.port()).finish()
        } else {
            let tcp = ip.tcp(from.port(), to.port()).flags(flags);
            tcp.sequence(numbers.0).acknowledgement(numbers.1).finish()
        })
    }
}

/// Source and destination of a frame.
fn ends(frame: &mut [u8]) -> (SocketAddr, SocketAddr) {
    match parse(frame, Zone(0), &hasher()).expect("the worker sends what parses").network {
        Network::V4(packet) => (packet.key.source().into(), packet.key.destination().into()),
        Network::V6(packet) => (packet.key.source().into(), packet.key.destination().into()),
        _ => unreachable!("only IP is sent"),
    }
}
