//! In which order trials run: devices take turns, so that a machine that drifts drifts for all alike.
//!
//! `for each round, trial, setting: device A, B, C`: what is compared stands side by side in time, and each round is a
//! whole comparison of its own. A ratio is taken within a round and never across rounds.

use std::time::Duration;

use crate::profile::{Client, Method, Profile, Setting, Trial};
use crate::search::{BackToBack, BackToBackSettings, LossCurve, Throughput, ThroughputSettings};

/// What building and removing a device takes, about.
const DEVICE_SETUP: Duration = Duration::from_millis(1_500);

/// What a run of the generator takes beyond its duration, about.
const RUN_OVERHEAD: Duration = Duration::from_millis(400);

/// One device's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// From 1.
    pub round: u32,
    /// Index into the profile's trials.
    pub trial: usize,
    /// What frames have in common.
    pub setting: Setting,
    /// Index into the profile's devices.
    pub device: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This turn.
    Step(Step),
    /// Nothing: all is done.
    Finished,
    /// Nothing: another round would probably end after the time budget. So many rounds are whole.
    OutOfTime {
        /// Rounds that are whole.
        rounds: u32,
    },
}

/// Hands out turns, and decides before each round whether there is time for it.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The turns of one round, with `round` 0.
    turns: Vec<Step>,
    rounds: u32,
    budget: Option<Duration>,
    /// The turn that comes next, over all rounds.
    position: usize,
    round_began: Duration,
    longest_round: Duration,
}

impl Schedule {
    /// The turns of `profile`.
    pub fn new(profile: &Profile) -> Schedule {
        let turns = profile.trials.iter().enumerate().flat_map(|(trial, Trial { settings, devices, .. })| {
            let pairs = settings.iter().flat_map(|setting| devices.iter().map(|device| (*setting, *device)));
            pairs.map(move |(setting, device)| Step { round: 0, trial, setting, device })
        });
        Schedule {
            turns: turns.collect(),
            rounds: profile.rounds,
            budget: profile.time_budget,
            position: 0,
            round_began: Duration::ZERO,
            longest_round: Duration::ZERO,
        }
    }

    /// The next turn. `elapsed` is the time since the bench began. The first round always runs whole; another begins only
    /// if as long a round as the longest so far still ends within the budget.
    pub fn next(&mut self, elapsed: Duration) -> Next {
        let count = self.turns.len().max(1);
        let done = u32::try_from(self.position / count).unwrap_or(u32::MAX);
        if self.position.is_multiple_of(count) {
            if done > 0 {
                self.longest_round = self.longest_round.max(elapsed.saturating_sub(self.round_began));
            }
            if done >= self.rounds || self.turns.is_empty() {
                return Next::Finished;
            }
            if done > 0 && self.budget.is_some_and(|budget| elapsed + self.longest_round > budget) {
                return Next::OutOfTime { rounds: done };
            }
            self.round_began = elapsed;
        }
        let step = self.turns[self.position % count];
        self.position += 1;
        Next::Step(Step { round: done + 1, ..step })
    }

    /// Turns of all rounds.
    pub fn turns(&self) -> usize {
        self.turns.len() * self.rounds as usize
    }

    /// How long all rounds take at the most, about; searches usually need half their trials or fewer.
    pub fn estimate(profile: &Profile) -> Duration {
        let round: Duration = profile
            .trials
            .iter()
            .map(|trial| {
                // Bounded by the limits of a profile: some thousands.
                let turns = (trial.settings.len() * trial.devices.len()) as u32;
                (DEVICE_SETUP + duration_max(&trial.method)) * turns
            })
            .sum();
        round * profile.rounds
    }
}

/// The longest that one turn takes, less what building the device takes.
fn duration_max(method: &Method) -> Duration {
    match method {
        Method::Throughput { duration, resolution, acceptable_loss, retries, verify, .. } => {
            let settings = ThroughputSettings {
                highest_pps: 1.0,
                resolution: *resolution,
                acceptable_loss: *acceptable_loss,
                duration: *duration,
                retries: *retries,
                verify: *verify,
            };
            (*duration + RUN_OVERHEAD) * Throughput::trials_max(&settings) + verify.unwrap_or_default()
        }
        Method::LossCurve { duration, step, .. } => (*duration + RUN_OVERHEAD) * LossCurve::points_max(*step),
        Method::BackToBack { searches, longest_packets, resolution, settle } => {
            let (searches, longest_packets) = (*searches, *longest_packets);
            let settings =
                BackToBackSettings { searches, longest_packets, resolution: *resolution, settle: *settle };
            let bursts = u32::try_from(BackToBack::bursts_max(&settings)).unwrap_or(u32::MAX);
            (*settle + RUN_OVERHEAD) * bursts
        }
        Method::ConnectionRate(rate) if rate.client == Client::Wrk => rate.phases.sustain + RUN_OVERHEAD,
        Method::ConnectionRate(rate) => {
            let settings = crate::search::ConnectionRateSettings {
                start_per_s: rate.start_per_s,
                highest_per_s: rate.highest_per_s,
                resolution: rate.resolution,
                failures_max: rate.failures_max,
                phases: rate.phases,
            };
            let steps = crate::search::ConnectionRate::steps_max(&settings);
            (rate.phases.total() + RUN_OVERHEAD) * steps
        }
        Method::ConcurrentConnections(held) => held.opening() * 2 + held.hold() + RUN_OVERHEAD,
        Method::Ramp { phases, .. } => phases.total() + RUN_OVERHEAD,
        // A gigabit a second at the least.
        Method::Transfer { bytes, .. } => Duration::from_secs(bytes / 125_000_000) + RUN_OVERHEAD,
        Method::Latency { duration, .. }
        | Method::Flood { duration, .. }
        | Method::NewFlows { duration, .. }
        | Method::RoundTrip { duration }
        | Method::Idle { duration } => *duration + RUN_OVERHEAD,
    }
}
