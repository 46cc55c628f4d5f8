//! `[[service]]` and `[[service.server]]`: what clients call, and who answers.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::source::Position;

/// `[[service]]`: what a client calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name in tables and messages; unique.
    pub name: String,
    /// The virtual IP. No two services overlap in address, protocol and port.
    pub address: IpAddr,
    /// Which transport protocols it takes.
    pub protocol: Protocol,
    /// Which ports it takes.
    pub ports: PortSet,
    /// How requests are rewritten.
    pub mode: Mode,
    /// How a request is wrapped or marked; `Some` exactly for [`Mode::L3Dsr`].
    pub encapsulation: Option<Encapsulation>,
    /// Source of the outer header; `Some` exactly for [`Encapsulation::Ipip`] and [`Encapsulation::Gue`]. Of
    /// the VIP's family, claimed like a VIP, but never one: servers hold the VIP and would drop as martian
    /// what seems to come from themselves. Several services may share one.
    pub encapsulation_source: Option<IpAddr>,
    /// UDP port that servers decapsulate on; has no meaning but for [`Encapsulation::Gue`].
    pub gue_port: u16,
    /// Whether the server sees a pool address in place of the client's; `Never` in both DSR modes.
    pub source_nat: SourceNat,
    /// Pool of source NAT; empty: the VIP itself, on ports that no service has. Only where `source_nat` is
    /// not `Never`.
    pub source_addresses: Vec<IpAddr>,
    /// What is known of the way back, for [`SourceNat::Auto`]; `Any` in both DSR modes.
    pub return_path: ReturnPath,
    /// Whether others may call the servers by their own addresses.
    pub direct_access: DirectAccess,
    /// What becomes of the MSS option of TCP SYN segments.
    pub mss_clamp: MssClamp,
    /// Whether ARP and ND announce the VIP.
    pub announce: bool,
    /// How a member is chosen for a new session.
    pub scheduler: Scheduler,
    /// What [`Scheduler::Hash`] hashes; has no meaning under another scheduler.
    pub hash_fields: HashFields,
    /// Whether a client comes back to the server that it had; `None`: every session is scheduled anew.
    pub persistence: Option<Persistence>,
    /// How long a server that returns takes to get its whole share again; `None`: it has it at once.
    pub slow_start: Option<Duration>,
    /// Servers that must be up at the least, or backups serve in their place, or else nobody; at least 1. Backups do not
    /// count, unless there are no others.
    pub quorum: u32,
    /// What becomes of the sessions of a server that is down.
    pub on_down: OnDown,
    /// What live traffic says of a server; `None`: nobody listens.
    pub passive: Option<Passive>,
    /// Index into [`Config::health_checks`](crate::Config::health_checks); `None`: its servers always count as up.
    pub health_check: Option<usize>,
    /// `[[service.server]]`, in the order of the file; may be empty (with a warning). One address family with
    /// the VIP.
    pub servers: Vec<Server>,
    /// Where the name stands.
    pub at: Position,
    /// Where the VIP stands.
    pub address_at: Position,
    /// Where `mode` stands.
    pub mode_at: Position,
    /// Where `encapsulation` stands, or the table when the key is absent.
    pub encapsulation_at: Position,
    /// Where `encapsulation_source` stands, or the table when the key is absent.
    pub encapsulation_source_at: Position,
    /// Where `source_nat` stands, or the table when the key is absent.
    pub source_nat_at: Position,
    /// Where `source_addresses` stands, or the table when the key is absent.
    pub source_addresses_at: Position,
    /// Where `health_check` stands, or the table when the key is absent.
    pub health_check_at: Position,
}

/// Transport protocols of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
    /// TCP and UDP.
    Any,
}

impl Protocol {
    /// Whether some packet belongs to both.
    pub fn overlaps(self, other: Protocol) -> bool {
        self == other || self == Protocol::Any || other == Protocol::Any
    }
}

/// Destination ports of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortSet {
    /// One port, never 0.
    One(u16),
    /// `first` to `last`, both included; `1 <= first < last`.
    Range {
        /// Lowest port.
        first: u16,
        /// Highest port.
        last: u16,
    },
    /// Every port but 0.
    Any,
}

impl PortSet {
    /// Lowest and highest port.
    pub fn bounds(self) -> (u16, u16) {
        match self {
            PortSet::One(port) => (port, port),
            PortSet::Range { first, last } => (first, last),
            PortSet::Any => (1, u16::MAX),
        }
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        let (first, last) = self.bounds();
        (first..=last).contains(&port)
    }

    /// Whether some port is in both.
    pub fn overlaps(self, other: PortSet) -> bool {
        let ((first, last), (other_first, other_last)) = (self.bounds(), other.bounds());
        first <= other_last && other_first <= last
    }

    /// The port, where there is only one.
    pub fn single(self) -> Option<u16> {
        match self {
            PortSet::One(port) => Some(port),
            PortSet::Range { .. } | PortSet::Any => None,
        }
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortSet::One(port) => write!(formatter, "{port}"),
            PortSet::Range { first, last } => write!(formatter, "{first}-{last}"),
            PortSet::Any => formatter.write_str("any"),
        }
    }
}

