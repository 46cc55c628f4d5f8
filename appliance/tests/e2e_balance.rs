//! Requests to virtual addresses are shared out and answered, end to end.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use e2e::{FAMILIES, PATIENCE, Stage, family, kernel_counter, on_both_drivers, service_text};
use lab::topology::slb_routed::{HOLD_PORT, HTTP_PORT, UDP_PORT, VIP_V4, VIP_V6};
use lab::{Capture, Captured, Direction, Failure, HeldConnections, Packet, TcpHold, UdpEcho};

on_both_drivers! {
    three_hundred_requests_are_shared_equally_by_servers_that_see_the_client,
    the_kernel_beside_the_appliance_sees_and_sends_nothing_for_a_virtual_address,
    a_hundred_datagrams_are_shared_and_answered,
    a_service_on_a_range_of_ports_and_one_on_any_keep_the_port_that_was_called,
    two_workers_go_round_once,
}

/// On AF_XDP over links of one queue the second worker stays idle, which the appliance decides for itself.
fn two_workers_go_round_once(driver: &str) {
    let mut stage = Stage::new(driver);
    stage.options.workers = vec![0, 1];
    let _web = stage.web();
    let appliance = stage.start(&stage.web_services());
    for (vip, _client) in FAMILIES {
        let report = stage.ask((vip, HTTP_PORT), 300);
        assert_eq!(report.per_server, each(3, 100), "{report}");
    }
    let workers = e2e::show(&appliance, "workers");
    let busy = workers.as_array().unwrap().iter().filter(|worker| worker["packets"].as_u64() > Some(0));
    assert_eq!(busy.count(), if driver == "af_packet" { 2 } else { 1 });
}

/// What the kernel counts when it sees a packet for an address that is not its own, or answers one.
const KERNEL_COUNTERS: [&str; 8] = [
    "IpInAddrErrors",
    "IpForwDatagrams",
    "TcpOutRsts",
    "IcmpOutDestUnreachs",
    "IcmpOutEchoReps",
    "Ip6InAddrErrors",
    "Ip6OutForwDatagrams",
    "Icmp6OutDestUnreachs",
];

fn each(servers: usize, share: usize) -> BTreeMap<String, usize> {
    (1..=servers).map(|number| (format!("server{number}"), share)).collect()
}

/// All checksums right, at least so many frames, none lost.
fn assert_sound(captured: &Captured, frames: usize) {
    assert_eq!(captured.dropped_by_kernel, 0);
    let count = captured.verify_checksums().unwrap_or_else(|wrong| panic!("{wrong:?}"));
    assert!(count >= frames, "{count} frames, {frames} were expected at the least");
}

/// The TCP and UDP packets that an address sent.
fn sent_by(captured: &Captured, address: IpAddr) -> Vec<Packet> {
    captured.packets().filter(|packet| packet.source == address && packet.ports.is_some()).collect()
}

fn three_hundred_requests_are_shared_equally_by_servers_that_see_the_client(driver: &str) {
    let stage = Stage::new(driver);
    let web = stage.web();
    let _appliance = stage.start(&stage.web_services());
    let at_client = Capture::start(&stage.lab.client, "at-client", Direction::Both).unwrap();
    let at_server = Capture::start(&stage.lab.servers[0].end, "at-server", Direction::Both).unwrap();
    for (vip, client) in FAMILIES {
        let report = stage.ask((vip, HTTP_PORT), 300);
        assert_eq!(report.per_server, each(3, 100), "{report}");
        assert_eq!(report.clients_seen, BTreeMap::from([(client, 300)]));
        assert!(report.failed.is_empty(), "{report}");
        for server in &web {
            let accesses = server.accesses();
            let own = accesses.iter().filter(|access| access.client.ip() == client).count();
            assert_eq!(own, 100, "{} over {}", server.name(), family(vip));
        }
    }
    // A connection with one request takes 9 packets at the least.
    let at_client = at_client.stop().unwrap();
    assert_sound(&at_client, 600 * 9);
    let at_server = at_server.stop().unwrap();
    assert_sound(&at_server, 200 * 9);
    for (vip, client) in FAMILIES {
        let replies = sent_by(&at_client, vip);
        assert!(replies.len() > 900 && replies.iter().all(|reply| reply.ttl == 63));
        assert!(replies.iter().all(|reply| reply.source_mac == stage.lab.outside.mac()));
        let requests = sent_by(&at_server, client);
        assert!(requests.len() > 400 && requests.iter().all(|request| request.ttl == 63));
        assert!(requests.iter().all(|request| request.source_mac == stage.lab.inside.mac()));
        assert!(at_server.packets_of(vip).is_empty(), "a server never hears of the virtual address");
    }
}

