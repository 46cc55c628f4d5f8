//! What came of a run with connections: of many that are held at once, or of a ramp.

use serde::{Deserialize, Serialize};

use super::Limit;
use crate::profile::{Concurrency, Phases};
use crate::search::fell_short;

/// How far the end of a second may be from where it belongs: who counts looks some milliseconds late.
const SLACK_S: f64 = 0.1;

/// A device that held this share of what it may track was at its bound: it tracks what failed for a while, too.
const BOUND_SHARE: f64 = 0.9;

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecondPoint {
    /// Its end, since the run began, in seconds.
    pub at_s: f64,
    /// Connections that were begun in it.
    pub begun: u64,
    /// Connections that were opened in it.
    pub opened: u64,
    /// Connections that failed in it.
    pub failed: u64,
    /// Connections that are open at its end.
    pub held: u64,
    /// Connections that ended in it as they should.
    pub closed: u64,
}

/// Why connections failed: each counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFailures {
    /// A SYN, data or a FIN was not answered in time.
    pub no_answer: u64,
    /// A RST came.
    pub reset: u64,
    /// Data or a FIN came with another sequence number than the connection has come to.
    pub wrong_sequence: u64,
}

impl ConnectionFailures {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.no_answer + self.reset + self.wrong_sequence
    }
}

/// One run, as raw results keep it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionRun {
    /// Connections that were asked for.
    pub asked: u64,
    /// Of these, that the client began.
    pub begun: u64,
    /// Of these, that were opened.
    pub opened: u64,
    /// Of these, that ended as they should.
    pub closed: u64,
    /// The most that were open at once.
    pub held_most: u64,
    /// Why connections failed, before they were open or after.
    pub failures: ConnectionFailures,
    /// Connections that the device may track at the most, where that is fewer than were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<u64>,
    /// Second by second; the last is what was left of one.
    pub seconds: Vec<SecondPoint>,
}

impl ConnectionRun {
    /// Connections that were held at once and did not fail: since each is held until all are open, and ends only after
    /// that, those that ended as they should were open together.
    pub fn held_at_once(&self) -> u64 {
        self.held_most.min(self.closed)
    }

    /// Whether it passes with less than this share of failures; a share of 0 asks for none.
    pub fn passes(&self, failures_max: f64) -> bool {
        let failed = self.failures.total();
        self.begun > 0 && (failed == 0 || (failed as f64) < failures_max * self.begun as f64)
    }

    /// Connections opened a second in the first `opening_s` of them, while those of a trial are opened.
    pub fn opening_per_s(&self, opening_s: f64) -> f64 {
        let first = self.seconds.iter().take(1);
        let within = self.seconds.iter().skip(1).take_while(|second| second.at_s <= opening_s + SLACK_S);
        let (opened, until_s) =
            first.chain(within).fold((0, 0.0), |(opened, _), second| (opened + second.opened, second.at_s));
        rate(opened, f64::min(until_s, opening_s))
    }

    /// Connections opened a second while the rate of a ramp stays. Without a whole second of it, all that were opened
    /// over the time in which as many are begun at the top.
    pub fn sustained_per_s(&self, phases: &Phases) -> f64 {
        let [up_s, down_s] = [phases.ramp_up, phases.ramp_down].map(|phase| phase.as_secs_f64());
        let sustain_s = phases.sustain.as_secs_f64();
        let (mut opened, mut over_s, mut began_s) = (0, 0.0, 0.0);
        for second in &self.seconds {
            if began_s >= up_s - SLACK_S && second.at_s <= up_s + sustain_s + SLACK_S {
                opened += second.opened;
                over_s += second.at_s - began_s;
            }
            began_s = second.at_s;
        }
        if over_s < 1.0 - SLACK_S {
            return rate(self.opened, f64::midpoint(up_s, down_s) + sustain_s);
        }
        rate(opened, over_s)
    }

    /// Connections begun a second at the most.
    fn begun_per_s(&self) -> f64 {
        let mut began_s = 0.0;
        let rates = self.seconds.iter().map(|second| {
            let over_s = second.at_s - std::mem::replace(&mut began_s, second.at_s);
            // What is left of a second at the end is too short to say anything.
            if over_s < SLACK_S { 0.0 } else { rate(second.begun, over_s) }
        });
        rates.fold(0.0, f64::max)
    }

    /// What kept a device from holding more; `else_limit` where it failed and neither client nor bound explain it.
    pub fn limit_of_held(&self, held: &Concurrency, else_limit: Limit) -> Limit {
        let opening_s = held.connections as f64 / held.rate_per_s;
        // In less than a second the first look comes late for the rate.
        let is_slow = opening_s >= 1.0 && fell_short(held.rate_per_s, self.begun_per_s());
        self.limit(self.passes(held.failures_max), is_slow, else_limit)
    }

    /// The same of a ramp, which gives up what it could not begin in time.
    pub fn limit_of_ramp(&self, failures_max: f64, else_limit: Limit) -> Limit {
        self.limit(self.passes(failures_max), false, else_limit)
    }

