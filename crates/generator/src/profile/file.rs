//! The file as it is written: keys and their places, before they mean anything.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::refusal::Refusal;
use super::{Close, FILE_BYTES_MAX, Profile, Protocol, streams};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub port: Vec<PortTable>,
    #[serde(default)]
    pub stream: Vec<StreamTable>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub duration: Option<Spanned<String>>,
    pub packets: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortTable {
    pub name: Spanned<String>,
    #[serde(default)]
    pub answers: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamTable {
    pub name: Spanned<String>,
    pub port: Spanned<String>,
    pub receive: Option<Spanned<String>>,
    pub frame_bytes: Option<Spanned<u64>>,
    pub imix: Option<Spanned<bool>>,
    pub flows: Option<Spanned<u64>>,
    pub family: Option<Spanned<Family>>,
    pub protocol: Spanned<Protocol>,
    pub source: Spanned<String>,
    pub source_ports: Option<Spanned<String>>,
    pub destination: Spanned<String>,
    pub destination_port: Option<Spanned<u16>>,
    pub destination_mac: Option<Spanned<String>>,
    pub mode: Spanned<ModeTable>,
    pub latency: Option<bool>,
    pub close: Option<Spanned<Close>>,
    pub timeout: Option<Spanned<String>>,
    pub hold: Option<Spanned<String>>,
    pub exchange: Option<Spanned<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum ModeTable {
    Continuous { rate: Spanned<String> },
    Burst { packets: Spanned<u64>, gap: Spanned<String>, count: Spanned<u64>, rate: Option<Spanned<String>> },
    Steps(Vec<StepTable>),
    Ramp(RampTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RampTable {
    pub rate: Spanned<String>,
    pub up: Option<Spanned<String>>,
    pub sustain: Spanned<String>,
    pub down: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepTable {
    pub rate: Spanned<String>,
    pub duration: Spanned<String>,
}

impl Profile {
    /// Reads the file at `path`, which holds at most [`FILE_BYTES_MAX`].
    pub fn load(path: &Path) -> Result<Self, Vec<Refusal>> {
        let name = path.display().to_string();
        let mut text = String::new();
        let read =
            File::open(path).and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text));
        match read {
            Err(error) => Err(vec![Refusal::whole(&name, format!("cannot read the file: {error}"))]),
            Ok(bytes) if bytes > FILE_BYTES_MAX => {
                Err(vec![Refusal::whole(&name, format!("the file is longer than {FILE_BYTES_MAX} bytes"))])
            }
            Ok(_) => Self::parse(&text, &name),
        }
    }

    /// Reads `text`; `name` appears in findings and reports.
    pub fn parse(text: &str, name: &str) -> Result<Self, Vec<Refusal>> {
        match toml::from_str::<Document>(text) {
            Ok(document) => streams::read(document, text, name),
            Err(error) => {
                let span = error.span().unwrap_or_default();
                Err(vec![Refusal::at(name, text, span, error.message().to_owned())])
            }
        }
    }
}
