//! From configuration, members, links and the kernel's facts to a plan: pure, and without I/O.
//!
//! Unchanged services are shared with the plan before ([`Services`] remembers what each was made from), so that a health
//! transition rebuilds one service and nothing else.

mod routes;
mod services;

pub(crate) use routes::ports_by_interface;
pub use services::Services;

use crate::facts::Facts;
use crate::links::Links;
use crate::members::Members;
use config::Config;
use flow::{Family, FlowHasher, V4, V6, Zone};
use hashbrown::HashSet;
use plan::{FamilyPlan, OwnedAddresses, Plan, PortPlan, Timeouts};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::Mac;

/// Everything that a plan is made from.
pub struct Inputs<'a> {
    /// The file.
    pub config: &'a Config,
    /// The servers' rows and states.
    pub members: &'a Members,
    /// Rows of the next hops.
    pub links: &'a Links,
    /// What the kernel knows.
    pub facts: &'a Facts,
    /// The longest IP packet that a ring carries, in bytes, whatever the interface says.
    pub mtu_bytes_max: u16,
    /// Hashes under the appliance's secret.
    pub hasher: FlowHasher,
}

/// The counters of a plan that change by rule, not by content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// Of [`Plan::generation`].
    pub generation: u64,
    /// Of [`Plan::route_epoch`].
    pub route_epoch: u16,
}

/// Compiles a plan. Services that nothing changed are taken from `services`.
pub fn compile(inputs: &Inputs<'_>, epochs: Epochs, services: &mut Services) -> Plan {
    services.refresh(inputs);
    let ports: Arc<[PortPlan]> = inputs.config.ports.iter().map(|port| port_plan(inputs, port)).collect();
    Plan {
        generation: epochs.generation,
        route_epoch: epochs.route_epoch,
        reset_epoch: inputs.members.reset_epoch(),
        timeouts: timeouts(&inputs.config.timeouts),
        v4: family::<V4>(inputs, services.v4(), routes::compile(inputs, inputs.links.v4())),
        v6: family::<V6>(inputs, services.v6(), routes::compile(inputs, inputs.links.v6())),
        members: inputs.members.rows().into(),
        ports,
    }
}

fn family<'a, F: Family>(
    inputs: &Inputs<'_>,
    services: impl Iterator<Item = &'a Arc<plan::Service<F>>>,
    routes: plan::RouteTable<F>,
) -> FamilyPlan<F> {
    let mut owned = OwnedAddresses::<F>::default();
    for service in services {
        owned.listen(service.clone());
        if let plan::SourceNat::Always(pool) = &service.source_nat {
            // A pool that is not the VIP is always announced: it is on a network of ours, or nothing could come back.
            pool.addresses
                .iter()
                .filter(|&&address| address != service.address)
                .for_each(|&a| owned.own(a, true));
        }
    }
    let host: HashSet<F::Address> = host_addresses(inputs.facts).filter_map(F::address).collect();
    FamilyPlan { owned, host: Arc::new(host), routes: Arc::new(routes) }
}

/// Addresses whose frames the kernel takes: the host's own, and the broadcast addresses of its networks.
pub fn host_addresses(facts: &Facts) -> impl Iterator<Item = IpAddr> {
    use crate::facts::RouteKind;
    let broadcast = facts
        .all_routes()
        .filter(|route| route.kind == RouteKind::Broadcast)
        .map(|route| route.destination.network());
    facts.addresses.iter().map(|held| held.address).chain(broadcast)
}

/// Addresses that the appliance owns in this configuration, each once.
pub fn owned_addresses(config: &Config) -> HashSet<IpAddr> {
    let vips = config.services.iter().map(|service| service.address);
    let translated = config.services.iter().filter(|service| service.source_nat == config::SourceNat::Always);
    vips.chain(translated.flat_map(|service| service.source_addresses.iter().copied())).collect()
}

fn port_plan(inputs: &Inputs<'_>, port: &config::Port) -> PortPlan {
    let interface = inputs.facts.interface_named(&port.interface);
    let own = |wanted: fn(&IpAddr) -> bool| {
        let index = interface?.index;
        let held = inputs.facts.addresses.iter().filter(move |held| held.interface == index);
        held.map(|held| held.address).find(&wanted)
    };
    let mtu = interface.map_or(0, |interface| interface.mtu).min(u32::from(inputs.mtu_bytes_max));
    PortPlan {
        name: port.name.clone(),
        mac: interface.map_or(Mac::ZERO, |interface| Mac(interface.mac)),
        mtu_bytes: mtu as u16,
        zone: Zone::default(),
        address_v4: own(IpAddr::is_ipv4).and_then(V4::address),
        address_v6: own(is_global_v6).and_then(V6::address),
    }
}

fn is_global_v6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if !address.is_unicast_link_local())
}

fn timeouts(config: &config::Timeouts) -> Timeouts {
    let ms = |duration: Duration| duration.as_millis().min(u128::from(u64::MAX)) as u64;
    Timeouts {
        tcp_established_ms: ms(config.tcp_established),
        tcp_transitory_ms: ms(config.tcp_transitory),
        tcp_closing_ms: ms(config.tcp_closing),
        udp_ms: ms(config.udp),
    }
}
