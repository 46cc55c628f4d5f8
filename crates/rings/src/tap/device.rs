//! A TAP device in the making: the descriptors that are its queues, and what the interface is set to.
//!
//! Control thread. The device is made in the network namespace of the calling thread.

use crate::Error;
use crate::interface::{Control, NAME_BYTES_MAX};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Whole Ethernet frames, bare, and more than one queue.
const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE;

/// A device with one queue or more.
#[derive(Debug)]
pub(crate) struct Device {
    name: String,
    first: OwnedFd,
}

impl Device {
    /// Makes the device. Refuses a name that an interface has: whoever made that one still wants it.
    pub(crate) fn make(name: &str) -> Result<Self, Error> {
        let valid = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(valid) {
            let what = format!("{name:?}: making a TAP device of this name");
            let needs = "1 to 15 letters, digits and signs, but no '/', ':' or '%'";
            return Err(Error::Unsupported { what, needs });
        }
        let first = open_queue(name, FLAGS | libc::IFF_TUN_EXCL)?;
        Ok(Self { name: name.to_owned(), first })
    }

    /// One more queue.
    pub(super) fn add_queue(&self) -> Result<OwnedFd, Error> {
        open_queue(&self.name, FLAGS)
    }

    /// Gives the device its addresses and switches it on; its interface number comes back.
    pub(super) fn set_up(&self, mac: [u8; 6], mtu: u32) -> Result<u32, Error> {
        let control = Control::open(&self.name)?;
        control.set_mac(mac)?;
        control.set_mtu(mtu)?;
        control.switch_on()?;
        control.index()
    }

    /// The interface's number.
    pub(crate) fn index(&self) -> Result<u32, Error> {
        Control::open(&self.name)?.index()
    }

    /// The first queue.
    pub(super) fn into_queue(self) -> OwnedFd {
        self.first
    }
}

fn open_queue(name: &str, flags: libc::c_int) -> Result<OwnedFd, Error> {
    const CAPABILITY: &str = "CAP_NET_ADMIN, and access to /dev/net/tun";
    let kind = libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: the path is a static C string.
    let raw = unsafe { libc::open(c"/dev/net/tun".as_ptr(), kind) };
    if raw < 0 {
        let source = io::Error::last_os_error();
        let what = format!("{name}: opening /dev/net/tun");
        let needs = "the kernel's tun driver (`modprobe tun`), and /dev/net/tun in a container";
        return Err(match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Error::Unsupported { what, needs },
            _ => Error::privileged(what, CAPABILITY, source),
        });
    }
    // SAFETY: a new descriptor that nobody else has.
    let queue = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut request = crate::interface::request_for(name);
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the request reads and writes one `ifreq`, which outlives the call.
    let status = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if status == 0 {
        return Ok(queue);
    }
    let source = io::Error::last_os_error();
    match source.raw_os_error() {
        Some(libc::EBUSY) => Err(Error::Exists { interface: name.to_owned() }),
        _ => Err(Error::privileged(format!("{name}: making the TAP device"), CAPABILITY, source)),
    }
}
