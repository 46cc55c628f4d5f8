//! The topology `l3_dsr`, with stand-ins for the appliance that the kernel can do: raw sockets and a rule.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::topology::l3_dsr::{Encapsulation, L3Dsr, l3_dsr};
use lab::topology::{HTTP_PORT, Hop, Options, TRANSFER_PORT, UDP_PORT};
use lab::{
    Capture, Direction, Failure, GUE_PORT, Load, Packet, Testbed, Way, ask_udp, run_requests, transfer,
};
use pnet::datalink::{self, Channel};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

const TRANSFER_BYTES: u64 = 200_000;

fn testbed(label: &str) -> Option<Testbed> {
    let programs =
        ["nginx", "tcpdump", "nft"].iter().try_for_each(|name| lab::find_program(name).map(|_path| ()));
    if let Err(why) = Testbed::check_machine().and(programs) {
        eprintln!("skipped: {why}");
        return None;
    }
    Some(Testbed::new(label).unwrap())
}

/// Sends a packet in a tunnel to a server.
fn encapsulate(tunnel: Encapsulation, packet: &[u8], server: IpAddr) {
    let port = if tunnel == Encapsulation::Gue { GUE_PORT } else { 0 };
    let target = SocketAddr::new(server, port);
    if tunnel == Encapsulation::Gue && (server.is_ipv4() || packet.len() % 2 == 1) {
        let any = match server {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        UdpSocket::bind((any, 0)).unwrap().send_to(packet, target).unwrap();
        return;
    }
    if tunnel == Encapsulation::Gue {
        // Over IPv6, every packet of even length without a checksum.
        let length = u16::try_from(packet.len() + 8).unwrap();
        let header: Vec<u8> = [50_001, GUE_PORT, length, 0].into_iter().flat_map(u16::to_be_bytes).collect();
        let datagram = [&header, packet].concat();
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = socket_with(AddressFamily::INET6, kind, flags, Some(ipproto::UDP)).unwrap();
        sendto(&socket, &datagram, SendFlags::empty(), &SocketAddr::new(server, 0)).unwrap();
        return;
    }
    let (family, inner) = match server {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::IPIP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::IPV6),
    };
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(inner)).unwrap();
    sendto(&socket, packet, SendFlags::empty(), &target).unwrap();
}

/// Takes what comes for a virtual address and sends it to server 2, until the end.
fn stand_in(lab: &L3Dsr, tunnel: Encapsulation, ending: &AtomicBool, ready: &AtomicBool) {
    let interfaces = datalink::interfaces();
    let arm = interfaces.iter().find(|interface| interface.name == "arm").unwrap();
    let config = datalink::Config { read_timeout: Some(Duration::from_millis(50)), ..Default::default() };
    let Ok(Channel::Ethernet(_sender, mut receiver)) = datalink::channel(arm, config) else { panic!() };
    ready.store(true, Ordering::Relaxed);
    while !ending.load(Ordering::Relaxed) {
        let Ok(frame) = receiver.next() else { continue };
        let frame = lab::Frame { at: Duration::ZERO, bytes: frame.to_vec() };
        let Some(packet) = frame.packet() else { continue };
        let for_service = packet.protocol != 0 && packet.protocol != 58;
        if for_service && lab.site.vips.contains(&packet.destination) {
            encapsulate(tunnel, &frame.bytes[14..], lab.site.servers[1].address_like(packet.destination));
        }
    }
}

/// Ends the stand-in, also when a check fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The way to the virtual address leads to the appliance's port.
fn announce(lab: &L3Dsr) {
    for vip in lab.site.vips {
        lab.router.namespace.add_neighbour(vip, lab.site.ports[0].mac(), "appliance").unwrap();
    }
}

fn server_two_answers_for_the_virtual_address(lab: &L3Dsr) -> Vec<Packet> {
    let client = &lab.site.client;
    let capture = Capture::start(&client.end, "client", Direction::In).unwrap();
    for vip in lab.site.vips {
        let load = Load { count: 5, concurrency: 2, timeout: PATIENCE, ..Load::default() };
        let reports = [
            run_requests(client.namespace(), (vip, HTTP_PORT).into(), load).unwrap(),
            ask_udp(client.namespace(), (vip, UDP_PORT).into(), load).unwrap(),
        ];
        for report in reports {
            assert_eq!(report.per_server, BTreeMap::from([("server2".into(), 5)]), "{report}");
            assert_eq!(report.clients_seen, BTreeMap::from([(client.address_like(vip), 5)]));
        }
        for way in [Way::Download, Way::Upload] {
            let target = (vip, TRANSFER_PORT).into();
            let came = transfer(client.namespace(), target, way, TRANSFER_BYTES, PATIENCE).unwrap().unwrap();
            assert_eq!(came.right_bytes, TRANSFER_BYTES);
        }
    }
    let captured = capture.stop().unwrap();
    captured.verify_checksums().unwrap();
    captured.packets().filter(|packet| packet.tcp_flags.is_some()).collect()
}

