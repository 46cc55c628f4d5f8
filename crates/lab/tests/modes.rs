//! The topologies of the forwarding modes, with the kernel in the appliance's place where the way leads
//! through it, and what stands in them: hops, long transfers, large datagrams.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use lab::topology::l2_dsr::l2_dsr;
use lab::topology::l3_dsr::{Encapsulation, l3_dsr};
use lab::topology::one_arm_routed::{Wiring, one_arm_routed};
use lab::topology::routed_two_ports::routed_two_ports;
use lab::topology::transparent_inline::transparent_inline;
use lab::topology::transparent_one_arm::transparent_one_arm;
use lab::topology::traps::{Variant, traps};
use lab::topology::{
    BRIDGE, HOP_MTU_BYTES, HTTP_PORT, Hop, Host, Options, Peers, Site, TRANSFER_PORT, UDP_PORT,
};
use lab::{
    Capture, Captured, Direction, FragmentedQuestion, Iperf3, Load, Namespace, Order, Testbed, Way,
    ask_in_fragments, ask_udp, run_iperf3, run_requests, transfer, udp_ask_sized,
};

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// What tells that no answer will come. Nothing in a lab takes a tenth of it.
const SILENCE: Duration = Duration::from_millis(1100);

fn testbed(label: &str) -> Option<Testbed> {
    let programs = ["nginx", "tcpdump", "ping", "iperf3"]
        .iter()
        .try_for_each(|name| lab::find_program(name).map(|_path| ()));
    if let Err(why) = Testbed::check_machine().and(programs) {
        eprintln!("skipped: {why}");
        return None;
    }
    Some(Testbed::new(label).unwrap())
}

/// A bridge of the kernel's over the appliance's ports.
fn bridge_in_its_place(site: &Site) {
    site.appliance.add_bridge(BRIDGE).unwrap();
    site.ports.iter().for_each(|port| port.join_bridge(BRIDGE).unwrap());
}

fn pings(from: &Namespace, to: &[IpAddr]) -> bool {
    to.iter().all(|address| from.ping(*address, PATIENCE).unwrap())
}

/// Every server answers a client on its real address, over both families, in every program.
fn servers_answer(site: &Site, client: &Host) -> Peers {
    let peers = site.start_peers().unwrap();
    for server in &site.servers {
        assert!(pings(client.namespace(), &server.addresses()), "{}", server.name);
        for address in server.addresses() {
            let load = Load { count: 2, timeout: PATIENCE, ..Load::default() };
            let once = BTreeMap::from([(server.name.clone(), 2)]);
            let seen = BTreeMap::from([(client.address_like(address), 2)]);
            let web = run_requests(client.namespace(), (address, HTTP_PORT).into(), load).unwrap();
            let udp = ask_udp(client.namespace(), (address, UDP_PORT).into(), load).unwrap();
            for report in [web, udp] {
                assert_eq!((&report.per_server, &report.clients_seen), (&once, &seen), "{report}");
            }
        }
    }
    peers
}

fn transfers_whole(client: &Host, server: &Host, length_bytes: u64) {
    for address in server.addresses() {
        for way in [Way::Download, Way::Upload] {
            client.namespace().forget_path_mtu().unwrap();
            server.namespace().forget_path_mtu().unwrap();
            let target = (address, TRANSFER_PORT).into();
            let came = transfer(client.namespace(), target, way, length_bytes, PATIENCE).unwrap().unwrap();
            assert_eq!((came.right_bytes, came.answer.server.as_str()), (length_bytes, server.name.as_str()));
        }
    }
}

fn has_lines(site: &Site, lines: &[&str]) {
    let options = Options { driver: "af_packet".into(), workers: vec![0, 1], ..Options::default() };
    let text = site.configuration(&options);
    for line in lines.iter().chain(&["workers = [0, 1]", "driver = \"af_packet\"", "protocol = \"udp\""]) {
        assert!(text.lines().any(|other| other == *line), "{line} in\n{text}");
    }
    assert_eq!(text.matches("[[service]]").count(), site.services().len());
    assert_eq!(text.matches("[[service.server]]").count(), site.services().len() * site.servers.len());
}

