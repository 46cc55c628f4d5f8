//! Where a frame came in, and whom it is addressed to on its link.

use crate::mac_table::Station;
use crate::path::{NO_PORT, World};
use crate::reason::DropReason;
use crate::tags;
use flow::Zone;
use plan::{Attachment, PortPlan};
use port::Frame;
use session::tick_from_ns;
use wire::Mac;
use wire::ethernet::Ethernet;

/// Whom a frame is addressed to on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The appliance.
    Own,
    /// A broadcast or multicast address.
    Group,
    /// Another host. On a bridge that is the ordinary case; elsewhere it is none of ours.
    Other,
}

/// By what a frame came in, before anything of it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ingress {
    /// The port; of what the host sends, the port or bridge whose host leg it came by.
    pub port: u16,
    /// Whether the host sent it.
    pub is_host: bool,
}

/// What is the same for every frame that comes in by one port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    pub ingress: Ingress,
    /// The port or bridge at which the appliance has its addresses there.
    pub leg: u16,
    /// The appliance's MAC address there.
    pub own: Mac,
    pub zone: Zone,
}

impl Door {
    /// Whether the appliance has its addresses at the port itself, and at no bridge that the port is a member of.
    #[inline]
    pub fn is_of_leg(&self) -> bool {
        self.leg == self.ingress.port && !self.ingress.is_host
    }

    /// Where a frame came in that has these link-layer fields left, and whom it is for.
    #[inline]
    pub fn arrival(&self, ethernet: &Ethernet<'_>, vlan: u16) -> Result<Arrival, DropReason> {
        let (port, leg) = (self.ingress.port, self.leg);
        if vlan != 0 && leg == port {
            return Err(DropReason::VlanUnknown);
        }
        let destination = ethernet.destination();
        let reach = match () {
            () if destination == self.own => Reach::Own,
            () if destination.is_multicast() => Reach::Group,
            () => Reach::Other,
        };
        Ok(Arrival { port, leg, vlan, reach })
    }
}

impl Ingress {
    /// Of a frame that no port has.
    pub const NOWHERE: Self = Self { port: NO_PORT, is_host: false };
}

/// Where a frame came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The port.
    pub port: u16,
    /// The port or bridge at which the appliance has its addresses there.
    pub leg: u16,
    /// The VLAN inside a bridge: tags that the port has not taken for itself. 0: none.
    pub vlan: u16,
    /// Whom it is addressed to.
    pub reach: Reach,
}

/// A bridge, as the switch needs it.
#[derive(Clone, Copy)]
pub(crate) struct BridgeView<'p> {
    pub members: &'p [u16],
    pub number: u8,
    pub ageing_ticks: u32,
}

impl<'w> World<'w> {
    /// Whose a frame is that ring `ring` received, if anybody's. The tag of a VLAN that is a port is taken off.
    pub fn ingress(&self, ring: u16, frame: &mut Frame<'_>) -> Option<Ingress> {
        let plan = self.plan.rings.get(usize::from(ring))?;
        if let Some(port) = plan.host_leg_of {
            return Some(Ingress { port, is_host: true });
        }
        let port = plan.port(tags::outer_vlan(frame.bytes()))?;
        if self.port(port).is_some_and(|port| port.vlan() != 0) {
            tags::pop(frame);
        }
        Some(Ingress { port, is_host: false })
    }

    /// What is the same for every frame that comes in there.
    #[inline]
    pub fn door(&self, ingress: Ingress) -> Option<Door> {
        let plan = self.port(ingress.port)?;
        let leg = plan.bridge.unwrap_or(ingress.port);
        let own = if leg == ingress.port { plan.mac } else { self.port(leg)?.mac };
        Some(Door { ingress, leg, own, zone: plan.zone })
    }

    /// Where a frame came in that has these link-layer fields left, and whom it is for.
    pub fn arrival(&self, port: u16, ethernet: &Ethernet<'_>, vlan: u16) -> Result<Arrival, DropReason> {
        let door = self.door(Ingress { port, is_host: false }).ok_or(DropReason::VlanUnknown)?;
        door.arrival(ethernet, vlan)
    }

    /// A port or bridge of the plan.
    #[inline]
    pub fn port(&self, port: u16) -> Option<&'w PortPlan> {
        self.plan.ports.get(usize::from(port))
    }

    /// `leg`, if it is a bridge.
    #[inline]
    pub fn bridge(&self, leg: u16) -> Option<BridgeView<'w>> {
        let Attachment::Bridge { number, members, ageing_ns } = &self.port(leg)?.attachment else {
            return None;
        };
        Some(BridgeView { members, number: *number, ageing_ticks: tick_from_ns(*ageing_ns) })
    }

    /// The member of `bridge` that `mac` is behind.
    pub fn member_of(&self, bridge: BridgeView<'_>, vlan: u16, mac: Mac) -> Option<u16> {
        let station = Station { bridge: bridge.number, vlan, mac };
        let port = self.shared.macs.find(station, self.tick, bridge.ageing_ticks)?;
        // A table outlives plans: the port may have left the bridge.
        bridge.members.contains(&port).then_some(port)
    }
}
