//! A new session: choose a member, compile both translations, store them, replay the first.

use crate::path::{Answer, Fits, Path, Step};
use crate::reason::DropReason;
use crate::replay::segment_of;
use crate::scratch::Scratch;
use flow::{Family, FlowKey, NetworkHeader, Packet};
use plan::{Choice, Resolution, Service, SourceNat};
use rewrite::{Birth, Direction, Endpoints, LinkIndex, MemberId, routed};
use session::tcp::{self, Observation};
use session::{Entry, Flags, Insert, Opening, Protocol, Session, State};
use wire::ethernet::Ethernet;

/// Members that a flow is offered when its server-side key is taken; more would let one port scan walk all servers.
const MEMBERS_TRIED_MAX: usize = 4;

/// A session as it would be: what both sides arrive and leave with, and by which links.
pub(crate) struct Candidate<F: Family> {
    pub member: MemberId,
    /// The request as it arrives.
    pub arriving: Endpoints<F>,
    /// The request as it leaves.
    pub leaving: Endpoints<F>,
    pub request_link: LinkIndex,
    pub reply_link: LinkIndex,
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Opens a session of `service` with `packet` and forwards it.
    pub fn admit(
        &self,
        scratch: &mut Scratch,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        service: &Service<F>,
    ) -> Step {
        // A packet that ends here opens nothing.
        if packet.header.hop_limit() <= 1 {
            return Step::Answer(Answer::TimeExceeded);
        }
        let Some(mut choice) = service.choose(&packet.key, &self.world.shared.hasher) else {
            return Self::refuse(&packet.transport, DropReason::NoServer);
        };
        for _ in 0..MEMBERS_TRIED_MAX.min(service.available.len()) {
            let mut candidate = match self.candidate(packet, &choice) {
                Ok(candidate) => candidate,
                Err(step) => return step,
            };
            let inserted = match &service.source_nat {
                SourceNat::Never => self.insert(packet, &candidate),
                SourceNat::Always(pool) => match self.insert_with_port(scratch, packet, pool, &mut candidate)
                {
                    Some(inserted) => inserted,
                    None => return DropReason::SourcePortsExhausted.into(),
                },
            };
            match inserted {
                Insert::Inserted { client, .. } => return self.replay_first(ethernet, packet, &client),
                Insert::Duplicate(hit) => return self.replay(scratch, ethernet, packet, &hit),
                Insert::Full => return DropReason::SessionTableFull.into(),
                Insert::Busy | Insert::Evicted => return DropReason::SessionBusy.into(),
                Insert::ServerKeyTaken => {}
            }
            match service.choose_after(&choice) {
                Some(next) => choice = next,
                None => break,
            }
        }
        DropReason::ServerKeyTaken.into()
    }

    /// The session that `packet` would open with the chosen member; a step where its way out is not known.
    fn candidate(&self, packet: &Packet<'_, F>, choice: &Choice<'_, F>) -> Result<Candidate<F>, Step> {
        let member = choice.member;
        let arriving = Endpoints { source: packet.key.source(), destination: packet.key.destination() };
        let server_port = member.port.unwrap_or(arriving.destination.1);
        let leaving = Endpoints { source: arriving.source, destination: (member.address, server_port) };
        let request_link = match self.view.routes.resolve(member.address, packet.hash) {
            Resolution::Link(link) if self.world.shared.links.get(link).is_some() => link,
            Resolution::Link(_) => return Err(self.park_for(member.address, packet.hash)),
            Resolution::Unresolved { port, next_hop } => {
                return Err(Step::Park { port, next_hop: next_hop.into() });
            }
            Resolution::Unreachable => return Err(Step::Answer(Answer::HostUnreachable)),
        };
        // The way back may stay open: the first reply asks again, and waits if it must.
        let reply_link = match self.view.routes.resolve(arriving.source.0, packet.hash) {
            Resolution::Link(link) => link,
            _ => LinkIndex::UNRESOLVED,
        };
        Ok(Candidate { member: member.id, arriving, leaving, request_link, reply_link })
    }

    /// Tries to store the session.
    pub fn insert(&self, packet: &Packet<'_, F>, candidate: &Candidate<F>) -> Insert<PAYLOAD> {
        let Candidate { member, arriving, leaving, request_link, reply_link } = *candidate;
        let (reply_arriving, reply_leaving) = (leaving.swapped(), arriving.swapped());
        let born = Birth::at(self.world.now_ns);
        let request = routed(arriving, leaving, member, Direction::Request, request_link, born);
        let reply = routed(reply_arriving, reply_leaving, member, Direction::Reply, reply_link, born);
        let reply_key = Self::key_of(packet, reply_arriving);
        let client = Entry { hash: packet.hash, key: *packet.key.words(), payload: F::words(&request) };
        let server = Entry {
            hash: reply_key.hash(&self.world.shared.hasher),
            key: *reply_key.words(),
            payload: F::words(&reply),
        };
        let inserted = self.table.insert(&self.opening(packet), &client, &server, |evicted| {
            self.world.counters.sessions_evicted.add(1);
            self.release(evicted);
        });
        if let Insert::Inserted { .. } | Insert::Evicted = inserted
            && let Some(counters) = self.world.counters.members.get(usize::from(member.index))
        {
            counters.sessions_created.add(1);
        }
        inserted
    }

    /// The key of packets of this flow's protocol that arrive with `ends`.
    pub fn key_of(packet: &Packet<'_, F>, ends: Endpoints<F>) -> F::Key {
        F::Key::new(packet.key.zone(), packet.key.protocol(), ends.source, ends.destination)
    }

    fn opening(&self, packet: &Packet<'_, F>) -> Opening {
        let (protocol, seen) = match segment_of(&packet.transport) {
            Some(segment) => (Protocol::Tcp, tcp::open(&segment)),
            None => (Protocol::Udp, Observation::NOTHING),
        };
        Opening { tick: self.world.tick, protocol, epoch: self.world.plan.route_epoch, seen }
    }

    /// Accounts for a session that has ended: its member has one less, its source port rests.
    pub fn release(&self, ended: &Session<KEY, PAYLOAD>) {
        let request = F::translation(&ended.client.payload);
        if let Some(counters) = self.world.counters.members.get(usize::from(request.member.index)) {
            counters.sessions_ended.add(1);
            let sides = [ended.client.direction, ended.server.direction].map(|side| side.activity.flags());
            let marks = sides.iter().filter(|flags| flags.contains(Flags::COUNTED_CLOSING)).count();
            let was_reset = ended.state() == State::Reset;
            counters.sessions_closed.add((marks + usize::from(was_reset)) as u64);
        }
        let client = F::Key::from_words(ended.client.key).source();
        if client != request.source {
            let reply_key = F::Key::from_words(ended.server.key);
            self.world.shared.quarantine.freed(reply_key.hash(&self.world.shared.hasher), self.world.tick);
        }
    }
}
