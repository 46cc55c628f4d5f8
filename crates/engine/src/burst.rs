//! One burst: parse all, touch all, decide all, then finish the rare ones.
//!
//! Each stage runs over the whole burst, so that the cache misses of its frames overlap. The stages that wait
//! for memory do nothing else: a core looks a few hundred instructions ahead, which is one frame of parsing
//! but twenty of loading.
//!
//! ```text
//!   each ×64:  parse ─▶ load tags ─▶ compare tags ─▶ load slots ─▶ look up, rewrite ─▶ finish
//! ```

use crate::arrival::{Arrival, Door, Ingress};
use crate::egress::Outcome;
use crate::path::{Answer, Step, World};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::shared::Report;
use arrayvec::ArrayVec;
use flow::{Network, Parsed, Zone, parse};
use port::{BURST_FRAMES_MAX, Burst, Frame, Verdict};
use session::Probe;
use std::hint::black_box;
use std::net::IpAddr;
use wire::arp::Arp;
use wire::{Mac, Refusal};

pub(crate) type Verdicts = ArrayVec<Verdict, BURST_FRAMES_MAX>;

/// A frame on its way through the stages.
struct Staged<'a> {
    /// Where it came in; [`Ingress::NOWHERE`] where nobody has such frames.
    ingress: Ingress,
    parsed: Result<Parsed<'a>, Refusal>,
    /// Where its session may be; filled in by a later stage than `parsed`, for IP only.
    probe: Option<Probe>,
}

