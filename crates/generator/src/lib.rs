//! A traffic generator on Jeoul's own rings: the library behind `jeoul-gen`.
//!
//! A [`profile::Profile`] says what is to be sent; [`run::run`] sends it and counts what comes back; the
//! [`report::Report`] says what came of it. Each measured frame carries a [`stamp`], found at the end of its
//! packet whatever a device under test did to the headers before it.
//!
//! ```text
//!   profile ─▶ schedule ─due─▶ sender ─patch─▶ template ─▶ ring ═▶ device under test
//!                                                                         │
//!   report ◀── account ◀─sequence, latency── stamp ◀───────────── ring ◀══╝
//! ```
//!
//! Each port is a [`leg`]: one thread owns its rings, its senders and its accounts. Threads share a start
//! time, a budget of packets and a flag to stop, nothing else. Flows are arithmetic ([`flows`]); a schedule
//! is a pure function of time ([`schedule`]).
//!
//! It refuses interfaces that were not named, and runs without a bound in time and one in packets.
#![forbid(unsafe_code)]

pub mod account;
pub mod flows;
pub mod leg;
pub mod live;
pub mod neighbours;
pub mod open;
pub mod profile;
pub mod report;
pub mod run;
pub mod schedule;
pub mod sender;
pub mod sizes;
pub mod stamp;
pub mod tcp;
pub mod template;
pub mod units;
