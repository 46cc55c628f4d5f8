//! Clients: traffic with a bound in requests and in seconds, and what came of it.

mod busy;
mod calls;
mod datagrams;
mod fragments;
mod frames;
mod held;
mod http;
mod pings;
mod report;
mod round_trips;
mod transfer;
mod udp;
mod wrk;

pub use busy::{BusyConnections, Chatter, Rested};
pub use calls::{Call, Called, Calls, per_server};
pub use datagrams::{BusyDatagrams, DatagramFlow, Datagrams};
pub use fragments::{FragmentedQuestion, Order, ask_in_fragments, fragment_udp};
pub use frames::send_frames;
pub use held::{HeldConnections, HeldState};
pub use http::{Load, http_get, run_requests};
pub use pings::{Pinged, ping_many};
pub use report::{Answer, Failed, Failure, Report};
pub use round_trips::{FirstAnswer, first_answer, round_trips};
pub use transfer::{Transferred, Way, transfer};
pub use udp::{Echoed, ask_udp, udp_ask, udp_ask_sized};
pub use wrk::{WrkReport, run_wrk};
