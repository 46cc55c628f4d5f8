//! From text to bytes.

use super::Scope;
use super::words::{self, MESSAGES};
use std::fmt;
use std::iter::Peekable;
use std::net::{IpAddr, Ipv6Addr};
use std::str::SplitWhitespace;
use wire::build::{self, IpBuilder};
use wire::checksum::Checksum;
use wire::ethernet::{self, Ethernet};
use wire::icmp::Icmp;
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::nd::{self, AdvertisementFlags};
use wire::tcp::{Tcp, TcpFlags};
use wire::udp::Udp;
use wire::{Mac, protocol};

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanguageError(pub String);

impl fmt::Display for LanguageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LanguageError {}

type Result<T> = std::result::Result<T, LanguageError>;

fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(LanguageError(message.into()))
}

/// The frame that `text` describes.
pub fn build(text: &str, scope: &Scope) -> Result<Vec<u8>> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let mut reader = Reader { words: spaced.split_whitespace().peekable(), scope };
    let frame = reader.frame(true)?;
    match reader.words.next() {
        None => Ok(frame),
        Some(word) => error(format!("{word:?} is one word too many")),
    }
}

struct Reader<'a> {
    words: Peekable<SplitWhitespace<'a>>,
    scope: &'a Scope,
}

/// What may follow the head of a frame, in any order.
struct Details {
    from: Mac,
    to: Mac,
    /// Tags from the outside in: EtherType and tag control.
    tags: Vec<(u16, u16)>,
    hop_limit: Option<u8>,
    dont_fragment: bool,
    identification: u32,
    class: u8,
    label: u32,
    fragment: Option<(u16, bool)>,
    ip_options: Vec<u8>,
    sequence: u32,
    acknowledgement: u32,
    window: u16,
    options: Vec<u8>,
    data: Vec<u8>,
    no_checksum: bool,
    wrong_checksum: bool,
    wrong_header_checksum: bool,
    mtu: u16,
    quote: Vec<u8>,
    advertisement: AdvertisementFlags,
    no_option: bool,
    padded_to: usize,
    cut_to: Option<usize>,
    /// Bytes in front of what `cut` counts: a quotation has no Ethernet header.
    uncounted_bytes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<&'a str> {
        self.words.next().map_or_else(|| error("the line ends too early"), Ok)
    }

    fn expect(&mut self, wanted: &str) -> Result<()> {
        let word = self.next()?;
        if word == wanted { Ok(()) } else { error(format!("{word:?} instead of {wanted:?}")) }
    }

    fn value<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        let word = self.next()?;
        word.parse().or_else(|_| error(format!("{word:?} is no {what}")))
    }

    /// A number, or the name of one that the script has learned.
    fn number(&mut self, what: &str) -> Result<u32> {
        let word = self.next()?;
        let known = word.starts_with('$').then(|| self.scope.number(word)).flatten();
        known.or_else(|| word.parse().ok()).map_or_else(|| error(format!("{word:?} is no {what}")), Ok)
    }

    fn hex(&mut self) -> Result<Vec<u8>> {
        let word = self.next()?;
        words::from_hex(word).map_or_else(|| error(format!("{word:?} is not hexadecimal")), Ok)
    }

    fn station(&mut self) -> Result<Mac> {
        let word = self.next()?;
        self.scope.station(word).map_or_else(|| error(format!("{word:?} is no station")), Ok)
    }

    /// `address:port`, an IPv6 address in brackets; the port may be a variable.
    fn end(&mut self) -> Result<(IpAddr, u16)> {
        let word = self.next()?;
        let Some((address, port)) = word.rsplit_once(':') else {
            return error(format!("{word:?} has no port"));
        };
        let address = address.trim_start_matches('[').trim_end_matches(']');
        match (address.parse(), self.scope.number(port).and_then(|port| port.try_into().ok())) {
            (Ok(address), Some(port)) => Ok((address, port)),
            _ => error(format!("{word:?} is no address with a port")),
        }
    }

    /// A frame up to the end of the line, or of its parentheses when it is a quotation.
    fn frame(&mut self, is_outermost: bool) -> Result<Vec<u8>> {
        match self.next()? {
            "raw" => self.hex(),
            "arp" => self.arp(),
            kind @ ("tcp" | "udp") => {
                let source = self.end()?;
                self.expect(">")?;
                let destination = self.end()?;
                let flags = if kind == "tcp" { self.flags()? } else { TcpFlags::NONE };
                let details = self.details(is_outermost)?;
                let ip = details.ip(source.0, destination.0, 64)?;
                let (from, to) = (source.1, destination.1);
                Ok(details.finish(if kind == "tcp" {
                    let tcp = ip.tcp(from, to).flags(flags).sequence(details.sequence);
                    let tcp = tcp.acknowledgement(details.acknowledgement).window(details.window);
                    tcp.options(&details.options).payload(&details.data).finish()
                } else {
                    let udp = ip.udp(from, to).payload(&details.data);
                    if details.no_checksum { udp.without_checksum().finish() } else { udp.finish() }
                }))
            }
            kind @ ("echo-request" | "echo-reply") => {
                let (source, destination) = self.addresses()?;
                let details = self.details(is_outermost)?;
                let ip = details.ip(source, destination, 64)?;
                let (id, sequence) = (details.identification as u16, details.sequence as u16);
                // `id` is the echo's here, and the IP header has none.
                let ip = ip.identification(0);
                let echo = if kind == "echo-reply" {
                    ip.echo_reply(id, sequence)
                } else {
                    ip.echo_request(id, sequence)
                };
                Ok(details.finish(echo.payload(&details.data).finish()))
            }
            "icmp" => self.icmp(is_outermost),
            "ns" => self.solicitation(),
            "na" => self.advertisement(),
            "ip" => {
                let (source, destination) = self.addresses()?;
                self.expect("protocol")?;
                let protocol = self.value("protocol number")?;
                let details = self.details(is_outermost)?;
                Ok(details.finish(details.ip(source, destination, 64)?.raw(protocol, &details.data)))
            }
            word => error(format!("{word:?} is no kind of frame")),
        }
    }

    fn addresses(&mut self) -> Result<(IpAddr, IpAddr)> {
        let source = self.value("address")?;
        self.expect(">")?;
        Ok((source, self.value("address")?))
    }

    fn flags(&mut self) -> Result<TcpFlags> {
        let word = self.next()?;
        words::flags(word).map_or_else(|| error(format!("{word:?} are no TCP flags")), Ok)
    }

    fn arp(&mut self) -> Result<Vec<u8>> {
        let word = self.next()?;
        if word == "who-has" {
            let target = self.value("address")?;
            self.expect("tell")?;
            let sender = self.value("address")?;
            let details = self.details(true)?;
            let mut frame = build::arp_request(details.from, sender, target);
            let (mut ethernet, _) =
                Ethernet::split(&mut frame).map_err(|_| LanguageError("no frame".into()))?;
            ethernet.set_destination(details.to);
            return Ok(details.finish(details.tagged(frame)));
        }
        let address = word.parse().or_else(|_| error(format!("{word:?} is no address")))?;
        self.expect("is-at")?;
        let mac = self.station()?;
        self.expect("told")?;
        let told = self.value("address")?;
        let details = self.details(true)?;
        let mut frame = build::arp_reply(mac, address, details.to, told);
        let (mut ethernet, _) = Ethernet::split(&mut frame).map_err(|_| LanguageError("no frame".into()))?;
        // Whoever lies about another's MAC address still sends from his own.
        ethernet.set_source(details.from);
        Ok(details.finish(details.tagged(frame)))
    }

    fn icmp(&mut self, is_outermost: bool) -> Result<Vec<u8>> {
        let (source, destination) = self.addresses()?;
        let word = self.next()?;
        let named = MESSAGES.iter().find(|(name, ..)| *name == word);
        let message = match (named, source) {
            (Some((_, v4, _)), IpAddr::V4(_)) => *v4,
            (Some((.., v6)), IpAddr::V6(_)) => *v6,
            (None, _) if word == "type" => {
                let kind = self.value("type")?;
                self.expect("code")?;
                Some((kind, self.value("code")?))
            }
            (None, _) => None,
        };
        let Some((kind, code)) = message else {
            return error(format!("{word:?} is no ICMP message of that family"));
        };
        let details = self.details(is_outermost)?;
        let rest = u32::from(details.mtu).to_be_bytes();
        let message = details.ip(source, destination, 64)?.icmp(kind, code, rest);
        Ok(details.finish(message.payload(&[&details.quote[..], &details.data].concat()).finish()))
    }

    fn solicitation(&mut self) -> Result<Vec<u8>> {
        let (source, destination) = self.addresses()?;
        let (IpAddr::V6(from), IpAddr::V6(to)) = (source, destination) else {
            return error("neighbour discovery is IPv6");
        };
        self.expect("who-has")?;
        let target: Ipv6Addr = self.value("address")?;
        let details = self.details(true)?;
        let message = nd::solicitation(target, details.from, from, to);
        // A message without its option is shorter, and summed anew by the builder.
        let body = if details.no_option || from.is_unspecified() { &message[8..24] } else { &message[8..] };
        let message = details.ip(source, destination, nd::HOP_LIMIT)?.icmp(message[0], message[1], [0; 4]);
        Ok(details.finish(message.payload(body).finish()))
    }

    fn advertisement(&mut self) -> Result<Vec<u8>> {
        let (source, destination) = self.addresses()?;
        let (IpAddr::V6(_), IpAddr::V6(to)) = (source, destination) else {
            return error("neighbour discovery is IPv6");
        };
        let target: Ipv6Addr = self.value("address")?;
        self.expect("is-at")?;
        let mac = self.station()?;
        let details = self.details(true)?;
        let message = nd::advertisement(target, mac, details.advertisement, target, to);
        let rest = [message[4], message[5], message[6], message[7]];
        let ip = details.ip(source, destination, nd::HOP_LIMIT)?;
        Ok(details.finish(ip.icmp(message[0], message[1], rest).payload(&message[8..]).finish()))
    }

    fn details(&mut self, is_outermost: bool) -> Result<Details> {
        let uncounted_bytes = if is_outermost { 0 } else { ethernet::LENGTH };
        let mut details = Details { uncounted_bytes, ..Details::default() };
        let (mut has_from, mut has_to) = (false, false);
        while let Some(word) = self.words.next_if(|word| *word != ")") {
            match word {
                "from" => (details.from, has_from) = (self.station()?, true),
                "to" => (details.to, has_to) = (self.station()?, true),
                word => self.detail(word, &mut details)?,
            }
        }
        if is_outermost && !(has_from && has_to) {
            return error("the frame lacks `from STATION to STATION`");
        }
        Ok(details)
    }

    fn detail(&mut self, word: &str, details: &mut Details) -> Result<()> {
        match word {
            "ttl" => details.hop_limit = Some(self.value("hop limit")?),
            "seq" => details.sequence = self.value("sequence number")?,
            "ack" => details.acknowledgement = self.value("acknowledgement number")?,
            "win" => details.window = self.value("window")?,
            "id" => details.identification = self.number("identification")?,
            "df" => details.dont_fragment = true,
            "class" => details.class = self.value("traffic class")?,
            "label" => details.label = self.value("flow label")?,
            "vlan" => details.tags.push((ethernet::ETHERTYPE_VLAN, self.value("VLAN")?)),
            "service-vlan" => details.tags.push((ethernet::ETHERTYPE_QINQ, self.value("VLAN")?)),
            "priority" => {
                let priority: u16 = self.value("priority")?;
                let Some((_, control)) = details.tags.last_mut() else {
                    return error("a priority stands behind its VLAN");
                };
                *control |= priority << 13;
            }
            "fragment" => {
                let offset_bytes = self.value("offset")?;
                details.fragment = Some((offset_bytes, self.next()? == "more"));
            }
            "ip-options" => details.ip_options = self.hex()?,
            "options" => details.options = self.hex()?,
            "data" => details.data = self.hex()?,
            // So many bytes that differ from each other.
            "bytes" => details.data = (0..self.value::<u32>("length")?).map(|at| at as u8).collect(),
            "no-checksum" => details.no_checksum = true,
            "wrong-checksum" => details.wrong_checksum = true,
            "wrong-header-checksum" => details.wrong_header_checksum = true,
            "mtu" => details.mtu = self.value("MTU")?,
            "quoting" => details.quote = self.quote()?,
            "carrying" => details.data = self.quote()?,
            "router" => details.advertisement.router = true,
            "solicited" => details.advertisement.solicited = true,
            "override" => details.advertisement.overrides = true,
            "no-option" => details.no_option = true,
            "padded" => details.padded_to = self.value("length")?,
            "cut" => details.cut_to = Some(self.value("length")?),
            word => return error(format!("{word:?} means nothing here")),
        }
        Ok(())
    }

    /// An IP packet in parentheses, perhaps only its first bytes.
    fn quote(&mut self) -> Result<Vec<u8>> {
        self.expect("(")?;
        let frame = self.frame(false)?;
        self.expect(")")?;
        Ok(frame[ethernet::LENGTH..].to_vec())
    }
}

