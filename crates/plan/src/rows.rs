//! The balance table with preference rows (SPEC section 6).
//!
//! Each row of the table holds an order of preference over the *configured* members, dead or alive. Only the member in
//! force is stored. The first preferences share the rows exactly by weight; the later ones are a keyed score of (row,
//! member), computed only for rows whose earlier preferences are dead. So losing a member moves only its rows, its return
//! brings back exactly these, and every appliance with the same members and key decides alike, with no history.
//!
//! All arithmetic is on integers: two machines must never disagree over a rounding.

use flow::FlowHasher;
use std::sync::Arc;

/// Rows for each member at the least: shares are then exact to within 1 %.
const ROWS_PER_MEMBER: usize = 128;
/// Rows of a table at the least and at the most. At the most, 16 bits a row, a table takes 2 MiB.
const ROWS_MIN: usize = 1_024;
const ROWS_MAX: usize = 1 << 20;

/// Separates the uses of the one secret, see [`FlowHasher::dispatch`].
const PURPOSE_FIRST: u64 = 0x6669_7273_7400_0001;
const PURPOSE_LATER: u64 = 0x6c61_7465_7200_0002;

/// A configured member, as the table sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMember {
    /// What tells it from the others on every appliance: its name or address, never its position.
    pub identity: Vec<u8>,
    /// Its share; 0 gets no rows.
    pub weight: u32,
    /// Whether it takes flows now.
    pub alive: bool,
}

/// Which member serves each row; a row's index comes from a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferenceRows {
    /// Position of the member in force in the list that the table was built from, or [`NOBODY`]. Shared by whoever holds
    /// a copy of the table.
    in_force: Arc<[u16]>,
}

/// Stands for "no member takes this row".
const NOBODY: u16 = u16::MAX;

impl PreferenceRows {
    /// Builds the table. Members past 65,535 are left out.
    pub fn build(members: &[RowMember], hasher: &FlowHasher) -> Self {
        let members = &members[..members.len().min(usize::from(NOBODY))];
        let count = (members.len() * ROWS_PER_MEMBER).next_power_of_two().clamp(ROWS_MIN, ROWS_MAX);
        let mut in_force = first_preferences(members, count, hasher);
        for (row, member) in in_force.iter_mut().enumerate() {
            if *member != NOBODY && !members[usize::from(*member)].alive {
                *member = later_preference(members, row, hasher);
            }
        }
        Self { in_force: in_force.into() }
    }

    /// The position of the member that serves flows with this hash.
    #[inline]
    pub fn member(&self, hash: u64) -> Option<usize> {
        let row = ((u128::from(hash) * self.in_force.len() as u128) >> 64) as usize;
        let member = self.in_force[row];
        (member != NOBODY).then_some(usize::from(member))
    }

    /// How many rows the table has.
    pub fn rows(&self) -> usize {
        self.in_force.len()
    }

    /// The position of the member in force in `row`.
    pub fn in_force(&self, row: usize) -> Option<usize> {
        self.in_force.get(row).filter(|&&member| member != NOBODY).map(|&member| usize::from(member))
    }
}

/// Exact shares by largest remainder; ties go to the smaller identity, so that file order does not matter.
fn quotas(members: &[RowMember], order: &[usize], count: usize) -> Vec<usize> {
    let total: u128 = members.iter().map(|member| u128::from(member.weight)).sum();
    if total == 0 {
        return vec![0; members.len()];
    }
    let exact = |index: usize| u128::from(members[index].weight) * count as u128;
    let mut quotas: Vec<usize> = (0..members.len()).map(|index| (exact(index) / total) as usize).collect();
    let missing = count - quotas.iter().sum::<usize>();
    let mut by_remainder = order.to_vec();
    by_remainder.sort_by_key(|&index| std::cmp::Reverse(exact(index) % total));
    for &index in by_remainder.iter().take(missing) {
        quotas[index] += 1;
    }
    quotas
}

/// Members take turns, each time the next free row of their own keyed order, until their quota is full.
///
/// A turn goes to the member that is furthest behind its quota, so that heavy members do not find only leftovers.
fn first_preferences(members: &[RowMember], count: usize, hasher: &FlowHasher) -> Vec<u16> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|&a, &b| members[a].identity.cmp(&members[b].identity));
    let quotas = quotas(members, &order, count);
    // `count` is a power of two, so every odd step visits all rows.
    let mut walks: Vec<(usize, usize)> = members
        .iter()
        .map(|member| {
            let hash = hasher.dispatch(PURPOSE_FIRST, &member.identity);
            (hash as usize % count, (hash >> 32) as usize | 1)
        })
        .collect();
    let mut rows = vec![NOBODY; count];
    let mut taken = vec![0usize; members.len()];
    let rounds = quotas.iter().copied().max().unwrap_or(0);
    for round in 1..=rounds {
        for &index in &order {
            // After each round a member holds round/rounds of its quota.
            let due = (quotas[index] * round).div_ceil(rounds);
            while taken[index] < due {
                let (position, step) = &mut walks[index];
                while rows[*position] != NOBODY {
                    *position = (*position + *step) % count;
                }
                rows[*position] = index as u16;
                taken[index] += 1;
            }
        }
    }
    rows
}

