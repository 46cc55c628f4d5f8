//! The table of tracked connections, as the kernel shows it in `/proc/net/nf_conntrack`.

use std::net::{IpAddr, SocketAddr};

/// Both ends of a connection, in one direction, and its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The number in the IP header.
    pub protocol: u8,
    /// Where its packets come from. In place of a port, an echo request has its identifier, and a protocol
    /// without either 0.
    pub source: SocketAddr,
    /// Where they go.
    pub destination: SocketAddr,
}

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedFlow {
    /// Packets of the end that opened it.
    pub original: FlowKey,
    /// Packets of the other end, as they are before any translation.
    pub reply: FlowKey,
    /// The state of a TCP connection, `ESTABLISHED`; empty for other protocols.
    pub state: String,
    /// Whether packets have been seen in both directions.
    pub replied: bool,
}

impl FlowKey {
    /// The same for both directions.
    pub fn either_way(self) -> Self {
        let (source, destination) = (self.source.min(self.destination), self.source.max(self.destination));
        Self { source, destination, ..self }
    }
}

/// One line: `ipv4 2 tcp 6 431999 ESTABLISHED src=… dst=… sport=… dport=… src=… …`.
pub(super) fn parse(line: &str) -> Option<TrackedFlow> {
    let mut words = line.split_whitespace();
    let protocol = words.nth(3)?.parse().ok()?;
    let words: Vec<&str> = words.collect();
    let values = |name: &'static str| {
        words.iter().filter_map(move |word| word.split_once('=').filter(|(key, _)| *key == name))
    };
    let address = |name, place| values(name).nth(place)?.1.parse::<IpAddr>().ok();
    let port = |name, place| values(name).nth(place).and_then(|(_, text)| text.parse::<u16>().ok());
    let key = |place| {
        let identifier = port("id", place);
        let source = port("sport", place).or(identifier).unwrap_or(0);
        let destination = port("dport", place).or(identifier).unwrap_or(0);
        Some(FlowKey {
            protocol,
            source: (address("src", place)?, source).into(),
            destination: (address("dst", place)?, destination).into(),
        })
    };
    let state = words.iter().find(|word| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
    Some(TrackedFlow {
        original: key(0)?,
        reply: key(1)?,
        state: state.map_or_else(String::new, |state| state.to_string()),
        replied: !words.contains(&"[UNREPLIED]"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translated_connection_is_taken_apart() {
        let line = "ipv4     2 tcp      6 431999 ESTABLISHED src=198.19.0.11 dst=198.18.0.50 sport=40000 dport=80 \
                    src=198.18.0.50 dst=198.18.9.1 sport=80 dport=40001 [ASSURED] mark=0 zone=0 use=2";
        let flow = parse(line).unwrap();
        let key = |source: &str, destination: &str| FlowKey {
            protocol: 6,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        };
        assert_eq!(flow.original, key("198.19.0.11:40000", "198.18.0.50:80"));
        assert_eq!(flow.reply, key("198.18.0.50:80", "198.18.9.1:40001"));
        assert_eq!((flow.state.as_str(), flow.replied), ("ESTABLISHED", true));
        assert_eq!(flow.reply.either_way(), key("198.18.0.50:80", "198.18.9.1:40001"));
        assert_eq!(key("198.19.0.11:1", "198.18.0.50:2").either_way().source.port(), 2);
    }

    #[test]
    fn an_echo_request_has_its_identifier() {
        let line = "ipv6     10 icmpv6   58 29 src=2001:0db8:0000:0000:0000:0000:0000:0001 \
                    dst=2001:0db8:0000:0000:0000:0000:0000:0002 type=128 code=0 id=21875 [UNREPLIED] \
                    src=2001:0db8:0000:0000:0000:0000:0000:0002 dst=2001:0db8:0000:0000:0000:0000:0000:0001 \
                    type=129 code=0 id=21875 mark=0 zone=0 use=2";
        let flow = parse(line).unwrap();
        assert_eq!(flow.original.source, "[2001:db8::1]:21875".parse().unwrap());
        assert_eq!(flow.reply.destination, "[2001:db8::1]:21875".parse().unwrap());
        assert_eq!((flow.original.protocol, flow.state.as_str(), flow.replied), (58, "", false));
    }
}
