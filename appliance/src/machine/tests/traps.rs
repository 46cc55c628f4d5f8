//! The textbook's traps: each on a machine where it shuts, and on one where it does not.

use super::*;

/// Two ports, one service: every trap changes a few words of it.
const ROUTED: &str = "\
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
mode = \"routed\"
[[service.server]]
address = \"198.18.1.11\"
";

/// One bridge of two ports. The machine knows nothing of it yet.
const BRIDGED: &str = "\
[[port]]
name = \"outside\"
interface = \"eth1\"
[[port]]
name = \"inside\"
interface = \"eth2\"
[[bridge]]
name = \"br0\"
ports = [\"outside\", \"inside\"]
addresses = [\"198.18.0.2/24\", \"2001:db8::2/64\"]
[[service]]
name = \"web\"
address = \"198.18.0.10\"
mode = \"transparent\"
[[service.server]]
address = \"198.18.0.11\"
";

fn with(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (before, after)| {
        assert!(text.contains(before), "{before} in\n{text}");
        text.replace(before, after)
    })
}

/// Codes and lines of the findings.
fn codes(text: &str, facts: &Facts, strictness: Strictness) -> Vec<(&'static str, usize)> {
    check(&config(text), facts, strictness).iter().map(|found| (found.code, found.line)).collect()
}

/// The only finding of a check.
fn only(text: &str, facts: &Facts) -> String {
    match &findings(text, facts, Strictness::Check)[..] {
        [one] => one.clone(),
        others => panic!("{others:#?}"),
    }
}

fn add_route(facts: &mut Facts, destination: &str, length: u8, gateway: &str, interface: u32) {
    let hop = NextHop { gateway: Some(gateway.parse().unwrap()), interface: Some(interface), weight: 1 };
    facts.add_route(Route {
        destination: Prefix::new(destination.parse().unwrap(), length),
        table: RouteTable::Main,
        metric: 0,
        kind: RouteKind::Unicast,
        next_hops: vec![hop],
    });
}

/// Interfaces without addresses: everything is on host legs.
fn bare_machine() -> Facts {
    let mut facts = Facts::default();
    add_interface(&mut facts, 1, "lo", 0);
    add_interface(&mut facts, 2, "eth1", 1);
    add_interface(&mut facts, 3, "eth2", 2);
    facts
}

#[test]
fn replies_on_one_arm_need_source_nat_or_the_gateway() {
    let one_arm = with(ROUTED, &[("198.18.1.11", "198.18.0.11")]);
    let never = with(&one_arm, &[("\"routed\"", "\"routed\"\nsource_nat = \"never\"")]);
    assert_eq!(
        only(&never, &machine()),
        "jeoul.toml:13:14: warning[W0507]: service \"web\" port 80: clients (the VIP's network) and server \
         198.18.0.11 are both on port \"outside\" (eth1), so replies bypass the appliance, and with `source_nat = \
         \"never\"` nothing gives them the VIP 198.18.0.10 (write `source_nat = \"auto\"`; or make the appliance \
         the servers' gateway and write `return_path = \"gateway\"`; or use a DSR mode)"
    );
    for cured in [
        one_arm.clone(),
        with(&never, &[("never", "always")]),
        with(&never, &[("198.18.0.11", "198.18.1.11")]),
        with(&never, &[("mode = \"routed\"\nsource_nat = \"never\"", "mode = \"l2-dsr\"")]),
    ] {
        assert_eq!(codes(&cured, &machine(), Strictness::Check), []);
    }
}

#[test]
fn the_default_route_is_where_clients_come_from_too() {
    let never = with(ROUTED, &[("\"routed\"", "\"routed\"\nsource_nat = \"never\"")]);
    let mut facts = machine();
    add_route(&mut facts, "0.0.0.0", 0, "198.18.0.254", 2);
    assert_eq!(codes(&never, &facts, Strictness::Check), []);
    let mut facts = machine();
    add_route(&mut facts, "0.0.0.0", 0, "198.18.1.254", 3);
    let found = only(&never, &facts);
    assert!(found.contains("W0507") && found.contains("clients (the default route)"), "{found}");
    let gateway = with(&never, &[("\"never\"", "\"never\"\nreturn_path = \"gateway\"")]);
    assert_eq!(codes(&gateway, &facts, Strictness::Check), []);
}

#[test]
fn the_gateway_does_not_cure_clients_of_the_servers_network() {
    let gateway = with(
        ROUTED,
        &[
            ("198.18.1.11", "198.18.0.11"),
            ("\"routed\"", "\"routed\"\nsource_nat = \"never\"\nreturn_path = \"gateway\""),
        ],
    );
    assert_eq!(
        only(&gateway, &machine()),
        "jeoul.toml:13:14: warning[W0508]: service \"web\" port 80: the VIP 198.18.0.10 and server 198.18.0.11 are \
         on 198.18.0.0/24, where clients are answered past the appliance, their gateway or not; a server that calls \
         the VIP itself is refused with a reset (write `source_nat = \"auto\"`, which translates for \
         these clients alone; or give VIP and servers networks of their own)"
    );
    let cured = with(&gateway, &[("source_nat = \"never\"\n", "")]);
    assert_eq!(codes(&cured, &machine(), Strictness::Check), []);
    let apart = with(&gateway, &[("198.18.0.11", "198.18.1.11")]);
    assert_eq!(codes(&apart, &machine(), Strictness::Check), []);
}

#[test]
fn two_ports_of_a_bridge_are_no_one_arm() {
    let never = with(BRIDGED, &[("\"transparent\"", "\"routed\"\nsource_nat = \"never\"")]);
    assert_eq!(codes(&never, &bare_machine(), Strictness::Check), []);
    let one = with(&never, &[(", \"inside\"]", "]")]);
    let mut facts = bare_machine();
    add_address(&mut facts, 3, "198.18.1.1", 24);
    assert_eq!(codes(&one, &facts, Strictness::Check), [("W0507", 15)]);
}

#[test]
fn an_l2_dsr_server_is_no_router_away() {
    let dsr = with(ROUTED, &[("\"routed\"", "\"l2-dsr\""), ("198.18.1.11", "198.19.0.11")]);
    let mut facts = machine();
    add_route(&mut facts, "198.19.0.0", 16, "198.18.0.254", 2);
    assert_eq!(
        only(&dsr, &facts),
        "jeoul.toml:14:11: warning[W0509]: service \"web\" port 80: server 198.19.0.11 is behind the router \
         198.18.0.254 of port \"outside\"; a frame of mode \"l2-dsr\" still bears the VIP 198.18.0.10, and the \
         router would send it back (use `mode = \"l3-dsr\"`, which crosses routers, or write a server on a network \
         of the port)"
    );
    assert_eq!(codes(&dsr, &facts, Strictness::Run), [("E0505", 14)]);
    let near = with(&dsr, &[("198.19.0.11", "198.18.0.11")]);
    assert_eq!(codes(&near, &facts, Strictness::Run), []);
    let l3 = "\"l3-dsr\"\nencapsulation = \"dscp\"";
    let far = with(&dsr, &[("\"l2-dsr\"", l3), ("198.19.0.11\"", "198.19.0.11\"\ndscp = 1")]);
    assert_eq!(codes(&far, &facts, Strictness::Run), []);
}

#[test]
fn a_host_leg_has_the_networks_that_the_file_gives_it() {
    assert_eq!(codes(BRIDGED, &bare_machine(), Strictness::Run), []);
    let vlans = with(
        ROUTED,
        &[
            ("\"eth1\"", "\"eth1\"\nvlan = 10\naddresses = [\"198.18.0.1/24\"]"),
            ("\"eth2\"", "\"eth1\"\nvlan = 20\naddresses = [\"198.18.1.1/24\"]"),
        ],
    );
    assert_eq!(codes(&vlans, &bare_machine(), Strictness::Run), []);
    for (text, line) in [(BRIDGED, 13), (&vlans, 15)] {
        let elsewhere = with(text, &[("\"198.18.0.10\"", "\"198.19.0.10\"\nannounce = true")]);
        assert_eq!(codes(&elsewhere, &bare_machine(), Strictness::Run)[0], ("W0504", line));
        let routed = with(&elsewhere, &[("announce = true", "announce = false")]);
        assert_eq!(codes(&routed, &bare_machine(), Strictness::Run), []);
    }
    let silent = with(&vlans, &[("\naddresses = [\"198.18.1.1/24\"]", "")]);
    assert_eq!(codes(&silent, &bare_machine(), Strictness::Run), [("W0506", 10), ("W0505", 17)]);
}

#[test]
fn a_transparent_server_is_on_the_bridges_network() {
    let mut facts = bare_machine();
    add_interface(&mut facts, 4, "eth3", 3);
    add_address(&mut facts, 4, "198.18.3.1", 24);
    let third =
        with(BRIDGED, &[("[[bridge]]", "[[port]]\nname = \"third\"\ninterface = \"eth3\"\n[[bridge]]")]);
    let elsewhere = with(&third, &[("198.18.0.11", "198.18.3.11")]);
    assert_eq!(
        only(&elsewhere, &facts),
        "jeoul.toml:19:11: warning[W0510]: service \"web\" port 80: server 198.18.3.11 is on no network of a \
         bridge, but by port \"third\" (use `mode = \"routed\"`, or write a server on the bridge's network)"
    );
    assert_eq!(codes(&elsewhere, &facts, Strictness::Run), [("E0506", 19)]);
    let by_hand = with(&elsewhere, &[("addresses = [\"198.18.0.2/24\", \"2001:db8::2/64\"]\n", "")]);
    assert!(codes(&by_hand, &facts, Strictness::Run).contains(&("W0510", 18)));
    assert_eq!(codes(&third, &facts, Strictness::Run), []);
    let mut running = with_host_leg();
    add_route(&mut running, "198.19.0.0", 16, "198.18.0.254", 9);
    let far = with(BRIDGED, &[("198.18.0.11", "198.19.0.11")]);
    assert!(only(&far, &running).contains("but behind the router 198.18.0.254 of bridge \"br0\""));
}

/// The appliance runs: its host leg is there.
fn with_host_leg() -> Facts {
    let mut facts = bare_machine();
    add_interface(&mut facts, 9, "br0", 1);
    add_address(&mut facts, 9, "198.18.0.2", 24);
    add_address(&mut facts, 9, "2001:db8::2", 64);
    facts
}

#[test]
fn a_transparent_vip_is_on_its_servers_network() {
    let two = with(BRIDGED, &[("\"2001:db8::2/64\"", "\"198.18.7.2/24\""), ("198.18.0.10", "198.18.7.10")]);
    assert_eq!(
        only(&two, &bare_machine()),
        "jeoul.toml:13:11: warning[W0511]: service \"web\" port 80: the VIP 198.18.7.10 is not on the network \
         198.18.0.0/24 of server 198.18.0.11, whose replies take a router that the bridge need not see (write a VIP \
         of 198.18.0.0/24, or use `mode = \"routed\"`)"
    );
    let same = with(&two, &[("198.18.0.11", "198.18.7.11")]);
    assert_eq!(codes(&same, &bare_machine(), Strictness::Check), []);
}

#[test]
fn what_is_wrapped_fits_the_way_to_its_server() {
    let wrapped = |encapsulation: &str| {
        let mode = format!(
            "\"l3-dsr\"\nencapsulation = \"{encapsulation}\"\nencapsulation_source = \"198.18.1.251\""
        );
        with(ROUTED, &[("\"routed\"", &mode), ("198.18.1.11", "198.19.0.11")])
    };
    let mut facts = machine();
    add_route(&mut facts, "198.19.0.0", 16, "198.18.1.254", 3);
    assert_eq!(
        only(&wrapped("ipip"), &facts),
        "jeoul.toml:13:17: warning[W0512]: service \"web\" port 80: port \"inside\" (eth2) towards server \
         198.19.0.11 takes 1500 bytes, so wrapped in 20 bytes only packets up to 1480 bytes fit; senders of longer \
         ones are told \"fragmentation needed\" (raise the MTU to 1520 on the whole way to the servers; or let the \
         servers announce a smaller MSS, as `jeoul real-server` sets them up)"
    );
    for (encapsulation, enough) in [("ipip", 1_520), ("gue", 1_528)] {
        facts.interfaces.get_mut(&3).unwrap().mtu = enough - 1;
        assert_eq!(codes(&wrapped(encapsulation), &facts, Strictness::Run), [("W0512", 13)]);
        facts.interfaces.get_mut(&3).unwrap().mtu = enough;
        assert_eq!(codes(&wrapped(encapsulation), &facts, Strictness::Run), []);
    }
}

#[test]
fn what_is_wrapped_in_ipv6_needs_more() {
    let mut facts = machine();
    add_address(&mut facts, 2, "2001:db8:0:1::1", 64);
    add_address(&mut facts, 3, "2001:db8:0:2::1", 64);
    add_route(&mut facts, "2001:db8:9::", 48, "2001:db8:0:2::fe", 3);
    let mode = "\"l3-dsr\"\nencapsulation = \"ENC\"\nencapsulation_source = \"2001:db8:0:2::251\"";
    let changes =
        [("\"routed\"", mode), ("198.18.0.10", "2001:db8:0:1::10"), ("198.18.1.11", "2001:db8:9::11")];
    for (encapsulation, enough) in [("ipip", 1_540), ("gue", 1_548)] {
        let text = with(ROUTED, &changes).replace("ENC", encapsulation);
        facts.interfaces.get_mut(&3).unwrap().mtu = enough - 1;
        assert!(only(&text, &facts).contains("are told \"packet too big\""));
        facts.interfaces.get_mut(&3).unwrap().mtu = enough;
        assert_eq!(codes(&text, &facts, Strictness::Run), []);
    }
}

#[test]
fn replies_of_dsr_servers_on_a_leg_of_their_own_cross_the_appliance() {
    let dsr = with(ROUTED, &[("\"routed\"", "\"l2-dsr\"")]);
    assert_eq!(
        only(&dsr, &machine()),
        "jeoul.toml:12:8: warning[W0513]: service \"web\" port 80: server 198.18.1.11 is on port \"inside\" (eth2), \
         clients on port \"outside\" (eth1); with the appliance as its gateway its replies from 198.18.0.10 cross \
         it: they are forwarded and counted, and nothing is saved (give the servers another router as their \
         gateway, or use `mode = \"routed\"`)"
    );
    let same = with(&dsr, &[("198.18.1.11", "198.18.0.11")]);
    assert_eq!(codes(&same, &machine(), Strictness::Check), []);
    assert_eq!(codes(ROUTED, &machine(), Strictness::Check), []);
}

#[test]
fn addresses_behind_a_host_leg_belong_on_it() {
    let mut facts = bare_machine();
    add_address(&mut facts, 3, "198.18.1.1", 24);
    add_address(&mut facts, 3, "fe80::1", 64);
    assert_eq!(
        only(BRIDGED, &facts),
        "jeoul.toml:6:13: warning[W0514]: interface eth2 holds 198.18.1.1/24, but its frames belong to bridge \
         \"br0\": no frame reaches it (put \"198.18.1.1/24\" in `addresses` of bridge \"br0\": ip addr del \
         198.18.1.1/24 dev eth2)"
    );
    let vlan = with(
        ROUTED,
        &[
            ("\"eth2\"", "\"eth2\"\nvlan = 20\naddresses = [\"198.18.1.2/24\"]"),
            ("198.18.1.11", "198.18.0.11"),
        ],
    );
    add_address(&mut facts, 2, "198.18.0.1", 24);
    let found = only(&vlan, &facts);
    assert!(found.contains("W0514") && found.contains("`addresses` of port \"inside\""), "{found}");
    let untagged = with(&vlan, &[("\nvlan = 20\naddresses = [\"198.18.1.2/24\"]", "")]);
    assert_eq!(codes(&untagged, &facts, Strictness::Check), []);
}
