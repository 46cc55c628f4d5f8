//! From bytes to text, for people: what a frame is, and whether that is all there is to it.

use super::words::{self, MESSAGES};
use super::{Scope, build};
use std::fmt::Write;
use std::net::IpAddr;
use wire::arp::{self, Arp};
use wire::ethernet::{self, Ethernet};
use wire::icmp::{self, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::Tcp;
use wire::udp::Udp;
use wire::{Refusal, nd, protocol};

/// The frame as a line of the language. Where the line does not say all (a wrong checksum, a header that the language has
/// no word for) the bytes follow behind a `#`.
pub fn print(frame: &[u8], scope: &Scope) -> String {
    let hex = words::to_hex(frame);
    let Ok(line) = describe(&mut frame.to_vec(), scope) else { return format!("raw {hex}") };
    let padded = format!("{line} padded {}", frame.len());
    let says = |line: &str| build(line, scope).is_ok_and(|built| built == frame);
    match () {
        () if says(&line) => line,
        () if says(&padded) => padded,
        () => format!("{line} # {hex}"),
    }
}

fn describe(frame: &mut [u8], scope: &Scope) -> Result<String, Refusal> {
    let (ethernet, rest) = Ethernet::split(frame)?;
    let (from, to) = (scope.name_of(ethernet.source()), scope.name_of(ethernet.destination()));
    let outermost = ethernet.ethertype();
    let untagged = ethernet::split_tags(outermost, rest)?;
    let mut line = match untagged.ethertype {
        ethernet::ETHERTYPE_ARP => describe_arp(&Arp::split(untagged.payload)?.0, scope),
        ethernet::ETHERTYPE_IPV4 | ethernet::ETHERTYPE_IPV6 => describe_packet(untagged.payload, scope)?,
        _ => return Err(Refusal::EthernetTruncated),
    };
    let outer = untagged.outer.as_ref().map(|tag| (outermost, tag));
    let inner = untagged.inner.as_ref().zip(untagged.outer.as_ref());
    for (ethertype, tag) in outer.into_iter().chain(inner.map(|(tag, outer)| (outer.ethertype(), tag))) {
        let word = if ethertype == ethernet::ETHERTYPE_QINQ { "service-vlan" } else { "vlan" };
        let _ = write!(line, " {word} {}", tag.id());
        append(&mut line, tag.priority() != 0, format_args!(" priority {}", tag.priority()));
    }
    let _ = write!(line, " from {from} to {to}");
    Ok(line)
}

fn describe_arp(message: &Arp<'_>, scope: &Scope) -> String {
    let (sender, target) = (message.sender_address(), message.target_address());
    match message.operation() {
        arp::OP_REQUEST => format!("arp who-has {target} tell {sender}"),
        _ => format!("arp {sender} is-at {} told {target}", scope.name_of(message.sender_mac())),
    }
}

/// An IP packet without its link-layer header.
fn describe_packet(packet: &mut [u8], scope: &Scope) -> Result<String, Refusal> {
    let packet_bytes = packet.len();
    if packet.first().is_some_and(|first| first >> 4 == 4) {
        // A quotation may end early; what is there is described as if the rest were zeros.
        let claimed =
            packet.get(2..4).map_or(0, |length| usize::from(u16::from_be_bytes([length[0], length[1]])));
        let mut whole = packet.to_vec();
        whole.resize(packet_bytes.max(claimed), 0);
        let ip = Ipv4::split(&mut whole)?;
        let ends = (ip.header.source().into(), ip.header.destination().into());
        let is_echo = ip.payload.first().is_some_and(|&kind| {
            ip.header.protocol() == protocol::ICMP
                && matches!(kind, icmp::v4::ECHO_REPLY | icmp::v4::ECHO_REQUEST)
        });
        let mut line = describe_transport(ends, ip.header.protocol(), ip.payload, scope)?;
        let class = ip.header.dscp() << 2 | ip.header.ecn();
        append(&mut line, ip.header.ttl() != 64, format_args!(" ttl {}", ip.header.ttl()));
        append(&mut line, ip.header.dont_fragment(), format_args!(" df"));
        let id = ip.header.identification();
        append(&mut line, id != 0 && !is_echo, format_args!(" id {id}"));
        append(&mut line, class != 0, format_args!(" class {class}"));
        append(&mut line, !ip.options.is_empty(), format_args!(" ip-options {}", words::to_hex(ip.options)));
        append(&mut line, claimed > packet_bytes, format_args!(" cut {packet_bytes}"));
        return Ok(line);
    }
    let claimed =
        packet.get(4..6).map_or(0, |length| usize::from(u16::from_be_bytes([length[0], length[1]])));
    let mut whole = packet.to_vec();
    whole.resize(packet_bytes.max(claimed + Ipv6::LENGTH), 0);
    let ip = Ipv6::split(&mut whole)?;
    let ends = (ip.header.source().into(), ip.header.destination().into());
    let mut line = describe_transport(ends, ip.protocol, ip.payload, scope)?;
    let usual = if line.starts_with("ns ") || line.starts_with("na ") { nd::HOP_LIMIT } else { 64 };
    append(&mut line, ip.header.hop_limit() != usual, format_args!(" ttl {}", ip.header.hop_limit()));
    append(&mut line, ip.header.traffic_class() != 0, format_args!(" class {}", ip.header.traffic_class()));
    append(&mut line, ip.header.flow_label() != 0, format_args!(" label {}", ip.header.flow_label()));
    append(&mut line, claimed + Ipv6::LENGTH > packet_bytes, format_args!(" cut {packet_bytes}"));
    Ok(line)
}

fn append(line: &mut String, wanted: bool, what: std::fmt::Arguments<'_>) {
    if wanted {
        let _ = line.write_fmt(what);
    }
}

fn describe_transport(
    (source, destination): (IpAddr, IpAddr),
    protocol: u8,
    payload: &mut [u8],
    scope: &Scope,
) -> Result<String, Refusal> {
    let end = |address: IpAddr, port: u16| match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    };
    let data_of = |line: &mut String, data: &[u8]| {
        append(line, !data.is_empty(), format_args!(" data {}", words::to_hex(data)));
    };
    match protocol {
        protocol::TCP => {
            let (tcp, options, data) = Tcp::split(payload)?;
            let (from, to) = (end(source, tcp.source_port()), end(destination, tcp.destination_port()));
            let mut line = format!("tcp {from} > {to} {}", words::letters(tcp.flags()));
            append(&mut line, tcp.sequence() != 0, format_args!(" seq {}", tcp.sequence()));
            append(&mut line, tcp.acknowledgement() != 0, format_args!(" ack {}", tcp.acknowledgement()));
            append(&mut line, tcp.window() != u16::MAX, format_args!(" win {}", tcp.window()));
            append(&mut line, !options.is_empty(), format_args!(" options {}", words::to_hex(options)));
            data_of(&mut line, data);
            Ok(line)
        }
        protocol::UDP => {
            let (udp, data) = Udp::split(payload)?;
            let (from, to) = (end(source, udp.source_port()), end(destination, udp.destination_port()));
            let mut line = format!("udp {from} > {to}");
            append(&mut line, udp.checksum() == wire::udp::NO_CHECKSUM, format_args!(" no-checksum"));
            data_of(&mut line, data);
            Ok(line)
        }
        protocol::ICMP | protocol::ICMPV6 => describe_icmp((source, destination), protocol, payload, scope),
        _ => {
            let mut line = format!("ip {source} > {destination} protocol {protocol}");
            data_of(&mut line, payload);
            Ok(line)
        }
    }
}

