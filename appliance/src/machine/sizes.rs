//! Whether what is wrapped still fits its way.

use config::{Diagnostic, Encapsulation, Server, Service};

use super::reach::and_more;
use super::site::Site;

/// The way to a server is too narrow for a wrapped packet.
const NARROW_WAY: &str = "W0512";

/// The longest packet of clients that nobody tells anything else, in bytes: Ethernet's.
const PACKET_BYTES: u32 = 1_500;

/// Examines every service that wraps.
pub(super) fn check(site: &Site<'_>, findings: &mut Vec<Diagnostic>) {
    for service in &site.config.services {
        let Some(overhead_bytes) = overhead_bytes(service) else { continue };
        narrow(site, service, overhead_bytes, findings);
    }
}

/// What an outer header adds to each packet.
fn overhead_bytes(service: &Service) -> Option<u32> {
    let ip_bytes = if service.address.is_ipv4() { 20 } else { 40 };
    match service.encapsulation? {
        Encapsulation::Ipip => Some(ip_bytes),
        Encapsulation::Gue => Some(ip_bytes + 8),
        Encapsulation::Dscp => None,
    }
}

fn narrow(site: &Site<'_>, service: &Service, overhead_bytes: u32, findings: &mut Vec<Diagnostic>) {
    let needed_bytes = PACKET_BYTES + overhead_bytes;
    let way = |server: &Server| {
        let (leg, _) = site.way_to(server.address)?;
        (leg.interface.mtu < needed_bytes).then_some(leg)
    };
    let mut wrong = service.servers.iter().filter_map(|server| Some((server, way(server)?)));
    let Some((server, leg)) = wrong.next() else { return };
    let told = match service.address.is_ipv4() {
        true => "fragmentation needed",
        false => "packet too big",
    };
    let message = format!(
        "service {:?} port {}: {} ({}) towards server {}{} takes {} bytes, so wrapped in {overhead_bytes} bytes only \
         packets up to {} bytes fit; senders of longer ones are told \"{told}\"",
        service.name,
        service.ports,
        leg.name,
        leg.interface.name,
        server.address,
        and_more(wrong.count()),
        leg.interface.mtu,
        leg.interface.mtu.saturating_sub(overhead_bytes)
    );
    let help = format!(
        "raise the MTU to {needed_bytes} on the whole way to the servers; or let the servers announce a smaller MSS, \
         as `jeoul real-server` sets them up"
    );
    findings.push(site.config.source.warning(NARROW_WAY, service.encapsulation_at, message).with_help(help));
}
