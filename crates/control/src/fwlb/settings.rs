//! What must be the same at both ends, or fit together, and what had better.

use super::{Both, End, Finding, Kind, error, warning};
use config::{Config, Firewall, FirewallGroup, FirewallHash, OnFailure, OnRecovery};
use std::collections::BTreeSet;

const ENDS: [End; 2] = [End::Outer, End::Inner];

/// What is said once for the whole appliance: the key, which is compared and never shown, and its services.
pub(super) fn compare_whole(outer: &Config, inner: &Config) -> Vec<Finding> {
    let keys = [outer, inner].map(|config| config.appliance.hash_key);
    let missing = ENDS.into_iter().zip(keys).filter(|(_, key)| key.is_none());
    let mut findings: Vec<Finding> = missing
        .map(|(end, _)| {
            let text = format!(
                "the {} end has no `hash_key`: it would make one of its own, which no other appliance has",
                end.word()
            );
            error(Kind::Key, text)
        })
        .collect();
    if let [Some(one), Some(other)] = keys
        && one != other
    {
        findings.push(error(Kind::Key, "the `hash_key` of the two ends is not the same".into()));
    }
    services(outer, inner, &mut findings);
    findings
}

/// All that is said of two groups.
pub(super) fn compare(both: &Both<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    placement(both, &mut findings);
    behaviour(both, &mut findings);
    for end in ENDS {
        far_addresses(both, end, &mut findings);
    }
    networks(both, &mut findings);
    findings
}

/// What decides which firewall a flow crosses.
fn placement(both: &Both<'_>, findings: &mut Vec<Finding>) {
    let [outer, inner] = both.groups;
    if outer.hash != inner.hash {
        let [one, other] = [outer, inner].map(|group| hash_word(group.hash));
        let text = format!("`hash` is {one:?} at the outer end, {other:?} at the inner");
        findings.push(error(Kind::Hash, text));
    }
    for name in names(both) {
        match both.groups.map(|group| firewall(group, name)) {
            [Some(one), Some(other)] if one.weight != other.weight => {
                let text = format!(
                    "`weight` of firewall {name:?} is {} at the outer end, {} at the inner",
                    one.weight, other.weight
                );
                findings.push(error(Kind::Weight, text));
            }
            [Some(_), None] => findings.push(only_at(End::Outer, name)),
            [None, Some(_)] => findings.push(only_at(End::Inner, name)),
            _ => {}
        }
    }
}

fn only_at(end: End, name: &str) -> Finding {
    error(Kind::Name, format!("the {} end alone has a firewall with the name {name:?}", end.word()))
}

fn names<'a>(both: &Both<'a>) -> BTreeSet<&'a str> {
    both.groups.iter().flat_map(|group| &group.firewalls).map(|firewall| firewall.name.as_str()).collect()
}

fn firewall<'a>(group: &'a FirewallGroup, name: &str) -> Option<&'a Firewall> {
    group.firewalls.iter().find(|firewall| firewall.name == name)
}

/// What becomes of flows when a firewall fails and returns: each end does it to its own half of them.
fn behaviour(both: &Both<'_>, findings: &mut Vec<Finding>) {
    let [outer, inner] = both.groups;
    let mut differs = |kind, key: &str, [one, other]: [&str; 2]| {
        if one != other {
            let text = format!("`{key}` is {one:?} at the outer end, {other:?} at the inner");
            findings.push(warning(kind, text));
        }
    };
    differs(Kind::OnFailure, "on_failure", [outer, inner].map(|group| failure_word(group.on_failure)));
    differs(Kind::OnRecovery, "on_recovery", [outer, inner].map(|group| recovery_word(group.on_recovery)));
    for (end, group) in ENDS.into_iter().zip(both.groups) {
        if group.health_check.is_none() {
            let text = format!(
                "the {} end has no `health_check`: it goes on sending to a firewall that the other end knows to be down",
                end.word()
            );
            findings.push(warning(Kind::HealthCheck, text));
        }
    }
}

/// Probes of `end` are to come in at the other end where it stands for the same firewall.
fn far_addresses(both: &Both<'_>, end: End, findings: &mut Vec<Finding>) {
    let (here, there) = if end == End::Outer { (0, 1) } else { (1, 0) };
    let (config, group) = (both.configs[there], both.groups[there]);
    let (end, other) = (ENDS[here].word(), ENDS[there].word());
    for probing in &both.groups[here].firewalls {
        let Some(address) = probing.far_address else { continue };
        let name = &probing.name;
        let responder = config.probe_responders.iter().find(|responder| responder.address == address);
        let stands_for = responder.and_then(|responder| {
            let of = config.firewall_groups.get(responder.group)?;
            Some((of, of.firewalls.get(responder.firewall)?))
        });
        let text = match stands_for {
            None => format!(
                "the {end} end probes {name:?} at `far_address` {address}, which is no `[[probe_responder]]` of the {other} end"
            ),
            Some((of, answering)) if of.name != group.name => format!(
                "the {end} end probes {name:?} at `far_address` {address}, which at the {other} end stands for {:?} of group \
                 {:?}",
                answering.name, of.name
            ),
            Some((_, answering)) if answering.name != *name => format!(
                "the {end} end probes {name:?} at `far_address` {address}, which at the {other} end stands for {:?}",
                answering.name
            ),
            Some(_) => continue,
        };
        findings.push(error(Kind::FarAddress, text));
    }
}

/// What can be known of networks without the kernels' routes: none lies beyond the firewalls for both ends.
fn networks(both: &Both<'_>, findings: &mut Vec<Finding>) {
    let [outer, inner] = both.groups;
    for network in outer.networks.iter().filter(|network| inner.networks.contains(network)) {
        let text =
            format!("`networks` of both ends hold {network}: each takes it to lie beyond the firewalls");
        findings.push(warning(Kind::Networks, text));
    }
}

/// What the inner end offers lies beyond the firewalls for the outer end, or nobody there reaches it through them.
fn services(outer: &Config, inner: &Config, findings: &mut Vec<Finding>) {
    let networks: Vec<_> = outer.firewall_groups.iter().flat_map(|group| &group.networks).collect();
    for service in &inner.services {
        let address = service.address;
        let is_outer = outer.services.iter().any(|own| own.address == address);
        let is_balanced = networks.iter().any(|network| network.address.is_ipv4() == address.is_ipv4());
        if is_balanced && !is_outer && !networks.iter().any(|network| network.contains(address)) {
            let text = format!(
                "the inner end's service {:?} ({address}) is in no `networks` of the outer end: calls from there do not go \
                 through the firewalls",
                service.name
            );
            findings.push(warning(Kind::Networks, text));
        }
    }
}

fn hash_word(hash: FirewallHash) -> &'static str {
    match hash {
        FirewallHash::AddressPair => "address-pair",
        FirewallHash::FiveTuple => "five-tuple",
    }
}

fn failure_word(on_failure: OnFailure) -> &'static str {
    match on_failure {
        OnFailure::Move => "move",
        OnFailure::Reset => "reset",
        OnFailure::Keep => "keep",
    }
}

fn recovery_word(on_recovery: OnRecovery) -> &'static str {
    match on_recovery {
        OnRecovery::Sticky => "sticky",
        OnRecovery::Return => "return",
    }
}
