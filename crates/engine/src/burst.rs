//! One burst: parse all, touch all, decide all, then finish the rare ones.
//!
//! Each stage runs over the whole burst, so that the cache misses of its frames overlap. The stages that wait
//! for memory do nothing else: a core looks a few hundred instructions ahead, which is one frame of parsing
//! but twenty of loading.
//!
//! ```text
//!   each ×64:  parse ─▶ load tags ─▶ compare tags ─▶ load slots ─▶ look up, rewrite ─▶ finish
//! ```

use crate::answer::{Responder, is_error};
use crate::park::PARKED_NS_MAX;
use crate::path::{Step, World};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::shared::Report;
use arrayvec::ArrayVec;
use flow::{Network, Parsed, parse};
use plan::Link;
use port::{BURST_FRAMES_MAX, Burst, Frame, Verdict};
use session::Probe;
use std::hint::black_box;
use std::net::IpAddr;
use wire::Mac;
use wire::arp::Arp;

pub(crate) type Verdicts = ArrayVec<Verdict, BURST_FRAMES_MAX>;

/// A frame on its way through the stages.
struct Staged<'a> {
    parsed: Result<Parsed<'a>, DropReason>,
    /// Where its session may be; filled in by a later stage than `parsed`, for IP only.
    probe: Option<Probe>,
}

