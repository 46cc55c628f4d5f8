//! The common case: a packet of a session that is known. Its translation is replayed.

use crate::path::{Answer, Fits, Path, Step};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use flow::{Family, NetworkHeader, Packet, Transport};
use plan::{MemberState, Resolution};
use rewrite::{Direction, LinkIndex, MemberId, Translation, apply};
use session::tcp::{self, Segment, header_flags};
use session::{Flags, Hit, Lookup, Probe, State};
use wire::ethernet::Ethernet;

/// What of a TCP packet the session table looks at.
pub(crate) fn segment_of(transport: &Transport<'_>) -> Option<Segment> {
    match transport {
        Transport::Tcp { header, data_bytes } => Some(Segment {
            flags: header.flags().0,
            sequence: header.sequence(),
            acknowledgement: header.acknowledgement(),
            payload_bytes: u32::from(*data_bytes),
        }),
        _ => None,
    }
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Decides what becomes of `packet`, and rewrites it when it is forwarded.
    #[inline]
    pub fn handle(
        &self,
        scratch: &mut Scratch,
        ingress: u16,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        probe: &Probe,
    ) -> Step {
        use flow::FlowKey;
        if let Some(reason) = self.wrong_link_address(ingress, ethernet) {
            // A neighbour solicitation is the one thing that comes by multicast.
            return self.multicast(packet, reason);
        }
        if packet.piece.is_some() {
            return self.first(scratch, ethernet, packet);
        }
        match self.table.find(probe, packet.key.words()) {
            Lookup::Hit(hit) => self.replay(scratch, ethernet, packet, &hit),
            Lookup::Miss => self.first(scratch, ethernet, packet),
            Lookup::Busy => DropReason::SessionBusy.into(),
        }
    }

    #[inline]
    fn wrong_link_address(&self, ingress: u16, ethernet: &Ethernet<'_>) -> Option<DropReason> {
        let destination = ethernet.destination();
        let own = self.world.plan.ports.get(usize::from(ingress))?.mac;
        match () {
            () if destination == own => None,
            () if destination.is_multicast() => Some(DropReason::LinkLayerMulticast),
            () => Some(DropReason::ForeignMac),
        }
    }

    /// Replays the translation of `hit`.
    #[inline]
    pub fn replay(
        &self,
        scratch: &mut Scratch,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        hit: &Hit<PAYLOAD>,
    ) -> Step {
        let translation = F::translation(&hit.payload);
        let segment = segment_of(&packet.transport);
        if let Some(segment) = &segment {
            let flags = hit.direction.activity.flags();
            if (flags.contains(Flags::RESET) || segment.flags & header_flags::SYN != 0)
                && let Some(step) = self.unusual(scratch, ethernet, packet, hit, segment)
            {
                return step;
            }
        }
        if self.world.plan.member_state(translation.member) == MemberState::Dead {
            return self.orphaned(scratch, ethernet, packet, hit);
        }
        let step = self.leave(ethernet, packet, &translation, hit);
        if let Step::Transmit(_) = step {
            let mut seen = match &segment {
                Some(segment) => tcp::observe(hit.direction, || self.table.peer_direction(hit), segment),
                None => tcp::Observation::NOTHING,
            };
            if seen.flags.intersects(Flags::FIN.with(Flags::RST)) {
                seen.flags = seen.flags.with(self.count_closing(translation.member, hit, seen.flags));
            }
            self.table.record(hit, self.world.tick, seen);
        }
        step
    }

    /// A packet of a session that was reset, or a SYN on a session that exists. `None`: it is nothing special.
    #[cold]
    fn unusual(
        &self,
        scratch: &mut Scratch,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        hit: &Hit<PAYLOAD>,
        segment: &Segment,
    ) -> Option<Step> {
        let session = self.table.session(hit.client_slot(), hit.birth)?;
        if hit.is_client() && tcp::syn_reuses(session.state(), hit.direction, segment) {
            let ended = self.end(hit);
            return Some(if ended {
                self.first(scratch, ethernet, packet)
            } else {
                DropReason::SessionBusy.into()
            });
        }
        if session.state() != State::Reset {
            return None;
        }
        Some(Self::answer_reset_session(segment))
    }

    /// A reset is never answered with another (RFC 9293 section 3.10.7.1).
    fn answer_reset_session(segment: &Segment) -> Step {
        let is_reset = segment.flags & header_flags::RST != 0;
        if is_reset { DropReason::ResetSession.into() } else { Step::Answer(Answer::Reset) }
    }

    /// Ends the session that was hit; false when another worker was faster, or holds it just now. The packet is dropped
    /// then: to go on would be to find the same session again, and again.
    fn end(&self, hit: &Hit<PAYLOAD>) -> bool {
        let ended = self.table.remove(hit.client_slot(), hit.birth);
        ended.iter().for_each(|ended| self.release(ended));
        ended.is_some()
    }

    /// A packet of a session whose server is gone, before the sweep came by: TCP is reset, others begin anew.
    #[cold]
    fn orphaned(
        &self,
        scratch: &mut Scratch,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        hit: &Hit<PAYLOAD>,
    ) -> Step {
        if let Some(segment) = segment_of(&packet.transport) {
            // The sweep resets both ends and marks the session; this packet's sender need not wait for it.
            return Self::answer_reset_session(&segment);
        }
        if !self.end(hit) {
            return DropReason::SessionBusy.into();
        }
        if hit.is_client() { self.first(scratch, ethernet, packet) } else { DropReason::NoServer.into() }
    }

    /// Replays the translation of a session that `packet` itself has just opened, which counted it already.
    pub fn replay_first(
        &self,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        hit: &Hit<PAYLOAD>,
    ) -> Step {
        self.leave(ethernet, packet, &F::translation(&hit.payload), hit)
    }

    /// Rewrites the packet and gives it to its link, if nothing speaks against it.
    #[inline]
    fn leave(
        &self,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        translation: &Translation<F>,
        hit: &Hit<PAYLOAD>,
    ) -> Step {
        let is_stale = hit.direction.activity.epoch() != self.world.plan.route_epoch;
        let mut index = translation.link;
        if is_stale || index == LinkIndex::UNRESOLVED {
            index = match self.resolve_again(translation, packet.hash, hit) {
                Ok(index) => index,
                Err(step) => return step,
            };
        }
        let Some(link) = self.world.shared.links.get(index) else {
            return self.park_for(translation.destination.0, packet.hash);
        };
        let Some(egress) = self.world.plan.ports.get(usize::from(link.port)) else {
            return DropReason::NoRoute.into();
        };
        if packet.header.hop_limit() <= 1 {
            return Step::Answer(Answer::TimeExceeded);
        }
        if packet.length_bytes > egress.mtu_bytes {
            return Step::Answer(Answer::TooBig { mtu_bytes: egress.mtu_bytes });
        }
        apply(translation, packet);
        ethernet.set_destination(link.mac);
        ethernet.set_source(egress.mac);
        self.count_packet(translation.member, translation.direction, packet.length_bytes);
        Step::Transmit(link.port)
    }

    /// Asks the routes for the egress of a session whose answer is out of date, and keeps the new one.
    #[cold]
    fn resolve_again(
        &self,
        translation: &Translation<F>,
        hash: u64,
        hit: &Hit<PAYLOAD>,
    ) -> Result<LinkIndex, Step> {
        let link = match self.view.routes.resolve(translation.destination.0, hash) {
            Resolution::Link(link) => link,
            Resolution::Unresolved { port, next_hop } => {
                return Err(Step::Park { port, next_hop: next_hop.into() });
            }
            Resolution::Unreachable => return Err(Step::Answer(Answer::NetworkUnreachable)),
        };
        if link != translation.link {
            let word = F::words(&Translation { link, ..*translation })[F::LINK_WORD];
            self.table.set_payload_word(hit, F::LINK_WORD, word);
        }
        self.table.set_epoch(hit, self.world.plan.route_epoch);
        Ok(link)
    }

    /// The frame waits for the next hop of `destination`.
    #[cold]
    pub fn park_for(&self, destination: F::Address, hash: u64) -> Step {
        match self.view.routes.next_hop(destination, hash) {
            Some((port, next_hop)) => Step::Park { port, next_hop: next_hop.into() },
            None => Step::Answer(Answer::NetworkUnreachable),
        }
    }

    /// Counts a session that begins to close with this packet, once for each side that shows it, and gives back the mark
    /// that says so. What is counted here is taken back by the marks when the session ends.
    #[cold]
    fn count_closing(&self, member: MemberId, hit: &Hit<PAYLOAD>, seen: Flags) -> Flags {
        let own = hit.direction.activity.flags();
        let peer = self.table.peer_direction(hit).map(|peer| peer.activity.flags()).unwrap_or_default();
        let is_closing = State::of(own.with(seen), peer) == State::TcpClosing;
        if !is_closing || own.with(peer).contains(Flags::COUNTED_CLOSING) {
            return Flags::NONE;
        }
        if let Some(counters) = self.world.counters.members.get(usize::from(member.index)) {
            counters.sessions_closing.add(1);
        }
        Flags::COUNTED_CLOSING
    }

    #[inline]
    fn count_packet(&self, member: MemberId, direction: Direction, length_bytes: u16) {
        if let Some(counters) = self.world.counters.members.get(usize::from(member.index)) {
            let (packets, bytes) = match direction {
                Direction::Request => (&counters.packets_in, &counters.bytes_in),
                Direction::Reply => (&counters.packets_out, &counters.bytes_out),
            };
            packets.add(1);
            bytes.add(u64::from(length_bytes));
        }
    }
}
