//! Servers whose checks are well and whose clients are not: live traffic takes them down, but for the last.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use e2e::{FAMILIES, PATIENCE, Stage, family, on_both_drivers, row, server, wait_for, wait_for_state};
use lab::topology::slb_routed::{HTTP_PORT, Server};
use lab::{Appliance, Failure, Load, NginxServer};

on_both_drivers! {
    a_server_that_refuses_its_clients_goes_down_though_its_check_is_well,
    so_does_one_that_does_not_answer_them,
    the_last_server_stays_up_and_is_asked_at_once,
}

/// Where the clients call; the check asks the web server at [`HTTP_PORT`].
const APP_PORT: u16 = 8_080;

/// Services at [`APP_PORT`] whose checks come so seldom that none of them says anything by itself in a test.
fn text(stage: &Stage) -> String {
    let text = stage.text(&stage.services("app", "tcp", APP_PORT, Some(HTTP_PORT)));
    let text = text.replace("interval = \"500ms\"", "interval = \"60s\"");
    let passive = "passive = { failures = 5, window = \"10s\" }";
    text.replace("scheduler = \"round-robin\"", &format!("scheduler = \"round-robin\"\n{passive}"))
}

/// What answers clients on some servers.
fn apps(servers: &[Server]) -> Vec<NginxServer> {
    let start = |server: &Server| {
        NginxServer::start(server.namespace(), &format!("{}-app", server.name), &[APP_PORT]).unwrap()
    };
    servers.iter().map(start).collect()
}

/// The states of the servers of a family.
fn states(appliance: &Appliance, stage: &Stage, vip: IpAddr) -> Vec<String> {
    let state = |place: &Server| {
        let row = server(appliance, &format!("app-{}", family(vip)), place.address_like(vip));
        row["state"].as_str().unwrap().to_owned()
    };
    stage.lab.servers.iter().map(state).collect()
}

fn a_server_that_refuses_its_clients_goes_down_though_its_check_is_well(driver: &str) {
    let stage = Stage::new(driver);
    let _checked = stage.web();
    let _apps = apps(&stage.lab.servers[1..]);
    let appliance = stage.start_with(&text(&stage));
    for (vip, _client) in FAMILIES {
        let refused = stage.ask((vip, APP_PORT), 30).failed.len();
        assert!((1..=10).contains(&refused), "{refused}");
    }
    wait_for_state(&appliance, &stage.lab.servers[0], "down");
    for (vip, _client) in FAMILIES {
        assert_eq!(states(&appliance, &stage, vip), ["down", "up", "up"]);
        let address = stage.lab.servers[0].address_like(vip);
        let row = server(&appliance, &format!("app-{}", family(vip)), address);
        let reason = row["reason"].as_str().unwrap();
        assert!(reason.ends_with(" of its new connections failed within 10 s"), "{reason}");
        let last = row["history"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(
            (&last["from"], &last["to"], &last["reason"]),
            (&"up".into(), &"down".into(), &row["reason"])
        );
        assert!(appliance.log().contains(reason), "{}", appliance.log());
        let report = stage.ask((vip, APP_PORT), 30);
        let shares = BTreeMap::from([("server2-app".into(), 15), ("server3-app".into(), 15)]);
        assert_eq!((&report.per_server, report.answered()), (&shares, 30), "{report}");
    }
}

fn so_does_one_that_does_not_answer_them(driver: &str) {
    let stage = Stage::new(driver);
    let _checked = stage.web();
    let _apps = apps(&stage.lab.servers);
    let appliance = stage.start_with(&text(&stage));
    let deaf = stage.lab.servers[0].namespace();
    for rule in [
        "add table inet deaf".to_owned(),
        "add chain inet deaf input { type filter hook input priority 0; }".to_owned(),
        format!("add rule inet deaf input tcp dport {APP_PORT} drop"),
    ] {
        deaf.output("nft", &[&rule]).unwrap();
    }
    for (vip, _client) in FAMILIES {
        // All eight wait for it in the end. A second later they repeat their SYNs; then it is down, and its sessions are reset.
        let load = Load { count: 60, concurrency: 8, timeout: PATIENCE, ..Load::default() };
        let report = lab::run_requests(stage.lab.client.namespace(), (vip, APP_PORT).into(), load).unwrap();
        assert!((5..=8).contains(&report.failed.len()), "{report}");
        assert_eq!(report.failures().into_keys().collect::<Vec<_>>(), [&Failure::Refused], "{report}");
        assert_eq!(states(&appliance, &stage, vip), ["down", "up", "up"]);
    }
}

fn the_last_server_stays_up_and_is_asked_at_once(driver: &str) {
    let stage = Stage::new(driver);
    let _checked = stage.web();
    let appliance = stage.start_with(&text(&stage));
    for (vip, _client) in FAMILIES {
        let service = format!("app-{}", family(vip));
        let last_check = |place: &Server| {
            server(&appliance, &service, place.address_like(vip))["last_check"].as_f64().unwrap()
        };
        let before: Vec<f64> = stage.lab.servers.iter().map(last_check).collect();
        let (spared, begun) = (format!("stays up, for {service} cannot do without it"), Instant::now());
        wait_for("the last one to be spared", || {
            assert_eq!(stage.ask((vip, APP_PORT), 12).answered(), 0);
            appliance.log().contains(&spared)
        });
        let states = states(&appliance, &stage, vip);
        assert_eq!(states.iter().filter(|state| *state == "down").count(), 2, "{states:?}");
        let last = states.iter().position(|state| state == "up").unwrap();
        wait_for("a check out of turn", || last_check(&stage.lab.servers[last]) < before[last]);
        assert_eq!(stage.ask((vip, APP_PORT), 60).answered(), 0);
        assert_eq!(self::states(&appliance, &stage, vip), states, "it never goes");
        assert_eq!(row(&appliance, "services", "name", &service)["state"], "up");
        let told = appliance.log().matches(&spared).count() as u64;
        assert!(told <= 1 + begun.elapsed().as_secs() / 10, "told {told} times");
    }
}
