//! Keeps the facts true.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;

use super::Changes;
use super::channel::Channel;
use super::translate::{self, apply};
use crate::facts::{Address, Facts, Interface, InterfaceIndex, Neighbour, NeighbourKey, Prefix, Route};

/// Multicast groups of rtnetlink(7): link, neighbour, IPv4 address and route, IPv6 address and route.
const GROUPS: [u32; 6] = [1, 3, 5, 7, 9, 11];

/// Room for events that wait for the control thread. A routing daemon may change thousands of routes at once;
/// what does not fit costs a whole reading of all tables. The kernel caps it at `net.core.rmem_max`.
const EVENT_BUFFER_BYTES: i32 = 4 << 20;

/// Datagrams read in one `drain`, so that a storm of events leaves the control thread time for its other
/// work.
const DATAGRAMS_PER_DRAIN_MAX: u32 = 1_024;

/// How long a doubtful table is left alone before it is read again: the kernel tells of a link before it
/// takes the link's routes away, and one change seldom comes alone.
const SETTLE: Duration = Duration::from_millis(50);

/// Reading tables again may take one part in this many of the control thread's time.
const REDUMP_TIME_SHARE: u32 = 4;

/// `ENOBUFS` of errno(3): the kernel had to throw events away.
const EVENTS_LOST: i32 = 105;

/// Follows the kernel's tables. Register it for reading, call [`Mirror::drain`] when it is ready or its
/// deadline is due.
pub struct Mirror {
    events: Channel,
    requests: Channel,
    doubtful: Changes,
    read_again_at: Option<Instant>,
    settle: Duration,
    backlog: Option<Instant>,
    overruns: u64,
}

impl Mirror {
    /// Subscribes in the network namespace of this thread and reads everything into `facts`.
    pub fn new(facts: &mut Facts) -> io::Result<Self> {
        let mut mirror = Self {
            events: Channel::non_blocking(&GROUPS, EVENT_BUFFER_BYTES)?,
            requests: Channel::blocking()?,
            doubtful: Changes::ALL,
            read_again_at: None,
            settle: SETTLE,
            backlog: None,
            overruns: 0,
        };
        mirror.read_doubtful(facts)?;
        facts.generation += 1;
        Ok(mirror)
    }

    /// Applies everything that the kernel has told, and reads again what is doubtful and due.
    pub fn drain(&mut self, now: Instant, facts: &mut Facts) -> io::Result<Changes> {
        let mut changes = self.read_events(now, facts)?;
        if self.read_again_at.is_some_and(|at| at <= now) {
            let started = Instant::now();
            changes |= self.read_doubtful(facts)?;
            self.settle = SETTLE.max(started.elapsed() * REDUMP_TIME_SHARE);
        }
        if !changes.is_empty() {
            facts.generation += 1;
        }
        Ok(changes)
    }

    /// When [`Mirror::drain`] wants to be called though nothing is ready.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.backlog.into_iter().chain(self.read_again_at).min()
    }

    /// How often the kernel had to throw events away, so that all tables were read again.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    fn read_events(&mut self, now: Instant, facts: &mut Facts) -> io::Result<Changes> {
        let mut changes = Changes::default();
        let mut doubtful = Changes::default();
        self.backlog = Some(now);
        for _ in 0..DATAGRAMS_PER_DRAIN_MAX {
            let received = self.events.receive(|message| match message {
                Ok(message) => {
                    if let NetlinkPayload::InnerMessage(event) = &message.payload {
                        let effect = apply(event, message.header.flags, facts);
                        changes |= effect.changes;
                        doubtful |= effect.doubtful;
                    }
                }
                Err(error) => tracing::debug!(%error, "a kernel event is left out"),
            });
            match received {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.backlog = None;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(EVENTS_LOST) => {
                    self.overruns += 1;
                    doubtful = Changes::ALL;
                }
                Err(error) => return Err(error),
            }
        }
        if !doubtful.is_empty() {
            self.doubtful |= doubtful;
            self.read_again_at.get_or_insert(now + self.settle);
        }
        Ok(changes)
    }

    fn read_doubtful(&mut self, facts: &mut Facts) -> io::Result<Changes> {
        let mut changes = Changes::default();
        if self.doubtful.links {
            let interfaces = self.read_links()?;
            changes.links = replace(&mut facts.interfaces, interfaces);
        }
        if self.doubtful.addresses {
            let addresses = self.read_addresses()?;
            changes.addresses = replace(&mut facts.addresses, addresses);
        }
        if self.doubtful.routes {
            let routes = self.read_routes()?;
            changes.routes = replace(&mut facts.routes, routes);
        }
        if self.doubtful.neighbours {
            let neighbours = self.read_neighbours()?;
            changes.neighbours = replace(&mut facts.neighbours, neighbours);
        }
        self.doubtful = Changes::default();
        self.read_again_at = None;
        Ok(changes)
    }

    fn read_links(&mut self) -> io::Result<BTreeMap<InterfaceIndex, Interface>> {
        let entries = self.requests.dump(&Message::GetLink(LinkMessage::default()))?;
        let interfaces = entries.iter().filter_map(|entry| match entry {
            Message::NewLink(message) => translate::interface(message, None),
            _ => None,
        });
        Ok(interfaces.map(|interface| (interface.index, interface)).collect())
    }

    fn read_addresses(&mut self) -> io::Result<Vec<Address>> {
        let entries = self.requests.dump(&Message::GetAddress(AddressMessage::default()))?;
        let mut addresses: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry {
                Message::NewAddress(message) => translate::address(message),
                _ => None,
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    fn read_routes(&mut self) -> io::Result<BTreeMap<Prefix, Vec<Route>>> {
        let mut fresh = Facts::default();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            for entry in self.requests.dump(&Message::GetRoute(request))? {
                if let Message::NewRoute(message) = entry
                    && let Some(route) = translate::route(&message)
                {
                    fresh.add_route(route);
                }
            }
        }
        Ok(fresh.routes)
    }

    fn read_neighbours(&mut self) -> io::Result<HashMap<NeighbourKey, Neighbour>> {
        let entries = self.requests.dump(&Message::GetNeighbour(NeighbourMessage::default()))?;
        let neighbours = entries.iter().filter_map(|entry| match entry {
            Message::NewNeighbour(message) => translate::neighbour(message),
            _ => None,
        });
        Ok(neighbours.filter_map(|(key, neighbour)| Some((key, neighbour?))).collect())
    }
}

/// Puts the new value in place and says whether it differs.
fn replace<T: PartialEq>(place: &mut T, new: T) -> bool {
    let differs = *place != new;
    *place = new;
    differs
}

impl Source for Mirror {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.events.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.events.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.events.as_raw_fd()).deregister(registry)
    }
}
