//! The examples agree, and every way in which two files may not is found and named.

use super::*;

const OUTER: &str = include_str!("../../../../configs/fwlb-outer.toml");
const INNER: &str = include_str!("../../../../configs/fwlb-inner.toml");
const FLOWS: u64 = 20_000;

fn read(text: &str) -> Config {
    let outcome = config::parse(text, "end.toml");
    outcome.config.unwrap_or_else(|| panic!("{:#?}", outcome.diagnostics))
}

fn report(outer: &str, inner: &str) -> Report {
    verify(&read(outer), &read(inner), FLOWS, 7)
}

/// The inner example with something else in it, which has to be there.
fn inner_with(what: &str, instead: &str) -> String {
    assert!(INNER.contains(what), "{what}");
    INNER.replacen(what, instead, 1)
}

/// Kinds of errors and of warnings, each once, and all texts.
fn found(report: &Report) -> (Vec<Kind>, Vec<Kind>, String) {
    let of = |severity| {
        let mut kinds: Vec<Kind> = Vec::new();
        for finding in report.findings.iter().filter(|finding| finding.severity == severity) {
            if !kinds.contains(&finding.kind) {
                kinds.push(finding.kind);
            }
        }
        kinds
    };
    let texts: Vec<&str> = report.findings.iter().map(|finding| finding.text.as_str()).collect();
    (of(Severity::Error), of(Severity::Warning), texts.join("\n"))
}

#[test]
fn the_examples_agree() {
    for (outer, inner) in [
        (OUTER, INNER),
        (
            include_str!("../../../../configs/fwlb-stealth-outer.toml"),
            include_str!("../../../../configs/fwlb-stealth-inner.toml"),
        ),
    ] {
        let report = report(outer, inner);
        assert!(report.agree, "{report:#?}");
        assert_eq!(report.findings, []);
        assert_eq!(report.without_partner, []);
        let [pair] = &report.pairs[..] else { panic!("{report:#?}") };
        assert_eq!((pair.outer.as_str(), pair.inner.as_str()), ("to-inside", "to-outside"));
        let count = pair.proof.firewalls.len();
        assert_eq!((pair.names_in_common, pair.far_addresses_in_common), (count, 2 * count));
        assert!(pair.outer_fingerprint.is_some());
        assert_eq!(pair.outer_fingerprint, pair.inner_fingerprint);
        assert_eq!((pair.proof.flows, pair.proof.disagreeing_flows), (FLOWS, 0));
        assert_eq!(pair.proof.firewalls.iter().map(|firewall| firewall.flows).sum::<u64>(), FLOWS);
    }
}

#[test]
fn a_failure_moves_its_own_share_to_the_others_by_weight() {
    let heavy = |text: &str| {
        text.replacen("name = \"fw2\"", "weight = 3\nname = \"fw2\"", 1)
            .replacen("weight = 1 ", "weight = 2 ", 1)
            .replacen("name = \"fw1\"\naddress", "weight = 2\nname = \"fw1\"\naddress", 1)
    };
    let report = report(&heavy(OUTER), &heavy(INNER));
    assert!(report.agree, "{report:#?}");
    let firewalls = &report.pairs[0].proof.firewalls;
    for (firewall, weight) in firewalls.iter().zip([2, 3, 1]) {
        assert_eq!((firewall.outer_weight, firewall.inner_weight), (Some(weight), Some(weight)));
        assert!((firewall.share - f64::from(weight) / 6.0).abs() < 0.02, "{firewall:?}");
        let failure = &firewall.failure;
        assert_eq!(failure.moved_flows, firewall.flows);
        assert_eq!(failure.to.iter().map(|taker| taker.flows).sum::<u64>(), firewall.flows);
        assert!(failure.others_stay && failure.all_return);
        assert_eq!(failure.to.len(), 2);
        for taker in &failure.to {
            let takers_weight = firewalls.iter().find(|other| other.name == taker.name).unwrap().outer_weight;
            let due = f64::from(takers_weight.unwrap()) / f64::from(6 - weight);
            assert!((taker.flows as f64 / firewall.flows as f64 - due).abs() < 0.06, "{firewall:?}");
        }
    }
}

