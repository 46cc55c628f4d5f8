//! Checks without a socket of their own: ICMP echo and half-open TCP, and what ICMP says of our packets.
//!
//! One raw socket per family and protocol serves all checks of its kind, so their number costs no descriptors. They are
//! opened with the first check that needs them and closed with the last. Answers find their check by a table
//! ([`echo`], [`half_open`], [`datagrams`]), all of which hold only what is waited for.
//!
//! A wake-up reads at most [`READS_MAX`] packets, and goes on in the next round of the loop: whoever floods this host
//! with what looks like answers holds up his own kind of check, not the loop.

mod datagrams;
mod echo;
pub(super) mod half_open;
pub(super) mod quote;
pub(super) mod secret;
pub(super) mod sockets;

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::{Registry, Token};
use wire::ipv4::Ipv4;

use super::attempt::Start;
use super::{CheckId, Outcome, Reason};
use datagrams::{Datagram, Datagrams};
use echo::{ECHO_BYTES, Echoes};
use half_open::{Call, Calls, Segment};
use quote::{Undelivered, undelivered};
use sockets::{PACKET_BYTES_MAX, PortBlock, RawSocket, SourceChooser};

pub use sockets::HALF_OPEN_PORTS;

/// Packets that are read from a socket in one round of the loop.
const READS_MAX: usize = 256;

/// Questions after which the sockets are looked at before more are asked, so that the answers to a burst of checks
/// do not overflow what a socket holds.
pub(super) const ASKED_AT_ONCE_MAX: usize = 64;

/// Tokens of the loop that are needed.
pub(super) const RAW_TOKENS: usize = 4;

/// A question that is out, to be told when nobody waits for its answer any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(Question);

#[derive(Clone, Copy, Debug)]
enum Question {
    Echo(u16),
    Call(Call),
}

impl Asked {
    /// What the server owes, in words.
    pub(super) fn awaited(self) -> &'static str {
        match self.0 {
            Question::Echo(_) => "echo reply",
            Question::Call(_) => "SYN-ACK",
        }
    }
}

/// Something heard of a check.
#[derive(Debug)]
pub(super) enum Heard {
    /// It has its answer.
    Verdict(CheckId, Outcome),
    /// The datagram of its last time did not arrive.
    Undelivered(CheckId, Reason),
    /// A segment that is none of a raw socket's did not arrive.
    Lost(Undelivered),
}

/// Which sockets some check needs, per family: IPv4, IPv6.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    pub(super) icmp: [bool; 2],
    pub(super) tcp: [bool; 2],
}

/// What half-open checks of one family need.
struct HalfOpen {
    socket: RawSocket,
    ports: PortBlock,
    chooser: SourceChooser,
}

/// The shared sockets and what is waited for on them.
pub(super) struct Raw {
    registry: Registry,
    first_token: usize,
    icmp: [Option<RawSocket>; 2],
    half_open: [Option<HalfOpen>; 2],
    /// Which sockets may have something to read, as tokens are numbered.
    readable: [bool; RAW_TOKENS],
    asked: usize,
    echoes: Echoes,
    calls: Calls,
    datagrams: Datagrams,
}

impl Raw {
    pub(super) fn new(registry: Registry, first_token: usize) -> Self {
        Self {
            registry,
            first_token,
            icmp: [None, None],
            half_open: [None, None],
            readable: [false; RAW_TOKENS],
            asked: 0,
            echoes: Echoes::new(),
            calls: Calls::default(),
            datagrams: Datagrams::default(),
        }
    }

    /// Closes what nobody needs any more.
    pub(super) fn keep(&mut self, needs: Needs) {
        for family in 0..2 {
            if !needs.icmp[family] {
                self.icmp[family] = None;
            }
            if !needs.tcp[family] {
                self.half_open[family] = None;
            }
        }
    }

    /// Sends an echo request.
    pub(super) fn ask_echo(&mut self, id: CheckId, address: IpAddr) -> Start<Asked> {
        if let Err(error) = self.open_icmp(address.is_ipv4()) {
            return Start::NotNow(error);
        }
        let Some((sequence, message)) = self.echoes.ask(id, address) else {
            return Start::NotNow(too_many_echoes());
        };
        self.asked += 1;
        let socket = self.icmp[family_index(address)].as_ref();
        match socket.map_or(Ok(()), |socket| socket.send(address, &message)) {
            Ok(()) => Start::UnderWay(Asked(Question::Echo(sequence))),
            Err(error) => {
                self.echoes.forget(sequence);
                Start::failed(error)
            }
        }
    }

