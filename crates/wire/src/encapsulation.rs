//! The headers that a tunnel puts in front of an IP packet: IP in IP (RFC 2003, RFC 2473), and UDP with the packet
//! right behind it, which is variant 1 of generic UDP encapsulation (draft-ietf-intarea-gue section 4): it has no
//! header of its own, since the version of the inner IP header tells it from variant 0.
//!
//! Each function fills an array that lies in front of the packet, such as a frame's head room. What the outer header
//! says of congestion and priority is what the inner one says: DSCP copied, ECN copied (RFC 6040 section 4.1, normal
//! mode). The hop limit is the tunnel's own and the inner one stays as it is.
//!
//! Any thread may call these; they are pure. They refuse a packet that is too long to have a header put in front of
//! it, with [`TooLong`], and leave the array as it was.

use core::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::Sum;
use crate::ipv4::Ipv4;
use crate::ipv6::Ipv6;
use crate::protocol;
use crate::udp::{NO_CHECKSUM, Udp, on_wire};

/// What IP in IPv4 adds to a packet, in bytes.
pub const IPIP_V4_BYTES: usize = Ipv4::LENGTH;
/// What IP in IPv6 adds to a packet, in bytes.
pub const IPIP_V6_BYTES: usize = Ipv6::LENGTH;
/// What GUE over IPv4 adds to a packet, in bytes.
pub const GUE_V4_BYTES: usize = Ipv4::LENGTH + Udp::LENGTH;
/// What GUE over IPv6 adds to a packet, in bytes.
pub const GUE_V6_BYTES: usize = Ipv6::LENGTH + Udp::LENGTH;

/// TTL or hop limit of outer headers: the recommended default (RFC 1700), enough for any path.
pub const HOP_LIMIT: u8 = 64;

/// The packet with another header in front would be longer than a length field can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the packet is too long to be encapsulated")
    }
}

impl core::error::Error for TooLong {}

/// What an outer header takes from the packet behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// [`protocol::IPV4`] or [`protocol::IPV6`].
    pub protocol: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Whether routers must not fragment it: always so in IPv6.
    pub dont_fragment: bool,
    /// Its length in bytes, without link-layer padding.
    pub length_bytes: u16,
}

impl Inner {
    /// What is taken from an IPv4 packet.
    #[inline]
    pub fn of_ipv4(header: &Ipv4<'_>) -> Self {
        Self {
            protocol: protocol::IPV4,
            traffic_class: header.dscp() << 2 | header.ecn(),
            dont_fragment: header.dont_fragment(),
            length_bytes: header.total_length(),
        }
    }

    /// What is taken from an IPv6 packet. A payload that fills its length field makes a length that saturates.
    #[inline]
    pub fn of_ipv6(header: &Ipv6<'_>) -> Self {
        Self {
            protocol: protocol::IPV6,
            traffic_class: header.traffic_class(),
            dont_fragment: true,
            length_bytes: header.payload_length().saturating_add(Ipv6::LENGTH as u16),
        }
    }

    fn length_behind(self, header_bytes: usize) -> Result<u16, TooLong> {
        self.length_bytes.checked_add(header_bytes as u16).ok_or(TooLong)
    }
}

/// The two ends of a tunnel over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndsV4 {
    /// Who encapsulates.
    pub source: Ipv4Addr,
    /// Who takes the packet out again.
    pub destination: Ipv4Addr,
}

/// The two ends of a tunnel over IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndsV6 {
    /// Who encapsulates.
    pub source: Ipv6Addr,
    /// Who takes the packet out again.
    pub destination: Ipv6Addr,
}

/// The ports of an encapsulating UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The flow's entropy, by which routers spread flows (RFC 8086).
    pub source: u16,
    /// Where the other end listens.
    pub gue: u16,
}

/// IP in IPv4 (RFC 2003). An inner packet that must not be fragmented makes an outer one that must not be either
/// (section 3.1); otherwise `identification` tells the outer one's fragments from others'.
#[inline]
pub fn ipip_v4(
    outer: &mut [u8; IPIP_V4_BYTES],
    inner: Inner,
    ends: EndsV4,
    identification: u16,
) -> Result<(), TooLong> {
    let length = inner.length_behind(IPIP_V4_BYTES)?;
    outer_v4(outer, inner, ends, identification, length, inner.protocol);
    Ok(())
}