#[test]
fn another_key_is_found_and_never_shown() {
    let key = "000102030405060708090a0b0c0d0e0f";
    let inner = inner_with(key, "f0e0d0c0b0a090807060504030201000");
    let report = report(OUTER, &inner);
    let (errors, _, texts) = found(&report);
    assert!(!report.agree);
    assert_eq!(errors, [Kind::Key, Kind::Flows], "{texts}");
    let pair = &report.pairs[0];
    assert_ne!(pair.outer_fingerprint, pair.inner_fingerprint);
    // Of three firewalls two of three flows are elsewhere.
    assert!(pair.proof.disagreeing_flows > FLOWS / 2, "{pair:?}");
    assert!(pair.proof.example.is_some());
    let all = format!("{}{report:?}", serde_json::to_string(&report).unwrap());
    assert!(!all.contains(&key[..8]) && !all.contains("f0e0d0c0"), "{all}");
}

#[test]
fn an_end_without_a_key_agrees_with_nobody() {
    let mut inner = read(INNER);
    inner.appliance.hash_key = None;
    let report = verify(&read(OUTER), &inner, FLOWS, 7);
    let (errors, _, texts) = found(&report);
    assert_eq!(errors, [Kind::Key, Kind::Flows]);
    assert!(texts.starts_with("the inner end has no `hash_key`"), "{texts}");
    assert_eq!(report.pairs[0].inner_fingerprint, None);
}

#[test]
fn what_places_flows_is_compared_name_by_name() {
    let hash = inner_with("name = \"to-outside\"", "name = \"to-outside\"\nhash = \"five-tuple\"");
    let (errors, _, texts) = found(&report(OUTER, &hash));
    assert_eq!(errors, [Kind::Hash, Kind::Flows]);
    assert!(
        texts.contains("`hash` is \"address-pair\" at the outer end, \"five-tuple\" at the inner"),
        "{texts}"
    );

    let weight = inner_with("address = \"198.18.2.2\"", "address = \"198.18.2.2\"\nweight = 7");
    let (errors, _, texts) = found(&report(OUTER, &weight));
    assert_eq!(errors, [Kind::Weight, Kind::Flows]);
    assert!(texts.contains("`weight` of firewall \"fw2\" is 1 at the outer end, 7 at the inner"), "{texts}");

    let name = INNER.replace("\"fw3\"", "\"fw-3\"");
    let report = report(OUTER, &name);
    let (errors, _, texts) = found(&report);
    assert_eq!(errors, [Kind::Name, Kind::FarAddress, Kind::Flows]);
    for part in [
        "the inner end alone has a firewall with the name \"fw-3\"",
        "the outer end alone has a firewall with the name \"fw3\"",
        "at the inner end stands for \"fw-3\"",
    ] {
        assert!(texts.contains(part), "{part} in {texts}");
    }
    assert_eq!((report.pairs[0].names_in_common, report.pairs[0].far_addresses_in_common), (2, 6));
}

#[test]
fn far_addresses_are_held_against_the_responders_of_the_other_end() {
    let swapped = INNER
        .replace("198.18.1.101", "198.18.1.222")
        .replace("198.18.1.102", "198.18.1.101")
        .replace("198.18.1.222", "198.18.1.102");
    let (errors, _, texts) = found(&report(OUTER, &swapped));
    assert_eq!(errors, [Kind::FarAddress]);
    let said = "the inner end probes \"fw1\" at `far_address` 198.18.1.102, which at the outer end stands for \"fw2\"";
    assert!(texts.contains(said), "{texts}");

    let unknown = OUTER.replace("far_address = \"198.18.2.103\"", "far_address = \"198.18.2.99\"");
    let (errors, _, texts) = found(&report(&unknown, INNER));
    assert_eq!(errors, [Kind::FarAddress]);
    let said = "the outer end probes \"fw3\" at `far_address` 198.18.2.99, which is no `[[probe_responder]]` of the inner end";
    assert_eq!(texts, said);
}

