//! Flows that pass firewalls: which one, when nobody has decided yet.
//!
//! ```text
//!   opener ──▶ appliance ──rows──▶ firewall ──▶ appliance ──▶ responder       places the flow, and expects it back there
//!                                  firewall ──▶ appliance ──▶ responder       pins it to where it came from (last hop)
//! ```
//!
//! Networks beyond firewalls act as routes: the longest prefix wins, and a route of the kernel's that stays in the zone goes
//! before a group's when it is longer. A packet whose way leads through firewalls never goes another way: where none of them
//! takes it, it is dropped.

use crate::admit::{Pair, Way};
use crate::arrival::Arrival;
use crate::path::{Answer, Fits, Path, Step};
use crate::reason::DropReason;
use crate::replay::segment_of;
use crate::scratch::Scratch;
use flow::{Family, FlowKey, NetworkHeader, Packet, Transport, Zone};
use plan::{Beyond, FirewallGroup, FirewallMember, Link, MemberState, Resolution};
use rewrite::{
    Birth, Carriage, Course, Direction, Endpoints, LinkIndex, MemberId, Shape, Translation, translate,
};
use session::tcp::header_flags::{ACK, FIN, RST, SYN};
use session::{Flags, Insert};
use wire::Mac;
use wire::ethernet::Ethernet;

/// The firewalls on both sides of a flow.
#[derive(Clone, Copy)]
struct Crossing<'p, F: Family> {
    /// What the packet has to pass yet.
    to: Option<Beyond>,
    /// The firewall that it came from.
    from: Option<&'p FirewallMember<F>>,
}

