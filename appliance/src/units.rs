//! Numbers as people read them: at most three digits that matter, the unit beside them. Programs use JSON.

/// Counts below this are shown as they are.
const COUNT_EXACT_MAX: u64 = 99_999;

/// `1234`, `123 k`, `1.23 M`.
pub(crate) fn count(value: u64) -> String {
    if value <= COUNT_EXACT_MAX {
        return value.to_string();
    }
    scaled(value as f64, 1_000.0, &["", " k", " M", " G", " T", " P", " E"])
}

/// `999 B`, `1.5 KiB`, `2.34 GiB`.
pub(crate) fn bytes(value: u64) -> String {
    scaled(value as f64, 1_024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

/// `59 s`, `4 m 5 s`, `2 h 4 m`, `12 d 3 h`: two units at the most.
pub(crate) fn seconds(value: u64) -> String {
    let (days, hours, minutes, rest) = (value / 86_400, value / 3_600 % 24, value / 60 % 60, value % 60);
    let pair = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => pair(minutes, "m", rest, "s"),
        (0, _, _) => pair(hours, "h", minutes, "m"),
        _ => pair(days, "d", hours, "h"),
    }
}

/// `0.8 µs`, `25 µs`, `1.25 ms`, `3.2 s`.
pub(crate) fn microseconds(value: f64) -> String {
    scaled(value, 1_000.0, &[" µs", " ms", " s"])
}

/// `0 %`, `12.5 %`, `100 %`.
pub(crate) fn percent(ratio: f64) -> String {
    format!("{} %", three_digits(ratio * 100.0))
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter().copied().peekable();
    let mut unit = units.next().unwrap_or_default();
    // 999.5 would be rounded to four digits.
    while value >= step.min(999.5) && units.peek().is_some() {
        value /= step;
        unit = units.next().unwrap_or_default();
    }
    format!("{}{unit}", three_digits(value))
}

/// No more than three digits and no zeros at the end of a fraction.
fn three_digits(value: f64) -> String {
    let decimals = match value {
        _ if value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        for (value, text) in [
            (0, "0"),
            (99_999, "99999"),
            (100_000, "100 k"),
            (999_499, "999 k"),
            (999_500, "1 M"),
            (1_234_567, "1.23 M"),
            (12_000_000_000, "12 G"),
            (u64::MAX, "18.4 E"),
        ] {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn byte_counts() {
        for (value, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "0.98 KiB"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            (10 << 30, "10 GiB"),
        ] {
            assert_eq!(bytes(value), text);
        }
    }

    #[test]
    fn durations() {
        for (value, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 m"),
            (245, "4 m 5 s"),
            (7_440, "2 h 4 m"),
            (86_400, "1 d"),
            (86_400 * 12 + 3 * 3_600 + 59, "12 d 3 h"),
        ] {
            assert_eq!(seconds(value), text);
        }
    }

    #[test]
    fn turns_and_shares() {
        for (value, text) in
            [(0.0, "0 µs"), (0.84, "0.84 µs"), (25.04, "25 µs"), (1_250.0, "1.25 ms"), (3.2e6, "3.2 s")]
        {
            assert_eq!(microseconds(value), text);
        }
        for (ratio, text) in [(0.0, "0 %"), (0.125, "12.5 %"), (0.000_04, "0 %"), (1.0, "100 %")] {
            assert_eq!(percent(ratio), text);
        }
    }
}
