//! The addresses that the appliance owns, and what listens on them.

use crate::service::Service;
use flow::Family;
use hashbrown::HashMap;
use std::sync::Arc;

/// Ports that a service listens on, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// One owned address: a VIP, a source-NAT address, or both.
#[derive(Clone, Debug)]
pub struct Vip<F: Family> {
    /// Services on exactly one protocol and port.
    exact: HashMap<(u8, u16), Arc<Service<F>>>,
    /// Services on a range, or on any protocol; no two of them overlap.
    ranges: Vec<Arc<Service<F>>>,
    /// Whether ARP and ND for it are answered.
    pub announce: bool,
}

/// All owned addresses of one family.
#[derive(Clone, Debug)]
pub struct OwnedAddresses<F: Family> {
    by_address: HashMap<F::Address, Vip<F>>,
}

impl<F: Family> Default for OwnedAddresses<F> {
    fn default() -> Self {
        Self { by_address: HashMap::new() }
    }
}

impl<F: Family> OwnedAddresses<F> {
    /// Owns `address`; it is announced if any of its users wants that.
    pub fn own(&mut self, address: F::Address, announce: bool) {
        let fresh = || Vip { exact: HashMap::new(), ranges: Vec::new(), announce: false };
        self.by_address.entry(address).or_insert_with(fresh).announce |= announce;
    }

    /// Lets `service` listen at its address, which is owned from then on.
    pub fn listen(&mut self, service: Arc<Service<F>>) {
        self.own(service.address, service.announce);
        if let Some(vip) = self.by_address.get_mut(&service.address) {
            match (service.protocol, service.ports) {
                (Some(protocol), PortRange { first, last }) if first == last => {
                    vip.exact.insert((protocol, first), service);
                }
                _ => vip.ranges.push(service),
            }
        }
    }

    /// What is at `address`.
    #[inline]
    pub fn get(&self, address: F::Address) -> Option<&Vip<F>> {
        self.by_address.get(&address)
    }

    /// The same with services of its own ([`Service::detached`]).
    pub fn detached(&self) -> Self {
        let detached = self.by_address.iter().map(|(&address, vip)| (address, vip.detached()));
        Self { by_address: detached.collect() }
    }

    /// Every owned address.
    pub fn addresses(&self) -> impl Iterator<Item = (F::Address, &Vip<F>)> {
        self.by_address.iter().map(|(&address, vip)| (address, vip))
    }
}

impl<F: Family> Vip<F> {
    fn detached(&self) -> Self {
        let own = |service: &Arc<Service<F>>| Arc::new(service.detached());
        Self {
            exact: self.exact.iter().map(|(&place, service)| (place, own(service))).collect(),
            ranges: self.ranges.iter().map(own).collect(),
            announce: self.announce,
        }
    }

    /// Every service that listens there.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service<F>>> {
        self.exact.values().chain(&self.ranges)
    }

    /// Whether servers hold this address too, to answer clients directly.
    pub fn has_direct_service(&self) -> bool {
        self.services().any(|service| service.mode.is_direct())
    }

    /// The service that listens on `protocol` and `port`.
    pub fn service(&self, protocol: u8, port: u16) -> Option<&Arc<Service<F>>> {
        self.exact.get(&(protocol, port)).or_else(|| {
            self.ranges.iter().find(|service| service.takes(protocol) && service.ports.contains(port))
        })
    }
}
