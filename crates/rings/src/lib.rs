//! AF_XDP and AF_PACKET as ports; the steering program.

mod bpf;
mod error;
pub mod ethtool;
pub mod interface;
pub mod memory;
pub mod namespace;
pub mod packet;
pub mod steering;
pub mod wait;
mod worker_ports;
mod xdp;

pub use error::Error;
