//! Which groups of two ends stand for the same firewalls.

use super::{Finding, Kind, warning};
use config::{Config, FirewallGroup};

/// Two groups, by their places in the files.
#[derive(Debug)]
pub(super) struct Found {
    pub outer: usize,
    pub inner: usize,
    /// Names of firewalls that both have.
    pub names: usize,
    /// Far addresses of either that are a probe address of the other.
    pub far_addresses: usize,
    /// What is not certain about it.
    pub findings: Vec<Finding>,
}

impl Found {
    /// A far address says which of several groups is meant; a name is the same in all of them.
    fn rank(&self) -> (usize, usize) {
        (self.far_addresses, self.names)
    }
}

/// Pairs those that have most in common, each group once. Of equals the first in the files.
pub(super) fn find(outer: &Config, inner: &Config) -> Vec<Found> {
    let mut candidates: Vec<Found> = (0..outer.firewall_groups.len())
        .flat_map(|one| (0..inner.firewall_groups.len()).map(move |other| (one, other)))
        .filter_map(|places| candidate(outer, inner, places))
        .collect();
    // Stable: equals keep the order of the files.
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.rank()));
    let mut found: Vec<Found> = Vec::new();
    while !candidates.is_empty() {
        let mut best = candidates.remove(0);
        let is_rival = |other: &&Found| {
            (other.outer == best.outer) != (other.inner == best.inner) && other.rank() == best.rank()
        };
        let rivals: Vec<&Found> = candidates.iter().filter(is_rival).collect();
        if let Some(rival) = rivals.first() {
            let text = format!(
                "group {:?} of the outer end might as well stand for the firewalls of group {:?} of the inner end: only a \
                 `far_address` that is a probe address of the other end tells",
                outer.firewall_groups[rival.outer].name, inner.firewall_groups[rival.inner].name,
            );
            best.findings.push(warning(Kind::Partner, text));
        }
        candidates.retain(|other| other.outer != best.outer && other.inner != best.inner);
        found.push(best);
    }
    found.sort_by_key(|pair| pair.outer);
    found
}

fn candidate(outer: &Config, inner: &Config, (one, other): (usize, usize)) -> Option<Found> {
    let (mine, theirs) = (outer.firewall_groups.get(one)?, inner.firewall_groups.get(other)?);
    if is_ipv4(mine) != is_ipv4(theirs) {
        return None;
    }
    let is_known = |name: &str| theirs.firewalls.iter().any(|firewall| firewall.name == name);
    let names = mine.firewalls.iter().filter(|firewall| is_known(&firewall.name)).count();
    let far_addresses = far_addresses_at(mine, inner, other) + far_addresses_at(theirs, outer, one);
    (names + far_addresses > 0).then_some(Found {
        outer: one,
        inner: other,
        names,
        far_addresses,
        findings: vec![],
    })
}

/// How many far addresses of `group` are probe addresses of the group `place` at the other end.
fn far_addresses_at(group: &FirewallGroup, other_end: &Config, place: usize) -> usize {
    let answers = |address| {
        let mut own = other_end.probe_responders.iter().filter(|responder| responder.group == place);
        own.any(|responder| responder.address == address)
    };
    group.firewalls.iter().filter(|firewall| firewall.far_address.is_some_and(answers)).count()
}

fn is_ipv4(group: &FirewallGroup) -> bool {
    group.firewalls.iter().any(|firewall| firewall.address.is_ipv4())
}
