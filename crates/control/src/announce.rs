//! Telling the link where our addresses are: gratuitous ARP (RFC 5227 section 2.3) and unsolicited neighbour
//! advertisements (RFC 4861 section 7.2.6), when an address becomes ours and when a link comes back.
//!
//! And asking the link for them, with each announcement and every minute from then on: a host that answers claims what is
//! ours. A server that holds the VIP and answers for it speaks only to who asks, so without a question of our own nobody
//! would notice. Linux answers ARP for an address of any of its devices, but not for a sender without an address (a probe
//! of RFC 5227), hence the leg's own. A solicitation it answers only for an address of the very device, which is the one
//! way in which it can go wrong there.
//!
//! Pure: says which frames are due, and when the next ones are. Control thread only.

mod frames;

use crate::facts::{Address, Facts, InterfaceIndex, Prefix};
use frames::{announcement, question};
use hashbrown::HashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use wire::Mac;

/// Announcements of one address: one may be lost, and switches learn slowly while a link comes up.
const REPETITIONS: u32 = 4;

/// Time between two announcements of one address (RFC 5227: ANNOUNCE_INTERVAL).
const INTERVAL: Duration = Duration::from_secs(2);

/// Time between two questions for one address, once it is announced.
pub(crate) const QUESTION_INTERVAL: Duration = Duration::from_secs(60);

/// Addresses that are spoken of at once at the most; with more of them the rest follows a moment later, so that switches
/// are not flooded.
const BURST_MAX: usize = 128;
const BURST_PAUSE: Duration = Duration::from_millis(100);

/// An address on a port.
pub type Place = (u16, IpAddr);

/// As whom the appliance speaks of an address on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The port's MAC.
    pub mac: Mac,
    /// The port's own address, to ask from; without one nobody is asked.
    pub own: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    speaker: Speaker,
    announcements_left: u32,
    due: Instant,
}

/// What is to be announced and asked for, and when.
#[derive(Debug, Default)]
pub struct Announcer {
    turns: BTreeMap<Place, Turn>,
    /// Every turn by the time at which it is due.
    queue: BTreeSet<(Instant, Place)>,
    paused_until: Option<Instant>,
}

impl Announcer {
    /// Makes these the announced addresses: new ones, and those whose port has another MAC now, are announced.
    pub fn set(&mut self, now: Instant, places: &BTreeMap<Place, Speaker>) {
        for (&place, &speaker) in places {
            match self.turns.get_mut(&place) {
                Some(turn) if turn.speaker.mac == speaker.mac => turn.speaker = speaker,
                _ => self.schedule(place, Turn { speaker, announcements_left: REPETITIONS, due: now }),
            }
        }
        self.turns.retain(|place, _| places.contains_key(place));
        self.queue.retain(|(_, place)| places.contains_key(place));
    }

    /// Announces everything on `port` anew: its link came back.
    pub fn renew(&mut self, now: Instant, port: u16) {
        let on_port = self.turns.iter().filter(|((own, _), _)| *own == port);
        let speakers: Vec<_> = on_port.map(|(&place, turn)| (place, turn.speaker)).collect();
        for (place, speaker) in speakers {
            self.schedule(place, Turn { speaker, announcements_left: REPETITIONS, due: now });
        }
    }

    fn schedule(&mut self, place: Place, turn: Turn) {
        if let Some(before) = self.turns.insert(place, turn) {
            self.queue.remove(&(before.due, place));
        }
        self.queue.insert((turn.due, place));
    }

    /// The frames that are due, each with its port.
    pub fn due(&mut self, now: Instant) -> Vec<(u16, Vec<u8>)> {
        if self.paused_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        let due = self.queue.iter().take_while(|(due, _)| *due <= now).take(BURST_MAX);
        let places: Vec<Place> = due.map(|&(_, place)| place).collect();
        self.paused_until = (places.len() == BURST_MAX).then(|| now + BURST_PAUSE);
        let mut frames = Vec::new();
        for place @ (port, address) in places {
            let Some(&Turn { speaker, announcements_left, .. }) = self.turns.get(&place) else { continue };
            let announces = announcements_left > 0;
            let announced = announces.then(|| announcement(speaker.mac, address)).flatten();
            let asked = speaker.own.and_then(|own| question(speaker.mac, own, address));
            frames.extend([announced, asked].into_iter().flatten().map(|frame| (port, frame)));
            let announcements_left = announcements_left.saturating_sub(1);
            let pause = if announcements_left > 0 { INTERVAL } else { QUESTION_INTERVAL };
            self.schedule(place, Turn { speaker, announcements_left, due: now + pause });
        }
        frames
    }

