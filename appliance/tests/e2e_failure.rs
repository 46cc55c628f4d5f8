//! Servers die, come back, and are taken out by the operator; what clients notice of it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use e2e::{FAMILIES, PATIENCE, Stage, family, names, on_both_drivers, order, server, wait_for_state};
use lab::topology::slb_routed::{HOLD_PORT, HTTP_PORT};
use lab::{Failure, HeldConnections, HeldState};

on_both_drivers! {
    a_killed_server_costs_no_request_once_it_is_down_and_takes_its_share_when_it_is_back,
    open_connections_of_a_server_that_fell_silent_are_reset_without_being_used,
    with_all_servers_down_clients_are_refused_at_once,
    drain_keeps_connections_and_disable_resets_them_and_enable_brings_new_ones,
    connections_of_a_server_whose_check_fails_live_on_where_they_are_kept_and_are_reset_at_both_ends_elsewhere,
    below_its_quorum_a_service_is_down_and_says_why,
}

fn a_killed_server_costs_no_request_once_it_is_down_and_takes_its_share_when_it_is_back(driver: &str) {
    let stage = Stage::new(driver);
    let mut web = stage.web();
    let appliance = stage.start(&stage.web_services());
    web[0].kill();
    wait_for_state(&appliance, &stage.lab.servers[0], "down");
    for (vip, _client) in FAMILIES {
        let row = server(&appliance, &format!("web-{}", family(vip)), stage.lab.servers[0].address_like(vip));
        assert!(row["reason"].is_string(), "{row}");
        let report = stage.ask((vip, HTTP_PORT), 60);
        assert_eq!(report.per_server, BTreeMap::from([("server2".into(), 30), ("server3".into(), 30)]));
        assert!(report.failed.is_empty(), "{report}");
    }
    web[0].revive().unwrap();
    wait_for_state(&appliance, &stage.lab.servers[0], "up");
    for (vip, _client) in FAMILIES {
        let report = stage.ask((vip, HTTP_PORT), 60);
        assert!(report.per_server.values().all(|share| *share == 20), "{report}");
        assert_eq!((report.per_server.len(), report.answered()), (3, 60), "{report}");
    }
}

fn open_connections_of_a_server_that_fell_silent_are_reset_without_being_used(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let appliance = stage.start(&stage.hold_services());
    let mut families = FAMILIES.map(|(vip, _client)| {
        let mut held = stage.hold_open(vip, 30);
        let before = names(&mut held);
        assert_eq!(before.iter().filter(|name| *name == "server1").count(), 10);
        (held, before)
    });
    stage.lab.servers[0].end.set_up(false).unwrap();
    wait_for_state(&appliance, &stage.lab.servers[0], "down");
    for (held, before) in &mut families {
        // The client sends nothing, so nothing but a reset ends a connection here.
        let ends = held.wait_for_ends(Duration::from_secs(1));
        for (name, end) in before.iter().zip(&ends) {
            let expected = if name == "server1" { HeldState::Reset } else { HeldState::Silent };
            assert_eq!(*end, expected, "{name}");
        }
        let after = held.probe(PATIENCE);
        let living = before.iter().zip(after).filter(|(name, _state)| *name != "server1");
        living.for_each(|(name, state)| assert_eq!(state, HeldState::Alive(name.clone())));
    }
}

fn with_all_servers_down_clients_are_refused_at_once(driver: &str) {
    let stage = Stage::new(driver);
    let mut web = stage.web();
    let mut services = stage.web_services();
    services.extend(stage.services("echo", "udp", 5_300, Some(HTTP_PORT)));
    let appliance = stage.start(&services);
    web.iter_mut().for_each(lab::NginxServer::kill);
    for server in &stage.lab.servers {
        wait_for_state(&appliance, server, "down");
    }
    for (vip, _client) in FAMILIES {
        let refused = BTreeMap::from([(&Failure::Refused, 3)]);
        assert_eq!(stage.ask((vip, HTTP_PORT), 3).failures(), refused);
        assert_eq!(stage.ask_udp((vip, 5_300), 3).failures(), refused);
    }
    assert_eq!(e2e::row(&appliance, "services", "name", "web-v4")["state"], "down");
}