#[test]
fn a_tunnel_brings_the_packet_to_the_server_and_the_reply_comes_straight() {
    for tunnel in [Encapsulation::Ipip, Encapsulation::Gue] {
        let Some(testbed) = testbed(&format!("lab-{}", tunnel.word())) else { return };
        let lab = l3_dsr(&testbed, tunnel, Hop::None).unwrap();
        let _peers = lab.site.start_peers().unwrap();
        announce(&lab);
        let capture = Capture::start(&lab.site.servers[1].end, "server2", Direction::In).unwrap();
        let (ending, ready) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let (lab, ending, ready) = (&lab, &ending, &ready);
            scope.spawn(move || lab.site.appliance.run(|| stand_in(lab, tunnel, ending, ready)).unwrap());
            let _ending = Ending(ending);
            while !ready.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            let replies = server_two_answers_for_the_virtual_address(lab);
            assert!(replies.iter().all(|packet| packet.ttl == 63), "the router alone is in the way");
            assert!(replies.iter().all(|packet| lab.site.vips.contains(&packet.source)));
        });
        let seen = lab.decapsulators[1].seen();
        assert!(seen.passed_packets > 200, "{seen:?}");
        assert_eq!(seen.dropped_packets, 0, "{seen:?}");
        let source = seen.last_source.unwrap();
        assert_eq!(source.ip().to_string(), "2001:db8:1::2", "the stand-in's own");
        assert_eq!(source.port() == 0, tunnel == Encapsulation::Ipip);
        assert_eq!(lab.decapsulators[0].seen().passed_packets, 0);

        let captured = capture.stop().unwrap();
        let inside: Vec<Packet> = captured.frames.iter().filter_map(lab::Frame::inner_packet).collect();
        assert!(inside.len() > 100);
        assert!(inside.iter().all(|packet| packet.source == lab.site.client.address_like(packet.source)));
        assert!(inside.iter().all(|packet| packet.ttl == 63 && lab.site.vips.contains(&packet.destination)));
    }
}

#[test]
fn a_marked_packet_is_taken_for_the_virtual_address() {
    let Some(testbed) = testbed("lab-dscp") else { return };
    let lab = l3_dsr(&testbed, Encapsulation::Dscp, Hop::None).unwrap();
    let _peers = lab.site.start_peers().unwrap();
    announce(&lab);
    let mut rules = String::new();
    for (family, vip) in ["ip", "ip6"].into_iter().zip(lab.site.vips) {
        let server = lab.site.servers[1].address_like(vip);
        rules += &format!("{family} daddr {vip} {family} dscp set 12 {family} daddr set {server}\n");
    }
    let hook = "type filter hook prerouting priority raw; policy accept;";
    let file = testbed.directory().join("stand-in.nft");
    std::fs::write(&file, format!("table inet stand_in {{\nchain forward {{\n{hook}\n{rules}}}\n}}\n"))
        .unwrap();
    lab.site.appliance.output("nft", &["-f", &file.to_string_lossy()]).unwrap();
    lab.site.appliance.forward_packets().unwrap();
    let capture = Capture::start(&lab.site.servers[1].end, "server2", Direction::In).unwrap();
    server_two_answers_for_the_virtual_address(&lab);
    let captured = capture.stop().unwrap();
    let to_server =
        |packet: &Packet| packet.destination == lab.site.servers[1].address_like(packet.destination);
    let marked: Vec<u8> = captured
        .packets()
        .filter(|packet| packet.tcp_flags.is_some() && to_server(packet))
        .map(|p| p.traffic_class >> 2)
        .collect();
    assert!(marked.len() > 100 && marked.iter().all(|dscp| *dscp == 12));
    // The mark of another server stands for nothing here: its real address resets what it has not opened.
    lab.site.appliance.output("nft", &["delete", "table", "inet", "stand_in"]).unwrap();
    std::fs::write(
        &file,
        format!(
            "table inet stand_in {{\nchain forward {{\n{hook}\n{}}}\n}}\n",
            rules.replace("set 12", "set 11")
        ),
    )
    .unwrap();
    lab.site.appliance.output("nft", &["-f", &file.to_string_lossy()]).unwrap();
    let load = Load { count: 1, timeout: Duration::from_millis(500), ..Load::default() };
    let report =
        run_requests(lab.site.client.namespace(), (lab.site.vips[0], HTTP_PORT).into(), load).unwrap();
    assert_eq!(report.failures(), BTreeMap::from([(&Failure::TimedOut, 1)]), "{report}");
}

#[test]
fn the_configuration_tells_how_packets_find_their_servers() {
    for (encapsulation, lines) in [
        (Encapsulation::Ipip, ["encapsulation = \"ipip\"", "encapsulation_source = \"198.18.1.251\""]),
        (Encapsulation::Gue, ["encapsulation = \"gue\"", "encapsulation_source = \"2001:db8:1::251\""]),
        (Encapsulation::Dscp, ["encapsulation = \"dscp\"", "dscp = 13"]),
    ] {
        let Some(testbed) = testbed(&format!("lab-words-{}", encapsulation.word())) else { return };
        let lab = l3_dsr(&testbed, encapsulation, Hop::None).unwrap();
        let text = lab.site.configuration(&Options::default());
        for line in lines.iter().chain(&["mode = \"l3-dsr\"", "address = \"2001:db8:2::12\""]) {
            assert!(text.lines().any(|other| other == *line), "{line} in\n{text}");
        }
    }
}
