//! Parse once: what a frame is, whose flow it belongs to, and the keyed hash of that flow.
//!
//! [`parse()`] turns the bytes of a frame into the headers themselves, as disjoint mutable views, plus [`FlowKey`] and
//! hash. Nothing downstream indexes raw bytes again.
//!
//! Two words never blur here. *Steer* is which worker sees a frame: a matter of speed. *Dispatch* is which member
//! serves a flow: a matter of correctness, decided by [`FlowHasher::dispatch`].
//!
//! A later fragment says no ports; [`fragments`] finds the flow of its datagram.
//!
//! Everything but the fragment map is a pure function of its arguments, and the map is shared: any thread may call
//! anything. Refuses malformed frames by [`wire::Refusal`].
#![forbid(unsafe_code)]

pub mod fragments;
pub mod plain;
pub mod probe;
pub mod quote;

mod family;
mod hash;
mod key;
mod parse;
mod sync;

pub use family::{Family, NetworkHeader, Quoted, V4, V6};
pub use hash::FlowHasher;
pub use key::{DatagramKey, FlowKey, KeyV4, KeyV6, Zone};
pub use parse::{Network, Packet, Parsed, Transport, parse, segment};
