//! How a service spreads its sessions: what each scheduler needs to be built beforehand.

use crate::rows::PreferenceRows;
use crate::sync::{Arc, AtomicU64, Ordering};

/// Two to the 64th over the golden ratio: multiples of it, taken as fractions of 2^64, spread as evenly as any sequence can,
/// however many are drawn.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The place in the round, shared by all workers and kept over reloads, so that a user sees one round.
#[derive(Clone, Debug)]
pub struct Cursor(Arc<AtomicU64>);

impl Default for Cursor {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }
}

impl Cursor {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// A cursor of its own that stands where this one does.
    pub(crate) fn detached(&self) -> Self {
        Self(Arc::new(AtomicU64::new(self.0.load(Ordering::Relaxed))))
    }
}

/// Which parts of a flow decide under `scheduler = "hash"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashFields {
    /// The client's address.
    pub source_address: bool,
    /// The VIP.
    pub destination_address: bool,
    /// The client's port.
    pub source_port: bool,
    /// The VIP's port.
    pub destination_port: bool,
    /// The MAC address that the request came from.
    pub source_mac: bool,
}

impl HashFields {
    /// All that tells one flow from another.
    pub const FLOW: Self = Self {
        source_address: true,
        destination_address: true,
        source_port: true,
        destination_port: true,
        source_mac: false,
    };
}

/// How a member is chosen.
#[derive(Clone, Debug)]
pub enum Scheduler {
    /// Each in turn.
    RoundRobin,
    /// Each in turn, as often as its weight says.
    WeightedRoundRobin,
    /// The one with the fewest sessions.
    LeastConnections,
    /// The one with the fewest sessions for its weight.
    WeightedLeastConnections,
    /// By a keyed hash of chosen fields over preference rows.
    Hash {
        /// The fields.
        fields: HashFields,
        /// The rows, over all configured members.
        rows: PreferenceRows,
        /// The rows as they would be without the members that are warming up; `None` while none is.
        rows_without_warming: Option<PreferenceRows>,
    },
    /// Shares by weight over response time.
    ResponseTime,
    /// The one that moves the fewest bytes a second for its weight.
    Bandwidth,
}

impl Scheduler {
    /// Whether a member of twice the weight gets twice the sessions.
    pub fn has_weights(&self) -> bool {
        !matches!(self, Scheduler::RoundRobin | Scheduler::LeastConnections)
    }
}

/// The members that take sessions on the rim of a wheel, each as wide as its share.
///
/// Turn `t` stops at `t * step` on a rim of as many places as the shares sum up to. The step has no divisor in common with
/// the rim, so that every cycle of turns stops at each place exactly once: shares are exact per cycle. And it is the golden
/// section of the rim, as near as that allows, so that a member's turns are spread over the cycle: the gaps between them
/// are of three lengths at the most, the longest the sum of the other two (the three-gap theorem).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wheel {
    /// Where each member's stretch of the rim ends.
    ends: Box<[u64]>,
    step: u64,
}

impl Wheel {
    /// A wheel of members with these shares, of which none is 0.
    pub fn new(shares: impl Iterator<Item = u32> + Clone) -> Self {
        let divisor = shares.clone().fold(0, |divisor, share| gcd(divisor, u64::from(share))).max(1);
        let mut end = 0;
        let ends: Box<[u64]> = shares
            .map(|share| {
                end += u64::from(share) / divisor;
                end
            })
            .collect();
        // Equal shares go round in the order of the file.
        let step = if end == ends.len() as u64 { 1 } else { golden_step(end) };
        Self { ends, step }
    }

    /// Turns after which every member had its share: the sum of the shares without their common divisor.
    fn cycle(&self) -> u64 {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Whose turn it is; `None` without members.
    pub(crate) fn at(&self, turn: u64) -> Option<usize> {
        let cycle = self.cycle();
        if cycle == 0 {
            return None;
        }
        let place = (u128::from(turn % cycle) * u128::from(self.step) % u128::from(cycle)) as u64;
        Some(self.ends.partition_point(|&end| end <= place))
    }

    /// The member at a point of the rim that `random` says, each as likely as its share; `None` without members.
    pub(crate) fn draw(&self, random: u64) -> Option<usize> {
        let place = ((u128::from(random) * u128::from(self.cycle())) >> 64) as u64;
        (!self.ends.is_empty()).then(|| self.ends.partition_point(|&end| end <= place))
    }
}

/// The number next to the golden section of `cycle` that has no divisor in common with it.
fn golden_step(cycle: u64) -> u64 {
    let near = ((u128::from(cycle) * u128::from(GOLDEN)) >> 64) as u64;
    let around = (0..cycle).flat_map(|distance| [near.saturating_sub(distance), near + distance]);
    // 1 divides nothing but itself, so there is one.
    around.filter(|&step| step >= 1 && step < cycle.max(2)).find(|&step| gcd(step, cycle) == 1).unwrap_or(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(weights: &[u32], count: u64) -> Vec<usize> {
        let wheel = Wheel::new(weights.iter().copied());
        (0..count).filter_map(|turn| wheel.at(turn)).collect()
    }

    #[test]
    fn equal_weights_go_round_in_order_and_others_without_bursts() {
        assert_eq!(turns(&[7, 7, 7], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(turns(&[2, 1], 6), [0, 0, 1, 0, 0, 1]);
        assert_eq!(turns(&[3, 2], 5), [0, 1, 0, 1, 0]);
        assert_eq!(turns(&[], 3), [0usize; 0]);
        assert_eq!(Wheel::new([4u32, 6].into_iter()).cycle(), 5, "the common divisor shortens the cycle");
    }

    proptest! {
        #[test]
        fn every_cycle_is_exact_and_gaps_are_of_three_lengths(
            weights in prop::collection::vec(1u32..60, 1..12),
            start in 0u64..1 << 40,
        ) {
            let wheel = Wheel::new(weights.iter().copied());
            let cycle = wheel.cycle();
            let order: Vec<usize> = (start..start + cycle).filter_map(|turn| wheel.at(turn)).collect();
            let divisor = weights.iter().fold(0, |a, &b| gcd(a, u64::from(b)));
            for (member, &weight) in weights.iter().enumerate() {
                let places: Vec<usize> = (0..order.len()).filter(|&place| order[place] == member).collect();
                prop_assert_eq!(places.len() as u64, u64::from(weight) / divisor);
                let mut gaps: Vec<usize> = (0..places.len())
                    .map(|at| {
                        let next = places[(at + 1) % places.len()];
                        (next + order.len() - places[at] - 1) % order.len() + 1
                    })
                    .collect();
                gaps.sort_unstable();
                gaps.dedup();
                prop_assert!(gaps.len() <= 3, "{gaps:?}");
            }
        }

        #[test]
        fn a_draw_hits_as_often_as_the_share_says(weights in prop::collection::vec(1u32..9, 2..8)) {
            let wheel = Wheel::new(weights.iter().copied());
            let mut hits = vec![0u64; weights.len()];
            (0..10_000u64).filter_map(|k| wheel.draw(k.wrapping_mul(GOLDEN))).for_each(|member| hits[member] += 1);
            let total: u32 = weights.iter().sum();
            for (hits, &weight) in hits.into_iter().zip(&weights) {
                let exact = 10_000.0 * f64::from(weight) / f64::from(total);
                prop_assert!((hits as f64 - exact).abs() < 20.0, "{hits} for {exact}");
            }
        }
    }
}
