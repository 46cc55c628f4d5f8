//! Files that are right about firewalls and zones: what they mean.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use config::{
    Config, FirewallGroup, FirewallHash, HostAddress, Network, OnFailure, OnRecovery, ProbeResponder, parse,
};

/// A group that says as little as it may.
const LEAST: &str = r#"
[appliance]
hash_key = "000102030405060708090a0b0c0d0e0f"

[[port]]
name = "front"
interface = "eth1"

[[firewall_group]]
name = "fw"
networks = ["198.19.0.0/24"]

[[firewall_group.firewall]]
name = "fw1"
address = "198.18.1.1"

[[firewall_group.firewall]]
name = "fw2"
address = "198.18.1.2"
"#;

/// A valid file of which nothing is said but warnings of these codes.
fn valid_but_for(text: &str, warnings: &[&str]) -> Config {
    let outcome = parse(text, "lb.toml");
    let found: Vec<&str> = outcome.diagnostics.iter().map(|found| found.code).collect();
    assert_eq!(found, warnings, "{text}\n{:?}", outcome.diagnostics);
    outcome.config.expect("a file without an error is a configuration")
}

fn example(name: &str) -> Config {
    let outcome = Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(name));
    assert_eq!(outcome.diagnostics, []);
    outcome.config.expect("a file without a finding is a configuration")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn network(text: &str) -> Network {
    let (address, length) = text.split_once('/').expect("a prefix length");
    HostAddress { address: self::address(address), prefix_length: length.parse().expect("a number") }
        .network()
}

/// Name and zone of each group.
fn groups(config: &Config) -> Vec<(&str, &str)> {
    let zone = |group: &FirewallGroup| config.zones[usize::from(group.zone)].as_str();
    config.firewall_groups.iter().map(|group| (group.name.as_str(), zone(group))).collect()
}

/// Address, group and firewall of each responder.
fn responders(config: &Config) -> Vec<(String, &str, &str)> {
    let of = |responder: &ProbeResponder| {
        let group = &config.firewall_groups[responder.group];
        let firewall = &group.firewalls[responder.firewall];
        (responder.address.to_string(), group.name.as_str(), firewall.name.as_str())
    };
    config.probe_responders.iter().map(of).collect()
}

/// The file with `table` `count` times, each with its number in the place of `#`.
fn many(count: usize, table: &str) -> String {
    (0..count).map(|number| table.replace('#', &number.to_string())).collect()
}

#[test]
fn what_a_group_does_not_say_has_its_documented_default() {
    let config = valid_but_for(LEAST, &["W0315"]);
    assert_eq!(config.zones, [""]);
    assert_eq!((config.ports[0].zone, config.probe_responders.len()), (0, 0));
    let [group] = &config.firewall_groups[..] else { panic!("one group") };
    assert_eq!((group.name.as_str(), group.zone), ("fw", 0));
    assert_eq!(group.networks, [network("198.19.0.0/24")]);
    assert_eq!((group.hash, group.health_check), (FirewallHash::AddressPair, None));
    assert_eq!((group.on_failure, group.on_recovery), (OnFailure::Move, OnRecovery::Sticky));
    let [first, second] = &group.firewalls[..] else { panic!("two firewalls") };
    assert_eq!((first.name.as_str(), first.address), ("fw1", address("198.18.1.1")));
    assert_eq!((second.name.as_str(), second.address), ("fw2", address("198.18.1.2")));
    assert_eq!((first.port, first.far_address, first.weight), (None, None, 1));
    assert_eq!((first.max_sessions, first.max_session_rate), (None, None));
    assert_eq!(first.nat_addresses, []);
}

#[test]
fn what_a_group_says_is_what_is_meant() {
    let text = LEAST
        .replace(
            "name = \"fw\"\n",
            "name = \"fw\"\nhash = \"five-tuple\"\non_failure = \"reset\"\non_recovery = \"return\"\n",
        )
        .replace("[\"198.19.0.0/24\"]", "[\"0.0.0.0/0\", \"198.19.0.0/24\", \"198.19.0.128/25\"]");
    let keys = "weight = 0\nmax_sessions = 1\nmax_session_rate = 2\n\
                nat_addresses = [\"198.18.9.0/28\", \"198.18.9.4/30\"]\nport = \"front\"\n";
    let config = valid_but_for(&(text + keys), &["W0315"]);
    let group = &config.firewall_groups[0];
    assert_eq!(group.hash, FirewallHash::FiveTuple);
    assert_eq!((group.on_failure, group.on_recovery), (OnFailure::Reset, OnRecovery::Return));
    assert_eq!(group.networks, ["0.0.0.0/0", "198.19.0.0/24", "198.19.0.128/25"].map(network));
    let firewall = &group.firewalls[1];
    assert_eq!((firewall.weight, firewall.port), (0, Some(0)));
    assert_eq!((firewall.max_sessions, firewall.max_session_rate), (Some(1), Some(2)));
    assert_eq!(firewall.nat_addresses, ["198.18.9.0/28", "198.18.9.4/30"].map(network));
    let keep = LEAST.replace("networks", "on_failure = \"keep\"\nnetworks");
    assert_eq!(valid_but_for(&keep, &["W0315"]).firewall_groups[0].on_failure, OnFailure::Keep);
}

