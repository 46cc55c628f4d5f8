//! What a TCP segment tells about its session, believing only what a stranger could not guess.
//!
//! Each direction has its own flags and sequence end; the session's [`State`](crate::State) is derived from
//! both when somebody asks, so no packet ever writes to the other direction's cache line. Pure functions,
//! callable anywhere.
//!
//! ```text
//!                 seq == end            advances, sets FIN          the common case: one line, no peer
//!   segment ───▶  seq beyond or across  advances if `ack` is near   peer is read: two numbers to guess
//!                 the peer's end        what the peer has sent      (RFC 5961 section 5.2)
//!                 behind the end        tells nothing               retransmission, keep-alive
//!   RST     ───▶  seq == end            closes (RFC 5961 section 3.2)
//!                 ack == peer's end     closes, when it answers a SYN (RFC 9293 section 3.10.7.3)
//!                 anything else         tells nothing
//!   SYN     ───▶  not acknowledged yet  sets the end                first SYN, SYN cookies, a restart
//!                 otherwise             tells nothing; it passes, and is challenged
//! ```
//!
//! What is not believed is still forwarded: the end hosts know better. It only does not move the session. A
//! direction whose segments pass elsewhere for longer than the windows below is not followed any more; its
//! session then ends by its idle time.

use crate::word::{Direction, Flags};

/// How far a segment may jump ahead of the sequence end, in bytes: gaps come from loss before the appliance.
/// A larger value survives longer losses, a smaller one makes blind injection dearer.
pub const SEQUENCE_STEP_BYTES_MAX: u32 = 1 << 20;

/// The same where the peer's packets pass elsewhere, so that no acknowledgement can be checked: a forged jump succeeds
/// once in 2^16 tries, and gains no more than a shorter idle time.
pub const ONE_WAY_STEP_BYTES_MAX: u32 = 1 << 16;

/// How far behind the peer's sequence end an acknowledgement may lag and still prove that its sender follows
/// the connection. With the step above a forged jump succeeds once in 2^24 tries.
pub const ACKNOWLEDGEMENT_LAG_BYTES_MAX: u32 = 1 << 20;

/// The same for the acknowledgement that completes a handshake, where only early data can lie between (RFC
/// 7413). It is what keeps a blind ACK flood from turning half-open sessions into established ones.
pub const HANDSHAKE_LAG_BYTES_MAX: u32 = 1 << 14;

/// The bits of the TCP flags byte that matter here (RFC 9293 section 3.1).
pub mod header_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
}
use header_flags::{ACK, FIN, RST, SYN};

/// What of a TCP segment is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The flags byte of the header.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; looked at only when the ACK bit is set.
    pub acknowledgement: u32,
    /// Bytes after the header.
    pub payload_bytes: u32,
}

impl Segment {
    /// The sequence number after this segment; SYN and FIN count as one each (RFC 9293 section 3.4).
    pub fn sequence_end(&self) -> u32 {
        let phantoms = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        self.sequence.wrapping_add(self.payload_bytes).wrapping_add(phantoms)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it acknowledges something that `peer` sent at most `lag_bytes_max` before its end.
    fn follows(&self, peer: Option<Direction>, lag_bytes_max: u32) -> bool {
        let end = peer.and_then(Direction::sequence_end);
        self.has(ACK) && end.is_some_and(|end| end.wrapping_sub(self.acknowledgement) <= lag_bytes_max)
    }
}

/// What a packet added to the knowledge of its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Observation {
    /// Flags to add.
    pub flags: Flags,
    /// The new sequence end.
    pub sequence_end: Option<u32>,
}

impl Observation {
    /// A packet that tells nothing but that it came: every UDP and ICMP packet, and whatever is not believed.
    pub const NOTHING: Self = Self { flags: Flags::NONE, sequence_end: None };

    fn known(end: u32, flags: Flags) -> Self {
        Self { flags: flags.with(Flags::SEQUENCE_KNOWN), sequence_end: Some(end) }
    }
}

/// The observation of the segment that opens a session. One that is no SYN (a flow picked up in its middle)
/// is believed too: there is nothing yet to check it against.
pub fn open(segment: &Segment) -> Observation {
    let flags = if segment.has(SYN) { Flags::SYN } else { Flags::NONE };
    Observation::known(segment.sequence_end(), flags)
}

/// What `segment` tells about the direction `own` that it belongs to. `peer` is asked for the other direction
/// only where the answer matters, since it costs a second cache line; at most once.
#[inline]
pub fn observe(own: Direction, peer: impl FnOnce() -> Option<Direction>, segment: &Segment) -> Observation {
    observe_usual(own, segment).unwrap_or_else(|| observe_unusual(own, peer(), segment))
}

