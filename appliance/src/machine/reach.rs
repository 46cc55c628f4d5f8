//! Whether requests reach the servers, by the way that the service's mode takes.

use std::collections::HashSet;
use std::net::IpAddr;

use config::{Diagnostic, Mode, Server, Service};
use control::facts::{Resolution, RouteKind};

use super::site::{Site, name_of};
use super::{Codes, Strictness};

/// No route, or none through a port, leads to a server.
const UNREACHABLE_SERVER: &str = "W0505";
/// A server of an L2 DSR service is behind a router.
const DSR_BEHIND_ROUTER: Codes = Codes { error: "E0505", warning: "W0509" };
/// A server of a transparent service is on no network of a bridge.
const NOT_ON_BRIDGE: Codes = Codes { error: "E0506", warning: "W0510" };
/// The VIP of a transparent service is not on its servers' network.
const VIP_ON_OTHER_NETWORK: &str = "W0511";

/// Examines every service.
pub(super) fn check(site: &Site<'_>, strictness: Strictness, findings: &mut Vec<Diagnostic>) {
    servers(site, findings);
    for service in &site.config.services {
        match service.mode {
            Mode::L2Dsr => behind_router(site, service, strictness, findings),
            Mode::Transparent => {
                off_bridge(site, service, strictness, findings);
                other_network(site, service, findings);
            }
            Mode::Routed | Mode::L3Dsr => {}
        }
    }
}

/// Each address once.
fn servers(site: &Site<'_>, findings: &mut Vec<Diagnostic>) {
    let mut known: HashSet<IpAddr> = HashSet::new();
    let servers = site.config.services.iter().flat_map(|service| &service.servers);
    for server in servers.filter(|server| known.insert(server.address)) {
        let Some(why) = unreachable(site, server.address) else { continue };
        let message = format!("server {} {why}", server.address);
        findings.push(site.config.source.warning(UNREACHABLE_SERVER, server.at, message));
    }
}

/// Why no frame of the appliance reaches `address`, unless one does.
pub(super) fn unreachable(site: &Site<'_>, address: IpAddr) -> Option<String> {
    match site.facts.resolve(address) {
        Resolution::Forward(hops) => {
            let by_leg = hops.iter().any(|hop| site.leg_at(hop.interface).is_some());
            let first = hops.first().map_or_else(String::new, |hop| name_of(site.facts, hop.interface));
            (!by_leg).then(|| format!("is reached through {first}, which is no port of the appliance"))
        }
        Resolution::Stop(RouteKind::Local) => {
            Some("is this machine itself; the appliance serves others".into())
        }
        Resolution::Stop(RouteKind::Broadcast) => Some("is a broadcast address here".into()),
        Resolution::Stop(kind) => Some(format!("is closed off by a route of the kind {}", kind_word(kind))),
        Resolution::Severed => Some("has a route, but all its ways out are down".into()),
        Resolution::NoRoute => Some("has no route from here".into()),
    }
}

fn kind_word(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Unicast => "unicast",
        RouteKind::Blackhole => "blackhole",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Prohibit => "prohibit",
        RouteKind::Local => "local",
        RouteKind::Broadcast => "broadcast",
    }
}

/// A frame with a router's MAC address and the VIP: the router would send it back.
fn behind_router(site: &Site<'_>, service: &Service, strictness: Strictness, findings: &mut Vec<Diagnostic>) {
    let gateway = |server: &Server| {
        let (leg, hop) = site.way_to(server.address)?;
        (hop.address != server.address).then_some((leg, hop.address))
    };
    let mut wrong = service.servers.iter().filter_map(|server| Some((server, gateway(server)?)));
    let Some((server, (leg, gateway))) = wrong.next() else { return };
    let message = format!(
        "service {:?} port {}: server {}{} is behind the router {gateway} of {}; a frame of mode \"l2-dsr\" still \
         bears the VIP {}, and the router would send it back",
        service.name,
        service.ports,
        server.address,
        and_more(wrong.count()),
        leg.name,
        service.address
    );
    let help = "use `mode = \"l3-dsr\"`, which crosses routers, or write a server on a network of the port";
    findings.push(strictness.finding(&DSR_BEHIND_ROUTER, site.config, server.at, message).with_help(help));
}

/// A bridge switches: it has no other way to a server than a frame to its MAC address.
fn off_bridge(site: &Site<'_>, service: &Service, strictness: Strictness, findings: &mut Vec<Diagnostic>) {
    let bridges = || site.legs.iter().filter(|leg| leg.members.is_some());
    let off = |server: &Server| {
        let (leg, hop) = site.way_to(server.address)?;
        (leg.members.is_none() || hop.address != server.address).then_some((leg, hop.address))
    };
    let mut wrong = service.servers.iter().filter_map(|server| Some((server, off(server)?)));
    let Some((server, (leg, next_hop))) = wrong.next() else { return };
    let way = match next_hop == server.address {
        true => format!("by {}", leg.name),
        false => format!("behind the router {next_hop} of {}", leg.name),
    };
    let message = format!(
        "service {:?} port {}: server {}{} is on no network of a bridge, but {way}",
        service.name,
        service.ports,
        server.address,
        and_more(wrong.count())
    );
    let help = "use `mode = \"routed\"`, or write a server on the bridge's network";
    // A bridge may get its addresses later and by hand; then nothing is known of its networks.
    let strictness = match bridges().any(|bridge| !bridge.networks.is_empty()) {
        true => strictness,
        false => Strictness::Check,
    };
    findings.push(strictness.finding(&NOT_ON_BRIDGE, site.config, server.at, message).with_help(help));
}

/// Clients of the VIP are on its network, and their servers answer by a router that the bridge need not see.
fn other_network(site: &Site<'_>, service: &Service, findings: &mut Vec<Diagnostic>) {
    let network = |server: &Server| {
        let (leg, hop) = site.way_to(server.address)?;
        leg.members.filter(|_| hop.address == server.address)?;
        leg.network_with(server.address).filter(|network| !network.contains(service.address))
    };
    let mut wrong = service.servers.iter().filter_map(|server| Some((server, network(server)?)));
    let Some((server, network)) = wrong.next().filter(|_| service.announce) else { return };
    let message = format!(
        "service {:?} port {}: the VIP {} is not on the network {network} of server {}{}, whose replies take a \
         router that the bridge need not see",
        service.name,
        service.ports,
        service.address,
        server.address,
        and_more(wrong.count())
    );
    let help = format!("write a VIP of {network}, or use `mode = \"routed\"`");
    findings
        .push(site.config.source.warning(VIP_ON_OTHER_NETWORK, service.address_at, message).with_help(help));
}

/// " and 2 more", behind the first of several.
pub(super) fn and_more(others: usize) -> String {
    match others {
        0 => String::new(),
        _ => format!(" and {others} more"),
    }
}
