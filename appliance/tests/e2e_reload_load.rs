//! A hundred reloads while connections talk and new ones come, and files that are refused meanwhile.
//!
//! They take some seconds; with `JEOUL_TEST_RELOAD_SECONDS=60` they take a minute.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{FAMILIES, PATIENCE, Stage, on_both_drivers, refused, show, status};
use lab::topology::slb_routed::HOLD_PORT;
use lab::{Appliance, BusyConnections, Calls, Chatter, Failure, HeldState, TcpHold};
use serde_json::Value;

on_both_drivers! {
    a_hundred_reloads_under_load_lose_no_session,
    every_kind_of_broken_file_is_refused_and_changes_nothing,
}

const RELOADS: usize = 100;

/// In what time, where nothing else is asked for.
const RELOAD_SECONDS: u64 = 15;

/// Connections of each family that stay and talk.
const CONNECTIONS: usize = 30;

/// New connections of each family in a go, while others are held.
const NEW_ONES: usize = 20;

const SCHEDULERS: [&str; 7] = [
    "round-robin",
    "weighted-round-robin",
    "least-connections",
    "weighted-least-connections",
    "hash",
    "response-time",
    "bandwidth",
];

/// Connections of both families that talk all the time, and which server each lives on.
fn talk(stage: &Stage) -> Vec<(BusyConnections, Vec<HeldState>)> {
    let chatter = Chatter {
        padding_bytes: 500,
        interval: Duration::from_millis(20),
        timeout: PATIENCE,
        limit: Duration::from_secs(180),
    };
    let start = |(vip, _client)| {
        let mut held = stage.hold_open(vip, CONNECTIONS);
        let before = held.probe(PATIENCE);
        (held.keep_busy(chatter), before)
    };
    FAMILIES.into_iter().map(start).collect()
}

/// All are where they were, and have talked to the end.
fn assert_unharmed(talking: Vec<(BusyConnections, Vec<HeldState>)>) {
    for (busy, before) in talking {
        let so_far = busy.rounds();
        e2e::wait_for("a round after all that", || busy.rounds() > so_far);
        assert_eq!(busy.stop().states, before);
    }
}

/// A line after each place where a server's address stands.
fn after_address(text: &str, server: &lab::topology::slb_routed::Server, line: &str) -> String {
    [server.v4, server.v6].iter().fold(text.to_owned(), |text, address| {
        let place = format!("address = \"{address}\"\n");
        text.replace(&place, &format!("{place}{line}\n"))
    })
}

/// The file in its `number`th version: no two in a row have the same servers, weights, timeouts or scheduler.
fn version(stage: &Stage, number: usize) -> String {
    let mut services = stage.hold_services();
    if number % 2 == 1 {
        services.iter_mut().for_each(|service| service.servers.truncate(2));
    }
    if number % 3 == 1 {
        services.extend(stage.web_services());
    }
    let scheduler = SCHEDULERS[number % SCHEDULERS.len()];
    let more = match number % 4 {
        0 => "persistence = { key = \"source-address\", timeout = \"1m\" }",
        1 => "slow_start = \"2s\"",
        2 => "on_down = \"keep\"",
        _ => "quorum = 2",
    };
    let text = stage.text(&services);
    let text = text.replace("\"round-robin\"", &format!("\"{scheduler}\"\n{more}"));
    let text = after_address(&text, &stage.lab.servers[0], &format!("weight = {}", 1 + number % 9));
    let limit = format!("max_sessions = {}", 1_000 + number);
    let text = after_address(&text, &stage.lab.servers[1], &limit);
    let timeouts = format!(
        "\n\n[timeouts]\ntcp_established = \"{}m\"\ntcp_closing = \"{}s\"\n\n[[port]]",
        60 + number,
        10 + number % 50
    );
    text.replacen("\n\n[[port]]", &timeouts, 1)
}

/// New connections to both families until the end, and how those went that did not go well.
fn call_until(ending: &AtomicBool, stage: &Stage) -> BTreeMap<Failure, usize> {
    let mut failures = BTreeMap::new();
    let mut made = 0;
    while !ending.load(Ordering::Relaxed) {
        for (vip, _client) in FAMILIES {
            let calls = Calls {
                count: NEW_ONES,
                concurrency: 4,
                timeout: PATIENCE,
                ..Calls::to((vip, HOLD_PORT).into())
            };
            let called = calls.make(stage.lab.client.namespace()).unwrap();
            made += called.calls.len();
            for (failure, count) in called.failures() {
                *failures.entry(failure.clone()).or_default() += count;
            }
        }
    }
    assert!(made > 10 * NEW_ONES, "{made}");
    failures
}

fn a_hundred_reloads_under_load_lose_no_session(driver: &str) {
    let stage = Stage::new(driver);
    let (_web, hold) = (stage.web(), stage.hold());
    let appliance = stage.start_with(&version(&stage, 0));
    let talking = talk(&stage);
    let seconds = std::env::var("JEOUL_TEST_RELOAD_SECONDS").map(|text| text.parse().unwrap());
    let step = Duration::from_secs(seconds.unwrap_or(RELOAD_SECONDS)) / RELOADS as u32;
    let ending = AtomicBool::new(false);
    let failures = thread::scope(|scope| {
        let calls = scope.spawn(|| call_until(&ending, &stage));
        let _ending = Ending(&ending);
        let start = Instant::now();
        for number in 1..=RELOADS {
            thread::sleep((step * number as u32).saturating_sub(start.elapsed()));
            stage.write(&version(&stage, number));
            e2e::order(&appliance, &["reload"]);
            let scheduler = SCHEDULERS[number % SCHEDULERS.len()];
            assert_eq!(e2e::row(&appliance, "services", "name", "hold-v4")["scheduler"], scheduler);
        }
        ending.store(true, Ordering::Relaxed);
        calls.join().unwrap()
    });
    assert_eq!(failures, BTreeMap::new(), "a new connection found no server");
    assert_unharmed(talking);
    // Sessions that the appliance forgot would leave their servers waiting for ever.
    e2e::wait_for("the servers to hear that their clients have hung up", || {
        hold.iter().map(TcpHold::clients).all(|clients| clients.is_empty())
    });
}

