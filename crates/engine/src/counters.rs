//! What a worker counts. One writer, any readers.

use crate::reason::DropReason;
use metrics::{Counter, DurationHistogram, counters};

/// What passed one port, as this worker saw it.
#[derive(Debug, Default)]
pub struct PortCounters {
    /// Frames received.
    pub rx_packets: Counter,
    /// Bytes received, Ethernet headers included.
    pub rx_bytes: Counter,
    /// Frames handed to the port for sending.
    pub tx_packets: Counter,
    /// Bytes handed to the port for sending.
    pub tx_bytes: Counter,
}

/// What one server got and gave, as this worker saw it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct MemberCounters {
    /// Packets from clients.
    pub packets_in: Counter,
    /// Bytes from clients, IP headers included.
    pub bytes_in: Counter,
    /// Packets to clients.
    pub packets_out: Counter,
    /// Bytes to clients, IP headers included.
    pub bytes_out: Counter,
    /// Sessions made.
    pub sessions_created: Counter,
    /// Sessions ended.
    pub sessions_ended: Counter,
    /// TCP sessions that the server answered.
    pub connects_made: Counter,
    /// TCP sessions that the server reset in answer to the SYN, or whose client had to repeat it unanswered.
    pub connects_failed: Counter,
    /// Of a firewall: flows of its own that were seen over another firewall while both lived.
    pub drifted_flows: Counter,
}

/// Everything that one worker counts.
///
/// `received = transmitted + dropped + parked + taken` holds after every turn, exactly; frames that the worker makes itself
/// are counted as `injected` and nowhere else.
#[derive(Debug)]
pub struct WorkerCounters {
    /// Frames received from all ports.
    pub received: Counter,
    /// Received frames that were sent on, answers in place among them.
    pub transmitted: Counter,
    /// Received frames that were turned into their answer.
    pub answered: Counter,
    /// Received frames that wait for a next hop now: a gauge.
    pub parked: Counter,
    /// Received frames that control took: answers to its path probes.
    pub taken: Counter,
    /// Path probes and answers that control was to read and had no room for.
    pub punts_lost: Counter,
    /// Sessions made, whatever members they count at.
    pub sessions_opened: Counter,
    /// Sessions ended.
    pub sessions_closed: Counter,
    /// Frames that the worker sent without having received them: resets, announcements, packets of health checks.
    pub injected: Counter,
    /// Packets of control's that were to be carried to servers and could not be: the next hop is not known, the server
    /// has left the plan, or there was no room. Those that were are among `injected`.
    pub carries_lost: Counter,
    /// Copies beyond the first that a bridge sent of what it flooded.
    pub copied: Counter,
    /// Copies that found no room in their ring.
    pub copies_refused: Counter,
    /// Packets that a service placed by their hash alone, without a session.
    pub sessionless: Counter,
    /// ICMP errors that told of an MTU which no real path has.
    pub tiny_mtus: Counter,
    /// Dropped frames by [`DropReason::index`].
    pub drops: Box<[Counter]>,
    /// By port index.
    pub ports: Box<[PortCounters]>,
    /// By member index.
    pub members: Box<[MemberCounters]>,
    /// Half-open or closing sessions that made room in a full table.
    pub sessions_evicted: Counter,
    /// Sessions of a service with persistence that were not remembered: the table had no room, or was held too long.
    pub persistence_lost: Counter,
    /// Source-NAT ports used again within their quarantine because no other was left.
    pub source_ports_hurried: Counter,
    /// Turns that found frames or other work.
    pub turns_busy: Counter,
    /// Time spent in such turns, in nanoseconds.
    pub busy_ns: Counter,
    /// Time since the worker started, in nanoseconds: a gauge.
    pub elapsed_ns: Counter,
    /// How long busy turns took.
    pub turn_ns: DurationHistogram,
    /// Generation of the plan in force: a gauge.
    pub plan_generation: Counter,
    /// The reset epoch whose sweep is complete: a gauge.
    pub reset_epoch_swept: Counter,
}

impl WorkerCounters {
    /// Counters for `ports` ports and `members` member rows.
    pub fn new(ports: usize, members: usize) -> Self {
        Self {
            received: Counter::default(),
            transmitted: Counter::default(),
            answered: Counter::default(),
            parked: Counter::default(),
            taken: Counter::default(),
            punts_lost: Counter::default(),
            sessions_opened: Counter::default(),
            sessions_closed: Counter::default(),
            injected: Counter::default(),
            carries_lost: Counter::default(),
            copied: Counter::default(),
            copies_refused: Counter::default(),
            sessionless: Counter::default(),
            tiny_mtus: Counter::default(),
            drops: counters(DropReason::COUNT),
            ports: (0..ports).map(|_| PortCounters::default()).collect(),
            members: (0..members).map(|_| MemberCounters::default()).collect(),
            sessions_evicted: Counter::default(),
            persistence_lost: Counter::default(),
            source_ports_hurried: Counter::default(),
            turns_busy: Counter::default(),
            busy_ns: Counter::default(),
            elapsed_ns: Counter::default(),
            turn_ns: DurationHistogram::default(),
            plan_generation: Counter::default(),
            reset_epoch_swept: Counter::default(),
        }
    }

    /// Counts a dropped frame.
    #[inline]
    pub fn drop_for(&self, reason: DropReason) {
        self.drops[reason.index()].add(1);
    }

    /// All dropped frames.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().map(Counter::get).sum()
    }
}
