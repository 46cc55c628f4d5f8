//! Packet sockets for what switches frames in user space.
//!
//! Any thread may open one; who reads it blocks for [`LOOK_INTERVAL`] at the most.

use std::io;
use std::os::fd::IntoRawFd;
use std::time::Duration;

use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use crate::error::{Error, Result};
use crate::link::Endpoint;

/// How long a receive sleeps before it looks whether it shall end: the most that a drop waits.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Room for the bursts of a transfer while a thread waits for its turn.
pub(super) const BUFFER_BYTES: usize = 16 << 20;

/// Both sides of a packet socket on an interface. They have to be of one socket: it alone does not hear what
/// it sends.
pub(super) type Sides = (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>);

/// A packet socket with room for so many bytes of received frames.
pub(super) fn open(end: &Endpoint, buffer_bytes: usize) -> Result<Sides> {
    let opening = || format!("opening a packet socket on {}", end.interface());
    let channel = end.namespace().run(|| {
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        // Without a protocol it hears nothing before it is bound to its interface.
        let socket = socket_with(AddressFamily::PACKET, kind, flags, None)?;
        sockopt::set_socket_recv_buffer_size_force(&socket, buffer_bytes)?;
        let interface = datalink::interfaces().into_iter().find(|known| known.name == end.interface());
        let interface = interface.ok_or(io::ErrorKind::NotFound)?;
        let read_timeout = Some(LOOK_INTERVAL);
        let socket_fd = Some(socket.into_raw_fd());
        let config = datalink::Config { read_timeout, socket_fd, ..datalink::Config::default() };
        datalink::channel(&interface, config)
    })?;
    match channel.map_err(Error::system(opening()))? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => Err(Error::unusable(end.interface(), "only Ethernet frames can be switched")),
    }
}

/// Sends a frame; none where it could not be sent.
pub(super) fn send(sender: &mut dyn DataLinkSender, frame: &[u8]) -> Option<()> {
    sender.send_to(frame, None)?.ok()
}
