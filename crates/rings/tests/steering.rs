//! What reaches the kernel and what does not, on real interfaces; what happens when they change or go.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod packet_lab;
mod worker_lab;

use packet_lab::{Wire, eventually};
use port::Ports;
use rings::packet::LinkHealth;
use rings::steering::{Attach, Driver, Gate};
use rings::{Error, RingLengths, open};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use worker_lab::{BEYOND, HOSTS, LEFT, Lab, RIGHT, number_of, open_both, spec, steering, turn, udp};

const KINDS: [(Driver, Attach); 4] = [
    (Driver::AfXdp, Attach::Native),
    (Driver::AfXdp, Attach::Generic),
    (Driver::AfPacket, Attach::Auto),
    (Driver::AfPacket, Attach::Nftables),
];
const VIP: [u8; 4] = [198, 18, 0, 10];

#[test]
fn the_host_answers_for_itself_while_the_socket_takes_the_rest() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            let (_steering, mut opened) = open_both([kind, kind], 1);
            let ports = &mut opened.workers[0];
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            for number in 0..10 {
                left.send(&udp(number, VIP, 100));
            }
            assert!(lab.host_answers(HOSTS[0]), "{kind:?}");
            let mut taken = 0;
            eventually("the frames for the VIP", || {
                taken += ports.receive(LEFT).len();
                (taken == 10).then_some(())
            });
            let counted = opened.gates[0].counters().unwrap();
            assert_eq!(counted.to_socket, 10, "{kind:?}: {counted:?}");
            // An ARP exchange and a handshake at the least.
            assert!(counted.to_kernel >= 3, "{kind:?}: {counted:?}");
        });
    }
}

#[test]
fn the_kernel_forwards_nothing_that_is_taken() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            lab.sysctl("net.ipv4.ip_forward=1");
            lab.ip("neighbour add 198.18.1.2 lladdr 02:00:00:00:00:22 dev eth1 nud permanent");
            let (_steering, mut opened) = open_both([kind, kind], 1);
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let right = lab.inside(&lab.right, || Wire::open("right0"));
            left.send(&udp(1, BEYOND, 100));
            eventually("the frame at the socket", || {
                opened.workers[0].receive(LEFT).first().and_then(|frame| number_of(frame.bytes()))
            });
            // Without the gate the kernel does forward, and what it forwards is the first frame on the right.
            opened.gates[0].shut().unwrap();
            left.send(&udp(2, BEYOND, 100));
            let first = || right.receive().as_deref().and_then(number_of);
            assert_eq!(eventually(&format!("frame 2 past a shut gate of {kind:?}"), first), 2);
            opened.gates[0].open().unwrap();
            left.send(&udp(3, BEYOND, 100));
            eventually("the frame at the socket", || {
                opened.workers[0].receive(LEFT).first().and_then(|frame| number_of(frame.bytes()))
            });
            // And so it does when the worker is gone.
            drop(opened.workers);
            left.send(&udp(4, BEYOND, 100));
            assert_eq!(eventually(&format!("frame 4 past a removed gate of {kind:?}"), first), 4);
        });
    }
}

#[test]
fn a_frame_for_another_mac_is_dropped_and_a_new_mac_followed() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            let (_steering, mut opened) = open_both([kind, kind], 1);
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let mut foreign = udp(1, VIP, 100);
            foreign[5] = 0x99;
            left.send(&foreign);
            left.send(&udp(2, VIP, 100));
            let mut next = || {
                eventually("a frame", || {
                    opened.workers[0].receive(LEFT).first().and_then(|frame| number_of(frame.bytes()))
                })
            };
            assert_eq!(next(), 2, "{kind:?}");
            opened.gates[0].set_mac([2, 0, 0, 0, 0, 0x99]).unwrap();
            left.send(&udp(3, VIP, 100));
            left.send(&foreign);
            assert_eq!(next(), 1, "{kind:?}");
            assert_eq!(opened.gates[0].counters().unwrap().foreign_mac, 2);
        });
    }
}

#[test]
fn a_link_goes_down_and_comes_up_again() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            let (_steering, mut opened) = open_both([kind, kind], 1);
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let right = lab.inside(&lab.right, || Wire::open("right0"));
            lab.ip("link set eth1 down");
            assert_eq!(opened.gates[1].health(), LinkHealth::Down);
            left.send(&udp(1, VIP, 100));
            eventually("the frame that finds the link down", || {
                (turn(&mut opened.workers[0]) == 1).then_some(())
            });
            lab.ip("link set eth1 up");
            lab.ip("link set eth0 down");
            lab.ip("link set eth0 up");
            assert_eq!(opened.gates[1].health(), LinkHealth::Up);
            left.send(&udp(2, VIP, 100));
            eventually("the frame on the right", || {
                turn(&mut opened.workers[0]);
                (right.receive().as_deref().and_then(number_of) == Some(2)).then_some(())
            });
        });
    }
}

