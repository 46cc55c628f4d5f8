//! What the design forbids, as far as a program can see it. The checker itself is tested on planted violations.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What a crate may depend on: of ours, and of others. What stands here is what the crates are for; a new line is a
/// decision about the architecture, not a formality.
const CRATES: &[(&str, &[&str], &[&str])] = &[
    ("wire", &[], &[]),
    ("port", &[], &["arrayvec"]),
    ("metrics", &[], &["crossbeam", "hdrhistogram"]),
    ("config", &[], &["serde", "toml", "annotate-snippets"]),
    ("prefetch", &[], &[]),
    ("flow", &["wire"], &["loom", "siphasher"]),
    ("rewrite", &["wire", "flow"], &[]),
    ("session", &["flow", "prefetch"], &["arrayvec", "bytemuck", "crossbeam", "loom", "wide"]),
    ("plan", &["wire", "flow", "rewrite"], &["hashbrown", "loom"]),
    (
        "engine",
        &["wire", "flow", "session", "plan", "rewrite", "port", "metrics"],
        &["crossbeam", "arrayvec"],
    ),
    (
        "control",
        &["config", "plan", "session", "metrics", "wire", "rewrite", "flow", "engine"],
        &[
            "mio",
            "hashbrown",
            "netlink-packet-core",
            "netlink-packet-route",
            "netlink-sys",
            "pnet",
            "crossbeam",
            "serde",
            "serde_json",
            "tracing",
            "signal-hook",
            "rustix",
            "rustls",
            "httparse",
            "socket2",
            "smoltcp",
        ],
    ),
    ("rings", &["port", "prefetch"], &["libc"]),
    ("bench", &["config"], &["serde", "serde_json", "toml", "annotate-snippets"]),
    (
        "generator",
        &["wire", "rings", "port", "metrics"],
        &["clap", "core_affinity", "hdrhistogram", "rustix", "serde", "serde_json", "signal-hook", "toml"],
    ),
    ("lab", &["wire"], &["rustix", "rustls", "signal-hook", "libc", "pnet"]),
    (
        "sim",
        &["wire", "flow", "rewrite", "session", "plan", "port", "engine", "config", "control"],
        &["hashbrown"],
    ),
];

/// Crates that may say `unsafe`: the rings, and one instruction.
const UNSAFE_HOMES: &[&str] = &["rings", "prefetch"];

/// Words that the source of `engine` must not say: it knows no clock, thread, socket or file.
const UNKNOWN_TO_ENGINE: &[&str] = &[
    "std::thread",
    "std::fs",
    "std::io",
    "std::process",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "Instant",
    "SystemTime",
    "TcpStream",
    "UdpSocket",
    "println!",
    "format!",
];

/// Where a machine's own paths would begin. Spelled in pieces, lest this file be its own finding.
const MACHINE_PATHS: &[&str] = &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];

/// Names that say nothing about what is inside.
const IDLE_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// What is said of the keyword where it has no business. In pieces for the same reason.
const UNSAFE_FOUND: &str = concat!("`un", "safe` outside rings");

/// Lines of a file at the most.
const LINES_MAX: usize = 600;

/// One source file.
struct Source {
    /// `crate/src/file.rs`.
    path: String,
    text: String,
}

