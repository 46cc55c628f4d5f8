//! Checks of servers that answer their clients directly: they must answer as the VIP.
//!
//! Such a server serves a VIP that it holds on its loopback. Its own address says nothing of that: without the VIP on its
//! loopback it answers a check there all the same, and drops what clients send. So a check's packets are addressed to the
//! VIP and carried by a worker the way that requests are, with the server's MAC address, in its tunnel or under its mark
//! (`engine::Carry`). The answers come as ordinary packets from the VIP to this host's address.
//!
//! ```text
//!   Carried ──Parcel──▶ controller ──Carry──▶ worker ──▶ server (VIP on its loopback)
//!      ▲                                                   │ by its own routes, to this host's address
//!      └──── raw TCP socket, ports that listeners hold ◀───┘
//! ```
//!
//! All answers of one VIP and port look alike, whichever server they come from; they are told apart by our port alone. So
//! checks of one VIP and port that are under way together have different ports, [`CARRIED_PORTS`] at the most.

mod packet;
mod stream;
mod user_tcp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use mio::{Registry, Token};
use wire::protocol;
use wire::tcp::TcpStart;

use super::attempt::{Progress, Start};
use super::conversation::Conversation;
use super::raw::half_open::{Call, Calls, Segment};
use super::raw::quote::Undelivered;
use super::raw::secret::Secret;
use super::raw::sockets::{PortBlock, RawSocket, SourceChooser};
use super::raw::{behind_the_header, family_index, read};
use super::{Carriage, CheckId, Outcome};
use packet::{datagram, echo, packet, ports};
use stream::CarriedStream;
use user_tcp::{BYTES_KEPT, RECEIVE_BYTES};

/// Source ports of carried TCP checks, on every address of this host: behind those of half-open ones. With them, as many
/// servers of one VIP and port can be silent at the same time without holding up each other.
pub const CARRIED_PORTS: Range<u16> = 61_456..61_584;

/// Connections under way at the most. Their buffers take [`BYTES_KEPT`] each, 20 MiB in all. Checks beyond it wait for
/// their turn.
const STREAMS_MAX: usize = 1_024;
const _: () = assert!(STREAMS_MAX * BYTES_KEPT <= 21 << 20);

/// Packets that are read from a socket in one round of the loop.
const READS_MAX: usize = 256;

/// A packet as a raw socket gives it: what a window lets through may come in one piece, behind the longest headers.
const PACKET_BYTES_MAX: usize = RECEIVE_BYTES + 120;

/// A connection is looked at again after this long at the soonest.
const STEP_MIN: Duration = Duration::from_millis(1);

/// Tokens of the loop that are needed.
pub(super) const CARRIED_TOKENS: usize = 2;

/// A packet that is to be carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The VIP, which is its destination.
    pub vip: IpAddr,
    /// To which server, and how.
    pub carriage: Carriage,
    /// The IP packet.
    pub packet: Vec<u8>,
}

/// What a family's checks need of the kernel.
struct Family {
    socket: RawSocket,
    ports: PortBlock,
}

/// Something that is under way.
enum Talk {
    Stream(Box<CarriedStream>),
    HalfOpen,
}

struct UnderWay {
    id: CheckId,
    talk: Talk,
}

/// Where a packet of a connection goes, and from which address.
#[derive(Clone, Copy)]
struct Route {
    carriage: Carriage,
    source: IpAddr,
}

/// All carried checks, as far as they have no socket of their own.
pub(super) struct Carried {
    registry: Registry,
    first_token: usize,
    families: [Option<Family>; 2],
    choosers: [Option<SourceChooser>; 2],
    readable: [bool; CARRIED_TOKENS],
    under_way: HashMap<Call, UnderWay>,
    streams: usize,
    calls: Calls,
    /// Of every connection, the last of its ends: what a server says too late is answered as well.
    routes: HashMap<Call, Route>,
    secret: Secret,
    turn: u32,
    parcels: Vec<Parcel>,
}

impl Carried {
    pub(super) fn new(registry: Registry, first_token: usize) -> Self {
        Self {
            registry,
            first_token,
            families: [None, None],
            choosers: [None, None],
            readable: [false; CARRIED_TOKENS],
            under_way: HashMap::new(),
            streams: 0,
            calls: Calls::default(),
            routes: HashMap::new(),
            secret: Secret::default(),
            turn: 0,
            parcels: Vec::new(),
        }
    }

    /// Closes what the checks of these VIPs and ports need no more.
    pub(super) fn keep(&mut self, wanted: &HashSet<SocketAddr>) {
        for family in 0..CARRIED_TOKENS {
            if !wanted.iter().any(|vip| family_index(vip.ip()) == family) {
                self.families[family] = None;
                self.choosers[family] = None;
            }
        }
        self.routes.retain(|call, _| wanted.contains(&call.server));
    }

    /// What is to be carried now, once.
    pub(super) fn parcels(&mut self) -> impl Iterator<Item = Parcel> {
        self.parcels.drain(..)
    }

