//! Persistence: a client's new session goes to the server that its others have, or had a while ago.

use crate::path::{Fits, Path};
use flow::{Family, FlowKey};
use plan::{Ask, Choice, Persistence, Service, Unserved};
use rewrite::MemberId;
use session::sticky::{Bound, Held, StickyEntry, StickyKey, StickyTable};
use session::{Flags, Session, ticks_in};
use std::time::Duration;

/// Separates the hash of a client from the secret's other uses.
const PURPOSE_PERSISTENCE: u64 = 0x7065_7273_6973_7400;

/// An entry of the persistence table on which a session counts that is about to be made.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    hash: u64,
    key: StickyKey,
    word: u32,
}

impl Memory {
    /// Whether the client is to come back to this member.
    pub fn is_of(&self, member: MemberId) -> bool {
        self.word == member.to_bits()
    }
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// A member for a new session, with the memory that the session counts on if there is one.
    pub fn choose<'s>(
        &self,
        service: &'s Service<F>,
        ask: &Ask<'_, F>,
    ) -> Result<(Choice<'s, F>, Option<Memory>), Unserved> {
        match &service.persistence {
            None => Ok((service.choose(ask)?, None)),
            Some(persistence) => self.choose_remembered(service, persistence, ask),
        }
    }

    fn choose_remembered<'s>(
        &self,
        service: &'s Service<F>,
        persistence: &Persistence,
        ask: &Ask<'_, F>,
    ) -> Result<(Choice<'s, F>, Option<Memory>), Unserved> {
        let (table, tick) = (&self.world.shared.sticky, self.world.tick);
        let timeout_ticks = ticks_in(Duration::from_millis(persistence.timeout_ms));
        let (hash, key) = self.client(persistence, ask.key.source().0);
        let memory = |word| Memory { hash, key, word };
        let stale = match table.hold(hash, &key, tick, timeout_ticks) {
            Held::Member(word) => {
                let member = MemberId::from_bits(word);
                if let Some(choice) = service.choose_again(member, ask) {
                    return Ok((choice, Some(memory(word))));
                }
                if service.is_available(member) {
                    // It is full: this session goes elsewhere, and the next one asks again.
                    self.forget(&memory(word));
                    return Ok((service.choose(ask)?, None));
                }
                Some(word)
            }
            Held::Unknown => None,
            Held::Busy => {
                self.world.counters.persistence_lost.add(1);
                return Ok((service.choose(ask)?, None));
            }
        };
        let choice = match service.choose(ask) {
            Ok(choice) => choice,
            Err(unserved) => {
                stale.iter().for_each(|&word| self.forget(&memory(word)));
                return Err(unserved);
            }
        };
        let word = choice.member.id.to_bits();
        match table.bind(hash, &key, word, stale, tick, timeout_ticks) {
            Bound::Member(bound) if bound == word => Ok((choice, Some(memory(word)))),
            // Another worker was faster with the same client.
            Bound::Member(bound) => match service.choose_again(MemberId::from_bits(bound), ask) {
                Some(other) => {
                    ask.loads.release(choice.member.id);
                    Ok((other, Some(memory(bound))))
                }
                None => {
                    self.forget(&memory(bound));
                    Ok((choice, None))
                }
            },
            Bound::Full | Bound::Busy => {
                self.world.counters.persistence_lost.add(1);
                stale.iter().for_each(|&word| self.forget(&memory(word)));
                Ok((choice, None))
            }
        }
    }

    /// Takes back what counts on `memory`: no session was made there.
    pub fn forget(&self, memory: &Memory) {
        self.world.shared.sticky.release(memory.hash, &memory.key, memory.word, self.world.tick);
    }

    /// A session has ended; if it counted on a memory, that lasts for its timeout from the session's last traffic on.
    pub fn release_memory(&self, ended: &Session<KEY, PAYLOAD>, member: MemberId) {
        let (client, server) = (ended.client.direction.activity, ended.server.direction.activity);
        if !client.flags().contains(Flags::REMEMBERED) {
            return;
        }
        let key = F::Key::from_words(ended.client.key);
        let (vip, port) = key.destination();
        let service = self.view.owned.get(vip).and_then(|vip| vip.service(key.protocol(), port));
        // Where the service or its persistence is gone, control has cleared what it remembered.
        if let Some(persistence) = service.and_then(|service| service.persistence.as_ref()) {
            let (hash, sticky) = self.client(persistence, key.source().0);
            let age = |tick: u32| self.world.tick.wrapping_sub(tick) as i32;
            let last =
                [client, server].map(|side| side.last_seen_tick()).into_iter().min_by_key(|&tick| age(tick));
            self.world.shared.sticky.release(
                hash,
                &sticky,
                member.to_bits(),
                last.unwrap_or(self.world.tick),
            );
        }
    }

    /// Copies what another table remembers of the client of `key` into this one's, and gives it.
    pub fn recall(&self, from: &StickyTable, key: &F::Key) -> Option<StickyEntry> {
        let (vip, port) = key.destination();
        let service = self.view.owned.get(vip).and_then(|vip| vip.service(key.protocol(), port))?;
        let (hash, sticky) = self.client(service.persistence.as_ref()?, key.source().0);
        let entry = from.peek(hash, &sticky, self.world.tick)?;
        let table = &self.world.shared.sticky;
        table.bind(hash, &sticky, entry.member, None, self.world.tick, entry.timeout_ticks);
        Some(entry)
    }

    /// Who is remembered, and the keyed hash of that.
    fn client(&self, persistence: &Persistence, address: F::Address) -> (u64, StickyKey) {
        let key = StickyKey(persistence.key(address.into()));
        let bytes: [u8; 24] = std::array::from_fn(|at| key.0[at / 8].to_le_bytes()[at % 8]);
        (self.world.shared.hasher.dispatch(PURPOSE_PERSISTENCE, &bytes), key)
    }
}
