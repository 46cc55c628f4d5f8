//! The configurations of a lab's appliances.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::error::{Error, Result};

use super::build::{self, PATH_PROBE};
use super::{FwlbAppliance, FwlbSite, Side, nat_networks};
use crate::topology::VIP;

/// What both ends share.
const HASH_KEY: &str = "000102030405060708090a0b0c0d0e0f";

/// The number of the first firewall's probe address in a legs' network.
const FIRST_PROBE: u8 = 101;

/// How many probe addresses a pair of sides has room for.
const PROBES_PER_PAIR: u8 = 10;

/// What the configurations say beside what the lab is.
#[derive(Clone, Debug)]
pub struct FwlbOptions {
    /// "auto", "af_xdp" or "af_packet".
    pub driver: String,
    /// "adaptive" or "busy".
    pub polling: String,
    /// CPU numbers, one worker each.
    pub workers: Vec<u16>,
    /// IPv4 sessions.
    pub session_capacity: u32,
    /// "address-pair" or "five-tuple".
    pub hash: String,
    /// "move", "reset" or "keep".
    pub on_failure: String,
    /// "sticky" or "return".
    pub on_recovery: String,
    /// "icmp", "udp" or "tcp-half-open".
    pub check: String,
    /// The firewalls' weights; empty: 1 each.
    pub weights: Vec<u32>,
    /// What else stands in the file of a side's appliance.
    pub further: Vec<(Side, String)>,
}

impl Default for FwlbOptions {
    /// One worker on CPU 1, tables that are made in an instant, and what the appliance does when nothing else
    /// is said.
    fn default() -> Self {
        Self {
            driver: "auto".into(),
            polling: "adaptive".into(),
            workers: vec![1],
            session_capacity: 20_000,
            hash: "address-pair".into(),
            on_failure: "move".into(),
            on_recovery: "sticky".into(),
            check: "icmp".into(),
            weights: Vec::new(),
            further: Vec::new(),
        }
    }
}

/// A group of firewalls: what a side's appliance reaches over them.
struct Group {
    name: String,
    from: Side,
    to: Side,
    /// 0 is IPv4, 1 is IPv6.
    family: usize,
}

impl FwlbSite {
    /// Writes the configuration of a side's appliance to the testbed's directory; again for a reload.
    pub fn write_configuration(&self, side: Side, options: &FwlbOptions) -> Result<PathBuf> {
        let appliance = self.appliance(side)?;
        let state = appliance.state_directory();
        fs::create_dir_all(&state).map_err(Error::system(format!("creating {}", state.display())))?;
        let path = appliance.namespace.directory().join(format!("{}.toml", side.name()));
        let text = self.configuration(side, options)?;
        fs::write(&path, text).map_err(Error::system(format!("writing {}", path.display())))?;
        Ok(path)
    }

    /// The configuration of a side's appliance.
    pub fn configuration(&self, side: Side, options: &FwlbOptions) -> Result<String> {
        let appliance = self.appliance(side)?;
        let mut text = appliance.opening(options);
        append(
            &mut text,
            format_args!(
                "\n[[health_check]]\nname = \"path\"\nkind = \"{}\"\ninterval = \"200ms\"\n\
                 response_time = \"100ms\"\nretries = 2\nrise = 3\n",
                options.check
            ),
        );
        let groups = self.groups(side);
        groups.iter().for_each(|group| self.append_group(&mut text, group, options));
        groups.iter().for_each(|group| self.append_responders(&mut text, group));
        let further = options.further.iter().filter(|(of, _)| *of == side);
        further.for_each(|(_, lines)| append(&mut text, format_args!("\n{lines}\n")));
        Ok(text)
    }

    /// The virtual addresses that the other sides reach through the firewalls; an appliance without a service
    /// has none.
    pub fn vips(&self, side: Side) -> [IpAddr; 2] {
        side.legs().host(VIP)
    }

