//! One stream on its way out of a ring.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use port::{BURST_FRAMES_MAX, PortIndex, Ports};
use wire::Mac;

use crate::flows::Flows;
use crate::profile::Stream;
use crate::schedule::{Pacer, Schedule};
use crate::sizes::Sizes;
use crate::stamp::Signature;
use crate::template::Template;

/// The ring of a leg: each leg has one port.
pub(crate) const PORT: PortIndex = PortIndex(0);

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
        }
    }

    /// Queues what is due, a burst at the most; how many frames that were.
    pub fn transmit(&mut self, ports: &mut impl Ports, budget: &Budget, elapsed_ns: u64, now_ns: u64) -> u64 {
        let wanted = self.pacer.wanted(elapsed_ns).min(BURST_FRAMES_MAX as u64);
        if wanted == 0 {
            return 0;
        }
        let granted = budget.take(wanted);
        let mut queued = 0;
        while queued < granted {
            let template = &mut self.templates[self.sizes.of_frame(self.sent.packets)];
            template.patch(self.flows.source(self.flow), self.sent.packets as u32, now_ns);
            if !ports.inject(PORT, template.frame()) {
                break;
            }
            queued += 1;
            self.sent.packets += 1;
            self.sent.bytes += template.frame().len() as u64 + crate::sizes::FCS_BYTES as u64;
            self.flow = if self.flow + 1 < self.flows.count() { self.flow + 1 } else { 0 };
        }
        budget.give_back(granted - queued);
        self.pacer.note_sent(queued);
        queued
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
