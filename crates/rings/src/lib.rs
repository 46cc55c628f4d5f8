//! AF_XDP, AF_PACKET and TAP as ports; the steering program.
//!
//! This is the only crate that says `unsafe`: here Rust's rules meet memory that the kernel writes. The essay
//! below is about the one question on which all of that rests, *who owns a frame at each moment*, and about
//! how a frame crosses the appliance without being copied.
//!
//! # The way of a frame
//!
//! ```text
//!            interface                                                       interface
//!                │                                                               ▲
//!        [ steering ] ── the host's, control ──▶ kernel                          │
//!                │                                                               │
//!                ▼                one worker: one core, one thread               │
//!        ╔═══════════════╗   receive    ╔════════════════╗    settle     ╔════════════════╗
//!        ║ ring of a     ║ ───────────▶ ║ a burst, lent  ║ ────────────▶ ║ ring of a      ║
//!        ║ port          ║    a Burst   ║ to the engine  ║   Verdicts    ║ port           ║
//!        ╚═══════════════╝              ╚════════════════╝               ╚════════════════╝
//! ```
//!
//! The engine sees [`port::Ports`] and nothing else; [`WorkerPorts`] is that trait over real rings. It holds
//! all the ports of one worker, of either driver, and no two workers share one. [`open()`] makes one for each
//! worker.
//!
//! # Who owns a frame
//!
//! With AF_XDP all frames of a worker lie in one piece of memory, its UMEM, cut into chunks of 2 KiB. A chunk
//! is in one place at a time. Four rings per queue carry the *addresses* of chunks, and what travels on them
//! is ownership:
//!
//! ```text
//!                         ┌───────────────── free list ◀───────────────────┐
//!                         │ refill                                         │ reclaim
//!                         ▼                                                │
//!     US          ───[ fill ]──────────────────────────────────────[ completion ]───
//!     KERNEL          ring │                                         ▲ ring
//!                          ▼                                         │
//!                       driver writes a frame           driver has sent the frame
//!                          │                                         ▲
//!     KERNEL      ───[ receive ]──────────────────────────────────[ transmit ]──────
//!     US              ring │                                         ▲ ring
//!                          ▼                                         │
//!                       lent to the engine ────── settle ────────────┘
//!                          │                        │
//!                          └── dropped, unsettled ──┴──▶ free list
//! ```
//!
//! In our hands a chunk is a value that cannot be copied, made nowhere but in the UMEM; to hold one is to be
//! alone with its bytes, which is the whole argument for lending them as `&mut [u8]`. In the kernel's hands a
//! chunk is an entry in a table: *to receive into*, or *to send*. An address that comes back is believed only
//! when it names a chunk that the kernel had, for that purpose, and bytes inside it; anything else is dropped
//! and counted (`bad_descriptors`). So the soundness of this crate rests on its own table and not on the
//! kernel's word. Ring offsets and indices that the kernel gives are checked likewise, in release builds too.
//!
//! The chunks are as many as all rings of the worker can hold, and a burst more. A port has at most one ring
//! of chunks waiting for frames and one ring on their way out, so a link that stalls keeps its own share and
//! starves no other.
//!
//! # Move and copy
//!
//! ```text
//!                   to AF_XDP                           to AF_PACKET                  to TAP
//!   from AF_XDP     the address moves to another ring   one copy into a mapped slot   one write
//!   from AF_PACKET  one copy into a free chunk          one copy into a mapped slot   one write
//!   from TAP        one copy into a free chunk          one copy into a mapped slot   one write
//! ```
//!
//! Forwarding from AF_XDP to AF_XDP writes 16 bytes: a descriptor. What lies in the frame stays in the cache
//! of the core that rewrote it. That is why a worker's ports share a UMEM, and why a worker needs a queue of
//! its own on every port. *Copy mode* is another matter: there the driver has no AF_XDP of its own, so the
//! kernel copies between chunk and socket buffer, once each way. `show ports` says which it is. An AF_PACKET
//! ring always copies, and the kernel keeps the original; the steering program takes that away again.
//!
//! # Host legs
//!
//! Where the rings take every frame of a network, a bridge's or a VLAN's, the host is left without an
//! interface in it. It gets a TAP device, and the workers a port for that device's other end: behind the
//! ports with rings, with an index like theirs. There is no ring there and no ownership to tell of: a frame
//! is read into a buffer of the port's own, and written from wherever it lies. How seldom an idle device is
//! asked, and what that costs, is told in [`tap`]. Tags stay in frames, on every port and both ways.
//!
//! # Asleep and awake
//!
//! A system call costs more than a frame. Rings are published and the kernel is woken once per turn, in
//! [`port::Ports::flush`], and only where it says that it sleeps (`XDP_USE_NEED_WAKEUP`). A worker with
//! nothing to do sleeps in [`WorkerPorts::wait`] until a frame or its [`wait::Waker`] comes.
//!
//! # Beginning and end
//!
//! ```text
//!   Steering::new ─▶ open: programs attached, shut ─▶ sockets ─▶ workers run ─▶ Gate::open
//!   frames:          ··············· kernel ································· │ steered
//!
//!   drop(WorkerPorts): programs detached │ sockets and TAP devices closed │ UMEM unmapped
//!   frames:            ········ steered  │ kernel ·······································
//! ```
//!
//! A program is attached *shut*: it leaves everything to the kernel until its gate is opened, so that no
//! frame meets a queue without a socket at the beginning. At the end it goes before the first socket does.
//! All programs are held by BPF links, so even `kill -9` leaves an interface as it was.
//!
//! # Threads
//!
//! [`open()`], [`steering`], [`interface`], [`ethtool`] and [`memory`] are the control thread's; a
//! [`WorkerPorts`] is made there, moved to its worker and called by that worker alone. Nothing is shared
//! between workers.
//!
//! # Refused
//!
//! Frames longer than [`port::FRAME_BYTES_MAX`] are dropped by the rings and counted; so are frames in
//! several chunks. Another XDP program on an interface is never replaced, and no interface becomes a host leg
//! that was there before. Every [`Error`] says the value, the bound and what to do.

mod bpf;
mod error;
pub mod ethtool;
pub mod interface;
pub mod live;
pub mod memory;
pub mod namespace;
mod open;
pub mod packet;
pub mod silence;
pub mod steering;
pub mod tap;
pub mod wait;
mod worker_ports;
mod xdp;

pub use error::Error;
pub use open::{Opened, PortSpec, RING_ENTRIES_DEFAULT, RING_ENTRIES_MAX, RingLengths, open};
pub use tap::{HostLeg, HostLegSpec, TapStatistics};
pub use worker_ports::{PortStatistics, UmemUse, WorkerPorts};
pub use xdp::{KernelStatistics, XdpStatistics};
