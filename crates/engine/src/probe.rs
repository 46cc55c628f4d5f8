//! Path probes at our own probe addresses: the far end's are answered by the way they came, and control is to read both
//! theirs and the answers to its own.
//!
//! An echo request is answered like any other; a datagram only if somebody with our key has made it, or we would answer
//! for anybody. What looks like a probe and is none of our key's still reaches control, which raises the alarm.

use crate::answer::HOP_LIMIT;
use crate::arrival::{Arrival, Ingress};
use crate::egress::Outcome;
use crate::path::{Answer, Fits, Path, World};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::shared::Punt;
use flow::probe::{KIND_AT, Kind, Probe};
use flow::{Family, FlowKey, NetworkHeader, Packet, Transport};
use port::Frame;
use session::tcp::header_flags::{ACK, RST, SYN};
use wire::checksum::ChecksumDelta;
use wire::ethernet::{self, Ethernet};
use wire::icmp::{self, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::Tcp;
use wire::udp::Udp;
use wire::{Refusal, protocol};

/// What a packet for one of our probe addresses is.
enum Meaning {
    /// An echo request, which may be a probe.
    Echo { is_probe: bool },
    /// A datagram that somebody with our key has made.
    Question,
    /// Something that control waits for.
    Answer,
    /// A probe of another key.
    Forged,
    /// None of these.
    Other(Answer),
    /// Nothing that anybody waits for.
    Ignored,
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Whether the packet is to be looked at here: it is whole, for a probe address, and of a protocol that probes use.
    pub fn may_be_probe(&self, packet: &Packet<'_, F>) -> bool {
        self.view.responders.contains(&packet.header.destination())
            && packet.piece.is_none()
            && match &packet.transport {
                Transport::Icmp(_) => packet.key.protocol() == F::ICMP,
                Transport::Tcp { .. } | Transport::Udp(_) => true,
                Transport::Fragment | Transport::Other => false,
            }
    }

    /// Whether the packet goes from one of our probe addresses to another: an appliance on both sides of the firewalls
    /// probes itself.
    pub fn is_own_probe(&self, packet: &Packet<'_, F>) -> bool {
        let ends = [packet.header.source(), packet.header.destination()];
        ends.iter().all(|end| self.view.responders.contains(end))
    }
}

impl World<'_> {
    /// Answers what is for a probe address, and hands control its copy.
    #[cold]
    pub fn finish_probe(
        &self,
        scratch: &mut Scratch,
        ingress: Ingress,
        frame: &mut Frame<'_>,
    ) -> Result<Outcome, DropReason> {
        let (at, meaning) = self.meaning(ingress, frame)?;
        match meaning {
            Meaning::Echo { is_probe } => {
                if is_probe {
                    self.punt(&at, frame)?;
                }
                self.finish_answer(scratch, ingress, frame, Answer::Echo)
            }
            Meaning::Question => {
                self.punt(&at, frame)?;
                let leg = self.port(at.leg).ok_or(DropReason::AnswerImpossible)?;
                reflect(frame, leg.mac)?;
                self.counters.answered.add(1);
                self.out_of(at.port, frame).map(Outcome::Sent)
            }
            Meaning::Answer => {
                self.punt(&at, frame)?;
                Ok(Outcome::Taken)
            }
            Meaning::Forged => {
                self.punt(&at, frame)?;
                Err(DropReason::ProbeForged)
            }
            Meaning::Other(answer) => self.finish_answer(scratch, ingress, frame, answer),
            Meaning::Ignored => Err(DropReason::IcmpIgnored),
        }
    }

    fn meaning(&self, ingress: Ingress, frame: &mut Frame<'_>) -> Result<(Arrival, Meaning), DropReason> {
        let (ethernet, rest) = Ethernet::split(frame.bytes_mut())?;
        let at = self.arrival(ingress.port, &ethernet, 0)?;
        let untagged = ethernet::split_tags(ethernet.ethertype(), rest)?;
        let (is_v4, protocol, payload) = match untagged.ethertype {
            ethernet::ETHERTYPE_IPV4 => {
                let ip = Ipv4::split(untagged.payload)?;
                (true, ip.header.protocol(), ip.payload)
            }
            _ => {
                let ip = Ipv6::split(untagged.payload)?;
                (false, ip.protocol, ip.payload)
            }
        };
        let meaning = match protocol {
            protocol::TCP => {
                let (header, ..) = Tcp::split(payload)?;
                match header.flags().0 & (SYN | ACK | RST) {
                    flags if flags & RST != 0 || flags == SYN | ACK => Meaning::Answer,
                    _ => Meaning::Other(Answer::Reset),
                }
            }
            protocol::UDP => {
                let (_, data) = Udp::split(payload)?;
                match Probe::of(data) {
                    Some(probe) if !probe.is_authentic(&self.shared.hasher) => Meaning::Forged,
                    Some(Probe { kind: Kind::Question, .. }) => Meaning::Question,
                    Some(Probe { kind: Kind::Answer, .. }) => Meaning::Answer,
                    None => Meaning::Other(Answer::PortUnreachable),
                }
            }
            _ => {
                let (header, data) = Icmp::split(payload)?;
                let is_probe = Probe::of(data).is_some();
                let (request, reply) = match is_v4 {
                    true => (icmp::v4::ECHO_REQUEST, icmp::v4::ECHO_REPLY),
                    false => (icmp::v6::ECHO_REQUEST, icmp::v6::ECHO_REPLY),
                };
                match header.kind() {
                    kind if kind == request => Meaning::Echo { is_probe },
                    kind if kind == reply && is_probe => Meaning::Answer,
                    _ => Meaning::Ignored,
                }
            }
        };
        Ok((at, meaning))
    }

    /// Hands control a copy of the packet in `frame`. Where it is behind, the copy is lost, and counted.
    fn punt(&self, at: &Arrival, frame: &mut Frame<'_>) -> Result<(), Refusal> {
        let (ethernet, rest) = Ethernet::split(frame.bytes_mut())?;
        let untagged = ethernet::split_tags(ethernet.ethertype(), rest)?;
        let punt = Punt::new(at.leg, ethernet.source(), untagged.payload);
        let is_taken = punt.is_some_and(|punt| self.shared.punts.push(punt).is_ok());
        self.counters.punts_lost.add(u64::from(!is_taken));
        Ok(())
    }
}

