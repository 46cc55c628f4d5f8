//! What a running appliance shows of itself, in the words that programs rely on.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::net::SocketAddr;

use e2e::{FAMILIES, Stage, names, on_both_drivers, refused, row, show, status, wait_for};
use lab::Appliance;
use lab::topology::slb_routed::{HOLD_PORT, HTTP_PORT};
use serde_json::Value;

on_both_drivers! {
    every_table_has_its_promised_fields_and_counts_what_happened,
    received_frames_are_transmitted_parked_or_dropped_for_one_reason,
    what_is_asked_wrongly_is_refused_with_status_two,
    a_dsr_service_tells_the_set_up_of_its_servers_as_its_file_does,
}

/// The fields of every row, and whether a row must be there.
const FIELDS: [(&str, &str); 7] = [
    (
        "services",
        "name address protocol port mode scheduler state reason quorum sessions_active sessions_total packets_in \
         bytes_in packets_out bytes_out servers",
    ),
    (
        "servers",
        "service address port weight configured_weight differs state since in_state_s sessions_active \
         sessions_total response_time_ms last_check reason history",
    ),
    ("drops", "reason packets"),
    ("ports", "name interface driver mode rx_packets rx_bytes tx_packets tx_bytes rx_dropped tx_dropped"),
    ("workers", "cpu packets busy_ratio sessions"),
    ("sessions", "client vip server firewall protocol state age_s idle_s packets_in packets_out"),
    ("neighbours", "port address mac state"),
];

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

/// A field of each row, summed up.
fn sum(appliance: &Appliance, what: &str, field: &str) -> u64 {
    show(appliance, what).as_array().unwrap().iter().map(|row| number(&row[field])).sum()
}

fn every_table_has_its_promised_fields_and_counts_what_happened(driver: &str) {
    let stage = Stage::new(driver);
    let (_web, _hold) = (stage.web(), stage.hold());
    let appliance = stage.start(&[stage.hold_services(), stage.web_services()].concat());
    // A reset for no session, so that there is a drop to show.
    let closed = SocketAddr::new(FAMILIES[0].0, HOLD_PORT + 1);
    assert_eq!(stage.ask(closed, 1).answered(), 0);
    let mut held: Vec<_> = FAMILIES.iter().map(|(vip, _client)| stage.hold_open(*vip, 30)).collect();
    held.iter_mut().for_each(|held| assert_eq!(names(held).len(), 30));
    assert_eq!(stage.ask((FAMILIES[0].0, HTTP_PORT), 30).answered(), 30);

    for (what, fields) in FIELDS {
        let table = show(&appliance, what);
        let rows = table.as_array().unwrap();
        assert!(!rows.is_empty() || what == "drops", "{what} is empty");
        for (row, field) in rows.iter().flat_map(|row| fields.split(' ').map(move |field| (row, field))) {
            assert!(row.get(field).is_some(), "{what} has no {field}: {row}");
        }
    }
    for name in ["hold-v4", "hold-v6"] {
        let service = row(&appliance, "services", "name", name);
        assert_eq!(
            (number(&service["sessions_active"]), number(&service["sessions_total"])),
            (30, 30),
            "{name}"
        );
        // Handshake and question make three packets of each client, two of its server.
        assert!(number(&service["packets_in"]) >= 90 && number(&service["packets_out"]) >= 60, "{service}");
        assert!(number(&service["bytes_in"]) >= 90 * 40 && number(&service["bytes_out"]) >= 60 * 40);
        let shares = service["servers"].as_array().unwrap();
        assert!(shares.iter().all(|server| number(&server["sessions_active"]) == 10), "{service}");
    }
    assert_eq!(number(&row(&appliance, "services", "name", "web-v4")["sessions_total"]), 30);
    let sessions = show(&appliance, "sessions");
    let held_shown = sessions.as_array().unwrap().iter().filter(|row| row["state"] == "established");
    let of_client = |row: &&Value| {
        held.iter()
            .flat_map(lab::HeldConnections::local_addresses)
            .any(|own| row["client"] == own.to_string())
    };
    assert_eq!(held_shown.filter(of_client).count(), 60);
    let ports = show(&appliance, "ports");
    assert!(
        ports.as_array().unwrap().iter().all(|port| port["driver"].as_str().unwrap() == driver),
        "{ports}"
    );
    assert_eq!(status(&appliance)["state"], "forwarding");
    for what in
        ["status", "services", "servers", "sessions", "ports", "workers", "drops", "neighbours", "latency"]
    {
        let output = appliance.command(&["show", what]).unwrap();
        assert!(output.status.success(), "show {what}, for people");
    }
    drop(held);
    wait_for("sessions to close", || {
        let sessions = show(&appliance, "sessions");
        sessions.as_array().unwrap().iter().all(|row| row["state"] != "established")
    });
}

