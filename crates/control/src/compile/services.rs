//! Services with their members, rebuilt only when what they were made from has changed.

use super::Inputs;
use super::firewalls::Groups;
use crate::members::{Health, Member, ServerKey};
use config::{Encapsulation, Scheduler as Named, Server, Service as Configured, SourceNat as Wanted};
use flow::{Family, FlowHasher, V4, V6};
use hashbrown::HashMap;
use plan::{
    Cursor, HashFields, MemberState, Mode, Persistence, PortRange, PreferenceRows, ReturnPath, RowMember,
    Scheduler, Service, ServiceMember, SourceNat, SourceNatPool, Warming, Wheel,
};
use rewrite::MemberId;
use std::cell::LazyCell;
use std::net::IpAddr;
use std::sync::Arc;

/// Separates the names of services from the secret's other uses.
const PURPOSE_SERVICE: u64 = 0x7365_7276_6963_6500;

/// A member as it enters its service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MemberInput {
    id: MemberId,
    state: MemberState,
    weight: u32,
    warming: Option<Warming>,
}

/// What a service was made from, and what came of it.
struct Made<F: Family> {
    from: (Configured, Vec<MemberInput>),
    service: Arc<Service<F>>,
}

/// The services of the plan in force, by name, the schedulers' places, which outlive every change, and the firewall groups.
#[derive(Default)]
pub struct Services {
    v4: HashMap<String, Made<V4>>,
    v6: HashMap<String, Made<V6>>,
    places: HashMap<String, Place>,
    groups: Groups,
}

/// What of a service outlives every plan.
#[derive(Default)]
struct Place {
    cursor: Cursor,
    /// Since when each member takes sessions.
    taking: HashMap<MemberId, Taking>,
}

/// How long a member has taken sessions, as far as slow start asks.
#[derive(Clone, Copy, Debug, Default)]
struct Taking {
    is_up: bool,
    /// It took sessions before, or was down, or came to a service that was there already: it is not one of those that
    /// begin together.
    returns: bool,
    /// When it returned.
    since_ns: Option<u64>,
}

impl Taking {
    /// Takes note of how the member fares now.
    fn note(&mut self, is_up: bool, is_down: bool, now_ns: u64) {
        if is_up && !self.is_up {
            self.since_ns = self.returns.then_some(now_ns);
        }
        self.returns |= is_up || is_down;
        self.is_up = is_up;
    }

    /// How it warms up, where that takes `slow_start_ns`.
    fn warming(&self, slow_start_ns: u64, now_ns: u64) -> Option<Warming> {
        let since_ns = self.since_ns.filter(|_| self.is_up && slow_start_ns > 0)?;
        (now_ns < since_ns + slow_start_ns).then_some(Warming { since_ns, for_ns: slow_start_ns })
    }
}

impl Services {
    /// Brings every service and firewall group up to date.
    pub(super) fn refresh(&mut self, inputs: &Inputs<'_>) {
        let names = |name: &String| inputs.config.services.iter().any(|service| service.name == *name);
        self.places.retain(|name, _| names(name));
        let Self { v4, v6, places, groups } = self;
        groups.refresh(inputs);
        refresh_family(v4, inputs, places);
        refresh_family(v6, inputs, places);
    }

