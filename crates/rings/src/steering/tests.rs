//! One table of frames, decided alike in all three places where the program runs. Needs no interface.

use super::decision::{FILTER_ACCEPT, FILTER_IGNORE, TCX_DROP, TCX_NEXT, XDP_DROP, XDP_PASS, XDP_REDIRECT};
use super::gate::{PortMaps, load};
use super::{HAS_VLANS, LEAVES_UNTAGGED, Owner, Steering, SteeringCounters, TAKES_ALL, VLANS};
use crate::bpf::{Program, ProgramKind};
use crate::xdp::socket_for_tests;
use std::os::fd::{AsRawFd, OwnedFd};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Socket,
    Kernel,
    Foreign,
}
use Verdict::{Foreign, Kernel, Socket};

const OURS: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const OTHER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x99];
const EVERYONE: [u8; 6] = [0xff; 6];
const MULTICAST: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 0x05];

const HOST: [u8; 4] = [198, 18, 0, 1];
const SUBNET_BROADCAST: [u8; 4] = [198, 18, 0, 255];
const VIP: [u8; 4] = [198, 18, 0, 10];
const BOTH: [u8; 4] = [198, 18, 0, 11];
const ELSEWHERE: [u8; 4] = [198, 19, 7, 7];

const HOST6: [u8; 16] = address6(0x01);
const VIP6: [u8; 16] = address6(0x10);
const ELSEWHERE6: [u8; 16] = address6(0x77);
const GROUP6: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0x10];

const fn address6(last: u8) -> [u8; 16] {
    [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

/// Destination MAC, tags and EtherType, payload.
fn ethernet(destination: [u8; 6], types: &[u8], payload: &[u8]) -> Vec<u8> {
    [&destination[..], &[0x02, 0, 0, 0, 0, 0x55], types, payload].concat()
}

fn ipv4(destination: [u8; 4]) -> Vec<u8> {
    let fixed = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 99];
    [&fixed[..], &destination].concat()
}

fn ipv6(next: u8, source: [u8; 16], destination: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let fixed = [0x60, 0, 0, 0, 0, payload.len() as u8, next, 255];
    [&fixed[..], &source, &destination, payload].concat()
}

fn discovery(kind: u8, target: [u8; 16]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0], &target[..]].concat()
}

fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    [&fixed[..], &[2, 0, 0, 0, 0, 0x55], &sender, &[0; 6], &target].concat()
}