fn the_kernel_beside_the_appliance_sees_and_sends_nothing_for_a_virtual_address(driver: &str) {
    let stage = Stage::new(driver);
    let _web = stage.web();
    let _appliance = stage.start(&stage.web_services());
    let namespace = stage.lab.outside.namespace();
    let count = || KERNEL_COUNTERS.map(|name| (name, kernel_counter(namespace, name)));
    let before = count();
    let out = Capture::start(&stage.lab.outside, "out", Direction::Out).unwrap();
    let at_client = Capture::start(&stage.lab.client, "at-client", Direction::In).unwrap();
    for (vip, _client) in FAMILIES {
        assert_eq!(stage.ask((vip, HTTP_PORT), 60).answered(), 60);
        assert_eq!(stage.ask_udp((vip, 9), 1).failures(), BTreeMap::from([(&Failure::Refused, 1)]));
        assert!(stage.ping(&vip.to_string()).0);
    }
    assert_eq!(count(), before);
    let (out, at_client) = (out.stop().unwrap(), at_client.stop().unwrap());
    let of_vips = |captured: &Captured| -> usize {
        FAMILIES.iter().map(|(vip, _client)| captured.packets_of(*vip).len()).sum()
    };
    if driver == "af_xdp" {
        assert_eq!(of_vips(&out), 0, "frames of a ring pass no tap: these are the kernel's");
    } else {
        // Frames of an AF_PACKET ring pass the tap as well: nobody beside it may have sent one more.
        assert_eq!(of_vips(&out), of_vips(&at_client));
    }
    let resets = at_client.packets().filter(|packet| packet.tcp_flags.is_some_and(|flags| flags.0 & 4 != 0));
    assert_eq!(resets.count(), 0);
}

/// Who answers a datagram from this port of the client, and whom it saw.
fn ask_from(client: SocketAddr, vip: IpAddr) -> (String, SocketAddr) {
    let socket = UdpSocket::bind(client).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect((vip, UDP_PORT)).unwrap();
    socket.send(b"who").unwrap();
    let mut answer = [0; 128];
    let length = socket.recv(&mut answer).unwrap();
    let text = std::str::from_utf8(&answer[..length]).unwrap();
    let (server, seen) = text.split_once(' ').unwrap();
    (server.to_owned(), seen.parse().unwrap())
}

fn a_hundred_datagrams_are_shared_and_answered(driver: &str) {
    let stage = Stage::new(driver);
    let (_hold, _echo) = (stage.hold(), stage.echo());
    let services = stage.services("echo", "udp", UDP_PORT, Some(HOLD_PORT));
    let appliance = stage.start(&services);
    for (vip, client) in FAMILIES {
        let mut shares: BTreeMap<String, usize> = BTreeMap::new();
        // Ports of the test's own choice: those that the kernel draws may come twice, and are then one session.
        for port in 20_000..20_100 {
            let own = SocketAddr::new(client, port);
            let (server, seen) = stage.lab.client.namespace().run(|| ask_from(own, vip)).unwrap();
            assert_eq!(seen, own);
            *shares.entry(server).or_default() += 1;
        }
        assert!(shares.len() == 3 && shares.values().all(|share| [33, 34].contains(share)), "{shares:?}");
    }
    let sessions = e2e::show(&appliance, "sessions");
    assert_eq!(sessions.as_array().unwrap().len(), 200, "one for each client port");
}

fn a_service_on_a_range_of_ports_and_one_on_any_keep_the_port_that_was_called(driver: &str) {
    let stage = Stage::new(driver);
    let server = &stage.lab.servers[1];
    let ports = [8_000, 8_005, 8_009];
    let _echoes = ports.map(|port| UdpEcho::start(server.namespace(), &format!("udp{port}"), port).unwrap());
    let _holds = ports.map(|port| TcpHold::start(server.namespace(), &format!("tcp{port}"), port).unwrap());
    let any_vips: [IpAddr; 2] = ["198.18.0.12".parse().unwrap(), "2001:db8::12".parse().unwrap()];
    let mut text = stage.text(&[]);
    for ((vip, _client), any) in FAMILIES.into_iter().zip(any_vips) {
        let to = format!("address = \"{}\"", server.address_like(vip));
        let add = |text: &mut String, name: &str, vip: IpAddr, keys: &str| {
            let name = format!("{name}-{}", family(vip));
            text.push_str(&service_text(&name, &vip.to_string(), keys, &[&to]));
        };
        add(&mut text, "udp-range", vip, "protocol = \"udp\"\nport = \"8000-8009\"");
        add(&mut text, "tcp-range", vip, "protocol = \"tcp\"\nport = \"8000-8009\"");
        add(&mut text, "any", any, "protocol = \"any\"\nport = \"any\"");
    }
    let _appliance = stage.start_with(&text);
    let hold = |target| {
        let opened = HeldConnections::open(stage.lab.client.namespace(), target, 1, PATIENCE);
        opened.unwrap().map(|mut held| e2e::names(&mut held).remove(0))
    };
    for vip in [VIP_V4, VIP_V6].into_iter().chain(any_vips) {
        for port in ports {
            let report = stage.ask_udp((vip, port), 1);
            assert_eq!(report.per_server, BTreeMap::from([(format!("udp{port}"), 1)]), "{vip} {report}");
            assert_eq!(hold((vip, port).into()), Ok(format!("tcp{port}")));
        }
    }
    for vip in [VIP_V4, VIP_V6] {
        for beyond in [7_999, 8_010] {
            assert_eq!(hold((vip, beyond).into()), Err(Failure::Refused), "{beyond} is no port of the range");
        }
    }
}
