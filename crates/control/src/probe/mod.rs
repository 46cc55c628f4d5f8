//! Path probes: does a path through a firewall bear, both ways, and the same way?
//!
//! ```text
//!   this end                        fw1                         far end
//!   responder for fw1 ──question──▶  ┆  ──▶ far_address: a worker answers by the way it came,
//!                     ◀─── ◀───────  ┆  ◀── and control reads what the question reported
//! ```
//!
//! A probe goes out by the link that traffic to the firewall takes, as a flow that no firewall has seen before. Its answer
//! counts when it comes back in time by that same link. But a stateful firewall swallows an answer that was led astray, so
//! that silence alone tells little. Each end therefore reports in its own probes, on every path of the group, when, and
//! over which firewall, it last heard the other end there (`payload.rs`): from that come the reasons, and `asymmetric`.
//!
//! * answered by its own link, and neither end hears it elsewhere: good;
//! * answered or heard over another firewall, at either end: asymmetric, and as bad as down;
//! * unanswered: down, after as many failures as a health check forgives ([`crate::check::Checker`]). The reason says which
//!   direction is broken, as far as the far end was heard since.
//!
//! A path that returns must be good as often in a row as `rise` says. The evidence is never older than two of the far end's
//! intervals; so a repaired path may need one probe more.
//!
//! Echo requests and datagrams carry all that. A SYN (`tcp-half-open`) carries nothing, since firewalls rewrite sequence
//! numbers and proxies answer for others: it proves that something behind the firewall can be reached, and no more.
//! Whatever answers it will do, a reset too.
//!
//! Two ends that hear each other and would place flows differently raise an alarm ([`Complaint`]); the path's state stays.
//! With another `hash_key` no datagram is answered at all, while an echo request is, by any host.
//!
//! An appliance with legs on both sides of the firewalls is its own far end: two groups, whose paths end in each other's
//! probe addresses. Which path a packet is for, its destination says alone. Control thread only.

mod alarm;
mod far;
mod fault;
mod group;
mod news;
mod packet;
mod path;
mod payload;
mod prober;
mod wanted;

pub use alarm::Complaint;
pub use fault::{Fault, FaultKind};
pub use news::{Event, News, PathStatus};
pub use prober::{Prober, Sending};
pub use wanted::{Asking, WantedGroup, WantedPath};