/// Ends what runs beside a test, also when a check fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A way to break a file: what is written in the place of what, and a word that the refusal must have.
struct Mistake {
    name: &'static str,
    of: &'static str,
    by: &'static str,
    said: &'static str,
}

const fn mistake(name: &'static str, of: &'static str, by: &'static str, said: &'static str) -> Mistake {
    Mistake { name, of, by, said }
}

/// Each is made at its first place. What a file has is told by [`Stage::text`].
const MISTAKES: &[Mistake] = &[
    mistake("a quote is missing", "mode = \"routed\"", "mode = \"routed", "toml:"),
    mistake("a key is unknown", "mode = \"routed\"", "mode = \"routed\"\nwieght = 2", "wieght"),
    mistake("a table is unknown", "[[service]]", "[[servise]]", "servise"),
    mistake("a key stands twice", "mode = \"routed\"", "mode = \"routed\"\nmode = \"routed\"", "toml:"),
    mistake("a key is missing", "mode = \"routed\"\n", "", "mode"),
    mistake("a scheduler is unknown", "\"round-robin\"", "\"round-robbing\"", "round-robbing"),
    mistake("a number is a text", "port = 7000", "port = \"seven\"", "port"),
    mistake("a port is too large", "port = 7000", "port = 70000", "70000"),
    mistake("a weight is negative", "port = 7000\n\n", "port = 7000\nweight = -1\n\n", "-1"),
    mistake("a duration has no unit", "interval = \"500ms\"", "interval = \"500\"", "500"),
    mistake("an interval is too short", "interval = \"500ms\"", "interval = \"1ms\"", "1ms"),
    mistake("an answer may take longer than the interval", "\"300ms\"", "\"900ms\"", "response_time"),
    mistake("a check is not there", "health_check = \"connect\"", "health_check = \"conect\"", "conect"),
    mistake("a name stands twice", "\"hold-v6\"", "\"hold-v4\"", "hold-v4"),
    mistake("an address is none", "\"198.18.0.10\"", "\"198.18.0.300\"", "198.18.0.300"),
    mistake("a server is of the other family", "\"198.18.1.11\"", "\"2001:db8:1::11\"", "2001:db8:1::11"),
    mistake("a server stands twice", "\"198.18.1.12\"", "\"198.18.1.11\"", "198.18.1.11"),
    mistake("the virtual address is the kernel's", "\"198.18.0.10\"", "\"198.18.0.1\"", "198.18.0.1"),
    mistake("an interface is used twice", "interface = \"inside\"", "interface = \"outside\"", "outside"),
    mistake("an interface is not there", "interface = \"inside\"", "interface = \"offside\"", "offside"),
    mistake(
        "stickiness goes by what it cannot",
        "mode = \"routed\"",
        "mode = \"routed\"\npersistence = { key = \"cookie\", timeout = \"5m\" }",
        "cookie",
    ),
    mistake("a quorum is too large", "mode = \"routed\"", "mode = \"routed\"\nquorum = 9", "quorum"),
    mistake("no server has room", "port = 7000\n\n", "port = 7000\nmax_sessions = 0\n\n", "max_sessions"),
    mistake("the workers are others", "workers = [1]", "workers = [0]", "appliance.workers"),
];

/// What is configured and chosen by, and who serves.
fn in_force(appliance: &Appliance) -> Value {
    let fields = |row: &Value| {
        let names = ["name", "service", "address", "port", "scheduler", "weight", "state"];
        names.iter().map(|name| row[name].clone()).collect::<Value>()
    };
    let rows = |what| show(appliance, what).as_array().unwrap().iter().map(fields).collect::<Value>();
    let generation = status(appliance)["plan_generation"].clone();
    Value::from(vec![generation, rows("services"), rows("servers"), rows("ports")])
}

fn every_kind_of_broken_file_is_refused_and_changes_nothing(driver: &str) {
    let stage = Stage::new(driver);
    let _hold = stage.hold();
    let text = stage.text(&stage.hold_services());
    let appliance = stage.start_with(&text);
    let talking = talk(&stage);
    let before = in_force(&appliance);
    assert!(MISTAKES.len() >= 20);
    for Mistake { name, of, by, said } in MISTAKES {
        let broken = text.replacen(of, by, 1);
        assert_ne!(broken, text, "{name}");
        stage.write(&broken);
        let (exit, words) = refused(&appliance, &["reload"]);
        assert_eq!(exit, Some(2), "{name}: {words}");
        assert!(words.contains(said), "{name}: {words}");
        assert_eq!(in_force(&appliance), before, "{name}");
        assert!(status(&appliance)["pending_reload_error"].as_str().unwrap().contains(said), "{name}");
    }
    let file = stage.write("");
    assert_eq!(refused(&appliance, &["reload"]).0, Some(2), "an empty file");
    std::fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(refused(&appliance, &["reload"]).0, Some(2), "no text at all");
    remove(&file);
    assert_eq!(refused(&appliance, &["reload"]).0, Some(2), "no file at all");
    assert_eq!(in_force(&appliance), before);
    assert_unharmed(talking);
    stage.write(&text);
    e2e::order(&appliance, &["reload"]);
    assert!(status(&appliance)["pending_reload_error"].is_null());
}

fn remove(file: &Path) {
    std::fs::remove_file(file).unwrap();
}
