//! What is broken in the health lab, who is to see it, and when.

use std::fmt;
use std::time::Duration;

use lab::{Discarded, Mood, READY, Speech};

/// A kind of check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Icmp,
    Tcp,
    HalfOpen,
    Http,
    Https,
    Tls,
    Udp,
    /// Without an expected reply.
    UdpSilent,
}

/// How often is asked, and how it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Short, for all that can be broken: it is over before the others are.
    Quick,
    /// Three tries of three seconds, the figures of the handbook.
    Steady,
    /// The same with `timeout` in the place of retries.
    Overdue,
}

/// What a pace says in the file.
pub(super) struct Timers {
    pub interval: Duration,
    pub response_time: Duration,
    pub retries: u32,
    pub timeout: Option<Duration>,
    pub dead_interval: Duration,
    pub rise: u32,
}

/// What is done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Its program behaves otherwise.
    Program(Mood),
    /// Its host throws away what the check sends.
    Host,
}

/// What the check is to make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Every check fails as soon as it is made; the reason has these words.
    AtOnce(&'static str),
    /// Every check fails when the response time is over; the reason has these words.
    Silence(&'static str),
    /// Nothing: the check does not look that far.
    Nothing,
}

/// One way to break one kind of server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub kind: Kind,
    pub pace: Pace,
    pub broken: Broken,
    pub sight: Sight,
}

const fn case(kind: Kind, pace: Pace, broken: Broken, sight: Sight) -> Case {
    Case { kind, pace, broken, sight }
}

const fn answers(status: u16, body: &'static str) -> Broken {
    Broken::Program(Mood::Answers { status, body })
}

const HANGS: Broken = Broken::Program(Mood::Hangs);
const DRIPS: Broken = Broken::Program(Mood::Drips);
const FLOODS: Broken = Broken::Program(Mood::Floods);
const RESETS: Broken = Broken::Program(Mood::Resets);
const CLOSES: Broken = Broken::Program(Mood::Closes);
const GARBLES: Broken = Broken::Program(Mood::Garbles);
const REFUSES: Broken = Broken::Program(Mood::Refuses);

use Broken::Host;
use Kind::{HalfOpen, Http, Https, Icmp, Tcp, Tls, Udp, UdpSilent};
use Pace::{Overdue, Quick, Steady};
use Sight::{AtOnce, Nothing, Silence};

