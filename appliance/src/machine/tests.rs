//! The checks against made-up machines.

use std::net::IpAddr;

use super::*;
use control::facts::{Address, Interface, NextHop, Prefix, Route, RouteKind, RouteTable};

mod firewalls;
mod traps;

const FILE: &str = "\
[appliance]
workers = [1]
[[port]]
name = \"outside\"
interface = \"eth1\"
[[port]]
name = \"inside\"
interface = \"eth2\"
[[service]]
name = \"web\"
address = \"198.18.0.10\"
protocol = \"tcp\"
port = 80
mode = \"routed\"
source_nat = \"always\"
source_addresses = [\"198.18.1.250\"]
[[service.server]]
address = \"198.18.1.11\"
";

fn config(text: &str) -> Config {
    let outcome = config::parse(text, "jeoul.toml");
    outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics))
}

fn add_interface(facts: &mut Facts, index: u32, name: &str, last: u8) {
    let mac = if last == 0 { [0; 6] } else { [2, 0, 0, 0, 0, last] };
    let interface = Interface { index, name: name.into(), mac, mtu: 1500, up: true, running: true };
    facts.interfaces.insert(index, interface);
}

/// An address with what the kernel adds to it: the network's route and the local one.
fn add_address(facts: &mut Facts, interface: u32, address: &str, prefix_length: u8) {
    let address: IpAddr = address.parse().unwrap();
    facts.addresses.push(Address { interface, address, prefix_length });
    let hop = NextHop { gateway: None, interface: Some(interface), weight: 1 };
    facts.add_route(Route {
        destination: Prefix::new(address, prefix_length),
        table: RouteTable::Main,
        metric: 0,
        kind: RouteKind::Unicast,
        next_hops: vec![hop],
    });
    facts.add_route(Route {
        destination: Prefix::host(address),
        table: RouteTable::Local,
        metric: 0,
        kind: RouteKind::Local,
        next_hops: vec![],
    });
}

fn machine() -> Facts {
    let mut facts = Facts::default();
    add_interface(&mut facts, 1, "lo", 0);
    add_interface(&mut facts, 2, "eth1", 1);
    add_interface(&mut facts, 3, "eth2", 2);
    add_interface(&mut facts, 4, "eth3", 3);
    add_address(&mut facts, 2, "198.18.0.1", 24);
    add_address(&mut facts, 3, "198.18.1.1", 24);
    facts
}

