//! Clients and servers that keep to TCP well enough, on a network that does not.

use sim::Random;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use wire::ethernet::{self, Ethernet};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::{Tcp, TcpFlags};
use wire::udp::Udp;
use wire::{Mac, build, protocol};

pub const OUTSIDE: usize = 0;
pub const INSIDE: usize = 1;
const PORT_MACS: [Mac; 2] = [Mac([2, 0, 0, 0, 1, 1]), Mac([2, 0, 0, 0, 2, 1])];
const PEER_MACS: [Mac; 2] = [Mac([2, 0, 0, 0, 1, 0x50]), Mac([2, 0, 0, 0, 2, 0x11])];

/// What clients call.
#[derive(Clone, Copy, Debug)]
pub struct Called {
    pub address: IpAddr,
    pub port: u16,
    pub protocol: u8,
}

/// A packet as both ends see it. `flow` rides in the identification, or in the flow label: nobody on the way touches it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub flow: u32,
    pub protocol: u8,
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
    pub flags: TcpFlags,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub data_bytes: u32,
}

/// Reads a TCP or UDP packet.
pub fn look(frame: &[u8]) -> Option<Seen> {
    let mut frame = frame.to_vec();
    let (ethernet, rest) = Ethernet::split(&mut frame).ok()?;
    let untagged = ethernet::split_tags(ethernet.ethertype(), rest).ok()?;
    let (flow, protocol, source, destination, payload): (u32, u8, IpAddr, IpAddr, &mut [u8]) =
        match untagged.ethertype {
            ethernet::ETHERTYPE_IPV4 => {
                let ip = Ipv4::split(untagged.payload).ok()?;
                let (source, destination) = (ip.header.source().into(), ip.header.destination().into());
                (ip.header.identification().into(), ip.header.protocol(), source, destination, ip.payload)
            }
            ethernet::ETHERTYPE_IPV6 => {
                let ip = Ipv6::split(untagged.payload).ok()?;
                let (source, destination) = (ip.header.source().into(), ip.header.destination().into());
                (ip.header.flow_label(), ip.protocol, source, destination, ip.payload)
            }
            _ => return None,
        };
    let mut seen = Seen {
        flow,
        protocol,
        source: (source, 0),
        destination: (destination, 0),
        flags: TcpFlags::NONE,
        sequence: 0,
        acknowledgement: 0,
        data_bytes: 0,
    };
    match protocol {
        protocol::TCP => {
            let (tcp, _, data) = Tcp::split(payload).ok()?;
            (seen.source.1, seen.destination.1) = (tcp.source_port(), tcp.destination_port());
            (seen.flags, seen.sequence) = (tcp.flags(), tcp.sequence());
            (seen.acknowledgement, seen.data_bytes) = (tcp.acknowledgement(), data.len() as u32);
        }
        protocol::UDP => {
            let (udp, data) = Udp::split(payload).ok()?;
            (seen.source.1, seen.destination.1) = (udp.source_port(), udp.destination_port());
            seen.data_bytes = data.len() as u32;
        }
        _ => return None,
    }
    Some(seen)
}

/// Builds what `seen` describes, on its way into `side`.
pub fn make(side: usize, seen: &Seen) -> Vec<u8> {
    let link = build::ethernet(PEER_MACS[side], PORT_MACS[side]);
    let ip = match (seen.source.0, seen.destination.0) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            link.ipv4(source, destination).identification(seen.flow)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source, destination).flow_label(seen.flow),
        _ => unreachable!("both ends are of one family"),
    };
    let data: Vec<u8> = (0..seen.data_bytes).map(|byte| byte as u8).collect();
    let (from, to) = (seen.source.1, seen.destination.1);
    if seen.protocol == protocol::UDP {
        return ip.udp(from, to).payload(&data).finish();
    }
    let tcp = ip.tcp(from, to).flags(seen.flags).sequence(seen.sequence);
    tcp.acknowledgement(seen.acknowledgement).payload(&data).finish()
}

impl Seen {
    /// A datagram of no flow.
    pub fn datagram([source, destination]: [(IpAddr, u16); 2]) -> Seen {
        Seen {
            flow: 0,
            protocol: protocol::UDP,
            source,
            destination,
            flags: TcpFlags::NONE,
            sequence: 0,
            acknowledgement: 0,
            data_bytes: 0,
        }
    }

    /// The answer to this packet, from `sequence` on.
    fn answer(&self, flags: TcpFlags, sequence: u32, data_bytes: u32) -> Seen {
        let phantoms = self.flags.contains(TcpFlags::SYN) as u32 + self.flags.contains(TcpFlags::FIN) as u32;
        Seen {
            source: self.destination,
            destination: self.source,
            flags,
            sequence,
            acknowledgement: self.sequence.wrapping_add(self.data_bytes).wrapping_add(phantoms),
            data_bytes,
            ..*self
        }
    }
}

