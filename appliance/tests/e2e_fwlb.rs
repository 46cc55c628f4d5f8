//! Two appliances with firewalls between them that track connections and forgive nothing: both directions of every flow
//! cross the same one, through failures and returns.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use e2e::{JEOUL, PATIENCE, on_both_drivers, order, show};
use lab::topology::fwlb::{FwlbOptions, FwlbPlan, FwlbSite, Side, fwlb_site};
use lab::{Appliance, Calls, HeldConnections, HeldState, Load, TcpHold, Testbed, UdpEcho, ask_udp};
use lab::{INVALID, UNTRACKED};
use serde_json::Value;

on_both_drivers! {
    every_flow_crosses_one_firewall_both_ways,
}

const HOLD_PORT: u16 = 7_000;
const UDP_PORT: u16 = 7_001;

/// Both appliances, the firewalls and the servers' programs. Peers end before the namespaces.
struct Sandwich {
    outer: Appliance,
    inner: Appliance,
    holds: Vec<TcpHold>,
    client_hold: TcpHold,
    echoes: Vec<UdpEcho>,
    site: FwlbSite,
    _testbed: Testbed,
}

impl Sandwich {
    fn start(plan: &FwlbPlan, options: &FwlbOptions) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let testbed = Testbed::new(&format!("fw{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
        let site = fwlb_site(&testbed, plan).unwrap();
        let start = |side: Side| {
            let file = site.write_configuration(side, options).unwrap();
            let place = site.appliance(side).unwrap();
            Appliance::start(&place.namespace, JEOUL.as_ref(), &file, &place.socket(), PATIENCE).unwrap()
        };
        let (outer, inner) = (start(Side::Outer), start(Side::Inner));
        let hold =
            |host: &lab::topology::Host| TcpHold::start(host.end.namespace(), &host.name, HOLD_PORT).unwrap();
        let echo =
            |host: &lab::topology::Host| UdpEcho::start(host.end.namespace(), &host.name, UDP_PORT).unwrap();
        let sandwich = Self {
            holds: site.servers.iter().map(hold).collect(),
            client_hold: hold(&site.client),
            echoes: site.servers.iter().map(echo).collect(),
            outer,
            inner,
            site,
            _testbed: testbed,
        };
        sandwich.wait_for_firewalls(|row| row["state"] == "up");
        sandwich
    }

    fn ends(&self) -> [&Appliance; 2] {
        [&self.outer, &self.inner]
    }

    fn wait_for_firewalls(&self, holds: impl Fn(&Value) -> bool) {
        for end in self.ends() {
            let all = || show(end, "firewalls").as_array().unwrap().iter().all(&holds);
            let deadline = Instant::now() + PATIENCE;
            while !all() {
                assert!(Instant::now() < deadline, "{:#}\n{}", show(end, "firewalls"), end.log());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn every_flow_crosses_one_firewall_both_ways(driver: &str) {
    let options = FwlbOptions { driver: driver.into(), ..FwlbOptions::default() };
    let sandwich = Sandwich::start(&FwlbPlan::sandwich(), &options);
    let site = &sandwich.site;
    for like in [site.client.v4, site.client.v6] {
        let server =
            |place: usize| if like.is_ipv4() { site.servers[place].v4 } else { site.servers[place].v6 };
        let sources: Vec<IpAddr> = (0..200).map(|index| site.caller(index, like)).collect();
        let calls = Calls {
            sources: sources.clone(),
            count: 200,
            hold: true,
            ..Calls::to((server(0), HOLD_PORT).into())
        };
        let mut called = calls.make(site.client.end.namespace()).unwrap();
        assert!(called.failures().is_empty(), "{:?}", called.failures());
        let states = called.held.probe(PATIENCE);
        assert!(states.iter().all(|state| matches!(state, HeldState::Alive(_))));
    }
    for (place, firewall) in site.firewalls.iter().enumerate() {
        println!("{place} {:?} {:?}", firewall.counters().unwrap(), firewall.flows_per_protocol().unwrap());
    }
    println!("{:#}", show(&sandwich.outer, "firewalls"));
}