impl Default for Details {
    fn default() -> Self {
        Self {
            from: Mac::ZERO,
            to: Mac::ZERO,
            tags: Vec::new(),
            hop_limit: None,
            dont_fragment: false,
            identification: 0,
            class: 0,
            label: 0,
            fragment: None,
            ip_options: Vec::new(),
            sequence: 0,
            acknowledgement: 0,
            window: u16::MAX,
            options: Vec::new(),
            data: Vec::new(),
            no_checksum: false,
            wrong_checksum: false,
            wrong_header_checksum: false,
            mtu: 0,
            quote: Vec::new(),
            advertisement: AdvertisementFlags::default(),
            no_option: false,
            padded_to: 0,
            cut_to: None,
            uncounted_bytes: 0,
        }
    }
}

impl Details {
    fn ip(&self, source: IpAddr, destination: IpAddr, hop_limit: u8) -> Result<IpBuilder> {
        let link = build::ethernet(self.from, self.to);
        let link = self.tags.iter().fold(link, |link, &(ethertype, control)| link.tag(ethertype, control));
        let ip = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source, destination),
            _ => return error("source and destination are of two families"),
        };
        let ip = ip.ttl(self.hop_limit.unwrap_or(hop_limit)).traffic_class(self.class).flow_label(self.label);
        let ip = ip.identification(self.identification).options(&self.ip_options);
        let ip = if self.dont_fragment { ip.dont_fragment() } else { ip };
        Ok(match self.fragment {
            Some((offset_bytes, more)) => ip.fragment(offset_bytes, more),
            None => ip,
        })
    }

    /// The frame with the line's tags behind its addresses.
    fn tagged(&self, frame: Vec<u8>) -> Vec<u8> {
        let (addresses, rest) = frame.split_at(2 * Mac::ZERO.0.len());
        let tags = self.tags.iter().flat_map(|&(ethertype, control)| [ethertype, control]);
        let tags: Vec<u8> = tags.flat_map(u16::to_be_bytes).collect();
        [addresses, &tags[..], rest].concat()
    }

    /// Damages and fills the frame as the line says.
    fn finish(&self, mut frame: Vec<u8>) -> Vec<u8> {
        if self.wrong_checksum {
            shift_transport_checksum(&mut frame);
        }
        if self.wrong_header_checksum {
            // The IPv4 header follows the Ethernet header and the tags; its checksum is its sixth word.
            frame[ethernet::LENGTH + 4 * self.tags.len() + 10] ^= 0x55;
        }
        frame.resize(frame.len().max(self.padded_to), 0);
        frame.truncate(self.cut_to.map_or(frame.len(), |bytes| bytes + self.uncounted_bytes));
        frame
    }
}