/// The network, with everybody on it. Frames wait in no order.
pub struct Traffic {
    pub random: Random,
    pub waiting: Vec<(usize, Vec<u8>)>,
    services: Vec<Called>,
    flows: u32,
    /// Flows whose client got a reset, or has closed.
    over: HashMap<u32, bool>,
}

impl Traffic {
    pub fn new(seed: u64, services: &[Called]) -> Self {
        let (random, services) = (Random::new(seed), services.to_vec());
        Self { random, waiting: Vec::new(), services, flows: 0, over: HashMap::new() }
    }

    /// A client opens a flow that nobody has used before.
    pub fn open(&mut self) {
        self.flows += 1;
        let called = self.services[self.random.below(self.services.len())];
        // One port for each flow of a client: no flow can be mistaken for another.
        let client = 1 + self.flows / 50_000;
        let address: IpAddr = match called.address {
            IpAddr::V4(_) => Ipv4Addr::new(198, 19, 0, client as u8).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, client as u16).into(),
        };
        let seen = Seen {
            flow: self.flows,
            protocol: called.protocol,
            source: (address, (self.flows % 50_000 + 1_024) as u16),
            destination: (called.address, called.port),
            flags: TcpFlags::SYN,
            sequence: self.random.number() as u32,
            acknowledgement: 0,
            data_bytes: if called.protocol == protocol::UDP { 16 } else { 0 },
        };
        self.send(OUTSIDE, &seen);
    }

    fn send(&mut self, side: usize, seen: &Seen) {
        let frame = make(side, seen);
        self.waiting.push((side, frame));
    }

    /// The network loses, doubles and reorders: the next frame that gets through.
    pub fn next(&mut self) -> Option<(usize, Vec<u8>)> {
        if self.waiting.is_empty() {
            return None;
        }
        let place = self.random.below(self.waiting.len().min(16));
        if self.random.once_in(20) {
            return Some(self.waiting[place].clone());
        }
        let frame = self.waiting.swap_remove(place);
        if self.random.once_in(20) { self.next() } else { Some(frame) }
    }

    /// A server gets a packet.
    pub fn serve(&mut self, seen: &Seen) {
        if seen.protocol == protocol::UDP {
            return self.send(INSIDE, &seen.answer(TcpFlags::NONE, 0, 8));
        }
        let initial = seen.flow.wrapping_mul(0x9e37_79b9);
        let flags = seen.flags;
        let answer = match () {
            () if flags.intersects(TcpFlags::RST) => return,
            () if flags.contains(TcpFlags::SYN) => seen.answer(TcpFlags::SYN | TcpFlags::ACK, initial, 0),
            () if flags.contains(TcpFlags::FIN) => {
                seen.answer(TcpFlags::FIN | TcpFlags::ACK, seen.acknowledgement, 0)
            }
            () if seen.data_bytes > 0 => {
                seen.answer(TcpFlags::PSH | TcpFlags::ACK, seen.acknowledgement, 100)
            }
            () => return,
        };
        self.send(INSIDE, &answer);
    }

    /// A client gets a packet.
    pub fn take(&mut self, seen: &Seen) {
        let flags = seen.flags;
        if flags.intersects(TcpFlags::RST) || seen.protocol == protocol::UDP {
            if flags.intersects(TcpFlags::RST) {
                self.over.insert(seen.flow, true);
            } else if self.random.once_in(2) {
                self.send(OUTSIDE, &seen.answer(TcpFlags::NONE, 0, 16));
            }
            return;
        }
        if self.over.contains_key(&seen.flow) {
            return;
        }
        let next = seen.acknowledgement;
        let answer = match self.random.below(12) {
            _ if flags.contains(TcpFlags::FIN) => {
                self.over.insert(seen.flow, true);
                seen.answer(TcpFlags::ACK, next, 0)
            }
            0 => {
                self.over.insert(seen.flow, true);
                Seen { acknowledgement: 0, ..seen.answer(TcpFlags::RST, next, 0) }
            }
            1 | 2 => seen.answer(TcpFlags::FIN | TcpFlags::ACK, next, 0),
            _ => seen.answer(TcpFlags::PSH | TcpFlags::ACK, next, 50),
        };
        self.send(OUTSIDE, &answer);
    }
}

/// Whoever hears the traffic, and what else befalls it.
pub trait Stage {
    fn traffic(&mut self) -> &mut Traffic;

    fn push(&mut self, side: usize, frame: &[u8]);

    /// A frame comes that nobody meant.
    fn intrude(&mut self);

    /// Health, wishes or the file change.
    fn change(&mut self);

    /// Plays a step: fewer than `frames_max` frames, now and then one that nobody meant, seldom a change. How long it takes.
    fn play(&mut self, frames_max: usize) -> Duration {
        for _ in 0..self.traffic().random.below(frames_max) {
            let Some((side, frame)) = self.traffic().next() else { break };
            self.push(side, &frame);
        }
        if self.traffic().random.once_in(3) {
            self.intrude();
        }
        if self.traffic().random.once_in(100) {
            self.change();
        }
        Duration::from_micros(self.traffic().random.below(20_000) as u64)
    }
}
