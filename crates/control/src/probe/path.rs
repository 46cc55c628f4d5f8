//! One path: when it is asked, and what its answers, its silence and the far end's reports mean. Time is a parameter.

use super::alarm::Alarm;
use super::far::{Hearing, Report, There};
use super::fault::{Fault, FaultKind};
use super::packet::Envelope;
use super::wanted::{Asking, WantedPath};
use crate::check::{Checker, Health as Verdict, Outcome, Parameters, Reason, Silence};
use crate::members::Health;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use wire::Mac;
use wire::tcp::TcpFlags;

/// Ports below have a meaning of their own (RFC 6335 section 6).
const SOURCE_PORT_FIRST: u16 = 1_024;
const SOURCE_PORTS: u32 = (u16::MAX - SOURCE_PORT_FIRST) as u32 + 1;

/// Probes whose sending is remembered, for when the far end tells which it heard: as many as go out between two of its
/// own, unless it probes far less often.
const SENT_KEPT_MAX: usize = 16;

/// One path.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) wanted: WantedPath,
    pub(super) id: u64,
    pub(super) alarm: Alarm,
    /// The far end's last probe.
    pub(super) hearing: Option<Hearing>,
    /// When something came that bore another key's tag, if nothing better has come since.
    pub(super) forged_at: Option<Instant>,
    parameters: Parameters,
    checker: Checker,
    sequence: u32,
    /// Counts flows, from a number that no earlier life is likely to have begun with.
    flow: u32,
    asked: Option<Asked>,
    /// The last probe that was answered.
    answered: Option<u32>,
    /// When the last probes were sent, oldest first, and their sequences.
    sent: VecDeque<(Instant, u32)>,
    /// As it was last told.
    told: Health,
}

/// A probe that is under way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    sequence: u32,
    envelope: Envelope,
}

/// Where an answer came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The link of the path's own firewall.
    Own,
    /// Another firewall's of the group.
    Other(String),
    /// Something else.
    Elsewhere(Mac),
    /// The own firewall has no link any more to tell by.
    Unknown,
}

/// What the other paths of the group know.
pub(super) struct Around<'a> {
    pub(super) report: Option<&'a Report>,
    /// The far end is heard on some path.
    pub(super) hears_far: bool,
    /// The group's paths by id.
    pub(super) names: &'a [(u64, String)],
}

impl Around<'_> {
    fn name(&self, path: u64) -> Option<String> {
        self.names.iter().find(|(id, _)| *id == path).map(|(_, name)| name.clone())
    }
}

impl Path {
    /// A path that nothing is known of; it is first asked at `first`.
    pub(super) fn new(
        (wanted, id): (WantedPath, u64),
        parameters: Parameters,
        first: Instant,
        flow: u32,
    ) -> Self {
        Self {
            wanted,
            id,
            alarm: Alarm::default(),
            hearing: None,
            forged_at: None,
            parameters,
            checker: Checker::new(parameters, first),
            sequence: 0,
            flow,
            asked: None,
            answered: None,
            sent: VecDeque::new(),
            told: Health::Checking,
        }
    }

