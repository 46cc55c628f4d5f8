//! Firewalls that share what they know: `conntrackd` tells all others of a segment of each new connection, and
//! puts what it hears straight into the kernel's table.
//!
//! It talks by multicast of the link alone (224.0.0.0/24 never leaves it; RFC 5771, 4), so three firewalls
//! need no more than one segment. In the mode NOTRACK, which repeats nothing: the one that numbers its
//! messages, FTFW, knows two firewalls only. What it puts into a table is free of TCP's window tracking.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::link::Endpoint;
use crate::process::Process;
use crate::program;

/// Where the firewalls of a segment hear each other.
const GROUP: &str = "224.0.0.50";

/// How long it may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running `conntrackd`; dropped, it ends.
#[derive(Debug)]
pub(super) struct Sharing {
    leg: Endpoint,
    directory: PathBuf,
    process: Option<Process>,
}

impl Sharing {
    /// Starts it on a leg, which gets an address for it. The firewall's name, unique in the testbed, is its
    /// directory's too.
    pub(super) fn start(name: &str, leg: &Endpoint, number: u8) -> Result<Self> {
        leg.add_address(&format!("{}/24", address(number)))?;
        let directory = leg.namespace().directory().join(format!("{name}.sharing"));
        fs::create_dir(&directory).map_err(Error::system(format!("creating {}", directory.display())))?;
        let mut sharing = Self { leg: leg.clone(), directory, process: None };
        let configuration = sharing.configuration(number);
        let path = sharing.file("conf");
        fs::write(&path, configuration).map_err(Error::system(format!("writing {}", path.display())))?;
        sharing.revive()?;
        Ok(sharing)
    }

    /// Kills it; it tells nobody.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again after a kill and waits until it listens; nothing happens when it runs.
    pub(super) fn revive(&mut self) -> Result<()> {
        if self.process.as_ref().is_some_and(Process::is_running) {
            return Ok(());
        }
        // A log of an earlier life says that it listens, and a lock that it still runs.
        for left in ["log", "lock", "ctl"] {
            match fs::remove_file(self.file(left)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::system(format!("removing {}", self.file(left).display()))(error));
                }
                _ => {}
            }
        }
        let mut command = self.leg.namespace().command("conntrackd")?;
        command.arg("-C").arg(self.file("conf")).stdout(Stdio::null()).stderr(Stdio::null());
        let process = self.process.insert(self.leg.namespace().spawn(command)?);
        let log = self.directory.join("log");
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let listens = program::wait_until(START_LIMIT, || {
            !process.is_running() || said().contains("initialization completed")
        });
        if listens && process.is_running() {
            return Ok(());
        }
        Err(Error::TooSlow { waiting_for: format!("conntrackd to listen: {}", said()) })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn configuration(&self, number: u8) -> String {
        let (interface, own, network) = (self.leg.interface(), address(number), address(0));
        let path = |name: &str| self.file(name).display().to_string();
        let (log, lock, control) = (path("log"), path("lock"), path("ctl"));
        // Its own messages, and what the kernels of the segment say to each other, are no connections to share.
        format!(
            "Sync {{\n  Mode NOTRACK {{\n    DisableExternalCache On\n  }}\n  \
             Multicast {{\n    IPv4_address {GROUP}\n    Group 3780\n    IPv4_interface {own}\n    \
             Interface {interface}\n    SndSocketBuffer 1249280\n    RcvSocketBuffer 1249280\n    \
             Checksum on\n  }}\n}}\n\
             General {{\n  HashSize 8192\n  HashLimit 65535\n  Syslog off\n  LogFile {log}\n  \
             LockFile {lock}\n  UNIX {{\n    Path {control}\n  }}\n  NetlinkBufferSize 2097152\n  \
             NetlinkBufferSizeMaxGrowth 8388608\n  Filter From Kernelspace {{\n    \
             Protocol Accept {{\n      TCP\n      UDP\n      ICMP\n      IPv6-ICMP\n    }}\n    \
             Address Ignore {{\n      IPv4_address 127.0.0.1\n      IPv6_address ::1\n      \
             IPv4_address {network}/24\n      IPv4_address {GROUP}\n    }}\n  }}\n}}\n"
        )
    }
}

/// The address of a firewall in the network that the firewalls share what they know over.
fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 250, number)
}
