//! What a person would read off a frame, and how two frames differ.

use super::question::{Protocol, Question};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use wire::ethernet::{Ethernet, split_tags};
use wire::icmp::{self, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::{Tcp, TcpFlags};
use wire::udp::Udp;
use wire::{Mac, build, protocol};

/// Where in a connection a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It opens it.
    Opening,
    /// It answers what opened it.
    Answering,
    /// It comes later.
    Later,
}

/// Both MAC addresses and the tag of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkLayer {
    pub source: Mac,
    pub destination: Mac,
    /// 0: no tag.
    pub vlan: u16,
}

/// The segment size that a SYN announces, so that clamping shows: what fits Ethernet.
const MSS_V4: u16 = 1_460;
const MSS_V6: u16 = 1_440;

/// The packet that was asked about as a frame.
pub(super) fn draw(question: &Question, link: LinkLayer, stage: Stage) -> Vec<u8> {
    let (source, destination) = (question.source, question.destination);
    let ethernet = build::ethernet(link.source, link.destination);
    let ethernet = if link.vlan == 0 { ethernet } else { ethernet.vlan(link.vlan) };
    let (ip, mss) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => (ethernet.ipv4(source, destination), MSS_V4),
        (source, destination) => (ethernet.ipv6(as_v6(source), as_v6(destination)), MSS_V6),
    };
    let frame = match question.protocol {
        Protocol::Tcp => {
            let tcp = ip.tcp(source.port(), destination.port());
            let [high, low] = mss.to_be_bytes();
            match stage {
                Stage::Opening => tcp.flags(TcpFlags::SYN).options(&[2, 4, high, low]),
                Stage::Answering => tcp.flags(TcpFlags::SYN | TcpFlags::ACK).options(&[2, 4, high, low]),
                Stage::Later => tcp.flags(TcpFlags::ACK),
            }
            .finish()
        }
        Protocol::Udp => ip.udp(source.port(), destination.port()).payload(&[0]).finish(),
        Protocol::Icmp if stage == Stage::Answering => ip.echo_reply(source.port(), 1).finish(),
        Protocol::Icmp => ip.echo_request(source.port(), 1).finish(),
        Protocol::Other(number) => ip.raw(number, &[0; 8]),
    };
    build::padded(frame)
}

fn as_v6(address: IpAddr) -> std::net::Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// A frame, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub link: LinkLayer,
    /// The ends of an outer header, where there is one.
    pub outer: Option<(SocketAddr, SocketAddr)>,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    hop_limit: u8,
    dscp: u8,
    mss: Option<u16>,
    /// What it is, where it is an answer of the appliance's own making.
    pub answer: &'static str,
}

/// An IP packet, read up to its transport header.
struct Packet<'a> {
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    dscp: u8,
    protocol: u8,
    payload: &'a mut [u8],
}

/// What a transport header says.
#[derive(Default)]
struct Segment {
    ports: (u16, u16),
    mss: Option<u16>,
    answer: &'static str,
}

impl Picture {
    /// Reads `frame`, whose packet may be carried in another, or behind a UDP header for `gue_port`. `None` for what is
    /// no IP packet.
    pub fn of(frame: &[u8], gue_port: Option<u16>) -> Option<Self> {
        let mut bytes = frame.to_vec();
        let (ethernet, rest) = Ethernet::split(&mut bytes).ok()?;
        let untagged = split_tags(ethernet.ethertype(), rest).ok()?;
        let link = LinkLayer {
            source: ethernet.source(),
            destination: ethernet.destination(),
            vlan: untagged.outer.as_ref().map_or(0, |tag| tag.id()),
        };
        let mut packet = packet(untagged.payload)?;
        let mut outer = None;
        let mut ends = (packet.source, packet.destination);
        let carried = match packet.protocol {
            protocol::IPV4 | protocol::IPV6 => Some((0, 0)),
            protocol::UDP => udp_ports(packet.payload).filter(|&(_, port)| Some(port) == gue_port),
            _ => None,
        };
        if let Some((source_port, destination_port)) = carried {
            outer = Some(((ends.0, source_port).into(), (ends.1, destination_port).into()));
            let skipped = if packet.protocol == protocol::UDP { Udp::LENGTH } else { 0 };
            packet = self::packet(packet.payload.get_mut(skipped..)?)?;
            ends = (packet.source, packet.destination);
        }
        let Packet { hop_limit, dscp, protocol, payload, .. } = packet;
        let Segment { ports, mss, answer } = segment(protocol, payload)?;
        Some(Self {
            link,
            outer,
            source: (ends.0, ports.0).into(),
            destination: (ends.1, ports.1).into(),
            hop_limit,
            dscp,
            mss,
            answer,
        })
    }

