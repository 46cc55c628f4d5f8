//! Which flows drifted: were seen over two firewalls of a group while both lived. It must be none.
//!
//! Workers count every packet that comes over another firewall than its flow's own, as long as both count as up here. But
//! the two ends notice a failure at different times, and until both have, one moves flows that the other still expects
//! where they were. So what is counted shortly before or after a firewall of the group changes its state is no drift:
//!
//! ```text
//!    counted here: drift │◀── window ──▶│◀── window ──▶│ counted here: drift
//!   ─────────────────────┴──────────────┴──────────────┴────────────────────▶ time
//!                                  a state changes
//! ```
//!
//! Hence a count is believed only when it has waited for a window. A window is as long as either end may take to notice.
//! Pure: time is a parameter. Control thread only.

use config::HealthCheck;
use hashbrown::HashMap;
use rewrite::MemberId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The window of a group whose firewalls are not probed, and the least of any: a change reaches both ends by hand or by
/// reload.
const WINDOW_MIN: Duration = Duration::from_secs(1);

/// Flows that wait to be named at the most: one is named at a time.
const FLOWS_WAITING_MAX: usize = 64;

/// How long a change of a firewall's state may take until both ends have noticed it.
pub(super) fn window(check: Option<&HealthCheck>) -> Duration {
    let Some(check) = check else { return WINDOW_MIN };
    let down = check.interval * check.retries.saturating_add(1) + check.response_time;
    let up = check.interval.max(check.dead_interval) * check.rise;
    down.max(up).max(WINDOW_MIN)
}

/// What was counted at one firewall.
#[derive(Debug, Default)]
struct Count {
    /// Where the counter stood.
    seen: u64,
    waiting: VecDeque<(Instant, u64)>,
    confirmed: u64,
}

/// One group. `T` names a flow.
#[derive(Debug)]
pub(super) struct Drift<T> {
    window: Duration,
    /// What is counted until then is no drift.
    forgiven_until: Instant,
    /// When the counters were read last.
    sampled: Option<Instant>,
    counts: HashMap<MemberId, Count>,
    flows: VecDeque<(Instant, T)>,
    last_flow: Option<T>,
}

impl<T> Drift<T> {
    /// A group that begins now, which is a change of state like any other.
    pub fn new(now: Instant, window: Duration) -> Self {
        Self {
            window,
            forgiven_until: now + window,
            sampled: None,
            counts: HashMap::new(),
            flows: VecDeque::new(),
            last_flow: None,
        }
    }

    /// Another window from now on.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// A firewall of the group has changed its state just now. Gives back how much drift had waited for long enough.
    pub fn note_change(&mut self, now: Instant) -> u64 {
        let confirmed = self.confirm(now);
        // What is left has waited for less than a window.
        self.counts.values_mut().for_each(|count| count.waiting.clear());
        self.flows.clear();
        self.forgiven_until = self.forgiven_until.max(now + self.window);
        confirmed
    }

    /// A worker has told which flow it counted.
    pub fn note_flow(&mut self, now: Instant, flow: T) {
        if now > self.forgiven_until {
            if self.flows.len() == FLOWS_WAITING_MAX {
                self.flows.pop_front();
            }
            self.flows.push_back((now, flow));
        }
    }

    /// The counters of all firewalls of the group as they stand now. Gives back how much drift that has confirmed.
    pub fn sample(&mut self, now: Instant, counters: &[(MemberId, u64)]) -> u64 {
        // What grew since the last look may have grown right after it.
        let is_forgiven = self.sampled.is_none_or(|before| before <= self.forgiven_until);
        self.sampled = Some(now);
        self.counts.retain(|member, _| counters.iter().any(|(other, _)| other == member));
        for &(member, counted) in counters {
            let count = self.counts.entry(member).or_default();
            let grown = counted.saturating_sub(std::mem::replace(&mut count.seen, counted));
            if grown > 0 && !is_forgiven {
                count.waiting.push_back((now, grown));
            }
        }
        self.confirm(now)
    }

    /// Believes what has waited for long enough.
    fn confirm(&mut self, now: Instant) -> u64 {
        let window = self.window;
        let has_waited = move |since: Instant| since + window < now;
        let mut fresh = 0;
        for count in self.counts.values_mut() {
            while let Some((_, grown)) = count.waiting.pop_front_if(|(since, _)| has_waited(*since)) {
                count.confirmed += grown;
                fresh += grown;
            }
        }
        while let Some((_, flow)) = self.flows.pop_front_if(|(since, _)| has_waited(*since)) {
            self.last_flow = Some(flow);
        }
        fresh
    }

    /// Flows of this firewall that drifted.
    pub fn drifted_flows(&self, member: MemberId) -> u64 {
        self.counts.get(&member).map_or(0, |count| count.confirmed)
    }

