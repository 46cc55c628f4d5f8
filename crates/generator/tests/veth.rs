//! `jeoul-gen` over a veth pair, with every driver: what is sent comes, all of it, and as it should be.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;

use lab::{Capture, Direction, Link, Namespace, Testbed};
use serde_json::Value;

/// Two directions, both families, both kinds of stamp; every frame of the run fits a receive ring, so that a
/// machine that is busy elsewhere loses none.
const STREAMS: &str = r#"
[limits]
duration = "20s"
packets = 3_000

[[stream]]
name = "there"
port = "near"
receive = "far"
protocol = "udp"
imix = true
flows = 100
source = "2001:db8::/124"
destination = "2001:db8:1::1"
mode = { continuous = { rate = "30kpps" } }

[[stream]]
name = "back"
port = "far"
receive = "near"
protocol = "tcp-syn"
frame_bytes = 64
flows = 1_000
source = "198.18.0.0/30"
destination = "198.19.0.1"
mode = { burst = { packets = 50, gap = "1ms", count = 1_000 } }
"#;

const CONNECTIONS: &str = r#"
[limits]
duration = "20s"
packets = 500

[[stream]]
name = "handshakes"
port = "near"
receive = "far"
protocol = "tcp-handshake"
flows = 1_000
source = "198.18.0.0/24"
destination = "198.19.0.1"
mode = { continuous = { rate = "5kpps" } }

[[stream]]
name = "requests"
port = "near"
receive = "far"
protocol = "tcp-data"
close = "rst"
frame_bytes = 200
flows = 1_000
source = "2001:db8::/64"
destination = "2001:db8:1::1"
mode = { continuous = { rate = "5kpps" } }
"#;

/// Long enough that all are open at once, and asked, on a machine that is busy elsewhere.
const HELD: &str = r#"
[limits]
duration = "10s"
packets = 40_000

[[stream]]
name = "held"
port = "near"
receive = "far"
protocol = "tcp-handshake"
frame_bytes = 128
flows = 2_000
source = "198.18.0.0/24"
destination = "198.19.0.1"
timeout = "500ms"
hold = "500ms"
exchange = "300ms"
mode = { burst = { packets = 2_000, gap = "1ms", count = 1, rate = "10kpps" } }
"#;

/// One direction alone, whatever becomes of it.
const ONE_WAY: &str = r#"
[limits]
duration = "20s"
packets = 600

[[stream]]
name = "udp"
port = "near"
protocol = "udp"
imix = true
flows = 6
source = "198.18.0.0/30"
source_ports = "65533-65535"
destination = "198.19.0.1"
destination_port = 53
destination_mac = "02:00:00:00:00:99"
mode = { continuous = { rate = "20kpps" } }
"#;

/// Both ends of a link in one namespace, where the generator has them both.
struct Bed {
    testbed: Testbed,
    inside: Namespace,
    link: Link,
}

impl Bed {
    fn new(label: &str) -> Option<Self> {
        if let Err(why) = Testbed::check_machine() {
            eprintln!("skipped: {why}");
            return None;
        }
        let testbed = Testbed::new(label).unwrap();
        let inside = testbed.namespace("gen").unwrap();
        let link = testbed.link((&inside, "near0"), (&inside, "far0")).unwrap();
        // The kernel would announce itself.
        [&link.first, &link.second].into_iter().for_each(|end| end.silence_ipv6().unwrap());
        Some(Self { testbed, inside, link })
    }

