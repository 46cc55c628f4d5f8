//! Reads `[[probe_responder]]`.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::code;
use crate::findings::Findings;
use crate::firewall::{FIREWALLS_MAX, GROUPS_MAX, NO_ADDRESS};
use crate::model::{Firewall, FirewallGroup, ProbeResponder};
use crate::nearest::nearest;
use crate::section::{Section, Value, quoted};

/// Responders at the most: one for each firewall that there can be.
const RESPONDERS_MAX: usize = GROUPS_MAX * FIREWALLS_MAX;

pub(crate) const KEYS: &[&str] = &["address", "firewall", "group"];

/// Reads every `[[probe_responder]]`; those that say too little to be placed are left out.
pub(crate) fn responders(
    top: Section<'_>,
    groups: &[FirewallGroup],
    findings: &Findings,
) -> Vec<ProbeResponder> {
    let sections = top.tables("probe_responder", "probe_responder", KEYS, RESPONDERS_MAX);
    let read: Vec<Option<ProbeResponder>> =
        sections.into_iter().map(|section| responder(section, groups)).collect();
    // One that could not be placed may be the one that would be missing.
    if read.iter().all(Option::is_some) {
        let placed =
            |group, firewall| read.iter().flatten().any(|one| (one.group, one.firewall) == (group, firewall));
        missing(groups, placed, findings);
    }
    read.into_iter().flatten().collect()
}

fn responder(section: Section<'_>, groups: &[FirewallGroup]) -> Option<ProbeResponder> {
    let address = section.required("address", "\"198.18.1.101\"").and_then(|value| value.address());
    let value = section.required("firewall", "\"fw1\"");
    let among = match section.optional("group") {
        Some(value) => group(value, groups).map(|place| place..place + 1),
        None => Some(0..groups.len()),
    };
    let (address, value) = (address?, value?);
    let name = value.text("\"fw1\"")?;
    let among = among?;
    // A firewall has two paths where both families cross it, each of a group of its own.
    let candidates = || {
        let of_groups = among.clone().flat_map(|group| {
            let firewalls = groups[group].firewalls.iter().enumerate();
            firewalls.map(move |(firewall, one)| (group, firewall, one))
        });
        of_groups.filter(|(.., one)| is_of_family(one, address))
    };
    let found: Vec<(usize, usize)> = candidates()
        .filter(|(.., one)| one.name == name)
        .map(|(group, firewall, _)| (group, firewall))
        .collect();
    match found[..] {
        // A name that a group has twice is refused there.
        [(group, firewall), ref others @ ..] if others.iter().all(|(other, _)| *other == group) => {
            let (at, firewall_at) = (section.at("address"), section.at("firewall"));
            Some(ProbeResponder { address, group, firewall, at, firewall_at })
        }
        [] => {
            unknown(value, name, address, &candidates().map(|(.., one)| one).collect::<Vec<_>>());
            None
        }
        _ => {
            let mut names: Vec<&str> = found.iter().map(|(group, _)| groups[*group].name.as_str()).collect();
            names.dedup();
            let message = format!("firewall {name:?} is in several groups: {}", quoted(&names));
            value.error(code::UNKNOWN_REFERENCE, message, "say which with `group`");
            None
        }
    }
}

fn is_of_family(firewall: &Firewall, address: IpAddr) -> bool {
    firewall.address.is_ipv4() == address.is_ipv4() || firewall.address == NO_ADDRESS
}

fn group(value: Value<'_>, groups: &[FirewallGroup]) -> Option<usize> {
    let name = value.text("\"fw\"")?;
    let place = groups.iter().position(|group| group.name == name && !name.is_empty());
    if place.is_none() {
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        let help = match nearest(name, &names) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("add a `[[firewall_group]]` with `name = {name:?}`"),
        };
        value.error(code::UNKNOWN_REFERENCE, format!("no firewall group has the name {name:?}"), help);
    }
    place
}

fn unknown(value: Value<'_>, name: &str, address: IpAddr, candidates: &[&Firewall]) {
    let names: Vec<&str> = candidates.iter().map(|firewall| firewall.name.as_str()).collect();
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let help = match nearest(name, &names) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("name a firewall of a group whose addresses are {family}"),
    };
    let message = format!("no firewall with an {family} address has the name {name:?} here");
    value.error(code::UNKNOWN_REFERENCE, message, help);
}

/// A path that is probed has an address that its probes come from.
fn missing(groups: &[FirewallGroup], placed: impl Fn(usize, usize) -> bool, findings: &Findings) {
    for (place, group) in groups.iter().enumerate().filter(|(_, group)| group.health_check.is_some()) {
        let mut names = HashSet::from([""]);
        for (position, firewall) in group.firewalls.iter().enumerate() {
            // The second of a name is refused as such.
            let is_first = names.insert(&firewall.name);
            if !is_first || firewall.address == NO_ADDRESS || placed(place, position) {
                continue;
            }
            let message = format!(
                "no `[[probe_responder]]` stands for firewall {:?} of group {:?}: its probes have no address to come \
                 from",
                firewall.name, group.name
            );
            let help =
                format!("add `[[probe_responder]]` with `address` and `firewall = {:?}`", firewall.name);
            findings.error(code::MISSING_KEY, firewall.at, message, help);
        }
    }
}
