//! The mirror and the resolver against a real kernel, in namespaces of their own.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use control::facts::{Facts, Hop, NeighbourState, NextHop, Resolution, RouteKind};
use control::netlink::{Changes, Mirror, Resolver};
use mio::{Events, Interest, Poll, Token};
use support::Wire;

/// A test that waits longer than this for the kernel has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// The mirror under a loop of its own, as the control thread runs it.
struct Watch {
    poll: Poll,
    mirror: Mirror,
    facts: Facts,
    seen: Changes,
}

impl Watch {
    fn new() -> Self {
        let mut facts = Facts::default();
        let mut mirror = Mirror::new(&mut facts).unwrap();
        let poll = Poll::new().unwrap();
        poll.registry().register(&mut mirror, Token(0), Interest::READABLE).unwrap();
        Self { poll, mirror, facts, seen: Changes::default() }
    }

    /// Follows the kernel until the facts are as wanted; `each` is called after every change and may ask for
    /// more.
    fn until_with(
        &mut self,
        what: &str,
        wanted: impl Fn(&Facts) -> bool,
        mut each: impl FnMut(Instant, &Facts),
    ) {
        let end = Instant::now() + PATIENCE;
        let mut events = Events::with_capacity(8);
        loop {
            let now = Instant::now();
            self.seen |= self.mirror.drain(now, &mut self.facts).unwrap();
            each(now, &self.facts);
            if wanted(&self.facts) {
                return;
            }
            assert!(now < end, "the kernel never told: {what}");
            let deadline = self.mirror.next_deadline().map(|at| at.saturating_duration_since(now));
            let wait = deadline.unwrap_or(PATIENCE).min(Duration::from_millis(100));
            self.poll.poll(&mut events, Some(wait)).unwrap();
        }
    }

    fn until(&mut self, what: &str, wanted: impl Fn(&Facts) -> bool) {
        self.until_with(what, wanted, |_, _| {});
    }

