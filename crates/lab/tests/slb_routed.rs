//! The topology `slb_routed` and all peers and clients in it, with a plain kernel router in the appliance's
//! place.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use lab::topology::slb_routed::{
    CLIENT_V4, CLIENT_V6, HOLD_PORT, HTTP_PORT, Options, SlbRouted, UDP_PORT, VIP_V4, slb_routed,
};
use lab::{
    Appliance, Capture, Direction, Failure, HeldConnections, HeldState, Load, NginxServer, TcpHold, Testbed,
    UdpEcho, ask_udp, run_requests,
};

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

fn testbed(label: &str) -> Option<Testbed> {
    let programs = ["nginx", "tcpdump"].iter().try_for_each(|name| lab::find_program(name).map(|_path| ()));
    if let Err(why) = Testbed::check_machine().and(programs) {
        eprintln!("skipped: {why}");
        return None;
    }
    Some(Testbed::new(label).unwrap())
}

/// The lab with the kernel as the router.
fn routed(testbed: &Testbed) -> SlbRouted {
    let lab = slb_routed(testbed).unwrap();
    lab.outside.namespace().forward_packets().unwrap();
    lab
}

fn both(lab: &SlbRouted, server: usize, port: u16) -> [(SocketAddr, IpAddr); 2] {
    let server = &lab.servers[server];
    [((server.v4, port).into(), CLIENT_V4), ((server.v6, port).into(), CLIENT_V6)]
}

fn few(count: usize) -> Load {
    Load { count, concurrency: 2, timeout: PATIENCE, ..Load::default() }
}

#[test]
fn a_client_reaches_every_web_server_and_the_wire_carries_right_checksums() {
    let Some(testbed) = testbed("lab-web") else { return };
    let lab = routed(&testbed);
    let start = |server: &lab::topology::slb_routed::Server| {
        NginxServer::start(server.namespace(), &server.name, &[HTTP_PORT]).unwrap()
    };
    let servers: Vec<NginxServer> = lab.servers.iter().map(start).collect();
    let capture = Capture::start(&lab.outside, "outside", Direction::Both).unwrap();
    for (number, server) in servers.iter().enumerate() {
        for (target, client) in both(&lab, number, HTTP_PORT) {
            let report = run_requests(lab.client.namespace(), target, few(10)).unwrap();
            assert_eq!(report.per_server, BTreeMap::from([(server.name().into(), 10)]), "{report}");
            assert_eq!(report.clients_seen, BTreeMap::from([(client, 10)]));
            assert!(report.failed.is_empty() && report.latency(50.0) <= report.latency(99.0));
        }
        let accesses = server.accesses();
        assert_eq!(accesses.iter().filter(|access| access.client.ip() == CLIENT_V4).count(), 10);
        assert_eq!(accesses.iter().filter(|access| access.client.ip() == CLIENT_V6).count(), 10);
        assert!(accesses.iter().all(|access| access.status == 200 && access.server.port() == HTTP_PORT));
    }
    let captured = capture.stop().unwrap();
    assert_eq!(captured.dropped_by_kernel, 0);
    // A connection with one request takes 9 packets at the least: 3 to open, 2 of data, 2 acknowledgements, 2
    // to end.
    assert!(captured.verify_checksums().unwrap() >= 60 * 8, "{} frames", captured.frames.len());
    let packets = captured.packets_of(lab.servers[0].v4);
    assert!(packets.iter().any(|packet| packet.source == CLIENT_V4 && packet.has_port(HTTP_PORT)));
    assert!(packets.iter().filter(|packet| packet.source == CLIENT_V4).all(|packet| packet.ttl == 64));
    let replies = packets.iter().filter(|packet| packet.destination == CLIENT_V4);
    assert!(replies.clone().count() > 0 && replies.clone().all(|packet| packet.ttl == 63), "one hop away");
    assert!(replies.clone().all(|packet| packet.destination_mac == lab.client.mac()));
}

