//! What a valid file says, with every default filled in.
//!
//! Plain owned data. A value of these types made by [`parse`](crate::parse) has passed every check that needs
//! no machine; what is left to compare with the machine (interfaces, CPUs, kernel addresses) is pointed at
//! through the [`Position`]s beside the values.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::source::{Position, Source};

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[appliance]`.
    pub appliance: Appliance,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[[port]]`, in the order of the file; at least one.
    pub ports: Vec<Port>,
    /// `[[service]]`, in the order of the file.
    pub services: Vec<Service>,
    /// `[[health_check]]`, in the order of the file; [`Service::health_check`] points in here.
    pub health_checks: Vec<HealthCheck>,
    /// The text that all this was read from, for later checks to complain about: see [`Source::error`].
    pub source: Source,
}

/// `source_nat` of a service that does not say. The format's own default is to decide by topology, which
/// comes with the one-arm modes; in routed mode between two ports that decision is this one.
pub const SOURCE_NAT_DEFAULT: SourceNat = SourceNat::Never;

/// The lowest port that source NAT takes of an address of its pool: below it lie the well-known ports.
pub const POOL_PORT_FIRST: u16 = 1_024;

/// `[appliance]`: the box itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// What the appliance calls itself; `None`: the host name.
    pub name: Option<String>,
    /// On which CPUs the workers run.
    pub workers: Workers,
    /// Where `workers` stands, or else the table, or else nowhere.
    pub workers_at: Position,
    /// The CPU of the control thread.
    pub control_cpu: usize,
    /// Where `control_cpu` stands, or else the table, or else nowhere.
    pub control_cpu_at: Position,
    /// Whether an idle worker sleeps.
    pub polling: Polling,
    /// IPv4 sessions, both directions counted once.
    pub session_capacity: usize,
    /// IPv6 sessions, both directions counted once.
    pub session_capacity_ipv6: usize,
    /// The operator socket.
    pub socket: PathBuf,
    /// Key of the flow hash; `None`: made once and kept in `state_directory`.
    pub hash_key: Option<HashKey>,
    /// What must survive a restart is kept here.
    pub state_directory: PathBuf,
}

/// Which CPUs get a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One worker on each of these, none twice, never empty.
    List(Vec<usize>),
    /// Every CPU but the control CPU.
    Auto,
}

/// What a worker does when no ring has a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polling {
    /// It never sleeps.
    Busy,
    /// It spins under traffic and sleeps when idle.
    Adaptive,
}

/// The secret key of the flow hash. Its `Debug` shows no digit of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub(crate) [u8; 16]);

impl HashKey {
    /// The key itself.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HashKey(secret)")
    }
}

/// `[timeouts]`: how long a session may be idle before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// An established TCP connection (RFC 5382, REQ-5: not less than 2 h 4 min by default).
    pub tcp_established: Duration,
    /// A half-open TCP connection (RFC 5382, REQ-5: not less than 4 min by default).
    pub tcp_transitory: Duration,
    /// FIN seen both ways, or a RST in sequence.
    pub tcp_closing: Duration,
    /// A UDP flow (RFC 4787, REQ-5: 5 min or more recommended).
    pub udp: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            tcp_established: Duration::from_secs(2 * 3600 + 4 * 60),
            tcp_transitory: Duration::from_secs(4 * 60),
            tcp_closing: Duration::from_secs(60),
            udp: Duration::from_secs(5 * 60),
        }
    }
}

/// `[[port]]`: an interface whose frames the appliance takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in tables and messages; unique.
    pub name: String,
    /// The kernel's name of the interface; no two ports share one.
    pub interface: String,
    /// How its frames are taken.
    pub driver: Driver,
    /// Where the name stands.
    pub at: Position,
    /// Where the interface stands.
    pub interface_at: Position,
}

/// How frames are taken from an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// AF_XDP, else AF_PACKET with a logged reason.
    Auto,
    /// AF_XDP or nothing.
    AfXdp,
    /// AF_PACKET rings.
    AfPacket,
}

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
    /// Whether the server sees a pool address in place of the client's.
    pub source_nat: SourceNat,
    /// Pool of source NAT; empty: the VIP itself, on ports that no service has. Only where `source_nat` is
    /// not `Never`.
    pub source_addresses: Vec<IpAddr>,
    /// Whether ARP and ND announce the VIP.
    pub announce: bool,
    /// How a member is chosen for a new session.
    pub scheduler: Scheduler,
    /// What [`Scheduler::Hash`] hashes; has no meaning under another scheduler.
    pub hash_fields: HashFields,
    /// Index into [`Config::health_checks`]; `None`: its servers always count as up.
    pub health_check: Option<usize>,
    /// `[[service.server]]`, in the order of the file; may be empty (with a warning). One address family with
    /// the VIP.
    pub servers: Vec<Server>,
    /// Where the name stands.
    pub at: Position,
    /// Where the VIP stands.
    pub address_at: Position,
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
    /// Destination address and port are rewritten and the packet is routed, as is the reply on its way back.
    Routed,
}

/// Whether the client's address is replaced too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceNat {
    /// The server sees the client's own address.
    Never,
    /// The server sees an address of the pool.
    Always,
}

/// How a member is chosen for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// Each server in turn, counted per service over all workers. Knows of weights only that 0 means no new
    /// sessions.
    RoundRobin,
    /// The preference rows of the balance table, filled by weight.
    Hash,
}

/// One field that [`Scheduler::Hash`] can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HashField {
    SourceAddress,
    DestinationAddress,
    SourcePort,
    DestinationPort,
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
}

impl Default for HashFields {
    /// The client's address alone: what a client asks for in several connections comes from one server.
    fn default() -> Self {
        HashFields {
            source_address: true,
            destination_address: false,
            source_port: false,
            destination_port: false,
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
    /// Where the address stands.
    pub at: Position,
    /// Where `port` stands, or the table when the key is absent.
    pub port_at: Position,
    /// Where `weight` stands, or the table when the key is absent.
    pub weight_at: Position,
}

/// `[[health_check]]`: how a server's life is felt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Its name in `health_check` of a service; unique.
    pub name: String,
    /// What is asked.
    pub kind: CheckKind,
    /// Which port is asked; `None`: the server's, or else the service's, which is then only one.
    pub port: Option<u16>,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// A check unanswered for this long has failed; at most `interval` and `dead_interval`.
    pub response_time: Duration,
    /// Further failures in a row that are forgiven; one success resets the count.
    pub retries: u32,
    /// Down when no check has succeeded for this long, if that comes first; at least `interval +
    /// response_time`.
    pub timeout: Option<Duration>,
    /// `interval` of a server that is down.
    pub dead_interval: Duration,
    /// Successes in a row that bring it back; at least 1.
    pub rise: u32,
    /// Where the name stands.
    pub at: Position,
}

/// What a health check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    /// A full TCP handshake, then FIN.
    Tcp,
}

/// Displays a word as the file spells it: serde's derive is the only place where it is written down.
macro_rules! display_as_spelt {
    ($($word:ty),*) => {$(
        impl fmt::Display for $word {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(formatter)
            }
        }
    )*};
}
display_as_spelt!(Polling, Driver, Protocol, Mode, SourceNat, Scheduler, HashField, CheckKind);