#[test]
fn an_interface_that_goes_takes_nothing_else_with_it() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            let (_steering, mut opened) = open_both([kind, kind], 1);
            let ports = &mut opened.workers[0];
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            assert_eq!(opened.gates[1].health(), LinkHealth::Up);
            lab.ip("link del eth1");
            assert_eq!(opened.gates[1].health(), LinkHealth::Removed);
            assert_eq!(opened.gates[0].health(), LinkHealth::Up);
            for number in 0..5 {
                left.send(&udp(number, VIP, 100));
                eventually("the frame that finds no port", || (turn(ports) == 1).then_some(()));
            }
            assert!(ports.inject(LEFT, &udp(7, VIP, 100)));
            ports.flush();
            eventually("the injected frame", || {
                (left.receive().as_deref().and_then(number_of) == Some(7)).then_some(())
            });
            assert!(ports.receive(RIGHT).is_empty());
            assert!(!ports.wait(Some(std::time::Duration::ZERO)));
        });
    }
}

#[test]
fn an_occupied_interface_is_named_or_driven_by_af_packet() {
    Lab::run(1, |_| {
        let steering = steering();
        let first = Gate::attach(&steering, "eth0", Driver::AfXdp, Attach::Auto).unwrap();
        for attach in [Attach::Auto, Attach::Native, Attach::Generic] {
            let second = Gate::attach(&steering, "eth0", Driver::AfXdp, attach);
            assert!(matches!(second, Err(Error::Occupied { interface }) if interface == "eth0"));
        }
        let second = Gate::attach(&steering, "eth0", Driver::Auto, Attach::Auto).unwrap();
        let facts = second.facts();
        assert_eq!((facts.driver, facts.mode), ("af_packet", "af_packet ring"));
        assert!(facts.reason.unwrap().contains("another XDP program"));
        first.detach();
        Gate::attach(&steering, "eth0", Driver::AfXdp, Attach::Native).unwrap();
        let missing = Gate::attach(&steering, "eth7", Driver::Auto, Attach::Auto);
        assert!(matches!(missing, Err(Error::NoInterface { .. })));
    });
}

#[test]
fn a_large_mtu_is_driven_by_the_emulation() {
    Lab::run(1, |lab| {
        lab.ip("link set eth0 mtu 9000");
        lab.left_ip("link set left0 mtu 9000");
        let steering = steering();
        let native = Gate::attach(&steering, "eth0", Driver::AfXdp, Attach::Native);
        assert!(matches!(native, Err(Error::MtuTooLarge { mtu: 9_000, .. })), "{native:?}");
        let facts = Gate::attach(&steering, "eth0", Driver::AfXdp, Attach::Auto).unwrap().facts();
        assert_eq!(facts.mode, "generic copy");
        assert!(facts.reason.unwrap().contains("MTU 9000"));
    });
}

#[test]
fn a_port_opens_on_a_link_that_is_still_down() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            lab.ip("link set eth0 down");
            let (_steering, mut opened) = open_both([kind, kind], 1);
            assert_eq!(opened.gates[0].health(), LinkHealth::Down);
            lab.ip("link set eth0 up");
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            eventually("a frame after the link came up", || {
                left.send(&udp(1, VIP, 100));
                opened.workers[0].receive(LEFT).first().and_then(|frame| number_of(frame.bytes()))
            });
        });
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
    Lab::run(1, |_| {
        let steering = steering();
        let ports = [spec("eth0", Driver::AfXdp, Attach::Auto)];
        let error = open(&steering, &ports, &[], 2, &RingLengths::default()).unwrap_err();
        assert!(matches!(error, Error::OutOfBounds { value: 2, bound: 1, .. }), "{error}");
        // The way out that needs no other hardware.
        assert!(error.to_string().contains("use AF_PACKET, where workers share queues (fanout)"), "{error}");
        let odd = RingLengths { xdp_entries: 1_000, ..RingLengths::default() };
        assert!(matches!(
            open(&steering, &ports, &[], 1, &odd),
            Err(Error::OutOfBounds { value: 1_000, .. })
        ));
        let first = open(&steering, &ports, &[], 1, &RingLengths::default()).unwrap();
        let auto = [spec("eth1", Driver::Auto, Attach::Auto)];
        let opened = open(&steering, &auto, &[], 2, &RingLengths::default()).unwrap();
        let facts = opened.gates[0].facts();
        assert_eq!((facts.driver, opened.workers.len()), ("af_packet", 2));
        assert!(facts.reason.unwrap().contains("eth1: workers on AF_XDP"));
        drop(first);
    });
}

/// Set for the child of the test below: the namespace to go to.
const CHILD: &str = "JEOUL_STEERING_CHILD";

#[test]
fn a_killed_process_leaves_no_program_behind() {
    if let Ok(namespace) = std::env::var(CHILD) {
        rings::namespace::enter(&namespace).unwrap();
        let _opened = open_both([KINDS[0], KINDS[1]], 1);
        println!("\nattached");
        loop {
            std::thread::park();
        }
    }
    Lab::run(1, |lab| {
        let attached = |device: &str| lab.ip(&format!("-details link show {device}")).contains("prog/xdp");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_leaves_no_program_behind", "--nocapture"])
            .env(CHILD, &lab.appliance)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "attached"));
        let before = attached("eth0") && attached("eth1");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(before, "the child attached nothing");
        eventually("the programs to go", || (!attached("eth0") && !attached("eth1")).then_some(()));
    });
}
