//! What an interface is (index, MAC, MTU, state, queues), its addresses, and what it listens to.
//!
//! Asked by ioctl, not from sysfs: sysfs shows the network namespace in which it was mounted, which need not
//! be ours. For the control thread; a name is looked up in the network namespace of the calling thread.
//! Refused are names that no interface has.

mod address;

pub use address::{add_address, remove_address};

use crate::{Error, ethtool};
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The longest interface name, in bytes.
pub const NAME_BYTES_MAX: usize = libc::IFNAMSIZ - 1;

/// What an interface was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number, which stays when it is renamed.
    pub index: u32,
    /// Its MAC address; zeroes when it is no Ethernet interface.
    pub mac: [u8; 6],
    /// The longest packet it sends, in bytes and without the Ethernet header.
    pub mtu: u32,
    /// Receive queues in use; 1 when the driver does not tell.
    pub receive_queues: u32,
    flags: libc::c_int,
}

impl Interface {
    /// Whether it was switched on.
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP != 0
    }

    /// Whether it also has a carrier.
    pub fn is_running(&self) -> bool {
        self.flags & libc::IFF_RUNNING != 0
    }
}

/// Looks at the interface called `name`.
pub fn find(name: &str) -> Result<Interface, Error> {
    let control = Control::open(name)?;
    let index = control.ask(libc::SIOCGIFINDEX)?;
    let hardware = control.ask(libc::SIOCGIFHWADDR)?;
    let mtu = control.ask(libc::SIOCGIFMTU)?;
    let flags = control.ask(libc::SIOCGIFFLAGS)?;
    // SAFETY: the kernel filled the member that each request is about; all are plain integers.
    let (index, hardware, mtu, flags) = unsafe {
        (index.ifru_ifindex, hardware.ifru_hwaddr, mtu.ifru_mtu, libc::c_int::from(flags.ifru_flags))
    };
    let mut mac = [0; 6];
    if hardware.sa_family == libc::ARPHRD_ETHER {
        mac = std::array::from_fn(|position| hardware.sa_data[position] as u8);
    }
    Ok(Interface {
        name: name.to_owned(),
        index: index as u32,
        mac,
        mtu: mtu as u32,
        receive_queues: ethtool::receive_queues(&control),
        flags,
    })
}

/// Frames that the kernel counted as sent by an interface, and as dropped on their way to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transmitted {
    /// Frames sent.
    pub frames: u64,
    /// Frames dropped.
    pub dropped: u64,
}

/// What the kernel counted for frames that leave by the interface called `name`, in the network namespace of
/// the calling thread; `None` when it lists no such interface.
pub fn transmitted(name: &str) -> Option<Transmitted> {
    // `/proc/net` would be the namespace of the process's first thread.
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").ok()?;
    let columns = text.lines().filter_map(|line| line.split_once(':')).find(|(of, _)| of.trim() == name)?.1;
    // Eight columns of receiving, then bytes, packets, errors and drops of sending.
    let at = |index: usize| columns.split_whitespace().nth(index)?.parse().ok();
    Some(Transmitted { frames: at(9)?, dropped: at(11)? })
}

/// Whether there is an interface called `name`.
pub fn exists(name: &str) -> bool {
    Control::open(name).and_then(|control| control.ask(libc::SIOCGIFINDEX)).is_ok()
}

/// Whether the interface of this number is up, in the network namespace of `socket`; `None` when there is
/// none.
pub(crate) fn is_up(socket: BorrowedFd<'_>, index: u32) -> Option<bool> {
    let ifru_ifindex = index as libc::c_int;
    let mut request = libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: empty_union() };
    request.ifr_ifru.ifru_ifindex = ifru_ifindex;
    request_on(socket, libc::SIOCGIFNAME, &mut request).ok()?;
    request_on(socket, libc::SIOCGIFFLAGS, &mut request).ok()?;
    // SAFETY: the kernel filled this member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Some(libc::c_int::from(flags) & libc::IFF_UP != 0)
}

