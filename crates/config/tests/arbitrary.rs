//! No text makes the reader panic, and every finding has its place in the text.

use std::net::IpAddr;

use config::{Config, Diagnostic, parse};
use proptest::prelude::*;

const EXAMPLES: [&str; 12] = [
    include_str!("../../../configs/slb-routed.toml"),
    include_str!("../../../configs/one-arm-routed.toml"),
    include_str!("../../../configs/transparent-inline.toml"),
    include_str!("../../../configs/transparent-one-arm.toml"),
    include_str!("../../../configs/l2-dsr.toml"),
    include_str!("../../../configs/l3-dsr.toml"),
    include_str!("../../../configs/schedulers.toml"),
    include_str!("../../../configs/health-checks.toml"),
    include_str!("../../../configs/fwlb-inner.toml"),
    include_str!("../../../configs/fwlb-stealth-outer.toml"),
    include_str!("../../../configs/fwlb-one-box.toml"),
    include_str!("../../../configs/fwlb-nat.toml"),
];

/// What holds of any text.
fn examine(text: &str) {
    let outcome = parse(text, "f");
    assert_eq!(outcome.config.is_some(), !outcome.diagnostics.iter().any(Diagnostic::is_error));
    let lines: Vec<&str> = text.split('\n').collect();
    for found in &outcome.diagnostics {
        let shown = found.render();
        if found.line > 0 {
            let line = lines[found.line - 1];
            assert!((1..=line.chars().count() + 1).contains(&found.column), "{found}");
            assert!(shown.contains(&format!("--> f:{}:{}\n", found.line, found.column)), "{found}\n{shown}");
        }
        assert!(!found.to_string().chars().any(char::is_control), "{found:?}");
        assert!(!shown.chars().any(|letter| letter.is_control() && letter != '\n'), "{shown:?}");
    }
    assert!(outcome.diagnostics.is_sorted_by_key(|found| (found.line == 0, found.line, found.column)));
}

/// Pieces of which files that are nearly right are made.
fn piece() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\"",
        "'",
        "'''",
        "#",
        " ",
        "\n",
        "\r\n",
        "\\",
        "0",
        "-1",
        "80",
        "true",
        "1.5",
        "\"any\"",
        "\"80-90\"",
        "\"3s\"",
        "\"198.18.0.10\"",
        "\"2001:db8::1\"",
        "\"198.18.0.2/24\"",
        "\"2001:db8::/64\"",
        "\"routed\"",
        "\"transparent\"",
        "\"l2-dsr\"",
        "\"l3-dsr\"",
        "\"ipip\"",
        "\"dscp\"",
        "\"hash\"",
        "appliance",
        "timeouts",
        "port",
        "service",
        "server",
        "service.server",
        "health_check",
        "bridge",
        "outbound",
        "ports",
        "vlan",
        "addresses",
        "networks",
        "encapsulation",
        "encapsulation_source",
        "dscp",
        "mss_clamp",
        "return_path",
        "name",
        "interface",
        "address",
        "hash_key",
        "workers",
        "udp",
        "weight",
        "hash_fields",
        "scheduler",
        "persistence",
        "prefix_length",
        "quorum",
        "passive",
        "backup",
        "kind",
        "path",
        "host",
        "expect_status",
        "expect_body",
        "send",
        "expect_reply",
        "hex",
        "server_name",
        "\"http\"",
        "\"udp\"",
        "\"200-299\"",
        "\"4a 4c\"",
        "source_addresses",
        "source_nat",
        "firewall_group",
        "firewall_group.firewall",
        "firewall",
        "probe_responder",
        "group",
        "zone",
        "hash",
        "far_address",
        "nat_addresses",
        "max_session_rate",
        "\"fw1\"",
        "\"outside\"",
        "\"0.0.0.0/0\"",
        "\"always\"",
        "mode",
        "저울",
        "\u{1b}",
        "\u{feff}",
        "\u{2028}",
    ]);
    prop_oneof![8 => fixed.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text(text in any::<String>()) {
        examine(&text);
    }

    #[test]
    fn any_row_of_pieces(pieces in prop::collection::vec(piece(), 0..60)) {
        examine(&pieces.concat());
    }

    #[test]
    fn any_change_of_an_example(
        example in prop::sample::select(&EXAMPLES[..]),
        at in any::<prop::sample::Index>(),
        removed in 0_usize..40,
        pieces in prop::collection::vec(piece(), 0..3),
    ) {
        // From somewhere on in the example, so that comments do not swallow most changes.
        let example: Vec<&str> = example.lines().filter(|line| !line.starts_with('#')).collect();
        let example = example.join("\n");
        let start = example.floor_char_boundary(at.index(example.len()));
        let end = example.floor_char_boundary((start + removed).min(example.len()));
        examine(&format!("{}{}{}", &example[..start], pieces.concat(), &example[end..]));
    }

    #[test]
    fn a_network_is_taken_as_it_is_or_as_the_refusal_writes_it(
        address in routable(),
        length in 0_u8..=128,
        other in routable(),
        shared in 0_usize..=128,
    ) {
        let length = if address.is_ipv4() { length % 33 } else { length };
        let outbound = |network: &str| parse(&format!(
            "[[port]]\nname = \"p\"\ninterface = \"e\"\n[[outbound]]\nname = \"o\"\nnetworks = [{network}]
            source_addresses = [\"{}\"]",
            if address.is_ipv4() { "198.18.0.250" } else { "2001:db8::250" }
        ), "f");
        let first = outbound(&format!("\"{address}/{length}\""));
        let host_bits_are_zero = bits(address)[usize::from(length)..].iter().all(|bit| !bit);
        prop_assert_eq!(first.config.is_some(), host_bits_are_zero);
        let config: Config = match first.config {
            Some(config) => config,
            None => {
                let help = first.diagnostics[0].help.clone().unwrap_or_default();
                let network = help.strip_prefix("write ").expect("a remedy");
                outbound(network).config.expect("the remedy is right")
            }
        };
        let network = config.outbounds[0].networks[0];
        prop_assert!(network.contains(address));
        // Of the other address some bits at random, and in front of them what the network has.
        for candidate in [other, mixed(address, other, shared)] {
            let same = candidate.is_ipv4() == address.is_ipv4()
                && bits(candidate)[..usize::from(length)] == bits(address)[..usize::from(length)];
            prop_assert_eq!(network.contains(candidate), same, "{} {}", network, candidate);
        }
    }
}

/// Addresses of which any part is the beginning of an address that can be routed.
fn routable() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|low| IpAddr::from((low >> 8 | 198 << 24).to_be_bytes())),
        any::<u128>().prop_map(|low| IpAddr::from((low >> 8 | 0x20 << 120).to_be_bytes())),
    ]
}