#[test]
fn what_had_better_be_alike_is_warned_of() {
    let differs = inner_with(
        "name = \"to-outside\"",
        "name = \"to-outside\"\non_failure = \"reset\"\non_recovery = \"return\"",
    );
    let report_of = report(OUTER, &differs);
    let (errors, warnings, texts) = found(&report_of);
    assert!(report_of.agree && errors.is_empty());
    assert_eq!(warnings, [Kind::OnFailure, Kind::OnRecovery], "{texts}");
    assert!(texts.contains("`on_failure` is \"move\" at the outer end, \"reset\" at the inner"), "{texts}");

    let unprobed = inner_with(
        "networks = [\"0.0.0.0/0\"]                # everything that no route of this side leads to more closely\nhealth_check = \"path\"",
        "networks = [\"0.0.0.0/0\"]",
    );
    let (errors, warnings, texts) = found(&report(OUTER, &unprobed));
    assert_eq!((&errors[..], &warnings[..]), (&[][..], &[Kind::HealthCheck][..]), "{texts}");
    assert!(texts.starts_with("the inner end has no `health_check`"), "{texts}");

    let both = inner_with("[\"0.0.0.0/0\"]", "[\"0.0.0.0/0\", \"198.18.2.10/32\"]");
    let (errors, warnings, texts) = found(&report(OUTER, &both));
    assert_eq!((&errors[..], &warnings[..]), (&[][..], &[Kind::Networks][..]), "{texts}");

    let unreachable = OUTER.replace(", \"198.18.2.10/32\"]", "]");
    let (errors, warnings, texts) = found(&report(&unreachable, INNER));
    assert_eq!((&errors[..], &warnings[..]), (&[][..], &[Kind::Networks][..]), "{texts}");
    assert!(texts.contains("service \"web\" (198.18.2.10) is in no `networks` of the outer end"), "{texts}");
}

#[test]
fn groups_of_other_firewalls_have_no_partner() {
    let others = INNER.replace("\"fw", "\"other").replace("198.18.1.10", "198.18.7.10");
    let others = others.replace("198.18.2.10", "198.18.8.10");
    let report = report(OUTER, &others);
    assert!(!report.agree && report.pairs.is_empty());
    assert_eq!(found(&report).0, [Kind::Partner]);
    let alone = [(End::Outer, "to-inside"), (End::Inner, "to-outside")];
    let alone = alone.map(|(end, group)| Alone { end, group: group.into() });
    assert_eq!(report.without_partner, alone);
}

#[test]
fn one_appliance_on_both_sides_is_its_own_other_end() {
    let both = include_str!("../../../../configs/fwlb-one-box.toml");
    let report = report(both, both);
    assert!(report.agree, "{report:#?}");
    let names: Vec<_> = report.pairs.iter().map(|pair| (pair.outer.as_str(), pair.inner.as_str())).collect();
    assert_eq!(names, [("inwards", "outwards"), ("outwards", "inwards")]);
    assert_eq!(report.without_partner, []);
}

/// Two groups over the same firewalls: with and without addresses to tell them by.
fn two_groups(far: bool) -> [String; 2] {
    let end = |side: u8, names: [&str; 2], networks: [&str; 2]| {
        let mut text = String::from(
            "[appliance]\nworkers = [1]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n\
             [[port]]\nname = \"a\"\ninterface = \"eth1\"\n[[health_check]]\nname = \"path\"\nkind = \"icmp\"\n",
        );
        for (place, (name, network)) in names.into_iter().zip(networks).enumerate() {
            text += &format!("[[firewall_group]]\nname = \"{name}\"\nnetworks = [\"{network}\"]\n");
            text += if far { "health_check = \"path\"\n" } else { "" };
            for number in 1..=2 {
                // The inner end lists its groups the other way round.
                let bank = if side == 1 { place } else { 1 - place };
                text += &format!(
                    "[[firewall_group.firewall]]\nname = \"fw{number}\"\naddress = \"198.18.{side}.{}\"\n",
                    10 * bank + number
                );
                if far {
                    let far_side = 3 - side;
                    text += &format!("far_address = \"198.18.{far_side}.{}\"\n", 100 + 10 * bank + number);
                }
            }
        }
        for (place, name) in names.into_iter().enumerate().filter(|_| far) {
            let bank = if side == 1 { place } else { 1 - place };
            for number in 1..=2 {
                text += &format!(
                    "[[probe_responder]]\naddress = \"198.18.{side}.{}\"\nfirewall = \"fw{number}\"\ngroup = \"{name}\"\n",
                    100 + 10 * bank + number
                );
            }
        }
        text
    };
    [
        end(1, ["one", "two"], ["198.19.1.0/24", "198.19.2.0/24"]),
        end(2, ["two", "one"], ["198.19.12.0/24", "198.19.11.0/24"]),
    ]
}

