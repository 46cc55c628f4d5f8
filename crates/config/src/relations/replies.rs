//! Replies without source NAT: whether they come back, and whether it shows which service they are of.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::code;
use crate::findings::Findings;
use crate::model::{Bridge, Config, Mode, ReturnPath, Server, Service, SourceNat};

/// Examines a whole file.
pub(super) fn examine(config: &Config, findings: &Findings) {
    for service in config.services.iter().filter(|service| translates_servers_alone(service)) {
        lost(config, service, findings);
    }
    alike(config, findings);
}

/// Whether servers see the client, and clients have to see the VIP.
fn translates_servers_alone(service: &Service) -> bool {
    !service.mode.is_dsr() && service.source_nat == SourceNat::Never
}

fn lost(config: &Config, service: &Service, findings: &Findings) {
    let (why, help) = if service.return_path == ReturnPath::Bypass {
        (
            "`return_path = \"bypass\"` says that no reply crosses the appliance".to_owned(),
            "remove `source_nat`: \"auto\" translates all clients then; or use a DSR mode",
        )
    } else if service.mode == Mode::Transparent
        && let Some(bridge) = only_one_port(config, service)
    {
        (
            format!("clients and servers are behind the one port of bridge {:?}", bridge.name),
            "write `source_nat = \"auto\"`; or add the port that the servers are behind to the bridge; or use \
             `mode = \"l2-dsr\"`",
        )
    } else {
        return;
    };
    let message = format!(
        "service {:?} port {}: {why}, and with `source_nat = \"never\"` nothing gives replies the VIP {}",
        service.name, service.ports, service.address
    );
    findings.warning(code::REPLIES_LOST, service.source_nat_at, message, help);
}

/// The bridge that serves it, if no bridge that may do so has a second port.
fn only_one_port<'a>(config: &'a Config, service: &Service) -> Option<&'a Bridge> {
    let serves = |bridge: &&Bridge| {
        let on = |server: &Server| bridge.addresses.iter().any(|own| own.network().contains(server.address));
        service.servers.iter().any(on)
    };
    let of_servers: Vec<&Bridge> = config.bridges.iter().filter(serves).collect();
    let bridges = if of_servers.is_empty() { config.bridges.iter().collect() } else { of_servers };
    bridges.iter().all(|bridge| bridge.ports.len() == 1).then(|| bridges.first().copied()).flatten()
}

/// A client may call two services from one port of its own; where both lead to one port of one server, only
/// the VIP's side tells the two connections apart, and the server does not see it.
fn alike(config: &Config, findings: &Findings) {
    let mut by_server: HashMap<IpAddr, Vec<(&Service, &Server)>> = HashMap::new();
    let readable = |service: &&Service| service.is_readable() && !service.address.is_unspecified();
    for service in config.services.iter().filter(readable).filter(|one| translates_servers_alone(one)) {
        let servers = service.servers.iter().filter(|server| !server.address.is_unspecified());
        let found = servers.clone().find_map(|server| {
            let others = by_server.get(&server.address)?;
            let (other, _) = others.iter().find(|other| share_port((service, server), **other))?;
            Some((server, *other))
        });
        if let Some((server, other)) = found {
            let port = server.port.map_or_else(|| service.ports.to_string(), |port| port.to_string());
            let message = format!(
                "services {:?} ({} port {}) and {:?} ({} port {}) both lead to server {} port {port}: a client that \
                 calls both from one port cannot be told apart in the replies",
                other.name,
                other.address,
                other.ports,
                service.name,
                service.address,
                service.ports,
                server.address
            );
            let help = "let the server listen on another port for one of them, or write `source_nat = \"always\"` in one";
            findings.warning(code::AMBIGUOUS_REPLIES, server.at, message, help);
        }
        for server in servers {
            by_server.entry(server.address).or_default().push((service, server));
        }
    }
}

/// Whether some port of one address takes requests of both.
fn share_port(one: (&Service, &Server), other: (&Service, &Server)) -> bool {
    let bounds = |(service, server): (&Service, &Server)| {
        server.port.map_or_else(|| service.ports.bounds(), |port| (port, port))
    };
    let ((first, last), (other_first, other_last)) = (bounds(one), bounds(other));
    one.0.name != other.0.name
        && one.0.protocol.overlaps(other.0.protocol)
        && first <= other_last
        && other_first <= last
}
