//! The plan: every decision that does not depend on the packet, frozen.
//!
//! Control compiles configuration, health and routes into a [`Plan`], publishes it through a [`Publisher`], and never
//! changes it again. Workers read it without locks; their quiescent point is the end of a turn, and an old plan is always
//! dropped on the control thread ([`publish`]). What does move under a plan are atomics outside it: link rows
//! ([`LinkTable`]), so that a gateway's new MAC reaches live flows at once, what members carry ([`Loads`]), so that all
//! workers choose by one picture, and the schedulers' cursors.
//!
//! No I/O happens here. Building is for the control thread, reading for everyone.
#![forbid(unsafe_code)]

mod choice;
mod firewalls;
mod links;
mod loads;
mod outbound;
mod ports;
pub mod publish;
mod routes;
mod rows;
mod scheduler;
mod service;
mod sync;
mod vips;

pub use choice::{Ask, Choice, DRAWS, EXACT_MEMBERS_MAX, Unserved, Warming};
pub use firewalls::{
    Beyond, FIREWALLS_MAX, FirewallGroup, FirewallHash, FirewallMember, Firewalls, GroupWithNetworks,
    fingerprint,
};
pub use links::{Link, LinkTable};
pub use loads::Loads;
pub use outbound::{Outbound, Outbounds};
pub use ports::{Attachment, Exit, PortPlan, PortTable, RingPlan};
pub use publish::{Publisher, Subscriber};
pub use routes::{Hop, LinksByNextHop, Resolution, Route, RouteTable, RouteTableBuilder};
pub use rows::{PreferenceRows, RowMember};
pub use scheduler::{Cursor, HashFields, Scheduler, Wheel};
pub use service::{
    MemberState, Mode, Persistence, ReturnPath, Service, ServiceMember, SourceNat, SourceNatPool,
};
pub use vips::{OwnedAddresses, PortRange, Vip};

use flow::{Family, V4, V6, Zone};
use hashbrown::{HashMap, HashSet};
use rewrite::{LinkIndex, MemberId};
use std::sync::Arc;

/// Servers of the whole appliance at the most: a member's index is 16 bits in every session.
pub const MEMBERS_MAX: usize = 65_535;

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
    /// ICMP queries (RFC 5508 REQ-2).
    pub icmp_ms: u64,
}

/// What holds for one address family.
#[derive(Clone, Debug)]
pub struct FamilyPlan<F: Family> {
    /// Addresses that the appliance owns, with what listens on them.
    pub owned: OwnedAddresses<F>,
    /// Addresses that the kernel of the host owns. Their frames never get here but in the moment of a change.
    pub host: Arc<HashSet<F::Address>>,
    /// Where everything else goes.
    pub routes: Arc<RouteTable<F>>,
    /// Firewalls, and what lies beyond them.
    pub firewalls: Arc<Firewalls<F>>,
    /// Addresses of ours that answer path probes; they are among the owned ones.
    pub responders: Arc<HashSet<F::Address>>,
    /// Networks whose packets leave under other addresses.
    pub outbounds: Arc<Outbounds<F>>,
    /// Addresses that tunnels begin at.
    pub outer_sources: Arc<HashSet<F::Address>>,
    /// Addresses of servers, each with how it may be called directly.
    pub servers: Arc<HashMap<F::Address, ServerAddress>>,
}

impl<F: Family> Default for FamilyPlan<F> {
    fn default() -> Self {
        Self {
            owned: OwnedAddresses::default(),
            host: Arc::default(),
            routes: Arc::default(),
            firewalls: Arc::default(),
            responders: Arc::default(),
            outbounds: Arc::default(),
            outer_sources: Arc::default(),
            servers: Arc::default(),
        }
    }
}

/// What is known of an address that some service has a server at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerAddress {
    /// New flows straight to it that cross the appliance are dropped.
    pub is_shielded: bool,
    /// UDP ports that its services have there: what comes to another is an answer to what it asked itself.
    pub udp_ports: Vec<PortRange>,
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
    /// Ports, then bridges, by port index.
    pub ports: Arc<PortTable>,
    /// Whose the frames of each ring are, by ring index.
    pub rings: Arc<[RingPlan]>,
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
    /// How the segment size that both ends announce is bounded.
    pub mss_clamp: MssClamp,
    /// Of a firewall: the link that leads to it. Its packets come from there too.
    pub link: LinkIndex,
}

/// How the maximum segment size in a SYN is bounded (RFC 9293 section 3.7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MssClamp {
    /// By what the ports on both sides carry, less what a tunnel adds.
    #[default]
    Auto,
    /// Not at all.
    Never,
    /// By a number of bytes.
    Bytes(u16),
}

impl Plan {
    /// A plan that decides as this one does and moves nothing of it: its schedulers go on by themselves from where they
    /// stand now. Everything else is shared or copied. Control thread only.
    pub fn detached(&self) -> Self {
        let mut detached = self.clone();
        detached.v4.owned = self.v4.owned.detached();
        detached.v6.owned = self.v6.owned.detached();
        detached
    }

    /// Whether there is more than one zone.
    pub fn has_zones(&self) -> bool {
        self.ports.iter().any(|port| port.zone != Zone::default())
    }

    /// How the member of a session fares. A row that has passed to somebody else since counts as dead.
    #[inline]
    pub fn member_state(&self, member: MemberId) -> MemberState {
        match self.members.get(usize::from(member.index)) {
            Some(row) if row.generation == member.generation => row.state,
            _ => MemberState::Dead,
        }
    }

    /// How the segment size in SYNs to and from a member is bounded.
    pub fn mss_clamp(&self, member: MemberId) -> MssClamp {
        self.members.get(usize::from(member.index)).map_or(MssClamp::Never, |row| row.mss_clamp)
    }
}