/// The same for a segment that comes in order on a connection that stands and opens, closes or breaks nothing, which is what
/// most do; `None` for others.
#[inline(always)]
pub fn observe_usual(own: Direction, segment: &Segment) -> Option<Observation> {
    let in_order = own.progress.sequence_end() == segment.sequence;
    let stands = own.activity.flags().contains(Flags::SEQUENCE_KNOWN.with(Flags::ACKNOWLEDGED));
    (in_order && stands && segment.flags & (SYN | RST | FIN) == 0).then(|| Observation {
        flags: Flags::NONE,
        sequence_end: Some(segment.sequence.wrapping_add(segment.payload_bytes)),
    })
}

fn observe_unusual(own: Direction, peer: Option<Direction>, segment: &Segment) -> Observation {
    match () {
        () if segment.has(RST) => observe_reset(own, peer, segment),
        () if segment.has(SYN) => observe_synchronise(peer, segment, own),
        () => observe_data(own, peer, segment),
    }
}

fn observe_reset(own: Direction, peer: Option<Direction>, segment: &Segment) -> Observation {
    let closes = match own.sequence_end() {
        Some(end) => segment.sequence == end,
        None => segment.follows(peer, 0),
    };
    Observation { flags: if closes { Flags::RST } else { Flags::NONE }, sequence_end: None }
}

fn observe_synchronise(peer: Option<Direction>, segment: &Segment, own: Direction) -> Observation {
    let answers = segment.follows(peer, HANDSHAKE_LAG_BYTES_MAX);
    let acknowledged = if answers { Flags::ACKNOWLEDGED } else { Flags::NONE };
    if own.sequence_end() == Some(segment.sequence_end()) {
        return Observation { flags: acknowledged, sequence_end: None };
    }
    let flags = own.activity.flags();
    let settled = match flags.contains(Flags::ONE_WAY) {
        true => flags.contains(Flags::ACKNOWLEDGED),
        false => peer.is_some_and(|peer| peer.activity.flags().contains(Flags::ACKNOWLEDGED)),
    };
    if settled || segment.has(ACK) && !answers {
        return Observation::NOTHING;
    }
    Observation::known(segment.sequence_end(), Flags::SYN.with(acknowledged))
}

fn observe_data(own: Direction, peer: Option<Direction>, segment: &Segment) -> Observation {
    let segment_end = segment.sequence_end();
    let follows = segment.follows(peer, ACKNOWLEDGEMENT_LAG_BYTES_MAX);
    let Some(end) = own.sequence_end() else {
        let believed =
            if follows { Observation::known(segment_end, Flags::ACKNOWLEDGED) } else { Observation::NOTHING };
        return believed;
    };
    let step = segment_end.wrapping_sub(end);
    let is_one_way = own.activity.flags().contains(Flags::ONE_WAY);
    if is_one_way && peer.and_then(Direction::sequence_end).is_none() {
        return observe_one_way(segment, end, step);
    }
    let advances = segment.sequence == end || follows && (1..=SEQUENCE_STEP_BYTES_MAX).contains(&step);
    let mut flags = Flags::NONE;
    if segment.has(FIN) && (advances || step == 0) {
        flags = flags.with(Flags::FIN);
    }
    if (advances || step == 0) && segment.follows(peer, HANDSHAKE_LAG_BYTES_MAX) {
        flags = flags.with(Flags::ACKNOWLEDGED);
    }
    Observation { flags, sequence_end: advances.then_some(segment_end) }
}

/// A client's segment whose server is never heard: only its own numbers can be held against it.
fn observe_one_way(segment: &Segment, end: u32, step: u32) -> Observation {
    let in_order = segment.sequence == end;
    let advances = in_order || (1..=ONE_WAY_STEP_BYTES_MAX).contains(&step);
    let mut flags = Flags::NONE;
    if segment.has(FIN) && (advances || step == 0) {
        flags = flags.with(Flags::FIN);
    }
    // Whoever goes on right behind its own SYN has seen the server's answer to it.
    if segment.has(ACK) && in_order {
        flags = flags.with(Flags::ACKNOWLEDGED);
    }
    Observation { flags, sequence_end: advances.then(|| segment.sequence_end()) }
}

/// Whether a SYN from the client starts a new session in place of one that is closing: its sequence number is
/// larger than any that the old one used (RFC 1122 section 4.2.2.13, RFC 9293 section 3.6.1; serial
/// arithmetic of RFC 1982). On any other session a SYN starts nothing and passes to the same server.
pub fn syn_reuses(state: crate::State, client: Direction, segment: &Segment) -> bool {
    let closing = matches!(state, crate::State::TcpClosing | crate::State::Reset);
    let plain_syn = segment.flags & (SYN | ACK | RST | FIN) == SYN;
    let larger = client.sequence_end().is_none_or(|end| segment.sequence.wrapping_sub(end) as i32 > 0);
    closing && plain_syn && larger
}