/// All that is broken, at the same time.
pub(super) const CASES: &[Case] = &[
    case(Icmp, Quick, Host, Silence("no echo reply within 500 ms")),
    case(Tcp, Quick, REFUSES, AtOnce("refused")),
    case(Tcp, Quick, Host, Silence("no SYN-ACK within 500 ms")),
    case(Tcp, Quick, HANGS, Nothing),
    case(HalfOpen, Quick, REFUSES, AtOnce("refused")),
    case(HalfOpen, Quick, Host, Silence("no SYN-ACK within 500 ms")),
    case(HalfOpen, Quick, HANGS, Nothing),
    case(Http, Quick, answers(503, READY), AtOnce("expected 200-299, got 503")),
    case(Http, Quick, answers(500, READY), AtOnce("expected 200-299, got 500")),
    case(Http, Quick, answers(200, "out of order"), AtOnce("READY")),
    case(Http, Quick, HANGS, Silence("within 500 ms")),
    case(Http, Quick, DRIPS, Silence("within 500 ms")),
    case(Http, Quick, FLOODS, AtOnce("HTTP head of more than")),
    case(Http, Quick, RESETS, AtOnce("reset")),
    case(Http, Quick, CLOSES, AtOnce("closed")),
    case(Http, Quick, GARBLES, AtOnce("not HTTP")),
    case(Http, Quick, REFUSES, AtOnce("refused")),
    case(Http, Quick, Host, Silence("no SYN-ACK within 500 ms")),
    case(Https, Quick, answers(503, READY), AtOnce("expected 200-299, got 503")),
    case(Https, Quick, answers(200, "out of order"), AtOnce("READY")),
    case(Https, Quick, GARBLES, AtOnce("not TLS")),
    case(Https, Quick, HANGS, Silence("within 500 ms")),
    case(Tls, Quick, GARBLES, AtOnce("not TLS")),
    case(Tls, Quick, HANGS, Silence("within 500 ms")),
    case(Tls, Quick, CLOSES, AtOnce("closed")),
    case(Tls, Quick, REFUSES, AtOnce("refused")),
    case(Tls, Quick, answers(503, READY), Nothing),
    case(Udp, Quick, HANGS, Silence("within 500 ms")),
    case(Udp, Quick, GARBLES, AtOnce("READY")),
    case(Udp, Quick, REFUSES, AtOnce("port unreachable")),
    case(UdpSilent, Quick, REFUSES, AtOnce("port unreachable")),
    case(UdpSilent, Quick, HANGS, Nothing),
    case(Icmp, Steady, Host, Silence("no echo reply within 1 s")),
    case(Tcp, Steady, REFUSES, AtOnce("refused")),
    case(Tcp, Steady, Host, Silence("no SYN-ACK within 1 s")),
    case(HalfOpen, Steady, Host, Silence("no SYN-ACK within 1 s")),
    case(Http, Steady, answers(500, READY), AtOnce("expected 200-299, got 500")),
    case(Http, Steady, HANGS, Silence("within 1 s")),
    case(Tls, Steady, HANGS, Silence("within 1 s")),
    case(Udp, Steady, HANGS, Silence("within 1 s")),
    case(Icmp, Overdue, Host, Silence("no check succeeded for 10 s")),
    case(Tcp, Overdue, REFUSES, AtOnce("no check succeeded for 10 s")),
    case(HalfOpen, Overdue, Host, Silence("no check succeeded for 10 s")),
    case(Http, Overdue, answers(500, READY), AtOnce("no check succeeded for 10 s")),
];

impl Case {
    /// The port of the first case; the others follow.
    const FIRST_PORT: u16 = 8001;

    /// Every case has a port of its own.
    pub(super) fn port(index: usize) -> u16 {
        Self::FIRST_PORT + index as u16
    }

    /// What its host throws away, where that is how it is broken.
    pub(super) fn discarded(&self, port: u16) -> Discarded {
        if self.kind == Icmp { Discarded::EchoRequests } else { Discarded::Syns(port) }
    }

    /// After how long the server is down: from the break at the least, from the last good check at the most. `None`
    /// where it stays up.
    ///
    /// A check is made each `interval`, so the break comes at any moment of the one after the last good check. With
    /// `retries` a server is down as the last of `retries + 1` checks fails.
    pub(super) fn down_within(&self) -> Option<(Duration, Duration)> {
        let timers = self.pace.timers();
        let failure = match self.sight {
            Nothing => return None,
            AtOnce(_) => Duration::ZERO,
            Silence(_) => timers.response_time,
        };
        let latest = match timers.timeout {
            None => timers.interval * (timers.retries + 1) + failure,
            Some(timeout) => timeout,
        };
        Some((latest - timers.interval, latest))
    }

    /// After how long it is up again, from the repair: at the least and at the most. A check that was under way at the
    /// repair may still succeed: who was not heard at first (a dropped SYN) says it again.
    pub(super) fn up_within(&self) -> (Duration, Duration) {
        let Timers { dead_interval, response_time, rise, .. } = self.pace.timers();
        // Where silence is good, it has to last until the response time is over.
        let success = if self.kind == UdpSilent { response_time } else { Duration::ZERO };
        ((dead_interval * (rise - 1)).saturating_sub(response_time), dead_interval * rise + success)
    }

