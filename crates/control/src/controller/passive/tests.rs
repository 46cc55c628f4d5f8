//! Windows against a plainer oracle, and who may be condemned.

use super::*;
use crate::members::{Health, Moment, Wish};
use proptest::prelude::*;

const MILLISECOND: Duration = Duration::from_millis(1);

fn five_in_ten_seconds() -> Passive {
    Passive { failures: 5, window: Duration::from_secs(10) }
}

fn found(made: u64, failed: u64) -> Handshakes {
    Handshakes { made, failed }
}

#[test]
fn so_many_failures_within_the_window_condemn() {
    let start = Instant::now();
    let mut window = Window::new(five_in_ten_seconds(), start);
    for second in 0..4 {
        assert_eq!(window.add(start + Duration::from_secs(second), found(0, 1)), None);
    }
    assert_eq!(window.clone().add(start + Duration::from_secs(9), found(0, 1)), Some(5));
    assert_eq!(
        window.clone().add(start + Duration::from_secs(11), found(0, 1)),
        None,
        "the first is too old"
    );
    assert_eq!(window.add(start + Duration::from_secs(100_000), found(0, 4)), None, "all are");
}

#[test]
fn more_successes_than_failures_acquit() {
    let start = Instant::now();
    let mut window = Window::new(five_in_ten_seconds(), start);
    assert_eq!(window.add(start, found(6, 5)), None);
    assert_eq!(window.clone().add(start, found(0, 1)), Some(6), "as many failures as successes");
    assert_eq!(
        window.add(start + Duration::from_secs(10), found(0, 5)),
        Some(5),
        "old successes do not help"
    );
}

#[test]
fn a_clock_that_stands_still_or_leaps_and_counts_beyond_measure_harm_nothing() {
    let start = Instant::now();
    let mut window = Window::new(five_in_ten_seconds(), start);
    assert_eq!(window.add(start + Duration::from_secs(50), found(u64::MAX, u64::MAX)), Some(u32::MAX));
    assert_eq!(window.add(start, found(0, 0)), Some(u32::MAX), "time never goes back");
    assert_eq!(window.add(start + Duration::from_secs(1 << 31), found(0, 5)), Some(5));
}

fn key(service: &str, server: u8) -> ServerKey {
    ServerKey { service: service.into(), address: [198, 18, 1, server].into(), port: None }
}

/// A check's name: any will do.
fn check() -> CheckId {
    let poll = mio::Poll::new().unwrap();
    let second = Duration::from_secs(1);
    let parameters = crate::check::Parameters {
        interval: second,
        response_time: second,
        retries: 0,
        timeout: None,
        dead_interval: second,
        rise: 1,
    };
    let target = crate::check::Target::by_kernel([198, 18, 1, 1].into(), Some(80));
    let wanted = crate::check::Wanted { target, probe: config::Probe::Tcp.into(), parameters };
    let checks = crate::check::Checks::new(poll.registry(), mio::Token(0), 1);
    checks.unwrap().update(Instant::now(), &[wanted])[0]
}

#[test]
fn what_was_counted_before_and_while_it_took_no_sessions_is_not_held_against_a_server() {
    let (start, id, check) = (Instant::now(), MemberId::default(), check());
    let mut traffic = TrafficWatch::default();
    assert_eq!(traffic.next_deadline(), None);
    let wanted = vec![(key("web", 1), id, check, five_in_ten_seconds())];
    traffic.follow(start, wanted.clone());
    assert_eq!(traffic.next_deadline(), Some(start), "there is something to look at");
    let look = |traffic: &mut TrafficWatch, after, failed, takes_sessions| {
        traffic.watched[0].look(start + MILLISECOND * after, found(0, failed), takes_sessions)
    };
    assert_eq!(look(&mut traffic, 0, 100, true), None, "counted before anybody looked");
    assert_eq!(look(&mut traffic, 200, 104, true), None);
    traffic.follow(start, wanted.clone());
    assert_eq!(look(&mut traffic.clone(), 400, 105, true), Some(5), "a reload forgets nothing");
    assert_eq!(look(&mut traffic, 400, 150, false), None, "it is down");
    assert_eq!(look(&mut traffic, 600, 154, true), None, "a new window since it is up again");
    assert_eq!(look(&mut traffic, 800, 155, true), Some(5));
    assert_eq!(look(&mut traffic, 1_000, 0, true), Some(5), "counters that begin anew are no failures");

    traffic.watched[0].spare(start + MILLISECOND * 1_000);
    assert_eq!(look(&mut traffic, 1_200, 1_000, true), None);
    assert_eq!(look(&mut traffic, 10_999, 2_000, true), None, "it is left alone");
    assert_eq!(look(&mut traffic, 11_200, 2_005, true), Some(5));

    let other = Passive { failures: 6, ..five_in_ten_seconds() };
    traffic.follow(start, vec![(key("web", 1), id, check, other)]);
    assert_eq!(look(&mut traffic, 11_400, 2_015, true), None, "watched in another way, it begins anew");
    traffic.follow(start, Vec::new());
    assert_eq!(traffic.next_deadline(), None);
}

/// A service with its servers (a backup is marked `true`) and its quorum.
type Sketch<'a> = (&'a str, &'a [(u8, bool)], u32);

