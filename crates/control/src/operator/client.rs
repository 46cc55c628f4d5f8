//! The commands' end of the socket. Blocks; no part of the appliance calls it.

use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::message::Request;

/// How long the appliance may be silent. A reload compiles the whole configuration before it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer: some million sessions. An answer beyond it is a defect, not a listing.
const ANSWER_BYTES_MAX: u64 = 4 << 30;

/// Why there is no result.
#[derive(Debug)]
pub enum AskError {
    /// Nobody serves the path.
    NotRunning(String),
    /// The socket belongs to somebody else.
    Forbidden(String),
    /// The appliance said no.
    Refused {
        /// The exit status that it suggests: 1 failed, 2 wrong input.
        exit: u8,
        /// Why.
        error: String,
    },
    /// The conversation broke off.
    Broken(String),
}

impl AskError {
    /// The exit status of the command.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Refused { exit, .. } => *exit,
            _ => 1,
        }
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(path) => {
                write!(out, "no appliance is running at {path} (--socket names another path)")
            }
            Self::Forbidden(path) => {
                write!(out, "{path} is its owner's alone: run this as the appliance's user")
            }
            Self::Refused { error, .. } | Self::Broken(error) => out.write_str(error),
        }
    }
}

impl std::error::Error for AskError {}

/// A line of the appliance.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    exit: u8,
    #[serde(default)]
    error: String,
}

/// Asks the appliance that serves `path` and waits for the whole answer.
pub fn ask(path: &Path, request: &Request) -> Result<Value, AskError> {
    let mut stream = connect(path)?;
    let broken = |error: &dyn fmt::Display| AskError::Broken(format!("the appliance broke off: {error}"));
    let mut line = serde_json::to_vec(request).map_err(|error| broken(&error))?;
    line.push(b'\n');
    // An appliance that is busy answers without a request and closes: its answer says more than a failed
    // write.
    let sent = stream.write_all(&line);
    let mut answers = serde_json::Deserializer::from_reader(BufReader::new(stream.take(ANSWER_BYTES_MAX)));
    let answer = match (Answer::deserialize(&mut answers), sent) {
        (Ok(answer), _) => answer,
        (Err(_), Err(error)) => return Err(broken(&error)),
        (Err(error), Ok(())) => return Err(broken(&error)),
    };
    if answer.ok {
        Ok(answer.result)
    } else {
        Err(AskError::Refused { exit: answer.exit, error: answer.error })
    }
}

fn connect(path: &Path) -> Result<UnixStream, AskError> {
    let prepared = UnixStream::connect(path).and_then(|stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    });
    prepared.map_err(|error: io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            AskError::NotRunning(path.display().to_string())
        }
        ErrorKind::PermissionDenied => AskError::Forbidden(path.display().to_string()),
        _ => AskError::Broken(format!("{}: {error}", path.display())),
    })
}
