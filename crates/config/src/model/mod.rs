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

mod firewall;
mod health_check;
mod prefix;
mod service;

pub use firewall::{Firewall, FirewallGroup, FirewallHash, OnFailure, OnRecovery, ProbeResponder};
pub use health_check::{CheckKind, HealthCheck, HttpRequest, Probe, StatusRange, TlsRequest, UdpRequest};
pub use prefix::{HostAddress, Network};
pub use service::{
    DirectAccess, Encapsulation, HashFields, Mode, MssClamp, OnDown, Passive, Persistence, PortSet, Protocol,
    ReturnPath, Scheduler, Server, Service, SourceNat,
};
pub(crate) use service::{HashField, PersistenceKey};

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[appliance]`.
    pub appliance: Appliance,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[[port]]`, in the order of the file; at least one. [`Bridge::ports`] points in here.
    pub ports: Vec<Port>,
    /// `[[bridge]]`, in the order of the file.
    pub bridges: Vec<Bridge>,
    /// `[[service]]`, in the order of the file.
    pub services: Vec<Service>,
    /// `[[outbound]]`, in the order of the file.
    pub outbounds: Vec<Outbound>,
    /// Names of the zones; the first is that of ports that name none, and empty.
    pub zones: Vec<String>,
    /// `[[firewall_group]]`, in the order of the file.
    pub firewall_groups: Vec<FirewallGroup>,
    /// `[[probe_responder]]`, in the order of the file.
    pub probe_responders: Vec<ProbeResponder>,
    /// `[[health_check]]`, in the order of the file; [`Service::health_check`] points in here.
    pub health_checks: Vec<HealthCheck>,
    /// The text that all this was read from, for later checks to complain about: see [`Source::error`].
    pub source: Source,
}

/// `source_nat` of a service that does not say, but for the DSR modes, which never translate.
pub const SOURCE_NAT_DEFAULT: SourceNat = SourceNat::Auto;

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
    /// Clients that are remembered at once for the services with `persistence`.
    pub persistence_capacity: usize,
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
    /// An ICMP query and its reply (RFC 5508, REQ-2: not less than 60 s).
    pub icmp: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            tcp_established: Duration::from_secs(2 * 3600 + 4 * 60),
            tcp_transitory: Duration::from_secs(4 * 60),
            tcp_closing: Duration::from_secs(60),
            udp: Duration::from_secs(5 * 60),
            icmp: Duration::from_secs(60),
        }
    }
}

/// `[[port]]`: an interface, or one VLAN of it, whose frames the appliance takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in tables and messages; unique among ports and bridges. With `vlan` also the name of its host
    /// leg, a TAP device: such a name is no port's `interface`.
    pub name: String,
    /// The kernel's name of the interface. Ports that share one differ in `vlan` and agree in `driver`.
    pub interface: String,
    /// The VLAN whose frames it takes, 1..=4094 (IEEE 802.1Q, 9.6); `None`: those without a tag, and in a
    /// bridge also those of VLANs that no other port of the interface takes.
    pub vlan: Option<u16>,
    /// How its frames are taken.
    pub driver: Driver,
    /// Index into [`Config::zones`] of its routing domain: nothing is routed from one to another but through firewalls or
    /// a service. Of a port of a bridge: the bridge's.
    pub zone: u8,
    /// What the kernel holds on its host leg; empty without `vlan` and in a bridge.
    pub addresses: Vec<HostAddress>,
    /// Where the name stands.
    pub at: Position,
    /// Where the interface stands.
    pub interface_at: Position,
    /// Where `vlan` stands, or the table when the key is absent.
    pub vlan_at: Position,
    /// Where `driver` stands, or the table when the key is absent.
    pub driver_at: Position,
    /// Where `zone` stands, or the table when the key is absent.
    pub zone_at: Position,
    /// Where `addresses` stands, or the table when the key is absent.
    pub addresses_at: Position,
}

/// `[[bridge]]`: ports between which the appliance switches frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its name in tables and messages, and of its host leg, a TAP device; unique among ports and bridges, and
    /// no port's `interface`.
    pub name: String,
    /// Indices into [`Config::ports`]; at least one, and none of another bridge.
    pub ports: Vec<usize>,
    /// Index into [`Config::zones`] of its routing domain.
    pub zone: u8,
    /// What the kernel holds on its host leg; may be empty.
    pub addresses: Vec<HostAddress>,
    /// A MAC address that has not been seen for this long is forgotten (IEEE 802.1Q, 8.8.3); 10 s..=1 h.
    pub ageing: Duration,
    /// Where the name stands.
    pub at: Position,
    /// Where `ports` stands.
    pub ports_at: Position,
    /// Where `addresses` stands, or the table when the key is absent.
    pub addresses_at: Position,
}

/// `[[outbound]]`: servers that reach out behind addresses of the appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Its name in tables and messages; unique.
    pub name: String,
    /// From where flows are translated; at least one. No two outbounds overlap.
    pub networks: Vec<Network>,
    /// Pool of addresses that take their place, of each family that `networks` has and of no other. Claimed
    /// like a VIP.
    pub source_addresses: Vec<IpAddr>,
    /// Where the name stands.
    pub at: Position,
    /// Where `networks` stands.
    pub networks_at: Position,
    /// Where `source_addresses` stands.
    pub source_addresses_at: Position,
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
display_as_spelt!(
    Polling,
    Driver,
    Protocol,
    Mode,
    Encapsulation,
    SourceNat,
    ReturnPath,
    DirectAccess,
    Scheduler,
    OnDown,
    FirewallHash,
    OnFailure,
    OnRecovery,
    HashField,
    CheckKind
);