fn nobody_holds_the_virtual_addresses(site: &Site, from: &Namespace) {
    let silent = |vip: &IpAddr| !from.ping(*vip, SILENCE).unwrap();
    assert!(site.vips.iter().all(silent), "nobody answers for a virtual address yet");
}

#[test]
fn a_transparent_lab_is_one_network_and_whole_only_through_the_appliance() {
    let Some(testbed) = testbed("lab-inline") else { return };
    let lab = transparent_inline(&testbed, Hop::None).unwrap();
    let site = &lab.site;
    assert!(pings(site.client.namespace(), &lab.host_a.addresses()), "on the same side");
    assert!(!site.client.namespace().ping(lab.host_b.v4, SILENCE).unwrap(), "no way but the appliance");
    bridge_in_its_place(site);
    assert!(pings(lab.host_a.namespace(), &lab.host_b.addresses()));
    let _iperf3 = Iperf3::start(lab.host_b.namespace(), "hostb", 5201).unwrap();
    for address in lab.host_b.addresses() {
        let report =
            run_iperf3(lab.host_a.namespace(), (address, 5201).into(), 10_000_000, PATIENCE).unwrap();
        assert!(
            report.sent_bytes >= 10_000_000 && report.received_bytes > 0 && report.received_bps > 0.0,
            "{report:?}"
        );
    }
    let _peers = servers_answer(site, &site.client);
    assert!(pings(lab.remote.namespace(), &site.servers[0].addresses()), "from behind the router");
    nobody_holds_the_virtual_addresses(site, site.client.namespace());
    has_lines(
        site,
        &[
            "ports = [\"outside\", \"inside\"]",
            "addresses = [\"198.18.0.2/24\", \"2001:db8::2/64\"]",
            "mode = \"transparent\"",
            "source_nat = \"auto\"",
            "address = \"2001:db8::13\"",
        ],
    );
}

#[test]
fn in_a_transparent_lab_with_one_arm_the_neighbours_reach_each_other() {
    let Some(testbed) = testbed("lab-one-arm") else { return };
    let site = transparent_one_arm(&testbed, Hop::None).unwrap();
    let _peers = servers_answer(&site, &site.client);
    has_lines(&site, &["ports = [\"arm\"]", "mode = \"transparent\"", "address = \"198.18.0.10\""]);
}

#[test]
fn a_server_of_direct_return_holds_the_virtual_address_and_no_neighbour_hears_of_it() {
    let Some(testbed) = testbed("lab-l2-dsr") else { return };
    let lab = l2_dsr(&testbed, Hop::None).unwrap();
    let site = &lab.site;
    let _peers = servers_answer(site, &site.client);
    let capture = Capture::start(&site.ports[0], "arm", Direction::In).unwrap();
    nobody_holds_the_virtual_addresses(site, &lab.router.namespace);
    let asked = |captured: &Captured, vip| captured.packets_of(vip).len();
    let captured = capture.stop().unwrap();
    assert!(asked(&captured, site.vips[0]) > 0, "the appliance is asked for it");
    // What the appliance will do: the packet as it is, in a frame to the server.
    for vip in site.vips {
        let server = &site.servers[1];
        lab.router.namespace.add_neighbour(vip, server.end.mac(), "servers").unwrap();
        let load = Load { count: 2, timeout: PATIENCE, ..Load::default() };
        let report = run_requests(site.client.namespace(), (vip, HTTP_PORT).into(), load).unwrap();
        assert_eq!(report.per_server, BTreeMap::from([("server2".into(), 2)]), "{report}");
    }
    has_lines(site, &["mode = \"l2-dsr\"", "address = \"2001:db8:1::10\"", "interface = \"arm\""]);
}