/// Makes the transport checksum wrong by a difference that every right rewrite keeps: one's-complement sums only shift.
fn shift_transport_checksum(frame: &mut [u8]) -> Option<()> {
    let shift = |checksum: Checksum| {
        let sum = u32::from(checksum.to_bits()) + 0x1111;
        Checksum::from_bits((sum + (sum >> 16)) as u16)
    };
    with_transport(frame, |protocol, payload| match protocol {
        protocol::TCP => {
            let (mut tcp, ..) = Tcp::split(payload).ok()?;
            tcp.set_checksum(shift(tcp.checksum()));
            Some(())
        }
        protocol::UDP => {
            let (mut udp, _) = Udp::split(payload).ok()?;
            udp.set_checksum(shift(udp.checksum()));
            Some(())
        }
        _ => {
            let (mut icmp, _) = Icmp::split(payload).ok()?;
            icmp.set_checksum(shift(icmp.checksum()));
            Some(())
        }
    })
}

/// Source and destination port of a frame that has them.
pub(super) fn ports_of(frame: &[u8]) -> Option<[u16; 2]> {
    let mut frame = frame.to_vec();
    with_transport(&mut frame, |protocol, payload| {
        let ports = payload.first_chunk::<4>()?;
        let ports = [u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]])];
        matches!(protocol, protocol::TCP | protocol::UDP).then_some(ports)
    })
}

