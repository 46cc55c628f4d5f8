//! Real peers: servers that run inside a namespace until their handle is dropped.

mod decapsulator;
mod nginx;
mod tcp_hold;
mod transfer;
mod udp_echo;
mod vlan_switch;

pub use decapsulator::{Decapsulated, Decapsulator, GUE_PORT, Tunnel, rewrite_dscp};
pub use nginx::{Access, NginxServer};
pub use tcp_hold::TcpHold;
pub use transfer::TransferServer;
pub(crate) use transfer::{count_right, write_pattern};
pub use udp_echo::{ECHOED_BYTES_MIN, UdpEcho};
pub use vlan_switch::VlanSwitch;
