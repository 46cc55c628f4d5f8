//! A TAP device as a port: the host's leg in a network that the appliance has to itself.
//!
//! A bridge and a VLAN leave the kernel no interface of its own: the rings take every frame. The host takes
//! part through a TAP device instead, whose other end is a port of the workers like any other.
//!
//! ```text
//!   host's stack ◀─▶ device `name` ═╦═ queue (descriptor) of worker 0 ─read, write─ its port
//!                                   ╚═ queue (descriptor) of worker 1 ─read, write─ its port
//! ```
//!
//! The device announces no offload, so the kernel cuts what it sends into frames of the MTU and finishes
//! their checksums. It is not persistent: it goes with the last queue, also after `kill -9`. The kernel deals
//! its frames out to the queues by flow, and sends a flow's answers to the queue that last carried the flow.
//!
//! # The price of a frame, and of none
//!
//! There is no ring: a frame costs a system call, each way, and the writer also pays for the kernel's whole
//! way up. That suits what a host says and hears, not what is forwarded. A device with nothing to say must
//! cost a busy worker nearly nothing, and whether it has is itself a system call. So a read that finds
//! nothing is repeated only after [`RECEIVES_BETWEEN_READS`] receives; at once, however, when the worker has
//! slept (it may have been woken for this) and when it has written to the device, since the kernel answers
//! within the write. What the host begins of its own accord while a worker is busy may wait for so many
//! turns.
//!
//! Made by the control thread, called by its worker alone. Refused are names that an interface has already,
//! MTUs of which a frame would be longer than [`::port::FRAME_BYTES_MAX`], and more workers than a device has
//! queues.

mod device;
mod port;

pub use self::port::TapStatistics;

pub(crate) use self::device::Device;
pub(crate) use self::port::TapPort;

use crate::Error;

/// Receives that pass over an idle device without asking it.
pub const RECEIVES_BETWEEN_READS: u32 = 16;

/// Queues of a device at the most (`MAX_TAP_QUEUES` in the kernel's `drivers/net/tun.c`).
pub const QUEUES_MAX: usize = 256;

/// The longest packet that a host leg sends, in bytes and without the Ethernet header.
pub const MTU_BYTES_MAX: u32 = ::port::FRAME_BYTES_MAX as u32 - 14;

/// A TAP device to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLegSpec {
    /// Its interface name; no interface may have it yet.
    pub name: String,
    /// Its MAC address, the host's in that network.
    pub mac: [u8; 6],
    /// The longest packet that the host sends, in bytes and without the Ethernet header; at most
    /// [`MTU_BYTES_MAX`].
    pub mtu: u32,
}

/// A TAP device that was made. It lives as long as a [`crate::WorkerPorts`] that was opened with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLeg {
    /// Its interface name.
    pub name: String,
    /// Its interface number.
    pub index: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
}

/// Makes the device, up, with a queue for each of `workers` workers.
pub(crate) fn open(spec: &HostLegSpec, workers: usize) -> Result<(HostLeg, Vec<TapPort>), Error> {
    check(spec, workers)?;
    let device = Device::make(&spec.name)?;
    let more = (1..workers).map(|_| device.add_queue()).collect::<Result<Vec<_>, _>>()?;
    let index = device.set_up(spec.mac, spec.mtu)?;
    let queues = std::iter::once(device.into_queue()).chain(more);
    let ports = queues.map(TapPort::new).collect();
    Ok((HostLeg { name: spec.name.clone(), index, mac: spec.mac }, ports))
}

fn check(spec: &HostLegSpec, workers: usize) -> Result<(), Error> {
    let bounds = [
        ("MTU of a host leg", u64::from(spec.mtu), u64::from(MTU_BYTES_MAX), "set a smaller MTU"),
        ("workers with a queue", workers as u64, QUEUES_MAX as u64, "start fewer workers"),
    ];
    for (what, value, bound, advice) in bounds {
        if value > bound {
            return Err(Error::OutOfBounds { what: format!("{}: {what}", spec.name), value, bound, advice });
        }
    }
    Ok(())
}