fn received_frames_are_transmitted_parked_or_dropped_for_one_reason(driver: &str) {
    let stage = Stage::new(driver);
    let (_web, _hold) = (stage.web(), stage.hold());
    let appliance = stage.start(&[stage.hold_services(), stage.web_services()].concat());
    for (vip, _client) in FAMILIES {
        assert_eq!(stage.ask((vip, HTTP_PORT), 60).answered(), 60);
        assert_eq!(stage.ask((vip, HTTP_PORT + 1), 6).answered(), 0);
        assert!(stage.ping(&vip.to_string()).0);
        // Nobody is there: the frame waits for its next hop, and is answered for in the end.
        let nobody = if vip.is_ipv4() { "198.18.1.99" } else { "2001:db8:1::99" };
        assert!(!stage.ping(&format!("-w 1 {nobody}")).0);
        assert!(!stage.ping(&format!("-s 3000 -w 1 {vip}")).0, "fragments are dropped");
    }
    wait_for("the sums to be equal on a quiet wire", || {
        let status = status(&appliance);
        let [received, transmitted, dropped, parked, answered] =
            ["received", "transmitted", "dropped", "parked", "answered"].map(|name| number(&status[name]));
        let by_reason = |drops: &Value| -> u64 {
            let own = |row: &&Value| {
                let reason = row["reason"].as_str().unwrap();
                !reason.starts_with("ring-") && !reason.starts_with("steering-")
            };
            drops.as_array().unwrap().iter().filter(own).map(|row| number(&row["packets"])).sum()
        };
        received == transmitted + dropped + parked
            && received == sum(&appliance, "workers", "packets")
            && received == sum(&appliance, "ports", "rx_packets")
            && transmitted + number(&status["injected"]) == sum(&appliance, "ports", "tx_packets")
            && dropped == by_reason(&show(&appliance, "drops"))
            && answered > 0
            && dropped > 0
            && parked == 0
    });
}

fn what_is_asked_wrongly_is_refused_with_status_two(driver: &str) {
    let stage = Stage::new(driver);
    let appliance = stage.start(&[]);
    for (words, help) in [
        (&["server", "drain", "nothing", "198.18.1.11"][..], "nothing"),
        (&["server", "drain", "web", "server1"], "server1"),
        (&["show", "weather"], "status"),
        (&["server", "melt", "web", "198.18.1.11"], "drain"),
    ] {
        let (exit, answer) = refused(&appliance, words);
        assert_eq!(exit, Some(2), "{words:?}: {answer}");
        assert!(answer.contains(help), "{help} in {answer}");
    }
    appliance.stop(e2e::PATIENCE).unwrap();
    assert_eq!(refused(&appliance, &["show", "status"]).0, Some(1), "nobody is there");
}

fn a_dsr_service_tells_the_set_up_of_its_servers_as_its_file_does(driver: &str) {
    let stage = Stage::new(driver);
    let routed = format!("mode = \"routed\"\nsource_nat = \"{}\"", stage.options.source_nat);
    let text = stage.text(&stage.web_services()).replacen(&routed, "mode = \"l2-dsr\"", 1);
    let file = stage.write(&text);
    let appliance = stage.launch(&file);
    let words = ["real-server", "web-v4", "--os", "debian"];
    let asked = appliance.command(&words).unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let read = stage.in_appliance(e2e::JEOUL, &[&words[..], &["--config", file.to_str().unwrap()]].concat());
    assert!(read.status.success() && read.stdout == asked.stdout);
    assert!(String::from_utf8(asked.stdout).unwrap().contains(&format!("{}/32 dev lo", FAMILIES[0].0)));
    for (service, why) in [("web-v6", "mode \"routed\""), ("nothing", "web-v4, web-v6")] {
        let (exit, answer) = refused(&appliance, &["real-server", service, "--os", "debian"]);
        assert_eq!(exit, Some(2), "{answer}");
        assert!(answer.contains(why), "{answer}");
    }
}
