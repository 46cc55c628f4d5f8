//! What all workers and the control thread share: tables of atomics and bounded queues, no lock anywhere.

use crate::mac_table::MacTable;
use crate::path_mtu::PathMtus;
use crossbeam::queue::ArrayQueue;
use flow::FlowHasher;
use flow::fragments::{DATAGRAMS, FragmentTable};
use plan::{LinkTable, Loads};
use rewrite::MemberId;
use session::sticky::StickyTable;
use session::{Quarantine, TableV4, TableV6};
use std::net::{IpAddr, SocketAddr};
use wire::Mac;

/// Reports that wait for control at the most. When it is behind, further ones are lost and asked again by later frames.
const REPORTS_MAX: usize = 1_024;

/// Frames that wait for one worker at the most.
const ORDERS_MAX: usize = 1_024;

/// Bytes of a frame that control may have sent: an announcement, never traffic.
pub const ORDER_BYTES_MAX: usize = 128;

/// Packets that wait for one worker to carry them at the most: 0.75 MiB a worker, and what two thousand TCP checks a second
/// send in 64 ms.
const CARRIES_MAX: usize = 512;

/// Bytes of a packet that control may have carried: what an Ethernet link takes in one piece.
pub const CARRY_BYTES_MAX: usize = 1_500;

/// Packets that wait for control at the most: what two ends of 64 paths send each other in a second at five a second.
const PUNTS_MAX: usize = 512;

/// How much the shared tables hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// IPv4 sessions.
    pub sessions_v4: usize,
    /// IPv6 sessions.
    pub sessions_v6: usize,
    /// Link rows.
    pub links: usize,
    /// Member rows.
    pub members: usize,
    /// Clients that are remembered.
    pub clients: usize,
}

/// The shared tables.
pub struct Shared {
    /// IPv4 sessions.
    pub sessions_v4: TableV4,
    /// IPv6 sessions.
    pub sessions_v6: TableV6,
    /// Where the bridges saw which MAC address.
    pub macs: MacTable,
    /// Fragmented datagrams under way.
    pub fragments: FragmentTable,
    /// What narrow ways to tunnels' ends carry.
    pub path_mtus: PathMtus,
    /// Where each link leads.
    pub links: LinkTable,
    /// What each member carries.
    pub loads: Loads,
    /// Where clients were that are to come back there.
    pub sticky: StickyTable,
    /// Source-NAT ports freed a short while ago.
    pub quarantine: Quarantine,
    /// What workers tell control.
    pub reports: ArrayQueue<Report>,
    /// Path probes and their answers, for control to read.
    pub punts: ArrayQueue<Punt>,
    /// Hashes flows under the appliance's secret.
    pub hasher: FlowHasher,
}

/// What a worker tells control. Lost when control is behind; whoever needs it asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Frames wait for this next hop.
    Unresolved {
        /// Index of the port that it hangs on.
        port: u16,
        /// The next hop.
        address: IpAddr,
    },
    /// A host on the link asked for an address of ours and so told its own.
    Neighbour {
        /// Index of the port that it hangs on.
        port: u16,
        /// Its address.
        address: IpAddr,
        /// Its MAC.
        mac: Mac,
    },
    /// A flow was seen over another firewall than its own, while both lived.
    Drift {
        /// Its own.
        expected: MemberId,
        /// The other one.
        seen: MemberId,
        /// IP protocol number.
        protocol: u8,
        /// Where the packet came from.
        source: SocketAddr,
        /// Where it was going.
        destination: SocketAddr,
    },
    /// Another host claims an address of ours (RFC 5227 section 2.4).
    Conflict {
        /// Index of the port that it hangs on.
        port: u16,
        /// The address.
        address: IpAddr,
        /// Its MAC.
        mac: Mac,
    },
}

/// A frame that control wants sent.
#[derive(Clone, Copy)]
pub struct Order {
    /// Index of the port.
    pub port: u16,
    length: u8,
    bytes: [u8; ORDER_BYTES_MAX],
}

/// An IP packet that control wants carried, the way that traffic would go.
#[derive(Clone, Copy)]
pub struct Carry {
    /// The row of the server or firewall.
    pub member: MemberId,
    /// What leads there.
    pub bearer: Bearer,
    length: u16,
    bytes: [u8; CARRY_BYTES_MAX],
}

