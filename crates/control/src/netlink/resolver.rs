//! Carries [`Asks`] to the kernel.

use std::io;
use std::time::Instant;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, neighbour::NeighbourAddress};

use super::asks::{Ask, Asks};
use super::channel::Channel;
use crate::facts::{Facts, Mac, NeighbourKey};

/// Room for the kernel's refusals, which are read after each batch of requests.
const REFUSAL_BUFFER_BYTES: i32 = 256 << 10;

/// `ENOENT` of errno(3): the neighbour to forget is gone already.
const NO_SUCH_NEIGHBOUR: i32 = 2;

/// Has the kernel resolve neighbours and keep them fresh. It needs no readiness: call [`Resolver::advance`]
/// when its deadline is due and after each change of neighbours.
pub struct Resolver {
    asks: Asks,
    channel: Channel,
    pending: Vec<Ask>,
    failed: u64,
}

impl Resolver {
    /// A resolver for the network namespace of this thread.
    pub fn new() -> io::Result<Self> {
        let channel = Channel::non_blocking(&[], REFUSAL_BUFFER_BYTES)?;
        Ok(Self { asks: Asks::default(), channel, pending: Vec::new(), failed: 0 })
    }

    /// Makes `wanted` the set of neighbours that the kernel keeps fresh: gateways and servers.
    pub fn keep(&mut self, now: Instant, wanted: impl IntoIterator<Item = NeighbourKey>, facts: &Facts) {
        self.asks.keep(now, wanted, facts, &mut self.pending);
        self.asks.advance(now, facts, &mut self.pending);
        self.flush();
    }

    /// A frame wants to go to this neighbour now: an on-link client, say.
    pub fn need(&mut self, now: Instant, key: NeighbourKey, facts: &Facts) {
        self.asks.need(now, key, facts, &mut self.pending);
        self.flush();
    }

    /// A health check waits for this neighbour; see [`Asks::recheck`].
    pub fn recheck(&mut self, now: Instant, key: NeighbourKey, facts: &Facts) {
        self.asks.recheck(now, key, facts, &mut self.pending);
        self.flush();
    }

    /// The host of `key` said that it has `mac`, by asking for an address of ours; see [`Asks::hint`] for
    /// what is refused.
    pub fn hint(&mut self, now: Instant, key: NeighbourKey, mac: Mac, facts: &Facts) {
        self.asks.hint(now, key, mac, facts, &mut self.pending);
        self.flush();
    }

    /// Asks again for what is due.
    pub fn advance(&mut self, now: Instant, facts: &Facts) {
        self.asks.advance(now, facts, &mut self.pending);
        self.flush();
    }

    /// Leaves the kernel's table as it would be without the appliance.
    pub fn forget_all(&mut self, facts: &Facts) {
        self.asks.forget_all(facts, &mut self.pending);
        self.flush();
    }

    /// When [`Resolver::advance`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.asks.next_deadline()
    }

    /// What was asked for, how far it has come, and what was turned down.
    pub fn asks(&self) -> &Asks {
        &self.asks
    }

    /// How many requests the kernel refused.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    fn flush(&mut self) {
        for ask in self.pending.drain(..) {
            let (message, flags) = request(ask);
            if let Err(error) = self.channel.send(message, flags) {
                self.failed += 1;
                tracing::debug!(?ask, %error, "a request about a neighbour could not be sent");
            }
            // The kernel acts within the send; a refusal is there now or never comes.
            let failed = &mut self.failed;
            let refusals = |message: io::Result<super::channel::Message>| {
                if let Ok(NetlinkPayload::Error(refusal)) = message.map(|message| message.payload)
                    && let error = refusal.to_io()
                    && error.raw_os_error() != Some(NO_SUCH_NEIGHBOUR)
                {
                    *failed += 1;
                    tracing::debug!(?ask, %error, "the kernel refused a request about a neighbour");
                }
            };
            let _none_or_read = self.channel.receive(refusals);
        }
    }
}

/// The request for an ask. With either of the flags *use* and *managed* the kernel ignores state and MAC, and
/// *managed* is taken away by any request that leaves it out; kernels before 5.16 do not know it and see
/// *use* alone.
fn request(ask: Ask) -> (Message, u16) {
    let mut message = NeighbourMessage::default();
    let mut flags = NLM_F_CREATE;
    let ((interface, address), forget) = match ask {
        Ask::Keep(key) => {
            message.header.flags = NeighbourFlags::Use;
            message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
            (key, false)
        }
        Ask::Use(key) => {
            message.header.flags = NeighbourFlags::Use;
            (key, false)
        }
        Ask::Learn(key, mac) => {
            message.header.state = NeighbourState::Stale;
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
            // Without it the kernel keeps the MAC that it has.
            flags |= NLM_F_REPLACE;
            (key, false)
        }
        Ask::Forget(key) => (key, true),
    };
    message.header.ifindex = interface;
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::from(address)));
    if forget { (Message::DelNeighbour(message), 0) } else { (Message::NewNeighbour(message), flags) }
}