/// The bits of an address, the highest first.
fn bits(address: IpAddr) -> Vec<bool> {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}

/// The first `shared` bits of `address` and then those of `other`, where they are of one family.
fn mixed(address: IpAddr, other: IpAddr, shared: usize) -> IpAddr {
    match (address, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let kept = u32::MAX.checked_shr(shared as u32).unwrap_or(0);
            IpAddr::from((one.to_bits() & !kept | other.to_bits() & kept).to_be_bytes())
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let kept = u128::MAX.checked_shr(shared as u32).unwrap_or(0);
            IpAddr::from((one.to_bits() & !kept | other.to_bits() & kept).to_be_bytes())
        }
        _ => other,
    }
}

#[test]
fn deep_and_long_texts_are_refused_in_bounded_time() {
    examine(&"[".repeat(16_000));
    examine(&format!("a = {}", "[".repeat(16_000)));
    examine(&format!("a = {}", "{a=".repeat(5_000)));
    examine(&format!("a{} = 1", ".a".repeat(8_000)));
    examine(&"hash_key = 0\n".repeat(2_000));
    let long = format!("name = \"{}\"", "x".repeat(20_000));
    assert_eq!(
        parse(&long, "f").diagnostics[0].to_string(),
        "f: error[E0109]: line 1 is longer than 16384 bytes"
    );
}

#[test]
fn what_is_too_many_is_refused_where_it_begins() {
    let many = |count: usize| -> String {
        (0..count).map(|port| format!("[[port]]\nname = \"p{port}\"\ninterface = \"e{port}\"\n")).collect()
    };
    assert!(parse(&many(64), "f").config.is_some());
    let found = parse(&many(65), "f").diagnostics;
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "f:193:1: error[E0107]: more than 64 tables `port` (use several appliances)"
    );

    let noise = "[[port]]\nx = 1\n".repeat(60) + &"[[service]]\n".repeat(4_000);
    let found = parse(&noise, "f").diagnostics;
    assert_eq!(found.len(), 1_001);
    assert_eq!(found[1_000].message, "more than 1000 findings; the others are not shown");
}
