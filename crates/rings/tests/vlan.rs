//! VLANs of an interface at the port, at the kernel, and on the wire; and a port that takes every frame.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod packet_lab;
mod worker_lab;

use packet_lab::{Wire, eventually};
use port::{PortIndex, Ports};
use rings::WorkerPorts;
use rings::packet::{PacketOptions, PacketPort};
use rings::steering::{Attach, Driver};
use std::net::TcpStream;
use std::time::Duration;
use worker_lab::{BEYOND, HOSTS, LEFT, Lab, RIGHT, open_both, turn, udp};

const KINDS: [(Driver, Attach); 3] =
    [(Driver::AfXdp, Attach::Native), (Driver::AfXdp, Attach::Generic), (Driver::AfPacket, Attach::Auto)];

const VIP: [u8; 4] = [198, 18, 0, 10];
const HOST: [u8; 4] = [198, 18, 0, 1];
const EVERYONE: [u8; 6] = [0xff; 6];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 5];
const LINK_LOCAL: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 0];
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

/// `frame` to `mac`, with `tags` behind its addresses.
fn tagged(frame: &[u8], mac: Option<[u8; 6]>, tags: &[[u8; 4]]) -> Vec<u8> {
    let mut frame = [&frame[..12], tags.as_flattened(), &frame[12..]].concat();
    if let Some(mac) = mac {
        frame[..6].copy_from_slice(&mac);
    }
    frame
}

const fn vlan(number: u16) -> [u8; 4] {
    [0x81, 0x00, 0x60 | (number >> 8) as u8, number as u8]
}

const fn service(number: u16) -> [u8; 4] {
    [0x88, 0xa8, (number >> 8) as u8, number as u8]
}

/// All that comes by `port` until the frame `last`, which is left out.
fn until(ports: &mut WorkerPorts, port: PortIndex, last: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    eventually("the last frame", || {
        all.extend(ports.receive(port).iter().map(|frame| frame.bytes().to_vec()));
        let end = all.iter().position(|frame| frame == last)?;
        all.truncate(end);
        Some(())
    });
    all
}

/// A packet ring on the right, which puts tags back that its kernel takes off.
fn right_ring(lab: &Lab) -> PacketPort {
    lab.inside(&lab.right, || PacketPort::open("right0", &PacketOptions::default()).unwrap())
}

/// The next `count` frames at a ring.
fn arriving(ring: &mut PacketPort, count: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    eventually("all frames", || {
        all.extend(ring.receive().iter().map(|frame| frame.bytes().to_vec()));
        ring.release();
        (all.len() >= count).then_some(())
    });
    all
}

#[test]
fn a_listed_vlan_comes_whole_and_another_is_the_kernels() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            let (_steering, mut opened) = open_both([kind, kind], 1);
            let gate = &opened.gates[0];
            gate.set_vlans(&[20, 4_094]).unwrap();
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            // What an XDP program leaves to the kernel comes by here; a tap hears more.
            let kernel = Wire::open("eth0");
            let to_host = udp(1, HOST, 100);
            let sent = [
                tagged(&to_host, None, &[vlan(20)]),
                tagged(&to_host, Some(EVERYONE), &[vlan(20)]),
                tagged(&to_host, Some(GROUP), &[vlan(4_094)]),
                tagged(&to_host, Some(LINK_LOCAL), &[vlan(20)]),
                tagged(&to_host, None, &[vlan(20), vlan(30)]),
            ];
            sent.iter().for_each(|frame| left.send(frame));
            left.send(&tagged(&to_host, Some(STRANGER), &[vlan(20)]));
            left.send(&tagged(&udp(2, VIP, 100), None, &[vlan(30)]));
            left.send(&tagged(&udp(2, VIP, 100), None, &[service(20)]));
            let last = udp(9, VIP, 100);
            left.send(&last);
            let came = until(&mut opened.workers[0], LEFT, &last);
            assert!(came == sent, "{kind:?}: {came:02x?}");
            let counted = gate.counters().unwrap();
            assert_eq!((counted.to_socket, counted.foreign_mac), (6, 1), "{kind:?}: {counted:?}");
            assert_eq!(counted.to_kernel, 2, "{kind:?}: {counted:?}");
            if kind.0 == Driver::AfXdp {
                let left_to_it = std::iter::from_fn(|| kernel.receive()).collect::<Vec<_>>();
                assert_eq!(left_to_it, vec![udp(2, VIP, 100); 2], "{kind:?}, without its tag");
            }

            // With none listed, all come that are for this port, for the engine to count.
            gate.set_vlans(&[]).unwrap();
            let unknown = [
                tagged(&udp(2, VIP, 100), None, &[vlan(30)]),
                tagged(&to_host, None, &[service(20)]),
                tagged(&to_host, None, &[service(7), vlan(20)]),
            ];
            unknown.iter().for_each(|frame| left.send(frame));
            left.send(&last);
            let came = until(&mut opened.workers[0], LEFT, &last);
            assert!(came == unknown, "{kind:?}: {came:02x?}");
            for none in [0, 4_095, u16::MAX] {
                assert!(gate.set_vlans(&[20, none]).is_err(), "{none}");
            }
        });
    }
}

