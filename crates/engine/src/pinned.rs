//! Later packets of flows that pass firewalls: they stay where the first went, until that firewall fails.
//!
//! What a session passes stands in it as the firewall's member row, which knows the link of now: a firewall's new MAC address
//! moves nothing. Each packet that comes from firewalls is held against the one that it is expected from.
//!
//! ```text
//!   it comes from        the end that opened the flow          the other end
//!   its own firewall     goes on                               goes on
//!   another, both live   goes on; the flow has drifted         follows it; the flow has drifted
//!   another, its own
//!   has failed           goes on                               follows it: the opener has moved it
//! ```
//!
//! One end alone follows, or two that cross each other would go on crossing. Where both have opened it, at once, the one
//! that is not where the rows say follows. A firewall's change of state is a new route
//! epoch; a session looks again with its next packet, so only the sessions of a firewall that failed pay for its failure.

use crate::arrival::Arrival;
use crate::path::{Fits, Path, Step};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::shared::Report;
use arrayvec::ArrayVec;
use flow::{Family, FlowKey, NetworkHeader, Packet};
use plan::{FirewallMember, Link, MemberState};
use rewrite::{Carriage, LinkIndex, MemberId, Translation};
use session::{Flags, Hit, Session};
use wire::ethernet::Ethernet;

/// Members that a session counts at: its server, and a firewall on each side.
const HOLDERS_MAX: usize = 3;

