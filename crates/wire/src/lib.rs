//! Header views and checksum arithmetic.
//!
//! **What.** A header is a view over a borrowed *array*, `Tcp<'a>(&'a mut [u8; 20])`: to hold one proves its
//! length, so no accessor can panic and none checks a bound. A `split` takes the view off the front of a
//! slice and hands back what is left, so that the headers of one frame are disjoint and can all be held, and
//! written, at once:
//!
//! ```
//! use wire::{build, ethernet::Ethernet, ipv4::Ipv4, tcp::{Tcp, TcpFlags}, Mac};
//!
//! let mut frame = build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
//!     .ipv4([198, 18, 0, 1].into(), [198, 18, 0, 10].into())
//!     .tcp(40_000, 80)
//!     .flags(TcpFlags::SYN)
//!     .finish();
//! let (ethernet, rest) = Ethernet::split(&mut frame)?;
//! let ip = Ipv4::split(rest)?;
//! let (mut tcp, _options, _data) = Tcp::split(ip.payload)?;
//! tcp.set_destination_port(8080);
//! assert_eq!(ethernet.ethertype(), wire::ethernet::ETHERTYPE_IPV4);
//! assert_eq!(ip.header.destination().octets(), [198, 18, 0, 10]);
//! # Ok::<(), wire::Refusal>(())
//! ```
//!
//! **Which thread.** Any. Nothing here holds state, allocates, or does I/O; only [`build`] and [`check`],
//! which are for control frames and tests, allocate.
//!
//! **What it refuses.** Whatever contradicts its own lengths, and the few shapes that only attacks have; each
//! with a [`Refusal`] of its own, which is also the name of the drop counter.
#![forbid(unsafe_code)]

mod field;
mod fragment;
mod mac;
mod refusal;

pub mod arp;
pub mod build;
pub mod check;
pub mod checksum;
pub mod encapsulation;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod nd;
pub mod plain;
pub mod protocol;
pub mod tcp;
pub mod udp;

pub use field::Header;
pub use fragment::Fragment;
pub use mac::{Mac, MacError};
pub use refusal::Refusal;