impl Source {
    fn crate_name(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    fn is_product(&self) -> bool {
        self.path.contains("/src/")
    }

    /// The lines of the program itself: no comments, and nothing from the unit tests on.
    fn code(&self) -> impl Iterator<Item = &str> {
        let is_test = |line: &&str| line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
        self.text
            .lines()
            .take_while(move |line| !is_test(line))
            .filter(|line| !line.trim_start().starts_with("//"))
    }
}

fn check_source(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let mut found = |what: String| findings.push(format!("{}: {what}", source.path));
    let Source { path, text } = source;
    let name = source.crate_name();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found(format!("{lines} lines, more than {LINES_MAX}"));
    }
    if !text.starts_with("//!") && !text.starts_with("#!") {
        found("it does not begin by saying what it is (`//!`)".into());
    }
    let stem = path.rsplit('/').find(|part| *part != "mod.rs").unwrap_or_default().trim_end_matches(".rs");
    if IDLE_NAMES.contains(&stem) {
        found(format!("a module named {stem:?}"));
    }
    for word in ["todo!", "unimplemented!", "dbg!"] {
        if source.code().any(|line| line.contains(&format!("{word}("))) {
            found(format!("`{word}`"));
        }
    }
    if MACHINE_PATHS.iter().any(|path| text.contains(path)) {
        found("a path of somebody's machine".into());
    }
    if !UNSAFE_HOMES.contains(&name) && source.code().any(says_unsafe) {
        found(UNSAFE_FOUND.into());
    }
    if path.ends_with("src/lib.rs")
        && !UNSAFE_HOMES.contains(&name)
        && name != "control"
        && name != "lab"
        && !text.contains("#![forbid(unsafe_code)]")
    {
        found("it does not forbid what the compiler cannot check".into());
    }
    let uses = |library: &str| source.code().any(|line| line.contains(&format!("{library}::")));
    for (library, homes) in [
        ("serde", &["config", "control", "bench", "appliance", "generator"][..]),
        ("toml", &["config", "bench", "generator"]),
        ("mio", &["control"]),
        ("libc", &["rings", "lab"]),
        ("pnet", &["control", "lab"]),
    ] {
        if source.is_product() && !homes.contains(&name) && uses(library) {
            found(format!("{library} is for {}", homes.join(" and ")));
        }
    }
    if name == "engine" && source.is_product() {
        for word in UNKNOWN_TO_ENGINE {
            if source.code().any(|line| line.contains(word)) {
                found(format!("the engine knows no `{word}`"));
            }
        }
    }
    if matches!(name, "session" | "plan")
        && source.is_product()
        && !path.ends_with("/sync.rs")
        && uses("atomic")
    {
        found("its atomics come from its `sync`, where loom can stand in for them".into());
    }
    findings
}

fn says_unsafe(line: &str) -> bool {
    // A dash binds a word: `unsafe-inline` is none of the language's.
    let mut words = line.split(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | '-'));
    words.any(|word| word == concat!("un", "safe"))
}

