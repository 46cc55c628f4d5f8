//! Taking a path for a socket that nobody but the owner can ever connect to.
//!
//! The socket is made in a directory of its own that only the owner may enter (mode 0700), gets mode 0600
//! there, and is then renamed to its path. At no moment is it reachable with another mode, and the umask,
//! which belongs to the whole process, is left alone. A lock on `PATH.lock` says that an appliance lives: the
//! kernel drops it with the process, so a socket that a dead one left is told from a live one without a race.
//! The lock file stays; to remove it would be one.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use mio::net::UnixListener;

/// The right to a path, held before anything listens there: taken first, it keeps a second appliance from touching what
/// the first one uses.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// Held as long as the path is.
    _lock: File,
}

impl Place {
    /// Takes `path`, whose directory is made if need be. Refuses a path that another appliance or program uses.
    pub fn take(path: &Path) -> Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let lock = lock(path)?;
        remove_stale(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }
}

/// A listening socket and the right to its path. Dropping it removes the socket.
pub(super) struct Claim {
    pub(super) listener: UnixListener,
    place: Place,
}

impl Claim {
    pub(super) fn new(place: Place) -> Result<Self> {
        let room = beside(&place.path, ".new");
        let _none_left_behind = fs::remove_dir_all(&room);
        DirBuilder::new().mode(0o700).create(&room)?;
        let listener = listen(&room.join("s"), &place.path);
        let _empty_or_abandoned = fs::remove_dir_all(&room);
        Ok(Self { listener: listener?, place })
    }
}

fn listen(made: &Path, path: &Path) -> Result<UnixListener> {
    let listener = UnixListener::bind(made)?;
    fs::set_permissions(made, Permissions::from_mode(0o600))?;
    fs::rename(made, path)?;
    Ok(listener)
}

fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(path, ".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(taken("another appliance is running")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Refuses a path that something else uses; a socket without a listener is replaced.
fn remove_stale(path: &Path) -> Result<()> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(taken("there is a file of another kind"));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(taken("another program listens there"));
    }
    fs::remove_file(path)
}

fn taken(why: &str) -> Error {
    Error::new(ErrorKind::AddrInUse, why)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.place.path);
    }
}
