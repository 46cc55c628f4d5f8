//! Quantities as a person writes and reads them: "2s", "1.5Mpps", "10GiB", "0.5%".

use std::time::Duration;

/// Units of time from large to small, in milliseconds. In one duration they stand in this order, none twice.
const TIME_UNITS_MS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of volume, in bytes.
const VOLUME_UNITS_BYTES: [(&str, u64); 6] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// Reads a duration as the appliance's configuration writes it; `None` where the text is none or overflows.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = TIME_UNITS_MS.iter();
    let mut total_ms = 0u64;
    while !rest.is_empty() || text.is_empty() {
        let (digits, tail) = rest.split_at(rest.find(|letter: char| !letter.is_ascii_digit())?);
        let (unit, after) =
            tail.split_at(tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len()));
        let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(digits.parse::<u64>().ok()?.checked_mul(*unit_ms)?)?;
        rest = after;
    }
    Some(Duration::from_millis(total_ms))
}

/// Reads "0.5%" as 0.005.
pub(crate) fn share(text: &str) -> Option<f64> {
    decimal(text.strip_suffix('%')?).map(|percent| percent / 100.0)
}

/// Reads "800000pps", "100kpps" or "1.5Mpps", in packets a second.
pub(crate) fn packet_rate(text: &str) -> Option<f64> {
    let number = text.strip_suffix("pps")?;
    for (unit, factor) in [("G", 1e9), ("M", 1e6), ("k", 1e3)] {
        if let Some(number) = number.strip_suffix(unit) {
            return decimal(number).map(|number| number * factor);
        }
    }
    decimal(number)
}

/// Reads "10GiB" or "500MB", in bytes.
pub(crate) fn volume_bytes(text: &str) -> Option<u64> {
    VOLUME_UNITS_BYTES.iter().find_map(|(unit, bytes)| {
        let number = text.strip_suffix(unit)?.parse::<u64>().ok()?;
        number.checked_mul(*bytes)
    })
}

/// A number of digits and at most one point; `f64`'s own reader takes "inf" and "1e9" too.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    if plain { text.parse().ok() } else { None }
}

/// Three digits that count, with the prefix that suits: 1234567 is "1.23 M".
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs();
    for (prefix, factor) in [("G", 1e9), ("M", 1e6), ("k", 1e3)] {
        // What would round up to the next prefix has that prefix.
        if magnitude >= factor * 0.9995 {
            return format!("{} {prefix}", three_digits(value / factor));
        }
    }
    three_digits(value)
}

/// Three digits that count, without a prefix.
pub(crate) fn three_digits(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 {
        "0".to_owned()
    } else if magnitude >= 99.95 {
        format!("{value:.0}")
    } else if magnitude >= 9.995 {
        format!("{value:.1}")
    } else if magnitude >= 0.0995 {
        format!("{value:.2}")
    } else {
        format!("{value:.2e}")
    }
}

/// Nanoseconds with the unit that suits.
pub(crate) fn nanoseconds(value_ns: f64) -> String {
    let magnitude = value_ns.abs();
    if magnitude >= 999.5e6 {
        format!("{} s", three_digits(value_ns / 1e9))
    } else if magnitude >= 999.5e3 {
        format!("{} ms", three_digits(value_ns / 1e6))
    } else if magnitude >= 999.5 {
        format!("{} µs", three_digits(value_ns / 1e3))
    } else {
        format!("{} ns", three_digits(value_ns))
    }
}

/// The same for whole numbers of a unit: a tick, the bound of a bar.
pub(crate) fn nanoseconds_round(value_ns: f64) -> String {
    let text = nanoseconds(value_ns);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') && !number.contains('e') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// A number with a comma between thousands.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds as a person says them: "45 s", "9 min 30 s".
pub(crate) fn seconds(value_s: f64) -> String {
    // A span of time that a report shows; the cast saturates.
    let whole = value_s.round() as u64;
    match (whole / 60, whole % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_profiles_write() {
        assert_eq!(duration("1m500ms"), Some(Duration::from_millis(60_500)));
        assert_eq!(share("0.5%"), Some(0.005));
        assert_eq!(packet_rate("1.5Mpps"), Some(1.5e6));
        assert_eq!(packet_rate("100kpps"), Some(1e5));
        assert_eq!(packet_rate("7pps"), Some(7.0));
        assert_eq!(volume_bytes("10GiB"), Some(10 << 30));
        assert_eq!(volume_bytes("5MB"), Some(5_000_000));
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for text in ["", "2", "s", "1.5s", "-1s", "1s1s"] {
            assert_eq!(duration(text), None, "{text:?}");
        }
        for text in ["", "%", "-1%", "inf%", "1e2%", "nan%", ".5%", "5"] {
            assert_eq!(share(text), None, "{text:?}");
        }
        for text in ["", "pps", "1mpps", "1 Mpps", "-1pps", "infpps", "1e9pps", "1.2.3pps"] {
            assert_eq!(packet_rate(text), None, "{text:?}");
        }
        for text in ["", "GiB", "1.5GiB", "99999999999GiB", "5gb"] {
            assert_eq!(volume_bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn writes_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.972, "0.97"),
            (12.345, "12.3"),
            (660_000.0, "660 k"),
            (999_900.0, "1.00 M"),
            (1_234_567.0, "1.23 M"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(nanoseconds(27_500.0), "27.5 µs");
        assert_eq!(nanoseconds(999.9), "1.00 µs");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
        assert_eq!(seconds(570.2), "9 min 30 s");
    }
}
