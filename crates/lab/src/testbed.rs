//! A testbed: namespaces and links that come into being together and are gone together.
//!
//! Dropped, it kills its programs, waits for them and removes its namespaces and its directory; so it does
//! when a panic unwinds through its owner and when the process is told to end. See `ledger` for what happens
//! if it is killed outright.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::link::Link;
use crate::namespace::Namespace;
use crate::program;

/// See the module. Peers hold handles into it; declare it before them, so that it is dropped after them.
#[derive(Debug)]
pub struct Testbed {
    ledger: Arc<Ledger>,
}

impl Testbed {
    /// Says why no testbed can be built on this machine, for tests that must then say "skipped: why".
    pub fn check_machine() -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        ["ip", "ethtool"].iter().try_for_each(|program| program::find_program(program).map(|_path| ()))
    }

    /// An empty testbed. The label, unique in this process, goes into the names that `ip netns` shows:
    /// `jeoul-<label>-<process id>-<role>`. Also reaps what testbeds of dead processes left behind.
    pub fn new(label: &str) -> Result<Self> {
        Self::check_machine()?;
        Ok(Self { ledger: Ledger::open(label)? })
    }

    /// A directory of the testbed's own, mode 0700, removed with it.
    pub fn directory(&self) -> &Path {
        self.ledger.directory()
    }

    /// A namespace with its loopback up, where the kernel neither routes nor invents anything.
    pub fn namespace(&self, role: &str) -> Result<Namespace> {
        Namespace::create(&self.ledger, role)
    }

    /// A link between two namespaces, each with the interface's name there.
    pub fn link(&self, first: (&Namespace, &str), second: (&Namespace, &str)) -> Result<Link> {
        Link::create(first, second, 1)
    }

    /// The same with so many queues each way, among which the kernel deals out flows: for an appliance whose
    /// workers need a queue each.
    pub fn link_with_queues(
        &self,
        first: (&Namespace, &str),
        second: (&Namespace, &str),
        queues: u8,
    ) -> Result<Link> {
        Link::create(first, second, queues)
    }

    /// Stands still so that a person can look around; Ctrl-C removes the testbed and ends the process.
    pub fn stay(self) -> ! {
        loop {
            std::thread::park();
        }
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.ledger.close();
    }
}
