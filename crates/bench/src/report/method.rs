//! What each kind of trial is, in words for the reader of a report.

use crate::profile::TrialKind;
use crate::results::Quantity;

/// `quantities` are what the trial counts: figures of memory alone are no trial of a generator, whatever their kind.
pub(super) fn about(kind: TrialKind, quantities: &[Quantity]) -> &'static str {
    let is_of_turns = |quantity: &Quantity| {
        matches!(
            quantity,
            Quantity::TurnP9999 | Quantity::Calibrations | Quantity::Instructions | Quantity::SessionBytes
        )
    };
    if quantities.iter().all(is_of_turns) {
        return "Measured inside the worker: what its turns take. A cal is one line of memory of a loop that ran in the same \
                seconds.";
    }
    match kind {
        TrialKind::Throughput => {
            "The highest rate at which no packet is lost, found by a search that begins at the highest rate and halves what \
             is left (RFC 2544, 26.1). Frame sizes count the 4 bytes of the FCS."
        }
        TrialKind::Latency => {
            "Time from the generator's transmission of a packet to its return, at a share of the device's own throughput of \
             the same round or at one rate for all (RFC 2544, 26.2)."
        }
        TrialKind::LossCurve => {
            "Loss against offered load, from the highest rate down until two runs lose nothing (RFC 2544, 26.3)."
        }
        TrialKind::BackToBack => {
            "The longest burst of frames without a gap that comes through whole, the mean of several searches (RFC 2544, \
             26.4, and RFC 9004). It says how much a device can buffer."
        }
        TrialKind::Flood => {
            "As much goes in as the generator can send; what comes out counts. It says what a device does under overload, \
             and is the steadiest figure to compare devices by."
        }
        TrialKind::NewFlows => "The same, and every packet opens a session.",
        TrialKind::ConnectionRate => {
            "New TCP connections a second, each opened, used once and closed (RFC 9411, 7.2)."
        }
        TrialKind::ConcurrentConnections => {
            "Connections that are opened at a rate, all held at once with data on them, and closed (RFC 9411, 7.5). What counts is \
             how many were held at once and ended as they should; nothing is sent twice, so a lost segment fails its \
             connection."
        }
        TrialKind::Ramp => {
            "Connections a second that go up, stay, and go down; only what happens while the rate stays counts (RFC 9411, \
             4.3.4)."
        }
        TrialKind::RoundTrip => {
            "One UDP packet at a time, to a peer behind the device and back. What is measured holds both ways and the peers' \
             own time; the wire alone (direct) says how much that is."
        }
        TrialKind::Transfer => "One long transfer by TCP through the device.",
        TrialKind::Idle => {
            "No traffic, then one packet: what waiting costs, and how late the first packet is."
        }
    }
}
