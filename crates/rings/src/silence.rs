//! Keeps the kernel from answering or forwarding what the appliance takes, on kernels before 6.6.
//!
//! An AF_PACKET ring holds copies; the kernel's own must be stopped at ingress, behind the tap. Where tcx is
//! missing this is done by an nftables table of the `netdev` family, which belongs to our netlink socket: the
//! kernel removes it with the socket, also after `kill -9` (NFT_TABLE_F_OWNER, Linux 5.12). It decides as the
//! steering program does:
//!
//! ```text
//!   ARP        target or sender claimed ─▶ drop                      others ─▶ kernel
//!   ND         target or source claimed ─▶ drop
//!   IPv4, IPv6 destination claimed ─▶ drop     host's, multicast, broadcast ─▶ kernel     others ─▶ drop
//! ```
//!
//! The table is there from the beginning; the chain that stops frames comes only once the addresses are
//! known, since with none of them every unicast packet would be stopped.
//!
//! Tagged frames are the kernel's business here; it drops those of VLANs that it does not have. A gate that
//! leaves the untagged to the kernel has its silence ended for as long. For the control thread; the calling
//! thread's network namespace counts when it is made, no longer afterwards.

mod message;

use crate::steering::Owner;
use crate::{Error, interface};
use message::{Batch, Match, Message, VERDICT_ACCEPT, VERDICT_DROP};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const CHAIN: &str = "ingress";
const CLAIMED_4: &str = "claimed4";
const CLAIMED_6: &str = "claimed6";
const HOST_4: &str = "host4";
const HOST_6: &str = "host6";

/// The sets, each with its owner and the bytes of its keys.
const SETS: [(&str, Owner, usize); 4] = [
    (CLAIMED_4, Owner::Claimed, 4),
    (CLAIMED_6, Owner::Claimed, 16),
    (HOST_4, Owner::Host, 4),
    (HOST_6, Owner::Host, 16),
];

/// Addresses at the most, of all owners together: a batch is one datagram, and the kernel copies it whole.
pub const ADDRESSES_MAX: usize = 65_536;

/// Bytes of a batch at the most: 28 for each address and some for the rules.
const SEND_BUFFER_BYTES: libc::c_int = 4 << 20;

/// One interface on which the kernel hears only what is its own: from [`Silence::begin`] on, but not before
/// the addresses are known, until [`Silence::end`] or the end of this.
#[derive(Debug)]
pub struct Silence {
    socket: OwnedFd,
    interface: String,
    table: String,
    begun: bool,
    knows_addresses: bool,
    /// Whether the chain is there.
    stops: bool,
}

impl Drop for Silence {
    /// Removes the table in so many words: closing the socket does so only when no child that is just being
    /// started has still inherited it.
    fn drop(&mut self) {
        let mut batch = Batch::new();
        batch.push(Message::delete_table(&self.table));
        let _ = self.commit(batch);
    }
}

impl Silence {
    /// Makes the table and stops nothing yet.
    pub fn new(interface: &str) -> Result<Self, Error> {
        let index = interface::find(interface)?.index;
        let socket = open().map_err(|source| failed(interface, source))?;
        let table = format!("jeoul-{index}-{}", std::process::id());
        let interface = interface.to_owned();
        let silence = Self { socket, interface, table, begun: false, knows_addresses: false, stops: false };
        let mut batch = Batch::new();
        batch.push(Message::new_table(&silence.table));
        for (number, (name, _, key_bytes)) in SETS.into_iter().enumerate() {
            batch.push(Message::new_set(&silence.table, name, number as u32 + 1, key_bytes));
        }
        silence.commit(batch).map_err(|source| failed(&silence.interface, source))?;
        Ok(silence)
    }

    /// Makes these, and no others, the addresses that are decided by, in one step.
    pub fn set_addresses(&mut self, addresses: &[(IpAddr, Owner)]) -> Result<(), Error> {
        let mut batch = Batch::new();
        for (name, ..) in SETS {
            batch.push(Message::flush_set(&self.table, name));
        }
        self.fill(&mut batch, addresses)?;
        self.change(batch, self.begun, true)
    }