impl<'w, F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'w, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// The way of a packet whose session passes firewalls, if it came from the one that it is expected from and nothing has
    /// changed.
    #[inline(always)]
    pub fn pinned_way(&self, translation: &Translation<F>, arrival: Link) -> Option<LinkIndex> {
        let is_astray = translation
            .from_firewall()
            .is_some_and(|row| self.link_of_row(row).is_some_and(|own| own != arrival));
        (!is_astray).then(|| self.link_index_of(translation))
    }

    /// Finds the way of a packet whose session passes firewalls, and gives the packet to it.
    #[inline(never)]
    pub fn leave_pinned(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        translation: &Translation<F>,
        hit: &Hit<PAYLOAD>,
    ) -> Step {
        let arrival = Link { port: at.leg, mac: ethernet.source() };
        if let Some(row) = translation.from_firewall()
            && self.link_of_row(row).is_some_and(|own| own != arrival)
        {
            self.stray(packet, (row, arrival), hit);
        }
        let is_stale = hit.direction.activity.epoch() != self.world.plan.route_epoch;
        let mut translation = *translation;
        let index = match translation.to_firewall() {
            Some(_) if !is_stale => self.link_index_of(&translation),
            Some(row) if self.state_of_row(row) == MemberState::Dead => {
                return self.orphaned(scratch, at, ethernet, packet, hit);
            }
            Some(row) => match self.stay_or_move(packet, &translation, row, hit) {
                Ok((moved, index)) => {
                    translation = moved;
                    index
                }
                Err(step) => return step,
            },
            None if is_stale || translation.link == LinkIndex::UNRESOLVED => {
                match self.resolve_again(&translation, packet, hit) {
                    Ok(index) => index,
                    Err(step) => return step,
                }
            }
            None => translation.link,
        };
        if let Some(row) = translation.to_firewall()
            && self.world.shared.links.get(index).is_none()
        {
            return self.park_for_row(row);
        }
        let length_bytes = packet.length_bytes;
        let step = self.emit(scratch, at, ethernet, packet, &translation, index);
        // The row of the session's own member is counted already.
        let passed = translation.to_firewall().or(translation.from_firewall());
        if let (Step::Send(_) | Step::Wrap(..), Some(row)) = (step, passed)
            && row != translation.member.index
        {
            self.count_packet(self.member_of_row(row), translation.direction, length_bytes);
        }
        step
    }

    fn state_of_row(&self, row: u16) -> MemberState {
        self.world.plan.members.get(usize::from(row)).map_or(MemberState::Dead, |row| row.state)
    }

    fn member_of_row(&self, row: u16) -> MemberId {
        let generation = self.world.plan.members.get(usize::from(row)).map_or(0, |row| row.generation);
        MemberId { index: row, generation }
    }

    fn firewall_of_row(&self, row: u16) -> Option<&'w FirewallMember<F>> {
        self.view.firewalls.groups().iter().find_map(|group| group.member_of_row(row))
    }

    #[cold]
    fn park_for_row(&self, row: u16) -> Step {
        match self.firewall_of_row(row) {
            Some(member) => self.park_for_firewall(member),
            None => DropReason::NextHopUnresolved.into(),
        }
    }

    /// A packet came by `arrival` and not from the firewall of `row`, which it was expected from.
    #[cold]
    fn stray(&self, packet: &Packet<'_, F>, (row, arrival): (u16, Link), hit: &Hit<PAYLOAD>) {
        let (zone, source) = (packet.key.zone(), packet.header.source());
        let Some(actual) = self.came_from(zone, source, (arrival.port, arrival.mac)) else { return };
        if actual.id.index == row || actual.state != MemberState::Up {
            return;
        }
        let has_failed = self.state_of_row(row) != MemberState::Up;
        if has_failed {
            self.table.mark_once(hit, Flags::MOVED);
        } else if !self.is_back(packet, actual, hit) && self.table.mark_once(hit, Flags::DRIFTED) {
            if let Some(counters) = self.world.counters.members.get(usize::from(row)) {
                counters.drifted_flows.add(1);
            }
            let end = |(address, port): (F::Address, u16)| std::net::SocketAddr::new(address.into(), port);
            let (source, destination) = (end(packet.key.source()), end(packet.key.destination()));
            let (expected, seen) = (self.member_of_row(row), actual.id);
            let report =
                Report::Drift { expected, seen, protocol: packet.key.protocol(), source, destination };
            // A full queue loses the name of the flow, and not the count.
            let _lost = self.world.shared.reports.push(report);
        }
        if hit.is_client() || self.is_own(packet, actual) {
            self.world.shared.loads.occupy(actual.id);
            self.repin(hit, row, actual.id);
        }
    }

    /// Whether a flow comes over the firewall that it was moved from, now that this has returned: the other end has moved it
    /// back already.
    fn is_back(&self, packet: &Packet<'_, F>, actual: &FirewallMember<F>, hit: &Hit<PAYLOAD>) -> bool {
        self.has_moved(hit)
            && self.is_own(packet, actual)
            && self
                .beyond(packet.key.zone(), packet.header.source())
                .and_then(|beyond| self.group_of(beyond))
                .is_some_and(|group| group.returns)
    }

    /// Whether a packet from beyond firewalls came over the one that the rows name for its flow.
    fn is_own(&self, packet: &Packet<'_, F>, actual: &FirewallMember<F>) -> bool {
        let beyond = self.beyond(packet.key.zone(), packet.header.source());
        beyond.is_some_and(|beyond| {
            self.firewall_by_hash(beyond, &packet.key).is_ok_and(|own| own.id == actual.id)
        })
    }

    /// Whether a session was moved by a failure, as either side noted.
    fn has_moved(&self, hit: &Hit<PAYLOAD>) -> bool {
        self.table.session(hit.client_slot(), hit.birth).is_some_and(|session| {
            let flags = |side: session::Direction| side.activity.flags();
            flags(session.client.direction).with(flags(session.server.direction)).contains(Flags::MOVED)
        })
    }

    /// Where a packet of a session leaves whose answer is out of date: by its firewall of `row`, or by another if that has
    /// failed, or if it was moved and its own is back.
    #[cold]
    fn stay_or_move(
        &self,
        packet: &Packet<'_, F>,
        translation: &Translation<F>,
        row: u16,
        hit: &Hit<PAYLOAD>,
    ) -> Result<(Translation<F>, LinkIndex), Step> {
        let destination = match translation.shape.carriage() {
            Carriage::Direct => packet.header.destination(),
            _ => translation.destination.0,
        };
        let key = Self::key_at_firewalls(&packet.key, translation);
        let Some(beyond) = self.beyond(key.zone(), destination) else {
            // Nothing stands there any more.
            return self.way_in(key.zone(), destination, packet.hash).map(|index| (*translation, index));
        };
        let has_failed = self.state_of_row(row) == MemberState::Moving;
        let goes_back = !has_failed
            && self.group_of(beyond).is_some_and(|group| group.returns)
            && self.has_moved(hit)
            && self.firewall_by_hash(beyond, &key).is_ok_and(|member| member.id.index != row);
        let mut translation = *translation;
        if has_failed || goes_back {
            match self.choose_firewall(beyond, &key) {
                Ok(member) => {
                    self.repin(hit, row, member.id);
                    translation = translation.moved(row, member.id);
                    self.table.mark_once(hit, Flags::MOVED);
                }
                // It had a place where it is, and keeps it.
                Err(_) if goes_back => {}
                Err(reason) => return Err(reason.into()),
            }
        }
        self.table.set_epoch(hit, self.world.plan.route_epoch);
        Ok((translation, self.link_index_of(&translation)))
    }

    /// Moves a session from the firewall of row `old` to `new`, at which it has a place already.
    fn repin(&self, hit: &Hit<PAYLOAD>, old: u16, new: MemberId) {
        let mut counted_at_old = false;
        let moved = self.table.update_payload_words(hit.client_slot(), hit.birth, F::LINK_WORD, |session| {
            let sides = [&session.client.payload, &session.server.payload].map(F::translation);
            if !sides.iter().any(|side| side.passes(old)) {
                return None;
            }
            counted_at_old = !session.client.direction.activity.flags().contains(Flags::LEFT);
            Some(sides.map(|side| F::words(&side.moved(old, new))[F::LINK_WORD]))
        });
        let (loads, old) = (&self.world.shared.loads, self.member_of_row(old));
        // Another worker may have been faster, or the session has ended.
        loads.release(if moved && counted_at_old { old } else { new });
        if moved {
            let counters = |member: MemberId| self.world.counters.members.get(usize::from(member.index));
            counters(old).iter().for_each(|counters| counters.sessions_ended.add(1));
            counters(new).iter().for_each(|counters| counters.sessions_created.add(1));
        }
    }

    /// Every member that a session counts at, each once.
    pub fn holders(&self, session: &Session<KEY, PAYLOAD>) -> ArrayVec<MemberId, HOLDERS_MAX> {
        let sides = [&session.client.payload, &session.server.payload].map(F::translation);
        self.holders_of(&sides[0], &sides[1])
    }

    /// The same of a session with these translations.
    pub fn holders_of(
        &self,
        request: &Translation<F>,
        reply: &Translation<F>,
    ) -> ArrayVec<MemberId, HOLDERS_MAX> {
        let mut holders = ArrayVec::new();
        holders.push(request.member);
        if request.shape.passes_firewall() || reply.shape.passes_firewall() {
            // What a request leaves by its reply comes from, and the other way round.
            let rows = [
                request.to_firewall().or(reply.from_firewall()),
                reply.to_firewall().or(request.from_firewall()),
            ];
            for row in rows.into_iter().flatten() {
                if holders.iter().all(|holder: &MemberId| holder.index != row) {
                    holders.push(self.member_of_row(row));
                }
            }
        }
        holders
    }

    /// Whether a session passes a firewall whose sessions are to be reset.
    pub fn passes_dead_firewall(&self, request: &Translation<F>, reply: &Translation<F>) -> bool {
        let rows =
            [request.to_firewall(), request.from_firewall(), reply.to_firewall(), reply.from_firewall()];
        rows.into_iter().flatten().any(|row| self.state_of_row(row) == MemberState::Dead)
    }

    /// Where what control or a sweep says to the end that `direction` leads to leaves; `None` where only a dead firewall
    /// leads there: its own appliance tells that end.
    pub fn link_of_side(&self, translation: &Translation<F>, destination: F::Address) -> Option<Link> {
        match translation.to_firewall() {
            Some(row) if self.state_of_row(row) == MemberState::Dead => None,
            Some(row) => self.link_of_row(row),
            None => self.link_now(destination),
        }
    }

    /// Whether both directions of a session pass here and servers' packets can begin it anew.
    pub fn is_crossing(translation: &Translation<F>) -> bool {
        translation.shape.passes_firewall() && translation.shape.carriage() == Carriage::Direct
    }
}
