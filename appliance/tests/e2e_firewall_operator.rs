//! Firewalls as an operator sees and turns them: shares, states, who passes which, and what becomes of them in a reload.
//! The lab's servers stand in for firewalls with a network behind each; the other end of a sandwich is not here.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use e2e::{FAMILIES, PATIENCE, Stage, family, names, on_both_drivers, order, refused, show, status};
use lab::topology::slb_routed::HOLD_PORT;
use lab::{Appliance, HeldConnections, HeldState};
use serde_json::{Value, json};

on_both_drivers! {
    a_firewall_that_no_route_leads_to_by_its_port_is_an_alarm,
    firewalls_are_shown_taken_out_and_put_back,
    a_firewall_that_leaves_the_file_keeps_its_flows_until_they_end,
}

/// What lies behind the firewalls, in both families: each has it.
const BEYOND: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 19, 0, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xbe, 0, 0, 0, 0, 1))];
const NETWORKS: [&str; 2] = ["198.19.0.0/16", "2001:db8:be::/48"];

/// Connections of a client, so many that each of three firewalls gets some.
const CONNECTIONS: usize = 60;

fn beyond(stage: &Stage) {
    for server in &stage.lab.servers {
        for address in BEYOND {
            let words = ["address", "add", &address.to_string(), "dev", "lo"];
            assert!(e2e::run_in(server.namespace(), "ip", &words).status.success());
        }
    }
}

/// The configuration with these of the servers as firewalls.
fn text(stage: &Stage, firewalls: &[usize]) -> String {
    let key = "[appliance]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n";
    let mut text = stage.text(&[]).replacen("[appliance]\n", key, 1);
    for ((vip, _client), network) in FAMILIES.into_iter().zip(NETWORKS) {
        text += &format!("\n[[firewall_group]]\nname = \"fw-{}\"\nnetworks = [\"{network}\"]\n", family(vip));
        text += "hash = \"five-tuple\"\n";
        for &place in firewalls {
            let server = &stage.lab.servers[place];
            let (name, address) = (&server.name, server.address_like(vip));
            text += &format!("[[firewall_group.firewall]]\nname = \"{name}\"\naddress = \"{address}\"\n");
        }
    }
    text
}

fn firewalls(appliance: &Appliance, group: &str) -> BTreeMap<String, Value> {
    let rows = show(appliance, "firewalls");
    let of_group = rows.as_array().unwrap().iter().filter(|row| row["group"] == group);
    of_group.map(|row| (row["name"].as_str().unwrap().to_owned(), row.clone())).collect()
}

fn open(stage: &Stage, target: IpAddr) -> HeldConnections {
    let namespace = stage.lab.client.namespace();
    HeldConnections::open(namespace, (target, HOLD_PORT).into(), CONNECTIONS, PATIENCE).unwrap().unwrap()
}

fn count(names: &[String], name: &str) -> usize {
    names.iter().filter(|other| *other == name).count()
}