    /// What became of each field from this frame to `after`, as rows for people and programs.
    pub fn rewritten(&self, after: &Self) -> Vec<Value> {
        let row = |field: &str, before: String, after: String| json!({"field": field, "before": before, "after": after});
        let number = |number: u16| if number == 0 { "none".to_owned() } else { number.to_string() };
        let end = |end: Option<SocketAddr>| match end {
            None => "none".to_owned(),
            Some(end) if end.port() == 0 => end.ip().to_string(),
            Some(end) => end.to_string(),
        };
        let outer = |picture: &Self| picture.outer.unzip();
        let ((source, destination), (new_source, new_destination)) = (outer(self), outer(after));
        let mut rows = vec![
            row("destination_mac", self.link.destination.to_string(), after.link.destination.to_string()),
            row("source_mac", self.link.source.to_string(), after.link.source.to_string()),
        ];
        if (self.link.vlan, after.link.vlan) != (0, 0) {
            rows.push(row("vlan", number(self.link.vlan), number(after.link.vlan)));
        }
        if (self.outer, after.outer) != (None, None) {
            rows.push(row("outer_source", end(source), end(new_source)));
            rows.push(row("outer_destination", end(destination), end(new_destination)));
        }
        rows.push(row("source", end(Some(self.source)), end(Some(after.source))));
        rows.push(row("destination", end(Some(self.destination)), end(Some(after.destination))));
        rows.push(row("hop_limit", self.hop_limit.to_string(), after.hop_limit.to_string()));
        if (self.dscp, after.dscp) != (0, 0) {
            rows.push(row("dscp", self.dscp.to_string(), after.dscp.to_string()));
        }
        if self.mss != after.mss {
            rows.push(row("mss", number(self.mss.unwrap_or(0)), number(after.mss.unwrap_or(0))));
        }
        rows
    }
}

fn packet(bytes: &mut [u8]) -> Option<Packet<'_>> {
    if bytes.first()? >> 4 == 4 {
        let split = Ipv4::split(bytes).ok()?;
        let header = split.header;
        return Some(Packet {
            source: header.source().into(),
            destination: header.destination().into(),
            hop_limit: header.ttl(),
            dscp: header.dscp(),
            protocol: header.protocol(),
            payload: split.payload,
        });
    }
    let split = Ipv6::split(bytes).ok()?;
    let header = split.header;
    Some(Packet {
        source: header.source().into(),
        destination: header.destination().into(),
        hop_limit: header.hop_limit(),
        dscp: header.traffic_class() >> 2,
        protocol: split.protocol,
        payload: split.payload,
    })
}

fn udp_ports(payload: &mut [u8]) -> Option<(u16, u16)> {
    let (udp, _) = Udp::split(payload).ok()?;
    Some((udp.source_port(), udp.destination_port()))
}

fn segment(protocol: u8, payload: &mut [u8]) -> Option<Segment> {
    Some(match protocol {
        protocol::TCP => {
            let (tcp, options, _) = Tcp::split(payload).ok()?;
            let mss = match options {
                [2, 4, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
                _ => None,
            };
            let answer = if tcp.flags().contains(TcpFlags::RST) { "TCP reset" } else { "TCP segment" };
            Segment { ports: (tcp.source_port(), tcp.destination_port()), mss, answer }
        }
        protocol::UDP => Segment { ports: udp_ports(payload)?, answer: "UDP datagram", ..Segment::default() },
        protocol::ICMP | protocol::ICMPV6 => {
            let (icmp, _) = Icmp::split(payload).ok()?;
            let answer = icmp_name(protocol == protocol::ICMP, icmp.kind(), icmp.code());
            let is_echo = match protocol {
                protocol::ICMP => icmp::v4::is_echo(icmp.kind()),
                _ => icmp::v6::is_echo(icmp.kind()),
            };
            let identifier = if is_echo { icmp.identifier() } else { 0 };
            Segment { ports: (identifier, identifier), answer, ..Segment::default() }
        }
        _ => Segment { answer: "IP packet", ..Segment::default() },
    })
}

fn icmp_name(is_v4: bool, kind: u8, code: u8) -> &'static str {
    use icmp::{v4, v6};
    match (is_v4, kind, code) {
        (true, v4::ECHO_REPLY, _) | (false, v6::ECHO_REPLY, _) => "ICMP echo reply",
        (true, v4::ECHO_REQUEST, _) | (false, v6::ECHO_REQUEST, _) => "ICMP echo request",
        (true, v4::UNREACHABLE, v4::CODE_PORT) | (false, v6::UNREACHABLE, v6::CODE_PORT) => {
            "ICMP port unreachable"
        }
        (true, v4::UNREACHABLE, v4::CODE_HOST) | (false, v6::UNREACHABLE, v6::CODE_ADDRESS) => {
            "ICMP host unreachable"
        }
        (true, v4::UNREACHABLE, v4::CODE_NETWORK) | (false, v6::UNREACHABLE, v6::CODE_NO_ROUTE) => {
            "ICMP network unreachable"
        }
        (true, v4::UNREACHABLE, v4::CODE_FRAGMENTATION_NEEDED) | (false, v6::PACKET_TOO_BIG, _) => {
            "ICMP packet too big"
        }
        (true, v4::TIME_EXCEEDED, _) | (false, v6::TIME_EXCEEDED, _) => "ICMP time exceeded",
        _ => "ICMP message",
    }
}