fn drain_keeps_connections_and_disable_resets_them_and_enable_brings_new_ones(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let appliance = stage.start(&stage.hold_services());
    let of_first = |held: &mut HeldConnections| -> usize {
        names(held).iter().filter(|name| *name == "server1").count()
    };
    for (vip, _client) in FAMILIES {
        let service = format!("hold-{}", family(vip));
        let address = stage.lab.servers[0].address_like(vip);
        let (bare, with_port) = (address.to_string(), SocketAddr::new(address, HOLD_PORT).to_string());
        let state = || server(&appliance, &service, address)["state"].clone();

        let mut old = stage.hold_open(vip, 30);
        assert_eq!(of_first(&mut old), 10);
        order(&appliance, &["server", "drain", &service, &with_port]);
        assert_eq!(state(), "draining");
        let mut new = stage.hold_open(vip, 30);
        assert_eq!((of_first(&mut old), of_first(&mut new)), (10, 0));

        order(&appliance, &["server", "disable", &service, &bare]);
        assert_eq!(state(), "disabled");
        let ends = old.wait_for_ends(Duration::from_secs(1));
        assert_eq!(ends.iter().filter(|end| **end == HeldState::Reset).count(), 10);
        assert_eq!(of_first(&mut new), 0, "all of the others live");

        order(&appliance, &["server", "enable", &service, &with_port]);
        e2e::wait_for("the server to be back", || state() == "up");
        assert_eq!(of_first(&mut stage.hold_open(vip, 30)), 10);
    }
}

/// Connections of each family to three servers, of which the first fails its check and nothing else.
fn connections_of_a_server_whose_check_fails_live_on_where_they_are_kept_and_are_reset_at_both_ends_elsewhere(
    driver: &str,
) {
    let stage = Stage::new(driver);
    let (mut web, hold) = (stage.web(), stage.hold());
    let text = stage.text(&stage.services("hold", "tcp", HOLD_PORT, Some(HTTP_PORT)));
    let on_down = |word: &str| {
        text.replace(
            "scheduler = \"round-robin\"",
            &format!("scheduler = \"round-robin\"\non_down = \"{word}\""),
        )
    };
    let appliance = stage.start_with(&on_down("keep"));
    let mut families = FAMILIES.map(|(vip, _client)| {
        let mut held = stage.hold_open(vip, 30);
        let before = names(&mut held);
        assert_eq!(before.iter().filter(|name| *name == "server1").count(), 10);
        (vip, held, before)
    });
    web[0].kill();
    wait_for_state(&appliance, &stage.lab.servers[0], "down");
    for (vip, held, before) in &mut families {
        assert_eq!(names(held), *before, "all of them are answered by their own server");
        let new = names(&mut stage.hold_open(*vip, 20));
        assert!(!new.contains(&"server1".to_owned()), "{new:?}");
    }
    assert_eq!(hold[0].clients().len(), 20);
    // A reload under which it is down keeps them too.
    order(&appliance, &["reload"]);
    families.iter_mut().for_each(|(_, held, before)| assert_eq!(names(held), *before));

    stage.write(&on_down("reset"));
    order(&appliance, &["reload"]);
    for (_, held, before) in &mut families {
        let ends = held.wait_for_ends(Duration::from_secs(1));
        for (name, end) in before.iter().zip(&ends) {
            let expected = if name == "server1" { HeldState::Reset } else { HeldState::Silent };
            assert_eq!(*end, expected, "{name}");
        }
    }
    e2e::wait_for("the server's own ends to be reset", || hold[0].clients().is_empty());
}

fn below_its_quorum_a_service_is_down_and_says_why(driver: &str) {
    let stage = Stage::new(driver);
    let mut web = stage.web();
    let text = stage.text(&stage.web_services());
    let quorum = "scheduler = \"round-robin\"\nquorum = 2";
    let appliance = stage.start_with(&text.replace("scheduler = \"round-robin\"", quorum));
    let service = || e2e::row(&appliance, "services", "name", "web-v4");
    web[0].kill();
    wait_for_state(&appliance, &stage.lab.servers[0], "down");
    assert_eq!(
        (service()["state"].clone(), service()["reason"].clone()),
        ("up".into(), serde_json::Value::Null)
    );
    assert_eq!(stage.ask((FAMILIES[0].0, HTTP_PORT), 6).answered(), 6);
    web[1].kill();
    wait_for_state(&appliance, &stage.lab.servers[1], "down");
    assert_eq!(service()["state"], "down");
    assert_eq!(service()["reason"], "1 of its 3 servers could take sessions, and its quorum is 2");
    assert_eq!(stage.ask((FAMILIES[0].0, HTTP_PORT), 3).failures(), BTreeMap::from([(&Failure::Refused, 3)]));
    web[1].revive().unwrap();
    wait_for_state(&appliance, &stage.lab.servers[1], "up");
    assert_eq!(
        (service()["state"].clone(), service()["reason"].clone()),
        ("up".into(), serde_json::Value::Null)
    );
    assert_eq!(stage.ask((FAMILIES[0].0, HTTP_PORT), 6).answered(), 6);
}
