//! `jeoul bench`: what the crate `bench` asks for is done on the testbeds of the crate `lab` with `jeoul-gen`, round after
//! round, and what comes out is written down.
//!
//! Everything here blocks. Nothing outside namespaces of its own is touched, every load is bounded in time and packets,
//! and what cannot be measured is a sentence in the report, never an error. Exit status: 0 a report was written, 1 it
//! could not be, 2 a profile or results that cannot be read.

mod connections;
mod cpu;
mod devices;
mod environment;
mod frames;
mod generator;
mod peers;
mod rounds;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::bench::{Comparison, Profile, Results, Schedule, Summary, report};

use crate::arguments::{Bench, BenchAction};
use crate::{FAILED, WRONG_INPUT};

/// Why something could not be measured, or the bench could not go on.
type Stopped = Box<dyn std::error::Error>;

/// Runs a bench, or compares two.
pub(crate) fn run(wish: Bench) -> ExitCode {
    match (wish.action, wish.profile) {
        (Some(BenchAction::Compare { a, b, json }), _) => compare(&a, &b, json),
        (None, Some(profile)) => measure(&profile, &wish.output, wish.quick),
        // The command line is refused before it comes to this.
        (None, None) => ExitCode::from(WRONG_INPUT),
    }
}

fn measure(file: &Path, output: &Path, quick: bool) -> ExitCode {
    let Some(mut profile) = read_profile(file) else { return ExitCode::from(WRONG_INPUT) };
    if quick {
        profile.quicken();
    }
    // Whether it can be written is said at the end, or at once.
    if let Err(error) = fs::create_dir_all(output) {
        eprintln!("jeoul: writing to {}: {error}", output.display());
        return ExitCode::from(FAILED);
    }
    let keep = |results: &Results| drop(write(results, output));
    let (written, results) = match rounds::run(&profile, &keep) {
        Ok(results) => (write(&results, output), results),
        Err(error) => {
            eprintln!("jeoul: the bench stopped: {error}");
            return ExitCode::from(FAILED);
        }
    };
    match written {
        Ok(paths) => {
            for missing in &results.not_measured {
                eprintln!("not measured: {}: {}", missing.what, missing.why);
            }
            let [report, raw] = paths.map(|path| path.display().to_string());
            print(&format!("{}\nreport: {report}\nraw results: {raw}\n", Summary(&results)))
        }
        Err(error) => {
            eprintln!("jeoul: writing to {}: {error}", output.display());
            ExitCode::from(FAILED)
        }
    }
}

fn read_profile(file: &Path) -> Option<Profile> {
    let name = file.display().to_string();
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("jeoul: reading {name}: {error}");
            return None;
        }
    };
    match Profile::parse(&text, &name) {
        Ok(profile) => Some(profile),
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{}\n", error.render()));
            None
        }
    }
}

/// Writes the report and the raw results.
fn write(results: &Results, output: &Path) -> Result<[PathBuf; 2], Stopped> {
    let paths = ["report.html", "results.json"].map(|name| output.join(name));
    fs::write(&paths[0], report::html(results))?;
    fs::write(&paths[1], results.to_json()?)?;
    Ok(paths)
}

fn compare(a: &Path, b: &Path, json: bool) -> ExitCode {
    let (Some(a), Some(b)) = (read_results(a), read_results(b)) else { return ExitCode::from(WRONG_INPUT) };
    let comparison = Comparison::of(&a, &b);
    match if json { comparison.to_json() } else { Ok(comparison.to_string()) } {
        Ok(text) => print(&text),
        Err(error) => {
            eprintln!("jeoul: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Writes to standard output. A reader who has seen enough, as `head` has, is no error.
fn print(text: &str) -> ExitCode {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("jeoul: writing to standard output: {error}");
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn read_results(file: &Path) -> Option<Results> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string());
    let results = text.and_then(|text| Results::from_json(&text).map_err(|error| error.to_string()));
    results.map_err(|error| eprintln!("jeoul: reading {}: {error}", file.display())).ok()
}

/// How long a profile takes at the most, for the first line of progress.
fn estimate(profile: &Profile) -> String {
    let longest = Schedule::estimate(profile);
    let budget = profile.time_budget.map_or(longest, |budget| budget.min(longest));
    format!("about {} minutes at the most", budget.as_secs().div_ceil(60))
}
