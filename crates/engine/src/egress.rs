//! The last stage of a frame: what a step asks for beyond rewriting is done to the frame itself, and its ring is found.

use crate::answer::{Responder, claim, is_error};
use crate::arrival::{Arrival, Ingress, Reach};
use crate::copies::Ways;
use crate::park::{Awaited, PARKED_NS_MAX, PIECE_NS_MAX};
use crate::path::{Answer, Egress, Step, World};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::shared::Report;
use crate::split::split;
use crate::tags;
use plan::{Attachment, Link};
use port::{Frame, HEAD_ROOM_BYTES, PortIndex, Ports};
use std::net::IpAddr;
use wire::Mac;
use wire::ethernet::{self, Ethernet};

/// Bytes of a frame that the appliance makes itself at the most: orders of control, resets.
const OWN_BYTES_MAX: usize = 256;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is ready for this ring.
    Sent(PortIndex),
    /// A copy waits for the next hop.
    Parked,
    /// Control has it.
    Taken,
}

/// Whether a frame holds more than its port carries: what is routed was answered with the length that fits, what a bridge
/// passes on is dropped there, as by any switch. Tags count as part of the link layer (IEEE 802.3 section 3.2.7).
#[cold]
fn is_too_long(frame: &[u8], mtu_bytes: u16) -> bool {
    frame.len() > tags::link_layer_bytes(frame) + usize::from(mtu_bytes)
}

