//! Whether the kernel can make frames for an interface, and what became of them.
//!
//! Nobody tells a sender that the interface did not take its frames, so a probe asks before the run: a few
//! frames of an EtherType for experiments (IEEE 802, 0x88b5), which every host ignores, must show in the
//! interface's own counters. What it drops in the run is read there too.

use std::thread;
use std::time::{Duration, Instant};

use rings::interface::{self, Transmitted};
use rings::live::{LiveChecksum, LiveFrame, LiveSender, LiveSequence};
use wire::{Mac, build};

const ETHERTYPE_EXPERIMENTAL: u16 = 0x88b5;

/// Frames of the probe. Others may be sent meanwhile, so that they must all show.
const PROBES: u32 = 8;

/// How long they may take.
const PATIENCE: Duration = Duration::from_millis(50);

/// Why live frames cannot be had here; `None` when they can.
pub fn why_not(interface: &str) -> Option<String> {
    match probe(interface) {
        Ok(0) => None,
        Ok(missing) => Some(format!(
            "{missing} of {PROBES} live frames were not taken by {interface}; the other end of a veth needs an \
             XDP program or `ethtool -K … gro on`, a NIC a driver that takes redirected frames"
        )),
        Err(error) => Some(error.to_string()),
    }
}

/// How many frames of a probe were not sent.
fn probe(interface: &str) -> Result<u64, rings::Error> {
    let found = interface::find(interface)?;
    let frame =
        build::padded(build::ethernet(Mac(found.mac), Mac(found.mac)).raw(ETHERTYPE_EXPERIMENTAL, &[]));
    // Numbers and sums go where nobody looks.
    let plan = LiveFrame {
        frame,
        headers_bytes: 14,
        flows: 1,
        addresses: 1,
        address_first: 0,
        port_first: 0,
        address_at: 16,
        port_at: 20,
        sequence_at: 24,
        time_at: None,
        network_checksum: None,
        transport_checksum: LiveChecksum { at: 28, sum: 0 },
        zero_is_ones: false,
    };
    let sender = LiveSender::new(found.index, &plan, &LiveSequence::new()?)?;
    let before = count(interface).frames;
    sender.send(PROBES)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let missing = u64::from(PROBES).saturating_sub(count(interface).frames - before);
        if missing == 0 || Instant::now() >= deadline {
            return Ok(missing);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// What the interface counted so far.
pub fn count(interface: &str) -> Transmitted {
    interface::transmitted(interface).unwrap_or_default()
}
