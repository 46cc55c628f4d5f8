//! How a lab with firewalls comes into being.

use std::net::IpAddr;

use crate::error::Result;
use crate::link::Endpoint;
use crate::namespace::Namespace;
use crate::peer::{Firewall, FirewallPolicy};
use crate::testbed::Testbed;
use crate::topology::host::{Host, HostPlan};
use crate::topology::{CLIENT, FIRST_SERVER, SERVER_COUNT, SWITCH, switch};

use super::{APPLIANCE, CALLERS, FwlbAppliance, FwlbPlan, FwlbSite, Side, translation};

/// The outer appliance on the path of a bridge.
pub(super) const PATH_OUTER: u8 = 1;
/// The inner appliance there.
pub(super) const PATH_INNER: u8 = 2;
/// The outer appliance's probe address there; the inner one's is the next.
pub(super) const PATH_PROBE: u8 = 3;

/// How many servers the third side has.
const DMZ_SERVER_COUNT: u8 = 2;

/// A firewall's number in the legs' networks, by its index.
pub(super) fn number(firewall: usize) -> u8 {
    firewall as u8 + 1
}

/// A host's addresses on the path of a bridge: a /29 for each in IPv4, a /64 in IPv6.
pub(super) fn path_hosts(firewall: usize, host: u8) -> [IpAddr; 2] {
    let path = u16::from(number(firewall));
    let v6 = [0x2001, 0xdb8, 1, path, 0, 0, 0, u16::from(host)];
    [[198, 18, 1, firewall as u8 * 8 + host].into(), v6.into()]
}

/// Builds all of it.
pub(super) fn build(testbed: &Testbed, plan: &FwlbPlan) -> Result<FwlbSite> {
    let mut appliances = Vec::new();
    let mut hosts = Vec::new();
    for side in plan.sides() {
        let namespace = testbed.namespace(side.name())?;
        let mut appliance = FwlbAppliance { side: *side, namespace, ports: Vec::new() };
        hosts.push(place_hosts(testbed, &mut appliance)?);
        appliances.push(appliance);
    }
    let mut hosts = hosts.into_iter();
    let mut of_side = || hosts.next().unwrap_or_default();
    let (mut clients, servers, dmz_servers) = (of_side(), of_side(), of_side());
    let client = clients.remove(0);
    for (network, address) in CALLERS.into_iter().zip(client.addresses()) {
        client.namespace().answer_for(network)?;
        appliances[0].namespace.add_route(network, address)?;
    }
    let mut segments = Vec::new();
    if !plan.is_bridged() {
        for appliance in &mut appliances {
            segments.push(make_segment(testbed, appliance)?);
        }
    }
    let mut firewalls = Vec::new();
    for (index, policy) in plan.firewalls.iter().enumerate() {
        let mut policy = policy.clone();
        if plan.translates {
            policy.translation = Some(translation::translation(index, servers[0].addresses()));
        }
        firewalls.push(place_firewall(testbed, index, &policy, &mut appliances, &segments)?);
    }
    if plan.share_flows {
        let sync = switch(testbed, "sync")?;
        for (index, firewall) in firewalls.iter_mut().enumerate() {
            let link = testbed.link((firewall.namespace(), "sync"), (&sync, firewall.name()))?;
            link.second.join_bridge(SWITCH)?;
            firewall.share_flows_over(&link.first, number(index))?;
        }
    }
    let translates = plan.translates;
    Ok(FwlbSite { client, servers, dmz_servers, appliances, firewalls, segments, translates })
}

