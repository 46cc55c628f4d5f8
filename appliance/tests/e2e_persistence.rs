//! Clients that come back to their server, through the real binary: what a client meets and what `show` tells of it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use e2e::{FAMILIES, Stage, family, names, on_both_drivers, order, refused, wait_for};
use lab::Appliance;
use serde_json::Value;

on_both_drivers! {
    a_client_comes_back_to_its_server_over_a_reload_and_until_that_drains,
    a_service_that_forgets_its_clients_shows_none,
}

/// The servers that some new connections of the client meet.
fn met(stage: &Stage, vip: IpAddr) -> BTreeSet<String> {
    names(&mut stage.hold_open(vip, 6)).into_iter().collect()
}

/// Who is remembered, as programs are told.
fn remembered(appliance: &Appliance) -> Vec<Value> {
    let output = appliance.command(&["show", "sessions", "--sticky", "--json"]).unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice::<Value>(&output.stdout).unwrap().as_array().unwrap().clone()
}

fn text(stage: &Stage, keys: &str) -> String {
    stage.text(&stage.hold_services()).replace("scheduler = \"round-robin\"\n", keys)
}

const PERSISTENT: &str =
    "scheduler = \"round-robin\"\npersistence = { key = \"source-address\", timeout = \"5m\" }\n";

fn a_client_comes_back_to_its_server_over_a_reload_and_until_that_drains(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let appliance = stage.start_with(&text(&stage, PERSISTENT));
    for (vip, client) in FAMILIES {
        let first = met(&stage, vip);
        assert_eq!(first.len(), 1, "{first:?}");
        assert_eq!(met(&stage, vip), first);
        stage.write(&text(&stage, &PERSISTENT.replace("5m", "10m")));
        order(&appliance, &["reload"]);
        assert_eq!(met(&stage, vip), first, "a reload forgets nobody");

        let service = format!("hold-{}", family(vip));
        let rows: Vec<Value> =
            remembered(&appliance).into_iter().filter(|row| row["service"] == *service).collect();
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!((&rows[0]["client"], &rows[0]["timeout_s"]), (&client.to_string().into(), &600.into()));
        let server = stage.lab.servers.iter().find(|server| first.contains(&server.name)).unwrap();
        let address = server.address_like(vip).to_string();
        assert!(rows[0]["server"].as_str().unwrap().contains(&address), "{rows:?}");
        let table = appliance.command(&["show", "sessions", "--sticky"]).unwrap();
        assert!(String::from_utf8_lossy(&table.stdout).contains(&client.to_string()), "for people");

        order(&appliance, &["server", "drain", &service, &address]);
        let second = met(&stage, vip);
        assert!(second.len() == 1 && second.is_disjoint(&first), "{first:?}, then {second:?}");
        order(&appliance, &["server", "enable", &service, &address]);
        assert_eq!(met(&stage, vip), second, "who was replaced stays replaced");
    }
    let (exit, words) = refused(&appliance, &["show", "servers", "--sticky"]);
    assert_eq!(exit, Some(2), "{words}");
}

fn a_service_that_forgets_its_clients_shows_none(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let appliance = stage.start_with(&text(&stage, PERSISTENT));
    let held: Vec<_> = FAMILIES.iter().map(|(vip, _client)| stage.hold_open(*vip, 3)).collect();
    assert_eq!(remembered(&appliance).iter().map(|row| row["sessions"].as_u64().unwrap()).sum::<u64>(), 6);
    // They are forgotten with the next round of housekeeping, a second later: who asks again sooner still finds them.
    wait_for("the clients to be forgotten", || {
        stage.write(&text(&stage, "scheduler = \"round-robin\"\n"));
        order(&appliance, &["reload"]);
        assert!(remembered(&appliance).is_empty(), "no service remembers anybody");
        thread::sleep(Duration::from_millis(1_500));
        stage.write(&text(&stage, PERSISTENT));
        order(&appliance, &["reload"]);
        remembered(&appliance).is_empty()
    });
    drop(held);
}