    /// Goes on for a newer configuration.
    pub(super) fn take_over(&mut self, wanted: WantedPath, parameters: Parameters, first: Instant) {
        self.wanted = wanted;
        if self.parameters != parameters {
            self.parameters = parameters;
            self.checker = self.checker.judged_by(parameters, first);
            self.asked = None;
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.checker.due(now)
    }

    /// When something is to be done.
    pub(super) fn next_deadline(&self) -> Instant {
        let next = self.checker.next_deadline();
        self.alarm.deadline().map_or(next, |at| at.min(next))
    }

    /// The sequence of the next probe.
    pub(super) fn next_sequence(&self) -> u32 {
        self.sequence.wrapping_add(1)
    }

    /// Begins a probe, as a flow that no firewall has ever seen. `syn` is the number of a SYN, if it becomes one.
    pub(super) fn ask(&mut self, now: Instant, asking: Asking, syn: u32) -> Envelope {
        self.flow = self.flow.wrapping_add(1);
        self.sequence = self.next_sequence();
        let source_port = SOURCE_PORT_FIRST + (self.flow % SOURCE_PORTS) as u16;
        let envelope = match asking {
            Asking::Echo => Envelope::Echo { identifier: self.flow as u16 },
            Asking::Datagram(port) => Envelope::Datagram { source_port, port },
            Asking::Syn(port) => Envelope::Syn { source_port, port, sequence: syn },
        };
        self.checker.start(now);
        self.asked = Some(Asked { at: now, sequence: self.sequence, envelope });
        if self.sent.len() == SENT_KEPT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((now, self.sequence));
        envelope
    }

    /// A probe could not even be sent.
    pub(super) fn could_not_ask(&mut self, now: Instant) {
        self.checker.start(now);
        self.fail(now, Reason::Path(self.fault(FaultKind::NoLink)));
    }

    /// How long the next probe stays away at the most.
    pub(super) fn next_within(&self) -> Duration {
        let Parameters { interval, dead_interval, .. } = self.parameters;
        // One that fails may be down by then.
        if self.checker.reason().is_none() { interval } else { interval.max(dead_interval) }
    }

    /// An answer with this sequence came. One that nobody waits for any more says nothing.
    pub(super) fn take_answer(&mut self, now: Instant, sequence: u32, over: Over, around: &Around<'_>) {
        if self.asked.is_some_and(|asked| asked.sequence == sequence) {
            self.conclude(now, over, around);
        }
    }

    /// A segment came for a port of ours. Whoever says that it had our SYN is reachable, whether it would talk or not. The
    /// ports and the number of the reset that it is owed, if any.
    pub(super) fn take_segment(
        &mut self,
        now: Instant,
        (port, own_port): (u16, u16),
        (flags, acknowledgement): (TcpFlags, u32),
        (over, around): (Over, &Around<'_>),
    ) -> Option<((u16, u16), u32)> {
        let envelope = self.asked?.envelope;
        let Envelope::Syn { source_port, port: asked, sequence } = envelope else { return None };
        let is_awaited = (port, own_port) == (asked, source_port)
            && flags.contains(TcpFlags::ACK)
            && acknowledgement == sequence.wrapping_add(1);
        if !is_awaited {
            return None;
        }
        self.conclude(now, over, around);
        (!flags.contains(TcpFlags::RST)).then_some(((source_port, asked), acknowledgement))
    }

    fn conclude(&mut self, now: Instant, over: Over, around: &Around<'_>) {
        let Some(asked) = self.asked.take() else { return };
        let astray = match over {
            Over::Own => self.astray(now, around),
            Over::Other(name) => Some(FaultKind::AnsweredOver(name)),
            Over::Elsewhere(mac) => Some(FaultKind::AnsweredBy(mac)),
            Over::Unknown => Some(FaultKind::NoLink),
        };
        self.answered = Some(asked.sequence);
        match astray {
            Some(kind) => self.fail(now, Reason::Path(self.fault(kind))),
            None => {
                self.checker.conclude(now, Outcome::Success);
            }
        }
    }

    /// Lets time pass: silence ends the probe under way.
    pub(super) fn expire(&mut self, now: Instant, around: &Around<'_>) {
        let within = self.parameters.response_time;
        if let Some(asked) = self.asked.take_if(|asked| asked.at + within <= now) {
            let reason = match asked.envelope {
                // It says nothing that the far end could report of.
                Envelope::Syn { .. } => Reason::Silent { awaited: "SYN-ACK or RST", within },
                _ => match self.silence(now, around) {
                    Some(kind) => Reason::Path(self.fault(kind)),
                    None => Reason::Silent { awaited: "answer", within },
                },
            };
            self.fail(now, reason);
        }
        // No probe is under way any more that could be due: what is left is too long without a good answer.
        self.checker.expire(now, Silence::Fails("answer"));
    }

    /// What it means that no answer came.
    fn silence(&self, now: Instant, around: &Around<'_>) -> Option<FaultKind> {
        let recent = self.recent();
        if self.forged_at.is_some_and(|at| now <= at + recent) {
            return Some(FaultKind::OtherKey);
        }
        if let Some(kind) = self.astray(now, around) {
            return Some(kind);
        }
        let hears_far = self.hears_far(now);
        let due = |at: Instant| {
            let had_time = |(sent, _): &&(Instant, u32)| *sent + self.parameters.response_time <= at;
            self.sent.iter().rev().find(had_time).map(|(_, sequence)| *sequence)
        };
        let there = around.report.map(|report| report.there(now, self.id, self.answered, due));
        match there.unwrap_or(There::Unknown) {
            There::Hears => Some(FaultKind::AnswersLost),
            There::Deaf => Some(FaultKind::ProbesLost { hears_far }),
            There::Unknown if hears_far => Some(FaultKind::Unanswered),
            There::Unknown => (!around.hears_far).then_some(FaultKind::FarSilent),
        }
    }

    /// Which way probes take that should take this one, as either end sees it.
    fn astray(&self, now: Instant, around: &Around<'_>) -> Option<FaultKind> {
        let there = around.report.and_then(|report| report.heard_over(now, self.id, self.recent()));
        if let Some(other) = there {
            return Some(FaultKind::HeardThereOver(around.name(other)));
        }
        let here = self.hearing.filter(|hearing| now <= hearing.until)?.over?;
        (here != self.id).then(|| around.name(here).map(FaultKind::HeardHereOver))?
    }

    /// Whether the far end's probes arrive.
    pub(super) fn hears_far(&self, now: Instant) -> bool {
        self.hearing.is_some_and(|hearing| now <= hearing.until)
    }

    /// How old a hearing of our probes may be that still is one: a probe may be lost.
    fn recent(&self) -> Duration {
        let Parameters { interval, dead_interval, response_time, .. } = self.parameters;
        interval.max(dead_interval) * 2 + response_time
    }

    fn fault(&self, kind: FaultKind) -> Fault {
        Fault { firewall: self.wanted.firewall.clone(), kind }
    }

    fn fail(&mut self, now: Instant, reason: Reason) {
        self.checker.conclude(now, Outcome::Failure(reason));
    }

    /// What is thought of the path.
    pub(super) fn health(&self) -> Health {
        match (self.checker.health(), self.checker.reason()) {
            (Verdict::Checking, _) => Health::Checking,
            (Verdict::Up, _) => Health::Up,
            (Verdict::Down, Some(reason)) if is_asymmetric(reason) => Health::Asymmetric,
            (Verdict::Down, _) => Health::Down,
        }
    }

    /// A change of mind since this was last asked: what was thought before.
    pub(super) fn take_turn(&mut self) -> Option<Health> {
        let now = self.health();
        let before = std::mem::replace(&mut self.told, now);
        (before != now).then_some(before)
    }

    /// Why the last probe failed, or why the path is down.
    pub(super) fn reason(&self) -> Option<&Reason> {
        self.checker.reason()
    }

    pub(super) fn last_check(&self) -> Option<Instant> {
        self.checker.last_check()
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.checker.response_time()
    }
}

fn is_asymmetric(reason: &Reason) -> bool {
    match reason {
        Reason::Path(fault) => fault.is_asymmetric(),
        Reason::Overdue { last: Some(last), .. } => is_asymmetric(last),
        _ => false,
    }
}
