//! Firewall groups with their members, rebuilt only when what they were made from has changed; and the links that lead to
//! firewalls.

use super::{Inputs, leg_zone, legs_by_interface};
use crate::facts::{Facts, Hop, Resolution};
use crate::members::{FirewallPath, Members, ServerKey};
use config::{Config, FirewallGroup as Configured};
use flow::{Family, FlowHasher, V4, V6, Zone};
use hashbrown::{HashMap, HashSet};
use plan::{
    FirewallGroup, FirewallHash, FirewallMember, Firewalls, GroupWithNetworks, LinksByNextHop, MemberRow,
    MemberState, Plan, PreferenceRows, RowMember,
};
use rewrite::{LinkIndex, MemberId};
use std::net::IpAddr;
use std::sync::Arc;

/// A firewall as it enters its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct MemberInput {
    id: MemberId,
    state: MemberState,
    weight: u32,
}

/// The groups of one family, and what they were made from.
struct Made<F: Family> {
    from: Vec<(Configured, Vec<MemberInput>)>,
    firewalls: Arc<Firewalls<F>>,
}

impl<F: Family> Default for Made<F> {
    fn default() -> Self {
        Self { from: Vec::new(), firewalls: Arc::default() }
    }
}

/// The groups of the plan in force.
#[derive(Default)]
pub(super) struct Groups {
    v4: Made<V4>,
    v6: Made<V6>,
}

impl Groups {
    /// Brings every group up to date.
    pub(super) fn refresh(&mut self, inputs: &Inputs<'_>) {
        self.v4.refresh(inputs);
        self.v6.refresh(inputs);
    }

    /// Groups of IPv4 addresses.
    pub(super) fn v4(&self) -> Arc<Firewalls<V4>> {
        Arc::clone(&self.v4.firewalls)
    }

    /// Groups of IPv6 addresses.
    pub(super) fn v6(&self) -> Arc<Firewalls<V6>> {
        Arc::clone(&self.v6.firewalls)
    }
}

impl<F: Family> Made<F> {
    fn refresh(&mut self, inputs: &Inputs<'_>) {
        let groups = inputs.config.firewall_groups.iter().filter(|group| is_of_family::<F>(group));
        let from: Vec<_> =
            groups.map(|group| (group.clone(), member_inputs(inputs.members, group))).collect();
        if from == self.from {
            return;
        }
        let built = from.iter().map(|one| self.with_networks(one, &inputs.hasher)).collect();
        self.firewalls = Arc::new(Firewalls::new(built));
        self.from = from;
    }

    /// One group, as it was if nothing of it has changed.
    fn with_networks(
        &self,
        from: &(Configured, Vec<MemberInput>),
        hasher: &FlowHasher,
    ) -> GroupWithNetworks<F> {
        let (configured, inputs) = from;
        let before = self.firewalls.groups().iter().find(|group| group.name == configured.name);
        let group = match before {
            Some(same) if self.from.contains(from) => same.clone(),
            _ => build(configured, inputs, before.map(|before| &before.rows), hasher),
        };
        let network = |network: &config::Network| Some((F::address(network.address)?, network.prefix_length));
        let translated = configured.firewalls.iter().enumerate().flat_map(|(position, firewall)| {
            firewall.nat_addresses.iter().filter_map(move |owned| Some((position, network(owned)?)))
        });
        GroupWithNetworks {
            group,
            networks: configured.networks.iter().filter_map(network).collect(),
            translated: translated.collect(),
        }
    }
}

fn member_inputs(members: &Members, group: &Configured) -> Vec<MemberInput> {
    let known = group.firewalls.iter().map(|firewall| {
        // Every firewall of the configuration in force was given a row before the plan is compiled.
        let member = members.get(&ServerKey::of_firewall(group, firewall));
        member.map_or_else(MemberInput::default, |member| MemberInput {
            id: member.id,
            state: member.state(),
            weight: member.weight(),
        })
    });
    known.collect()
}

fn build<F: Family>(
    configured: &Configured,
    inputs: &[MemberInput],
    rows_before: Option<&PreferenceRows>,
    hasher: &FlowHasher,
) -> FirewallGroup<F> {
    let member = |(firewall, input): (&config::Firewall, &MemberInput)| {
        Some(FirewallMember {
            name: firewall.name.clone(),
            id: input.id,
            address: F::address(firewall.address)?,
            state: input.state,
            sessions_max: firewall.max_sessions.map_or(u64::MAX, u64::from),
            sessions_per_s_max: firewall.max_session_rate.unwrap_or(u32::MAX),
        })
    };
    let row_members = row_members_of(configured, inputs);
    let living: Vec<bool> = inputs.iter().map(|input| input.state == MemberState::Up).collect();
    // Only a change of members or weights costs a new table; otherwise just the rows that change.
    let rows = match rows_before.filter(|before| before.is_for(&row_members, hasher)) {
        Some(before) => before.with(&living),
        None => PreferenceRows::build(&row_members, &living, hasher),
    };
    FirewallGroup {
        name: configured.name.clone(),
        zone: Zone(configured.zone),
        hash: hash(configured),
        returns: configured.on_recovery == config::OnRecovery::Return,
        members: configured.firewalls.iter().zip(inputs).filter_map(member).collect(),
        rows,
    }
}

