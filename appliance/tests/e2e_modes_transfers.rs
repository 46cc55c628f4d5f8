//! Long transfers in every mode, through a link that is narrower than both ends know: path MTU discovery works in both
//! directions, and tunnels announce what fits.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::net::IpAddr;

use e2e::modes::{Mode, Scene};
use e2e::sides::{ip_packet, stripped};
use e2e::{PATIENCE, family, run_in};
use lab::topology::{HOP_MTU_BYTES, Hop, Host, TRANSFER_PORT};
use lab::{Appliance, Capture, Captured, Direction, Frame, Way};

mod through_a_hop_before_the_client {
    use crate::e2e::modes::{Mode, in_every_mode};
    fn cross(driver: &str, mode: Mode) {
        crate::transfers_cross(driver, mode, lab::topology::Hop::Client);
    }
    in_every_mode! { cross }
}

mod through_a_hop_before_the_servers {
    use crate::e2e::modes::{Mode, in_every_mode};
    fn cross(driver: &str, mode: Mode) {
        crate::transfers_cross(driver, mode, lab::topology::Hop::Servers);
    }
    in_every_mode! { cross }
}

const SHORT_BYTES: u64 = 200_000;
const LONG_BYTES: u64 = 10_000_000;
/// An IPv6 host sends so much at a time whatever it is told (RFC 8200 section 5). In a tunnel that is too long for the hop,
/// so the tunnel cuts it.
const IPV6_MTU_BYTES_MIN: u32 = 1280;

fn transfers_cross(driver: &str, mode: Mode, hop: Hop) {
    let scene = Scene::new(driver, mode, hop);
    if (mode, hop) == (Mode::Dscp, Hop::Servers) {
        announce_what_fits(&scene);
    }
    let hop_mtu_bytes = u32::from(HOP_MTU_BYTES);
    let appliance = scene.start();
    let listen = |host: &Host| Capture::start(&host.end, &host.name, Direction::In).unwrap();
    let at_client = listen(&scene.site.client);
    let at_servers: Vec<Capture> = scene.site.servers.iter().map(listen).collect();
    let mut downloads = Vec::new();
    for vip in scene.site.vips {
        downloads.push(transfer(&scene, &appliance, vip, Way::Download, SHORT_BYTES));
        transfer(&scene, &appliance, vip, Way::Upload, SHORT_BYTES);
    }
    let at_client = at_client.stop().unwrap();
    let at_servers: Vec<Captured> = at_servers.into_iter().map(|capture| capture.stop().unwrap()).collect();
    for captured in at_servers.iter().chain([&at_client]) {
        captured.verify_checksums().unwrap();
    }
    for (vip, server) in scene.site.vips.into_iter().zip(&downloads) {
        let index = scene.site.servers.iter().position(|host| host.name == *server).unwrap();
        let (host, at_server) = (&scene.site.servers[index], &at_servers[index]);
        let client = scene.client_like(vip);
        let (told, expected) = if hop == Hop::Servers {
            let overhead = tunnel_bytes(mode, vip);
            let least = if vip.is_ipv4() { 0 } else { IPV6_MTU_BYTES_MIN };
            (too_big(&at_client, (client, vip)), [1500 - overhead, (hop_mtu_bytes - overhead).max(least)])
        } else {
            // The server's own address, on the way to it: a mark still stands for the virtual one.
            let to = if mode.is_direct() && mode != Mode::Dscp { vip } else { host.address_like(vip) };
            let quoted = if mode.is_direct() { vip } else { to };
            let other = if mode.translates_source() { vip } else { client };
            (too_big_to(at_server, to, (quoted, other)), [hop_mtu_bytes; 2])
        };
        if (mode, hop) != (Mode::Dscp, Hop::Servers) {
            assert!(told.contains(&expected[1]), "{}: the sender hears of the narrow link", family(vip));
            assert!(told.iter().all(|mtu| expected.contains(mtu)), "{told:?}");
        }
        check_segment_size(mode, vip, at_server);
    }
    for vip in scene.site.vips {
        // The way on which the narrow link is met last.
        let way = if hop == Hop::Client { Way::Download } else { Way::Upload };
        transfer(&scene, &appliance, vip, way, LONG_BYTES);
    }
}

