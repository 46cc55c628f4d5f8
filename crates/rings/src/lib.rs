//! AF_XDP and AF_PACKET as ports; the steering program.

mod bpf;
mod error;
pub mod ethtool;
pub mod interface;
pub mod memory;
pub mod namespace;
mod open;
pub mod packet;
pub mod steering;
pub mod wait;
mod worker_ports;
mod xdp;

pub use error::Error;
pub use open::{Opened, PortSpec, RING_ENTRIES_DEFAULT, RING_ENTRIES_MAX, RingLengths, open};
pub use worker_ports::{PortStatistics, UmemUse, WorkerPorts};
pub use xdp::{KernelStatistics, XdpStatistics};
