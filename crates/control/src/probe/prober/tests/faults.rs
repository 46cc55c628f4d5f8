//! What goes wrong on the way, and what each end says of it, in time.

use super::DOWN_WITHIN;
use super::world::{FAR, Firewall, NEAR, World, ms};
use crate::members::Health;
use crate::probe::{Asking, News};
use std::time::Duration;

/// Whatever the moment of the fault: in the middle of an interval, right after an answer, with a probe under way.
const MOMENTS: [u64; 4] = [1_000, 1_003, 1_051, 1_150];

/// Breaks something of the first of three firewalls and looks at the path from both ends as soon as it must be down.
fn breaks(
    (asking, is_strict): (Asking, bool),
    damage: impl Fn(&mut Firewall),
    expected: [(Health, &str); 2],
) {
    for moment in MOMENTS {
        for v6 in [false, true] {
            let mut world = World::new(3, asking, v6);
            world.is_strict = is_strict;
            world.run(ms(moment));
            damage(&mut world.firewalls[0]);
            // One loss is forgiven, and two are.
            world.run(ms(300));
            for end in [NEAR, FAR] {
                assert_eq!(world.state(end, 0).0, Health::Up, "{moment} ms");
            }
            world.run(DOWN_WITHIN - ms(300));
            for (end, (health, reason)) in [NEAR, FAR].into_iter().zip(expected) {
                let state = world.state(end, 0);
                assert_eq!((state.0, &*state.1), (health, reason), "end {end}, {moment} ms, {asking:?}");
                for other in [1, 2] {
                    assert_eq!(world.state(end, other).0, Health::Up, "the others lose nothing");
                }
            }
            // It stays so: nothing is ever up in between.
            world.run(ms(5_000));
            for (end, (health, reason)) in [NEAR, FAR].into_iter().zip(expected) {
                assert_eq!(world.state(end, 0), (health, reason.to_owned()), "end {end}");
                let turns: Vec<Duration> = world
                    .events
                    .iter()
                    .filter(|(at, of, _)| *of == end && *at > ms(moment))
                    .map(|turn| turn.0)
                    .collect();
                assert_eq!(turns.len(), 1, "end {end}: {:?}", world.events);
            }
            // And is over when it is mended.
            world.firewalls[0] = Firewall { passes: [true; 2], leads_to: [0; 2], links: [true; 2] };
            world.run(ms(700));
            for end in [NEAR, FAR] {
                assert_eq!(world.state(end, 0), (Health::Up, String::new()), "end {end}");
            }
        }
    }
}

const PROBES_LOST: (Health, &str) =
    (Health::Down, "fw0: nothing arrives at the far end, though its own probes arrive here");
const ANSWERS_LOST: (Health, &str) = (Health::Down, "fw0: the far end hears us, its answers do not arrive");
const NOTHING_ARRIVES: (Health, &str) = (Health::Down, "fw0: nothing arrives at the far end");

#[test]
fn a_direction_that_is_lost_is_named_at_both_ends() {
    for asking in [Asking::Echo, Asking::Datagram(7)] {
        breaks((asking, false), |one| one.passes[NEAR] = false, [PROBES_LOST, ANSWERS_LOST]);
        breaks((asking, false), |one| one.passes[FAR] = false, [ANSWERS_LOST, PROBES_LOST]);
    }
}

#[test]
fn a_dead_leg_is_found_at_both_ends() {
    let no_link = (Health::Down, "fw0: its MAC address is not known");
    breaks((Asking::Echo, false), |one| one.passes = [false; 2], [NOTHING_ARRIVES; 2]);
    let dead_far = |one: &mut Firewall| (one.passes, one.links) = ([false; 2], [true, false]);
    breaks((Asking::Echo, false), dead_far, [NOTHING_ARRIVES, no_link]);
    let dead_near = |one: &mut Firewall| (one.passes, one.links) = ([false; 2], [false, true]);
    breaks((Asking::Echo, false), dead_near, [no_link, NOTHING_ARRIVES]);
}

