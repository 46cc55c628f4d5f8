//! From values to places on a plot.

use crate::units;

/// An axis: values to shares of its length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    /// From 0 to at least `max`, ending at a round number.
    pub(super) fn linear(max: f64) -> Scale {
        // What no result holds is drawn at the edge.
        let max = if max > 0.0 { max.clamp(1e-9, 1e15) } else { 1.0 };
        let step = round_step(max);
        Scale { low: 0.0, high: (max / step).ceil() * step, logarithmic: false }
    }

    /// Whole decades around the positive ones of `values`.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>) -> Scale {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            (low, high) = (low.min(value.clamp(1e-9, 1e15)), high.max(value.clamp(1e-9, 1e15)));
        }
        if high == 0.0 {
            (low, high) = (1.0, 10.0);
        }
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        Scale { low, high: high.max(low + 1.0), logarithmic: true }
    }

    /// Where `value` lies, from 0 to 1; what is outside lies at the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Values at which to draw a line, a handful.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            // Decades of values between a nanosecond and a day: some dozens at the most.
            return (self.low as i32..=self.high as i32).map(|decade| 10f64.powi(decade)).collect();
        }
        let step = round_step(self.high);
        let count = (self.high / step).round() as u32;
        (0..=count).map(|index| f64::from(index) * step).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that `max` holds three to six of it.
fn round_step(max: f64) -> f64 {
    let rough = max / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

/// A tick's number without more digits than it needs: "0", "200 k", "1.5 M".
pub(super) fn tick_label(value: f64) -> String {
    let text = units::short(value);
    let (number, prefix) = text.split_once(' ').unwrap_or((&text, ""));
    let number = match number.contains('.') && !number.contains('e') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    };
    if prefix.is_empty() { number.to_owned() } else { format!("{number} {prefix}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(Scale::linear(0.66e6).ticks(), [0.0, 2e5, 4e5, 6e5, 8e5]);
        assert_eq!(Scale::linear(1.0).ticks().last(), Some(&1.0));
        assert_eq!(Scale::logarithmic([27_500.0, 1.2e6].into_iter()).ticks(), [1e4, 1e5, 1e6, 1e7]);
        assert_eq!(tick_label(200_000.0), "200 k");
        assert_eq!(tick_label(1_500_000.0), "1.5 M");
        assert_eq!(tick_label(0.0), "0");
    }

    proptest! {
        #[test]
        fn every_value_has_its_place(max in any::<f64>(), value in any::<f64>()) {
            for scale in [Scale::linear(max), Scale::logarithmic([max, value].into_iter())] {
                let place = scale.place(value);
                prop_assert!(place.is_nan() == value.is_nan() || (0.0..=1.0).contains(&place));
                prop_assert!((2..800).contains(&scale.ticks().len()), "{scale:?}");
            }
        }

        #[test]
        fn a_larger_value_is_never_drawn_as_smaller(a in 1e-3..1e12f64, b in 1e-3..1e12f64) {
            for scale in [Scale::linear(a.max(b)), Scale::logarithmic([a, b].into_iter())] {
                prop_assert_eq!(scale.place(a) <= scale.place(b), a <= b);
            }
        }
    }
}