/// Each finding on one line.
fn findings(text: &str, facts: &Facts, strictness: Strictness) -> Vec<String> {
    check(&config(text), facts, strictness).iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_that_fits_has_no_findings() {
    for strictness in [Strictness::Check, Strictness::Run] {
        assert_eq!(findings(FILE, &machine(), strictness), [""; 0]);
    }
}

#[test]
fn a_missing_interface_stops_a_start_and_only_warns_in_a_check() {
    let text = FILE.replace("eth2", "eth9");
    assert_eq!(
        findings(&text, &machine(), Strictness::Check),
        ["jeoul.toml:8:13: warning[W0501]: interface eth9 does not exist here (there are: eth1, eth2, eth3)"]
    );
    assert_eq!(
        findings(&text, &machine(), Strictness::Run),
        ["jeoul.toml:8:13: error[E0501]: interface eth9 does not exist here (there are: eth1, eth2, eth3)"]
    );
}

#[test]
fn an_address_of_the_kernel_cannot_be_claimed() {
    let mut facts = machine();
    add_address(&mut facts, 4, "198.18.0.10", 32);
    add_address(&mut facts, 3, "198.18.1.250", 24);
    assert_eq!(
        findings(FILE, &facts, Strictness::Check),
        [
            "jeoul.toml:11:11: error[E0503]: the VIP 198.18.0.10 is an address of the kernel, on eth3 (the \
             appliance \
             answers for it alone: ip addr del 198.18.0.10/32 dev eth3)",
            "jeoul.toml:16:20: error[E0503]: the pool address 198.18.1.250 is an address of the kernel, on \
             eth2 (the \
             appliance answers for it alone: ip addr del 198.18.1.250/24 dev eth2)",
        ]
    );
}

#[test]
fn outer_sources_and_what_servers_reach_out_behind_are_claimed_too() {
    let mode = "mode = \"l3-dsr\"\nencapsulation = \"ipip\"\nencapsulation_source = \"198.18.1.251\"";
    let routed = "mode = \"routed\"\nsource_nat = \"always\"\nsource_addresses = [\"198.18.1.250\"]";
    let outbound =
        "[[outbound]]\nname = \"out\"\nnetworks = [\"198.18.1.0/24\"]\nsource_addresses = [\"198.19.0.9\"]\n";
    let text = FILE.replace(routed, mode) + outbound;
    let mut facts = machine();
    facts.interfaces.get_mut(&3).unwrap().mtu = 9_000;
    add_address(&mut facts, 4, "198.18.1.251", 32);
    add_address(&mut facts, 4, "198.19.0.9", 32);
    let found = check(&config(&text), &facts, Strictness::Run);
    let codes: Vec<_> = found.iter().map(|found| (found.code, found.line)).collect();
    assert_eq!(codes, [("E0503", 16), ("E0503", 22), ("W0504", 22), ("W0513", 14)]);
    assert!(found[0].message.starts_with("the outer source 198.18.1.251 is"), "{}", found[0].message);
}

#[test]
fn an_announced_vip_lies_in_a_network_of_a_port() {
    let text = FILE.replace("198.18.0.10", "198.19.0.10");
    assert_eq!(
        findings(&text, &machine(), Strictness::Run),
        ["jeoul.toml:11:11: warning[W0504]: the VIP 198.19.0.10 lies outside the networks of all ports, \
             so nobody asks \
          for it (if it is routed to this appliance, say `announce = false`)"]
    );
    let routed = text.replace("port = 80", "port = 80\nannounce = false");
    assert_eq!(findings(&routed, &machine(), Strictness::Run), [""; 0]);
}

#[test]
fn a_server_is_reached_through_a_port() {
    let at = |address: &str| FILE.replace("198.18.1.11", address);
    let mut facts = machine();
    add_address(&mut facts, 4, "198.18.3.1", 24);
    let warns = |address: &str, facts: &Facts| findings(&at(address), facts, Strictness::Check).join("\n");
    let place = "jeoul.toml:18:11: warning[W0505]: server ";
    assert_eq!(
        warns("198.18.3.11", &facts),
        format!("{place}198.18.3.11 is reached through eth3, which is no port of the appliance")
    );
    assert_eq!(warns("198.19.0.1", &facts), format!("{place}198.19.0.1 has no route from here"));
    assert_eq!(
        warns("198.18.0.1", &facts),
        format!("{place}198.18.0.1 is this machine itself; the appliance serves others")
    );
    facts.add_route(Route {
        destination: Prefix::new("198.19.0.0".parse().unwrap(), 16),
        table: RouteTable::Main,
        metric: 0,
        kind: RouteKind::Blackhole,
        next_hops: vec![],
    });
    assert_eq!(
        warns("198.19.0.1", &facts),
        format!("{place}198.19.0.1 is closed off by a route of the kind blackhole")
    );
}

#[test]
fn what_an_interface_lacks_is_told() {
    let mut facts = machine();
    add_interface(&mut facts, 2, "eth1", 2);
    facts.interfaces.get_mut(&3).unwrap().up = false;
    facts.addresses.clear();
    let text = findings(FILE, &facts, Strictness::Run).join("\n");
    for expected in [
        "jeoul.toml:5:13: warning[W0506]: interface eth1 has no address",
        "jeoul.toml:8:13: warning[W0506]: interface eth2 has no address",
        "jeoul.toml:8:13: warning[W0503]: interface eth2 is down (ip link set eth2 up)",
        "jeoul.toml:8:13: warning[W0502]: interfaces eth1 and eth2 have one MAC address",
        "server 198.18.1.11 has a route, but all its ways out are down",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    let loopback = FILE.replace("eth2", "lo");
    let text = findings(&loopback, &machine(), Strictness::Run).join("\n");
    assert!(text.contains("jeoul.toml:8:13: error[E0502]: interface lo has no Ethernet address"), "{text}");
}

#[test]
fn a_cpu_that_does_not_exist_is_refused() {
    let lines = |text: &str, available: &[usize]| {
        let found = check_cpus(&config(text), available);
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(lines(FILE, &[0, 1]), [""; 0]);
    assert_eq!(
        lines(&FILE.replace("[1]", "[1, 7]"), &[0, 1]),
        ["jeoul.toml:2:11: error[E0504]: CPU 7 does not exist, or this process may not use it (there \
             are: 0, 1)"]
    );
    let control = FILE.replace("workers = [1]", "workers = [1]\ncontrol_cpu = 9");
    assert_eq!(
        lines(&control, &[0, 1]),
        ["jeoul.toml:3:15: error[E0504]: CPU 9 does not exist, or this process may not use it (there \
             are: 0, 1)"]
    );
    let auto = FILE.replace("[1]", "\"auto\"");
    assert_eq!(lines(&auto, &[0, 1]), [""; 0]);
    assert_eq!(
        lines(&auto, &[0]),
        ["jeoul.toml:2:11: error[E0504]: `auto` leaves no CPU for a worker beside the control CPU (let \
             them share it: \
          workers = [0])"]
    );
}
