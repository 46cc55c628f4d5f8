//! Golden packet scripts: a sentence, a configuration, frames in, frames expected out.
//!
//! A file holds the scripts of one subject. Before the first title stand what they share; a script's own lines come on top.
//!
//! ```text
//!   use routed                              the world: stations, facts, ports (a file `routed.world` beside it)
//!   config:                                 services; the indented lines are appended to the world's TOML
//!       [[service]]
//!       …
//!
//!   # A request goes to a server, and the reply comes from the VIP     the title, a sentence
//!   sessions-max 7                          a tiny table                                     (memory only)
//!   one-worker                              what it counts is counted by each worker on its own
//!   memory-only                             it needs ports that the benches of real rings have not; in a world, too
//!   fact interface eth2 INSIDE mtu 1400     a fact; before the first frame or between frames
//!   in outside: tcp … from CLIENT to OUTSIDE
//!   out inside: tcp … from INSIDE to SERVER1
//!   nothing                                 no port has sent anything else
//!   for $port 40000-40007 / end             repeats the lines between them
//!   advance 5s                              lets time pass                                   (memory only)
//!   health web/198.18.1.11 down             or `up`
//!   server web/198.18.1.11 drain            or `disable`, `enable`
//!   carry web/198.18.1.11: tcp …            control has this packet carried as a request to that server
//!   reload: …                               as `config:`; replaces it
//!   drops no-service 1                      so many frames in all were dropped for this reason
//!   sessions 1                              so many sessions live
//!   asks inside 198.18.1.99                 control was asked to resolve this next hop
//! ```
//!
//! `in` and `out` name a ring: an interface, the port that has its frames without a tag, or the bridge or port whose host
//! leg it is: there `in` is what the kernel sends, and `out` what it gets. The benches of real rings have two links and no
//! TAP device, so worlds with host legs are for memory only.
//!
//! Every frame that a port sends must be expected, in its order: what nobody asked for fails the script as surely as what
//! is missing. A frame is compared whole, byte for byte; a port number or identification that the appliance draws is written
//! `$name` and must be the same wherever that name stands.

mod memory;
mod read;
mod run;

pub use memory::MemoryBench;
pub use read::{ScriptError, read};
pub use run::{Bench, Failure, run};

use std::time::Duration;

/// A script.
#[derive(Clone, Debug)]
pub struct Script {
    /// The sentence.
    pub title: String,
    /// The stations, as name and MAC.
    pub stations: Vec<(String, wire::Mac)>,
    /// What the kernel knows at the start.
    pub facts: Vec<String>,
    /// The configuration.
    pub config: String,
    /// Sessions of each table, instead of the configuration's.
    pub sessions_max: Option<usize>,
    /// It rests on bounds that each worker keeps on its own.
    pub one_worker: bool,
    /// It needs ports that the benches of real rings have not.
    pub memory_only: bool,
    /// What happens, with the number of its line.
    pub steps: Vec<(usize, Step)>,
}

impl Script {
    /// Whether it rests on a time that a test decides, on a table of its own size, or on other ports.
    pub fn is_memory_only(&self) -> bool {
        self.memory_only
            || self.sessions_max.is_some()
            || self.steps.iter().any(|(_, step)| matches!(step, Step::Advance(_)))
    }
}

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A frame arrives at a port.
    In(String, String),
    /// A port has sent this frame.
    Out(String, String),
    /// No port has sent anything else.
    Nothing,
    /// Time passes.
    Advance(Duration),
    /// A server's check changed its mind.
    Health(String, control::members::Health),
    /// The operator changed his.
    Wish(String, control::members::Wish),
    /// The kernel knows something new.
    Fact(String),
    /// A packet is to be carried to a server.
    Carry(String, String),
    /// Another configuration.
    Reload(String),
    /// So many frames were dropped for a reason.
    Drops(String, u64),
    /// So many sessions live.
    Sessions(usize),
    /// So many sessions count at a server or firewall.
    Active(String, u64),
    /// So many flows of a firewall were seen over another one.
    Drifted(String, u64),
    /// Control was asked to resolve a next hop.
    Asks(String, std::net::IpAddr),
}
