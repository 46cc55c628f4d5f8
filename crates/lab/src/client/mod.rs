//! Clients: traffic with a bound in requests and in seconds, and what came of it.

mod held;
mod http;
mod report;
mod udp;

pub use held::{HeldConnections, HeldState};
pub use http::{Load, http_get, run_requests};
pub use report::{Answer, Failed, Failure, Report};
pub use udp::{ask_udp, udp_ask};