#[test]
fn far_addresses_tell_groups_of_the_same_names_apart() {
    let [outer, inner] = two_groups(true);
    let told = report(&outer, &inner);
    assert!(told.agree && told.findings.is_empty(), "{told:#?}");
    let names: Vec<_> = told.pairs.iter().map(|pair| (pair.outer.as_str(), pair.inner.as_str())).collect();
    assert_eq!(names, [("one", "one"), ("two", "two")]);

    let [outer, inner] = two_groups(false);
    let guessed = report(&outer, &inner);
    let (errors, warnings, texts) = found(&guessed);
    assert_eq!((&errors[..], &warnings[..]), (&[][..], &[Kind::Partner, Kind::HealthCheck][..]), "{texts}");
}

#[test]
fn groups_of_ipv6_are_proven_too() {
    let wide = |text: &str| {
        text.replace("198.18.", "2001:db8:18::")
            .replace("0.0.0.0/0", "::/0")
            .replace("198.19.0.0/24", "2001:db8:19::/64")
            .replace("198.19.", "2001:db8:19::")
            .replace("/32\"", "/128\"")
            .lines()
            .map(|line| match line.split_once("2001:db8:18::") {
                // "1.101" becomes "1:101".
                Some((before, after)) => format!("{before}2001:db8:18::{}", after.replacen('.', ":", 1)),
                None => line.replace("19::0.", "19::"),
            } + "\n")
            .collect::<String>()
    };
    let outer = wide(OUTER).replace("198.18.2.10/32", "2001:db8:18::2:10/128");
    let outer = outer.replace("2001:db8:18::2.10", "2001:db8:18::2:10");
    let inner = wide(INNER);
    let report = report(&outer, &inner);
    assert!(report.agree, "{report:#?}");
    assert_eq!(report.pairs[0].proof.flows, FLOWS);
}

#[test]
fn the_same_seed_draws_the_same_flows() {
    let of = |seed| {
        let report = verify(&read(OUTER), &read(INNER), 1_000, seed);
        report.pairs[0].proof.firewalls.iter().map(|firewall| firewall.flows).collect::<Vec<_>>()
    };
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
}

#[test]
fn flows_that_longer_prefixes_lead_elsewhere_are_left_out() {
    // All that the group holds is held more closely by what a firewall translates to.
    let owned = OUTER.replace("[\"198.19.0.0/24\", \"198.18.2.10/32\"]", "[\"198.19.0.0/24\"]").replace(
        "address = \"198.18.1.1\" ",
        "nat_addresses = [\"198.19.0.0/25\"]\naddress = \"198.18.1.1\" ",
    );
    let half = report(&owned, INNER);
    let proof = &half.pairs[0].proof;
    assert_eq!((proof.flows, proof.disagreeing_flows), (FLOWS, 0));

    let all = owned.replace("\"198.19.0.0/25\"", "\"198.19.0.0/25\", \"198.19.0.128/25\"");
    let none = report(&all, INNER);
    assert_eq!(none.pairs[0].proof.flows, 0);
    assert_eq!(found(&none).0, [Kind::Networks]);

    // By longer prefixes than the inner end's default route, every host is inside.
    let whole = OUTER.replace("[\"198.19.0.0/24\", \"198.18.2.10/32\"]", "[\"0.0.0.0/1\", \"128.0.0.0/1\"]");
    let none = report(&whole, INNER);
    assert_eq!(none.pairs[0].proof.flows, 0);
    assert_eq!(found(&none).0, [Kind::Networks]);
}
