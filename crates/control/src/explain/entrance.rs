//! Where the packet that is asked about comes in: nobody said, so the routes to its source say it.

use super::picture::LinkLayer;
use super::{Question, Surroundings};
use flow::Family;
use plan::{Attachment, FamilyPlan, FirewallMember, PortPlan};
use session::tick_from_ns;
use wire::Mac;

/// Stands for a host whose MAC address nobody knows: one for documentation (RFC 7042 section 2.1.2), locally administered.
const UNKNOWN: Mac = Mac([0x02, 0x00, 0x5e, 0x00, 0x53, 0x01]);
/// The same for another host.
const UNKNOWN_TOO: Mac = Mac([0x02, 0x00, 0x5e, 0x00, 0x53, 0x02]);

/// Where a packet comes in, and what its frame looks like there.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    /// The port.
    pub port: u16,
    /// The ring that its frames come by.
    pub ring: u16,
    /// Both MAC addresses and the tag.
    pub link: LinkLayer,
    /// What had to be assumed.
    pub notes: Vec<String>,
}

/// Where `question` comes in: by the port called `wanted`, else by the way back to its source, which leads over `firewall`
/// where one stands before it.
pub(super) fn find<F: Family>(
    around: &Surroundings<'_>,
    view: &FamilyPlan<F>,
    question: &Question,
    wanted: Option<&str>,
    firewall: Option<&FirewallMember<F>>,
) -> Result<Entrance, String> {
    let plan = around.plan;
    let (Some(source), Some(destination)) =
        (F::address(question.source.ip()), F::address(question.destination.ip()))
    else {
        return Err("the question is of another family".into());
    };
    let mut notes = Vec::new();
    if view.host.contains(&source) {
        notes.push("its source is an address of this host, whose packets come in by no port".to_owned());
    }
    let way_back = view.routes.next_hop(firewall.map_or(source, |firewall| firewall.address), 0);
    let place = match (wanted, way_back) {
        (Some(name), _) => named(&plan.ports, name)?,
        (None, Some((leg, _))) => leg,
        (None, None) => {
            notes.push("no route leads back to its source; --port says where it comes in".to_owned());
            0
        }
    };
    let port_of = |place: u16| plan.ports.get(usize::from(place)).ok_or("there is no port");
    let leg = port_of(place)?.bridge.unwrap_or(place);
    let mac_of = |leg: u16, address: F::Address| -> Option<Mac> {
        let index = view.routes.links().get(&(leg, address))?;
        around.shared.links.get(*index).map(|link| link.mac)
    };
    let neighbour = way_back.filter(|&(own, _)| own == leg).map_or(source, |(_, next_hop)| next_hop);
    let known = mac_of(leg, neighbour);
    if known.is_none() {
        notes.push(format!("the MAC address of {} is not known; {UNKNOWN} stands for it", neighbour.into()));
    }
    let sender = known.unwrap_or(UNKNOWN);
    let port = match port_of(place)?.members() {
        None => place,
        Some(members) => member_of(around, leg, sender)
            .or_else(|| members.first().copied())
            .ok_or("a bridge without a port takes nothing in")?,
    };
    let Attachment::Ring { ring, vlan } = port_of(port)?.attachment else {
        return Err("a bridge is no member of a bridge".into());
    };
    let own = port_of(leg)?;
    // Whom packets cross firewalls through, they are sent to.
    let passes_by = firewall.is_none() && view.firewalls.beyond(own.zone, destination).is_none();
    let is_bridged = own.members().is_some() && passes_by;
    let receiver = match onward(view, (source, destination), leg).filter(|_| is_bridged) {
        None => own.mac,
        Some(next_hop) => mac_of(leg, next_hop).unwrap_or_else(|| {
            let next_hop = next_hop.into();
            notes.push(format!("the MAC address of {next_hop} is not known; {UNKNOWN_TOO} stands for it"));
            UNKNOWN_TOO
        }),
    };
    let link = LinkLayer { source: sender, destination: receiver, vlan };
    Ok(Entrance { port, ring, link, notes })
}

fn named(ports: &[PortPlan], name: &str) -> Result<u16, String> {
    let place = ports.iter().position(|port| port.name == name);
    place.map(|place| place as u16).ok_or_else(|| {
        let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        format!("there is no port \"{name}\"; there are: {}", names.join(", "))
    })
}

/// The next hop that a host behind a bridge sends to when the appliance is none of its business: it is beyond the same
/// bridge.
fn onward<F: Family>(
    view: &FamilyPlan<F>,
    (source, destination): (F::Address, F::Address),
    leg: u16,
) -> Option<F::Address> {
    let is_ours = view.owned.get(destination).is_some() || view.host.contains(&destination);
    if is_ours || view.outbounds.of(source, destination).is_some() {
        return None;
    }
    view.routes.next_hop(destination, 0).filter(|&(own, _)| own == leg).map(|(_, next_hop)| next_hop)
}

/// The member of a bridge that `mac` was seen behind.
pub(super) fn member_of(around: &Surroundings<'_>, leg: u16, mac: Mac) -> Option<u16> {
    let Attachment::Bridge { number, members, ageing_ns } =
        &around.plan.ports.get(usize::from(leg))?.attachment
    else {
        return None;
    };
    let mut found = None;
    let ageing_ticks = tick_from_ns(*ageing_ns);
    around.shared.macs.inspect(
        tick_from_ns(around.now_ns),
        |_| ageing_ticks,
        |sighting| {
            let station = sighting.station;
            if (station.bridge, station.vlan, station.mac) == (*number, 0, mac) {
                found = Some(sighting.port);
            }
        },
    );
    found.filter(|port| members.contains(port))
}
