//! What is not balanced is routed by the appliance or is its kernel's own, and neighbours may change under it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;

use e2e::{FAMILIES, PATIENCE, Stage, family, names, on_both_drivers, server};
use lab::topology::slb_routed::{HTTP_PORT, VIP_V4};
use lab::{Capture, Direction, HeldConnections, TcpHold};

on_both_drivers! {
    traffic_between_clients_and_servers_own_addresses_is_routed_both_ways,
    a_packet_whose_ttl_runs_out_or_that_is_too_long_is_answered_by_the_ports_address,
    the_appliances_own_addresses_stay_the_kernels_while_traffic_runs,
    a_client_and_a_server_may_change_their_mac_address_under_open_connections,
    a_port_whose_link_goes_down_and_up_under_traffic_serves_again_and_its_sessions_live,
}

/// The appliance's own addresses towards the client.
const OUTSIDE: [&str; 2] = ["198.18.0.1", "2001:db8::1"];
/// A port of the appliance's own host.
const HOST_PORT: u16 = 22;

fn traffic_between_clients_and_servers_own_addresses_is_routed_both_ways(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let host = TcpHold::start(stage.lab.client.namespace(), "client", HOST_PORT).unwrap();
    let _appliance = stage.start(&stage.web_services());
    let capture = Capture::start(&stage.lab.client, "at-client", Direction::Both).unwrap();
    let server = &stage.lab.servers[1];
    for (_vip, client) in FAMILIES {
        let address = server.address_like(client);
        let report = stage.ask((address, HTTP_PORT), 20);
        assert_eq!(report.per_server, BTreeMap::from([("server2".into(), 20)]), "{report}");
        assert_eq!(report.clients_seen, BTreeMap::from([(client, 20)]));
        let (answered, words) = stage.ping(&address.to_string());
        assert!(answered && words.contains("ttl=63"), "{words}");
        let target = (client, HOST_PORT).into();
        let mut back = HeldConnections::open(server.namespace(), target, 3, PATIENCE).unwrap().unwrap();
        assert_eq!(names(&mut back), ["client"; 3]);
        assert!(host.clients().iter().all(|seen| [server.v4, server.v6].contains(&seen.ip())));
    }
    capture.stop().unwrap().verify_checksums().unwrap();
}

fn a_packet_whose_ttl_runs_out_or_that_is_too_long_is_answered_by_the_ports_address(driver: &str) {
    let stage = Stage::new(driver);
    let mtu = stage.in_appliance("ip", &["link", "set", "inside", "mtu", "1400"]);
    assert!(mtu.status.success());
    let _appliance = stage.start(&[]);
    let capture = Capture::start(&stage.lab.client, "at-client", Direction::In).unwrap();
    for ((_vip, client), own) in FAMILIES.into_iter().zip(OUTSIDE) {
        let address = stage.lab.servers[0].address_like(client);
        let (answered, words) = stage.ping(&format!("-t 1 {address}"));
        assert!(!answered && words.contains(&format!("From {own} ")) && words.contains("ime"), "{words}");
        assert!(words.contains("exceeded"), "{words}");
        let (answered, words) = stage.ping(&format!("-M do -s 1380 {address}"));
        assert!(!answered && words.contains("mtu = 1400") | words.contains("mtu=1400"), "{words}");
        let (answered, words) = stage.ping(&format!("-M do -s 1340 {address}"));
        assert!(answered, "{words}");
    }
    let captured = capture.stop().unwrap();
    captured.verify_checksums().unwrap();
    for own in OUTSIDE {
        assert!(captured.packets().any(|packet| packet.source == own.parse::<IpAddr>().unwrap()));
    }
}

