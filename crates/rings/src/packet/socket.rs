//! The packet socket itself: its options, each set at the one moment at which the kernel takes it.

use super::mapping::{BLOCK_BYTES, BLOCK_SLOTS, SLOT_BYTES};
use crate::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Bytes of frames on their way to the driver before the kernel says "try again". Enough for the largest
/// transmit ring at full frames, since the ring is the bound.
const SEND_BUFFER_BYTES: libc::c_int = 32 << 20;

/// A packet socket of one interface.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    interface: String,
}

/// Which fanout group a socket joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fanout {
    /// A new group; the kernel finds a number that no other process has.
    New,
    /// The group of this number.
    Join(u16),
}

impl Socket {
    /// A socket that hears nothing yet: it has no protocol, and a filter that takes no frame until
    /// [`Socket::listen`].
    pub(super) fn new(interface: &str) -> Result<Self, Error> {
        // SAFETY: no pointer is passed.
        let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if raw < 0 {
            let what = format!("{interface}: opening a packet socket");
            return Err(Error::privileged(what, "CAP_NET_RAW", io::Error::last_os_error()));
        }
        // SAFETY: a new descriptor that nobody else has.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        let socket = Self { descriptor, interface: interface.to_owned() };
        socket.take_nothing()?;
        Ok(socket)
    }

    /// The descriptor, to poll.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// All that must be set before the receive ring is made.
    pub(super) fn prepare_to_receive(&self, reserve_bytes: u32) -> Result<(), Error> {
        self.choose_version()?;
        self.set_packet(libc::PACKET_RESERVE, &reserve_bytes, "reserving head room")?;
        self.set_packet(libc::PACKET_IGNORE_OUTGOING, &1, "ignoring outgoing frames (Linux 4.20)")
    }

