//! The topology `one_arm_routed` and the user-space VLAN switch in it, with the kernel as the router.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use lab::topology::one_arm_routed::{OneArmRouted, Wiring, one_arm_routed};
use lab::topology::{HTTP_PORT, Hop, Options, TRANSFER_PORT, UDP_PORT};
use lab::{
    ByteShare, Capture, Direction, Load, Testbed, VlanSwitch, Way, ask_udp, run_requests, transfer,
    udp_ask_sized,
};

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

fn lab(label: &str, wiring: Wiring) -> Option<(Testbed, OneArmRouted)> {
    let programs = ["nginx", "tcpdump"].iter().try_for_each(|name| lab::find_program(name).map(|_path| ()));
    if let Err(why) = Testbed::check_machine().and(programs) {
        eprintln!("skipped: {why}");
        return None;
    }
    let testbed = Testbed::new(label).unwrap();
    let lab = one_arm_routed(&testbed, wiring, Hop::None).unwrap();
    Some((testbed, lab))
}

fn servers_answer(lab: &OneArmRouted) {
    let client = &lab.site.client;
    let load = Load { count: 2, timeout: PATIENCE, ..Load::default() };
    for server in &lab.site.servers {
        for address in server.addresses() {
            let web = run_requests(client.namespace(), (address, HTTP_PORT).into(), load).unwrap();
            let udp = ask_udp(client.namespace(), (address, UDP_PORT).into(), load).unwrap();
            for report in [web, udp] {
                assert_eq!(report.per_server, BTreeMap::from([(server.name.clone(), 2)]), "{report}");
                assert_eq!(report.clients_seen, BTreeMap::from([(client.address_like(address), 2)]));
            }
        }
    }
}

fn has_lines(lab: &OneArmRouted, lines: &[&str]) {
    let text = lab.site.configuration(&Options::default());
    for line in lines {
        assert!(text.lines().any(|other| other == *line), "{line} in\n{text}");
    }
}

#[test]
fn on_one_switch_request_and_reply_take_the_same_arm_or_the_reply_goes_by_the_router() {
    for (wiring, replies_cross) in [(Wiring::GatewayAppliance, true), (Wiring::GatewayRouter, false)] {
        let Some((_testbed, lab)) = lab(&format!("lab-arm{replies_cross}"), wiring) else { return };
        lab.site.appliance.forward_packets().unwrap();
        let _peers = lab.site.start_peers().unwrap();
        let capture = Capture::start(&lab.site.ports[0], "arm", Direction::In).unwrap();
        servers_answer(&lab);
        let captured = capture.stop().unwrap();
        let server = &lab.site.servers[0];
        let crossed = captured.packets().filter(|packet| packet.source == server.v4 && packet.protocol != 0);
        assert_eq!(crossed.count() > 0, replies_cross, "{wiring:?}");
        let share = ByteShare::watch(&lab.site.client.end, &lab.site.ports).unwrap();
        let target = (server.v4, TRANSFER_PORT).into();
        transfer(lab.site.client.namespace(), target, Way::Download, 1_000_000, PATIENCE).unwrap().unwrap();
        let share = share.so_far().unwrap();
        assert!(share.all_bytes > 1_000_000, "{share:?}");
        let expected = if replies_cross { 95.0..105.0 } else { 0.0..5.0 };
        assert!(expected.contains(&share.percent()), "{wiring:?}: {share:?}");
        let path = if replies_cross { "return_path = \"gateway\"" } else { "return_path = \"bypass\"" };
        has_lines(
            &lab,
            &[path, "mode = \"routed\"", "address = \"198.18.1.10\"", "address = \"2001:db8:2::13\""],
        );
    }
}

#[test]
fn a_switch_in_user_space_tags_and_untags_at_speed_and_in_order() {
    let Some((testbed, lab)) = lab("lab-vlans", Wiring::TwoVlans) else { return };
    let trunk = &lab.site.ports[0];
    // In the appliance's place a second switch, and behind it a router with a leg in each VLAN.
    let router = testbed.namespace("router").unwrap();
    let legs = [("outside", 10, 0), ("inside", 20, 1)].map(|(name, vlan, network)| {
        let leg = testbed.link((&router, name), (&lab.site.appliance, name)).unwrap();
        lab::topology::Network(network).prefixes(1).iter().for_each(|at| leg.first.add_address(at).unwrap());
        leg.second.silence_ipv6().unwrap();
        (vlan, leg.second)
    });
    router.forward_packets().unwrap();
    let far_switch = VlanSwitch::start(trunk, &legs).unwrap();
    let _peers = lab.site.start_peers().unwrap();
    let capture = Capture::start(trunk, "trunk", Direction::In).unwrap();
    let ends = [
        ("sent", &lab.site.client.end, Direction::Out),
        ("received", &lab.site.servers[0].end, Direction::In),
    ];
    let ends = ends.map(|(name, end, direction)| Capture::start(end, name, direction).unwrap());
    let client_v4 = lab.site.client.v4;
    servers_answer(&lab);
    let (client, server) = (lab.site.client.namespace(), &lab.site.servers[0]);
    for address in server.addresses() {
        for way in [Way::Download, Way::Upload] {
            let target = (address, TRANSFER_PORT).into();
            let came = transfer(client, target, way, 10_000_000, PATIENCE).unwrap().unwrap();
            assert_eq!(came.right_bytes, 10_000_000, "{address} {way:?}");
        }
        let ask = || udp_ask_sized((address, UDP_PORT).into(), 60_000, PATIENCE);
        assert_eq!(client.run(ask).unwrap().unwrap().attempts, 1);
    }
    let captured = capture.stop().unwrap();
    assert_eq!(captured.dropped_by_kernel, 0);
    assert!(captured.frames.len() > 20_000, "{}", captured.frames.len());
    let vlan = |packet: &lab::Packet| if packet.source_mac == lab.site.client.wire.mac() { 10 } else { 20 };
    assert!(captured.packets().all(|packet| packet.vlan == Some(vlan(&packet))));
    let [sent, received] = ends.map(|capture| {
        let captured = capture.stop().unwrap();
        assert_eq!(captured.dropped_by_kernel, 0);
        let of_client = |frame: &&lab::Frame| {
            frame.packet().is_some_and(|packet| packet.source == client_v4 && packet.destination == server.v4)
        };
        let segments = captured.frames.iter().filter(of_client).map(|frame| frame.bytes[34..].to_vec());
        segments.collect::<Vec<_>>()
    });
    assert!(sent.len() > 5_000 && sent == received, "every segment, and in order");
    let near_switch = lab.vlan_switch.as_ref().unwrap();
    assert_eq!((near_switch.dropped_frames(), far_switch.dropped_frames()), (0, 0));
    has_lines(
        &lab,
        &[
            "name = \"outside\"",
            "interface = \"trunk\"",
            "vlan = 20",
            "addresses = [\"198.18.1.1/24\", \"2001:db8:1::1/64\"]",
            "address = \"198.18.0.10\"",
        ],
    );
}
