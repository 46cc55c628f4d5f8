//! First preferences, which share the rows exactly by weight, and the keyed order in which rows ask each other.
//!
//! Like Maglev, members take turns, and each takes the next free row of a walk of its own, so that another member in the
//! configuration moves few rows between those that stay. Unlike it, a turn gives rows by weight and the walks are bounded:
//! the last free rows would cost about M probes each.

use super::{NOBODY, ROWS_MAX, ROWS_MIN, ROWS_PER_MEMBER, RowMember};
use flow::FlowHasher;
use std::sync::Arc;

/// Rows that a member's walk looks at for each row that is due to it. About e^-16 of all rows are left over.
pub const PROBES_PER_ROW: usize = 16;
/// Turns of each member. More would share the early, undisturbed rows more finely.
pub const ROUNDS_MAX: usize = 256;

/// Separates the uses of the one secret, see [`FlowHasher::dispatch`].
const PURPOSE_WALK: u64 = 0x6669_7273_7400_0001;
const PURPOSE_PLACE: u64 = 0x6c61_7465_7200_0002;
const PURPOSE_DISTANCE: u64 = 0x6c61_7465_7200_0003;
const PURPOSE_KEY: u64 = 0x6c61_7465_7200_0004;

/// What of a table does not depend on who lives.
pub(super) struct Fill {
    /// Rows.
    pub count: usize,
    /// Fills that together hold every member of weight > 0 once: those too light for a row in one are in a later one, and
    /// backups come last. With 16 rows a member at the least, the heaviest of a tier weighs less than a sixteenth of the
    /// heaviest before, so weights of 32 bits make nine of each kind at the most; nearly always it is one.
    pub tiers: Box<[Tier]>,
    distances: Scramble,
    members: Box<[RowMember]>,
    /// A hash of nothing, which tells one key from another.
    key: u64,
}

impl Fill {
    pub fn build(members: &[RowMember], hasher: &FlowHasher) -> Self {
        let count = (members.len() * ROWS_PER_MEMBER).next_power_of_two().clamp(ROWS_MIN, ROWS_MAX);
        // By identity, so that file order does not matter.
        let mut order: Vec<usize> = (0..members.len()).filter(|&member| members[member].weight > 0).collect();
        order.sort_by(|&a, &b| members[a].identity.cmp(&members[b].identity));
        let places = Scramble::new(PURPOSE_PLACE, count, hasher);
        let mut tiers = Vec::new();
        for is_backup in [false, true] {
            let mut without_rows = order.clone();
            without_rows.retain(|&member| members[member].is_backup == is_backup);
            while !without_rows.is_empty() {
                let quotas = quotas(members, &without_rows, count);
                let taken = take_rows(members, &without_rows, &quotas, count, hasher);
                tiers.push(Tier::new(&taken, &quotas, &places));
                without_rows.retain(|&member| quotas[member] == 0);
            }
        }
        Self {
            count,
            tiers: tiers.into(),
            distances: Scramble::new(PURPOSE_DISTANCE, count, hasher),
            members: members.into(),
            key: hasher.dispatch(PURPOSE_KEY, &[]),
        }
    }

    pub fn is_for(&self, members: &[RowMember], hasher: &FlowHasher) -> bool {
        *self.members == *members && self.key == hasher.dispatch(PURPOSE_KEY, &[])
    }

    /// Who lives, one for each member: nobody speaks for those past the end of `living`.
    pub fn living(&self, living: &[bool]) -> Arc<[bool]> {
        (0..self.members.len()).map(|member| living.get(member).copied().unwrap_or(false)).collect()
    }

    /// What parts a row from the one that it asks at `level`: 0 at level 0, another one at each level below the number
    /// of rows.
    pub fn distance(&self, level: u32) -> usize {
        self.distances.place(level as usize) ^ self.distances.place(0)
    }

    /// Calls `visit` with each row that asks for `member` at a level up to `deepest`, and that level.
    pub fn each_choice(&self, tier: &Tier, member: usize, deepest: u32, mut visit: impl FnMut(usize, u32)) {
        for level in 0..=deepest {
            let distance = self.distance(level);
            tier.rows_of(member).iter().for_each(|&row| visit(row as usize ^ distance, level));
        }
    }
}

/// One fill of all rows.
pub(super) struct Tier {
    /// The member of each row.
    pub first: Arc<[u16]>,
    /// The rows of each member, one member's after another's.
    by_member: Box<[u32]>,
    /// Where a member's rows begin; one more says where the last one's end.
    starts: Box<[u32]>,
}

impl Tier {
    /// Each row gets another index, so that what a member's even steps have in common is not in the indices.
    fn new(taken: &[u16], quotas: &[usize], places: &Scramble) -> Self {
        let mut first: Arc<[u16]> = std::iter::repeat_n(NOBODY, taken.len()).collect();
        let rows = Arc::make_mut(&mut first);
        (0..).zip(taken).for_each(|(row, &member)| rows[places.place(row)] = member);
        let ends = quotas.iter().scan(0, |end, &quota| {
            *end += quota as u32;
            Some(*end)
        });
        let starts: Box<[u32]> = std::iter::once(0).chain(ends).collect();
        let mut next = starts.clone();
        let mut by_member: Box<[u32]> = vec![0; taken.len()].into();
        for (row, &member) in (0..).zip(rows.iter()) {
            let place = &mut next[usize::from(member)];
            by_member[*place as usize] = row;
            *place += 1;
        }
        Self { first, by_member, starts }
    }

