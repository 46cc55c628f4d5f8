//! What a bench measures and how it reports: profiles, searches, results, comparison. No I/O.
//!
//! A bench is a [`Profile`] (what is asked), a [`Schedule`] (in which order), the state machines of [`search`] (what to
//! send next) and [`Results`] (what came out), from which [`report::html`], [`Summary`] and [`Comparison`] are made. Whoever assembles
//! them builds the devices, runs the generator and owns the clock: nothing here reads a file, starts a process or asks
//! the time, so a search can be tested against a device made of numbers. Any thread may call it.
//!
//! It refuses a profile that it does not understand, and raw results of another format.
#![forbid(unsafe_code)]

pub mod compare;
pub mod profile;
pub mod report;
pub mod results;
pub mod schedule;
pub mod search;
mod summary;
mod units;

pub use compare::Comparison;
pub use profile::Profile;
pub use results::Results;
pub use schedule::Schedule;
pub use summary::Summary;
