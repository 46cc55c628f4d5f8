//! Two ends, firewalls between them that lose and lead astray, and what each end thinks of it.

mod faults;
mod world;

use super::*;
use crate::members::Health;
use crate::probe::Asking;
use proptest::prelude::*;
use std::time::Duration;
use world::{FAR, INTERVAL, NEAR, World, ms};

/// Down at the latest this long after the last good answer.
const DOWN_WITHIN: Duration = Duration::from_millis(200 * 3 + 100);

#[test]
fn sound_paths_are_up_at_both_ends_and_every_probe_is_a_flow_of_its_own() {
    for (asking, v6) in [
        (Asking::Echo, false),
        (Asking::Echo, true),
        (Asking::Datagram(7), false),
        (Asking::Datagram(7), true),
        (Asking::Syn(7), false),
        (Asking::Syn(7), true),
    ] {
        let mut world = World::new(3, asking, v6);
        world.run(ms(60_000));
        for (end, firewall) in world.paths() {
            assert_eq!(world.state(end, firewall), (Health::Up, String::new()), "{asking:?}");
            let flows = &world.ends[end].flows[firewall];
            assert!((299..=301).contains(&flows.len()), "{}", flows.len());
            let different: std::collections::HashSet<_> = flows.iter().collect();
            assert_eq!(different.len(), flows.len(), "{asking:?}");
        }
        assert_eq!(world.alarms(), [] as [String; 0]);
    }
}

#[test]
fn the_probes_of_many_paths_are_spread_over_the_interval() {
    let mut world = World::new(20, Asking::Echo, false);
    world.run(ms(1_000));
    for from in (400..1_000).step_by(100) {
        let sent = &world.ends[NEAR].sent_at;
        let count = sent.iter().filter(|&&at| (ms(from)..ms(from + 100)).contains(&at)).count();
        assert_eq!(count, 10, "from {from} ms on");
    }
}

#[test]
fn a_path_that_returns_is_up_after_as_many_successes_as_asked_for() {
    let mut world = World::new(2, Asking::Echo, false);
    world.change_parameters(|parameters| (parameters.rise, parameters.dead_interval) = (3, ms(400)));
    world.run(ms(1_000));
    world.firewalls[0].passes = [false; 2];
    world.run(ms(3_000));
    world.firewalls[0].passes = [true; 2];
    let returned = world.passed;
    world.events.clear();
    world.run(ms(4_000));
    let up = world.events.iter().find(|(_, end, event)| *end == NEAR && event.firewall == "fw0").unwrap();
    assert!(up.0 - returned > ms(800) && up.0 - returned <= ms(1_200 + 10), "{:?}", up.0 - returned);
    assert!(matches!(up.2.news, News::Turned { from: Health::Down, to: Health::Up, .. }));
    assert_eq!(world.state(FAR, 0).0, Health::Up);
}

#[test]
fn a_firewall_without_a_link_is_down_for_that_reason() {
    let mut world = World::new(2, Asking::Echo, false);
    world.run(ms(1_000));
    world.firewalls[1].links[NEAR] = false;
    world.run(DOWN_WITHIN);
    assert_eq!(world.state(NEAR, 1), (Health::Down, "fw1: its MAC address is not known".to_owned()));
    assert_eq!(world.state(NEAR, 0).0, Health::Up);
}

#[test]
fn an_answer_that_no_link_is_left_for_is_no_sign_of_another_way() {
    let mut world = World::new(2, Asking::Echo, false);
    world.change_parameters(|parameters| parameters.retries = 0);
    // The answer is under way.
    world.run(ms(1_000));
    world.firewalls[0].links[NEAR] = false;
    world.run(ms(10));
    assert_eq!(world.state(NEAR, 0), (Health::Down, "fw0: its MAC address is not known".to_owned()));
}

