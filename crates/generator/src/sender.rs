//! One stream on its way out of a ring.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use port::{BURST_FRAMES_MAX, PortIndex, Ports};
use rings::live::{LiveSender, LiveSequence};
use wire::Mac;

use crate::flows::Flows;
use crate::profile::Stream;
use crate::schedule::{Pacer, Schedule};
use crate::sizes::{FCS_BYTES, IMIX_BYTES, Sizes};
use crate::stamp::Signature;
use crate::template::Template;

/// The ring of a leg: each leg has one port.
pub(crate) const PORT: PortIndex = PortIndex(0);

/// Live frames that one call makes at the most: at a few million a second they take some hundred
/// microseconds, in which frames that come back wait in their ring.
const LIVE_FRAMES_MAX: u64 = 1_024;

/// Frames that all streams together may still send. Any thread.
#[derive(Debug)]
pub struct Budget(AtomicU64);

impl Budget {
    /// A budget of so many frames.
    pub fn new(packets: u64) -> Self {
        Self(AtomicU64::new(packets))
    }

    /// Takes up to `wanted`; how many there were.
    pub fn take(&self, wanted: u64) -> u64 {
        let rest = |left: u64| Some(left.saturating_sub(wanted));
        match self.0.fetch_update(Relaxed, Relaxed, rest) {
            Ok(before) | Err(before) => before.min(wanted),
        }
    }

    /// Gives back what was taken and not sent.
    pub fn give_back(&self, unused: u64) {
        self.0.fetch_add(unused, Relaxed);
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.0.load(Relaxed) == 0
    }
}

/// What a stream has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames.
    pub packets: u64,
    /// Their bytes, check sequences included.
    pub bytes: u64,
    /// Frames that were due and not sent: given up, or refused by the kernel.
    pub refused: u64,
}

/// See the module. Owned by the thread that sends.
#[derive(Debug)]
pub struct Sender {
    /// The stream's number in the profile.
    pub stream: usize,
    pacer: Pacer,
    templates: Vec<Template>,
    sizes: Sizes,
    flows: Flows,
    flow: u32,
    sent: Sent,
    live: Option<Live>,
}

/// Senders in the kernel, one for each size, with one sequence.
#[derive(Debug)]
struct Live {
    sequence: LiveSequence,
    senders: Vec<LiveSender>,
}

impl Sender {
    /// A sender of stream number `index`.
    pub fn new(
        stream: &Stream,
        index: usize,
        schedule: Schedule,
        macs: [Mac; 2],
        signature: Signature,
    ) -> Self {
        let template = |bytes: usize| Template::new(stream, index as u8, bytes, macs, signature);
        Self {
            stream: index,
            pacer: Pacer::new(schedule),
            templates: stream.sizes.list().into_iter().map(template).collect(),
            sizes: stream.sizes,
            flows: stream.flows.clone(),
            flow: 0,
            sent: Sent::default(),
            live: None,
        }
    }

    /// Lets the kernel make the frames from now on, and send them out of the interface of this index.
    pub fn go_live(&mut self, interface_index: u32) -> Result<(), rings::Error> {
        let sequence = LiveSequence::new()?;
        let sender =
            |template: &Template| LiveSender::new(interface_index, &template.live(&self.flows), &sequence);
        let senders = self.templates.iter().map(sender).collect::<Result<_, _>>()?;
        self.live = Some(Live { sequence, senders });
        Ok(())
    }

    /// Whether the kernel makes the frames.
    pub fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Sends or queues what is due, a burst at the most; how many frames that were.
    pub fn transmit(
        &mut self,
        ports: &mut impl Ports,
        budget: &Budget,
        elapsed_ns: u64,
        now_ns: u64,
    ) -> Result<u64, rings::Error> {
        let most = if self.is_live() { LIVE_FRAMES_MAX } else { BURST_FRAMES_MAX as u64 };
        let wanted = self.pacer.wanted(elapsed_ns).min(most);
        if wanted == 0 {
            return Ok(0);
        }
        let granted = budget.take(wanted);
        let sent = match self.live.take() {
            Some(live) => {
                let sent = self.make_live(&live, granted);
                self.live = Some(live);
                sent?
            }
            None => self.queue(ports, granted, now_ns),
        };
        budget.give_back(granted - sent);
        self.pacer.note_sent(sent);
        Ok(sent)
    }

    fn queue(&mut self, ports: &mut impl Ports, count: u64, now_ns: u64) -> u64 {
        for queued in 0..count {
            let template = &mut self.templates[self.sizes.of_frame(self.sent.packets)];
            template.patch(self.flows.source(self.flow), self.sent.packets as u32, now_ns);
            if !ports.inject(PORT, template.frame()) {
                return queued;
            }
            self.sent.packets += 1;
            self.sent.bytes += (template.frame().len() + FCS_BYTES) as u64;
            self.flow = if self.flow + 1 < self.flows.count() { self.flow + 1 } else { 0 };
        }
        count
    }

    /// Has the kernel make `count` frames, of a mix first all of the one size, then of the next.
    fn make_live(&mut self, live: &Live, count: u64) -> Result<u64, rings::Error> {
        let mut counts = [0u32; IMIX_BYTES.len()];
        let first = self.sent.packets;
        (first..first + count).for_each(|number| counts[self.sizes.of_frame(number)] += 1);
        for ((sender, template), &count) in live.senders.iter().zip(&self.templates).zip(&counts) {
            if count == 0 {
                continue;
            }
            sender.send(count)?;
            let made = live.sequence.count()? - self.sent.packets;
            self.sent.packets += made;
            self.sent.bytes += made * (template.frame().len() + FCS_BYTES) as u64;
        }
        Ok(self.sent.packets - first)
    }

    /// Notes that the interface dropped frames of a live stream.
    pub fn note_refused(&mut self, frames: u64) {
        let frames = frames.min(self.sent.packets);
        let mean_bytes = self.sent.bytes.checked_div(self.sent.packets).unwrap_or(0);
        self.sent.packets -= frames;
        self.sent.bytes -= frames * mean_bytes;
        self.sent.refused += frames;
    }

    /// Whether nothing will be due any more.
    pub fn is_over(&self, elapsed_ns: u64) -> bool {
        self.pacer.is_over(elapsed_ns)
    }

    /// Whether nothing is due now, or never everything will be.
    pub fn is_settled(&mut self, elapsed_ns: u64) -> bool {
        self.pacer.schedule().asked_per_second(elapsed_ns).is_none() || self.pacer.wanted(elapsed_ns) == 0
    }

    /// What was sent, and what should have been.
    pub fn sent(&self) -> Sent {
        Sent { refused: self.sent.refused + self.pacer.given_up(), ..self.sent }
    }

    /// Frames each second that were asked for.
    pub fn asked_per_second(&self, elapsed_ns: u64) -> Option<f64> {
        self.pacer.schedule().asked_per_second(elapsed_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_once() {
        let budget = Budget::new(10);
        assert_eq!([budget.take(7), budget.take(7)], [7, 3]);
        assert!(budget.is_spent());
        budget.give_back(2);
        assert_eq!(budget.take(7), 2);
    }
}