#[test]
fn a_path_is_what_the_outer_example_says() {
    let config = example("fwlb-outer.toml");
    let [group] = &config.firewall_groups[..] else { panic!("one group") };
    let check = &config.health_checks[group.health_check.expect("a check")];
    assert_eq!((check.name.as_str(), check.interval), ("path", Duration::from_millis(200)));
    let far: Vec<_> = group.firewalls.iter().filter_map(|firewall| firewall.far_address).collect();
    assert_eq!(far, ["198.18.2.101", "198.18.2.102", "198.18.2.103"].map(address));
    let expected = [("198.18.1.101", "fw1"), ("198.18.1.102", "fw2"), ("198.18.1.103", "fw3")];
    assert_eq!(
        responders(&config),
        expected.map(|(address, firewall)| (address.to_owned(), "to-inside", firewall))
    );
}

/// The examples that are two ends of one bank.
#[test]
fn the_ends_of_the_examples_agree() {
    for (outer, inner) in
        [("fwlb-outer.toml", "fwlb-inner.toml"), ("fwlb-stealth-outer.toml", "fwlb-stealth-inner.toml")]
    {
        let ends = [example(outer), example(inner)];
        assert_eq!(ends[0].appliance.hash_key, ends[1].appliance.hash_key);
        let group = |end: usize| &ends[end].firewall_groups[0];
        assert_eq!(group(0).hash, group(1).hash);
        let rows = |end: usize| -> Vec<(&str, u32)> {
            group(end).firewalls.iter().map(|firewall| (firewall.name.as_str(), firewall.weight)).collect()
        };
        assert_eq!(rows(0), rows(1));
        for (this, other) in [(0, 1), (1, 0)] {
            let far: Vec<Option<IpAddr>> = group(this).firewalls.iter().map(|one| one.far_address).collect();
            let answering: Vec<Option<IpAddr>> =
                ends[other].probe_responders.iter().map(|one| Some(one.address)).collect();
            assert_eq!(far, answering, "{outer} {inner}");
        }
    }
}

#[test]
fn an_appliance_on_both_sides_is_its_own_other_end() {
    let config = example("fwlb-one-box.toml");
    assert_eq!(config.zones, ["", "outside", "inside"]);
    assert_eq!(config.ports.iter().map(|port| port.zone).collect::<Vec<_>>(), [1, 1, 2, 2]);
    assert_eq!(groups(&config), [("inwards", "outside"), ("outwards", "inside")]);
    let expected = [
        ("198.18.1.101", "inwards", "fw1"),
        ("198.18.1.102", "inwards", "fw2"),
        ("198.18.2.101", "outwards", "fw1"),
        ("198.18.2.102", "outwards", "fw2"),
    ];
    assert_eq!(
        responders(&config),
        expected.map(|(address, group, firewall)| (address.to_owned(), group, firewall))
    );
}

