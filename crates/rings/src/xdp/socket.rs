//! One AF_XDP socket: one queue of one interface, with its own four rings over the worker's UMEM.

use super::mapping::Mapping;
use super::ring::{Consumer, Descriptor, Entry, Offsets, Producer};
use super::umem::{CHUNK_BYTES, CHUNK_HEAD_ROOM_BYTES, Umem};
use crate::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};

/// Since Linux 6.18: frames that one wake-up sends in copy mode at the most; not in the libc crate yet.
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// What older kernels send per wake-up in copy mode (`TX_BATCH_SIZE` in `net/xdp/xsk.c`).
const COPY_BATCH_FRAMES: u32 = 32;

/// A queue of an interface.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub interface: &'a str,
    pub index: u32,
    pub queue: u32,
}

/// How a socket comes to its UMEM and its mode.
#[derive(Clone, Copy, Debug)]
pub(super) enum Share<'a> {
    /// It brings the UMEM; zero-copy if the driver has it, unless `copy`.
    First { copy: bool },
    /// It uses the UMEM, and the mode, of this one.
    With(BorrowedFd<'a>),
}

/// The kernel's counters of one socket, `struct xdp_statistics`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStatistics {
    /// Received frames dropped for other reasons than a full ring, such as a frame longer than a chunk.
    pub rx_dropped: u64,
    /// Receive descriptors that the kernel found invalid.
    pub rx_invalid_descriptors: u64,
    /// Transmit descriptors that the kernel found invalid.
    pub tx_invalid_descriptors: u64,
    /// Received frames dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// Received frames that found no chunk in the fill ring.
    pub rx_fill_ring_empty: u64,
    /// Times that the kernel found the transmit ring empty; nothing is lost by it.
    pub tx_ring_empty: u64,
}

/// A bound socket and its rings.
#[derive(Debug)]
pub(super) struct XdpSocket {
    fd: OwnedFd,
    pub(super) fill: Producer<u64>,
    pub(super) completion: Consumer<u64>,
    pub(super) receive: Consumer<Descriptor>,
    pub(super) transmit: Producer<Descriptor>,
    pub(super) queue: u32,
    zero_copy: bool,
    /// Something was queued, or left over, since the kernel was last known to have it all.
    unsent: bool,
}

impl XdpSocket {
    /// Opens, sizes all four rings to `entries` and binds.
    pub(super) fn open(
        place: &Place<'_>,
        umem: &Umem,
        share: Share<'_>,
        entries: u32,
    ) -> Result<Self, Error> {
        let context = |doing: &str| format!("{} queue {}: {doing}", place.interface, place.queue);
        let fd = new_socket().map_err(|error| socket_error(context("opening an AF_XDP socket"), error))?;
        if let Share::First { .. } = share {
            register(fd.as_fd(), umem).map_err(|error| umem_error(umem, error))?;
        }
        for (option, ring) in [
            (libc::XDP_UMEM_FILL_RING, "making its fill ring"),
            (libc::XDP_UMEM_COMPLETION_RING, "making its completion ring"),
            (libc::XDP_RX_RING, "making its receive ring"),
            (libc::XDP_TX_RING, "making its transmit ring"),
        ] {
            set(fd.as_fd(), option, &entries).map_err(|error| Error::from_io(context(ring), error))?;
        }
        // Older kernels do not have it; `flush` then calls again for the rest.
        let _ = set(fd.as_fd(), XDP_MAX_TX_SKB_BUDGET, &entries);
        let offsets: libc::xdp_mmap_offsets = get(fd.as_fd(), libc::XDP_MMAP_OFFSETS)
            .map_err(|error| Error::from_io(context("asking for its ring offsets"), error))?;
        let fill = ring::<u64>(fd.as_fd(), &offsets.fr, entries, libc::XDP_UMEM_PGOFF_FILL_RING as i64)?;
        let completion =
            ring::<u64>(fd.as_fd(), &offsets.cr, entries, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64)?;
        let receive = ring::<Descriptor>(fd.as_fd(), &offsets.rx, entries, libc::XDP_PGOFF_RX_RING)?;
        let transmit = ring::<Descriptor>(fd.as_fd(), &offsets.tx, entries, libc::XDP_PGOFF_TX_RING)?;
        let fill = Producer::new(fill.0, &fill.1, entries)?;
        let completion = Consumer::new(completion.0, &completion.1, entries)?;
        let receive = Consumer::new(receive.0, &receive.1, entries)?;
        let transmit = Producer::new(transmit.0, &transmit.1, entries)?;
        bind(fd.as_fd(), place, share).map_err(|error| bind_error(place, error))?;
        let options: libc::xdp_options = get(fd.as_fd(), libc::XDP_OPTIONS)
            .map_err(|error| Error::from_io(context("asking for its mode"), error))?;
        let zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        Ok(Self { fd, fill, completion, receive, transmit, queue: place.queue, zero_copy, unsent: false })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Notes that the next flush has something to do.
    #[inline]
    pub(super) fn mark_unsent(&mut self) {
        self.unsent = true;
    }

    /// Whether something waits for a later flush.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent
    }

