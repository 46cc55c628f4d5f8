//! Reads `[[health_check]]`.

use std::time::Duration;

use crate::findings::Findings;
use crate::model::HealthCheck;
use crate::probe;
use crate::section::{Section, Value};

/// Health checks at the most: one for each service that there can be.
const HEALTH_CHECKS_MAX: usize = 4_096;
/// Shortest interval. Thousands of checks share one thread, and a server has better things to do.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longest of all times of a check.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Shortest time that a server is given to answer: ten steps of the control thread's clock.
const RESPONSE_TIME_MIN: Duration = Duration::from_millis(10);
/// Most failures forgiven, and most successes asked for.
const STREAK_MAX: u32 = 100;

pub(crate) const KEYS: &[&str] = &[
    "name",
    "kind",
    "port",
    "path",
    "host",
    "tls",
    "expect_status",
    "expect_body",
    "send",
    "expect_reply",
    "server_name",
    "interval",
    "response_time",
    "retries",
    "timeout",
    "dead_interval",
    "rise",
];

/// Reads every `[[health_check]]`.
pub(crate) fn health_checks(top: Section<'_>, findings: &Findings) -> Vec<HealthCheck> {
    top.tables("health_check", "health_check", KEYS, HEALTH_CHECKS_MAX)
        .into_iter()
        .map(|section| health_check(section, findings))
        .collect()
}

fn health_check(section: Section<'_>, findings: &Findings) -> HealthCheck {
    let probe = probe::read(section, findings);
    let duration = |key, bounds| section.optional(key).and_then(|value: Value| value.duration(bounds));
    let interval = duration("interval", INTERVAL_MIN..=INTERVAL_MAX).unwrap_or(Duration::from_secs(3));
    let check = HealthCheck {
        name: section.required("name", "\"web-tcp\"").and_then(|value| value.name()).unwrap_or_default(),
        probe,
        port: section.optional("port").and_then(|value| value.integer(1..=u16::MAX)),
        interval,
        response_time: duration("response_time", RESPONSE_TIME_MIN..=INTERVAL_MAX)
            .unwrap_or(Duration::from_secs(1)),
        retries: section.optional("retries").and_then(|value| value.integer(0..=STREAK_MAX)).unwrap_or(2),
        timeout: duration("timeout", INTERVAL_MIN..=INTERVAL_MAX),
        dead_interval: duration("dead_interval", INTERVAL_MIN..=INTERVAL_MAX).unwrap_or(interval),
        rise: section.optional("rise").and_then(|value| value.integer(1..=STREAK_MAX)).unwrap_or(1),
        at: section.at("name"),
        kind_at: section.at("kind"),
    };
    refuse_contradictions(section, &check);
    check
}

/// One check of a server ends before its next begins, and a living server has the time to show it.
fn refuse_contradictions(section: Section<'_>, check: &HealthCheck) {
    if check.response_time > check.interval {
        let help = "make `interval` at least as long as `response_time`";
        section.contradiction(
            "response_time",
            "a check would start before the one before it has been answered",
            help,
        );
    } else if check.response_time > check.dead_interval {
        let help = "make `dead_interval` at least as long as `response_time`";
        section.contradiction(
            "dead_interval",
            "a check would start before the one before it has been answered",
            help,
        );
    }
    if check.timeout.is_some_and(|timeout| timeout < check.interval + check.response_time) {
        let help = "make `timeout` at least `interval` + `response_time`";
        section.contradiction("timeout", "a living server would be down between two good checks", help);
    }
}