/// A socket to ask about one interface, in the network namespace in which it was opened, from whichever
/// thread.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    name: String,
}

impl Control {
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
            return Err(Error::NoInterface { interface: name.to_owned() });
        }
        let socket = datagram_socket(libc::AF_INET)
            .map_err(|source| Error::from_io(format!("{name}: opening a control socket"), source))?;
        Ok(Self { socket, name: name.to_owned() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// One request that only asks.
    fn ask(&self, code: libc::c_ulong) -> Result<libc::__c_anonymous_ifr_ifru, Error> {
        let mut request = self.request();
        match request_on(self.socket.as_fd(), code, &mut request) {
            Ok(()) => Ok(request.ifr_ifru),
            Err(source) => Err(self.error("asking the kernel about it", source)),
        }
    }

    /// One request that changes what `fill` puts into it.
    fn set(
        &self,
        code: libc::c_ulong,
        doing: &str,
        fill: impl FnOnce(&mut libc::__c_anonymous_ifr_ifru),
    ) -> Result<(), Error> {
        let mut request = self.request();
        fill(&mut request.ifr_ifru);
        request_on(self.socket.as_fd(), code, &mut request).map_err(|source| self.error(doing, source))
    }

    /// The interface's number.
    pub(crate) fn index(&self) -> Result<u32, Error> {
        let answer = self.ask(libc::SIOCGIFINDEX)?;
        // SAFETY: the kernel filled this member.
        Ok(unsafe { answer.ifru_ifindex } as u32)
    }

    /// Sets the MAC address.
    pub(crate) fn set_mac(&self, mac: [u8; 6]) -> Result<(), Error> {
        let mut hardware = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
        for (place, byte) in hardware.sa_data.iter_mut().zip(mac) {
            *place = byte as libc::c_char;
        }
        self.set(libc::SIOCSIFHWADDR, "setting its MAC address", |value| value.ifru_hwaddr = hardware)
    }

    /// Sets the MTU, in bytes and without the Ethernet header.
    pub(crate) fn set_mtu(&self, mtu: u32) -> Result<(), Error> {
        self.set(libc::SIOCSIFMTU, "setting its MTU", |value| value.ifru_mtu = mtu as libc::c_int)
    }

    /// Switches the interface on.
    pub(crate) fn switch_on(&self) -> Result<(), Error> {
        let answer = self.ask(libc::SIOCGIFFLAGS)?;
        // SAFETY: the kernel filled this member.
        let flags = unsafe { answer.ifru_flags } | libc::IFF_UP as libc::c_short;
        self.set(libc::SIOCSIFFLAGS, "switching it on", |value| value.ifru_flags = flags)
    }

    /// One ethtool command in `words`, whose first word names it.
    ///
    /// # Safety
    /// `words` must be as long as the structure that this command makes the kernel read and write.
    pub(crate) unsafe fn ethtool(&self, words: &mut [u32]) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        request_on(self.socket.as_fd(), libc::SIOCETHTOOL, &mut request)
    }

    /// A failed request as an error about this interface.
    pub(crate) fn error(&self, doing: &str, source: io::Error) -> Error {
        let what = format!("{}: {doing}", self.name);
        match source.raw_os_error() {
            Some(libc::ENODEV) => Error::NoInterface { interface: self.name.clone() },
            Some(libc::EOPNOTSUPP) => Error::Unsupported { what, needs: "a driver that can" },
            _ => Error::privileged(what, "CAP_NET_ADMIN", source),
        }
    }

    fn request(&self) -> libc::ifreq {
        request_for(&self.name)
    }
}

/// A request about the interface of this name, which is cut to [`NAME_BYTES_MAX`].
pub(crate) fn request_for(name: &str) -> libc::ifreq {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (place, byte) in ifr_name.iter_mut().take(NAME_BYTES_MAX).zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    libc::ifreq { ifr_name, ifr_ifru: empty_union() }
}

