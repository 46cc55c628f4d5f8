//! Translations: what happens to every packet of one direction of a session, decided once and replayed.
//!
//! A *mode* exists only until [`translate`] has compiled it; after that there is only a [`Translation`], one small plain
//! record with its checksum delta precomputed (RFC 1624), which [`apply`] replays without a branch on the mode. It
//! fits into the words that a session slot has for it ([`Words`]).
//!
//! Pure functions of their arguments: any thread may call them. They refuse nothing: what may not be forwarded (a hop
//! limit that ran out, a frame too long) is decided before.
#![forbid(unsafe_code)]

mod shape;
mod translation;
mod words;

pub use shape::{Carriage, Shape};
pub use translation::{
    Birth, Course, Direction, Endpoints, LinkIndex, MemberId, Translation, apply, apply_plain,
    decrement_hop_limit, translate,
};
pub use words::Words;