#[test]
fn an_answer_from_a_stranger_is_asymmetric() {
    let mut world = World::new(2, Asking::Echo, false);
    world.run(ms(1_000));
    world.stranger_at = Some(NEAR);
    world.run(DOWN_WITHIN);
    let words = "fw0: answers come back from 02:00:00:00:09:09, which leads to no firewall of the group";
    assert_eq!(world.state(NEAR, 0), (Health::Asymmetric, words.to_owned()));
    assert_eq!(world.state(FAR, 0), (Health::Up, String::new()), "what it hears comes as it should");
}

#[test]
fn firewalls_that_share_a_link_are_told_apart_by_nothing_and_up() {
    let mut world = World::new(3, Asking::Echo, false);
    world.is_one_link = true;
    world.run(ms(1_000));
    for (end, firewall) in world.paths() {
        assert_eq!(world.state(end, firewall), (Health::Up, String::new()));
    }
}

#[test]
fn probes_that_come_again_are_no_sign_of_life() {
    let mut world = World::new(1, Asking::Echo, false);
    world.run(ms(1_000));
    world.firewalls[0].passes = [false; 2];
    world.run(ms(1_000));
    let silent = (Health::Down, "fw0: no answer, and the far end is silent on every path".to_owned());
    assert_eq!(world.state(NEAR, 0), silent);
    let history = std::mem::take(&mut world.history);
    history.iter().for_each(|packet| world.deliver_to(NEAR, packet));
    world.run(ms(300));
    assert_eq!(world.state(NEAR, 0), silent);
}

#[test]
fn an_end_that_starts_anew_is_no_fault_of_the_paths() {
    let mut world = World::new(2, Asking::Echo, false);
    world.run(ms(4_000));
    world.restart(FAR, 99);
    world.run(ms(600));
    for (end, firewall) in world.paths() {
        assert_eq!(world.state(end, firewall), (Health::Up, String::new()));
    }
    let turns: Vec<_> = world.events.iter().filter(|(at, ..)| *at > ms(4_000)).collect();
    assert!(turns.iter().all(|(_, end, _)| *end == FAR), "{turns:?}");
    // What the new life says is heard at once, though it counts from one again.
    world.firewalls[0].passes[FAR] = false;
    world.run(DOWN_WITHIN);
    assert_eq!(world.state(NEAR, 0).1, "fw0: the far end hears us, its answers do not arrive");
    assert_eq!(
        world.state(FAR, 0).1,
        "fw0: nothing arrives at the far end, though its own probes arrive here"
    );
}

#[test]
fn what_was_heard_of_an_earlier_life_is_no_evidence_of_this_one() {
    for firewalls in [&[0][..], &[0, 1]] {
        let mut world = World::new(2, Asking::Echo, false);
        // What is heard counts for long, so that it must be told from what was heard of another.
        world.change_parameters(|parameters| parameters.dead_interval = ms(5_000));
        world.run(ms(2_000));
        for &firewall in firewalls {
            world.firewalls[firewall].passes[FAR] = false;
        }
        world.restart(FAR, 99);
        world.run(DOWN_WITHIN);
        let words = "fw0: nothing arrives at the far end, though its own probes arrive here";
        assert_eq!(world.state(FAR, 0), (Health::Down, words.to_owned()), "{firewalls:?}");
    }
}

#[test]
fn an_answer_to_an_earlier_life_says_nothing() {
    let mut world = World::new(1, Asking::Echo, false);
    world.run(ms(100));
    world.firewalls[0].passes = [false; 2];
    world.restart(NEAR, 99);
    world.run(ms(50));
    let history = std::mem::take(&mut world.history);
    assert_eq!(history.len(), 2, "a probe, and the answer to the first of the earlier life");
    history.iter().for_each(|packet| world.deliver_to(NEAR, packet));
    assert_eq!(world.state(NEAR, 0), (Health::Checking, String::new()));
}

