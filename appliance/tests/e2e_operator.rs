//! What the operator makes otherwise than the file says: weights, servers taken out; what is told of it, and what of it
//! lives through a reload.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use e2e::{FAMILIES, Stage, family, names, on_both_drivers, order, refused, server, status, wait_for_state};
use lab::Appliance;
use lab::topology::slb_routed::{HOLD_PORT, HTTP_PORT};
use serde_json::{Value, json};

on_both_drivers! {
    a_weight_given_at_run_time_holds_until_it_is_given_back,
    what_checks_and_operators_said_of_servers_lives_through_a_reload,
    what_became_of_a_server_is_told_in_order_with_reasons,
}

/// How many of some new connections each server gets.
fn shares(stage: &Stage, vip: std::net::IpAddr, count: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    names(&mut stage.hold_open(vip, count))
        .into_iter()
        .for_each(|name| *shares.entry(name).or_default() += 1);
    shares
}

/// The changes of a server as from, to and reason.
fn story(row: &Value) -> Vec<(String, String, String)> {
    let word = |change: &Value, field: &str| change[field].as_str().unwrap().to_owned();
    let history = row["history"].as_array().unwrap().iter();
    history.map(|change| (word(change, "from"), word(change, "to"), word(change, "reason"))).collect()
}

fn rows(appliance: &Appliance) -> Vec<Value> {
    e2e::show(appliance, "servers").as_array().unwrap().clone()
}

fn a_weight_given_at_run_time_holds_until_it_is_given_back(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let text = stage.text(&stage.hold_services());
    let text = text.replace("scheduler = \"round-robin\"", "scheduler = \"weighted-round-robin\"");
    let appliance = stage.start_with(&text);
    let expect = |first: usize| {
        let shares = [("server1", first), ("server2", 10), ("server3", 10)];
        BTreeMap::from(shares.map(|(name, share)| (name.to_owned(), share)))
    };
    for (vip, _client) in FAMILIES {
        let service = format!("hold-{}", family(vip));
        let address = stage.lab.servers[0].address_like(vip);
        let with_port = SocketAddr::new(address, HOLD_PORT).to_string();
        let seen = || {
            let row = server(&appliance, &service, address);
            (row["weight"].clone(), row["configured_weight"].clone(), row["differs"].clone())
        };
        assert_eq!(seen(), (json!(1), json!(1), json!([])));
        assert_eq!(shares(&stage, vip, 30), expect(10));
        order(&appliance, &["server", "weight", &service, &with_port, "3"]);
        assert_eq!(seen(), (json!(3), json!(1), json!(["weight"])));
        assert_eq!(shares(&stage, vip, 50), expect(30));
        assert_eq!(status(&appliance)["servers_differing"], 1);

        // Also when the file's own weight changes.
        let line = format!("address = \"{address}\"\n");
        stage.write(&text.replacen(&line, &format!("{line}weight = 2\n"), 1));
        order(&appliance, &["reload"]);
        assert_eq!(seen(), (json!(3), json!(2), json!(["weight"])));
        assert_eq!(shares(&stage, vip, 50), expect(30));

        order(&appliance, &["server", "weight", &service, &address.to_string(), "file"]);
        assert_eq!(seen(), (json!(2), json!(2), json!([])));
        assert_eq!(shares(&stage, vip, 40), expect(20));
        assert_eq!(status(&appliance)["servers_differing"], 0);

        let mut held = stage.hold_open(vip, 30);
        let before = names(&mut held);
        order(&appliance, &["server", "weight", &service, &with_port, "0"]);
        assert_eq!(server(&appliance, &service, address)["state"], "draining");
        assert_eq!(server(&appliance, &service, address)["reason"], "weight 0 by the operator");
        assert!(!shares(&stage, vip, 20).contains_key("server1"));
        assert_eq!(names(&mut held), before, "those that it has go on");
        order(&appliance, &["server", "weight", &service, &with_port, "file"]);
        stage.write(&text);
        order(&appliance, &["reload"]);
    }
    for (words, help) in [
        (&["server", "weight", "hold-v4", "198.18.1.99", "3"][..], "no server 198.18.1.99"),
        (&["server", "weight", "nothing", "198.18.1.11", "3"], "hold-v4, hold-v6"),
        (&["server", "weight", "hold-v4", "198.18.1.11", "65536"], "65535"),
        (&["server", "weight", "hold-v4", "198.18.1.11"], "WEIGHT"),
        (&["server", "drain", "hold-v4", "198.18.1.11", "3"], "a weight goes with `server weight`"),
    ] {
        let (exit, answer) = refused(&appliance, words);
        assert_eq!(exit, Some(2), "{words:?}: {answer}");
        assert!(answer.contains(help), "{help} in {answer}");
    }
    assert_eq!(status(&appliance)["servers_differing"], 0);
}

