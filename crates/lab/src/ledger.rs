//! What must be removed, and when: the one place that knows of every namespace, process and directory of a
//! testbed.
//!
//! Each testbed has a [`Ledger`]; it is settled when the testbed is dropped (also by an unwinding panic) or
//! when SIGINT, SIGTERM or SIGHUP comes, which then ends the process with 128 + signal. Whatever is made is
//! entered *before* it is made and under the ledger's lock, so no removal can miss it. A process killed
//! outright leaves its testbeds behind; each has a directory marked with its owner's process id, and the next
//! testbed reaps those whose owner is dead, and no other.
//!
//! Any thread. Refuses new entries once settled.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;

use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Result};
use crate::program;

/// Every name that a lab gives to the machine begins like this: `jeoul-<label>-<process id>[-<role>]`.
const NAME_PREFIX: &str = "jeoul-";

/// Where `ip netns` keeps its namespaces.
pub(crate) const NAMESPACE_DIRECTORY: &str = "/run/netns";

/// The file in a testbed's directory that holds its owner's process id.
const OWNER_FILE: &str = "owner";

/// All testbeds of this process. The signal thread holds the lock until the process has ended.
static OPEN: Mutex<Vec<Weak<Ledger>>> = Mutex::new(Vec::new());

/// A spawned child, shared between its handle and the ledger. Signals go through here: the standard library
/// knows whether it was waited for, so no signal ever reaches a process id that was given to somebody else.
pub(crate) type SharedChild = Arc<Mutex<Child>>;

#[derive(Debug)]
pub(crate) struct Ledger {
    label: String,
    directory: PathBuf,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    closed: bool,
    namespaces: Vec<String>,
    children: Vec<SharedChild>,
    interfaces: u16,
}