#[test]
fn a_killed_web_server_refuses_and_a_revived_one_answers() {
    let Some(testbed) = testbed("lab-kill") else { return };
    let lab = routed(&testbed);
    let server = &lab.servers[0];
    let mut nginx = NginxServer::start(server.namespace(), "server1", &[HTTP_PORT, 443]).unwrap();
    let ask = |port| run_requests(lab.client.namespace(), (server.v4, port).into(), few(3)).unwrap();
    assert_eq!((ask(HTTP_PORT).answered(), ask(443).answered()), (3, 3));

    nginx.kill();
    let report = ask(HTTP_PORT);
    assert_eq!(report.failures(), BTreeMap::from([(&Failure::Refused, 3)]), "{report}");
    nginx.revive().unwrap();
    assert_eq!(ask(HTTP_PORT).answered(), 3);

    server.end.set_up(false).unwrap();
    let load = Load { count: 1, timeout: Duration::from_millis(300), ..Load::default() };
    let report = run_requests(lab.client.namespace(), (server.v4, HTTP_PORT).into(), load).unwrap();
    assert_eq!(report.failures(), BTreeMap::from([(&Failure::TimedOut, 1)]), "a pulled cable says nothing");
}

#[test]
fn a_udp_server_answers_with_its_name_and_the_clients_address() {
    let Some(testbed) = testbed("lab-udp") else { return };
    let lab = routed(&testbed);
    let echo = UdpEcho::start(lab.servers[1].namespace(), "server2", UDP_PORT).unwrap();
    for (target, client) in both(&lab, 1, UDP_PORT) {
        let report = ask_udp(lab.client.namespace(), target, few(10)).unwrap();
        assert_eq!(report.per_server, BTreeMap::from([("server2".into(), 10)]), "{report}");
        assert_eq!(report.clients_seen, BTreeMap::from([(client, 10)]));
    }
    drop(echo);
    let (target, _client) = both(&lab, 1, UDP_PORT)[0];
    let report = ask_udp(lab.client.namespace(), target, few(1)).unwrap();
    assert_eq!(report.failures(), BTreeMap::from([(&Failure::Refused, 1)]), "port unreachable");
}

#[test]
fn held_connections_tell_life_silence_end_and_reset_apart() {
    let Some(testbed) = testbed("lab-hold") else { return };
    let lab = routed(&testbed);
    let server = &lab.servers[2];
    let hold = TcpHold::start(server.namespace(), "server3", HOLD_PORT).unwrap();
    for (target, _client) in both(&lab, 2, HOLD_PORT) {
        let open = || HeldConnections::open(lab.client.namespace(), target, 20, PATIENCE).unwrap().unwrap();
        let mut held = open();
        let alive = vec![HeldState::Alive("server3".into()); 20];
        assert_eq!(held.probe(PATIENCE), alive);
        assert_eq!(held.probe(PATIENCE), alive, "again");
        let (mut seen, mut own) = (hold.clients(), held.local_addresses());
        seen.sort_unstable();
        own.sort_unstable();
        assert_eq!(seen, own);
        assert_eq!(held.wait_for_ends(Duration::from_millis(20)), vec![HeldState::Silent; 20]);
        hold.abort_all();
        assert_eq!(held.wait_for_ends(PATIENCE), vec![HeldState::Reset; 20]);
        let mut held = open();
        assert_eq!(held.probe(PATIENCE), alive);
        hold.close_all();
        assert_eq!(held.wait_for_ends(PATIENCE), vec![HeldState::Closed; 20]);
        let mut held = open();
        assert_eq!(held.probe(PATIENCE), alive);
        drop(held);
        let deadline = Instant::now() + PATIENCE;
        while !hold.clients().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(hold.clients(), [], "a server closes what its client has closed");
    }
    let (target, _client) = both(&lab, 2, HOLD_PORT)[0];
    let mut held = HeldConnections::open(lab.client.namespace(), target, 3, PATIENCE).unwrap().unwrap();
    assert_eq!(held.probe(PATIENCE).len(), 3);
    server.end.set_up(false).unwrap();
    let states = held.probe(Duration::from_millis(300));
    assert_eq!(HeldConnections::tally(&states), BTreeMap::from([(&HeldState::Silent, 3)]));
    drop(hold);
    let refused =
        HeldConnections::open(lab.client.namespace(), target, 1, Duration::from_millis(300)).unwrap();
    assert_eq!(refused.unwrap_err(), Failure::TimedOut);
}

