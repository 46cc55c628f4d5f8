//! The client's end of a stream of connections: sixteen bytes for each flow.
//!
//! ```text
//!   closed ─SYN▶ opening ─SYN-ACK▶ (data: asked ─answer▶) ─FIN▶ closing ─FIN▶ closed
//!                   │                                      └RST▶ closed   └keep▶ open
//!                   └─ nothing in time, or a RST: failed, closed
//! ```
//!
//! Flows are opened in turn, so the oldest is the one that waits longest: a second number that follows the
//! first through the flows finds all that are late, and no list is kept.

use std::net::IpAddr;

use hdrhistogram::Histogram;
use wire::Mac;
use wire::tcp::TcpFlags;

use super::Segment;
use crate::account::latencies;
use crate::flows::Flows;
use crate::profile::{Close, Protocol, Stream};
use crate::schedule::{Pacer, Schedule};
use crate::sizes::FCS_BYTES;

/// Frames of one connection at the most, both ends together: what it takes of the run's bound in packets.
pub const FRAMES_PER_CONNECTION: u64 = 10;

/// The clock of a connection ticks every 64 ns and goes round in 274 s, more than any timeout.
const TICK_NS_LOG2: u32 = 6;

/// Connections that one turn opens at the most.
const OPENED_PER_TURN: u64 = 32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Opening,
    Asked,
    Closing,
    Open,
}

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    state: State,
    /// When the SYN was sent, in ticks.
    opened: u32,
    /// What we send next.
    sequence: u32,
    /// What we expect next.
    expected: u32,
}

/// What came of a stream of connections.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Connections that were established.
    pub opened: u64,
    /// Connections that were not, or were reset, or whose request was not answered.
    pub failed: u64,
    /// Frames that the client sent.
    pub transmitted: u64,
    /// Their bytes, check sequences included.
    pub bytes_transmitted: u64,
    /// Frames that came for it.
    pub received: u64,
    /// Their bytes, check sequences included.
    pub bytes_received: u64,
    /// From SYN to SYN-ACK.
    pub latency: Option<Histogram<u64>>,
}

/// See the module. Owned by the thread of its port.
#[derive(Debug)]
pub struct Client {
    /// The stream's number in the profile.
    pub stream: usize,
    macs: [Mac; 2],
    flows: Flows,
    destination: (IpAddr, u16),
    data_bytes: usize,
    asks: bool,
    close: Close,
    timeout_ticks: u32,
    pacer: Pacer,
    connections: Box<[Connection]>,
    /// How many were begun, and how many of these have been looked at for being late.
    begun: u64,
    looked_at: u64,
    outcome: Outcome,
}

impl Client {
    /// A client of stream number `index`, none of whose connections is open.
    pub fn new(stream: &Stream, index: usize, schedule: Schedule, macs: [Mac; 2]) -> Self {
        let frame_bytes = stream.sizes.list()[0];
        let timeout_ns = u64::try_from(stream.timeout.as_nanos()).unwrap_or(u64::MAX);
        Self {
            stream: index,
            macs,
            flows: stream.flows.clone(),
            destination: (stream.destination, stream.destination_port),
            // At least a byte, or nobody would answer.
            data_bytes: frame_bytes.saturating_sub(stream.headers_bytes() + FCS_BYTES).max(1),
            asks: stream.protocol == Protocol::TcpData,
            close: stream.close,
            timeout_ticks: (timeout_ns >> TICK_NS_LOG2).min(u64::from(u32::MAX / 2)) as u32,
            pacer: Pacer::new(schedule),
            connections: vec![Connection::default(); stream.flows.count() as usize].into(),
            begun: 0,
            looked_at: 0,
            outcome: Outcome { latency: stream.latency.then(latencies), ..Outcome::default() },
        }
    }

    /// How many connections to begin now, at most a turn's.
    pub fn wanted(&mut self, elapsed_ns: u64) -> u64 {
        self.pacer.wanted(elapsed_ns).min(OPENED_PER_TURN)
    }

    /// The SYN of the next connection, to be [confirmed](Self::confirm) or [withdrawn](Self::withdraw). `None`
    /// when the next flow is still busy, or stays open.
    pub fn begin(&mut self, now_ns: u64) -> Option<Segment> {
        let flow = self.next_flow();
        let connection = self.connections.get_mut(flow as usize)?;
        if connection.state != State::Closed {
            return None;
        }
        // RFC 9293, section 3.4.1: a number that grows, so that the flow's last connection is told from it.
        let first = (now_ns >> 8) as u32;
        *connection =
            Connection { state: State::Opening, opened: ticks(now_ns), sequence: first, expected: 0 };
        Some(self.say(flow, TcpFlags::SYN, 0))
    }

    /// The SYN was queued.
    pub fn confirm(&mut self) {
        self.begun += 1;
        self.pacer.note_sent(1);
    }

    /// The ring had no room for the SYN.
    pub fn withdraw(&mut self, syn: &Segment) {
        let flow = self.next_flow();
        self.connections[flow as usize] = Connection::default();
        self.outcome.transmitted -= 1;
        self.outcome.bytes_transmitted -= (syn.frame_bytes() + FCS_BYTES) as u64;
    }

    fn next_flow(&self) -> u32 {
        (self.begun % u64::from(self.flows.count())) as u32
    }