/// Firewalls are known to both ends by their names alone, whatever address each reaches them at.
fn row_members_of(configured: &Configured, inputs: &[MemberInput]) -> Vec<RowMember> {
    let of = |(firewall, input): (&config::Firewall, &MemberInput)| RowMember {
        identity: firewall.name.clone().into_bytes(),
        weight: input.weight,
        is_backup: false,
    };
    configured.firewalls.iter().zip(inputs).map(of).collect()
}

fn hash(configured: &Configured) -> FirewallHash {
    match configured.hash {
        config::FirewallHash::AddressPair => FirewallHash::AddressPair,
        config::FirewallHash::FiveTuple => FirewallHash::FiveTuple,
    }
}

/// What the other end of a group must have too, in one number; see [`plan::fingerprint`].
pub fn fingerprint(group: &Configured, members: &Members, hasher: &FlowHasher) -> u64 {
    let row_members = row_members_of(group, &member_inputs(members, group));
    plan::fingerprint(hash(group), &row_members, hasher)
}

/// What a firewall is by the file alone, as long as it is up.
fn input_by_file(firewall: &config::Firewall) -> MemberInput {
    MemberInput { id: MemberId::default(), state: MemberState::Up, weight: firewall.weight }
}

/// The groups of one family by the file alone, with all of their firewalls up. The places of groups and firewalls are those
/// in the file, other families' groups aside.
pub(crate) fn groups_by_file<F: Family>(config: &Config, hasher: &FlowHasher) -> Firewalls<F> {
    let groups = config.firewall_groups.iter().filter(|group| is_of_family::<F>(group)).map(|group| {
        let from = (group.clone(), group.firewalls.iter().map(input_by_file).collect());
        Made::default().with_networks(&from, hasher)
    });
    Firewalls::new(groups.collect())
}

/// [`fingerprint`] by the file alone.
pub(crate) fn fingerprint_by_file(group: &Configured, hasher: &FlowHasher) -> u64 {
    let inputs: Vec<MemberInput> = group.firewalls.iter().map(input_by_file).collect();
    plan::fingerprint(hash(group), &row_members_of(group, &inputs), hasher)
}

fn is_of_family<F: Family>(group: &Configured) -> bool {
    group.firewalls.iter().any(|one| F::address(one.address).is_some())
}

/// Addresses of ours that answer path probes.
pub(super) fn responders<F: Family>(config: &Config) -> HashSet<F::Address> {
    config.probe_responders.iter().filter_map(|responder| F::address(responder.address)).collect()
}

/// The neighbours that lead to a firewall at `address`, each with its leg: of those that the routes name, the ones on the
/// leg that its path hangs on, in the zone that it is reached from. Nothing may reach it by way of another zone.
pub(crate) fn ways<'a>(
    config: &'a Config,
    facts: &Facts,
    legs: &'a HashMap<u32, u16>,
    address: IpAddr,
    path: &'a FirewallPath,
) -> impl Iterator<Item = (u16, Hop)> + use<'a> {
    let hops = match facts.resolve(address) {
        Resolution::Forward(hops) => hops,
        _ => Vec::new(),
    };
    let of_legs = hops.into_iter().filter_map(|hop| Some((*legs.get(&hop.interface)?, hop)));
    of_legs
        .filter(|(leg, _)| path.leg.is_none_or(|wanted| wanted == *leg))
        .filter(|(leg, _)| leg_zone(config, *leg) == Some(path.zone))
}

/// The rows of all members, those of firewalls with the links that lead there now.
pub(super) fn rows_with_links(inputs: &Inputs<'_>) -> Vec<MemberRow> {
    let legs = legs_by_interface(inputs.config, inputs.facts);
    let (v4, v6) = (inputs.links.v4(), inputs.links.v6());
    let mut rows = inputs.members.rows().to_vec();
    for (key, member) in inputs.members.all() {
        let Some(path) = member.path() else { continue };
        let mut ways = ways(inputs.config, inputs.facts, &legs, key.address, path);
        let link = ways.find_map(|(leg, hop)| {
            link_of::<V4>(&v4, leg, hop.address).or_else(|| link_of::<V6>(&v6, leg, hop.address))
        });
        if let Some(row) = rows.get_mut(usize::from(member.id.index)) {
            row.link = link.unwrap_or(LinkIndex::UNRESOLVED);
        }
    }
    rows
}

fn link_of<F: Family>(links: &LinksByNextHop<F>, leg: u16, address: IpAddr) -> Option<LinkIndex> {
    links.get(&(leg, F::address(address)?)).copied()
}

/// Whether flows may pass other firewalls by `after` than by `before`: a group, a firewall's state or a zone is another.
/// Then sessions must ask again: `after` gets another route epoch.
pub fn other_firewalls(before: &Plan, after: &Plan) -> bool {
    let zones = |plan: &Plan| plan.ports.iter().map(|port| port.zone).collect::<Vec<_>>();
    // What nothing changed is shared.
    !Arc::ptr_eq(&before.v4.firewalls, &after.v4.firewalls)
        || !Arc::ptr_eq(&before.v6.firewalls, &after.v6.firewalls)
        || zones(before) != zones(after)
}

#[cfg(test)]
mod tests;
