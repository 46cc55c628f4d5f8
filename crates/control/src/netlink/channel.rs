//! A netlink socket that speaks in whole messages.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// What one datagram may hold. The kernel fills dumps up to 32 KiB; a single message stays far below that.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// How often a dump is repeated that changed while it was read. The last one is taken as it is: what changed
/// meanwhile also comes as an event.
const DUMP_ATTEMPTS_MAX: u32 = 3;

/// `MSG_TRUNC`: a receive returns the true length of a datagram that did not fit.
const TELL_TRUE_LENGTH: i32 = 0x20;

/// A message of the kernel about links, addresses, routes or neighbours.
pub(super) type Message = NetlinkMessage<RouteNetlinkMessage>;

/// A socket to the kernel of the network namespace in which it was made.
pub(super) struct Channel {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Channel {
    /// For requests: a dump never waits, since the kernel fills it within the receive call.
    pub(super) fn blocking() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM_BYTES_MAX], sequence: 0 })
    }

    /// For events of these multicast groups, or for requests whose refusals are read when convenient.
    pub(super) fn non_blocking(groups: &[u32], receive_buffer_bytes: i32) -> Result<Self> {
        let channel = Self::blocking()?;
        channel.socket.set_non_blocking(true)?;
        channel.socket.set_rx_buf_sz(receive_buffer_bytes)?;
        for &group in groups {
            channel.socket.add_membership(group)?;
        }
        Ok(channel)
    }

    /// Sends one request.
    pub(super) fn send(&mut self, request: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map(drop)
    }

    /// Reads one datagram and gives its messages to `each`, those that cannot be parsed as an error.
    /// `WouldBlock`: there is none. `ENOBUFS` as the kernel says it: events were lost.
    pub(super) fn receive(&mut self, mut each: impl FnMut(Result<Message>)) -> Result<()> {
        let (length, sender) = self.socket.recv_from(&mut &mut self.buffer[..], TELL_TRUE_LENGTH)?;
        if sender.port_number() != 0 {
            return Ok(());
        }
        let Some(mut rest) = self.buffer.get(..length) else {
            let text =
                format!("netlink datagram of {length} bytes, at most {DATAGRAM_BYTES_MAX} can be read");
            return Err(Error::new(ErrorKind::InvalidData, text));
        };
        while let Ok(envelope) = NetlinkBuffer::new_checked(rest) {
            each(
                Message::deserialize(rest)
                    .map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string())),
            );
            // Messages start at multiples of four (RFC 3549, 2.3.2); `new_checked` has seen to a length of 16
            // at least.
            let next = (envelope.length() as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[next..];
        }
        Ok(())
    }

    /// Reads a whole table.
    pub(super) fn dump(&mut self, request: &RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (entries, interrupted) = self.dump_once(request.clone())?;
            if !interrupted || attempts == DUMP_ATTEMPTS_MAX {
                return Ok(entries);
            }
        }
    }

    fn dump_once(&mut self, request: RouteNetlinkMessage) -> Result<(Vec<RouteNetlinkMessage>, bool)> {
        self.send(request, NLM_F_DUMP)?;
        let sequence = self.sequence;
        let mut entries = Vec::new();
        let mut interrupted = false;
        let mut end = None;
        while end.is_none() {
            self.receive(|message| match message {
                Ok(message) if message.header.sequence_number != sequence => {}
                Ok(message) => {
                    interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                    match message.payload {
                        NetlinkPayload::InnerMessage(entry) => entries.push(entry),
                        NetlinkPayload::Done(_) => end = Some(Ok(())),
                        NetlinkPayload::Error(refusal) => end = Some(Err(refusal.to_io())),
                        _ => {}
                    }
                }
                Err(error) => tracing::warn!(%error, "an entry of a kernel table is left out"),
            })?;
        }
        end.unwrap_or(Ok(())).map(|()| (entries, interrupted))
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
