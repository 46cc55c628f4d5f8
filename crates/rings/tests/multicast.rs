//! Neighbour discovery for a VIP and the groups that it needs, with the kernels of both ends as the oracle.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod packet_lab;
mod worker_lab;

use packet_lab::{Wire, eventually};
use port::Ports;
use rings::interface::{MulticastMembership, join_ipv6_group};
use rings::steering::{Attach, Driver, Owner, Steering};
use rings::{RingLengths, open};
use std::net::{Ipv6Addr, UdpSocket};
use worker_lab::{LEFT, Lab, spec};

const KINDS: [(Driver, Attach); 4] = [
    (Driver::AfXdp, Attach::Native),
    (Driver::AfXdp, Attach::Generic),
    (Driver::AfPacket, Attach::Auto),
    (Driver::AfPacket, Attach::Nftables),
];

const HOST: &str = "2001:db8::1";
/// Ends unlike any address of the kernel, whose groups are reported anyway.
const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x1234);
/// The solicited-node group of the VIP (RFC 4291 section 2.7.1), and its MAC address (RFC 2464 section 7).
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x1234);
const GROUP_MAC: [u8; 6] = [0x33, 0x33, 0xff, 0, 0x12, 0x34];

// Record types of RFC 3810 section 5.2.12.
const MODE_IS_EXCLUDE: u8 = 2;
const CHANGE_TO_EXCLUDE: u8 = 4;

/// Whether this is an MLD report, ICMPv6 type 143 behind a router alert, with such a record of the group.
fn reports_group(frame: &[u8], record: u8) -> bool {
    let is_record = |bytes: &[u8]| bytes[0] == record && bytes[4..] == GROUP.octets();
    frame.get(62) == Some(&143) && frame.windows(20).any(is_record)
}

/// Whether this is a solicitation of the VIP, sent to its group.
fn solicits_vip(frame: &[u8]) -> bool {
    frame[..6] == GROUP_MAC && frame.get(54) == Some(&135) && frame.get(62..78) == Some(&VIP.octets())
}

/// A router's general query, to be answered within a millisecond (RFC 3810 section 5.1).
fn general_query() -> Vec<u8> {
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut query = [&[130, 0, 0, 0, 0, 1, 0, 0][..], &[0; 16], &[2, 125, 0, 0]].concat();
    let pseudo = [&router.octets()[..], &all_nodes.octets(), &[0, query.len() as u8, 0, 58]].concat();
    let words = [&pseudo[..], &query].concat();
    let sum = words.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    query[2..4].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    let ethernet = [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0x99, 0x86, 0xdd];
    let alert = [58, 0, 5, 2, 0, 0, 1, 0];
    let fixed = [0x60, 0, 0, 0, 0, (alert.len() + query.len()) as u8, 0, 1];
    [&ethernet[..], &fixed, &router.octets(), &all_nodes.octets(), &alert, &query].concat()
}

#[test]
fn a_vips_group_is_reported_and_its_solicitations_reach_the_port() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            lab.enable_ipv6();
            lab.ip(&format!("address add {HOST}/64 dev eth0 nodad"));
            lab.left_ip("address add 2001:db8::2/64 dev left0 nodad");
            let mut steering = Steering::new(16).unwrap();
            let addresses = [(HOST.parse().unwrap(), Owner::Host), (VIP.into(), Owner::Claimed)];
            steering.set_addresses(&addresses).unwrap();
            let ports = [spec("eth0", kind.0, kind.1)];
            let mut opened = open(&steering, &ports, &[], 1, &RingLengths::default()).unwrap();
            opened.gates[0].open().unwrap();

            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let report = |record| left.receive().filter(|frame| reports_group(frame, record));
            let _filter = MulticastMembership::join("eth0", GROUP_MAC).unwrap();
            let _group = join_ipv6_group("eth0", GROUP).unwrap();
            eventually(&format!("the report, {kind:?}"), || report(CHANGE_TO_EXCLUDE));
            left.send(&general_query());
            eventually(&format!("the answer to a query, {kind:?}"), || report(MODE_IS_EXCLUDE));

            lab.inside(&lab.left, || {
                UdpSocket::bind("[::]:0").unwrap().send_to(&[0], (VIP, 9)).unwrap();
            });
            eventually(&format!("the solicitation, {kind:?}"), || {
                let burst = opened.workers[0].receive(LEFT);
                burst.iter().any(|frame| solicits_vip(frame.bytes())).then_some(())
            });
            assert!(lab.host_answers(HOST), "{kind:?}");
        });
    }
}