    /// Stops at ingress what is neither the host's nor control traffic, as soon as the addresses are known.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.change(Batch::new(), true, self.knows_addresses)
    }

    /// Stops nothing any more.
    pub fn end(&mut self) -> Result<(), Error> {
        self.change(Batch::new(), false, self.knows_addresses)
    }

    /// Commits `batch` and, in the same step, the chain's coming or going.
    fn change(&mut self, mut batch: Batch, begun: bool, knows_addresses: bool) -> Result<(), Error> {
        let stops = begun && knows_addresses;
        if stops && !self.stops {
            batch.push(Message::new_ingress_chain(&self.table, CHAIN, &self.interface));
            for (matches, verdict) in rules() {
                batch.push(Message::new_rule(&self.table, CHAIN, &matches, verdict));
            }
        } else if self.stops && !stops {
            batch.push(Message::delete_chain(&self.table, CHAIN));
        }
        match self.commit(batch) {
            // A chain goes with its interface.
            Err(source) if !stops && source.raw_os_error() == Some(libc::ENOENT) => {}
            outcome => outcome.map_err(|source| failed(&self.interface, source))?,
        }
        (self.begun, self.knows_addresses, self.stops) = (begun, knows_addresses, stops);
        Ok(())
    }

    fn fill(&self, batch: &mut Batch, addresses: &[(IpAddr, Owner)]) -> Result<(), Error> {
        if addresses.len() > ADDRESSES_MAX {
            return Err(Error::OutOfBounds {
                what: format!("{}: addresses to keep the kernel from", self.interface),
                value: addresses.len() as u64,
                bound: ADDRESSES_MAX as u64,
                advice: "claim fewer addresses",
            });
        }
        for (name, owner, key_bytes) in SETS {
            let mine = addresses.iter().filter(|(_, of)| *of == owner).map(|(address, _)| octets(address));
            let mut keys: Vec<Vec<u8>> = mine.filter(|key| key.len() == key_bytes).collect();
            keys.sort_unstable();
            keys.dedup();
            for some in keys.chunks(message::ELEMENTS_MAX) {
                batch.push(Message::add_elements(&self.table, name, some));
            }
        }
        Ok(())
    }

    /// Sends a batch, which takes effect as a whole or not at all. The kernel has worked it off when the call
    /// returns, and speaks only where it refuses.
    fn commit(&self, batch: Batch) -> io::Result<()> {
        let bytes = batch.finish();
        // SAFETY: the bytes outlive the call.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut outcome = Ok(());
        let mut reply = [0u8; 8_192];
        loop {
            // SAFETY: the buffer outlives the call and its true size is passed.
            let length = unsafe {
                let (buffer, size) = (reply.as_mut_ptr().cast(), reply.len());
                libc::recv(self.socket.as_raw_fd(), buffer, size, libc::MSG_DONTWAIT)
            };
            let Ok(length) = usize::try_from(length) else { return outcome };
            if let Some(number) = message::refusal(&reply[..length]) {
                outcome = outcome.and(Err(io::Error::from_raw_os_error(number)));
            }
        }
    }
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// What the chain does, in order. Offsets are from the network header: RFC 826, RFC 791 section 3.1, RFC 8200
/// section 3 and RFC 4861 section 4.3.
fn rules() -> Vec<(Vec<Match>, u32)> {
    let arp = Match::Protocol(libc::ETH_P_ARP as u16);
    let ipv4 = Match::Protocol(libc::ETH_P_IP as u16);
    let ipv6 = Match::Protocol(libc::ETH_P_IPV6 as u16);
    let within = |offset, bytes, set| Match::Within { offset, bytes, set };
    let byte = |offset, mask, value| Match::Byte { offset, mask, value };
    let mut rules = vec![
        (vec![arp, within(24, 4, CLAIMED_4)], VERDICT_DROP),
        (vec![arp, within(14, 4, CLAIMED_4)], VERDICT_DROP),
        (vec![ipv4, within(16, 4, CLAIMED_4)], VERDICT_DROP),
        (vec![ipv4, within(16, 4, HOST_4)], VERDICT_ACCEPT),
        (vec![ipv4, byte(16, 0xf0, 0xe0)], VERDICT_ACCEPT),
        (vec![ipv4, Match::Broadcast { offset: 16 }], VERDICT_ACCEPT),
        (vec![ipv4], VERDICT_DROP),
    ];
    // Neighbour solicitation and advertisement.
    for kind in [135, 136] {
        let discovery = [ipv6, byte(6, 0xff, 58), byte(40, 0xff, kind)];
        for address in [48, 8] {
            rules.push(([&discovery[..], &[within(address, 16, CLAIMED_6)]].concat(), VERDICT_DROP));
        }
    }
    rules.extend([
        (vec![ipv6, within(24, 16, CLAIMED_6)], VERDICT_DROP),
        (vec![ipv6, within(24, 16, HOST_6)], VERDICT_ACCEPT),
        (vec![ipv6, byte(24, 0xff, 0xff)], VERDICT_ACCEPT),
        (vec![ipv6], VERDICT_DROP),
    ]);
    rules
}

fn open() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let raw = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_NETFILTER)
    };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let size = size_of_val(&SEND_BUFFER_BYTES) as libc::socklen_t;
    // SAFETY: the value outlives the call and its true size is passed.
    let status = unsafe {
        let value = std::ptr::from_ref(&SEND_BUFFER_BYTES).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, value, size)
    };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

fn failed(interface: &str, source: io::Error) -> Error {
    let what = format!("{interface}: keeping the kernel out by nftables");
    match source.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EINVAL | libc::ENOENT) => {
            Error::Unsupported { what, needs: "Linux 5.12 or later with nf_tables and its netdev family" }
        }
        _ => Error::privileged(what, "CAP_NET_ADMIN", source),
    }
}
