//! Whether replies come back as the service's mode needs it.

use config::{Diagnostic, Mode, ReturnPath, Server, Service, SourceNat};

use super::reach::and_more;
use super::site::{Leg, Site};

/// Replies of a one-arm service bypass the appliance.
const REPLIES_BYPASS: &str = "W0507";
/// Replies to clients of the servers' own network bypass the appliance.
const NEIGHBOURS_BYPASS: &str = "W0508";
/// Replies of a DSR service cross the appliance.
const REPLIES_CROSS: &str = "W0513";

/// Examines every service.
pub(super) fn check(site: &Site<'_>, findings: &mut Vec<Diagnostic>) {
    for service in &site.config.services {
        match service.mode {
            // What a bridge of one port does to replies shows in the file alone.
            Mode::Transparent => {}
            Mode::Routed if service.source_nat == SourceNat::Never => match service.return_path {
                ReturnPath::Any => one_arm(site, service, findings),
                ReturnPath::Gateway => same_network(site, service, findings),
                // The file alone shows it.
                ReturnPath::Bypass => {}
            },
            Mode::Routed => {}
            Mode::L2Dsr | Mode::L3Dsr => crossing(site, service, findings),
        }
    }
}

/// Clients come by the leg that the server is on, and the server's way back need not lead through the appliance.
fn one_arm(site: &Site<'_>, service: &Service, findings: &mut Vec<Diagnostic>) {
    let called = site.leg_with(service.address).map(|leg| (leg, "the VIP's network"));
    let routed = site.default_leg(service.address).map(|leg| (leg, "the default route"));
    let arms = [called, routed];
    let shared = |server: &Server| {
        let (leg, _) = site.way_to(server.address)?;
        arms.iter().flatten().find(|(arm, _)| arm.is(leg) && leg.is_one_arm())
    };
    let mut wrong = service.servers.iter().filter_map(|server| Some((server, shared(server)?)));
    let Some((server, (leg, why))) = wrong.next() else { return };
    let message = format!(
        "service {:?} port {}: clients ({why}) and server {}{} are both on {} ({}), so replies bypass the \
         appliance, and with `source_nat = \"never\"` nothing gives them the VIP {}",
        service.name,
        service.ports,
        server.address,
        and_more(wrong.count()),
        leg.name,
        leg.interface.name,
        service.address
    );
    let help = "write `source_nat = \"auto\"`; or make the appliance the servers' gateway and write `return_path = \
                \"gateway\"`; or use a DSR mode";
    findings.push(site.config.source.warning(REPLIES_BYPASS, service.source_nat_at, message).with_help(help));
}

/// A server answers its own neighbours without its gateway.
fn same_network(site: &Site<'_>, service: &Service, findings: &mut Vec<Diagnostic>) {
    let shared = |server: &Server| {
        let (leg, _) = site.way_to(server.address).filter(|(leg, _)| leg.is_one_arm())?;
        leg.network_with(server.address).filter(|network| network.contains(service.address))
    };
    let mut wrong = service.servers.iter().filter_map(|server| Some((server, shared(server)?)));
    let Some((server, network)) = wrong.next() else { return };
    let message = format!(
        "service {:?} port {}: the VIP {} and server {}{} are on {network}, where clients are answered past the \
         appliance, their gateway or not; a server that calls the VIP itself is refused with a reset",
        service.name,
        service.ports,
        service.address,
        server.address,
        and_more(wrong.count())
    );
    let help = "write `source_nat = \"auto\"`, which translates for these clients alone; or give VIP and servers \
                networks of their own";
    findings
        .push(site.config.source.warning(NEIGHBOURS_BYPASS, service.source_nat_at, message).with_help(help));
}

/// Servers on a leg of their own: unless another router is there, their way to the clients leads through us.
fn crossing(site: &Site<'_>, service: &Service, findings: &mut Vec<Diagnostic>) {
    let Some(clients) = site.leg_with(service.address).or_else(|| site.default_leg(service.address)) else {
        return;
    };
    let apart = |server: &Server| -> Option<&Leg<'_>> {
        let (leg, hop) = site.way_to(server.address)?;
        (hop.address == server.address && !leg.is(clients)).then_some(leg)
    };
    let mut wrong = service.servers.iter().filter_map(|server| Some((server, apart(server)?)));
    let Some((server, leg)) = wrong.next() else { return };
    let message = format!(
        "service {:?} port {}: server {}{} is on {} ({}), clients on {} ({}); with the appliance as its gateway its \
         replies from {} cross it: they are forwarded and counted, and nothing is saved",
        service.name,
        service.ports,
        server.address,
        and_more(wrong.count()),
        leg.name,
        leg.interface.name,
        clients.name,
        clients.interface.name,
        service.address
    );
    let help = "give the servers another router as their gateway, or use `mode = \"routed\"`";
    findings.push(site.config.source.warning(REPLIES_CROSS, service.mode_at, message).with_help(help));
}
