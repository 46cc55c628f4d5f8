//! The short way of most packets: plain frames of sessions that are known and go on as those before them did.
//!
//! Everything that speaks against it is asked before anything is written, so that what is left alone here
//! ([`World::express`] gives nothing back) goes the way of all others as it came.

use crate::arrival::Door;
use crate::burst::Lane;
use crate::path::{Fits, Path, World};
use crate::tally::Sent;
use flow::plain::{PlainPacket, PortHeader};
use flow::{Family, FlowKey, NetworkHeader};
use plan::{Link, MemberState};
use port::PortIndex;
use rewrite::{Translation, apply_plain};
use session::tcp::{Observation, Segment, header_flags, observe_usual};
use session::{Flags, Found};
use wire::plain::Plain;
use wire::tcp::Tcp;
use wire::udp::Udp;

impl World<'_> {
    /// Rewrites a frame and says by which ring it leaves, if it may go the short way.
    #[inline(always)]
    pub fn express(&self, door: &Door, lane: &Lane, frame: &mut [u8], sent: &mut Sent) -> Option<PortIndex> {
        let plain = lane.plain.filter(|_| !lane.probe.is_miss())?;
        let routed = match plain {
            Plain::TcpV4 => self.v4().routed::<Tcp<'_>>(door, lane, frame, sent),
            Plain::UdpV4 => self.v4().routed::<Udp<'_>>(door, lane, frame, sent),
            Plain::TcpV6 => self.v6().routed::<Tcp<'_>>(door, lane, frame, sent),
            Plain::UdpV6 => self.v6().routed::<Udp<'_>>(door, lane, frame, sent),
        };
        routed.or_else(|| match plain {
            Plain::TcpV4 => self.v4().otherwise::<Tcp<'_>>(door, lane, frame, sent),
            Plain::UdpV4 => self.v4().otherwise::<Udp<'_>>(door, lane, frame, sent),
            Plain::TcpV6 => self.v6().otherwise::<Tcp<'_>>(door, lane, frame, sent),
            Plain::UdpV6 => self.v6().otherwise::<Udp<'_>>(door, lane, frame, sent),
        })
    }
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// What a router would pass on, by a port of its own: most packets by far.
    ///
    /// It shares its beginning with [`Self::otherwise`] in writing only: what one would hand to the other must lie in memory,
    /// which cost every packet sixty instructions.
    #[inline(always)]
    fn routed<'a, T: PortHeader<'a>>(
        &self,
        door: &Door,
        lane: &Lane,
        frame: &'a mut [u8],
        sent: &mut Sent,
    ) -> Option<PortIndex> {
        let plan = self.world.plan;
        let mut packet = PlainPacket::<F, T>::over(frame)?;
        if packet.ethernet.destination() != door.own || !door.is_of_leg() {
            return None;
        }
        let found = self.table.find_first(&lane.probe, packet.key(door.zone).words())?;
        let translation = F::translation(&found.payload);
        if !translation.shape.is_routed()
            || !may_go(&packet, &found)
            || found.direction.activity.epoch() != plan.route_epoch
            || packet.header.hop_limit() <= 1
            || plan.member_state(translation.member) == MemberState::Dead
        {
            return None;
        }
        let link = self.link_for(door, &packet, &translation)?;
        let exit = self.world.exit(link.port, packet.frame_bytes)?;
        packet.ethernet.set_destination(link.mac);
        packet.ethernet.set_source(exit.mac);
        self.go(&mut packet, &found, &translation);
        self.world.count_sent_to(sent, link.port, packet.frame_bytes);
        Some(PortIndex(exit.ring))
    }

    /// Everything else that needs no more than new addresses and a port: what a bridge passes on, or a server that is
    /// reached by its MAC address alone.
    #[inline(never)]
    fn otherwise<'a, T: PortHeader<'a>>(
        &self,
        door: &Door,
        lane: &Lane,
        frame: &'a mut [u8],
        sent: &mut Sent,
    ) -> Option<PortIndex> {
        let plan = self.world.plan;
        let mut packet = PlainPacket::<F, T>::over(frame)?;
        let is_own = packet.ethernet.destination() == door.own;
        // A bridge hears everybody, and sees what passes between others too.
        let is_for_us = match door.is_of_leg() {
            true => is_own,
            false => self.world.hears(door, &packet.ethernet),
        };
        if !is_for_us {
            return None;
        }
        let found = self.table.find_first(&lane.probe, packet.key(door.zone).words())?;
        let translation = F::translation(&found.payload);
        let shape = translation.shape;
        let is_switched = !is_own && !shape.has_link_mac();
        if shape.is_tunnelled()
            || !may_go(&packet, &found)
            // Of what others send each other, replies alone are translated.
            || !is_own && found.direction.activity.flags().intersects(Flags::CLIENT.with(Flags::ONE_WAY))
            || !is_switched && found.direction.activity.epoch() != plan.route_epoch
            || shape.takes_hop() && packet.header.hop_limit() <= 1
            || plan.member_state(translation.member) == MemberState::Dead
        {
            return None;
        }
        let way = match is_switched {
            true if shape.passes_firewall() => None,
            true => self.world.switched(door, &packet.ethernet, packet.frame_bytes),
            false => {
                let link = self.link_for(door, &packet, &translation)?;
                self.world.departure(shape, door, link, packet.ethernet.source(), packet.frame_bytes)
            }
        }?;
        packet.ethernet.set_destination(way.destination);
        packet.ethernet.set_source(way.source);
        self.go(&mut packet, &found, &translation);
        self.world.count_sent_to(sent, way.port, packet.frame_bytes);
        Some(PortIndex(way.ring))
    }

    /// The link by which a packet of that translation leaves.
    #[inline(always)]
    fn link_for<'a, T: PortHeader<'a>>(
        &self,
        door: &Door,
        packet: &PlainPacket<'a, F, T>,
        translation: &Translation<F>,
    ) -> Option<Link> {
        let index = match translation.shape.passes_firewall() {
            false => translation.link,
            true => self.pinned_way(translation, Link { port: door.leg, mac: packet.ethernet.source() })?,
        };
        self.world.shared.links.get(index)
    }

    /// Gives the packet its new addresses, and notes it.
    #[inline(always)]
    fn go<'a, T: PortHeader<'a>>(
        &self,
        packet: &mut PlainPacket<'a, F, T>,
        found: &Found<'_, KEY, PAYLOAD, LINES>,
        translation: &Translation<F>,
    ) {
        let length_bytes = packet.header.length_bytes();
        let segment = packet.segment(length_bytes);
        apply_plain(translation, packet);
        self.count_packet(translation.member, translation.direction, length_bytes);
        let seen = match &segment {
            Some(segment) => observe_usual(found.direction, segment),
            None => Some(Observation::NOTHING),
        };
        if !seen.is_some_and(|seen| found.note(self.world.tick, seen)) {
            self.record_at(found.index, found.birth(), translation.member, segment);
        }
    }
}

