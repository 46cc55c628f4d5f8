//! Files that are right: what they mean, and what is meant where they say nothing.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use config::{
    Bridge, CheckKind, Config, DirectAccess, Driver, Encapsulation, HashFields, HostAddress, Mode, MssClamp,
    Network, OnDown, Outbound, Polling, PortSet, Position, Protocol, ReturnPath, SOURCE_NAT_DEFAULT,
    Scheduler, Severity, SourceNat, Timeouts, Workers, parse,
};

/// The shortest file that is worth anything.
const SMALLEST: &str = r#"
[[port]]
name = "outside"
interface = "eth1"

[[service]]
name = "web"
address = "198.18.0.10"
mode = "routed"

[[service.server]]
address = "198.18.1.11"
"#;

fn valid(text: &str) -> Config {
    valid_but_for(text, &[])
}

/// A valid file of which nothing is said but warnings of these codes.
fn valid_but_for(text: &str, warnings: &[&str]) -> Config {
    let outcome = parse(text, "lb.toml");
    let found: Vec<&str> = outcome.diagnostics.iter().map(|found| found.code).collect();
    assert_eq!(found, warnings, "{text}");
    outcome.config.expect("a file without a finding is a configuration")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn every_example_is_valid_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("configs/ exists") {
        let path = entry.expect("configs/ is readable").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let outcome = Config::load(&path);
            assert_eq!(outcome.diagnostics, [], "{path:?}");
            assert!(outcome.config.is_some());
            seen += 1;
        }
    }
    assert!(seen > 5, "configs/ holds examples");
}

#[test]
fn what_is_not_said_has_its_documented_default() {
    let config = valid(SMALLEST);
    let appliance = &config.appliance;
    assert_eq!(appliance.name, None);
    assert_eq!(appliance.workers, Workers::List(vec![1]));
    assert_eq!(appliance.control_cpu, 0);
    assert_eq!(appliance.polling, Polling::Adaptive);
    assert_eq!((appliance.session_capacity, appliance.session_capacity_ipv6), (1_000_000, 100_000));
    assert_eq!(appliance.persistence_capacity, 65_536);
    assert_eq!(appliance.socket, Path::new("/run/jeoul/control.sock"));
    assert_eq!(appliance.state_directory, Path::new("/var/lib/jeoul"));
    assert_eq!(appliance.hash_key, None);
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    assert_eq!(
        config.timeouts,
        Timeouts {
            tcp_established: minutes(124),
            tcp_transitory: minutes(4),
            tcp_closing: minutes(1),
            udp: minutes(5),
            icmp: minutes(1),
        }
    );
    let port = &config.ports[0];
    assert_eq!((port.driver, port.vlan, port.addresses.len()), (Driver::Auto, None, 0));
    assert_eq!((config.bridges.len(), config.outbounds.len()), (0, 0));
    let service = &config.services[0];
    assert_eq!((service.protocol, service.ports), (Protocol::Tcp, PortSet::One(80)));
    assert_eq!((service.mode, service.source_nat), (Mode::Routed, SourceNat::Auto));
    assert_eq!(service.source_nat, SOURCE_NAT_DEFAULT);
    assert_eq!((service.encapsulation, service.encapsulation_source), (None, None));
    assert_eq!((service.return_path, service.direct_access), (ReturnPath::Any, DirectAccess::Allow));
    assert_eq!((service.mss_clamp, service.gue_port), (MssClamp::Auto, 6_080));
    assert_eq!((service.scheduler, service.hash_fields), (Scheduler::RoundRobin, HashFields::default()));
    assert!(service.announce && service.source_addresses.is_empty() && service.health_check.is_none());
    assert_eq!((service.persistence, service.slow_start, service.passive), (None, None, None));
    assert_eq!((service.quorum, service.on_down), (1, OnDown::Reset));
    let server = &service.servers[0];
    assert_eq!((server.port, server.weight, server.max_sessions, server.is_backup), (None, 1, None, false));
}

#[test]
fn a_health_check_has_its_documented_defaults() {
    let text = SMALLEST.replace("mode =", "health_check = \"tcp\"\nmode =");
    let config =
        valid(&format!("{text}\n[[health_check]]\nname = \"tcp\"\nkind = \"tcp\"\ninterval = \"5s\""));
    assert_eq!(config.services[0].health_check, Some(0));
    let check = &config.health_checks[0];
    let seconds = Duration::from_secs;
    assert_eq!((check.probe.kind(), check.port, check.timeout), (CheckKind::Tcp, None, None));
    assert_eq!(
        (check.interval, check.response_time, check.dead_interval),
        (seconds(5), seconds(1), seconds(5))
    );
    assert_eq!((check.retries, check.rise), (2, 1));
}

