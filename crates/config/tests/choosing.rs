//! Files that are right about choosing servers and checking them: what they mean.

use std::time::Duration;

use config::{
    CheckKind, Config, HashFields, HttpRequest, OnDown, Passive, Persistence, Probe, Scheduler, StatusRange,
    TlsRequest, UdpRequest, parse,
};
use proptest::prelude::*;

const PORT: &str = "[[port]]\nname = \"p\"\ninterface = \"eth1\"\n";

fn valid(text: &str) -> Config {
    let outcome = parse(&format!("{PORT}{text}"), "lb.toml");
    assert_eq!(outcome.diagnostics, [], "{text}");
    outcome.config.expect("a file without a finding is a configuration")
}

/// A service at `vip` with these keys, and two servers, the second with those.
fn service(vip: &str, keys: &str, server_keys: &str) -> String {
    let real = if vip.contains(':') { "2001:db8:1::1" } else { "198.18.1.1" };
    let mut text = format!("[[service]]\nname = \"{vip}\"\naddress = \"{vip}\"\nmode = \"routed\"\n{keys}\n");
    for (last, keys) in [("1", ""), ("2", server_keys)] {
        text += &format!("[[service.server]]\naddress = \"{real}{last}\"\n{keys}\n");
    }
    text
}

/// What is asked by a check with these keys, if it is right.
fn probe(keys: &str) -> Option<Probe> {
    let outcome = parse(&format!("{PORT}[[health_check]]\nname = \"c\"\n{keys}\n"), "lb.toml");
    outcome.config.map(|config| config.health_checks[0].probe.clone())
}

fn http(keys: &str) -> Option<HttpRequest> {
    match probe(&format!("kind = \"http\"\n{keys}")) {
        Some(Probe::Http(request)) => Some(request),
        None => None,
        Some(other) => panic!("{other:?}"),
    }
}

/// `text` as TOML writes any.
fn quoted(text: &str) -> String {
    text.chars().map(|letter| format!("\\U{:08x}", letter as u32)).collect()
}

#[test]
fn every_scheduler_has_its_word() {
    for (word, scheduler) in [
        ("round-robin", Scheduler::RoundRobin),
        ("weighted-round-robin", Scheduler::WeightedRoundRobin),
        ("least-connections", Scheduler::LeastConnections),
        ("weighted-least-connections", Scheduler::WeightedLeastConnections),
        ("hash", Scheduler::Hash),
        ("response-time", Scheduler::ResponseTime),
        ("bandwidth", Scheduler::Bandwidth),
    ] {
        let config = valid(&service("198.18.0.10", &format!("scheduler = \"{word}\""), ""));
        assert_eq!(config.services[0].scheduler, scheduler);
    }
    let keys = "scheduler = \"hash\"\nhash_fields = [\"source-mac\"]";
    let none = HashFields { source_address: false, ..HashFields::default() };
    let config = valid(&service("198.18.0.10", keys, ""));
    assert_eq!(config.services[0].hash_fields, HashFields { source_mac: true, ..none });
}

#[test]
fn choosing_is_as_the_service_says() {
    let keys = r#"
persistence = { key = "source-address", prefix_length = 24, timeout = "5m" }
slow_start = "30s"
quorum = 2
on_down = "keep"
passive = { failures = 5, window = "10s" }
health_check = "c"
[[health_check]]
name = "c"
kind = "tcp""#;
    let (keys, check) = keys.split_at(keys.find("[[").expect("a check"));
    let backup = "[[service.server]]\naddress = \"198.18.1.13\"\nbackup = true\n";
    let config = valid(&(service("198.18.0.10", keys, "max_sessions = 9") + backup + check));
    let service = &config.services[0];
    let seconds = Duration::from_secs;
    assert_eq!(service.persistence, Some(Persistence { prefix_length: 24, timeout: seconds(300) }));
    assert_eq!((service.slow_start, service.quorum, service.on_down), (Some(seconds(30)), 2, OnDown::Keep));
    assert_eq!(service.passive, Some(Passive { failures: 5, window: seconds(10) }));
    let said = |index: usize| (service.servers[index].max_sessions, service.servers[index].is_backup);
    assert_eq!([said(0), said(1), said(2)], [(None, false), (Some(9), false), (None, true)]);
    assert_eq!(valid("[appliance]\npersistence_capacity = 2_048").appliance.persistence_capacity, 2_048);
}

