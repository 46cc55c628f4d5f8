//! The longest burst without loss (RFC 2544, section 26.4, as RFC 9004 has it).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::halvings;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackToBackSettings {
    /// Searches, of which the mean counts (RFC 9004, 6.3: at least 50), at least 1.
    pub searches: u32,
    /// The longest burst, in packets, at least 1.
    pub longest_packets: u64,
    /// A search ends when the bounds are this near, as a share of the upper one; above 0.
    pub resolution: f64,
    /// Rest after each burst.
    pub settle: Duration,
}

/// One burst, sent as fast as the generator can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Packets of it.
    pub packets: u64,
    /// Rest after it.
    pub settle: Duration,
}

/// What came of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstOutcome {
    /// Packets that left the generator.
    pub transmitted: u64,
    /// Packets of these that came back.
    pub received: u64,
}

/// What the searches found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackToBackResult {
    /// The longest burst without loss of each search, in packets; 0: even one packet was lost.
    pub bursts_packets: Vec<u64>,
    /// Their mean; 0 without any.
    pub mean_packets: f64,
    /// Their standard deviation.
    pub deviation_packets: f64,
    /// No burst was ever lost: the device holds longer ones.
    pub limited_by_longest: bool,
}

impl BackToBackResult {
    /// The time that the device's buffers hold while it goes on forwarding, in seconds (RFC 9004, 6.4): the mean burst at
    /// `offered_pps`, less what the device forwards meanwhile at its throughput. `None` where a rate is 0.
    pub fn buffer_time_s(&self, offered_pps: f64, throughput_pps: f64) -> Option<f64> {
        let implied_s = self.mean_packets / offered_pps;
        let corrected_s = implied_s * (1.0 - (throughput_pps / offered_pps).min(1.0));
        (offered_pps > 0.0 && throughput_pps > 0.0).then_some(corrected_s)
    }
}

/// Searches for the longest burst that comes through whole, several times over.
#[derive(Clone, Debug)]
pub struct BackToBack {
    settings: BackToBackSettings,
    found_packets: Vec<u64>,
    /// The longest that passed in the present search.
    passed: u64,
    /// The shortest that failed in it.
    failed: Option<u64>,
    ever_failed: bool,
}

impl BackToBack {
    /// A search that has not begun.
    pub fn new(settings: BackToBackSettings) -> BackToBack {
        BackToBack { settings, found_packets: Vec::new(), passed: 0, failed: None, ever_failed: false }
    }

    /// Bursts at the most.
    pub fn bursts_max(settings: &BackToBackSettings) -> u64 {
        // Bursts are shorter than 2^53 packets.
        let each = 2 + halvings(settings.longest_packets as f64).max(halvings(1.0 / settings.resolution));
        u64::from(settings.searches) * u64::from(each)
    }

    /// What to send next; `None`: all searches are over.
    pub fn next(&self) -> Option<Burst> {
        // The count of searches is within 32 bits.
        if self.found_packets.len() as u64 >= u64::from(self.settings.searches) {
            return None;
        }
        let packets = match self.failed {
            None => self.settings.longest_packets,
            Some(failed) => self.passed.midpoint(failed),
        };
        Some(Burst { packets, settle: self.settings.settle })
    }

    /// Takes what came of the burst that [`BackToBack::next`] named. Without one it does nothing.
    pub fn note(&mut self, outcome: BurstOutcome) {
        let Some(burst) = self.next() else { return };
        if outcome.transmitted >= burst.packets && outcome.received >= burst.packets {
            self.passed = burst.packets;
        } else {
            self.failed = Some(burst.packets);
            self.ever_failed = true;
        }
        let is_over = match self.failed {
            None => true,
            Some(failed) => {
                let gap = failed - self.passed;
                gap <= 1 || gap as f64 <= self.settings.resolution * failed as f64
            }
        };
        if is_over {
            self.found_packets.push(self.passed);
            (self.passed, self.failed) = (0, None);
        }
    }

    /// What was found so far, or, when `next` says `None`, found.
    pub fn result(&self) -> BackToBackResult {
        let bursts: Vec<f64> = self.found_packets.iter().map(|packets| *packets as f64).collect();
        let count = bursts.len().max(1) as f64;
        let mean = bursts.iter().sum::<f64>() / count;
        let variance = bursts.iter().map(|burst| (burst - mean).powi(2)).sum::<f64>() / count;
        BackToBackResult {
            bursts_packets: self.found_packets.clone(),
            mean_packets: mean,
            deviation_packets: variance.sqrt(),
            limited_by_longest: !self.found_packets.is_empty() && !self.ever_failed,
        }
    }
}
