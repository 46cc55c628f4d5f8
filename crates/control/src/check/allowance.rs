//! How many sockets checks may hold in this process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Sockets that checks hold at once, whatever the process is allowed. So many servers can be silent at the same time
/// without holding up each other: 8,192 at a response time of one second are found out within that second. Checks
/// beyond it wait for their turn; waiting is no failure.
pub const SOCKETS_MAX: usize = 8_192;

/// Descriptors that a process asks for at the most: what checks can use, and as many again several times over.
const DESCRIPTORS_MAX: u64 = 65_536;

/// The sockets that checks may hold here: half of the descriptors that this process may have, so that the other half
/// is left to everything else.
pub fn socket_allowance() -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    (limit.unwrap_or(usize::MAX) / 2).clamp(1, SOCKETS_MAX)
}

/// Raises this process's own limit of descriptors as far as it may, which is often far above the usual 1,024.
///
/// # Errors
///
/// What the kernel says; the limit is then as it was.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX).min(DESCRIPTORS_MAX);
    if limit.current.is_some_and(|current| current < allowed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum })?;
    }
    Ok(())
}