#[test]
fn long_transfers_and_large_datagrams_cross_a_narrow_hop_that_its_neighbours_do_not_see() {
    for (label, hop) in [("lab-hop-client", Hop::Client), ("lab-hop-servers", Hop::Servers)] {
        let Some(testbed) = testbed(label) else { return };
        let site = transparent_one_arm(&testbed, hop).unwrap();
        let (client, server) = (&site.client, &site.servers[0]);
        let capture = Capture::start(&client.end, "client", Direction::Both).unwrap();
        let at_server = Capture::start(&server.end, "server", Direction::Both).unwrap();
        let _peers = servers_answer(&site, client);
        transfers_whole(client, server, 200_000);
        transfers_whole(client, server, 10_000_000);
        for address in server.addresses() {
            for question_bytes in [4_000, 60_000] {
                let target = (address, UDP_PORT).into();
                let ask = || udp_ask_sized(target, question_bytes, PATIENCE);
                let asked = client.namespace().run(ask).unwrap();
                let asked = asked
                    .unwrap_or_else(|why| panic!("{question_bytes} bytes to {address} ({hop:?}): {why}"));
                assert_eq!(asked.answer.server, "server1");
                assert!(asked.attempts <= 3, "each end finds the narrow link once: {asked:?}");
            }
        }
        let captured = capture.stop().unwrap();
        assert_eq!(captured.dropped_by_kernel, 0);
        let heard = [captured.clone(), at_server.stop().unwrap()];
        for (captured, who) in heard.iter().zip(["client", "server"]) {
            let sizes = captured.frames.iter().map(|frame| frame.bytes.len());
            assert!(sizes.max().unwrap() > usize::from(HOP_MTU_BYTES) + 14, "{who} knows nothing of the hop");
            // Destination unreachable, fragmentation needed (RFC 1191); packet too big (RFC 8201).
            for (protocol, at, told) in [(1, 34, &[3, 4][..]), (58, 54, &[2, 0][..])] {
                let tells = |frame: &lab::Frame| {
                    let is = frame.packet().is_some_and(|packet| packet.protocol == protocol);
                    is && frame.bytes[at..].starts_with(told)
                };
                let told = captured.frames.iter().filter(|frame| tells(frame)).count();
                assert!(told >= 2, "{hop:?}: a router tells {who} of the narrow link, again if it forgets");
            }
        }
        let of_server = |packet: &lab::Packet| packet.source == server.v4 && packet.tcp_flags.is_some();
        let replies = captured.packets().filter(of_server);
        let away: Vec<u8> = replies.map(|packet| packet.ttl).collect();
        assert!(away.len() > 1_000 && away.iter().all(|ttl| *ttl == 62), "two routers away");
    }
}

#[test]
fn fragments_that_come_last_first_and_among_those_of_another_client_make_their_datagrams() {
    let Some(testbed) = testbed("lab-fragments") else { return };
    let lab = transparent_inline(&testbed, Hop::None).unwrap();
    let site = &lab.site;
    bridge_in_its_place(site);
    let _peers = servers_answer(site, &site.client);
    for prefix in ["198.18.0.51/24", "2001:db8::51/64"] {
        site.client.end.add_address(prefix).unwrap();
    }
    let server = &site.servers[0];
    for (target, others) in
        [(server.v4, ["198.18.0.50", "198.18.0.51"]), (server.v6, ["2001:db8::50", "2001:db8::51"])]
    {
        let capture = Capture::start(&server.end, &format!("in{}", target.is_ipv6()), Direction::In).unwrap();
        let questions: Vec<FragmentedQuestion> = others
            .iter()
            .flat_map(|source| {
                let source = source.parse().unwrap();
                [(60_000, 77), (4_000, 78)].map(|(bytes, identification)| FragmentedQuestion {
                    source,
                    identification,
                    bytes,
                })
            })
            .collect();
        for order in [Order::InOrder, Order::LastFirst] {
            let answers = ask_in_fragments(
                site.client.namespace(),
                (target, UDP_PORT).into(),
                &questions,
                order,
                PATIENCE,
            );
            for (question, answer) in questions.iter().zip(answers.unwrap()) {
                assert_eq!(answer.unwrap().client_seen, Some(question.source), "{question:?} {order:?}");
            }
        }
        let captured = capture.stop().unwrap();
        let udp = captured.packets().filter(|packet| packet.protocol == 17);
        let firsts: Vec<usize> =
            udp.enumerate().filter(|(_, packet)| packet.ports.is_some()).map(|(index, _)| index).collect();
        // 43 pieces and 3 pieces, twice; then the same from behind.
        assert_eq!(firsts, [0, 1, 2, 3, 101, 103, 182, 183]);
    }
}

