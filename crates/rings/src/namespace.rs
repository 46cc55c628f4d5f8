//! Entering a network namespace, for labs and tests that play several machines on one.
//!
//! It changes the calling thread alone: call it in a thread of its own, before opening any socket there.

use crate::Error;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Where `ip netns` keeps the namespaces that it names.
const DIRECTORY: &str = "/var/run/netns";

/// Moves the calling thread into the network namespace `name`, or into the one at a path (which has a slash
/// in it).
pub fn enter(name: &str) -> Result<(), Error> {
    let path = if name.contains('/') { PathBuf::from(name) } else { Path::new(DIRECTORY).join(name) };
    let what = || format!("entering the network namespace {}", path.display());
    let file = File::open(&path).map_err(|source| Error::from_io(what(), source))?;
    // SAFETY: no pointer is passed, and the descriptor is open until the end of the call.
    let status = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    if status == 0 {
        return Ok(());
    }
    Err(Error::privileged(what(), "CAP_SYS_ADMIN", io::Error::last_os_error()))
}