#[test]
fn what_is_said_is_what_is_meant() {
    let config = valid_but_for(
        r#"
appliance.name = "저울"
appliance.workers = "auto"
appliance.control_cpu = 3
appliance.polling = "busy"
appliance.session_capacity = 4_096
appliance.hash_key = "000102030405060708090a0B0C0d0e0f"
timeouts.udp = "1m30s"
[[port]]
name = "a"
interface = "eth1.20"
driver = "af_packet"
[[service]]
name = "range"
address = "2001:db8::10"
protocol = "any"
port = "8000-8099"
mode = "routed"
source_nat = "always"
source_addresses = ["2001:db8::f0", "2001:db8::f1"]
announce = false
scheduler = "hash"
hash_fields = ["source-port", "destination-address"]
[[service.server]]
address = "2001:db8:1::1"
weight = 0
[[service.server]]
address = "2001:db8:1::2"
weight = 65535
"#,
        &[config::code::CLIENTS_HIDDEN],
    );
    let appliance = &config.appliance;
    assert_eq!(appliance.name.as_deref(), Some("저울"));
    assert_eq!((&appliance.workers, appliance.control_cpu), (&Workers::Auto, 3));
    assert_eq!(appliance.polling, Polling::Busy);
    assert_eq!((appliance.session_capacity, appliance.session_capacity_ipv6), (4_096, 1_024));
    let key = appliance.hash_key.expect("a key");
    assert_eq!(key.bytes(), &std::array::from_fn(|index| index as u8));
    assert_eq!(format!("{key:?}"), "HashKey(secret)");
    assert_eq!(config.timeouts.udp, Duration::from_secs(90));
    assert_eq!(config.ports[0].driver, Driver::AfPacket);
    let service = &config.services[0];
    assert_eq!(
        (service.protocol, service.ports),
        (Protocol::Any, PortSet::Range { first: 8000, last: 8099 })
    );
    assert_eq!(service.source_nat, SourceNat::Always);
    assert_eq!(service.source_addresses, [address("2001:db8::f0"), address("2001:db8::f1")]);
    assert!(!service.announce);
    let fields = HashFields {
        source_mac: false,
        source_address: false,
        destination_address: true,
        source_port: true,
        destination_port: false,
    };
    assert_eq!((service.scheduler, service.hash_fields), (Scheduler::Hash, fields));
    assert_eq!(service.servers.iter().map(|server| server.weight).collect::<Vec<_>>(), [0, 65_535]);
}

#[test]
fn bridges_and_ports_of_vlans_are_what_they_say() {
    let config = valid(
        r#"
[[port]]
name = "eth1-10"
interface = "eth1"
vlan = 10
driver = "af_packet"
[[port]]
name = "eth1-20"
interface = "eth1"
vlan = 4094
driver = "af_packet"
addresses = ["198.18.2.2/24", "2001:db8:2::2/64"]
[[port]]
name = "untagged"
interface = "eth1"
driver = "af_packet"
[[bridge]]
name = "br0"
ports = ["untagged", "eth1-10"]
addresses = ["198.18.0.2/31"]
[[bridge]]
name = "br1"
ports = ["eth1-20-b"]
ageing = "1h"
[[port]]
name = "eth1-20-b"
interface = "eth2"
vlan = 1
"#,
    );
    let held = |text, prefix_length| HostAddress { address: address(text), prefix_length };
    assert_eq!(
        config.ports.iter().map(|port| port.vlan).collect::<Vec<_>>(),
        [Some(10), Some(4_094), None, Some(1)]
    );
    assert_eq!(config.ports[1].addresses, [held("198.18.2.2", 24), held("2001:db8:2::2", 64)]);
    let at = Position::default();
    let bridge = |name: &str, ports: &[usize], addresses: Vec<HostAddress>, ageing_s| Bridge {
        name: name.into(),
        ports: ports.into(),
        zone: 0,
        addresses,
        ageing: Duration::from_secs(ageing_s),
        at,
        ports_at: at,
        addresses_at: at,
    };
    assert_eq!(
        config.bridges,
        [bridge("br0", &[2, 0], vec![held("198.18.0.2", 31)], 300), bridge("br1", &[3], vec![], 3_600)]
    );
}

