//! What is asked: a packet, by its ends and its protocol.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The identifier of an echo request for which none was said.
const ECHO_IDENTIFIER: u16 = 1;

/// The protocols that can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP: a SYN, or a later segment where the connection is known.
    Tcp,
    /// UDP.
    Udp,
    /// An echo request.
    Icmp,
    /// Any other, by its number. It is asked about without ports: nobody looks at them on the way.
    Other(u8),
}

/// Protocols without ports here that have a name (RFC 5237 registry).
const NAMED: [(&str, u8); 3] = [("gre", 47), ("esp", 50), ("sctp", 132)];

/// What stands in a packet's protocol field and is no protocol of its own: the headers of another packet, or of this one.
const HEADERS: [u8; 8] = [
    wire::protocol::HOP_BY_HOP,
    wire::protocol::IPV4,
    wire::protocol::IPV6,
    wire::protocol::ROUTING,
    wire::protocol::FRAGMENT,
    wire::protocol::AUTHENTICATION,
    wire::protocol::NO_NEXT_HEADER,
    wire::protocol::DESTINATION_OPTIONS,
];

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMED.iter().find(|(name, _)| *name == text).map(|&(_, number)| number);
        match text {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "icmp" => Ok(Protocol::Icmp),
            other => match named.or_else(|| other.parse().ok()) {
                Some(wire::protocol::TCP) => Ok(Protocol::Tcp),
                Some(wire::protocol::UDP) => Ok(Protocol::Udp),
                Some(wire::protocol::ICMP | wire::protocol::ICMPV6) => Ok(Protocol::Icmp),
                Some(number) if !HEADERS.contains(&number) => Ok(Protocol::Other(number)),
                _ => Err(format!(
                    "\"{other}\" is no protocol to ask about; write tcp, udp or icmp, or esp, gre, sctp or a number, \
                     without ports"
                )),
            },
        }
    }
}

/// A packet that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where it comes from. The port of an echo request is its identifier.
    pub source: SocketAddr,
    /// Where it goes: an address of the same family.
    pub destination: SocketAddr,
    /// What it is.
    pub protocol: Protocol,
}

impl Question {
    /// Reads both ends, written ADDRESS:PORT or `[ADDRESS]:PORT`, and a protocol: `tcp`, `udp`, `icmp`, or another one by
    /// name or number. ICMP needs no ports; one that is said is the identifier. Others have none. An error says what is wrong and what would be right.
    pub fn new(source: &str, destination: &str, protocol: &str) -> Result<Self, String> {
        let protocol: Protocol = protocol.parse()?;
        let ((source, source_port), (destination, destination_port)) = (end(source)?, end(destination)?);
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(format!("{source} and {destination} are of two families"));
        }
        let (source_port, destination_port) = match (protocol, source_port, destination_port) {
            (Protocol::Icmp, own, other) => {
                let identifier = own.or(other).unwrap_or(ECHO_IDENTIFIER);
                (identifier, identifier)
            }
            (Protocol::Other(_), None, None) => (0, 0),
            (Protocol::Other(_), ..) => return Err(format!("{protocol} is asked about without ports")),
            (_, Some(source_port), Some(destination_port)) => (source_port, destination_port),
            (_, None, _) => return Err(format!("{source} needs a port: {}", example(source, 40_000))),
            (_, _, None) => return Err(format!("{destination} needs a port: {}", example(destination, 80))),
        };
        Ok(Self {
            source: (source, source_port).into(),
            destination: (destination, destination_port).into(),
            protocol,
        })
    }

    /// What answers it.
    pub(super) fn swapped(self) -> Self {
        Self { source: self.destination, destination: self.source, protocol: self.protocol }
    }

    /// The protocol's number.
    pub(super) fn protocol_number(&self) -> u8 {
        match self.protocol {
            Protocol::Tcp => wire::protocol::TCP,
            Protocol::Udp => wire::protocol::UDP,
            Protocol::Icmp if self.source.is_ipv4() => wire::protocol::ICMP,
            Protocol::Icmp => wire::protocol::ICMPV6,
            Protocol::Other(number) => number,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Tcp => formatter.write_str("tcp"),
            Protocol::Udp => formatter.write_str("udp"),
            Protocol::Icmp => formatter.write_str("icmp"),
            Protocol::Other(number) => match NAMED.iter().find(|(_, named)| named == number) {
                Some((name, _)) => formatter.write_str(name),
                None => number.fmt(formatter),
            },
        }
    }
}

fn example(address: IpAddr, port: u16) -> SocketAddr {
    (address, port).into()
}

fn end(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(end) = text.parse::<SocketAddr>() {
        return Ok((end.ip(), Some(end.port())));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) if bare.is_none() || address.is_ipv6() => Ok((address, None)),
        _ => Err(format!("\"{text}\" is no end of a flow; write 198.18.0.10:80 or [2001:db8::10]:80")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_written_with_its_ports_and_an_echo_with_or_without() {
        let asked = |source, destination, protocol| {
            let question = Question::new(source, destination, protocol).unwrap();
            (question.source.to_string(), question.destination.to_string())
        };
        let ends = |source: &str, destination: &str| (source.to_owned(), destination.to_owned());
        assert_eq!(
            asked("[2001:db8::50]:40000", "[2001:db8::10]:80", "udp"),
            ends("[2001:db8::50]:40000", "[2001:db8::10]:80")
        );
        assert_eq!(asked("198.18.0.50", "198.18.0.10", "icmp"), ends("198.18.0.50:1", "198.18.0.10:1"));
        assert_eq!(asked("198.18.0.50:7", "198.18.0.10", "icmp"), ends("198.18.0.50:7", "198.18.0.10:7"));
        assert_eq!(asked("198.18.0.50", "198.18.0.10", "47"), ends("198.18.0.50:0", "198.18.0.10:0"));
        for (said, meant) in
            [("47", "gre"), ("esp", "esp"), ("132", "sctp"), ("99", "99"), ("6", "tcp"), ("58", "icmp")]
        {
            assert_eq!(said.parse::<Protocol>().unwrap().to_string(), meant);
        }
        assert_eq!(asked("2001:db8::5", "[2001:db8::1]", "icmp"), ends("[2001:db8::5]:1", "[2001:db8::1]:1"));
    }

    #[test]
    fn what_is_no_flow_is_refused_with_what_would_be_right() {
        for (source, destination, protocol, words) in [
            ("198.18.0.50:40000", "198.18.0.10:80", "http", "tcp, udp or icmp"),
            ("198.18.0.50", "198.18.0.10", "41", "tcp, udp or icmp"),
            ("198.18.0.50", "198.18.0.10", "256", "tcp, udp or icmp"),
            ("198.18.0.50:40000", "198.18.0.10", "sctp", "without ports"),
            ("198.18.0.50", "198.18.0.10:80", "tcp", "198.18.0.50:40000"),
            ("198.18.0.50:40000", "198.18.0.10", "udp", "198.18.0.10:80"),
            ("198.18.0.50:40000", "[2001:db8::10]:80", "tcp", "two families"),
            ("web:1", "198.18.0.10:80", "tcp", "198.18.0.10:80 or [2001:db8::10]:80"),
            ("198.18.0.50:65536", "198.18.0.10:80", "tcp", "no end of a flow"),
            ("[198.18.0.50]", "198.18.0.10", "icmp", "no end of a flow"),
        ] {
            let error = Question::new(source, destination, protocol).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
