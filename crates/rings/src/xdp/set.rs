//! All AF_XDP sockets of one worker, over one UMEM.

use super::port::XdpPort;
use super::socket::{Place, Share, XdpSocket};
use super::umem::Umem;
use crate::Error;
use port::BURST_FRAMES_MAX;
use std::os::fd::BorrowedFd;

/// Which queues of an interface become a port of this worker.
#[derive(Clone, Debug)]
pub(crate) struct Queues<'a> {
    pub interface: &'a str,
    pub index: u32,
    pub queues: &'a [u32],
    /// Whether its program sits in the driver, without which there is no zero-copy.
    pub native: bool,
}

/// The ports of one worker and the memory that they share. The ports come first: their sockets are closed
/// before the memory goes.
#[derive(Debug)]
pub(crate) struct XdpSet {
    pub ports: Vec<XdpPort>,
    pub umem: Umem,
}

impl XdpSet {
    /// Opens all sockets, with rings of `entries`. Zero-copy where every driver has it; otherwise, since one
    /// UMEM has one mode, copies in all.
    pub(crate) fn open(ports: &[Queues<'_>], entries: u32) -> Result<Self, Error> {
        let copy = ports.iter().any(|port| !port.native);
        match Self::open_in_mode(ports, entries, copy) {
            Err(Error::Unsupported { .. }) if !copy => Self::open_in_mode(ports, entries, true),
            result => result,
        }
    }

    fn open_in_mode(ports: &[Queues<'_>], entries: u32, copy: bool) -> Result<Self, Error> {
        // Every ring can be full at once and a burst still be in the engine's hands: no port can starve
        // another.
        let sockets: usize = ports.iter().map(|port| port.queues.len()).sum();
        let chunks = sockets as u32 * 2 * entries + 2 * BURST_FRAMES_MAX as u32;
        let mut umem = Umem::new(chunks)?;
        let mut opened: Vec<Vec<XdpSocket>> = Vec::with_capacity(ports.len());
        for port in ports {
            let mut sockets = Vec::with_capacity(port.queues.len());
            for &queue in port.queues {
                let place = Place { interface: port.interface, index: port.index, queue };
                let first: Option<BorrowedFd<'_>> =
                    opened.iter().flatten().chain(&sockets).next().map(XdpSocket::fd);
                let share = first.map_or(Share::First { copy }, Share::With);
                let socket = XdpSocket::open(&place, &umem, share, entries)?;
                sockets.push(socket);
            }
            opened.push(sockets);
        }
        let ports = opened.into_iter().map(|sockets| XdpPort::new(sockets, entries, &mut umem)).collect();
        Ok(Self { ports, umem })
    }
}
