//! Why a frame is dropped: one list for the whole product, one counter each.

use wire::Refusal;

macro_rules! reasons {
    ($($variant:ident $name:literal $sentence:literal;)*) => {
        /// Why a frame was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DropReason {
            /// It is malformed.
            Malformed(Refusal),
            $(#[doc = concat!($sentence, ".")] $variant,)*
        }

        /// Every reason but the malformations.
        const OTHERS: &[(DropReason, &str, &str)] = &[$((DropReason::$variant, $name, $sentence),)*];
    };
}

reasons! {
    ForeignMac "foreign-mac" "its destination MAC is another host's";
    LinkLayerMulticast "link-layer-multicast" "a unicast packet in a broadcast or multicast frame";
    VlanUnknown "vlan-unknown" "it is tagged with a VLAN that no port has";
    MulticastSourceMac "multicast-source-mac" "its source MAC is a group's";
    LinkConstrained "link-constrained" "it is for its own link only (pause, LACP, 802.1X, LLDP)";
    BridgeLoop "bridge-loop" "it comes from the appliance itself, by a loop around the bridge";
    MacFlapping "mac-flapping" "its source MAC changes between ports of the bridge too often";
    SamePort "same-port" "its destination is where it came from, behind the same port of the bridge";
    NoEgress "no-egress" "there is no port for it to leave by";
    CopiesFull "copies-full" "too many frames of one burst had to leave in several copies";
    ProtocolUnknown "protocol-unknown" "its EtherType is none that Jeoul handles";
    LateForHost "late-for-host" "it is for the host, but came before the kernel was told to keep such frames";
    MartianSource "martian-source" "its source address cannot be a client's";
    MartianDestination "martian-destination" "its destination address is on no other link";
    AddressConflict "address-conflict" "another host claims an address of the appliance";
    ArpIgnored "arp-ignored" "an ARP message about an owned address that needs no answer";
    NeighbourIgnored "neighbour-ignored" "a neighbour discovery message that needs no answer";
    IcmpIgnored "icmp-ignored" "an ICMP message to an owned address that is no echo request";
    IcmpChecksum "icmp-checksum" "an ICMP error about a session, with a wrong checksum";
    IcmpOutsideWindow "icmp-outside-window" "an ICMP error that quotes a segment which its session cannot have sent";
    FragmentForService "fragment-for-service" "a fragment of what the appliance would answer itself";
    FragmentUnmatched "fragment-unmatched" "a later fragment whose first did not come, or was refused";
    FragmentDuplicate "fragment-duplicate" "a fragment that came before, byte for byte in the same place";
    FragmentOverlap "fragment-overlap" "a fragment of a datagram whose fragments overlap";
    FragmentsFull "fragments-full" "its source has too many fragmented datagrams under way";
    FragmentBusy "fragment-busy" "its datagram was being written for too long";
    TcpFlags "tcp-flags" "a combination of TCP flags that no connection shows";
    PortZero "port-zero" "its source or destination port is 0";
    NoSession "no-session" "a TCP reset that belongs to no session";
    NoService "no-service" "no service listens there, and its protocol has no answer for that";
    NoServer "no-server" "no server of the service takes sessions, and its protocol has no answer for that";
    ServersFull "servers-full" "every server of the service has as many sessions as it may";
    DirectAccessDenied "direct-access-denied" "it would open a flow straight to a server that is to be called by its VIP";
    OutboundProtocol "outbound-protocol" "it is masqueraded, and neither TCP, UDP nor an echo request";
    ReplyBypasses "reply-bypasses" "its server would answer past the appliance, and source NAT is forbidden";
    NoFirewall "no-firewall" "its way leads through firewalls, and none of them takes it";
    FirewallsFull "firewalls-full" "every firewall on its way has as many sessions, or new ones a second, as it may";
    ZoneCrossing "zone-crossing" "its route leads into another zone, past the firewalls";
    ProbeForged "probe-forged" "a path probe that was not made with our key";
    NoRoute "no-route" "no route leads to its destination";
    SessionBusy "session-busy" "its session was being written for too long";
    SessionTableFull "session-table-full" "the session table has no room";
    ServerKeyTaken "server-key-taken" "it could not be told from another session at any server";
    SourcePortsExhausted "source-ports-exhausted" "the source-NAT pool has no port left for its server";
    ResetSession "reset-session" "its session was reset, and it needs no answer";
    HopLimit "hop-limit" "its hop limit ran out, and no answer may be sent";
    TooLong "too-long" "it is longer than its way out carries, and no answer may be sent";
    AnswersLimited "answers-limited" "it would have been answered, but answers of its kind are limited in rate";
    AnswerImpossible "answer-impossible" "it could not be turned into its answer";
    NextHopUnresolved "next-hop-unresolved" "its next hop did not answer in time";
    ParkingFull "parking-full" "its next hop is not known yet, and too many frames wait for theirs";
    TransmitRefused "transmit-refused" "the egress port had no room";
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Refusal::ALL.len() + OTHERS.len();

    /// Every reason, in the order of its index.
    pub fn all() -> impl Iterator<Item = DropReason> {
        let malformations = Refusal::ALL.iter().map(|&refusal| DropReason::Malformed(refusal));
        malformations.chain(OTHERS.iter().map(|&(reason, ..)| reason))
    }

    /// Place of its counter.
    #[inline]
    pub fn index(self) -> usize {
        match self {
            DropReason::Malformed(refusal) => refusal as usize,
            other => Refusal::ALL.len() + other.place(),
        }
    }

    fn place(self) -> usize {
        OTHERS.iter().position(|&(reason, ..)| reason == self).unwrap_or_default()
    }

    /// Its name in `show drops`.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Malformed(refusal) => refusal.name(),
            other => OTHERS[other.place()].1,
        }
    }

    /// A sentence for people.
    pub fn sentence(self) -> String {
        match self {
            DropReason::Malformed(refusal) => refusal.to_string(),
            other => OTHERS[other.place()].2.to_owned(),
        }
    }
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        DropReason::Malformed(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_index_and_name() {
        let indices: Vec<usize> = DropReason::all().map(DropReason::index).collect();
        assert_eq!(indices, (0..DropReason::COUNT).collect::<Vec<_>>());
        let names: HashSet<&str> = DropReason::all().map(DropReason::name).collect();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
