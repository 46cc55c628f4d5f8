//! Raw sockets, and the listeners that keep the kernel out of half-open connections.
//!
//! A raw TCP socket gets a copy of what the kernel's TCP gets, and that one would answer a SYN-ACK that it knows nothing
//! of with a reset of its own. So each source port of half-open checks has a listener whose filter drops everything: the
//! kernel finds it, asks the filter, and is silent. Nobody can connect to it, nor does it ever accept.
//!
//! The raw sockets have filters too: this thread is not woken for segments and echoes that are not for it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, connect_unspec, getsockname,
    ipproto, listen, recvfrom, sendto, socket_with, sockopt,
};
use socket2::{SockFilter, SockRef};
use wire::icmp::{v4, v6};

/// Source ports of half-open checks, on every address of this host: above what kernels give out by themselves
/// (`net.ipv4.ip_local_port_range` ends at 60,999). One that somebody else holds is left out.
pub const HALF_OPEN_PORTS: Range<u16> = 61_440..61_456;

/// What a raw socket holds unread, in bytes, where the kernel allows it: some thousand answers.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;

/// More than any answer has that counts: an error quotes 576 bytes (RFC 1812, 4.3.2.3) or 1,280 (RFC 4443, 2.4).
pub(in crate::check) const PACKET_BYTES_MAX: usize = 2_048;

/// A raw socket of one family and protocol, in the poll.
pub(in crate::check) struct RawSocket {
    descriptor: OwnedFd,
}

impl RawSocket {
    /// For ICMP: echo replies with our identifier, and errors.
    pub(in crate::check) fn icmp(
        is_v4: bool,
        identifier: u16,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let protocol = if is_v4 { ipproto::ICMP } else { ipproto::ICMPV6 };
        let filter = if is_v4 { icmp_filter_v4(identifier) } else { icmp_filter_v6(identifier) };
        Self::open(is_v4, protocol, &filter, registry, token)
    }

    /// For TCP: segments to these ports of ours.
    pub(in crate::check) fn tcp(
        is_v4: bool,
        ports: Range<u16>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let (v4, v6) = (tcp_filter_v4(&ports), tcp_filter_v6(&ports));
        let filter: &[SockFilter] = if is_v4 { &v4 } else { &v6 };
        Self::open(is_v4, ipproto::TCP, filter, registry, token)
    }

    fn open(
        is_v4: bool,
        protocol: rustix::net::Protocol,
        filter: &[SockFilter],
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let descriptor = socket_with(family(is_v4), SocketType::RAW, flags, Some(protocol))?;
        SockRef::from(&descriptor).attach_filter(filter)?;
        // Above the system's limit for ordinary users, if we may; else what it gives.
        if sockopt::set_socket_recv_buffer_size_force(&descriptor, RECEIVE_BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&descriptor, RECEIVE_BUFFER_BYTES)?;
        }
        registry.register(&mut SourceFd(&descriptor.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { descriptor })
    }

    pub(in crate::check) fn send(&self, to: IpAddr, bytes: &[u8]) -> io::Result<()> {
        sendto(&self.descriptor, bytes, SendFlags::empty(), &SocketAddr::new(to, 0))?;
        Ok(())
    }

