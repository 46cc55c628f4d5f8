//! Real peers: servers that run inside a namespace until their handle is dropped.

mod decapsulator;
mod iperf3;
mod nginx;
mod tcp_hold;
mod transfer;
mod udp_echo;
mod vlan_switch;

pub use decapsulator::{Decapsulated, Decapsulator, GUE_PORT, Tunnel, rewrite_dscp};
pub use iperf3::{Iperf3, Iperf3Report, run_iperf3};
pub use nginx::{Access, NginxServer};
pub use tcp_hold::TcpHold;
pub use transfer::TransferServer;
pub(crate) use transfer::{count_right, write_pattern};
pub use udp_echo::{ECHOED_BYTES_MIN, UdpEcho};
pub use vlan_switch::VlanSwitch;
