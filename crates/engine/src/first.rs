//! A packet without a session: is it for an address of ours, for the host, or to be routed?

use crate::path::{Answer, Fits, Path, Step};
use crate::reason::DropReason;
use crate::replay::segment_of;
use crate::scratch::Scratch;
use flow::{Family, FlowKey, NetworkHeader, Packet, Transport};
use plan::{Resolution, Vip};
use rewrite::decrement_hop_limit;
use session::tcp::header_flags;
use wire::ethernet::Ethernet;
use wire::icmp;

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Decides about a packet that belongs to no session.
    pub fn first(
        &self,
        scratch: &mut Scratch,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
    ) -> Step {
        let (source, destination) = (packet.header.source(), packet.header.destination());
        // RFC 1812 section 5.3.7; a packet from an address of ours is a land attack or a loop.
        let is_solicitation = Self::is_solicitation(packet);
        let is_martian = F::is_martian_source(source);
        if is_martian && !is_solicitation || self.view.owned.get(source).is_some() {
            return DropReason::MartianSource.into();
        }
        if let Some(vip) = self.view.owned.get(destination) {
            return if is_solicitation {
                Step::Answer(Answer::Neighbour)
            } else {
                self.to_owned_address(scratch, ethernet, packet, vip)
            };
        }
        // Who has no address yet may ask for one of ours, and nothing else (RFC 4291 section 2.5.2).
        if is_martian {
            return DropReason::MartianSource.into();
        }
        if self.view.host.contains(&destination) {
            return DropReason::LateForHost.into();
        }
        if !F::is_routable_destination(destination) || F::is_link_local(source) {
            return DropReason::MartianDestination.into();
        }
        self.route(ethernet, packet)
    }

    fn is_solicitation(packet: &Packet<'_, F>) -> bool {
        match &packet.transport {
            // Neighbour discovery never comes in pieces (RFC 6980 section 5).
            Transport::Icmp(header) if packet.piece.is_none() => {
                F::ICMP == wire::protocol::ICMPV6 && header.kind() == icmp::v6::NEIGHBOUR_SOLICITATION
            }
            _ => false,
        }
    }

    /// A frame to a link-layer group: solicitations are answered, nothing else is meant for us.
    pub fn multicast(&self, packet: &Packet<'_, F>, reason: DropReason) -> Step {
        if reason == DropReason::LinkLayerMulticast && Self::is_solicitation(packet) {
            Step::Answer(Answer::Neighbour)
        } else {
            Step::Drop(reason)
        }
    }

    fn to_owned_address(
        &self,
        scratch: &mut Scratch,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        vip: &Vip<F>,
    ) -> Step {
        if packet.piece.is_some() {
            return DropReason::FragmentForService.into();
        }
        match &packet.transport {
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
        match vip.service(packet.key.protocol(), packet.key.destination().1) {
            Some(service) => match Self::refused_opening(&packet.transport) {
                Some(step) => step,
                None => self.admit(scratch, ethernet, packet, service),
            },
            None => Self::refuse(&packet.transport, DropReason::NoService),
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
    fn route(&self, ethernet: &mut Ethernet<'_>, packet: &mut Packet<'_, F>) -> Step {
        let destination = packet.header.destination();
        if packet.header.hop_limit() <= 1 {
            return Step::Answer(Answer::TimeExceeded);
        }
        let index = match self.view.routes.resolve(destination, packet.hash) {
            Resolution::Link(index) => index,
            Resolution::Unresolved { port, next_hop } => {
                return Step::Park { port, next_hop: next_hop.into() };
            }
            Resolution::Unreachable => return Step::Answer(Answer::NetworkUnreachable),
        };
        let Some(link) = self.world.shared.links.get(index) else {
            return self.park_for(destination, packet.hash);
        };
        let Some(egress) = self.world.plan.ports.get(usize::from(link.port)) else {
            return DropReason::NoRoute.into();
        };
        if packet.length_bytes > egress.mtu_bytes {
            return Step::Answer(Answer::TooBig { mtu_bytes: egress.mtu_bytes });
        }
        decrement_hop_limit(packet);
        ethernet.set_destination(link.mac);
        ethernet.set_source(egress.mac);
        Step::Transmit(link.port)
    }
}
