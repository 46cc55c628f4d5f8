//! Steering: which frames of an interface the appliance takes, and which it leaves to the kernel.
//!
//! Control thread only; workers never see a map. [`Steering`] holds the addresses, one [`Gate`] per port
//! holds the programs, and the kernel runs them. What they decide stands at the top of `decision.rs`. The
//! same decision is put where the driver of the port needs it:
//!
//! ```text
//!   AF_XDP     XDP program ──redirect──▶ socket of the queue        (no socket: dropped)
//!                  └───────pass────────▶ kernel
//!
//!   AF_PACKET  tap ──▶ socket filter ──accept──▶ ring of a worker     (a copy)
//!               │            └─────────ignore
//!               └─▶ tcx program ────────drop                       (accepted, or nobody's)
//!                        └──────────────next──▶ kernel
//! ```
//!
//! Kernels before 6.6 have no tcx. There an nftables table ([`crate::silence`]) stands in its place: its
//! chain hangs at ingress while the gate is open and the addresses are known, and it follows both. A frame
//! that comes in the very moment of a change may then be seen by neither ring nor kernel.
//!
//! Every program is held by a BPF link and the table by its socket, so they go when the process goes, in
//! whatever way. Refuses an interface on which another XDP program sits, and a port that takes all behind
//! nftables.
//!
//! A frame of a VLAN that a gate lists ([`Gate::set_vlans`]) goes to the socket whole, whatever is in it: its
//! addresses are judged by the worker, and what is the host's comes back to the kernel through a TAP device.
//! The list is an array of 4096 bytes in the port's own map, read in place: one load and no lookup.

mod decision;
mod gate;
#[cfg(test)]
mod tests;

pub use gate::{Attach, Driver, Gate, PortFacts};

use crate::Error;
use crate::bpf::{Map, MapKind};
use crate::silence::Silence;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Bits of an address's value. An address that is both is treated as claimed: the kernel must not answer for
/// it.
const HOST: u32 = 1;
const CLAIMED: u32 = 2;

/// Bits of a port's flags. Shut: everything to the kernel. Takes all: everything to the socket. Has VLANs:
/// those not listed are the kernel's. Leaves untagged: frames of no VLAN are the kernel's.
const SHUT: u16 = 1;
const TAKES_ALL: u16 = 2;
const HAS_VLANS: u16 = 4;
const LEAVES_UNTAGGED: u16 = 8;

/// The highest VLAN identifier (IEEE 802.1Q, table 9-2: 0xfff is reserved).
pub const VLAN_MAX: u16 = 4_094;

/// Values of a VLAN identifier's twelve bits.
const VLANS: usize = 4_096;

/// Which counter a verdict adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
enum Counter {
    ToSocket,
    ToKernel,
    ForeignMac,
    SocketMissing,
}

const COUNTERS: u32 = 4;

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The kernel's: an address of one of its interfaces, or the broadcast address of one of its networks.
    Host,
    /// The appliance's: a VIP, a source-NAT address, a probe responder.
    Claimed,
}

/// What the steering programs of a port decided since it was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SteeringCounters {
    /// Frames handed to a socket.
    pub to_socket: u64,
    /// Frames left to the kernel.
    pub to_kernel: u64,
    /// Unicast frames for a MAC that is not the port's, dropped.
    pub foreign_mac: u64,
    /// Frames for a socket on a queue that has none, dropped.
    pub socket_missing: u64,
}

/// The addresses that all ports steer by.
#[derive(Debug)]
pub struct Steering {
    addresses: Map,
    capacity: u32,
    /// What the map holds now.
    held: HashMap<[u8; 16], u32>,
    /// What was set last, for gates that come later; `None` before the first time.
    listed: Option<Vec<(IpAddr, Owner)>>,
    /// Of the gates whose kernel has no tcx, as long as they are attached.
    silences: Mutex<Vec<Weak<Mutex<Silence>>>>,
}

impl Steering {
    /// Room for `capacity` addresses, taken at once.
    pub fn new(capacity: u32) -> Result<Self, Error> {
        // Twice the room, since new addresses go in before old ones come out.
        let addresses = Map::new(MapKind::Hash, 16, 4, capacity.saturating_mul(2), "steer_addresses")?;
        let (listed, silences) = (None, Mutex::default());
        Ok(Self { addresses, capacity, held: HashMap::new(), listed, silences })
    }

    /// Makes these, and no others, the addresses that are steered by. An address that stays is never missing
    /// in between; one that is listed with both owners is claimed.
    pub fn set_addresses(&mut self, addresses: &[(IpAddr, Owner)]) -> Result<(), Error> {
        let mut wanted: HashMap<[u8; 16], u32> = HashMap::with_capacity(addresses.len());
        for &(address, owner) in addresses {
            let bit = if owner == Owner::Host { HOST } else { CLAIMED };
            *wanted.entry(key(address)).or_default() |= bit;
        }
        if wanted.len() > self.capacity as usize {
            return Err(Error::OutOfBounds {
                what: "addresses to steer by".to_owned(),
                value: wanted.len() as u64,
                bound: u64::from(self.capacity),
                advice: "start with a larger capacity, or claim fewer addresses",
            });
        }
        // First the kernel, then the rings: rather neither of them for a moment than both.
        for silence in lock(&self.silences).iter().filter_map(Weak::upgrade) {
            lock(&silence).set_addresses(addresses)?;
        }
        self.listed = Some(addresses.to_vec());
        for (address, &value) in &wanted {
            if self.held.get(address) != Some(&value) {
                self.addresses
                    .update(address, &value.to_ne_bytes())
                    .map_err(|error| Error::from_io("adding an address to steer by", error))?;
                self.held.insert(*address, value);
            }
        }
        let gone: Vec<[u8; 16]> =
            self.held.keys().filter(|address| !wanted.contains_key(*address)).copied().collect();
        for address in gone {
            self.addresses
                .delete(&address)
                .map_err(|error| Error::from_io("removing an address to steer by", error))?;
            self.held.remove(&address);
        }
        Ok(())
    }

    /// A silence of `interface` that follows the addresses.
    fn silence(&self, interface: &str) -> Result<Arc<Mutex<Silence>>, Error> {
        let mut silence = Silence::new(interface)?;
        if let Some(addresses) = &self.listed {
            silence.set_addresses(addresses)?;
        }
        let silence = Arc::new(Mutex::new(silence));
        let mut silences = lock(&self.silences);
        silences.retain(|other| other.strong_count() > 0);
        silences.push(Arc::downgrade(&silence));
        Ok(silence)
    }
}

/// Nothing of what is locked here is left half changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
