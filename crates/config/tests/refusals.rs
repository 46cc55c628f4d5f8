//! Files that are wrong: every finding word for word, with its place.
//!
//! `refusals.txt` holds the cases, one paragraph each: lines of a file, then the findings behind `>`. A
//! heading says what stands around the lines of the cases below it.

use config::{Diagnostic, parse};

const CASES: &str = include_str!("refusals.txt");
/// Lines 1 to 3 of most cases: a file needs a port.
const PORT: &str = "[[port]]\nname = \"p\"\ninterface = \"eth1\"\n";
/// Lines 4 to 7 of the cases about services.
const SERVICE: &str = "[[service]]\nname = \"web\"\naddress = \"198.18.0.10\"\nmode = \"routed\"\n";
/// The end of that service.
const SERVER: &str = "[[service.server]]\naddress = \"198.18.1.11\"\n";
/// Above the cases about a health check, which end up from line 14 on: a service that asks by TCP or UDP.
const CHECK: &str = "protocol = \"any\"\nhealth_check = \"c\"\n[[service.server]]\naddress = \"198.18.1.11\"\n\
                     [[health_check]]\nname = \"c\"\n";

/// What stands above and below the lines of a case.
fn frame(heading: &str) -> (String, &'static str) {
    match heading.split(" (").next() {
        Some("alone") => (String::new(), ""),
        Some("below a port") => (PORT.to_owned(), ""),
        Some("in a service") => (format!("{PORT}{SERVICE}"), SERVER),
        Some("below a service") => (format!("{PORT}{SERVICE}{SERVER}"), ""),
        Some("in a health check") => (format!("{PORT}{SERVICE}{CHECK}"), ""),
        _ => panic!("no such heading: {heading}"),
    }
}

#[test]
fn every_refusal_says_where_what_and_what_would_be_right() {
    let (mut above, mut below) = frame("alone");
    let mut cases = 0;
    for paragraph in CASES.split("\n\n").map(str::trim_end) {
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
