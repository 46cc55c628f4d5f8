//! Connections that are held: data on them now and then, and their end in time.
//!
//! There is no timer. Connections become old in the order in which they were opened, so one number that
//! follows that of the opened ones ends them, and another that follows it finds whose FIN is not answered. A
//! third goes round all that are held, as fast as there are many of them, and says something on each that it
//! passes: a round takes as long as the profile's `exchange`.

use wire::tcp::TcpFlags;

use super::connection::{State, asked_ticks, held_ticks};
use super::{Client, OPENED_PER_TURN, Segment, nanoseconds};
use crate::profile::Stream;
use crate::tcp::outcome::Reason;

/// Frames of a question with its answer, which is acknowledged: what it takes of the run's bound in packets.
pub const FRAMES_PER_EXCHANGE: u64 = 3;

/// Questions that one turn asks at the most, and makes up for when it comes late.
const ASKED_PER_TURN: u64 = 64;

/// Connections that one turn passes at the most to find those.
const PASSED_PER_TURN: u64 = 1_024;

/// How long connections are held, and where the numbers are that go through them.
#[derive(Debug)]
pub(super) struct Holding {
    flows: u64,
    /// After so long they end, in ticks of what is held.
    hold_ticks: Option<u32>,
    /// A round of questions takes so long.
    exchange_ns: Option<u64>,
    /// So many were ended, or needed no end.
    pub ended: u64,
    /// Of so many of these the end was answered, or will never be.
    settled: u64,
    /// The number that is asked next.
    next: u64,
    /// Time that held connections have spent together since they were asked; each question takes a round's.
    owed_ns: u64,
    looked_ns: Option<u64>,
}

impl Holding {
    /// As `stream` says.
    pub fn new(stream: &Stream) -> Self {
        Self {
            flows: u64::from(stream.flows.count()),
            // At least a day's, which is far below the round of the clock.
            hold_ticks: stream.hold.map(|hold| held_ticks(nanoseconds(hold))),
            exchange_ns: stream.exchange.map(|exchange| nanoseconds(exchange).max(1)),
            ended: 0,
            settled: 0,
            next: 0,
            owed_ns: 0,
            looked_ns: None,
        }
    }

    /// Whether connections end some time after they were opened.
    pub fn has_end(&self) -> bool {
        self.hold_ticks.is_some()
    }

    /// Whether something is said on those that are held.
    pub fn exchanges(&self) -> bool {
        self.exchange_ns.is_some()
    }

    /// Whether the next connection, with so many begun, takes the place of none that is still to be looked at.
    pub fn has_room(&self, begun: u64) -> bool {
        !self.has_end() || begun - self.settled < self.flows
    }
}

impl Client {
    /// Ends what was held long enough and asks on what is held, as long as `send` takes segments; how many
    /// it took. Each question needs [`FRAMES_PER_EXCHANGE`] of the run's bound, an end is paid for.
    pub fn tend(&mut self, now_ns: u64, mut send: impl FnMut(&Segment) -> bool) -> u64 {
        self.end_old(now_ns, &mut send) + self.ask_round(now_ns, &mut send)
    }

    fn end_old(&mut self, now_ns: u64, send: &mut impl FnMut(&Segment) -> bool) -> u64 {
        let Some(hold_ticks) = self.holding.hold_ticks else { return 0 };
        let mut sent = 0;
        for _ in 0..2 * OPENED_PER_TURN {
            if self.holding.ended == self.begun() {
                break;
            }
            let flow = self.flow(self.holding.ended);
            let connection = &mut self.connections[flow as usize];
            let is_young = held_ticks(now_ns).wrapping_sub(connection.since) < hold_ticks;
            match connection.state {
                State::Opening => break,
                State::Held | State::Asked if is_young => break,
                // The far end's FIN would not be behind its answer.
                State::Asked => connection.state = State::Ending,
                State::Held => {
                    let segment = self.compose(flow, self.last_word(), 0);
                    if !send(&segment) {
                        break;
                    }
                    self.note_said(flow, &segment);
                    self.note_end(flow, now_ns);
                    sent += 1;
                }
                State::Closed | State::Ending | State::Closing => {}
            }
            self.holding.ended += 1;
        }
        sent
    }

