//! The table against its own definition, member by member and row by row.

use super::fill::{Fill, ROUNDS_MAX};
use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

fn hasher() -> FlowHasher {
    FlowHasher::new([7; 16])
}

fn members(weights: &[u32]) -> Vec<RowMember> {
    let member = |(index, &weight): (usize, &u32)| RowMember {
        identity: format!("server-{index}").into_bytes(),
        weight,
        is_backup: false,
    };
    weights.iter().enumerate().map(member).collect()
}

fn table(weights: &[u32], living: &[bool]) -> PreferenceRows {
    PreferenceRows::build(&members(weights), living, &hasher())
}

fn served(rows: &PreferenceRows) -> Vec<Option<usize>> {
    (0..rows.rows()).map(|row| rows.in_force(row)).collect()
}

fn shares(rows: &PreferenceRows, members: usize) -> Vec<usize> {
    let mut shares = vec![0; members];
    served(rows).into_iter().flatten().for_each(|member| shares[member] += 1);
    shares
}

/// The definition: the row asks at each level in turn, tier by tier, and takes the first that lives.
fn first_living(fill: &Fill, distances: &[usize], row: usize, living: &[bool]) -> Option<usize> {
    fill.tiers.iter().find_map(|tier| {
        let mut choices = distances.iter().map(|distance| usize::from(tier.first[row ^ distance]));
        choices.find(|&member| living[member])
    })
}

/// Weights of each kind: alike, mixed, none, and so uneven that some have no row of their own.
fn weights() -> impl Strategy<Value = Vec<u32>> {
    let one = prop_oneof![Just(1u32), 0u32..100, 1_000_000u32..u32::MAX];
    prop::collection::vec(one, 1..40)
}

#[test]
fn there_are_a_hundred_rows_a_member_and_a_bound() {
    for (count, rows) in [(0, 4_096), (32, 4_096), (33, 8_192), (100, 16_384), (1_000, 131_072)] {
        assert_eq!(PreferenceRows::build(&members(&vec![1; count]), &[], &hasher()).rows(), rows);
    }
    let most = PreferenceRows::build(&members(&vec![1; 10_485]), &[], &hasher()).rows();
    assert_eq!(most, ROWS_MAX);
    assert!(most >= 100 * 10_485);
}

#[test]
fn every_level_asks_another_row() {
    for count in [1, 1_000] {
        let fill = Fill::build(&members(&vec![1; count]), &hasher());
        assert_eq!(fill.distance(0), 0);
        let mut distances: Vec<usize> = (0..fill.count as u32).map(|level| fill.distance(level)).collect();
        distances.sort_unstable();
        assert!(distances.into_iter().eq(0..fill.count));
    }
}

#[test]
fn nobody_serves_where_nobody_lives_or_weighs() {
    for rows in
        [table(&[], &[]), table(&[0, 0], &[true; 2]), table(&[1, 1], &[false; 2]), table(&[1, 1], &[])]
    {
        assert_eq!(served(&rows), vec![None; ROWS_MIN]);
        assert_eq!(rows.member(5), None);
    }
}

#[test]
fn all_may_die_and_return() {
    let whole = table(&[1, 2], &[true; 2]);
    let dead = whole.with(&[false; 2]);
    assert_eq!(served(&dead), vec![None; ROWS_MIN]);
    assert_eq!(served(&dead.with(&[false, true])), vec![Some(1); ROWS_MIN]);
    assert_eq!(served(&dead.with(&[true; 2])), served(&whole));
}

#[test]
fn who_is_too_light_for_a_row_serves_when_all_others_are_dead() {
    let weights = [u32::MAX, 1, 3, 0, u32::MAX];
    let mut living = [true; 5];
    assert_eq!(shares(&table(&weights, &living), 5), [2_048, 0, 0, 0, 2_048]);
    living[0] = false;
    let one = table(&weights, &living);
    assert_eq!(shares(&one, 5), [0, 0, 0, 0, 4_096]);
    living[4] = false;
    let light = one.with(&living);
    assert_eq!(shares(&light, 5), [0, 1_024, 3_072, 0, 0]);
    living[2] = false;
    assert_eq!(shares(&light.with(&living), 5), [0, 4_096, 0, 0, 0]);
    living[4] = true;
    assert_eq!(served(&light.with(&living)), served(&one));
}