#[test]
fn each_way_to_a_server_is_what_it_says() {
    let config = valid(
        r#"
timeouts.icmp = "90s"
[[port]]
name = "a"
interface = "eth1"
[[bridge]]
name = "br0"
ports = ["a"]
[[service]]
name = "transparent"
address = "198.18.0.10"
mode = "transparent"
source_addresses = ["198.18.0.250"]
return_path = "gateway"
direct_access = "deny"
mss_clamp = 536
[[service.server]]
address = "198.18.0.11"
[[service]]
name = "l2"
address = "198.18.0.20"
mode = "l2-dsr"
mss_clamp = "never"
[[service.server]]
address = "198.18.0.11"
port = 80
[[service]]
name = "ipip"
address = "198.18.0.30"
mode = "l3-dsr"
encapsulation = "ipip"
encapsulation_source = "198.18.0.251"
source_nat = "never"
mss_clamp = 9000
[[service.server]]
address = "198.18.1.11"
[[service]]
name = "gue"
address = "2001:db8::40"
mode = "l3-dsr"
encapsulation = "gue"
encapsulation_source = "2001:db8::251"
gue_port = 65535
[[service.server]]
address = "2001:db8:1::11"
[[service]]
name = "dscp"
address = "198.18.0.50"
mode = "l3-dsr"
encapsulation = "dscp"
[[service.server]]
address = "198.18.1.11"
dscp = 1
[[service.server]]
address = "198.18.1.12"
dscp = 63
[[service]]
name = "translated"
address = "198.18.0.60"
mode = "routed"
source_nat = "always"
return_path = "bypass"
[[service.server]]
address = "198.18.1.11"
"#,
    );
    assert_eq!(config.timeouts.icmp, Duration::from_secs(90));
    let [transparent, l2, ipip, gue, dscp, translated] = &config.services[..] else { panic!("six services") };
    assert_eq!((transparent.mode, transparent.source_nat), (Mode::Transparent, SourceNat::Auto));
    assert_eq!(transparent.source_addresses, [address("198.18.0.250")]);
    assert_eq!(
        (transparent.return_path, transparent.direct_access),
        (ReturnPath::Gateway, DirectAccess::Deny)
    );
    assert_eq!(transparent.mss_clamp, MssClamp::Bytes(536));
    assert_eq!((l2.mode, l2.encapsulation, l2.mss_clamp), (Mode::L2Dsr, None, MssClamp::Never));
    assert_eq!((ipip.mode, ipip.encapsulation), (Mode::L3Dsr, Some(Encapsulation::Ipip)));
    assert_eq!(ipip.encapsulation_source, Some(address("198.18.0.251")));
    assert_eq!(ipip.mss_clamp, MssClamp::Bytes(9_000));
    assert_eq!((gue.encapsulation, gue.gue_port), (Some(Encapsulation::Gue), 65_535));
    assert_eq!(gue.encapsulation_source, Some(address("2001:db8::251")));
    assert_eq!((dscp.encapsulation, dscp.encapsulation_source), (Some(Encapsulation::Dscp), None));
    assert_eq!(dscp.servers.iter().map(|server| server.dscp).collect::<Vec<_>>(), [Some(1), Some(63)]);
    for direct in [l2, ipip, gue, dscp] {
        assert!(direct.mode.is_dsr());
        assert_eq!(direct.source_nat, SourceNat::Never, "no reply comes back to be translated");
    }
    assert_eq!((translated.source_nat, translated.return_path), (SourceNat::Always, ReturnPath::Bypass));
    assert!(!translated.mode.is_dsr() && !transparent.mode.is_dsr());
}

