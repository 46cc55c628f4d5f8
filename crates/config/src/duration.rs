//! Durations as the file writes them: "300ms", "3s", "5m", "2h4m".

use std::time::Duration;

/// Units from large to small, in milliseconds. In one duration they stand in this order, none twice.
const UNITS_MS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration; `None` where the text is none or overflows.
pub(crate) fn read(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = UNITS_MS.iter();
    let mut total_ms = 0u64;
    while !rest.is_empty() || text.is_empty() {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(digits.parse::<u64>().ok()?.checked_mul(*unit_ms)?)?;
        rest = after;
    }
    Some(Duration::from_millis(total_ms))
}

/// Writes a duration as a person would; whole milliseconds.
pub(crate) fn write(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, unit_ms) in UNITS_MS {
        if rest_ms >= unit_ms {
            text += &format!("{}{unit}", rest_ms / unit_ms);
            rest_ms %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_documentation_shows() {
        for (text, ms) in
            [("300ms", 300), ("3s", 3_000), ("5m", 300_000), ("2h4m", 7_440_000), ("1m500ms", 60_500)]
        {
            assert_eq!(read(text), Some(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for text in [
            "",
            "3",
            "s",
            "3 s",
            " 3s",
            "3s ",
            "-3s",
            "+3s",
            "1.5s",
            "3S",
            "4m2h",
            "1s1s",
            "3d",
            "99999999999999999999s",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(read("5124095576030432h"), None, "overflows milliseconds");
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(ms in any::<u64>()) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(read(&write(duration)), Some(duration));
        }

        #[test]
        fn reads_any_text_without_a_panic(text in "[0-9hms ]{0,12}|.{0,12}") {
            read(&text);
        }
    }
}