/// Compares what a manifest depends on with what it may.
fn check_manifest(name: &str, manifest: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let Some((_, ours, others)) = CRATES.iter().find(|(known, ..)| *known == name) else {
        return vec![format!("{name}: no crate of the design")];
    };
    let table: toml::Table = match manifest.parse() {
        Ok(table) => table,
        Err(error) => return vec![format!("{name}: {error}")],
    };
    let for_targets =
        table.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|targets| targets.values());
    let tables = for_targets.chain([&toml::Value::Table(table.clone())]).cloned().collect::<Vec<_>>();
    for dependencies in tables.iter().filter_map(|table| table.get("dependencies")?.as_table()) {
        for dependency in dependencies.keys() {
            if !ours.contains(&dependency.as_str()) && !others.contains(&dependency.as_str()) {
                findings.push(format!("{name}: it may not depend on {dependency}"));
            }
        }
    }
    let inherits = table.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    if inherits != Some(true) && !UNSAFE_HOMES.contains(&name) {
        findings.push(format!("{name}: it does not take the workspace's lints"));
    }
    findings
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn sources_below(directory: &Path, root: &Path, sources: &mut Vec<Source>) {
    for path in directories(directory) {
        if path.is_dir() {
            sources_below(&path, root, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(root).unwrap().display().to_string();
            sources.push(Source { path: shown, text: std::fs::read_to_string(&path).unwrap() });
        }
    }
}

fn report(findings: &[String]) {
    let mut text = String::new();
    findings.iter().for_each(|finding| writeln!(text, "{finding}").unwrap());
    assert!(findings.is_empty(), "\n{text}");
}

#[test]
fn every_source_keeps_to_the_design() {
    let mut sources = Vec::new();
    let crates = root().join("crates");
    sources_below(&crates, &crates, &mut sources);
    let appliance = root();
    sources_below(&appliance.join("appliance"), &appliance, &mut sources);
    assert!(sources.len() > 100, "only {} files were found", sources.len());
    report(&sources.iter().flat_map(check_source).collect::<Vec<_>>());
}

#[test]
fn every_crate_depends_on_what_it_may() {
    let mut findings = Vec::new();
    let crates: Vec<PathBuf> =
        directories(&root().join("crates")).into_iter().filter(|path| path.is_dir()).collect();
    assert_eq!(crates.len(), CRATES.len(), "a crate is missing, or is one too many");
    for path in crates {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        findings.extend(check_manifest(&name, &std::fs::read_to_string(path.join("Cargo.toml")).unwrap()));
    }
    report(&findings);
}

#[test]
fn the_workspace_forbids_what_the_crates_inherit() {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let lints = &manifest["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("forbid"));
    assert_eq!(lints["rust"]["missing_docs"].as_str(), Some("deny"));
    for lint in ["dbg_macro", "todo", "unimplemented"] {
        assert_eq!(lints["clippy"][lint].as_str(), Some("deny"), "{lint}");
    }
}

#[test]
fn planted_violations_are_found() {
    let planted: &[(&str, &str, &str)] = &[
        ("engine/src/turn.rs", "//! A.\nuse std::time::Instant;\n", "`Instant`"),
        ("engine/src/turn.rs", "//! A.\nfn a() { std::thread::sleep(b) }\n", "`std::thread`"),
        ("flow/src/key.rs", concat!("//! A.\nfn a() { un", "safe { b() } }\n"), UNSAFE_FOUND),
        ("flow/src/lib.rs", "//! A.\n", "does not forbid"),
        ("wire/src/helpers.rs", "//! A.\n", "\"helpers\""),
        ("wire/src/misc/mod.rs", "//! A.\n", "\"misc\""),
        ("wire/src/a.rs", "fn a() {}\n", "does not begin"),
        ("wire/src/a.rs", concat!("//! A.\nfn a() { to", "do!() }\n"), "`todo!`"),
        ("wire/src/a.rs", concat!("//! A.\nfn a() { d", "bg!(1); }\n"), "`dbg!`"),
        ("plan/src/a.rs", "//! A.\nuse serde::Serialize;\n", "serde is for"),
        ("config/src/a.rs", "//! A.\nuse mio::Poll;\n", "mio is for"),
        ("control/src/a.rs", "//! A.\nuse libc::c_int;\n", "libc is for"),
        ("engine/src/a.rs", "//! A.\nuse pnet::packet;\n", "pnet is for"),
        ("session/src/a.rs", "//! A.\nuse std::sync::atomic::AtomicU64;\n", "`sync`"),
        ("wire/src/a.rs", concat!("//! A, see /wo", "rk/x.\n"), "somebody's machine"),
    ];
    for (path, text, expected) in planted {
        let findings = check_source(&Source { path: (*path).into(), text: (*text).into() });
        assert_eq!(findings.len(), 1, "{text}: {findings:?}");
        assert!(findings[0].contains(expected), "{findings:?}");
    }
    let long = "//! A.\n".to_owned() + &"\n".repeat(LINES_MAX);
    assert!(check_source(&Source { path: "wire/src/a.rs".into(), text: long })[0].contains("lines"));
    let harmless = concat!("//! A.\n// un", "safe, and a macro\nlet unsafe_code = 1;\n");
    assert!(check_source(&Source { path: "wire/src/a.rs".into(), text: harmless.into() }).is_empty());
}

#[test]
fn planted_dependencies_are_found() {
    let lints = "[lints]\nworkspace = true\n";
    let find = |name: &str, rest: &str| check_manifest(name, &format!("{lints}{rest}"));
    assert!(find("engine", "[dependencies]\nwire.workspace = true\n").is_empty());
    assert!(find("engine", "[dependencies]\ncontrol.workspace = true\n")[0].contains("control"));
    assert!(find("wire", "[dependencies]\nflow.workspace = true\n")[0].contains("flow"));
    assert!(find("plan", "[target.'cfg(unix)'.dependencies]\nlibc.workspace = true\n")[0].contains("libc"));
    assert!(find("wire", "[dev-dependencies]\npnet.workspace = true\n").is_empty());
    assert!(find("misc", "")[0].contains("no crate of the design"));
    assert!(check_manifest("wire", "[dependencies]\n")[0].contains("lints"));
}
