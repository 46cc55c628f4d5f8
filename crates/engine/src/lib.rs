//! The worker's turn: receive, parse, look up, decide, rewrite, settle.
//!
//! ```text
//!   Ports ─receive─▶ burst ──parse──▶ touch tags ──▶ touch slots ──▶ look up ─hit──▶ replay ─┐
//!                       │ malformed                                    │ miss                │ Verdict
//!                       ▼                                              ▼                     ▼
//!                    counted drop                first ▶ admit ▶ insert ▶ replay  ────▶ Ports.settle
//!                                                  │ ▶ route
//!                                                  └ ▶ answer in place, park
//! ```
//!
//! A [`Worker`] belongs to one thread and has one method, [`Worker::turn`]; what it shares with others ([`Shared`]) are
//! tables of atomics and bounded queues. Time is a parameter. A worker never blocks, allocates, locks, logs or panics: what
//! it refuses is a counted drop ([`DropReason`]), and what it cannot do itself it reports to control ([`Report`]).
#![forbid(unsafe_code)]

mod admit;
mod answer;
mod arrival;
mod burst;
mod carry;
mod copies;
mod counters;
mod crossing;
mod dead;
mod departure;
mod egress;
mod expect;
mod express;
mod first;
mod mac_table;
mod park;
mod path;
mod path_mtu;
mod pieces;
mod pinned;
mod probe;
mod quoting;
mod reason;
mod rehearsal;
mod remember;
mod replay;
mod reply_way;
mod scratch;
mod shared;
mod source_nat;
mod split;
mod sweep;
mod switch;
mod tags;
mod tally;
mod worker;
mod wrapping;

pub use counters::{MemberCounters, PortCounters, WorkerCounters};
pub use mac_table::{BRIDGES_MAX, MACS_MAX, MacTable, Sighting, Station};
pub use reason::DropReason;
pub use rehearsal::{AnyKey, Fate, Played, Rehearsal};
pub use reply_way::ReplyWay;
pub use shared::{
    Bearer, CARRY_BYTES_MAX, Carry, ORDER_BYTES_MAX, Order, Orders, Punt, Report, Shared, Sizes, orders,
};
pub use worker::{Parts, Turn, Worker};
