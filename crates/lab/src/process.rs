//! A program started inside a namespace.
//!
//! It has its own process group, so that Ctrl-C at the terminal reaches the lab, which then removes it in
//! order, and so that what it forks dies with it. Any thread. Dropping the handle kills the program.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

pub use rustix::process::Signal;

use crate::error::{Error, Result};
use crate::ledger::{self, Ledger, SharedChild, lock};
use crate::program;

/// A running program; see the module.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: SharedChild,
    ledger: Arc<Ledger>,
}

impl Process {
    pub(crate) fn new(name: String, child: SharedChild, ledger: Arc<Ledger>) -> Self {
        Self { name, child, ledger }
    }

    /// The program's own process id.
    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// False once it has ended.
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        lock(&self.child).try_wait().ok().flatten()
    }

    /// Sends a signal to the program alone. Nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = lock(&self.child);
        match ledger::running(&mut child) {
            Some(pid) => rustix::process::kill_process(pid, signal)
                .map_err(Error::system(format!("sending {signal:?} to {}", self.name))),
            None => Ok(()),
        }
    }

    /// Kills the program and what it has forked, as a crash would, and waits for its own end.
    pub fn kill(&self) {
        let mut child = lock(&self.child);
        ledger::kill_group(&mut child);
        // Fails only for a child that was waited for, which is what is wanted.
        let _ = child.wait();
    }

    /// Waits for it to end by itself.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        program::wait_until(limit, || !self.is_running());
        self.exit_status()
            .ok_or_else(|| Error::TooSlow { waiting_for: format!("the end of {} ({limit:?})", self.name) })
    }

    /// Sends a signal and waits for the end.
    pub fn end_with(&self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        self.wait(limit)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        self.ledger.forget_child(&self.child);
    }
}
