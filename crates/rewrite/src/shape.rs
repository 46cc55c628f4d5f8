//! What a translation does beside replacing addresses and ports: a few bits, decided with the first packet.

/// What becomes of a packet beside its addresses. The three switches and the way of carrying are all that is left of a
/// mode once it is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape(u16);

/// How a packet is carried to its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carriage {
    /// Under the translation's addresses and ports.
    #[default]
    Plain,
    /// Under its own addresses and ports; the translation's destination names the server, for the routes to be asked.
    Direct,
    /// Behind another IP header (RFC 2003, RFC 2473); the translation's addresses are the outer ones.
    IpInIp,
    /// Behind another IP and a UDP header (GUE variant 1, draft-ietf-intarea-gue section 4); the translation's addresses
    /// and ports are the outer ones.
    Gue,
    /// Under the translation's addresses and a DSCP value that tells the server which VIP was called.
    Marked {
        /// 1 to 63.
        dscp: u8,
    },
}

const HOP_BIT: u16 = 1;
const OWN_SOURCE_MAC_BIT: u16 = 1 << 1;
const LINK_MAC_BIT: u16 = 1 << 2;
const CARRIAGE_SHIFT: u32 = 3;
const CARRIAGE_MASK: u16 = 7;
const DSCP_SHIFT: u32 = 6;
const DSCP_MASK: u16 = 0x3f;
const TO_FIREWALL_BIT: u16 = 1 << 12;
const FROM_FIREWALL_BIT: u16 = 1 << 13;

impl Shape {
    /// What a router does: the hop limit falls, both MAC addresses are the link's.
    pub const ROUTED: Self = Self(HOP_BIT | OWN_SOURCE_MAC_BIT | LINK_MAC_BIT);
    /// What a switch does that knows the server: only the destination MAC address is the link's.
    pub const TO_SERVER: Self = Self(LINK_MAC_BIT);
    /// What a switch does with a reply: nothing.
    pub const UNTOUCHED: Self = Self(0);
    /// Both MAC addresses are the link's, and the hop limit stays: a switch that stands in for one of the ends.
    pub const OWN_MACS: Self = Self(OWN_SOURCE_MAC_BIT | LINK_MAC_BIT);

    /// The same, carried that way.
    #[must_use]
    pub const fn carried(self, carriage: Carriage) -> Self {
        let (number, dscp) = match carriage {
            Carriage::Plain => (0, 0),
            Carriage::Direct => (1, 0),
            Carriage::IpInIp => (2, 0),
            Carriage::Gue => (3, 0),
            Carriage::Marked { dscp } => (4, dscp as u16 & DSCP_MASK),
        };
        let switches = self.0 & !(CARRIAGE_MASK << CARRIAGE_SHIFT | DSCP_MASK << DSCP_SHIFT);
        Self(switches | number << CARRIAGE_SHIFT | dscp << DSCP_SHIFT)
    }

    /// The same, leaving by a firewall: [`Translation::to_firewall`](crate::Translation::to_firewall).
    #[must_use]
    pub const fn to_firewall(self) -> Self {
        Self(self.0 | TO_FIREWALL_BIT)
    }

    /// The same, coming from a firewall: [`Translation::from_firewall`](crate::Translation::from_firewall).
    #[must_use]
    pub const fn from_firewall(self) -> Self {
        Self(self.0 | FROM_FIREWALL_BIT)
    }

    /// Whether the packet leaves by a firewall.
    #[inline]
    pub const fn leaves_by_firewall(self) -> bool {
        self.0 & TO_FIREWALL_BIT != 0
    }

    /// Whether the packet comes from a firewall.
    #[inline]
    pub const fn comes_from_firewall(self) -> bool {
        self.0 & FROM_FIREWALL_BIT != 0
    }

    /// Whether the packet passes a firewall before or after us.
    #[inline]
    pub const fn passes_firewall(self) -> bool {
        self.0 & (TO_FIREWALL_BIT | FROM_FIREWALL_BIT) != 0
    }

    /// Whether the hop limit falls by one.
    #[inline]
    pub const fn takes_hop(self) -> bool {
        self.0 & HOP_BIT != 0
    }

    /// Whether the packet leaves with the egress port's own MAC address as its source.
    #[inline]
    pub const fn has_own_source_mac(self) -> bool {
        self.0 & OWN_SOURCE_MAC_BIT != 0
    }

    /// Whether the packet goes to its link's MAC address; else it keeps its destination, and is switched.
    #[inline]
    pub const fn has_link_mac(self) -> bool {
        self.0 & LINK_MAC_BIT != 0
    }

    /// How the packet is carried.
    #[inline]
    pub const fn carriage(self) -> Carriage {
        match self.0 >> CARRIAGE_SHIFT & CARRIAGE_MASK {
            0 => Carriage::Plain,
            1 => Carriage::Direct,
            2 => Carriage::IpInIp,
            3 => Carriage::Gue,
            _ => Carriage::Marked { dscp: (self.0 >> DSCP_SHIFT & DSCP_MASK) as u8 },
        }
    }

    /// Whether the packet's own addresses and ports stay.
    #[inline]
    pub const fn keeps_addresses(self) -> bool {
        matches!(self.0 >> CARRIAGE_SHIFT & CARRIAGE_MASK, 1..=3)
    }

    /// Whether what a router does is all, beside new addresses where it has some: the common case, worth one comparison.
    #[inline]
    pub const fn is_routed(self) -> bool {
        // Firewalls change nothing of a packet, and what is carried directly only keeps its addresses.
        self.0 & !(TO_FIREWALL_BIT | FROM_FIREWALL_BIT | 1 << CARRIAGE_SHIFT) == Self::ROUTED.0
    }

    /// Whether the packet gets another header in front.
    #[inline]
    pub const fn is_tunnelled(self) -> bool {
        matches!(self.carriage(), Carriage::IpInIp | Carriage::Gue)
    }

    pub(crate) const fn to_bits(self) -> u16 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_says_what_made_it() {
        let carriages = [
            Carriage::Plain,
            Carriage::Direct,
            Carriage::IpInIp,
            Carriage::Gue,
            Carriage::Marked { dscp: 63 },
        ];
        for shape in [Shape::ROUTED, Shape::TO_SERVER, Shape::UNTOUCHED, Shape::OWN_MACS] {
            for carriage in carriages {
                let carried = Shape::from_bits(shape.carried(carriage).to_bits());
                assert_eq!(carried.carriage(), carriage);
                assert_eq!(
                    (carried.takes_hop(), carried.has_own_source_mac(), carried.has_link_mac()),
                    (shape.takes_hop(), shape.has_own_source_mac(), shape.has_link_mac()),
                );
            }
        }
        assert!(
            Shape::ROUTED.is_routed() && Shape::ROUTED.carried(Carriage::Direct).to_firewall().is_routed()
        );
        assert_eq!(
            carriages.map(|carriage| Shape::ROUTED.carried(carriage).is_tunnelled()),
            [false, false, true, true, false]
        );
        let others = [Carriage::IpInIp, Carriage::Gue, Carriage::Marked { dscp: 1 }];
        assert!(!others.into_iter().any(|carriage| Shape::ROUTED.carried(carriage).is_routed()));
        assert!(!Shape::OWN_MACS.is_routed() && !Shape::UNTOUCHED.is_routed());
    }
}
