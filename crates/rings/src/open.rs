//! From interface names to the ports of every worker, in the order that loses the fewest frames.
//!
//! Control thread, at start. Programs come first and stand shut, which also decides the driver; then all
//! sockets of all workers; then the caller starts its workers and opens the gates. Refused are more workers
//! than the queues of an AF_XDP port, since a worker without a socket of its own there could not send.

use crate::packet::{PacketOptions, PacketPort, RECEIVE_SLOTS_DEFAULT, TRANSMIT_SLOTS_DEFAULT};
use crate::steering::{Attach, Driver, Gate, Steering};
use crate::tap::{self, HostLeg, HostLegSpec, TapPort};
use crate::worker_ports::{Port, WorkerPorts};
use crate::xdp::{Queues, XdpSet};
use crate::{Error, interface};
use std::sync::Arc;

/// Entries of each AF_XDP ring unless said otherwise: 2 ms of a gigabit of the shortest frames, and 8 MiB of
/// UMEM per queue, since a queue can have a full ring on its way in and another on its way out.
pub const RING_ENTRIES_DEFAULT: u32 = 2_048;

/// Entries of each AF_XDP ring at the most: 128 MiB of UMEM per queue.
pub const RING_ENTRIES_MAX: u32 = 32_768;

/// One port to be opened.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// The interface's name.
    pub interface: String,
    /// Which rings.
    pub driver: Driver,
    /// Where its programs are put.
    pub attach: Attach,
}

/// How long the rings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLengths {
    /// Entries of each of the four rings of an AF_XDP socket, a power of two.
    pub xdp_entries: u32,
    /// Slots of an AF_PACKET receive ring.
    pub packet_receive_slots: usize,
    /// Slots of an AF_PACKET transmit ring.
    pub packet_transmit_slots: usize,
}

impl Default for RingLengths {
    fn default() -> Self {
        Self {
            xdp_entries: RING_ENTRIES_DEFAULT,
            packet_receive_slots: RECEIVE_SLOTS_DEFAULT,
            packet_transmit_slots: TRANSMIT_SLOTS_DEFAULT,
        }
    }
}

/// What [`open`] gives back.
#[derive(Debug)]
pub struct Opened {
    /// One per interface, in the order of the specifications, still shut.
    pub gates: Vec<Arc<Gate>>,
    /// One per host leg, in the order of the specifications.
    pub host_legs: Vec<HostLeg>,
    /// One per worker, with all ports in each: the interfaces, and behind them the host legs.
    pub workers: Vec<WorkerPorts>,
}

/// Opens `ports` and makes `host_legs` for `workers` workers. Worker `w` has the queues `w`, `w + workers`,
/// `w + 2·workers`, … of each AF_XDP port, and its share of the flows of each AF_PACKET port and of each host
/// leg.
///
/// When an AF_XDP socket is refused, all ports with [`Driver::Auto`] go to AF_PACKET together and keep the
/// reason: between the two drivers every frame would be copied anyway.
pub fn open(
    steering: &Steering,
    ports: &[PortSpec],
    host_legs: &[HostLegSpec],
    workers: usize,
    lengths: &RingLengths,
) -> Result<Opened, Error> {
    check_lengths(lengths)?;
    let (host_legs, taps) = open_host_legs(host_legs, workers)?;
    let attach = |spec: &PortSpec| Gate::attach(steering, &spec.interface, spec.driver, spec.attach);
    let mut gates: Vec<Gate> = ports.iter().map(attach).collect::<Result<_, _>>()?;
    let rings = match open_rings(&gates, workers, lengths) {
        Err(reason) if demote(steering, ports, &mut gates, &reason)? => open_rings(&gates, workers, lengths),
        result => result,
    }?;
    let gates: Vec<Arc<Gate>> = gates.into_iter().map(Arc::new).collect();
    let workers = rings
        .into_iter()
        .zip(taps)
        .map(|(Rings { ports, umem }, taps)| {
            let ports = ports.into_iter().chain(taps.into_iter().map(Port::Tap)).collect();
            WorkerPorts::new(ports, umem, gates.clone())
        })
        .collect::<Result<_, _>>()?;
    Ok(Opened { gates, host_legs, workers })
}

/// Makes the host legs; for each worker its queues of all of them.
fn open_host_legs(specs: &[HostLegSpec], workers: usize) -> Result<(Vec<HostLeg>, Vec<Vec<TapPort>>), Error> {
    let mut host_legs = Vec::with_capacity(specs.len());
    let mut taps: Vec<Vec<TapPort>> = (0..workers).map(|_| Vec::with_capacity(specs.len())).collect();
    for spec in specs {
        let (host_leg, queues) = tap::open(spec, workers)?;
        host_legs.push(host_leg);
        taps.iter_mut().zip(queues).for_each(|(taps, queue)| taps.push(queue));
    }
    Ok((host_legs, taps))
}

