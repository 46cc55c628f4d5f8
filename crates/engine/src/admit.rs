//! A new session: choose a member, compile both translations, store them, replay the first.

use crate::arrival::Arrival;
use crate::expect::Holders;
use crate::path::{Answer, Fits, Path, Step};
use crate::reason::DropReason;
use crate::replay::segment_of;
use crate::scratch::Scratch;
use crate::shared::Shared;
use crate::wrapping::entropy;
use flow::{Family, FlowKey, NetworkHeader, Packet, Zone};
use plan::{
    Ask, Beyond, Link, Mode, Outbound, Resolution, ReturnPath, Service, ServiceMember, SourceNat,
    SourceNatPool, Unserved,
};
use rewrite::{Birth, Course, Direction, Endpoints, LinkIndex, MemberId, Shape, Translation, translate};
use session::tcp::{self, Observation, Segment};
use session::{Entry, Flags, Insert, Opening, Protocol, Session};
use wire::Mac;
use wire::ethernet::Ethernet;

/// Members that a flow is offered when its server-side key is taken; more would let one port scan walk all servers.
const MEMBERS_TRIED_MAX: usize = 4;

/// The ports that a tunnel's entropy is drawn from: dynamic ones (RFC 6335 section 6), as RFC 7510 section 3 advises.
const ENTROPY_PORT_FIRST: u16 = 0xc000;

/// How packets leave.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// By this link.
    Link(LinkIndex),
    /// Through one of the firewalls that stand there.
    Through(Beyond),
}

/// A session as it is to be stored.
#[derive(Clone, Copy)]
pub(crate) struct Pair<F: Family> {
    pub request: Translation<F>,
    pub reply: Translation<F>,
    /// What the reply is found by.
    pub reply_key: F::Key,
    /// The hash of that key.
    pub reply_hash: u64,
    /// What holds for it all its life.
    pub marks: Flags,
}

/// A session as it would be: what both sides arrive and leave with, and by which links.
pub(crate) struct Candidate<F: Family> {
    pub member: MemberId,
    /// The request as it arrives.
    pub arriving: Endpoints<F>,
    /// The request as it leaves, or its outer header's ends, or the server's address alone.
    pub leaving: Endpoints<F>,
    /// What else becomes of requests and replies.
    pub shapes: (Shape, Shape),
    pub request_way: Way,
    pub reply_link: LinkIndex,
    /// The zone that replies arrive in.
    pub reply_zone: Zone,
    /// The member row of the firewall that requests come from, and replies leave by.
    pub from: Option<MemberId>,
    /// Servers answer directly: replies bear the addresses that requests arrived with.
    pub is_direct: bool,
    /// It counts on what is remembered of its client.
    pub is_remembered: bool,
}

impl<F: Family> Candidate<F> {
    /// The reply as it arrives.
    pub fn reply_arriving(&self) -> Endpoints<F> {
        if self.is_direct { self.arriving.swapped() } else { self.leaving.swapped() }
    }

    fn request(&self, born: Birth) -> Translation<F> {
        let link = match self.request_way {
            Way::Link(link) => link,
            Way::Through(_) => LinkIndex::UNRESOLVED,
        };
        let course = Course { member: self.member, direction: Direction::Request, link, born };
        translate(self.arriving, self.leaving, self.shapes.0, course)
    }

