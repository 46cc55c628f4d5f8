//! What became of a server, and when: the last changes of how it is shown, with the reasons.
//!
//! Bounded, in memory alone; it lives as long as its server has a row. Control thread only.

use super::Shown;
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Changes that are remembered of one server; the oldest makes room.
pub const CHANGES_KEPT_MAX: usize = 16;

/// A point in time, on the clock that only goes on and on the one that people read. It is written as RFC 3339 has it, in
/// UTC and whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// To measure by: setting the clock moves it not.
    pub steady: Instant,
    /// To write down.
    pub wall: SystemTime,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Moment,
    /// How the server was shown before.
    pub from: Shown,
    /// How it is shown since; the same where the operator changed what is not seen, such as a weight.
    pub to: Shown,
    /// Why, in words.
    pub reason: String,
}

/// The last changes of a server.
#[derive(Clone, Debug)]
pub struct History {
    since: Moment,
    changes: VecDeque<Change>,
}

impl History {
    pub(super) fn new(appeared: Moment) -> Self {
        Self { since: appeared, changes: VecDeque::new() }
    }

    pub(super) fn note(&mut self, change: Change) {
        if change.from != change.to {
            self.since = change.at;
        }
        if self.changes.len() == CHANGES_KEPT_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }

    /// The changes, oldest first.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = &Change> {
        self.changes.iter()
    }

    /// Since when the server has been shown as it is.
    pub fn since(&self) -> Moment {
        self.since
    }
}

const SECONDS_PER_DAY: u64 = 86_400;

/// Days of 400 years of the Gregorian calendar, after which it repeats.
const DAYS_PER_CYCLE: u64 = 146_097;

/// The last second that RFC 3339 can write: it gives the year four digits.
const WRITTEN_MAX: Duration = Duration::from_millis(253_402_300_799_999);

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock that stands before 1970 was never set.
        let since_epoch = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default().min(WRITTEN_MAX);
        let (seconds, milliseconds) = (since_epoch.as_secs(), since_epoch.subsec_millis());
        let (year, month, day) = date(seconds / SECONDS_PER_DAY);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
    }
}

/// Year, month and day of a day, counted from 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let mut year = 1_970 + days / DAYS_PER_CYCLE * 400;
    let mut rest = days % DAYS_PER_CYCLE;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while rest >= 365 + u64::from(is_leap(year)) {
        rest -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, milliseconds: u64) -> Moment {
        let wall = UNIX_EPOCH + Duration::from_millis(seconds * 1_000 + milliseconds);
        Moment { steady: Instant::now(), wall }
    }

    #[test]
    fn a_moment_is_written_as_rfc_3339_has_it() {
        for (seconds, milliseconds, text) in [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, 999, "2000-02-28T23:59:59.999Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000Z"),
            (951_868_800, 7, "2000-03-01T00:00:00.007Z"),
            (1_735_689_599, 0, "2024-12-31T23:59:59.000Z"),
            (1_772_452_845, 250, "2026-03-02T12:00:45.250Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000Z"),
            (13_569_465_600, 0, "2400-01-01T00:00:00.000Z"),
            (253_402_300_799, 999, "9999-12-31T23:59:59.999Z"),
            (400_000_000_000, 0, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(at(seconds, milliseconds).to_string(), text);
        }
        let never_set = Moment { wall: UNIX_EPOCH - Duration::from_secs(5), ..at(0, 0) };
        assert_eq!(never_set.to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = date(0);
        for days in 1..DAYS_PER_CYCLE + 1_000 {
            let (year, month, day) = date(days);
            let follows = match before {
                (last_year, 12, 31) => (year, month, day) == (last_year + 1, 1, 1),
                (last_year, last_month, last_day) => {
                    (year, month, day) == (last_year, last_month, last_day + 1)
                        || ((year, month, day) == (last_year, last_month + 1, 1) && last_day >= 28)
                }
            };
            assert!(follows, "{:?} after {before:?}", (year, month, day));
            before = (year, month, day);
        }
    }

    #[test]
    fn the_last_sixteen_changes_are_kept_and_the_state_dates_from_its_own() {
        let mut history = History::new(at(0, 0));
        assert_eq!(history.since().wall, at(0, 0).wall);
        let change = |second, from, to| Change { at: at(second, 0), from, to, reason: format!("{second}") };
        history.note(change(1, Shown::Checking, Shown::Up));
        history.note(change(2, Shown::Up, Shown::Up));
        assert_eq!(history.since().wall, at(1, 0).wall, "a weight changes no state");
        for second in 3..=20 {
            history.note(change(second, Shown::Up, Shown::Up));
        }
        let reasons: Vec<&str> = history.changes().map(|change| change.reason.as_str()).collect();
        assert_eq!((reasons.len(), reasons[0], reasons[15]), (16, "5", "20"));
        assert_eq!(history.since().wall, at(1, 0).wall, "also when its change is forgotten");
    }
}