impl<'w, F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'w, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Decides about a packet without a session that comes from a firewall, or has to pass one; `None` for any other.
    pub fn cross(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
    ) -> Option<Step> {
        if self.view.firewalls.is_empty() {
            return None;
        }
        let zone = packet.key.zone();
        let (source, destination) = (packet.header.source(), packet.header.destination());
        let crossing = Crossing {
            to: self.beyond(zone, destination),
            from: self.came_from(zone, source, (at.leg, ethernet.source())),
        };
        let is_sent_back = crossing.to.zip(crossing.from).is_some_and(|(to, from)| self.leads_to(to, from));
        Some(match crossing {
            Crossing { to: None, from: None } => return None,
            _ if packet.header.hop_limit() <= 1 => Step::Answer(Answer::TimeExceeded),
            // It would come back again and again.
            _ if is_sent_back => Step::Answer(Answer::NetworkUnreachable),
            _ if Self::opens_crossing(packet) => self.admit_crossing(scratch, at, ethernet, packet, crossing),
            _ => self.cross_alone(scratch, at, ethernet, packet, crossing.to),
        })
    }

    /// What stands between `zone` and `address`, if firewalls do: no more specific route stays in the zone.
    pub fn beyond(&self, zone: Zone, address: F::Address) -> Option<Beyond> {
        if self.view.firewalls.is_empty() {
            return None;
        }
        let beyond = self.view.firewalls.beyond(zone, address)?;
        let local = self.view.routes.prefix_bits_by(address, |leg| self.zone_of(leg) == Some(zone));
        local.is_none_or(|bits| bits <= beyond.prefix_bits).then_some(beyond)
    }

    fn zone_of(&self, leg: u16) -> Option<Zone> {
        self.world.port(leg).map(|port| port.zone)
    }

    /// The firewall at whose link `arrival`, a leg and a MAC address, lies, among those that stand between `zone` and
    /// `source`.
    pub fn came_from(
        &self,
        zone: Zone,
        source: F::Address,
        arrival: (u16, Mac),
    ) -> Option<&'w FirewallMember<F>> {
        let beyond = self.beyond(zone, source)?;
        let mut members = self.group_of(beyond)?.members.iter();
        members.find(|member| {
            self.link_of_row(member.id.index) == Some(Link { port: arrival.0, mac: arrival.1 })
        })
    }

    /// The group that stands there.
    pub fn group_of(&self, beyond: Beyond) -> Option<&'w FirewallGroup<F>> {
        self.view.firewalls.groups().get(beyond.group)
    }

    /// Where the firewall of a member row is reached, if that is known.
    pub fn link_of_row(&self, row: u16) -> Option<Link> {
        self.world.shared.links.get(self.link_index_of_row(row))
    }

    fn link_index_of_row(&self, row: u16) -> LinkIndex {
        self.world.plan.members.get(usize::from(row)).map_or(LinkIndex::UNRESOLVED, |row| row.link)
    }

    /// The link by which packets of `translation` leave now.
    pub fn link_index_of(&self, translation: &Translation<F>) -> LinkIndex {
        match translation.to_firewall() {
            Some(row) => self.link_index_of_row(row),
            None => translation.link,
        }
    }

    /// Whether the way through `to` leads back to the firewall `from`.
    fn leads_to(&self, to: Beyond, from: &FirewallMember<F>) -> bool {
        self.group_of(to)
            .is_some_and(|group| group.members.iter().any(|member| member.address == from.address))
    }

    /// Whether a packet opens a session, or is placed by its hash and leaves nothing behind: what no connection shows, and
    /// what only ends one.
    fn opens_crossing(packet: &Packet<'_, F>) -> bool {
        match &packet.transport {
            Transport::Fragment => false,
            Transport::Icmp(_) => !Self::is_icmp_error(packet),
            transport => segment_of(transport).is_none_or(|segment| {
                let flags = segment.flags & (SYN | ACK | RST | FIN);
                flags & RST == 0 && flags & (SYN | ACK) != 0 && flags & (SYN | FIN) != SYN | FIN
            }),
        }
    }

    /// A firewall for a new flow with this key as it passes the firewalls, with a place at it: the first of the flow's
    /// preferences that has room.
    pub fn choose_firewall(&self, beyond: Beyond, key: &F::Key) -> Result<&'w FirewallMember<F>, DropReason> {
        let group = self.group_of(beyond).ok_or(DropReason::NoFirewall)?;
        let loads = &self.world.shared.loads;
        let takes = |member: &&FirewallMember<F>| {
            if member.state != MemberState::Up || !loads.reserve(member.id, member.sessions_max) {
                return false;
            }
            let is_in_pace = loads.is_in_pace(member.id, member.sessions_per_s_max, self.world.now_ns);
            if !is_in_pace {
                loads.release(member.id);
            }
            is_in_pace
        };
        let chosen = match beyond.owner {
            Some(owner) => group.members.get(owner).filter(takes),
            None => {
                let hasher = &self.world.shared.hasher;
                group.preferences(key, hasher).filter_map(|place| group.members.get(place)).find(takes)
            }
        };
        chosen.ok_or_else(|| match self.by_hash(group, beyond, key) {
            Some(_) => DropReason::FirewallsFull,
            None => DropReason::NoFirewall,
        })
    }

    /// The firewall for a packet that gets no session.
    pub fn firewall_by_hash(
        &self,
        beyond: Beyond,
        key: &F::Key,
    ) -> Result<&'w FirewallMember<F>, DropReason> {
        let group = self.group_of(beyond).ok_or(DropReason::NoFirewall)?;
        self.by_hash(group, beyond, key).ok_or(DropReason::NoFirewall)
    }

    fn by_hash(
        &self,
        group: &'w FirewallGroup<F>,
        beyond: Beyond,
        key: &F::Key,
    ) -> Option<&'w FirewallMember<F>> {
        let place = match beyond.owner {
            Some(owner) => Some(owner),
            None => group.rows.member(group.hash.of(key, &self.world.shared.hasher)),
        };
        group.members.get(place?).filter(|member| member.state == MemberState::Up)
    }

    /// The frame waits for the firewall's link.
    pub fn park_for_firewall(&self, member: &FirewallMember<F>) -> Step {
        self.park_for(member.address, 0)
    }

    /// Opens a session of a flow that passes firewalls, and forwards its first packet.
    fn admit_crossing(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        Crossing { to, from }: Crossing<'_, F>,
    ) -> Step {
        let zone = packet.key.zone();
        let arriving = Endpoints { source: packet.key.source(), destination: packet.key.destination() };
        let request_link = match to {
            Some(_) => LinkIndex::UNRESOLVED,
            None => match self.way_in(zone, arriving.destination.0, packet.hash) {
                Ok(link) => link,
                Err(step) => return step,
            },
        };
        let to = match to.map(|beyond| self.choose_firewall(beyond, &packet.key)).transpose() {
            Ok(to) => to,
            Err(reason) => return reason.into(),
        };
        let release = |member: Option<&FirewallMember<F>>| {
            member.iter().for_each(|member| self.world.shared.loads.release(member.id));
        };
        if let Some(member) = to
            && self.link_of_row(member.id.index).is_none()
        {
            release(to);
            return self.park_for_firewall(member);
        }
        // Who placed it has seen to its bounds.
        from.iter().for_each(|member| self.world.shared.loads.occupy(member.id));
        // One of both there is, or nobody would have come here.
        let Some(nearest) = to.or(from) else { return DropReason::NoFirewall.into() };
        let reply_link = match from {
            Some(_) => LinkIndex::UNRESOLVED,
            None => self.way_in(zone, arriving.source.0, packet.hash).unwrap_or(LinkIndex::UNRESOLVED),
        };
        let pair = Pair {
            request: self.crossing_side(arriving, (nearest.id, request_link), (to, from), Direction::Request),
            reply: self.crossing_side(
                arriving.swapped(),
                (from.unwrap_or(nearest).id, reply_link),
                (from, to),
                Direction::Reply,
            ),
            reply_key: packet.key.swapped(),
            reply_hash: packet.key.swapped().hash(&self.world.shared.hasher),
            marks: Flags::NONE,
        };
        if scratch.expectations.may_wait() {
            let holders = to.iter().chain(&from).map(|member| member.id).collect();
            return self.expect(scratch, packet.hash, pair, holders, None);
        }
        let inserted = self.store((&packet.key, packet.hash), segment_of(&packet.transport).as_ref(), &pair);
        if !matches!(inserted, Insert::Inserted { .. } | Insert::Evicted) {
            release(to);
            release(from);
        }
        match inserted {
            Insert::Inserted { client, .. } => self.replay_first(scratch, at, ethernet, packet, &client),
            Insert::Duplicate(hit) => self.replay(scratch, at, ethernet, packet, &hit),
            Insert::Full | Insert::ServerKeyTaken => {
                let translation = pair.request;
                self.send_alone(scratch, at, ethernet, packet, &translation)
            }
            Insert::Busy | Insert::Evicted => DropReason::SessionBusy.into(),
        }
    }

    /// What becomes of the packets of one direction, which leave by `to` or by the link, and come from `from`.
    fn crossing_side(
        &self,
        ends: Endpoints<F>,
        (member, link): (MemberId, LinkIndex),
        (to, from): (Option<&FirewallMember<F>>, Option<&FirewallMember<F>>),
        direction: Direction,
    ) -> Translation<F> {
        let course = Course { member, direction, link, born: Birth::at(self.world.now_ns) };
        let side = translate(ends, ends, Shape::ROUTED.carried(Carriage::Direct), course);
        let side = to.map_or(side, |to| side.leaving_by(to.id.index));
        from.map_or(side, |from| side.coming_from(from.id.index))
    }

    /// What becomes of a packet of the flow `key` that leaves by `firewall`.
    pub fn translation_by(&self, key: &F::Key, firewall: &FirewallMember<F>) -> Translation<F> {
        let ends = Endpoints { source: key.source(), destination: key.destination() };
        let course = (firewall.id, LinkIndex::UNRESOLVED);
        self.crossing_side(ends, course, (Some(firewall), None), Direction::Request)
    }

    /// Forwards a packet that has to pass `to`, or has passed firewalls, by the hash of its flow alone.
    fn cross_alone(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        to: Option<Beyond>,
    ) -> Step {
        let key = packet.key;
        let link = match to {
            Some(_) => LinkIndex::UNRESOLVED,
            None => match self.way_in(key.zone(), packet.header.destination(), packet.hash) {
                Ok(link) => link,
                Err(step) => return step,
            },
        };
        let to = match to.map(|beyond| self.firewall_by_hash(beyond, &key)).transpose() {
            Ok(to) => to,
            Err(reason) => return reason.into(),
        };
        let ends = Endpoints { source: key.source(), destination: key.destination() };
        let member = to.map(|member| member.id).unwrap_or_default();
        let translation = self.crossing_side(ends, (member, link), (to, None), Direction::Request);
        if let Some(to) = to
            && self.link_of_row(to.id.index).is_none()
        {
            return self.park_for_firewall(to);
        }
        self.send_alone(scratch, at, ethernet, packet, &translation)
    }

    fn send_alone(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        translation: &Translation<F>,
    ) -> Step {
        let index = self.link_index_of(translation);
        let step = match translation.to_firewall() {
            Some(_) => self.emit_unusual(scratch, at, ethernet, packet, translation, index),
            None => self.emit_uncounted(scratch, at, ethernet, packet, translation, index),
        };
        if let Step::Send(_) | Step::Wrap(..) = step {
            self.world.counters.sessionless.add(1);
        }
        step
    }

    /// The link by which packets for `destination` leave without leaving `zone`; a step where there is none.
    pub fn way_in(&self, zone: Zone, destination: F::Address, hash: u64) -> Result<LinkIndex, Step> {
        match self.resolve_in(zone, destination, hash) {
            Resolution::Link(index) if self.world.shared.links.get(index).is_some() => Ok(index),
            Resolution::Link(_) => Err(self.park_for(destination, hash)),
            Resolution::Unresolved { port, next_hop } => Err(Step::Park { port, next_hop: next_hop.into() }),
            Resolution::Unreachable => Err(self.unreachable_in(destination)),
        }
    }

    /// How a packet to `destination` leaves without leaving `zone`.
    pub fn resolve_in(&self, zone: Zone, destination: F::Address, hash: u64) -> Resolution<F> {
        match self.world.plan.has_zones() {
            false => self.view.routes.resolve(destination, hash),
            true => self.view.routes.resolve_by(destination, hash, |leg| self.zone_of(leg) == Some(zone)),
        }
    }

    /// What becomes of a packet that no route of its zone leads on.
    pub fn unreachable_in(&self, destination: F::Address) -> Step {
        let leads_elsewhere = self.world.plan.has_zones()
            && !matches!(self.view.routes.resolve(destination, 0), Resolution::Unreachable);
        match leads_elsewhere {
            true => DropReason::ZoneCrossing.into(),
            false => Step::Answer(Answer::NetworkUnreachable),
        }
    }

    /// How requests to `server` leave: through firewalls, or by a link.
    pub fn way_to(&self, zone: Zone, server: F::Address, hash: u64) -> Result<Way, Step> {
        match self.beyond(zone, server) {
            Some(beyond) => Ok(Way::Through(beyond)),
            None => self.link_to(server, hash).map(|(link, _)| Way::Link(link)),
        }
    }

    /// The key that a flow bears beside the firewalls, of which a packet arrives with `key` and becomes what `translation`
    /// says.
    pub fn key_at_firewalls(key: &F::Key, translation: &Translation<F>) -> F::Key {
        let protocol = match translation.shape.carriage() {
            Carriage::Direct => return *key,
            Carriage::Plain | Carriage::Marked { .. } => key.protocol(),
            Carriage::IpInIp if F::VERSION == 4 => wire::protocol::IPV4,
            Carriage::IpInIp => wire::protocol::IPV6,
            Carriage::Gue => wire::protocol::UDP,
        };
        F::Key::new(key.zone(), protocol, translation.source, translation.destination)
    }
}