#[test]
fn the_untagged_are_left_to_the_kernel_where_only_vlans_are_ports() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            let (_steering, mut opened) = open_both([kind, kind], 1);
            let gate = &opened.gates[0];
            gate.set_vlans(&[20]).unwrap();
            gate.set_untagged(false).unwrap();
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let (frame, last) = (udp(1, VIP, 100), tagged(&udp(9, VIP, 100), None, &[vlan(20)]));
            left.send(&frame);
            left.send(&tagged(&frame, None, &[[0x81, 0, 0xe0, 0]]));
            left.send(&last);
            let came = until(&mut opened.workers[0], LEFT, &last);
            assert!(came.is_empty(), "{kind:?}: {came:02x?}");
            gate.set_untagged(true).unwrap();
            left.send(&frame);
            left.send(&last);
            assert_eq!(until(&mut opened.workers[0], LEFT, &last), [frame], "{kind:?}");
        });
    }
}

#[test]
fn a_frame_leaves_with_its_tags() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            let (_steering, mut opened) = open_both([kind, kind], 1);
            let mut right = right_ring(lab);
            let frame = udp(1, BEYOND, 100);
            let tags = [&[vlan(20)][..], &[service(7)], &[service(7), vlan(20)], &[vlan(20), vlan(30)]];
            let sent = tags.map(|tags| tagged(&frame, None, tags));
            for frame in &sent {
                assert!(opened.workers[0].inject(RIGHT, frame));
            }
            opened.workers[0].flush();
            let came = arriving(&mut right, sent.len());
            assert!(came == sent, "{kind:?}: {came:02x?}");
        });
    }
}

#[test]
fn a_port_that_takes_all_crosses_everything_unchanged_and_once() {
    for kinds in
        KINDS.map(|kind| [kind, kind]).into_iter().chain([[KINDS[0], KINDS[2]], [KINDS[2], KINDS[0]]])
    {
        Lab::run(1, |lab| {
            // A kernel that would forward, answer and count, were it let.
            lab.sysctl("net.ipv4.ip_forward=1");
            lab.ip("neighbour add 198.18.1.2 lladdr 02:00:00:00:00:22 dev eth1 nud permanent");
            let (_steering, mut opened) = open_both(kinds, 1);
            opened.gates.iter().for_each(|gate| gate.set_takes_all(true).unwrap());
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let mut right = right_ring(lab);
            let (to_host, beyond) = (udp(1, HOST, 60), udp(2, BEYOND, 1_506));
            let mut sent = vec![to_host.clone(), beyond.clone()];
            for mac in [EVERYONE, GROUP, LINK_LOCAL, [1, 0x80, 0xc2, 0, 0, 0x0e], STRANGER] {
                for tags in
                    [&[][..], &[vlan(20)], &[service(7)], &[service(7), vlan(20)], &[[0x81, 0, 0xe0, 0]]]
                {
                    sent.push(tagged(&to_host, Some(mac), tags));
                }
            }
            sent.push(tagged(&beyond, None, &[service(7), vlan(20)]));
            sent.iter().for_each(|frame| left.send(frame));
            let mut forwarded = 0;
            eventually("all frames", || {
                forwarded += turn(&mut opened.workers[0]);
                (forwarded >= sent.len()).then_some(())
            });
            let came = arriving(&mut right, sent.len());
            assert!(came == sent, "{kinds:?}: {came:02x?}");
            // Nothing that was sent comes back in, and the kernel has added nothing.
            let last = udp(9, VIP, 100);
            left.send(&last);
            eventually("the last frame", || {
                let turned = turn(&mut opened.workers[0]);
                assert!(turned < 2, "{kinds:?}: a frame came in that nobody sent");
                (turned == 1).then_some(())
            });
            assert_eq!(arriving(&mut right, 1), [last], "{kinds:?}");
            assert_eq!(turn(&mut opened.workers[0]), 0, "{kinds:?}");
            assert!(left.receive().is_none(), "{kinds:?}: the kernel answered, or a frame came back");
            let counted = opened.gates.iter().map(|gate| gate.counters().unwrap());
            let counted: Vec<_> = counted.map(|counted| (counted.to_socket, counted.to_kernel)).collect();
            assert_eq!(counted, [(sent.len() as u64 + 1, 0), (0, 0)], "{kinds:?}");
        });
    }
}

#[test]
fn what_leaves_a_port_that_takes_all_is_heard_by_none_of_its_workers() {
    for (kind, workers) in KINDS.into_iter().flat_map(|kind| [(kind, 1), (kind, 2)]) {
        Lab::run(2, |lab| {
            let (_steering, mut opened) = open_both([kind, kind], workers);
            opened.gates.iter().for_each(|gate| gate.set_takes_all(true).unwrap());
            let mut right = right_ring(lab);
            // By each worker, and by somebody else on this host.
            for ports in &mut opened.workers {
                assert!(ports.inject(RIGHT, &udp(1, BEYOND, 100)));
                ports.flush();
            }
            Wire::open("eth1").send(&udp(1, BEYOND, 100));
            arriving(&mut right, workers + 1);
            for ports in &mut opened.workers {
                assert!(ports.receive(RIGHT).is_empty(), "{kind:?}");
            }
            assert_eq!(opened.gates[1].counters().unwrap().to_socket, 0, "{kind:?}");
        });
    }
}

#[test]
fn the_host_is_not_answered_for_by_a_port_that_takes_all() {
    Lab::run(1, |lab| {
        let (_steering, opened) = open_both([KINDS[2], KINDS[2]], 1);
        assert!(lab.host_answers(HOSTS[0]));
        opened.gates[0].set_takes_all(true).unwrap();
        lab.left_ip("neighbour flush dev left0");
        let there = std::net::SocketAddr::new(HOSTS[0].parse().unwrap(), 9);
        let connect = || TcpStream::connect_timeout(&there, Duration::from_secs(1));
        let outcome = lab.inside(&lab.left, connect);
        assert_eq!(outcome.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    });
}
