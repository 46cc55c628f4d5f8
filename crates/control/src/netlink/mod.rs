//! The kernel's picture of the network, mirrored and, for neighbours, asked for.
//!
//! [`Mirror`] keeps [`crate::facts::Facts`] true: it subscribes, reads everything once, then applies what
//! changes. Where a message leaves open what the table looks like now, or where the kernel changes a table
//! without a message, it reads that table again rather than guess. [`Resolver`] has the kernel find and keep
//! neighbours; the appliance itself sends no ARP request and no neighbour solicitation, so `ip neigh` always
//! tells the whole truth.
//!
//! Both belong to the control thread and live in the network namespace of the thread that made them. The
//! mirror refuses tables other than `main` and `local`, routes by type of service or source, and messages
//! that do not come from the kernel. The message crates report attributes that they do not know through the
//! `log` facade, to which nothing here listens.

mod asks;
mod channel;
mod mirror;
mod resolver;
mod translate;

pub use asks::{Ask, Asks, KEPT_MAX, OUTSTANDING_MAX};
pub use mirror::Mirror;
pub use resolver::Resolver;

use std::ops::BitOrAssign;

/// Which parts of the facts changed in a way that a plan may depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// An interface came, went, or got another name, MAC, MTU or state.
    pub links: bool,
    /// An address of the host came or went.
    pub addresses: bool,
    /// A route came, went or leads elsewhere.
    pub routes: bool,
    /// A neighbour has another MAC, or none any more; its ageing alone does not count.
    pub neighbours: bool,
}

impl Changes {
    /// Everything changed.
    pub const ALL: Self = Self { links: true, addresses: true, routes: true, neighbours: true };

    /// Whether nothing changed.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl BitOrAssign for Changes {
    fn bitor_assign(&mut self, other: Self) {
        self.links |= other.links;
        self.addresses |= other.addresses;
        self.routes |= other.routes;
        self.neighbours |= other.neighbours;
    }
}