fn the_appliances_own_addresses_stay_the_kernels_while_traffic_runs(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let _host = TcpHold::start(stage.lab.outside.namespace(), "host", HOST_PORT).unwrap();
    let appliance = stage.start(&stage.web_services());
    for ((vip, _client), own) in FAMILIES.into_iter().zip(OUTSIDE) {
        let target = (own.parse::<IpAddr>().unwrap(), HOST_PORT).into();
        thread::scope(|scope| {
            let load = scope.spawn(|| stage.ask((vip, HTTP_PORT), 200));
            let open = HeldConnections::open(stage.lab.client.namespace(), target, 20, PATIENCE);
            assert_eq!(names(&mut open.unwrap().unwrap()), ["host"; 20]);
            assert!(stage.ping(own).0);
            assert_eq!(load.join().unwrap().answered(), 200);
        });
    }
    assert_eq!(e2e::row(&appliance, "drops", "reason", "late-for-host"), serde_json::Value::Null);
}

fn a_client_and_a_server_may_change_their_mac_address_under_open_connections(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let appliance = stage.start(&stage.hold_services());
    let open = |(vip, _client)| stage.hold_open(vip, 12);
    let mut held: Vec<HeldConnections> = FAMILIES.into_iter().map(open).collect();
    held.iter_mut().for_each(|held| assert_eq!(names(held).len(), 12));
    let change = |namespace: &lab::Namespace, mac: &str| {
        let output = e2e::run_in(namespace, "ip", &["link", "set", "dev", "eth0", "address", mac]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    change(stage.lab.client.namespace(), "02:00:00:00:01:01");
    held.iter_mut().for_each(|held| assert_eq!(names(held).len(), 12));
    // As a cluster that takes an address over does, the server tells of its new place: the client asked first, a server
    // that nobody hears of would only be found when its check has failed.
    let server_namespace = stage.lab.servers[0].namespace();
    let notify = ["net.ipv4.conf.eth0.arp_notify", "net.ipv6.conf.eth0.ndisc_notify"];
    server_namespace.set_parameters(&notify.map(|name| (name, "1"))).unwrap();
    change(server_namespace, "02:00:00:00:01:02");
    held.iter_mut().for_each(|held| assert_eq!(names(held).len(), 12));
    for (vip, _client) in FAMILIES {
        assert_eq!(names(&mut stage.hold_open(vip, 6)).len(), 6);
        let row =
            server(&appliance, &format!("hold-{}", family(vip)), stage.lab.servers[0].address_like(vip));
        assert_eq!(row["state"], "up", "{row}");
    }
}

fn a_port_whose_link_goes_down_and_up_under_traffic_serves_again_and_its_sessions_live(driver: &str) {
    let stage = Stage::new(driver);
    let namespace = stage.lab.outside.namespace();
    for port in ["outside", "inside"] {
        namespace.set_parameter(&format!("net.ipv6.conf.{port}.keep_addr_on_down"), "1").unwrap();
    }
    let (_web, _hold) = (stage.web(), stage.hold());
    let appliance = stage.start(&[stage.hold_services(), stage.web_services()].concat());
    let open = |(vip, _client)| stage.hold_open(vip, 12);
    let mut held: Vec<HeldConnections> = FAMILIES.into_iter().map(open).collect();
    held.iter_mut().for_each(|held| assert_eq!(names(held).len(), 12));
    let state = || e2e::row(&appliance, "ports", "name", "outside")["link"].clone();
    let patient = || stage.ask((VIP_V4, HTTP_PORT), 400);
    thread::scope(|scope| {
        let load = scope.spawn(patient);
        stage.lab.outside.set_up(false).unwrap();
        e2e::wait_for("the port to be down", || state() == "down");
        assert_eq!(e2e::status(&appliance)["state"], "degraded");
        stage.lab.outside.set_up(true).unwrap();
        e2e::wait_for("the port to be up", || state() == "up");
        let report = load.join().unwrap();
        assert_eq!(report.answered(), 400, "a client that waits is served: {report}");
    });
    held.iter_mut().for_each(|held| assert_eq!(names(held).len(), 12));
    for (vip, _client) in FAMILIES {
        assert_eq!(names(&mut stage.hold_open(vip, 6)).len(), 6);
    }
    assert_eq!(e2e::status(&appliance)["state"], "forwarding");
}
