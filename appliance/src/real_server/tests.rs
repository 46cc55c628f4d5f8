//! The scripts as text; what they do is tested where they run.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// A service of each kind, in both families.
const FILE: &str = "\
[[port]]
name = \"outside\"
interface = \"eth1\"
";

fn service(name: &str, is_ipv4: bool, mode: &str) -> RealServerFacts {
    let (vip, source, server) = match is_ipv4 {
        true => ("198.18.0.10", "198.18.1.251", "198.18.1.11"),
        false => ("2001:db8::10", "2001:db8:1::251", "2001:db8:1::11"),
    };
    let (mode, dscp) = match mode {
        "l2-dsr" => ("mode = \"l2-dsr\"".to_owned(), ""),
        "dscp" => ("mode = \"l3-dsr\"\nencapsulation = \"dscp\"".to_owned(), "dscp = 7\n"),
        word => (
            format!("mode = \"l3-dsr\"\nencapsulation = \"{word}\"\nencapsulation_source = \"{source}\""),
            "",
        ),
    };
    let text = format!(
        "{FILE}[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\n{mode}\n[[service.server]]\naddress = \"{server}\"\n\
         {dscp}"
    );
    let outcome = config::parse(&text, "f");
    let config = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
    RealServerFacts::of(&config, name).unwrap()
}

fn wanted(os: OperatingSystem) -> Wanted<'static> {
    Wanted { service: "web", os, interface: None, loopback: None, undo: false }
}

/// Whether bash can read it.
fn is_bash(script: &str) -> bool {
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    bash.wait().unwrap().success()
}

#[test]
fn every_linux_script_is_bash_and_undone_by_the_second_half_alone() {
    for os in [OperatingSystem::Debian, OperatingSystem::Rhel] {
        for is_ipv4 in [true, false] {
            for mode in ["l2-dsr", "ipip", "gue", "dscp"] {
                let facts = service("web", is_ipv4, mode);
                let interface = Some("eth0.20");
                let both = script(&Wanted { interface, ..wanted(os) }, &facts).unwrap();
                let undo = script(&Wanted { interface, undo: true, ..wanted(os) }, &facts).unwrap();
                let (set_up, second) = both.split_once(MARKER).unwrap();
                assert_eq!(second, undo);
                assert!(set_up.trim_end().ends_with("\nexit 0"), "{set_up}");
                assert!(is_bash(set_up) && is_bash(&undo), "{os:?} {mode}\n{both}");
                // What becomes a unit's `sh -c '...'` must not end there.
                let quoted = both.lines().filter(|line| line.starts_with("ExecStart="));
                assert!(quoted.clone().all(|line| line.matches('\'').count() == 2 && !line.contains('$')));
                assert_eq!(quoted.count() > 0, os == OperatingSystem::Rhel);
            }
        }
    }
    assert!(!is_bash("if then"));
}

#[test]
fn an_outer_header_leaves_less_room_for_segments() {
    for (mode, is_ipv4, mss) in
        [("ipip", true, 1_440), ("ipip", false, 1_400), ("gue", true, 1_432), ("gue", false, 1_392)]
    {
        let text = script(&wanted(OperatingSystem::Debian), &service("web", is_ipv4, mode)).unwrap();
        assert!(text.contains(&format!("maxseg size set {mss}\n")), "{mode} {is_ipv4}\n{text}");
        assert_eq!(text.contains(" fou add port 6080 gue"), mode == "gue");
        assert_eq!(text.contains("/all/rp_filter"), is_ipv4);
    }
    for mode in ["l2-dsr", "dscp"] {
        let text = script(&wanted(OperatingSystem::Debian), &service("web", true, mode)).unwrap();
        assert!(!text.contains("maxseg") && !text.contains("modprobe"), "{text}");
    }
    let marked = script(&wanted(OperatingSystem::Debian), &service("web", false, "dscp")).unwrap();
    assert!(
        marked.contains("        ip6 daddr 2001:db8:1::11 ip6 dscp 7 ip6 daddr set 2001:db8::10\n"),
        "{marked}"
    );
}

#[test]
fn windows_holds_the_vip_on_a_loopback_adapter_and_knows_no_l3_dsr() {
    let windows = Wanted { loopback: Some("vip (1)"), ..wanted(OperatingSystem::Windows) };
    let text = script(&windows, &service("web", true, "l2-dsr")).unwrap();
    let (set_up, undo) = text.split_once(MARKER).unwrap();
    for part in [
        "$interface = 'Ethernet'",
        "$loopback = 'vip (1)'",
        "KM-TEST",
        "set interface $interface weakhostreceive=enabled",
        "set interface $loopback weakhostreceive=enabled weakhostsend=enabled",
        "mask=255.255.255.255 skipassource=true",
        "show interface $loopback",
    ] {
        assert!(set_up.contains(part), "{part} in\n{set_up}");
    }
    assert!(set_up.trim_end().ends_with("\nexit 0"));
    assert!(undo.contains("delete address") && undo.contains("weakhostsend=disabled"), "{undo}");
    let ipv6 = script(&windows, &service("web", false, "l2-dsr")).unwrap();
    assert!(ipv6.contains("interface ipv6 add address") && ipv6.contains("$vip/128"), "{ipv6}");
    for mode in ["ipip", "gue", "dscp"] {
        let refused = script(&windows, &service("web", true, mode)).unwrap_err();
        assert!(refused.contains("Windows servers cannot do it"), "{refused}");
    }
}

#[test]
fn no_name_does_anything_in_a_script() {
    let facts = |name: &str| RealServerFacts { service: name.to_owned(), ..service("web", true, "l2-dsr") };
    let long = "x".repeat(300);
    let hostile = [
        "",
        "a b'",
        "$(id)",
        "`id`",
        "a;id",
        "a\nid",
        "a'b",
        "../a",
        "-rf",
        "a\"b",
        "é",
        "a|b",
        "a\u{2019}b",
        &long,
    ];
    let linux = wanted(OperatingSystem::Debian);
    for name in hostile {
        for os in [OperatingSystem::Debian, OperatingSystem::Rhel, OperatingSystem::Windows] {
            let interface = Wanted { interface: Some(name), ..wanted(os) };
            assert!(script(&interface, &facts("web")).is_err(), "{name:?}");
            let loopback = Wanted { loopback: Some(name), ..wanted(os) };
            assert!(script(&loopback, &facts("web")).is_err(), "{name:?}");
        }
        // An empty name does not come out of a file; one with a dash in front is never alone.
        if !["", "-rf"].contains(&name) {
            assert!(script(&linux, &facts(name)).unwrap_err().contains("rename it"), "{name:?}");
        }
    }
    for (name, is_ok) in [("web_1-a", true), ("web.1", false), (&long[..32], true), (&long[..33], false)] {
        assert_eq!(script(&linux, &facts(name)).is_ok(), is_ok, "{name}");
    }
    for (name, is_ok) in [("enp3s0f1.200", true), (&long[..15], true), (&long[..16], false), ("eth 0", false)]
    {
        let wanted = Wanted { interface: Some(name), ..wanted(OperatingSystem::Rhel) };
        assert_eq!(script(&wanted, &facts("web")).is_ok(), is_ok, "{name}");
    }
    let loopback = Wanted { loopback: Some("loopback"), ..wanted(OperatingSystem::Debian) };
    assert!(script(&loopback, &facts("web")).is_err(), "lo needs no name");
}