/// A program with the appliance's operator commands that forwards nothing, to test the handle on it.
const STAND_IN: &str = r#"#!/bin/sh
here=$(dirname "$0")
case "$1" in
run) test "$3" = "$here/appliance.toml" || exit 2
     grep -q broken "$3" && { echo 'appliance.toml:1:1: broken' >&2; exit 2; }
     echo ready >&2; touch "$here/up"; trap 'rm "$here/up"; exit 0' TERM; while :; do sleep 0.05; done ;;
show) test -e "$here/up" && test "$3" = --json && echo "{\"asked\": \"$2 $5\"}" ;;
reload) grep -q broken "$here/appliance.toml" && { echo refused >&2; exit 2; }; exit 0 ;;
esac
"#;

#[test]
fn an_appliance_is_started_asked_reloaded_and_ended() {
    let Some(testbed) = testbed("lab-appliance") else { return };
    let lab = slb_routed(&testbed).unwrap();
    let binary = testbed.directory().join("appliance");
    fs::write(&binary, STAND_IN).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o700)).unwrap();
    let configuration = lab.write_config(&Options::default(), &lab.standard_services()).unwrap();
    let start =
        || Appliance::start(lab.outside.namespace(), &binary, &configuration, &lab.socket(), PATIENCE);
    let appliance = start().unwrap();
    assert_eq!(
        appliance.show("drops").unwrap(),
        format!("{{\"asked\": \"drops {}\"}}\n", lab.socket().display())
    );
    appliance.reload().unwrap();
    assert_eq!(appliance.stop(PATIENCE).unwrap().code(), Some(0));
    assert_eq!(appliance.log(), "ready\n");

    let appliance = start().unwrap();
    fs::write(&configuration, "broken").unwrap();
    let refusal = appliance.reload().unwrap_err().to_string();
    assert!(refusal.contains("exit status: 2") && refusal.ends_with("refused"), "{refusal}");
    appliance.kill();
    assert!(!appliance.process().is_running());
    fs::remove_file(testbed.directory().join("up")).unwrap();
    let refusal = start().unwrap_err().to_string();
    assert!(
        refusal.contains("exit status: 2") && refusal.contains("appliance.toml:1:1: broken"),
        "{refusal}"
    );
}

#[test]
fn the_configuration_names_the_lab_and_its_kernel_does_not_route() {
    let Some(testbed) = testbed("lab-config") else { return };
    let lab = slb_routed(&testbed).unwrap();
    let options = Options { driver: "af_packet".into(), ..Options::default() };
    let text = lab.config_text(&options, &lab.standard_services());
    for line in [
        "workers = [1]",
        "interface = \"outside\"",
        "driver = \"af_packet\"",
        "address = \"198.18.0.10\"",
        "address = \"2001:db8::10\"",
        "address = \"198.18.1.13\"",
        "address = \"2001:db8:1::13\"",
        "health_check = \"connect-80\"",
        "source_nat = \"never\"",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
    }
    assert_eq!(text.matches("[[service.server]]").count(), 5 * 3);
    for parameter in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        assert_eq!(lab.inside.namespace().parameter(parameter).unwrap(), "0");
    }
    let load = Load { count: 1, timeout: Duration::from_millis(300), ..Load::default() };
    let report = run_requests(lab.client.namespace(), (VIP_V4, HTTP_PORT).into(), load).unwrap();
    assert_eq!(report.answered(), 0, "nobody owns the virtual address yet");
}
