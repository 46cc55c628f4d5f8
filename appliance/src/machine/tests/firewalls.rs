//! Firewall groups against machines: where their firewalls are, and who holds their probe addresses.

use super::*;

const OUTER: &str = include_str!("../../../../configs/fwlb-outer.toml");
const INNER: &str = include_str!("../../../../configs/fwlb-inner.toml");
const STEALTH_OUTER: &str = include_str!("../../../../configs/fwlb-stealth-outer.toml");
const STEALTH_INNER: &str = include_str!("../../../../configs/fwlb-stealth-inner.toml");
const DMZ: &str = include_str!("../../../../configs/fwlb-dmz.toml");
const NAT: &str = include_str!("../../../../configs/fwlb-nat.toml");
const ONE_BOX: &str = include_str!("../../../../configs/fwlb-one-box.toml");

/// eth1, eth2 and so on, with these addresses.
fn with_addresses(addresses: &[(&str, u8)]) -> Facts {
    let mut facts = Facts::default();
    for (index, (address, prefix_length)) in (1_u8..).zip(addresses) {
        add_interface(&mut facts, index.into(), &format!("eth{index}"), index);
        add_address(&mut facts, index.into(), address, *prefix_length);
    }
    facts
}

/// The machine of the example `fwlb-outer.toml`.
fn outer() -> Facts {
    with_addresses(&[("198.18.0.100", 24), ("198.18.1.100", 24)])
}

fn stealth_outer() -> Facts {
    with_addresses(&[("198.18.0.100", 24), ("198.18.1.1", 30), ("198.18.1.5", 30)])
}

fn one_box() -> Facts {
    with_addresses(&[("198.18.0.100", 24), ("198.18.1.100", 24), ("198.18.2.100", 24), ("198.19.0.100", 24)])
}

/// What a check says without the help, each of which stands where the address does that it is about.
fn told(text: &str, facts: &Facts) -> Vec<String> {
    let found = check(&config(text), facts, Strictness::Check);
    for finding in &found {
        let line = text.lines().nth(finding.line - 1).unwrap();
        let address = line.strip_prefix("address = \"").and_then(|rest| rest.split('"').next());
        assert!(finding.message.contains(&format!(" {} ", address.unwrap())), "{finding}");
    }
    found.iter().map(|found| format!("{} {}", found.code, found.message)).collect()
}

#[test]
fn the_examples_fit_the_machines_that_they_describe() {
    for (text, facts) in [
        (OUTER, outer()),
        (INNER, with_addresses(&[("198.18.2.100", 24), ("198.19.0.100", 24)])),
        (STEALTH_OUTER, stealth_outer()),
        (STEALTH_INNER, with_addresses(&[("198.19.0.100", 24), ("198.18.1.2", 30), ("198.18.1.6", 30)])),
        (DMZ, outer()),
        (NAT, outer()),
        (ONE_BOX, one_box()),
    ] {
        assert_eq!(told(text, &facts), [""; 0]);
    }
}

#[test]
fn a_firewall_is_a_neighbour() {
    let at = |address: &str| OUTER.replace("address = \"198.18.1.3\"", &format!("address = \"{address}\""));
    let mut facts = outer();
    let told = |address: &str, facts: &Facts| told(&at(address), facts).join("\n");
    let place = "W0515 firewall \"fw3\" of group \"to-inside\": ";
    assert_eq!(told("198.19.9.3", &facts), format!("{place}198.19.9.3 has no route from here"));
    assert_eq!(told("198.18.1.100", &facts), format!("{place}198.18.1.100 is this machine itself"));
    let gateway = NextHop { gateway: Some("198.18.0.1".parse().unwrap()), interface: Some(1), weight: 1 };
    facts.add_route(Route {
        destination: Prefix::new("198.19.0.0".parse().unwrap(), 16),
        table: RouteTable::Main,
        metric: 0,
        kind: RouteKind::Unicast,
        next_hops: vec![gateway],
    });
    assert_eq!(
        told("198.19.9.3", &facts),
        format!(
            "{place}198.19.9.3 is on no network of a port, but behind the router 198.18.0.1 of port \"outside\""
        )
    );
    // It may be there later.
    let found = check(&config(&at("198.19.9.3")), &facts, Strictness::Run);
    assert!(found.iter().all(|found| !found.is_error()));
}

#[test]
fn a_path_hangs_on_its_port() {
    let swapped = STEALTH_OUTER.replace("port = \"fw2-path\"", "port = \"outside\"");
    assert_eq!(
        told(&swapped, &stealth_outer()),
        [
            "W0516 firewall \"fw2\" of group \"to-inside\": 198.18.1.6 is reached by port \"fw2-path\", and its path \
          hangs on port \"outside\""
        ]
    );
}

/// Of two ways of one length, either may be the right one.
#[test]
fn one_of_several_ways_is_enough() {
    let mut facts = stealth_outer();
    let to = |interface| NextHop { gateway: None, interface: Some(interface), weight: 1 };
    facts.add_route(Route {
        destination: Prefix::host("198.18.1.6".parse().unwrap()),
        table: RouteTable::Main,
        metric: 0,
        kind: RouteKind::Unicast,
        next_hops: vec![to(1), to(3)],
    });
    assert_eq!(told(STEALTH_OUTER, &facts), [""; 0]);
}

#[test]
fn a_firewall_is_in_the_zone_of_its_group() {
    let crossed = ONE_BOX.replace("address = \"198.18.1.2\"", "address = \"198.18.2.9\"");
    assert_eq!(
        told(&crossed, &one_box()),
        [
            "W0516 firewall \"fw2\" of group \"inwards\": 198.18.2.9 is reached by port \"back\" in zone \"inside\", and \
          its group is in zone \"outside\""
        ]
    );
}

#[test]
fn a_probe_address_is_the_appliances_alone() {
    let mut facts = outer();
    add_address(&mut facts, 2, "198.18.1.102", 24);
    let held = "E0503 the probe address 198.18.1.102 is an address of the kernel, on eth2";
    assert_eq!(told(OUTER, &facts), [held]);
    let found = check(&config(OUTER), &facts, Strictness::Check);
    let help = "the appliance answers for it alone: ip addr del 198.18.1.102/24 dev eth2";
    assert_eq!(found[0].help.as_deref(), Some(help));
}

#[test]
fn firewalls_ask_for_a_probe_address_unless_they_are_bridges() {
    let text = OUTER.replace("198.18.1.102", "198.19.9.102");
    let nobody = |address: &str| {
        format!(
            "W0504 the probe address {address} lies outside the networks of all ports, so nobody asks for it"
        )
    };
    assert_eq!(told(&text, &outer()), [nobody("198.19.9.102")]);
    let found = check(&config(&text), &outer(), Strictness::Check);
    let help = found[0].help.as_deref().unwrap();
    assert!(help.starts_with("write an address of a network that the firewalls are on"), "{help}");
    let routed = STEALTH_OUTER.replace("port = \"fw2-path\"", "weight = 1");
    assert_eq!(told(&routed, &stealth_outer()), [nobody("198.18.2.102")]);
}
