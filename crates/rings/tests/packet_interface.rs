//! What is asked of an interface and set on it: facts, offloads, channels, multicast groups.
#![allow(clippy::unwrap_used, reason = "a test's own helper")]

mod packet_lab;

use packet_lab::{Lab, eventually};
use rings::ethtool::{self, ReceiveOffloads};
use rings::interface::{self, MulticastMembership};
use rings::{Error, namespace};
use std::net::Ipv6Addr;

#[test]
fn an_interface_is_as_it_was_made() {
    Lab::run(2, |lab| {
        lab.near("link set near0 mtu 1400 address 02:00:00:00:00:aa");
        let found = interface::find("near0").unwrap();
        assert_eq!((found.mac, found.mtu), ([2, 0, 0, 0, 0, 0xaa], 1_400));
        assert!(found.is_up() && found.is_running());
        let listed = lab.near("link show near0");
        assert!(listed.starts_with(&format!("{}: near0", found.index)), "{listed}");
        lab.far("link set far0 down");
        eventually("the carrier's loss", || (!interface::find("near0").unwrap().is_running()).then_some(()));
        lab.near("link set near0 down");
        assert!(!interface::find("near0").unwrap().is_up());
        assert!(interface::exists("near0") && !interface::exists("far0"));
        assert_eq!(ethtool::driver("near0").unwrap(), "veth");
        assert!(matches!(ethtool::driver("far0"), Err(Error::NoInterface { .. })));
        assert!(namespace::enter("jeoul-there-is-none").is_err());
    });
}

#[test]
fn channels_are_raised_to_what_there_is_and_never_lowered() {
    Lab::run(4, |lab| {
        lab.far("link set far0 down");
        let before = ethtool::channels("near0").unwrap();
        assert_eq!(before.receive_max, 4);
        let raised = ethtool::raise_channels("near0", 3).unwrap();
        assert_eq!(raised.receive_queues(), before.receive_queues().max(3));
        assert_eq!(ethtool::raise_channels("near0", 9).unwrap().receive_queues(), 4);
        assert_eq!(ethtool::raise_channels("near0", 1).unwrap().receive_queues(), 4);
        assert_eq!(interface::find("near0").unwrap().receive_queues, 4);
    });
}

fn active(name: &str) -> bool {
    ethtool::features("near0").unwrap().iter().any(|feature| feature.name == name && feature.active)
}

#[test]
fn offloads_are_switched_off_and_restored_by_hand_and_by_drop() {
    Lab::run(1, |lab| {
        ethtool::set_feature("near0", "rx-gro", true).unwrap();
        let before = ethtool::features("near0").unwrap();
        assert!(active("rx-gro") && active("rx-vlan-hw-parse"));
        for by_hand in [true, false] {
            let off = ReceiveOffloads::switch_off("near0").unwrap();
            assert_eq!(off.warnings(), Vec::<String>::new());
            assert!(off.switched_off().any(|name| name == "rx-gro"));
            assert!(!active("rx-gro") && !active("rx-vlan-hw-parse") && !active("rx-vlan-stag-hw-parse"));
            assert!(active("tx-checksum-ip-generic"));
            if by_hand {
                off.restore().unwrap();
            } else {
                // By a thread of another namespace.
                lab.in_far(move || drop(off));
            }
            assert_eq!(ethtool::features("near0").unwrap(), before);
        }
        let off = ReceiveOffloads::switch_off("near0").unwrap();
        lab.near("link del near0");
        off.restore().unwrap();
    });
}

#[test]
fn transmit_offloads_of_a_peer_are_switched_off() {
    Lab::run(1, |_| {
        let off = ReceiveOffloads::switch_off_these("near0", &ethtool::TRANSMIT_OFFLOADS).unwrap();
        assert_eq!(off.warnings(), Vec::<String>::new());
        assert!(ethtool::TRANSMIT_OFFLOADS.iter().all(|name| !active(name)));
        assert!(ethtool::set_feature("near0", "tx-time-travel", true).is_err());
    });
}

#[test]
fn a_multicast_mac_is_accepted_as_long_as_the_membership_lives() {
    Lab::run(1, |lab| {
        let listed = || lab.near("maddress show dev near0").contains("33:33:ff:00:00:10");
        let membership = MulticastMembership::join("near0", [0x33, 0x33, 0xff, 0, 0, 0x10]).unwrap();
        assert!(listed());
        drop(membership);
        // Not at once: a process that another test starts holds a copy of the socket until it executes.
        eventually("the end of it", || (!listed()).then_some(()));
    });
}

#[test]
fn a_joined_group_is_reported_by_mld_and_left_with_its_membership() {
    Lab::run(1, |lab| {
        lab.enable_ipv6();
        lab.near("address add 2001:db8::1/64 dev near0 nodad");
        let wire = lab.far_wire();
        let group: Ipv6Addr = "ff02::1:ff00:10".parse().unwrap();
        let listed = || lab.near("maddress show dev near0").contains("ff02::1:ff00:10");
        let membership = interface::join_ipv6_group("near0", group).unwrap();
        assert!(listed());
        // RFC 3810 section 5.2: ICMPv6 type 143 behind a router alert, with the group's address in a record.
        let is_report = |frame: &Vec<u8>| {
            frame.get(62) == Some(&143) && frame.windows(16).any(|window| window == group.octets())
        };
        eventually("the report", || wire.receive().filter(is_report));
        drop(membership);
        // Not at once: a process that another test starts holds a copy of the socket until it executes.
        eventually("the end of it", || (!listed()).then_some(()));
    });
}