#[rustfmt::skip]
fn table() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    const IPV4: &[u8] = &[8, 0];
    const IPV6: &[u8] = &[0x86, 0xdd];
    const ARP: &[u8] = &[8, 6];
    const PRIORITY_TAG: [u8; 4] = [0x81, 0, 0xe0, 0];
    let tagged = |tci: [u8; 2], types: &[u8]| [&[0x81, 0], &tci[..], types].concat();
    let cut = |mut frame: Vec<u8>, bytes: usize| { frame.truncate(frame.len() - bytes); frame };
    let ns = |source, target| ipv6(58, source, GROUP6, &discovery(135, target));
    let na = |source, target| ipv6(58, source, HOST6, &discovery(136, target));
    vec![
        ("IPv4 to a VIP", ethernet(OURS, IPV4, &ipv4(VIP)), Socket),
        ("IPv4 to an address that nobody here has", ethernet(OURS, IPV4, &ipv4(ELSEWHERE)), Socket),
        ("IPv4 to the host", ethernet(OURS, IPV4, &ipv4(HOST)), Kernel),
        ("IPv4 to the host in a broadcast frame", ethernet(EVERYONE, IPV4, &ipv4(HOST)), Kernel),
        ("IPv4 to the host in a multicast frame", ethernet(MULTICAST, IPV4, &ipv4(HOST)), Kernel),
        ("IPv4 to the subnet's broadcast address", ethernet(EVERYONE, IPV4, &ipv4(SUBNET_BROADCAST)), Kernel),
        ("IPv4 to 255.255.255.255", ethernet(EVERYONE, IPV4, &ipv4([255; 4])), Kernel),
        ("IPv4 multicast", ethernet(MULTICAST, IPV4, &ipv4([224, 0, 0, 5])), Kernel),
        ("IPv4 multicast, last group", ethernet(MULTICAST, IPV4, &ipv4([239, 255, 255, 255])), Kernel),
        ("IPv4 to a reserved address", ethernet(OURS, IPV4, &ipv4([240, 0, 0, 1])), Socket),
        ("IPv4 to an address that host and appliance both have", ethernet(OURS, IPV4, &ipv4(BOTH)), Socket),
        ("IPv4 to a VIP for another MAC", ethernet(OTHER, IPV4, &ipv4(VIP)), Foreign),
        ("IPv4 to the host for another MAC", ethernet(OTHER, IPV4, &ipv4(HOST)), Foreign),
        ("a MAC that differs in its last byte only", ethernet([2, 0, 0, 0, 0, 3], IPV4, &ipv4(VIP)), Foreign),
        ("a MAC that differs in its first byte only",
         ethernet([6, 0, 0, 0, 0, 1], IPV4, &ipv4(VIP)), Foreign),
        ("IPv4 header cut short", cut(ethernet(OURS, IPV4, &ipv4(HOST)), 1), Socket),
        ("one byte of an IPv4 header", ethernet(OURS, IPV4, &[0x45]), Socket),
        ("IPv6 to a VIP", ethernet(OURS, IPV6, &ipv6(6, ELSEWHERE6, VIP6, &[0; 20])), Socket),
        ("IPv6 to the host", ethernet(OURS, IPV6, &ipv6(6, ELSEWHERE6, HOST6, &[0; 20])), Kernel),
        ("IPv6 to an address that nobody here has",
         ethernet(OURS, IPV6, &ipv6(6, VIP6, ELSEWHERE6, &[])), Socket),
        ("IPv6 multicast", ethernet(EVERYONE, IPV6, &ipv6(17, ELSEWHERE6, GROUP6, &[0; 8])), Kernel),
        ("IPv6 header cut short", cut(ethernet(OURS, IPV6, &ipv6(6, ELSEWHERE6, HOST6, &[])), 1), Socket),
        ("ICMPv6 echo to a VIP", ethernet(OURS, IPV6, &ipv6(58, ELSEWHERE6, VIP6, &[128; 24])), Socket),
        ("ICMPv6 echo to the host, too short for ND",
         ethernet(OURS, IPV6, &ipv6(58, VIP6, HOST6, &[128; 8])), Kernel),
        ("router advertisement", ethernet(EVERYONE, IPV6, &ipv6(58, ELSEWHERE6, GROUP6, &[134; 24])), Kernel),
        ("solicitation of a VIP", ethernet(EVERYONE, IPV6, &ns(ELSEWHERE6, VIP6)), Socket),
        ("solicitation of a VIP while it is tested for being unique",
         ethernet(EVERYONE, IPV6, &ns([0; 16], VIP6)), Socket),
        ("solicitation of the host", ethernet(EVERYONE, IPV6, &ns(ELSEWHERE6, HOST6)), Kernel),
        ("solicitation from a VIP", ethernet(EVERYONE, IPV6, &ns(VIP6, ELSEWHERE6)), Socket),
        ("solicitation of a neighbour", ethernet(EVERYONE, IPV6, &ns(ELSEWHERE6, address6(0x78))), Kernel),
        ("solicitation of a VIP, cut short", cut(ethernet(EVERYONE, IPV6, &ns(ELSEWHERE6, VIP6)), 1), Kernel),
        ("advertisement of a gateway", ethernet(OURS, IPV6, &na(ELSEWHERE6, ELSEWHERE6)), Kernel),
        ("advertisement of a VIP by someone else", ethernet(OURS, IPV6, &na(ELSEWHERE6, VIP6)), Socket),
        ("ARP for a VIP", ethernet(EVERYONE, ARP, &arp(ELSEWHERE, VIP)), Socket),
        ("ARP for the host", ethernet(EVERYONE, ARP, &arp(ELSEWHERE, HOST)), Kernel),
        ("ARP reply to the host", ethernet(OURS, ARP, &arp(ELSEWHERE, HOST)), Kernel),
        ("gratuitous ARP of a gateway", ethernet(EVERYONE, ARP, &arp(ELSEWHERE, ELSEWHERE)), Kernel),
        ("gratuitous ARP of a VIP by someone else", ethernet(EVERYONE, ARP, &arp(VIP, VIP)), Socket),
        ("ARP from a VIP for someone else", ethernet(EVERYONE, ARP, &arp(VIP, ELSEWHERE)), Socket),
        ("ARP cut short", cut(ethernet(EVERYONE, ARP, &arp(ELSEWHERE, VIP)), 1), Kernel),
        ("ARP of another hardware",
         ethernet(EVERYONE, ARP, &[&[0, 6], &arp(VIP, VIP)[2..]].concat()), Kernel),
        ("ARP of another address length",
         ethernet(EVERYONE, ARP, &[&[0, 1, 8, 0, 8, 4], &arp(VIP, VIP)[6..]].concat()), Kernel),
        ("ARP for another MAC", ethernet(OTHER, ARP, &arp(ELSEWHERE, VIP)), Foreign),
        ("spanning tree", ethernet([0x01, 0x80, 0xc2, 0, 0, 0], &[0, 38], &[0x42; 38]), Kernel),
        ("a link-local group with a VIP inside",
         ethernet([0x01, 0x80, 0xc2, 0, 0, 0x0e], IPV4, &ipv4(VIP)), Kernel),
        ("a group behind the link-local ones",
         ethernet([0x01, 0x80, 0xc2, 0, 0, 0x10], IPV4, &ipv4(VIP)), Socket),
        ("LLDP", ethernet([0x01, 0x80, 0xc2, 0, 0, 0x0e], &[0x88, 0xcc], &[0; 46]), Kernel),
        ("an unknown EtherType", ethernet(OURS, &[0x88, 0xb5], &[0; 46]), Kernel),
        ("priority tag, VIP", ethernet(OURS, &tagged([0xe0, 0], IPV4), &ipv4(VIP)), Socket),
        ("priority tag, host", ethernet(OURS, &tagged([0xe0, 0], IPV4), &ipv4(HOST)), Kernel),
        ("priority tag, ARP for the host",
         ethernet(EVERYONE, &tagged([0, 0], ARP), &arp(ELSEWHERE, HOST)), Kernel),
        ("priority tag, solicitation of a VIP",
         ethernet(EVERYONE, &tagged([0, 0], IPV6), &ns(ELSEWHERE6, VIP6)), Socket),
        ("priority tag, unknown EtherType", ethernet(OURS, &tagged([0, 0], &[0x88, 0xb5]), &[0; 46]), Kernel),
        ("VLAN 1, host", ethernet(OURS, &tagged([0, 1], IPV4), &ipv4(HOST)), Socket),
        ("VLAN 256, host", ethernet(OURS, &tagged([1, 0], IPV4), &ipv4(HOST)), Socket),
        ("provider tag, host", ethernet(OURS, &[&[0x88, 0xa8, 0, 5], IPV4].concat(), &ipv4(HOST)), Socket),
        ("two priority tags",
         ethernet(OURS, &[&PRIORITY_TAG, &tagged([0xe0, 0], IPV4)[..]].concat(), &ipv4(HOST)), Socket),
        ("a tag cut short", ethernet(OURS, &[0x81, 0], &[0, 0, 8]), Socket),
        ("VLAN 1 for another MAC", ethernet(OTHER, &tagged([0, 1], IPV4), &ipv4(VIP)), Foreign),
    ]
}

