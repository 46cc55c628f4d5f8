//! When frames are due: a pure function of time, so that nothing drifts.
//!
//! A sender asks how many frames should have been sent by now and sends what is missing. What it could not
//! send for [`CATCH_UP_NS`] is given up and counted: a sender that was kept from its core must not make up
//! for it with a flood that the device under test never asked for.

use std::time::Duration;

use crate::profile::Mode;
use crate::sizes::Sizes;
use crate::units::Rate;

/// How late an evenly sent frame may be: at 0.66 million frames a second 1,320 of them, less than a ring.
pub const CATCH_UP_NS: u64 = 2_000_000;

/// Frames that may always be made up for, however late they are: half a ring of the smallest device.
const CATCH_UP_FRAMES: u64 = 1_024;

/// When the frames of one stream are due.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Evenly; infinitely fast with an infinite rate.
    Even {
        /// Frames each second.
        packets_per_second: f64,
    },
    /// In bursts, each sent from the beginning of a period on.
    Bursts {
        /// Frames of one burst.
        packets: u64,
        /// How many bursts.
        count: u64,
        /// From the beginning of one to that of the next.
        period_ns: u64,
        /// Frames each second inside a burst.
        packets_per_second: f64,
    },
    /// One rate after another: frames each second, and how long in nanoseconds.
    Steps(Vec<(f64, u64)>),
    /// Evenly up from nothing, at one rate, evenly down to nothing.
    Ramp {
        /// Frames each second at the top.
        packets_per_second: f64,
        /// How long it goes up, stays, goes down.
        phases_ns: [u64; 3],
    },
}

impl Schedule {
    /// The schedule of a mode; `None` where it is a share of a link of unknown speed.
    pub fn new(mode: &Mode, sizes: Sizes, link_bits_per_second: Option<u64>) -> Option<Self> {
        let packets = |rate: Rate| rate.packets_per_second(sizes, link_bits_per_second);
        Some(match mode {
            Mode::Continuous { rate } => Self::Even { packets_per_second: packets(*rate)? },
            Mode::Burst { packets: burst, gap, count, rate } => {
                let packets_per_second = packets(*rate)?;
                let burst_ns = (*burst as f64 * 1e9 / packets_per_second) as u64;
                let period_ns = nanoseconds(*gap).saturating_add(burst_ns).max(1);
                Self::Bursts { packets: *burst, count: *count, period_ns, packets_per_second }
            }
            Mode::Steps(steps) => {
                let step =
                    |step: &crate::profile::Step| Some((packets(step.rate)?, nanoseconds(step.duration)));
                Self::Steps(steps.iter().map(step).collect::<Option<_>>()?)
            }
            Mode::Ramp { rate, phases } => {
                Self::Ramp { packets_per_second: packets(*rate)?, phases_ns: phases.map(nanoseconds) }
            }
        })
    }

    /// How many frames should have been sent in the first `elapsed_ns`.
    #[inline]
    pub fn due(&self, elapsed_ns: u64) -> u64 {
        match self {
            Self::Even { packets_per_second } => due_evenly(*packets_per_second, elapsed_ns),
            Self::Bursts { packets, count, period_ns, packets_per_second } => {
                let whole = (elapsed_ns / period_ns).min(*count);
                let begun = if whole < *count {
                    // The first frame of a burst is due as it begins.
                    due_evenly(*packets_per_second, elapsed_ns % period_ns + 1).min(*packets)
                } else {
                    0
                };
                whole * packets + begun
            }
            Self::Steps(steps) => {
                let mut rest_ns = elapsed_ns;
                let mut due = 0;
                for &(packets_per_second, step_ns) in steps {
                    due += due_evenly(packets_per_second, rest_ns.min(step_ns));
                    rest_ns = rest_ns.saturating_sub(step_ns);
                }
                due
            }
            Self::Ramp { packets_per_second, phases_ns } => {
                (packets_per_second * top_seconds(*phases_ns, elapsed_ns)).ceil() as u64
            }
        }
    }

