//! A whole session as plain data: both sides together, as they were at one moment.

use crate::{
    slot::Contents,
    state::{State, Timeouts},
    table::Hit,
    word::{Direction, SlotIndex},
};

/// One side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side<const KEY: usize, const PAYLOAD: usize> {
    /// Its slot.
    pub slot: SlotIndex,
    /// The key of its direction.
    pub key: [u64; KEY],
    /// The payload of its direction.
    pub payload: [u64; PAYLOAD],
    /// Activity and progress of its direction.
    pub direction: Direction,
}

impl<const KEY: usize, const PAYLOAD: usize> Side<KEY, PAYLOAD> {
    pub(crate) fn new(slot: SlotIndex, contents: &Contents<KEY, PAYLOAD>) -> Self {
        Self { slot, key: contents.key, payload: contents.payload, direction: contents.direction }
    }
}

/// A session: what [`Table::sweep`](crate::Table::sweep) and its kin show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session<const KEY: usize, const PAYLOAD: usize> {
    /// The birth number that both sides share; with the client's slot it names the session.
    pub birth: u16,
    /// The side that clients' packets hit.
    pub client: Side<KEY, PAYLOAD>,
    /// The side that servers' packets hit.
    pub server: Side<KEY, PAYLOAD>,
}

impl<const KEY: usize, const PAYLOAD: usize> Session<KEY, PAYLOAD> {
    /// Its state.
    pub fn state(&self) -> State {
        State::of(self.client.direction.activity.flags(), self.server.direction.activity.flags())
    }

    /// Ticks since a packet of either direction.
    pub fn idle_ticks(&self, now_tick: u32) -> u32 {
        let [client, server] =
            [self.client, self.server].map(|side| side.direction.activity.idle_ticks(now_tick));
        client.min(server)
    }

    /// Whether it has been silent for longer than its state allows.
    pub fn is_expired(&self, now_tick: u32, timeouts: &Timeouts) -> bool {
        self.idle_ticks(now_tick) > timeouts.of(self.state())
    }

    /// Whether a full table may give it up: half-open, closing, reset, or not TCP and never answered.
    pub fn may_be_evicted(&self) -> bool {
        match self.state() {
            State::TcpEstablished => false,
            State::TcpTransitory | State::TcpClosing | State::Reset => true,
            State::Udp | State::Icmp => self.server.direction.progress.packets() == 0,
        }
    }

    /// Its client side as a hit, as `find` would return it.
    pub fn client_hit(&self) -> Hit<PAYLOAD> {
        Self::hit(&self.client, self.server.slot, self.birth)
    }

    /// Its server side as a hit.
    pub fn server_hit(&self) -> Hit<PAYLOAD> {
        Self::hit(&self.server, self.client.slot, self.birth)
    }

    fn hit(side: &Side<KEY, PAYLOAD>, peer: SlotIndex, birth: u16) -> Hit<PAYLOAD> {
        Hit { slot: side.slot, birth, peer, payload: side.payload, direction: side.direction }
    }
}