impl World<'_> {
    /// Decides about every frame of a burst from ring `ring` and gives back what the ring is to do.
    pub fn burst(&self, scratch: &mut Scratch, ring: u16, burst: &mut Burst<'_>) -> Verdicts {
        scratch.wrappings.clear();
        let steps = self.decide(scratch, ring, burst);
        let mut verdicts = Verdicts::new();
        for (frame, (ingress, step)) in burst.iter_mut().zip(steps) {
            verdicts.push(match self.finish(scratch, ingress, frame, step) {
                Ok(Outcome::Sent(port)) => {
                    Verdict::Transmit { port, start: frame.start(), length: frame.length() }
                }
                Ok(Outcome::Parked) => Verdict::Drop,
                Ok(Outcome::Taken) => {
                    self.counters.taken.add(1);
                    Verdict::Drop
                }
                Err(reason) => {
                    self.counters.drop_for(reason);
                    Verdict::Drop
                }
            });
        }
        verdicts
    }

    fn decide(
        &self,
        scratch: &mut Scratch,
        ring: u16,
        burst: &mut Burst<'_>,
    ) -> ArrayVec<(Ingress, Step), BURST_FRAMES_MAX> {
        let only = self.only_door(ring, burst);
        let mut staged = ArrayVec::<Staged<'_>, BURST_FRAMES_MAX>::new();
        match only {
            Some(door) => {
                for frame in burst.iter_mut() {
                    staged.push(self.parse(door.ingress, door.zone, frame.bytes_mut()));
                }
            }
            None => {
                for frame in burst.iter_mut() {
                    staged.push(self.stage(ring, frame));
                }
            }
        }
        let tags = staged.iter().fold(0, |sum, staged| sum ^ self.touch_tags(staged));
        for staged in &mut staged {
            staged.probe = self.probe(staged);
        }
        let slots = staged.iter().fold(0, |sum, staged| sum ^ self.touch(staged));
        black_box((tags, slots));
        let mut steps = ArrayVec::new();
        for staged in &mut staged {
            let ingress = staged.ingress;
            let step = match &only {
                Some(door) => self.step(scratch, door, staged),
                None => self.step_alone(scratch, staged),
            };
            steps.push((ingress, step));
        }
        steps
    }

    /// The door of a ring all of whose frames are one port's; the burst is counted for it.
    #[inline]
    fn only_door(&self, ring: u16, burst: &Burst<'_>) -> Option<Door> {
        let port = self.plan.rings.get(usize::from(ring))?.only_port()?;
        let door = self.door(Ingress { port, is_host: false })?;
        let bytes = burst.iter().map(|frame| u64::from(frame.length())).sum();
        self.count_received(port, burst.len() as u64, bytes);
        Some(door)
    }

    /// A frame of a ring that several ports have their frames from, or of a host leg.
    #[inline(never)]
    fn stage<'a>(&self, ring: u16, frame: &'a mut Frame<'_>) -> Staged<'a> {
        let ingress = self.ingress(ring, frame).unwrap_or(Ingress::NOWHERE);
        if !ingress.is_host {
            self.count_received(ingress.port, 1, u64::from(frame.length()));
        }
        let zone = self.port(ingress.port).map_or(Zone::default(), |port| port.zone);
        self.parse(ingress, zone, frame.bytes_mut())
    }

    /// Not inlined, so that it writes what it finds where that is to stay.
    #[inline(never)]
    fn parse<'a>(&self, ingress: Ingress, zone: Zone, bytes: &'a mut [u8]) -> Staged<'a> {
        Staged { ingress, parsed: parse(bytes, zone, &self.shared.hasher), probe: None }
    }

    /// Takes a frame apart outside the stages of a burst.
    #[inline(never)]
    pub fn parse_alone<'a>(&self, zone: Zone, bytes: &'a mut [u8]) -> Result<Parsed<'a>, Refusal> {
        parse(bytes, zone, &self.shared.hasher)
    }

    #[inline]
    fn count_received(&self, port: u16, packets: u64, bytes: u64) {
        if let Some(counters) = self.counters.ports.get(usize::from(port)) {
            counters.rx_packets.add(packets);
            counters.rx_bytes.add(bytes);
        }
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

    /// The same for a frame whose door nobody has looked up.
    #[inline(never)]
    fn step_alone(&self, scratch: &mut Scratch, staged: &mut Staged<'_>) -> Step {
        match self.door(staged.ingress) {
            Some(door) => self.step(scratch, &door, staged),
            None => DropReason::VlanUnknown.into(),
        }
    }

    #[inline]
    fn step(&self, scratch: &mut Scratch, door: &Door, staged: &mut Staged<'_>) -> Step {
        let Staged { parsed, probe, .. } = staged;
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(refusal) => return Step::Malformed(DropReason::from(*refusal)),
        };
        let ethernet = &mut parsed.ethernet;
        if door.ingress.is_host {
            return self.of_host(door.ingress.port, ethernet);
        }
        let at = match door.arrival(ethernet, parsed.vlan) {
            Ok(at) => at,
            Err(reason) => return reason.into(),
        };
        if at.leg != at.port {
            let Some(bridge) = self.bridge(at.leg) else { return DropReason::NoEgress.into() };
            if let Err(reason) = self.learn(bridge, &at, ethernet) {
                return reason.into();
            }
            // What a trunk carries in VLANs of its own is switched and nothing else.
            if at.vlan != 0 {
                return self.switch(bridge, &at, ethernet.destination());
            }
        }
        match (&mut parsed.network, probe) {
            (Network::V4(packet), Some(probe)) => self.v4().handle(scratch, &at, ethernet, packet, probe),
            (Network::V6(packet), Some(probe)) => self.v6().handle(scratch, &at, ethernet, packet, probe),
            (Network::Arp(message), _) => self.arp(scratch, &at, message),
            _ => self.not_ours(&at, ethernet.destination(), DropReason::ProtocolUnknown),
        }
    }

    /// Decides about one frame alone, outside any burst.
    pub fn decide_one(&self, scratch: &mut Scratch, ingress: Ingress, bytes: &mut [u8]) -> Step {
        scratch.wrappings.clear();
        let zone = self.port(ingress.port).map_or(Zone::default(), |port| port.zone);
        let mut staged = self.parse(ingress, zone, bytes);
        staged.probe = self.probe(&staged);
        self.step_alone(scratch, &mut staged)
    }

    fn arp(&self, scratch: &mut Scratch, at: &Arrival, message: &Arp<'_>) -> Step {
        let (sender, mac) = (message.sender_address(), message.sender_mac());
        if self.plan.v4.owned.get(sender).is_some() {
            self.conflict(scratch, at, IpAddr::V4(sender), mac);
            return DropReason::AddressConflict.into();
        }
        Step::Answer(Answer::Arp)
    }

    /// Another host claims an address of ours, unless it is ourselves that are heard.
    pub fn conflict(&self, scratch: &mut Scratch, at: &Arrival, address: IpAddr, mac: Mac) {
        if !self.plan.ports.iter().any(|port| port.mac == mac) {
            scratch.report(self.shared, self.tick, Report::Conflict { port: at.leg, address, mac });
        }
    }
}