/// Has the servers announce segments that fit through the hop. Behind a mark, routers speak to the client of a server that
/// it has never called, and it does not listen.
fn announce_what_fits(scene: &Scene) {
    let run = |namespace: &lab::Namespace, words: &str| -> String {
        let output = run_in(namespace, "ip", &words.split_whitespace().collect::<Vec<_>>());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for server in &scene.site.servers {
        for (family, headers) in [("-4", 40), ("-6", 60)] {
            let route = run(server.namespace(), &format!("{family} route show default"));
            let route = route.lines().next().unwrap().split(" pref ").next().unwrap();
            let size = HOP_MTU_BYTES - headers;
            run(server.namespace(), &format!("{family} route change {route} advmss {size}"));
        }
    }
}

/// A whole transfer between ends that know nothing of the narrow link; its server.
fn transfer(scene: &Scene, appliance: &Appliance, vip: IpAddr, way: Way, length_bytes: u64) -> String {
    for host in scene.site.servers.iter().chain([&scene.site.client]) {
        for family in ["-4", "-6"] {
            // Nothing to flush is no failure.
            run_in(host.namespace(), "ip", &[family, "route", "flush", "cache"]);
        }
    }
    let target = (vip, TRANSFER_PORT).into();
    let came = lab::transfer(scene.client(), target, way, length_bytes, PATIENCE).unwrap();
    let drops = || appliance.show("drops").unwrap();
    let came = came.unwrap_or_else(|why| panic!("{way:?} of {length_bytes} from {vip}: {why}\n{}", drops()));
    assert_eq!(came.right_bytes, length_bytes, "{way:?} from {vip}\n{}", drops());
    came.answer.server
}

/// What ICMP says of the way's MTU to the sender of a packet with these addresses, source and destination, as that
/// sender has written them; in a tunnel too.
fn too_big(captured: &Captured, quoted: (IpAddr, IpAddr)) -> Vec<u32> {
    too_big_to(captured, quoted.0, quoted)
}

/// The same, sent to another address.
fn too_big_to(captured: &Captured, to: IpAddr, quoted: (IpAddr, IpAddr)) -> Vec<u32> {
    let of_frame = |frame: &Frame| {
        let frame = stripped(frame).unwrap_or_else(|| frame.clone());
        let packet = frame.packet().filter(|packet| packet.destination == to)?;
        let (header, told) = match packet.protocol {
            1 => (20, [3, 4]),
            58 => (40, [2, 0]),
            _ => return None,
        };
        let bytes = ip_packet(&frame);
        let icmp = &bytes[header..];
        let is_too_big = icmp.starts_with(&told);
        let mtu = u32::from_be_bytes(icmp[4..8].try_into().unwrap());
        (is_too_big && addresses(&icmp[8..]) == quoted).then_some(mtu)
    };
    captured.frames.iter().filter_map(of_frame).collect()
}

fn addresses(packet: &[u8]) -> (IpAddr, IpAddr) {
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    if packet[0] >> 4 == 4 { (v4(12), v4(16)) } else { (v6(8), v6(24)) }
}

/// What a tunnel adds to each packet.
fn tunnel_bytes(mode: Mode, vip: IpAddr) -> u32 {
    match (mode, vip.is_ipv4()) {
        (Mode::Ipip, true) => 20,
        (Mode::Ipip, false) => 40,
        (Mode::Gue, true) => 28,
        (Mode::Gue, false) => 48,
        _ => 0,
    }
}

/// The segment size that the client has announced, as the server hears it: what a link of 1500 bytes holds, less what
/// the tunnel needs.
fn check_segment_size(mode: Mode, vip: IpAddr, at_server: &Captured) {
    let is_v4 = vip.is_ipv4();
    let announced = if is_v4 { 1460 } else { 1440 };
    let of_frame = |frame: &Frame| {
        let frame = stripped(frame).unwrap_or_else(|| frame.clone());
        let packet = frame.packet()?;
        let is_syn = packet.tcp_flags == Some(wire::tcp::TcpFlags::SYN);
        let is_it = is_syn && packet.source.is_ipv4() == is_v4 && packet.has_port(TRANSFER_PORT);
        // Health checks come from the appliance's kernel, unclamped.
        let from = packet.source.to_string();
        let is_check =
            from.ends_with(".2") || from.ends_with("::2") || from.ends_with(".1") || from.ends_with("::1");
        (is_it && !is_check).then(|| {
            // Linux puts the segment size first.
            let options = &ip_packet(&frame)[if is_v4 { 40 } else { 60 }..];
            assert_eq!(options[..2], [2, 4]);
            u16::from_be_bytes([options[2], options[3]])
        })
    };
    let heard: Vec<u16> = at_server.frames.iter().filter_map(of_frame).collect();
    assert!(!heard.is_empty());
    assert!(heard.iter().all(|size| u32::from(*size) == announced - tunnel_bytes(mode, vip)), "{heard:?}");
}
