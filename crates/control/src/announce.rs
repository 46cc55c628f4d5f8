//! Telling the link where our addresses are: gratuitous ARP (RFC 5227 section 2.3) and unsolicited neighbour
//! advertisements (RFC 4861 section 7.2.6), when an address becomes ours and when a link comes back.
//!
//! Pure: says which frames are due, and when the next ones are. Control thread only.

mod frames;

use frames::announcement;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use wire::Mac;

/// Announcements of one address: one may be lost, and switches learn slowly while a link comes up.
const REPETITIONS: u32 = 4;

/// Time between two announcements of one address (RFC 5227: ANNOUNCE_INTERVAL).
const INTERVAL: Duration = Duration::from_secs(2);

/// Announcements that leave at once at the most; with more addresses the rest follows a moment later, so that switches
/// are not flooded.
const BURST_MAX: usize = 256;
const BURST_PAUSE: Duration = Duration::from_millis(100);

/// An address on a port.
pub type Place = (u16, IpAddr);

#[derive(Clone, Copy, Debug)]
struct Pending {
    mac: Mac,
    left: u32,
    due: Instant,
}

/// What is still to be announced.
#[derive(Debug, Default)]
pub struct Announcer {
    announced: BTreeMap<Place, Mac>,
    pending: BTreeMap<Place, Pending>,
}

impl Announcer {
    /// Makes these the announced addresses: new ones, and those whose port has another MAC now, are announced.
    pub fn set(&mut self, now: Instant, places: BTreeMap<Place, Mac>) {
        for (&place, &mac) in &places {
            if self.announced.get(&place) != Some(&mac) {
                self.pending.insert(place, Pending { mac, left: REPETITIONS, due: now });
            }
        }
        self.pending.retain(|place, _| places.contains_key(place));
        self.announced = places;
    }

    /// Announces everything on `port` anew: its link came back.
    pub fn renew(&mut self, now: Instant, port: u16) {
        for (&place, &mac) in self.announced.iter().filter(|((own, _), _)| *own == port) {
            self.pending.insert(place, Pending { mac, left: REPETITIONS, due: now });
        }
    }

    /// The frames that are due, each with its port.
    pub fn due(&mut self, now: Instant) -> Vec<(u16, Vec<u8>)> {
        let mut frames = Vec::new();
        for (&(port, address), pending) in &mut self.pending {
            if pending.due > now {
                continue;
            }
            if frames.len() == BURST_MAX {
                pending.due = now + BURST_PAUSE;
                continue;
            }
            frames.extend(announcement(pending.mac, address).map(|frame| (port, frame)));
            pending.left -= 1;
            pending.due = now + INTERVAL;
        }
        self.pending.retain(|_, pending| pending.left > 0);
        frames
    }

    /// When the next frames are due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::build;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn places(addresses: &[&str]) -> BTreeMap<Place, Mac> {
        addresses.iter().map(|address| ((0, address.parse().unwrap()), MAC)).collect()
    }

    #[test]
    fn a_new_address_is_announced_four_times_two_seconds_apart_and_an_old_one_never_again() {
        let start = Instant::now();
        let mut announcer = Announcer::default();
        announcer.set(start, places(&["198.18.0.10", "2001:db8::10"]));
        for repetition in 0..REPETITIONS {
            let now = start + INTERVAL * repetition;
            assert_eq!(announcer.next_deadline(), Some(now));
            let frames = announcer.due(now);
            assert_eq!(frames[0].1, build::gratuitous_arp(MAC, [198, 18, 0, 10].into()));
            assert_eq!(frames[1].1, build::unsolicited_advertisement(MAC, "2001:db8::10".parse().unwrap()));
            assert!(announcer.due(now).is_empty());
        }
        assert_eq!(announcer.next_deadline(), None);
        announcer.set(start, places(&["198.18.0.10"]));
        assert!(announcer.due(start + INTERVAL * 9).is_empty());
    }

    #[test]
    fn a_link_that_comes_back_hears_all_and_a_given_up_address_is_not_spoken_of() {
        let start = Instant::now();
        let mut announcer = Announcer::default();
        announcer.set(start, places(&["198.18.0.10", "198.18.0.11"]));
        announcer.set(start, places(&["198.18.0.11"]));
        assert_eq!(announcer.due(start).len(), 1);
        announcer.renew(start, 1);
        assert!(announcer.due(start).is_empty());
        announcer.renew(start, 0);
        assert_eq!(announcer.due(start).len(), 1);
    }

    #[test]
    fn many_addresses_leave_in_bounded_bursts() {
        let start = Instant::now();
        let mut announcer = Announcer::default();
        let many = (0..600u32).map(|n| ((0, IpAddr::from((0xc612_0000 + n).to_be_bytes())), MAC)).collect();
        announcer.set(start, many);
        assert_eq!(announcer.due(start).len(), BURST_MAX);
        assert_eq!(announcer.next_deadline(), Some(start + BURST_PAUSE));
        assert_eq!(announcer.due(start + BURST_PAUSE).len(), BURST_MAX);
    }
}
