//! Whether every checksum of a whole frame is right: the oracle of tests, labs and the simulator.
//!
//! It sums everything anew and knows nothing of what a rewrite meant to do. It copies the frame; not for the
//! hot path.

use core::fmt;
use std::net::Ipv6Addr;

use crate::checksum::{Checksum, Pseudo, transport_checksum, transport_is_valid};
use crate::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, split_tags};
use crate::ipv4::Ipv4;
use crate::ipv6::Ipv6;
use crate::tcp::Tcp;
use crate::udp::Udp;
use crate::{Fragment, Refusal, icmp, protocol};

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not parse, or its IPv4 header checksum is wrong.
    Refused(Refusal),
    /// A transport checksum is wrong.
    Transport {
        /// The protocol whose checksum it is.
        protocol: u8,
        /// What stands there; 0 for UDP over IPv6 is a missing one.
        found: Checksum,
        /// What should.
        right: Checksum,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Transport { protocol, found, right } => {
                let (found, right) = (found.to_bits(), right.to_bits());
                write!(f, "the checksum of protocol {protocol} is {found:#06x} and should be {right:#06x}")
            }
        }
    }
}

impl core::error::Error for Fault {}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Verifies the checksums of IPv4, TCP, UDP, ICMP and ICMPv6 in a frame. One fragment alone cannot be
/// verified above IP, and passes; so does what is neither IPv4 nor IPv6.
pub fn frame_checksums(frame: &[u8]) -> Result<(), Fault> {
    let mut frame = frame.to_vec();
    let (ethernet, rest) = Ethernet::split(&mut frame)?;
    let untagged = split_tags(ethernet.ethertype(), rest)?;
    match untagged.ethertype {
        ETHERTYPE_IPV4 => {
            let ip = Ipv4::split(untagged.payload)?;
            let pseudo = Pseudo::V4 { source: ip.header.source(), destination: ip.header.destination() };
            transport(pseudo, ip.header.protocol(), ip.header.fragment(), ip.payload)
        }
        ETHERTYPE_IPV6 => {
            let ip = Ipv6::split(untagged.payload)?;
            let source = home_address(ip.header.next_header(), ip.extensions).unwrap_or(ip.header.source());
            let pseudo = Pseudo::V6 { source, destination: ip.header.destination() };
            transport(pseudo, ip.protocol, ip.fragment, ip.payload)
        }
        _ => Ok(()),
    }
}

fn transport(
    pseudo: Pseudo,
    protocol: u8,
    fragment: Option<Fragment>,
    payload: &mut [u8],
) -> Result<(), Fault> {
    if fragment.is_some_and(|fragment| !fragment.is_atomic()) {
        return Ok(());
    }
    let (found, covered) = match protocol {
        protocol::TCP => (Tcp::split(payload)?.0.checksum(), payload.len()),
        protocol::UDP => {
            let (udp, data) = Udp::split(payload)?;
            (udp.checksum(), Udp::LENGTH + data.len())
        }
        protocol::ICMP | protocol::ICMPV6 => (icmp::Icmp::split(payload)?.0.checksum(), payload.len()),
        _ => return Ok(()),
    };
    let segment = payload.get(..covered).unwrap_or_default();
    match (transport_is_valid(pseudo, protocol, segment), transport_checksum(pseudo, protocol, segment)) {
        (Some(false), Some(right)) => Err(Fault::Transport { protocol, found, right }),
        _ => Ok(()),
    }
}

/// The address that a mobile node is known by, which its checksums cover instead of the source (RFC 6275
/// section 11.3.1): option 201 of a destination options header.
fn home_address(mut kind: u8, mut extensions: &[u8]) -> Option<Ipv6Addr> {
    while let [next, length, ..] = *extensions {
        let bytes = match kind {
            protocol::FRAGMENT => 8,
            protocol::AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        let (extension, rest) = extensions.split_at_checked(bytes)?;
        let mut options = extension.get(2..)?;
        while kind == protocol::DESTINATION_OPTIONS && !options.is_empty() {
            match *options {
                [201, 16, ref address @ ..] => {
                    return address.first_chunk::<16>().map(|a| Ipv6Addr::from(*a));
                }
                [0, ..] => options = options.get(1..)?,
                [_, length, ..] => options = options.get(2 + usize::from(length)..)?,
                _ => break,
            }
        }
        (kind, extensions) = (next, rest);
    }
    None
}
