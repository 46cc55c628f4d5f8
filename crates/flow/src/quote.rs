//! The packet that an ICMP error quotes: whose flow it was, and how to translate it.
//!
//! An error says little about itself; what it is about stands in the packet that it quotes, IP header and at least
//! eight bytes more (RFC 792, RFC 4443 section 3). An error that crosses a translation must quote what its receiver
//! once sent, so addresses, ports and the checksums that cover them are changed back in there as well (RFC 5508
//! section 4.2).
//!
//! A pure function of its arguments: any thread may call it. Refuses by [`Refusal`] what is cut too short, has no IP
//! header, or is a later fragment, which has no ports. Nothing else about a quoted packet is held against it: routers
//! quote what they have, with lowered TTL, stale checksum and a length that is not there.

use crate::family::{Family, NetworkHeader, Quoted};
use crate::key::{FlowKey, Zone};
use wire::checksum::{ChecksumDelta, Pseudo, transport_checksum, transport_is_valid};
use wire::icmp::{self, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::TcpStart;
use wire::udp::Udp;
use wire::{Refusal, protocol};

/// What a quoted packet was, as its sender wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote<F: Family> {
    /// Source address and port; of an echo, the identifier.
    pub source: (F::Address, u16),
    /// Destination address and port; of an echo, the identifier.
    pub destination: (F::Address, u16),
    /// What the transport is.
    pub protocol: u8,
    /// Sequence number of a TCP segment.
    pub tcp_sequence: Option<u32>,
    /// Length in bytes of everything in front of the transport header.
    pub network_bytes: usize,
}

/// Where a tunnelled packet begins within a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Bytes of the quote in front of its IP header.
    pub offset_bytes: usize,
    /// The version in that header: 4 or 6.
    pub version: u8,
}

impl<F: Family> Quote<F> {
    /// Reads `quoted`, which follows the eight bytes of an ICMP error's header. A protocol without ports has 0 for
    /// both, as in a [`FlowKey`].
    pub fn parse(quoted: &mut [u8]) -> Result<Self, Refusal> {
        let Quoted { header, protocol, network_bytes, transport } = F::split_quoted(quoted)?;
        let (ports, tcp_sequence) = match protocol {
            protocol::TCP => {
                let (tcp, _) = TcpStart::split(transport)?;
                ((tcp.source_port(), tcp.destination_port()), Some(tcp.sequence()))
            }
            protocol::UDP => {
                let (udp, _) = split_udp(transport)?;
                ((udp.source_port(), udp.destination_port()), None)
            }
            protocol if protocol == F::ICMP => {
                let (icmp, _) = split_icmp(transport)?;
                let identifier = if is_echo::<F>(icmp.kind()) { icmp.identifier() } else { 0 };
                ((identifier, identifier), None)
            }
            _ => ((0, 0), None),
        };
        Ok(Self {
            source: (header.source(), ports.0),
            destination: (header.destination(), ports.1),
            protocol,
            tcp_sequence,
            network_bytes,
        })
    }

    /// The flow of the quoted packet, in its direction: the error itself goes the other way.
    pub fn key(&self, zone: Zone) -> F::Key {
        F::Key::new(zone, self.protocol, self.source, self.destination)
    }

    /// The packet inside, when the quoted one is a tunnel's: IP in IP (RFC 2003, RFC 2473), or UDP to `gue_port` with
    /// the packet right behind it (GUE variant 1). Nothing when its IP header is not there whole. `quoted` is what
    /// this quote was parsed from.
    pub fn inner(&self, quoted: &[u8], gue_port: u16) -> Option<Inner> {
        let offset_bytes = match self.protocol {
            protocol::IPV4 | protocol::IPV6 => self.network_bytes,
            protocol::UDP if self.destination.1 == gue_port => self.network_bytes + Udp::LENGTH,
            _ => return None,
        };
        let inner = quoted.get(offset_bytes..)?;
        let version = inner.first()? >> 4;
        let (header_bytes, protocol) = match version {
            4 => (Ipv4::LENGTH, protocol::IPV4),
            6 => (Ipv6::LENGTH, protocol::IPV6),
            _ => return None,
        };
        let fits =
            inner.len() >= header_bytes && (self.protocol == protocol::UDP || self.protocol == protocol);
        fits.then_some(Inner { offset_bytes, version })
    }
}

