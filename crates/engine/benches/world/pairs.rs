//! Figures beside the calibration of the same seconds, and the random numbers that pick sessions.

use super::World;
use criterion::{Bencher, Criterion, Throughput};
use port::BURST_FRAMES_MAX;
use std::time::Duration;

/// Turns between two calibrations: both are then over before a scheduler thinks of another task, and the
/// median of many such pairs shows the machine undisturbed.
const TURNS_PER_CALIBRATION: u64 = 32;

/// Numbers as a generator of Steele, Lea and Flood (SplitMix64) gives them.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
    }
}

/// Nanoseconds per packet and per calibration line, of stretches of the same run.
#[derive(Default)]
pub struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    pub fn push(&mut self, packet_ns: f64, line_ns: f64) {
        self.0.push((packet_ns, line_ns));
    }

    fn median(&self, of: impl Fn(&(f64, f64)) -> f64) -> f64 {
        let mut values: Vec<f64> = self.0.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    pub fn report(&self, title: &str) {
        if !self.0.is_empty() {
            let (packet, line) = (self.median(|pair| pair.0), self.median(|pair| pair.1));
            let ratio = self.median(|pair| pair.0 / pair.1);
            println!(
                "{title}: {packet:.1} ns per packet, calibration {line:.2} ns per line, ratio {ratio:.1}"
            );
        }
    }
}

/// Measures bursts in stretches, each followed by a calibration. `burst` gives back what of its time counts.
pub fn measure(
    bencher: &mut Bencher<'_>,
    pairs: &mut Pairs,
    world: &mut World,
    mut burst: impl FnMut(&mut World) -> Duration,
) {
    bencher.iter_custom(|bursts| {
        let mut total = Duration::ZERO;
        for first in (0..bursts).step_by(TURNS_PER_CALIBRATION as usize) {
            let count = TURNS_PER_CALIBRATION.min(bursts - first);
            let stretch: Duration = (0..count).map(|_| burst(world)).sum();
            let packets = count * BURST_FRAMES_MAX as u64;
            pairs.push(stretch.as_nanos() as f64 / packets as f64, world.line_ns(first));
            total += stretch;
        }
        total
    });
}

/// Benches `burst` under `title` in the world of `slot`, which is made only if somebody asks for this bench.
pub fn bench(
    criterion: &mut Criterion,
    title: &str,
    slot: &mut Option<World>,
    make: impl Fn() -> World,
    burst: impl FnMut(&mut World, &mut Random) -> Duration,
) {
    bench_prepared(criterion, title, slot, make, |_| {}, burst);
}

/// The same; what `prepare` does to the world, once, is not measured.
pub fn bench_prepared(
    criterion: &mut Criterion,
    title: &str,
    slot: &mut Option<World>,
    make: impl Fn() -> World,
    prepare: impl FnOnce(&mut World),
    mut burst: impl FnMut(&mut World, &mut Random) -> Duration,
) {
    let (mut random, mut pairs) = (Random(1), Pairs::default());
    let mut prepare = Some(prepare);
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(BURST_FRAMES_MAX as u64));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    group.bench_function(title, |bencher| {
        let world = slot.get_or_insert_with(&make);
        if let Some(prepare) = prepare.take() {
            prepare(world);
        }
        measure(bencher, &mut pairs, world, |world| burst(world, &mut random));
    });
    group.finish();
    pairs.report(title);
}
