//! Connections that stay open to a [`crate::TcpHold`] server, to see which of them live through what happens.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::report::Failure;
use crate::address::lab_address;
use crate::error::Result;
use crate::namespace::Namespace;

/// Open connections; see the module. Dropped, they end with a FIN.
#[derive(Debug)]
pub struct HeldConnections {
    connections: Vec<Held>,
    round: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Held {
    stream: TcpStream,
    received: Vec<u8>,
}

/// How a held connection is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldState {
    /// Its server, by name, has answered.
    Alive(String),
    /// Nothing was heard: neither an answer nor an end.
    Silent,
    /// The other end has closed it in order.
    Closed,
    /// It was reset.
    Reset,
    /// It ended otherwise.
    Failed(Failure),
}

impl HeldConnections {
    pub(super) fn of(connections: Vec<Held>) -> Self {
        Self { connections, round: 0 }
    }

    /// Opens `count` connections from a namespace, one after the other, each within `timeout`. The first
    /// failure ends it and closes those that were open.
    pub fn open(
        namespace: &Namespace,
        target: SocketAddr,
        count: usize,
        timeout: Duration,
    ) -> Result<Result<Self, Failure>> {
        lab_address(target.ip())?;
        let connect = || -> Result<Vec<Held>, Failure> {
            let one = |_| Ok(Held::new(TcpStream::connect_timeout(&target, timeout)?));
            (0..count).map(one).collect()
        };
        Ok(namespace.run(connect)?.map(Self::of))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The client's end of each connection.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.connections.iter().filter_map(|held| held.stream.local_addr().ok()).collect()
    }

    /// Closes those that `chosen` names by their places, and keeps the others in their order.
    pub fn close(&mut self, chosen: impl Fn(usize) -> bool) {
        let connections = std::mem::take(&mut self.connections).into_iter().enumerate();
        self.connections = connections.filter(|(place, _)| !chosen(*place)).map(|(_, held)| held).collect();
    }

    /// Takes in the connections of another.
    pub fn append(&mut self, other: Self) {
        self.round = self.round.max(other.round);
        self.connections.extend(other.connections);
    }

    /// Sends a line over each connection, then waits for all the answers, `timeout` in all.
    pub fn probe(&mut self, timeout: Duration) -> Vec<HeldState> {
        self.probe_with(0, timeout)
    }

    /// The same with lines that are so many bytes longer, as the answers are.
    pub fn probe_with(&mut self, padding_bytes: usize, timeout: Duration) -> Vec<HeldState> {
        self.round += 1;
        let round = self.round;
        let asked: Vec<io::Result<()>> =
            self.connections.iter_mut().map(|held| held.send(round, padding_bytes, timeout)).collect();
        let deadline = Instant::now() + timeout;
        let states = self.connections.iter_mut().zip(asked).map(|(held, asked)| match asked {
            Ok(()) => held.listen(Some(round), deadline),
            Err(error) => HeldState::of(error),
        });
        states.collect()
    }

    /// Sends nothing and waits, `timeout` in all, for each connection to end. Those that do not are silent.
    pub fn wait_for_ends(&mut self, timeout: Duration) -> Vec<HeldState> {
        let deadline = Instant::now() + timeout;
        self.connections.iter_mut().map(|held| held.listen(None, deadline)).collect()
    }

    /// How many connections there are in each state.
    pub fn tally(states: &[HeldState]) -> BTreeMap<&HeldState, usize> {
        let mut tally = BTreeMap::new();
        states.iter().for_each(|state| *tally.entry(state).or_default() += 1);
        tally
    }
}

impl Held {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// Sends a line and waits for the answer.
    pub(super) fn ask(&mut self, round: u64, padding_bytes: usize, deadline: Instant) -> HeldState {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.send(round, padding_bytes, left) {
            Ok(()) => self.listen(Some(round), deadline),
            Err(error) => HeldState::of(error),
        }
    }

    /// A server that takes nothing must not hold its client up for ever.
    fn send(&mut self, round: u64, padding_bytes: usize, timeout: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        self.stream.write_all(format!("{round} {}\n", ".".repeat(padding_bytes)).as_bytes())
    }

    /// Reads until the answer of `round`, an end or the deadline. Answers of earlier rounds that came too
    /// late are passed over.
    fn listen(&mut self, round: Option<u64>, deadline: Instant) -> HeldState {
        loop {
            while let Some(line) = self.next_line() {
                let mut words = line.split(' ');
                let (server, word) = (words.next(), words.next());
                match server {
                    Some(server) if round.is_some() && word.and_then(|word| word.parse().ok()) == round => {
                        return HeldState::Alive(server.into());
                    }
                    _ => {}
                }
            }
            let mut piece = [0; 16 * 1024];
            match self.read_before(deadline, &mut piece) {
                Ok(0) => return HeldState::Closed,
                Ok(length) => self.received.extend_from_slice(&piece[..length]),
                Err(error) => return HeldState::of(error),
            }
        }
    }

    /// Once the deadline is over it still takes what has already come, since others used up the time.
    fn read_before(&mut self, deadline: Instant, piece: &mut [u8]) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        self.stream.read(piece)
    }

    fn next_line(&mut self) -> Option<String> {
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.received.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }
}

impl HeldState {
    fn of(error: io::Error) -> Self {
        match Failure::from(error) {
            Failure::Reset => Self::Reset,
            Failure::TimedOut => Self::Silent,
            other => Self::Failed(other),
        }
    }
}
