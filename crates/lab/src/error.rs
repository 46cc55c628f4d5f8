//! Why a testbed could not be built or driven, in words that say what to do.

use std::fmt;
use std::io;
use std::net::IpAddr;

/// Shorthand of the whole crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong around a testbed. What goes wrong for a *client* of it (refused, reset,
/// silent) is a result, not an error: see [`crate::Failure`].
#[derive(Debug)]
pub enum Error {
    /// Namespaces need the privileges of root.
    NotRoot,
    /// An external program is not installed.
    Missing {
        /// The program.
        program: String,
        /// The Debian package that brings it.
        package: String,
    },
    /// An address outside the networks that are set aside for benchmarks and documentation.
    ForeignAddress(IpAddr),
    /// A name, prefix or parameter that cannot be used, and why.
    Unusable {
        /// What it was.
        value: String,
        /// What is wrong with it and what would be right.
        reason: &'static str,
    },
    /// A program ended with a failure.
    Command {
        /// The command line.
        command: String,
        /// Its exit status, in words.
        status: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The operating system refused.
    System {
        /// What was being done.
        doing: String,
        /// Its answer.
        source: io::Error,
    },
    /// Something did not become ready, or did not end, in its time.
    TooSlow {
        /// What was waited for, and what is known about it.
        waiting_for: String,
    },
    /// The testbed is being removed: nothing new starts in it.
    Closed,
}

impl Error {
    /// For `map_err`: says what was being done when the system refused.
    pub(crate) fn system<S: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(S) -> Error {
        let doing = doing.into();
        move |source| Error::System { doing, source: source.into() }
    }

    pub(crate) fn unusable(value: impl Into<String>, reason: &'static str) -> Error {
        Error::Unusable { value: value.into(), reason }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRoot => write!(f, "a lab makes network namespaces: run it as root"),
            Self::Missing { program, package } => {
                write!(f, "`{program}` is not installed: apt-get install {package}")
            }
            Self::ForeignAddress(address) => {
                write!(f, "{address} is not a lab address: only 198.18.0.0/15 and 2001:db8::/32 are")
            }
            Self::Unusable { value, reason } => write!(f, "`{value}` cannot be used: {reason}"),
            Self::Command { command, status, stderr } => {
                write!(f, "`{command}` failed ({status}): {}", stderr.trim_end())
            }
            Self::System { doing, source } => write!(f, "{doing}: {source}"),
            Self::TooSlow { waiting_for } => write!(f, "waited in vain for {waiting_for}"),
            Self::Closed => write!(f, "the testbed is being removed"),
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
