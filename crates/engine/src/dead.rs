//! The sessions of a server that died: both ends are told at once, so that clients connect again without waiting.
//!
//! A reset is believed only with the very number that its receiver waits for (RFC 5961 section 3.2). Where both directions
//! pass here both numbers are known. Where servers answer directly, nobody here knows what the client waits for; but the
//! client does: an acknowledgement that it cannot take makes it say so (RFC 9293 section 3.10.7.4), and what it says is
//! answered with a reset like any segment of a session that was reset.

use crate::answer::{Parting, RESET_BYTES_MAX};
use crate::path::{Fits, Path};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use flow::{Family, FlowKey};
use plan::{Link, MemberState, Resolution};
use port::{Frame, HEAD_ROOM_BYTES, Ports};
use rewrite::Translation;
use session::{Flags, Protocol, Session, State, Visit};
use std::ops::Range;

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Resets, in `sets`, every TCP session whose server is dead, and ends the others of such servers. Gives back whether
    /// every reset found room, and how many sessions it took a hand to; with `insist` a session whose reset found none is left
    /// as it was, to be reset by the next call.
    pub fn reset_dead<P: Ports>(
        &self,
        sets: Range<usize>,
        (ports, scratch): (&mut P, &mut Scratch),
        insist: bool,
    ) -> (bool, u32) {
        let (mut told_all, mut resets) = (true, 0);
        let decide = |session: &Session<KEY, PAYLOAD>| {
            let [request, reply] = [&session.client.payload, &session.server.payload].map(F::translation);
            let is_dead = self.world.plan.member_state(request.member) == MemberState::Dead;
            if !is_dead && !self.passes_dead_firewall(&request, &reply) {
                return Visit::Keep;
            }
            match (session.state(), session.client.direction.activity.flags().protocol()) {
                (State::Reset, _) => Visit::Keep,
                (_, Protocol::Tcp) => {
                    if insist && !told_all {
                        return Visit::Keep;
                    }
                    resets += 1;
                    told_all &= self.reset_both_ends(session, ports, scratch);
                    if insist && !told_all {
                        return Visit::Keep;
                    }
                    let is_marked =
                        self.table.mark_reset(session.client.slot, session.birth, self.world.tick);
                    if is_marked {
                        self.leave_members(session.client.slot, session.birth);
                    }
                    Visit::Keep
                }
                _ => {
                    resets += 1;
                    Visit::End
                }
            }
        };
        self.table.visit(sets, self.world.tick, decide, |ended| self.release(ended));
        (told_all, resets)
    }

    /// Tells both ends; false when one of them found no room.
    fn reset_both_ends<P: Ports>(
        &self,
        session: &Session<KEY, PAYLOAD>,
        ports: &mut P,
        scratch: &mut Scratch,
    ) -> bool {
        let client_key = F::Key::from_words(session.client.key);
        let server_key = F::Key::from_words(session.server.key);
        let ends = [session.client.direction, session.server.direction].map(|side| side.sequence_end());
        let client_end = ends[0].unwrap_or_default();
        let is_direct = session.client.direction.activity.flags().contains(Flags::ONE_WAY);
        // From the address that the client called.
        let to_client = Parting {
            macs: Default::default(),
            source: endpoint::<F>(client_key.destination()),
            destination: endpoint::<F>(client_key.source()),
            sequence: ends[1].unwrap_or_default(),
            acknowledgement: client_end,
            is_reset: !is_direct || ends[1].is_some(),
        };
        let [request, reply] = [&session.client.payload, &session.server.payload].map(F::translation);
        let told_client = self.tell(to_client, self.link_of_side(&reply, client_key.source().0), ports);
        let told_server = match is_direct {
            true => self.tell_direct(session, client_end, ports, scratch),
            // From the address that the server saw.
            false => {
                let to_server = Parting {
                    macs: Default::default(),
                    source: endpoint::<F>(server_key.destination()),
                    destination: endpoint::<F>(server_key.source()),
                    sequence: client_end,
                    acknowledgement: ends[1].unwrap_or_default(),
                    is_reset: true,
                };
                self.tell(to_server, self.link_of_side(&request, server_key.source().0), ports)
            }
        };
        told_client && told_server
    }

    /// Where packets for `destination` leave now: a session's own links may be out of date, so the routes are asked.
    pub fn link_now(&self, destination: F::Address) -> Option<Link> {
        match self.view.routes.resolve(destination, 0) {
            Resolution::Link(link) => self.world.shared.links.get(link),
            _ => None,
        }
    }

    /// Sends `parting` by `link`. Whoever none leads to gets none, and that is no lack of room.
    fn tell<P: Ports>(&self, parting: Parting, link: Option<Link>, ports: &mut P) -> bool {
        let Some(link) = link else { return true };
        let Some(leg) = self.world.port(link.port) else { return true };
        let mut frame = [0; RESET_BYTES_MAX];
        let parting = Parting { macs: (leg.mac, link.mac), ..parting };
        match parting.write(&mut frame) {
            Some(length) => self.world.send_own(ports, link.port, &frame[..length]),
            None => true,
        }
    }

    /// Resets a server that answers directly: as from its client, carried like every request.
    fn tell_direct<P: Ports>(
        &self,
        session: &Session<KEY, PAYLOAD>,
        client_end: u32,
        ports: &mut P,
        scratch: &mut Scratch,
    ) -> bool {
        let request = F::translation(&session.client.payload);
        let key = F::Key::from_words(session.client.key);
        let parting = Parting {
            macs: Default::default(),
            source: endpoint::<F>(key.source()),
            destination: endpoint::<F>(key.destination()),
            sequence: client_end,
            acknowledgement: 0,
            is_reset: true,
        };
        let mut buffer = [0; HEAD_ROOM_BYTES + RESET_BYTES_MAX];
        let Some(room) = buffer.last_chunk_mut() else { return true };
        let Some(length) = parting.write(room) else { return true };
        let Some(mut frame) = Frame::new(&mut buffer, HEAD_ROOM_BYTES, length) else { return true };
        // Its own link may be out of date. Where none leads there now, it is no lack of room.
        let carried = self.carry((ports, scratch), &mut frame, key.zone(), |_| {
            match self.view.routes.resolve(request.destination.0, 0) {
                Resolution::Link(link) => Ok(Translation { link, ..request }),
                _ => Err(DropReason::NoRoute.into()),
            }
        });
        carried.unwrap_or(true)
    }
}

fn endpoint<F: Family>((address, port): (F::Address, u16)) -> (std::net::IpAddr, u16) {
    (address.into(), port)
}
