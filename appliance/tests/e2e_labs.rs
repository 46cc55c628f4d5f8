//! Every lab, run by the real binary as a user would: all is as expected, and nothing is left behind.
//!
//! The labs hold the wire against their drawings themselves. Of those with several kinds each driver runs its
//! share, so that all kinds and both drivers are met.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::process::Command;

/// Makes a test of each lab: its name, the driver, and the options.
macro_rules! labs {
    ($($sentence:ident: $driver:literal $options:expr,)+) => {
        $(#[test] fn $sentence() { e2e::with_driver($driver, |driver| shows_what_it_should(driver, &$options)); })+
    };
}

labs! {
    transparent_inline: "af_xdp" ["transparent-inline"],
    transparent_one_arm: "af_packet" ["transparent-one-arm"],
    l2_dsr: "af_xdp" ["l2-dsr"],
    l3_dsr_in_ip: "af_packet" ["l3-dsr", "--encapsulation", "ipip"],
    l3_dsr_in_udp: "af_xdp" ["l3-dsr", "--encapsulation", "gue"],
    l3_dsr_by_mark: "af_packet" ["l3-dsr", "--encapsulation", "dscp"],
    one_arm_with_the_appliance_as_gateway: "af_xdp" ["one-arm-routed", "--wiring", "gateway-appliance"],
    one_arm_with_the_gateway_elsewhere: "af_packet" ["one-arm-routed", "--wiring", "gateway-router"],
    one_arm_in_two_vlans: "af_xdp" ["one-arm-routed", "--wiring", "two-vlans"],
    fwlb_sandwich: "af_xdp" ["fwlb-sandwich"],
    fwlb_stealth: "af_packet" ["fwlb-stealth"],
    fwlb_dmz: "af_xdp" ["fwlb-dmz"],
    fwlb_nat: "af_xdp" ["fwlb-nat"],
    fwlb_failover: "af_packet" ["fwlb-failover"],
    traps: "af_packet" ["traps"],
    schedulers_over_af_xdp: "af_xdp" ["schedulers"],
    health: "af_xdp" ["health"],
}

/// Runs a lab with few requests.
fn shows_what_it_should(driver: &str, options: &[&str]) {
    let mut command = Command::new(e2e::JEOUL);
    command.arg("lab").args(options).args(["--driver", driver, "--requests", "30"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}\n{error}");
    let verdict = said.lines().last().unwrap();
    assert!(verdict.starts_with("all as expected ("), "{verdict}");
    assert!(!said.lines().any(|line| line.starts_with("   NOT ")), "{said}");
}

#[test]
fn an_option_of_another_lab_is_wrong_input() {
    for words in [["l2-dsr", "--encapsulation", "gue"], ["l3-dsr", "--wiring", "two-vlans"]] {
        let output = Command::new(e2e::JEOUL).arg("lab").args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(words[1]), "{words:?}");
    }
}
