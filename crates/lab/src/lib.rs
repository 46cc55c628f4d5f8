//! Testbeds as a library: namespaces, veth pairs, peers, traffic.
//!
//! A [`Testbed`] is a set of network namespaces joined by [`Link`]s. Real peers run inside it
//! ([`NginxServer`], [`UdpEcho`], [`TcpHold`], [`MoodServer`], [`TransferServer`], [`Iperf3`],
//! [`Decapsulator`], [`VlanSwitch`], [`DelayLine`], [`Firewall`], [`FtpServer`], [`Appliance`]), real clients call them ([`run_requests`],
//! [`Calls`], [`transfer`], [`ask_udp`], [`ask_in_fragments`], [`HeldConnections`]), and a [`Capture`] shows what was on the wire. `jeoul lab`,
//! end-to-end tests and benches are made of these parts; [`topology`] holds the labs that have a name, [`device`] what a bench
//! compares.
//!
//! Everything here blocks; none of it belongs on a worker. It refuses addresses outside 198.18.0.0/15 and
//! 2001:db8::/32, never touches an interface that it did not make, and leaves nothing behind, also after a
//! panic or Ctrl-C.
//!
//! Needs root and Debian's `iproute2` and `ethtool`; `nginx`, `tcpdump`, `nft`, `ping`, `iperf3`, `conntrack`,
//! `conntrackd`, `vsftpd` and `curl` where they are used.
#![forbid(unsafe_code)]

mod address;
mod appliance;
mod capture;
mod client;
pub mod device;
mod error;
mod ledger;
mod link;
mod namespace;
mod peer;
mod process;
mod program;
mod raw;
mod share;
mod testbed;
pub mod topology;

pub use address::{Prefix, lab_address};
pub use appliance::Appliance;
pub use capture::{
    AddressRow, Capture, Captured, Direction, Frame, Packet, WrongChecksum, address_rows, address_table,
    read_pcap,
};
pub use client::{
    Answer, BusyConnections, BusyDatagrams, Call, Called, Calls, Chatter, DatagramFlow, Datagrams, Echoed,
    Failed, Failure, FirstAnswer, FragmentedQuestion, HeldConnections, HeldState, Load, Order, Pinged,
    Report, Rested, Transferred, Way, WrkReport, ask_in_fragments, ask_udp, first_answer, fragment_udp,
    http_get, per_server, ping_many, round_trips, run_requests, run_wrk, send_frames, transfer, udp_ask,
    udp_ask_sized,
};
pub use error::{Error, Result};
pub use link::{Counters, Endpoint, Link};
pub use namespace::Namespace;
pub use peer::{
    Access, Deafness, Decapsulated, Decapsulator, DelayLine, Discarded, ECHOED_BYTES_MIN, ESTABLISHED,
    Filtering, Firewall, FirewallPolicy, FlowKey, FtpMode, FtpServer, GUE_PORT, INVALID, Iperf3,
    Iperf3Report, Misrouting, Mood, MoodServer, NginxServer, OPENED, PacketFilter, READY, RELATED, Speech,
    TcpHold, TrackedFlow, TransferServer, Translation, Tunnel, UNTRACKED, UdpEcho, VlanSwitch, ftp_fetch,
    ftp_store, misroute_answers, rewrite_dscp, run_iperf3, run_iperf3_over,
};
pub use process::{Process, Signal};
pub use program::find_program;
pub use share::{ByteShare, Share};
pub use testbed::Testbed;
pub use wire::Mac;
