//! Packets with the header that they have, sent by the kernel's own routes and neighbours. Any thread.

use std::io;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};

/// Raw sockets of both families whose packets bring their IP header (raw(7): `IPPROTO_RAW` implies it). The
/// kernel writes an IPv4 header's checksum, and its identification where that is 0.
#[derive(Debug)]
pub(crate) struct RawSender {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl RawSender {
    /// Opens them in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let open = |family| socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW));
        Ok(Self { v4: open(AddressFamily::INET)?, v6: open(AddressFamily::INET6)? })
    }

    /// Sends a packet, which has to be of its destination's family.
    pub(crate) fn send(&self, packet: &[u8], destination: IpAddr) -> io::Result<()> {
        let sent = match destination {
            IpAddr::V4(ip) => sendto(&self.v4, packet, SendFlags::empty(), &SocketAddrV4::new(ip, 0)),
            IpAddr::V6(ip) => sendto(&self.v6, packet, SendFlags::empty(), &SocketAddrV6::new(ip, 0, 0, 0)),
        };
        Ok(sent.map(|_length| ())?)
    }
}
