//! Other hosts that claim addresses of ours: the ARP problem of direct server return, caught in the act (RFC 5227
//! section 2.4).
//!
//! A server that answers ARP or neighbour discovery for the VIP that it holds takes traffic past the appliance. Each such
//! MAC is said once in the log, counted, and shown by `show neighbours`, until it has been silent for a while although
//! [`crate::announce`] keeps asking. Control thread only.

use crate::announce::QUESTION_INTERVAL;
use hashbrown::HashMap;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use wire::Mac;

/// Claims that are remembered at the most; a further one is logged each time it is noticed.
const CONFLICTS_MAX: usize = 256;

/// How long a claim is remembered: who leaves so many questions unanswered in a row has given the address up.
const MEMORY: Duration = QUESTION_INTERVAL.saturating_mul(5);

/// A claim: at which leg, which address, by which MAC.
pub(super) type Claim = (u16, IpAddr, Mac);

struct Noticed {
    times: u64,
    last: Instant,
}

/// All claims that were noticed of late.
#[derive(Default)]
pub(super) struct Conflicts {
    claims: HashMap<Claim, Noticed>,
}

impl Conflicts {
    /// Notes a claim; true when it is to be logged.
    pub fn note(&mut self, now: Instant, claim: Claim) -> bool {
        if let Some(noticed) = self.claims.get_mut(&claim) {
            noticed.times += 1;
            noticed.last = now;
            return false;
        }
        if self.claims.len() < CONFLICTS_MAX {
            self.claims.insert(claim, Noticed { times: 1, last: now });
        }
        true
    }

    /// Forgets the claims that nobody has made for a while, and says which.
    pub fn forget_old(&mut self, now: Instant) -> Vec<Claim> {
        let is_old = |noticed: &Noticed| now.saturating_duration_since(noticed.last) > MEMORY;
        self.claims.extract_if(|_, noticed| is_old(noticed)).map(|(claim, _)| claim).collect()
    }

    /// How many claims there are.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// A row each for `show neighbours`; `name` says how a leg is called.
    pub fn rows(&self, now: Instant, name: impl Fn(u16) -> Option<String>) -> Vec<Value> {
        let mut claims: Vec<_> = self.claims.iter().collect();
        claims.sort_by_key(|((leg, address, mac), _)| (*leg, *address, mac.0));
        let row = |(&(leg, address, mac), noticed): (&Claim, &Noticed)| {
            json!({
                "port": name(leg),
                "address": address,
                "mac": mac.to_string(),
                "state": format!(
                    "noticed {} times, last {} s ago",
                    noticed.times,
                    now.saturating_duration_since(noticed.last).as_secs()
                ),
                "kind": "conflict",
            })
        };
        claims.into_iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_logged_once_and_counted_each_time() {
        let (mut conflicts, now) = (Conflicts::default(), Instant::now());
        let claim = (0, IpAddr::from([198, 18, 0, 10]), Mac([2, 0, 0, 0, 0, 9]));
        assert!(conflicts.note(now, claim));
        assert!(!conflicts.note(now, claim));
        assert!(conflicts.note(now, (0, claim.1, Mac([2, 0, 0, 0, 0, 8]))), "another MAC");
        assert_eq!(conflicts.len(), 2);
        let rows = conflicts.rows(now, |_| Some("arm".to_owned()));
        assert_eq!(rows[1]["state"], "noticed 2 times, last 0 s ago");
        assert_eq!(rows[0]["mac"], "02:00:00:00:00:08");
    }

    #[test]
    fn a_claim_ends_when_it_is_not_made_for_a_while_and_is_logged_when_it_comes_back() {
        let (mut conflicts, start) = (Conflicts::default(), Instant::now());
        let claim = |last| (0, IpAddr::from([198, 18, 0, 10]), Mac([2, 0, 0, 0, 0, last]));
        conflicts.note(start, claim(9));
        conflicts.note(start, claim(8));
        conflicts.note(start + QUESTION_INTERVAL, claim(8));
        assert_eq!(conflicts.forget_old(start + MEMORY), []);
        assert_eq!(conflicts.forget_old(start + MEMORY + QUESTION_INTERVAL), [claim(9)]);
        assert_eq!(conflicts.len(), 1);
        assert!(conflicts.note(start + 2 * MEMORY, claim(9)));
    }

    #[test]
    fn a_flood_of_claims_is_bounded() {
        let (mut conflicts, now) = (Conflicts::default(), Instant::now());
        for number in 0..2 * CONFLICTS_MAX as u32 {
            conflicts.note(now, (0, IpAddr::from(number.to_be_bytes()), Mac::ZERO));
        }
        assert_eq!(conflicts.len(), CONFLICTS_MAX);
    }
}
