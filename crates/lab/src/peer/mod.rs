//! Real peers: servers that run inside a namespace until their handle is dropped.

mod decapsulator;
mod delay_line;
mod firewall;
mod ftp;
mod iperf3;
mod mood;
mod nginx;
mod packet_filter;
mod packet_socket;
mod tcp_hold;
mod transfer;
mod udp_echo;
mod vlan_switch;

pub use decapsulator::{Decapsulated, Decapsulator, GUE_PORT, Tunnel, rewrite_dscp};
pub use delay_line::DelayLine;
pub use firewall::{
    Deafness, ESTABLISHED, Filtering, Firewall, FirewallPolicy, FlowKey, INVALID, Misrouting, OPENED,
    RELATED, TrackedFlow, Translation, UNTRACKED, misroute_answers,
};
pub use ftp::{FtpMode, FtpServer, ftp_fetch, ftp_store};
pub use iperf3::{Iperf3, Iperf3Report, run_iperf3, run_iperf3_over};
pub use mood::{Mood, MoodServer, READY, Speech};
pub use nginx::{Access, NginxServer};
pub use packet_filter::{Discarded, PacketFilter};
pub use tcp_hold::TcpHold;
pub use transfer::TransferServer;
pub(crate) use transfer::{count_right, write_pattern};
pub use udp_echo::{ECHOED_BYTES_MIN, UdpEcho};
pub use vlan_switch::VlanSwitch;
