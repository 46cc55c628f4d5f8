//! One TCP connection that the kernel knows nothing of: packets in, packets out, time a parameter.
//!
//! The kernel cannot open it: its own packets to a VIP would go nowhere, since the appliance owns that address and its
//! servers hold it without answering for it on the link. So smoltcp keeps the connection, and whoever holds it carries the
//! packets. One value is one connection with an interface and buffers of its own, [`BYTES_KEPT`] in all; it is made for one
//! check and thrown away with it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant as Micros};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::protocol;

use super::packet::{is_whole, packet, ports, sequence};

/// The longest packet of ours, and, by the segment size that is announced, of theirs. It fits every tunnel over Ethernet
/// and every IPv6 link (RFC 8200 section 5), so that no check fails for its length.
const PACKET_BYTES_MAX: usize = 1_280;

/// What a server may have sent without our having read it.
pub(super) const RECEIVE_BYTES: usize = 8 << 10;

/// What we may have said without its having been acknowledged.
const SEND_BYTES: usize = 2 << 10;

/// Packets that one step makes at the most: what fits the send buffer in the smallest segments, and an acknowledgement for
/// each packet that came.
const OUTGOING_MAX: usize = 8;

/// Memory of one connection beside smoltcp's own records.
pub(super) const BYTES_KEPT: usize = RECEIVE_BYTES + SEND_BYTES + OUTGOING_MAX * PACKET_BYTES_MAX;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The SYN is out.
    Connecting,
    /// The handshake is whole; the peer may have said that it will say no more.
    Open,
    /// The connection is over: closed from both sides, reset or given up.
    Closed,
}

/// One connection.
pub(super) struct UserTcp {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    link: Link,
    origin: Instant,
    /// When something was last done here.
    now: Instant,
    ends: (SocketAddr, SocketAddr),
    /// The number of our SYN.
    first_sequence: Option<u32>,
}

impl UserTcp {
    /// Begins a connection from `local` to `remote`, which are of one family and unicast; the SYN is among the first
    /// [outgoing](Self::outgoing) packets. `seed` decides the initial sequence number: nobody may be able to foretell it
    /// (RFC 9293 section 3.4.1).
    pub(super) fn connect(local: SocketAddr, remote: SocketAddr, seed: u64, now: Instant) -> Self {
        let mut link = Link::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut link, Micros::ZERO);
        let address = IpAddress::from(local.ip());
        // Everything is on the link, so that no route is needed. There is room for one address at the least.
        interface.update_ip_addrs(|addresses| addresses.extend([IpCidr::new(address, 0)]));
        let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(RECEIVE_BYTES), buffer(SEND_BYTES));
        // A check waits for each answer: nothing is gained by waiting for more to send with it.
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        // Fails for a port or an address of zero only: then nothing is sent, and the connection is closed already.
        let _state = socket.connect(interface.context(), remote, local);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let socket = sockets.add(socket);
        let ends = (local, remote);
        let mut this =
            Self { interface, sockets, socket, link, origin: now, now, ends, first_sequence: None };
        this.advance(now);
        let header_bytes = if local.is_ipv4() { Ipv4::LENGTH } else { Ipv6::LENGTH };
        let syn = this.link.outgoing.front().and_then(|packet| packet.get(header_bytes..));
        this.first_sequence = syn.and_then(sequence);
        this
    }

    /// Where the connection stands.
    pub(super) fn state(&self) -> State {
        match self.socket().state() {
            tcp::State::SynSent | tcp::State::SynReceived | tcp::State::Listen => State::Connecting,
            // Both have said their last: nothing but a repetition could come.
            tcp::State::Closed | tcp::State::TimeWait => State::Closed,
            _ => State::Open,
        }
    }

    /// Whether `sequence` is the number of our SYN.
    pub(super) fn is_first(&self, sequence: u32) -> bool {
        self.first_sequence == Some(sequence)
    }

    /// Takes a TCP segment that came from the peer's address to ours. One whose checksum is wrong, or whose ports are
    /// others', is nothing.
    pub(super) fn receive(&mut self, segment: &[u8], now: Instant) {
        let (local, remote) = self.ends;
        if ports(segment) == Some((remote.port(), local.port())) && is_whole(segment, remote.ip(), local.ip())
        {
            self.link.incoming = Some(packet((remote.ip(), local.ip()), protocol::TCP, segment));
            self.advance(now);
        }
    }

    /// Lets time pass, and sends what has been [written](Self::write) since.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = now;
        let now = self.micros(now);
        self.interface.poll(now, &mut self.link, &mut self.sockets);
    }

    /// The packets that are to be carried now, once.
    pub(super) fn outgoing(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.link.outgoing.drain(..)
    }

    /// When [`UserTcp::advance`] has something to do: a packet was lost.
    pub(super) fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(self.micros(now), &self.sockets)?;
        let origin = self.origin;
        Some(origin + std::time::Duration::from_micros(at.total_micros().try_into().unwrap_or_default()))
    }

    /// Writes as much of `bytes` as there is room for, and says how much that was.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        self.socket_mut().send_slice(bytes).unwrap_or(0)
    }

    /// Reads what has come; zero when nothing is there now.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        self.socket_mut().recv_slice(buffer).unwrap_or(0)
    }

    /// Whether the peer will say no more, and all that it said has been read.
    pub(super) fn is_at_end(&self) -> bool {
        !self.socket().may_recv()
    }

    /// Sends a FIN behind what has been written.
    pub(super) fn close(&mut self) {
        self.socket_mut().close();
    }

    /// Gives the connection up. A peer that knows of it is told by a reset, which is among the outgoing packets.
    pub(super) fn abort(&mut self) {
        if self.state() == State::Open {
            self.socket_mut().abort();
            self.advance(self.now);
        }
    }

    fn socket(&self) -> &tcp::Socket<'static> {
        self.sockets.get(self.socket)
    }

    fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    fn micros(&self, now: Instant) -> Micros {
        Micros::ZERO + Duration::from(now.saturating_duration_since(self.origin))
    }
}

/// What stands between smoltcp and whoever carries the packets.
#[derive(Default)]
pub(super) struct Link {
    pub(super) incoming: Option<Vec<u8>>,
    pub(super) outgoing: VecDeque<Vec<u8>>,
}

impl Device for Link {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _now: Micros) -> Option<(Arrived, Room<'_>)> {
        let packet = self.incoming.take()?;
        // An answer to it has room: outgoing packets are taken after each step.
        Some((Arrived(packet), Room(&mut self.outgoing)))
    }

    fn transmit(&mut self, _now: Micros) -> Option<Room<'_>> {
        (self.outgoing.len() < OUTGOING_MAX).then_some(Room(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = PACKET_BYTES_MAX;
        let mut checksum = ChecksumCapabilities::default();
        // Looked at before: see `is_whole`.
        (checksum.ipv4, checksum.tcp) = (Checksum::Tx, Checksum::Tx);
        capabilities.checksum = checksum;
        capabilities
    }
}

pub(super) struct Arrived(Vec<u8>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

pub(super) struct Room<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}
