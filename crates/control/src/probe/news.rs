//! What probing found out, for whoever acts on it or shows it.

use super::alarm::Complaint;
use crate::check::Reason;
use crate::members::Health;
use std::time::{Duration, Instant};

/// Something that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The group.
    pub group: String,
    /// The firewall.
    pub firewall: String,
    /// What it is.
    pub news: News,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// What is thought of a path.
    Turned {
        /// Before.
        from: Health,
        /// Now.
        to: Health,
        /// Why, if it is bad.
        reason: Option<Reason>,
    },
    /// An alarm was raised, or is another one now.
    Alarm(Complaint),
    /// It has ended.
    AlarmEnded,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug)]
pub struct PathStatus<'a> {
    /// What is thought of it.
    pub health: Health,
    /// Why the last probe failed, or why it is down.
    pub reason: Option<&'a Reason>,
    /// When the last probe ended.
    pub last_check: Option<Instant>,
    /// How long the last good answer took.
    pub round_trip: Option<Duration>,
    /// What is wrong between the two ends, whatever the path's state.
    pub alarm: Option<Complaint>,
    /// What the far end thinks of the path, if it says so.
    pub far_health: Option<Health>,
}
