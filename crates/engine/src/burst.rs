//! One burst: know all, ask for all, then decide each.
//!
//! Each stage runs over the whole burst and asks the memory for what the next one needs, so that the cache misses of its
//! frames overlap.
//!
//! ```text
//!   each ×64:  know ─▶ ask for tags      compare tags ─▶ ask for slot      decide ─┬─ express: look up, rewrite
//!                                                                                  └─ ordinary: parse, decide, finish
//! ```
//!
//! What a plain frame of a session needs is done by [`express`](crate::express) on views that fit into registers. Whatever
//! that leaves alone is parsed and goes the way of all others.

use crate::arrival::{Arrival, Door, Ingress};
use crate::egress::Outcome;
use crate::path::{Answer, NO_PORT, Step, World};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::shared::Report;
use crate::tally::Sent;
use arrayvec::ArrayVec;
use flow::plain;
use flow::{Network, Parsed, Zone, parse};
use port::{BURST_FRAMES_MAX, Burst, Frame, Verdict};
use session::Probe;
use std::net::IpAddr;
use wire::arp::Arp;
use wire::plain::Plain;
use wire::{Mac, Refusal};

pub(crate) type Verdicts = ArrayVec<Verdict, BURST_FRAMES_MAX>;

/// What is known of a frame before it is decided about.
#[derive(Clone, Copy)]
pub(crate) struct Lane {
    /// Where it came in; [`Ingress::NOWHERE`] where nobody has such frames.
    pub ingress: Ingress,
    /// What it is, if it is plain.
    pub plain: Option<Plain>,
    /// Where its session may be, if it is plain.
    pub probe: Probe,
}

/// The lanes of a burst, in the order of its frames.
type Lanes = ArrayVec<Lane, BURST_FRAMES_MAX>;