#[test]
fn a_bridge_and_its_ports_are_in_one_zone() {
    let text = "[[port]]\nname = \"a\"\ninterface = \"eth1\"\n[[port]]\nname = \"b\"\ninterface = \"eth2\"\n\
                zone = \"outside\"\n[[bridge]]\nname = \"br0\"\nports = [\"a\"]\nzone = \"inside\"\n";
    let config = valid_but_for(text, &[]);
    assert_eq!(config.zones, ["", "outside", "inside"]);
    assert_eq!(config.ports.iter().map(|port| port.zone).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(config.bridges[0].zone, 2);
    // Then a group may be in it.
    let group = LEAST.split("[[firewall_group]]").nth(1).expect("a group");
    let text = format!(
        "[appliance]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n{text}[[firewall_group]]\nzone = \"inside\"{group}"
    );
    assert_eq!(groups(&valid_but_for(&text, &["W0315"])), [("fw", "inside")]);
}

/// The same names by IPv4 and IPv6 are two paths of each firewall; the family of the responder tells which.
#[test]
fn a_responder_is_of_the_group_of_its_family() {
    let group = |name: &str, net: &str, base: &str| {
        format!(
            "[[firewall_group]]\nname = \"{name}\"\nnetworks = [\"{net}\"]\n[[firewall_group.firewall]]\n\
             name = \"fw1\"\naddress = \"{base}1\"\n[[firewall_group.firewall]]\nname = \"fw2\"\naddress = \"{base}2\"\n"
        )
    };
    let port = LEAST.split("[[firewall_group]]").next().expect("what is above the group");
    let responder = |address: &str, more: &str| {
        format!("[[probe_responder]]\naddress = \"{address}\"\nfirewall = \"fw2\"\n{more}")
    };
    let text = format!(
        "{port}{}{}{}{}",
        group("fw4", "198.19.0.0/24", "198.18.1."),
        group("fw6", "2001:db8:19::/64", "2001:db8:1::"),
        responder("2001:db8:1::102", ""),
        responder("198.18.1.102", "group = \"fw4\"")
    );
    let config = valid_but_for(&text, &["W0315", "W0315", "W0316", "W0316"]);
    assert_eq!(
        responders(&config),
        [("2001:db8:1::102".to_owned(), "fw6", "fw2"), ("198.18.1.102".to_owned(), "fw4", "fw2")]
    );
}

/// What is refused in one zone is right in two: each zone has its own way to the network, and its own side of a firewall.
#[test]
fn zones_are_apart() {
    let one_box = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/fwlb-one-box.toml"),
    )
    .expect("an example");
    let everywhere = one_box.replace("198.19.0.0/24\"]", "0.0.0.0/0\"]");
    let owned = "far_address = \"198.18.2.101\"\nnat_addresses = [\"198.18.9.0/28\"]";
    let owned = everywhere
        .replace("far_address = \"198.18.2.101\"", owned)
        .replace("far_address = \"198.18.1.102\"", &owned.replace("2.101", "1.102"));
    assert_eq!(owned.matches("nat_addresses").count(), 2);
    assert_eq!(valid_but_for(&owned, &[]).firewall_groups[1].networks, [network("0.0.0.0/0")]);
    // In one zone, everything of this is an error.
    let one_zone = owned.replace("\"inside\"", "\"outside\"");
    let mut found: Vec<&str> = parse(&one_zone, "f").diagnostics.iter().map(|found| found.code).collect();
    found.sort_unstable();
    assert_eq!(found, ["E0208", "E0208", "E0208", "E0208", "E0212", "E0212"]);
}

#[test]
fn what_is_too_many_is_refused() {
    let codes = |text: &str| -> Vec<&str> {
        let found = parse(text, "f").diagnostics.into_iter();
        found.filter(|found| found.is_error()).map(|found| found.code).collect()
    };
    let above = LEAST.split("[[firewall_group]]").next().expect("what is above the group");
    let port = "[[port]]\nname = \"p#\"\ninterface = \"e#\"\nzone = \"z#\"\n";
    let group = "[[firewall_group]]\nname = \"g#\"\nnetworks = [\"198.19.#.0/24\"]\n[[firewall_group.firewall]]\n\
                 name = \"fw1\"\naddress = \"198.18.1.1\"\n";
    let firewall = "[[firewall_group.firewall]]\nname = \"m#\"\naddress = \"198.18.2.#\"\n";
    let networks = |count: usize, key: &str, third: u8| {
        let listed: Vec<String> = (0..count).map(|one| format!("\"198.{third}.{one}.0/24\"")).collect();
        format!("{key} = [{}]\n", listed.join(", "))
    };
    let of_group = |list: &str| LEAST.replace("networks = [\"198.19.0.0/24\"]\n", list);
    for (right, wrong) in [
        (many(15, port), many(16, port)),
        (format!("{above}{}", many(64, group)), format!("{above}{}", many(65, group))),
        (format!("{LEAST}{}", many(62, firewall)), format!("{LEAST}{}", many(63, firewall))),
        (
            format!("{LEAST}{}", networks(64, "nat_addresses", 18)),
            format!("{LEAST}{}", networks(65, "nat_addresses", 18)),
        ),
    ] {
        assert_eq!(codes(&right), [""; 0], "{right}");
        let found = codes(&wrong);
        assert!(found == ["E0107"] || found == ["E0106"], "{found:?} {wrong}");
    }
    let wrong = networks(256, "networks", 19).replace("]", ", \"198.20.0.0/24\"]");
    assert_eq!(codes(&of_group(&networks(256, "networks", 19))), [""; 0]);
    assert_eq!(codes(&of_group(&wrong)), ["E0106"]);
}