#[test]
fn persistence_is_by_the_whole_address_unless_told_otherwise() {
    for (vip, bits) in [("198.18.0.10", 32), ("2001:db8::10", 128)] {
        for (keys, prefix_length) in [("", bits), ("prefix_length = 1,", 1)] {
            let config = valid(&service(vip, &format!("persistence = {{ {keys} timeout = \"1s\" }}"), ""));
            let persistence = Persistence { prefix_length, timeout: Duration::from_secs(1) };
            assert_eq!(config.services[0].persistence, Some(persistence));
        }
    }
    // A table of its own says the same.
    let text = service("198.18.0.10", "[service.persistence]\ntimeout = \"1m\"", "");
    assert_eq!(valid(&text).services[0].persistence.expect("persistence").timeout, Duration::from_secs(60));
}

#[test]
fn every_kind_of_check_has_its_defaults() {
    let range = |first, last| StatusRange { first, last };
    let http = HttpRequest {
        path: "/".into(),
        host: None,
        tls: false,
        expect_status: vec![range(200, 299)],
        expect_body: None,
    };
    for (keys, expected, kind) in [
        ("kind = \"icmp\"", Probe::Icmp, CheckKind::Icmp),
        ("kind = \"tcp\"", Probe::Tcp, CheckKind::Tcp),
        ("kind = \"tcp-half-open\"", Probe::TcpHalfOpen, CheckKind::TcpHalfOpen),
        ("kind = \"http\"", Probe::Http(http.clone()), CheckKind::Http),
        ("kind = \"udp\"", Probe::Udp(UdpRequest { send: vec![], expect_reply: None }), CheckKind::Udp),
        ("kind = \"tls\"", Probe::Tls(TlsRequest { server_name: None }), CheckKind::Tls),
    ] {
        assert_eq!(probe(keys), Some(expected.clone()));
        assert_eq!(expected.kind(), kind);
    }
    let said = HttpRequest {
        path: "/health?deep=1".into(),
        host: Some("www.example:8080".into()),
        tls: true,
        expect_status: vec![range(200, 299), range(301, 301), range(302, 302), range(100, 599)],
        expect_body: Some("준비\n".into()),
    };
    let keys = r#"
kind = "http"
path = "/health?deep=1"
host = "www.example:8080"
tls = true
expect_status = ["200-299", 301, "302", "100-599"]
expect_body = "준비\n""#;
    assert_eq!(probe(keys), Some(Probe::Http(said)));
    let keys = "kind = \"udp\"\nsend = \"\u{e9}\\n\"\nexpect_reply = { hex = \"00 fF\\n0d0a\" }";
    let udp = UdpRequest { send: vec![0xc3, 0xa9, 0x0a], expect_reply: Some(vec![0x00, 0xff, 0x0d, 0x0a]) };
    assert_eq!(probe(keys), Some(Probe::Udp(udp)), "a text is its UTF-8, hexadecimal digits any bytes");
    let tls = TlsRequest { server_name: Some("_sip.www-1.Example".into()) };
    assert_eq!(probe("kind = \"tls\"\nserver_name = \"_sip.www-1.Example\""), Some(Probe::Tls(tls)));
}