/// Weighted rendezvous among the living: the member with the smallest −log2(hash)/weight.
fn later_preference(members: &[RowMember], row: usize, hasher: &FlowHasher) -> u16 {
    let mut best: Option<(u64, u32, usize)> = None;
    let mut bytes = Vec::with_capacity(64);
    for (index, member) in members.iter().enumerate() {
        if !member.alive || member.weight == 0 {
            continue;
        }
        bytes.clear();
        bytes.extend_from_slice(&(row as u64).to_le_bytes());
        bytes.extend_from_slice(&member.identity);
        let cost = negative_log2(hasher.dispatch(PURPOSE_LATER, &bytes));
        let better = best.is_none_or(|(other_cost, other_weight, other)| {
            let mine = u128::from(cost) * u128::from(other_weight);
            let theirs = u128::from(other_cost) * u128::from(member.weight);
            (mine, &member.identity) < (theirs, &members[other].identity)
        });
        if better {
            best = Some((cost, member.weight, index));
        }
    }
    best.map_or(NOBODY, |(_, _, index)| index as u16)
}

/// Fractional bits of [`negative_log2`]; 32 keep ties rarer than the hash's own.
const LOG_FRACTION_BITS: u32 = 32;

/// −log2(hash / 2^64) as a fixed-point number, by repeated squaring: the same on every machine.
fn negative_log2(hash: u64) -> u64 {
    let hash = hash.max(1);
    let exponent = u64::from(hash.leading_zeros()) + 1;
    // The mantissa as a fixed-point number in [1, 2) with 63 fractional bits.
    let mut mantissa = u128::from(hash << hash.leading_zeros());
    let mut fraction = 0u64;
    for _ in 0..LOG_FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 63;
        fraction <<= 1;
        if mantissa >= 1 << 64 {
            fraction |= 1;
            mantissa >>= 1;
        }
    }
    (exponent << LOG_FRACTION_BITS) - fraction
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hasher() -> FlowHasher {
        FlowHasher::new([7; 16])
    }

    fn members(weights: &[u32]) -> Vec<RowMember> {
        let member = |(index, &weight): (usize, &u32)| RowMember {
            identity: format!("server-{index}").into_bytes(),
            weight,
            alive: true,
        };
        weights.iter().enumerate().map(member).collect()
    }

    fn shares(rows: &PreferenceRows, members: usize) -> Vec<usize> {
        let mut shares = vec![0; members];
        (0..rows.rows()).filter_map(|row| rows.in_force(row)).for_each(|member| shares[member] += 1);
        shares
    }

    #[test]
    fn the_logarithm_agrees_with_floating_point() {
        for hash in [1u64, 2, 3, 1 << 20, 0x1234_5678_9abc_def0, u64::MAX / 3, u64::MAX] {
            let exact = 64.0 - (hash as f64).log2();
            let found = negative_log2(hash) as f64 / f64::from(1u32 << 31) / 2.0;
            assert!((exact - found).abs() < 1e-6, "{hash}: {exact} {found}");
        }
    }

    #[test]
    fn nobody_serves_where_nobody_lives_or_weighs() {
        assert_eq!(PreferenceRows::build(&[], &hasher()).member(5), None);
        assert_eq!(PreferenceRows::build(&members(&[0, 0]), &hasher()).member(5), None);
        let mut dead = members(&[1, 1]);
        dead.iter_mut().for_each(|member| member.alive = false);
        assert_eq!(PreferenceRows::build(&dead, &hasher()).member(5), None);
    }

    #[test]
    fn file_order_does_not_matter() {
        let forward = members(&[3, 1, 2]);
        let backward: Vec<_> = forward.iter().rev().cloned().collect();
        let (a, b) =
            (PreferenceRows::build(&forward, &hasher()), PreferenceRows::build(&backward, &hasher()));
        for row in 0..a.rows() {
            assert_eq!(a.in_force(row), b.in_force(row).map(|member| 2 - member));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn shares_follow_the_weights_to_the_row(weights in prop::collection::vec(0u32..100, 1..20)) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let rows = PreferenceRows::build(&members(&weights), &hasher());
            let total: u32 = weights.iter().sum();
            for (share, &weight) in shares(&rows, weights.len()).into_iter().zip(&weights) {
                let exact = rows.rows() as f64 * f64::from(weight) / f64::from(total);
                prop_assert!((share as f64 - exact).abs() < 1.0, "{share} for {exact}");
            }
        }

        #[test]
        fn a_loss_moves_only_its_rows_and_a_return_brings_exactly_these_back(
            weights in prop::collection::vec(1u32..9, 2..12),
            deaths in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
        ) {
            let mut members = members(&weights);
            let whole = PreferenceRows::build(&members, &hasher());
            let mut before = whole.clone();
            for death in &deaths {
                let dying = death.index(members.len());
                let was_alive = std::mem::replace(&mut members[dying].alive, false);
                let after = PreferenceRows::build(&members, &hasher());
                for row in 0..after.rows() {
                    if before.in_force(row) != Some(dying) {
                        prop_assert_eq!(before.in_force(row), after.in_force(row));
                    } else {
                        prop_assert!(was_alive && after.in_force(row) != Some(dying));
                    }
                }
                before = after;
            }
            members.iter_mut().for_each(|member| member.alive = true);
            prop_assert_eq!(PreferenceRows::build(&members, &hasher()), whole);
        }
    }
}