fn empty_union() -> libc::__c_anonymous_ifr_ifru {
    // SAFETY: all zeroes is a value of every member.
    unsafe { std::mem::zeroed() }
}

fn request_on(socket: BorrowedFd<'_>, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every code that this crate passes reads and writes one `ifreq`, and what its data pointer
    // names.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), code, std::ptr::from_mut(request)) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn datagram_socket(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let raw = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A multicast MAC address that an interface accepts for as long as this lives, also after `kill -9`: the
/// kernel ends it with the socket.
#[derive(Debug)]
pub struct MulticastMembership {
    _socket: OwnedFd,
}

impl MulticastMembership {
    /// Lets `interface` accept frames to `mac`.
    pub fn join(interface: &str, mac: [u8; 6]) -> Result<Self, Error> {
        let doing = "accepting frames to a multicast address";
        Ok(Self { _socket: add_membership(interface, libc::PACKET_MR_MULTICAST, &mac, doing)? })
    }
}

/// The promiscuous mode of an interface, which accepts every frame for as long as this or another one's
/// lives, also after `kill -9`: the kernel counts the members and ends each with its socket.
#[derive(Debug)]
pub struct PromiscuousMembership {
    _socket: OwnedFd,
}

impl PromiscuousMembership {
    /// Lets `interface` accept frames to any MAC address: for a port of a bridge.
    pub fn join(interface: &str) -> Result<Self, Error> {
        let doing = "accepting frames to every address";
        Ok(Self { _socket: add_membership(interface, libc::PACKET_MR_PROMISC, &[], doing)? })
    }
}

/// A packet socket that receives nothing itself and holds a membership of `kind`. `address` has at most eight
/// bytes.
fn add_membership(interface: &str, kind: libc::c_int, address: &[u8], doing: &str) -> Result<OwnedFd, Error> {
    let index = find(interface)?.index;
    let what = || format!("{interface}: {doing}");
    // SAFETY: no pointer is passed. Protocol 0: the socket itself receives nothing.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(Error::privileged(what(), "CAP_NET_RAW", io::Error::last_os_error()));
    }
    // SAFETY: a new descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut mr_address = [0; 8];
    mr_address.iter_mut().zip(address).for_each(|(place, byte)| *place = *byte);
    let request = libc::packet_mreq {
        mr_ifindex: index as libc::c_int,
        mr_type: kind as libc::c_ushort,
        mr_alen: address.len() as libc::c_ushort,
        mr_address,
    };
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
        .map_err(|source| Error::from_io(what(), source))?;
    Ok(socket)
}

/// An IPv6 multicast group that an interface has joined for as long as this lives. The kernel reports it by
/// MLD, so that snooping switches deliver it, and accepts its MAC address.
#[derive(Debug)]
pub struct GroupMembership {
    _socket: OwnedFd,
}

/// Joins `group` on `interface`, as a host would.
pub fn join_ipv6_group(interface: &str, group: Ipv6Addr) -> Result<GroupMembership, Error> {
    let index = find(interface)?.index;
    let failed = |source| Error::from_io(format!("{interface}: joining {group}"), source);
    let socket = datagram_socket(libc::AF_INET6).map_err(failed)?;
    let request = libc::ipv6_mreq {
        ipv6mr_multiaddr: libc::in6_addr { s6_addr: group.octets() },
        ipv6mr_interface: index,
    };
    set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP, &request).map_err(failed)?;
    Ok(GroupMembership { _socket: socket })
}

fn set_option<T: Copy>(
    socket: &OwnedFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the value outlives the call and its true size is passed.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_interface_can_have_is_refused() {
        for name in ["", "sixteen-letters-", "a\0b", "jeoul-none"] {
            assert!(!exists(name));
            assert!(matches!(find(name), Err(Error::NoInterface { .. })), "{name:?}");
        }
    }
}