    /// Takes a segment of one of its connections and says what to answer; false when it is none of them.
    pub fn take(
        &mut self,
        segment: &Segment,
        frame_bytes: usize,
        now_ns: u64,
        mut answer: impl FnMut(&Segment),
    ) -> bool {
        if (segment.source, segment.ports[0]) != self.destination {
            return false;
        }
        let Some(flow) = self.flows.flow_of(low(segment.destination), segment.ports[1]) else { return false };
        self.outcome.received += 1;
        self.outcome.bytes_received += (frame_bytes + FCS_BYTES) as u64;
        let connection = self.connections[flow as usize];
        let acknowledges =
            segment.flags.contains(TcpFlags::ACK) && segment.acknowledgement == connection.sequence;
        match connection.state {
            State::Opening | State::Asked if segment.flags.contains(TcpFlags::RST) => {
                self.outcome.failed += 1;
                self.connections[flow as usize].state = State::Closed;
            }
            State::Opening if acknowledges && segment.flags.contains(TcpFlags::SYN) => {
                self.outcome.opened += 1;
                if let Some(latency) = &mut self.outcome.latency {
                    let waited = ticks(now_ns).wrapping_sub(connection.opened);
                    latency.saturating_record(u64::from(waited.max(1)) << TICK_NS_LOG2);
                }
                self.connections[flow as usize].expected = segment.end();
                answer(&self.say(flow, TcpFlags::ACK, 0));
                match self.asks {
                    true => {
                        answer(&self.say(flow, TcpFlags::PSH | TcpFlags::ACK, self.data_bytes));
                        self.connections[flow as usize].state = State::Asked;
                    }
                    false => self.end(flow, false, answer),
                }
            }
            State::Asked if acknowledges && segment.data_bytes > 0 => {
                self.connections[flow as usize].expected = segment.end();
                self.end(flow, true, answer);
            }
            State::Closing if segment.flags.contains(TcpFlags::FIN) => {
                self.connections[flow as usize].expected = segment.end();
                answer(&self.say(flow, TcpFlags::ACK, 0));
                self.connections[flow as usize].state = State::Closed;
            }
            _ => {}
        }
        true
    }

    /// Ends a connection as the profile says. `owes` an acknowledgement, if nothing else is said.
    fn end(&mut self, flow: u32, owes: bool, mut answer: impl FnMut(&Segment)) {
        let state = match self.close {
            Close::Fin => {
                answer(&self.say(flow, TcpFlags::FIN | TcpFlags::ACK, 0));
                State::Closing
            }
            Close::Rst => {
                answer(&self.say(flow, TcpFlags::RST | TcpFlags::ACK, 0));
                State::Closed
            }
            Close::Keep => {
                if owes {
                    answer(&self.say(flow, TcpFlags::ACK, 0));
                }
                State::Open
            }
        };
        self.connections[flow as usize].state = state;
    }

    /// The next segment of a flow, counted as sent.
    fn say(&mut self, flow: u32, flags: TcpFlags, data_bytes: usize) -> Segment {
        let connection = &mut self.connections[flow as usize];
        let (address, port) = self.flows.source(flow);
        let acknowledges = flags.contains(TcpFlags::ACK);
        let segment = Segment {
            macs: self.macs,
            source: self.flows.address(address),
            destination: self.destination.0,
            ports: [port, self.destination.1],
            sequence: connection.sequence,
            acknowledgement: if acknowledges { connection.expected } else { 0 },
            flags,
            data_bytes,
        };
        connection.sequence = segment.end();
        self.outcome.transmitted += 1;
        self.outcome.bytes_transmitted += (segment.frame_bytes() + FCS_BYTES) as u64;
        segment
    }

    /// Gives up the connections that wait too long, at most a few in a turn.
    pub fn expire(&mut self, now_ns: u64) {
        for _ in 0..2 * OPENED_PER_TURN {
            if self.looked_at == self.begun {
                return;
            }
            let flow = (self.looked_at % u64::from(self.flows.count())) as usize;
            let connection = &mut self.connections[flow];
            let is_late = ticks(now_ns).wrapping_sub(connection.opened) >= self.timeout_ticks;
            match connection.state {
                State::Closed | State::Open => {}
                _ if !is_late => return,
                State::Opening | State::Asked => {
                    self.outcome.failed += 1;
                    connection.state = State::Closed;
                }
                State::Closing => connection.state = State::Closed,
            }
            self.looked_at += 1;
        }
    }

    /// Whether no connection will be begun any more.
    pub fn is_over(&self, elapsed_ns: u64) -> bool {
        let all_stay_open = self.close == Close::Keep && self.begun == u64::from(self.flows.count());
        all_stay_open || self.pacer.is_over(elapsed_ns)
    }

    /// Whether nothing is due now.
    pub fn is_settled(&mut self, elapsed_ns: u64) -> bool {
        self.pacer.schedule().asked_per_second(elapsed_ns).is_none() || self.pacer.wanted(elapsed_ns) == 0
    }

    /// Frames so far, sent and received.
    pub fn frames(&self) -> (u64, u64) {
        (self.outcome.transmitted, self.outcome.received)
    }

    /// Connections that were due and not begun.
    pub fn given_up(&self) -> u64 {
        self.pacer.given_up()
    }

    /// How many were begun.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Connections each second that were asked for.
    pub fn asked_per_second(&self, elapsed_ns: u64) -> Option<f64> {
        self.pacer.schedule().asked_per_second(elapsed_ns)
    }

    /// What came of it all. What still waits has failed.
    pub fn into_outcome(mut self) -> Outcome {
        let waits = |connection: &&Connection| matches!(connection.state, State::Opening | State::Asked);
        self.outcome.failed += self.connections.iter().filter(waits).count() as u64;
        self.outcome
    }
}

fn ticks(now_ns: u64) -> u32 {
    (now_ns >> TICK_NS_LOG2) as u32
}

fn low(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    }
}
