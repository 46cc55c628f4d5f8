//! All the ports of one worker, of either driver, as the engine sees them.
//!
//! Opened on the control thread, then moved to the worker, which alone calls them. The ports come first in
//! here, then the UMEM; but before either goes, the gates' programs are taken off, so that no frame is
//! steered to a socket that is closing. A set of workers ends together: when the first of them drops its
//! ports, the kernel has the interfaces back.
//!
//! ```text
//!                        to AF_XDP                   to AF_PACKET                 to TAP
//!   from AF_XDP          the chunk moves             copied to the transmit ring  written to the device
//!   from AF_PACKET, TAP  copied to a free chunk      copied to the transmit ring  written to the device
//! ```

use crate::Error;
use crate::packet::{PacketPort, PacketStatistics};
use crate::steering::Gate;
use crate::tap::{TapPort, TapStatistics};
use crate::wait::{Waiter, Waker};
use crate::xdp::{Held, Umem, XdpPort, XdpStatistics};
use port::{Burst, PortIndex, Ports, Settled, Verdict};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// How long a worker sleeps at the most while frames wait for a driver that had no room for them.
const UNSENT_RETRY: Duration = Duration::from_millis(1);

/// One port, by its driver. Both lie in line: a port is reached in every turn, and there are few of them.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Port {
    Xdp(XdpPort),
    Packet(PacketPort),
    Tap(TapPort),
}

/// What the rings of a port counted since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortStatistics {
    /// An AF_XDP port.
    Xdp(XdpStatistics),
    /// An AF_PACKET port.
    Packet(PacketStatistics),
    /// A host leg.
    Tap(TapStatistics),
}

impl PortStatistics {
    /// Every way in which frames were lost, with its name.
    pub fn losses(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let (xdp, packet, tap) = match self {
            Self::Xdp(statistics) => (Some(xdp_losses(statistics)), None, None),
            Self::Packet(statistics) => (None, Some(packet_losses(statistics)), None),
            Self::Tap(statistics) => (None, None, Some(tap_losses(statistics))),
        };
        xdp.into_iter().flatten().chain(packet.into_iter().flatten()).chain(tap.into_iter().flatten())
    }
}

