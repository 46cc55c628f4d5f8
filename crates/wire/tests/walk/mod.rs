//! Parses all there is in a frame, and finds the vectors.

use std::path::PathBuf;

use wire::arp::Arp;
use wire::ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, split_tags};
use wire::icmp::{Icmp, v6};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::Tcp;
use wire::udp::Udp;
use wire::{Fragment, Refusal, nd, protocol};

/// Takes a frame apart down to the transport header.
pub fn walk(frame: &[u8]) -> Result<(), Refusal> {
    let mut frame = frame.to_vec();
    let (ethernet, rest) = Ethernet::split(&mut frame)?;
    let untagged = split_tags(ethernet.ethertype(), rest)?;
    match untagged.ethertype {
        ETHERTYPE_ARP => Arp::split(untagged.payload).map(drop),
        ETHERTYPE_IPV4 => {
            let ip = Ipv4::split(untagged.payload)?;
            transport(ip.header.protocol(), ip.header.fragment(), ip.payload)
        }
        ETHERTYPE_IPV6 => {
            let ip = Ipv6::split(untagged.payload)?;
            let kind = ip.payload.first().copied();
            let discovers =
                kind == Some(v6::NEIGHBOUR_SOLICITATION) || kind == Some(v6::NEIGHBOUR_ADVERTISEMENT);
            if ip.protocol == protocol::ICMPV6 && ip.fragment.is_none() && discovers {
                let (source, destination) = (ip.header.source(), ip.header.destination());
                nd::parse(ip.payload, source, destination, ip.header.hop_limit())?;
            }
            transport(ip.protocol, ip.fragment, ip.payload)
        }
        _ => Ok(()),
    }
}

fn transport(protocol: u8, fragment: Option<Fragment>, payload: &mut [u8]) -> Result<(), Refusal> {
    if fragment.is_some_and(|fragment| !fragment.is_first()) {
        return Ok(());
    }
    match protocol {
        protocol::TCP => Tcp::split(payload).map(drop),
        // The first of several fragments holds less than the UDP length says.
        protocol::UDP if fragment.is_some_and(|fragment| fragment.more) => {
            Udp::split_first_piece(payload).map(drop)
        }
        protocol::UDP => Udp::split(payload).map(drop),
        protocol::ICMP | protocol::ICMPV6 => Icmp::split(payload).map(drop),
        _ => Ok(()),
    }
}

/// The text of a vector file, or nothing and a word about it where there is none.
pub fn vectors(path: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors").join(path);
    let text = std::fs::read_to_string(path).ok();
    if text.is_none() {
        println!("skipped: no vectors");
    }
    text
}

/// Bytes from hex digits; spaces and line ends are left out.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
