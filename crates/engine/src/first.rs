//! A packet without a session: is it for an address of ours, for the host, or to be routed?

use crate::arrival::{Arrival, Reach};
use crate::path::{Answer, Fits, Path, Step};
use crate::reason::DropReason;
use crate::replay::segment_of;
use crate::scratch::Scratch;
use crate::wrapping::Wrapping;
use flow::{Family, FlowKey, NetworkHeader, Packet, Transport};
use plan::{Outbound, Resolution, Vip};
use rewrite::decrement_hop_limit;
use session::tcp::header_flags;
use wire::ethernet::Ethernet;
use wire::icmp;

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Decides about a packet that belongs to no session of its own.
    pub fn first(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
    ) -> Step {
        if Self::is_icmp_error(packet) {
            return Step::Quoting;
        }
        self.unquoted(scratch, at, ethernet, packet)
    }

    /// The same for a packet that is about no session either.
    pub fn unquoted(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
    ) -> Step {
        let (source, destination) = (packet.header.source(), packet.header.destination());
        if at.reach == Reach::Other {
            return self.pass(at, ethernet, packet);
        }
        // RFC 1812 section 5.3.7; a packet from an address of ours is a land attack or a loop.
        let is_solicitation = Self::is_solicitation(packet);
        let is_martian = F::is_martian_source(source);
        // The host's own address is nobody else's either: a server that forwards what control had carried to it, instead of
        // taking it, must not have another server answer for it.
        if is_martian && !is_solicitation || self.view.host.contains(&source) {
            return DropReason::MartianSource.into();
        }
        if self.is_forged(packet) && !self.answers_host(packet) && !self.is_own_probe(packet) {
            // Who answers for an address of ours does so in its name: that is said, not only dropped.
            return match Self::is_neighbour_discovery(packet) {
                true => Step::Answer(Answer::Neighbour),
                false => DropReason::MartianSource.into(),
            };
        }
        if let Some(vip) = self.view.owned.get(destination) {
            return if is_solicitation {
                Step::Answer(Answer::Neighbour)
            } else {
                self.to_owned_address(scratch, at, ethernet, packet, vip)
            };
        }
        if self.view.host.contains(&destination) {
            return match Self::is_neighbour_discovery(packet) {
                true => Step::Answer(Answer::Neighbour),
                false => self.world.not_ours(at, ethernet.destination(), DropReason::LateForHost),
            };
        }
        // Who has no address yet may ask for one of ours, and nothing else (RFC 4291 section 2.5.2).
        if is_martian {
            return DropReason::MartianSource.into();
        }
        if !F::is_routable_destination(destination) || F::is_link_local(source) {
            return DropReason::MartianDestination.into();
        }
        if self.is_denied(packet) {
            return DropReason::DirectAccessDenied.into();
        }
        if let Some(outbound) = self.view.outbounds.of(source, destination) {
            return self.outbound(scratch, at, ethernet, packet, outbound);
        }
        match self.cross(scratch, at, ethernet, packet) {
            Some(step) => step,
            None => self.route(scratch, ethernet, packet),
        }
    }

    /// A packet that passes a bridge between two other hosts.
    fn pass(&self, at: &Arrival, ethernet: &Ethernet<'_>, packet: &Packet<'_, F>) -> Step {
        if Self::is_neighbour_discovery(packet) {
            return Step::Answer(Answer::Neighbour);
        }
        if self.is_forged(packet) {
            return DropReason::MartianSource.into();
        }
        if self.is_denied(packet) {
            return DropReason::DirectAccessDenied.into();
        }
        self.world.not_ours(at, ethernet.destination(), DropReason::ForeignMac)
    }

    /// Whether the packet comes from an address of ours that nobody else may use. Servers that answer directly do use it.
    fn is_forged(&self, packet: &Packet<'_, F>) -> bool {
        let Some(vip) = self.view.owned.get(packet.header.source()) else { return false };
        let service = vip.service(packet.key.protocol(), packet.key.source().1);
        !service.is_some_and(|service| service.mode.is_direct())
    }

    /// Whether a server that holds a VIP tells the host something: it answers what control had carried to it, which may be
    /// a ping, or about a port that no service has.
    fn answers_host(&self, packet: &Packet<'_, F>) -> bool {
        self.view.host.contains(&packet.header.destination())
            && self.view.owned.get(packet.header.source()).is_some_and(Vip::has_direct_service)
    }

    /// Whether the packet would open a flow straight to a server that is to be called by its VIP alone.
    fn is_denied(&self, packet: &Packet<'_, F>) -> bool {
        let Some(server) = self.view.servers.get(&packet.header.destination()) else { return false };
        server.is_shielded
            && match segment_of(&packet.transport) {
                Some(segment) => segment.flags & (header_flags::SYN | header_flags::ACK) == header_flags::SYN,
                None => server.udp_ports.iter().any(|ports| {
                    packet.key.protocol() == wire::protocol::UDP && ports.contains(packet.key.destination().1)
                }),
            }
    }

    pub fn is_icmp_error(packet: &Packet<'_, F>) -> bool {
        let Transport::Icmp(header) = &packet.transport else { return false };
        match F::ICMP {
            wire::protocol::ICMP => icmp::v4::is_error(header.kind()),
            _ => icmp::v6::is_error(header.kind()),
        }
    }

    fn is_solicitation(packet: &Packet<'_, F>) -> bool {
        Self::neighbour_discovery_kind(packet) == Some(icmp::v6::NEIGHBOUR_SOLICITATION)
    }

    /// Whether the packet asks for an address, or claims one: it may be one of ours.
    fn is_neighbour_discovery(packet: &Packet<'_, F>) -> bool {
        Self::neighbour_discovery_kind(packet).is_some()
    }

    fn neighbour_discovery_kind(packet: &Packet<'_, F>) -> Option<u8> {
        use icmp::v6::{NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION};
        match &packet.transport {
            // Neighbour discovery never comes in pieces (RFC 6980 section 5).
            Transport::Icmp(header) if F::ICMP == wire::protocol::ICMPV6 && packet.piece.is_none() => {
                Some(header.kind())
                    .filter(|kind| matches!(*kind, NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT))
            }
            _ => None,
        }
    }

    /// A frame to a link-layer group: solicitations are answered; the rest is the host's and the bridge's, unless it says
    /// to come from us.
    pub fn group(&self, at: &Arrival, ethernet: &Ethernet<'_>, packet: &Packet<'_, F>) -> Step {
        if Self::is_neighbour_discovery(packet) {
            Step::Answer(Answer::Neighbour)
        } else if self.is_forged(packet) {
            DropReason::MartianSource.into()
        } else {
            self.world.not_ours(at, ethernet.destination(), DropReason::LinkLayerMulticast)
        }
    }

    fn to_owned_address(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        vip: &Vip<F>,
    ) -> Step {
        if self.may_be_probe(packet) {
            return Step::Probe;
        }
        match &packet.transport {
            // What would be answered from a piece of it is not whole.
            Transport::Icmp(_) if packet.piece.is_some() => return DropReason::FragmentForService.into(),
            Transport::Icmp(header) => {
                let echo_request = match F::ICMP {
                    wire::protocol::ICMP => icmp::v4::ECHO_REQUEST,
                    _ => icmp::v6::ECHO_REQUEST,
                };
                let is_echo = packet.key.protocol() == F::ICMP && header.kind() == echo_request;
                return if is_echo { Step::Answer(Answer::Echo) } else { DropReason::IcmpIgnored.into() };
            }
            Transport::Tcp { .. } | Transport::Udp(_) => {
                if packet.key.source().1 == 0 || packet.key.destination().1 == 0 {
                    return DropReason::PortZero.into();
                }
            }
            Transport::Fragment | Transport::Other => {}
        }
        let Some(service) = vip.service(packet.key.protocol(), packet.key.destination().1) else {
            return Self::refuse(&packet.transport, DropReason::NoService);
        };
        let opens = match service.mode.is_direct() {
            true => Self::direct_opening(&packet.transport),
            false => Self::refused_opening(&packet.transport).map_or(Ok(true), Err),
        };
        match opens {
            Ok(true) => self.admit(scratch, at, ethernet, packet, service),
            Ok(false) => self.without_session(scratch, at, ethernet, packet, service),
            Err(step) => step,
        }
    }

    /// Whether a packet opens a session where servers answer directly, or is placed by its hash: a connection that was
    /// there before the appliance goes on, and a flood of what opens nothing makes no sessions.
    fn direct_opening(transport: &Transport<'_>) -> Result<bool, Step> {
        use header_flags::{ACK, FIN, RST, SYN};
        let Some(segment) = segment_of(transport) else { return Ok(true) };
        match segment.flags & (SYN | ACK | RST | FIN) {
            SYN => Ok(true),
            flags if flags & SYN != 0 || flags & (ACK | RST) == 0 => Err(DropReason::TcpFlags.into()),
            _ => Ok(false),
        }
    }

    /// A host behind the appliance calls somebody outside: under an address of the pool if it opens something.
    fn outbound(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        outbound: &Outbound<F>,
    ) -> Step {
        let has_port_zero = packet.key.source().1 == 0 || packet.key.destination().1 == 0;
        let opens = match &packet.transport {
            Transport::Tcp { .. } | Transport::Udp(_) if has_port_zero => Some(DropReason::PortZero.into()),
            Transport::Tcp { .. } => Self::refused_opening(&packet.transport),
            Transport::Udp(_) => None,
            Transport::Icmp(header) => {
                let echo_request = match F::ICMP {
                    wire::protocol::ICMP => icmp::v4::ECHO_REQUEST,
                    _ => icmp::v6::ECHO_REQUEST,
                };
                (header.kind() != echo_request).then_some(DropReason::OutboundProtocol.into())
            }
            Transport::Fragment | Transport::Other => Some(DropReason::OutboundProtocol.into()),
        };
        match opens {
            None => self.admit_outbound(scratch, at, ethernet, packet, outbound),
            Some(step) => step,
        }
    }

    /// Only a plain SYN opens a TCP session where addresses are translated; `None` for it and for other protocols.
    fn refused_opening(transport: &Transport<'_>) -> Option<Step> {
        use header_flags::{ACK, FIN, RST, SYN};
        let flags = segment_of(transport)?.flags;
        match flags & (SYN | ACK | RST | FIN) {
            SYN => None,
            flags if flags & RST != 0 && flags & SYN == 0 => Some(DropReason::NoSession.into()),
            flags if flags & SYN != 0 && flags & (FIN | RST) != 0 => Some(DropReason::TcpFlags.into()),
            // RFC 9293 section 3.10.7.1: whatever acknowledges nothing of ours is reset, and so is the null scan.
            _ => Some(Step::Answer(Answer::Reset)),
        }
    }

    /// What a client is told when nobody serves it: TCP a reset, UDP port unreachable, others nothing.
    pub fn refuse(transport: &Transport<'_>, reason: DropReason) -> Step {
        match transport {
            Transport::Tcp { header, .. } if header.flags().0 & header_flags::RST != 0 => Step::Drop(reason),
            Transport::Tcp { .. } => Step::Answer(Answer::Reset),
            Transport::Udp(_) => Step::Answer(Answer::PortUnreachable),
            _ => Step::Drop(reason),
        }
    }

    /// Forwards what is not balanced by the mirrored routes (SPEC section 2).
    fn route(&self, scratch: &mut Scratch, ethernet: &mut Ethernet<'_>, packet: &mut Packet<'_, F>) -> Step {
        let destination = packet.header.destination();
        if packet.header.hop_limit() <= 1 {
            return Step::Answer(Answer::TimeExceeded);
        }
        let index = match self.resolve_in(packet.key.zone(), destination, packet.hash) {
            Resolution::Link(index) => index,
            Resolution::Unresolved { port, next_hop } => {
                return Step::Park { port, next_hop: next_hop.into() };
            }
            Resolution::Unreachable => return self.unreachable_in(destination),
        };
        let Some(link) = self.world.shared.links.get(index) else {
            return self.park_for(destination, packet.hash);
        };
        let Some(leg) = self.world.port(link.port) else {
            return DropReason::NoRoute.into();
        };
        let egress = self.world.egress(link.port, link.mac);
        let mtu_bytes = self.world.carries(egress).map_or(0, |port| port.mtu_bytes);
        let is_long = packet.length_bytes > mtu_bytes;
        if is_long && !packet.header.may_be_split() {
            return Step::Answer(Answer::TooBig { mtu_bytes });
        }
        decrement_hop_limit(packet);
        ethernet.set_destination(link.mac);
        ethernet.set_source(leg.mac);
        match is_long {
            false => Step::Send(egress),
            true => {
                let wrapping = Wrapping { split_to_bytes: Some(mtu_bytes), ..Wrapping::default() };
                Step::Wrap(egress, scratch.keep_wrapping(wrapping))
            }
        }
    }
}
