//! What the control side sets on interfaces: addresses of the host, and the promiscuous mode.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod packet_lab;

use packet_lab::Lab;
use rings::Error;
use rings::interface::{PromiscuousMembership, add_address, remove_address};
use std::net::IpAddr;

#[test]
fn addresses_come_and_go_of_both_families_and_twice_is_no_error() {
    Lab::run(1, |lab| {
        lab.enable_ipv6();
        let addresses = [("198.18.0.1", 24), ("198.18.0.9", 24), ("198.18.4.1", 32), ("2001:db8::1", 64)];
        let has = |address: &str, length: u8| {
            let listed = lab.near("address show dev near0");
            listed.lines().any(|line| line.contains(&format!(" {address}/{length} ")))
        };
        for (address, length) in addresses {
            let parsed: IpAddr = address.parse().unwrap();
            for _ in 0..2 {
                add_address("near0", parsed, length).unwrap();
                assert!(has(address, length), "{}", lab.near("address show dev near0"));
            }
        }
        assert!(!lab.near("address show dev near0 to 2001:db8::/64").contains("tentative"));
        assert!(lab.near("route show").contains("198.18.0.0/24 dev near0"));
        for (address, length) in addresses {
            assert!(has(address, length), "{address} went with another");
            for _ in 0..2 {
                remove_address("near0", address.parse().unwrap(), length).unwrap();
                // The second of a network goes with the first, which was its primary one.
                assert!(!has(address, length));
            }
            add_address("near0", "198.18.0.9".parse().unwrap(), 24).unwrap();
        }
    });
}

#[test]
fn an_address_that_cannot_be_is_refused_with_its_reason() {
    Lab::run(1, |lab| {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let error = add_address("near0", "198.18.0.1".parse().unwrap(), 33).unwrap_err();
        assert!(matches!(error, Error::OutOfBounds { value: 33, bound: 32, .. }), "{error}");
        let error = add_address("near0", v6, 129).unwrap_err();
        assert!(matches!(error, Error::OutOfBounds { value: 129, bound: 128, .. }), "{error}");
        let error = add_address("near7", v6, 64).unwrap_err();
        assert!(matches!(error, Error::NoInterface { .. }), "{error}");
        lab.near("link set near0 up");
        let error = add_address("near0", v6, 64).unwrap_err();
        assert!(error.to_string().contains("disable_ipv6=0"), "{error}");
    });
}

#[test]
fn an_interface_is_promiscuous_as_long_as_a_membership_lives() {
    Lab::run(1, |lab| {
        let count =
            |count: u32| lab.near("-details link show near0").contains(&format!(" promiscuity {count} "));
        assert!(count(0));
        let one = PromiscuousMembership::join("near0").unwrap();
        assert!(count(1));
        let other = PromiscuousMembership::join("near0").unwrap();
        assert!(count(2));
        drop(one);
        assert!(count(1));
        drop(other);
        assert!(count(0));
        assert!(matches!(PromiscuousMembership::join("near7"), Err(Error::NoInterface { .. })));
    });
}
