//! The balance table with preference rows (SPEC section 6).
//!
//! A row's index comes from a flow's hash. Each row has a fixed order of preference over the *configured* members, dead
//! or alive, and the member in force is the first living one. So losing a member moves only its rows, its return brings
//! exactly these back, whatever happened to others in between, and every appliance with the same members and key decides
//! alike, with no history.
//!
//! **How many rows.** [`ROWS_PER_MEMBER`] for each configured member, dead or of weight 0 too, rounded up to a power of
//! two, from [`ROWS_MIN`] to [`ROWS_MAX`]. So M >= 100 N up to 10,485 members.
//!
//! **First preferences** share the rows exactly: by largest remainder, so a share differs from the member's part of all
//! weights by less than 1/M. Of a share w that is less than 1/(M w): under 1 % where w >= 100/M, hence for every member of
//! average weight or more. A light one among heavy ones is coarser: at a hundredth of the average weight its row or two
//! may be as much off as they are. One whose due is less than half a row may get none; it then serves only when all that
//! have rows are dead, together with the others like it. At the largest table, 10,000 members of equal weight have 104 or
//! 105 rows each (within 1 %), 65,535 have 16 (within 6.3 %).
//!
//! **Tiers.** Those others have a fill of their own, over all rows, and so have backups: a row asks the members of one tier
//! after those of the tier before.
//!
//! **Later preferences** are the first preferences of other rows: at level k, row r asks the member of row
//! r XOR d(k), where d runs over all distances, once each, in a keyed order. So no row draws a member at random: each level
//! as a whole gives every member its exact quota again, and after M levels every row has asked every member of the tier.
//! A dead member's rows thus go to the living in proportion to *their* rows. What is left to chance is where the dead
//! lie: of a survivor's rows in all, the standard deviation is sqrt(d (1 - d) / ((1 + d) q)) of what is due to it, with q
//! its own rows and d the dead part; never more than 0.42/sqrt(q), at worst with d = 0.41. That is 3.7 % at 128 rows,
//! 1.1 % when one of three dies, and 0.7 % when 99 of 100 are dead at 105 rows: the fewer live, the more evenly are they
//! asked.
//! Because r XOR d is its own inverse, the rows that a member would take at a level are found from its own rows, which is
//! what makes a change of health cheap in both directions.
//!
//! **Time.** The fill takes at most [`fill::PROBES_PER_ROW`] · M probes and [`fill::ROUNDS_MAX`] · N turns, whatever the weights
//! (`fill.rs`), and depends on members, weights and key alone: it is kept. From it a table for any set of living members
//! takes about M (1 + ln(1/p)) steps, p being the living part of the rows. That expectation holds for each set, because
//! the order of distances is keyed and the set is not chosen by who knows the key. [`PreferenceRows::with`] takes the rows
//! that change and one copy of the table. Times are in `docs/scheduling.md`.
//!
//! All arithmetic is on integers: two machines must never disagree over a rounding. Building is for the control thread,
//! reading for everyone. Members past 65,535 are left out.

mod fill;
mod order;

use fill::{Fill, Tier};
use flow::FlowHasher;
use std::sync::Arc;

/// Rows for each member at the least: shares are then exact to within 1 %.
const ROWS_PER_MEMBER: usize = 128;
/// Rows of a table at the least: 8 KiB. Few members then still have enough for a dead one's to spread evenly.
const ROWS_MIN: usize = 1 << 12;
/// Rows of a table at the most. It takes 2 MiB then, and for the control thread alone 4 MiB more, and 6 MiB a tier that all
/// tables of the same members share.
const ROWS_MAX: usize = 1 << 20;

/// Steps per row that finding the changed rows may take before making the table anew is cheaper.
const STEPS_PER_ROW_MAX: usize = 4;

/// Stands for "no member takes this row".
const NOBODY: u16 = u16::MAX;
/// The level of a row that has not found its living member yet.
const UNSETTLED: u32 = u32::MAX;

