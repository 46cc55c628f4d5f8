//! The only place where this crate takes its atomics from: the standard library, or loom when a model is checked; and
//! the sizes that a model cannot afford.

#[cfg(not(loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

#[cfg(loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// How often a thread looks again at a set that another one holds, before it gives up and says so. The holder is
/// inside a few dozen loads and stores, so a few looks suffice unless it lost its core; waiting for a scheduler would
/// stall a worker.
#[cfg(not(loom))]
pub(crate) const WAIT_LOOKS: u32 = 256;
/// Two looks show both the wait and the giving up.
#[cfg(loom)]
pub(crate) const WAIT_LOOKS: u32 = 2;

/// Datagrams in one set, of which a source has two: 32 that are under way at once are more than any host sends to
/// one network, and few enough that an attacker with one address gets a hundred-and-twenty-eighth of the map.
#[cfg(not(loom))]
pub(crate) const DATAGRAMS_PER_SET: usize = 16;
/// A model follows every atomic there is.
#[cfg(loom)]
pub(crate) const DATAGRAMS_PER_SET: usize = 1;

/// 64-bit words of one bitmap: a bit for every 8 bytes of the longest datagram, 65,536 bytes.
#[cfg(not(loom))]
pub(crate) const BITMAP_WORDS: usize = 128;
/// Datagrams of up to 512 bytes.
#[cfg(loom)]
pub(crate) const BITMAP_WORDS: usize = 1;
