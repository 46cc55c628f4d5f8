//! Health checks: is the server there?
//!
//! [`Checker`] is the judgement on one server: pure, time is a parameter, what is asked is none of its
//! business. [`Checks`] owns a checker and, while one is asked, a socket for everything that is to be
//! checked, and runs them in the control thread's loop. Two services that ask the same server in the same way
//! share one check. A peer that is slow, silent or talkative costs nothing but its own check (the sockets,
//! bytes and seconds that it may take are bounded).
//!
//! What is not the server's fault, such as a lack of descriptors here, is no verdict on it: the check is made
//! a little later.

pub mod carried;
mod checker;
mod checks;
pub mod conversation;
mod reason;
mod tcp;

pub use checker::{Checker, Expired, Health, Outcome, Parameters, Turn};
pub use checks::{CheckId, Checks, SOCKETS_MAX, Status, Transition, Wanted};
pub use reason::Reason;
