//! The operator's socket: one JSON object per line asks, one line answers.
//!
//! ```text
//!   ▶ {"command":"show","what":"services"}
//!   ◀ {"ok":true,"result":[{"name":"web",...}]}
//!   ▶ {"command":"server","action":"drain","service":"web","server":"198.18.1.11"}
//!   ◀ {"ok":false,"exit":2,"error":"service web has no server 198.18.1.11"}
//! ```
//!
//! [`Server`] belongs to the control thread and never blocks; what is asked is answered by whoever implements
//! [`Handler`]. [`ask`] is the other end, for the commands, and blocks. Only the owner may connect (mode
//! 0600), and one appliance only serves a path. Requests, clients, their patience and what is written ahead
//! of them are bounded: a client that sends nonsense, too much or nothing hears why and is let go, and costs
//! the appliance nothing else.

mod client;
mod connection;
mod listener;
mod message;
mod real_server;
mod server;

pub use client::{AskError, ask};
pub use listener::Place;
pub use message::{Action, Handler, Request, Response, What};
pub use real_server::{RealServer, RealServerFacts};
pub use server::{CLIENTS_MAX, Server};
