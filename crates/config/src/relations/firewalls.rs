//! Firewall groups: what a group says of itself, and of the other groups and addresses of the file.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::roles;
use crate::code;
use crate::findings::Findings;
use crate::firewall::NO_ZONE;
use crate::model::{Config, Firewall, FirewallGroup, Network};
use crate::source::Position;

/// Examines a whole file.
pub(super) fn examine(config: &Config, findings: &Findings) {
    for group in &config.firewall_groups {
        families(group, findings);
        twice(group, findings);
        ports(config, group, findings);
        too_little(group, findings);
    }
    networks(config, findings);
    let translated = Translated::of(config);
    translated.overlaps(findings);
    claimed(config, &translated, findings);
}

/// All addresses of a group are of one family; the first firewall's counts.
fn families(group: &FirewallGroup, findings: &Findings) {
    let mut firewalls = group.firewalls.iter().filter(|firewall| !firewall.address.is_unspecified());
    let Some(first) = firewalls.next() else { return };
    let mixed = |what: String, at: Position| {
        let message =
            format!("{what} is not of the address family of firewall {:?} ({})", first.name, first.address);
        let help =
            "make a group of its own for it, which may have the same firewalls by their other addresses";
        findings.error(code::MIXED_FAMILIES, at, message, help);
    };
    let other = |address: &IpAddr| address.is_ipv4() != first.address.is_ipv4();
    if let Some(network) = group.networks.iter().find(|network| other(&network.address)) {
        mixed(network.to_string(), group.networks_at);
    }
    for firewall in &group.firewalls {
        if !firewall.address.is_unspecified() && other(&firewall.address) {
            mixed(firewall.address.to_string(), firewall.address_at);
        }
        if let Some(far) = firewall.far_address.filter(other) {
            mixed(far.to_string(), firewall.far_address_at);
        }
        if let Some(network) = firewall.nat_addresses.iter().find(|network| other(&network.address)) {
            mixed(network.to_string(), firewall.nat_addresses_at);
        }
    }
}

/// Names, next hops and far addresses that two firewalls of a group share.
fn twice(group: &FirewallGroup, findings: &Findings) {
    let mut names: HashMap<&str, &Firewall> = HashMap::new();
    let mut hops: HashMap<IpAddr, &Firewall> = HashMap::new();
    let mut far_ends: HashMap<IpAddr, &Firewall> = HashMap::new();
    for firewall in &group.firewalls {
        let first = *names.entry(&firewall.name).or_insert(firewall);
        if !std::ptr::eq(first, firewall) && !firewall.name.is_empty() {
            let message =
                format!("the firewall in line {} has the name {:?} too", first.at.line, firewall.name);
            let help = "give each firewall of a group a name of its own, the same at both ends";
            findings.error(code::DUPLICATE_NAME, firewall.at, message, help);
            continue;
        }
        let first = *hops.entry(firewall.address).or_insert(firewall);
        if first.name != firewall.name && !firewall.address.is_unspecified() {
            let message =
                format!("{} is the next hop of firewall {:?} already", firewall.address, first.name);
            let help = "write this firewall's own address; a larger share is a larger `weight`";
            findings.error(code::DUPLICATE_VALUE, firewall.address_at, message, help);
        }
        let Some(far) = firewall.far_address else { continue };
        let first = *far_ends.entry(far).or_insert(firewall);
        if first.name != firewall.name {
            let message = format!("{far} is the far address of firewall {:?} already", first.name);
            let help = "write the other end's probe address for this path: it has one for each";
            findings.error(code::DUPLICATE_VALUE, firewall.far_address_at, message, help);
        }
    }
}

/// The ports that paths hang on.
fn ports(config: &Config, group: &FirewallGroup, findings: &Findings) {
    for firewall in &group.firewalls {
        let Some(index) = firewall.port else { continue };
        let port = &config.ports[index];
        if let Some(bridge) = config.bridges.iter().find(|bridge| bridge.ports.contains(&index)) {
            let message =
                format!("port {:?} is of bridge {:?}, which has no path for itself", port.name, bridge.name);
            let help = "name a port that is in no bridge, or remove `port`";
            findings.error(code::CONTRADICTION, firewall.port_at, message, help);
        } else if port.zone != group.zone && ![port.zone, group.zone].contains(&NO_ZONE) {
            let zone = |zone: u8| match config.zones.get(usize::from(zone)).filter(|name| !name.is_empty()) {
                Some(name) => format!("in zone {name:?}"),
                None => "in no named zone".to_owned(),
            };
            let message = format!(
                "port {:?} is {}, and the firewall group {}",
                port.name,
                zone(port.zone),
                zone(group.zone)
            );
            let help = "name a port of the group's zone, or put both in one `zone`";
            findings.error(code::CONTRADICTION, firewall.port_at, message, help);
        }
    }
}

