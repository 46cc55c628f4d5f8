//! A flood of new flows against a small session table: what is established lives.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use e2e::{FAMILIES, Stage, family, names, on_both_drivers, order, row, service_text, status, wait_for};
use lab::topology::slb_routed::{HOLD_PORT, HTTP_PORT, UDP_PORT, VIP_V4, VIP_V6};

on_both_drivers! {
    half_open_connections_make_room_for_new_ones_and_no_established_one_is_harmed,
    a_table_full_of_flows_that_may_not_go_refuses_new_ones_says_so_and_recovers,
}

const CAPACITY: u32 = 1_024;
/// Where the services are whose server never says a word.
const SILENT_PORT: u16 = 9_000;
const FLOOD_THREADS: usize = 4;
const FLOWS_PER_THREAD: usize = 500;
/// How long a client of the flood waits for an answer.
const FLOW_PATIENCE: Duration = Duration::from_millis(10);

/// Services with a server behind a MAC address that nobody has.
fn silent_services(stage: &Stage) -> String {
    let mac = "02:00:00:00:02:01";
    let mut text = String::new();
    for (vip, server) in [(VIP_V4, "198.18.1.99"), (VIP_V6, "2001:db8:1::99")] {
        let words = ["neigh", "add", server, "lladdr", mac, "dev", "inside", "nud", "permanent"];
        assert!(stage.in_appliance("ip", &words).status.success());
        let keys = format!("protocol = \"tcp\"\nport = {SILENT_PORT}");
        let server = format!("address = \"{server}\"");
        text += &service_text(&format!("silent-{}", family(vip)), &vip.to_string(), &keys, &[&server]);
    }
    text
}

/// A bounded number of flows, each from a new port, from a few threads. What comes of each is of no interest.
fn flood(stage: &Stage, flow: impl Fn() + Sync) {
    let one = || stage.lab.client.namespace().run(|| (0..FLOWS_PER_THREAD).for_each(|_| flow())).unwrap();
    thread::scope(|scope| (0..FLOOD_THREADS).for_each(|_| drop(scope.spawn(one))));
}

fn small(driver: &str) -> Stage {
    let mut stage = Stage::new(driver);
    stage.options.session_capacity = CAPACITY;
    stage
}

fn half_open_connections_make_room_for_new_ones_and_no_established_one_is_harmed(driver: &str) {
    let stage = small(driver);
    let (_web, _hold) = (stage.web(), stage.hold());
    let services = [stage.hold_services(), stage.web_services()].concat();
    let text = stage.text(&services) + &silent_services(&stage);
    let appliance = stage.start_with(&text);
    for (vip, _client) in FAMILIES {
        let mut held = stage.hold_open(vip, 100);
        let before = names(&mut held);
        let target = (vip, SILENT_PORT).into();
        flood(&stage, || drop(TcpStream::connect_timeout(&target, Duration::from_millis(1))));
        assert_eq!(names(&mut held), before);
        assert_eq!(stage.ask((vip, HTTP_PORT), 30).answered(), 30, "new connections find room");
        assert_eq!(names(&mut held), before);
    }
    assert!(status(&appliance)["sessions_evicted"].as_u64().unwrap() > 1_000);
}

fn a_table_full_of_flows_that_may_not_go_refuses_new_ones_says_so_and_recovers(driver: &str) {
    let stage = small(driver);
    let (_web, _hold, _echo) = (stage.web(), stage.hold(), stage.echo());
    let mut services = [stage.hold_services(), stage.web_services()].concat();
    services.extend(stage.services("echo", "udp", UDP_PORT, Some(HOLD_PORT)));
    let appliance = stage.start(&services);
    let mut held: Vec<_> = FAMILIES.iter().map(|(vip, _client)| stage.hold_open(*vip, 100)).collect();
    let before: Vec<_> = held.iter_mut().map(names).collect();
    for (vip, _client) in FAMILIES {
        flood(&stage, || drop(lab::udp_ask((vip, UDP_PORT).into(), FLOW_PATIENCE)));
    }
    let full = status(&appliance);
    assert_eq!(
        (&full["state"], full["reasons"].as_array().unwrap().len()),
        (&"degraded".into(), 2),
        "{full}"
    );
    assert!(full["reasons"][0].as_str().unwrap().contains("session table is full"), "{full}");
    assert!(row(&appliance, "drops", "reason", "session-table-full")["packets"].as_u64().unwrap() > 500);
    assert_eq!(held.iter_mut().map(names).collect::<Vec<_>>(), before);

    stage.write(&format!("[timeouts]\nudp = \"1s\"\n\n{}", stage.text(&services)));
    order(&appliance, &["reload"]);
    wait_for("the table to empty itself", || status(&appliance)["state"] == "forwarding");
    for (vip, _client) in FAMILIES {
        assert_eq!(stage.ask((vip, HTTP_PORT), 30).answered(), 30);
    }
    assert_eq!(held.iter_mut().map(names).collect::<Vec<_>>(), before);
}
