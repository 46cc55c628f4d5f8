//! Pieces of fragmented packets: they follow their first piece, which alone holds ports (RFC 791, RFC 8200 section 4.5).
//!
//! The first piece is decided about like a whole packet, and its ports are kept in the shared fragment map. A later piece
//! gets them from there, so that it finds the same session and the same translation, on whichever worker. One that comes
//! before its first waits, for a bounded time and in a bounded number; what belongs to no session of ours in any case
//! (neither for an owned address, nor from a server or a masqueraded network) is forwarded without a look at the map.

use crate::arrival::Arrival;
use crate::path::{Answer, Fits, Path, Step};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use flow::fragments::{Found, Noted};
use flow::{DatagramKey, Family, FlowKey, NetworkHeader, Packet};
use session::{Lookup, Probe};
use wire::Fragment;
use wire::ethernet::Ethernet;

/// What became of a first piece: later ones share its way, or its end, whatever they could be taken for on their own.
const FOLLOWED: u64 = 0;
const REFUSED: u64 = 1;

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// Decides about `piece`, which `packet` is.
    #[cold]
    pub fn piece(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        (piece, probe): (Fragment, &Probe),
    ) -> Step {
        if !self.may_be_of_a_session(packet) {
            return self.unquoted(scratch, at, ethernet, packet);
        }
        let Some(datagram) = packet.datagram() else { return DropReason::FragmentUnmatched.into() };
        if !piece.is_first() {
            return self.later_piece(scratch, at, ethernet, packet, (piece, &datagram));
        }
        let ports = (packet.key.source().1, packet.key.destination().1);
        let step = match self.look_up_alone(scratch, at, ethernet, packet, probe) {
            // What answers it would answer a packet that is not whole; an error about it is as good as about a whole one.
            Step::Answer(Answer::Echo | Answer::Reset) => return DropReason::FragmentForService.into(),
            step => step,
        };
        match step {
            // It comes back once its next hop is known, and is noted then.
            Step::Park { .. } => step,
            Step::Send(_) | Step::Wrap(..) => {
                self.note_first(&datagram, ports, piece, FOLLOWED).map_or(step, Step::Drop)
            }
            refused => {
                let _also_dropped = self.note_first(&datagram, ports, piece, REFUSED);
                refused
            }
        }
    }

    /// Keeps the ports of a first piece, and its fate; the reason if the piece must not go on.
    fn note_first(
        &self,
        datagram: &DatagramKey,
        ports: (u16, u16),
        piece: Fragment,
        fate: u64,
    ) -> Option<DropReason> {
        let shared = self.world.shared;
        let payload = [u64::from(ports.0) << 16 | u64::from(ports.1), fate];
        let source = shared.hasher.source_hash(datagram);
        match shared.fragments.note_first(source, datagram, payload, piece, self.world.now_ns) {
            Noted::Fresh => None,
            Noted::Duplicate => Some(DropReason::FragmentDuplicate),
            Noted::Overlaps => Some(DropReason::FragmentOverlap),
            Noted::Full => Some(DropReason::FragmentsFull),
            Noted::Busy => Some(DropReason::FragmentBusy),
        }
    }

    fn later_piece(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
        (piece, datagram): (Fragment, &DatagramKey),
    ) -> Step {
        let shared = self.world.shared;
        let source = shared.hasher.source_hash(datagram);
        let word = match shared.fragments.find(source, datagram, piece, self.world.now_ns) {
            Found::Payload([word, FOLLOWED]) => word,
            Found::Payload(_) => return DropReason::FragmentUnmatched.into(),
            Found::Unknown => return Step::AwaitFirst { source },
            Found::Duplicate => return DropReason::FragmentDuplicate.into(),
            Found::Overlaps => return DropReason::FragmentOverlap.into(),
            Found::Busy => return DropReason::FragmentBusy.into(),
        };
        let (from, to) = (packet.key.source().0, packet.key.destination().0);
        let (source_port, destination_port) = ((word >> 16) as u16, word as u16);
        packet.key = F::Key::new(
            packet.key.zone(),
            packet.key.protocol(),
            (from, source_port),
            (to, destination_port),
        );
        packet.hash = packet.key.hash(&shared.hasher);
        let probe = self.table.probe(packet.hash);
        match self.table.find(&probe, packet.key.words()) {
            Lookup::Miss => self.later_piece_without_session(scratch, at, ethernet, packet),
            Lookup::Busy => DropReason::SessionBusy.into(),
            Lookup::Hit(_) => self.look_up_alone(scratch, at, ethernet, packet, &probe),
        }
    }

    /// The first piece was placed by its hash alone, or is nobody's but the routes', or its session has ended since.
    fn later_piece_without_session(
        &self,
        scratch: &mut Scratch,
        at: &Arrival,
        ethernet: &mut Ethernet<'_>,
        packet: &mut Packet<'_, F>,
    ) -> Step {
        let Some(vip) = self.view.owned.get(packet.header.destination()) else {
            return self.unquoted(scratch, at, ethernet, packet);
        };
        match vip.service(packet.key.protocol(), packet.key.destination().1) {
            Some(service) if service.mode.is_direct() => {
                self.without_session(scratch, at, ethernet, packet, service)
            }
            _ => DropReason::FragmentUnmatched.into(),
        }
    }

    /// Whether the packet can belong to a session at all: only then its pieces must be kept together.
    fn may_be_of_a_session(&self, packet: &Packet<'_, F>) -> bool {
        let (source, destination) = (packet.header.source(), packet.header.destination());
        self.view.owned.get(destination).is_some()
            || self.view.servers.contains_key(&source)
            || self.view.outbounds.of(source, destination).is_some()
            || self.view.owned.get(source).is_some()
            || self.beyond(packet.key.zone(), destination).is_some()
            || self.beyond(packet.key.zone(), source).is_some()
    }
}
