//! What the packets of sessions add to the counts: of members, of handshakes, of ends.

use crate::path::{Fits, Path, World};
use flow::Family;
use rewrite::{Direction, MemberId};
use session::tcp::{Segment, header_flags};
use session::{Flags, Hit, Session, SlotIndex, State};

/// What the frames of a burst add to the counts of the ports that they leave by, port after port: most bursts have one.
#[derive(Default)]
pub(crate) struct Sent {
    /// Frames to be sent, of whatever port.
    pub transmitted: u32,
    port: u16,
    packets: u64,
    bytes: u64,
}

impl World<'_> {
    /// Counts a frame that leaves by `port`.
    #[inline(always)]
    pub fn count_sent_to(&self, sent: &mut Sent, port: u16, length_bytes: usize) {
        if port != sent.port {
            self.count_all_sent(sent);
            sent.port = port;
        }
        sent.transmitted += 1;
        sent.packets += 1;
        sent.bytes += length_bytes as u64;
    }

    /// Adds what was put off.
    #[inline(never)]
    pub fn count_all_sent(&self, sent: &mut Sent) {
        self.count_sent(sent.port, sent.packets, sent.bytes);
        (sent.packets, sent.bytes) = (0, 0);
    }
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// A session begins to close with this packet, or its server refuses it: it is no more one of its member's.
    #[cold]
    #[inline(never)]
    pub fn note_end(&self, member: MemberId, hit: &Hit<PAYLOAD>, seen: Flags) {
        let own = hit.direction.activity.flags();
        if seen.contains(Flags::RST)
            && !hit.is_client()
            && !own.contains(Flags::SYN)
            && let Some(counters) = self.world.counters.members.get(usize::from(member.index))
        {
            counters.connects_failed.add(1);
        }
        let peer = self.table.peer_direction(hit).map(|peer| peer.activity.flags()).unwrap_or_default();
        if State::of(own.with(seen), peer) == State::TcpClosing {
            self.leave_members(hit.client_slot(), hit.birth);
        }
    }

    /// Gives back a session's places at its members, once.
    pub fn leave_members(&self, client: SlotIndex, birth: u16) {
        if let Some(session) = self.table.mark_left(client, birth) {
            self.holders(&session).iter().for_each(|holder| self.world.shared.loads.release(*holder));
        }
    }

    /// What a SYN on a session that exists says of its server: that it answers, and how soon; or that it does not.
    pub fn note_handshake(&self, hit: &Hit<PAYLOAD>, segment: &Segment, session: &Session<KEY, PAYLOAD>) {
        let member = F::translation(&hit.payload).member;
        let Some(counters) = self.world.counters.members.get(usize::from(member.index)) else { return };
        let requests = session.client.direction.progress.packets();
        let is_answer = segment.flags & header_flags::ACK != 0;
        if hit.is_client() {
            let is_first_repetition = requests == 1 && session.server.direction.progress.packets() == 0;
            let is_heard = !hit.direction.activity.flags().contains(Flags::ONE_WAY);
            counters.connects_failed.add(u64::from(is_first_repetition && is_heard && !is_answer));
        } else if is_answer && !hit.direction.activity.flags().contains(Flags::SYN) {
            counters.connects_made.add(1);
            // Which of several requests was answered, nobody knows (RFC 6298 section 3).
            if let (1, Some(opened_us)) = (requests, hit.direction.opened_us()) {
                // The worker that took the request may have read the clock after this one: then it is less than nothing.
                let elapsed_us = (self.world.now_us().wrapping_sub(opened_us) as i32).max(0);
                self.world.shared.loads.note_response(member, elapsed_us as u64 * 1_000);
            }
        }
    }

    #[inline]
    pub fn count_packet(&self, member: MemberId, direction: Direction, length_bytes: u16) {
        if let Some(counters) = self.world.counters.members.get(usize::from(member.index)) {
            let (packets, bytes) = match direction {
                Direction::Request => (&counters.packets_in, &counters.bytes_in),
                Direction::Reply => (&counters.packets_out, &counters.bytes_out),
            };
            packets.add(1);
            bytes.add(u64::from(length_bytes));
        }
    }
}
