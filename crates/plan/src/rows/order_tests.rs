//! The order of preference against the table itself: whoever is in force is killed, until nobody is left.

use super::*;
use proptest::prelude::*;

fn hasher() -> FlowHasher {
    FlowHasher::new([9; 16])
}

fn members(weights: &[u32]) -> Vec<RowMember> {
    let member = |(index, &weight): (usize, &u32)| RowMember {
        identity: format!("fw{index}").into_bytes(),
        weight,
        is_backup: false,
    };
    weights.iter().enumerate().map(member).collect()
}

fn table(weights: &[u32], living: &[bool]) -> PreferenceRows {
    PreferenceRows::build(&members(weights), living, &hasher())
}

/// A hash that falls on `row` of a table.
fn hash_of(row: usize, rows: &PreferenceRows) -> u64 {
    ((row as u128 * (1 << 64)).div_ceil(rows.rows() as u128)) as u64
}

/// The definition: kill the one in force, look who is next.
fn by_killing(rows: &PreferenceRows, living: &[bool], hash: u64) -> Vec<usize> {
    let (mut rows, mut living) = (rows.clone(), living.to_vec());
    let mut order = Vec::new();
    while let Some(member) = rows.member(hash) {
        order.push(member);
        living[member] = false;
        rows = rows.with(&living);
    }
    order
}

fn told(rows: &PreferenceRows, hash: u64) -> Vec<usize> {
    rows.preferences(hash).collect()
}

/// Weights alike, mixed, none, and so uneven that some have no row of their own.
fn weights(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u32>> {
    let one = prop_oneof![3 => Just(1u32), 3 => 0u32..100, 1 => 1_000_000u32..u32::MAX];
    prop::collection::vec(one, count)
}

#[test]
fn every_row_of_every_set_of_up_to_five_tells_the_order_of_its_deaths() {
    for weights in [&[1][..], &[1, 1], &[3, 0, 1], &[1, 2, 3, 4], &[1, 1, 1, 1, 1], &[u32::MAX, 1, 3, 7, 0]] {
        let count = weights.len();
        let of_set = |set: usize| (0..count).map(|member| set >> member & 1 == 1).collect::<Vec<_>>();
        let tables: Vec<PreferenceRows> = (0..1 << count).map(|set| table(weights, &of_set(set))).collect();
        for (set, rows) in tables.iter().enumerate() {
            for row in 0..rows.rows() {
                let mut left = set;
                let killed: Vec<usize> = std::iter::from_fn(|| {
                    let member = tables[left].in_force(row)?;
                    left &= !(1 << member);
                    Some(member)
                })
                .collect();
                assert_eq!(told(rows, hash_of(row, rows)), killed, "{weights:?}, set {set:b}, row {row}");
            }
        }
    }
}

#[test]
fn nobody_is_told_where_nobody_lives_or_weighs() {
    for rows in [table(&[], &[]), table(&[0, 0], &[true; 2]), table(&[1, 1], &[false; 2])] {
        assert_eq!(told(&rows, 5), []);
    }
}

#[test]
fn who_is_too_light_for_a_row_comes_after_all_others() {
    let rows = table(&[u32::MAX, 1, 3, 0, u32::MAX], &[true; 5]);
    for row in 0..rows.rows() {
        let order = told(&rows, hash_of(row, &rows));
        assert!(matches!(order[..], [0, 4, 1, 2] | [0, 4, 2, 1] | [4, 0, 1, 2] | [4, 0, 2, 1]), "{order:?}");
    }
    let light = rows.with(&[false, true, true, true, false]);
    assert!((0..light.rows()).all(|row| told(&light, hash_of(row, &light)).len() == 2));
}

#[test]
fn backups_come_after_all_others() {
    let mut members = members(&[1, 1, 1]);
    members[0].is_backup = true;
    let rows = PreferenceRows::build(&members, &[true; 3], &hasher());
    for row in 0..rows.rows() {
        let order = told(&rows, hash_of(row, &rows));
        assert!(matches!(order[..], [1, 2, 0] | [2, 1, 0]), "{order:?}");
    }
}

#[test]
fn past_the_256th_only_the_one_in_force_is_told() {
    let rows = table(&[1; 300], &[true; 300]);
    for row in (0..rows.rows()).step_by(500) {
        let order = told(&rows, hash_of(row, &rows));
        let (first, later) = order.split_first().unwrap();
        assert_eq!(rows.in_force(row), Some(*first));
        let mut later = later.to_vec();
        later.sort_unstable();
        assert!(later.into_iter().eq((0..256).filter(|member| member != first)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_row_tells_the_order_of_its_deaths(
        weights in weights(6..=64),
        alive in prop::collection::vec(prop::bool::weighted(0.8), 64),
        hashes in prop::collection::vec(any::<u64>(), 3),
    ) {
        let living = &alive[..weights.len()];
        let rows = table(&weights, living);
        for hash in hashes {
            let order = told(&rows, hash);
            prop_assert_eq!(order.first().copied(), rows.member(hash));
            prop_assert_eq!(&order, &by_killing(&rows, living, hash));
            // Each that lives and weighs anything, once.
            let mut members = order;
            members.sort_unstable();
            let serving = (0..weights.len()).filter(|&member| living[member] && weights[member] > 0);
            prop_assert!(members.into_iter().eq(serving));
        }
    }
}