/// The identification of an IPv6 fragment, or the identifier of an echo request or reply.
pub(super) fn identifier_of(frame: &[u8]) -> Option<u32> {
    let mut frame = frame.to_vec();
    if let Ok((ethernet, packet)) = Ethernet::split(&mut frame)
        && ethernet.ethertype() == ethernet::ETHERTYPE_IPV6
        && let Some(place) = Ipv6::split(packet).ok()?.fragment
    {
        return Some(place.identification);
    }
    with_transport(&mut frame, |protocol, payload| {
        let is_icmp = matches!(protocol, protocol::ICMP | protocol::ICMPV6);
        is_icmp.then(|| Icmp::split(payload).ok().map(|(icmp, _)| icmp.identifier().into())).flatten()
    })
}

fn with_transport<T>(frame: &mut [u8], work: impl FnOnce(u8, &mut [u8]) -> Option<T>) -> Option<T> {
    let (ethernet, rest) = Ethernet::split(frame).ok()?;
    let untagged = ethernet::split_tags(ethernet.ethertype(), rest).ok()?;
    match untagged.ethertype {
        ethernet::ETHERTYPE_IPV4 => {
            let ip = Ipv4::split(untagged.payload).ok()?;
            work(ip.header.protocol(), ip.payload)
        }
        ethernet::ETHERTYPE_IPV6 => {
            let ip = Ipv6::split(untagged.payload).ok()?;
            work(ip.protocol, ip.payload)
        }
        _ => None,
    }
}