/// The client straight at the appliance; servers on a switch.
fn place_hosts(testbed: &Testbed, appliance: &mut FwlbAppliance) -> Result<Vec<Host>> {
    let side = appliance.side;
    let [port, _] = side.ports();
    let plan = HostPlan {
        name: "client",
        network: side.hosts(),
        number: CLIENT,
        gateway: Some(APPLIANCE),
        behind_hop: false,
        holds: &[],
    };
    let (hosts, end) = if side == Side::Outer {
        let (client, end) = Host::create(testbed, &plan, (&appliance.namespace, port))?;
        (vec![client], end)
    } else {
        let (word, count) =
            if side == Side::Inner { ("server", SERVER_COUNT) } else { ("dmz", DMZ_SERVER_COUNT) };
        let switch = switch(testbed, port)?;
        let link = testbed.link((&appliance.namespace, port), (&switch, "appliance"))?;
        link.second.join_bridge(SWITCH)?;
        let server = |index: u8| {
            let name = format!("{word}{}", index + 1);
            let plan = HostPlan { name: &name, number: FIRST_SERVER + index, ..plan };
            Host::on_switch(testbed, &plan, &switch)
        };
        ((0..count).map(server).collect::<Result<Vec<_>>>()?, link.first)
    };
    side.hosts().prefixes(APPLIANCE).iter().try_for_each(|prefix| end.add_address(prefix))?;
    appliance.ports.push(end);
    Ok(hosts)
}

/// The switch between an appliance and the legs.
fn make_segment(testbed: &Testbed, appliance: &mut FwlbAppliance) -> Result<Namespace> {
    let [_, port] = appliance.side.ports();
    let segment = switch(testbed, port)?;
    let link = testbed.link((&appliance.namespace, port), (&segment, "appliance"))?;
    link.second.join_bridge(SWITCH)?;
    let prefixes = appliance.side.legs().prefixes(APPLIANCE);
    prefixes.iter().try_for_each(|prefix| link.first.add_address(prefix))?;
    appliance.ports.push(link.first);
    Ok(segment)
}

fn place_firewall(
    testbed: &Testbed,
    index: usize,
    policy: &FirewallPolicy,
    appliances: &mut [FwlbAppliance],
    segments: &[Namespace],
) -> Result<Firewall> {
    let name = format!("fw{}", number(index));
    let namespace = testbed.namespace(&name)?;
    let mut legs = Vec::new();
    for (place, appliance) in appliances.iter_mut().enumerate() {
        let leg = (&namespace, appliance.side.leg());
        let end = match segments.get(place) {
            Some(segment) => {
                let link = testbed.link(leg, (segment, &name))?;
                link.second.join_bridge(SWITCH)?;
                link.first
            }
            None => place_path(testbed, index, leg, appliance, &name)?,
        };
        legs.push(end);
    }
    if !policy.bridged {
        give_routes(index, &namespace, &legs, appliances)?;
    }
    Firewall::start(&name, &legs, policy)
}

/// A port of an appliance's own for a bridge, with the path's addresses.
fn place_path(
    testbed: &Testbed,
    index: usize,
    leg: (&Namespace, &str),
    appliance: &mut FwlbAppliance,
    name: &str,
) -> Result<Endpoint> {
    let link = testbed.link(leg, (&appliance.namespace, name))?;
    let host = if appliance.side == Side::Outer { PATH_OUTER } else { PATH_INNER };
    let [v4, v6] = path_hosts(index, host);
    [format!("{v4}/29"), format!("{v6}/64")].iter().try_for_each(|prefix| link.second.add_address(prefix))?;
    appliance.ports.push(link.second);
    Ok(link.first)
}

/// A routed firewall reaches the hosts of each side over its appliance.
fn give_routes(
    index: usize,
    namespace: &Namespace,
    legs: &[Endpoint],
    appliances: &[FwlbAppliance],
) -> Result<()> {
    for (leg, appliance) in legs.iter().zip(appliances) {
        let network = appliance.side.legs();
        network.prefixes(number(index)).iter().try_for_each(|prefix| leg.add_address(prefix))?;
        let gateways = network.host(APPLIANCE);
        for (family, gateway) in gateways.into_iter().enumerate() {
            namespace.add_route(&appliance.side.hosts().destinations()[family], gateway)?;
            if appliance.side == Side::Outer {
                namespace.add_route(CALLERS[family], gateway)?;
            }
        }
    }
    Ok(())
}