    pub fn rows_of(&self, member: usize) -> &[u32] {
        &self.by_member[self.starts[member] as usize..self.starts[member + 1] as usize]
    }

    /// The rows whose first preference lives.
    pub fn living_rows(&self, living: &[bool]) -> impl Iterator<Item = u32> {
        (0..living.len()).filter(|&member| living[member]).flat_map(|member| self.rows_of(member)).copied()
    }

    /// Whether anybody lives who has rows here.
    pub fn lives(&self, living: &[bool]) -> bool {
        self.living_rows(living).next().is_some()
    }
}

/// Exact shares by largest remainder for those in `order`; ties go to the smaller identity.
fn quotas(members: &[RowMember], order: &[usize], count: usize) -> Vec<usize> {
    let mut quotas = vec![0; members.len()];
    let total: u128 = order.iter().map(|&index| u128::from(members[index].weight)).sum();
    let exact = |index: usize| u128::from(members[index].weight) * count as u128;
    for &index in order {
        quotas[index] = (exact(index) / total) as usize;
    }
    let missing = count - quotas.iter().sum::<usize>();
    let mut by_remainder = order.to_vec();
    by_remainder.sort_by_key(|&index| std::cmp::Reverse(exact(index) % total));
    for &index in by_remainder.iter().take(missing) {
        quotas[index] += 1;
    }
    quotas
}

/// A member's way over the rows.
struct Walk {
    position: usize,
    step: usize,
    /// Rows still to be taken.
    wanted: usize,
    probes_left: usize,
}

impl Walk {
    fn advance(&mut self, count: usize) {
        self.position = (self.position + self.step) % count;
    }
}

/// Members take turns, each time the next free rows of their own walks, until their quotas are full.
///
/// After each round a member holds the same part of its quota as every other, so that heavy members do not find only
/// leftovers. Who runs out of probes takes what is left in the end, next to where its walk stood.
fn take_rows(
    members: &[RowMember],
    order: &[usize],
    quotas: &[usize],
    count: usize,
    hasher: &FlowHasher,
) -> Vec<u16> {
    // `count` is a power of two, so every odd step visits all rows.
    let walk = |&index: &usize| {
        let hash = hasher.dispatch(PURPOSE_WALK, &members[index].identity);
        Walk {
            position: hash as usize % count,
            step: (hash >> 32) as usize | 1,
            wanted: quotas[index],
            probes_left: (quotas[index] * PROBES_PER_ROW).min(count),
        }
    };
    let mut walks: Vec<Walk> = order.iter().map(walk).collect();
    let mut rows = vec![NOBODY; count];
    let rounds = quotas.iter().copied().max().unwrap_or(0).min(ROUNDS_MAX);
    for round in 1..=rounds {
        for (&index, walk) in order.iter().zip(&mut walks) {
            let left = quotas[index] - (quotas[index] * round).div_ceil(rounds);
            while walk.wanted > left && walk.probes_left > 0 {
                walk.probes_left -= 1;
                if rows[walk.position] == NOBODY {
                    rows[walk.position] = index as u16;
                    walk.wanted -= 1;
                }
                walk.advance(count);
            }
        }
    }
    let mut free = FreeRows::of(&rows);
    for (&index, walk) in order.iter().zip(&mut walks) {
        for _ in 0..walk.wanted {
            rows[free.take_from(walk.position)] = index as u16;
            walk.advance(count);
        }
    }
    rows
}

/// Finds the next free row from any on, in next to no time however few are left: each row points towards it (R. E. Tarjan,
/// "Efficiency of a good but not linear set union algorithm", with halved paths).
struct FreeRows(Vec<u32>);

impl FreeRows {
    fn of(rows: &[u16]) -> Self {
        let next = |(row, &member)| if member == NOBODY { row } else { (row + 1) % rows.len() as u32 };
        Self((0..).zip(rows).map(next).collect())
    }

    /// Takes the first free row at or cyclically after `row`. There must be one.
    fn take_from(&mut self, row: usize) -> usize {
        let next = &mut self.0;
        let mut row = row;
        while next[row] as usize != row {
            next[row] = next[next[row] as usize];
            row = next[row] as usize;
        }
        next[row] = ((row + 1) % next.len()) as u32;
        row
    }
}

/// Rounds of [`Scramble`].
const SCRAMBLE_ROUNDS: u8 = 4;

/// A keyed permutation of the numbers below a power of two: each step can be undone, so no two numbers meet.
struct Scramble {
    mask: usize,
    /// Half the bits, rounded up.
    shift: u32,
    rounds: Vec<(usize, usize)>,
}

impl Scramble {
    fn new(purpose: u64, count: usize, hasher: &FlowHasher) -> Self {
        let word = |round: u8, part: u8| hasher.dispatch(purpose, &[round, part]) as usize;
        let rounds = (0..SCRAMBLE_ROUNDS).map(|round| (word(round, 0), word(round, 1) | 1)).collect();
        Self { mask: count - 1, shift: count.trailing_zeros().div_ceil(2), rounds }
    }

    fn place(&self, number: usize) -> usize {
        self.rounds.iter().fold(number & self.mask, |number, &(toggle, factor)| {
            let product = (number ^ toggle).wrapping_mul(factor) & self.mask;
            product ^ product >> self.shift
        })
    }
}