/// Whether neither a SYN nor a reset session asks for more than a translation.
#[inline(always)]
fn may_go<'a, F: Family, T: PortHeader<'a>, const KEY: usize, const PAYLOAD: usize, const LINES: usize>(
    packet: &PlainPacket<'a, F, T>,
    found: &Found<'_, KEY, PAYLOAD, LINES>,
) -> bool {
    let is_syn = packet.transport.as_tcp().is_some_and(|tcp| tcp.flags().0 & header_flags::SYN != 0);
    !is_syn && !found.direction.activity.flags().contains(Flags::RESET)
}

/// What a plain packet tells the session table.
pub(crate) trait Tells {
    /// What of a TCP segment is looked at; `None` of a datagram. The lengths were found to agree.
    fn segment(&self, length_bytes: u16) -> Option<Segment>;
}

impl<'a, F: Family, T: PortHeader<'a>> Tells for PlainPacket<'a, F, T> {
    #[inline(always)]
    fn segment(&self, length_bytes: u16) -> Option<Segment> {
        let tcp = self.transport.as_tcp()?;
        let headers_bytes = (F::HEADER_BYTES + tcp.data_offset_bytes()) as u32;
        Some(Segment {
            flags: tcp.flags().0,
            sequence: tcp.sequence(),
            acknowledgement: tcp.acknowledgement(),
            payload_bytes: u32::from(length_bytes).wrapping_sub(headers_bytes),
        })
    }
}