#[test]
fn an_appliance_on_both_sides_of_the_firewalls_is_its_own_far_end() {
    let mut world = World::new(2, Asking::Echo, false);
    world.join();
    world.run(ms(2_000));
    for (end, firewall) in world.paths() {
        assert_eq!(world.state(end, firewall), (Health::Up, String::new()));
    }
    world.firewalls[0].passes[NEAR] = false;
    world.run(DOWN_WITHIN);
    let near = "fw0: nothing arrives at the far end, though its own probes arrive here";
    assert_eq!(world.state(NEAR, 0), (Health::Down, near.to_owned()));
    let far = "fw0: the far end hears us, its answers do not arrive";
    assert_eq!(world.state(FAR, 0), (Health::Down, far.to_owned()));
    assert_eq!(world.state(NEAR, 1).0, Health::Up);
}

#[test]
fn an_update_leaves_what_stays_as_it_is() {
    let mut world = World::new(3, Asking::Echo, false);
    world.run(ms(1_000));
    world.firewalls[0].passes = [false; 2];
    world.run(DOWN_WITHIN);
    world.events.clear();
    world.change_parameters(|parameters| parameters.retries = 1);
    world.drop_path(NEAR, 2);
    assert_eq!(world.state(NEAR, 0).0, Health::Down);
    world.run(ms(2_000));
    assert!(world.events.iter().all(|(_, end, _)| *end == FAR), "{:?}", world.events);
    assert_eq!(world.state(NEAR, 1).0, Health::Up);
    let (now, prober) = (world.now(), &world.ends[NEAR].prober);
    assert!(prober.status(now, "group", "fw2").is_none() && prober.status(now, "other", "fw1").is_none());
    let far = world.state(FAR, 2);
    assert_eq!(far.0, Health::Up, "its worker answers still: {}", far.1);
}

#[test]
fn a_half_open_probe_takes_its_syn_back() {
    let mut world = World::new(1, Asking::Syn(80), false);
    world.accepts_syns = true;
    world.run(ms(1_000));
    assert_eq!(world.state(NEAR, 0), (Health::Up, String::new()));
    assert_eq!(world.resets, 2 * 5, "one for each of five probes from either end");
    // What acknowledges another number is no answer.
    world.answers_wrongly = true;
    world.run(DOWN_WITHIN);
    assert_eq!(world.state(NEAR, 0), (Health::Down, "no SYN-ACK or RST within 100 ms".to_owned()));
    assert_eq!(world.resets, 2 * 5);
}

#[test]
fn an_answer_to_another_probe_or_a_late_one_says_nothing() {
    let mut world = World::new(1, Asking::Echo, false);
    world.run(ms(1_000));
    // Every answer takes longer than it may; in the end it comes when the next one is awaited.
    for latency in [60, 110] {
        world.latency = ms(latency);
        world.run(ms(1_000));
        let (health, reason) = world.state(NEAR, 0);
        assert_eq!(health, Health::Down, "{reason}");
    }
    world.latency = ms(45);
    world.run(ms(500));
    assert_eq!(world.state(NEAR, 0), (Health::Up, String::new()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes in, nothing breaks; and nobody without the key makes a path better, worse or heard.
    #[test]
    fn any_packet_is_taken(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(2, Asking::Datagram(7), false);
        world.run(INTERVAL / 2 + ms(1));
        let sample = world.last_delivered.clone();
        let mut damaged = sample.clone();
        for (place, value) in places {
            // Past addresses and ports: those lead elsewhere.
            let place = 28 + place.index(damaged.len() - 28);
            damaged[place] ^= value;
        }
        damaged.truncate(cut.index(damaged.len() + 1));
        let before: Vec<_> = world.paths().into_iter().map(|(end, firewall)| world.state(end, firewall)).collect();
        for packet in [bytes, damaged] {
            world.deliver_to(FAR, &packet);
        }
        let after: Vec<_> = world.paths().into_iter().map(|(end, firewall)| world.state(end, firewall)).collect();
        prop_assert_eq!(before, after);
    }
}