fn xdp_losses(statistics: &XdpStatistics) -> [(&'static str, u64); 8] {
    let XdpStatistics { kernel, oversize, bad_descriptors, transmit_refused } = *statistics;
    [
        ("rx_dropped", kernel.rx_dropped),
        ("rx_invalid_descriptors", kernel.rx_invalid_descriptors),
        ("rx_ring_full", kernel.rx_ring_full),
        ("rx_fill_ring_empty", kernel.rx_fill_ring_empty),
        ("rx_oversize", oversize),
        ("tx_invalid_descriptors", kernel.tx_invalid_descriptors),
        ("bad_descriptors", bad_descriptors),
        ("transmit_refused", transmit_refused),
    ]
}

fn packet_losses(statistics: &PacketStatistics) -> [(&'static str, u64); 6] {
    [
        ("rx_ring_full", statistics.ring_full),
        ("rx_oversize", statistics.oversize),
        ("rx_truncated", statistics.truncated),
        ("rx_unfinished_checksum", statistics.unfinished),
        ("transmit_refused", statistics.transmit_refused),
        ("transmit_withdrawn", statistics.transmit_withdrawn),
    ]
}

fn tap_losses(statistics: &TapStatistics) -> [(&'static str, u64); 2] {
    let TapStatistics { oversize, transmit_refused } = *statistics;
    [("rx_oversize", oversize), ("transmit_refused", transmit_refused)]
}

/// Where the chunks of a worker's UMEM are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UmemUse {
    /// All of them.
    pub chunks: usize,
    /// With nobody.
    pub free: usize,
    /// Lent to the engine.
    pub lent: usize,
    /// With the kernel, to receive into.
    pub receiving: usize,
    /// With the kernel, to send.
    pub sending: usize,
}

/// All the ports of one worker.
#[derive(Debug)]
pub struct WorkerPorts {
    ports: Vec<Port>,
    /// Of the AF_XDP ports; `None` when there are none.
    umem: Option<Umem>,
    waiter: Waiter,
    gates: Vec<Arc<Gate>>,
}

impl Drop for WorkerPorts {
    fn drop(&mut self) {
        self.gates.iter().for_each(|gate| gate.detach());
    }
}

impl WorkerPorts {
    pub(crate) fn new(ports: Vec<Port>, umem: Option<Umem>, gates: Vec<Arc<Gate>>) -> Result<Self, Error> {
        Ok(Self { ports, umem, waiter: Waiter::new()?, gates })
    }

    /// What ends a [`WorkerPorts::wait`] from another thread.
    pub fn waker(&self) -> Waker {
        self.waiter.waker()
    }

    /// Sleeps until a frame has come, the waker was used or `timeout` is over; true when it was the waker.
    /// Returns at once when frames already wait.
    pub fn wait(&mut self, timeout: Option<Duration>) -> bool {
        let unsent = self.ports.iter().any(|port| matches!(port, Port::Xdp(xdp) if xdp.has_unsent()));
        let timeout = match unsent {
            true => Some(timeout.unwrap_or(UNSENT_RETRY).min(UNSENT_RETRY)),
            false => timeout,
        };
        let Self { ports, waiter, .. } = self;
        let woken = waiter.wait(ports.iter().flat_map(Port::descriptors), timeout);
        for port in ports {
            if let Port::Tap(tap) = port {
                tap.ask_next();
            }
        }
        woken
    }

    /// What the rings of `port` counted; one system call for each of its queues. `None` when there is no such
    /// port.
    pub fn statistics(&mut self, port: PortIndex) -> Option<PortStatistics> {
        Some(match self.ports.get_mut(port.index())? {
            Port::Xdp(xdp) => PortStatistics::Xdp(xdp.statistics()),
            Port::Packet(packet) => PortStatistics::Packet(packet.statistics()),
            Port::Tap(tap) => PortStatistics::Tap(tap.statistics()),
        })
    }

    /// Where the chunks of the UMEM are: all of them, in one place each.
    pub fn umem_use(&self) -> UmemUse {
        let Some(umem) = &self.umem else { return UmemUse::default() };
        let mut count = UmemUse { chunks: umem.chunks(), free: umem.free_chunks(), ..UmemUse::default() };
        for port in &self.ports {
            if let Port::Xdp(xdp) = port {
                let (lent, receiving, sending) = xdp.chunks();
                count.lent += lent;
                count.receiving += receiving;
                count.sending += sending;
            }
        }
        count
    }

    /// Sends or frees the frames that an AF_XDP port lent.
    fn settle_xdp(&mut self, ingress: usize, verdicts: &[Verdict]) -> Settled {
        let (Port::Xdp(port), Some(umem)) = (&mut self.ports[ingress], &mut self.umem) else {
            return Settled::default();
        };
        let lane = port.lent_lane();
        let mut list = port.take_lent();
        let mut frames = list.drain(..);
        let mut verdicts = &verdicts[..verdicts.len().min(frames.len())];
        let mut settled = Settled::default();
        while let Some(&first) = verdicts.first() {
            let run = run_length(first, verdicts);
            let (now, later) = verdicts.split_at(run);
            verdicts = later;
            let held = now.iter().zip(frames.by_ref()).map(|(verdict, held)| held_now(verdict, held));
            let egress = match first {
                Verdict::Transmit { port, .. } => self.ports.get_mut(port.index()),
                Verdict::Drop => None,
            };
            let refused = match egress {
                Some(egress) => egress.take(umem, held, lane),
                None => {
                    held.for_each(|held| umem.give_back(held.chunk));
                    if first == Verdict::Drop { 0 } else { run as u32 }
                }
            };
            settled.refused += refused;
        }
        frames.for_each(|held| umem.give_back(held.chunk));
        if let Port::Xdp(port) = &mut self.ports[ingress] {
            port.keep_list(list);
        }
        settled
    }

    /// Copies the frames that an AF_PACKET or TAP port lent to where they go, and gives their places back.
    fn settle_copied(&mut self, ingress: usize, verdicts: &[Verdict]) -> Settled {
        let mut settled = Settled::default();
        for (index, verdict) in verdicts.iter().enumerate() {
            let &Verdict::Transmit { port: egress, start, length } = verdict else { continue };
            let sent =
                self.copy_lent(ingress, index, egress.index(), usize::from(start), usize::from(length));
            settled.refused += u32::from(!sent);
        }
        match &mut self.ports[ingress] {
            Port::Packet(port) => port.release(),
            Port::Tap(port) => port.release(),
            Port::Xdp(_) => {}
        }
        settled
    }

    fn copy_lent(
        &mut self,
        ingress: usize,
        index: usize,
        egress: usize,
        start: usize,
        length: usize,
    ) -> bool {
        if ingress == egress {
            return match &mut self.ports[ingress] {
                Port::Packet(port) => port.reflect(index, start, length),
                Port::Tap(port) => port.reflect(index, start, length),
                Port::Xdp(_) => false,
            };
        }
        let Ok([from, to]) = self.ports.get_disjoint_mut([ingress, egress]) else { return false };
        let frame = match from {
            Port::Packet(from) => from.lent(index, start, length),
            Port::Tap(from) => from.lent(index, start, length),
            Port::Xdp(_) => None,
        };
        frame.is_some_and(|frame| to.send_copy(self.umem.as_mut(), frame))
    }
}

/// How many verdicts from the first on send to the same port, or drop.
#[inline]
fn run_length(first: Verdict, verdicts: &[Verdict]) -> usize {
    let is_alike = |verdict: &&Verdict| match (first, verdict) {
        (Verdict::Transmit { port: one, .. }, Verdict::Transmit { port: other, .. }) => one == *other,
        (Verdict::Drop, Verdict::Drop) => true,
        _ => false,
    };
    verdicts.iter().take_while(is_alike).count()
}

/// The frame where its verdict says that it lies.
#[inline]
fn held_now(verdict: &Verdict, held: Held) -> Held {
    match *verdict {
        Verdict::Transmit { start, length, .. } => Held { start, length, ..held },
        Verdict::Drop => held,
    }
}

impl Port {
    /// Sends frames that lie in the UMEM: by moving them, or by copying each once. Their chunks are taken care of
    /// either way. Gives back how many were refused.
    #[inline]
    fn take(&mut self, umem: &mut Umem, frames: impl ExactSizeIterator<Item = Held>, lane: usize) -> u32 {
        match self {
            Self::Xdp(port) => port.transmit(umem, frames, lane),
            Self::Packet(_) | Self::Tap(_) => frames.fold(0, |refused, held| {
                let sent = umem.frame(&held).is_some_and(|frame| self.send_copy(None, frame));
                umem.give_back(held.chunk);
                refused + u32::from(!sent)
            }),
        }
    }

    /// Sends a frame that lies elsewhere, by copying it once.
    #[inline]
    fn send_copy(&mut self, umem: Option<&mut Umem>, frame: &[u8]) -> bool {
        match (self, umem) {
            (Self::Xdp(port), Some(umem)) => port.transmit_copy(umem, frame, 0),
            (Self::Xdp(_), None) => false,
            (Self::Packet(port), _) => port.transmit(frame),
            (Self::Tap(port), _) => port.transmit(frame),
        }
    }

    /// Whether no frame of it is copied; the others have no say in that.
    pub(crate) fn is_zero_copy(&self) -> bool {
        match self {
            Self::Xdp(port) => port.is_zero_copy(),
            Self::Packet(_) | Self::Tap(_) => true,
        }
    }

    fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let (xdp, other) = match self {
            Self::Xdp(port) => (Some(port), None),
            Self::Packet(port) => (None, Some(port.fd())),
            Self::Tap(port) => (None, port.fd()),
        };
        xdp.into_iter().flat_map(|port| port.sockets().map(|(_, fd)| fd)).chain(other)
    }
}

impl Ports for WorkerPorts {
    fn count(&self) -> usize {
        self.ports.len()
    }

    #[inline]
    fn receive(&mut self, port: PortIndex) -> Burst<'_> {
        match (self.ports.get_mut(port.index()), &mut self.umem) {
            (Some(Port::Xdp(port)), Some(umem)) => port.receive(umem),
            (Some(Port::Packet(port)), _) => port.receive(),
            (Some(Port::Tap(port)), _) => port.receive(),
            _ => Burst::new(),
        }
    }

    #[inline]
    fn settle(&mut self, port: PortIndex, verdicts: &[Verdict]) -> Settled {
        match self.ports.get(port.index()) {
            Some(Port::Xdp(_)) => self.settle_xdp(port.index(), verdicts),
            Some(Port::Packet(_) | Port::Tap(_)) => self.settle_copied(port.index(), verdicts),
            None => Settled::default(),
        }
    }

    fn inject(&mut self, port: PortIndex, frame: &[u8]) -> bool {
        let Some(port) = self.ports.get_mut(port.index()) else { return false };
        port.send_copy(self.umem.as_mut(), frame)
    }

    fn flush(&mut self) {
        for port in &mut self.ports {
            match port {
                Port::Xdp(port) => port.flush(),
                Port::Packet(port) => port.flush(),
                // Written already.
                Port::Tap(_) => {}
            }
        }
    }
}