    /// The firewall groups.
    pub(super) fn groups(&self) -> &Groups {
        &self.groups
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
    places: &mut HashMap<String, Place>,
) {
    let mut before = std::mem::take(made);
    for configured in &inputs.config.services {
        let Some(address) = F::address(configured.address) else { continue };
        let is_new = !places.contains_key(&configured.name);
        let place = places.entry(configured.name.clone()).or_default();
        let from = (configured.clone(), member_inputs(inputs, configured, place, is_new));
        let now = match before.remove(&configured.name) {
            Some(same) if same.from == from => same,
            other => {
                let cursor = place.cursor.clone();
                let before = other.as_ref().and_then(|other| rows_of(&other.service));
                let service = build(configured, address, &from.1, cursor, before, &inputs.hasher);
                Made { from, service: Arc::new(service) }
            }
        };
        made.insert(configured.name.clone(), now);
    }
}

/// `is_new`: nobody was in the service before, so that all who are begin together.
fn member_inputs(
    inputs: &Inputs<'_>,
    service: &Configured,
    place: &mut Place,
    is_new: bool,
) -> Vec<MemberInput> {
    let slow_start_ns = service.slow_start.map_or(0, |span| span.as_nanos() as u64);
    let known = service.servers.iter().map(|server| {
        let key = ServerKey::of(service, server);
        // Every server of the configuration in force was given a row before the plan is compiled.
        let member = inputs.members.get(&key);
        let now = |member: &Member| (member.id, member.state(), member.weight());
        let (id, state, weight) = member.map(now).unwrap_or_default();
        let taking = place.taking.entry(id).or_insert(Taking { returns: !is_new, ..Taking::default() });
        let is_down = member.is_some_and(|member| member.health() == Health::Down);
        taking.note(state == MemberState::Up, is_down, inputs.now_ns);
        MemberInput { id, state, weight, warming: taking.warming(slow_start_ns, inputs.now_ns) }
    });
    let known: Vec<MemberInput> = known.collect();
    place.taking.retain(|id, _| known.iter().any(|member| member.id == *id));
    known
}

fn build<F: Family>(
    configured: &Configured,
    address: F::Address,
    inputs: &[MemberInput],
    cursor: Cursor,
    rows_before: Option<&PreferenceRows>,
    hasher: &FlowHasher,
) -> Service<F> {
    let members: Box<[ServiceMember<F>]> = configured
        .servers
        .iter()
        .zip(inputs)
        .filter_map(|(server, input)| {
            Some(ServiceMember {
                id: input.id,
                address: F::address(server.address)?,
                port: server.port,
                state: input.state,
                weight: input.weight,
                sessions_max: server.max_sessions.map_or(u64::MAX, u64::from),
                warming: input.warming,
                dscp: server.dscp.unwrap_or_default(),
            })
        })
        .collect();
    let available =
        in_use(configured, |place| members.get(place).is_some_and(|member| member.state == MemberState::Up));
    let living = |is_warm_enough: &dyn Fn(&ServiceMember<F>) -> bool| -> Vec<bool> {
        let mut living = vec![false; members.len()];
        for &place in &available {
            living[usize::from(place)] = is_warm_enough(&members[usize::from(place)]);
        }
        living
    };
    // Only a change of members or weights costs a new table; otherwise just the rows that change.
    let rows = LazyCell::new(|| {
        let of = |(server, member): (&Server, &ServiceMember<F>)| RowMember {
            identity: identity(member),
            weight: member.weight,
            is_backup: server.is_backup,
        };
        let row_members: Vec<RowMember> = configured.servers.iter().zip(&members).map(of).collect();
        let living = living(&|_| true);
        match rows_before.filter(|before| before.is_for(&row_members, hasher)) {
            Some(before) => before.with(&living),
            None => PreferenceRows::build(&row_members, &living, hasher),
        }
    });
    let scheduler = match configured.scheduler {
        Named::RoundRobin => Scheduler::RoundRobin,
        Named::WeightedRoundRobin => Scheduler::WeightedRoundRobin,
        Named::LeastConnections => Scheduler::LeastConnections,
        Named::WeightedLeastConnections => Scheduler::WeightedLeastConnections,
        Named::ResponseTime => Scheduler::ResponseTime,
        Named::Bandwidth => Scheduler::Bandwidth,
        Named::Hash => Scheduler::Hash {
            fields: hash_fields(configured.hash_fields),
            rows: rows.clone(),
            rows_without_warming: members
                .iter()
                .any(|member| member.warming.is_some())
                .then(|| rows.with(&living(&|member| member.warming.is_none()))),
        },
    };
    let share = |&place: &u16| {
        let weight = members[usize::from(place)].weight;
        if scheduler.has_weights() { weight } else { 1 }
    };
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
        wheel: Wheel::new(available.iter().map(share)),
        rows: mode::<F>(configured).is_some_and(Mode::is_direct).then(|| rows.clone()),
        scheduler,
        cursor,
        positions: (0..).zip(&members).map(|(position, member)| (member.id, position)).collect(),
        members,
        available,
        mode: mode(configured).unwrap_or(Mode::Routed),
        source_nat: source_nat(configured, address),
        persistence: configured
            .persistence
            .map(|persistence| persistence_of(configured, persistence, hasher)),
    }
}

/// Under which name the clients of a service are remembered, and for how long.
pub(crate) fn persistence_of(
    configured: &Configured,
    persistence: config::Persistence,
    hasher: &FlowHasher,
) -> Persistence {
    let mut name = configured.name.clone().into_bytes();
    name.push(persistence.prefix_length);
    Persistence {
        identity: hasher.dispatch(PURPOSE_SERVICE, &name),
        prefix_length: persistence.prefix_length,
        timeout_ms: persistence.timeout.as_millis() as u64,
    }
}

/// Positions of the servers that take new sessions: those that are up, if they reach the quorum; else the backups that are
/// up, if there are any; else none. `is_up` says it of a server by its position.
pub(crate) fn in_use(configured: &Configured, is_up: impl Fn(usize) -> bool) -> Box<[u16]> {
    let up = |is_backup: bool| -> Box<[u16]> {
        let servers = configured.servers.iter().enumerate();
        let up = servers.filter(|(place, server)| server.is_backup == is_backup && is_up(*place));
        up.map(|(place, _)| place as u16).collect()
    };
    // A service of backups alone has no others to wait for.
    let has_primaries = configured.servers.iter().any(|server| !server.is_backup);
    let first = up(!has_primaries);
    if first.len() >= configured.quorum as usize {
        first
    } else if has_primaries {
        up(true)
    } else {
        Box::default()
    }
}

fn hash_fields(fields: config::HashFields) -> HashFields {
    HashFields {
        source_address: fields.source_address,
        destination_address: fields.destination_address,
        source_port: fields.source_port,
        destination_port: fields.destination_port,
        source_mac: fields.source_mac,
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

/// The rows of a service, whoever uses them.
fn rows_of<F: Family>(service: &Service<F>) -> Option<&PreferenceRows> {
    match &service.scheduler {
        Scheduler::Hash { rows, .. } => Some(rows),
        _ => service.rows.as_ref(),
    }
}

/// What tells a member from the others on every appliance: its address and port.
fn identity<F: Family>(member: &ServiceMember<F>) -> Vec<u8> {
    let mut identity = match member.address.into() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    identity.extend_from_slice(&member.port.unwrap_or_default().to_be_bytes());
    identity
}