impl World<'_> {
    /// Does what `step` asks for, and says by which ring the frame leaves. Counts nothing but what was sent.
    #[inline]
    pub fn finish(
        &self,
        scratch: &mut Scratch,
        ingress: Ingress,
        frame: &mut Frame<'_>,
        step: Step,
    ) -> Result<Outcome, DropReason> {
        match step {
            Step::Send(Egress::Port(port)) => self.out_of(port, frame).map(Outcome::Sent),
            step => self.finish_unusual(scratch, ingress, frame, step),
        }
    }

    fn finish_unusual(
        &self,
        scratch: &mut Scratch,
        ingress: Ingress,
        frame: &mut Frame<'_>,
        step: Step,
    ) -> Result<Outcome, DropReason> {
        let step = match step {
            Step::Malformed(reason) => self.pass_malformed(ingress, frame, reason),
            Step::Quoting => self.quoting(scratch, ingress, frame),
            step => step,
        };
        match step {
            Step::Send(egress) => self.send(scratch, frame, egress),
            Step::Wrap(egress, place) => {
                let wrapping = *scratch.wrapping(place).ok_or(DropReason::AnswerImpossible)?;
                wrapping.put_on(frame)?;
                if let Some(mtu_bytes) = wrapping.split_to_bytes {
                    let identification = scratch.random(&self.shared.hasher, 0) as u32;
                    split(frame, (mtu_bytes, identification), &mut scratch.copies, &self.ways(egress))?;
                }
                self.send(scratch, frame, egress)
            }
            Step::Answer(answer) => self.finish_answer(scratch, ingress, frame, answer),
            Step::Probe => self.finish_probe(scratch, ingress, frame),
            Step::Park { port, next_hop } => {
                scratch.report(self.shared, self.tick, Report::Unresolved { port, address: next_hop });
                let (awaited, deadline_ns) = (Awaited::NextHop(port, next_hop), self.now_ns + PARKED_NS_MAX);
                match scratch.park.keep(ingress, frame.bytes(), awaited, deadline_ns) {
                    true => Ok(Outcome::Parked),
                    false => Err(DropReason::ParkingFull),
                }
            }
            Step::AwaitFirst { source } => {
                let (awaited, deadline_ns) = (Awaited::FirstPiece(source), self.now_ns + PIECE_NS_MAX);
                match scratch.park.keep(ingress, frame.bytes(), awaited, deadline_ns) {
                    true => Ok(Outcome::Parked),
                    false => Err(DropReason::ParkingFull),
                }
            }
            Step::Drop(reason) | Step::Malformed(reason) => Err(reason),
            // Neither comes here: one was asked for above, the other is met when its burst is through.
            Step::Quoting | Step::Expected => Err(DropReason::IcmpIgnored),
        }
    }

    /// Turns `frame` into an answer to its sender. What nobody asked the appliance is its host's or its bridge's business.
    pub fn finish_answer(
        &self,
        scratch: &mut Scratch,
        ingress: Ingress,
        frame: &mut Frame<'_>,
        answer: Answer,
    ) -> Result<Outcome, DropReason> {
        if is_error(answer) && !scratch.may_answer(self.tick) {
            return Err(DropReason::AnswersLimited);
        }
        let (at, destination) = {
            let (ethernet, _) = Ethernet::split(frame.bytes_mut())?;
            (self.arrival(ingress.port, &ethernet, 0)?, ethernet.destination())
        };
        let leg = self.port(at.leg).ok_or(DropReason::AnswerImpossible)?;
        let reason = match (Responder { plan: self.plan, port: leg }.write(frame, answer)) {
            Ok(asker) => {
                if let Some((address, mac)) = asker
                    && !self.knows_neighbour(at.leg, address, mac)
                {
                    let report = Report::Neighbour { port: at.leg, address, mac };
                    scratch.report(self.shared, self.tick, report);
                }
                self.counters.answered.add(1);
                return self.out_of(at.port, frame).map(Outcome::Sent);
            }
            Err(reason) => reason,
        };
        if reason == DropReason::AddressConflict {
            if let Some((address, mac)) = claim(frame) {
                self.conflict(scratch, &at, address, mac);
            }
            return Err(reason);
        }
        match self.not_ours(&at, destination, reason) {
            Step::Send(egress) if matches!(answer, Answer::Arp | Answer::Neighbour) => {
                self.send(scratch, frame, egress)
            }
            _ => Err(reason),
        }
    }

    /// Sends `frame` by `egress`, and keeps the copies that this takes.
    fn send(
        &self,
        scratch: &mut Scratch,
        frame: &mut Frame<'_>,
        egress: Egress,
    ) -> Result<Outcome, DropReason> {
        let mut ways = self.ways(egress);
        let own = ways.pop().ok_or(DropReason::NoEgress)?;
        if !ways.is_empty() && !scratch.copies.keep(frame.bytes(), ways) {
            return Err(DropReason::CopiesFull);
        }
        self.out_by(own, frame).map(Outcome::Sent)
    }

    /// Each way by which a frame leaves that leaves by `egress`.
    pub fn ways(&self, egress: Egress) -> Ways {
        let mut ways = Ways::new();
        match egress {
            Egress::Flood { bridge, except, host } => {
                let members = self.bridge(bridge).map_or(&[][..], |bridge| bridge.members);
                let members = members.iter().filter(|&&member| member != except);
                let host = host.then_some(Egress::Host(bridge));
                // A bridge has as many members as there are ports at the most, which is one less than this holds.
                ways.extend(
                    host.into_iter().chain(members.map(|&member| Egress::Port(member))).take(ways.capacity()),
                );
            }
            egress => ways.push(egress),
        }
        ways
    }

    /// Makes `frame` ready for a port or a host leg.
    fn out_by(&self, way: Egress, frame: &mut Frame<'_>) -> Result<PortIndex, DropReason> {
        match way {
            Egress::Port(port) => self.out_of(port, frame),
            Egress::Host(leg) => {
                let ring = self.port(leg).and_then(|leg| leg.host_ring).ok_or(DropReason::NoEgress)?;
                Ok(PortIndex(ring))
            }
            Egress::Flood { .. } => Err(DropReason::NoEgress),
        }
    }

    /// Makes `frame` ready for the wire of `port`.
    #[inline(always)]
    pub fn out_of(&self, port: u16, frame: &mut Frame<'_>) -> Result<PortIndex, DropReason> {
        let plan = self.port(port).ok_or(DropReason::NoEgress)?;
        let Attachment::Ring { ring, vlan } = &plan.attachment else { return Err(DropReason::NoEgress) };
        if *vlan != 0 {
            tags::push(frame, *vlan)?;
        } else if plan.bridge.is_some() && self.is_of_another_port(*ring, tags::outer_vlan(frame.bytes())) {
            return Err(DropReason::VlanUnknown);
        }
        if usize::from(frame.length()) > usize::from(plan.mtu_bytes) + ethernet::LENGTH
            && is_too_long(frame.bytes(), plan.mtu_bytes)
        {
            return Err(DropReason::TooLong);
        }
        self.count_sent(port, 1, u64::from(frame.length()));
        Ok(PortIndex(*ring))
    }

    /// Whether a VLAN on that ring is a port of its own, which nothing that crosses a bridge beside it may get into.
    fn is_of_another_port(&self, ring: u16, vlan: u16) -> bool {
        let ring = self.plan.rings.get(usize::from(ring)).filter(|_| vlan != 0);
        ring.is_some_and(|ring| ring.tagged.iter().any(|&(own, _)| own == vlan))
    }

    #[inline]
    pub fn count_sent(&self, port: u16, packets: u64, bytes: u64) {
        if let Some(counters) = self.counters.ports.get(usize::from(port)) {
            counters.tx_packets.add(packets);
            counters.tx_bytes.add(bytes);
        }
    }

    /// Sends the copies that the frames of a burst left behind.
    pub fn send_copies<P: Ports>(&self, ports: &mut P, scratch: &mut Scratch) {
        scratch.copies.drain(|frame, way| {
            let sent = self.out_by(way, frame).is_ok_and(|ring| ports.inject(ring, frame.bytes()));
            let counter = if sent { &self.counters.copied } else { &self.counters.copies_refused };
            counter.add(1);
        });
    }

    /// Sends a frame of the appliance's own making out of `leg`; false when it found no room anywhere.
    pub fn send_own<P: Ports>(&self, ports: &mut P, leg: u16, bytes: &[u8]) -> bool {
        let Some(destination) = bytes.first_chunk().copied().map(Mac) else { return false };
        let mut sent = false;
        for way in self.ways(self.egress(leg, destination)) {
            let mut buffer = [0; HEAD_ROOM_BYTES + OWN_BYTES_MAX];
            let Some(room) = buffer.get_mut(HEAD_ROOM_BYTES..HEAD_ROOM_BYTES + bytes.len()) else {
                return false;
            };
            room.copy_from_slice(bytes);
            let Some(mut frame) = Frame::new(&mut buffer, HEAD_ROOM_BYTES, bytes.len()) else { return false };
            let went = self.out_by(way, &mut frame).is_ok_and(|ring| ports.inject(ring, frame.bytes()));
            self.counters.injected.add(u64::from(went));
            sent |= went;
        }
        sent
    }

    /// What cannot be parsed is none of the appliance's business, unless it was sent to it: a bridge passes it on.
    fn pass_malformed(&self, ingress: Ingress, frame: &mut Frame<'_>, reason: DropReason) -> Step {
        let vlan = tags::outer_vlan(frame.bytes());
        let Ok((ethernet, _)) = Ethernet::split(frame.bytes_mut()) else { return Step::Drop(reason) };
        if ingress.is_host {
            return self.of_host(ingress.port, &ethernet);
        }
        let Ok(at) = self.arrival(ingress.port, &ethernet, vlan) else { return Step::Drop(reason) };
        let Some(bridge) = self.bridge(at.leg).filter(|_| at.reach != Reach::Own) else {
            return Step::Drop(reason);
        };
        match self.learn(bridge, &at, &ethernet) {
            Ok(()) => self.switch(bridge, &at, ethernet.destination()),
            Err(reason) => Step::Drop(reason),
        }
    }

    /// What the appliance has no business with: a bridge passes it on, a host leg takes it, and else it is dropped.
    #[inline]
    pub fn not_ours(&self, at: &Arrival, destination: Mac, reason: DropReason) -> Step {
        match self.bridge(at.leg) {
            Some(bridge) => self.switch(bridge, at, destination),
            None if at.reach != Reach::Other && self.has_host_leg(at.leg) => Step::Send(Egress::Host(at.leg)),
            None => reason.into(),
        }
    }

    fn has_host_leg(&self, leg: u16) -> bool {
        self.port(leg).is_some_and(|leg| leg.host_ring.is_some())
    }

    /// Whether what a host says of itself is known. One that asks from another MAC has moved: that is news.
    fn knows_neighbour(&self, leg: u16, address: IpAddr, mac: Mac) -> bool {
        self.next_hop(leg, address).is_some_and(|known| known.mac == mac)
    }

    /// Where a next hop is, if its link leads anywhere now.
    pub fn next_hop(&self, leg: u16, address: IpAddr) -> Option<Link> {
        let link = match address {
            IpAddr::V4(address) => self.plan.v4.routes.links().get(&(leg, address)),
            IpAddr::V6(address) => self.plan.v6.routes.links().get(&(leg, address)),
        };
        self.shared.links.get(*link?)
    }
}
