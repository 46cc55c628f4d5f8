//! The client's end of a stream of connections: sixteen bytes for each flow.
//!
//! ```text
//!   closed ─SYN▶ opening ─SYN-ACK▶ (asked ─answer▶) ─hold▶ … ─FIN▶ closing ─FIN▶ closed
//!                   │                 │                    └RST▶ closed
//!                   └─────────────────┴── nothing in time, a RST, wrong numbers: failed, closed
//! ```
//!
//! Flows are opened in turn, so the oldest is the one that waits longest: a second number that follows the
//! first through the flows finds all that are late, and no list is kept. So do those that are [`hold`] long
//! enough.

mod connection;
mod hold;

use std::net::IpAddr;
use std::time::Duration;

use wire::Mac;
use wire::tcp::TcpFlags;

use super::Segment;
use super::outcome::{Counts, Outcome, Reason};
use crate::account::latencies;
use crate::flows::Flows;
use crate::profile::{Close, Protocol, Stream};
use crate::schedule::{Pacer, Schedule};
use crate::sizes::FCS_BYTES;

pub use hold::FRAMES_PER_EXCHANGE;

use connection::{Connection, State, TICK_NS_LOG2, asked_ticks, held_ticks, ticks};
use hold::Holding;

/// Frames of one connection at the most, both ends together and without what is said while it is held: what it
/// takes of the run's bound in packets.
pub const FRAMES_PER_CONNECTION: u64 = 10;

/// Connections that one turn opens at the most.
const OPENED_PER_TURN: u64 = 32;

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
    timeout_ns: u64,
    pacer: Pacer,
    connections: Box<[Connection]>,
    /// How many have been looked at for being late with their handshake.
    looked_at: u64,
    holding: Holding,
    outcome: Outcome,
}

