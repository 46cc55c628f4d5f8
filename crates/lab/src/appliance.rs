//! The appliance as a peer: a binary with the operator commands of `jeoul`, started and asked as a user
//! would.
//!
//! Any thread. Refuses a socket path that is too long for a Unix socket; an appliance that ends before it is
//! ready is an error with its last words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::process::{Process, Signal};
use crate::program;

/// The longest path of a Unix socket, without its terminating zero (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// How long an operator command may take. A reload that compiles a large configuration is the slowest.
const COMMAND_LIMIT: Duration = Duration::from_secs(15);

/// How much of the log an error carries.
const LAST_WORDS_LINES: usize = 20;

/// A running appliance; see the module. Dropped, it is killed.
#[derive(Debug)]
pub struct Appliance {
    binary: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    process: Process,
}

impl Appliance {
    /// Starts `BINARY run --config CONFIGURATION` inside a namespace and waits until `show status` succeeds,
    /// which it does from the moment traffic is forwarded. `socket` is the configuration's.
    pub fn start(
        namespace: &Namespace,
        binary: &Path,
        configuration: &Path,
        socket: &Path,
        ready_within: Duration,
    ) -> Result<Self> {
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(Error::unusable(
                socket.display().to_string(),
                "the path of a Unix socket has at most 107 bytes: choose a shorter TMPDIR",
            ));
        }
        // In append mode, so that one log tells of every start over the same configuration.
        let log = configuration.with_extension("log");
        let opened = fs::OpenOptions::new().create(true).append(true).open(&log);
        let stderr = opened.map_err(Error::system(format!("opening {}", log.display())))?;
        let mut command = namespace.command(&binary.to_string_lossy())?;
        command.args(["run", "--config"]).arg(configuration).stdout(Stdio::null()).stderr(stderr);
        let process = namespace.spawn(command)?;
        let appliance = Self { binary: binary.into(), socket: socket.into(), log, process };
        let ready = program::wait_until(ready_within, || {
            !appliance.process.is_running() || appliance.show("status").is_ok()
        });
        match appliance.process.exit_status() {
            None if ready => Ok(appliance),
            None => Err(appliance.complaint(format!("the appliance to be ready ({ready_within:?})"))),
            Some(status) => {
                Err(appliance.complaint(format!("the appliance to be ready; it ended ({status})")))
            }
        }
    }

    fn complaint(&self, waiting_for: String) -> Error {
        let log = self.log();
        let skipped = log.lines().count().saturating_sub(LAST_WORDS_LINES);
        let last: Vec<&str> = log.lines().skip(skipped).collect();
        Error::TooSlow { waiting_for: format!("{waiting_for}:\n{}", last.join("\n")) }
    }

    /// An operator command, however it ends: `command(&["server", "drain", "web", "198.18.1.11"])`.
    pub fn command(&self, words: &[&str]) -> Result<Output> {
        program::output_within(&mut self.command_for(words), COMMAND_LIMIT)
    }

    /// What `show WHAT --json` prints.
    pub fn show(&self, what: &str) -> Result<String> {
        let output = program::run(&mut self.command_for(&["show", what, "--json"]), COMMAND_LIMIT)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks for a reload; an error if it is refused.
    pub fn reload(&self) -> Result<()> {
        program::run(&mut self.command_for(&["reload"]), COMMAND_LIMIT).map(|_output| ())
    }

    /// The socket's path is a file's, so no command needs to run in the namespace.
    fn command_for(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--socket").arg(&self.socket);
        command
    }

    /// All that it has written to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The running program, for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it with SIGTERM.
    pub fn stop(&self, limit: Duration) -> Result<ExitStatus> {
        self.process.end_with(Signal::TERM, limit)
    }

    /// Kills it with SIGKILL, as a crash would.
    pub fn kill(&self) {
        self.process.kill();
    }
}
