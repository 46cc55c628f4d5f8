//! AF_XDP: one UMEM per worker, one socket per queue, and frames that move instead of being copied.
//!
//! All of it belongs to one worker, which alone calls it; making and dropping it is the control thread's.
//! Refused are ring sizes that are no power of two, and descriptors of the kernel that name what it does not
//! have.

mod mapping;
mod port;
mod ring;
mod set;
mod socket;
mod umem;

pub(crate) use port::XdpPort;
pub(crate) use set::{Queues, XdpSet};
pub(crate) use umem::{Held, Umem};

pub use port::XdpStatistics;
pub use socket::KernelStatistics;

#[cfg(test)]
pub(crate) use socket::socket_for_tests;
