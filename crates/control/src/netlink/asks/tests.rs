//! The timelines of asking for neighbours.

use super::*;
use crate::facts::Address;

const SERVER: NeighbourKey = (2, IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 1, 11)));
const MAC: Mac = [2, 0, 0, 0, 0, 1];

struct World {
    asks: Asks,
    facts: Facts,
    start: Instant,
}

impl World {
    fn new() -> Self {
        let mut facts = Facts::default();
        let address = "198.18.1.1".parse().unwrap();
        facts.addresses.push(Address { interface: 2, address, prefix_length: 24 });
        Self { asks: Asks::default(), facts, start: Instant::now() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn know(&mut self, key: NeighbourKey, state: NeighbourState) {
        self.facts.neighbours.insert(key, Neighbour { mac: Some(MAC), state, router: false });
    }

    fn keep(&mut self, seconds: u64, wanted: &[NeighbourKey]) -> Vec<Ask> {
        let mut out = Vec::new();
        self.asks.keep(self.at(seconds), wanted.iter().copied(), &self.facts, &mut out);
        self.asks.advance(self.at(seconds), &self.facts, &mut out);
        out
    }

    fn advance(&mut self, seconds: u64) -> Vec<Ask> {
        let mut out = Vec::new();
        self.asks.advance(self.at(seconds), &self.facts, &mut out);
        out
    }

    fn need(&mut self, seconds: u64, key: NeighbourKey) -> Vec<Ask> {
        let mut out = Vec::new();
        self.asks.need(self.at(seconds), key, &self.facts, &mut out);
        out
    }

    fn recheck(&mut self, seconds: u64, key: NeighbourKey) -> Vec<Ask> {
        let mut out = Vec::new();
        self.asks.recheck(self.at(seconds), key, &self.facts, &mut out);
        self.asks.advance(self.at(seconds), &self.facts, &mut out);
        out
    }

    fn hint(&mut self, seconds: u64, key: NeighbourKey, mac: Mac) -> Vec<Ask> {
        let mut out = Vec::new();
        self.asks.hint(self.at(seconds), key, mac, &self.facts, &mut out);
        out
    }
}

fn client(number: u32) -> NeighbourKey {
    (2, IpAddr::V4(std::net::Ipv4Addr::from_bits(0xC612_0000 + (1 << 16) + number)))
}

#[test]
fn a_silent_neighbour_is_asked_for_thrice_a_second_apart_and_then_left_alone() {
    let mut world = World::new();
    assert_eq!(world.keep(0, &[SERVER]), [Ask::Keep(SERVER)]);
    assert_eq!(world.asks.next_deadline(), Some(world.at(1)));
    assert_eq!(world.advance(1), [Ask::Keep(SERVER)]);
    assert_eq!(world.advance(2), [Ask::Keep(SERVER)]);
    assert!(!world.asks.is_given_up(SERVER));
    assert_eq!(world.advance(3), []);
    assert!(world.asks.is_given_up(SERVER));
    assert_eq!(world.advance(12), []);
    assert_eq!(world.advance(13), [Ask::Keep(SERVER)], "after the hold it may have come to life");
}

#[test]
fn a_kept_neighbour_is_looked_after_until_it_is_no_longer_wanted() {
    let mut world = World::new();
    world.keep(0, &[SERVER]);
    world.know(SERVER, NeighbourState::Reachable);
    assert_eq!(world.advance(1), []);
    world.know(SERVER, NeighbourState::Stale);
    assert_eq!(world.advance(5), [Ask::Keep(SERVER)], "a kernel that does not keep it is asked to probe");
    world.facts.neighbours.remove(&SERVER);
    assert_eq!(world.advance(10), [Ask::Keep(SERVER)], "thrown away by the kernel");
    world.know(SERVER, NeighbourState::Reachable);
    assert_eq!(world.keep(11, &[SERVER]), [], "wanted still");
    assert_eq!(world.keep(12, &[]), [Ask::Forget(SERVER)]);
    assert_eq!(world.asks.next_deadline(), None);
}

#[test]
fn a_neighbour_that_is_known_already_is_still_put_into_the_kernels_care() {
    let mut world = World::new();
    world.know(SERVER, NeighbourState::Reachable);
    assert_eq!(world.keep(0, &[SERVER]), [Ask::Keep(SERVER)]);
    assert_eq!(world.advance(1), []);
}

#[test]
fn a_permanent_neighbour_is_neither_asked_for_nor_forgotten() {
    let mut world = World::new();
    world.know(SERVER, NeighbourState::Permanent);
    assert_eq!(world.keep(0, &[SERVER]), []);
    assert_eq!(world.advance(5), []);
    assert_eq!(world.need(6, SERVER), []);
    assert_eq!(world.hint(6, SERVER, MAC), []);
    assert_eq!(world.keep(7, &[]), []);
}

#[test]
fn a_needed_neighbour_is_asked_for_once_per_second_however_often_it_is_needed() {
    let mut world = World::new();
    assert_eq!(world.need(0, client(1)), [Ask::Use(client(1))]);
    assert_eq!(world.need(0, client(1)), []);
    assert_eq!(world.advance(1), [Ask::Use(client(1))]);
    assert_eq!(world.advance(2), [Ask::Use(client(1))]);
    assert_eq!(world.advance(3), []);
    assert_eq!(world.need(4, client(1)), [], "left alone");
    assert!(world.asks.is_given_up(client(1)));
    assert_eq!(world.advance(13), []);
    assert_eq!(world.need(13, client(1)), [Ask::Use(client(1))]);
    world.know(client(1), NeighbourState::Stale);
    assert_eq!(world.advance(14), []);
    assert_eq!(world.need(15, client(1)), [Ask::Use(client(1))], "stale: to be probed");
    world.know(client(1), NeighbourState::Delay);
    assert_eq!(world.need(15, client(1)), []);
}

#[test]
fn a_scan_of_an_empty_network_is_bounded_and_what_was_given_up_makes_room() {
    let mut world = World::new();
    let asked = (0..2 * OUTSTANDING_MAX as u32).map(|number| world.need(0, client(2 + number)).len());
    assert_eq!(asked.sum::<usize>(), OUTSTANDING_MAX);
    assert_eq!(world.asks.refused(), OUTSTANDING_MAX as u64);
    for second in 1..=3 {
        world.advance(second);
    }
    assert_eq!(world.need(3, client(5_000)), [Ask::Use(client(5_000))]);
}

#[test]
fn a_hint_is_taken_from_a_host_of_the_link_and_from_nobody_else() {
    let mut world = World::new();
    assert_eq!(world.hint(0, SERVER, MAC), [Ask::Learn(SERVER, MAC), Ask::Use(SERVER)]);
    assert_eq!(world.hint(0, SERVER, [3, 0, 0, 0, 0, 1]), [], "group MAC");
    assert_eq!(world.hint(0, SERVER, [0; 6]), []);
    assert_eq!(world.hint(0, (2, "198.18.1.1".parse().unwrap()), MAC), [], "our own address");
    assert_eq!(world.hint(0, (3, SERVER.1), MAC), [], "another link");
    assert_eq!(world.hint(0, (2, "198.19.0.1".parse().unwrap()), MAC), [], "not of this link");
    world.know(SERVER, NeighbourState::Reachable);
    assert_eq!(world.hint(0, SERVER, MAC), [], "nothing new");
    let moved = [2, 9, 9, 9, 9, 9];
    assert_eq!(world.hint(0, SERVER, moved), [Ask::Learn(SERVER, moved), Ask::Use(SERVER)]);
    world.know(SERVER, NeighbourState::Permanent);
    assert_eq!(world.hint(0, SERVER, moved), [], "the operator knows better");
}

#[test]
fn hints_are_bounded_per_second() {
    let mut world = World::new();
    let taken = |world: &mut World, second| {
        (0..100)
            .filter(|number| {
                !world
                    .hint(second, (2, format!("198.18.1.{}", 100 + number).parse().unwrap()), MAC)
                    .is_empty()
            })
            .count()
    };
    assert_eq!(taken(&mut world, 0), HINTS_PER_SECOND_MAX as usize);
    assert_eq!(taken(&mut world, 1), HINTS_PER_SECOND_MAX as usize);
}

#[test]
fn all_kept_neighbours_are_let_go_at_the_end() {
    let mut world = World::new();
    world.keep(0, &[SERVER, client(1)]);
    let mut out = Vec::new();
    world.asks.forget_all(&world.facts, &mut out);
    assert_eq!(out, [Ask::Forget(SERVER), Ask::Forget(client(1))]);
}

#[test]
fn a_health_check_asks_again_for_a_neighbour_that_was_given_up_and_for_no_other() {
    let mut world = World::new();
    assert_eq!(world.keep(0, &[SERVER]), [Ask::Keep(SERVER)]);
    assert_eq!(world.recheck(0, SERVER), [], "it is being asked for");
    for second in 1..3 {
        assert_eq!(world.advance(second), [Ask::Keep(SERVER)]);
    }
    assert_eq!(world.advance(3), []);
    assert!(world.asks.is_given_up(SERVER));
    assert_eq!(world.recheck(4, SERVER), [Ask::Keep(SERVER)]);
    world.know(SERVER, NeighbourState::Reachable);
    assert_eq!(world.advance(5), []);
    assert_eq!(world.recheck(6, SERVER), []);
    assert_eq!(world.recheck(6, client(1)), [Ask::Use(client(1))], "others are needed");
}
