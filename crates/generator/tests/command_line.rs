//! What `jeoul-gen` refuses before it touches anything.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

const UDP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/generator/udp-64.toml");

/// Exit status and complaint.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_jeoul-gen")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn wrong_input_ends_with_two_and_says_why() {
    for (arguments, why) in [
        (&[UDP][..], "--port"),
        (&[UDP, "--port", "client=none0"], "port \"server\" has no interface"),
        (&[UDP, "--port", "client=none0", "--port", "server=none1", "--port", "x=none2"], "no such port"),
        (&[UDP, "--port", "client=none0", "--port", "client=none1"], "twice"),
        (&[UDP, "--port", "client"], "NAME=VALUE"),
        (&[UDP, "--port", "client=none0", "--port", "server=none1", "--cpu", "0,0,0"], "one for each"),
        (&[UDP, "--port", "client=none0", "--port", "server=none1", "--rate", "5"], "write a rate"),
        (&[UDP, "--port", "client=none0", "--port", "server=none1", "--packets", "0"], "--packets"),
        (&["/none.toml", "--port", "client=none0"], "cannot read"),
    ] {
        let (status, complaint) = refused(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(why), "{arguments:?}: {complaint}");
    }
}

#[test]
fn a_run_without_a_bound_ends_with_two() {
    let path = std::env::temp_dir().join(format!("jeoul-gen-{}.toml", std::process::id()));
    let text = std::fs::read_to_string(UDP).unwrap();
    let (head, streams) = text.split_once("[[stream]]").unwrap();
    assert!(head.contains("packets"));
    std::fs::write(&path, format!("[[stream]]{streams}")).unwrap();
    let ports = ["--port", "client=none0", "--port", "server=none1"];
    let with = |more: &[&str]| refused(&[&[path.to_str().unwrap()][..], &ports, more].concat());
    let (in_time, in_packets) = (with(&["--packets", "1"]), with(&["--duration", "1s"]));
    // With both it goes on, to interfaces that are not there.
    let both = with(&["--packets", "1", "--duration", "1s"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(in_time.0, Some(2));
    assert!(in_time.1.contains("no bound in duration"), "{}", in_time.1);
    assert_eq!(in_packets.0, Some(2));
    assert!(in_packets.1.contains("no bound in packets"), "{}", in_packets.1);
    assert_eq!(both.0, Some(1), "{}", both.1);
}
