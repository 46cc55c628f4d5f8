//! What is to be checked: whom, by which way, with which question, judged how.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use config::Probe;
use hashbrown::{HashMap, HashSet};

use super::{CheckId, Parameters};

/// A check that somebody wants. Two that are equal are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Whom to ask.
    pub target: Target,
    /// What to ask.
    pub probe: Arc<Probe>,
    /// How to judge.
    pub parameters: Parameters,
}

/// Whom to ask, and which way the question takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The address.
    pub address: IpAddr,
    /// The port; `None` where the question knows none (ICMP).
    pub port: Option<u16>,
    /// How it gets there.
    pub way: Way,
}

/// How a check gets to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// By the kernel's own sockets and routes.
    Kernel,
    /// By a worker, as the requests of a service go to one of its servers. The address is a VIP.
    Carried(Carriage),
}

/// To which server requests for a VIP go, and in what. Services that have it in common have their checks in common too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Carriage {
    /// The server's own address.
    pub server: IpAddr,
    /// What leads to the server.
    pub by: Carrier,
}

/// What leads a packet for a VIP to a server that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// The server's MAC address.
    Mac,
    /// An outer IP header from this address.
    IpInIp(IpAddr),
    /// An outer UDP header from this address to this port.
    Gue(IpAddr, u16),
    /// The server's address as the destination, with this DSCP in place of the VIP.
    Dscp(u8),
}

impl Target {
    /// A target that the kernel's routes lead to.
    pub fn by_kernel(address: IpAddr, port: Option<u16>) -> Self {
        Self { address, port, way: Way::Kernel }
    }

    /// A VIP on one server that holds it.
    pub fn carried(vip: IpAddr, port: Option<u16>, carriage: Carriage) -> Self {
        Self { address: vip, port, way: Way::Carried(carriage) }
    }

    /// Address and port as sockets take them. A question without a port has 0 there.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port.unwrap_or_default())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(out),
            None => self.address.fmt(out),
        }
    }
}

/// Whose verdict a new check takes over.
pub(super) struct Ancestors {
    /// Who asks the same.
    alike: HashMap<(Target, Arc<Probe>), CheckId>,
    /// Who asked something else, and is wanted no more.
    replaced: HashMap<Target, CheckId>,
}

impl Ancestors {
    pub(super) fn new(before: &HashMap<Wanted, CheckId>, wanted: &[Wanted]) -> Self {
        let wanted: HashSet<&Wanted> = wanted.iter().collect();
        let (mut alike, mut replaced) = (HashMap::new(), HashMap::new());
        for (old, id) in before {
            // The oldest of several, that it be one that does not depend on chance.
            let oldest = |known: &mut CheckId| *known = (*known).min(*id);
            alike.entry((old.target, old.probe.clone())).and_modify(oldest).or_insert(*id);
            if !wanted.contains(old) {
                replaced.entry(old.target).and_modify(oldest).or_insert(*id);
            }
        }
        Self { alike, replaced }
    }

    pub(super) fn of(&self, want: &Wanted) -> Option<CheckId> {
        let alike = self.alike.get(&(want.target, want.probe.clone()));
        alike.or_else(|| self.replaced.get(&want.target)).copied()
    }
}
