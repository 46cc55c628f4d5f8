//! States, ticks and timeouts: how long a silent session lives.

use std::time::Duration;

use crate::word::{Flags, Protocol};

/// The table's unit of time, in nanoseconds: 2^27, about 134 ms. A power of two turns the clock into a tick
/// by a shift; a coarse tick lets most packets of a flow leave the activity word alone, and no timeout is
/// shorter than a second.
pub const TICK_NS: u64 = 1 << 27;

/// The tick of a monotonic clock. It wraps after 18 years; ages are differences, so a wrap does no harm.
#[inline]
pub fn tick_from_ns(now_ns: u64) -> u32 {
    (now_ns / TICK_NS) as u32
}

/// Ticks in a span, rounded up so that nothing ends early; at most half the tick's range, nine years.
pub fn ticks_in(span: Duration) -> u32 {
    span.as_nanos().div_ceil(u128::from(TICK_NS)).min(i32::MAX as u128) as u32
}

/// What a session is doing, derived from what both its directions have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The handshake is not complete.
    TcpTransitory,
    /// Both sides have acknowledged each other.
    TcpEstablished,
    /// FIN both ways, or a RST in sequence.
    TcpClosing,
    /// The appliance reset it and answers later segments with a RST.
    Reset,
    /// UDP or any other protocol.
    Udp,
    /// ICMP query.
    Icmp,
}

impl State {
    /// The state of a session whose sides have shown these flags.
    pub fn of(client: Flags, server: Flags) -> Self {
        let (either, both) = (client.with(server), Flags(client.0 & server.0));
        match client.protocol() {
            _ if either.contains(Flags::RESET) => Self::Reset,
            Protocol::Udp => Self::Udp,
            Protocol::Icmp => Self::Icmp,
            Protocol::Tcp if either.contains(Flags::RST) || both.contains(Flags::FIN) => Self::TcpClosing,
            // The half that is seen stands for both: a client that has closed, or has gone on after its SYN.
            Protocol::Tcp if either.contains(Flags::ONE_WAY.with(Flags::FIN)) => Self::TcpClosing,
            Protocol::Tcp if either.contains(Flags::ONE_WAY.with(Flags::ACKNOWLEDGED)) => {
                Self::TcpEstablished
            }
            Protocol::Tcp if both.contains(Flags::ACKNOWLEDGED) => Self::TcpEstablished,
            Protocol::Tcp => Self::TcpTransitory,
        }
    }
}

/// Idle time after which a session ends, in ticks, by state. A reset session lives as long as a closing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// [`State::TcpEstablished`].
    pub tcp_established_ticks: u32,
    /// [`State::TcpTransitory`].
    pub tcp_transitory_ticks: u32,
    /// [`State::TcpClosing`] and [`State::Reset`].
    pub tcp_closing_ticks: u32,
    /// [`State::Udp`].
    pub udp_ticks: u32,
    /// [`State::Icmp`].
    pub icmp_ticks: u32,
}

impl Timeouts {
    /// The timeout of a state.
    #[inline]
    pub fn of(&self, state: State) -> u32 {
        match state {
            State::TcpEstablished => self.tcp_established_ticks,
            State::TcpTransitory => self.tcp_transitory_ticks,
            State::TcpClosing | State::Reset => self.tcp_closing_ticks,
            State::Udp => self.udp_ticks,
            State::Icmp => self.icmp_ticks,
        }
    }

    /// The shortest of all: what has been idle for less need not be looked at closer.
    pub fn shortest(&self) -> u32 {
        let tcp = self.tcp_established_ticks.min(self.tcp_transitory_ticks).min(self.tcp_closing_ticks);
        tcp.min(self.udp_ticks).min(self.icmp_ticks)
    }
}

impl Default for Timeouts {
    /// RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2.
    fn default() -> Self {
        let seconds = |s| ticks_in(Duration::from_secs(s));
        Self {
            tcp_established_ticks: seconds(2 * 3600 + 4 * 60),
            tcp_transitory_ticks: seconds(240),
            tcp_closing_ticks: seconds(60),
            udp_ticks: seconds(300),
            icmp_ticks: seconds(60),
        }
    }
}