#[test]
fn a_server_of_direct_return_hears_through_its_hop_that_its_replies_are_too_long() {
    let Some(testbed) = testbed("lab-dsr-hop") else { return };
    let lab = l2_dsr(&testbed, Hop::Servers).unwrap();
    let _peers = servers_answer(&lab.site, &lab.site.client);
    let server = &lab.site.servers[2];
    for vip in lab.site.vips {
        lab.router.namespace.add_neighbour(vip, server.wire.mac(), "servers").unwrap();
        for way in [Way::Download, Way::Upload] {
            let target = (vip, TRANSFER_PORT).into();
            let came =
                transfer(lab.site.client.namespace(), target, way, 200_000, PATIENCE).unwrap().unwrap();
            assert_eq!((came.right_bytes, came.answer.server.as_str()), (200_000, "server3"));
        }
    }
}

#[test]
fn a_hop_fits_before_clients_and_servers_of_every_lab() {
    for (number, hop) in [Hop::Client, Hop::Servers].into_iter().enumerate() {
        let Some(bed) = testbed(&format!("lab-fits-inline{number}")) else { return };
        let inline = transparent_inline(&bed, hop).unwrap();
        bridge_in_its_place(&inline.site);
        assert!(pings(inline.remote.namespace(), &inline.site.servers[2].addresses()));
        reaches_servers(&inline.site, hop);

        let bed = testbed(&format!("lab-fits-l3{number}")).unwrap();
        let l3 = l3_dsr(&bed, Encapsulation::Gue, hop).unwrap();
        reaches_servers(&l3.site, hop);

        let bed = testbed(&format!("lab-fits-arm{number}")).unwrap();
        let arm = one_arm_routed(&bed, Wiring::GatewayAppliance, hop).unwrap();
        arm.site.appliance.forward_packets().unwrap();
        reaches_servers(&arm.site, hop);

        let bed = testbed(&format!("lab-fits-routed{number}")).unwrap();
        let routed = routed_two_ports(&bed, hop).unwrap();
        routed.appliance.forward_packets().unwrap();
        reaches_servers(&routed, hop);
        has_lines(&routed, &["mode = \"routed\"", "interface = \"inside\"", "address = \"198.18.1.13\""]);

        let bed = testbed(&format!("lab-fits-traps{number}")).unwrap();
        let traps = traps(&bed, Variant::OwnPorts, hop).unwrap();
        bridge_in_its_place(&traps.site);
        reaches_servers(&traps.site, hop);
    }
}

/// And the hosts behind a hop are seen by its router's hardware address.
fn reaches_servers(site: &Site, hop: Hop) {
    for server in &site.servers {
        assert!(pings(site.client.namespace(), &server.addresses()), "{hop:?}: {}", server.name);
        assert_eq!(server.wire.mac() != server.end.mac(), hop == Hop::Servers);
    }
    assert_eq!(site.client.wire.mac() != site.client.end.mac(), hop == Hop::Client);
}
