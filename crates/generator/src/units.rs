//! Rates and durations as a person writes them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::sizes::Sizes;

/// Bytes of preamble, start delimiter and gap that each frame takes on a wire beside itself (IEEE 802.3).
pub const WIRE_OVERHEAD_BYTES: u64 = 20;

/// How fast a stream is asked to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Frames each second.
    Packets(f64),
    /// Bits each second, counted in whole frames with their check sequence and without preamble and gap.
    Bits(f64),
    /// Percent of what the link carries, preamble and gap counted.
    Percent(f64),
    /// As fast as the transmit ring takes them.
    Max,
}

impl Rate {
    /// Frames each second of these sizes; infinite for [`Rate::Max`]. `None` for a share of a link of unknown
    /// speed. `link_bits_per_second` is that of the transmitting interface.
    pub fn packets_per_second(self, sizes: Sizes, link_bits_per_second: Option<u64>) -> Option<f64> {
        let mean_bytes = sizes.mean_bytes();
        Some(match self {
            Self::Packets(packets) => packets,
            Self::Bits(bits) => bits / (8.0 * mean_bytes),
            Self::Percent(percent) => {
                let bits_per_frame = 8.0 * (mean_bytes + WIRE_OVERHEAD_BYTES as f64);
                link_bits_per_second? as f64 * percent / 100.0 / bits_per_frame
            }
            Self::Max => f64::INFINITY,
        })
    }
}

/// What a text should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

const RATE_FORM: Malformed = Malformed(
    "write a rate as \"100kpps\" or \"1.5Mpps\" (frames), \"200Mbps\" (bits), \"50%\" (of the link) or \"max\"",
);

impl FromStr for Rate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let (number, unit) = split_unit(text).ok_or(RATE_FORM)?;
        let rate = match unit {
            "%" if number <= 100.0 => Self::Percent(number),
            "pps" => Self::Packets(number),
            "kpps" => Self::Packets(number * 1e3),
            "Mpps" => Self::Packets(number * 1e6),
            "bps" => Self::Bits(number),
            "kbps" => Self::Bits(number * 1e3),
            "Mbps" => Self::Bits(number * 1e6),
            "Gbps" => Self::Bits(number * 1e9),
            _ => return Err(RATE_FORM),
        };
        Ok(rate)
    }
}

const DURATION_FORM: Malformed =
    Malformed("write a duration with its unit, as \"2s\", \"500ms\", \"1.5s\", \"20us\" or \"5m\"");

/// Reads "2s", "1.5s", "500ms", "20us", "100ns" or "5m"; a day at the most.
pub fn duration(text: &str) -> Result<Duration, Malformed> {
    const DAY_SECONDS: f64 = 86_400.0;
    let (number, unit) = split_unit(text).ok_or(DURATION_FORM)?;
    let seconds = match unit {
        "ns" => number / 1e9,
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(DURATION_FORM),
    };
    if seconds > DAY_SECONDS {
        return Err(Malformed("a day is the longest duration"));
    }
    // Rounded, since 0.3 ms is no whole number of nanoseconds in binary.
    Ok(Duration::from_nanos((seconds * 1e9).round() as u64))
}

/// A positive decimal number and what follows it.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    (number > 0.0).then_some((number, unit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_all_their_units() {
        for (text, rate) in [
            ("max", Rate::Max),
            ("100kpps", Rate::Packets(1e5)),
            ("1.5Mpps", Rate::Packets(1.5e6)),
            ("10pps", Rate::Packets(10.0)),
            ("1Gbps", Rate::Bits(1e9)),
            ("2.5%", Rate::Percent(2.5)),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
        }
        for text in ["", "100", "kpps", "0pps", "-1pps", "1 kpps", "101%", "1.2.3pps", "1kpps ", "1KPPS"] {
            assert_eq!(text.parse::<Rate>(), Err(RATE_FORM), "{text:?}");
        }
    }

    #[test]
    fn ten_gigabits_carry_as_many_of_the_shortest_frames_as_the_standard_says() {
        let sizes = Sizes::Fixed(64);
        let line = Rate::Percent(100.0).packets_per_second(sizes, Some(10_000_000_000)).unwrap();
        assert_eq!(line.floor(), 14_880_952.0);
        assert_eq!(Rate::Bits(512.0).packets_per_second(sizes, None), Some(1.0));
        assert_eq!(Rate::Percent(1.0).packets_per_second(sizes, None), None);
    }

    #[test]
    fn durations_are_read_in_all_their_units() {
        for (text, ns) in [
            ("2s", 2_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.3ms", 300_000),
            ("20us", 20_000),
            ("7ns", 7),
            ("1m", 60_000_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
        for text in ["", "2", "s", "2 s", "-2s", "2h", "0s", "2d"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert!(duration("1441m").is_err());
    }
}