impl World<'_> {
    /// Decides about every frame of a burst from ring `ring` and gives back what the ring is to do, and how many frames it
    /// is to send.
    pub fn burst(&self, scratch: &mut Scratch, ring: u16, burst: &mut Burst<'_>) -> (Verdicts, u32) {
        let only = self.only_door(ring, burst);
        let lanes = self.lanes(only, ring, burst);
        let mut verdicts = Verdicts::new();
        let mut sent = Sent::default();
        match only {
            Some(door) => {
                for (place, (frame, lane)) in burst.iter_mut().zip(&lanes).enumerate() {
                    verdicts.push(self.verdict(scratch, &door, (place as u8, lane), frame, &mut sent));
                }
            }
            None => {
                for (place, (frame, lane)) in burst.iter_mut().zip(&lanes).enumerate() {
                    verdicts.push(match self.door(lane.ingress) {
                        Some(door) => self.verdict(scratch, &door, (place as u8, lane), frame, &mut sent),
                        None => self.ordinary(scratch, Some(place as u8), lane, frame, &mut sent),
                    });
                }
            }
        }
        self.meet_expectations(scratch, burst, &lanes, &mut verdicts, &mut sent);
        self.count_all_sent(&mut sent);
        (verdicts, sent.transmitted)
    }

    #[inline(always)]
    fn verdict(
        &self,
        scratch: &mut Scratch,
        door: &Door,
        (place, lane): (u8, &Lane),
        frame: &mut Frame<'_>,
        sent: &mut Sent,
    ) -> Verdict {
        match self.express(door, lane, frame.bytes_mut(), sent) {
            Some(port) => Verdict::Transmit { port, start: frame.start(), length: frame.length() },
            None => self.ordinary(scratch, Some(place), lane, frame, sent),
        }
    }

    /// A frame that is parsed, and decided about by everything that there is. With a `place` in the burst, a session that it
    /// opens may be stored later.
    #[inline(never)]
    pub fn ordinary(
        &self,
        scratch: &mut Scratch,
        place: Option<u8>,
        lane: &Lane,
        frame: &mut Frame<'_>,
        sent: &mut Sent,
    ) -> Verdict {
        scratch.expectations.take_in_hand(place.map(|place| (place, lane)));
        if scratch.expectations.keep_follower() {
            return Verdict::Drop;
        }
        let step = self.decide(scratch, lane, frame.bytes_mut());
        scratch.expectations.take_in_hand(None);
        match step {
            Step::Expected => Verdict::Drop,
            step => self.conclude(scratch, lane, frame, step, sent),
        }
    }

    /// Does to a frame what was decided.
    pub fn conclude(
        &self,
        scratch: &mut Scratch,
        lane: &Lane,
        frame: &mut Frame<'_>,
        step: Step,
        sent: &mut Sent,
    ) -> Verdict {
        match self.finish(scratch, lane.ingress, frame, step) {
            Ok(Outcome::Sent(port)) => {
                sent.transmitted += 1;
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
        }
    }

    /// Looks at every frame, and loads what its session will be found by.
    #[inline(always)]
    fn lanes(&self, only: Option<Door>, ring: u16, burst: &mut Burst<'_>) -> Lanes {
        let mut lanes = Lanes::new();
        match only {
            Some(door) => {
                for frame in burst.iter_mut() {
                    lanes.push(self.lane(door.ingress, door.zone, frame.bytes_mut()));
                }
            }
            None => {
                for frame in burst.iter_mut() {
                    lanes.push(self.lane_of_many(ring, frame));
                }
            }
        }
        for lane in &mut lanes {
            self.look(lane);
        }
        lanes
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
    fn lane_of_many(&self, ring: u16, frame: &mut Frame<'_>) -> Lane {
        let ingress = self.ingress(ring, frame).unwrap_or(Ingress::NOWHERE);
        if ingress.is_host || ingress.port == NO_PORT {
            return Lane { ingress, plain: None, probe: Probe::default() };
        }
        self.count_received(ingress.port, 1, u64::from(frame.length()));
        self.lane(ingress, self.zone_of(ingress), frame.bytes_mut())
    }

    fn zone_of(&self, ingress: Ingress) -> Zone {
        self.port(ingress.port).map_or(Zone::default(), |port| port.zone)
    }

    #[inline(always)]
    fn lane(&self, ingress: Ingress, zone: Zone, bytes: &mut [u8]) -> Lane {
        let plain = wire::plain::plain(bytes);
        let hash = plain.and_then(|plain| plain::hash(plain, bytes, zone, &self.shared.hasher));
        let probe = match (plain, hash) {
            (Some(Plain::TcpV4 | Plain::UdpV4), Some(hash)) => self.shared.sessions_v4.ask_for_tags(hash),
            (Some(Plain::TcpV6 | Plain::UdpV6), Some(hash)) => self.shared.sessions_v6.ask_for_tags(hash),
            _ => Probe::default(),
        };
        Lane { ingress, plain, probe }
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

    /// Compares the tags, and asks for the slot that the frame's session most likely has.
    #[inline(always)]
    fn look(&self, lane: &mut Lane) {
        match lane.plain {
            Some(Plain::TcpV4 | Plain::UdpV4) => {
                lane.probe = self.shared.sessions_v4.look(lane.probe);
                match lane.probe.is_miss() {
                    false => self.shared.sessions_v4.ask_for_slot(&lane.probe),
                    true => self.shared.sessions_v4.ask_for_room(&lane.probe),
                }
            }
            Some(Plain::TcpV6 | Plain::UdpV6) => {
                lane.probe = self.shared.sessions_v6.look(lane.probe);
                match lane.probe.is_miss() {
                    false => self.shared.sessions_v6.ask_for_slot(&lane.probe),
                    true => self.shared.sessions_v6.ask_for_room(&lane.probe),
                }
            }
            None => {}
        }
    }

    /// Takes a frame apart and decides about it.
    fn decide(&self, scratch: &mut Scratch, lane: &Lane, bytes: &mut [u8]) -> Step {
        scratch.wrappings.clear();
        let Some(door) = self.door(lane.ingress) else { return DropReason::VlanUnknown.into() };
        let mut parsed = match self.parsed(lane, door.zone, bytes) {
            Ok(parsed) => parsed,
            Err(refusal) => return Step::Malformed(DropReason::from(refusal)),
        };
        let probe = match &parsed.network {
            _ if lane.plain.is_some() => lane.probe,
            Network::V4(packet) => self.shared.sessions_v4.probe(packet.hash),
            Network::V6(packet) => self.shared.sessions_v6.probe(packet.hash),
            _ => lane.probe,
        };
        self.step(scratch, &door, &mut parsed, &probe)
    }

    #[inline(always)]
    pub fn parsed<'a>(&self, lane: &Lane, zone: Zone, bytes: &'a mut [u8]) -> Result<Parsed<'a>, Refusal> {
        match lane.plain {
            // What is plain is long enough for what it is.
            Some(plain) => {
                plain::parsed(plain, bytes, zone, &self.shared.hasher).ok_or(Refusal::EthernetTruncated)
            }
            None => self.parse_alone(zone, bytes),
        }
    }

    fn step(&self, scratch: &mut Scratch, door: &Door, parsed: &mut Parsed<'_>, probe: &Probe) -> Step {
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
        match &mut parsed.network {
            Network::V4(packet) => self.v4().handle(scratch, &at, ethernet, packet, probe),
            Network::V6(packet) => self.v6().handle(scratch, &at, ethernet, packet, probe),
            Network::Arp(message) => self.arp(scratch, &at, message),
            _ => self.not_ours(&at, ethernet.destination(), DropReason::ProtocolUnknown),
        }
    }

    /// Decides about one frame alone, outside any burst.
    pub fn decide_one(&self, scratch: &mut Scratch, ingress: Ingress, bytes: &mut [u8]) -> Step {
        self.decide(scratch, &Lane { ingress, plain: None, probe: Probe::default() }, bytes)
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
