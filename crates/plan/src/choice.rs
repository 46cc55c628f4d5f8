//! The choice of a member for a new session.
//!
//! Any worker chooses at any time, over counts that all share ([`Loads`]), without a lock and within a bounded number of
//! looks, however many members there are:
//!
//! | scheduler | looks | what it sees |
//! | --- | --- | --- |
//! | the round robins | one turn, and a search of a sorted list | the cursor |
//! | the others, to [`EXACT_MEMBERS_MAX`] members | all | exactly the best |
//! | the others, above that | [`DRAWS`] drawn by share | the best of these |
//!
//! The best of *d* random members instead of the best of all leaves the fullest about ln ln N / ln d sessions above the
//! mean, whatever the load (Berenbrink, Czumaj, Steger, Voecking 2000): with 8 draws about one for 10,000 members.
//!
//! A choice holds a place at its member ([`Loads::reserve`]); whoever stores no session gives it back.

use crate::loads::Loads;
use crate::scheduler::{GOLDEN, HashFields, Scheduler};
use crate::service::{Service, ServiceMember};
use flow::{Family, FlowHasher, FlowKey};
use rewrite::MemberId;
use std::net::IpAddr;
use wire::Mac;

/// Members that are all looked at for every session. More would make a session dearer than the look at its packets.
pub const EXACT_MEMBERS_MAX: usize = 32;
/// Members drawn for a look where there are more.
pub const DRAWS: usize = 8;

/// Turns of a round that may fall to a member which is full or warming up before any other with room is taken.
const TURNS_MAX: usize = 16;
/// How often the best is looked for while other workers change the counts.
const LEAST_TRIES: usize = 8;
/// Members that are asked for room when the chosen one is full. Where more than that are full in a row, a free one behind
/// them is missed.
const ROOM_TRIES: usize = 64;
/// Rows that a flow is hashed to when the first one's member is full.
const REHASHES: u64 = 4;

/// Response times below this are alike, in nanoseconds: nearer to each other than the host's own jitter.
const RESPONSE_FLOOR_NS: u64 = 100_000;

/// A whole share; members that are warming up have a part of it.
const WHOLE: u64 = 1 << 16;
/// The part that a member begins with: 1/64, so that there is something to warm it.
const PART_MIN: u64 = WHOLE / 64;

/// Separates the dispatch hash from other uses of the secret.
const PURPOSE_DISPATCH: u64 = 0x6469_7370_6174_6368;
const PURPOSE_DRAW: u64 = 0x6472_6177_0000_0000;

/// Since when a member takes sessions again, and for how long it gets less than its share (slow start).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warming {
    /// Since this time of the workers' clock, in nanoseconds.
    pub since_ns: u64,
    /// For so long, in nanoseconds, never 0.
    pub for_ns: u64,
}

impl Warming {
    /// The part of its share that the member gets, in 1/[`WHOLE`].
    fn part(self, now_ns: u64) -> u64 {
        let elapsed_ns = now_ns.saturating_sub(self.since_ns).min(self.for_ns);
        let part = u128::from(WHOLE) * u128::from(elapsed_ns) / u128::from(self.for_ns.max(1));
        (part as u64).max(PART_MIN)
    }
}

/// What a choice is made by.
#[derive(Clone, Copy)]
pub struct Ask<'a, F: Family> {
    /// The flow.
    pub key: &'a F::Key,
    /// Its keyed hash.
    pub hash: u64,
    /// Where its packet came from on the link.
    pub source_mac: Mac,
    /// Hashes under the appliance's secret.
    pub hasher: &'a FlowHasher,
    /// What each member carries.
    pub loads: &'a Loads,
    /// Now, on the workers' clock.
    pub now_ns: u64,
}

impl<F: Family> Ask<'_, F> {
    /// The draw number `at` of this flow, which nobody without the secret can foretell.
    fn draw(&self, at: u8) -> u64 {
        let mut bytes = [at; 9];
        bytes[..8].copy_from_slice(&self.hash.to_le_bytes());
        self.hasher.dispatch(PURPOSE_DRAW, &bytes)
    }
}

/// A chosen member with a place at it, and where it stands, so that the next one can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a, F: Family> {
    /// The member.
    pub member: &'a ServiceMember<F>,
    place: usize,
}

/// Why there is no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// No member takes sessions.
    NoServer,
    /// All that take sessions have as many as they may.
    AllFull,
}

/// Members that are looked at for one session.
struct Candidates {
    places: [usize; EXACT_MEMBERS_MAX],
    count: usize,
}