/// Puts the ports that may be either on AF_PACKET; false when there are none on AF_XDP.
fn demote(
    steering: &Steering,
    ports: &[PortSpec],
    gates: &mut [Gate],
    reason: &Error,
) -> Result<bool, Error> {
    let mut demoted = false;
    for (spec, gate) in ports.iter().zip(gates) {
        if spec.driver == Driver::Auto && gate.is_xdp() {
            gate.detach();
            *gate = Gate::attach_instead(steering, &spec.interface, spec.attach, reason)?;
            demoted = true;
        }
    }
    Ok(demoted)
}

fn check_lengths(lengths: &RingLengths) -> Result<(), Error> {
    if lengths.xdp_entries.is_power_of_two() && lengths.xdp_entries <= RING_ENTRIES_MAX {
        return Ok(());
    }
    Err(Error::OutOfBounds {
        what: "entries of an AF_XDP ring".to_owned(),
        value: u64::from(lengths.xdp_entries),
        bound: u64::from(RING_ENTRIES_MAX),
        advice: "or no power of two; ask for 2048",
    })
}

/// The rings of one worker.
struct Rings {
    ports: Vec<Port>,
    umem: Option<crate::xdp::Umem>,
}

fn open_rings(gates: &[Gate], workers: usize, lengths: &RingLengths) -> Result<Vec<Rings>, Error> {
    // One iterator per AF_PACKET port, which deals out one ring to each worker.
    let mut groups = Vec::new();
    let mut queue_counts = Vec::new();
    for gate in gates {
        if gate.is_xdp() {
            queue_counts.push(queue_count(gate, workers)?);
            groups.push(None);
        } else {
            queue_counts.push(0);
            groups.push(Some(open_group(gate, workers, lengths)?.into_iter()));
        }
    }
    let mut rings = Vec::with_capacity(workers);
    for worker in 0..workers {
        let (mut xdp, umem) = open_xdp(gates, &queue_counts, worker, workers, lengths)?;
        let ports = groups
            .iter_mut()
            .map(|group| match group {
                Some(group) => group.next().map(Port::Packet),
                None => xdp.next(),
            })
            .collect::<Option<Vec<Port>>>();
        // A group has one ring per worker and the set one port per gate, so none is missing.
        let ports = ports.unwrap_or_default();
        rings.push(Rings { ports, umem });
    }
    for gate in gates.iter().filter(|gate| gate.is_xdp()) {
        gate.set_zero_copy(rings.iter().flat_map(|rings| &rings.ports).all(Port::is_zero_copy));
    }
    Ok(rings)
}

fn open_group(gate: &Gate, workers: usize, lengths: &RingLengths) -> Result<Vec<PacketPort>, Error> {
    let options = PacketOptions {
        receive_slots: lengths.packet_receive_slots,
        transmit_slots: lengths.packet_transmit_slots,
        filter: gate.filter(),
        ..PacketOptions::default()
    };
    PacketPort::open_group(gate.interface(), workers, &options)
}

/// How many queues the port has; at least one for each worker.
fn queue_count(gate: &Gate, workers: usize) -> Result<u32, Error> {
    let queues = interface::find(gate.interface())?.receive_queues;
    if workers > queues as usize {
        return Err(Error::OutOfBounds {
            what: format!("{}: workers on AF_XDP", gate.interface()),
            value: workers as u64,
            bound: u64::from(queues),
            advice: "each needs a queue of its own; raise the queues with `ethtool -L`, start fewer, or use \
                     AF_PACKET, where workers share queues (fanout) and may be more than those",
        });
    }
    Ok(queues)
}

/// The AF_XDP ports of one worker, in the order of their gates.
fn open_xdp(
    gates: &[Gate],
    queue_counts: &[u32],
    worker: usize,
    workers: usize,
    lengths: &RingLengths,
) -> Result<(impl Iterator<Item = Port>, Option<crate::xdp::Umem>), Error> {
    let xdp_gates = || gates.iter().zip(queue_counts).filter(|(gate, _)| gate.is_xdp());
    let mine: Vec<Vec<u32>> =
        xdp_gates().map(|(_, &count)| (worker as u32..count).step_by(workers).collect()).collect();
    let wanted: Vec<Queues<'_>> = xdp_gates()
        .zip(&mine)
        .map(|((gate, _), queues)| Queues {
            interface: gate.interface(),
            index: gate.interface_index(),
            queues,
            native: gate.is_native(),
        })
        .collect();
    if wanted.is_empty() {
        return Ok((Vec::new().into_iter().map(Port::Xdp), None));
    }
    let set = XdpSet::open(&wanted, lengths.xdp_entries)?;
    for ((gate, _), port) in xdp_gates().zip(&set.ports) {
        for (queue, socket) in port.sockets() {
            gate.insert_socket(queue, socket)?;
        }
    }
    Ok((set.ports.into_iter().map(Port::Xdp), Some(set.umem)))
}