fn steering() -> Steering {
    let mut steering = Steering::new(16).unwrap();
    let addresses = [
        (HOST.into(), Owner::Host),
        (SUBNET_BROADCAST.into(), Owner::Host),
        (HOST6.into(), Owner::Host),
        (VIP.into(), Owner::Claimed),
        (VIP6.into(), Owner::Claimed),
        (BOTH.into(), Owner::Host),
        (BOTH.into(), Owner::Claimed),
    ];
    steering.set_addresses(&addresses).unwrap();
    steering
}

/// A program with its own counters, and how it is run over a frame.
struct Place {
    kind: ProgramKind,
    maps: PortMaps,
    program: Program,
}

impl Place {
    fn new(steering: &Steering, kind: ProgramKind) -> Self {
        let maps = PortMaps::new(OURS, kind == ProgramKind::Xdp).unwrap();
        maps.set_config(OURS, 0).unwrap();
        let program = load(kind, &maps.with(steering)).unwrap();
        Self { kind, maps, program }
    }

    /// As [`Place::new`], with a socket for its queue where the program wants one.
    fn with_socket(steering: &Steering, kind: ProgramKind, socket: &OwnedFd) -> Self {
        let place = Self::new(steering, kind);
        if let Some(sockets) = &place.maps.sockets {
            sockets.update(&[0; 4], &socket.as_raw_fd().to_ne_bytes()).unwrap();
        }
        place
    }

