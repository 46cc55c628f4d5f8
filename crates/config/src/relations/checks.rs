//! Health checks, and the services whose servers they ask.

use std::collections::HashSet;

use crate::code;
use crate::findings::Findings;
use crate::model::{CheckKind, Config, HealthCheck, Probe, Protocol, Service};
use crate::probe;

/// Examines a whole file.
pub(super) fn examine(config: &Config, findings: &Findings) {
    let mut used = HashSet::from([""]);
    for service in &config.services {
        let Some(index) = service.health_check else { continue };
        let check = &config.health_checks[index];
        used.insert(check.name.as_str());
        if service.is_readable() && probe::is_readable(&check.probe) {
            asks_what_is_served(service, check, findings);
        }
    }
    for check in config.health_checks.iter().filter(|check| used.contains(check.name.as_str())) {
        silence(check, findings);
    }
    let of_groups = config.firewall_groups.iter().filter_map(|group| group.health_check);
    used.extend(of_groups.map(|index| config.health_checks[index].name.as_str()));
    for check in config.health_checks.iter().filter(|check| !used.contains(check.name.as_str())) {
        let message = format!("nothing uses health check {:?}", check.name);
        let help = "name it in `health_check` of a service or a firewall group, or remove it";
        findings.warning(code::UNUSED_CHECK, check.at, message, help);
    }
}

/// Whether a server that says nothing counts as well.
fn silence(check: &HealthCheck, findings: &Findings) {
    if let Probe::Udp(request) = &check.probe
        && request.expect_reply.is_none()
    {
        let message = "silence counts as success: where ICMP errors are filtered, a dead service looks alive";
        let help = "add `expect_reply`, if the servers answer";
        findings.warning(code::SILENCE_TAKEN, check.kind_at, message.to_owned(), help);
    }
}

/// Whether the check asks for something that the service's servers have.
fn asks_what_is_served(service: &Service, check: &HealthCheck, findings: &Findings) {
    let (name, at) = (&check.name, service.health_check_at);
    let several = service.ports.single().is_none();
    let kind = check.probe.kind();
    if kind == CheckKind::Icmp {
        // Of a service of several ports, no other check says more of all of them.
        if !several {
            let message = format!(
                "health check {name:?} asks the host alone: it may answer while port {} of it is dead",
                service.ports
            );
            let help = match service.protocol {
                Protocol::Udp => "use a check of kind \"udp\"",
                Protocol::Tcp | Protocol::Any => {
                    "use a check of kind \"tcp\", or of another that asks the port"
                }
            };
            findings.warning(code::HOST_CHECKED_ALONE, at, message, help);
        }
    } else if check.port.is_some() {
        // What listens there is not this service, and only the operator knows it.
    } else if several {
        let message =
            format!("health check {name:?} has no port, and service {:?} has several", service.name);
        let help = "add `port` to the health check";
        findings.error(code::CONTRADICTION, at, message, help);
    } else {
        let (asks, has) = match (kind, service.protocol) {
            (CheckKind::Udp, Protocol::Tcp) => ("UDP", "TCP"),
            (CheckKind::Udp, _) | (_, Protocol::Tcp | Protocol::Any) => return,
            (_, Protocol::Udp) => ("TCP", "UDP"),
        };
        let message = format!("health check {name:?} asks by {asks} for a port of {has}");
        let help = format!("add `port` to the health check, if the servers answer {asks} on another one");
        findings.warning(code::CHECK_PROTOCOL, at, message, help);
    }
}