    fn near(&self) -> u32 {
        self.facts.interface_named("near").unwrap().index
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn leads_to(facts: &Facts, destination: &str, neighbours: &[(&str, u64)]) -> bool {
    let Resolution::Forward(hops) = facts.resolve(ip(destination)) else { return false };
    hops.iter()
        .map(|Hop { address, weight, .. }| (*address, *weight))
        .eq(neighbours.iter().map(|(a, w)| (ip(a), *w)))
}

#[test]
fn everything_is_read_at_the_start() {
    let Some(wire) = Wire::new() else { return };
    wire.ip("route add 198.19.0.0/16 via 198.18.1.2");
    wire.ip("route add blackhole 198.18.66.0/24");
    wire.ip("route add 198.18.70.0/24 nexthop via 198.18.1.2 weight 1 nexthop via 198.18.1.3 weight 3");
    wire.ip("route add 198.18.71.0/24 via inet6 2001:db8:1::2");
    wire.ip("route add 198.18.72.0/24 via 198.18.1.2 table 7");
    wire.ip("-6 route add 2001:db8:9::/48 via 2001:db8:1::2");
    wire.ip("neighbour add 198.18.1.9 lladdr 02:00:00:00:00:09 nud permanent dev near");
    wire.inside(|| {
        let watch = Watch::new();
        let facts = &watch.facts;
        let near = facts.interface_named("near").unwrap();
        assert!(near.carries() && near.mtu == 1500 && near.mac != [0; 6]);
        assert!(facts.holds(ip("198.18.1.1")) && facts.holds(ip("2001:db8:1::1")));
        assert!(leads_to(facts, "198.19.7.7", &[("198.18.1.2", 1)]));
        assert!(leads_to(facts, "198.18.70.1", &[("198.18.1.2", 1), ("198.18.1.3", 3)]));
        assert!(leads_to(facts, "198.18.71.1", &[("2001:db8:1::2", 1)]));
        assert!(leads_to(facts, "2001:db8:9::1", &[("2001:db8:1::2", 1)]));
        assert_eq!(facts.resolve(ip("198.18.72.1")), Resolution::NoRoute, "another table");
        assert_eq!(facts.resolve(ip("198.18.66.1")), Resolution::Stop(RouteKind::Blackhole));
        assert_eq!(facts.resolve(ip("198.18.1.1")), Resolution::Stop(RouteKind::Local));
        assert_eq!(facts.resolve(ip("2001:db8:1::1")), Resolution::Stop(RouteKind::Local));
        assert_eq!(facts.resolve(ip("198.18.1.255")), Resolution::Stop(RouteKind::Broadcast));
        assert_eq!(facts.mac_of(watch.near(), ip("198.18.1.9")), Some([2, 0, 0, 0, 0, 9]));
        assert_eq!(facts.generation, 1);
    });
}

#[test]
fn changes_are_seen_as_they_happen_and_only_where_they_are() {
    let Some(wire) = Wire::new() else { return };
    wire.inside(|| {
        let mut watch = Watch::new();
        watch.until("the neighbours that the kernel found by itself", |_| true);

        watch.seen = Changes::default();
        wire.ip("route add 198.19.0.0/16 via 198.18.1.2");
        watch.until("a route", |facts| leads_to(facts, "198.19.0.1", &[("198.18.1.2", 1)]));
        assert_eq!(watch.seen, Changes { routes: true, ..Changes::default() });
        wire.ip("route replace 198.19.0.0/16 via 198.18.1.3");
        watch.until("its replacement", |facts| leads_to(facts, "198.19.0.1", &[("198.18.1.3", 1)]));
        wire.ip("route append 198.19.0.0/16 via 198.18.1.4");
        wire.ip("route delete 198.19.0.0/16 via 198.18.1.3");
        watch.until("the one behind it", |facts| leads_to(facts, "198.19.0.1", &[("198.18.1.4", 1)]));
        wire.ip("route delete 198.19.0.0/16");
        watch.until("its end", |facts| facts.resolve(ip("198.19.0.1")) == Resolution::NoRoute);

        wire.ip("-6 route add 2001:db8:9::/48 via 2001:db8:1::2");
        wire.ip("-6 route append 2001:db8:9::/48 via 2001:db8:1::3");
        let both = [("2001:db8:1::2", 1), ("2001:db8:1::3", 1)];
        watch.until("a second next hop", |facts| leads_to(facts, "2001:db8:9::1", &both));
        wire.ip("-6 route delete 2001:db8:9::/48 via 2001:db8:1::2");
        watch.until("the first one's end", |facts| leads_to(facts, "2001:db8:9::1", &both[1..]));

        watch.seen = Changes::default();
        let key = (watch.near(), ip("198.18.1.9"));
        wire.ip("neighbour add 198.18.1.9 lladdr 02:00:00:00:00:09 nud permanent dev near");
        watch.until("a neighbour", |facts| facts.mac_of(key.0, key.1) == Some([2, 0, 0, 0, 0, 9]));
        assert_eq!(watch.seen, Changes { neighbours: true, ..Changes::default() });
        wire.ip("neighbour delete 198.18.1.9 dev near");
        watch.until("its end", |facts| facts.mac_of(key.0, key.1).is_none());

        wire.ip("address add 198.18.8.1/24 dev near");
        watch.until("an address", |facts| facts.holds(ip("198.18.8.1")));
        watch.until("its network", |facts| leads_to(facts, "198.18.8.7", &[("198.18.8.7", 1)]));
        wire.ip("route add 198.18.90.0/24 dev near src 198.18.8.1");
        watch
            .until("a route that leans on it", |facts| leads_to(facts, "198.18.90.7", &[("198.18.90.7", 1)]));
        wire.ip("address delete 198.18.8.1/24 dev near");
        watch.until("its end", |facts| !facts.holds(ip("198.18.8.1")));
        let end = |facts: &Facts| facts.resolve(ip("198.18.90.7")) == Resolution::NoRoute;
        watch.until("the end of the route, of which the kernel says nothing", end);
    });
}

#[test]
fn a_link_that_goes_down_takes_its_routes_along() {
    let Some(wire) = Wire::new() else { return };
    wire.inside(|| {
        let mut watch = Watch::new();
        wire.ip_there("link set far down");
        watch.until("a lost carrier", |facts| {
            facts.interface_named("near").is_some_and(|near| near.up && !near.running)
        });
        assert_eq!(watch.facts.resolve(ip("198.18.1.2")), Resolution::Severed);
        wire.ip_there("link set far up");
        watch.until("the carrier", |facts| leads_to(facts, "198.18.1.2", &[("198.18.1.2", 1)]));
        wire.ip("link set near down");
        watch.until("a route less", |facts| facts.resolve(ip("198.18.1.2")) == Resolution::NoRoute);
        wire.ip("link set near mtu 1400 address 02:00:00:00:00:77 up");
        watch.until("it back", |facts| leads_to(facts, "198.18.1.2", &[("198.18.1.2", 1)]));
        let near = watch.facts.interface_named("near").unwrap();
        assert_eq!((near.mtu, near.mac), (1400, [2, 0, 0, 0, 0, 0x77]));
        wire.ip("link delete near");
        watch.until("its end", |facts| facts.interface_named("near").is_none());
        watch.until("the end of its routes", |facts| facts.resolve(ip("198.18.1.2")) == Resolution::NoRoute);
        assert!(!watch.facts.holds(ip("198.18.1.1")));
    });
}

#[test]
fn events_that_were_lost_are_made_up_for() {
    let Some(wire) = Wire::new() else { return };
    wire.inside(|| {
        let mut watch = Watch::new();
        let mut batch = String::new();
        for round in 0..3 {
            let verb = if round == 1 { "del" } else { "add" };
            (0..8_000).for_each(|n| {
                batch += &format!("route {verb} 198.19.{}.{}/32 via 198.18.1.2\n", n / 256, n % 256)
            });
        }
        let file = std::env::temp_dir().join(&wire.here);
        std::fs::write(&file, batch).unwrap();
        support::run(&["ip", "-n", &wire.here, "-batch", file.to_str().unwrap()]);
        std::fs::remove_file(&file).unwrap();
        let gateway = Some(ip("198.18.1.2"));
        watch.until("all of them", |facts| {
            let leads_there = |hop: &NextHop| hop.gateway == gateway;
            facts.all_routes().filter(|route| route.next_hops.first().is_some_and(leads_there)).count()
                == 8_000
        });
        assert!(watch.mirror.overruns() > 0, "the test is to lose events");
    });
}

#[test]
fn a_kept_neighbour_is_resolved_by_the_kernel_and_stays_in_its_care() {
    let Some(wire) = Wire::new() else { return };
    wire.inside(|| {
        let mut watch = Watch::new();
        let mut resolver = Resolver::new().unwrap();
        let wanted = [(watch.near(), ip("198.18.1.2")), (watch.near(), ip("2001:db8:1::2"))];
        let all_known = |facts: &Facts| wanted.iter().all(|key| facts.mac_of(key.0, key.1).is_some());
        resolver.keep(Instant::now(), wanted, &watch.facts);
        watch.until_with("both families", all_known, |now, facts| resolver.advance(now, facts));
        let says = || wire.ip_says("neighbour show dev near");
        assert_eq!(says().matches("managed").count(), 2, "{}", says());

        let stranger = (watch.near(), ip("198.18.1.3"));
        wire.ip_there("address add 198.18.1.3/24 dev far");
        resolver.need(Instant::now(), stranger, &watch.facts);
        watch.until("a client", |facts| facts.mac_of(stranger.0, stranger.1).is_some());
        assert_eq!(says().matches("managed").count(), 2);

        wire.ip_there("link set far address 02:00:00:00:00:42");
        wire.ip("neighbour flush dev near nud reachable");
        wire.ip("neighbour flush dev near nud stale");
        let moved = |facts: &Facts| {
            wanted.iter().all(|key| facts.mac_of(key.0, key.1) == Some([2, 0, 0, 0, 0, 0x42]))
        };
        watch.until_with("the server's new MAC", moved, |now, facts| resolver.advance(now, facts));

        resolver.forget_all(&watch.facts);
        watch.until("their end", |facts| wanted.iter().all(|key| !facts.neighbours.contains_key(key)));
        assert_eq!(resolver.failed(), 0);
    });
}

#[test]
fn a_hint_is_used_at_once_and_verified_by_the_kernel() {
    let Some(wire) = Wire::new() else { return };
    let far_mac = wire.beyond(|| Watch::new().facts.interface_named("far").unwrap().mac);
    wire.inside(|| {
        let mut watch = Watch::new();
        let mut resolver = Resolver::new().unwrap();
        let honest = (watch.near(), ip("198.18.1.2"));
        let liar = (watch.near(), ip("198.18.1.77"));
        resolver.hint(Instant::now(), honest, far_mac, &watch.facts);
        resolver.hint(Instant::now(), liar, [2, 0, 0, 0, 0, 0x66], &watch.facts);
        watch.until("both, as they said", |facts| {
            facts.mac_of(honest.0, honest.1) == Some(far_mac) && facts.mac_of(liar.0, liar.1).is_some()
        });
        let state = |facts: &Facts, key| facts.neighbours.get(&key).map(|neighbour| neighbour.state);
        watch.until("the one confirmed", |facts| state(facts, honest) == Some(NeighbourState::Reachable));
        watch.until("the other unmasked", |facts| facts.mac_of(liar.0, liar.1).is_none());
        assert_eq!(resolver.failed(), 0);
    });
}

#[test]
fn a_neighbour_that_nobody_has_is_given_up() {
    let Some(wire) = Wire::new() else { return };
    wire.inside(|| {
        let mut watch = Watch::new();
        let mut resolver = Resolver::new().unwrap();
        let nobody = (watch.near(), ip("198.18.1.99"));
        let start = Instant::now();
        resolver.need(start, nobody, &watch.facts);
        watch.until("no answer", |facts| {
            facts.neighbours.get(&nobody).is_some_and(|neighbour| neighbour.state == NeighbourState::Failed)
        });
        for seconds in 1..=3 {
            resolver.advance(start + Duration::from_secs(seconds), &watch.facts);
        }
        assert!(resolver.asks().is_given_up(nobody));
    });
}