    fn list_vlans(&self, vlans: &[usize]) {
        let mut listed = [0; VLANS];
        vlans.iter().for_each(|&vlan| listed[vlan] = 1);
        self.maps.set_vlans(&listed).unwrap();
    }

    fn run(&self, frame: &[u8]) -> (i32, SteeringCounters) {
        let before = self.maps.read_counters().unwrap();
        // The test run hides what it takes for the Ethernet header from a socket filter; a packet socket does
        // not.
        let hidden = if self.kind == ProgramKind::SocketFilter { &[0u8; 14][..] } else { &[] };
        let verdict = self.program.test_run(&[hidden, frame].concat());
        let verdict = verdict.unwrap_or_else(|error| panic!("{error}: {frame:02x?}")) as i32;
        let after = self.maps.read_counters().unwrap();
        let counted = SteeringCounters {
            to_socket: after.to_socket - before.to_socket,
            to_kernel: after.to_kernel - before.to_kernel,
            foreign_mac: after.foreign_mac - before.foreign_mac,
            socket_missing: after.socket_missing - before.socket_missing,
        };
        (verdict, counted)
    }

    /// The kernel's test run refuses to make a socket buffer of an IP header cut short; a network does not.
    fn can_run(&self, frame: &[u8]) -> bool {
        let whole = match frame[12..14] {
            [0x08, 0x00] => 14 + 20,
            [0x86, 0xdd] => 14 + 40,
            _ => 0,
        };
        self.kind != ProgramKind::Classifier || frame.len() >= whole
    }

    fn decides(&self, title: &str, frame: &[u8], expected: Verdict) {
        if !self.can_run(frame) {
            return;
        }
        let none = SteeringCounters::default();
        let counted = match expected {
            Socket => SteeringCounters { to_socket: 1, ..none },
            Kernel => SteeringCounters { to_kernel: 1, ..none },
            Foreign => SteeringCounters { foreign_mac: 1, ..none },
        };
        let [socket, kernel, foreign] = match self.kind {
            ProgramKind::Xdp => [XDP_REDIRECT, XDP_PASS, XDP_DROP],
            ProgramKind::Classifier => [TCX_DROP, TCX_NEXT, TCX_DROP],
            ProgramKind::SocketFilter => [FILTER_ACCEPT, FILTER_IGNORE, FILTER_IGNORE],
        };
        let verdict = match expected {
            Socket => socket,
            Kernel => kernel,
            Foreign => foreign,
        };
        assert_eq!(self.run(frame), (verdict, counted), "{title}, {:?}", self.kind);
    }
}

const PLACES: [ProgramKind; 3] = [ProgramKind::Xdp, ProgramKind::Classifier, ProgramKind::SocketFilter];

#[test]
fn every_frame_is_decided_alike_in_all_three_places() {
    let steering = steering();
    let socket = socket_for_tests();
    for kind in PLACES {
        let place = Place::with_socket(&steering, kind, &socket);
        for (title, frame, verdict) in table() {
            place.decides(title, &frame, verdict);
        }
    }
}

