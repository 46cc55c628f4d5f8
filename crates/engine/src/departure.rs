//! The way out of a plain packet: by which port, under which MAC addresses. Whatever needs more than that, a tag, a copy, an
//! answer, has no departure, and goes the way of all others.

use crate::arrival::Door;
use crate::mac_table::Station;
use crate::path::World;
use plan::{Exit, Link};
use rewrite::Shape;
use wire::Mac;
use wire::ethernet::Ethernet;

/// How a plain packet leaves.
#[derive(Clone, Copy)]
pub(crate) struct Departure {
    /// The port.
    pub port: u16,
    /// Its ring.
    pub ring: u16,
    /// The MAC address that the frame goes to.
    pub destination: Mac,
    /// The MAC address that it comes from.
    pub source: Mac,
}

impl World<'_> {
    /// Whether a frame that came in by a member of a bridge needs no more than to be heard: its sender is known to be there.
    #[inline(never)]
    pub fn hears(&self, door: &Door, ethernet: &Ethernet<'_>) -> bool {
        let Some(bridge) = self.bridge(door.leg) else { return false };
        let (source, destination) = (ethernet.source(), ethernet.destination());
        let station = Station { bridge: bridge.number, vlan: 0, mac: source };
        // What must not be learnt, a group or the appliance's own address, is nowhere.
        !destination.is_multicast() && self.shared.macs.hear(station, door.ingress.port, self.tick)
    }

    /// The way out by a port for a frame of `frame_bytes` bytes, if nothing but MAC addresses is needed.
    #[inline(always)]
    pub fn exit(&self, port: u16, frame_bytes: usize) -> Option<&Exit> {
        self.plan.ports.exit(port).filter(|exit| frame_bytes <= usize::from(exit.frame_bytes_max))
    }

    /// The departure of a frame of `frame_bytes` bytes by `link`, for a packet of that shape from `sender`.
    #[inline(always)]
    pub fn departure(
        &self,
        shape: Shape,
        door: &Door,
        link: Link,
        sender: Mac,
        frame_bytes: usize,
    ) -> Option<Departure> {
        match self.exit(link.port, frame_bytes) {
            Some(exit) => {
                Some(Departure { port: link.port, ring: exit.ring, destination: link.mac, source: exit.mac })
            }
            None => self.over_bridge(shape, door, link, sender, frame_bytes),
        }
    }

    /// The same where the link leads over a bridge, to a member.
    #[inline(never)]
    fn over_bridge(
        &self,
        shape: Shape,
        door: &Door,
        link: Link,
        sender: Mac,
        frame_bytes: usize,
    ) -> Option<Departure> {
        let (port, exit) = self.member_for(link.port, link.mac, frame_bytes)?;
        // A switch leaves the sender's address where a frame crosses from one member to another, and nowhere else.
        let keeps_sender = shape.has_link_mac() && !shape.has_own_source_mac();
        let crosses = door.leg == link.port && port != door.ingress.port;
        let source = if keeps_sender && crosses { sender } else { self.plan.ports.exit(link.port)?.mac };
        Some(Departure { port, ring: exit.ring, destination: link.mac, source })
    }

    /// The departure of a frame that a bridge passes on as it is.
    #[inline(never)]
    pub fn switched(&self, door: &Door, ethernet: &Ethernet<'_>, frame_bytes: usize) -> Option<Departure> {
        let (source, destination) = (ethernet.source(), ethernet.destination());
        let (port, exit) = self.member_for(door.leg, destination, frame_bytes)?;
        (port != door.ingress.port).then_some(Departure { port, ring: exit.ring, destination, source })
    }

    /// The member of a bridge that `mac` is behind, if a frame of that length leaves by it without a tag.
    #[inline]
    fn member_for(&self, bridge: u16, mac: Mac, frame_bytes: usize) -> Option<(u16, &Exit)> {
        let port = self.member_of(self.bridge(bridge)?, 0, mac)?;
        Some((port, self.exit(port, frame_bytes)?))
    }
}
