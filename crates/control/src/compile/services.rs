//! Services with their members, rebuilt only when what they were made from has changed.

use super::Inputs;
use crate::members::ServerKey;
use config::{Encapsulation, Scheduler as Named, Service as Configured, SourceNat as Wanted};
use flow::{Family, FlowHasher, V4, V6};
use hashbrown::HashMap;
use plan::{
    Cursor, HashFields, MemberState, Mode, PortRange, PreferenceRows, ReturnPath, RowMember, Scheduler,
    Service, ServiceMember, SourceNat, SourceNatPool,
};
use rewrite::MemberId;
use std::net::IpAddr;
use std::sync::Arc;

/// A service's members as they enter it: how each fares, and its weight now.
type MemberInputs = Vec<(MemberId, MemberState, u32)>;

/// What a service was made from, and what came of it.
struct Made<F: Family> {
    from: (Configured, MemberInputs),
    service: Arc<Service<F>>,
}

/// The services of the plan in force, by name, and the schedulers' places, which outlive every change.
#[derive(Default)]
pub struct Services {
    v4: HashMap<String, Made<V4>>,
    v6: HashMap<String, Made<V6>>,
    cursors: HashMap<String, Cursor>,
}

impl Services {
    /// Brings every service up to date.
    pub(super) fn refresh(&mut self, inputs: &Inputs<'_>) {
        let names = |name: &String| inputs.config.services.iter().any(|service| service.name == *name);
        self.cursors.retain(|name, _| names(name));
        let Self { v4, v6, cursors } = self;
        refresh_family(v4, inputs, cursors);
        refresh_family(v6, inputs, cursors);
    }

    /// Services on IPv4 addresses.
    pub(super) fn v4(&self) -> impl Iterator<Item = &Arc<Service<V4>>> {
        self.v4.values().map(|made| &made.service)
    }

    /// Services on IPv6 addresses.
    pub(super) fn v6(&self) -> impl Iterator<Item = &Arc<Service<V6>>> {
        self.v6.values().map(|made| &made.service)
    }
}

fn refresh_family<F: Family>(
    made: &mut HashMap<String, Made<F>>,
    inputs: &Inputs<'_>,
    cursors: &mut HashMap<String, Cursor>,
) {
    let mut before = std::mem::take(made);
    for configured in &inputs.config.services {
        let Some(address) = F::address(configured.address) else { continue };
        let from = (configured.clone(), member_inputs(inputs, configured));
        let same = before.remove(&configured.name).filter(|before| before.from == from);
        let now = same.unwrap_or_else(|| {
            let cursor = cursors.entry(configured.name.clone()).or_default().clone();
            let service = Arc::new(build(configured, address, &from.1, cursor, &inputs.hasher));
            Made { from, service }
        });
        made.insert(configured.name.clone(), now);
    }
}

fn member_inputs(inputs: &Inputs<'_>, service: &Configured) -> MemberInputs {
    let known = service.servers.iter().map(|server| {
        let key = ServerKey { service: service.name.clone(), address: server.address, port: server.port };
        // Every server of the configuration in force was given a row before the plan is compiled.
        inputs
            .members
            .get(&key)
            .map(|member| (member.id, member.state(), member.weight()))
            .unwrap_or_default()
    });
    known.collect()
}

fn build<F: Family>(
    configured: &Configured,
    address: F::Address,
    inputs: &MemberInputs,
    cursor: Cursor,
    hasher: &FlowHasher,
) -> Service<F> {
    let members: Box<[ServiceMember<F>]> = configured
        .servers
        .iter()
        .zip(inputs)
        .filter_map(|(server, &(id, state, weight))| {
            let address = F::address(server.address)?;
            let dscp = server.dscp.unwrap_or_default();
            Some(ServiceMember { id, address, port: server.port, state, weight, dscp })
        })
        .collect();
    let is_up = |member: &ServiceMember<F>| member.state == MemberState::Up;
    let available =
        (0..).zip(members.iter()).filter(|(_, member)| is_up(member)).map(|(place, _)| place).collect();
    let (first, last) = configured.ports.bounds();
    Service {
        name: configured.name.clone(),
        address,
        protocol: match configured.protocol {
            config::Protocol::Tcp => Some(wire::protocol::TCP),
            config::Protocol::Udp => Some(wire::protocol::UDP),
            config::Protocol::Any => None,
        },
        ports: PortRange { first, last },
        announce: configured.announce,
        scheduler: match configured.scheduler {
            // The others come with `plan`.
            Named::RoundRobin
            | Named::WeightedRoundRobin
            | Named::LeastConnections
            | Named::WeightedLeastConnections
            | Named::ResponseTime
            | Named::Bandwidth => Scheduler::RoundRobin(cursor),
            Named::Hash => {
                let rows: Vec<RowMember> = members.iter().map(row_member).collect();
                let fields = configured.hash_fields;
                Scheduler::Hash {
                    fields: HashFields {
                        source_address: fields.source_address,
                        destination_address: fields.destination_address,
                        source_port: fields.source_port,
                        destination_port: fields.destination_port,
                    },
                    rows: PreferenceRows::build(&rows, hasher),
                }
            }
        },
        rows: mode::<F>(configured).is_some_and(Mode::is_direct).then(|| {
            let rows: Vec<RowMember> = members.iter().map(row_member).collect();
            PreferenceRows::build(&rows, hasher)
        }),
        members,
        available,
        mode: mode(configured).unwrap_or(Mode::Routed),
        source_nat: source_nat(configured, address),
    }
}

/// How requests get to the servers. A configuration that was found right always says.
fn mode<F: Family>(configured: &Configured) -> Option<Mode<F>> {
    let source = || configured.encapsulation_source.and_then(F::address);
    Some(match (configured.mode, configured.encapsulation) {
        (config::Mode::Transparent, _) => Mode::Transparent,
        (config::Mode::Routed, _) => Mode::Routed,
        (config::Mode::L2Dsr, _) => Mode::L2Direct,
        (config::Mode::L3Dsr, Some(Encapsulation::Ipip)) => Mode::IpInIp { source: source()? },
        (config::Mode::L3Dsr, Some(Encapsulation::Gue)) => {
            Mode::Gue { source: source()?, port: configured.gue_port }
        }
        (config::Mode::L3Dsr, Some(Encapsulation::Dscp)) => Mode::Marked,
        (config::Mode::L3Dsr, None) => return None,
    })
}

fn source_nat<F: Family>(configured: &Configured, vip: F::Address) -> SourceNat<F> {
    let pool = configured.source_addresses.iter().filter_map(|&address| F::address(address));
    let mut addresses: Vec<F::Address> = pool.collect();
    if addresses.is_empty() {
        addresses.push(vip);
    }
    let pool = SourceNatPool { addresses: addresses.into() };
    let return_path = match configured.return_path {
        config::ReturnPath::Any => ReturnPath::Any,
        config::ReturnPath::Gateway => ReturnPath::Gateway,
        config::ReturnPath::Bypass => ReturnPath::Bypass,
    };
    match configured.source_nat {
        Wanted::Never => SourceNat::Never,
        Wanted::Auto => SourceNat::Auto(pool, return_path),
        Wanted::Always => SourceNat::Always(pool),
    }
}

/// A member as the balance table sees it: known by address and port, so that every appliance agrees.
fn row_member<F: Family>(member: &ServiceMember<F>) -> RowMember {
    let mut identity = match member.address.into() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    identity.extend_from_slice(&member.port.unwrap_or_default().to_be_bytes());
    RowMember { identity, weight: member.weight, alive: member.state == MemberState::Up }
}
