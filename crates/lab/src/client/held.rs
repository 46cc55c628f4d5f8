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

#[derive(Debug)]
struct Held {
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
            let one = |_| {
                let stream = TcpStream::connect_timeout(&target, timeout)?;
                Ok(Held { stream, received: Vec::new() })
            };
            (0..count).map(one).collect()
        };
        Ok(namespace.run(connect)?.map(|connections| Self { connections, round: 0 }))
    }

    /// The client's end of each connection.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.connections.iter().filter_map(|held| held.stream.local_addr().ok()).collect()
    }

    /// Sends a line over each connection, then waits for all the answers, `timeout` in all.
    pub fn probe(&mut self, timeout: Duration) -> Vec<HeldState> {
        self.round += 1;
        let question = format!("{}\n", self.round);
        let asked: Vec<io::Result<()>> =
            self.connections.iter_mut().map(|held| held.stream.write_all(question.as_bytes())).collect();
        let deadline = Instant::now() + timeout;
        let round = self.round;
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
    /// Reads until the answer of `round`, an end or the deadline. Answers of earlier rounds that came too
    /// late are passed over.
    fn listen(&mut self, round: Option<u64>, deadline: Instant) -> HeldState {
        loop {
            while let Some(line) = self.next_line() {
                match line.split_once(' ') {
                    Some((server, word)) if word.parse().ok() == round && round.is_some() => {
                        return HeldState::Alive(server.into());
                    }
                    _ => {}
                }
            }
            let mut piece = [0; 256];
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
