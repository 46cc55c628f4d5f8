//! Source NAT where topology wants it, servers that reach out, routing between VLANs, and servers that claim what they
//! should only hold.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use e2e::modes::{Mode, Scene, start};
use e2e::{FAMILIES, PATIENCE, Stage, on_both_drivers, run_in, show, wait_for};
use lab::topology::traps::{Variant, traps};
use lab::topology::{HTTP_PORT, Hop, Options, UDP_PORT};
use lab::{Appliance, Capture, Direction, Failure, Load, Namespace, NginxServer, Report, Testbed, UdpEcho};

on_both_drivers! {
    where_replies_would_bypass_the_appliance_the_client_is_hidden_also_from_itself,
    servers_reach_out_under_the_outbounds_address,
    between_vlans_everything_is_tagged_answers_too,
    a_server_that_only_answers_for_the_virtual_address_is_found_by_asking,
    who_answers_for_a_virtual_address_is_found_in_a_vlan_and_behind_a_bridge_too,
    a_server_that_claims_the_virtual_address_is_named_once,
}

/// Requests of one load.
const COUNT: usize = 12;

fn ask(from: &Namespace, target: (IpAddr, u16)) -> Report {
    let load = Load { count: COUNT, concurrency: 3, timeout: PATIENCE, ..Load::default() };
    match target.1 {
        UDP_PORT => lab::ask_udp(from, target.into(), load).unwrap(),
        _ => lab::run_requests(from, target.into(), load).unwrap(),
    }
}

/// One arm and one network: a client behind the router, a host beside the servers, and a server that calls the virtual
/// address it serves.
fn where_replies_would_bypass_the_appliance_the_client_is_hidden_also_from_itself(driver: &str) {
    let testbed = Testbed::new(&format!("nat-{}", driver.replace('_', "-"))).unwrap();
    let lab = traps(&testbed, Variant::SourceNat, Hop::None).unwrap();
    let _peers = lab.site.start_peers().unwrap();
    let options = Options { driver: driver.into(), ..Options::default() };
    let _appliance = start(&lab.site, &lab.site.write_configuration(&options).unwrap());
    for vip in lab.site.vips {
        for caller in [&lab.site.client, &lab.caller, &lab.site.servers[0], &lab.site.servers[2]] {
            for port in [HTTP_PORT, UDP_PORT] {
                let report = ask(caller.namespace(), (vip, port));
                assert_eq!(report.answered(), COUNT, "{} to {vip}:{port}: {report}", caller.name);
                assert_eq!(report.per_server.len(), 3, "{} to {vip}:{port}: {report}", caller.name);
                assert_eq!(report.clients_seen, BTreeMap::from([(vip, COUNT)]), "{}: {report}", caller.name);
            }
        }
    }
}

fn servers_reach_out_under_the_outbounds_address(driver: &str) {
    let stage = Stage::new(driver);
    let (_web, pool) = (stage.web(), ["198.18.0.250", "2001:db8::250"]);
    let mut text = stage.text(&stage.web_services());
    for (name, network, address) in [("v4", "198.18.1.0/24", pool[0]), ("v6", "2001:db8:1::/64", pool[1])] {
        writeln!(
            text,
            "\n[[outbound]]\nname = \"{name}\"\nnetworks = [\"{network}\"]\nsource_addresses = [\"{address}\"]"
        )
        .unwrap();
    }
    let outside = stage.lab.client.namespace();
    let _web_outside = NginxServer::start(outside, "outside", &[8080]).unwrap();
    let _echo_outside = UdpEcho::start(outside, "outside", UDP_PORT).unwrap();
    // Nobody outside knows a way to the servers' network.
    for family in ["-4", "-6"] {
        run_in(outside, "ip", &[family, "route", "del", "default"]);
    }
    let _appliance = stage.start_with(&text);
    let at_client = Capture::start(&stage.lab.client, "outside", Direction::Both).unwrap();
    for ((vip, client), pool) in FAMILIES.into_iter().zip(pool) {
        let pool: IpAddr = pool.parse().unwrap();
        for server in &stage.lab.servers {
            assert!(server.namespace().ping(client, PATIENCE).unwrap(), "{} pings {client}", server.name);
            for port in [8080, UDP_PORT] {
                let report = ask(server.namespace(), (client, port));
                assert_eq!(report.clients_seen, BTreeMap::from([(pool, COUNT)]), "{}: {report}", server.name);
            }
            let nobody =
                ask(server.namespace(), (client, 9)).failures().into_keys().cloned().collect::<Vec<_>>();
            assert_eq!(nobody, [Failure::Refused], "a refusal finds its way back");
        }
        assert_eq!(stage.ask((vip, HTTP_PORT), 30).answered(), 30);
        // And what a router on the way says about it.
        let server = &stage.lab.servers[0];
        let far = if vip.is_ipv4() { "198.18.0.77" } else { "2001:db8::77" };
        let words = run_in(server.namespace(), "ping", &["-n", "-c", "1", "-t", "1", "-W", "5", far]);
        let words = String::from_utf8_lossy(&words.stdout).into_owned();
        assert!(words.contains("exceeded"), "{words}");
    }
    let captured = at_client.stop().unwrap();
    captured.verify_checksums().unwrap();
    let inside =
        |address: IpAddr| stage.lab.servers.iter().any(|server| [server.v4, server.v6].contains(&address));
    assert!(captured.packets().all(|packet| !inside(packet.source) && !inside(packet.destination)));
}