/// How a request is carried to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Destination address and port are rewritten, and the frame is switched by a bridge.
    Transparent,
    /// Destination address and port are rewritten and the packet is routed, as is the reply on its way back.
    Routed,
    /// Only the destination MAC becomes the server's, which answers the client itself.
    L2Dsr,
    /// The packet is wrapped or marked, routed to the server, and the server answers the client itself.
    L3Dsr,
}

impl Mode {
    /// Whether servers answer clients past the appliance (direct server return).
    pub fn is_dsr(self) -> bool {
        matches!(self, Mode::L2Dsr | Mode::L3Dsr)
    }
}

/// How a request is carried across routers in [`Mode::L3Dsr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encapsulation {
    /// IP in IP of the same family (RFC 2003; RFC 2473).
    Ipip,
    /// Generic UDP encapsulation, variant 1: IP straight behind UDP (draft-ietf-intarea-gue).
    Gue,
    /// No outer header: the destination becomes the server, and the DSCP (RFC 2474) tells it the VIP.
    Dscp,
}

/// Whether the client's address is replaced too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceNat {
    /// The server sees the client's own address.
    Never,
    /// The server sees an address of the pool in sessions whose replies would bypass the appliance otherwise.
    Auto,
    /// The server sees an address of the pool.
    Always,
}

/// What the operator knows of the replies' way, which [`SourceNat::Auto`] cannot see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReturnPath {
    /// Nothing: topology decides.
    Any,
    /// The appliance is the servers' gateway: only replies to clients in their own subnet bypass it.
    Gateway,
    /// Replies never cross the appliance.
    Bypass,
}

/// What becomes of new flows from outside to the servers' own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectAccess {
    /// They are forwarded like any other.
    Allow,
    /// They are dropped and counted.
    Deny,
}

/// What becomes of the MSS option of TCP SYN segments (RFC 9293, 3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MssClamp {
    /// Lowered to what fits where encapsulation shrinks the way, untouched elsewhere.
    Auto,
    /// Never touched.
    Never,
    /// Lowered to this many bytes where it is larger; 536..=9000.
    Bytes(u16),
}

/// How a member is chosen for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// Each server in turn, counted per service over all workers. Knows of weights only that 0 means no new
    /// sessions.
    RoundRobin,
    /// Each server in turn, as often as its weight says, evenly spread.
    WeightedRoundRobin,
    /// The server with the fewest sessions.
    LeastConnections,
    /// The server with the fewest sessions for its weight.
    WeightedLeastConnections,
    /// The preference rows of the balance table, filled by weight.
    Hash,
    /// Shares by weight over response time.
    ResponseTime,
    /// The server that moves the fewest bytes a second for its weight.
    Bandwidth,
}

/// Sticky sessions: what a client opens goes to the server that it had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Persistence {
    /// How many bits of the client's address count, from the front; at most those of the family.
    pub prefix_length: u8,
    /// How long the server is remembered after the last traffic.
    pub timeout: Duration,
}

/// What clients are told apart by for [`Persistence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PersistenceKey {
    SourceAddress,
}

/// What becomes of the sessions of a server that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDown {
    /// Both ends of each TCP session are reset, so that clients call again at once.
    Reset,
    /// They go on; only new ones go elsewhere.
    Keep,
}

/// How failures on live traffic count: with so many of them within the window, and no more successes than failures, a
/// server is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Passive {
    /// Sessions that the server reset or did not answer.
    pub failures: u32,
    /// Within which they count.
    pub window: Duration,
}

/// One field that [`Scheduler::Hash`] can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HashField {
    SourceAddress,
    DestinationAddress,
    SourcePort,
    DestinationPort,
    SourceMac,
}

/// What [`Scheduler::Hash`] hashes; at least one field of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HashFields {
    /// The client's address.
    pub source_address: bool,
    /// The VIP.
    pub destination_address: bool,
    /// The client's port.
    pub source_port: bool,
    /// The service's port.
    pub destination_port: bool,
    /// The MAC address of the client, or of the router in front of it.
    pub source_mac: bool,
}

impl Default for HashFields {
    /// The client's address alone: what a client asks for in several connections comes from one server.
    fn default() -> Self {
        HashFields {
            source_address: true,
            destination_address: false,
            source_port: false,
            destination_port: false,
            source_mac: false,
        }
    }
}

/// `[[service.server]]`: a real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The real address.
    pub address: IpAddr,
    /// The real port; `None`: the port that the client called. Only in a service of one port.
    pub port: Option<u16>,
    /// Share of new sessions relative to its neighbours; 0: none.
    pub weight: u32,
    /// Sessions at once at the most; `None`: no bound.
    pub max_sessions: Option<u32>,
    /// Whether it takes sessions only while no server without this mark does.
    pub is_backup: bool,
    /// What tells the server the VIP, 1..=63; `Some` exactly for [`Encapsulation::Dscp`]. No two VIPs on one
    /// server address share it.
    pub dscp: Option<u8>,
    /// Where the address stands.
    pub at: Position,
    /// Where `port` stands, or the table when the key is absent.
    pub port_at: Position,
    /// Where `weight` stands, or the table when the key is absent.
    pub weight_at: Position,
    /// Where `dscp` stands, or the table when the key is absent.
    pub dscp_at: Position,
}