fn what_checks_and_operators_said_of_servers_lives_through_a_reload(driver: &str) {
    let stage = Stage::new(driver);
    let mut web = stage.web();
    let appliance = stage.start(&stage.web_services());
    web[0].kill();
    wait_for_state(&appliance, &stage.lab.servers[0], "down");
    for (vip, _client) in FAMILIES {
        let service = format!("web-{}", family(vip));
        let of = |place: usize| stage.lab.servers[place].address_like(vip).to_string();
        order(&appliance, &["server", "disable", &service, &of(1)]);
        order(&appliance, &["server", "drain", &service, &of(2)]);
        order(&appliance, &["server", "weight", &service, &of(2), "7"]);
    }
    // What a check has counted and when says nothing of what the appliance remembers.
    let remembered = || -> Vec<Value> {
        let mut rows = rows(&appliance);
        for row in &mut rows {
            let row = row.as_object_mut().unwrap();
            row.retain(|field, _| {
                !["last_check", "in_state_s", "response_time_ms"].contains(&field.as_str())
            });
        }
        rows
    };
    let before = remembered();
    let states: Vec<&str> = before.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["down", "disabled", "draining"].repeat(2));
    assert_eq!(before[2]["differs"], json!(["weight", "draining"]));
    let mut services = stage.web_services();
    services.extend(stage.services("more", "tcp", HTTP_PORT + 1, Some(HTTP_PORT)));
    stage.write(&stage.text(&services).replacen(
        "\n\n[[port]]",
        "\n\n[timeouts]\nudp = \"30s\"\n\n[[port]]",
        1,
    ));
    order(&appliance, &["reload"]);
    assert_eq!(remembered()[..6], before);
    assert_eq!(status(&appliance)["servers_differing"], 4);
    let more = server(&appliance, "more-v4", stage.lab.servers[0].v4);
    assert_eq!(more["state"], "down", "a service that is new shares what the check knows already: {more}");
}

fn what_became_of_a_server_is_told_in_order_with_reasons(driver: &str) {
    let stage = Stage::new(driver);
    let mut web = stage.web();
    let appliance = stage.start(&stage.web_services());
    let (place, address) = (&stage.lab.servers[0], stage.lab.servers[0].v4);
    web[0].kill();
    wait_for_state(&appliance, place, "down");
    web[0].revive().unwrap();
    wait_for_state(&appliance, place, "up");
    order(&appliance, &["server", "drain", "web-v4", &address.to_string()]);
    order(&appliance, &["server", "weight", "web-v4", &address.to_string(), "9"]);
    order(&appliance, &["server", "disable", "web-v4", &address.to_string()]);
    order(&appliance, &["server", "enable", "web-v4", &address.to_string()]);
    let row = server(&appliance, "web-v4", address);
    let expected = [
        ("checking", "up", "its check succeeded"),
        ("up", "down", "connection refused"),
        ("down", "up", "its check succeeded"),
        ("up", "draining", "draining by the operator"),
        ("draining", "draining", "weight 9 by the operator"),
        ("draining", "disabled", "disabled by the operator"),
        ("disabled", "up", "enabled by the operator"),
    ];
    let expected = expected.map(|(from, to, reason)| (from.to_owned(), to.to_owned(), reason.to_owned()));
    assert_eq!(story(&row), expected);
    let history = row["history"].as_array().unwrap();
    let times: Vec<&str> = history.iter().map(|change| change["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted() && times.iter().all(|at| at.len() == 24 && at.ends_with('Z')), "{times:?}");
    assert_eq!(row["since"].as_str().unwrap(), times[6]);
    let log = appliance.log();
    for words in ["is down: connection refused", "is draining by the operator", "has weight 9"] {
        assert!(log.contains(words), "{words} in {log}");
    }

    for turn in 0..20 {
        let action = if turn % 2 == 0 { "drain" } else { "enable" };
        order(&appliance, &["server", action, "web-v4", &address.to_string()]);
    }
    let story = story(&server(&appliance, "web-v4", address));
    assert_eq!(story.len(), 16, "the oldest made room");
    assert!(story.iter().all(|(_, _, reason)| reason.ends_with("by the operator")), "{story:?}");
    let table = appliance.command(&["show", "servers"]).unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("FILE SAYS") && table.contains("weight 1"), "{table}");
    assert!(table.contains("enabled by the operator"), "{table}");
}
