//! Words of the frame language that stand for numbers.

use wire::icmp;
use wire::tcp::TcpFlags;

/// Type and code, where the family has the message.
type Message = Option<(u8, u8)>;

/// ICMP messages by name: as IPv4 says them and as IPv6 does.
pub(super) const MESSAGES: &[(&str, Message, Message)] = &[
    ("network-unreachable", Some((icmp::v4::UNREACHABLE, icmp::v4::CODE_NETWORK)), None),
    ("no-route", None, Some((icmp::v6::UNREACHABLE, icmp::v6::CODE_NO_ROUTE))),
    (
        "host-unreachable",
        Some((icmp::v4::UNREACHABLE, icmp::v4::CODE_HOST)),
        Some((icmp::v6::UNREACHABLE, icmp::v6::CODE_ADDRESS)),
    ),
    (
        "port-unreachable",
        Some((icmp::v4::UNREACHABLE, icmp::v4::CODE_PORT)),
        Some((icmp::v6::UNREACHABLE, icmp::v6::CODE_PORT)),
    ),
    (
        "too-big",
        Some((icmp::v4::UNREACHABLE, icmp::v4::CODE_FRAGMENTATION_NEEDED)),
        Some((icmp::v6::PACKET_TOO_BIG, 0)),
    ),
    ("time-exceeded", Some((icmp::v4::TIME_EXCEEDED, 0)), Some((icmp::v6::TIME_EXCEEDED, 0))),
];

/// Control bits by letter, in the order in which they are written.
pub(super) const FLAGS: &[(char, TcpFlags)] = &[
    ('S', TcpFlags::SYN),
    ('F', TcpFlags::FIN),
    ('R', TcpFlags::RST),
    ('P', TcpFlags::PSH),
    ('A', TcpFlags::ACK),
    ('U', TcpFlags::URG),
    ('E', TcpFlags::ECE),
    ('C', TcpFlags::CWR),
];

/// The bits that `letters` name; `-` is none.
pub(super) fn flags(letters: &str) -> Option<TcpFlags> {
    if letters == "-" {
        return Some(TcpFlags::NONE);
    }
    letters.chars().try_fold(TcpFlags::NONE, |sum, letter| {
        FLAGS.iter().find(|(name, _)| *name == letter).map(|(_, flag)| sum | *flag)
    })
}

/// The letters of these bits.
pub(super) fn letters(flags: TcpFlags) -> String {
    let set: String = FLAGS.iter().filter(|(_, flag)| flags.contains(*flag)).map(|(name, _)| *name).collect();
    if set.is_empty() { "-".to_owned() } else { set }
}

/// Bytes from hexadecimal digits.
pub(super) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

/// Hexadecimal digits of bytes.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
