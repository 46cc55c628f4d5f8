//! A service with its members, and the choice among them.

use crate::rows::PreferenceRows;
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::vips::PortRange;
use flow::{Family, FlowHasher, FlowKey};
use rewrite::{Carriage, MemberId, Shape};
use std::net::IpAddr;

/// How a member fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    /// Takes new sessions.
    Up,
    /// Keeps its sessions and takes no new ones: draining, weight 0, not checked yet.
    Draining,
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
    /// The DSCP value that tells it the VIP, in [`Mode::Marked`].
    pub dscp: u8,
}

/// The place in the round, shared by all workers and kept over reloads, so that a user sees one round.
#[derive(Clone, Debug)]
pub struct Cursor(Arc<AtomicU64>);

impl Default for Cursor {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }
}

impl Cursor {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// A cursor of its own that stands where this one does.
    fn detached(&self) -> Self {
        Self(Arc::new(AtomicU64::new(self.0.load(Ordering::Relaxed))))
    }
}

/// Which parts of a flow decide under `scheduler = "hash"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashFields {
    /// The client's address.
    pub source_address: bool,
    /// The VIP.
    pub destination_address: bool,
    /// The client's port.
    pub source_port: bool,
    /// The VIP's port.
    pub destination_port: bool,
}

impl HashFields {
    /// All four.
    pub const ALL: Self =
        Self { source_address: true, destination_address: true, source_port: true, destination_port: true };
}

/// How a member is chosen.
#[derive(Clone, Debug)]
pub enum Scheduler {
    /// Each in turn.
    RoundRobin(Cursor),
    /// By a keyed hash of chosen fields over preference rows.
    Hash {
        /// The fields.
        fields: HashFields,
        /// The rows, over all configured members.
        rows: PreferenceRows,
    },
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
    /// Positions of the members that take new sessions, rising.
    pub available: Box<[u16]>,
    /// How one of them is chosen.
    pub scheduler: Scheduler,
    /// How requests get to the members.
    pub mode: Mode<F>,
    /// Whether, and from where, the source is translated.
    pub source_nat: SourceNat<F>,
    /// Rows by which packets without a session are placed, where the mode needs none.
    pub rows: Option<PreferenceRows>,
}

/// A chosen member, and where it stands, so that the next one can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a, F: Family> {
    /// The member.
    pub member: &'a ServiceMember<F>,
    position: usize,
}

/// Separates the dispatch hash from other uses of the secret.
const PURPOSE_DISPATCH: u64 = 0x6469_7370_6174_6368;

impl<F: Family> Service<F> {
    /// The same service with a scheduler of its own, so that choosing there moves no round here.
    pub fn detached(&self) -> Self {
        let scheduler = match &self.scheduler {
            Scheduler::RoundRobin(cursor) => Scheduler::RoundRobin(cursor.detached()),
            hash @ Scheduler::Hash { .. } => hash.clone(),
        };
        Self { scheduler, ..self.clone() }
    }

    /// Whether the service takes packets of this protocol.
    pub fn takes(&self, protocol: u8) -> bool {
        match self.protocol {
            Some(own) => own == protocol,
            None => matches!(protocol, wire::protocol::TCP | wire::protocol::UDP),
        }
    }

    /// The member for a new session of the flow `key`; `None` when none takes sessions.
    pub fn choose(&self, key: &F::Key, hasher: &FlowHasher) -> Option<Choice<'_, F>> {
        match &self.scheduler {
            Scheduler::RoundRobin(cursor) => {
                let count = self.available.len() as u64;
                if count == 0 {
                    return None;
                }
                self.choice((cursor.next() % count) as usize)
            }
            Scheduler::Hash { fields, rows } => {
                let position = rows.member(hash_of_fields::<F>(*fields, key, hasher))?;
                let place = self.available.binary_search(&(position as u16)).ok()?;
                self.choice(place)
            }
        }
    }

    /// The member for a packet that gets no session: the same for all packets of a flow, on every appliance, as long as
    /// that member takes sessions.
    pub fn choose_by_hash(&self, key: &F::Key, hasher: &FlowHasher) -> Option<Choice<'_, F>> {
        let position = self.rows.as_ref()?.member(hash_of_fields::<F>(HashFields::ALL, key, hasher))?;
        let place = self.available.binary_search(&(position as u16)).ok()?;
        self.choice(place)
    }

    /// Whether `address` is one of its servers'.
    pub fn has_server(&self, address: F::Address) -> bool {
        self.members.iter().any(|member| member.address == address)
    }

    /// The member after `choice`, for a flow that cannot be told from another one at that server.
    pub fn choose_after(&self, choice: &Choice<'_, F>) -> Option<Choice<'_, F>> {
        self.choice((choice.position + 1) % self.available.len().max(1))
    }

    fn choice(&self, position: usize) -> Option<Choice<'_, F>> {
        let member = self.members.get(usize::from(*self.available.get(position)?))?;
        Some(Choice { member, position })
    }
}

fn hash_of_fields<F: Family>(fields: HashFields, key: &F::Key, hasher: &FlowHasher) -> u64 {
    // Each field has its own place, so that no two choices of fields can be mistaken for each other.
    let mut bytes = [0u8; 36];
    let ((source, source_port), (destination, destination_port)) = (key.source(), key.destination());
    if fields.source_address {
        bytes[..16].copy_from_slice(&address_bytes(source.into()));
    }
    if fields.destination_address {
        bytes[16..32].copy_from_slice(&address_bytes(destination.into()));
    }
    if fields.source_port {
        bytes[32..34].copy_from_slice(&source_port.to_be_bytes());
    }
    if fields.destination_port {
        bytes[34..].copy_from_slice(&destination_port.to_be_bytes());
    }
    hasher.dispatch(PURPOSE_DISPATCH, &bytes)
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