    fn limit(&self, passes: bool, is_slow: bool, else_limit: Limit) -> Limit {
        let ConnectionFailures { no_answer, reset, wrong_sequence } = self.failures;
        if is_slow || fell_short(self.asked as f64, self.begun as f64) {
            Limit::Generator
        } else if passes {
            Limit::AskedConnections
        } else if self.bound.is_some_and(|bound| self.held_most as f64 >= BOUND_SHARE * bound as f64) {
            Limit::Sessions
        } else if reset + wrong_sequence > no_answer {
            Limit::Forgot
        } else {
            else_limit
        }
    }
}

/// Counts of a run, far below 2^53.
fn rate(count: u64, over_s: f64) -> f64 {
    if over_s > 0.0 { count as f64 / over_s } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HELD: Concurrency = Concurrency {
        connections: 100_000,
        rate_per_s: 50_000.0,
        failures_max: 0.0001,
        sustain: Duration::from_secs(1),
    };

    /// All that was asked for: two seconds up, one held, two down.
    fn whole() -> ConnectionRun {
        let second = |at_s: f64, begun, held, closed| SecondPoint {
            at_s,
            begun,
            opened: begun,
            failed: 0,
            held,
            closed,
        };
        let seconds = vec![
            second(1.003, 50_000, 50_000, 0),
            second(2.002, 50_000, 100_000, 0),
            second(3.001, 0, 100_000, 0),
            second(4.004, 0, 50_000, 50_000),
            second(5.2, 0, 0, 50_000),
        ];
        ConnectionRun {
            asked: 100_000,
            begun: 100_000,
            opened: 100_000,
            closed: 100_000,
            held_most: 100_000,
            seconds,
            ..ConnectionRun::default()
        }
    }

    #[test]
    fn what_ended_well_was_held_at_once() {
        let run = whole();
        assert_eq!((run.held_at_once(), run.opening_per_s(2.0)), (100_000, 50_000.0));
        assert_eq!(ConnectionRun { closed: 70_000, ..run.clone() }.held_at_once(), 70_000);
        assert_eq!(ConnectionRun { held_most: 60_000, ..run.clone() }.held_at_once(), 60_000);
        // Opened in a tenth of the first second.
        assert_eq!(run.opening_per_s(0.1), 500_000.0);
        assert_eq!(ConnectionRun::default().opening_per_s(1.0), 0.0);
    }

    #[test]
    fn a_ramp_counts_while_its_rate_stays() {
        let seconds = [500, 1_000, 990, 1_010, 500, 0].into_iter().enumerate().map(|(index, opened)| {
            SecondPoint { at_s: index as f64 + 1.002, opened, ..SecondPoint::default() }
        });
        let run = ConnectionRun { opened: 4_000, seconds: seconds.collect(), ..ConnectionRun::default() };
        let phases = |up, sustain, down| Phases {
            ramp_up: Duration::from_millis(up),
            sustain: Duration::from_millis(sustain),
            ramp_down: Duration::from_millis(down),
        };
        assert_eq!(run.sustained_per_s(&phases(1_000, 3_000, 1_000)).round(), 1_000.0);
        assert_eq!(run.sustained_per_s(&phases(1_500, 1_000, 1_500)), 1_600.0, "no second lies within");
    }

    #[test]
    fn limits_of_connections_follow_from_what_came_of_them() {
        let fails = |failures| ConnectionRun { failures, ..whole() };
        let none = ConnectionFailures::default();
        let unanswered = fails(ConnectionFailures { no_answer: 10, ..none });
        let few = fails(ConnectionFailures { no_answer: 9, ..none });
        let forgotten = fails(ConnectionFailures { no_answer: 9, reset: 9, wrong_sequence: 1 });
        let mut slow = unanswered.clone();
        slow.seconds.iter_mut().for_each(|second| second.begun = 40_000);
        for (run, limit) in [
            (whole(), Limit::AskedConnections),
            (few, Limit::AskedConnections),
            (unanswered.clone(), Limit::DeviceRings),
            (ConnectionRun { bound: Some(65_536), held_most: 60_000, ..unanswered.clone() }, Limit::Sessions),
            (
                ConnectionRun { bound: Some(65_536), held_most: 50_000, ..unanswered.clone() },
                Limit::DeviceRings,
            ),
            (forgotten, Limit::Forgot),
            (ConnectionRun { begun: 90_000, ..whole() }, Limit::Generator),
            (slow, Limit::Generator),
        ] {
            assert_eq!(run.limit_of_held(&HELD, Limit::DeviceRings), limit, "{run:?}");
        }
        assert_eq!(unanswered.limit_of_ramp(0.0002, Limit::Unknown), Limit::AskedConnections);
        assert_eq!(unanswered.limit_of_ramp(0.0, Limit::Unknown), Limit::Unknown);
        assert!(whole().passes(0.0) && !ConnectionRun::default().passes(0.5));
    }
}