    /// What came, and from whom; `None`: nothing more now. With IPv4 the IP header comes too.
    pub(in crate::check) fn receive<'a>(
        &self,
        buffer: &'a mut [u8],
    ) -> io::Result<Option<(IpAddr, &'a mut [u8])>> {
        loop {
            return match recvfrom(&self.descriptor, &mut *buffer, RecvFlags::empty()) {
                Ok((length, _, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    let from = from.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |from| from.ip());
                    Ok(Some((from, &mut buffer[..length])))
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
    }
}

/// The listeners that hold the ports.
pub(in crate::check) struct PortBlock {
    ports: Vec<u16>,
    _listeners: Vec<OwnedFd>,
}

impl PortBlock {
    /// Takes the ports that are free. Fails if none is.
    pub(in crate::check) fn hold(is_v4: bool, wanted: Range<u16>) -> io::Result<Self> {
        let mut block = Self { ports: Vec::new(), _listeners: Vec::new() };
        for port in wanted {
            match Self::listener(is_v4, port) {
                Ok(listener) => {
                    block.ports.push(port);
                    block._listeners.push(listener);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    tracing::warn!("checks do without port {port}: another program holds it");
                }
                Err(error) => return Err(error),
            }
        }
        if block.ports.is_empty() { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(block) }
    }

    pub(in crate::check) fn ports(&self) -> &[u16] {
        &self.ports
    }

    fn listener(is_v4: bool, port: u16) -> io::Result<OwnedFd> {
        let socket =
            socket_with(family(is_v4), SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
        if !is_v4 {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        // The filter comes first: there is no moment without it.
        SockRef::from(&socket).attach_filter(&[DROP])?;
        bind(&socket, &SocketAddr::new(unspecified(is_v4), port))?;
        listen(&socket, 1)?;
        Ok(socket)
    }
}

/// Which of our addresses the kernel would send from. A connected UDP socket knows, and sends nothing.
pub(in crate::check) struct SourceChooser {
    descriptor: OwnedFd,
}

impl SourceChooser {
    pub(in crate::check) fn new(is_v4: bool) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        Ok(Self { descriptor: socket_with(family(is_v4), SocketType::DGRAM, flags, Some(ipproto::UDP))? })
    }

    /// Asked anew each time: routes and addresses change.
    pub(in crate::check) fn source_for(&self, server: SocketAddr) -> io::Result<IpAddr> {
        // Without this it would stay with the address of the last time.
        connect_unspec(&self.descriptor)?;
        connect(&self.descriptor, &server)?;
        let address = SocketAddr::try_from(getsockname(self.descriptor.as_fd())?)?;
        Ok(address.ip())
    }
}

fn family(is_v4: bool) -> AddressFamily {
    if is_v4 { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn unspecified(is_v4: bool) -> IpAddr {
    if is_v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

// Classic BPF (linux/filter.h): what the kernel asks before it queues a packet. A filter of a raw IPv4 socket sees the IP
// header first, one of an IPv6 socket what follows the headers.

const TAKE: SockFilter = SockFilter::new(0x06, 0, 0, u32::MAX);
const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// X becomes the length of the IPv4 header.
const SKIP_IPV4_HEADER: SockFilter = SockFilter::new(0xb1, 0, 0, 0);

/// A becomes the byte at X + `at`.
const fn byte_behind(at: u32) -> SockFilter {
    SockFilter::new(0x50, 0, 0, at)
}

/// A becomes the 16 bits at X + `at`.
const fn word_behind(at: u32) -> SockFilter {
    SockFilter::new(0x48, 0, 0, at)
}

/// A becomes the byte at `at`.
const fn byte(at: u32) -> SockFilter {
    SockFilter::new(0x30, 0, 0, at)
}

/// A becomes the 16 bits at `at`.
const fn word(at: u32) -> SockFilter {
    SockFilter::new(0x28, 0, 0, at)
}

/// Skips so many instructions, one number if A is `value`, another if not.
const fn equal(value: u32, yes: u8, no: u8) -> SockFilter {
    SockFilter::new(0x15, yes, no, value)
}

/// Skips so many instructions, one number if A is at least `value`, another if not.
const fn at_least(value: u32, yes: u8, no: u8) -> SockFilter {
    SockFilter::new(0x35, yes, no, value)
}

fn icmp_filter_v4(identifier: u16) -> [SockFilter; 9] {
    [
        SKIP_IPV4_HEADER,
        byte_behind(0),
        equal(v4::UNREACHABLE as u32, 4, 0),
        equal(v4::TIME_EXCEEDED as u32, 3, 0),
        equal(v4::ECHO_REPLY as u32, 0, 3),
        word_behind(4),
        equal(identifier as u32, 0, 1),
        TAKE,
        DROP,
    ]
}

fn icmp_filter_v6(identifier: u16) -> [SockFilter; 9] {
    [
        byte(0),
        equal(v6::UNREACHABLE as u32, 5, 0),
        equal(v6::TIME_EXCEEDED as u32, 4, 0),
        equal(v6::PARAMETER_PROBLEM as u32, 3, 0),
        equal(v6::ECHO_REPLY as u32, 0, 3),
        word(4),
        equal(identifier as u32, 0, 1),
        TAKE,
        DROP,
    ]
}

fn tcp_filter_v4(ports: &Range<u16>) -> [SockFilter; 6] {
    [
        SKIP_IPV4_HEADER,
        word_behind(2),
        at_least(ports.start as u32, 0, 2),
        at_least(ports.end as u32, 1, 0),
        TAKE,
        DROP,
    ]
}

fn tcp_filter_v6(ports: &Range<u16>) -> [SockFilter; 5] {
    [word(2), at_least(ports.start as u32, 0, 2), at_least(ports.end as u32, 1, 0), TAKE, DROP]
}