/// A group that works, and does less than a group is for.
fn too_little(group: &FirewallGroup, findings: &Findings) {
    let name = &group.name;
    if let [firewall] = &group.firewalls[..] {
        let message = format!("firewall group {name:?} has one firewall: when it fails, no other takes over");
        let help = "add another `[[firewall_group.firewall]]`";
        findings.warning(code::LONE_FIREWALL, firewall.at, message, help);
    }
    if group.firewalls.iter().all(|firewall| firewall.weight == 0) && !group.firewalls.is_empty() {
        let message = format!("all firewalls of group {name:?} have weight 0: none takes a new flow");
        let help = "give one of them a `weight` of 1 or more";
        findings.warning(code::NO_WEIGHT, group.at, message, help);
    }
}

/// A network that two groups of a zone have. One within another is right: the closer goes first.
fn networks(config: &Config, findings: &Findings) {
    let mut seen: HashMap<(u8, Network), &FirewallGroup> = HashMap::new();
    for group in config.firewall_groups.iter().filter(|group| group.zone != NO_ZONE) {
        let mut shared = None;
        for network in &group.networks {
            let first = *seen.entry((group.zone, *network)).or_insert(group);
            if !std::ptr::eq(first, group) {
                shared = shared.or(Some((network, first)));
            }
        }
        if let Some((network, first)) = shared {
            let message =
                format!("{network} is of firewall group {:?} in line {} too", first.name, first.at.line);
            let help = "give each network to one group of a zone";
            findings.error(code::OVERLAPPING_NETWORKS, group.networks_at, message, help);
        }
    }
}

/// A firewall and its group.
type Owner<'a> = (&'a FirewallGroup, &'a Firewall);

/// Which firewall translates to what.
struct Translated<'a> {
    /// The first owner of each network, in each zone.
    owners: HashMap<(u8, Network), Owner<'a>>,
    /// Every owner.
    all: Vec<(Owner<'a>, Network)>,
    zones: usize,
}

impl<'a> Translated<'a> {
    fn of(config: &'a Config) -> Self {
        let of_group = |group: &'a FirewallGroup| {
            let of_firewall = move |firewall: &'a Firewall| {
                firewall.nat_addresses.iter().map(move |network| ((group, firewall), *network))
            };
            group.firewalls.iter().flat_map(of_firewall)
        };
        let all: Vec<_> = config.firewall_groups.iter().flat_map(of_group).collect();
        let mut owners = HashMap::new();
        for (owner, network) in &all {
            owners.entry((owner.0.zone, *network)).or_insert(*owner);
        }
        Self { owners, all, zones: config.zones.len() }
    }

    /// The owners in `zone` of networks that hold all of `network`.
    fn around(&self, zone: u8, network: Network) -> impl Iterator<Item = (Owner<'a>, Network)> {
        (0..=network.prefix_length).filter_map(move |prefix_length| {
            let wider = Network { prefix_length, ..network };
            let wider = Network { address: wider.first(), ..wider };
            self.owners.get(&(zone, wider)).map(|owner| (*owner, wider))
        })
    }

    /// What goes to an address goes to one firewall.
    fn overlaps(&self, findings: &Findings) {
        let mut told = HashSet::new();
        for ((group, firewall), network) in &self.all {
            let mut others = self.around(group.zone, *network);
            let other = others.find(|((_, other), _)| !std::ptr::eq(*other, *firewall));
            let Some(((other_group, other), wider)) = other else { continue };
            if !told.insert(std::ptr::from_ref(*firewall)) {
                continue;
            }
            let relation = if wider == *network { "is".to_owned() } else { format!("lies in {wider}") };
            let message = format!(
                "{network} {relation} of firewall {:?} of group {:?} in line {}",
                other.name, other_group.name, other.at.line
            );
            let help = "write what one firewall alone translates to";
            findings.error(code::OVERLAPPING_NETWORKS, firewall.nat_addresses_at, message, help);
        }
    }

    /// A firewall that translates to `address`, in any zone.
    fn owner(&self, address: IpAddr) -> Option<(Owner<'a>, Network)> {
        let host = Network { address, prefix_length: Network::address_bits(address) };
        (0..self.zones).find_map(|zone| self.around(zone as u8, host).next())
    }
}

/// What the appliance answers for is no firewall's: neither its own address nor one that it translates to.
fn claimed(config: &Config, translated: &Translated<'_>, findings: &Findings) {
    let services = config.services.iter().filter(|service| !service.address.is_unspecified());
    let vips = services.map(|service| (service.address, "the VIP", service.address_at));
    let mut hops: HashMap<IpAddr, Owner<'_>> = HashMap::new();
    for group in &config.firewall_groups {
        for firewall in &group.firewalls {
            hops.entry(firewall.address).or_insert((group, firewall));
        }
    }
    let mut seen = HashSet::new();
    for (address, role, at) in
        vips.chain(roles::sources(config)).filter(|(address, ..)| seen.insert(*address))
    {
        let message = if let Some((group, firewall)) = hops.get(&address) {
            format!("{address} is the address of firewall {:?} of group {:?}", firewall.name, group.name)
        } else if let Some(((group, firewall), network)) = translated.owner(address) {
            let (name, group) = (&firewall.name, &group.name);
            format!("{address} lies in {network}, to which firewall {name:?} of group {group:?} translates")
        } else {
            continue;
        };
        let help = format!("write another address: {role} is held by the appliance alone");
        findings.error(code::ADDRESS_CONFLICT, at, message, help);
    }
}