/// IP in IPv6 (RFC 2473). `flow_label` is the flow's entropy in 20 bits, by which routers spread flows (RFC 6438
/// section 3); bits above are ignored.
#[inline]
pub fn ipip_v6(
    outer: &mut [u8; IPIP_V6_BYTES],
    inner: Inner,
    ends: EndsV6,
    flow_label: u32,
) -> Result<(), TooLong> {
    inner.length_behind(IPIP_V6_BYTES)?;
    outer_v6(outer, inner, ends, flow_label, inner.length_bytes, inner.protocol);
    Ok(())
}

/// UDP over IPv4 in front of an IP packet. Its UDP checksum is left out (RFC 768): the inner packet has its own.
#[inline]
pub fn gue_v4(
    outer: &mut [u8; GUE_V4_BYTES],
    inner: Inner,
    ends: EndsV4,
    identification: u16,
    ports: Ports,
) -> Result<(), TooLong> {
    let length = inner.length_behind(GUE_V4_BYTES)?;
    let mut ip = [0; IPIP_V4_BYTES];
    outer_v4(&mut ip, inner, ends, identification, length, protocol::UDP);
    let mut udp = [0; Udp::LENGTH];
    outer_udp(&mut udp, ports, length - IPIP_V4_BYTES as u16);
    join(outer, &ip, &udp);
    Ok(())
}

/// UDP over IPv6 in front of an IP packet. The UDP checksum is computed over `packet`, the whole inner packet; without
/// it the checksum is 0, which only a receiver takes that was told so (RFC 6935 section 5, RFC 6936). To sum a packet
/// is by far the most that encapsulation costs.
#[inline]
pub fn gue_v6(
    outer: &mut [u8; GUE_V6_BYTES],
    inner: Inner,
    ends: EndsV6,
    flow_label: u32,
    ports: Ports,
    packet: Option<&[u8]>,
) -> Result<(), TooLong> {
    let udp_length = inner.length_behind(GUE_V6_BYTES)? - IPIP_V6_BYTES as u16;
    let mut ip = [0; IPIP_V6_BYTES];
    outer_v6(&mut ip, inner, ends, flow_label, udp_length, protocol::UDP);
    let mut bytes = [0; Udp::LENGTH];
    let mut udp = outer_udp(&mut bytes, ports, udp_length);
    if let Some(packet) = packet {
        let sum = Sum::new()
            .add_ipv6_pseudo(ends.source, ends.destination, protocol::UDP, u32::from(udp_length))
            .add_bytes(udp.bytes())
            .add_bytes(packet);
        udp.set_checksum(on_wire(sum.finish()));
    }
    join(outer, &ip, &bytes);
    Ok(())
}

#[inline]
fn outer_v4(
    bytes: &mut [u8; IPIP_V4_BYTES],
    inner: Inner,
    ends: EndsV4,
    identification: u16,
    length: u16,
    protocol: u8,
) {
    *bytes = [0; IPIP_V4_BYTES];
    let mut ip = Ipv4::over(bytes);
    ip.set_header_length(Ipv4::LENGTH as u8);
    ip.set_dscp(inner.traffic_class >> 2);
    ip.set_ecn(inner.traffic_class);
    ip.set_total_length(length);
    ip.set_identification(identification);
    ip.set_dont_fragment(inner.dont_fragment);
    ip.set_ttl(HOP_LIMIT);
    ip.set_protocol(protocol);
    ip.set_source(ends.source);
    ip.set_destination(ends.destination);
    ip.set_checksum(ip.compute_checksum(&[]));
}

#[inline]
fn outer_v6(
    bytes: &mut [u8; IPIP_V6_BYTES],
    inner: Inner,
    ends: EndsV6,
    flow_label: u32,
    payload_length: u16,
    next_header: u8,
) {
    let mut ip = Ipv6::over(bytes);
    ip.set_version();
    ip.set_traffic_class(inner.traffic_class);
    ip.set_flow_label(flow_label);
    ip.set_payload_length(payload_length);
    ip.set_next_header(next_header);
    ip.set_hop_limit(HOP_LIMIT);
    ip.set_source(ends.source);
    ip.set_destination(ends.destination);
}

#[inline]
fn outer_udp(bytes: &mut [u8; Udp::LENGTH], ports: Ports, length: u16) -> Udp<'_> {
    let mut udp = Udp::over(bytes);
    udp.set_source_port(ports.source);
    udp.set_destination_port(ports.gue);
    udp.set_length(length);
    udp.set_checksum(NO_CHECKSUM);
    udp
}

/// Writes two headers behind each other; together they are as long as `outer`.
#[inline]
fn join<const N: usize>(outer: &mut [u8; N], ip: &[u8], udp: &[u8]) {
    for (to, from) in outer.iter_mut().zip(ip.iter().chain(udp)) {
        *to = *from;
    }
}