    /// Makes an echo request that somebody else is to send; its reply is heard here.
    pub(super) fn echo_to_carry(
        &mut self,
        id: CheckId,
        address: IpAddr,
    ) -> io::Result<(Asked, [u8; ECHO_BYTES])> {
        self.open_icmp(address.is_ipv4())?;
        let (sequence, message) = self.echoes.ask(id, address).ok_or_else(too_many_echoes)?;
        Ok((Asked(Question::Echo(sequence)), message))
    }

    /// Listens to what ICMP says of packets of this family, whoever has sent them.
    pub(super) fn hear_errors(&mut self, is_v4: bool) -> io::Result<()> {
        self.open_icmp(is_v4)
    }

    /// Sends a SYN. The `round` of a check says which of the ports has its turn.
    pub(super) fn ask_half_open(&mut self, id: CheckId, server: SocketAddr, round: u32) -> Start<Asked> {
        let is_v4 = server.is_ipv4();
        // Errors about the SYN come by ICMP.
        if let Err(error) = self.open_icmp(is_v4).and_then(|()| self.open_half_open(is_v4)) {
            return Start::NotNow(error);
        }
        let Some(half_open) = &self.half_open[family_index(server.ip())] else {
            return Start::NotNow(io::ErrorKind::NotFound.into());
        };
        let source = match half_open.chooser.source_for(server) {
            Ok(source) => source,
            Err(error) => return Start::failed(error),
        };
        let Some(syn) = self.calls.call(id, source, server, half_open.ports.ports(), round) else {
            return Start::NotNow(io::Error::other(
                "every port of half-open checks asks this server already",
            ));
        };
        self.asked += 1;
        match half_open.socket.send(server.ip(), &syn.bytes(source)) {
            Ok(()) => Start::UnderWay(Asked(Question::Call(syn.call))),
            Err(error) => {
                self.calls.forget(syn.call);
                Start::failed(error)
            }
        }
    }

    /// A check has sent a datagram that needs no answer: what ICMP says of it is to be heard. Gives what
    /// [`Raw::forget_datagram`] needs.
    pub(super) fn watch_datagram(&mut self, id: CheckId, server: SocketAddr, source_port: u16) -> Watched {
        if let Err(error) = self.open_icmp(server.is_ipv4()) {
            tracing::debug!(%error, "what ICMP says of datagrams is not heard");
        }
        let datagram = Datagram { server, source_port };
        self.datagrams.sent(id, datagram);
        Watched(datagram)
    }

    /// The check has sent another, or is gone.
    pub(super) fn forget_datagram(&mut self, watched: Watched) {
        self.datagrams.forget(watched.0);
    }

    /// Nobody waits for the answer any more.
    pub(super) fn forget(&mut self, asked: Asked) {
        match asked.0 {
            Question::Echo(sequence) => self.echoes.forget(sequence),
            Question::Call(call) => self.calls.forget(call),
        }
    }

    /// An event for this token came: [`Raw::listen`] has something to read, if it is one of these sockets'.
    pub(super) fn notice(&mut self, token: Token) {
        let place = token.0.checked_sub(self.first_token);
        if let Some(readable) = place.and_then(|place| self.readable.get_mut(place)) {
            *readable = true;
        }
    }

    /// So much has been asked that the answers want to be read.
    pub(super) fn is_talkative(&self) -> bool {
        self.asked >= ASKED_AT_ONCE_MAX
    }

    /// Whether there may be more to read.
    pub(super) fn has_more(&self) -> bool {
        self.readable.contains(&true)
    }

    /// Reads what came, within bounds.
    pub(super) fn listen(&mut self, heard: &mut Vec<Heard>) {
        if self.is_talkative() {
            self.asked = 0;
            self.readable = [true; RAW_TOKENS];
        }
        for place in 0..RAW_TOKENS {
            if std::mem::take(&mut self.readable[place]) {
                self.readable[place] = if place < 2 {
                    self.listen_to_icmp(place, heard)
                } else {
                    self.listen_to_tcp(place - 2, heard)
                };
            }
        }
    }

