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
        vec!["explain", "198.18.0.50:40000", "198.18.0.10:80/tcp"],
        vec!["show", "firewalls"],
        vec!["firewall", "drain", "fw", "fw1"],
        vec!["reload"],
        vec!["server", "drain", "web", "198.18.1.11"],
        vec!["real-server", "web", "--os", "debian"],
    ] {
        let (status, stdout, stderr) = said(&[&words[..], &["--socket", socket]].concat());
        assert_eq!((status, stdout.as_str()), (1, ""), "{words:?}");
        let expected = format!("jeoul: no appliance is running at {socket} (--socket names another path)\n");
        assert_eq!(stderr, expected, "{words:?}");
    }
}

#[test]
fn the_set_up_of_a_real_server_is_read_from_a_file_too() {
    let dsr = VALID.replace("mode = \"routed\"", "mode = \"l2-dsr\"");
    let file = File::new("real-server", &dsr);
    let print = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        said(&[&["real-server", "web", "--config", file.name()][..], &words].concat())
    };
    for (os, part) in [("debian", "interfaces.d"), ("rhel", "ifcfg-lo"), ("windows", "weakhostsend")] {
        let (status, stdout, stderr) = print(&format!("--os {os}"));
        assert_eq!((status, stderr.as_str()), (0, ""), "{os}");
        assert!(stdout.contains(part) && stdout.contains("198.18.0.10"), "{stdout}");
        let (_, undo, _) = print(&format!("--os {os} --undo"));
        assert!(undo.len() < stdout.len() && stdout.ends_with(&undo), "{undo}");
    }
    let (status, stdout, stderr) = print("--os debian --interface $(id)");
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(stderr.starts_with("jeoul: --interface \"$(id)\" is no interface"), "{stderr}");
    let routed = File::new("real-server-routed", VALID);
    let (status, stdout, stderr) = said(&["real-server", "web", "--os", "debian", "--config", routed.name()]);
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(stderr.contains("service \"web\" is of mode \"routed\""), "{stderr}");
    let wrong = File::new("real-server-wrong", "[[port]]\n");
    let (status, _, stderr) = said(&["real-server", "web", "--os", "debian", "--config", wrong.name()]);
    assert_eq!(status, 2);
    assert!(stderr.contains("error[E0103]"), "{stderr}");
}

#[test]
fn a_flow_that_is_none_is_wrong_input_whether_an_appliance_runs_or_not() {
    for (source, destination, words) in [
        ("198.18.0.50", "198.18.0.10:80/tcp", "198.18.0.50 needs a port"),
        ("198.18.0.50:40000", "[2001:db8::10]:80/tcp", "two families"),
        ("198.18.0.50:40000", "198.18.0.10:80/sctp", "asked about without ports"),
        ("198.18.0.50:40000", "198.18.0.10:80/quic", "protocol"),
        ("198.18.0.50:40000", "198.18.0.10:80", "a protocol is wanted"),
    ] {
        let (status, stdout, stderr) = said(&["explain", source, destination]);
        assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}

#[test]
fn a_wrong_command_line_is_wrong_input_and_help_is_not() {
    assert_eq!(said(&["show", "everything"]).0, 2);
    assert_eq!(said(&["server", "drain", "web", "not-an-address"]).0, 2);
    assert_eq!(said(&[]).0, 2);
    let (status, stdout, _) = said(&["lab", "--help"]);
    assert_eq!(status, 0);
    for lab in [
        "slb-routed",
        "slb-groups",
        "transparent-inline",
        "l3-dsr",
        "one-arm-routed",
        "traps",
        "fwlb-sandwich",
    ] {
        assert!(stdout.contains(lab), "{stdout}");
    }
}

/// An example of `configs/`.
fn example(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_two_ends_of_the_sandwich_agree() {
    let (outer, inner) = (example("fwlb-outer.toml"), example("fwlb-inner.toml"));
    let words = ["fwlb", "verify", &outer, &inner, "--flows", "6000", "--seed", "7"];
    let (status, stdout, stderr) = said(&words);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    for part in [
        "to-inside (outer) and to-outside (inner): 3 names and 6 far addresses in common\n",
        "6000 at random, seed 7: both ends place each on the same firewall, in both directions\n",
        "each moves its own flows alone, both ends agree where to, and on return all come back\n",
        "FIREWALL  WEIGHT  FLOWS   SHARE  IF IT FAILS, THEY GO TO\n",
        "The two ends agree.\n",
    ] {
        assert!(stdout.contains(part), "{part} in\n{stdout}");
    }
    let (status, stdout, _) = said(&[&words[..], &["--json"]].concat());
    assert_eq!(status, 0);
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["agree"], &report["seed"]), (&true.into(), &7.into()));
    assert_eq!(report["pairs"][0]["flows"], 6000);
    assert_eq!(report["pairs"][0]["firewalls"][0]["name"], "fw1");
    // Without a seed each run draws its own, and says which.
    let seeds = [(); 2].map(|()| {
        let (_, stdout, _) = said(&["fwlb", "verify", &outer, &inner, "--flows", "1", "--json"]);
        serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["seed"].clone()
    });
    assert_ne!(seeds[0], seeds[1]);
}

#[test]
fn two_ends_that_do_not_agree_are_told_apart_from_files_that_are_none() {
    let outer = example("fwlb-outer.toml");
    let text = fs::read_to_string(example("fwlb-inner.toml")).unwrap();
    let verify = |name: &str, text: &str, more: &[&str]| {
        let inner = File::new(name, text);
        said(&[&["fwlb", "verify", &outer, inner.name(), "--flows", "600"][..], more].concat())
    };
    let key = "ffffffffffffffffffffffffffffffff";
    let other_key = text.replace("000102030405060708090a0b0c0d0e0f", key);
    let (status, stdout, stderr) = verify("other-key", &other_key, &[]);
    assert_eq!(status, 1);
    assert!(stdout.ends_with("The two ends do not agree.\n"), "{stdout}");
    assert!(stderr.starts_with("error: the `hash_key` of the two ends is not the same\n"), "{stderr}");
    assert!(stderr.contains("error: to-inside and to-outside: "), "{stderr}");
    assert!(!format!("{stdout}{stderr}").contains(key));
    let (status, stdout, stderr) = verify("other-key-json", &other_key, &["--json"]);
    assert_eq!((status, stderr.as_str()), (1, ""));
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["findings"][0]["kind"], "key");

    let (status, stdout, stderr) = verify("no-groups", VALID, &[]);
    assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("there is no `[[firewall_group]]` in it"), "{stderr}");
    let (status, stdout, stderr) = verify("broken", &text.replace("far_address", "fur"), &[]);
    assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("unknown key \"fur\""), "{stderr}");
    let (status, ..) = said(&["fwlb", "verify", &outer, "/nonexistent/inner.toml"]);
    assert_eq!(status, 2);
}
