//! The lock-free session table and its ageing.
#![forbid(unsafe_code)]

mod ageing;
mod insert;
mod quarantine;
mod slot;
mod state;
mod sync;
mod table;
mod tags;
pub mod tcp;
mod view;
mod word;

pub use ageing::Visit;
pub use insert::{Entry, Insert, Opening};
pub use quarantine::Quarantine;
pub use state::{State, TICK_NS, Timeouts, tick_from_ns, ticks_in};
pub use table::{Hit, LOAD_PER_MILLE, Lookup, MemoryRegion, Table};
pub use tags::{Probe, SLOTS_PER_SET};
pub use view::{Session, Side};
pub use word::{Activity, Direction, Flags, Progress, Protocol, SlotIndex};

/// Sessions between IPv4 addresses: two key words and three payload words, one cache line a side.
pub type TableV4 = Table<2, 3, 1>;

/// Sessions between IPv6 addresses: five key words and eight payload words, two cache lines a side.
pub type TableV6 = Table<5, 8, 2>;
