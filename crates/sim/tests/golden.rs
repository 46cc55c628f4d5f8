//! Every golden script over ports of memory: by one worker that sees bursts, and by three that see frames in turn.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod scripts;

use scripts::scripts;
use sim::golden::{MemoryBench, run};

fn run_all(workers: usize) {
    let mut failures = Vec::new();
    for script in scripts() {
        let workers = if script.one_worker { 1 } else { workers };
        let manager = script.manager().unwrap_or_else(|error| panic!("{}: {error}", script.title));
        let mut bench = MemoryBench::new(manager, workers);
        match run(&script, &mut bench) {
            Err(failure) => failures.push(failure.to_string()),
            Ok(()) => {
                bench.world().check_buffers().unwrap_or_else(|wrong| panic!("{}: {wrong}", script.title))
            }
        }
    }
    assert!(failures.is_empty(), "{} scripts failed\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn one_worker_does_what_the_scripts_say() {
    run_all(1);
}

#[test]
fn three_workers_do_what_the_scripts_say() {
    run_all(3);
}

#[test]
fn every_title_is_a_sentence_of_its_own() {
    let mut titles: Vec<String> = scripts().into_iter().map(|script| script.title).collect();
    assert!(titles.len() >= 100, "only {} scripts were found", titles.len());
    for title in &titles {
        assert!(title.ends_with('.') && title.starts_with(|letter: char| letter.is_uppercase()), "{title}");
    }
    titles.sort();
    titles.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
}