#[test]
fn an_outbound_is_what_it_says() {
    let text = "[[outbound]]\nname = \"servers\"\nnetworks = [\"198.18.1.0/24\", \"::/0\"]
source_addresses = [\"198.18.0.250\", \"2001:db8::250\"]";
    let at = Position::default();
    let network = |text, prefix_length| Network { address: address(text), prefix_length };
    let outbound = Outbound {
        name: "servers".into(),
        networks: vec![network("198.18.1.0", 24), network("::", 0)],
        source_addresses: vec![address("198.18.0.250"), address("2001:db8::250")],
        at,
        networks_at: at,
        source_addresses_at: at,
    };
    assert_eq!(valid(&format!("{SMALLEST}\n{text}")).outbounds, [outbound]);
}

#[test]
fn a_network_holds_what_begins_with_its_prefix() {
    let network = |text, prefix_length| Network { address: address(text), prefix_length };
    let (wide, narrow) = (network("198.18.0.0", 15), network("198.19.255.254", 31));
    for (held, outside) in [("198.18.0.0", "198.17.255.255"), ("198.19.255.255", "198.20.0.0")] {
        assert!(wide.contains(address(held)) && !wide.contains(address(outside)));
    }
    assert!(wide.overlaps(&narrow) && narrow.overlaps(&wide) && wide.overlaps(&wide));
    assert!(!network("198.18.0.0", 16).overlaps(&narrow) && !narrow.overlaps(&network("198.18.0.0", 16)));
    let (all_v4, all_v6, one) = (network("0.0.0.0", 0), network("::", 0), network("2001:db8::1", 128));
    assert!(all_v4.overlaps(&narrow) && all_v6.overlaps(&one) && one.contains(address("2001:db8::1")));
    assert!(!all_v4.overlaps(&all_v6) && !all_v6.contains(address("198.18.0.1")));
    assert!(!one.contains(address("2001:db8::2")));
    let leg = HostAddress { address: address("2001:db8:1:2:3::9"), prefix_length: 64 };
    assert_eq!(leg.network(), network("2001:db8:1:2::", 64));
    assert_eq!([leg.to_string(), wide.to_string()], ["2001:db8:1:2:3::9/64", "198.18.0.0/15"]);
}

#[test]
fn a_service_that_moved_in_the_file_is_the_same_service() {
    let (old, new) = (valid(SMALLEST), valid(&format!("\n\n# moved\n{SMALLEST}")));
    assert_ne!(old.services[0].at.line, new.services[0].at.line);
    assert_eq!(old, new);
}

#[test]
fn later_checks_point_into_the_text() {
    let config = valid(SMALLEST);
    let found = config
        .source
        .error("E0500", config.ports[0].interface_at, "no such interface")
        .with_help("see `ip link`");
    assert_eq!(found.to_string(), "lb.toml:4:13: error[E0500]: no such interface (see `ip link`)");
    let nowhere = config.source.warning("W0500", config.appliance.workers_at, "CPU 1 is offline");
    assert_eq!(nowhere.severity, Severity::Warning);
    assert_eq!(nowhere.to_string(), "lb.toml: warning[W0500]: CPU 1 is offline");
    assert_eq!(nowhere.render(), "warning[W0500]: CPU 1 is offline");
}

#[test]
fn words_are_shown_as_the_file_spells_them() {
    let words = [
        Driver::AfXdp.to_string(),
        Protocol::Any.to_string(),
        Scheduler::RoundRobin.to_string(),
        Scheduler::WeightedLeastConnections.to_string(),
        OnDown::Keep.to_string(),
        CheckKind::TcpHalfOpen.to_string(),
        Polling::Adaptive.to_string(),
        SourceNat::Always.to_string(),
        Mode::L3Dsr.to_string(),
        Encapsulation::Ipip.to_string(),
        ReturnPath::Gateway.to_string(),
        DirectAccess::Deny.to_string(),
        PortSet::Range { first: 1, last: 9 }.to_string(),
    ];
    let spelt = "af_xdp any round-robin weighted-least-connections keep tcp-half-open adaptive always l3-dsr ipip gateway deny 1-9";
    assert_eq!(words.join(" "), spelt);
}

#[test]
fn port_sets_overlap_where_they_share_a_port() {
    let range = |first, last| PortSet::Range { first, last };
    for (one, other, share) in [
        (PortSet::One(80), PortSet::One(80), true),
        (PortSet::One(80), PortSet::One(81), false),
        (PortSet::One(80), range(80, 90), true),
        (PortSet::One(90), range(80, 90), true),
        (PortSet::One(91), range(80, 90), false),
        (range(80, 90), range(90, 99), true),
        (range(80, 90), range(91, 99), false),
        (PortSet::Any, range(1, 2), true),
        (PortSet::Any, PortSet::One(65_535), true),
    ] {
        assert_eq!(one.overlaps(other), share, "{one} {other}");
        assert_eq!(other.overlaps(one), share, "{other} {one}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_finding() {
    let folder = std::env::temp_dir().join(format!("config-load-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a fresh folder");
    let (latin, long) = (folder.join("latin.toml"), folder.join("long.toml"));
    std::fs::write(&latin, b"[appliance]\nname = \"caf\xe9\"\n").expect("written");
    std::fs::write(&long, vec![b'\n'; config::FILE_BYTES_MAX + 1]).expect("written");
    let message = |path: &Path| {
        let outcome = Config::load(path);
        assert!(outcome.config.is_none());
        assert_eq!(outcome.diagnostics.len(), 1);
        assert_eq!(outcome.diagnostics[0].code, config::code::UNREADABLE);
        outcome.diagnostics[0].message.clone()
    };
    let messages = [message(&latin), message(&long), message(&folder.join("absent.toml"))];
    std::fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(messages[0], "line 2 is not UTF-8");
    assert_eq!(messages[1], "the file is longer than 16777216 bytes");
    assert!(messages[2].starts_with("cannot read the file: "), "{}", messages[2]);
}
