//! Replays the fuzz targets' corpus, and every finding that was made a seed since.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use sim::hostile;
use std::path::PathBuf;

fn replay(target: &str, body: fn(&[u8])) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        // The test's output names the seed when its body panics.
        println!("{}", path.display());
        body(&bytes);
        seeds += 1;
    }
    assert!(seeds >= 3, "{target} has {seeds} seeds");
}

#[test]
fn no_seed_breaks_the_parser() {
    replay("parse", hostile::parse);
}

#[test]
fn no_seed_breaks_a_turn() {
    replay("turn", hostile::turn);
}

#[test]
fn no_seed_breaks_a_turn_in_any_mode() {
    replay("modes", hostile::modes);
}

#[test]
fn no_seed_breaks_the_configuration() {
    replay("config", hostile::config);
}