/// What a packet of control's is carried by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// What leads to a server of a service whose servers answer directly: its MAC address, its tunnel, its mark.
    Server {
        /// A protocol and port that the service takes; its VIP is the packet's destination. The packet's own port may be
        /// another one.
        service: (u8, u16),
        /// The server's place in its service. Where another stands there by now, the packet is lost.
        place: u16,
    },
    /// The link to a firewall: the packet goes through it to its own destination.
    Firewall,
}

/// A packet that control is to read: a path probe of the far end, or the answer to one of this end's. Whatever is to be
/// sent in answer has been.
#[derive(Clone, Copy)]
pub struct Punt {
    /// The leg that it came in by.
    pub leg: u16,
    /// The MAC address that it came from there.
    pub mac: Mac,
    length: u16,
    bytes: [u8; CARRY_BYTES_MAX],
}

/// What control wants of one worker. A full queue takes nothing: control says it again, or keeps it until there is room.
pub struct Orders {
    /// Frames to send as they are.
    pub frames: ArrayQueue<Order>,
    /// Packets to carry.
    pub carries: ArrayQueue<Carry>,
}

/// Empty queues for one worker.
pub fn orders() -> Orders {
    Orders { frames: ArrayQueue::new(ORDERS_MAX), carries: ArrayQueue::new(CARRIES_MAX) }
}

impl Orders {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.carries.is_empty()
    }
}

impl Order {
    /// An order to send `frame`; `None` when it is longer than [`ORDER_BYTES_MAX`].
    pub fn new(port: u16, frame: &[u8]) -> Option<Self> {
        let mut bytes = [0; ORDER_BYTES_MAX];
        bytes.get_mut(..frame.len())?.copy_from_slice(frame);
        Some(Self { port, length: frame.len() as u8, bytes })
    }

    /// The frame.
    pub fn frame(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Carry {
    /// An order to carry `packet` to `member`; `None` when it is longer than [`CARRY_BYTES_MAX`].
    pub fn new(member: MemberId, bearer: Bearer, packet: &[u8]) -> Option<Self> {
        let mut bytes = [0; CARRY_BYTES_MAX];
        bytes.get_mut(..packet.len())?.copy_from_slice(packet);
        Some(Self { member, bearer, length: packet.len() as u16, bytes })
    }

    /// The packet.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Punt {
    /// A copy of `packet`, which came in at `leg` from `mac`; `None` when it is longer than [`CARRY_BYTES_MAX`].
    pub fn new(leg: u16, mac: Mac, packet: &[u8]) -> Option<Self> {
        let mut bytes = [0; CARRY_BYTES_MAX];
        bytes.get_mut(..packet.len())?.copy_from_slice(packet);
        Some(Self { leg, mac, length: packet.len() as u16, bytes })
    }

    /// The IP packet.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Shared {
    /// Tables of these sizes, all memory taken now.
    pub fn new(sizes: Sizes, hasher: FlowHasher) -> Self {
        Self {
            sessions_v4: TableV4::with_capacity(sizes.sessions_v4),
            sessions_v6: TableV6::with_capacity(sizes.sessions_v6),
            macs: MacTable::new(hasher),
            fragments: FragmentTable::with_capacity(DATAGRAMS),
            path_mtus: PathMtus::new(hasher),
            links: LinkTable::new(sizes.links),
            loads: Loads::new(sizes.members),
            sticky: StickyTable::with_capacity(sizes.clients),
            quarantine: Quarantine::default(),
            reports: ArrayQueue::new(REPORTS_MAX),
            punts: ArrayQueue::new(PUNTS_MAX),
            hasher,
        }
    }

    /// Tables of their own for a few sessions and fragments: links, stations and loads are known there as they are here
    /// now, and no session is.
    pub(crate) fn detached(&self, sessions: usize) -> Self {
        Self {
            sessions_v4: TableV4::with_capacity(sessions),
            sessions_v6: TableV6::with_capacity(sessions),
            macs: self.macs.detached(),
            fragments: FragmentTable::with_capacity(1),
            path_mtus: PathMtus::new(self.hasher),
            links: self.links.detached(),
            loads: self.loads.detached(),
            sticky: StickyTable::with_capacity(1),
            quarantine: Quarantine::default(),
            reports: ArrayQueue::new(REPORTS_MAX),
            punts: ArrayQueue::new(PUNTS_MAX),
            hasher: self.hasher,
        }
    }
}