    fn ask_round(&mut self, now_ns: u64, send: &mut impl FnMut(&Segment) -> bool) -> u64 {
        let Some(exchange_ns) = self.holding.exchange_ns else { return 0 };
        let elapsed_ns = now_ns.saturating_sub(self.holding.looked_ns.replace(now_ns).unwrap_or(now_ns));
        let more_ns = self.counts().held.saturating_mul(elapsed_ns);
        let most_ns = exchange_ns.saturating_mul(ASKED_PER_TURN);
        self.holding.owed_ns = self.holding.owed_ns.saturating_add(more_ns).min(most_ns);
        let mut sent = 0;
        for _ in 0..PASSED_PER_TURN {
            let oldest = self.holding.ended.max(self.begun().saturating_sub(self.holding.flows));
            if self.holding.next >= self.begun() || self.holding.next < oldest {
                self.holding.next = oldest;
            }
            if self.holding.owed_ns < exchange_ns || self.holding.next == self.begun() {
                break;
            }
            let flow = self.flow(self.holding.next);
            match self.connections[flow as usize].state {
                State::Held => {
                    if !self.ask(flow, now_ns, send) {
                        break;
                    }
                    self.holding.owed_ns -= exchange_ns;
                    sent += 1;
                }
                State::Asked if self.is_late(flow, now_ns) => self.fail(flow, Reason::NoAnswer),
                _ => {}
            }
            self.holding.next += 1;
        }
        sent
    }

    fn ask(&mut self, flow: u32, now_ns: u64, send: &mut impl FnMut(&Segment) -> bool) -> bool {
        let segment = self.compose(flow, TcpFlags::PSH | TcpFlags::ACK, self.data_bytes);
        if !send(&segment) {
            return false;
        }
        self.note_said(flow, &segment);
        let connection = &mut self.connections[flow as usize];
        (connection.state, connection.asked) = (State::Asked, asked_ticks(now_ns));
        true
    }