#[test]
fn an_answer_on_the_wrong_path_is_asymmetric_at_both_ends() {
    let astray = (Health::Asymmetric, "fw0: answers come back over fw1");
    // What one end sends by this firewall reaches the other over the next one: probes and answers.
    breaks((Asking::Echo, false), |one| one.leads_to[FAR] = 1, [astray; 2]);
    breaks((Asking::Datagram(7), false), |one| one.leads_to[NEAR] = 1, [astray; 2]);
}

#[test]
fn a_misled_probe_whose_answer_is_swallowed_is_asymmetric_by_the_reports() {
    let astray = (Health::Asymmetric, "fw0: answers come back over fw1");
    let there = (Health::Asymmetric, "fw0: the far end hears us over fw1");
    let here = (Health::Asymmetric, "fw0: the far end's probes come over fw1");
    for asking in [Asking::Echo, Asking::Datagram(7)] {
        breaks((asking, true), |one| one.leads_to[NEAR] = 1, [there, astray]);
        breaks((asking, true), |one| one.leads_to[FAR] = 1, [astray, there]);
        let one_way = |one: &mut Firewall| (one.leads_to[NEAR], one.passes[FAR]) = (1, false);
        breaks((asking, true), one_way, [there, here]);
    }
}

#[test]
fn an_end_that_mixes_its_firewalls_up_is_found_out_by_the_other() {
    let mut world = World::new(3, Asking::Echo, true);
    world.run(ms(1_000));
    world.mixes_up = Some(FAR);
    world.run(DOWN_WITHIN);
    // Answered by the right way all the time.
    let here = "fw0: the far end's probes come over fw1";
    assert_eq!(world.state(NEAR, 0), (Health::Asymmetric, here.to_owned()));
    assert_eq!(world.state(FAR, 0), (Health::Asymmetric, "fw0: answers come back over fw1".to_owned()));
    assert_eq!(world.state(NEAR, 1), (Health::Up, String::new()));
}

#[test]
fn what_was_heard_before_the_fault_is_no_sign_of_life() {
    let mut world = World::new(3, Asking::Echo, false);
    world.change_parameters(|parameters| parameters.dead_interval = ms(5_000));
    world.run(ms(1_000));
    world.firewalls[0].passes = [false; 2];
    world.run(DOWN_WITHIN);
    assert_eq!(world.state(NEAR, 0), (Health::Down, "fw0: nothing arrives at the far end".to_owned()));
}

#[test]
fn a_far_end_that_had_no_time_to_hear_is_not_called_deaf() {
    let mut world = World::new(2, Asking::Echo, false);
    world.change_parameters(|parameters| parameters.retries = 0);
    world.run(ms(1_150));
    // It hears us, and its next report is a little later than the first loss.
    world.firewalls[0].passes[FAR] = false;
    world.run(ms(150));
    let words = "fw0: the far end's probes arrive here, but no answer to ours";
    assert_eq!(world.state(NEAR, 0), (Health::Down, words.to_owned()));
    world.run(ms(200));
    let words = "fw0: the far end hears us, its answers do not arrive";
    assert_eq!(world.state(NEAR, 0), (Health::Down, words.to_owned()));
}

#[test]
fn a_report_that_was_on_its_way_before_the_probe_came_there_says_nothing_of_it() {
    let mut world = World::new(5, Asking::Echo, false);
    world.change_parameters(|parameters| parameters.retries = 0);
    world.latency = ms(45);
    world.run(ms(1_150));
    world.firewalls[0].passes[FAR] = false;
    // Asked at 1,200 ms and heard at 1,245; the report that arrives at 1,285 left at 1,240, and the next one is too late.
    world.run(ms(160));
    let words = "fw0: the far end's probes arrive here, but no answer to ours";
    assert_eq!(world.state(NEAR, 0), (Health::Down, words.to_owned()));
}

#[test]
fn a_silent_far_end_is_told_from_broken_paths() {
    let mut world = World::new(3, Asking::Echo, false);
    world.run(ms(1_000));
    world.firewalls.iter_mut().for_each(|one| one.passes[FAR] = false);
    world.run(DOWN_WITHIN);
    let silent = |firewall| {
        (Health::Down, format!("fw{firewall}: no answer, and the far end is silent on every path"))
    };
    for firewall in 0..3 {
        assert_eq!(world.state(NEAR, firewall), silent(firewall));
        let far = format!("fw{firewall}: nothing arrives at the far end, though its own probes arrive here");
        assert_eq!(world.state(FAR, firewall), (Health::Down, far));
    }
}

