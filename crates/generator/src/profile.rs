//! Profiles: what is to be sent, in a TOML file.
//!
//! [`Profile::parse`] is pure; [`Profile::load`] reads the file and nothing else. What is wrong is refused
//! with file, line and column: everything that is wrong in itself in one pass, after what is no profile at
//! all. What the command line changes is applied by [`Overrides`], and a profile is only run when it has a
//! bound in time and one in packets ([`Profile::bounds`]).

mod file;
mod overrides;
mod refusal;
mod streams;

use std::net::IpAddr;
use std::time::Duration;

use wire::Mac;

pub use overrides::Overrides;
pub use refusal::Refusal;

use crate::flows::{Flows, Network};
use crate::sizes::{FCS_BYTES, FRAME_BYTES_MIN, Sizes};
use crate::stamp::STAMP_BYTES;
use crate::units::Rate;

/// Streams of a profile at the most: a stamp has a byte for them.
pub const STREAMS_MAX: usize = 255;

/// Longest file that is read.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// A whole profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The file's name.
    pub name: String,
    /// Ports by name, in the order in which the file names them first.
    pub ports: Vec<Port>,
    /// The streams, in the order of the file.
    pub streams: Vec<Stream>,
    /// How long frames are sent at the most.
    pub duration: Option<Duration>,
    /// How many frames are sent at the most, over all streams.
    pub packets: Option<u64>,
}

/// One port of the generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The name by which streams and the command line know it.
    pub name: String,
    /// Networks for whose addresses it answers ARP and neighbour solicitations.
    pub answers: Vec<Network>,
}

/// One stream: flows that are alike, from one port to one other.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Its name in reports.
    pub name: String,
    /// Index of the port that it is sent on.
    pub transmit: usize,
    /// Index of the port that it is expected on.
    pub receive: usize,
    /// Of its frames, check sequence included.
    pub sizes: Sizes,
    /// Its sources.
    pub flows: Flows,
    /// What its packets are.
    pub protocol: Protocol,
    /// Where they go.
    pub destination: IpAddr,
    /// To which port there.
    pub destination_port: u16,
    /// By which next hop; the receiving port's own where none is named.
    pub destination_mac: Option<Mac>,
    /// When they are sent.
    pub mode: Mode,
    /// Whether their latency is recorded.
    pub latency: bool,
    /// How connections end; for TCP handshakes and data.
    pub close: Close,
    /// How long a handshake may take before it has failed.
    pub timeout: Duration,
}

/// What the packets of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// The first segment of a connection, never answered.
    TcpSyn,
    /// Connections: opened, then ended.
    TcpHandshake,
    /// Connections with one request and one answer.
    TcpData,
}

impl Protocol {
    /// Whether the generator plays both ends of connections.
    pub fn connects(self) -> bool {
        matches!(self, Self::TcpHandshake | Self::TcpData)
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Close {
    /// Both ends say that they are done.
    #[default]
    Fin,
    /// The client resets it.
    Rst,
    /// It stays open.
    Keep,
}

/// When the frames of a stream are sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Evenly.
    Continuous {
        /// How fast.
        rate: Rate,
    },
    /// In bursts.
    Burst {
        /// Frames of one burst.
        packets: u64,
        /// Time from the end of one to the beginning of the next.
        gap: Duration,
        /// How many bursts.
        count: u64,
        /// How fast inside a burst.
        rate: Rate,
    },
    /// One rate after another.
    Steps(Vec<Step>),
}

/// One rate for some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// How fast; never [`Rate::Max`].
    pub rate: Rate,
    /// How long.
    pub duration: Duration,
}

/// How long a run may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Frames are sent for so long at the most.
    pub duration: Duration,
    /// So many frames are sent at the most, over all streams.
    pub packets: u64,
}

impl Profile {
    /// The bounds of a run; an error without one of the two.
    pub fn bounds(&self) -> Result<Bounds, String> {
        let missing = |bound: &str, example: &str| {
            format!(
                "{}: the run has no bound in {bound}; write {bound} under [limits], or give --{example}",
                self.name
            )
        };
        let duration = self.duration.ok_or_else(|| missing("duration", "duration 2s"))?;
        let packets = self.packets.ok_or_else(|| missing("packets", "packets 1000000"))?;
        Ok(Bounds { duration, packets })
    }
}

impl Stream {
    /// Bytes of a frame before the payload.
    pub fn headers_bytes(&self) -> usize {
        headers_bytes(self.protocol, self.destination.is_ipv4())
    }
}

/// Bytes of a frame of this kind before the payload.
pub(crate) fn headers_bytes(protocol: Protocol, is_ipv4: bool) -> usize {
    let network = if is_ipv4 { 20 } else { 40 };
    wire::ethernet::LENGTH + network + if protocol == Protocol::Udp { 8 } else { 20 }
}

/// The shortest frame of this kind that can be measured, check sequence included: UDP needs room for a
/// stamp, a SYN has a short one in its header.
pub(crate) fn frame_bytes_min(protocol: Protocol, is_ipv4: bool) -> usize {
    let stamp = if protocol == Protocol::Udp { STAMP_BYTES } else { 0 };
    (headers_bytes(protocol, is_ipv4) + stamp + FCS_BYTES).max(FRAME_BYTES_MIN)
}