fn describe_icmp(
    (source, destination): (IpAddr, IpAddr),
    protocol: u8,
    payload: &mut [u8],
    scope: &Scope,
) -> Result<String, Refusal> {
    let whole = payload.to_vec();
    let (header, data) = Icmp::split(payload)?;
    let (kind, code) = (header.kind(), header.code());
    let echo = match (protocol, kind) {
        (protocol::ICMP, icmp::v4::ECHO_REQUEST) | (protocol::ICMPV6, icmp::v6::ECHO_REQUEST) => {
            "echo-request"
        }
        (protocol::ICMP, icmp::v4::ECHO_REPLY) | (protocol::ICMPV6, icmp::v6::ECHO_REPLY) => "echo-reply",
        _ => "",
    };
    if !echo.is_empty() {
        let (id, sequence) = (header.identifier(), header.sequence());
        let mut line = format!("{echo} {source} > {destination} id {id} seq {sequence}");
        append(&mut line, !data.is_empty(), format_args!(" data {}", words::to_hex(data)));
        return Ok(line);
    }
    if let (IpAddr::V6(from), IpAddr::V6(to)) = (source, destination)
        && let Ok(message) = nd::parse(&whole, from, to, nd::HOP_LIMIT)
    {
        return Ok(describe_neighbour(&message, source, destination, scope));
    }
    let named = MESSAGES.iter().find(|(_, v4, v6)| {
        let message = if protocol == protocol::ICMP { v4 } else { v6 };
        *message == Some((kind, code))
    });
    let mut line = match named {
        Some((name, ..)) => format!("icmp {source} > {destination} {name}"),
        None => format!("icmp {source} > {destination} type {kind} code {code}"),
    };
    append(&mut line, header.mtu() != 0, format_args!(" mtu {}", header.mtu()));
    match describe_packet(&mut data.to_vec(), scope) {
        Ok(quote) if named.is_some() => append(&mut line, true, format_args!(" quoting ( {quote} )")),
        _ => append(&mut line, !data.is_empty(), format_args!(" data {}", words::to_hex(data))),
    }
    Ok(line)
}