    /// Gives up the ended connections that wait too long, at most a few in a turn.
    pub(super) fn settle(&mut self, now_ns: u64) {
        for _ in 0..2 * OPENED_PER_TURN {
            if self.holding.settled == self.holding.ended {
                return;
            }
            let flow = self.flow(self.holding.settled);
            match self.connections[flow as usize].state {
                State::Closed => {}
                _ if !self.is_late(flow, now_ns) => return,
                _ => self.fail(flow, Reason::NoAnswer),
            }
            self.holding.settled += 1;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::super::tests::client_of;
    use super::*;
    use crate::tcp::answer;
    use crate::tcp::outcome::Failures;

    const MS_NS: u64 = 1_000_000;

    /// Connections that are held for a second and asked every 250 ms, with a far end that may be deaf.
    struct Bed {
        client: Client,
        now_ns: u64,
        /// Segments of the client, in order.
        said: Vec<Segment>,
    }

    impl Bed {
        fn new(flows: u32, lines: &str) -> Self {
            let lines = format!("timeout = \"100ms\"\nprotocol = \"tcp-handshake\"\n{lines}");
            Self { client: client_of(flows, &lines), now_ns: 1_000_000 * MS_NS, said: Vec::new() }
        }

        /// Begins one connection and lets it open.
        fn open(&mut self) {
            let syn = self.client.begin(self.now_ns).unwrap();
            self.client.confirm();
            self.deliver(&syn, &answer);
        }

        /// Lets the far end answer a segment, and what the client says to that.
        fn deliver(&mut self, segment: &Segment, far: &dyn Fn(&Segment) -> Option<Segment>) {
            let mut to_far = vec![*segment];
            while !to_far.is_empty() {
                let segment = to_far.remove(0);
                self.said.push(segment);
                let Some(reply) = far(&segment) else { continue };
                let bytes = reply.frame_bytes();
                assert!(self.client.take(&reply, bytes, self.now_ns, |said| to_far.push(*said)));
            }
        }

        /// Lets time go by, a millisecond at a time.
        fn pass(&mut self, milliseconds: u64, far: &dyn Fn(&Segment) -> Option<Segment>) {
            for _ in 0..milliseconds {
                self.now_ns += MS_NS;
                let mut sent = Vec::new();
                let count = self.client.tend(self.now_ns, |segment| {
                    sent.push(*segment);
                    true
                });
                assert_eq!(count, sent.len() as u64);
                sent.iter().for_each(|segment| self.deliver(segment, far));
                self.client.expire(self.now_ns);
            }
        }

        fn questions(&self) -> usize {
            self.said.iter().filter(|segment| segment.data_bytes > 0).count()
        }
    }

    const HELD: &str = "hold = \"1s\"\nexchange = \"250ms\"";

    #[test]
    fn connections_are_held_asked_and_ended_in_time() {
        let mut bed = Bed::new(100, HELD);
        (0..100).for_each(|_| {
            bed.open();
            bed.pass(1, &answer);
        });
        bed.pass(880, &answer);
        let counts = bed.client.counts();
        assert_eq!((counts.opened, counts.held, counts.held_most, counts.closed), (100, 100, 100, 0));
        // From 0 to 100 of them in the first 100 ms, all of them for 880: 93,000 connection-milliseconds.
        assert_eq!(bed.questions(), (100 * 100 / 2 + 100 * 880 + 50) / 250);
        assert!(!bed.client.is_over(10_000 * MS_NS));
        bed.pass(70, &answer);
        assert!((1..100).contains(&bed.client.counts().closed), "one after the other");
        bed.pass(100, &answer);
        let counts = bed.client.counts();
        assert_eq!((counts.held, counts.closed, counts.failures), (0, 100, Failures::default()));
        assert_eq!(counts.held_most, 100);
        // A connection says nothing but what is right: the far end would have reset it.
        let fins = bed.said.iter().filter(|segment| segment.flags.contains(TcpFlags::FIN)).count();
        assert_eq!(fins, 100);
    }

    #[test]
    fn a_round_of_questions_reaches_each_that_is_held() {
        let mut bed = Bed::new(10, "close = \"keep\"\nexchange = \"250ms\"");
        (0..10).for_each(|_| bed.open());
        bed.pass(1_001, &answer);
        let mut asked = [0; 10];
        for segment in bed.said.iter().filter(|segment| segment.data_bytes > 0) {
            asked[bed.client.flows.flow_of(super::super::low(segment.source), segment.ports[0]).unwrap()
                as usize] += 1;
        }
        assert_eq!(asked, [4; 10]);
        assert!(!bed.client.is_over(u64::MAX), "a run ends it");
        assert_eq!(bed.client.into_outcome().counts.held, 10);
    }

    #[test]
    fn a_question_that_is_not_answered_fails_its_connection() {
        let mut bed = Bed::new(2, HELD);
        bed.open();
        bed.open();
        let deaf_to_first =
            |segment: &Segment| answer(segment).filter(|_| segment.source.to_string() != "198.18.0.1");
        bed.pass(900, &deaf_to_first);
        let counts = bed.client.counts();
        assert_eq!((counts.opened, counts.held), (2, 1));
        assert_eq!(counts.failures, Failures { no_answer: 1, ..Failures::default() });
        bed.pass(300, &answer);
        assert_eq!(bed.client.counts().closed, 1);
    }

    #[test]
    fn an_end_waits_for_its_answer_and_fails_without_one() {
        let mut bed = Bed::new(1, "hold = \"500ms\"\nexchange = \"490ms\"");
        bed.open();
        bed.pass(530, &|_| None);
        let last = *bed.said.last().unwrap();
        assert!(last.data_bytes > 0, "no FIN before the answer: {last:?}");
        bed.deliver(&last, &answer);
        bed.pass(1, &answer);
        assert_eq!(bed.client.counts().closed, 1);
        bed.open();
        bed.pass(1_000, &|_| None);
        assert_eq!(bed.client.counts().failures, Failures { no_answer: 1, ..Failures::default() });
        assert!(bed.client.is_over(10_000 * MS_NS));
        // The flow is free again.
        bed.open();
    }

    #[test]
    fn a_fin_that_is_not_answered_is_a_failure() {
        let mut bed = Bed::new(1, "hold = \"500ms\"");
        bed.open();
        bed.pass(560, &|_| None);
        assert!(bed.said.last().unwrap().flags.contains(TcpFlags::FIN));
        assert_eq!(bed.client.counts().failures.total(), 0);
        assert_eq!(bed.client.begin(bed.now_ns), None, "its flow is not free");
        bed.pass(100, &|_| None);
        assert_eq!(bed.client.counts().failures, Failures { no_answer: 1, ..Failures::default() });
    }

    #[test]
    fn a_full_ring_loses_nothing_and_stops_the_turn() {
        let mut bed = Bed::new(2, HELD);
        bed.open();
        bed.open();
        let before = bed.client.frames();
        // Nothing is due yet; then a question; then an end and a question.
        for (wait_ms, tries) in [(0, 0), (300, 1), (900, 2)] {
            bed.now_ns += wait_ms * MS_NS;
            let mut tried = 0;
            let sent = bed.client.tend(bed.now_ns, |_| {
                tried += 1;
                false
            });
            assert_eq!((sent, bed.client.frames(), tried), (0, before, tries));
        }
        bed.pass(1, &answer);
        assert_eq!(bed.client.counts().closed, 2);
    }

    #[test]
    fn a_place_is_taken_again_only_when_its_connection_was_looked_at() {
        let mut bed = Bed::new(2, "hold = \"1s\"");
        bed.open();
        bed.open();
        let mut reset = answer(&bed.said[0]).unwrap();
        reset.flags = TcpFlags::RST;
        assert!(bed.client.take(&reset, 60, bed.now_ns, |_| panic!("a reset is not answered")));
        // Its number would be that of a young connection, for which the older ones behind it would wait.
        assert_eq!(bed.client.begin(bed.now_ns), None);
        bed.pass(1, &answer);
        bed.open();
        assert_eq!(bed.client.counts().held, 2);
    }
}
