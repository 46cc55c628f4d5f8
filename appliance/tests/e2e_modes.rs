//! Every forwarding mode with the real binary and real peers, over both drivers and both families.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use e2e::{PATIENCE, family, on_both_drivers, status, wait_for};
use lab::topology::l2_dsr::l2_dsr as build_l2_dsr;
use lab::topology::l3_dsr::{Encapsulation, l3_dsr as build_l3_dsr};
use lab::topology::one_arm_routed::{Wiring, one_arm_routed};
use lab::topology::transparent_inline::transparent_inline as build_inline;
use lab::topology::transparent_one_arm::transparent_one_arm as build_one_arm;
use lab::topology::{HTTP_PORT, Hop, Options, Site, UDP_PORT};
use lab::{Appliance, Load, Testbed};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

on_both_drivers! {
    transparent_inline,
    transparent_one_arm,
    l2_dsr,
    l3_dsr_ipip,
    l3_dsr_gue,
    l3_dsr_dscp,
    one_arm_routed_with_the_gateway_elsewhere,
    one_arm_routed_in_two_vlans,
}

fn transparent_inline(driver: &str) {
    let testbed = testbed();
    let lab = build_inline(&testbed, Hop::None).unwrap();
    everything(driver, &lab.site);
}

fn transparent_one_arm(driver: &str) {
    let testbed = testbed();
    everything(driver, &build_one_arm(&testbed, Hop::None).unwrap());
}

fn l2_dsr(driver: &str) {
    let testbed = testbed();
    everything(driver, &build_l2_dsr(&testbed, Hop::None).unwrap().site);
}

fn l3_dsr_ipip(driver: &str) {
    l3_dsr(driver, Encapsulation::Ipip);
}

fn l3_dsr_gue(driver: &str) {
    l3_dsr(driver, Encapsulation::Gue);
}

fn l3_dsr_dscp(driver: &str) {
    l3_dsr(driver, Encapsulation::Dscp);
}

fn l3_dsr(driver: &str, encapsulation: Encapsulation) {
    let testbed = testbed();
    let lab = build_l3_dsr(&testbed, encapsulation, Hop::None).unwrap();
    everything(driver, &lab.site);
}

fn one_arm_routed_with_the_gateway_elsewhere(driver: &str) {
    let testbed = testbed();
    everything(driver, &one_arm_routed(&testbed, Wiring::GatewayRouter, Hop::None).unwrap().site);
}

fn one_arm_routed_in_two_vlans(driver: &str) {
    let testbed = testbed();
    everything(driver, &one_arm_routed(&testbed, Wiring::TwoVlans, Hop::None).unwrap().site);
}

fn testbed() -> Testbed {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    Testbed::new(&format!("mode{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap()
}

/// Requests, datagrams and long transfers both ways, over both families.
fn everything(driver: &str, site: &Site) {
    let _peers = site.start_peers().unwrap();
    let options = Options { driver: driver.into(), ..Options::default() };
    let configuration = site.write_configuration(&options).unwrap();
    let binary = Path::new(e2e::JEOUL);
    let appliance =
        Appliance::start(&site.appliance, binary, &configuration, &site.socket(), PATIENCE).unwrap();
    wait_for("all servers to be up", || {
        let status = status(&appliance);
        status["servers_up"] == status["servers_total"]
    });
    for vip in site.vips {
        let load = Load { count: 30, concurrency: 2, timeout: PATIENCE, ..Load::default() };
        let report = lab::run_requests(site.client.namespace(), (vip, HTTP_PORT).into(), load).unwrap();
        let drops = || appliance.show("drops").unwrap();
        assert_eq!(report.answered(), 30, "{} {report}\n{}", family(vip), drops());
        assert_eq!(report.per_server.len(), 3, "{report}");
        let load = Load { count: 9, timeout: PATIENCE, ..Load::default() };
        let report = lab::ask_udp(site.client.namespace(), (vip, UDP_PORT).into(), load).unwrap();
        assert_eq!(report.answered(), 9, "{} {report}\n{}", family(vip), drops());
    }
}
