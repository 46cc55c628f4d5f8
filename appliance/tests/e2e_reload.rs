//! A configuration is replaced under open connections, or refused and nothing changes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use e2e::{FAMILIES, Stage, names, on_both_drivers, order, refused, status, wait_for};
use lab::topology::slb_routed::{HTTP_PORT, Service};
use lab::{Appliance, HeldConnections, Signal};

on_both_drivers! {
    a_reload_under_two_hundred_open_connections_breaks_none,
    a_reload_with_an_error_says_where_and_changes_nothing,
    a_hangup_signal_reloads_and_refuses_as_the_command_does,
    a_reload_that_needs_a_restart_is_refused_by_the_names_of_the_keys,
    a_service_removed_from_the_file_resets_its_sessions_and_gives_up_its_address,
}

/// A hundred connections of each family, and who serves each.
fn two_hundred(stage: &Stage) -> Vec<(HeldConnections, Vec<String>)> {
    let open = |(vip, _client)| {
        let mut held = stage.hold_open(vip, 100);
        let names = names(&mut held);
        (held, names)
    };
    FAMILIES.into_iter().map(open).collect()
}

fn assert_unharmed(connections: &mut [(HeldConnections, Vec<String>)]) {
    for (held, before) in connections {
        assert_eq!(names(held), *before);
    }
}

fn without_last_server(mut services: Vec<Service>) -> Vec<Service> {
    for service in &mut services {
        service.servers.pop();
    }
    services
}

/// With a scheduler that does not exist, and the place that an error must name.
fn with_error(text: &str) -> (String, String) {
    let line = text.lines().position(|line| line.starts_with("scheduler")).unwrap() + 1;
    (
        text.replacen("scheduler = \"round-robin\"", "scheduler = \"round-robbing\"", 1),
        format!("toml:{line}:"),
    )
}

fn a_reload_under_two_hundred_open_connections_breaks_none(driver: &str) {
    let stage = Stage::new(driver);
    let (_web, _hold) = (stage.web(), stage.hold());
    let appliance = stage.start(&stage.hold_services());
    let mut connections = two_hundred(&stage);
    let mut services = without_last_server(stage.hold_services());
    services.extend(stage.web_services());
    let weight = format!("address = \"{}\"\n", stage.lab.servers[1].v4);
    let text = stage.text(&services).replacen(&weight, &format!("{weight}weight = 5\n"), 1);
    stage.write(&text.replacen("\n\n[[port]]", "\n\n[timeouts]\ntcp_closing = \"30s\"\n\n[[port]]", 1));
    order(&appliance, &["reload"]);
    assert_unharmed(&mut connections);

    let removed = &stage.lab.servers[2];
    for (vip, _client) in FAMILIES {
        let new = names(&mut stage.hold_open(vip, 20));
        assert!(!new.contains(&removed.name), "{new:?}");
        wait_for("the new service", || stage.ask((vip, HTTP_PORT), 3).answered() == 3);
    }
    assert_eq!(e2e::states_of(&appliance, [removed.v4, removed.v6])[..2], ["draining", "draining"]);
    assert_eq!(e2e::server(&appliance, "hold-v4", stage.lab.servers[1].v4)["weight"], 5);
    assert_unharmed(&mut connections);
}

fn a_reload_with_an_error_says_where_and_changes_nothing(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let appliance = stage.start(&stage.hold_services());
    let mut connections = two_hundred(&stage);
    let (text, place) = with_error(&stage.text(&without_last_server(stage.hold_services())));
    stage.write(&text);
    let before = status(&appliance);
    let (exit, words) = refused(&appliance, &["reload"]);
    assert_eq!(exit, Some(2));
    assert!(words.contains(&place) && words.contains("round-robbing"), "{place} in {words}");
    let after = status(&appliance);
    assert!(after["pending_reload_error"].as_str().unwrap().contains(&place), "{after}");
    assert_eq!(after["plan_generation"], before["plan_generation"]);
    assert_eq!(after["servers_total"], 6);
    assert_unharmed(&mut connections);
    let all: Vec<String> =
        FAMILIES.iter().flat_map(|(vip, _)| names(&mut stage.hold_open(*vip, 3))).collect();
    assert_eq!(all.iter().filter(|name| *name == "server3").count(), 2, "the old file is in force");

    stage.write(&stage.text(&stage.hold_services()));
    order(&appliance, &["reload"]);
    assert!(status(&appliance)["pending_reload_error"].is_null());
    assert_unharmed(&mut connections);
}

fn a_hangup_signal_reloads_and_refuses_as_the_command_does(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let appliance = stage.start(&stage.hold_services());
    let mut connections = two_hundred(&stage);
    let hang_up = |appliance: &Appliance| appliance.process().signal(Signal::HUP).unwrap();
    let text = stage.text(&without_last_server(stage.hold_services()));
    let (wrong, place) = with_error(&text);
    stage.write(&wrong);
    hang_up(&appliance);
    wait_for("the refusal in the log", || appliance.log().contains(&place));
    assert!(status(&appliance)["pending_reload_error"].is_string());
    stage.write(&text);
    hang_up(&appliance);
    wait_for("the new file", || status(&appliance)["pending_reload_error"].is_null());
    assert_eq!(e2e::server(&appliance, "hold-v4", stage.lab.servers[2].v4)["state"], "draining");
    assert_unharmed(&mut connections);
}

fn a_reload_that_needs_a_restart_is_refused_by_the_names_of_the_keys(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let appliance = stage.start(&stage.hold_services());
    let mut connections = two_hundred(&stage);
    let text = stage.text(&without_last_server(stage.hold_services()));
    let text = text.replace("session_capacity = 20000", "session_capacity = 30000");
    stage.write(&text.replace("polling = \"adaptive\"", "polling = \"busy\""));
    let (exit, words) = refused(&appliance, &["reload"]);
    assert_eq!(exit, Some(2));
    assert!(words.contains("appliance.session_capacity") && words.contains("appliance.polling"), "{words}");
    assert!(!words.contains("appliance.workers"), "{words}");
    assert_eq!(e2e::server(&appliance, "hold-v4", stage.lab.servers[2].v4)["state"], "up");
    assert_unharmed(&mut connections);
}

fn a_service_removed_from_the_file_resets_its_sessions_and_gives_up_its_address(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let appliance = stage.start(&stage.hold_services());
    let mut connections = two_hundred(&stage);
    let (v4, v6) = (stage.hold_services().remove(0), stage.hold_services().remove(1));
    assert!(stage.ping(&v6.target.ip().to_string()).0);
    stage.write(&stage.text(&[v4]));
    order(&appliance, &["reload"]);
    let (mut of_v6, mut of_v4) = (connections.remove(1), connections);
    let ends = of_v6.0.wait_for_ends(std::time::Duration::from_secs(2));
    assert!(ends.iter().all(|end| *end == lab::HeldState::Reset), "{:?}", HeldConnections::tally(&ends));
    assert!(!stage.ping(&format!("-w 2 {}", v6.target.ip())).0, "nobody holds the address now");
    assert_unharmed(&mut of_v4);
}
