//! Ports, bridges and rings: where frames come in, and how they get out.
//!
//! ```text
//!   ring 0  eth1 ─┬─ untagged ─▶ port 0 "outside"               a port has its frames from one ring,
//!                 └─ VLAN 20 ──▶ port 1 "dmz" ── host leg ─▶ ring 2 (TAP "dmz")
//!   ring 1  eth2 ─── all ──────▶ port 2 "inside" ─ member of ─▶ port 3, the bridge "br0"
//!   ring 3  TAP "br0" ─────────────────────────── host leg ───▶ port 3
//! ```
//!
//! A *leg* is where the appliance has addresses: a port of its own, or a bridge. Links and routes name legs.

use crate::Zone;
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::Mac;
use wire::ethernet;

/// One port or bridge, as the data plane needs it. Ports come first, in the order of the configuration, then bridges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// Its name in the configuration.
    pub name: String,
    /// Its own MAC address; of a bridge, that of its host leg.
    pub mac: Mac,
    /// The longest IP packet that it carries, in bytes; of a bridge, that of the member that carries the least.
    pub mtu_bytes: u16,
    /// Its routing domain.
    pub zone: Zone,
    /// The host's own IPv4 address there, which ICMP errors come from.
    pub address_v4: Option<Ipv4Addr>,
    /// The host's own global IPv6 address there.
    pub address_v6: Option<Ipv6Addr>,
    /// How its frames get out.
    pub attachment: Attachment,
    /// The ring of its host leg: frames for the host go there. `None` where the kernel has its own copy of them.
    pub host_ring: Option<u16>,
    /// The bridge that it is a member of, by port index.
    pub bridge: Option<u16>,
}

/// How the frames of a port get out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// By a ring.
    Ring {
        /// Index of the ring.
        ring: u16,
        /// The VLAN whose tag they bear there; 0: none of its own.
        vlan: u16,
    },
    /// By one of these ports, which the MAC table says.
    Bridge {
        /// Counts bridges from 0, at most 15.
        number: u8,
        /// The members, by port index.
        members: Box<[u16]>,
        /// How long a MAC address is believed to be where it was seen last, in nanoseconds.
        ageing_ns: u64,
    },
}

impl PortPlan {
    /// The VLAN whose tag its frames bear on the wire; 0: none of its own.
    #[inline]
    pub fn vlan(&self) -> u16 {
        match self.attachment {
            Attachment::Ring { vlan, .. } => vlan,
            Attachment::Bridge { .. } => 0,
        }
    }

    /// The members, where it is a bridge.
    #[inline]
    pub fn members(&self) -> Option<&[u16]> {
        match &self.attachment {
            Attachment::Bridge { members, .. } => Some(members),
            Attachment::Ring { .. } => None,
        }
    }
}

/// The ports and bridges of a plan, by index, and beside them what a frame that leaves needs of them most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortTable {
    ports: Box<[PortPlan]>,
    exits: Box<[Exit]>,
}

/// How frames leave by a port that needs nothing but MAC addresses for it: no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its own MAC address.
    pub mac: Mac,
    /// The longest frame that it carries, Ethernet header included; 0 where more is needed, and for a bridge.
    pub frame_bytes_max: u16,
    /// Index of its ring.
    pub ring: u16,
}

impl PortTable {
    /// The way out by a port.
    #[inline(always)]
    pub fn exit(&self, port: u16) -> Option<&Exit> {
        self.exits.get(usize::from(port))
    }
}

impl FromIterator<PortPlan> for PortTable {
    fn from_iter<I: IntoIterator<Item = PortPlan>>(ports: I) -> Self {
        let ports: Box<[PortPlan]> = ports.into_iter().collect();
        let exit = |port: &PortPlan| {
            let nowhere = Exit { mac: port.mac, frame_bytes_max: 0, ring: 0 };
            match port.attachment {
                Attachment::Ring { ring, vlan: 0 } => {
                    let frame_bytes_max = port.mtu_bytes.saturating_add(ethernet::LENGTH as u16);
                    Exit { frame_bytes_max, ring, ..nowhere }
                }
                _ => nowhere,
            }
        };
        Self { exits: ports.iter().map(exit).collect(), ports }
    }
}

impl std::ops::Deref for PortTable {
    type Target = [PortPlan];

    #[inline(always)]
    fn deref(&self) -> &[PortPlan] {
        &self.ports
    }
}

/// Whose the frames of a ring are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingPlan {
    /// The port that has those without a tag.
    pub untagged: Option<u16>,
    /// Ports that have one VLAN each: VLAN and port index.
    pub tagged: Box<[(u16, u16)]>,
    /// Whether the first of these has those of every other VLAN too, tags and all: it belongs to a bridge.
    pub is_trunk: bool,
    /// The port or bridge whose host leg this ring is: what comes by it is the host's own.
    pub host_leg_of: Option<u16>,
}

impl RingPlan {
    /// A ring whose frames without a tag are `port`'s, and nobody's else.
    pub fn of(port: u16) -> Self {
        Self { untagged: Some(port), ..Self::default() }
    }

    /// The port that has every frame of the ring, tags or not, if there is one.
    #[inline]
    pub fn only_port(&self) -> Option<u16> {
        if self.tagged.is_empty() { self.untagged } else { None }
    }

    /// The port that has the frames of `vlan`, which is 0 for those without one.
    #[inline]
    pub fn port(&self, vlan: u16) -> Option<u16> {
        if vlan == 0 {
            return self.untagged;
        }
        let tagged = self.tagged.iter().find(|(own, _)| *own == vlan).map(|(_, port)| *port);
        tagged.or(if self.is_trunk { self.untagged } else { None })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_has_its_own_port_and_a_trunk_has_the_others() {
        let ring = RingPlan { untagged: Some(1), tagged: Box::new([(20, 2)]), ..RingPlan::default() };
        assert_eq!([0, 20, 30].map(|vlan| ring.port(vlan)), [Some(1), Some(2), None]);
        let trunk = RingPlan { is_trunk: true, ..ring };
        assert_eq!([0, 20, 30].map(|vlan| trunk.port(vlan)), [Some(1), Some(2), Some(1)]);
    }
}
