//! Files that are wrong: every finding word for word, with its place.
//!
//! `refusals.txt`, and `refusals-firewalls.txt` for what firewall groups need, hold the cases, one paragraph each:
//! lines of a file, then the findings behind `>`. A heading says what stands around the lines of the cases below it.

use config::{Diagnostic, parse};

const CASES: [&str; 2] = [include_str!("refusals.txt"), include_str!("refusals-firewalls.txt")];
/// Lines 1 to 3 of most cases: a file needs a port.
const PORT: &str = "[[port]]\nname = \"p\"\ninterface = \"eth1\"\n";
/// Lines 4 to 7 of the cases about services.
const SERVICE: &str = "[[service]]\nname = \"web\"\naddress = \"198.18.0.10\"\nmode = \"routed\"\n";
/// The end of that service.
const SERVER: &str = "[[service.server]]\naddress = \"198.18.1.11\"\n";
/// Above the cases about a health check, which end up from line 14 on: a service that asks by TCP or UDP.
const CHECK: &str = "protocol = \"any\"\nhealth_check = \"c\"\n[[service.server]]\naddress = \"198.18.1.11\"\n\
                     [[health_check]]\nname = \"c\"\n";
/// Lines 1 to 11 of the cases about firewalls; a port is in lines 12 to 14.
const PATHS: &str = r#"[appliance]
hash_key = "000102030405060708090a0b0c0d0e0f"
[[health_check]]
name = "path"
kind = "icmp"
[[probe_responder]]
address = "198.18.1.101"
firewall = "fw1"
[[probe_responder]]
address = "198.18.1.102"
firewall = "fw2"
"#;
/// Lines 15 to 18: the beginning of a firewall group.
const GROUP: &str =
    "[[firewall_group]]\nname = \"fw\"\nnetworks = [\"198.19.0.0/24\"]\nhealth_check = \"path\"\n";
/// The end of that group.
const FIREWALLS: &str = r#"[[firewall_group.firewall]]
name = "fw1"
address = "198.18.1.1"
far_address = "198.18.2.101"
[[firewall_group.firewall]]
name = "fw2"
address = "198.18.1.2"
far_address = "198.18.2.102"
"#;

/// What stands above and below the lines of a case.
fn frame(heading: &str) -> (String, &'static str) {
    match heading.split(" (").next() {
        Some("alone") => (String::new(), ""),
        Some("below a port") => (PORT.to_owned(), ""),
        Some("in a service") => (format!("{PORT}{SERVICE}"), SERVER),
        Some("below a service") => (format!("{PORT}{SERVICE}{SERVER}"), ""),
        Some("in a health check") => (format!("{PORT}{SERVICE}{CHECK}"), ""),
        Some("beside paths") => (PATHS.to_owned(), ""),
        Some("in a firewall group") => (format!("{PATHS}{PORT}[[firewall_group]]\n"), FIREWALLS),
        Some("beside firewalls") => (format!("{PATHS}{PORT}{GROUP}{FIREWALLS}"), ""),
        _ => panic!("no such heading: {heading}"),
    }
}

#[test]
fn every_refusal_says_where_what_and_what_would_be_right() {
    let (mut above, mut below) = frame("alone");
    let mut cases = 0;
    for paragraph in CASES.iter().flat_map(|cases| cases.split("\n\n")).map(str::trim_end) {
        if let Some(heading) = paragraph.strip_prefix("== ") {
            (above, below) = frame(heading);
            continue;
        }
        let (expected, lines): (Vec<&str>, Vec<&str>) =
            paragraph.lines().partition(|line| line.starts_with("> "));
        let text = format!("{above}{}\n{below}", lines.join("\n"));
        let outcome = parse(&text, "f");
        let mut found: Vec<String> =
            outcome.diagnostics.iter().map(|found| format!("> {}", &found.to_string()[2..])).collect();
        if found.is_empty() {
            found.push("> nothing".to_owned());
        }
        assert_eq!(found, expected, "\n{text}");
        let errors = outcome.diagnostics.iter().any(Diagnostic::is_error);
        assert_eq!(
            outcome.config.is_none(),
            errors,
            "a configuration if and only if there is no error\n{text}"
        );
        cases += 1;
    }
    assert!(cases > 100, "{cases} cases");
}
