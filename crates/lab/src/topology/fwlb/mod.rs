//! Firewalls between appliances: a sandwich, and what it can be beside.
//!
//! ```text
//!                 198.18.0.0/24        198.18.1.0/24         198.18.2.0/24         198.19.0.0/24
//!  client .50 ──────── outside [outer] front ──┬── fw1 .1 ──┬── back [inner] inside ──┬── server1 .11
//!  (and callers)        .100           .100    ├── fw2 .2 ──┤   .100          .100    ├── server2 .12
//!                                              └── fw3 .3 ──┘                         └── server3 .13
//! ```
//!
//! IPv6 alike: 2001:db8::/64, 2001:db8:1::/64, 2001:db8:2::/64 and 2001:db8:256::/64. The probe addresses of a
//! path are .101 and so on, in the legs' networks. The kernels of the appliances do not route; [`FwlbSite::route_over`]
//! makes them, for tests without an appliance.
//!
//! [`FwlbPlan::stealth`]: the firewalls are bridges. Each path has a network of its own, 198.18.1.0/29,
//! 198.18.1.8/29 and so on, and 2001:db8:1:1::/64 and so on: .1 is the outer appliance, .2 the inner one, .3 and
//! .4 are their probe addresses; and a port of its own, `fw1` and so on, on each appliance.
//!
//! [`FwlbPlan::dmz`]: the firewalls have a third leg, in 198.18.3.0/24, with a third appliance before the servers
//! in 198.19.1.0/24 and 2001:db8:257::/64.
//!
//! [`FwlbPlan::nat`]: each firewall hides the servers behind addresses of its own, 198.18.9.0/28, 198.18.9.16/28
//! and so on, and 2001:db8:9::/124, 2001:db8:9::10/124 and so on; the first half is for sources, and the ninth
//! address is `server1`.

mod build;
mod translation;
mod wording;

use std::net::IpAddr;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::link::Endpoint;
use crate::namespace::Namespace;
use crate::peer::{Firewall, FirewallPolicy, Misrouting, misroute_answers};
use crate::testbed::Testbed;

use super::host::{Host, Network};

pub use translation::{nat_networks, published_address};
pub use wording::FwlbOptions;

/// How many addresses [`FwlbSite::caller`] has to give.
pub const CALLERS_MAX: u16 = 4096;

/// The networks of [`FwlbSite::caller`].
const CALLERS: [&str; 2] = ["198.18.64.0/20", "2001:db8:64::/64"];

/// The number of every appliance in its networks.
const APPLIANCE: u8 = 100;

/// More would leave the addresses that read alike in both families.
const FIREWALLS_MAX: usize = 9;

/// A side of the firewalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The clients'.
    Outer,
    /// The servers'.
    Inner,
    /// The third.
    Dmz,
}

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct FwlbPlan {
    /// The firewalls, 1 to 9: `fw1` and so on. All are bridges, or none.
    pub firewalls: Vec<FirewallPolicy>,
    /// Whether they have a third leg.
    pub has_dmz: bool,
    /// Whether they tell each other what they know.
    pub share_flows: bool,
    /// Whether each hides the servers behind addresses of its own.
    pub translates: bool,
}

/// The lab, without peers; see the module.
#[derive(Debug)]
pub struct FwlbSite {
    /// The client.
    pub client: Host,
    /// `server1` to `server3`.
    pub servers: Vec<Host>,
    /// `dmz1` and `dmz2`, where there is a third side.
    pub dmz_servers: Vec<Host>,
    /// The appliances: outer, inner, and that of the third side.
    pub appliances: Vec<FwlbAppliance>,
    /// `fw1` and so on; their legs are in the order of the sides.
    pub firewalls: Vec<Firewall>,
    /// The switches between each appliance and the firewalls' legs; none where the firewalls are bridges.
    pub segments: Vec<Namespace>,
    translates: bool,
}

/// A place for an appliance.
#[derive(Clone, Debug)]
pub struct FwlbAppliance {
    /// Its side.
    pub side: Side,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its interfaces: to its hosts first.
    pub ports: Vec<Endpoint>,
}

impl Side {
    const ALL: [Self; 3] = [Self::Outer, Self::Inner, Self::Dmz];

    /// Its appliance's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outer => "outer",
            Self::Inner => "inner",
            Self::Dmz => "dmz",
        }
    }

    /// The network of its hosts.
    pub fn hosts(self) -> Network {
        Network([0, 256, 257][self as usize])
    }

    /// The network of the firewalls' legs.
    pub fn legs(self) -> Network {
        Network([1, 2, 3][self as usize])
    }

    /// Its appliance's ports: to the hosts, to the firewalls.
    fn ports(self) -> [&'static str; 2] {
        [["outside", "front"], ["inside", "back"], ["servers", "border"]][self as usize]
    }

    /// The firewalls' legs.
    fn leg(self) -> &'static str {
        ["near", "far", "side"][self as usize]
    }
}

