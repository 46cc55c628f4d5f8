//! The part of the checks that is carried to servers as traffic is.

use std::net::SocketAddr;
use std::time::Instant;

use config::Probe;
use hashbrown::HashSet;

use super::{Asking, CheckId, Checks, Transition};
use crate::check::attempt::Start;
use crate::check::carried::Parcel;
use crate::check::checker::Silence;
use crate::check::conversation::Conversation;
use crate::check::wanted::{Carriage, Wanted, Way};

impl Checks {
    /// What is to be carried now, once. Ask after each call that may have made something to send.
    pub fn parcels(&mut self) -> impl Iterator<Item = Parcel> {
        self.carried.parcels()
    }

    /// Says whether the server of a carriage can be reached at all: whether the MAC address that leads to it is known.
    pub fn note_way(&mut self, carriage: Carriage, is_open: bool) {
        if is_open {
            self.shut.remove(&carriage);
        } else {
            self.shut.insert(carriage);
        }
    }

    /// Closes what no carried check needs any more.
    pub(super) fn keep_carried(&mut self) {
        let targets = self.entries.values().map(|entry| &entry.wanted.target);
        let carried = targets.filter_map(|target| match target.way {
            Way::Carried(carriage) => Some((target.socket_address(), carriage)),
            Way::Kernel => None,
        });
        let (vips, carriages): (HashSet<SocketAddr>, HashSet<Carriage>) = carried.unzip();
        self.carried.keep(&vips);
        self.shut.retain(|carriage| carriages.contains(carriage));
    }

    /// Asks a VIP on one of its servers.
    pub(super) fn ask_carried(
        &mut self,
        now: Instant,
        id: CheckId,
        carriage: Carriage,
        wanted: &Wanted,
    ) -> Start<Asking> {
        let vip = wanted.target.socket_address();
        // Errors about what is sent come by ICMP.
        if let Err(error) = self.raw.hear_errors(vip.is_ipv4()) {
            return Start::NotNow(error);
        }
        match (Conversation::new(&wanted.probe, vip), &*wanted.probe) {
            (Some(conversation), _) => {
                self.carried.ask_stream(id, (vip, carriage), conversation, now).map(Asking::Carried)
            }
            (None, Probe::Udp(request)) => {
                let source = match self.carried.source_for(carriage.server) {
                    Ok(source) => source,
                    Err(error) => return Start::failed(error),
                };
                let start = self.pool.await_datagram(id, source, vip, request);
                if let Start::UnderWay(slot) = start
                    && let Some(source) = self.pool.source(slot)
                {
                    self.carried.send_datagram((vip, carriage), source, &request.send);
                }
                start.map(Asking::Socket)
            }
            (None, Probe::Icmp) => {
                let source = match self.carried.source_for(carriage.server) {
                    Ok(source) => source,
                    Err(error) => return Start::failed(error),
                };
                match self.raw.echo_to_carry(id, vip.ip()) {
                    Ok((asked, message)) => {
                        self.carried.send_echo((vip.ip(), carriage), source, &message);
                        Start::UnderWay(Asking::Raw(asked))
                    }
                    Err(error) => Start::NotNow(error),
                }
            }
            (None, _) => self.carried.ask_half_open(id, (vip, carriage)).map(Asking::Carried),
        }
    }

    /// Lets time pass for a connection of a check's own.
    pub(super) fn serve_carried(&mut self, now: Instant, id: CheckId, out: &mut Vec<Transition>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Asking::Carried(call) = entry.asking else { return };
        if entry.carried_at.is_none_or(|at| at > now) {
            return;
        }
        let progress = self.carried.advance(call, now);
        self.take(now, id, progress, out);
        self.look_again(now, id);
    }

    /// Reads what came for such connections.
    pub(super) fn listen_to_carried(&mut self, now: Instant, out: &mut Vec<Transition>) {
        let mut heard = Vec::new();
        self.carried.listen(now, &mut heard);
        for (id, progress) in heard {
            self.take(now, id, progress, out);
            self.look_again(now, id);
            self.schedule(id);
        }
    }

    /// Notes when a check's own connection wants to be looked at.
    pub(super) fn look_again(&mut self, now: Instant, id: CheckId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.carried_at = match entry.asking {
            Asking::Carried(call) => self.carried.next_deadline(call, now),
            _ => None,
        };
    }

    /// What the silence of a carried check says.
    pub(super) fn silence_of_carried(&self, id: CheckId) -> Silence {
        let Some(entry) = self.entries.get(&id) else { return Silence::Fails("answer") };
        let Way::Carried(carriage) = entry.wanted.target.way else { return Silence::Fails("answer") };
        let (awaited, nothing_heard) = match entry.asking {
            _ if self.shut.contains(&carriage) => return Silence::Unreachable,
            Asking::Socket(_) if entry.is_content_with_silence() => return Silence::Succeeds,
            Asking::Carried(call) => self.carried.awaited(call),
            Asking::Socket(slot) => (self.pool.awaited(slot), true),
            Asking::Raw(asked) => (asked.awaited(), true),
            Asking::Nothing | Asking::Queued => ("answer", true),
        };
        if nothing_heard {
            Silence::NotServed(awaited, entry.wanted.target.address, carriage.by)
        } else {
            Silence::Fails(awaited)
        }
    }
}
