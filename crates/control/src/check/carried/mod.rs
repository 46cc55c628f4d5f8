//! Checks of servers that answer their clients directly: they must answer as the VIP.
//!
//! Such a server serves a VIP that it holds on its loopback. Its own address says nothing of that: without the VIP on its
//! loopback it answers a check there all the same, and drops what clients send. So a check's packets are addressed to the
//! VIP and carried by a worker the way that requests are, with the server's MAC address, in its tunnel or under its mark
//! (`engine::Carry`). The answers come as ordinary packets from the VIP to this host's address.

mod packet;
mod stream;
mod user_tcp;

pub use stream::{CarriedStream, Progress};
pub use user_tcp::{BYTES_KEPT, State, UserTcp};

#[cfg(test)]
mod tests;
