//! A service with its members, and how requests get to them.

use crate::choice::Warming;
use crate::rows::PreferenceRows;
use crate::scheduler::{Cursor, Scheduler, Wheel};
use crate::vips::PortRange;
use flow::Family;
use hashbrown::HashMap;
use rewrite::{Carriage, MemberId, Shape};
use std::net::IpAddr;

/// How a member fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    /// Takes new sessions.
    Up,
    /// Keeps its sessions and takes no new ones: draining, weight 0, not checked yet.
    Draining,
    /// A firewall whose sessions go on over others.
    Moving,
    /// Its sessions are reset.
    #[default]
    Dead,
}

/// A server inside a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceMember<F: Family> {
    /// Its row in the member tables.
    pub id: MemberId,
    /// Its address.
    pub address: F::Address,
    /// The port that it listens on; `None` keeps the port that the client called.
    pub port: Option<u16>,
    /// How it fares.
    pub state: MemberState,
    /// Its share of new sessions, where the scheduler has shares.
    pub weight: u32,
    /// Sessions at once at the most; `u64::MAX`: no bound.
    pub sessions_max: u64,
    /// Since when it warms up, if it does.
    pub warming: Option<Warming>,
    /// The DSCP value that tells it the VIP, in [`Mode::Marked`].
    pub dscp: u8,
}

/// Where sessions of a service get another source address from.
#[derive(Clone, Debug)]
pub struct SourceNatPool<F: Family> {
    /// The addresses, never none.
    pub addresses: Box<[F::Address]>,
}

/// Whether the source is translated.
#[derive(Clone, Debug)]
pub enum SourceNat<F: Family> {
    /// Servers see the client's own address.
    Never,
    /// Servers see an address of the pool where their reply would bypass the appliance, else the client's.
    Auto(SourceNatPool<F>, ReturnPath),
    /// Servers see an address of the pool.
    Always(SourceNatPool<F>),
}

impl<F: Family> SourceNat<F> {
    /// The pool, where there is one.
    pub fn pool(&self) -> Option<&SourceNatPool<F>> {
        match self {
            SourceNat::Never => None,
            SourceNat::Auto(pool, _) | SourceNat::Always(pool) => Some(pool),
        }
    }
}

/// What is known of the servers' way back to their clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReturnPath {
    /// Nothing: what goes out where it came in is not expected back.
    #[default]
    Any,
    /// The appliance is the servers' gateway: only clients in their own network bypass it.
    Gateway,
    /// Replies never cross the appliance.
    Bypass,
}

/// How requests get to the servers of a service (SPEC section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode<F: Family> {
    /// As by a switch: addresses are translated, hop limit and the client's MAC address stay.
    Transparent,
    /// As by a router.
    Routed,
    /// To the server's MAC address; servers hold the VIP and answer directly.
    L2Direct,
    /// Behind an outer IP header.
    IpInIp {
        /// The outer source address.
        source: F::Address,
    },
    /// Behind an outer IP and UDP header.
    Gue {
        /// The outer source address.
        source: F::Address,
        /// The outer destination port.
        port: u16,
    },
    /// To the server's address under its DSCP value.
    Marked,
}

impl<F: Family> Mode<F> {
    /// What becomes of a request to `member` and of its reply, beside addresses and ports. With `has_own_source` servers
    /// see an address of the appliance. A reply that should pass elsewhere and crosses the appliance all the same is
    /// routed.
    pub fn shapes(self, member: &ServiceMember<F>, has_own_source: bool) -> (Shape, Shape) {
        let carried = |carriage| (Shape::ROUTED.carried(carriage), Shape::ROUTED.carried(Carriage::Direct));
        match self {
            Mode::Transparent if has_own_source => (Shape::OWN_MACS, Shape::OWN_MACS),
            Mode::Transparent => (Shape::TO_SERVER, Shape::UNTOUCHED),
            Mode::Routed => (Shape::ROUTED, Shape::ROUTED),
            Mode::L2Direct => {
                (Shape::OWN_MACS.carried(Carriage::Direct), Shape::ROUTED.carried(Carriage::Direct))
            }
            Mode::IpInIp { .. } => carried(Carriage::IpInIp),
            Mode::Gue { .. } => carried(Carriage::Gue),
            Mode::Marked => carried(Carriage::Marked { dscp: member.dscp }),
        }
    }

    /// The outer source address, which is the appliance's own.
    pub fn outer_source(self) -> Option<F::Address> {
        match self {
            Mode::IpInIp { source } | Mode::Gue { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether the next hop must be the server itself: its MAC address is all that leads to it.
    pub fn needs_server_on_link(self) -> bool {
        matches!(self, Mode::Transparent | Mode::L2Direct)
    }

    /// Whether servers answer their clients directly, so that requests alone are seen.
    pub fn is_direct(self) -> bool {
        !matches!(self, Mode::Transparent | Mode::Routed)
    }
}

/// How long a service remembers where a client was, and who counts as the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Stands for the service, and for the prefix length: under another one, clients are others.
    pub identity: u64,
    /// Bits of the address that count, from the front.
    pub prefix_length: u8,
    /// How long it is remembered after the last traffic, in milliseconds.
    pub timeout_ms: u64,
}

impl Persistence {
    /// What stands for the client at `address`: the identity, and the address without the bits that do not count.
    pub fn key(&self, address: IpAddr) -> [u64; 3] {
        let bits = match address {
            // In front, so that its prefix is one of all 128 bits.
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        };
        let kept = bits & u128::MAX.checked_shl(128 - u32::from(self.prefix_length)).unwrap_or_default();
        [self.identity, (kept >> 64) as u64, kept as u64]
    }
}

/// What a client calls.
#[derive(Clone, Debug)]
pub struct Service<F: Family> {
    /// Its name in the configuration.
    pub name: String,
    /// The VIP.
    pub address: F::Address,
    /// The IP protocol; `None` for TCP and UDP both.
    pub protocol: Option<u8>,
    /// The ports.
    pub ports: PortRange,
    /// Whether ARP and ND for the VIP are answered.
    pub announce: bool,
    /// All configured members, in the order of the file.
    pub members: Box<[ServiceMember<F>]>,
    /// Where each of them stands.
    pub positions: HashMap<MemberId, u16>,
    /// Positions of the members that take new sessions, rising.
    pub available: Box<[u16]>,
    /// How one of them is chosen.
    pub scheduler: Scheduler,
    /// Where the scheduler stands.
    pub cursor: Cursor,
    /// The available members by their shares.
    pub wheel: Wheel,
    /// Where a client's next session goes; `None`: where the scheduler says.
    pub persistence: Option<Persistence>,
    /// How requests get to the members.
    pub mode: Mode<F>,
    /// Whether, and from where, the source is translated.
    pub source_nat: SourceNat<F>,
    /// Rows by which packets without a session are placed, where the mode needs none.
    pub rows: Option<PreferenceRows>,
}

impl<F: Family> Service<F> {
    /// The same service with a scheduler of its own, so that choosing there moves no round here.
    pub fn detached(&self) -> Self {
        Self { cursor: self.cursor.detached(), ..self.clone() }
    }

    /// Whether the service takes packets of this protocol.
    pub fn takes(&self, protocol: u8) -> bool {
        match self.protocol {
            Some(own) => own == protocol,
            None => matches!(protocol, wire::protocol::TCP | wire::protocol::UDP),
        }
    }
}