/// A configured member, as the table sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMember {
    /// What tells it from the others on every appliance: its name or address, never its position.
    pub identity: Vec<u8>,
    /// Its share; 0 gets no rows. To rest a member for a while, leave its weight and call it dead: no row but its own moves.
    pub weight: u32,
    /// Whether it serves only when all that are no backups are dead. Backups share all rows among themselves then.
    pub is_backup: bool,
}

/// Which member serves each row. Copies share what they hold.
#[derive(Clone)]
pub struct PreferenceRows {
    /// Position of the member in force in the list that the table was built from, or [`NOBODY`].
    in_force: Arc<[u16]>,
    /// At which level each row found it. The same for every history.
    levels: Arc<[u32]>,
    /// Who lives, by position.
    living: Arc<[bool]>,
    /// The first tier in which anybody lives.
    tier: Option<usize>,
    fill: Arc<Fill>,
}

impl std::fmt::Debug for PreferenceRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let living = self.living.iter().filter(|&&lives| lives).count();
        write!(f, "PreferenceRows({} rows, {living} of {} members live)", self.rows(), self.living.len())
    }
}

impl PreferenceRows {
    /// Builds the table for `members`, of whom those live that `living` says by position.
    pub fn build(members: &[RowMember], living: &[bool], hasher: &FlowHasher) -> Self {
        let fill = Fill::build(&members[..members.len().min(usize::from(NOBODY))], hasher);
        let living = fill.living(living);
        Self::from_fill(Arc::new(fill), living)
    }

    /// Whether the table was built from these members and this key, so that [`Self::with`] says how it goes on.
    pub fn is_for(&self, members: &[RowMember], hasher: &FlowHasher) -> bool {
        self.fill.is_for(&members[..members.len().min(usize::from(NOBODY))], hasher)
    }

    /// The table of the same members when others of them live: what [`Self::build`] would give, for the price of the
    /// rows that change. Both tables hold the fill together.
    pub fn with(&self, living: &[bool]) -> Self {
        let living = self.fill.living(living);
        self.changed(&living).unwrap_or_else(|| Self::from_fill(Arc::clone(&self.fill), living))
    }

    /// The position of the member that serves flows with this hash.
    #[inline]
    pub fn member(&self, hash: u64) -> Option<usize> {
        let member = self.in_force[self.row(hash)];
        (member != NOBODY).then_some(usize::from(member))
    }

