//! A source address and port for a session whose servers are to see the appliance.
//!
//! The session table itself keeps ports apart: the server-side key (server, pool address, port) is unique, so a port may
//! serve many servers at once and never two sessions to the same one (RFC 4787 REQ-3, RFC 5382 REQ-7).

use crate::admit::Candidate;
use crate::path::{Fits, Path, Step};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use flow::{Family, FlowKey, Packet};
use plan::SourceNatPool;
use session::{Insert, Lookup, Session, State, ticks_in};
use std::time::Duration;

/// Ports are drawn from here upwards (RFC 6056 section 3.2).
const PORT_FIRST: u16 = 1_024;
const PORT_COUNT: u64 = 65_536 - PORT_FIRST as u64;

/// Random draws before the pool counts as exhausted. With 95 % of the ports taken one session in 27 fails at 64 draws,
/// and a pool that full wants another address.
const DRAWS_MAX: usize = 64;

/// How long a freed port rests before another client may have it (RFC 6888 REQ-8).
const REST: Duration = Duration::from_secs(120);

/// A closing session that could give up its port.
type Closing<const KEY: usize, const PAYLOAD: usize> = Session<KEY, PAYLOAD>;

impl<F: Family> Candidate<F> {
    /// Lets the request leave under `source`. An ICMP query has one identifier, which stands in both ports.
    fn lend(&mut self, packet: &Packet<'_, F>, source: (F::Address, u16)) {
        self.leaving.source = source;
        if packet.key.protocol() == F::ICMP {
            self.leaving.destination.1 = source.1;
        }
    }
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Stores the session under a free port of `pool`; a drop when none was found.
    ///
    /// Ports at rest are used only when no draw found another, and the port of the longest idle closing session only
    /// when all were taken; both are counted.
    pub fn insert_with_port(
        &self,
        scratch: &mut Scratch,
        packet: &Packet<'_, F>,
        pool: &SourceNatPool<F>,
        candidate: &mut Candidate<F>,
    ) -> Result<Insert<PAYLOAD>, Step> {
        let mut resting = None;
        let mut closing: Option<Closing<KEY, PAYLOAD>> = None;
        for _ in 0..DRAWS_MAX {
            let source = self.draw(scratch, packet, pool).ok_or(DropReason::SourcePortsExhausted)?;
            candidate.lend(packet, source);
            if self.has_service(packet, source) {
                continue;
            }
            let ends = candidate.leaving.swapped();
            let key = F::Key::new(candidate.reply_zone, packet.key.protocol(), ends.source, ends.destination);
            let hash = key.hash(&self.world.shared.hasher);
            if self.world.shared.quarantine.rests(hash, self.world.tick, ticks_in(REST)) {
                resting = resting.or(Some(source));
                continue;
            }
            match self.insert(packet, candidate)? {
                Insert::ServerKeyTaken => self.note_closing(&key, hash, &mut closing),
                inserted => return Ok(inserted),
            }
        }
        if let Some(source) = resting {
            candidate.lend(packet, source);
            match self.insert(packet, candidate)? {
                // It rested since its last release and has been lent again meanwhile.
                Insert::ServerKeyTaken => {}
                inserted => {
                    self.world.counters.source_ports_hurried.add(1);
                    return Ok(inserted);
                }
            }
        }
        let ended = closing.and_then(|closing| self.table.remove(closing.client.slot, closing.birth));
        let ended = ended.ok_or(DropReason::SourcePortsExhausted)?;
        self.release(&ended);
        self.world.counters.source_ports_hurried.add(1);
        candidate.lend(packet, F::Key::from_words(ended.server.key).destination());
        self.insert(packet, candidate)
    }

    /// Lends the session a port of `pool` if the first draw is one that nobody has and that does not rest.
    pub fn lend_at_first_try(
        &self,
        scratch: &mut Scratch,
        packet: &Packet<'_, F>,
        pool: &SourceNatPool<F>,
        candidate: &mut Candidate<F>,
    ) -> Option<()> {
        let source = self.draw(scratch, packet, pool)?;
        candidate.lend(packet, source);
        let ends = candidate.leaving.swapped();
        let key = F::Key::new(candidate.reply_zone, packet.key.protocol(), ends.source, ends.destination);
        let hash = key.hash(&self.world.shared.hasher);
        let rests = self.world.shared.quarantine.rests(hash, self.world.tick, ticks_in(REST));
        (!rests && !self.has_service(packet, source)).then_some(())
    }

    /// A random address and port of the pool. An outsider cannot guess it: the generator is keyed by the secret.
    fn draw(
        &self,
        scratch: &mut Scratch,
        packet: &Packet<'_, F>,
        pool: &SourceNatPool<F>,
    ) -> Option<(F::Address, u16)> {
        let random = scratch.random(&self.world.shared.hasher, packet.hash);
        let address = pool.addresses.get((random >> 32) as usize % pool.addresses.len().max(1))?;
        Some((*address, PORT_FIRST + (random % PORT_COUNT) as u16))
    }

    /// Whether a service listens there: such a port of a VIP is never lent.
    fn has_service(&self, packet: &Packet<'_, F>, source: (F::Address, u16)) -> bool {
        let vip = self.view.owned.get(source.0);
        vip.is_some_and(|vip| vip.service(packet.key.protocol(), source.1).is_some())
    }

    /// Remembers the session that holds `key` if it is closing and idle for longer than the one remembered.
    fn note_closing(&self, key: &F::Key, hash: u64, closing: &mut Option<Closing<KEY, PAYLOAD>>) {
        let Lookup::Hit(hit) = self.table.find(&self.table.probe(hash), key.words()) else { return };
        let Some(session) = self.table.session(hit.client_slot(), hit.birth) else { return };
        let idle = |session: &Session<KEY, PAYLOAD>| session.idle_ticks(self.world.tick);
        let is_closing = matches!(session.state(), State::TcpClosing | State::Reset);
        if is_closing && closing.as_ref().is_none_or(|other| idle(&session) > idle(other)) {
            *closing = Some(session);
        }
    }
}