/// Services whose servers are all up; the same address is the same machine.
fn site(services: &[Sketch<'_>]) -> (Config, Members) {
    let mut text = String::from("[[port]]\nname = \"a\"\ninterface = \"eth1\"\n");
    text += "[[health_check]]\nname = \"c\"\nkind = \"tcp\"\nport = 80\n";
    for (place, (name, servers, quorum)) in services.iter().enumerate() {
        text += &format!("[[service]]\nname = \"{name}\"\naddress = \"198.18.0.{}\"\n", place + 10);
        text += &format!(
            "protocol = \"tcp\"\nport = 80\nmode = \"routed\"\nhealth_check = \"c\"\nquorum = {quorum}\n"
        );
        for (server, is_backup) in *servers {
            text += &format!("[[service.server]]\naddress = \"198.18.1.{server}\"\nbackup = {is_backup}\n");
        }
    }
    let outcome = config::parse(&text, "test.toml");
    let config = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
    let mut members = Members::default();
    members.configure(&config, Moment::now()).unwrap();
    let keys: Vec<ServerKey> = members.all().map(|(key, _)| key.clone()).collect();
    for key in keys {
        members.set_health(&key, Health::Up, &"a test", Moment::now());
    }
    (config, members)
}

#[test]
fn the_last_server_of_any_service_that_shares_the_check_is_needed() {
    let (config, mut members) =
        site(&[("web", &[(1, false), (2, false), (3, false)], 1), ("dns", &[(1, false), (4, false)], 1)]);
    let both = [key("web", 1), key("dns", 1)];
    assert_eq!(who_needs(&config, &members, &both), None);
    members.set_health(&key("dns", 4), Health::Down, &"a test", Moment::now());
    assert_eq!(who_needs(&config, &members, &both), Some("dns"));
    assert_eq!(who_needs(&config, &members, &both[..1]), None, "web has two more");
    members.set_wish(&key("dns", 1), Wish::Draining, Moment::now());
    assert_eq!(who_needs(&config, &members, &both), None, "in dns it takes no sessions anyway");
    members.set_weight(&key("web", 2), Some(0), Moment::now());
    assert_eq!(who_needs(&config, &members, &both), None);
    members.set_wish(&key("web", 3), Wish::Disabled, Moment::now());
    assert_eq!(who_needs(&config, &members, &both), Some("web"), "neither of the others takes sessions");
}

#[test]
fn servers_that_share_a_check_go_together_or_not_at_all() {
    let (config, members) = site(&[("web", &[(1, false), (2, false), (3, false)], 1)]);
    assert_eq!(who_needs(&config, &members, &[key("web", 1), key("web", 2)]), None);
    assert_eq!(who_needs(&config, &members, &[key("web", 1), key("web", 2), key("web", 3)]), Some("web"));
}

#[test]
fn a_backup_frees_the_last_regular_server_and_a_quorum_binds_more_than_the_last() {
    let (config, members) = site(&[("web", &[(1, false), (2, true)], 1)]);
    assert_eq!(who_needs(&config, &members, &[key("web", 1)]), None);
    let (config, members) = site(&[("web", &[(1, false), (2, false), (3, true)], 2)]);
    assert_eq!(who_needs(&config, &members, &[key("web", 1)]), None, "the backup stands in for the quorum");
    let (config, mut members) = site(&[("web", &[(1, false), (2, false), (3, false)], 2)]);
    assert_eq!(who_needs(&config, &members, &[key("web", 1)]), None);
    members.set_health(&key("web", 3), Health::Down, &"a test", Moment::now());
    assert_eq!(who_needs(&config, &members, &[key("web", 1)]), Some("web"));
}

proptest! {
    /// Against a list of everything that was ever found: too many failures younger than 15/16 of the window condemn, if no
    /// success of the whole window outweighs them; failures that are not all within the window never do.
    #[test]
    fn a_window_slides_as_it_says(
        failures in 1_u32..8,
        window_ms in 100_u64..20_000,
        looks in prop::collection::vec((0_u64..3_000, 0_u64..4, 0_u64..4), 1..80),
    ) {
        let start = Instant::now();
        let passive = Passive { failures, window: MILLISECOND * window_ms as u32 };
        let mut window = Window::new(passive, start);
        let (mut now, mut all) = (start, Vec::new());
        for (pause_ms, made, failed) in looks {
            now += MILLISECOND * pause_ms as u32;
            all.push((now, made, failed));
            let verdict = window.add(now, found(made, failed));
            let younger = |age: Duration| {
                let young = all.iter().filter(|(at, ..)| now - *at < age);
                young.fold((0, 0), |sum, (_, made, failed)| (sum.0 + made, sum.1 + failed))
            };
            let (surely, at_most) = (younger(passive.window * 15 / 16), younger(passive.window));
            if surely.1 >= u64::from(failures) && surely.1 >= at_most.0 {
                prop_assert!(verdict.is_some());
            }
            if at_most.1 < u64::from(failures) || at_most.1 < surely.0 {
                prop_assert_eq!(verdict, None);
            }
            if let Some(counted) = verdict {
                prop_assert!((surely.1..=at_most.1).contains(&u64::from(counted)));
            }
        }
    }
}
