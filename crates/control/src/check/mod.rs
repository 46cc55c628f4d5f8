//! Health checks: is the server there?
//!
//! ```text
//!   Checks ── per check ──▶ Checker      what is thought of the server; time is a parameter
//!     │                  └▶ asking now:  a socket of the pool  (tcp, http, tls: a Conversation; udp)
//!     │                                  a number of the raw sockets  (icmp, tcp-half-open)
//!     │                                  a port of the carried checks (any of them to a VIP on its servers)
//!     └── a heap of deadlines, a queue for sockets
//! ```
//!
//! [`Checker`] is the judgement on one server: pure, what is asked is none of its business. [`Checks`] owns a checker
//! for everything that is to be checked, and runs them all in the control thread's loop. [`conversation`] is what is
//! said over a stream, and knows no socket. Two services that ask the same server in the same way share one check. A
//! peer that is slow, silent or talkative costs nothing but its own check (the sockets, bytes and seconds that it may
//! take are bounded).
//!
//! What is not the server's fault, such as a lack of descriptors here, is no verdict on it: the check is made a little
//! later.
//!
//! [`Target::way`] says how a check gets to its server. What asks by another way than the kernel's sockets has its own
//! place beside the pool and the raw sockets, and tells its answers by [`CheckId`] as these do.

mod allowance;
mod attempt;
mod carried;
mod checker;
mod checks;
pub mod conversation;
mod pool;
mod raw;
mod reason;
mod stream;
mod udp;
mod wanted;

pub use allowance::{SOCKETS_MAX, raise_descriptor_limit, socket_allowance};
pub use carried::{CARRIED_PORTS, Parcel};
pub use checker::{Checker, Expired, Health, Outcome, Parameters, Silence, Turn};
pub use checks::{CheckId, Checks, Status, TOKENS, Transition};
pub use raw::HALF_OPEN_PORTS;
pub use reason::Reason;
pub use udp::REPLY_BYTES_SEARCHED;
pub use wanted::{Carriage, Carrier, Target, Wanted, Way};