    /// Publishes what was queued and wakes the kernel where it says that it sleeps. Never blocks; what could
    /// not be sent now stays queued for the next flush.
    pub(super) fn flush(&mut self) {
        if self.unsent {
            self.transmit.publish();
            // The fill ring needs no fence of its own: a flag that is missed now is seen in the next turn,
            // and a wait asks the kernel itself.
            fence(Ordering::SeqCst);
            self.unsent = self.transmit.needs_wakeup() && !self.wake_transmit();
        }
        if self.fill.needs_wakeup() {
            // SAFETY: no buffer is passed; the call only makes the driver look at the fill ring.
            unsafe {
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    std::ptr::null_mut(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                )
            };
        }
    }

    /// Whether the kernel took everything. In copy mode one call sends a batch, so it is called once per
    /// batch.
    fn wake_transmit(&mut self) -> bool {
        for _ in 0..=self.transmit.pending() / COPY_BATCH_FRAMES {
            // SAFETY: no buffer is passed; the frames are in the transmit ring.
            let result = unsafe {
                libc::sendto(
                    self.fd.as_raw_fd(),
                    std::ptr::null(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null(),
                    0,
                )
            };
            if result >= 0 {
                return true;
            }
            match io::Error::last_os_error().raw_os_error() {
                // Its batch is full; or the driver is busy with the last one, and will look again.
                Some(libc::EAGAIN) if self.transmit.pending() > 0 => {}
                Some(libc::EAGAIN) => return true,
                // No memory or no room in the driver for now, or the interface is down: with the next flush.
                _ => return false,
            }
        }
        false
    }

    /// The kernel's counters; zeros where it has none.
    pub(super) fn statistics(&self) -> KernelStatistics {
        get(self.fd.as_fd(), libc::XDP_STATISTICS).unwrap_or_default()
    }
}

/// Types that the kernel fills: plain integers, of which any bytes are a value.
trait Plain: Copy {}
impl Plain for libc::xdp_mmap_offsets {}
impl Plain for libc::xdp_options {}
impl Plain for KernelStatistics {}

fn new_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set<T: Copy>(socket: BorrowedFd<'_>, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the value outlives the call and its true size is passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn get<T: Plain>(socket: BorrowedFd<'_>, option: i32) -> io::Result<T> {
    let mut length = size_of::<T>() as libc::socklen_t;
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the value has room for the size that is passed, and outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            option,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, then filled as far as the kernel goes; any bytes are a value of a `Plain` type.
    Ok(unsafe { value.assume_init() })
}

/// `struct xdp_umem_reg`, without what newer kernels have behind it.
#[repr(C)]
#[derive(Clone, Copy)]
struct UmemRegistration {
    start: u64,
    bytes: u64,
    chunk_bytes: u32,
    head_room_bytes: u32,
    flags: u32,
    padding: u32,
}

fn register(socket: BorrowedFd<'_>, umem: &Umem) -> io::Result<()> {
    let (start, bytes) = umem.region();
    let (chunk_bytes, head_room_bytes) = (CHUNK_BYTES as u32, CHUNK_HEAD_ROOM_BYTES as u32);
    let registration = UmemRegistration { start, bytes, chunk_bytes, head_room_bytes, flags: 0, padding: 0 };
    set(socket, libc::XDP_UMEM_REG, &registration)
}

fn ring<T: Entry>(
    socket: BorrowedFd<'_>,
    offset: &libc::xdp_ring_offset,
    entries: u32,
    page_offset: i64,
) -> Result<(Mapping, Offsets), Error> {
    let offsets = Offsets {
        producer: offset.producer,
        consumer: offset.consumer,
        flags: offset.flags,
        entries: offset.desc,
    };
    let bytes = offsets.mapping_bytes::<T>(entries)?;
    Ok((Mapping::ring(socket, bytes, page_offset)?, offsets))
}

fn bind(socket: BorrowedFd<'_>, place: &Place<'_>, share: Share<'_>) -> io::Result<()> {
    let (flags, shared) = match share {
        Share::First { copy: false } => (libc::XDP_USE_NEED_WAKEUP, 0),
        Share::First { copy: true } => (libc::XDP_USE_NEED_WAKEUP | libc::XDP_COPY, 0),
        // The mode is that of the first; to say it again is refused.
        Share::With(first) => (libc::XDP_SHARED_UMEM, first.as_raw_fd() as u32),
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: place.index,
        sxdp_queue_id: place.queue,
        sxdp_shared_umem_fd: shared,
    };
    // SAFETY: the address outlives the call and its true size is passed.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as libc::socklen_t)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn socket_error(what: String, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => Error::Unsupported { what, needs: "a kernel with CONFIG_XDP_SOCKETS" },
        _ => Error::privileged(what, "CAP_NET_RAW", error),
    }
}

