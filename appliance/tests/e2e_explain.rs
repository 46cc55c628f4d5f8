//! What `jeoul explain` says, held against what then happens on the wire.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::net::SocketAddr;

use e2e::{FAMILIES, Stage, names, on_both_drivers, refused, show};
use lab::Appliance;
use lab::topology::slb_routed::{HOLD_PORT, HTTP_PORT};
use serde_json::Value;

on_both_drivers! {
    what_explain_says_of_a_connection_is_what_the_connection_gets,
    what_explain_is_asked_wrongly_is_refused_and_what_it_is_asked_leaves_no_trace,
}

/// What `explain --json` says of a TCP packet.
fn explain(appliance: &Appliance, source: SocketAddr, destination: SocketAddr) -> Value {
    let (source, destination) = (source.to_string(), format!("{destination}/tcp"));
    let output = appliance.command(&["explain", &source, &destination, "--json"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value:#}"))
}

/// The server that `explain` names, as `show sessions` writes it.
fn server(told: &Value) -> String {
    let address = text(told, "/request/server/address").parse().unwrap();
    SocketAddr::new(address, told["request"]["server"]["port"].as_u64().unwrap() as u16).to_string()
}

fn what_explain_says_of_a_connection_is_what_the_connection_gets(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let appliance = stage.start(&stage.hold_services());
    for (vip, client) in FAMILIES {
        let target = SocketAddr::new(vip, HOLD_PORT);
        let mut turns = Vec::new();
        for _ in 0..3 {
            // A round does not look at the client's port, so that any stands for the one that comes.
            let foretold = explain(&appliance, SocketAddr::new(client, 9), target);
            assert!(foretold["session"].is_null(), "{foretold:#}");
            let mut held = stage.hold_open(vip, 1);
            assert_eq!(names(&mut held).len(), 1);
            let source = held.local_addresses()[0];
            let sessions = show(&appliance, "sessions");
            let session = sessions.as_array().unwrap().iter().find(|row| row["client"] == source.to_string());
            let session = session.unwrap_or_else(|| panic!("{source} in {sessions:#}"));
            assert_eq!(session["server"], server(&foretold), "{foretold:#}");
            turns.push(server(&foretold));

            let told = explain(&appliance, source, target);
            assert_eq!(text(&told, "/session/state"), "established", "{told:#}");
            assert_eq!(server(&told), server(&foretold));
            for (act, port) in [("request", "inside"), ("reply", "outside")] {
                assert_eq!(text(&told, &format!("/{act}/outcome")), "forwarded");
                assert_eq!(text(&told, &format!("/{act}/to/0/port")), port);
            }
            let inside = stage.lab.inside.mac().to_string();
            let sent_from = told["request"]["rewrite"].as_array().unwrap().iter();
            let sent_from = sent_from.clone().find(|row| row["field"] == "source_mac").unwrap();
            assert_eq!(sent_from["after"], inside);
        }
        turns.sort();
        turns.dedup();
        assert_eq!(turns.len(), 3, "{turns:?}");
    }
}

fn what_explain_is_asked_wrongly_is_refused_and_what_it_is_asked_leaves_no_trace(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let appliance = stage.start(&stage.web_services());
    let traces = || {
        let services = show(&appliance, "services");
        let totals = services.as_array().unwrap().iter();
        let totals: Vec<Value> = totals.map(|row| row["sessions_total"].clone()).collect();
        (totals, show(&appliance, "sessions"))
    };
    let before = traces();
    for (vip, client) in FAMILIES {
        let client = SocketAddr::new(client, 40_000);
        explain(&appliance, client, SocketAddr::new(vip, HTTP_PORT));
        let told = explain(&appliance, client, SocketAddr::new(vip, HTTP_PORT + 1));
        assert_eq!(text(&told, "/request/answer/what"), "TCP reset");
        let target = format!("{}/tcp", SocketAddr::new(vip, HTTP_PORT));
        let output = appliance.command(&["explain", &client.to_string(), &target]).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("Request\n") && said.contains("Reply\n"), "{said}");
        assert!(said.contains("its turn, of 3 that take sessions"), "{said}");
        let (exit, answer) =
            refused(&appliance, &["explain", &client.to_string(), &target, "--port", "moon"]);
        assert_eq!(exit, Some(2), "{answer}");
        assert!(answer.contains("there are: outside, inside"), "{answer}");
    }
    assert!(before == traces());
}