#[test]
fn a_queue_without_a_socket_drops_and_never_passes() {
    let place = Place::new(&steering(), ProgramKind::Xdp);
    for (title, frame, verdict) in table() {
        match verdict {
            Socket => {
                let counted = SteeringCounters { socket_missing: 1, ..SteeringCounters::default() };
                assert_eq!(place.run(&frame), (XDP_DROP, counted), "{title}");
            }
            other => place.decides(title, &frame, other),
        }
    }
}

#[test]
fn a_shut_port_leaves_everything_to_the_kernel() {
    let steering = steering();
    for kind in PLACES {
        let place = Place::new(&steering, kind);
        place.maps.set_config(OURS, super::SHUT | TAKES_ALL).unwrap();
        for (title, frame, _) in table() {
            place.decides(title, &frame, Kernel);
        }
    }
}

#[test]
fn a_port_that_takes_all_takes_all() {
    let steering = steering();
    let socket = socket_for_tests();
    for kind in PLACES {
        let place = Place::with_socket(&steering, kind, &socket);
        place.list_vlans(&[7]);
        place.maps.set_config(OURS, TAKES_ALL | HAS_VLANS | LEAVES_UNTAGGED).unwrap();
        for (title, frame, _) in table().into_iter().chain(table_of_vlans()) {
            place.decides(title, &frame, Socket);
        }
    }
}

/// Decided with VLANs 1, 256 and 4094 listed.
#[rustfmt::skip]
fn table_of_vlans() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    const IPV4: [u8; 2] = [8, 0];
    let tag = |tci: [u8; 2]| [&[0x81, 0], &tci[..], &IPV4].concat();
    let service = |tci: [u8; 2], types: &[u8]| [&[0x88, 0xa8], &tci[..], types].concat();
    let host = ipv4(HOST);
    vec![
        ("a listed VLAN, host", ethernet(OURS, &tag([0, 1]), &host), Socket),
        ("a listed VLAN with a priority", ethernet(OURS, &tag([0xf1, 0]), &host), Socket),
        ("the last VLAN, ARP for nobody known",
         ethernet(EVERYONE, &[0x81, 0, 0x0f, 0xfe, 8, 6], &arp(ELSEWHERE, ELSEWHERE)), Socket),
        ("a listed VLAN, multicast", ethernet(MULTICAST, &tag([0, 1]), &ipv4([224, 0, 0, 5])), Socket),
        ("a listed VLAN, link-local group",
         ethernet([1, 0x80, 0xc2, 0, 0, 0x0e], &[0x81, 0, 0, 1, 0x88, 0xcc], &[0; 46]), Socket),
        ("a listed VLAN, a second tag",
         ethernet(OURS, &[&[0x81, 0, 0, 1], &tag([0, 9])[..]].concat(), &host), Socket),
        ("a listed VLAN, unknown EtherType", ethernet(OURS, &[0x81, 0, 0, 1, 0x88, 0xb5], &[0; 46]), Socket),
        ("a listed VLAN for another MAC", ethernet(OTHER, &tag([0, 1]), &host), Foreign),
        ("a VLAN beside a listed one", ethernet(OURS, &tag([0, 2]), &ipv4(VIP)), Kernel),
        ("a VLAN whose bytes are those of a listed one, swapped",
         ethernet(OURS, &tag([0x0e, 0x0f]), &ipv4(VIP)), Kernel),
        ("VLAN 4095", ethernet(OURS, &tag([0xff, 0xff]), &ipv4(VIP)), Kernel),
        ("an unlisted VLAN, link-local group",
         ethernet([1, 0x80, 0xc2, 0, 0, 0x0e], &[0x81, 0, 0, 2, 0x88, 0xcc], &[0; 46]), Kernel),
        ("an unlisted VLAN for another MAC", ethernet(OTHER, &tag([0, 2]), &host), Foreign),
        ("a service tag of a listed number", ethernet(OURS, &service([0, 1], &IPV4), &ipv4(VIP)), Kernel),
        ("a listed VLAN behind a service tag",
         ethernet(OURS, &service([0, 5], &tag([0, 1])), &ipv4(VIP)), Kernel),
        ("a listed VLAN behind a priority tag",
         ethernet(OURS, &[&[0x81, 0, 0xe0, 0], &tag([0, 1])[..]].concat(), &ipv4(VIP)), Socket),
    ]
}

