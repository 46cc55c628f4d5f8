//! The sockets of checks that need one of their own, bounded in number.

use std::net::{IpAddr, SocketAddr};

use config::UdpRequest;
use mio::event::Event;
use mio::{Registry, Token};

use super::CheckId;
use super::attempt::{Progress, Start};
use super::conversation::Conversation;
use super::stream::StreamProbe;
use super::udp::UdpProbe;

/// What a check does on its socket.
enum Probing {
    Stream(StreamProbe),
    Datagram(UdpProbe),
}

/// A bounded number of sockets, each with a token of the loop.
pub(super) struct Pool {
    registry: Registry,
    first_token: usize,
    sockets_max: usize,
    /// Who uses the socket of each token, as far as tokens have been needed.
    slots: Vec<Option<(CheckId, Probing)>>,
    free: Vec<usize>,
}

impl Pool {
    pub(super) fn new(registry: Registry, first_token: usize, sockets_max: usize) -> Self {
        Self { registry, first_token, sockets_max, slots: Vec::new(), free: Vec::new() }
    }

    /// How many sockets are in use.
    pub(super) fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether a check can start now.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < self.sockets_max
    }

    /// Begins a conversation; gives its place. Only while there is room.
    pub(super) fn start_stream(
        &mut self,
        id: CheckId,
        server: SocketAddr,
        conversation: Conversation,
    ) -> Start<usize> {
        let (slot, token) = self.slot();
        let start = StreamProbe::start(server, conversation, &self.registry, token);
        self.keep(id, slot, start.map(Probing::Stream))
    }

    /// Sends a datagram; gives its place. Only while there is room.
    pub(super) fn start_datagram(
        &mut self,
        id: CheckId,
        server: SocketAddr,
        request: &UdpRequest,
    ) -> Start<usize> {
        let (slot, token) = self.slot();
        let start = UdpProbe::start(server, request, &self.registry, token);
        self.keep(id, slot, start.map(Probing::Datagram))
    }

    /// Waits at `source` for the answer to a datagram that somebody else sends; gives its place. Only while there is room.
    pub(super) fn await_datagram(
        &mut self,
        id: CheckId,
        source: IpAddr,
        server: SocketAddr,
        request: &UdpRequest,
    ) -> Start<usize> {
        let (slot, token) = self.slot();
        let start = UdpProbe::wait(source, server, request, &self.registry, token);
        self.keep(id, slot, start.map(Probing::Datagram))
    }

    fn slot(&mut self) -> (usize, Token) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        (slot, Token(self.first_token + slot))
    }

    fn keep(&mut self, id: CheckId, slot: usize, start: Start<Probing>) -> Start<usize> {
        if !matches!(start, Start::UnderWay(_)) {
            self.free.push(slot);
        }
        start.map(|probing| {
            self.slots[slot] = Some((id, probing));
            slot
        })
    }

    /// Takes an event: whose it is, and what it brought.
    pub(super) fn handle(&mut self, event: &Event) -> Option<(CheckId, Progress)> {
        let slot = event.token().0.checked_sub(self.first_token)?;
        let (id, probing) = self.slots.get_mut(slot)?.as_mut()?;
        let progress = match probing {
            Probing::Stream(probe) => probe.ready(event),
            Probing::Datagram(probe) => probe.ready(),
        };
        Some((*id, progress))
    }

    /// What the server owes, in words.
    pub(super) fn awaited(&self, slot: usize) -> &'static str {
        match self.slots.get(slot) {
            Some(Some((_, Probing::Stream(probe)))) => probe.awaited(),
            _ => "answer",
        }
    }

    /// Where a datagram came from.
    pub(super) fn source(&self, slot: usize) -> Option<SocketAddr> {
        match self.slots.get(slot) {
            Some(Some((_, Probing::Datagram(probe)))) => probe.source(),
            _ => None,
        }
    }

    /// Closes a socket. Closing takes it out of the poll as well.
    pub(super) fn close(&mut self, slot: usize) {
        if self.slots.get_mut(slot).is_some_and(|slot| slot.take().is_some()) {
            self.free.push(slot);
        }
    }
}
