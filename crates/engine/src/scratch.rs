//! What one worker remembers from frame to frame: small, fixed in size, its own.

use crate::copies::Copies;
use crate::expect::Expectations;
use crate::park::Park;
use crate::shared::{Report, Shared};
use crate::wrapping::Wrapping;
use arrayvec::ArrayVec;
use flow::FlowHasher;
use port::BURST_FRAMES_MAX;

/// ICMP errors that a worker may send in a row, and how many it regains each tick (134 ms): about 1,000 a second.
/// RFC 1812 section 4.3.2.8 and RFC 4443 section 2.4 (f) ask for a limit and leave its size to us.
const ANSWER_BURST: u32 = 256;
const ANSWERS_PER_TICK: u32 = 134;

/// Reports that were made lately; another one for the same thing waits for the next tick.
const RECENT_REPORTS: usize = 64;

/// Separates the random numbers from the secret's other uses.
const PURPOSE_RANDOM: u64 = 0x7261_6e64_6f6d_0000;

pub(crate) struct Scratch {
    pub park: Park,
    pub copies: Copies,
    /// Sessions that the burst is about to open.
    pub expectations: Box<Expectations>,
    /// What is to be done to frames of the burst beyond rewriting.
    pub wrappings: ArrayVec<Wrapping, BURST_FRAMES_MAX>,
    draws: u64,
    worker: u64,
    answers: u32,
    answers_tick: u32,
    recent: [(Option<Report>, u32); RECENT_REPORTS],
}

impl Scratch {
    pub fn new(worker: usize) -> Self {
        Self {
            park: Park::new(),
            copies: Copies::new(),
            expectations: Box::new(Expectations::new()),
            wrappings: ArrayVec::new(),
            draws: 0,
            worker: worker as u64,
            answers: ANSWER_BURST,
            answers_tick: 0,
            recent: [(None, 0); RECENT_REPORTS],
        }
    }

    /// Keeps what is to be done to a frame until it is finished, and says where. There is room for every frame of a burst.
    pub fn keep_wrapping(&mut self, wrapping: Wrapping) -> u8 {
        let place = self.wrappings.len();
        let _full = self.wrappings.try_push(wrapping);
        place as u8
    }

    /// What was kept there.
    pub fn wrapping(&self, place: u8) -> Option<&Wrapping> {
        self.wrappings.get(usize::from(place))
    }

    /// A number that nobody without the secret can foretell.
    pub fn random(&mut self, hasher: &FlowHasher, salt: u64) -> u64 {
        self.draws += 1;
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.draws.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.worker.to_le_bytes());
        bytes[16..].copy_from_slice(&salt.to_le_bytes());
        hasher.dispatch(PURPOSE_RANDOM, &bytes)
    }

    /// Whether one more ICMP error may be sent.
    pub fn may_answer(&mut self, tick: u32) -> bool {
        let regained =
            tick.wrapping_sub(self.answers_tick).min(ANSWER_BURST).saturating_mul(ANSWERS_PER_TICK);
        self.answers = self.answers.saturating_add(regained).min(ANSWER_BURST);
        self.answers_tick = tick;
        let may = self.answers > 0;
        self.answers = self.answers.saturating_sub(1);
        may
    }

    /// Tells control, unless the same was told in this tick.
    pub fn report(&mut self, shared: &Shared, tick: u32, report: Report) {
        let (port, address) = match report {
            Report::Unresolved { port, address } => (port, address),
            Report::Neighbour { port, address, .. } | Report::Conflict { port, address, .. } => {
                (port, address)
            }
            // Each flow drifts once, and is told of without this.
            Report::Drift { .. } => return,
        };
        let mut bytes = [0; 18];
        match address {
            std::net::IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
            std::net::IpAddr::V6(address) => bytes[..16].copy_from_slice(&address.octets()),
        }
        bytes[16..].copy_from_slice(&port.to_le_bytes());
        let place = shared.hasher.dispatch(PURPOSE_RANDOM, &bytes) as usize % RECENT_REPORTS;
        if self.recent[place] == (Some(report), tick) {
            return;
        }
        self.recent[place] = (Some(report), tick);
        // A full queue means that control is behind; the frame that comes next asks again.
        let _lost = shared.reports.push(report);
    }
}