fn between_vlans_everything_is_tagged_answers_too(driver: &str) {
    let scene = Scene::new(driver, Mode::RoutedInVlans, Hop::None);
    let _appliance = scene.start();
    let trunk = scene.site.ports[0].opposite();
    let sent = Capture::start(&trunk, "sent", Direction::In).unwrap();
    let at_client = Capture::start(&scene.site.client.end, "client", Direction::In).unwrap();
    let own = ["198.18.0.1", "2001:db8::1"];
    for (vip, own) in scene.site.vips.into_iter().zip(own) {
        let server = &scene.site.servers[1];
        let report = ask(scene.client(), (server.address_like(vip), HTTP_PORT));
        assert_eq!(report.per_server, BTreeMap::from([("server2".into(), COUNT)]), "{report}");
        assert_eq!(report.clients_seen, BTreeMap::from([(scene.client_like(vip), COUNT)]));
        // A reset and an unreachable port, by the appliance; a hop limit that ends at it.
        let closed = |udp: bool| {
            let target = (vip, 9).into();
            let load = Load { count: 2, timeout: PATIENCE, ..Load::default() };
            let report = match udp {
                true => lab::ask_udp(scene.client(), target, load),
                false => lab::run_requests(scene.client(), target, load),
            };
            report.unwrap().failures().into_keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!((closed(true), closed(false)), (vec![Failure::Refused], vec![Failure::Refused]));
        let target = server.address_like(vip).to_string();
        let words = run_in(scene.client(), "ping", &["-n", "-c", "1", "-t", "1", "-W", "5", &target]);
        let words = String::from_utf8_lossy(&words.stdout).into_owned();
        assert!(words.contains(&format!("From {own} ")) && words.contains("exceeded"), "{words}");
        let words = run_in(scene.client(), "ping", &["-n", "-c", "1", "-t", "2", "-W", "5", &target]);
        assert!(words.status.success(), "{}", String::from_utf8_lossy(&words.stdout));
    }
    let captured = sent.stop().unwrap();
    captured.verify_checksums().unwrap();
    at_client.stop().unwrap().verify_checksums().unwrap();
    for packet in captured.packets() {
        let is_for = |host: &lab::topology::Host| host.wire.mac() == packet.destination_mac;
        match packet.vlan {
            Some(10) => assert!(!scene.site.servers.iter().any(is_for), "{packet:?}"),
            Some(20) => assert!(!is_for(&scene.site.client), "{packet:?}"),
            other => panic!("a frame with tag {other:?}: {packet:?}"),
        }
    }
    let of_vlan = |vlan| captured.packets().filter(|packet| packet.vlan == Some(vlan)).count();
    assert!(of_vlan(10) > 20 && of_vlan(20) > 20);
    assert_eq!(captured.packets().count(), captured.frames.len());
}

/// The rows of `show neighbours` about hosts that claim an address of the appliance.
fn conflicts(appliance: &Appliance) -> Vec<serde_json::Value> {
    let rows = show(appliance, "neighbours");
    rows.as_array().unwrap().iter().filter(|row| row["kind"] == "conflict").cloned().collect()
}

/// How often a conflict was noticed.
fn times_noticed(conflict: &serde_json::Value) -> u64 {
    let state = conflict["state"].as_str().unwrap();
    let times = state.strip_prefix("noticed ").and_then(|rest| rest.split(' ').next()).unwrap();
    times.parse().unwrap()
}

/// How often the log says that `mac` claims an address.
fn times_logged(appliance: &Appliance, mac: &str) -> usize {
    appliance.log().lines().filter(|line| line.contains(mac) && line.contains("claims")).count()
}

/// Nobody provokes anything here: the server tells nobody of the virtual address, and answers whoever asks for it.
fn a_server_that_only_answers_for_the_virtual_address_is_found_by_asking(driver: &str) {
    let scene = Scene::new(driver, Mode::L2Dsr, Hop::None);
    let leaking = &scene.site.servers[1];
    let mac = leaking.end.mac().to_string();
    for place in ["all", "lo", "eth0"] {
        let setting = |kind| format!("net.ipv4.conf.{place}.{kind}");
        leaking.namespace().set_parameter(&setting("arp_ignore"), "0").unwrap();
        leaking.namespace().set_parameter(&setting("arp_announce"), "2").unwrap();
    }
    let appliance = scene.start();
    let found = || conflicts(&appliance).into_iter().next();
    wait_for("the leak to be shown", || found().is_some());
    let conflict = found().unwrap();
    assert_eq!(conflict["address"], scene.site.vips[0].to_string());
    assert_eq!(conflict["mac"], mac);
    wait_for("it to be counted again", || times_noticed(&found().unwrap()) > times_noticed(&conflict));
    assert_eq!(conflicts(&appliance).len(), 1, "{:?}", conflicts(&appliance));
    assert_eq!(times_logged(&appliance, &mac), 1, "{}", appliance.log());
}

fn who_answers_for_a_virtual_address_is_found_in_a_vlan_and_behind_a_bridge_too(driver: &str) {
    for mode in [Mode::Routed, Mode::RoutedInVlans, Mode::TransparentInline] {
        let scene = Scene::new(driver, mode, Hop::None);
        // Linux answers ARP for an address of any device, a solicitation only for one of the very device.
        for (vip, device) in scene.site.vips.into_iter().zip(["lo", "eth0"]) {
            let length = if vip.is_ipv4() { 32 } else { 128 };
            let mut words =
                vec!["addr".into(), "add".into(), format!("{vip}/{length}"), "dev".into(), device.into()];
            words.extend(vip.is_ipv6().then(|| "nodad".to_owned()));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert!(run_in(scene.client(), "ip", &words).status.success());
        }
        let appliance = scene.start();
        wait_for(&format!("{mode:?}: both claims to be shown"), || conflicts(&appliance).len() == 2);
        let found = conflicts(&appliance);
        let mac = scene.site.client.end.mac().to_string();
        for (conflict, vip) in found.iter().zip(scene.site.vips) {
            assert_eq!(conflict["address"], vip.to_string(), "{mode:?}");
            assert_eq!(conflict["mac"], mac, "{mode:?}");
        }
    }
}

fn a_server_that_claims_the_virtual_address_is_named_once(driver: &str) {
    let scene = Scene::new(driver, Mode::L2Dsr, Hop::None);
    let appliance = scene.start();
    let [vip, _] = scene.site.vips;
    let leaking = &scene.site.servers[1];
    let conflicts = || conflicts(&appliance);
    assert!(conflicts().is_empty());
    // Set up in part: the server's own questions come from the virtual address.
    for place in ["all", "lo", "eth0"] {
        let name = format!("net.ipv4.conf.{place}.arp_announce");
        leaking.namespace().set_parameter(&name, "0").unwrap();
    }
    let provoke = || {
        run_in(leaking.namespace(), "ip", &["neigh", "flush", "dev", "eth0"]);
        // The router may believe the claim, and then hand the server what the appliance would have given to another.
        ask(scene.client(), (vip, HTTP_PORT));
    };
    wait_for("the leak to be shown", || {
        provoke();
        !conflicts().is_empty()
    });
    let [conflict] = &conflicts()[..] else { panic!("one conflict") };
    assert_eq!(conflict["address"], vip.to_string());
    assert_eq!(conflict["mac"], leaking.end.mac().to_string());
    let times = || times_noticed(&conflicts()[0]);
    let before = times();
    wait_for("it to be noticed again", || {
        provoke();
        times() > before
    });
    assert_eq!(times_logged(&appliance, &leaking.end.mac().to_string()), 1, "{}", appliance.log());
}
