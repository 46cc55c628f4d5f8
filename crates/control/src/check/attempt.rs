//! How asking once begins and goes on, whatever is asked and by which way.

use std::io::{Error, ErrorKind};

use super::{Outcome, Reason};

/// Lack of something on this host: ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS and ENOMEM of errno(3), too many
/// files open in all or here, no source port left, no buffers, no memory.
const OWN_ERRORS: [i32; 5] = [23, 24, 99, 105, 12];

/// How a check began.
pub(super) enum Start<T> {
    /// The question is out.
    UnderWay(T),
    /// It ended at once.
    Over(Outcome),
    /// This host lacks something; the server has not been asked.
    NotNow(Error),
}

impl<T> Start<T> {
    /// The same about something made of it.
    pub(super) fn map<U>(self, make: impl FnOnce(T) -> U) -> Start<U> {
        match self {
            Self::UnderWay(it) => Start::UnderWay(make(it)),
            Self::Over(outcome) => Start::Over(outcome),
            Self::NotNow(error) => Start::NotNow(error),
        }
    }

    /// It could not be asked, and why.
    pub(super) fn failed(error: Error) -> Self {
        // A full send buffer is as much our own.
        let own = error.kind() == ErrorKind::WouldBlock
            || error.raw_os_error().is_some_and(|code| OWN_ERRORS.contains(&code));
        if own { Self::NotNow(error) } else { Self::Over(Outcome::Failure(Reason::from(&error))) }
    }
}

/// What readiness brought, or the passing of time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The verdict, once.
    pub(super) outcome: Option<Outcome>,
    /// The socket has served its turn.
    pub(super) finished: bool,
}

impl Progress {
    /// The verdict, and the end.
    pub(super) fn over(outcome: Outcome) -> Self {
        Self { outcome: Some(outcome), finished: true }
    }
}