#[test]
fn texts_of_checks_end_where_they_are_bounded() {
    type Written = fn(usize) -> String;
    let bounds: [(&str, &str, Written, usize); 7] = [
        ("http", "path", |bytes| format!("\"/{}\"", "x".repeat(bytes - 1)), 1_024),
        ("http", "expect_body", |bytes| format!("\"{}\"", "x".repeat(bytes)), 1_024),
        // Labels of 49 letters; what is left is the last of them, of less than 64.
        ("http", "host", |bytes| format!("\"{}:65535\"", name(bytes - 6)), 259),
        ("tls", "server_name", |bytes| format!("\"{}\"", name(bytes)), 253),
        ("udp", "send", |bytes| format!("\"{}\"", "x".repeat(bytes)), 1_400),
        ("udp", "send", |bytes| format!("{{ hex = \"{}\" }}", "0f".repeat(bytes)), 1_400),
        ("udp", "expect_reply", |bytes| format!("\"{}\"", "x".repeat(bytes)), 1_400),
    ];
    for (kind, key, value, bytes_max) in bounds {
        let is_right = |bytes| probe(&format!("kind = \"{kind}\"\n{key} = {}", value(bytes))).is_some();
        assert!(is_right(bytes_max), "{key} of {bytes_max} bytes");
        assert!(!is_right(bytes_max + 1), "{key} of {} bytes", bytes_max + 1);
    }
    let label = |bytes: usize| probe(&format!("kind = \"tls\"\nserver_name = \"{}.x\"", "x".repeat(bytes)));
    assert!(label(63).is_some() && label(64).is_none());
    let codes = |count: u16| (0..count).map(|code| (100 + code).to_string()).collect::<Vec<_>>().join(", ");
    assert!(http(&format!("expect_status = [{}]", codes(32))).is_some());
    assert!(http(&format!("expect_status = [{}]", codes(33))).is_none());
}

/// The name of a host, of so many bytes.
fn name(bytes: usize) -> String {
    (1..=bytes).map(|index| if index % 50 == 0 && bytes - index > 1 { '.' } else { 'x' }).collect()
}

/// Any number, or one about the bounds of status codes.
fn code() -> impl Strategy<Value = u16> {
    prop_oneof![0_u16..1_000, 97_u16..103, 597_u16..603]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a file says, a request has the lines that we wrote, and no others.
    #[test]
    fn nothing_that_goes_into_a_request_breaks_out_of_its_line(
        text in "[a-z0-9/.:%\\[\\]-]{1,12}[\r\n\t \u{0}\u{7f}\u{85}\u{2028}é\"#a]?[a-z0-9.:/]{0,6}|.{0,12}",
    ) {
        let is_safe = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let written = quoted(&text);
        if let Some(request) = http(&format!("path = \"{written}\"")) {
            prop_assert!(is_safe(&text) && text.starts_with('/') && request.path == text);
        }
        if let Some(request) = http(&format!("path = \"/{written}\"")) {
            prop_assert!(text.is_empty() || is_safe(&text) && request.path[1..] == text);
        }
        if let Some(request) = http(&format!("host = \"{written}\"")) {
            prop_assert!(is_safe(&text) && !text.contains(['/', '@', '#']) && request.host == Some(text.clone()));
        }
        if let Some(Probe::Tls(request)) = probe(&format!("kind = \"tls\"\nserver_name = \"{written}\"")) {
            prop_assert!(is_safe(&text) && !text.contains(['/', ':', '[']) && text.parse::<std::net::IpAddr>().is_err());
            prop_assert_eq!(request.server_name, Some(text));
        }
    }

    #[test]
    fn a_status_is_taken_if_and_only_if_it_is_in_bounds(first in code(), last in code()) {
        let statuses = |item: &str| http(&format!("expect_status = [{item}]")).map(|request| request.expect_status);
        let right = |first, last| {
            (100 <= first && first <= last && last <= 599).then(|| vec![StatusRange { first, last }])
        };
        prop_assert_eq!(statuses(&format!("\"{first}-{last}\"")), right(first, last));
        prop_assert_eq!(statuses(&format!("\"{first}\"")), right(first, first));
        prop_assert_eq!(statuses(&first.to_string()), right(first, first));
    }

    #[test]
    fn any_payload_can_be_written(
        bytes in prop::collection::vec(any::<u8>(), 1..=40),
        spaces in prop::collection::vec(prop::sample::select(vec!["", " ", "  ", "\\n", "\\t"]), 40),
        text in "\\PC{1,20}",
    ) {
        let hex: String = bytes.iter().zip(spaces).map(|(byte, space)| format!("{byte:02x}{space}")).collect();
        let keys = format!("kind = \"udp\"\nsend = {{ hex = \"{hex}\" }}\nexpect_reply = \"{}\"", quoted(&text));
        let expect_reply = Some(text.into_bytes());
        prop_assert_eq!(probe(&keys), Some(Probe::Udp(UdpRequest { send: bytes, expect_reply })));
    }
}