    fn groups(&self, from: Side) -> Vec<Group> {
        let others = self.appliances.iter().map(|appliance| appliance.side).filter(|side| *side != from);
        let group = |to: Side| {
            let of_family = move |family: usize| Group {
                name: format!("to-{}-{}", to.name(), ["v4", "v6"][family]),
                from,
                to,
                family,
            };
            (0..2).map(of_family)
        };
        others.flat_map(group).collect()
    }

    fn append_group(&self, text: &mut String, group: &Group, options: &FwlbOptions) {
        append(
            text,
            format_args!(
                "\n[[firewall_group]]\nname = \"{}\"\nnetworks = {:?}\nhash = \"{}\"\non_failure = \"{}\"\n\
                 on_recovery = \"{}\"\nhealth_check = \"path\"\n",
                group.name,
                self.networks(group),
                options.hash,
                options.on_failure,
                options.on_recovery
            ),
        );
        for (index, firewall) in self.firewalls.iter().enumerate() {
            let address = self.next_hops(group.from, index)[group.family];
            let far = self.probe_address(group.to, group.from, index)[group.family];
            let weight = options.weights.get(index).copied().unwrap_or(1);
            let name = firewall.name();
            append(
                text,
                format_args!(
                    "\n[[firewall_group.firewall]]\nname = \"{name}\"\naddress = \"{address}\"\n\
                     far_address = \"{far}\"\nweight = {weight}\n"
                ),
            );
            if self.segments.is_empty() {
                append(text, format_args!("port = \"{name}\"\n"));
            }
            if self.translates && group.from == Side::Outer {
                append(text, format_args!("nat_addresses = [\"{}\"]\n", nat_networks(index)[group.family]));
            }
        }
    }

    /// The clients are all the rest of the world.
    fn networks(&self, group: &Group) -> Vec<String> {
        if group.to == Side::Outer {
            return vec![["0.0.0.0/0", "::/0"][group.family].into()];
        }
        let vip = self.vips(group.to)[group.family];
        let length = [32, 128][group.family];
        let mut networks = vec![group.to.hosts().destinations()[group.family].clone()];
        if !self.segments.is_empty() {
            networks.push(format!("{vip}/{length}"));
        }
        networks
    }

    fn append_responders(&self, text: &mut String, group: &Group) {
        for (index, firewall) in self.firewalls.iter().enumerate() {
            let address = self.probe_address(group.from, group.to, index)[group.family];
            let (name, group) = (firewall.name(), &group.name);
            append(
                text,
                format_args!(
                    "\n[[probe_responder]]\naddress = \"{address}\"\nfirewall = \"{name}\"\n\
                     group = \"{group}\"\n"
                ),
            );
        }
    }

    /// A side's own probe address for a path to another side, over a firewall.
    pub fn probe_address(&self, own: Side, far: Side, firewall: usize) -> [IpAddr; 2] {
        if self.segments.is_empty() {
            return build::path_hosts(firewall, PATH_PROBE + own as u8);
        }
        let others = Side::ALL.into_iter().filter(|side| *side != own);
        let pair = others.take_while(|side| *side != far).count() as u8;
        own.legs().host(FIRST_PROBE + pair * PROBES_PER_PAIR + firewall as u8)
    }
}

impl FwlbAppliance {
    /// The appliance itself and its ports.
    fn opening(&self, options: &FwlbOptions) -> String {
        let mut text = format!(
            "[appliance]\nname = \"{}\"\nworkers = {:?}\npolling = \"{}\"\nsession_capacity = {}\n\
             session_capacity_ipv6 = {}\nhash_key = \"{HASH_KEY}\"\nsocket = {:?}\nstate_directory = {:?}\n",
            self.side.name(),
            options.workers,
            options.polling,
            options.session_capacity,
            options.session_capacity,
            self.socket(),
            self.state_directory(),
        );
        for port in &self.ports {
            let (name, driver) = (port.interface(), &options.driver);
            append(
                &mut text,
                format_args!(
                    "\n[[port]]\nname = \"{name}\"\ninterface = \"{name}\"\ndriver = \"{driver}\"\n"
                ),
            );
        }
        text
    }
}

/// Writing to a string cannot fail.
fn append(text: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(words);
}
