//! How soon servers answer their checks, for `scheduler = "response-time"` where traffic does not tell: in the DSR modes,
//! for UDP, and for a server that has had no session since its last check. Else a server that was slow once, and so got
//! no sessions, would be taken for slow for ever.

use super::Controller;
use super::world::Rings;
use config::Scheduler;
use hashbrown::HashMap;
use rewrite::MemberId;
use std::time::{Duration, Instant};

/// What was known of a server when it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    last_check: Option<Instant>,
    connects: u64,
}

impl Seen {
    /// What a check of `now` says, if traffic has said nothing since the look before.
    fn take(&mut self, now: Seen, response: Option<Duration>) -> Option<Duration> {
        let before = std::mem::replace(self, now);
        let is_new = now.last_check != before.last_check;
        response.filter(|_| is_new && now.connects == before.connects)
    }
}

/// All servers that are chosen by their response time.
#[derive(Debug, Default)]
pub(super) struct Responses(HashMap<MemberId, Seen>);

impl<R: Rings> Controller<R> {
    /// Hands on what checks have measured since the last call.
    pub(super) fn hand_on_responses(&mut self) {
        let mut known = std::mem::take(&mut self.responses.0);
        let by_response = |service: &&config::Service| service.scheduler == Scheduler::ResponseTime;
        for service in self.config.services.iter().filter(by_response) {
            for (key, member) in self.members.of_service(&service.name) {
                let Some(status) = self.check_status(key) else { continue };
                let totals = self.totals.of(&self.workers, &self.shared.loads, member.id);
                let now = Seen { last_check: status.last_check, connects: totals.connects_made };
                let mut seen = known.remove(&member.id).unwrap_or_default();
                let good = status.response_time.filter(|_| status.reason.is_none());
                if let Some(response) = seen.take(now, good) {
                    self.shared.loads.note_response(member.id, response.as_nanos() as u64);
                }
                self.responses.0.insert(member.id, seen);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_counts_once_and_only_where_traffic_is_silent() {
        let (start, response) = (Instant::now(), Some(Duration::from_millis(3)));
        let at = |seconds: u64, connects| Seen {
            last_check: Some(start + Duration::from_secs(seconds)),
            connects,
        };
        let mut seen = Seen::default();
        assert_eq!(seen.take(at(0, 0), response), response);
        assert_eq!(seen.take(at(0, 0), response), None, "the same check");
        assert_eq!(seen.take(at(3, 5), response), None, "traffic has told");
        assert_eq!(seen.take(at(6, 5), response), response);
        assert_eq!(seen.take(at(9, 5), None), None, "it failed");
    }
}
