//! The byte rates that `scheduler = "bandwidth"` chooses by: measured here from the workers' counters, so that no packet
//! pays for them.
//!
//! A rate is an average that forgets half in [`HALF_LIFE`]. A server that has just been given a session does not show it
//! yet, and would be given the next, and the next; so a worker adds what sessions of the service move on the average
//! ([`plan::Loads`]), and here that expectation fades as fast as the measure takes its place.

use super::Controller;
use super::world::Rings;
use config::Scheduler;
use hashbrown::HashMap;
use rewrite::MemberId;
use std::time::{Duration, Instant};

/// How long a measure takes to count for half as much. Shorter follows every burst of one connection, longer lets a server
/// stay flooded for longer.
pub(super) const HALF_LIFE: Duration = Duration::from_secs(1);

/// From one measurement to the next.
const INTERVAL: Duration = Duration::from_millis(100);

/// What the counters of a member say now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Reading {
    bytes: u64,
    sessions_total: u64,
    sessions_active: u64,
    /// What workers choose by: measured and expected.
    rate_bytes_per_s: u64,
}

/// One member's average.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    bytes: u64,
    sessions_total: u64,
    bytes_per_s: f64,
    sessions_per_s: f64,
}

impl Average {
    /// Takes a reading `elapsed` after the one before; gives what workers are to choose by from now on.
    fn take(&mut self, reading: Reading, elapsed: Duration) -> u64 {
        let kept = (-elapsed.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        let per_s = |now: u64, before: u64| now.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        let expected = (reading.rate_bytes_per_s as f64 - self.bytes_per_s).max(0.0) * kept;
        let fade = |average: f64, now: f64| average * kept + now * (1.0 - kept);
        self.bytes_per_s = fade(self.bytes_per_s, per_s(reading.bytes, self.bytes));
        self.sessions_per_s = fade(self.sessions_per_s, per_s(reading.sessions_total, self.sessions_total));
        (self.bytes, self.sessions_total) = (reading.bytes, reading.sessions_total);
        (self.bytes_per_s + expected) as u64
    }

    /// Sessions that make up the average: the live ones, and those whose bytes are not forgotten yet.
    fn sessions(&self, active: u64) -> f64 {
        active as f64 + self.sessions_per_s * HALF_LIFE.as_secs_f64() / std::f64::consts::LN_2
    }
}

/// The averages of all members that are chosen by them.
#[derive(Debug, Default)]
pub(super) struct Rates {
    averages: HashMap<MemberId, Average>,
    taken: Option<Instant>,
}

impl Rates {
    pub fn next_deadline(&self) -> Option<Instant> {
        self.taken.map(|taken| taken + INTERVAL)
    }
}

impl<R: Rings> Controller<R> {
    /// Measures, if it is time.
    pub(super) fn measure_rates(&mut self, now: Instant) {
        let elapsed = self.rates.taken.map(|taken| now.saturating_duration_since(taken));
        if elapsed.is_some_and(|elapsed| elapsed < INTERVAL) {
            return;
        }
        let by_bandwidth = |service: &&config::Service| service.scheduler == Scheduler::Bandwidth;
        let services: Vec<Vec<MemberId>> = self
            .config
            .services
            .iter()
            .filter(by_bandwidth)
            .map(|service| self.members.of_service(&service.name).map(|(_, member)| member.id).collect())
            .collect();
        self.rates.taken = (!services.is_empty()).then_some(now);
        self.rates.averages.retain(|id, _| services.iter().any(|members| members.contains(id)));
        for members in services {
            self.measure_service(&members, elapsed);
        }
    }

    fn measure_service(&mut self, members: &[MemberId], elapsed: Option<Duration>) {
        let loads = &self.shared.loads;
        let mut changes = Vec::with_capacity(members.len());
        let (mut bytes_per_s, mut sessions) = (0.0, 0.0);
        for &id in members {
            let totals = self.totals.of(&self.workers, loads, id);
            let reading = Reading {
                bytes: totals.bytes_in + totals.bytes_out,
                sessions_total: totals.sessions_created,
                sessions_active: totals.sessions_active,
                rate_bytes_per_s: loads.rate_bytes_per_s(id),
            };
            let fresh = Average {
                bytes: reading.bytes,
                sessions_total: reading.sessions_total,
                ..Average::default()
            };
            let average = self.rates.averages.entry(id).or_insert(fresh);
            // The first reading of all has nothing to be compared with.
            let Some(elapsed) = elapsed else { continue };
            changes.push((id, reading.rate_bytes_per_s, average.take(reading, elapsed)));
            bytes_per_s += average.bytes_per_s;
            sessions += average.sessions(reading.sessions_active);
        }
        let session_rate = if sessions > 0.0 { bytes_per_s / sessions } else { 0.0 };
        for (id, before, after) in changes {
            loads.set_rate(id, before, after, session_rate as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_found_to_half_within_a_half_life_and_what_was_expected_fades_as_fast() {
        let mut average = Average::default();
        let (mut bytes, mut rate) = (0, 0);
        for step in 1..=40u64 {
            bytes += 100;
            // A session that was expected to move 1,000 bytes a second, and does.
            let expected = if step == 1 { 1_000 } else { 0 };
            let reading = Reading { bytes, rate_bytes_per_s: rate + expected, ..Reading::default() };
            rate = average.take(reading, INTERVAL);
            assert!(rate.abs_diff(1_000) < 20, "step {step}: measured and expected together: {rate}");
            if step == 10 {
                assert!((average.bytes_per_s - 500.0).abs() < 1.0, "{}", average.bytes_per_s);
            }
        }
        assert!((average.bytes_per_s - 1_000.0).abs() < 70.0);
    }

    #[test]
    fn short_sessions_count_as_what_they_leave_in_the_average() {
        let mut average = Average::default();
        // Ten sessions a second of 200 bytes each, which are over when anybody looks.
        for step in 1..=100u64 {
            let reading = Reading { bytes: step * 200, sessions_total: step, ..Reading::default() };
            average.take(reading, INTERVAL);
        }
        let of_one = average.bytes_per_s / average.sessions(0);
        assert!((of_one - 200.0 * std::f64::consts::LN_2).abs() < 3.0, "{of_one}");
    }
}
