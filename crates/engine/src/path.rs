//! What a packet meets on its way through one turn, for one address family.

use crate::counters::WorkerCounters;
use crate::expect::Expected;
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::shared::Shared;
use arrayvec::ArrayVec;
use flow::{Family, FlowKey, Network, Packet, V4, V6};
use plan::{FamilyPlan, Plan};
use port::BURST_FRAMES_MAX;
use rewrite::{Translation, Words};
use session::Table;
use std::net::IpAddr;

/// What is to become of a frame, before the frame itself is touched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is rewritten: send it there.
    Send(Egress),
    /// Do what stands at that place of [`crate::scratch::Scratch::wrappings`], then send it there.
    Wrap(Egress, u8),
    /// Turn it into an answer to its sender.
    Answer(Answer),
    /// It is an ICMP error that may be about a session: see what it quotes.
    Quoting,
    /// It opens a session that is stored when the burst is through: [`crate::expect`].
    Expected,
    /// It is for one of our probe addresses.
    Probe,
    /// It could not be parsed. A bridge passes it on if it is not for us; everybody else drops it.
    Malformed(DropReason),
    /// Drop it.
    Drop(DropReason),
    /// Keep it until this next hop is known.
    Park {
        /// The leg that the next hop hangs on, by port index.
        port: u16,
        /// The next hop.
        next_hop: IpAddr,
    },
    /// Keep it until the first piece of its datagram has come.
    AwaitFirst {
        /// The hash of its source, of which only so many pieces wait.
        source: u64,
    },
}

/// Where a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Egress {
    /// By this port.
    Port(u16),
    /// To the host, by the host leg of this port or bridge.
    Host(u16),
    /// By every member of a bridge: nobody knows where its destination is.
    Flood {
        /// The bridge, by port index.
        bridge: u16,
        /// The member that it came in by; [`NO_PORT`] where it may go there too.
        except: u16,
        /// Whether the host gets it too.
        host: bool,
    },
}

/// No port has this index.
pub(crate) const NO_PORT: u16 = u16::MAX;

impl From<DropReason> for Step {
    fn from(reason: DropReason) -> Self {
        Step::Drop(reason)
    }
}

/// What a frame is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An ARP reply.
    Arp,
    /// A neighbour advertisement.
    Neighbour,
    /// An echo reply.
    Echo,
    /// A TCP reset (RFC 9293 section 3.10.7.1).
    Reset,
    /// ICMP port unreachable.
    PortUnreachable,
    /// ICMP host or address unreachable.
    HostUnreachable,
    /// ICMP network unreachable, no route.
    NetworkUnreachable,
    /// ICMP time exceeded.
    TimeExceeded,
    /// ICMP fragmentation needed, or packet too big.
    TooBig {
        /// What the next link carries.
        mtu_bytes: u16,
    },
}

/// What is the same for every packet of a turn.
#[derive(Clone, Copy)]
pub(crate) struct World<'w> {
    pub plan: &'w Plan,
    pub shared: &'w Shared,
    pub counters: &'w WorkerCounters,
    pub now_ns: u64,
    pub tick: u32,
}

/// The same, seen by one family with its table and its part of the plan.
///
/// The constants are the table's: words of a key, words of a translation, cache lines of a slot.
pub(crate) struct Path<'w, F: Family, const KEY: usize, const PAYLOAD: usize, const LINES: usize> {
    pub world: &'w World<'w>,
    pub table: &'w Table<KEY, PAYLOAD, LINES>,
    pub view: &'w FamilyPlan<F>,
}

/// A family whose keys and translations fit a table of these dimensions.
pub(crate) trait Fits<const KEY: usize, const PAYLOAD: usize>:
    Family<Key: FlowKey<Words = [u64; KEY]>>
{
    fn words(translation: &Translation<Self>) -> [u64; PAYLOAD];
    fn translation(words: &[u64; PAYLOAD]) -> Translation<Self>;
    const LINK_WORD: usize;
    /// The sessions of this family that the burst is about to open.
    fn expected(scratch: &mut Scratch) -> &mut ArrayVec<Expected<Self>, BURST_FRAMES_MAX>;
    /// The packet of this family in a frame, if that is what the frame carries.
    fn packet<'n, 'a>(network: &'n mut Network<'a>) -> Option<&'n mut Packet<'a, Self>>;
}

impl Fits<2, 3> for V4 {
    #[inline]
    fn words(translation: &Translation<V4>) -> [u64; 3] {
        translation.to_words()
    }

    #[inline]
    fn translation(words: &[u64; 3]) -> Translation<V4> {
        Translation::from_words(words)
    }

    const LINK_WORD: usize = <Translation<V4> as Words>::LINK_WORD;

    fn expected(scratch: &mut Scratch) -> &mut ArrayVec<Expected<V4>, BURST_FRAMES_MAX> {
        &mut scratch.expectations.v4
    }

    fn packet<'n, 'a>(network: &'n mut Network<'a>) -> Option<&'n mut Packet<'a, V4>> {
        match network {
            Network::V4(packet) => Some(packet),
            _ => None,
        }
    }
}

impl Fits<5, 8> for V6 {
    #[inline]
    fn words(translation: &Translation<V6>) -> [u64; 8] {
        translation.to_words()
    }

    #[inline]
    fn translation(words: &[u64; 8]) -> Translation<V6> {
        Translation::from_words(words)
    }

    const LINK_WORD: usize = <Translation<V6> as Words>::LINK_WORD;

    fn expected(scratch: &mut Scratch) -> &mut ArrayVec<Expected<V6>, BURST_FRAMES_MAX> {
        &mut scratch.expectations.v6
    }

    fn packet<'n, 'a>(network: &'n mut Network<'a>) -> Option<&'n mut Packet<'a, V6>> {
        match network {
            Network::V6(packet) => Some(packet),
            _ => None,
        }
    }
}

pub(crate) type PathV4<'w> = Path<'w, V4, 2, 3, 1>;
pub(crate) type PathV6<'w> = Path<'w, V6, 5, 8, 2>;

impl World<'_> {
    /// Now, in microseconds that wrap after 71 minutes.
    pub fn now_us(&self) -> u32 {
        (self.now_ns / 1_000) as u32
    }

    pub fn v4(&self) -> PathV4<'_> {
        Path { world: self, table: &self.shared.sessions_v4, view: &self.plan.v4 }
    }

    pub fn v6(&self) -> PathV6<'_> {
        Path { world: self, table: &self.shared.sessions_v6, view: &self.plan.v6 }
    }
}
