//! Flows between clients outside and servers inside, opened by either.

use crate::bank::HOSTS;
use sim::Random;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::tcp::TcpFlags;
use wire::{Mac, build, protocol};

pub const OUTER: usize = 0;
pub const INNER: usize = 1;

/// One flow.
#[derive(Debug)]
pub struct Flow {
    pub number: u32,
    protocol: u8,
    opener: usize,
    /// The ends: outside, inside.
    ends: [(IpAddr, u16); 2],
    /// Packets that each end has heard.
    pub heard: [usize; 2],
    /// Which firewall the last packet of each end crossed.
    pub crossed: [Option<usize>; 2],
    /// A firewall that it crossed has failed it.
    pub has_lost: bool,
    /// Both ends open it, each whenever it likes: a tunnel.
    pub is_mutual: bool,
}

impl Flow {
    pub fn random(number: usize, random: &mut Random) -> Self {
        // A client of its own for each, so that no two are one.
        let (client, server) = (number as u8, random.below(HOSTS) as u8);
        let (client, server): (IpAddr, IpAddr) = match random.once_in(3) {
            false => (Ipv4Addr::new(198, 18, 0, client).into(), Ipv4Addr::new(198, 19, 0, server).into()),
            true => {
                let six =
                    |network, host: u8| Ipv6Addr::new(0x2001, 0xdb8, network, 1, 0, 0, 0, host.into()).into();
                (six(1, client), six(9, server))
            }
        };
        let protocol = [protocol::TCP, protocol::UDP, protocol::ICMP, 47][random.below(4)];
        let port = |random: &mut Random| match protocol {
            protocol::TCP | protocol::UDP => 1_024 + random.below(60_000) as u16,
            _ => 7,
        };
        let ends = [(client, port(random)), (server, port(random))];
        Self {
            number: number as u32 + 1,
            protocol,
            opener: random.below(2),
            ends,
            heard: [0; 2],
            crossed: [None; 2],
            has_lost: false,
            is_mutual: protocol == 47,
        }
    }

    pub fn opener(&self) -> usize {
        self.opener
    }

    /// Whether the other end has heard of it.
    pub fn is_heard(&self) -> bool {
        self.heard[1 - self.opener] > 0
    }

    /// Which firewall it crosses, by its opener's last packet.
    pub fn now(&self) -> Option<usize> {
        self.crossed[self.opener]
    }

    /// The next packet of `sender`, whose flow is named by its identification or flow label.
    pub fn frame(&self, sender: usize, macs: (Mac, Mac)) -> Vec<u8> {
        let (from, to) = (self.ends[sender], self.ends[1 - sender]);
        let link = build::ethernet(macs.0, macs.1);
        let ip = match (from.0, to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from, to).identification(self.number),
            (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from, to).flow_label(self.number),
            _ => unreachable!("both ends are of one family"),
        };
        let is_first = !self.is_heard() && sender == self.opener;
        match (self.protocol, from.0.is_ipv4()) {
            (protocol::TCP, _) => {
                let flags = if is_first { TcpFlags::SYN } else { TcpFlags::PSH | TcpFlags::ACK };
                ip.tcp(from.1, to.1).flags(flags).sequence(1).acknowledgement(1).finish()
            }
            (protocol::UDP, _) => ip.udp(from.1, to.1).finish(),
            (protocol::ICMP, _) if sender == self.opener => ip.echo_request(self.number as u16, 1).finish(),
            (protocol::ICMP, _) => ip.echo_reply(self.number as u16, 1).finish(),
            _ => ip.raw(self.protocol, &[0; 8]),
        }
    }
}

/// The flow that a frame names.
pub fn number_of(frame: &[u8]) -> Option<u32> {
    match frame.get(12..14)? {
        [0x08, 0x00] => Some(u32::from(u16::from_be_bytes(*frame.get(18..)?.first_chunk()?))),
        [0x86, 0xdd] => Some(u32::from_be_bytes(*frame.get(14..)?.first_chunk()?) & 0xf_ffff),
        _ => None,
    }
}
