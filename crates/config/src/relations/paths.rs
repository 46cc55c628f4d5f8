//! Paths through firewalls: what asks them, where they end, and what they are asked from.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::code;
use crate::findings::Findings;
use crate::model::{CheckKind, Config, FirewallGroup, HealthCheck, Probe, ProbeResponder};
use crate::probe;

/// Examines a whole file.
pub(super) fn examine(config: &Config, findings: &Findings) {
    for (place, group) in config.firewall_groups.iter().enumerate() {
        match group.health_check.map(|index| &config.health_checks[index]) {
            Some(check) => {
                if probe::is_readable(&check.probe) {
                    goes_through(group, check, findings);
                }
                far_ends(group, check, findings);
            }
            // One that could not be read has been complained about.
            None if findings.has_at(group.health_check_at) => {}
            None => unchecked(config, place, group, findings),
        }
    }
    responders(config, findings);
}

/// Path probes are packets of our own making, of the kinds that firewalls let through.
fn goes_through(group: &FirewallGroup, check: &HealthCheck, findings: &Findings) {
    let (name, at) = (&check.name, group.health_check_at);
    let kind = check.probe.kind();
    match &check.probe {
        Probe::Icmp => {}
        Probe::Udp(request) if !request.send.is_empty() || request.expect_reply.is_some() => {
            let message = format!(
                "health check {name:?} says what to send or expect, and probes of paths through firewalls hold what both \
                 ends tell each other"
            );
            let help = "give the group a check of its own, without `send` and `expect_reply`";
            findings.error(code::MEANINGLESS_KEY, at, message, help);
        }
        Probe::Udp(_) | Probe::TcpHalfOpen if check.port.is_none() => {
            let message = format!(
                "health check {name:?} of kind \"{kind}\" has no port, and a path has none of its own"
            );
            let help = "add `port` to the health check: one that the firewalls let through both ways";
            findings.error(code::CONTRADICTION, at, message, help);
        }
        Probe::Udp(_) | Probe::TcpHalfOpen => {}
        Probe::Tcp | Probe::Http(_) | Probe::Tls(_) => {
            let message = format!("a check of kind \"{kind}\" cannot ask a path through a firewall");
            let help = format!(
                "use a check of kind \"{}\", \"{}\" or \"{}\"",
                CheckKind::Icmp,
                CheckKind::Udp,
                CheckKind::TcpHalfOpen
            );
            findings.error(code::CONTRADICTION, at, message, help);
        }
    }
}

/// A path that is probed has another end.
fn far_ends(group: &FirewallGroup, check: &HealthCheck, findings: &Findings) {
    for firewall in &group.firewalls {
        // At this place nothing stands, or what could not be read.
        if firewall.far_address.is_none() && !findings.has_at(firewall.far_address_at) {
            let message = format!(
                "firewall {:?} without `far_address`, which health check {:?} asks through it",
                firewall.name, check.name
            );
            let help = "add `far_address`, the other end's probe address for this path";
            findings.error(code::MISSING_KEY, firewall.at, message, help);
        }
    }
}

/// A group without a check, and what has no effect then.
fn unchecked(config: &Config, place: usize, group: &FirewallGroup, findings: &Findings) {
    let name = &group.name;
    let message =
        format!("firewall group {name:?} without `health_check`: nobody notices when a firewall is dead");
    let help = "add `health_check`, with a check of kind \"icmp\" and a `far_address` of each firewall";
    findings.warning(code::FIREWALLS_UNCHECKED, group.at, message, help);
    if let Some(firewall) = group.firewalls.iter().find(|firewall| firewall.far_address.is_some()) {
        let message = format!("`far_address` of a firewall of group {name:?}, which has no `health_check`");
        let help = "add `health_check` to the group, or remove `far_address`";
        findings.warning(code::PATH_NOT_PROBED, firewall.far_address_at, message, help);
    }
    if let Some(responder) = config.probe_responders.iter().find(|responder| responder.group == place) {
        let message = format!(
            "no probe comes from {}: firewall group {name:?} has no `health_check`",
            responder.address
        );
        let help = "add `health_check` to the group; without it, only the other end's probes are answered";
        findings.warning(code::PATH_NOT_PROBED, responder.at, message, help);
    }
}

/// One responder for each path, at an address that is no end of another's.
fn responders(config: &Config, findings: &Findings) {
    let mut placed: HashMap<(usize, usize), &ProbeResponder> = HashMap::new();
    let mut ends: HashMap<(u8, IpAddr), String> = HashMap::new();
    for group in &config.firewall_groups {
        for firewall in &group.firewalls {
            let name = &firewall.name;
            ends.entry((group.zone, firewall.address))
                .or_insert_with(|| format!("the address of firewall {name:?}"));
            let far = firewall.far_address.map(|far| (group.zone, far));
            far.map(|far| ends.entry(far).or_insert_with(|| format!("the far address of firewall {name:?}")));
        }
    }
    for responder in &config.probe_responders {
        let group = &config.firewall_groups[responder.group];
        let firewall = &group.firewalls[responder.firewall];
        let first = *placed.entry((responder.group, responder.firewall)).or_insert(responder);
        if first.address != responder.address {
            let message = format!(
                "{} stands for firewall {:?} of group {:?} already",
                first.address, firewall.name, group.name
            );
            let help = "remove one of the two, or name another firewall";
            findings.error(code::DUPLICATE_VALUE, responder.firewall_at, message, help);
        }
        // An appliance with legs on both sides of its firewalls is its own other end, in another zone.
        if let Some(end) = ends.get(&(group.zone, responder.address)) {
            let message = format!("{} is {end} in the same zone", responder.address);
            let help =
                "write an address that nothing else has: probes come from there, and go to the far address";
            findings.error(code::ADDRESS_CONFLICT, responder.at, message, help);
        }
    }
}