    /// The address that answers of the server are to come to: the one that the kernel would send to it from.
    pub(super) fn source_for(&mut self, server: IpAddr) -> io::Result<IpAddr> {
        let chooser = &mut self.choosers[family_index(server)];
        let chooser = match chooser {
            Some(chooser) => chooser,
            None => chooser.insert(SourceChooser::new(server.is_ipv4())?),
        };
        // Any port will do: nothing is sent.
        chooser.source_for(SocketAddr::new(server, protocol::UDP.into()))
    }

    /// Begins a conversation with a VIP on a server.
    pub(super) fn ask_stream(
        &mut self,
        id: CheckId,
        (vip, carriage): (SocketAddr, Carriage),
        conversation: Conversation,
        now: Instant,
    ) -> Start<Call> {
        if self.streams >= STREAMS_MAX {
            return Start::NotNow(io::Error::other("too many carried checks are under way"));
        }
        let (call, source) = match self.begin(vip, carriage) {
            Ok(begun) => begun,
            Err(start) => return start,
        };
        let ends = (SocketAddr::new(source, call.port), vip);
        let stream = CarriedStream::start(ends, conversation, self.secret.draw(), now);
        self.under_way.insert(call, UnderWay { id, talk: Talk::Stream(Box::new(stream)) });
        self.streams += 1;
        self.collect(call);
        Start::UnderWay(call)
    }

    /// Sends a SYN to a VIP on a server, and a reset when it is answered.
    pub(super) fn ask_half_open(
        &mut self,
        id: CheckId,
        (vip, carriage): (SocketAddr, Carriage),
    ) -> Start<Call> {
        let (call, source) = match self.begin(vip, carriage) {
            Ok(begun) => begun,
            Err(start) => return start,
        };
        let Some(syn) = self.calls.call(id, source, vip, &[call.port], 0) else {
            return Start::NotNow(no_port());
        };
        self.under_way.insert(call, UnderWay { id, talk: Talk::HalfOpen });
        self.send_segment(syn);
        Start::UnderWay(call)
    }

    /// Sends an echo request that was made elsewhere.
    pub(super) fn send_echo(&mut self, (vip, carriage): (IpAddr, Carriage), source: IpAddr, message: &[u8]) {
        let packet = echo((source, vip), message);
        self.parcels.push(Parcel { vip, carriage, packet });
    }

    /// Sends a datagram from a port that a socket of the kernel holds.
    pub(super) fn send_datagram(
        &mut self,
        (vip, carriage): (SocketAddr, Carriage),
        source: SocketAddr,
        payload: &[u8],
    ) {
        let packet = datagram((source, vip), payload);
        self.parcels.push(Parcel { vip: vip.ip(), carriage, packet });
    }

    /// What the server owes, in words; `true`: nothing has been heard of it.
    pub(super) fn awaited(&self, call: Call) -> (&'static str, bool) {
        match self.under_way.get(&call).map(|under_way| &under_way.talk) {
            Some(Talk::Stream(stream)) => (stream.awaited(), stream.is_connecting()),
            _ => ("SYN-ACK", true),
        }
    }

    /// Lets time pass for a check.
    pub(super) fn advance(&mut self, call: Call, now: Instant) -> Progress {
        let progress = match self.under_way.get_mut(&call).map(|under_way| &mut under_way.talk) {
            Some(Talk::Stream(stream)) => stream.advance(now),
            _ => Progress::default(),
        };
        self.collect(call);
        progress
    }

    /// When [`Carried::advance`] has something to do for a check.
    pub(super) fn next_deadline(&mut self, call: Call, now: Instant) -> Option<Instant> {
        match self.under_way.get_mut(&call).map(|under_way| &mut under_way.talk) {
            Some(Talk::Stream(stream)) => stream.next_deadline(now).map(|at| at.max(now + STEP_MIN)),
            _ => None,
        }
    }

    /// Nobody waits for a check's answer any more. A server that knows of the connection is told.
    pub(super) fn release(&mut self, call: Call) {
        if let Some(UnderWay { talk: Talk::Stream(stream), .. }) = self.under_way.get_mut(&call) {
            stream.give_up();
            self.streams -= 1;
        }
        self.collect(call);
        self.under_way.remove(&call);
        self.calls.forget(call);
    }

    /// Whether an event with this token is for these sockets; [`Carried::listen`] has something to read then.
    pub(super) fn notice(&mut self, token: Token) -> bool {
        let place = token.0.checked_sub(self.first_token);
        let readable = place.and_then(|place| self.readable.get_mut(place));
        readable.map(|readable| *readable = true).is_some()
    }

    /// Whether there may be more to read.
    pub(super) fn has_more(&self) -> bool {
        self.readable.contains(&true)
    }

    /// Reads what came, within bounds.
    pub(super) fn listen(&mut self, now: Instant, heard: &mut Vec<(CheckId, Progress)>) {
        for family in 0..CARRIED_TOKENS {
            if std::mem::take(&mut self.readable[family]) {
                self.readable[family] = self.listen_to(family, now, heard);
            }
        }
    }

