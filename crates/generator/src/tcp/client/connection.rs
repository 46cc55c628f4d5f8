//! What a client keeps of one connection: sixteen bytes, of which no two lie in different cache lines.
//!
//! One time is enough, for what it is of follows from the state: of the SYN, of the handshake's end, of the
//! FIN. Each has a clock as fine as it needs and as long as it may last.

/// The clock of handshakes ticks every 64 ns and goes round in 274 s, more than twice any timeout.
pub(super) const TICK_NS_LOG2: u32 = 6;

/// The clock of what is held ticks every millisecond, about, and goes round in 52 days.
const HELD_TICK_NS_LOG2: u32 = 20;

/// The clock of questions ticks every 17 ms, about, and goes round in 1,099 s.
const ASKED_TICK_NS_LOG2: u32 = 24;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Closed,
    /// A SYN was sent.
    Opening,
    /// Established, and nothing is waited for.
    Held,
    /// Established, and an answer is waited for.
    Asked,
    /// The same, and it ends with the answer.
    Ending,
    /// A FIN was sent.
    Closing,
}

impl State {
    /// Whether both ends take it for established.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Held | Self::Asked | Self::Ending)
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    pub state: State,
    /// When the last question was asked, in ticks of questions.
    pub asked: u16,
    /// When the SYN or the FIN was sent, in ticks of handshakes; since when it is open, in ticks of what is
    /// held.
    pub since: u32,
    /// What we send next.
    pub sequence: u32,
    /// What we expect next.
    pub expected: u32,
}

const _: () = assert!(size_of::<Connection>() == 16);

/// Ticks of handshakes.
pub(super) fn ticks(now_ns: u64) -> u32 {
    (now_ns >> TICK_NS_LOG2) as u32
}

/// Ticks of what is held.
pub(super) fn held_ticks(now_ns: u64) -> u32 {
    (now_ns >> HELD_TICK_NS_LOG2) as u32
}

/// Ticks of questions.
pub(super) fn asked_ticks(now_ns: u64) -> u16 {
    (now_ns >> ASKED_TICK_NS_LOG2) as u16
}
