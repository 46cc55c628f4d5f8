//! A port on AF_PACKET: for interfaces and kernels on which AF_XDP is not to be had.
//!
//! One [`PacketPort`] is one interface in the hands of one worker, which alone may touch it; making and
//! dropping one is the control thread's. Frames are lent in place from a mapped receive ring and copied once
//! into a mapped transmit ring, which is kicked once a turn and never blocks.
//!
//! ```text
//!  interface ─▶ fanout (flow hash) ─▶ filter ─▶ receive ring ─lent─▶ engine ─copy─▶ transmit ring ▶ driver
//!            └▶ the kernel's own stack, unless it is kept out at ingress
//! ```
//!
//! Two sockets a port: one hears, one speaks. What is sent has a header in front that says how much of it the
//! kernel copies (see the transmit ring), and an option of the whole socket asks for it both ways.
//!
//! TPACKET_V2, not V3: V3 hands over whole blocks and its timer, of a millisecond at the least, is felt in
//! every round trip. An AF_PACKET socket *copies*: the kernel sees each frame too. Keeping it from answering
//! or forwarding what the appliance claims is not done here but at the ingress hook, by the steering program
//! or, before Linux 6.6, by [`crate::silence`].
//!
//! Received frames are made whole: a VLAN tag that the kernel took off is put back, and a checksum that a
//! sender on the same host left to hardware is computed. Refused and counted are frames above
//! [`port::FRAME_BYTES_MAX`] (merged by an offload that should be off), frames cut short, and unfinished
//! checksums behind headers that cannot be followed.

mod mapping;
mod mend;
mod receive;
mod socket;
mod transmit;

use crate::{Error, interface};
use mapping::{BLOCK_SLOTS, Slots};
use port::Burst;
use receive::{RESERVE_BYTES, ReceiveRing};
use socket::{Fanout, Socket};
use std::os::fd::BorrowedFd;
use transmit::TransmitRing;

/// Slots of a receive ring unless said otherwise: 8 MiB, or not quite 3 ms of the shortest frames at one
/// gigabit, which is how long a worker may be kept from its core before frames are lost.
pub const RECEIVE_SLOTS_DEFAULT: usize = 4_096;

/// Slots of a transmit ring unless said otherwise: 2 MiB, sixteen bursts between two kicks.
pub const TRANSMIT_SLOTS_DEFAULT: usize = 1_024;

/// Slots of one ring at the most: 128 MiB of kernel memory that cannot be swapped out.
pub const SLOTS_MAX: usize = 65_536;

/// How to open a port.
#[derive(Clone, Copy, Debug)]
pub struct PacketOptions<'a> {
    /// Slots of the receive ring; rounded up to whole blocks of 32.
    pub receive_slots: usize,
    /// Slots of the transmit ring; rounded up to whole blocks of 32.
    pub transmit_slots: usize,
    /// A loaded socket filter program: the port receives what it accepts and nothing before it is attached.
    /// `None` receives everything.
    pub filter: Option<BorrowedFd<'a>>,
    /// Hands frames to the driver past the queueing discipline: a full driver queue then drops, and captures on
    /// this host do not see what is sent. Cheaper only where a discipline does some work; a veth has none.
    pub bypass_queueing: bool,
}

impl Default for PacketOptions<'_> {
    fn default() -> Self {
        Self {
            receive_slots: RECEIVE_SLOTS_DEFAULT,
            transmit_slots: TRANSMIT_SLOTS_DEFAULT,
            filter: None,
            bypass_queueing: false,
        }
    }
}

/// What a port counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketStatistics {
    /// Frames that the kernel dropped because the receive ring was full.
    pub ring_full: u64,
    /// Received frames longer than a port carries.
    pub oversize: u64,
    /// Received frames cut short, or at a place outside their slot.
    pub truncated: u64,
    /// Received frames with an unfinished checksum that could not be computed.
    pub unfinished: u64,
    /// Frames that found the transmit ring full, or that no link carries.
    pub transmit_refused: u64,
    /// Queued frames dropped because the link was down or gone.
    pub transmit_withdrawn: u64,
}

/// How the link of a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkHealth {
    /// Up: frames can come and go.
    Up,
    /// Down; the port goes on by itself when the link comes up.
    Down,
    /// Removed or moved to another network namespace; this port will never see a frame again.
    Removed,
}

/// One interface in the hands of one worker.
#[derive(Debug)]
pub struct PacketPort {
    receive: ReceiveRing,
    transmit: TransmitRing,
    socket: Socket,
    /// Another one, since what frames to be sent have in front of them received ones would have too.
    transmit_socket: Socket,
    index: u32,
    ring_full: u64,
}

impl PacketPort {
    /// Opens the only port of `interface`: it receives all of its frames.
    pub fn open(interface: &str, options: &PacketOptions<'_>) -> Result<Self, Error> {
        let port = Self::bound(interface, options)?;
        port.socket.listen(options.filter)?;
        Ok(port)
    }