fn describe_neighbour(message: &nd::Neighbour, source: IpAddr, destination: IpAddr, scope: &Scope) -> String {
    match message {
        nd::Neighbour::Solicitation { target, source_mac } => {
            let option = if source_mac.is_none() && !source.is_unspecified() { " no-option" } else { "" };
            format!("ns {source} > {destination} who-has {target}{option}")
        }
        nd::Neighbour::Advertisement { target, target_mac, flags } => {
            let mac = scope.name_of(target_mac.unwrap_or_default());
            let mut line = format!("na {source} > {destination} {target} is-at {mac}");
            append(&mut line, flags.router, format_args!(" router"));
            append(&mut line, flags.solicited, format_args!(" solicited"));
            append(&mut line, flags.overrides, format_args!(" override"));
            line
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Mac;

    fn scope() -> Scope {
        let mut scope = Scope::default();
        scope.name("CLIENT", Mac([2, 0, 0, 0, 0, 0x50]));
        scope.name("OUTSIDE", Mac([2, 0, 0, 0, 1, 1]));
        scope
    }

    #[test]
    fn what_is_built_is_printed_as_it_was_written() {
        let lines = [
            "tcp 198.18.0.50:40000 > 198.18.0.10:80 S seq 1000 win 0 options 02040578 ttl 3 df id 9 class 4",
            "tcp 198.18.0.50:40000 > 198.18.0.10:80 - data 0102 vlan 20",
            "arp who-has 198.18.0.10 tell 198.18.0.50 service-vlan 7 vlan 20 priority 5",
            "tcp [2001:db8::1]:40000 > [2001:db8::2]:80 SFRPAUEC seq 1 ack 4294967295 label 77",
            "udp 198.18.0.50:1 > 198.18.0.10:2 no-checksum data 00",
            "echo-request 198.18.0.50 > 198.18.0.10 id 7 seq 1 data 00ff",
            "echo-reply 2001:db8::1 > 2001:db8::2 id 7 seq 1",
            "icmp 198.18.0.10 > 198.18.0.50 port-unreachable quoting ( udp 198.18.0.50:1 > 198.18.0.10:2 ttl 9 )",
            "icmp 2001:db8::1 > 2001:db8::2 too-big mtu 1400 quoting ( udp [2001:db8::2]:1 > [2001:db8::9]:2 )",
            "icmp 198.18.0.10 > 198.18.0.50 type 13 code 0 data 00000000",
            "arp who-has 198.18.0.10 tell 0.0.0.0",
            "arp 198.18.0.10 is-at CLIENT told 198.18.0.50",
            "ns 2001:db8::1 > ff02::1:ff00:10 who-has 2001:db8::10",
            "ns 2001:db8::1 > 2001:db8::10 who-has 2001:db8::10 no-option",
            "ns :: > ff02::1:ff00:10 who-has 2001:db8::10",
            "na 2001:db8::10 > ff02::1 2001:db8::10 is-at CLIENT override",
            "ip 198.18.0.50 > 198.18.0.10 protocol 47 data 0000",
            "udp 198.18.0.50:1 > 198.18.0.10:2 ip-options 94040000",
        ];
        for line in lines {
            for line in [
                format!("{line} from CLIENT to OUTSIDE"),
                format!("{line} from CLIENT to OUTSIDE padded 140"),
            ] {
                let frame = build(&line, &scope()).unwrap_or_else(|error| panic!("{line}: {error}"));
                assert_eq!(print(&frame, &scope()), line);
            }
        }
    }

    #[test]
    fn what_the_language_cannot_say_is_shown_in_bytes() {
        let frame =
            build("udp 198.18.0.50:1 > 198.18.0.10:2 wrong-checksum from CLIENT to OUTSIDE", &scope())
                .unwrap();
        assert!(
            print(&frame, &scope())
                .starts_with("udp 198.18.0.50:1 > 198.18.0.10:2 from CLIENT to OUTSIDE # 02")
        );
        assert_eq!(print(&[1, 2, 3], &scope()), "raw 010203");
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong_with_it() {
        let refusals = [
            ("", "the line ends too early"),
            ("tcp 198.18.0.50 > 198.18.0.10:80 S", "\"198.18.0.50\" has no port"),
            ("udp 198.18.0.50:1 > 198.18.0.10:2", "the frame lacks `from STATION to STATION`"),
            ("udp 198.18.0.50:1 > 198.18.0.10:2 from NOBODY to OUTSIDE", "\"NOBODY\" is no station"),
            (
                "udp 198.18.0.50:1 > [2001:db8::1]:2 from CLIENT to OUTSIDE",
                "source and destination are of two families",
            ),
            ("udp 198.18.0.50:1 > 198.18.0.10:2 loud from CLIENT to OUTSIDE", "\"loud\" means nothing here"),
        ];
        for (line, refusal) in refusals {
            assert_eq!(build(line, &scope()).unwrap_err().to_string(), refusal, "{line}");
        }
    }

    #[test]
    fn open_ports_are_learned_from_what_came() {
        let mut scope = scope();
        let expected = "udp 198.18.0.10:$port > 198.18.1.11:53 from CLIENT to OUTSIDE";
        let came = build("udp 198.18.0.10:4711 > 198.18.1.11:53 from CLIENT to OUTSIDE", &scope).unwrap();
        assert!(build(expected, &scope).is_err());
        scope.learn(expected, &came);
        assert_eq!(build(expected, &scope).unwrap(), came);
    }
}
