//! Everything that is not traffic: what the kernel knows, which servers live, what the operator asks.
//!
//! One thread, one mio loop. Each part gives the loop a descriptor, a way to take what came, and the time at which it
//! wants to be called again; what it decides is a state machine without I/O, to which time is a parameter. Nothing here
//! touches a frame of traffic, and nothing here may be called from a worker.

pub mod announce;
pub mod check;
pub mod compile;
pub mod controller;
pub mod explain;
pub mod facts;
#[cfg(test)]
mod fixtures;
pub mod fwlb;
pub mod links;
pub mod members;
pub mod netlink;
pub mod operator;
pub mod probe;
pub mod signals;
