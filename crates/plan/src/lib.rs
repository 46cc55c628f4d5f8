//! The plan: every decision that does not depend on the packet, frozen.
//!
//! Control compiles configuration, health and routes into a [`Plan`], publishes it through a [`Publisher`], and never
//! changes it again. Workers read it without locks; their quiescent point is the end of a turn, and an old plan is always
//! dropped on the control thread ([`publish`]). The two things that do move under a plan are atomics outside it: link
//! rows ([`LinkTable`]), so that a gateway's new MAC reaches live flows at once, and the scheduler's cursors.
//!
//! No I/O happens here. Building is for the control thread, reading for everyone.
#![forbid(unsafe_code)]

mod links;
pub mod publish;
mod routes;
mod rows;
mod service;
mod sync;
mod vips;

pub use links::{Link, LinkTable};
pub use publish::{Publisher, Subscriber};
pub use routes::{Hop, LinksByNextHop, Resolution, Route, RouteTable, RouteTableBuilder};
pub use rows::{PreferenceRows, RowMember};
pub use service::{
    Choice, Cursor, HashFields, MemberState, Scheduler, Service, ServiceMember, SourceNat, SourceNatPool,
};
pub use vips::{OwnedAddresses, PortRange, Vip};

use flow::{Family, V4, V6, Zone};
use hashbrown::HashSet;
use rewrite::MemberId;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Servers of the whole appliance at the most: a member's index is 16 bits in every session.
pub const MEMBERS_MAX: usize = 65_535;

/// One port, as the data plane needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// Its name in the configuration.
    pub name: String,
    /// Its own MAC address.
    pub mac: wire::Mac,
    /// The longest IP packet that it carries, in bytes.
    pub mtu_bytes: u16,
    /// Its routing domain.
    pub zone: Zone,
    /// The host's own IPv4 address there, which ICMP errors come from.
    pub address_v4: Option<Ipv4Addr>,
    /// The host's own global IPv6 address there.
    pub address_v6: Option<Ipv6Addr>,
}

/// Idle times after which a session ends, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP (RFC 5382 REQ-5).
    pub tcp_established_ms: u64,
    /// Half-open TCP.
    pub tcp_transitory_ms: u64,
    /// TCP after FIN both ways or a reset.
    pub tcp_closing_ms: u64,
    /// UDP (RFC 4787 REQ-5).
    pub udp_ms: u64,
}

/// What holds for one address family.
#[derive(Clone, Debug, Default)]
pub struct FamilyPlan<F: Family> {
    /// Addresses that the appliance owns, with what listens on them.
    pub owned: OwnedAddresses<F>,
    /// Addresses that the kernel of the host owns. Their frames never get here but in the moment of a change.
    pub host: Arc<HashSet<F::Address>>,
    /// Where everything else goes.
    pub routes: Arc<RouteTable<F>>,
}

/// An immutable picture of configuration, health and routes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Counts published plans.
    pub generation: u64,
    /// Changes whenever a route, a port or the set of links does; a session that saw another asks the routes again.
    pub route_epoch: u16,
    /// Changes whenever a member died whose sessions are to be reset; tells the workers to sweep.
    pub reset_epoch: u64,
    /// The ports, by port index.
    pub ports: Arc<[PortPlan]>,
    /// Idle times.
    pub timeouts: Timeouts,
    /// The decisions for IPv4.
    pub v4: FamilyPlan<V4>,
    /// The decisions for IPv6.
    pub v6: FamilyPlan<V6>,
    /// State and generation of every member row.
    pub members: Arc<[MemberRow]>,
}

/// Who holds a member row, and how it fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberRow {
    /// Generation of the present holder.
    pub generation: u16,
    /// How it fares.
    pub state: MemberState,
}

impl Plan {
    /// How the member of a session fares. A row that has passed to somebody else since counts as dead.
    #[inline]
    pub fn member_state(&self, member: MemberId) -> MemberState {
        match self.members.get(usize::from(member.index)) {
            Some(row) if row.generation == member.generation => row.state,
            _ => MemberState::Dead,
        }
    }
}