/// A panic elsewhere must not keep a testbed from being removed: what the lock guards is valid at any point.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// Opens a ledger with its own directory, after reaping what dead processes left.
    pub(crate) fn open(label: &str) -> Result<Arc<Self>> {
        check_name(label, true)?;
        watch_signals()?;
        reap_leftovers()?;
        let mut open = lock(&OPEN);
        if open.iter().filter_map(Weak::upgrade).any(|other| other.label == label) {
            return Err(Error::unusable(label, "a testbed of this process already has this label"));
        }
        let name = format!("{NAME_PREFIX}{label}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(Error::system(format!("creating {}", directory.display())))?;
        fs::write(directory.join(OWNER_FILE), std::process::id().to_string())
            .map_err(Error::system(format!("marking {}", directory.display())))?;
        let ledger = Arc::new(Self { label: label.into(), directory, entries: Mutex::default() });
        open.push(Arc::downgrade(&ledger));
        Ok(ledger)
    }

    /// The testbed's own directory, mode 0700.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a namespace and gives its name.
    pub(crate) fn add_namespace(&self, role: &str) -> Result<String> {
        check_name(role, false)?;
        let name = format!("{NAME_PREFIX}{}-{}-{role}", self.label, std::process::id());
        let mut entries = self.entries()?;
        if entries.namespaces.contains(&name) {
            return Err(Error::unusable(role, "the testbed already has a namespace with this role"));
        }
        entries.namespaces.push(name.clone());
        program::ip(&["netns", "add", &name])?;
        Ok(name)
    }

    /// Starts a process that ends with the testbed at the latest.
    pub(crate) fn add_child(&self, command: &mut Command) -> Result<SharedChild> {
        let mut entries = self.entries()?;
        let child = command.spawn().map_err(Error::system(program::command_line(command)))?;
        let child = Arc::new(Mutex::new(child));
        entries.children.push(Arc::clone(&child));
        Ok(child)
    }

    /// Forgets a process that was waited for.
    pub(crate) fn forget_child(&self, child: &SharedChild) {
        lock(&self.entries).children.retain(|other| !Arc::ptr_eq(other, child));
    }

    /// The next hardware address: locally administered, and counted, so that captures read well.
    pub(crate) fn next_mac(&self) -> Result<[u8; 6]> {
        let mut entries = self.entries()?;
        entries.interfaces += 1;
        let [high, low] = entries.interfaces.to_be_bytes();
        Ok([0x02, 0, 0, 0, high, low])
    }

    fn entries(&self) -> Result<MutexGuard<'_, Entries>> {
        let entries = lock(&self.entries);
        if entries.closed { Err(Error::Closed) } else { Ok(entries) }
    }

    /// Removes the testbed as its owner lets go of it. While a signal is being obeyed this waits for the end
    /// of the process.
    pub(crate) fn close(&self) {
        let mut open = lock(&OPEN);
        self.settle();
        open.retain(|other| other.upgrade().is_some_and(|other| !std::ptr::eq(&*other, self)));
    }

    /// Removes everything. Goes on at every failure, since what is left undone here is reaped later.
    fn settle(&self) {
        let mut entries = lock(&self.entries);
        if std::mem::replace(&mut entries.closed, true) {
            return;
        }
        for child in &entries.children {
            kill_group(&mut lock(child));
        }
        for child in entries.children.drain(..) {
            let _ = lock(&child).wait();
        }
        for name in entries.namespaces.drain(..) {
            remove_namespace(&name);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Sends SIGKILL to a child and to what it has forked, unless it was already waited for.
pub(crate) fn kill_group(child: &mut Child) {
    if let Some(pid) = running(child) {
        // It may end between the look and the signal; it is still ours until it is waited for.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// The process id of a child that has not been waited for.
pub(crate) fn running(child: &mut Child) -> Option<Pid> {
    match child.try_wait() {
        Ok(None) => Pid::from_raw(i32::try_from(child.id()).ok()?),
        _ => None,
    }
}

/// Kills what runs in a namespace (orphans of killed servers among it) and removes its name; the kernel
/// removes the interfaces with the last user.
fn remove_namespace(name: &str) {
    if let Ok(output) = program::ip(&["netns", "pids", name]) {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for pid in text.lines().filter_map(|line| line.trim().parse().ok()).filter_map(Pid::from_raw) {
            if pid != rustix::process::getpid() {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
    let _ = program::ip(&["netns", "delete", name]);
}

/// Removes namespaces and directories of testbeds whose process is dead. A directory with an owner's mark is
/// what makes them ours: a name alone, which others may give too, does not.
fn reap_leftovers() -> Result<()> {
    program::find_program("ip")?;
    let temporary = std::env::temp_dir();
    for testbed in names_in(&temporary) {
        let directory = temporary.join(&testbed);
        if !owner(&testbed, &directory).is_some_and(is_dead) {
            continue;
        }
        let namespaces = names_in(Path::new(NAMESPACE_DIRECTORY));
        namespaces.iter().filter(|name| belongs_to(name, &testbed)).for_each(|name| remove_namespace(name));
        let _ = fs::remove_dir_all(directory);
    }
    Ok(())
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The process that made a testbed's directory: named by its mark and by its name alike.
fn owner(testbed: &str, directory: &Path) -> Option<u32> {
    let (_label, pid) = testbed.strip_prefix(NAME_PREFIX)?.rsplit_once('-')?;
    let mark = fs::read_to_string(directory.join(OWNER_FILE)).ok()?;
    if mark == pid { pid.parse().ok() } else { None }
}

/// Whether a namespace is called like its testbed and a role, which never holds a hyphen.
fn belongs_to(namespace: &str, testbed: &str) -> bool {
    let role = namespace.strip_prefix(testbed).and_then(|rest| rest.strip_prefix('-'));
    role.is_some_and(|role| check_name(role, false).is_ok())
}

fn is_dead(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn check_name(name: &str, hyphens: bool) -> Result<()> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || (hyphens && byte == b'-');
    if !name.is_empty() && name.len() <= 32 && name.bytes().all(legal) {
        return Ok(());
    }
    let reason = "1 to 32 lower-case letters and digits are wanted, in a label also hyphens";
    Err(Error::unusable(name, reason))
}

/// Starts, once, the thread that removes all testbeds when the process is told to end.
fn watch_signals() -> Result<()> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| error.to_string())?;
        let obey = move || {
            if let Some(signal) = signals.forever().next() {
                let open = lock(&OPEN);
                open.iter().filter_map(Weak::upgrade).for_each(|ledger| ledger.settle());
                std::process::exit(128 + signal);
            }
        };
        let named = thread::Builder::new().name("lab-signals".into());
        named.spawn(obey).map(|_detached| ()).map_err(|error| error.to_string())
    });
    let doing = "watching for signals".to_string();
    started.clone().map_err(|text| Error::System { doing, source: std::io::Error::other(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_an_owner_only_by_its_mark() {
        let directory = std::env::temp_dir().join(format!("ledger-test-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let unmarked = owner("jeoul-slb-routed-4711", &directory);
        fs::write(directory.join(OWNER_FILE), "4711").unwrap();
        let names = ["jeoul-slb-routed-4711", "jeoul-slb-routed-4712", "slb-routed-4711", "jeoul-4711"];
        let owners = names.map(|name| owner(name, &directory));
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(unmarked, None);
        assert_eq!(owners, [Some(4711), None, None, None]);
    }

    #[test]
    fn a_namespace_belongs_to_one_testbed() {
        assert!(belongs_to("jeoul-slb-routed-4711-client", "jeoul-slb-routed-4711"));
        for other in ["jeoul-slb-routed-4711", "jeoul-slb-routed-47110-client", "jeoul-slb-routed-4711-5-far"]
        {
            assert!(!belongs_to(other, "jeoul-slb-routed-4711"), "{other}");
        }
    }

    #[test]
    fn only_the_dead_are_dead() {
        assert!(!is_dead(std::process::id()));
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(is_dead(pid));
    }

    #[test]
    fn a_role_with_a_hyphen_is_refused() {
        assert!(check_name("slb-routed", true).is_ok());
        for wrong in ["a-b", "", "A", "a/b", "../x"] {
            assert!(check_name(wrong, false).is_err(), "{wrong}");
        }
    }
}
