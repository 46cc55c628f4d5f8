//! The binary as a user meets it: what it says, where it says it, and its exit status.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A file of this process's own, removed at the end of the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("jeoul-cli-{}-{name}.toml", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn jeoul(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jeoul"));
    command.args(words).env_remove("JEOUL_SOCKET").env_remove("JEOUL_LOG").output().unwrap()
}

/// Exit status, standard output, standard error.
fn said(words: &[&str]) -> (i32, String, String) {
    let output = jeoul(words);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// No machine has these interfaces.
const VALID: &str = "\
[appliance]
workers = [0]
control_cpu = 0
[[port]]
name = \"outside\"
interface = \"jeoul-none-1\"
[[port]]
name = \"inside\"
interface = \"jeoul-none-2\"
[[service]]
name = \"web\"
address = \"198.18.0.10\"
protocol = \"tcp\"
port = 80
mode = \"routed\"
[[service.server]]
address = \"198.18.1.11\"
";

#[test]
fn a_valid_file_is_told_so_with_its_warnings_aside() {
    let file = File::new("valid", VALID);
    let (status, stdout, stderr) = said(&["check", "--offline", file.name()]);
    let verdict =
        format!("{}: valid: 2 ports, 1 service, 1 server, 0 health checks; 1 warning\n", file.name());
    assert_eq!((status, stdout), (0, verdict), "{stderr}");
    assert!(stderr.starts_with("warning[W0303]:"), "{stderr}");
}

#[test]
fn strictness_makes_a_warning_an_error() {
    let file = File::new("strict", VALID);
    let (status, stdout, _) = said(&["check", "--offline", "--strict", file.name()]);
    assert_eq!(status, 2);
    assert_eq!(stdout, format!("{}: 1 error (--strict: warnings count)\n", file.name()));
}

#[test]
fn every_error_comes_with_its_place_in_one_pass() {
    let text = VALID.replace("mode = \"routed\"", "mode = \"rooted\"").replace("port = 80", "prot = 80");
    let file = File::new("wrong", &text);
    let (status, stdout, stderr) = said(&["check", "--offline", file.name()]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stdout.starts_with(&format!("{}: ", file.name())) && stdout.contains("errors"), "{stdout}");
    for part in [":14:1", "unknown key \"prot\"", "did you mean `port`?", ":15:8", "^^^^^^^^"] {
        assert!(stderr.contains(part), "{part} in\n{stderr}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_wrong_input() {
    let (status, _, stderr) = said(&["check", "/nonexistent/jeoul.toml"]);
    assert_eq!(status, 2);
    assert!(stderr.contains("cannot read the file"), "{stderr}");
}

#[test]
fn this_machine_is_asked_about_interfaces_and_cpus() {
    let file = File::new("machine", &VALID.replace("workers = [0]", "workers = [1000]"));
    let (status, _, stderr) = said(&["check", file.name()]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("warning[W0501]: interface jeoul-none-1 does not exist here"), "{stderr}");
    assert!(stderr.contains("error[E0504]: CPU 1000 does not exist"), "{stderr}");
    let (status, _, stderr) = said(&["check", "--offline", file.name()]);
    assert_eq!(status, 0, "{stderr}");
    assert!(!stderr.contains("W0501"), "{stderr}");
}

#[test]
fn a_wrong_file_starts_nothing() {
    let file = File::new("run", VALID);
    let (status, stdout, stderr) = said(&["run", "--config", file.name()]);
    assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("error[E0501]: interface jeoul-none-1 does not exist here"), "{stderr}");
    assert!(stderr.contains("error[E0501]: interface jeoul-none-2 does not exist here"), "{stderr}");
}

#[test]
fn without_an_appliance_its_commands_say_so() {
    let socket = std::env::temp_dir().join(format!("jeoul-cli-{}-none.sock", std::process::id()));
    let socket = socket.to_str().unwrap();
    for words in [
        vec!["show", "status", "--json"],
        vec!["show", "sessions"],
        vec!["reload"],
        vec!["server", "drain", "web", "198.18.1.11"],
    ] {
        let (status, stdout, stderr) = said(&[&words[..], &["--socket", socket]].concat());
        assert_eq!((status, stdout.as_str()), (1, ""), "{words:?}");
        let expected = format!("jeoul: no appliance is running at {socket} (--socket names another path)\n");
        assert_eq!(stderr, expected, "{words:?}");
    }
}

#[test]
fn what_is_not_built_is_wrong_input() {
    let (status, _, stderr) = said(&["show", "firewalls"]);
    assert_eq!(status, 2);
    assert_eq!(stderr, "jeoul: `show firewalls` is not built in this version\n");
}

#[test]
fn a_wrong_command_line_is_wrong_input_and_help_is_not() {
    assert_eq!(said(&["show", "everything"]).0, 2);
    assert_eq!(said(&["server", "drain", "web", "not-an-address"]).0, 2);
    assert_eq!(said(&[]).0, 2);
    let (status, stdout, _) = said(&["lab", "--help"]);
    assert_eq!(status, 0);
    for lab in ["slb-routed", "slb-groups", "transparent-inline", "l3-dsr", "one-arm-routed", "traps"] {
        assert!(stdout.contains(lab), "{stdout}");
    }
}
