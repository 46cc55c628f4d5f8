//! Probes as IP packets, and what comes back.

use flow::probe::{Kind, Probe};
use std::net::IpAddr;
use wire::build::{self, IpBuilder};
use wire::icmp::{self, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::{Tcp, TcpFlags};
use wire::udp::Udp;
use wire::{Mac, ethernet, protocol};

/// The version of an IP packet stands in the upper half of its first byte (RFC 791 section 3.1, RFC 8200 section 3).
const VERSION_SHIFT: u8 = 4;

/// The segment size that a SYN offers, though nothing will ever be sent (RFC 9293 section 3.7.1): kind, length, 1,220
/// bytes, which is right for both families. There are firewalls that drop a SYN without it.
const MSS_OPTION: [u8; 4] = [2, 4, 0x04, 0xc4];

/// By what a path is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    /// An echo request with this identifier.
    Echo { identifier: u16 },
    /// A datagram.
    Datagram { source_port: u16, port: u16 },
    /// A SYN with this sequence number, which carries no payload.
    Syn { source_port: u16, port: u16, sequence: u32 },
}

/// What came of it, or from the far end.
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// A probe of the far end.
    Question(Probe<'a>),
    /// The answer to one of ours.
    Answer(Probe<'a>),
    /// What answers a SYN of ours.
    Segment { port: u16, own_port: u16, flags: TcpFlags, acknowledgement: u32 },
}

/// A packet that a worker took.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    pub destination: IpAddr,
    pub content: Content<'a>,
}

/// The packet of a probe that says `payload`; empty where the ends are of two families.
pub(super) fn probe(ends: (IpAddr, IpAddr), envelope: Envelope, payload: &[u8]) -> Vec<u8> {
    let Some(ip) = ip(ends) else { return Vec::new() };
    let frame = match envelope {
        // The sequence is part of the payload; here it would say nothing more.
        Envelope::Echo { identifier } => ip.echo_request(identifier, 1).payload(payload).finish(),
        Envelope::Datagram { source_port, port } => ip.udp(source_port, port).payload(payload).finish(),
        Envelope::Syn { source_port, port, sequence } => {
            ip.tcp(source_port, port).flags(TcpFlags::SYN).sequence(sequence).options(&MSS_OPTION).finish()
        }
    };
    frame[ethernet::LENGTH..].to_vec()
}

/// The reset that takes a SYN back: it has the number that the other end waits for (RFC 9293 section 3.10.7.3).
pub(super) fn reset(ends: (IpAddr, IpAddr), ports: (u16, u16), sequence: u32) -> Vec<u8> {
    let Some(ip) = ip(ends) else { return Vec::new() };
    let frame = ip.tcp(ports.0, ports.1).flags(TcpFlags::RST).sequence(sequence).finish();
    frame[ethernet::LENGTH..].to_vec()
}

fn ip((source, destination): (IpAddr, IpAddr)) -> Option<IpBuilder> {
    let link = build::ethernet(Mac::default(), Mac::default());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Some(link.ipv4(source, destination)),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Some(link.ipv6(source, destination)),
        _ => None,
    }
}

/// Takes a packet apart; `None` where it has nothing to do with probes.
pub(super) fn read(packet: &mut [u8]) -> Option<Taken<'_>> {
    let (destination, protocol, payload) = match packet.first()? >> VERSION_SHIFT {
        4 => {
            let ip = Ipv4::split(packet).ok()?;
            (IpAddr::V4(ip.header.destination()), ip.header.protocol(), ip.payload)
        }
        _ => {
            let ip = Ipv6::split(packet).ok()?;
            (IpAddr::V6(ip.header.destination()), ip.protocol, ip.payload)
        }
    };
    let content = match protocol {
        protocol::TCP => {
            let (tcp, ..) = Tcp::split(payload).ok()?;
            Content::Segment {
                port: tcp.source_port(),
                own_port: tcp.destination_port(),
                flags: tcp.flags(),
                acknowledgement: tcp.acknowledgement(),
            }
        }
        protocol::UDP => {
            let (_, data) = Udp::split(payload).ok()?;
            let probe = Probe::of(data)?;
            if probe.kind == Kind::Question { Content::Question(probe) } else { Content::Answer(probe) }
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let (header, data) = Icmp::split(payload).ok()?;
            let kind = header.kind();
            let (request, reply) = match destination {
                IpAddr::V4(_) => (icmp::v4::ECHO_REQUEST, icmp::v4::ECHO_REPLY),
                IpAddr::V6(_) => (icmp::v6::ECHO_REQUEST, icmp::v6::ECHO_REPLY),
            };
            let probe = Probe::of(data)?;
            match kind {
                // Whoever answers an echo request answers with what it said, its kind too.
                kind if kind == request => Content::Question(probe),
                kind if kind == reply => Content::Answer(probe),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Taken { destination, content })
}