    /// All that must be set before the transmit ring is made.
    pub(super) fn prepare_to_transmit(&self) -> Result<(), Error> {
        self.choose_version()?;
        // A frame that the kernel finds malformed is skipped; without this it would stall the ring for ever.
        self.set_packet(libc::PACKET_LOSS, &1, "skipping malformed frames")?;
        self.set_packet(libc::PACKET_VNET_HDR, &1, "taking headers that say how much to copy")?;
        self.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER_BYTES, "sizing the send buffer")
    }

    fn choose_version(&self) -> Result<(), Error> {
        let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        self.set_packet(libc::PACKET_VERSION, &version, "choosing TPACKET_V2")
    }

    /// Hands frames to the driver past the queueing discipline.
    pub(super) fn bypass_queueing(&self) -> Result<(), Error> {
        self.set_packet(libc::PACKET_QDISC_BYPASS, &1, "bypassing the queueing discipline")
    }

    /// Makes a ring of `slots`: [`libc::PACKET_RX_RING`] or [`libc::PACKET_TX_RING`].
    pub(super) fn make_ring(&self, option: libc::c_int, slots: usize) -> Result<(), Error> {
        let ring = libc::tpacket_req {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: (slots / BLOCK_SLOTS) as u32,
            tp_frame_size: SLOT_BYTES as u32,
            tp_frame_nr: slots as u32,
        };
        self.set_packet(option, &ring, "making a ring")
    }

    /// Ties the socket to its interface, to be given frames of `protocol`; none with 0.
    pub(super) fn bind(&self, index: u32, protocol: libc::c_int) -> Result<(), Error> {
        // SAFETY: all zeroes is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (protocol as u16).to_be();
        address.sll_ifindex = index as i32;
        // SAFETY: the address outlives the call and its true size is passed.
        let status = unsafe {
            libc::bind(
                self.descriptor.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        self.check(status, "binding to the interface")
    }

    /// Shares the interface's frames with the other sockets of the group, by symmetric flow hash. Gives back
    /// the group's number.
    ///
    /// Without the flag that reassembles: a fragment must come out as it came in.
    pub(super) fn join(&self, fanout: Fanout) -> Result<u16, Error> {
        // Inside a group the kernel asks the group, not the socket, about outgoing frames.
        let hash = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
        let request: u32 = match fanout {
            Fanout::New => (hash | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16,
            Fanout::Join(group) => hash << 16 | u32::from(group),
        };
        self.set_packet(libc::PACKET_FANOUT, &request, "sharing frames between workers")?;
        let mut joined = 0u32;
        self.get(libc::SOL_PACKET, libc::PACKET_FANOUT, &mut joined, "reading the fanout group")?;
        Ok(joined as u16)
    }

    /// Begins to take frames: those that `filter` accepts, or all.
    pub(super) fn listen(&self, filter: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        match filter {
            Some(program) => {
                let program = program.as_raw_fd();
                self.set(libc::SOL_SOCKET, libc::SO_ATTACH_BPF, &program, "attaching the steering program")
            }
            None => self.set(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0, "opening the filter"),
        }
    }

    fn take_nothing(&self) -> Result<(), Error> {
        let mut refuse =
            [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 }];
        let program = libc::sock_fprog { len: 1, filter: refuse.as_mut_ptr() };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program, "closing the filter")
    }

    /// Frames that found the receive ring full since the last call.
    pub(super) fn take_drops(&self) -> u32 {
        // `tp_packets`, `tp_drops`; the kernel sets both to zero when they are read.
        let mut counts = [0u32; 2];
        match self.get(libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut counts, "reading drops") {
            Ok(()) => counts[1],
            Err(_) => 0,
        }
    }

    /// Takes the error that the socket keeps, so that a poll does not return for it again and again.
    pub(super) fn clear_error(&self) {
        let mut error = 0i32;
        let _ = self.get(libc::SOL_SOCKET, libc::SO_ERROR, &mut error, "clearing an error");
    }

    /// Whether the interface still exists: the kernel unties the socket from one that is removed, for good.
    pub(super) fn is_bound(&self) -> bool {
        // SAFETY: all zeroes is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: both pointers outlive the call and the true size is passed.
        let status = unsafe {
            libc::getsockname(self.descriptor.as_raw_fd(), (&raw mut address).cast(), &raw mut length)
        };
        status == 0 && address.sll_ifindex > 0
    }

    fn set_packet<T: Copy>(&self, option: libc::c_int, value: &T, doing: &str) -> Result<(), Error> {
        self.set(libc::SOL_PACKET, option, value, doing)
    }

    fn set<T: Copy>(
        &self,
        level: libc::c_int,
        option: libc::c_int,
        value: &T,
        doing: &str,
    ) -> Result<(), Error> {
        // SAFETY: the value outlives the call and its true size is passed.
        let status = unsafe {
            libc::setsockopt(
                self.descriptor.as_raw_fd(),
                level,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        self.check(status, doing)
    }

    /// `T` is made of plain integers only, since the kernel writes it.
    fn get<T: PlainIntegers>(
        &self,
        level: libc::c_int,
        option: libc::c_int,
        value: &mut T,
        doing: &str,
    ) -> Result<(), Error> {
        let mut length = size_of::<T>() as libc::socklen_t;
        // SAFETY: the value outlives the call, its true size is passed, and any bytes are a valid `T`.
        let status = unsafe {
            libc::getsockopt(
                self.descriptor.as_raw_fd(),
                level,
                option,
                std::ptr::from_mut(value).cast(),
                &raw mut length,
            )
        };
        self.check(status, doing)
    }

    fn check(&self, status: libc::c_int, doing: &str) -> Result<(), Error> {
        if status == 0 {
            return Ok(());
        }
        let source = io::Error::last_os_error();
        let what = format!("{}: {doing}", self.interface);
        match source.raw_os_error() {
            Some(libc::ENODEV) => Err(Error::NoInterface { interface: self.interface.clone() }),
            Some(libc::ENOPROTOOPT) => Err(Error::Unsupported { what, needs: "a newer kernel" }),
            _ => Err(Error::privileged(what, "CAP_NET_ADMIN and CAP_NET_RAW", source)),
        }
    }
}

/// Types of which any bytes are a value.
trait PlainIntegers {}
impl PlainIntegers for u32 {}
impl PlainIntegers for i32 {}
impl PlainIntegers for [u32; 2] {}
