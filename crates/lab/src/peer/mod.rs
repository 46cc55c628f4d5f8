//! Real peers: servers that run inside a namespace until their handle is dropped.

mod nginx;
mod tcp_hold;
mod udp_echo;

pub use nginx::{Access, NginxServer};
pub use tcp_hold::TcpHold;
pub use udp_echo::UdpEcho;