/// Turns a question into its answer: both ends are exchanged, which no checksum sees, and the kind is another.
fn reflect(frame: &mut Frame<'_>, own: wire::Mac) -> Result<(), Refusal> {
    let (mut ethernet, rest) = Ethernet::split(frame.bytes_mut())?;
    ethernet.set_destination(ethernet.source());
    ethernet.set_source(own);
    let untagged = ethernet::split_tags(ethernet.ethertype(), rest)?;
    match untagged.ethertype {
        ethernet::ETHERTYPE_IPV4 => {
            let mut ip = Ipv4::split(untagged.payload)?;
            turn(ip.payload)?;
            let (source, destination) = (ip.header.source(), ip.header.destination());
            ip.header.set_source(destination);
            ip.header.set_destination(source);
            ip.header.set_ttl(HOP_LIMIT);
            ip.header.set_checksum(ip.header.compute_checksum(ip.options));
        }
        _ => {
            let mut ip = Ipv6::split(untagged.payload)?;
            turn(ip.payload)?;
            let (source, destination) = (ip.header.source(), ip.header.destination());
            ip.header.set_source(destination);
            ip.header.set_destination(source);
            ip.header.set_hop_limit(HOP_LIMIT);
        }
    }
    Ok(())
}

fn turn(datagram: &mut [u8]) -> Result<(), Refusal> {
    let (mut udp, data) = Udp::split(datagram)?;
    let ports = (udp.source_port(), udp.destination_port());
    udp.set_source_port(ports.1);
    udp.set_destination_port(ports.0);
    if let Some([kind, next]) = data.get_mut(KIND_AT..).and_then(|rest| rest.first_chunk_mut()) {
        let before = u16::from_be_bytes([*kind, *next]);
        *kind = Kind::Answer as u8;
        udp.update_checksum(ChecksumDelta::between16(before, u16::from_be_bytes([*kind, *next])));
    }
    Ok(())
}