impl Client {
    /// A client of stream number `index`, none of whose connections is open.
    pub fn new(stream: &Stream, index: usize, schedule: Schedule, macs: [Mac; 2]) -> Self {
        let frame_bytes = stream.sizes.list()[0];
        Self {
            stream: index,
            macs,
            flows: stream.flows.clone(),
            destination: (stream.destination, stream.destination_port),
            // At least a byte, or nobody would answer.
            data_bytes: frame_bytes.saturating_sub(stream.headers_bytes() + FCS_BYTES).max(1),
            asks: stream.protocol == Protocol::TcpData,
            close: stream.close,
            // Half the round of the clock of handshakes.
            timeout_ns: nanoseconds(stream.timeout).min(1 << (31 + TICK_NS_LOG2)),
            pacer: Pacer::new(schedule),
            connections: vec![Connection::default(); stream.flows.count() as usize].into(),
            looked_at: 0,
            holding: Holding::new(stream),
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
        let flow = self.flow(self.begun());
        let connection = self.connections.get_mut(flow as usize)?;
        if connection.state != State::Closed || !self.holding.has_room(self.outcome.counts.begun) {
            return None;
        }
        // RFC 9293, section 3.4.1: a number that grows, so that the flow's last connection is told from it.
        let sequence = (now_ns >> 8) as u32;
        *connection =
            Connection { state: State::Opening, since: ticks(now_ns), sequence, ..Connection::default() };
        Some(self.say(flow, TcpFlags::SYN, 0))
    }

    /// The SYN was queued.
    pub fn confirm(&mut self) {
        self.outcome.counts.begun += 1;
        self.pacer.note_sent(1);
    }

    /// The ring had no room for the SYN.
    pub fn withdraw(&mut self, syn: &Segment) {
        let flow = self.flow(self.begun());
        self.connections[flow as usize] = Connection::default();
        self.outcome.transmitted -= 1;
        self.outcome.bytes_transmitted -= (syn.frame_bytes() + FCS_BYTES) as u64;
    }

    /// The flow of the connection of this number.
    fn flow(&self, number: u64) -> u32 {
        (number % u64::from(self.flows.count())) as u32
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
        let follows = acknowledges && segment.sequence == connection.expected;
        match connection.state {
            State::Closed => {}
            _ if segment.flags.contains(TcpFlags::RST) => self.fail(flow, Reason::Reset),
            // An answer to another SYN opens nothing.
            State::Opening if acknowledges && segment.flags.contains(TcpFlags::SYN) => {
                self.connections[flow as usize].expected = segment.end();
                self.establish(flow, now_ns, answer);
            }
            State::Asked | State::Ending if segment.data_bytes > 0 => {
                if !follows || segment.data_bytes != self.data_bytes {
                    return self.fails(flow, Reason::WrongSequence);
                }
                self.connections[flow as usize].expected = segment.end();
                if connection.state == State::Ending {
                    self.end(flow, now_ns, answer);
                } else {
                    answer(&self.say(flow, TcpFlags::ACK, 0));
                    self.connections[flow as usize].state = State::Held;
                }
            }
            State::Closing if segment.flags.contains(TcpFlags::FIN) => {
                if !follows {
                    return self.fails(flow, Reason::WrongSequence);
                }
                self.connections[flow as usize].expected = segment.end();
                answer(&self.say(flow, TcpFlags::ACK, 0));
                self.leave(flow, State::Closed);
                self.outcome.counts.closed += 1;
            }
            _ => {}
        }
        true
    }

    /// The SYN was answered: the handshake ends, and what comes next begins.
    fn establish(&mut self, flow: u32, now_ns: u64, mut answer: impl FnMut(&Segment)) {
        let connection = &mut self.connections[flow as usize];
        if let Some(latency) = &mut self.outcome.latency {
            let waited = ticks(now_ns).wrapping_sub(connection.since);
            latency.saturating_record(u64::from(waited.max(1)) << TICK_NS_LOG2);
        }
        (connection.state, connection.since) = (State::Held, held_ticks(now_ns));
        self.outcome.counts.note_opened();
        answer(&self.say(flow, TcpFlags::ACK, 0));
        if self.asks {
            answer(&self.say(flow, TcpFlags::PSH | TcpFlags::ACK, self.data_bytes));
            let state = if self.stays_open() { State::Asked } else { State::Ending };
            let connection = &mut self.connections[flow as usize];
            (connection.state, connection.asked) = (state, asked_ticks(now_ns));
        } else if !self.stays_open() {
            self.end(flow, now_ns, answer);
        }
    }

    /// Whether connections stay open when all is said that opens them.
    fn stays_open(&self) -> bool {
        self.close == Close::Keep || self.holding.has_end()
    }

    /// Ends a connection as the profile says.
    fn end(&mut self, flow: u32, now_ns: u64, mut answer: impl FnMut(&Segment)) {
        answer(&self.say(flow, self.last_word(), 0));
        self.note_end(flow, now_ns);
    }

    /// What ends a connection; one that is kept is never ended.
    fn last_word(&self) -> TcpFlags {
        let flags = if self.close == Close::Rst { TcpFlags::RST } else { TcpFlags::FIN };
        flags | TcpFlags::ACK
    }

    /// The last word was said.
    fn note_end(&mut self, flow: u32, now_ns: u64) {
        if self.close == Close::Rst {
            self.leave(flow, State::Closed);
            self.outcome.counts.closed += 1;
        } else {
            self.leave(flow, State::Closing);
            self.connections[flow as usize].since = ticks(now_ns);
        }
    }

    /// A connection goes into a state in which it is not open.
    fn leave(&mut self, flow: u32, state: State) {
        let connection = &mut self.connections[flow as usize];
        if connection.state.is_open() {
            self.outcome.counts.held -= 1;
        }
        connection.state = state;
    }

    fn fail(&mut self, flow: u32, reason: Reason) {
        self.leave(flow, State::Closed);
        self.outcome.counts.failures.note(reason);
    }

    /// The same for a segment that was one of ours.
    fn fails(&mut self, flow: u32, reason: Reason) -> bool {
        self.fail(flow, reason);
        true
    }

    /// The next segment of a flow, counted as sent.
    fn say(&mut self, flow: u32, flags: TcpFlags, data_bytes: usize) -> Segment {
        let segment = self.compose(flow, flags, data_bytes);
        self.note_said(flow, &segment);
        segment
    }

    /// The next segment of a flow.
    fn compose(&self, flow: u32, flags: TcpFlags, data_bytes: usize) -> Segment {
        let connection = &self.connections[flow as usize];
        let (address, port) = self.flows.source(flow);
        Segment {
            macs: self.macs,
            source: self.flows.address(address),
            destination: self.destination.0,
            ports: [port, self.destination.1],
            sequence: connection.sequence,
            acknowledgement: if flags.contains(TcpFlags::ACK) { connection.expected } else { 0 },
            flags,
            data_bytes,
        }
    }

    fn note_said(&mut self, flow: u32, segment: &Segment) {
        self.connections[flow as usize].sequence = segment.end();
        self.outcome.transmitted += 1;
        self.outcome.bytes_transmitted += (segment.frame_bytes() + FCS_BYTES) as u64;
    }

    /// Gives up the connections that wait too long, at most a few in a turn.
    pub fn expire(&mut self, now_ns: u64) {
        for _ in 0..2 * OPENED_PER_TURN {
            if self.looked_at == self.begun() {
                break;
            }
            let flow = self.flow(self.looked_at);
            match self.connections[flow as usize].state {
                State::Closed | State::Held => {}
                // Whoever asks while it is held looks for the answer too.
                State::Asked if self.holding.exchanges() => {}
                _ if !self.is_late(flow, now_ns) => break,
                _ => self.fail(flow, Reason::NoAnswer),
            }
            self.looked_at += 1;
        }
        self.settle(now_ns);
    }

    /// Whether what a connection waits for should have come.
    fn is_late(&self, flow: u32, now_ns: u64) -> bool {
        let connection = &self.connections[flow as usize];
        match connection.state {
            State::Closed | State::Held => false,
            State::Opening | State::Closing => {
                ticks(now_ns).wrapping_sub(connection.since) >= ticks(self.timeout_ns)
            }
            // What was asked within a tick may be as old as the tick.
            State::Asked | State::Ending => {
                asked_ticks(now_ns).wrapping_sub(connection.asked) > asked_ticks(self.timeout_ns)
            }
        }
    }

    /// Whether it has nothing more to say by itself.
    pub fn is_over(&self, elapsed_ns: u64) -> bool {
        if self.close == Close::Keep {
            let all_stay_open = self.begun() >= u64::from(self.flows.count());
            return !self.holding.exchanges() && (all_stay_open || self.pacer.is_over(elapsed_ns));
        }
        self.pacer.is_over(elapsed_ns) && (!self.holding.has_end() || self.holding.ended == self.begun())
    }

    /// Whether nothing is due now.
    pub fn is_settled(&mut self, elapsed_ns: u64) -> bool {
        self.pacer.schedule().asked_per_second(elapsed_ns).is_none() || self.pacer.wanted(elapsed_ns) == 0
    }

    /// Frames so far, sent and received.
    pub fn frames(&self) -> (u64, u64) {
        (self.outcome.transmitted, self.outcome.received)
    }

    /// How many connections came how far until now.
    pub fn counts(&self) -> Counts {
        self.outcome.counts
    }

    /// Connections that were due and not begun.
    pub fn given_up(&self) -> u64 {
        self.pacer.given_up()
    }

    /// How many were begun.
    pub fn begun(&self) -> u64 {
        self.outcome.counts.begun
    }

    /// Connections each second that were asked for.
    pub fn asked_per_second(&self, elapsed_ns: u64) -> Option<f64> {
        self.pacer.schedule().asked_per_second(elapsed_ns)
    }

    /// What came of it all. What still waits has failed.
    pub fn into_outcome(mut self) -> Outcome {
        for flow in 0..self.flows.count() {
            if !matches!(self.connections[flow as usize].state, State::Closed | State::Held) {
                self.fail(flow, Reason::NoAnswer);
            }
        }
        self.outcome
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn low(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    }
}

#[cfg(test)]
mod tests;
