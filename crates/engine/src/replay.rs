//! The common case: a packet of a session that is known. Its translation is replayed.

use crate::arrival::{Arrival, Reach};
use crate::burst::Lane;
use crate::path::{Answer, Egress, Fits, Path, Step};
use crate::path_mtu::MTU_BYTES_MIN;
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::wrapping::{Outer, Room, Wrapping};
use flow::{Family, FlowKey, NetworkHeader, Packet, Transport};
use plan::{MemberState, MssClamp, Resolution};
use rewrite::{Carriage, LinkIndex, MemberId, Translation, apply};
use session::tcp::{self, Segment, header_flags};
use session::{Flags, Hit, Lookup, Probe, SlotIndex, State};
use std::net::IpAddr;
use wire::ethernet::Ethernet;
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::Tcp;

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

#[inline]
fn is_syn(transport: &Transport<'_>) -> bool {
    matches!(transport, Transport::Tcp { header, .. } if header.flags().0 & header_flags::SYN != 0)
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
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        probe: &Probe,
    ) -> Step {
        match at.reach {
            Reach::Own => {}
            Reach::Group => return self.group(at, ethernet, packet),
            Reach::Other if at.leg == at.port => return DropReason::ForeignMac.into(),
            // A bridge sees what passes between others too: replies to its services among it.
            Reach::Other => {}
        }
        if let Some(piece) = packet.piece {
            return self.piece(scratch, at, ethernet, packet, (piece, probe));
        }
        self.look_up(scratch, at, ethernet, packet, probe)
    }

    /// The same for a packet that is not decided about in its turn of a burst.
    #[inline(never)]
    pub fn look_up_alone(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        probe: &Probe,
    ) -> Step {
        self.look_up(scratch, at, ethernet, packet, probe)
    }

    /// Finds the packet's session and replays it, or decides anew.
    #[inline(always)]
    fn look_up(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        probe: &Probe,
    ) -> Step {
        match self.table.find(probe, packet.key.words()) {
            Lookup::Hit(hit) if at.reach == Reach::Other && !Self::is_reply_to_translate(&hit) => {
                self.pass_on(at, ethernet, packet, &hit)
            }
            Lookup::Hit(hit) => self.replay(scratch, at, ethernet, packet, &hit),
            Lookup::Miss => self.first(scratch, at, ethernet, packet),
            Lookup::Busy => DropReason::SessionBusy.into(),
        }
    }

    /// Whether a packet that passes a bridge is to bear the VIP's address from here on.
    #[inline]
    pub fn is_reply_to_translate(hit: &Hit<PAYLOAD>) -> bool {
        !hit.is_client() && !hit.direction.activity.flags().contains(Flags::ONE_WAY)
    }

    /// A packet of a session that passes a bridge and needs nothing: it is counted, and switched.
    #[inline(never)]
    fn pass_on(
        &self,
        at: &Arrival,
        ethernet: &Ethernet<'_>,
        packet: &Packet<'_, F>,
        hit: &Hit<PAYLOAD>,
    ) -> Step {
        let translation = F::translation(&hit.payload);
        let step = self.world.not_ours(at, ethernet.destination(), DropReason::ForeignMac);
        if let Step::Send(_) = step {
            self.count_packet(translation.member, translation.direction, packet.length_bytes);
            self.record(hit, translation.member, segment_of(&packet.transport).as_ref());
        }
        step
    }

    /// Replays the translation of `hit`.
    #[inline]
    pub fn replay(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        hit: &Hit<PAYLOAD>,
    ) -> Step {
        let translation = F::translation(&hit.payload);
        let segment = segment_of(&packet.transport);
        if let Some(segment) = &segment {
            let flags = hit.direction.activity.flags();
            if (flags.contains(Flags::RESET) || segment.flags & header_flags::SYN != 0)
                && let Some(step) = self.unusual(scratch, at, ethernet, packet, hit, segment)
            {
                return step;
            }
        }
        if self.world.plan.member_state(translation.member) == MemberState::Dead {
            return self.orphaned(scratch, at, ethernet, packet, hit);
        }
        let step = self.leave(scratch, at, ethernet, packet, &translation, hit);
        if let Step::Send(_) | Step::Wrap(..) = step {
            self.record(hit, translation.member, segment.as_ref());
        }
        step
    }

    /// Notes a packet of a session that was forwarded.
    #[inline]
    fn record(&self, hit: &Hit<PAYLOAD>, member: MemberId, segment: Option<&Segment>) {
        let seen = match segment {
            Some(segment) => tcp::observe(hit.direction, || self.table.peer_direction(hit), segment),
            None => tcp::Observation::NOTHING,
        };
        if seen.flags.intersects(Flags::FIN.with(Flags::RST)) {
            self.note_end(member, hit, seen.flags);
        }
        self.table.record(hit, self.world.tick, seen);
    }

    /// The same for a packet that went the short way and shows something new.
    #[inline(never)]
    pub fn record_at(&self, index: SlotIndex, birth: u16, member: MemberId, segment: Option<Segment>) {
        if let Some(hit) = self.table.hit_at(index, birth) {
            self.record(&hit, member, segment.as_ref());
        }
    }

    /// A packet of a session that was reset, or a SYN on a session that exists. `None`: it is nothing special.
    #[cold]
    fn unusual(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        hit: &Hit<PAYLOAD>,
        segment: &Segment,
    ) -> Option<Step> {
        let session = self.table.session(hit.client_slot(), hit.birth)?;
        if hit.is_client() && tcp::syn_reuses(session.state(), hit.direction, segment) {
            let ended = self.end(hit);
            return Some(if ended {
                self.first(scratch, at, ethernet, packet)
            } else {
                DropReason::SessionBusy.into()
            });
        }
        if session.state() != State::Reset {
            self.note_handshake(hit, segment, &session);
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
    pub fn orphaned(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
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
        match hit.is_client() || Self::is_crossing(&F::translation(&hit.payload)) {
            true => self.first(scratch, at, ethernet, packet),
            false => DropReason::NoServer.into(),
        }
    }

    /// Replays the translation of a session that `packet` itself has just opened, which counted it already.
    #[inline(never)]
    pub fn replay_first(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        hit: &Hit<PAYLOAD>,
    ) -> Step {
        self.leave(scratch, at, ethernet, packet, &F::translation(&hit.payload), hit)
    }

    /// The same for a packet that is taken apart once more, since its session was stored after it had been decided about.
    #[inline(never)]
    pub fn replay_stored(
        &self,
        scratch: &mut Scratch,
        lane: &Lane,
        bytes: &mut [u8],
        hit: &Hit<PAYLOAD>,
    ) -> Step {
        scratch.wrappings.clear();
        let world = self.world;
        let Some(door) = world.door(lane.ingress) else { return DropReason::VlanUnknown.into() };
        let mut parsed = match world.parsed(lane, door.zone, bytes) {
            Ok(parsed) => parsed,
            Err(refusal) => return Step::Malformed(DropReason::from(refusal)),
        };
        let at = match door.arrival(&parsed.ethernet, parsed.vlan) {
            Ok(at) => at,
            Err(reason) => return reason.into(),
        };
        match F::packet(&mut parsed.network) {
            Some(packet) => self.replay_first(scratch, &at, &mut parsed.ethernet, packet, hit),
            None => DropReason::ProtocolUnknown.into(),
        }
    }

    /// Finds the link of a session's packet, and gives the packet to it.
    #[inline(always)]
    fn leave(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        translation: &Translation<F>,
        hit: &Hit<PAYLOAD>,
    ) -> Step {
        if translation.shape.passes_firewall() {
            return self.leave_pinned(scratch, at, ethernet, packet, translation, hit);
        }
        let is_stale = hit.direction.activity.epoch() != self.world.plan.route_epoch;
        let mut index = translation.link;
        // A reply that a bridge switches needs no link.
        let needs_link = translation.shape.has_link_mac() || at.reach == Reach::Own;
        if needs_link && (is_stale || index == LinkIndex::UNRESOLVED) {
            index = match self.resolve_again(translation, packet, hit) {
                Ok(index) => index,
                Err(step) => return step,
            };
        }
        self.emit(scratch, at, ethernet, packet, translation, index)
    }

    /// Rewrites the packet and gives it to the link, if nothing speaks against it. What a router does to a packet that is
    /// neither odd nor long, towards a port that is no bridge, is all that most packets ever need.
    #[inline(always)]
    pub fn emit(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        translation: &Translation<F>,
        index: LinkIndex,
    ) -> Step {
        if translation.shape.is_routed()
            && let Some(link) = self.world.shared.links.get(index)
            && let Some(leg) = self.world.port(link.port)
            && leg.members().is_none()
            && packet.length_bytes <= leg.mtu_bytes
            && packet.header.hop_limit() > 1
            && !is_syn(&packet.transport)
        {
            apply(translation, packet);
            ethernet.set_destination(link.mac);
            ethernet.set_source(leg.mac);
            self.count_packet(translation.member, translation.direction, packet.length_bytes);
            return Step::Send(Egress::Port(link.port));
        }
        self.emit_unusual(scratch, at, ethernet, packet, translation, index)
    }

    /// The same for every packet, whatever its shape, its length and its way.
    #[inline(never)]
    pub fn emit_unusual(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        translation: &Translation<F>,
        index: LinkIndex,
    ) -> Step {
        let step = if !translation.shape.has_link_mac() && at.reach == Reach::Other {
            self.emit_switched(scratch, at, ethernet, packet, translation)
        } else {
            self.emit_uncounted(scratch, at, ethernet, packet, translation, index)
        };
        if let Step::Send(_) | Step::Wrap(..) = step {
            self.count_packet(translation.member, translation.direction, packet.length_bytes);
        }
        step
    }

    /// Rewrites the packet and gives it to the link as no traffic of the member's.
    pub fn emit_uncounted(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        translation: &Translation<F>,
        index: LinkIndex,
    ) -> Step {
        let shape = translation.shape;
        let Some(link) = self.world.shared.links.get(index) else {
            return self.park_for(translation.destination.0, packet.hash);
        };
        let Some(leg) = self.world.port(link.port) else {
            return DropReason::NoRoute.into();
        };
        if shape.takes_hop() && packet.header.hop_limit() <= 1 {
            return Step::Answer(Answer::TimeExceeded);
        }
        let keeps_sender = shape.has_link_mac() && !shape.has_own_source_mac();
        let egress = match leg.members() {
            None => Egress::Port(link.port),
            Some([_, _, ..]) if keeps_sender => self.world.egress_but(link.port, link.mac, at.port),
            Some(_) => self.world.egress(link.port, link.mac),
        };
        // A switch leaves the sender's address where a frame crosses from one member of a bridge to another. What goes
        // back to where its sender is, or on to another link, goes on from us: no switch may see an address on two ports.
        let crosses = at.leg == link.port
            && match egress {
                Egress::Port(port) => port != at.port,
                _ => leg.members().is_some_and(|members| members.len() > 1),
            };
        let mtu_bytes = match egress {
            Egress::Port(port) if port != link.port => self.world.port(port).map_or(0, |port| port.mtu_bytes),
            _ => leg.mtu_bytes,
        };
        let outer = match shape.carriage() {
            Carriage::Plain | Carriage::Direct | Carriage::Marked { .. } => None,
            Carriage::IpInIp | Carriage::Gue => {
                Some(Outer::over(packet, translation, &self.world.shared.hasher))
            }
        };
        let room = match &outer {
            None => Room::of(mtu_bytes),
            Some(outer) => self.room_in_tunnel(outer, mtu_bytes, packet.length_bytes),
        };
        let mtu_bytes = room.packet_bytes;
        let mut split_to_bytes = None;
        if packet.length_bytes > room.whole_bytes {
            if packet.length_bytes > mtu_bytes && !packet.header.may_be_split() {
                return Step::Answer(Answer::TooBig { mtu_bytes });
            }
            split_to_bytes = Some(room.way_bytes);
        }
        let mss_bytes_max = self.mss_bytes_max(packet, translation.member, outer.is_some(), mtu_bytes);
        let wrapping = Wrapping { outer, mss_bytes_max, split_to_bytes };
        apply(translation, packet);
        ethernet.set_destination(link.mac);
        if !(keeps_sender && crosses) {
            ethernet.set_source(leg.mac);
        }
        if wrapping.is_nothing() {
            Step::Send(egress)
        } else {
            Step::Wrap(egress, scratch.keep_wrapping(wrapping))
        }
    }

    /// How much there is room for behind the outer header. What IPv6 promises to carry enters every tunnel, if in pieces
    /// (RFC 2473 section 7.1).
    fn room_in_tunnel(&self, outer: &Outer, link_bytes: u16, length_bytes: u16) -> Room {
        let overhead_bytes = outer.overhead_bytes();
        let IpAddr::V6(end) = outer.destination() else {
            let packet_bytes = link_bytes.saturating_sub(overhead_bytes);
            return Room { way_bytes: link_bytes, whole_bytes: packet_bytes, packet_bytes };
        };
        let way_bytes = match length_bytes.saturating_add(overhead_bytes) > MTU_BYTES_MIN {
            true => self.world.shared.path_mtus.of(end, self.world.tick).unwrap_or(u16::MAX).min(link_bytes),
            false => link_bytes,
        };
        let whole_bytes = way_bytes.saturating_sub(overhead_bytes);
        Room { way_bytes, whole_bytes, packet_bytes: whole_bytes.max(MTU_BYTES_MIN) }
    }

    /// The largest segment that a SYN may announce: what the operator wants, else what fits through a tunnel of
    /// `mtu_bytes`.
    fn mss_bytes_max(
        &self,
        packet: &Packet<'_, F>,
        member: MemberId,
        is_tunnelled: bool,
        mtu_bytes: u16,
    ) -> Option<u16> {
        if !is_syn(&packet.transport) {
            return None;
        }
        match self.world.plan.mss_clamp(member) {
            MssClamp::Bytes(bytes) => Some(bytes),
            MssClamp::Auto if is_tunnelled => {
                let headers_bytes = if F::VERSION == 4 { Ipv4::LENGTH } else { Ipv6::LENGTH } + Tcp::LENGTH;
                Some(mtu_bytes.saturating_sub(headers_bytes as u16))
            }
            MssClamp::Auto | MssClamp::Never => None,
        }
    }

    /// The same for a reply that passes a bridge on its way to the client: both MAC addresses stay.
    fn emit_switched(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        translation: &Translation<F>,
    ) -> Step {
        let step = self.world.not_ours(at, ethernet.destination(), DropReason::ForeignMac);
        let Step::Send(egress) = step else { return step };
        let mtu_bytes = self.world.carries(egress).map_or(0, |port| port.mtu_bytes);
        let is_long = packet.length_bytes > mtu_bytes;
        if is_long && !packet.header.may_be_split() {
            return Step::Answer(Answer::TooBig { mtu_bytes });
        }
        let mss_bytes_max = self.mss_bytes_max(packet, translation.member, false, mtu_bytes);
        apply(translation, packet);
        let wrapping = Wrapping { outer: None, mss_bytes_max, split_to_bytes: is_long.then_some(mtu_bytes) };
        if wrapping.is_nothing() { step } else { Step::Wrap(egress, scratch.keep_wrapping(wrapping)) }
    }

    /// Asks the routes for the egress of a session whose answer is out of date, and keeps the new one.
    #[cold]
    pub fn resolve_again(
        &self,
        translation: &Translation<F>,
        packet: &Packet<'_, F>,
        hit: &Hit<PAYLOAD>,
    ) -> Result<LinkIndex, Step> {
        let destination = translation.destination.0;
        let resolution = match Self::is_crossing(translation) {
            // What firewalls part is not joined behind their backs.
            true => self.resolve_in(packet.key.zone(), destination, packet.hash),
            false => self.view.routes.resolve(destination, packet.hash),
        };
        let link = match resolution {
            Resolution::Link(link) => link,
            Resolution::Unresolved { port, next_hop } => {
                return Err(Step::Park { port, next_hop: next_hop.into() });
            }
            Resolution::Unreachable => return Err(Step::Answer(Answer::NetworkUnreachable)),
        };
        if link != translation.link {
            self.set_link(hit, link);
        }
        self.table.set_epoch(hit, self.world.plan.route_epoch);
        Ok(link)
    }

    /// Notes by which link the packets of this direction leave from now on.
    fn set_link(&self, hit: &Hit<PAYLOAD>, link: LinkIndex) {
        let changed = |payload: &[u64; PAYLOAD], is_it: bool| {
            let side = F::translation(payload);
            F::words(&if is_it { Translation { link, ..side } } else { side })[F::LINK_WORD]
        };
        self.table.update_payload_words(hit.client_slot(), hit.birth, F::LINK_WORD, |session| {
            let is_client = hit.is_client();
            Some([changed(&session.client.payload, is_client), changed(&session.server.payload, !is_client)])
        });
    }

    /// The frame waits for the next hop of `destination`.
    #[cold]
    pub fn park_for(&self, destination: F::Address, hash: u64) -> Step {
        match self.view.routes.next_hop(destination, hash) {
            Some((port, next_hop)) => Step::Park { port, next_hop: next_hop.into() },
            None => Step::Answer(Answer::NetworkUnreachable),
        }
    }
}
