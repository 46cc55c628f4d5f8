//! The command line as people type it.

use super::*;
use clap::CommandFactory;
use clap::error::ErrorKind;

fn parse(line: &str) -> Result<Command, ErrorKind> {
    let parsed = Arguments::try_parse_from(line.split(' '));
    parsed.map(|arguments| arguments.command).map_err(|error| error.kind())
}

#[test]
fn the_command_line_contradicts_itself_nowhere() {
    Arguments::command().debug_assert();
}

#[test]
fn a_server_is_written_with_or_without_a_port() {
    let server = |address: &str, port| Ok(ServerAddress { address: address.parse().unwrap(), port });
    assert_eq!("198.18.1.11".parse(), server("198.18.1.11", None));
    assert_eq!("198.18.1.11:8080".parse(), server("198.18.1.11", Some(8080)));
    assert_eq!("2001:db8::11".parse(), server("2001:db8::11", None));
    assert_eq!("[2001:db8::11]".parse(), server("2001:db8::11", None));
    assert_eq!("[2001:db8::11]:80".parse(), server("2001:db8::11", Some(80)));
    for wrong in ["", "web", "198.18.1.11:", "198.18.1.11:0", "198.18.1.11:65536", "[198.18.1.11]", "[::"] {
        assert!(wrong.parse::<ServerAddress>().is_err(), "{wrong}");
    }
}

#[test]
fn every_command_of_the_contract_is_understood() {
    for line in [
        "jeoul run --config a.toml",
        "jeoul run --config a.toml --log-level debug",
        "jeoul check a.toml --offline --strict",
        "jeoul reload --socket /run/x",
        "jeoul show services --json",
        "jeoul show bridge",
        "jeoul explain 198.18.0.50:40000 198.18.0.10:80/tcp --json --port outside --socket /run/x",
        "jeoul explain 2001:db8::50 2001:db8::10/icmp",
        "jeoul explain 198.18.0.50 198.19.0.11/47",
        "jeoul server drain web [2001:db8::11]:80 --socket /run/x",
        "jeoul server weight web 198.18.1.11 0",
        "jeoul server weight web 198.18.1.11 65535",
        "jeoul server weight web [2001:db8::11]:80 file --socket /run/x",
        "jeoul show firewalls --json",
        "jeoul firewall disable fw fw1 --socket /run/x",
        "jeoul lab slb-routed --driver af_xdp --keep --requests 30",
        "jeoul lab slb-groups",
        "jeoul real-server web --os debian --interface eth0 --undo",
        "jeoul real-server web --os rhel --config a.toml",
        "jeoul real-server web --os windows --loopback vip --socket /run/x",
        "jeoul lab transparent-inline",
        "jeoul lab transparent-one-arm --driver af_packet",
        "jeoul lab l2-dsr --requests 9",
        "jeoul lab l3-dsr --encapsulation gue",
        "jeoul lab one-arm-routed --wiring two-vlans",
        "jeoul lab traps",
        "jeoul fwlb verify outer.toml inner.toml",
        "jeoul fwlb verify outer.toml inner.toml --flows 5000 --seed 7 --json",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    for (line, why) in [
        ("jeoul run", ErrorKind::MissingRequiredArgument),
        ("jeoul run --config a.toml --log-level loud", ErrorKind::ValueValidation),
        ("jeoul check", ErrorKind::MissingRequiredArgument),
        ("jeoul show everything", ErrorKind::InvalidValue),
        ("jeoul explain 198.18.0.50:40000", ErrorKind::MissingRequiredArgument),
        ("jeoul explain 198.18.0.50:40000 198.18.0.10:80", ErrorKind::ValueValidation),
        ("jeoul server stop web 198.18.1.11", ErrorKind::InvalidValue),
        ("jeoul server drain web example", ErrorKind::ValueValidation),
        ("jeoul server weight web 198.18.1.11", ErrorKind::MissingRequiredArgument),
        ("jeoul server weight web 198.18.1.11 65536", ErrorKind::ValueValidation),
        ("jeoul server weight web 198.18.1.11 heavy", ErrorKind::ValueValidation),
        ("jeoul firewall weight fw fw1", ErrorKind::InvalidValue),
        ("jeoul firewall drain fw", ErrorKind::MissingRequiredArgument),
        ("jeoul real-server web", ErrorKind::MissingRequiredArgument),
        ("jeoul real-server web --os plan9", ErrorKind::InvalidValue),
        ("jeoul fwlb verify outer.toml", ErrorKind::MissingRequiredArgument),
        ("jeoul fwlb verify outer.toml inner.toml --flows 0", ErrorKind::ValueValidation),
        ("jeoul lab slb-routed --driver dpdk", ErrorKind::InvalidValue),
        ("jeoul lab slb-routed --requests 0", ErrorKind::ValueValidation),
        ("jeoul lab l3-dsr --encapsulation vxlan", ErrorKind::InvalidValue),
    ] {
        assert_eq!(parse(line).unwrap_err(), why, "{line}");
    }
}

#[test]
fn a_socket_has_a_default() {
    let Ok(Command::Reload { at }) = parse("jeoul reload") else { panic!("reload") };
    assert_eq!(at.socket, PathBuf::from(SOCKET_DEFAULT));
}

#[test]
fn words_are_spelt_as_they_are_parsed() {
    for what in What::value_variants() {
        assert_eq!(what.to_possible_value().unwrap().get_name(), what.to_string());
    }
    for driver in Driver::value_variants() {
        assert_eq!(driver.to_possible_value().unwrap().get_name(), driver.word());
    }
}