#[test]
fn a_listed_vlan_comes_whole_and_the_others_are_the_kernels() {
    let steering = steering();
    let socket = socket_for_tests();
    for kind in PLACES {
        let place = Place::with_socket(&steering, kind, &socket);
        place.list_vlans(&[1, 256, 4_094]);
        place.maps.set_config(OURS, HAS_VLANS).unwrap();
        for (title, frame, verdict) in table_of_vlans() {
            place.decides(title, &frame, verdict);
        }
        // What is of no VLAN is decided as ever.
        for (title, frame, verdict) in table().into_iter().filter(|(title, ..)| !is_of_a_vlan(title)) {
            place.decides(title, &frame, verdict);
        }
    }
}

#[test]
fn a_port_that_leaves_the_untagged_leaves_priority_tags_too() {
    let steering = steering();
    let socket = socket_for_tests();
    for kind in PLACES {
        let place = Place::with_socket(&steering, kind, &socket);
        place.list_vlans(&[1, 256, 4_094]);
        place.maps.set_config(OURS, HAS_VLANS | LEAVES_UNTAGGED).unwrap();
        for (title, frame, verdict) in table_of_vlans() {
            let verdict = if title.ends_with("a priority tag") { Kernel } else { verdict };
            place.decides(title, &frame, verdict);
        }
        for (title, frame, verdict) in table().into_iter().filter(|(title, ..)| !is_of_a_vlan(title)) {
            let expected = match verdict {
                // A frame for another MAC is nobody's here, and one cut short is counted by the engine.
                Foreign => Foreign,
                _ if title == "a tag cut short" => Socket,
                _ => Kernel,
            };
            place.decides(title, &frame, expected);
        }
    }
}

/// Whether a frame of [`table`] names a VLAN.
fn is_of_a_vlan(title: &str) -> bool {
    title.starts_with("VLAN ") || title.starts_with("provider tag")
}

#[test]
fn a_changed_mac_is_followed() {
    let place = Place::new(&steering(), ProgramKind::Classifier);
    let frame = ethernet(OTHER, &[8, 0], &ipv4(VIP));
    place.decides("before", &frame, Foreign);
    place.maps.set_config(OTHER, 0).unwrap();
    place.decides("after", &frame, Socket);
}

#[test]
fn changed_addresses_are_followed_and_capacity_is_a_bound() {
    let mut steering = Steering::new(2).unwrap();
    let place = Place::new(&steering, ProgramKind::Classifier);
    let to = |address| ethernet(OURS, &[8, 0], &ipv4(address));
    steering.set_addresses(&[(HOST.into(), Owner::Host), (VIP.into(), Owner::Host)]).unwrap();
    place.decides("both", &to(HOST), Kernel);
    place.decides("both", &to(VIP), Kernel);
    // A complete replacement of a full set.
    steering.set_addresses(&[(BOTH.into(), Owner::Host), (ELSEWHERE.into(), Owner::Host)]).unwrap();
    place.decides("replaced", &to(HOST), Socket);
    place.decides("replaced", &to(BOTH), Kernel);
    steering.set_addresses(&[(BOTH.into(), Owner::Claimed)]).unwrap();
    place.decides("another owner", &to(BOTH), Socket);
    place.decides("removed", &to(ELSEWHERE), Socket);
    let three = [HOST, VIP, BOTH].map(|address| (address.into(), Owner::Host));
    assert!(matches!(
        steering.set_addresses(&three),
        Err(crate::Error::OutOfBounds { value: 3, bound: 2, .. })
    ));
}