/// Makes the packet that the ICMP error `message` quotes one from `source` to `destination`: addresses, ports (the
/// source's for the identifier of an echo), and by difference the checksums over them where they were quoted. A wrong
/// one stays wrong, and a UDP datagram without one stays without. The message's own checksum is the caller's to set,
/// with [`set_icmp_checksum`].
pub fn rewrite_quote<F: Family>(
    message: &mut [u8],
    source: (F::Address, u16),
    destination: (F::Address, u16),
) -> Result<(), Refusal> {
    let (_, quoted) = Icmp::split(message)?;
    let Quoted { mut header, protocol, transport, .. } = F::split_quoted(quoted)?;
    let addresses = F::address_delta(header.source(), source.0)
        .plus(F::address_delta(header.destination(), destination.0));
    // First the transport, which may be refused: a refused message is as it was.
    match protocol {
        protocol::TCP => {
            let (mut tcp, rest) = TcpStart::split(transport)?;
            let ports = ChecksumDelta::between16(tcp.source_port(), source.1)
                .plus(ChecksumDelta::between16(tcp.destination_port(), destination.1));
            tcp.set_source_port(source.1);
            tcp.set_destination_port(destination.1);
            TcpStart::update_checksum(rest, addresses.plus(ports));
        }
        protocol::UDP => {
            let (mut udp, _) = split_udp(transport)?;
            let ports = ChecksumDelta::between16(udp.source_port(), source.1)
                .plus(ChecksumDelta::between16(udp.destination_port(), destination.1));
            udp.set_source_port(source.1);
            udp.set_destination_port(destination.1);
            udp.update_checksum(addresses.plus(ports));
        }
        protocol if protocol == F::ICMP => {
            let (mut icmp, _) = split_icmp(transport)?;
            // ICMP for IPv4 alone has no pseudo header.
            let mut delta = if F::VERSION == 4 { ChecksumDelta::NONE } else { addresses };
            if is_echo::<F>(icmp.kind()) {
                delta = delta.plus(ChecksumDelta::between16(icmp.identifier(), source.1));
                icmp.set_identifier(source.1);
            }
            icmp.update_checksum(delta);
        }
        _ => {}
    }
    header.set_addresses(source.0, destination.0);
    header.update_checksum(addresses);
    Ok(())
}

/// Whether the checksum of a whole ICMP `message` from `source` to `destination` is right. One too short to hold a
/// checksum is not.
pub fn icmp_checksum_is_valid<F: Family>(
    source: F::Address,
    destination: F::Address,
    message: &[u8],
) -> bool {
    let pseudo: Pseudo = F::pseudo(source, destination);
    transport_is_valid(pseudo, F::ICMP, message) == Some(true)
}

/// Sets the checksum of a whole ICMP `message` from `source` to `destination`, summed anew. The caller has seen that
/// the one which it came with was right, lest damage be covered up.
pub fn set_icmp_checksum<F: Family>(
    source: F::Address,
    destination: F::Address,
    message: &mut [u8],
) -> Result<(), Refusal> {
    let checksum = transport_checksum(F::pseudo(source, destination), F::ICMP, message);
    let (mut icmp, _) = Icmp::split(message)?;
    icmp.set_checksum(checksum.ok_or(Refusal::IcmpTruncated)?);
    Ok(())
}

fn split_udp(transport: &mut [u8]) -> Result<(Udp<'_>, &mut [u8]), Refusal> {
    let (start, rest) = transport.split_first_chunk_mut().ok_or(Refusal::QuoteTruncated)?;
    Ok((Udp::over(start), rest))
}

fn split_icmp(transport: &mut [u8]) -> Result<(Icmp<'_>, &mut [u8]), Refusal> {
    let (start, rest) = transport.split_first_chunk_mut().ok_or(Refusal::QuoteTruncated)?;
    Ok((Icmp::over(start), rest))
}

fn is_echo<F: Family>(kind: u8) -> bool {
    if F::VERSION == 4 { icmp::v4::is_echo(kind) } else { icmp::v6::is_echo(kind) }
}
