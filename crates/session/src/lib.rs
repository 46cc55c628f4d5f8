//! The lock-free session table and its ageing: the memory of the appliance.
//!
//! A session is one tracked flow. Its first packet is thought about; what was decided is written here twice,
//! once for each direction, and every later packet replays it. The table is shared by all workers, so where a
//! frame lands is a matter of speed and never of correctness. Any thread may call any method at any time:
//! there is no lock, no allocation after the start, and no wait that is longer than a few looks at another
//! thread's dozen stores.
//!
//! The crate knows no packets. Keys and payloads are plain words, and hashes come from outside, keyed, since
//! the table is only as even as its hash. It refuses three things: to evict an established session, to hold
//! two sessions under one key, and to show a reader half of one session and half of another.
//!
//! # What lies where
//!
//! ```text
//!   hash ──▶ 32 bits × sets ≫ 32 ──▶ first set         two candidates: a session goes to the emptier one,
//!       └──▶ 32 bits × sets ≫ 32 ──▶ second set        which is what carries the load to 0.90
//!       └──▶ 16 bits ──▶ tag (0 means free)
//!
//!   tags   ┌────────────── set ───────────────┐        32 bytes a set: one cache line read says which of
//!          │ t0 t1 t2 t3 │ … │ t12 t13 t14 t15│        sixteen slots can be the one, and nearly always
//!          └───────────│──────────────────────┘        that is one slot or none
//!                      ▼
//!   slots  ┌───────────────── 64 bytes (IPv4) · 128 bytes (IPv6) ───────────────────────────┐
//!          │ stamp:16 birth:16 peer:32 │ key ×2 · ×5 │ payload ×3 · ×8 │ activity │ progress │
//!          └───────────────────────────────────────────────────────────────────────────────┘
//!            └───────────── written under the stamp ─────────────────┘ └── by every packet ─┘
//!
//!   activity   last seen tick:32 │ flags:16 │ route epoch:16
//!   progress   sequence end:32   │ packets:32
//! ```
//!
//! A packet costs three cache lines, two of tags and its slot's, and the misses of a burst can be made to
//! overlap: [`Table::ask_for_tags`] for every packet, then [`Table::look`] and [`Table::ask_for_slot`] for
//! every packet, then [`Table::find`]. It writes one line: the one that it has just read.
//!
//! # One session, two slots
//!
//! ```text
//!        client's packets                               server's packets
//!              │                                              │
//!              ▼                                              ▼
//!     ┌─ client slot ──────────┐   peer    ┌─ server slot ──────────┐
//!     │ stamp  birth 4711  ────┼──────────▶│ stamp  birth 4711      │
//!     │ client → VIP           │◀──────────┼────  server → client   │
//!     │ how to send it on      │   peer    │ how to send it back    │
//!     │ seen, sent by client   │           │ seen, sent by server   │
//!     └────────────────────────┘           └────────────────────────┘
//! ```
//!
//! Each direction notes only what it saw itself, so two workers that forward the two directions never write
//! to one line. The [`State`] is not stored but derived from both sides when somebody asks: the sweep, an
//! operator, a full table. Slots are never given back, so a link is always *readable*; whether it still
//! *means* anything is what the birth number says. It changes with every session of a client slot, and a link
//! to another birth is void.
//!
//! # The stamp
//!
//! An even stamp says: a live session, unchanged for as long as this number stands. An odd one says: free, or
//! being written. (Free slots are odd so that a tag which appears in front of an old slot can never revive
//! the old session.)
//!
//! ```text
//!             reserve: tag 0 → t               publish
//!   ┌──────┐ ───────────────────▶ ┌──────────┐ ────────▶ ┌──────┐ ──▶ held: odd, peer stays ──┐
//!   │ free │                      │ reserved │           │ live │                             │ end, mark,
//!   │ odd  │ ◀─────────────────── │ odd      │           │ even │ ◀───────────────────────────┤ payload word
//!   └──────┘      give up         └──────────┘           └──────┘     even again              │
//!       ▲                                                                                     │
//!       └──────────────────── stamp first, then tag t → 0 ────────────────────────────────────┘
//! ```
//!
//! A reader loads the stamp, then the words, then the stamp again (a sequence lock, made of atomics, so that
//! a torn read is a retry and not undefined behaviour). To hold a session is to turn the *client* slot's
//! stamp odd by compare-and-swap. It is held for a few stores, by one thread, and it covers the server slot
//! too; so a session ends exactly once, and who ends it learns what port to free.
//!
//! Activity and progress live outside the stamp, or every packet would make every reader retry. Activity is
//! replaced by compare-and-swap, because a lost flag would be a wrong state; it changes once a tick. Progress
//! is a plain load and store, because one worker forwards a direction at a time; while a flow moves between
//! workers a count may be lost. One race is accepted knowingly: a worker that stalls between the check in
//! [`Table::record`] and the store two instructions later, for so long that the session ends and its slot is
//! another's, writes its progress word into the other session. With a wrong sequence end that one may pass
//! for half-open while it lives, and age sooner; nothing else of it is touched.
//!
//! How an insert makes sure that one key has one session is told in `insert.rs`; what TCP segments are
//! believed, in [`tcp`].
//!
//! # Who is remembered
//!
//! A second, smaller table remembers which member a client of a service was given, so that its next session goes there
//! too. It is asked when a session opens and told when one ends, never for a packet.
//!
//! ```text
//!            bind             hold            release           release            timeout
//!   unknown ──────▶ member 7 ──────▶ member 7 ──────▶ member 7 ──────▶ member 7 ┄┄┄┄┄┄┄┄┄┄▶ unknown
//!      │            1 session        2 sessions       1 session        0 sessions, may give way
//!      │                                  │ 7 is dead: bind 9, stale 7
//!      │                                  └──────▶ member 9, 1 session; those of 7 count no more
//!      └── all of 32 places have sessions: full, the session goes on without memory
//! ```
//!
//! Here a set *is* claimed, for a few dozen loads and stores, since two first sessions of one client on two workers
//! must end on one member. What a claim cannot be had for is only not remembered. The one thing that must never be
//! lost, the end of a session, needs none; [`sticky`] tells why it cannot leak.
//!
//! # Bounds
//!
//! | what | bound | at the bound |
//! | --- | --- | --- |
//! | sessions | the capacity at the start; 99.98 % of it fits | [`Insert::Full`] after evicting what may go |
//! | memory | 147 bytes an IPv4 session, 289 an IPv6 one, taken at the start | never grows |
//! | look at a slot that is written | a few hundred looks | [`Lookup::Busy`]: wait or drop, never reset |
//! | packets counted in a direction | 2^32 − 1 | the count stands still |
//! | clients remembered | the capacity at the start, 68 bytes each | the longest idle one without sessions gives way, else [`sticky::Bound::Full`] |
//! | look at a set that is claimed | a few hundred looks | [`sticky::Held::Busy`], [`sticky::Bound::Busy`]: not remembered |
//! | sessions of one client | 2^32 − 1 | the count stands still |
//! | births of one slot | 2^15 | repeat; a hit must not be kept for that long |
//! | ticks | 18 years | wrap; a session idle for half of that counts as fresh |
#![forbid(unsafe_code)]

mod ageing;
mod insert;
mod quarantine;
mod slot;
mod state;
pub mod sticky;
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
pub use table::{Found, Hit, LOAD_PER_MILLE, Lookup, MemoryRegion, Table};
pub use tags::{Probe, SLOTS_PER_SET};
pub use tcp::Observation;
pub use view::{Session, Side};
pub use word::{Activity, Direction, Flags, Progress, Protocol, SlotIndex};

/// Sessions between IPv4 addresses: two key words and three payload words, one cache line a side.
pub type TableV4 = Table<2, 3, 1>;

/// Sessions between IPv6 addresses: five key words and eight payload words, two cache lines a side.
pub type TableV6 = Table<5, 8, 2>;