    /// When the next frames are due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let (due, _) = self.queue.first()?;
        Some(self.paused_until.map_or(*due, |until| until.max(*due)))
    }
}

/// The address of the host on `interface` from which its link is asked for `target`, none of `owned`: for IPv6 the
/// link-local one if there is one, since that is on the link for everyone, else one in whose network `target` is.
pub fn asker(
    facts: &Facts,
    interface: InterfaceIndex,
    target: IpAddr,
    owned: &HashSet<IpAddr>,
) -> Option<IpAddr> {
    let is_own = |held: &&Address| held.interface == interface && !owned.contains(&held.address);
    let is_link_local =
        |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let own = facts.addresses.iter().filter(is_own);
    let mut link_local = own.clone().map(|held| held.address).filter(is_link_local);
    let mut beside = own.filter(|held| Prefix::new(held.address, held.prefix_length).contains(target));
    let link_local = if target.is_ipv6() { link_local.next() } else { None };
    link_local.or_else(|| beside.next().map(|held| held.address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use wire::build;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OWN: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    const OWN_6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    /// These addresses on port 0, which has an address of its own of each family.
    fn places(addresses: &[&str]) -> BTreeMap<Place, Speaker> {
        let place = |address: &&str| {
            let address: IpAddr = address.parse().unwrap();
            let own = if address.is_ipv4() { OWN.into() } else { OWN_6.into() };
            ((0, address), Speaker { mac: MAC, own: Some(own) })
        };
        addresses.iter().map(place).collect()
    }

    /// The same without an address to ask from.
    fn mute(places: BTreeMap<Place, Speaker>) -> BTreeMap<Place, Speaker> {
        places.into_iter().map(|(place, speaker)| (place, Speaker { own: None, ..speaker })).collect()
    }

    fn frames(announcer: &mut Announcer, now: Instant) -> Vec<Vec<u8>> {
        announcer.due(now).into_iter().map(|(_, frame)| frame).collect()
    }

    #[test]
    fn a_new_address_is_announced_and_asked_for_four_times_two_seconds_apart_and_then_asked_for_every_minute()
    {
        let start = Instant::now();
        let mut announcer = Announcer::default();
        announcer.set(start, &places(&["198.18.0.10", "2001:db8::10"]));
        let (v4, v6) = ([198, 18, 0, 10].into(), "2001:db8::10".parse().unwrap());
        let questions = [build::arp_request(MAC, OWN, v4), build::neighbour_solicitation(MAC, OWN_6, v6)];
        let announcements = [build::gratuitous_arp(MAC, v4), build::unsolicited_advertisement(MAC, v6)];
        for repetition in 0..REPETITIONS {
            let now = start + INTERVAL * repetition;
            assert_eq!(announcer.next_deadline(), Some(now));
            let spoken = announcements.iter().zip(&questions).flat_map(|(told, asked)| [told, asked]);
            assert!(frames(&mut announcer, now).iter().eq(spoken));
            assert!(announcer.due(now).is_empty());
        }
        for minute in 1..4 {
            let now = start + INTERVAL * (REPETITIONS - 1) + QUESTION_INTERVAL * minute;
            assert_eq!(announcer.next_deadline(), Some(now));
            assert_eq!(frames(&mut announcer, now), questions);
        }
        announcer.set(start, &places(&["198.18.0.10"]));
        assert!(frames(&mut announcer, start + Duration::from_secs(3600)).iter().eq([&questions[0]]));
    }

    #[test]
    fn without_an_address_of_the_port_an_address_is_announced_and_nobody_is_asked() {
        let start = Instant::now();
        let mut announcer = Announcer::default();
        let place = places(&["198.18.0.10"]);
        announcer.set(start, &mute(place.clone()));
        for repetition in 0..REPETITIONS {
            let announcement = build::gratuitous_arp(MAC, [198, 18, 0, 10].into());
            assert_eq!(frames(&mut announcer, start + INTERVAL * repetition), [announcement]);
        }
        let later = start + Duration::from_secs(3600);
        assert!(announcer.due(later).is_empty());
        announcer.set(later, &place);
        let now = later + QUESTION_INTERVAL;
        assert_eq!(
            frames(&mut announcer, now),
            [build::arp_request(MAC, OWN, [198, 18, 0, 10].into())],
            "an address that the port is given later is no reason to announce anew"
        );
    }

    #[test]
    fn a_link_that_comes_back_hears_all_and_a_given_up_address_is_not_spoken_of() {
        let start = Instant::now();
        let mut announcer = Announcer::default();
        announcer.set(start, &mute(places(&["198.18.0.10", "198.18.0.11"])));
        announcer.set(start, &mute(places(&["198.18.0.11"])));
        assert_eq!(announcer.due(start).len(), 1);
        announcer.renew(start, 1);
        assert!(announcer.due(start).is_empty());
        announcer.renew(start, 0);
        assert_eq!(announcer.due(start).len(), 1);
        let other = Speaker { mac: Mac([2, 0, 0, 0, 0, 2]), own: None };
        announcer.set(start, &BTreeMap::from([((0, [198, 18, 0, 11].into()), other)]));
        assert_eq!(
            frames(&mut announcer, start),
            [build::gratuitous_arp(other.mac, [198, 18, 0, 11].into())]
        );
    }

    #[test]
    fn many_addresses_leave_in_bounded_bursts_those_that_waited_longest_first() {
        let start = Instant::now();
        let mut announcer = Announcer::default();
        let addresses: Vec<String> = (0..300).map(|n| format!("198.18.{}.{}", n / 250, n % 250)).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        announcer.set(start, &places(&addresses));
        assert_eq!(announcer.due(start).len(), 2 * BURST_MAX);
        assert!(announcer.due(start).is_empty());
        assert_eq!(announcer.next_deadline(), Some(start + BURST_PAUSE));
        assert_eq!(announcer.due(start + BURST_PAUSE).len(), 2 * BURST_MAX);
        // By now the first are due again, and the last have not been spoken of.
        let late = announcer.due(start + INTERVAL);
        assert_eq!(late[0].1, build::gratuitous_arp(MAC, [198, 18, 1, 6].into()));
        assert_eq!(late.len(), 2 * BURST_MAX);
    }

    #[test]
    fn the_link_is_asked_from_the_hosts_own_address_and_for_ipv6_from_the_link_local_one() {
        let held = |interface, address: &str, prefix_length| Address {
            interface,
            address: address.parse().unwrap(),
            prefix_length,
        };
        let facts = Facts {
            addresses: vec![
                held(1, "198.18.0.77", 16),
                held(2, "198.18.0.11", 24),
                held(2, "198.18.0.1", 24),
                held(2, "198.18.5.1", 24),
                held(2, "2001:db8::1", 64),
                held(3, "2001:db8:1::1", 64),
                held(3, "fe80::1", 64),
                held(3, "198.18.1.1", 32),
            ],
            ..Facts::default()
        };
        // One was given to the kernel by mistake as well.
        let owned = HashSet::from_iter(["198.18.0.11".parse().unwrap()]);
        for (interface, target, own) in [
            (2, "198.18.0.10", Some("198.18.0.1")),
            (2, "198.18.0.11", Some("198.18.0.1")),
            (2, "198.18.9.10", None),
            (2, "2001:db8::10", Some("2001:db8::1")),
            (3, "2001:db8:1::10", Some("fe80::1")),
            (3, "198.18.1.10", None),
        ] {
            let own = own.map(|own| own.parse().unwrap());
            assert_eq!(
                asker(&facts, interface, target.parse().unwrap(), &owned),
                own,
                "{interface} {target}"
            );
        }
    }
}
