//! What can go wrong with a ring, a program or an interface: the value, the bound, and what to do about it.
//!
//! Made on the control thread and at start; nothing on the path of a frame returns one.

use std::fmt;
use std::io;

/// Why a port, a program or an interface setting could not be had.
#[derive(Debug)]
pub enum Error {
    /// The process lacks a capability.
    Capability {
        /// What was tried.
        what: String,
        /// The capability, as `capabilities(7)` spells it.
        capability: &'static str,
    },
    /// Another XDP program sits on the interface.
    Occupied {
        /// The interface.
        interface: String,
    },
    /// The interface's MTU is above what a native attach carries in one buffer.
    MtuTooLarge {
        /// The interface.
        interface: String,
        /// Its MTU in bytes.
        mtu: u32,
    },
    /// An interface of the name that one is to be made by is there already.
    Exists {
        /// The interface.
        interface: String,
    },
    /// No interface of this name is in this network namespace.
    NoInterface {
        /// The name.
        interface: String,
    },
    /// The kernel or the driver does not have it.
    Unsupported {
        /// What was tried.
        what: String,
        /// What it needs.
        needs: &'static str,
    },
    /// A value lies outside its bound.
    OutOfBounds {
        /// What the value is, and for what.
        what: String,
        /// The value.
        value: u64,
        /// The largest that is possible.
        bound: u64,
        /// What to do about it.
        advice: &'static str,
    },
    /// The kernel's verifier refused a program: a defect of this crate, or a kernel that it does not know.
    Refused {
        /// The program.
        program: &'static str,
        /// The last lines that the verifier wrote.
        log: String,
    },
    /// Any other failed system call.
    System {
        /// What was tried, on what.
        what: String,
        /// The error number's own words.
        source: io::Error,
    },
}

impl Error {
    /// The failed system call's error number as an error; call at once after the call.
    pub(crate) fn last(what: impl Into<String>) -> Self {
        Self::from_io(what, io::Error::last_os_error())
    }

    /// An error number as an error: what a person can act upon becomes its own variant.
    pub(crate) fn from_io(what: impl Into<String>, source: io::Error) -> Self {
        Self::System { what: what.into(), source }
    }

    /// As [`Error::from_io`], for a call that the kernel refuses with EPERM or EACCES without `capability`.
    pub(crate) fn privileged(what: impl Into<String>, capability: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Capability { what: what.into(), capability },
            _ => Self::from_io(what, source),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability { what, capability } => {
                write!(f, "{what}: not permitted; run as root or grant {capability}")
            }
            Self::Occupied { interface } => write!(
                f,
                "{interface}: another XDP program is attached; see it with \
                 `ip -details link show {interface}`, take it off with \
                 `ip link set dev {interface} xdp off`, or use driver = \"af_packet\""
            ),
            Self::MtuTooLarge { interface, mtu } => write!(
                f,
                "{interface}: MTU {mtu} does not fit the one buffer of a native attach; set the MTU to 1500 \
                 with `ip link set dev {interface} mtu 1500`"
            ),
            Self::Exists { interface } => write!(
                f,
                "{interface}: an interface of this name is there already; take another name, or see what it \
                 is with `ip -details link show {interface}` and remove it with \
                 `ip link delete {interface}`"
            ),
            Self::NoInterface { interface } => {
                write!(f, "{interface}: no such interface in this network namespace; see `ip link`")
            }
            Self::Unsupported { what, needs } => write!(f, "{what}: not supported here; needs {needs}"),
            Self::OutOfBounds { what, value, bound, advice } => {
                write!(f, "{what}: {value} is above {bound}; {advice}")
            }
            Self::Refused { program, log } => write!(f, "{program}: the kernel's verifier refused it: {log}"),
            Self::System { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}