#[test]
fn backups_share_all_rows_when_all_others_are_dead() {
    let mut members = members(&[1, 1, 1, 3]);
    members[2].is_backup = true;
    members[3].is_backup = true;
    let of = |living: &[bool]| PreferenceRows::build(&members, living, &hasher());
    let whole = of(&[true; 4]);
    assert_eq!(shares(&whole, 4), [2_048, 2_048, 0, 0]);
    let last = whole.with(&[false, true, true, true]);
    assert_eq!(shares(&last, 4), [0, 4_096, 0, 0]);
    let backups = last.with(&[false, false, true, true]);
    assert_eq!(shares(&backups, 4), [0, 0, 1_024, 3_072]);
    assert_eq!(served(&backups), served(&of(&[false, false, true, true])));
    assert_eq!(served(&backups.with(&[true; 4])), served(&whole));
}

#[test]
fn one_among_very_many_light_ones_has_its_exact_share() {
    let mut weights = vec![1; 1_000];
    weights[700] = 64_537;
    let shares = shares(&table(&weights, &vec![true; 1_000]), 1_000);
    // Together they weigh 2^16 − 1 + 1, and there are 2^17 rows.
    assert!(shares[..700].iter().chain(&shares[701..]).all(|&share| share == 2));
    assert_eq!(shares[700], 2 * 64_537);
    assert!(shares[700] > ROUNDS_MAX);
}

#[test]
fn other_members_weights_or_keys_need_another_table() {
    let rows = table(&[1, 2], &[true; 2]);
    assert!(rows.is_for(&members(&[1, 2]), &hasher()));
    assert!(rows.with(&[false; 2]).is_for(&members(&[1, 2]), &hasher()));
    assert!(!rows.is_for(&members(&[1, 3]), &hasher()));
    assert!(!rows.is_for(&members(&[1]), &hasher()));
    assert!(!rows.is_for(&members(&[1, 2]), &FlowHasher::new([8; 16])));
}

#[test]
fn where_all_live_the_table_is_the_fill() {
    let rows = table(&[1, 2, 3], &[true; 3]);
    assert!(Arc::ptr_eq(&rows.in_force, &rows.fill.tiers[0].first));
    let other = rows.with(&[true, false, true]);
    assert!(Arc::ptr_eq(&rows.fill, &other.fill));
}

/// How many rows each survivor has more than is due to it, and the standard deviation that the module doc gives.
fn deviations(weights: &[u32], living: &[bool]) -> Vec<(f64, f64)> {
    let whole = table(weights, &vec![true; weights.len()]);
    let own = shares(&whole, weights.len());
    let now = shares(&whole.with(living), weights.len());
    let survivors = (0..weights.len()).filter(|&member| living[member]);
    let living_rows: usize = survivors.clone().map(|member| own[member]).sum();
    let part = living_rows as f64 / whole.rows() as f64;
    let dead = 1.0 - part;
    let one = |member: usize| {
        let (own, now) = (own[member] as f64, now[member] as f64);
        (now - own / part, (dead * part / (1.0 + dead) * own).sqrt() / part)
    };
    survivors.map(one).collect()
}

#[test]
fn the_rows_of_the_dead_go_to_the_living_by_weight() {
    let uneven: Vec<u32> = (0..400).map(|index| 1 + index % 7).collect();
    for weights in [vec![1; 400], uneven] {
        for dead_of_a_hundred in [1, 10, 41, 50, 90, 99] {
            let living: Vec<bool> =
                (0..weights.len()).map(|index| index * 37 % 100 >= dead_of_a_hundred).collect();
            let deviations = deviations(&weights, &living);
            let squares = deviations.iter().map(|(rows, standard)| (rows / standard).powi(2)).sum::<f64>();
            let mean = squares / deviations.len() as f64;
            let what = format!("{dead_of_a_hundred} of 100 dead: {mean}");
            assert!(deviations.iter().all(|(rows, standard)| rows.abs() < 5.0 * standard), "{what}");
            // With four survivors the mean of squares says little.
            assert!(mean < if deviations.len() > 10 { 1.5 } else { 3.0 }, "{what}");
        }
    }
}