fn umem_error(umem: &Umem, error: io::Error) -> Error {
    let bytes = umem.region().1;
    if error.raw_os_error() == Some(libc::ENOBUFS) {
        return Error::OutOfBounds {
            what: "bytes of locked memory for the UMEM".to_owned(),
            value: bytes,
            bound: memory_lock_limit_bytes(),
            advice: "raise `ulimit -l`, LimitMEMLOCK= of the unit, or grant CAP_IPC_LOCK",
        };
    }
    Error::from_io(format!("registering a UMEM of {bytes} bytes"), error)
}

fn memory_lock_limit_bytes() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct outlives the call.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    limit.rlim_cur
}

fn bind_error(place: &Place<'_>, error: io::Error) -> Error {
    let what = format!("{} queue {}: binding its AF_XDP socket", place.interface, place.queue);
    match error.raw_os_error() {
        Some(libc::EBUSY) => {
            let what = format!("{what} (another process holds the queue; see it with `ss --xdp -e`)");
            Error::from_io(what, error)
        }
        Some(libc::EOPNOTSUPP) => {
            Error::Unsupported { what, needs: "a driver with AF_XDP in the mode of the worker's other ports" }
        }
        Some(libc::ENODEV) => Error::NoInterface { interface: place.interface.to_owned() },
        _ => Error::privileged(what, "CAP_NET_RAW and CAP_NET_ADMIN", error),
    }
}

/// A socket with a receive ring and no interface: what a socket map takes.
#[cfg(test)]
pub(crate) fn socket_for_tests() -> OwnedFd {
    let socket = new_socket().unwrap();
    set(socket.as_fd(), libc::XDP_RX_RING, &64u32).unwrap();
    socket
}
