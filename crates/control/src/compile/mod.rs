//! From configuration, members, links and the kernel's facts to a plan: pure, and without I/O.
//!
//! Unchanged services and firewall groups are shared with the plan before ([`Services`] remembers what each was made from),
//! so that a health transition rebuilds one of them and nothing else.

mod firewalls;
mod legs;
mod routes;
mod services;

pub use firewalls::{fingerprint, other_firewalls};
pub(crate) use firewalls::{fingerprint_by_file, groups_by_file, ways};
pub use legs::{HostLegPlace, RingPlaces, bridge_of, leg_interface, leg_of, legs, ring_places};
pub(crate) use legs::{leg_zone, legs_by_interface};
pub use services::Services;
pub(crate) use services::{in_use, persistence_of};

use crate::facts::Facts;
use crate::links::Links;
use crate::members::{Members, outbound_key};
use config::Config;
use flow::{Family, FlowHasher, V4, V6};
use hashbrown::{HashMap, HashSet};
use plan::{
    FamilyPlan, Outbound, Outbounds, OwnedAddresses, Plan, PortRange, ServerAddress, SourceNatPool, Timeouts,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

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
    /// Now, on the workers' clock.
    pub now_ns: u64,
}

/// The counters of a plan that change by rule, not by content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// Of [`Plan::generation`].
    pub generation: u64,
    /// Of [`Plan::route_epoch`].
    pub route_epoch: u16,
}

/// Compiles a plan. Services and firewall groups that nothing changed are taken from `services`.
pub fn compile(inputs: &Inputs<'_>, epochs: Epochs, services: &mut Services) -> Plan {
    services.refresh(inputs);
    Plan {
        generation: epochs.generation,
        route_epoch: epochs.route_epoch,
        reset_epoch: inputs.members.reset_epoch(),
        timeouts: timeouts(&inputs.config.timeouts),
        v4: FamilyPlan {
            routes: Arc::new(routes::compile(inputs, inputs.links.v4())),
            firewalls: services.groups().v4(),
            ..family::<V4>(inputs, services.v4())
        },
        v6: FamilyPlan {
            routes: Arc::new(routes::compile(inputs, inputs.links.v6())),
            firewalls: services.groups().v6(),
            ..family::<V6>(inputs, services.v6())
        },
        members: firewalls::rows_with_links(inputs).into(),
        ports: Arc::new(legs::ports(inputs.config, inputs.facts, inputs.mtu_bytes_max).into_iter().collect()),
        rings: legs::rings(inputs.config).into(),
    }
}

/// What follows from services, outbounds and responders; routes and firewalls are left out.
fn family<'a, F: Family>(
    inputs: &Inputs<'_>,
    services: impl Iterator<Item = &'a Arc<plan::Service<F>>>,
) -> FamilyPlan<F> {
    let mut owned = OwnedAddresses::<F>::default();
    let mut outer_sources: HashSet<F::Address> = HashSet::new();
    for service in services {
        owned.listen(service.clone());
        outer_sources.extend(service.mode.outer_source());
        // A pool that is not the VIP is always announced: it is on a network of ours, or nothing could come back.
        let pool = service.source_nat.pool().map_or(&[][..], |pool| &pool.addresses);
        let pool = pool.iter().copied().filter(|&address| address != service.address);
        pool.chain(service.mode.outer_source()).for_each(|address| owned.own(address, true));
    }
    let outbounds = outbounds::<F>(inputs);
    outbounds.0.iter().flat_map(|outbound| &outbound.pool.addresses).for_each(|&a| owned.own(a, true));
    let responders = firewalls::responders::<F>(inputs.config);
    responders.iter().for_each(|&address| owned.own(address, true));
    let host: HashSet<F::Address> = host_addresses(inputs.facts).filter_map(F::address).collect();
    FamilyPlan {
        owned,
        host: Arc::new(host),
        responders: Arc::new(responders),
        outbounds: Arc::new(outbounds),
        outer_sources: Arc::new(outer_sources),
        servers: Arc::new(servers::<F>(inputs.config)),
        ..FamilyPlan::default()
    }
}

/// Every address of a server, and how it may be called.
fn servers<F: Family>(config: &Config) -> HashMap<F::Address, ServerAddress> {
    let mut servers: HashMap<F::Address, ServerAddress> = HashMap::new();
    for service in &config.services {
        let (first, last) = service.ports.bounds();
        for server in &service.servers {
            let Some(address) = F::address(server.address) else { continue };
            let known = servers.entry(address).or_default();
            known.is_shielded |= service.direct_access == config::DirectAccess::Deny;
            if service.protocol != config::Protocol::Tcp {
                let ports = server
                    .port
                    .map_or(PortRange { first, last }, |port| PortRange { first: port, last: port });
                known.udp_ports.push(ports);
            }
        }
    }
    servers
}

fn outbounds<F: Family>(inputs: &Inputs<'_>) -> Outbounds<F> {
    let built = inputs.config.outbounds.iter().filter_map(|outbound| {
        let networks: Box<[(F::Address, u8)]> = outbound
            .networks
            .iter()
            .filter_map(|network| Some((F::address(network.address)?, network.prefix_length)))
            .collect();
        let addresses: Box<[F::Address]> =
            outbound.source_addresses.iter().filter_map(|&address| F::address(address)).collect();
        // Every outbound was given a row before the plan is compiled.
        let id = inputs.members.get(&outbound_key(outbound))?.id;
        let pool = SourceNatPool { addresses };
        (!networks.is_empty()).then(|| Outbound { name: outbound.name.clone(), id, networks, pool })
    });
    Outbounds(built.collect())
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
    let of_service = |service: &config::Service| {
        let translates = service.source_nat != config::SourceNat::Never;
        let pool = if translates { service.source_addresses.clone() } else { Vec::new() };
        pool.into_iter().chain(service.encapsulation_source).chain([service.address])
    };
    let of_services = config.services.iter().flat_map(of_service);
    of_services
        .chain(config.outbounds.iter().flat_map(|outbound| outbound.source_addresses.clone()))
        .chain(config.probe_responders.iter().map(|responder| responder.address))
        .collect()
}

fn timeouts(config: &config::Timeouts) -> Timeouts {
    let ms = |duration: Duration| duration.as_millis().min(u128::from(u64::MAX)) as u64;
    Timeouts {
        tcp_established_ms: ms(config.tcp_established),
        tcp_transitory_ms: ms(config.tcp_transitory),
        tcp_closing_ms: ms(config.tcp_closing),
        udp_ms: ms(config.udp),
        icmp_ms: ms(config.icmp),
    }
}