    /// Whether there may be more.
    fn listen_to(&mut self, family: usize, now: Instant, heard: &mut Vec<(CheckId, Progress)>) -> bool {
        let mut buffer = [0; PACKET_BYTES_MAX];
        for _ in 0..READS_MAX {
            let Some(open) = &self.families[family] else { return false };
            let Some((from, packet)) = read(&open.socket, &mut buffer) else { return false };
            let Some(segment) = behind_the_header(packet, family) else { continue };
            heard.extend(self.take(from, segment, now));
        }
        true
    }

    /// A segment from a VIP came to one of our ports.
    fn take(&mut self, from: IpAddr, segment: &mut [u8], now: Instant) -> Option<(CheckId, Progress)> {
        let (source, destination) = ports(segment)?;
        let call = Call { server: SocketAddr::new(from, source), port: destination };
        if let Some(UnderWay { id, talk: Talk::Stream(stream) }) = self.under_way.get_mut(&call) {
            let heard = (*id, stream.receive(segment, now));
            self.collect(call);
            return Some(heard);
        }
        // What is nobody's any more is answered as what belongs to a half-open check that was given up.
        let heard = self.calls.heard(from, segment);
        heard.answers.into_iter().flatten().for_each(|answer| self.send_segment(answer));
        heard.verdict.map(|(id, outcome)| (id, Progress::over(outcome)))
    }

    /// Whose segment came to nothing.
    pub(super) fn undelivered(&mut self, what: &Undelivered) -> Option<(CheckId, Progress)> {
        if what.protocol != protocol::TCP {
            return None;
        }
        let mut start = what.start;
        let (tcp, _) = TcpStart::split(&mut start).ok()?;
        let server = SocketAddr::new(what.destination, tcp.destination_port());
        let call = Call { server, port: tcp.source_port() };
        let UnderWay { id, talk } = self.under_way.get(&call)?;
        match talk {
            // A connection that is open outlives what may be forged (RFC 9293 section 3.9.2.2).
            Talk::Stream(stream) if !(stream.is_connecting() && stream.is_first(tcp.sequence())) => None,
            Talk::Stream(_) => Some((*id, Progress::over(Outcome::Failure(what.reason.clone())))),
            Talk::HalfOpen => self.calls.undelivered(what).map(|(id, outcome)| (id, Progress::over(outcome))),
        }
    }

    /// A port for a connection with `vip`, and our address.
    fn begin(&mut self, vip: SocketAddr, carriage: Carriage) -> Result<(Call, IpAddr), Start<Call>> {
        let source = self.source_for(carriage.server).map_err(Start::failed)?;
        let family = self.open(vip.is_ipv4()).map_err(Start::NotNow)?;
        self.turn = self.turn.wrapping_add(1);
        let block = self.families[family].as_ref().map_or(&[][..], |family| family.ports.ports());
        let mut turns = (0..block.len()).map(|step| block[(self.turn as usize + step) % block.len()]);
        let port = turns.find(|&port| !self.under_way.contains_key(&Call { server: vip, port }));
        let call = Call { server: vip, port: port.ok_or_else(|| Start::NotNow(no_port()))? };
        self.routes.insert(call, Route { carriage, source });
        Ok((call, source))
    }

    fn open(&mut self, is_v4: bool) -> io::Result<usize> {
        let family = usize::from(!is_v4);
        if self.families[family].is_none() {
            // First the ports: a SYN-ACK without a listener would be reset by the kernel.
            let ports = PortBlock::hold(is_v4, CARRIED_PORTS)?;
            let token = Token(self.first_token + family);
            let socket = RawSocket::tcp(is_v4, CARRIED_PORTS, &self.registry, token)?;
            self.families[family] = Some(Family { socket, ports });
        }
        Ok(family)
    }

    /// Takes what a stream has to send.
    fn collect(&mut self, call: Call) {
        let Self { under_way, routes, parcels, .. } = self;
        let stream = under_way.get_mut(&call).map(|under_way| &mut under_way.talk);
        if let (Some(Talk::Stream(stream)), Some(route)) = (stream, routes.get(&call)) {
            let (vip, carriage) = (call.server.ip(), route.carriage);
            parcels.extend(stream.outgoing().map(|packet| Parcel { vip, carriage, packet }));
        }
    }

    /// Sends a segment of a half-open check.
    fn send_segment(&mut self, segment: Segment) {
        let Some(Route { carriage, source }) = self.routes.get(&segment.call).copied() else { return };
        let vip = segment.call.server.ip();
        let packet = packet((source, vip), protocol::TCP, &segment.bytes(source));
        self.parcels.push(Parcel { vip, carriage, packet });
    }
}

fn no_port() -> io::Error {
    io::Error::other("every port of carried checks asks this VIP and port already")
}

#[cfg(test)]
mod tests;