    /// Frames each second on the average of the first `elapsed_ns`; `None` when it was as fast as possible.
    pub fn asked_per_second(&self, elapsed_ns: u64) -> Option<f64> {
        let is_endless =
            matches!(self, Self::Even { packets_per_second } if packets_per_second.is_infinite());
        (!is_endless && elapsed_ns > 0).then(|| self.due(elapsed_ns) as f64 * 1e9 / elapsed_ns as f64)
    }

    /// Whether the last frame of the schedule itself is due by `elapsed_ns`.
    pub fn is_over(&self, elapsed_ns: u64) -> bool {
        match self {
            Self::Even { .. } => false,
            Self::Bursts { packets, count, .. } => self.due(elapsed_ns) >= packets * count,
            Self::Steps(steps) => elapsed_ns >= steps.iter().map(|(_, step_ns)| step_ns).sum(),
            Self::Ramp { phases_ns, .. } => elapsed_ns >= phases_ns.iter().sum(),
        }
    }

    /// How many frames are so late that they are not sent any more.
    #[inline]
    fn too_late(&self, elapsed_ns: u64) -> u64 {
        match self {
            // A burst is as long as it takes.
            Self::Bursts { .. } => 0,
            Self::Even { packets_per_second } if packets_per_second.is_infinite() => 0,
            Self::Even { .. } | Self::Steps(_) | Self::Ramp { .. } => {
                let by_time = self.due(elapsed_ns.saturating_sub(CATCH_UP_NS));
                by_time.min(self.due(elapsed_ns).saturating_sub(CATCH_UP_FRAMES))
            }
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Frames begun in the first `elapsed_ns`: the first at once, the next one an interval later.
#[inline]
fn due_evenly(packets_per_second: f64, elapsed_ns: u64) -> u64 {
    if elapsed_ns == 0 {
        return 0;
    }
    // Saturates where the rate is infinite.
    (packets_per_second * elapsed_ns as f64 / 1e9).ceil() as u64
}

/// Seconds at the top of a ramp that send as much as its first `elapsed_ns`.
#[inline]
fn top_seconds([up_ns, sustain_ns, down_ns]: [u64; 3], elapsed_ns: u64) -> f64 {
    let begun = |before_ns: u64, phase_ns: u64| elapsed_ns.saturating_sub(before_ns).min(phase_ns) as f64;
    let (up, sustain) = (begun(0, up_ns), begun(up_ns, sustain_ns));
    let down = begun(up_ns + sustain_ns, down_ns);
    // Halves of squares: the rate grows with time. A phase that takes no time has sent nothing.
    let rising = up * up / (2.0 * (up_ns.max(1)) as f64);
    let falling = down - down * down / (2.0 * (down_ns.max(1)) as f64);
    (rising + sustain + falling) / 1e9
}

/// A schedule in the hands of a sender.
#[derive(Clone, Debug)]
pub struct Pacer {
    schedule: Schedule,
    sent: u64,
    given_up: u64,
}

impl Pacer {
    /// Nothing sent yet.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, sent: 0, given_up: 0 }
    }

    /// How many frames to send now.
    #[inline]
    pub fn wanted(&mut self, elapsed_ns: u64) -> u64 {
        let settled = self.sent + self.given_up;
        self.given_up += self.schedule.too_late(elapsed_ns).saturating_sub(settled);
        self.schedule.due(elapsed_ns).saturating_sub(self.sent + self.given_up)
    }

    /// Notes that frames were sent.
    #[inline]
    pub fn note_sent(&mut self, count: u64) {
        self.sent += count;
    }

    /// Frames that were due and never sent.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Whether nothing will ever be wanted again.
    pub fn is_over(&self, elapsed_ns: u64) -> bool {
        self.schedule.is_over(elapsed_ns) && self.sent + self.given_up >= self.schedule.due(elapsed_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn an_even_stream_sends_exactly_its_rate() {
        let schedule = Schedule::Even { packets_per_second: 1_000.0 };
        assert_eq!(schedule.due(0), 0);
        assert_eq!(schedule.due(1), 1);
        assert_eq!(schedule.due(1_000_000), 1);
        assert_eq!(schedule.due(1_000_001), 2);
        assert_eq!(schedule.due(2 * SECOND_NS), 2_000);
        assert_eq!(Schedule::Even { packets_per_second: f64::INFINITY }.due(1), u64::MAX);
    }

    #[test]
    fn bursts_are_whole_and_gaps_are_empty() {
        let bursts = |rate| Mode::Burst { packets: 10, gap: Duration::from_millis(5), count: 3, rate };
        let sizes = Sizes::Fixed(64);
        let at_once = Schedule::new(&bursts(Rate::Max), sizes, None);
        let at_once = at_once
            .as_ref()
            .map(|schedule| [0, 4_999_999, 5_000_000, 14_000_000, 99_000_000].map(|at| schedule.due(at)));
        assert_eq!(at_once, Some([10, 10, 20, 30, 30]));
        let paced = Schedule::new(&bursts(Rate::Packets(10_000.0)), sizes, None);
        let paced = paced
            .as_ref()
            .map(|schedule| [0, 450_000, 1_000_000, 5_999_999, 6_000_000].map(|at| schedule.due(at)));
        assert_eq!(paced, Some([1, 5, 10, 10, 11]));
    }

    #[test]
    fn steps_follow_each_other_and_end() {
        let schedule = Schedule::Steps(vec![(1_000.0, SECOND_NS), (3_000.0, SECOND_NS)]);
        assert_eq!(
            [SECOND_NS, SECOND_NS + SECOND_NS / 2, 9 * SECOND_NS].map(|at| schedule.due(at)),
            [1_000, 2_500, 4_000]
        );
        assert!(!schedule.is_over(2 * SECOND_NS - 1) && schedule.is_over(2 * SECOND_NS));
        assert_eq!(schedule.asked_per_second(2 * SECOND_NS), Some(2_000.0));
    }

    #[test]
    fn a_ramp_goes_up_stays_and_goes_down() {
        let ramp = |phases_ns| Schedule::Ramp { packets_per_second: 1_000.0, phases_ns };
        let schedule = ramp([2 * SECOND_NS, 3 * SECOND_NS, SECOND_NS]);
        let at = |half_seconds: u64| schedule.due(half_seconds * SECOND_NS / 2);
        // Half of the second that goes up is a quarter of it.
        assert_eq!([0, 2, 4, 6, 10, 11, 12, 99].map(at), [0, 250, 1_000, 2_000, 4_000, 4_375, 4_500, 4_500]);
        assert!(!schedule.is_over(6 * SECOND_NS - 1) && schedule.is_over(6 * SECOND_NS));
        assert_eq!(ramp([0, SECOND_NS, 0]).due(SECOND_NS / 2), 500);
        assert_eq!(ramp([0, SECOND_NS, 0]).due(2 * SECOND_NS), 1_000);
    }

    #[test]
    fn what_is_too_late_is_given_up_and_counted() {
        let mut pacer = Pacer::new(Schedule::Even { packets_per_second: 1e6 });
        assert_eq!(pacer.wanted(1_000_000), 1_000);
        pacer.note_sent(1_000);
        // 8,000 became due in a stall of 8 ms; those of the last 2 ms are sent.
        assert_eq!(pacer.wanted(9_000_000), 2_000);
        assert_eq!(pacer.given_up(), 6_000);
        assert_eq!(pacer.wanted(9_000_000), 2_000);
        let mut slow = Pacer::new(Schedule::Even { packets_per_second: 1e5 });
        assert_eq!((slow.wanted(10_000_000), slow.given_up()), (1_000, 0), "so few are made up for");
        assert_eq!((slow.wanted(20_000_000), slow.given_up()), (1_024, 976));
    }

    proptest! {
        #[test]
        fn what_is_sent_and_given_up_is_what_was_due(
            rate in 1.0f64..2e6, turns in proptest::collection::vec((0u64..5_000_000, 0u64..64), 1..200),
        ) {
            let mut pacer = Pacer::new(Schedule::Even { packets_per_second: rate });
            let (mut now_ns, mut sent) = (0, 0);
            for (step_ns, batch) in turns {
                now_ns += step_ns;
                let wanted = pacer.wanted(now_ns);
                prop_assert_eq!(sent + pacer.given_up() + wanted, pacer.schedule().due(now_ns));
                let now = wanted.min(batch);
                pacer.note_sent(now);
                sent += now;
            }
        }
    }
}