impl World<'_> {
    /// Decides about every frame of a burst from port `ingress` and gives back what the port is to do.
    pub fn burst(&self, scratch: &mut Scratch, ingress: u16, burst: &mut Burst<'_>) -> Verdicts {
        let steps = self.decide(scratch, ingress, burst);
        let mut verdicts = Verdicts::new();
        for (frame, step) in burst.iter_mut().zip(steps) {
            verdicts.push(self.finish(scratch, ingress, frame, step));
        }
        verdicts
    }

    fn decide(
        &self,
        scratch: &mut Scratch,
        ingress: u16,
        burst: &mut Burst<'_>,
    ) -> ArrayVec<Step, BURST_FRAMES_MAX> {
        let mut staged = ArrayVec::<Staged<'_>, BURST_FRAMES_MAX>::new();
        for frame in burst.iter_mut() {
            staged.push(self.parse(ingress, frame.bytes_mut()));
        }
        let tags = staged.iter().fold(0, |sum, staged| sum ^ self.touch_tags(staged));
        for staged in &mut staged {
            staged.probe = self.probe(staged);
        }
        let slots = staged.iter().fold(0, |sum, staged| sum ^ self.touch(staged));
        black_box((tags, slots));
        let mut steps = ArrayVec::new();
        for staged in &mut staged {
            steps.push(self.step(scratch, ingress, staged));
        }
        steps
    }

    #[inline]
    fn parse<'a>(&self, ingress: u16, bytes: &'a mut [u8]) -> Staged<'a> {
        let zone = self.plan.ports.get(usize::from(ingress)).map(|port| port.zone).unwrap_or_default();
        Staged { parsed: parse(bytes, zone, &self.shared.hasher).map_err(DropReason::from), probe: None }
    }

    /// Loads the tags that a frame's probe will compare; the sum means nothing.
    #[inline]
    fn touch_tags(&self, staged: &Staged<'_>) -> u64 {
        match &staged.parsed {
            Ok(Parsed { network: Network::V4(packet), .. }) => {
                self.shared.sessions_v4.touch_tags(packet.hash)
            }
            Ok(Parsed { network: Network::V6(packet), .. }) => {
                self.shared.sessions_v6.touch_tags(packet.hash)
            }
            _ => 0,
        }
    }

    #[inline]
    fn probe(&self, staged: &Staged<'_>) -> Option<Probe> {
        match &staged.parsed {
            Ok(Parsed { network: Network::V4(packet), .. }) => {
                Some(self.shared.sessions_v4.probe(packet.hash))
            }
            Ok(Parsed { network: Network::V6(packet), .. }) => {
                Some(self.shared.sessions_v6.probe(packet.hash))
            }
            _ => None,
        }
    }

    /// Loads the slot that a frame's session most likely has; the sum means nothing.
    #[inline]
    fn touch(&self, staged: &Staged<'_>) -> u64 {
        match (&staged.parsed, &staged.probe) {
            (Ok(Parsed { network: Network::V4(_), .. }), Some(probe)) => self.shared.sessions_v4.touch(probe),
            (Ok(Parsed { network: Network::V6(_), .. }), Some(probe)) => self.shared.sessions_v6.touch(probe),
            _ => 0,
        }
    }

    #[inline]
    fn step(&self, scratch: &mut Scratch, ingress: u16, staged: &mut Staged<'_>) -> Step {
        let Staged { parsed, probe } = staged;
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(reason) => return Step::Drop(*reason),
        };
        if parsed.vlan != 0 {
            return DropReason::VlanUnknown.into();
        }
        match (&mut parsed.network, probe) {
            (Network::V4(packet), Some(probe)) => {
                self.v4().handle(scratch, ingress, &mut parsed.ethernet, packet, probe)
            }
            (Network::V6(packet), Some(probe)) => {
                self.v6().handle(scratch, ingress, &mut parsed.ethernet, packet, probe)
            }
            (Network::Arp(message), _) => self.arp(scratch, ingress, message),
            _ => DropReason::ProtocolUnknown.into(),
        }
    }

    /// Decides about one frame alone, outside any burst.
    pub fn decide_one(&self, scratch: &mut Scratch, ingress: u16, bytes: &mut [u8]) -> Step {
        let mut staged = self.parse(ingress, bytes);
        staged.probe = self.probe(&staged);
        self.step(scratch, ingress, &mut staged)
    }

    fn arp(&self, scratch: &mut Scratch, ingress: u16, message: &Arp<'_>) -> Step {
        let (sender, mac) = (message.sender_address(), message.sender_mac());
        let own = self.plan.ports.iter().any(|port| port.mac == mac);
        if self.plan.v4.owned.get(sender).is_some() {
            if !own {
                let address = IpAddr::V4(sender);
                scratch.report(self.shared, self.tick, Report::Conflict { port: ingress, address, mac });
            }
            return DropReason::AddressConflict.into();
        }
        Step::Answer(crate::path::Answer::Arp)
    }

    /// Does what a step asks for beyond rewriting, and says what the port is to do.
    #[inline]
    fn finish(&self, scratch: &mut Scratch, ingress: u16, frame: &mut Frame<'_>, step: Step) -> Verdict {
        match step {
            Step::Transmit(port) => self.transmit(port, frame),
            Step::Drop(reason) => {
                self.counters.drop_for(reason);
                Verdict::Drop
            }
            Step::Park { port, next_hop } => {
                scratch.report(self.shared, self.tick, Report::Unresolved { port, address: next_hop });
                if !scratch.park.keep(ingress, frame.bytes(), (port, next_hop), self.now_ns + PARKED_NS_MAX) {
                    self.counters.drop_for(DropReason::ParkingFull);
                }
                Verdict::Drop
            }
            Step::Answer(answer) => match self.answer(scratch, ingress, frame, answer) {
                Ok(()) => self.transmit(ingress, frame),
                Err(reason) => {
                    self.counters.drop_for(reason);
                    Verdict::Drop
                }
            },
        }
    }

    #[inline]
    fn transmit(&self, port: u16, frame: &Frame<'_>) -> Verdict {
        self.count_sent(port, frame.length());
        Verdict::Transmit { port: port::PortIndex(port), start: frame.start(), length: frame.length() }
    }

    #[inline]
    pub fn count_sent(&self, port: u16, length_bytes: u16) {
        if let Some(counters) = self.counters.ports.get(usize::from(port)) {
            counters.tx_packets.add(1);
            counters.tx_bytes.add(u64::from(length_bytes));
        }
    }

    /// Turns `frame` into an answer that may go out by `ingress`.
    pub fn answer(
        &self,
        scratch: &mut Scratch,
        ingress: u16,
        frame: &mut Frame<'_>,
        answer: crate::path::Answer,
    ) -> Result<(), DropReason> {
        if is_error(answer) && !scratch.may_answer(self.tick) {
            return Err(DropReason::AnswersLimited);
        }
        let port = self.plan.ports.get(usize::from(ingress)).ok_or(DropReason::AnswerImpossible)?;
        let asker = Responder { plan: self.plan, port }.write(frame, answer)?;
        if let Some((address, mac)) = asker
            && !self.knows_neighbour(ingress, address, mac)
        {
            scratch.report(self.shared, self.tick, Report::Neighbour { port: ingress, address, mac });
        }
        self.counters.answered.add(1);
        Ok(())
    }

    /// Whether what a host says of itself is known. One that asks from another MAC has moved: that is news.
    fn knows_neighbour(&self, port: u16, address: IpAddr, mac: Mac) -> bool {
        self.next_hop(port, address).is_some_and(|known| known.mac == mac)
    }

    /// Where a next hop is, if its link leads anywhere now.
    pub fn next_hop(&self, port: u16, address: IpAddr) -> Option<Link> {
        let link = match address {
            IpAddr::V4(address) => self.plan.v4.routes.links().get(&(port, address)),
            IpAddr::V6(address) => self.plan.v6.routes.links().get(&(port, address)),
        };
        self.shared.links.get(*link?)
    }
}
