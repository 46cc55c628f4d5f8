//! Odd frames out of other people's captures against each mode: what is malformed reaches no server, every frame is
//! accounted for, and long transfers go on meanwhile.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../tests/vectors.rs"]
mod captured;
mod e2e;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use captured::Vector;
use e2e::modes::{Mode, Scene};
use e2e::{PATIENCE, show, status, wait_for, with_driver};
use lab::topology::one_arm_routed::CLIENT_VLAN;
use lab::topology::{Hop, Host, TRANSFER_PORT};
use lab::{Appliance, Capture, Direction, Packet, Way};

/// One test for each mode, on one of the drivers.
macro_rules! against {
    ($($name:ident $mode:ident $driver:literal),+ $(,)?) => {
        $(#[test] fn $name() { with_driver($driver, |driver| odd_frames(driver, Mode::$mode)); })+
    };
}

against! {
    transparent_inline TransparentInline "af_packet",
    transparent_one_arm TransparentOneArm "af_xdp",
    routed Routed "af_xdp",
    routed_one_arm RoutedOneArm "af_packet",
    routed_bypassed RoutedBypassed "af_xdp",
    routed_in_vlans RoutedInVlans "af_packet",
    l2_dsr L2Dsr "af_xdp",
    l3_dsr_ipip Ipip "af_packet",
    l3_dsr_gue Gue "af_xdp",
    l3_dsr_dscp Dscp "af_packet",
}

const CANARY_BYTES: u64 = 3_000_000;
/// Between two rounds of frames.
const REST: Duration = Duration::from_millis(20);
/// What a port of 1500 bytes carries, with room for a tag.
const FRAME_BYTES: std::ops::RangeInclusive<usize> = 14..=1514;

/// Those that a port takes.
fn vectors() -> Option<Vec<Vector>> {
    let sendable = |vector: &Vector| FRAME_BYTES.contains(&vector.frame.len());
    Some(captured::vectors()?.into_iter().filter(sendable).collect())
}

fn odd_frames(driver: &str, mode: Mode) {
    let Some(vectors) = vectors() else { return };
    let scene = Scene::new(driver, mode, Hop::None);
    let appliance = scene.start();
    let listen = |host: &Host| Capture::start(&host.wire, &host.name, Direction::In).unwrap();
    // Once, so that neighbours and the like are known.
    scene.site.vips.iter().for_each(|vip| canary(&scene, *vip, 1_000));

    let at_servers: Vec<Capture> = scene.site.servers.iter().map(listen).collect();
    let malformed = vectors.iter().filter(|vector| vector.is_malformed());
    let malformed: Vec<Vec<u8>> = malformed.flat_map(|vector| aimed(&scene, &vector.frame)).collect();
    assert!(malformed.len() > 100);
    attack(&scene, &malformed);
    for (server, capture) in scene.site.servers.iter().zip(at_servers) {
        let captured = capture.stop().unwrap();
        for frame in &captured.frames {
            let inside = frame.inner_packet().or_else(|| frame.packet());
            let expected = inside.is_some_and(|packet| is_expected(&scene, &packet));
            let is_for_all = frame.bytes[0] & 1 == 1;
            assert!(expected || is_for_all, "{} hears of {:02x?}", server.name, frame.bytes);
        }
    }
    check_books(&appliance);

    let whole = |vector: &Vector| {
        let [to_us, to_vip] = aimed(&scene, &vector.frame);
        [tagged(&scene, vector.frame.clone()), to_us, to_vip]
    };
    attack(&scene, &vectors.iter().flat_map(whole).collect::<Vec<_>>());
    check_books(&appliance);
}

/// Sends the frames where clients are, again and again, while transfers run.
fn attack(scene: &Scene, frames: &[Vec<u8>]) {
    let from = scene.site.ports[0].opposite();
    thread::scope(|scope| {
        let canaries =
            scope.spawn(|| scene.site.vips.iter().for_each(|vip| canary(scene, *vip, CANARY_BYTES)));
        loop {
            lab::send_frames(&from, frames).unwrap();
            if canaries.is_finished() {
                break;
            }
            thread::sleep(REST);
        }
        canaries.join().unwrap();
    });
}

fn canary(scene: &Scene, vip: IpAddr, length_bytes: u64) {
    for way in [Way::Download, Way::Upload] {
        let target = (vip, TRANSFER_PORT).into();
        let came = lab::transfer(scene.client(), target, way, length_bytes, PATIENCE).unwrap();
        assert_eq!(came.unwrap().right_bytes, length_bytes, "{way:?}");
    }
}

/// Whether a server may get this: the transfers, health checks, and talk between neighbours.
fn is_expected(scene: &Scene, packet: &Packet) -> bool {
    let vips = scene.site.vips;
    let [client_v4, client_v6] = scene.site.client.addresses();
    let is_canary =
        packet.has_port(TRANSFER_PORT) && [vips[0], vips[1], client_v4, client_v6].contains(&packet.source);
    let is_arp_or_nd = packet.protocol == 0 || (packet.protocol == 58 && packet.ttl == 255);
    let own = ["198.18.0.2", "198.18.1.2", "198.18.1.1", "198.18.2.1", "2001:db8::2", "2001:db8:1::2"];
    let own = own.iter().chain(&["2001:db8:1::1", "2001:db8:2::1"]);
    let is_check = own.map(|text| text.parse::<IpAddr>().unwrap()).any(|own| own == packet.source);
    is_canary || is_arp_or_nd || is_check
}

/// Every frame that was received is accounted for.
fn check_books(appliance: &Appliance) {
    wait_for("the sums to be equal on a quiet wire", || {
        let status = status(appliance);
        let [received, transmitted, dropped, parked] =
            ["received", "transmitted", "dropped", "parked"].map(|name| status[name].as_u64().unwrap());
        let by_reason = |row: &serde_json::Value| {
            let reason = row["reason"].as_str().unwrap();
            let is_ours = !reason.starts_with("ring-") && !reason.starts_with("steering-");
            if is_ours { row["packets"].as_u64().unwrap() } else { 0 }
        };
        let drops: u64 = show(appliance, "drops").as_array().unwrap().iter().map(by_reason).sum();
        received == transmitted + dropped + parked && dropped == drops && dropped > 0
    });
}

/// The frame to the appliance's MAC address, and to the virtual address as well.
fn aimed(scene: &Scene, frame: &[u8]) -> [Vec<u8>; 2] {
    let mut to_us = frame.to_vec();
    to_us[..6].copy_from_slice(&scene.site.ports[0].mac().0);
    let mut to_vip = to_us.clone();
    call_vip(&mut to_vip, scene.site.vips);
    [to_us, to_vip].map(|frame| tagged(scene, frame))
}

/// The frame as it is in the clients' VLAN, where they have one.
fn tagged(scene: &Scene, mut frame: Vec<u8>) -> Vec<u8> {
    if scene.mode == Mode::RoutedInVlans {
        let [high, low] = CLIENT_VLAN.to_be_bytes();
        frame.splice(12..12, [0x81, 0x00, high, low]);
    }
    frame
}

/// Writes the virtual address where the destination of an IP packet is. A right IPv4 header checksum stays right, and a
/// wrong one wrong (RFC 1624).
fn call_vip(frame: &mut [u8], vips: [IpAddr; 2]) -> Option<()> {
    let [IpAddr::V4(v4), IpAddr::V6(v6)] = vips else { return None };
    let (v4, v6) = (Ipv4Addr::octets(&v4), Ipv6Addr::octets(&v6));
    match *frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = frame.get_mut(14..34)?;
            let word = |at: usize, header: &[u8]| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
            let (old, checksum) = ([16, 18].map(|at| word(at, header)), word(10, header));
            header[16..].copy_from_slice(&v4);
            let new = [16, 18].map(|at| word(at, header));
            let sum = (0xffff - checksum) + old.map(|old| 0xffff - old).iter().chain(&new).sum::<u32>();
            let folded = (sum & 0xffff) + (sum >> 16);
            let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        [0x86, 0xdd] => frame.get_mut(38..54)?.copy_from_slice(&v6),
        _ => {}
    }
    Some(())
}