    fn reply(&self, born: Birth) -> Translation<F> {
        let course = Course { member: self.member, direction: Direction::Reply, link: self.reply_link, born };
        translate(self.reply_arriving(), self.arriving.swapped(), self.shapes.1, course)
    }
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Opens a session of `service` with `packet` and forwards it.
    pub fn admit(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        service: &Service<F>,
    ) -> Step {
        // A packet that ends here opens nothing.
        if packet.header.hop_limit() <= 1 && !matches!(service.mode, Mode::Transparent | Mode::L2Direct) {
            return Step::Answer(Answer::TimeExceeded);
        }
        let ask = self.ask(packet, ethernet.source());
        let (mut choice, memory) = match self.choose(service, &ask) {
            Ok(chosen) => chosen,
            Err(Unserved::NoServer) => return Self::refuse(&packet.transport, DropReason::NoServer),
            Err(Unserved::AllFull) => return Self::refuse(&packet.transport, DropReason::ServersFull),
        };
        if scratch.expectations.may_wait() {
            let remembers = memory.filter(|memory| memory.is_of(choice.member.id));
            let to_member = (choice.member, remembers.is_some());
            if let Some((pair, mut holders)) =
                self.prepare(scratch, at, packet, service, to_member, ethernet.source())
            {
                holders.push(choice.member.id);
                return self.expect(scratch, packet.hash, pair, holders, remembers);
            }
        }
        let mut tried = 0;
        loop {
            let remembers = memory.filter(|memory| memory.is_of(choice.member.id));
            let placed = self.place(
                scratch,
                at,
                packet,
                service,
                (choice.member, remembers.is_some()),
                ethernet.source(),
            );
            if !matches!(placed, Ok(Insert::Inserted { .. } | Insert::Evicted)) {
                self.world.shared.loads.release(choice.member.id);
                remembers.iter().for_each(|memory| self.forget(memory));
            }
            match placed {
                Ok(Insert::Inserted { client, .. }) => {
                    return self.replay_first(scratch, at, ethernet, packet, &client);
                }
                Ok(Insert::Duplicate(hit)) => return self.replay(scratch, at, ethernet, packet, &hit),
                Ok(Insert::Full) if service.mode.is_direct() => {
                    return self.without_session(scratch, at, ethernet, packet, service);
                }
                Ok(Insert::Full) => return DropReason::SessionTableFull.into(),
                Ok(Insert::Busy | Insert::Evicted) => return DropReason::SessionBusy.into(),
                Ok(Insert::ServerKeyTaken) => {}
                Err(step) => return step,
            }
            tried += 1;
            let next = (tried < MEMBERS_TRIED_MAX.min(service.available.len()))
                .then(|| service.choose_after(&choice, &ask));
            match next.flatten() {
                Some(next) => choice = next,
                None => return DropReason::ServerKeyTaken.into(),
            }
        }
    }

