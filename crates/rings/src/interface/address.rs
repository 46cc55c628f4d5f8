//! Addresses of the host on its interfaces, by the routing socket (rtnetlink(7)).
//!
//! Control thread; the interface is looked up in its network namespace. Refuses prefixes longer than an
//! address.

use crate::{Error, interface};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `struct nlmsghdr` and `struct nlmsgerr`'s number behind it.
const ANSWER_BYTES: usize = 20;

/// Gives `interface` an address with the network that `prefix_length` bits of it name. One that it has
/// already is no error. An IPv6 address is used at once, without asking whether another host has it (RFC 4862
/// section 5.4): on a host leg frames cross only when the workers run.
pub fn add_address(interface: &str, address: IpAddr, prefix_length: u8) -> Result<(), Error> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    change(interface, libc::RTM_NEWADDR, flags, address, prefix_length, "adding", None)
}

/// Takes an address from `interface`; that it does not have it is no error.
pub fn remove_address(interface: &str, address: IpAddr, prefix_length: u8) -> Result<(), Error> {
    let missing = Some(libc::EADDRNOTAVAIL);
    change(interface, libc::RTM_DELADDR, 0, address, prefix_length, "removing", missing)
}

fn change(
    interface: &str,
    kind: u16,
    flags: libc::c_int,
    address: IpAddr,
    prefix_length: u8,
    doing: &str,
    tolerated: Option<i32>,
) -> Result<(), Error> {
    let what = || format!("{interface}: {doing} {address}/{prefix_length}");
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    if prefix_length > bits_max {
        return Err(Error::OutOfBounds {
            what: what(),
            value: u64::from(prefix_length),
            bound: u64::from(bits_max),
            advice: "a prefix is no longer than its address",
        });
    }
    let index = interface::find(interface)?.index;
    match ask(&message(kind, flags, index, address, prefix_length)) {
        Ok(()) => Ok(()),
        Err(source) => match source.raw_os_error() {
            number if number.is_some() && number == tolerated => Ok(()),
            Some(libc::ENODEV) => Err(Error::NoInterface { interface: interface.to_owned() }),
            // The kernel's answer where IPv6 is switched off; a missing capability is EPERM.
            Some(libc::EACCES) => Err(Error::Unsupported {
                what: what(),
                needs: "IPv6 on this interface: net.ipv6.conf.INTERFACE.disable_ipv6=0",
            }),
            _ => Err(Error::privileged(what(), "CAP_NET_ADMIN", source)),
        },
    }
}

/// `struct nlmsghdr`, `struct ifaddrmsg`, and the address twice: as our own and as what it is known by.
fn message(kind: u16, flags: libc::c_int, index: u32, address: IpAddr, prefix_length: u8) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let mut bytes = Vec::new();
    let length = 16 + 8 + 2 * (4 + octets.len());
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    // Sequence and sender: one question, one answer.
    bytes.extend([0; 8]);
    let address_flags = if family == libc::AF_INET6 { libc::IFA_F_NODAD as u8 } else { 0 };
    bytes.extend([family as u8, prefix_length, address_flags, libc::RT_SCOPE_UNIVERSE]);
    bytes.extend(index.to_ne_bytes());
    for attribute in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        bytes.extend((4 + octets.len() as u16).to_ne_bytes());
        bytes.extend(attribute.to_ne_bytes());
        bytes.extend(&octets);
    }
    bytes
}

/// Sends one message; the kernel has worked it off and answered when the call returns.
fn ask(message: &[u8]) -> io::Result<()> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointer is passed.
    let raw = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: the bytes outlive the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = [0u8; 512];
    // SAFETY: the buffer outlives the call and its true size is passed.
    let length = unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    match usize::try_from(length) {
        Ok(length) if length >= ANSWER_BYTES => {
            match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
                0 => Ok(()),
                number => Err(io::Error::from_raw_os_error(-number)),
            }
        }
        Ok(_) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
