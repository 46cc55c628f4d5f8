//! Neighbour solicitations and advertisements (RFC 4861): taken apart with every check of section 7.1, and
//! written.

use std::net::Ipv6Addr;

use crate::checksum::{Pseudo, transport_checksum, transport_is_valid};
use crate::field::{get, get_u32, set, set_u16, set_u32};
use crate::icmp::v6::{NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION};
use crate::{Mac, Refusal, protocol};

/// Hop limit of every message: no router forwards one, so 255 proves that the sender is on the link.
pub const HOP_LIMIT: u8 = 255;
/// Length of the messages that this module writes: ICMP header, target, one link-layer address option.
pub const MESSAGE_BYTES: usize = 32;

const OPTION_SOURCE_LINK_ADDRESS: u8 = 1;
const OPTION_TARGET_LINK_ADDRESS: u8 = 2;

/// What an advertisement says besides the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AdvertisementFlags {
    /// The sender is a router.
    pub router: bool,
    /// It answers a solicitation, which proves reachability.
    pub solicited: bool,
    /// It replaces a MAC that is already known.
    pub overrides: bool,
}

impl AdvertisementFlags {
    const fn to_bits(self) -> u32 {
        (self.router as u32) << 31 | (self.solicited as u32) << 30 | (self.overrides as u32) << 29
    }

    const fn from_bits(bits: u32) -> Self {
        Self { router: bits >> 31 != 0, solicited: bits >> 30 & 1 != 0, overrides: bits >> 29 & 1 != 0 }
    }
}

/// A message that passed every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Who has `target`?
    Solicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// Where the asker is. Absent in duplicate address detection.
        source_mac: Option<Mac>,
    },
    /// The sender has `target`.
    Advertisement {
        /// The address spoken of.
        target: Ipv6Addr,
        /// Where it is. Absent where the asker must know it already.
        target_mac: Option<Mac>,
        /// What else it says.
        flags: AdvertisementFlags,
    },
}

/// Takes an ICMPv6 `message` apart as RFC 4861 sections 7.1.1 and 7.1.2 demand. `hop_limit`, `source` and
/// `destination` are the IPv6 header's.
pub fn parse(
    message: &[u8],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
) -> Result<Neighbour, Refusal> {
    let (header, options) = message.split_first_chunk::<24>().ok_or(Refusal::NdTruncated)?;
    let [kind, code, ..] = *header;
    let wanted = match kind {
        NEIGHBOUR_SOLICITATION => OPTION_SOURCE_LINK_ADDRESS,
        NEIGHBOUR_ADVERTISEMENT => OPTION_TARGET_LINK_ADDRESS,
        _ => return Err(Refusal::NdType),
    };
    if hop_limit != HOP_LIMIT {
        return Err(Refusal::NdHopLimit);
    }
    if code != 0 {
        return Err(Refusal::NdCode);
    }
    if transport_is_valid(Pseudo::V6 { source, destination }, protocol::ICMPV6, message) != Some(true) {
        return Err(Refusal::NdChecksum);
    }
    let target = Ipv6Addr::from(get::<8, 16, _>(header));
    if target.is_multicast() {
        return Err(Refusal::NdTarget);
    }
    let mac = link_address(options, wanted)?;
    if kind == NEIGHBOUR_ADVERTISEMENT {
        let flags = AdvertisementFlags::from_bits(get_u32::<4, _>(header));
        if source.is_multicast() || source.is_unspecified() {
            return Err(Refusal::NdSource);
        }
        if destination.is_multicast() && flags.solicited {
            return Err(Refusal::NdSolicited);
        }
        return Ok(Neighbour::Advertisement { target, target_mac: mac, flags });
    }
    // Without a source it is duplicate address detection: to the solicited-node group, and naming no MAC.
    let detects = mac.is_none() && is_solicited_node(destination);
    if source.is_multicast() || source.is_unspecified() && !detects {
        return Err(Refusal::NdSource);
    }
    Ok(Neighbour::Solicitation { target, source_mac: mac })
}

/// The MAC in the option of type `wanted`, if it is there. Every option has a length, in units of 8 bytes,
/// above zero.
fn link_address(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, Refusal> {
    let mut found = None;
    while let [kind, length, ..] = *options {
        let (option, rest) = options.split_at_checked(usize::from(length) * 8).ok_or(Refusal::NdOption)?;
        let start = option.first_chunk::<8>().ok_or(Refusal::NdOption)?;
        if kind == wanted {
            let mac = Mac(get::<2, 6, _>(start));
            if length != 1 || mac.is_multicast() {
                return Err(Refusal::NdOption);
            }
            found = Some(mac);
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(Refusal::NdOption) }
}

/// The group that a solicitation for `address` is sent to (RFC 4291 section 2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a & 0xff, b)
}

/// Whether `address` is a solicited-node group.
pub const fn is_solicited_node(address: Ipv6Addr) -> bool {
    matches!(address.octets(), [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ..])
}

/// A solicitation for `target` that says where the asker is.
pub fn solicitation(
    target: Ipv6Addr,
    source_mac: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> [u8; MESSAGE_BYTES] {
    let option = (OPTION_SOURCE_LINK_ADDRESS, source_mac);
    message(NEIGHBOUR_SOLICITATION, 0, target, option, Pseudo::V6 { source, destination })
}

/// An advertisement that says where `target` is.
pub fn advertisement(
    target: Ipv6Addr,
    target_mac: Mac,
    flags: AdvertisementFlags,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> [u8; MESSAGE_BYTES] {
    let option = (OPTION_TARGET_LINK_ADDRESS, target_mac);
    message(NEIGHBOUR_ADVERTISEMENT, flags.to_bits(), target, option, Pseudo::V6 { source, destination })
}

fn message(
    kind: u8,
    rest: u32,
    target: Ipv6Addr,
    (option, mac): (u8, Mac),
    pseudo: Pseudo,
) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    message[0] = kind;
    set_u32::<4, _>(&mut message, rest);
    set::<8, 16, _>(&mut message, target.octets());
    set::<24, 2, _>(&mut message, [option, 1]);
    set::<26, 6, _>(&mut message, mac.0);
    if let Some(checksum) = transport_checksum(pseudo, protocol::ICMPV6, &message) {
        set_u16::<2, _>(&mut message, checksum.to_bits());
    }
    message
}
