//! What is known of the far end: when its probes came, and what they reported of ours.

use super::payload::{Heard, Payload};
use crate::members::Health;
use std::time::{Duration, Instant};

/// The last probe of the far end on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hearing {
    /// When it came.
    pub at: Instant,
    /// Until when the far end counts as heard: it has said how soon it probes again.
    pub until: Instant,
    /// Which life of the far end sent it.
    pub instance: u64,
    /// Which of its probes it was.
    pub sequence: u32,
    /// The path that it came over; `None`: over none of the group.
    pub over: Option<u64>,
}

impl Hearing {
    /// The hearing of a probe.
    pub(super) fn of(payload: &Payload, now: Instant, over: Option<u64>, slack: Duration) -> Self {
        let until = valid_until(payload, now, slack);
        Self { at: now, until, instance: payload.instance, sequence: payload.sequence, over }
    }

    /// Whether `payload` is newer than the probe that was heard. One that comes again, late or twice, is no news.
    pub(super) fn is_before(&self, payload: &Payload) -> bool {
        self.instance != payload.instance || is_after(payload.sequence, self.sequence)
    }
}

/// What the far end last reported, on whatever path of the group that came.
#[derive(Clone, Debug)]
pub(super) struct Report {
    at: Instant,
    until: Instant,
    entries: Vec<Told>,
}

/// What it said of one path.
#[derive(Clone, Copy, Debug)]
struct Told {
    path: u64,
    /// How old its last hearing of us was then, and which probe of ours that had been.
    heard: Option<(Duration, u32)>,
    over: Option<u64>,
    health: Health,
}

/// What the far end says of our probes on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    /// Nothing that counts.
    Unknown,
    /// They arrive.
    Hears,
    /// They do not.
    Deaf,
}

impl Report {
    /// The report in `payload`. What it says of the probes of an earlier life of ours is no news.
    pub(super) fn of(payload: &Payload, now: Instant, instance: u64, slack: Duration) -> Self {
        let is_about_us = payload.heard_instance == instance;
        let path_at = |place: u8| payload.report.get(usize::from(place)).map(|heard| heard.path);
        let told = |heard: &Heard| Told {
            path: heard.path,
            heard: heard
                .age_ms
                .filter(|_| is_about_us)
                .map(|age_ms| (Duration::from_millis(age_ms.into()), heard.sequence)),
            over: heard.over.and_then(path_at),
            health: heard.health,
        };
        let entries = payload.report.iter().map(told).collect();
        Self { at: now, until: valid_until(payload, now, slack), entries }
    }

    fn told(&self, now: Instant, path: u64) -> Option<&Told> {
        self.entries.iter().find(|told| told.path == path).filter(|_| now <= self.until)
    }

    /// What it thinks of a path.
    pub(super) fn health(&self, now: Instant, path: u64) -> Option<Health> {
        self.told(now, path).map(|told| told.health)
    }

    /// The other path over which it hears our probes of this one. What it heard longer ago than `recent` counts no more.
    pub(super) fn heard_over(&self, now: Instant, path: u64, recent: Duration) -> Option<u64> {
        let told = self.told(now, path)?;
        let (age, _) = told.heard?;
        told.over.filter(|&over| over != path && age <= recent)
    }

    /// Whether it hears probes of ours that came to nothing: later ones than `answered`, the last that was answered.
    /// `due` says which probe it must have heard by a point in time, if any: it cannot have missed what it had no time to
    /// hear, and what it heard before that is no sign of life.
    pub(super) fn there(
        &self,
        now: Instant,
        path: u64,
        answered: Option<u32>,
        due: impl Fn(Instant) -> Option<u32>,
    ) -> There {
        let Some(told) = self.told(now, path) else { return There::Unknown };
        let is_news = |sequence| answered.is_none_or(|answered| is_after(sequence, answered));
        let due = due(self.at);
        let heard = told.heard.map(|(_, sequence)| sequence).filter(|&sequence| is_news(sequence));
        match (heard, due) {
            (Some(heard), due) if due.is_none_or(|due| !is_after(due, heard)) => There::Hears,
            (_, Some(due)) if is_news(due) => There::Deaf,
            _ => There::Unknown,
        }
    }
}

/// One probe may be lost; what a second one would have said is missed.
fn valid_until(payload: &Payload, now: Instant, slack: Duration) -> Instant {
    now + Duration::from_millis(payload.next_ms.into()) * 2 + slack
}

/// Whether `one` comes after `other`: sequences go round.
fn is_after(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) > 0
}