    /// Runs a profile to its end and reads its report.
    fn run(&self, profile: &str, driver: &str, ports: &[&str]) -> Value {
        let path = self.testbed.directory().join("profile.toml");
        fs::write(&path, profile).unwrap();
        let mut arguments = vec![path.to_str().unwrap(), "--driver", driver, "--json", "--quiet"];
        ports.iter().for_each(|port| arguments.extend(["--port", port]));
        let output = self.inside.output(env!("CARGO_BIN_EXE_jeoul-gen"), &arguments).unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

const BOTH: [&str; 2] = ["near=near0", "far=far0"];

fn numbers<const N: usize>(of: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| of[name].as_u64().unwrap())
}

#[test]
fn all_that_is_sent_comes_back_once_and_in_order() {
    let Some(bed) = Bed::new("gen-all") else { return };
    for driver in ["live", "af_xdp", "af_packet"] {
        let report = bed.run(STREAMS, driver, &BOTH);
        assert_eq!([&report["ports"][0]["driver"], &report["ports"][1]["driver"]], [driver; 2], "{report}");
        let streams = report["streams"].as_array().unwrap();
        for stream in streams.iter().chain([&report["totals"]]) {
            let [transmitted, received] = numbers(stream, ["transmitted", "received"]);
            assert!(transmitted > 100 && received == transmitted, "{report}");
            assert_eq!(numbers(stream, ["lost", "reordered", "duplicated"]), [0; 3], "{report}");
            assert_eq!(stream["bytes_received"], stream["bytes_transmitted"], "{report}");
        }
        assert_eq!(numbers(&report["totals"], ["transmitted"]), [3_000]);
        assert_eq!(report["limited_by"], "packets");
        assert_eq!(report["unknown_received"], 0);
        // A SYN of 64 bytes has no room for a time.
        let latency = &streams[0]["latency_ns"];
        assert_eq!(latency["count"], streams[0]["received"]);
        assert!(latency["min"].as_u64() > Some(0) && latency["p50"].as_u64() <= latency["max"].as_u64());
        assert_eq!(streams[1]["latency_ns"], Value::Null);
    }
}

#[test]
fn connections_open_and_requests_are_answered() {
    let Some(bed) = Bed::new("gen-tcp") else { return };
    for driver in ["af_xdp", "af_packet"] {
        let report = bed.run(CONNECTIONS, driver, &BOTH);
        let streams = report["streams"].as_array().unwrap();
        let counts = [0, 1].map(|at| numbers(&streams[at], ["connections_opened", "connections_failed"]));
        let [[handshakes, 0], [requests, 0]] = counts else { panic!("{report}") };
        assert_eq!(handshakes + requests, 50);
        // SYN, ACK, FIN, ACK against SYN, ACK, request, RST; two answers each.
        assert_eq!(numbers(&report["totals"], ["transmitted", "received"]), [200, 100], "{report}");
        assert_eq!(report["totals"]["latency_ns"]["count"], 50);
    }
    // Held: SYN, ACK, FIN, ACK and two answers for each; each question is answered, and the answer acknowledged, be it
    // by the FIN.
    let report = bed.run(HELD, "af_xdp", &BOTH);
    let totals = &report["totals"];
    let names =
        ["begun", "opened", "held_most", "closed", "held", "failed"].map(|of| format!("connections_{of}"));
    let counts = names.each_ref().map(|name| totals[name].as_u64().unwrap());
    assert_eq!(counts, [2_000, 2_000, 2_000, 2_000, 0, 0], "{report}");
    let [transmitted, received] = numbers(totals, ["transmitted", "received"]);
    let (exchanges, said) = (received - 4_000, transmitted - 8_000);
    assert!(exchanges > 2_000 && (2 * exchanges - 100..=2 * exchanges).contains(&said), "{report}");
    let seconds = report["seconds"].as_array().unwrap();
    let sum = |of: &str| seconds.iter().map(|second| second[of].as_u64().unwrap()).sum::<u64>();
    assert_eq!(["begun", "opened", "closed", "failed"].map(sum), [2_000, 2_000, 2_000, 0], "{report}");
    assert_eq!(seconds.last().unwrap()["held"], 0);
}

#[test]
fn frames_are_right_on_the_wire() {
    let Some(bed) = Bed::new("gen-wire") else { return };
    // So that a veth takes live frames with nobody at its end but the kernel.
    bed.inside.output("ethtool", &["-K", "far0", "gro", "on"]).unwrap();
    let sources: BTreeSet<(String, u16)> = ["198.18.0.1", "198.18.0.2"]
        .into_iter()
        .flat_map(|address| [65_533, 65_534, 65_535].map(|port| (address.to_owned(), port)))
        .collect();
    for driver in ["live", "af_packet"] {
        let capture = Capture::start(&bed.link.second, driver, Direction::In).unwrap();
        let report = bed.run(ONE_WAY, driver, &["near=near0"]);
        assert_eq!(report["ports"][0]["driver"], driver);
        let mut captured = capture.stop().unwrap();
        assert_eq!(captured.dropped_by_kernel, 0);
        captured.frames.retain(|frame| frame.packet().is_some());
        assert_eq!(captured.verify_checksums().unwrap(), 600, "{driver}");
        let sizes = |bytes: usize| captured.frames.iter().filter(|frame| frame.bytes.len() == bytes).count();
        assert_eq!([60, 590, 1_514].map(sizes), [350, 200, 50], "{driver}");
        let packets: Vec<_> = captured.packets().collect();
        let seen = packets.iter().map(|packet| (packet.source.to_string(), packet.ports.unwrap().0));
        assert_eq!(seen.collect::<BTreeSet<_>>(), sources, "{driver}");
        assert!(packets.iter().all(|packet| packet.destination_mac.0 == [2, 0, 0, 0, 0, 0x99]));
        assert_eq!(numbers(&report["totals"], ["transmitted", "lost"]), [600, 600], "{report}");
    }
}