    /// What a choice for this packet's flow is made by.
    fn ask<'p>(&'p self, packet: &'p Packet<'_, F>, source_mac: Mac) -> Ask<'p, F> {
        let Shared { hasher, loads, .. } = self.world.shared;
        Ask { key: &packet.key, hash: packet.hash, source_mac, hasher, loads, now_ns: self.world.now_ns }
    }

    /// A session with `member` that can be stored later, and the firewalls that hold a place for it; `None` where it takes
    /// more than one try to find one.
    fn prepare(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        packet: &Packet<'_, F>,
        service: &Service<F>,
        member: (&ServiceMember<F>, bool),
        source_mac: Mac,
    ) -> Option<(Pair<F>, Holders)> {
        let (mut candidate, pool) = self.propose(at, packet, service, member, source_mac).ok()?;
        if let Some(pool) = pool {
            self.lend_at_first_try(scratch, packet, pool, &mut candidate)?;
        }
        self.pair(packet, &candidate).ok()
    }

    /// Tries to store a session with `member`; a step where there is nothing to store.
    fn place(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        packet: &Packet<'_, F>,
        service: &Service<F>,
        member: (&ServiceMember<F>, bool),
        source_mac: Mac,
    ) -> Result<Insert<PAYLOAD>, Step> {
        let (mut candidate, pool) = self.propose(at, packet, service, member, source_mac)?;
        match pool {
            None => self.insert(packet, &candidate),
            Some(pool) => self.insert_with_port(scratch, packet, pool, &mut candidate),
        }
    }

    /// A session with `member` as this packet asks for it, and the pool that its source is still to come from, if it needs
    /// one.
    #[inline(always)]
    fn propose<'s>(
        &self,
        at: &Arrival,
        packet: &Packet<'_, F>,
        service: &'s Service<F>,
        (member, is_remembered): (&ServiceMember<F>, bool),
        source_mac: Mac,
    ) -> Result<(Candidate<F>, Option<&'s SourceNatPool<F>>), Step> {
        let mut candidate = self.candidate((&packet.key, packet.hash), service, member)?;
        candidate.is_remembered = is_remembered;
        candidate.from = self.firewall_before(at, source_mac, packet);
        let pool = self.pool(at, packet, service, &candidate, member)?;
        if pool.is_some() {
            candidate.shapes = service.mode.shapes(member, true);
        }
        Ok((candidate, pool))
    }

    /// The pool that the session's source is to come from, if it needs one.
    fn pool<'s>(
        &self,
        at: &Arrival,
        packet: &Packet<'_, F>,
        service: &'s Service<F>,
        candidate: &Candidate<F>,
        member: &ServiceMember<F>,
    ) -> Result<Option<&'s SourceNatPool<F>>, Step> {
        match &service.source_nat {
            SourceNat::Always(pool) => Ok(Some(pool)),
            SourceNat::Auto(pool, path) => {
                Ok(self.bypasses(at, packet, candidate, member, *path).then_some(pool))
            }
            // A server that calls its own service would answer itself past the appliance: it is refused at once
            // rather than left waiting.
            SourceNat::Never
                if service.has_server(candidate.arriving.source.0)
                    && self.bypasses(at, packet, candidate, member, ReturnPath::Any) =>
            {
                Err(Self::refuse(&packet.transport, DropReason::ReplyBypasses))
            }
            SourceNat::Never => Ok(None),
        }
    }

    /// Forwards a packet of a service that needs no session, by the hash of its flow alone.
    pub fn without_session(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        service: &Service<F>,
    ) -> Step {
        let Some(member) = service.choose_by_hash(&packet.key, &self.world.shared.hasher) else {
            return Self::refuse(&packet.transport, DropReason::NoServer);
        };
        let candidate = self.candidate((&packet.key, packet.hash), service, member);
        match candidate.and_then(|candidate| self.request_now(&packet.key, &candidate)) {
            Ok((request, link)) => {
                let step = self.emit_unusual(scratch, at, ethernet, packet, &request, link);
                if let Step::Send(_) | Step::Wrap(..) = step {
                    self.world.counters.sessionless.add(1);
                }
                step
            }
            Err(step) => step,
        }
    }

    /// Opens a session of a host behind the appliance that calls somebody outside.
    pub fn admit_outbound(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        outbound: &Outbound<F>,
    ) -> Step {
        if packet.header.hop_limit() <= 1 {
            return Step::Answer(Answer::TimeExceeded);
        }
        let arriving = Endpoints { source: packet.key.source(), destination: packet.key.destination() };
        let request_way = match self.way_to(packet.key.zone(), arriving.destination.0, packet.hash) {
            Ok(way) => way,
            Err(step) => return step,
        };
        let mut candidate = Candidate {
            member: outbound.id,
            arriving,
            leaving: arriving,
            shapes: (Shape::ROUTED, Shape::ROUTED),
            request_way,
            reply_link: self.link_back(arriving.source.0, packet.hash),
            reply_zone: self.reply_zone(packet.key.zone(), request_way),
            from: self.firewall_before(at, ethernet.source(), packet),
            is_direct: false,
            is_remembered: false,
        };
        // A pool has no bound of its own but its ports.
        self.world.shared.loads.occupy(outbound.id);
        let inserted = self.insert_with_port(scratch, packet, &outbound.pool, &mut candidate);
        if !matches!(inserted, Ok(Insert::Inserted { .. } | Insert::Evicted)) {
            self.world.shared.loads.release(outbound.id);
        }
        match inserted {
            Ok(Insert::Inserted { client, .. }) => self.replay_first(scratch, at, ethernet, packet, &client),
            Ok(Insert::Duplicate(hit)) => self.replay(scratch, at, ethernet, packet, &hit),
            Ok(Insert::Full) => DropReason::SessionTableFull.into(),
            Ok(Insert::Busy | Insert::Evicted) => DropReason::SessionBusy.into(),
            Ok(Insert::ServerKeyTaken) => DropReason::SourcePortsExhausted.into(),
            Err(step) => step,
        }
    }

    /// The session that a packet of the flow `key` would open with the chosen member; a step where its way out is not
    /// known.
    pub fn candidate(
        &self,
        (key, hash): (&F::Key, u64),
        service: &Service<F>,
        member: &ServiceMember<F>,
    ) -> Result<Candidate<F>, Step> {
        let arriving = Endpoints { source: key.source(), destination: key.destination() };
        let port = member.port.unwrap_or(arriving.destination.1);
        let leaving = match service.mode {
            Mode::Gue { source, port } => {
                let entropy = entropy(hash, &self.world.shared.hasher) as u16;
                let entropy = ENTROPY_PORT_FIRST | entropy & !ENTROPY_PORT_FIRST;
                Endpoints { source: (source, entropy), destination: (member.address, port) }
            }
            Mode::IpInIp { source } => Endpoints { source: (source, 0), destination: (member.address, 0) },
            _ => Endpoints { source: arriving.source, destination: (member.address, port) },
        };
        let request_way = self.way_to(key.zone(), member.address, hash)?;
        if service.mode.needs_server_on_link() && !self.is_on_link(member.address) {
            return Err(Step::Answer(Answer::HostUnreachable));
        }
        Ok(Candidate {
            member: member.id,
            arriving,
            leaving,
            shapes: service.mode.shapes(member, false),
            request_way,
            reply_link: self.link_back(arriving.source.0, hash),
            reply_zone: self.reply_zone(key.zone(), request_way),
            from: None,
            is_direct: service.mode.is_direct(),
            is_remembered: false,
        })
    }

    /// The link by which packets for `destination` leave; a step where it is not known.
    pub fn link_to(&self, destination: F::Address, hash: u64) -> Result<(LinkIndex, Link), Step> {
        match self.view.routes.resolve(destination, hash) {
            Resolution::Link(index) => match self.world.shared.links.get(index) {
                Some(link) => Ok((index, link)),
                None => Err(self.park_for(destination, hash)),
            },
            Resolution::Unresolved { port, next_hop } => Err(Step::Park { port, next_hop: next_hop.into() }),
            Resolution::Unreachable => Err(Step::Answer(Answer::HostUnreachable)),
        }
    }

    /// The link by which replies leave. It may stay open: the first reply asks again, and waits if it must.
    fn link_back(&self, client: F::Address, hash: u64) -> LinkIndex {
        match self.view.routes.resolve(client, hash) {
            Resolution::Link(link) => link,
            _ => LinkIndex::UNRESOLVED,
        }
    }

    /// Whether `address` is its own next hop.
    fn is_on_link(&self, address: F::Address) -> bool {
        self.view.routes.next_hop(address, 0).is_some_and(|(_, next_hop)| next_hop == address)
    }

    /// Whether the server's reply to this packet would reach the client past the appliance, so that nobody could give
    /// it the VIP's address.
    fn bypasses(
        &self,
        at: &Arrival,
        packet: &Packet<'_, F>,
        candidate: &Candidate<F>,
        member: &ServiceMember<F>,
        path: ReturnPath,
    ) -> bool {
        let link = match candidate.request_way {
            Way::Link(link) => self.world.shared.links.get(link),
            // Firewalls send everything back to whom it came from.
            Way::Through(_) => return path == ReturnPath::Bypass,
        };
        self.reply_way((at.leg, at.port), packet.header.source(), (member.address, link), path).bypasses()
    }

    /// The firewall that a packet for a service came from.
    fn firewall_before(&self, at: &Arrival, mac: Mac, packet: &Packet<'_, F>) -> Option<MemberId> {
        let (zone, source) = (packet.key.zone(), packet.header.source());
        self.came_from(zone, source, (at.leg, mac)).map(|firewall| firewall.id)
    }

    /// The zone that replies to what leaves that way arrive in.
    fn reply_zone(&self, zone: Zone, way: Way) -> Zone {
        let Way::Link(link) = way else { return zone };
        let leg = self.world.shared.links.get(link).and_then(|link| self.world.port(link.port));
        leg.map_or(zone, |leg| leg.zone)
    }

    /// What becomes of a request of `candidate`, and by which link it leaves, were it a session's.
    pub fn request_now(
        &self,
        key: &F::Key,
        candidate: &Candidate<F>,
    ) -> Result<(Translation<F>, LinkIndex), Step> {
        let request = candidate.request(Birth::at(self.world.now_ns));
        let request = match candidate.request_way {
            Way::Link(_) => request,
            Way::Through(beyond) => {
                let firewall = self.firewall_by_hash(beyond, &Self::key_at_firewalls(key, &request))?;
                request.leaving_by(firewall.id.index)
            }
        };
        Ok((request, self.link_index_of(&request)))
    }

    /// Tries to store the session; a step where a firewall that it needs does not take it.
    pub fn insert(&self, packet: &Packet<'_, F>, candidate: &Candidate<F>) -> Result<Insert<PAYLOAD>, Step> {
        let (pair, holders) = self.pair(packet, candidate)?;
        let inserted = self.store((&packet.key, packet.hash), segment_of(&packet.transport).as_ref(), &pair);
        if !matches!(inserted, Insert::Inserted { .. } | Insert::Evicted) {
            holders.iter().for_each(|firewall| self.world.shared.loads.release(*firewall));
        }
        Ok(inserted)
    }

    /// The session as it is to be stored, and the firewalls that hold a place for it; a step where one that it needs does not
    /// take it.
    fn pair(&self, packet: &Packet<'_, F>, candidate: &Candidate<F>) -> Result<(Pair<F>, Holders), Step> {
        let ends = candidate.reply_arriving();
        let reply_key =
            F::Key::new(candidate.reply_zone, packet.key.protocol(), ends.source, ends.destination);
        let born = Birth::at(self.world.now_ns);
        let (mut request, mut reply) = (candidate.request(born), candidate.reply(born));
        let loads = &self.world.shared.loads;
        if let Some(from) = candidate.from {
            (request, reply) = (request.coming_from(from.index), reply.leaving_by(from.index));
            // Who placed it has seen to its bounds.
            loads.occupy(from);
        }
        let to = match candidate.request_way {
            Way::Link(_) => None,
            Way::Through(beyond) => {
                match self.choose_firewall(beyond, &Self::key_at_firewalls(&packet.key, &request)) {
                    Ok(firewall) => Some(firewall.id),
                    Err(reason) => {
                        candidate.from.iter().for_each(|from| loads.release(*from));
                        return Err(Self::refuse(&packet.transport, reason));
                    }
                }
            }
        };
        if let Some(to) = to {
            (request, reply) = (request.leaving_by(to.index), reply.coming_from(to.index));
        }
        let marks = [(candidate.is_direct, Flags::ONE_WAY), (candidate.is_remembered, Flags::REMEMBERED)];
        let marks =
            marks.into_iter().filter(|(is_set, _)| *is_set).fold(Flags::NONE, |all, (_, one)| all.with(one));
        let holders = candidate.from.into_iter().chain(to).collect();
        let reply_hash = reply_key.hash(&self.world.shared.hasher);
        Ok((Pair { request, reply, reply_key, reply_hash, marks }, holders))
    }

    /// Tries to store a session, whose members all have a place for it.
    pub fn store(
        &self,
        (key, hash): (&F::Key, u64),
        segment: Option<&Segment>,
        pair: &Pair<F>,
    ) -> Insert<PAYLOAD> {
        let Pair { request, reply, reply_key, reply_hash, marks } = pair;
        let client = Entry { hash, key: *key.words(), payload: F::words(request) };
        let server = Entry { hash: *reply_hash, key: *reply_key.words(), payload: F::words(reply) };
        let opening = self.opening(key.protocol(), segment, *marks);
        let inserted = self.table.insert(&opening, &client, &server, |evicted| {
            self.world.counters.sessions_evicted.add(1);
            self.release(evicted);
        });
        if let Insert::Inserted { .. } | Insert::Evicted = inserted {
            self.world.counters.sessions_opened.add(1);
            for holder in self.holders_of(request, reply) {
                if let Some(counters) = self.world.counters.members.get(usize::from(holder.index)) {
                    counters.sessions_created.add(1);
                }
            }
        }
        inserted
    }

    fn opening(&self, protocol: u8, segment: Option<&Segment>, marks: Flags) -> Opening {
        let (protocol, seen) = match segment {
            Some(segment) => (Protocol::Tcp, tcp::open(segment)),
            None if protocol == F::ICMP => (Protocol::Icmp, Observation::NOTHING),
            None => (Protocol::Udp, Observation::NOTHING),
        };
        let epoch = self.world.plan.route_epoch;
        Opening { tick: self.world.tick, protocol, epoch, seen, marks, now_us: self.world.now_us() }
    }

    /// Accounts for a session that has ended: its member has one less, its source port rests.
    pub fn release(&self, ended: &Session<KEY, PAYLOAD>) {
        self.world.counters.sessions_closed.add(1);
        let has_left = ended.client.direction.activity.flags().contains(Flags::LEFT);
        for holder in self.holders(ended) {
            if let Some(counters) = self.world.counters.members.get(usize::from(holder.index)) {
                counters.sessions_ended.add(1);
            }
            if !has_left {
                self.world.shared.loads.release(holder);
            }
        }
        self.release_memory(ended, F::translation(&ended.client.payload).member);
        let client = F::Key::from_words(ended.client.key).source();
        let lent = F::Key::from_words(ended.server.key).destination();
        if client != lent {
            let reply_key = F::Key::from_words(ended.server.key);
            self.world.shared.quarantine.freed(reply_key.hash(&self.world.shared.hasher), self.world.tick);
        }
    }
}
