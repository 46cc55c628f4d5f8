//! Source NAT: servers see an address of the appliance in place of the client's.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use e2e::{FAMILIES, Stage, names, on_both_drivers, run_in};
use lab::topology::slb_routed::{HOLD_PORT, HTTP_PORT};
use lab::{Capture, Direction, TcpHold};

on_both_drivers! {
    behind_source_nat_two_hundred_connections_of_one_client_have_ports_of_the_virtual_address,
    a_pool_address_is_answered_for_and_needs_no_route_back_to_the_client,
}

/// What all servers together see as their clients, but for the health checks, which have ended.
fn clients_of(hold: &[TcpHold]) -> Vec<(usize, SocketAddr)> {
    let of_server = |(server, hold): (usize, &TcpHold)| {
        hold.clients().into_iter().map(move |client| (server, client)).collect::<Vec<_>>()
    };
    hold.iter().enumerate().flat_map(of_server).collect()
}

fn behind_source_nat_two_hundred_connections_of_one_client_have_ports_of_the_virtual_address(driver: &str) {
    let mut stage = Stage::new(driver);
    stage.options.source_nat = "always".into();
    let (_web, hold) = (stage.web(), stage.hold());
    let appliance = stage.start(&[stage.hold_services(), stage.web_services()].concat());
    let at_server = Capture::start(&stage.lab.servers[0].end, "at-server", Direction::Both).unwrap();
    for (vip, client) in FAMILIES {
        let mut held = stage.hold_open(vip, 200);
        assert_eq!(names(&mut held).len(), 200);
        let of_vip = |all: Vec<(usize, SocketAddr)>| -> Vec<(usize, SocketAddr)> {
            all.into_iter().filter(|(_server, seen)| seen.ip() == vip).collect()
        };
        let seen = of_vip(clients_of(&hold));
        assert_eq!(seen.len(), 200);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 200, "no two alike at one server");
        assert!(seen.iter().all(|(_server, seen)| seen.port() >= 1_024 && seen.port() != HOLD_PORT));
        let sessions = e2e::show(&appliance, "sessions");
        let translated = |row: &&serde_json::Value| {
            let address = row["source_nat"].as_str().map(|text| text.parse::<SocketAddr>().unwrap().ip());
            address == Some(vip) && row["client"].as_str().unwrap().contains(&client.to_string())
        };
        assert_eq!(sessions.as_array().unwrap().iter().filter(translated).count(), 200);

        let report = stage.ask((vip, HTTP_PORT), 30);
        assert_eq!(report.clients_seen, BTreeMap::from([(vip, 30)]), "{report}");
        assert_eq!(names(&mut held).len(), 200);
    }
    let at_server = at_server.stop().unwrap();
    at_server.verify_checksums().unwrap();
    assert!(FAMILIES.iter().all(|(_vip, client)| at_server.packets_of(*client).is_empty()));
}

fn a_pool_address_is_answered_for_and_needs_no_route_back_to_the_client(driver: &str) {
    let mut stage = Stage::new(driver);
    stage.options.source_nat = "always".into();
    let _web = stage.web();
    let pool: [IpAddr; 2] = ["198.18.1.250".parse().unwrap(), "2001:db8:1::250".parse().unwrap()];
    let mut text = stage.text(&stage.web_services());
    for ((vip, _client), address) in FAMILIES.iter().zip(pool) {
        let line = format!("address = \"{vip}\"\n");
        text = text.replacen(&line, &format!("{line}source_addresses = [\"{address}\"]\n"), 1);
    }
    for server in &stage.lab.servers {
        for family in ["-4", "-6"] {
            assert!(run_in(server.namespace(), "ip", &[family, "route", "del", "default"]).status.success());
        }
    }
    let _appliance = stage.start_with(&text);
    for ((vip, _client), address) in FAMILIES.into_iter().zip(pool) {
        let report = stage.ask((vip, HTTP_PORT), 60);
        assert_eq!(report.clients_seen, BTreeMap::from([(address, 60)]), "{report}");
        let neighbour =
            run_in(stage.lab.servers[0].namespace(), "ip", &["neigh", "show", &address.to_string()]);
        let neighbour = String::from_utf8_lossy(&neighbour.stdout).into_owned();
        assert!(neighbour.contains(&stage.lab.inside.mac().to_string()), "{neighbour}");
    }
}
