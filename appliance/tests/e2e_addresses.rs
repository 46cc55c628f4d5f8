//! The addresses that the appliance owns: announced, answered for, and closed where no service listens.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeMap;
use std::net::IpAddr;

use e2e::{FAMILIES, PATIENCE, Stage, on_both_drivers};
use lab::topology::slb_routed::{HTTP_PORT, VIP_V4, VIP_V6};
use lab::{Capture, Captured, Direction, Failure, HeldConnections, Mac};
use wire::{ethernet, icmp, protocol};

on_both_drivers! {
    at_the_start_virtual_addresses_are_announced_with_the_mac_of_their_port,
    arp_and_neighbour_discovery_and_echo_are_answered_for_virtual_addresses,
    a_port_without_a_service_refuses_tcp_and_udp_at_once,
    a_service_that_does_not_announce_is_neither_announced_nor_answered_for_but_serves,
}

/// Where an unsolicited advertisement is sent (RFC 4861 section 7.2.6).
const ALL_NODES: &str = "ff02::1";

/// Gratuitous ARP and unsolicited advertisements of an address, by the MAC that they name.
fn announcements(captured: &Captured, address: IpAddr) -> BTreeMap<Mac, usize> {
    let mut macs = BTreeMap::new();
    for frame in &captured.frames {
        let Some(packet) = frame.packet() else { continue };
        let kind = frame.bytes.get(ethernet::LENGTH + 40).copied();
        let is_announcement = match packet.ethertype {
            ethernet::ETHERTYPE_ARP => packet.source == address && packet.destination == address,
            _ => {
                packet.source == address
                    && packet.destination == ALL_NODES.parse::<IpAddr>().unwrap()
                    && packet.protocol == protocol::ICMPV6
                    && kind == Some(icmp::v6::NEIGHBOUR_ADVERTISEMENT)
            }
        };
        if is_announcement {
            *macs.entry(packet.source_mac).or_default() += 1;
        }
    }
    macs
}

/// What the client's kernel knows of a neighbour, in the words of `ip`.
fn neighbour(stage: &Stage, address: IpAddr) -> String {
    let output = stage.in_client("ip", &["neigh", "show", &address.to_string()]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn at_the_start_virtual_addresses_are_announced_with_the_mac_of_their_port(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let at_client = Capture::start(&stage.lab.client, "at-client", Direction::In).unwrap();
    let at_server = Capture::start(&stage.lab.servers[0].end, "at-server", Direction::In).unwrap();
    let _appliance = stage.start(&stage.web_services());
    let (at_client, at_server) = (at_client.stop().unwrap(), at_server.stop().unwrap());
    at_client.verify_checksums().unwrap();
    for (vip, _client) in FAMILIES {
        let macs: Vec<Mac> = announcements(&at_client, vip).into_keys().collect();
        assert_eq!(macs, [stage.lab.outside.mac()], "{vip}");
        assert_eq!(announcements(&at_server, vip), BTreeMap::new(), "it is not in the servers' network");
    }
}

fn arp_and_neighbour_discovery_and_echo_are_answered_for_virtual_addresses(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let _appliance = stage.start(&stage.web_services());
    let capture = Capture::start(&stage.lab.client, "at-client", Direction::Both).unwrap();
    assert!(stage.in_client("ip", &["neigh", "flush", "dev", "eth0"]).status.success());
    for (vip, _client) in FAMILIES {
        let (answered, words) = stage.ping(&vip.to_string());
        assert!(answered && words.contains("0% packet loss") && words.contains("ttl=64"), "{words}");
        let (answered, words) = stage.ping(&format!("-s 1400 {vip}"));
        assert!(answered, "{words}");
        let neighbour = neighbour(&stage, vip);
        assert!(neighbour.contains(&stage.lab.outside.mac().to_string()), "{neighbour}");
    }
    capture.stop().unwrap().verify_checksums().unwrap();
}

fn a_port_without_a_service_refuses_tcp_and_udp_at_once(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let _appliance = stage.start(&stage.web_services());
    let capture = Capture::start(&stage.lab.client, "at-client", Direction::In).unwrap();
    for (vip, _client) in FAMILIES {
        for port in [HTTP_PORT + 1, 65_535] {
            let namespace = stage.lab.client.namespace();
            let opened = HeldConnections::open(namespace, (vip, port).into(), 1, PATIENCE).unwrap();
            assert_eq!(opened.unwrap_err(), Failure::Refused);
            let report = stage.ask_udp((vip, port), 1);
            assert_eq!(report.failures(), BTreeMap::from([(&Failure::Refused, 1)]));
        }
    }
    let captured = capture.stop().unwrap();
    captured.verify_checksums().unwrap();
    let errors = captured.packets().filter(|packet| match packet.protocol {
        protocol::ICMP => packet.source == VIP_V4,
        protocol::ICMPV6 => packet.source == VIP_V6 && packet.ttl == 64,
        _ => false,
    });
    assert_eq!(errors.count(), 4, "the virtual address itself says that its port is unreachable");
}

fn a_service_that_does_not_announce_is_neither_announced_nor_answered_for_but_serves(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let capture = Capture::start(&stage.lab.client, "at-client", Direction::In).unwrap();
    let text = stage.text(&stage.web_services());
    let text = text.replace("source_nat = \"never\"", "source_nat = \"never\"\nannounce = false");
    let _appliance = stage.start_with(&text);
    for ((vip, _client), gateway) in FAMILIES.into_iter().zip(["198.18.0.1", "2001:db8::1"]) {
        assert!(!stage.ping(&format!("-w 2 {vip}")).0, "nobody answers for it on the link");
        let family = if vip.is_ipv4() { "-4" } else { "-6" };
        let routed = stage.in_client("ip", &[family, "route", "add", &vip.to_string(), "via", gateway]);
        assert!(routed.status.success());
        assert_eq!(stage.ask((vip, HTTP_PORT), 6).answered(), 6, "it is routed to us");
    }
    let captured = capture.stop().unwrap();
    assert!(FAMILIES.iter().all(|(vip, _client)| announcements(&captured, *vip).is_empty()));
}