impl<F: Family> Service<F> {
    /// A member for a new session.
    pub fn choose(&self, ask: &Ask<'_, F>) -> Result<Choice<'_, F>, Unserved> {
        if self.available.is_empty() {
            return Err(Unserved::NoServer);
        }
        let choice = match &self.scheduler {
            Scheduler::RoundRobin | Scheduler::WeightedRoundRobin => self.in_turn(ask),
            Scheduler::LeastConnections | Scheduler::WeightedLeastConnections => self.least_sessions(ask),
            Scheduler::Hash { .. } => self.hashed(ask),
            Scheduler::ResponseTime => self.by_response(ask),
            Scheduler::Bandwidth => self.least_bandwidth(ask),
        };
        choice.or_else(|| self.with_room(0, ask)).ok_or(Unserved::AllFull)
    }

    /// The member of that id, if it takes sessions and has room: where its client is to come back to.
    pub fn choose_again(&self, id: MemberId, ask: &Ask<'_, F>) -> Option<Choice<'_, F>> {
        self.reserve(self.place_of(id)?, ask)
    }

    /// Whether the member of that id takes sessions, room or not.
    pub fn is_available(&self, id: MemberId) -> bool {
        self.place_of(id).is_some()
    }

    fn place_of(&self, id: MemberId) -> Option<usize> {
        self.available.binary_search(self.positions.get(&id)?).ok()
    }

    /// The member after `choice`, for a flow that cannot be told from another one at that server.
    pub fn choose_after(&self, choice: &Choice<'_, F>, ask: &Ask<'_, F>) -> Option<Choice<'_, F>> {
        self.with_room(choice.place + 1, ask)
    }

    /// The member for a packet that gets no session: the same for all packets of a flow, on every appliance, as long as
    /// that member takes sessions. It holds no place.
    pub fn choose_by_hash(&self, key: &F::Key, hasher: &FlowHasher) -> Option<&ServiceMember<F>> {
        let hash = hash_of_fields::<F>(HashFields::FLOW, key, Mac::default(), hasher);
        let position = self.rows.as_ref()?.member(hash)?;
        let is_available = self.available.binary_search(&(position as u16)).is_ok();
        self.members.get(position).filter(|_| is_available)
    }

    /// Whether `address` is one of its servers'.
    pub fn has_server(&self, address: F::Address) -> bool {
        self.members.iter().any(|member| member.address == address)
    }

    fn in_turn(&self, ask: &Ask<'_, F>) -> Option<Choice<'_, F>> {
        (0..TURNS_MAX).find_map(|_| {
            let turn = self.cursor.next();
            let place = self.wheel.at(turn)?;
            // Turns that fall to a member which warms up are let pass evenly.
            let passes = turn.wrapping_mul(GOLDEN) >> 48 >= self.member(place)?.part(ask.now_ns);
            if passes { None } else { self.reserve(place, ask) }
        })
    }

    fn least_sessions(&self, ask: &Ask<'_, F>) -> Option<Choice<'_, F>> {
        // From another one on each time, so that equals take turns.
        let candidates = self.candidates(self.cursor.next(), ask);
        for _ in 0..LEAST_TRIES {
            let mut best: Option<(u128, u128, usize, u64)> = None;
            for &place in candidates.places() {
                let Some(member) = self.member(place) else { continue };
                let sessions = ask.loads.sessions(member.id);
                if sessions >= member.sessions_max {
                    continue;
                }
                let share = u128::from(self.share(member, ask.now_ns));
                let load = u128::from(sessions) + 1;
                if best.is_none_or(|(other, other_share, ..)| load * other_share < other * share) {
                    best = Some((load, share, place, sessions));
                }
            }
            let (.., place, sessions) = best?;
            // Nobody may have come between the look and the place, or two workers would take one member for the emptiest.
            if ask.loads.reserve_after(self.member(place)?.id, sessions) {
                return self.choice(place);
            }
        }
        self.with_room(*candidates.places().first()?, ask)
    }

    fn least_bandwidth(&self, ask: &Ask<'_, F>) -> Option<Choice<'_, F>> {
        let mut candidates = self.candidates(self.cursor.next(), ask);
        while candidates.count > 0 {
            let mut best: Option<(u128, u128, usize)> = None;
            for (at, &place) in candidates.places().iter().enumerate() {
                let Some(member) = self.member(place) else { continue };
                let share = u128::from(self.share(member, ask.now_ns));
                let rate = u128::from(ask.loads.rate_bytes_per_s(member.id));
                if best.is_none_or(|(other, other_share, _)| rate * other_share < other * share) {
                    best = Some((rate, share, at));
                }
            }
            let (.., at) = best?;
            if let Some(choice) = self.reserve(candidates.take(at), ask) {
                ask.loads.expect_session(choice.member.id);
                return Some(choice);
            }
        }
        None
    }

    fn by_response(&self, ask: &Ask<'_, F>) -> Option<Choice<'_, F>> {
        let mut candidates = self.candidates(0, ask);
        let known = |place: usize| ask.loads.response_ns(self.member(place)?.id);
        // Whom nobody has measured counts as one of the others.
        let (sum, count) = candidates
            .places()
            .iter()
            .filter_map(|&place| known(place))
            .fold((0u128, 0u128), |(sum, count), ns| (sum + u128::from(ns), count + 1));
        let mean_ns = sum.checked_div(count).unwrap_or_default() as u64;
        let share = |place: usize| -> u128 {
            let Some(member) = self.member(place) else { return 0 };
            let response_ns = known(place).unwrap_or(mean_ns).max(RESPONSE_FLOOR_NS);
            (u128::from(self.share(member, ask.now_ns)) << 40) / u128::from(response_ns)
        };
        let point = self.cursor.next().wrapping_mul(GOLDEN);
        while candidates.count > 0 {
            let total: u128 = candidates.places().iter().map(|&place| share(place)).sum();
            // A total is at most 32 shares of 2^72 over the floor of 10^5: 2^61.
            let mut left = (total * u128::from(point)) >> 64;
            let at = candidates.places().iter().position(|&place| {
                let own = share(place);
                let is_here = left < own;
                left = left.saturating_sub(own);
                is_here
            });
            let place = candidates.take(at.unwrap_or(0));
            if let Some(choice) = self.reserve(place, ask) {
                return Some(choice);
            }
        }
        None
    }

    fn hashed(&self, ask: &Ask<'_, F>) -> Option<Choice<'_, F>> {
        let Scheduler::Hash { fields, rows, rows_without_warming } = &self.scheduler else { return None };
        let hash = hash_of_fields::<F>(*fields, ask.key, ask.source_mac, ask.hasher);
        (0..REHASHES).find_map(|again| {
            let hash = hash.wrapping_add(again.wrapping_mul(GOLDEN));
            let mut position = rows.member(hash)?;
            if let Some(others) = rows_without_warming
                && hash.wrapping_mul(GOLDEN) >> 48 >= self.members.get(position)?.part(ask.now_ns)
            {
                position = others.member(hash).unwrap_or(position);
            }
            self.reserve(self.available.binary_search(&(position as u16)).ok()?, ask)
        })
    }

    /// All members that take sessions, from `first` on; or some drawn by share.
    fn candidates(&self, first: u64, ask: &Ask<'_, F>) -> Candidates {
        let available = self.available.len();
        let mut candidates = Candidates { places: [0; EXACT_MEMBERS_MAX], count: 0 };
        if available <= EXACT_MEMBERS_MAX {
            let first = (first % available.max(1) as u64) as usize;
            (0..available).for_each(|at| candidates.push((first + at) % available));
        } else {
            let draw = |at: u8| self.wheel.draw(ask.draw(at));
            (0..DRAWS as u8).filter_map(draw).for_each(|place| candidates.push(place));
        }
        candidates
    }

    /// The first member with room from `place` on.
    fn with_room(&self, place: usize, ask: &Ask<'_, F>) -> Option<Choice<'_, F>> {
        let count = self.available.len();
        (0..count.min(ROOM_TRIES)).find_map(|at| self.reserve((place + at) % count, ask))
    }

    fn reserve(&self, place: usize, ask: &Ask<'_, F>) -> Option<Choice<'_, F>> {
        let choice = self.choice(place)?;
        ask.loads.reserve(choice.member.id, choice.member.sessions_max).then_some(choice)
    }

    fn choice(&self, place: usize) -> Option<Choice<'_, F>> {
        Some(Choice { member: self.member(place)?, place })
    }

    fn member(&self, place: usize) -> Option<&ServiceMember<F>> {
        self.members.get(usize::from(*self.available.get(place)?))
    }

    /// What the member is to get in proportion to the others, never 0.
    fn share(&self, member: &ServiceMember<F>, now_ns: u64) -> u64 {
        let weight = if self.scheduler.has_weights() { member.weight } else { 1 };
        u64::from(weight.max(1)) * member.part(now_ns)
    }
}

impl<F: Family> ServiceMember<F> {
    /// The part of its share that it gets now, in 1/[`WHOLE`].
    fn part(&self, now_ns: u64) -> u64 {
        self.warming.map_or(WHOLE, |warming| warming.part(now_ns))
    }
}

impl Candidates {
    fn places(&self) -> &[usize] {
        &self.places[..self.count]
    }

    fn push(&mut self, place: usize) {
        if let Some(free) = self.places.get_mut(self.count) {
            *free = place;
            self.count += 1;
        }
    }

    /// Takes the candidate at `at` out.
    fn take(&mut self, at: usize) -> usize {
        let place = self.places[at];
        self.count -= 1;
        self.places.copy_within(at + 1..=self.count.min(EXACT_MEMBERS_MAX - 1), at);
        place
    }
}

fn hash_of_fields<F: Family>(fields: HashFields, key: &F::Key, source_mac: Mac, hasher: &FlowHasher) -> u64 {
    // Each field has its own place, so that no two choices of fields can be mistaken for each other.
    let mut bytes = [0u8; 42];
    let ((source, source_port), (destination, destination_port)) = (key.source(), key.destination());
    if fields.source_address {
        bytes[..16].copy_from_slice(&address_bytes(source.into()));
    }
    if fields.destination_address {
        bytes[16..32].copy_from_slice(&address_bytes(destination.into()));
    }
    if fields.source_port {
        bytes[32..34].copy_from_slice(&source_port.to_be_bytes());
    }
    if fields.destination_port {
        bytes[34..36].copy_from_slice(&destination_port.to_be_bytes());
    }
    if !fields.source_mac {
        return hasher.dispatch(PURPOSE_DISPATCH, &bytes[..36]);
    }
    bytes[36..].copy_from_slice(&source_mac.0);
    hasher.dispatch(PURPOSE_DISPATCH, &bytes)
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