#[test]
fn another_configured_member_moves_few_rows_of_the_others() {
    let all = members(&[1; 101]);
    let fewer: Vec<RowMember> =
        all.iter().filter(|member| member.identity != b"server-50").cloned().collect();
    let living = [true; 101];
    let (before, after) =
        (PreferenceRows::build(&fewer, &living, &hasher()), PreferenceRows::build(&all, &living, &hasher()));
    let moved = (0..after.rows()).filter(|&row| {
        let now = &all[after.in_force(row).unwrap()].identity;
        now != b"server-50" && *now != fewer[before.in_force(row).unwrap()].identity
    });
    let moved = moved.count();
    assert!(moved < after.rows() * 3 / 100, "{moved} of {}", after.rows());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn shares_follow_the_weights_to_the_row(weights in prop::collection::vec(0u32..65_536, 1..60)) {
        prop_assume!(weights.iter().any(|&weight| weight > 0));
        let rows = table(&weights, &vec![true; weights.len()]);
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        for (share, &weight) in shares(&rows, weights.len()).into_iter().zip(&weights) {
            // |share/M − weight/total| < 1/M, on integers.
            let difference = (share as u64 * total).abs_diff(rows.rows() as u64 * u64::from(weight));
            prop_assert!(difference < total, "{share} rows for weight {weight} of {total}");
        }
    }

    #[test]
    fn each_row_is_served_by_its_first_living_member(weights in weights(), alive in prop::collection::vec(any::<bool>(), 40)) {
        let rows = table(&weights, &alive);
        let distances: Vec<usize> = (0..rows.rows() as u32).map(|level| rows.fill.distance(level)).collect();
        // Every row in turn would take long where only a few rows live.
        for row in (0..rows.rows()).step_by(5) {
            prop_assert_eq!(rows.in_force(row), first_living(&rows.fill, &distances, row, &alive));
        }
    }

    #[test]
    fn file_order_does_not_matter(
        shuffled in weights().prop_flat_map(|weights| {
            let order: Vec<usize> = (0..weights.len()).collect();
            (Just(weights), Just(order).prop_shuffle())
        }),
        alive in prop::collection::vec(any::<bool>(), 40),
    ) {
        let (weights, order) = shuffled;
        let straight = members(&weights);
        let other: Vec<RowMember> = order.iter().map(|&index| straight[index].clone()).collect();
        let other_alive: Vec<bool> = order.iter().map(|&index| alive[index]).collect();
        let one = PreferenceRows::build(&straight, &alive, &hasher());
        let two = PreferenceRows::build(&other, &other_alive, &hasher());
        for row in 0..one.rows() {
            prop_assert_eq!(one.in_force(row), two.in_force(row).map(|index| order[index]));
        }
    }

    /// Losses and returns in any order, one and several at a time.
    #[test]
    fn a_loss_moves_only_its_rows_and_a_return_brings_exactly_these_back(
        weights in weights(),
        changes in prop::collection::vec(prop::collection::vec(any::<Index>(), 1..4), 1..20),
    ) {
        let count = weights.len();
        let whole = table(&weights, &vec![true; count]);
        let mut living = vec![true; count];
        let mut before = whole.clone();
        for changed in &changes {
            let mut after_living = living.clone();
            changed.iter().map(|index| index.index(count)).for_each(|member| after_living[member] ^= true);
            let after = before.with(&after_living);
            for row in 0..after.rows() {
                let (was, is) = (before.in_force(row), after.in_force(row));
                let lost = was.is_none_or(|member| !after_living[member]);
                let returned = is.is_none_or(|member| !living[member]);
                // Only a row whose member was lost, or whose earlier preference returned, changes hands.
                prop_assert!(was == is || lost || returned, "row {row}: {was:?}, then {is:?}");
                prop_assert!(is.is_none_or(|member| after_living[member]));
            }
            // No history: what was made step by step is what is made at once.
            let anew = table(&weights, &after_living);
            prop_assert_eq!(served(&after), served(&anew));
            prop_assert_eq!(&after.levels, &anew.levels);
            let there_and_back = after.with(&living);
            prop_assert_eq!(served(&there_and_back), served(&before));
            (before, living) = (after, after_living);
        }
        prop_assert_eq!(served(&before.with(&vec![true; count])), served(&whole));
    }

    #[test]
    fn survivors_have_near_to_their_weights(
        weights in prop::collection::vec(1u32..20, 2..60),
        alive in prop::collection::vec(any::<bool>(), 60),
    ) {
        prop_assume!((0..weights.len()).any(|member| alive[member]));
        for (rows, standard) in deviations(&weights, &alive[..weights.len()]) {
            // Where only a few rows are due, one more is many standard deviations.
            prop_assert!(rows.abs() < 6.0 * standard + 6.0, "{rows} rows, {standard}");
        }
    }
}
