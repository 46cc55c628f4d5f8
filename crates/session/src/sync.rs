//! The only place where this crate takes its atomics from: the standard library, or loom when a model is
//! checked.

#[cfg(not(loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

/// How often a thread looks again at a slot that another one is writing, before it gives up and says so. The
/// writer is inside a dozen stores, so a few looks suffice unless it lost its core; waiting for a scheduler
/// would stall a worker.
#[cfg(not(loom))]
pub(crate) const WAIT_LOOKS: u32 = 256;

/// A model explores every interleaving and has no time: two looks show both the wait and the giving up.
#[cfg(loom)]
pub(crate) const WAIT_LOOKS: u32 = 2;

/// Entries in one set of the persistence table, of which a client has two: enough that of a table with one place in
/// ten to spare hardly any client is refused.
#[cfg(not(loom))]
pub(crate) const ENTRIES_PER_SET: usize = 16;

/// A model follows every atomic there is.
#[cfg(loom)]
pub(crate) const ENTRIES_PER_SET: usize = 1;