    /// Opens one port per worker. The kernel deals the frames of `interface` out by flow, both directions of
    /// a flow to the same port. On kernels before 6.14 more than one port needs the interface to be up.
    pub fn open_group(
        interface: &str,
        workers: usize,
        options: &PacketOptions<'_>,
    ) -> Result<Vec<Self>, Error> {
        if workers == 1 {
            return Ok(vec![Self::open(interface, options)?]);
        }
        let mut ports = Vec::with_capacity(workers);
        let mut fanout = Fanout::New;
        for _ in 0..workers {
            let port = Self::bound(interface, options)?;
            fanout = Fanout::Join(port.socket.join(fanout)?);
            ports.push(port);
        }
        for port in &ports {
            port.socket.listen(options.filter)?;
        }
        Ok(ports)
    }

    /// A port that has its rings and its interface, and hears nothing yet.
    fn bound(interface: &str, options: &PacketOptions<'_>) -> Result<Self, Error> {
        let receive_slots = whole_blocks(interface, "receive slots", options.receive_slots)?;
        let transmit_slots = whole_blocks(interface, "transmit slots", options.transmit_slots)?;
        let index = interface::find(interface)?.index;
        let socket = Socket::new(interface)?;
        socket.prepare_to_receive(RESERVE_BYTES)?;
        socket.make_ring(libc::PACKET_RX_RING, receive_slots)?;
        let receive = ReceiveRing::new(Slots::new(socket.descriptor(), receive_slots)?);
        socket.bind(index, libc::ETH_P_ALL)?;
        let transmit_socket = Socket::new(interface)?;
        transmit_socket.prepare_to_transmit()?;
        if options.bypass_queueing {
            transmit_socket.bypass_queueing()?;
        }
        transmit_socket.make_ring(libc::PACKET_TX_RING, transmit_slots)?;
        let transmit = TransmitRing::new(Slots::new(transmit_socket.descriptor(), transmit_slots)?);
        transmit_socket.bind(index, 0)?;
        Ok(Self { receive, transmit, socket, transmit_socket, index, ring_full: 0 })
    }

    /// Lends the frames that have come, at most [`port::BURST_FRAMES_MAX`], in place. Never blocks. What the
    /// last burst lent is given back.
    #[inline]
    pub fn receive(&mut self) -> Burst<'_> {
        self.receive.receive()
    }

    /// `length` bytes at `start` of the buffer of frame `index` of the last burst, as the engine left them;
    /// `None` when they are not all in that buffer or there is no such frame.
    #[inline]
    pub fn lent(&self, index: usize, start: usize, length: usize) -> Option<&[u8]> {
        self.receive.lent(index, start, length)
    }

    /// Gives the slots of the last burst back to the kernel.
    #[inline]
    pub fn release(&mut self) {
        self.receive.release();
    }

    /// Queues a copy of `frame` for the next flush. False when there was no room for it.
    #[inline]
    pub fn transmit(&mut self, frame: &[u8]) -> bool {
        self.transmit.queue(frame)
    }

    /// Queues a copy of a lent frame on the port that it came in by: [`PacketPort::lent`], then
    /// [`PacketPort::transmit`].
    #[inline]
    pub fn reflect(&mut self, index: usize, start: usize, length: usize) -> bool {
        match self.receive.lent(index, start, length) {
            Some(frame) => self.transmit.queue(frame),
            None => false,
        }
    }

    /// Lets the kernel take what was queued. One system call, which never blocks; none when nothing is
    /// queued.
    #[inline]
    pub fn flush(&mut self) {
        self.transmit.flush(self.transmit_socket.descriptor());
    }

    /// The socket, readable when frames wait.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.descriptor()
    }

    /// How the link is. Two or three system calls: for the slow part of a worker's life, not for each turn.
    pub fn health(&self) -> LinkHealth {
        self.socket.clear_error();
        self.transmit_socket.clear_error();
        if !self.socket.is_bound() {
            return LinkHealth::Removed;
        }
        match interface::is_up(self.socket.descriptor(), self.index) {
            Some(true) => LinkHealth::Up,
            Some(false) => LinkHealth::Down,
            None => LinkHealth::Removed,
        }
    }

    /// What was counted since the port was opened. One system call.
    pub fn statistics(&mut self) -> PacketStatistics {
        self.ring_full += u64::from(self.socket.take_drops());
        let refusals = self.receive.refusals;
        PacketStatistics {
            ring_full: self.ring_full,
            oversize: refusals.oversize,
            truncated: refusals.truncated,
            unfinished: refusals.unfinished,
            transmit_refused: self.transmit.refused,
            transmit_withdrawn: self.transmit.withdrawn,
        }
    }
}

fn whole_blocks(interface: &str, what: &str, slots: usize) -> Result<usize, Error> {
    if slots > SLOTS_MAX {
        return Err(Error::OutOfBounds {
            what: format!("{interface}: {what}"),
            value: slots as u64,
            bound: SLOTS_MAX as u64,
            advice: "ask for fewer",
        });
    }
    Ok(slots.max(1).next_multiple_of(BLOCK_SLOTS))
}