fn firewalls_are_shown_taken_out_and_put_back(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    beyond(&stage);
    let appliance = stage.start_with(&text(&stage, &[0, 1, 2]));
    for (vip, target) in FAMILIES.map(|(vip, _client)| vip).into_iter().zip(BEYOND) {
        let group = format!("fw-{}", family(vip));
        let mut held = open(&stage, target);
        let served = names(&mut held);
        let rows = firewalls(&appliance, &group);
        for (name, row) in &rows {
            assert_eq!(row["sessions_active"], count(&served, name), "{row}");
            assert!((300..=366).contains(&row["share_permille"].as_u64().unwrap()), "{row}");
            assert_eq!(
                (&row["state"], &row["drifted_flows"], &row["port"]),
                (&json!("up"), &json!(0), &json!("inside"))
            );
            assert_eq!(row["fingerprint"], rows["server1"]["fingerprint"]);
        }
        let sessions = show(&appliance, "sessions");
        let sessions: Vec<&Value> = sessions
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["vip"].as_str().unwrap().contains(&target.to_string()))
            .collect();
        let passed: Vec<String> =
            sessions.iter().map(|row| row["firewall"].as_str().unwrap().to_owned()).collect();
        for name in rows.keys() {
            assert_eq!(count(&passed, name), count(&served, name), "{sessions:?}");
        }
        assert!(sessions.iter().all(|row| row["service"].is_null()));

        order(&appliance, &["firewall", "disable", &group, "server2"]);
        assert_eq!(firewalls(&appliance, &group)["server2"]["state"], "disabled");
        assert_eq!(status(&appliance)["firewalls_up"], 5);
        for (state, name) in held.probe(PATIENCE).into_iter().zip(&served) {
            // Moved to who knows nothing of them; the others' are not touched.
            assert_eq!(state == HeldState::Alive(name.clone()), name != "server2", "{state:?} of {name}");
        }
        order(&appliance, &["firewall", "enable", &group, "server2"]);

        let mut held = open(&stage, target);
        let served = names(&mut held);
        assert!(count(&served, "server2") > 0, "back in its rows");
        order(&appliance, &["firewall", "drain", &group, "server2"]);
        let row = &firewalls(&appliance, &group)["server2"];
        assert_eq!((&row["state"], &row["share_permille"]), (&json!("draining"), &json!(0)));
        assert_eq!(row["reason"], "draining by the operator");
        assert_eq!(count(&names(&mut open(&stage, target)), "server2"), 0, "no new ones");
        assert_eq!(names(&mut held), served, "and the old ones stay");

        for name in ["server1", "server2", "server3"] {
            order(&appliance, &["firewall", "disable", &group, name]);
        }
        let reasons = status(&appliance)["reasons"].clone();
        assert_eq!(reasons, json!([format!("firewall group {group}: none of its 3 firewalls is up")]));
        for name in ["server1", "server2", "server3"] {
            order(&appliance, &["firewall", "enable", &group, name]);
        }
        assert!(count(&names(&mut open(&stage, target)), "server2") > 0, "back in its rows");
        assert_eq!(status(&appliance)["reasons"], json!([]));
    }
    let plain = appliance.command(&["show", "firewalls"]).unwrap();
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert!(plain.contains("fw-v4: to 198.19.0.0/16; hash five-tuple, on_failure move"), "{plain}");
    for (words, help) in [
        (["firewall", "drain", "fw-v5", "server1"], "there are: fw-v4, fw-v6"),
        (["firewall", "drain", "fw-v4", "server9"], "it has: server1, server2, server3"),
    ] {
        let (exit, answer) = refused(&appliance, &words);
        assert_eq!(exit, Some(2), "{words:?}: {answer}");
        assert!(answer.contains(help), "{help} in {answer}");
    }
}

fn a_firewall_that_leaves_the_file_keeps_its_flows_until_they_end(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    beyond(&stage);
    let appliance = stage.start_with(&text(&stage, &[0, 1, 2]));
    let mut held = BEYOND.map(|target| open(&stage, target));
    let served = [names(&mut held[0]), names(&mut held[1])];
    stage.write(&text(&stage, &[2, 0]));
    order(&appliance, &["reload"]);
    for (place, target) in BEYOND.into_iter().enumerate() {
        assert_eq!(names(&mut held[place]), served[place]);
        assert_eq!(count(&names(&mut open(&stage, target)), "server2"), 0);
        let row = &firewalls(&appliance, if target.is_ipv4() { "fw-v4" } else { "fw-v6" })["server2"];
        assert_eq!((&row["state"], &row["reason"]), (&json!("draining"), &json!("removed from the file")));
        assert_eq!(row["sessions_active"], count(&served[place], "server2"));
    }
}

fn a_firewall_that_no_route_leads_to_by_its_port_is_an_alarm(driver: &str) {
    let stage = Stage::new(driver);
    let address = format!("address = \"{}\"\n", stage.lab.servers[1].v4);
    let text = text(&stage, &[0, 1]).replacen(&address, &format!("{address}port = \"outside\"\n"), 1);
    let appliance = stage.launch(&stage.write(&text));
    let row = &firewalls(&appliance, "fw-v4")["server2"];
    assert_eq!(row["alarm"], format!("no route leads to {} by port outside", stage.lab.servers[1].v4));
    assert_eq!(row["port"], Value::Null);
    let reasons = status(&appliance)["reasons"].clone();
    assert_eq!(reasons, json!([format!("firewall server2 of fw-v4: {}", row["alarm"].as_str().unwrap())]));
    assert_eq!(firewalls(&appliance, "fw-v6")["server2"]["alarm"], Value::Null);
}