    /// The last of them that is known by name.
    pub fn last_flow(&self) -> Option<&T> {
        self.last_flow.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: MemberId = MemberId { index: 0, generation: 0 };
    const TWO: MemberId = MemberId { index: 1, generation: 0 };

    /// A group with a window of ten seconds, read every second.
    struct Bench {
        drift: Drift<&'static str>,
        start: Instant,
        second: u64,
        counted: [u64; 2],
    }

    impl Bench {
        fn new() -> Self {
            let start = Instant::now();
            Self { drift: Drift::new(start, Duration::from_secs(10)), start, second: 0, counted: [0; 2] }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_secs(self.second)
        }

        /// Reads the counters every second until `second`; gives back what was confirmed meanwhile.
        fn until(&mut self, second: u64) -> u64 {
            let mut confirmed = 0;
            while self.second < second {
                self.second += 1;
                let counters = [(ONE, self.counted[0]), (TWO, self.counted[1])];
                confirmed += self.drift.sample(self.now(), &counters);
            }
            confirmed
        }
    }

    #[test]
    fn what_is_counted_in_quiet_times_is_drift_a_window_later() {
        let mut bench = Bench::new();
        bench.until(60);
        bench.counted = [2, 1];
        bench.drift.note_flow(bench.now(), "flow");
        assert_eq!(bench.until(71), 0);
        assert_eq!((bench.drift.drifted_flows(ONE), bench.drift.last_flow()), (0, Some(&"flow")));
        assert_eq!(bench.until(80), 3);
        assert_eq!([ONE, TWO].map(|member| bench.drift.drifted_flows(member)), [2, 1]);
        assert_eq!(bench.until(200), 0, "and once only");
    }

    #[test]
    fn what_is_counted_within_a_window_of_a_change_is_none() {
        // The change comes at 60; counted is between one look and the next.
        let cases = [40, 49, 50, 59, 60, 61, 70, 72].map(|second| (second, !(50..=70).contains(&second)));
        for (counted_at, drifted) in cases {
            let mut bench = Bench::new();
            for second in 1..200 {
                if second == counted_at {
                    bench.counted[0] += 1;
                }
                bench.until(second);
                if second == counted_at {
                    bench.drift.note_flow(bench.now(), "flow");
                }
                if second == 60 {
                    bench.drift.note_change(bench.now());
                }
            }
            assert_eq!(bench.drift.drifted_flows(ONE), u64::from(drifted), "counted at {counted_at}");
            assert_eq!(bench.drift.last_flow().is_some(), drifted, "counted at {counted_at}");
        }
    }

    #[test]
    fn a_flapping_firewall_forgives_again_and_what_was_believed_before_stays() {
        let mut bench = Bench::new();
        bench.until(60);
        bench.counted[0] = 5;
        bench.until(80);
        for second in [81, 89, 97, 105] {
            bench.until(second);
            bench.drift.note_change(bench.now());
            bench.counted[0] += 1;
        }
        assert_eq!(bench.until(300), 0);
        assert_eq!(bench.drift.drifted_flows(ONE), 5);
    }

    #[test]
    fn a_new_group_and_a_new_holder_of_a_row_begin_at_nothing() {
        let mut bench = Bench::new();
        bench.counted = [7, 0];
        assert_eq!(bench.until(60), 0, "what was there before");
        bench.counted = [9, 0];
        assert_eq!(bench.until(80), 2);
        let next = MemberId { generation: 1, ..ONE };
        bench.drift.sample(bench.now(), &[(next, 0)]);
        assert_eq!([ONE, next].map(|member| bench.drift.drifted_flows(member)), [0, 0]);
    }

    #[test]
    fn a_window_is_as_long_as_either_end_may_take() {
        let text =
            "[[port]]\nname = \"a\"\ninterface = \"eth1\"\n[[health_check]]\nname = \"c\"\nkind = \"icmp\"\n";
        let check = |keys: &str| {
            let outcome = config::parse(&(text.to_owned() + keys), "test.toml");
            outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics)).health_checks.remove(0)
        };
        let of = |keys: &str| window(Some(&check(keys))).as_millis();
        assert_eq!(window(None), WINDOW_MIN);
        assert_eq!(of("interval = \"200ms\"\nresponse_time = \"100ms\"\nretries = 2\n"), 1_000);
        assert_eq!(of("interval = \"3s\"\nresponse_time = \"1s\"\nretries = 2\n"), 10_000);
        assert_eq!(
            of("interval = \"1s\"\nresponse_time = \"1s\"\nretries = 0\nrise = 4\ndead_interval = \"5s\"\n"),
            20_000
        );
    }
}