#[test]
fn down_is_not_before_its_time() {
    for moment in MOMENTS {
        let mut world = World::new(1, Asking::Echo, false);
        world.run(ms(moment));
        world.firewalls[0].passes = [false; 2];
        let since = world.passed;
        world.run(ms(2_000));
        let down = world.turned_at(NEAR, 0, since).unwrap() - since;
        // The first of three probes that are lost goes out within an interval.
        assert!(down > ms(400) && down <= DOWN_WITHIN, "{moment} ms: {down:?}");
    }
}

#[test]
fn another_weight_is_an_alarm_and_no_fault() {
    let mut world = World::new(2, Asking::Echo, false);
    world.run(ms(1_000));
    let now = world.now();
    assert_eq!(world.alarms(), [] as [String; 0]);
    world.ends[FAR].prober.set_fingerprint("group", 0x1234);
    world.run(ms(1_000));
    let alarm = |end, firewall, theirs: u64, ours: u64| {
        format!(
            "{end} fw{firewall}: the far end's group is another: its fingerprint is {theirs:016x}, ours {ours:016x}; \
             names, weights, hash or key differ"
        )
    };
    let (near, far) = (0xabcd, 0x1234);
    let expected =
        [alarm(0, 0, far, near), alarm(0, 1, far, near), alarm(1, 0, near, far), alarm(1, 1, near, far)];
    assert_eq!(world.alarms(), expected);
    for (end, firewall) in world.paths() {
        assert_eq!(world.state(end, firewall), (Health::Up, String::new()));
    }
    let told = world.events.iter().filter(|(.., event)| matches!(event.news, News::Alarm(_))).count();
    assert_eq!(told, 4, "once each");
    world.ends[FAR].prober.set_fingerprint("group", 0xabcd);
    world.run(ms(9_900));
    assert_eq!(world.alarms().len(), 4, "{:?}", world.now() - now);
    world.run(ms(400));
    assert_eq!(world.alarms(), [] as [String; 0]);
    let ended = world.events.iter().filter(|(.., event)| event.news == News::AlarmEnded).count();
    assert_eq!(ended, 4);
}

#[test]
fn another_key_is_an_alarm_and_takes_datagrams_their_answers() {
    for (asking, health) in [(Asking::Echo, Health::Up), (Asking::Datagram(7), Health::Down)] {
        let mut world = World::new(2, asking, false);
        world.change_key(FAR, 8);
        world.run(ms(2_000));
        assert_eq!(world.alarms().len(), 4, "{asking:?}");
        assert!(world.alarms()[0].contains("another hash_key at the far end, or somebody forges probes"));
        for (end, firewall) in world.paths() {
            let (state, reason) = world.state(end, firewall);
            assert_eq!(state, health, "{asking:?}");
            let words = format!("fw{firewall}: no answer that bears our key's tag: is hash_key the same?");
            assert_eq!(reason, if health == Health::Up { String::new() } else { words });
        }
    }
}

#[test]
fn a_path_of_two_names_is_an_alarm() {
    let mut world = World::new(2, Asking::Echo, false);
    let now = world.now();
    let end = &mut world.ends[FAR];
    end.wanted.paths[0].firewall = "fw9".to_owned();
    end.prober.update(now, std::slice::from_ref(&end.wanted));
    world.run(ms(1_000));
    let alarms = world.alarms();
    assert_eq!(alarms.len(), 1, "the other end's is of fw9: {alarms:?}");
    assert!(alarms[0].starts_with("0 fw0: the two ends name this path differently"), "{alarms:?}");
    assert_eq!(world.state(NEAR, 0).0, Health::Up);
    let now = world.now();
    let status = world.ends[FAR].prober.status(now, "group", "fw9").unwrap();
    assert_eq!(status.alarm, Some(crate::probe::Complaint::OtherName));
}