    /// The row of flows with this hash.
    #[inline]
    pub fn row(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.in_force.len() as u128) >> 64) as usize
    }

    /// How many rows the table has.
    pub fn rows(&self) -> usize {
        self.in_force.len()
    }

    /// The position of the member in force in `row`.
    pub fn in_force(&self, row: usize) -> Option<usize> {
        self.in_force.get(row).filter(|&&member| member != NOBODY).map(|&member| usize::from(member))
    }

    fn from_fill(fill: Arc<Fill>, living: Arc<[bool]>) -> Self {
        let tier = fill.tiers.iter().position(|tier| tier.lives(&living));
        let mut levels: Arc<[u32]> = std::iter::repeat_n(0, fill.count).collect();
        let mut in_force = match tier {
            Some(tier) => Arc::clone(&fill.tiers[tier].first),
            None => std::iter::repeat_n(NOBODY, fill.count).collect(),
        };
        if let Some(tier) = tier.map(|tier| &fill.tiers[tier]) {
            let dead = |row: &u32| !living[usize::from(tier.first[*row as usize])];
            let pending: Vec<u32> = (0..fill.count as u32).filter(dead).collect();
            // A table in which all live is the fill itself, and stays shared with it.
            if !pending.is_empty() {
                let rows = &mut RowsMut::of(&mut in_force, &mut levels);
                pending.iter().for_each(|&row| rows.levels[row as usize] = UNSETTLED);
                settle(&fill, tier, &living, pending, rows);
            }
        }
        Self { in_force, levels, living, tier, fill }
    }

    /// This table with the rows changed that now have another first living member. `None` where a new table is cheaper.
    fn changed(&self, living: &Arc<[bool]>) -> Option<Self> {
        let fill = &self.fill;
        let tier = &fill.tiers[self.tier?];
        if self.tier != fill.tiers.iter().position(|tier| tier.lives(living)) {
            return None;
        }
        let changed: Vec<usize> =
            (0..living.len()).filter(|&member| living[member] != self.living[member]).collect();
        let deepest = self.levels.iter().copied().max().unwrap_or(0);
        let levels = deepest as usize + 1;
        let steps = changed.iter().map(|&member| tier.rows_of(member).len() * levels).sum::<usize>();
        if steps > fill.count * STEPS_PER_ROW_MAX {
            return None;
        }
        let mut next = Self { living: Arc::clone(living), ..self.clone() };
        if steps == 0 {
            return Some(next);
        }
        let rows = &mut RowsMut::of(&mut next.in_force, &mut next.levels);
        let (returned, lost): (Vec<usize>, Vec<usize>) = changed.iter().partition(|&&member| living[member]);
        for &member in &returned {
            fill.each_choice(tier, member, deepest, |row, level| {
                if rows.levels[row] > level {
                    rows.set(row, member as u16, level);
                }
            });
        }
        let mut pending = Vec::new();
        for &member in &lost {
            fill.each_choice(tier, member, deepest, |row, level| {
                if rows.levels[row] == level {
                    rows.levels[row] = UNSETTLED;
                    pending.push(row as u32);
                }
            });
        }
        settle(fill, tier, living, pending, rows);
        Some(next)
    }
}

/// A table while it is made.
struct RowsMut<'a> {
    in_force: &'a mut [u16],
    levels: &'a mut [u32],
}

impl<'a> RowsMut<'a> {
    /// Copies what others hold too.
    fn of(in_force: &'a mut Arc<[u16]>, levels: &'a mut Arc<[u32]>) -> Self {
        Self { in_force: Arc::make_mut(in_force), levels: Arc::make_mut(levels) }
    }

    fn set(&mut self, row: usize, member: u16, level: u32) {
        self.in_force[row] = member;
        self.levels[row] = level;
    }
}

/// Finds the first living member of each `pending` row. They are unsettled, their first preference is dead, and somebody
/// in this tier lives: so every one of them finds its own, at level M − 1 at the latest.
fn settle(fill: &Fill, tier: &Tier, living: &[bool], mut pending: Vec<u32>, rows: &mut RowsMut<'_>) {
    let mut levels = 1..fill.count as u32;
    let takers_count = tier.living_rows(living).count();
    // The living offer their rows to the pending while these are more, and are asked by the pending afterwards: a level
    // costs the smaller of both, whether few are dead or few live.
    if pending.len() > takers_count {
        let takers: Vec<u32> = tier.living_rows(living).collect();
        let mut left = pending.len();
        while left > takers_count
            && let Some(level) = levels.next()
        {
            let distance = fill.distance(level);
            for &taker in &takers {
                let row = taker as usize ^ distance;
                if rows.levels[row] == UNSETTLED {
                    rows.set(row, tier.first[taker as usize], level);
                    left -= 1;
                }
            }
        }
        pending.retain(|&row| rows.levels[row as usize] == UNSETTLED);
    }
    while !pending.is_empty()
        && let Some(level) = levels.next()
    {
        let distance = fill.distance(level);
        pending.retain(|&row| {
            let member = tier.first[row as usize ^ distance];
            let lives = living[usize::from(member)];
            if lives {
                rows.set(row as usize, member, level);
            }
            !lives
        });
    }
}

#[cfg(all(test, not(loom)))]
mod order_tests;
#[cfg(all(test, not(loom)))]
mod tests;
