//! The short way of most packets: plain frames of sessions that are known and routed on as they were before.
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
use rewrite::apply_plain;
use session::Flags;
use session::tcp::{Observation, Segment, header_flags, observe_usual};
use wire::plain::Plain;
use wire::tcp::Tcp;
use wire::udp::Udp;

impl World<'_> {
    /// Rewrites a frame and says by which ring it leaves, if it may go the short way.
    #[inline(always)]
    pub fn express(&self, door: &Door, lane: &Lane, frame: &mut [u8], sent: &mut Sent) -> Option<PortIndex> {
        match lane.plain? {
            Plain::TcpV4 => self.v4().express::<Tcp<'_>>(door, lane, frame, sent),
            Plain::UdpV4 => self.v4().express::<Udp<'_>>(door, lane, frame, sent),
            Plain::TcpV6 => self.v6().express::<Tcp<'_>>(door, lane, frame, sent),
            Plain::UdpV6 => self.v6().express::<Udp<'_>>(door, lane, frame, sent),
        }
    }
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    #[inline(always)]
    fn express<'a, T: PortHeader<'a>>(
        &self,
        door: &Door,
        lane: &Lane,
        frame: &'a mut [u8],
        sent: &mut Sent,
    ) -> Option<PortIndex> {
        let plan = self.world.plan;
        let mut packet = PlainPacket::<F, T>::over(frame)?;
        if packet.ethernet.destination() != door.own {
            return None;
        }
        let found = self.table.find_first(&lane.probe, packet.key(door.zone).words())?;
        let translation = F::translation(&found.payload);
        let is_syn = packet.transport.as_tcp().is_some_and(|tcp| tcp.flags().0 & header_flags::SYN != 0);
        if is_syn
            || found.direction.activity.flags().contains(Flags::RESET)
            || found.direction.activity.epoch() != plan.route_epoch
            || !translation.shape.is_routed()
            || packet.header.hop_limit() <= 1
            || plan.member_state(translation.member) == MemberState::Dead
        {
            return None;
        }
        let index = match translation.shape.passes_firewall() {
            false => translation.link,
            true => self.pinned_way(&translation, Link { port: door.leg, mac: packet.ethernet.source() })?,
        };
        let link = self.world.shared.links.get(index)?;
        let exit = plan
            .ports
            .exit(link.port)
            .filter(|exit| packet.frame_bytes <= usize::from(exit.frame_bytes_max))?;
        let length_bytes = packet.header.length_bytes();
        let segment = packet.segment(length_bytes);
        apply_plain(&translation, &mut packet);
        packet.ethernet.set_destination(link.mac);
        packet.ethernet.set_source(exit.mac);
        self.count_packet(translation.member, translation.direction, length_bytes);
        let seen = match &segment {
            Some(segment) => observe_usual(found.direction, segment),
            None => Some(Observation::NOTHING),
        };
        if !seen.is_some_and(|seen| found.note(self.world.tick, seen)) {
            self.record_at(found.index, found.birth(), translation.member, segment);
        }
        self.world.count_sent_to(sent, link.port, packet.frame_bytes);
        Some(PortIndex(exit.ring))
    }
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
