//! What the controller needs of the process around it: the rings, and the workers.

use crate::facts::Facts;
use config::{Config, Diagnostic};
use engine::{Orders, WorkerCounters};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wire::Mac;

/// The rings, as far as control has a say in them. Implemented by the appliance; every error is a sentence for the log.
pub trait Rings {
    /// Makes these the addresses that the kernel keeps, and those that come to the workers.
    fn steer(&mut self, host: &[IpAddr], owned: &[IpAddr]) -> Result<(), String>;

    /// A port has another MAC now.
    fn set_mac(&mut self, port: u16, mac: Mac) -> Result<(), String>;

    /// How each port's frames are taken, in the order of the configuration.
    fn ports(&self) -> Vec<RingFacts>;

    /// Frames that were lost before a worker saw them or after it let go of them, by reason.
    fn losses(&self) -> Vec<Loss>;

    /// What is wrong with `config` on this machine.
    fn vet(&self, config: &Config, facts: &Facts) -> Vec<Diagnostic>;
}

/// How a port's frames are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingFacts {
    /// `af_xdp` or `af_packet`.
    pub driver: String,
    /// Copy or zero-copy, native or generic.
    pub mode: String,
    /// Why not the driver that was asked for first.
    pub reason: Option<String>,
    /// Frames that the kernel or the rings lost on the way in.
    pub rx_dropped: u64,
    /// Frames that found no room on the way out.
    pub tx_dropped: u64,
}

/// Frames that were lost outside the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// In kebab-case, as in `show drops`.
    pub reason: String,
    /// A sentence for people.
    pub meaning: String,
    /// How many.
    pub packets: u64,
}

/// Wakes the control loop: a worker has something to report, or has ended.
#[derive(Clone)]
pub struct ControlWaker(pub(super) Arc<mio::Waker>);

impl ControlWaker {
    /// Ends the loop's sleep. One system call: not for the inside of a turn.
    pub fn wake(&self) {
        // A loop that cannot be woken comes round by itself within a second.
        let _late = self.0.wake();
    }
}

/// One worker, as control sees it.
pub struct WorkerHandle {
    /// The CPU that it is pinned to.
    pub cpu: usize,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// Frames for it to send.
    pub orders: Arc<Orders>,
    /// Set when its thread has ended.
    pub ended: Arc<AtomicBool>,
    /// Ends its sleep.
    pub wake: Box<dyn Fn() + Send>,
}

impl WorkerHandle {
    /// Whether its thread has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
