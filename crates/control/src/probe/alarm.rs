//! What is wrong between two ends that hear each other: they would place flows differently.
//!
//! It changes no path's state, since traffic still gets through; but somebody must do something about it.

use std::fmt;
use std::time::{Duration, Instant};

/// How long all must be well before an alarm ends.
const WELL_FOR: Duration = Duration::from_secs(10);

/// What is wrong, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Complaint {
    /// The groups differ.
    OtherGroup {
        /// Our fingerprint.
        ours: u64,
        /// The far end's.
        theirs: u64,
    },
    /// The far end has another firewall's name, or other addresses, for this path.
    OtherName,
    /// A probe bears the tag of another key.
    OtherKey,
}

impl fmt::Display for Complaint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherGroup { ours, theirs } => write!(
                out,
                "the far end's group is another: its fingerprint is {theirs:016x}, ours {ours:016x}; names, weights, \
                 hash or key differ"
            ),
            Self::OtherName => out.write_str(
                "the two ends name this path differently: the firewall's name, or the probe addresses of both ends",
            ),
            Self::OtherKey => {
                out.write_str("another hash_key at the far end, or somebody forges probes: a tag is not of our key")
            }
        }
    }
}

/// The alarm of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alarm {
    raised: Option<Complaint>,
    /// When it was last complained.
    bad_at: Option<Instant>,
    /// Since when nothing but good was heard.
    well_since: Option<Instant>,
}

impl Alarm {
    /// What is wrong now, if anything.
    pub(super) fn complaint(&self) -> Option<Complaint> {
        self.raised
    }

    /// Something is wrong. A graver complaint that is still fresh stays; true when this one is new.
    pub(super) fn complain(&mut self, now: Instant, complaint: Complaint) -> bool {
        self.well_since = None;
        let is_fresh = self.bad_at.is_some_and(|at| now < at + WELL_FOR);
        if is_fresh && self.raised.is_some_and(|raised| graver(raised, complaint)) {
            return false;
        }
        self.bad_at = Some(now);
        self.raised.replace(complaint) != Some(complaint)
    }

    /// The far end was heard, and all was right.
    pub(super) fn be_well(&mut self, now: Instant) {
        if self.raised.is_some() {
            self.well_since.get_or_insert(now);
        }
    }

    /// Lets time pass; true when the alarm has ended.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let ends = self.deadline().is_some_and(|at| at <= now);
        if ends {
            *self = Self::default();
        }
        ends
    }

    /// When it ends, if all stays well.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.well_since.map(|since| since + WELL_FOR)
    }
}

/// Whether `one` is of a graver kind. Two of one kind are alike: the newer one is the truer.
fn graver(one: Complaint, other: Complaint) -> bool {
    one > other && std::mem::discriminant(&one) != std::mem::discriminant(&other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_told_once_and_ends_when_all_was_well_for_ten_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let group = Complaint::OtherGroup { ours: 1, theirs: 2 };
        let mut alarm = Alarm::default();
        assert!(alarm.complain(at(0), group) && !alarm.complain(at(1), group));
        assert!(!alarm.expire(at(60)), "silence is not well");
        alarm.be_well(at(61));
        alarm.be_well(at(65));
        assert_eq!(alarm.deadline(), Some(at(71)));
        assert!(!alarm.complain(at(66), group) && !alarm.expire(at(71)), "it begins anew");
        alarm.be_well(at(67));
        assert!(!alarm.expire(at(76)) && alarm.expire(at(77)));
        assert_eq!(alarm.complaint(), None);
        assert!(!alarm.expire(at(78)) && alarm.complain(at(79), group));
    }

    #[test]
    fn the_gravest_is_told_while_it_lasts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let group = |theirs| Complaint::OtherGroup { ours: 1, theirs };
        let mut alarm = Alarm::default();
        assert!(alarm.complain(at(0), group(2)) && alarm.complain(at(0), group(3)));
        assert!(alarm.complain(at(1), Complaint::OtherKey) && !alarm.complain(at(2), group(3)));
        assert_eq!(alarm.complaint(), Some(Complaint::OtherKey));
        assert!(alarm.complain(at(11), group(3)));
        assert_eq!(alarm.complaint(), Some(group(3)));
    }
}