    /// Whether there may be more.
    fn listen_to_icmp(&mut self, family: usize, heard: &mut Vec<Heard>) -> bool {
        let mut buffer = [0; PACKET_BYTES_MAX];
        for _ in 0..READS_MAX {
            let Some(socket) = &self.icmp[family] else { return false };
            let Some((from, packet)) = read(socket, &mut buffer) else { return false };
            let Some(message) = behind_the_header(packet, family) else { continue };
            if let Some((id, outcome)) = self.echoes.reply(from, message) {
                heard.push(Heard::Verdict(id, outcome));
            } else if let Some(what) = undelivered(message, family == 0) {
                let verdict = self.echoes.undelivered(&what).or_else(|| self.calls.undelivered(&what));
                heard.extend(verdict.map(|(id, outcome)| Heard::Verdict(id, outcome)));
                let late = self.datagrams.undelivered(&what);
                heard.extend(late.map(|(id, reason)| Heard::Undelivered(id, reason)));
                heard.push(Heard::Lost(what));
            }
        }
        true
    }

    /// Whether there may be more.
    fn listen_to_tcp(&mut self, family: usize, heard: &mut Vec<Heard>) -> bool {
        let mut buffer = [0; PACKET_BYTES_MAX];
        for _ in 0..READS_MAX {
            let Some(half_open) = &self.half_open[family] else { return false };
            let Some((from, packet)) = read(&half_open.socket, &mut buffer) else { return false };
            let Some(segment) = behind_the_header(packet, family) else { continue };
            let answer = self.calls.heard(from, segment);
            for segment in answer.answers.into_iter().flatten() {
                if let Err(error) = half_open.answer(segment) {
                    tracing::debug!(%error, "a segment of a half-open check cannot be sent");
                }
            }
            heard.extend(answer.verdict.map(|(id, outcome)| Heard::Verdict(id, outcome)));
        }
        true
    }

    fn open_icmp(&mut self, is_v4: bool) -> io::Result<()> {
        let family = usize::from(!is_v4);
        if self.icmp[family].is_none() {
            let token = Token(self.first_token + family);
            let socket = RawSocket::icmp(is_v4, self.echoes.identifier(), &self.registry, token)?;
            self.icmp[family] = Some(socket);
        }
        Ok(())
    }

    fn open_half_open(&mut self, is_v4: bool) -> io::Result<()> {
        let family = usize::from(!is_v4);
        if self.half_open[family].is_none() {
            // First the ports: a SYN-ACK without a listener would be reset by the kernel.
            let ports = PortBlock::hold(is_v4, HALF_OPEN_PORTS)?;
            let chooser = SourceChooser::new(is_v4)?;
            let token = Token(self.first_token + 2 + family);
            let socket = RawSocket::tcp(is_v4, HALF_OPEN_PORTS, &self.registry, token)?;
            self.half_open[family] = Some(HalfOpen { socket, ports, chooser });
        }
        Ok(())
    }
}

/// A datagram whose fate is listened for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched(Datagram);

impl HalfOpen {
    fn answer(&self, segment: Segment) -> io::Result<()> {
        let server = segment.call.server;
        let source = segment.source.map_or_else(|| self.chooser.source_for(server), Ok)?;
        self.socket.send(server.ip(), &segment.bytes(source))
    }
}

fn too_many_echoes() -> io::Error {
    io::Error::other("65,536 echo requests are waiting for their replies")
}

pub(super) fn family_index(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

pub(super) fn read<'a>(socket: &RawSocket, buffer: &'a mut [u8]) -> Option<(IpAddr, &'a mut [u8])> {
    socket.receive(buffer).unwrap_or_else(|error| {
        tracing::debug!(%error, "a raw socket cannot be read");
        None
    })
}

/// A raw IPv4 socket gives the IP header too (raw(7)), one of IPv6 does not (RFC 3542, 3).
pub(super) fn behind_the_header(packet: &mut [u8], family: usize) -> Option<&mut [u8]> {
    if family == 0 { Ipv4::split(packet).ok().map(|split| split.payload) } else { Some(packet) }
}