impl FwlbPlan {
    fn of(policy: FirewallPolicy) -> Self {
        Self { firewalls: vec![policy; 3], has_dmz: false, share_flows: false, translates: false }
    }

    /// Three strict routed firewalls.
    pub fn sandwich() -> Self {
        Self::of(FirewallPolicy::default())
    }

    /// Three strict firewalls that are bridges.
    pub fn stealth() -> Self {
        Self::of(FirewallPolicy { bridged: true, ..FirewallPolicy::default() })
    }

    /// Three strict firewalls with three legs.
    pub fn dmz() -> Self {
        Self { has_dmz: true, ..Self::sandwich() }
    }

    /// Three strict firewalls that translate.
    pub fn nat() -> Self {
        Self { translates: true, ..Self::sandwich() }
    }

    fn is_bridged(&self) -> bool {
        self.firewalls.iter().any(|policy| policy.bridged)
    }

    fn sides(&self) -> &'static [Side] {
        if self.has_dmz { &Side::ALL } else { &Side::ALL[..2] }
    }

    fn check(&self) -> Result<()> {
        if !(1..=FIREWALLS_MAX).contains(&self.firewalls.len()) {
            return Err(Error::unusable(self.firewalls.len().to_string(), "a lab has 1 to 9 firewalls"));
        }
        let alike = self.firewalls.iter().all(|policy| policy.bridged == self.is_bridged());
        if !alike || (self.is_bridged() && (self.has_dmz || self.share_flows || self.translates)) {
            let reason = "all firewalls are bridges or none, and those have two legs and no address";
            return Err(Error::unusable("the plan", reason));
        }
        Ok(())
    }
}

/// Builds the lab in a testbed.
pub fn fwlb_site(testbed: &Testbed, plan: &FwlbPlan) -> Result<FwlbSite> {
    plan.check()?;
    build::build(testbed, plan)
}

impl FwlbSite {
    /// The appliance of a side that the lab has.
    pub fn appliance(&self, side: Side) -> Result<&FwlbAppliance> {
        let missing = || Error::unusable(side.name(), "the lab has no such side");
        self.appliances.iter().find(|appliance| appliance.side == side).ok_or_else(missing)
    }

    /// An address that the client has beside its own: `index` below [`CALLERS_MAX`], of the family of `like`.
    pub fn caller(&self, index: u16, like: IpAddr) -> IpAddr {
        let index = index % CALLERS_MAX;
        let [high, low] = index.to_be_bytes();
        match like {
            IpAddr::V4(_) => IpAddr::from([198, 18, 64 + high, low]),
            IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0x64, 0, 0, 0, 0, index + 1]),
        }
    }

    /// Lets the kernels route in the appliances' place, everything over one firewall: the stand-in of tests
    /// without an appliance. Again for another firewall.
    pub fn route_over(&self, firewall: usize) -> Result<()> {
        for appliance in &self.appliances {
            appliance.namespace.forward_packets()?;
            for far in self.appliances.iter().filter(|other| other.side != appliance.side) {
                let hops = self.next_hops(appliance.side, firewall);
                for (family, hop) in hops.into_iter().enumerate() {
                    let callers = (far.side == Side::Outer).then(|| CALLERS[family].to_string());
                    let translated = self.translates && far.side == Side::Inner;
                    let translated = translated.then(|| nat_networks(firewall)[family].clone());
                    let networks = [far.side.hosts().destinations()[family].clone()];
                    for network in networks.into_iter().chain(callers).chain(translated) {
                        appliance.namespace.replace_route(&network, hop)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What an appliance sends to for a firewall: the firewall, or the appliance behind a bridge.
    fn next_hops(&self, side: Side, firewall: usize) -> [IpAddr; 2] {
        if !self.segments.is_empty() {
            return side.legs().host(build::number(firewall));
        }
        build::path_hosts(firewall, if side == Side::Outer { build::PATH_INNER } else { build::PATH_OUTER })
    }

    /// Makes what a side's appliance sends to a firewall come to another, while the handle lives.
    pub fn misroute(&self, side: Side, right: usize, wrong: usize) -> Result<Misrouting> {
        let missing = || Error::unusable("the firewalls", "no switch is between them and the appliance");
        let segment = self.segments.get(side as usize).ok_or_else(missing)?;
        let leg = |firewall: usize| {
            let leg = self.firewalls.get(firewall).and_then(|firewall| firewall.legs().get(side as usize));
            leg.ok_or_else(|| Error::unusable(firewall.to_string(), "the lab has no such firewall"))
        };
        misroute_answers(segment, leg(right)?, leg(wrong)?)
    }
}

impl FwlbAppliance {
    /// Where the control socket of its configuration is.
    pub fn socket(&self) -> PathBuf {
        self.namespace.directory().join(format!("{}.sock", self.side.name()))
    }

    fn state_directory(&self) -> PathBuf {
        self.namespace.directory().join(format!("{}.state", self.side.name()))
    }
}