    /// What was done, for a person.
    pub(super) fn words(&self) -> String {
        match self.broken {
            Host if self.kind == Icmp => "drops echo requests".into(),
            Host => "drops SYNs".into(),
            Broken::Program(Mood::Answers { status, body }) => format!("answers {status} {body:?}"),
            Broken::Program(mood) if matches!(self.kind, Udp | UdpSilent) => match mood {
                Mood::Hangs => "says nothing".into(),
                Mood::Garbles => "answers wrongly".into(),
                _ => "port unreachable".into(),
            },
            Broken::Program(mood) => match mood {
                Mood::Hangs => "accepts and hangs",
                Mood::Drips => "a byte each second",
                Mood::Floods => "a header without end",
                Mood::Resets => "resets after accept",
                Mood::Closes => "closes at once",
                Mood::Garbles => "talks rubbish",
                _ => "refuses",
            }
            .into(),
        }
    }
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [Icmp, Tcp, HalfOpen, Http, Https, Tls, Udp, UdpSilent];

    /// What its server speaks; ICMP wants none.
    pub(super) fn speech(self) -> Option<Speech> {
        match self {
            Icmp => None,
            Tcp | HalfOpen | Http => Some(Speech::Http),
            Https | Tls => Some(Speech::Https),
            Udp | UdpSilent => Some(Speech::Udp),
        }
    }

    /// The lines of its check.
    pub(super) fn lines(self) -> &'static str {
        match self {
            Icmp => "kind = \"icmp\"",
            Tcp => "kind = \"tcp\"",
            HalfOpen => "kind = \"tcp-half-open\"",
            Http => "kind = \"http\"\npath = \"/health\"\nexpect_body = \"READY\"",
            Https => "kind = \"http\"\ntls = true\nhost = \"server.example\"\nexpect_body = \"READY\"",
            Tls => "kind = \"tls\"\nserver_name = \"server.example\"",
            Udp => "kind = \"udp\"\nsend = \"PING\"\nexpect_reply = \"READY\"",
            UdpSilent => "kind = \"udp\"\nsend = \"PING\"",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Icmp => "icmp",
            Tcp => "tcp",
            HalfOpen => "tcp-half-open",
            Http => "http",
            Https => "http-tls",
            Tls => "tls",
            Udp => "udp",
            UdpSilent => "udp-no-reply",
        })
    }
}

impl Pace {
    pub(super) const ALL: [Self; 3] = [Quick, Steady, Overdue];

    pub(super) fn timers(self) -> Timers {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let steady = Timers {
            interval: s(3),
            response_time: s(1),
            retries: 2,
            timeout: None,
            dead_interval: s(1),
            rise: 2,
        };
        match self {
            Quick => Timers { interval: s(1), response_time: ms(500), dead_interval: ms(600), ..steady },
            Steady => steady,
            // More retries than the timeout leaves time for.
            Overdue => Timers { retries: 10, timeout: Some(s(10)), ..steady },
        }
    }

    /// The lines of a check.
    pub(super) fn lines(self) -> String {
        let Timers { interval, response_time, retries, timeout, dead_interval, rise } = self.timers();
        let ms = |duration: Duration| format!("\"{}ms\"", duration.as_millis());
        let timeout = timeout.map_or(String::new(), |timeout| format!("timeout = {}\n", ms(timeout)));
        format!(
            "interval = {}\nresponse_time = {}\nretries = {retries}\n{timeout}dead_interval = {}\nrise = {rise}\n",
            ms(interval),
            ms(response_time),
            ms(dead_interval),
        )
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Quick => "quick",
            Steady => "steady",
            Overdue => "overdue",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_handbook() {
        let s = Duration::from_secs;
        let window = |pace, sight| case(Tcp, pace, REFUSES, sight).down_within();
        assert_eq!(window(Steady, Silence("")), Some((s(7), s(10))));
        assert_eq!(window(Steady, AtOnce("")), Some((s(6), s(9))));
        assert_eq!(window(Overdue, Silence("")), Some((s(7), s(10))));
        assert_eq!(window(Steady, Nothing), None);
        assert_eq!(case(Tcp, Steady, REFUSES, Nothing).up_within(), (s(0), s(2)));
    }
}
