//! The L2 switch: where a frame goes that is not balanced and not the appliance's own (IEEE 802.1Q clause 8).
//!
//! A bridge learns from every frame that comes in by a member, knows where it saw an address last, and sends what it does
//! not know to all. It takes no part in a spanning tree: it passes its frames on, so that the switches around it find
//! their loops through it. What never leaves a link (pause frames, LACP, 802.1X, LLDP: 01-80-C2-00-00-01 to -0F) stays on
//! it. Frames cross byte for byte; only a VLAN that a port has for itself is taken off on the way in and put on on the
//! way out.

use crate::arrival::{Arrival, BridgeView, Reach};
use crate::mac_table::{Learned, Station};
use crate::path::{Egress, NO_PORT, Step, World};
use crate::reason::DropReason;
use plan::PortPlan;
use wire::Mac;
use wire::ethernet::Ethernet;

/// What never leaves its link (IEEE 802.1Q table 8-1), but for the spanning tree's own.
fn is_link_constrained(mac: Mac) -> bool {
    let Mac([a, b, c, d, e, last]) = mac;
    [a, b, c, d, e] == [0x01, 0x80, 0xc2, 0, 0] && (1..=0x0f).contains(&last)
}

impl World<'_> {
    /// Looks at who sent a frame that came in by a member of a bridge, and learns where it is. An error: the frame must
    /// go no further.
    #[inline]
    pub fn learn(
        &self,
        bridge: BridgeView<'_>,
        at: &Arrival,
        ethernet: &Ethernet<'_>,
    ) -> Result<(), DropReason> {
        let source = ethernet.source();
        if source.is_multicast() {
            return Err(DropReason::MulticastSourceMac);
        }
        if is_link_constrained(ethernet.destination()) {
            return Err(DropReason::LinkConstrained);
        }
        let own = self.port(at.leg).map(|leg| leg.mac);
        if own == Some(source) {
            return Err(DropReason::BridgeLoop);
        }
        let station = Station { bridge: bridge.number, vlan: at.vlan, mac: source };
        match self.shared.macs.learn(station, at.port, self.tick, bridge.ageing_ticks) {
            // What finds no room stays unknown, and is flooded.
            Learned::Here | Learned::Full => Ok(()),
            Learned::Held => Err(DropReason::MacFlapping),
        }
    }

    /// Where a bridge sends a frame for `destination` that came in by a member.
    #[inline]
    pub fn switch(&self, bridge: BridgeView<'_>, at: &Arrival, destination: Mac) -> Step {
        match at.reach {
            // The host hears nothing of VLANs that only cross the bridge, so nothing in them is for it.
            Reach::Own if at.vlan != 0 => DropReason::VlanUnknown.into(),
            Reach::Own => Step::Send(Egress::Host(at.leg)),
            Reach::Group => Step::Send(Egress::Flood { bridge: at.leg, except: at.port, host: at.vlan == 0 }),
            Reach::Other => match self.member_of(bridge, at.vlan, destination) {
                Some(port) if port == at.port => DropReason::SamePort.into(),
                Some(port) => Step::Send(Egress::Port(port)),
                None => Step::Send(Egress::Flood { bridge: at.leg, except: at.port, host: false }),
            },
        }
    }

    /// Where a frame of the appliance's own making, or of its host, leaves `leg` for `destination`.
    #[inline]
    pub fn egress(&self, leg: u16, destination: Mac) -> Egress {
        self.egress_but(leg, destination, NO_PORT)
    }

    /// The same for a frame that keeps the MAC address of its sender, who is behind the member `except`: to flood it there
    /// would tell the switches on that side that the sender had moved.
    #[inline]
    pub fn egress_but(&self, leg: u16, destination: Mac, except: u16) -> Egress {
        let Some(bridge) = self.bridge(leg) else { return Egress::Port(leg) };
        let known = if destination.is_multicast() { None } else { self.member_of(bridge, 0, destination) };
        match known {
            Some(port) => Egress::Port(port),
            None => Egress::Flood { bridge: leg, except, host: false },
        }
    }

    /// What the host sends by its leg: to the wire, whatever it is.
    pub fn of_host(&self, leg: u16, ethernet: &Ethernet<'_>) -> Step {
        Step::Send(self.egress(leg, ethernet.destination()))
    }

    /// The longest IP packet that leaves by `egress`, in bytes, and the port that says so.
    #[inline]
    pub fn carries(&self, egress: Egress) -> Option<&PortPlan> {
        match egress {
            Egress::Port(port) | Egress::Host(port) => self.port(port),
            Egress::Flood { bridge, .. } => self.port(bridge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spanning_trees_frames_pass_and_other_link_local_ones_do_not() {
        let group = |last| Mac([0x01, 0x80, 0xc2, 0, 0, last]);
        let constrained: Vec<u8> = (0..=0xff).filter(|&last| is_link_constrained(group(last))).collect();
        assert_eq!(constrained, (1..=0x0f).collect::<Vec<u8>>());
        assert!(!is_link_constrained(Mac::BROADCAST));
    }
}
