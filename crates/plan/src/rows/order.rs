//! In which order the members of one row would follow each other.

use super::PreferenceRows;
use super::fill::Tier;
use std::ops::Range;

/// Members whose place in the order is told, by position.
const TOLD_MAX: usize = 256;

/// Places of one word of [`Untold`].
const WORD_BITS: usize = 64;

impl PreferenceRows {
    /// The positions of the living members in the order in which the row of this hash prefers them, each once: the one in
    /// force, the one that would be if that died, and so on. [`Self::with`] decides alike step by step.
    ///
    /// Those too light for a row of their own come after all others, by the rows of their tier: where everybody else has
    /// reached a limit, a flow goes to them sooner than to nobody.
    ///
    /// Nothing is allocated. The first costs no more than [`Self::member`]. Of n members of like weight the others take
    /// about n ln n looks together, and never more than the table has rows. Past the 256th position only the one in force
    /// is told.
    pub fn preferences(&self, hash: u64) -> impl Iterator<Item = usize> {
        let row = self.row(hash);
        let first = self.in_force(row);
        // Nothing of this is done before somebody asks for the second.
        let later = first.into_iter().flat_map(move |first| {
            let tiers = self.fill.tiers.iter().skip(self.tier.unwrap_or(self.fill.tiers.len()));
            tiers.flat_map(move |tier| Later::new(self, tier, row, first))
        });
        first.into_iter().chain(later)
    }
}

/// The members of one tier that come after the first.
struct Later<'a> {
    rows: &'a PreferenceRows,
    tier: &'a Tier,
    row: usize,
    /// Levels that have not been asked.
    levels: Range<u32>,
    untold: Untold,
}

impl<'a> Later<'a> {
    fn new(rows: &'a PreferenceRows, tier: &'a Tier, row: usize, first: usize) -> Self {
        let mut untold = Untold::default();
        let comes_later =
            |&member: &usize| rows.living[member] && member != first && !tier.rows_of(member).is_empty();
        (0..rows.living.len().min(TOLD_MAX)).filter(comes_later).for_each(|member| untold.add(member));
        Self { rows, tier, row, levels: 0..rows.fill.count as u32, untold }
    }
}

impl Iterator for Later<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let Self { rows, tier, row, levels, untold } = self;
        // Who is left over need not be looked for, and would be the longest search of all.
        let next = match untold.count() {
            0 => None,
            1 => untold.first(),
            _ => levels
                .map(|level| usize::from(tier.first[*row ^ rows.fill.distance(level)]))
                .find(|&member| untold.holds(member)),
        };
        next.inspect(|&member| untold.remove(member))
    }
}

/// A set of positions below [`TOLD_MAX`].
#[derive(Default)]
struct Untold([u64; TOLD_MAX / WORD_BITS]);

impl Untold {
    fn add(&mut self, member: usize) {
        self.0[member / WORD_BITS] |= 1 << (member % WORD_BITS);
    }

    fn remove(&mut self, member: usize) {
        self.0[member / WORD_BITS] &= !(1 << (member % WORD_BITS));
    }

    fn holds(&self, member: usize) -> bool {
        self.0.get(member / WORD_BITS).is_some_and(|word| word & 1 << (member % WORD_BITS) != 0)
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    fn first(&self) -> Option<usize> {
        let (place, word) = self.0.iter().enumerate().find(|(_, word)| **word != 0)?;
        Some(place * WORD_BITS + word.trailing_zeros() as usize)
    }
}
