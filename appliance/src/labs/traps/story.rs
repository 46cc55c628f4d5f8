//! What each variant is to show.

use std::fmt;

use lab::topology::traps::Variant;

/// What comes of requests to the virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All are answered.
    Answered,
    /// Nothing comes that the caller could use.
    Silence,
    /// Each is reset at once.
    Refused,
    /// A server is reset at once where it would be its own server, and answered by the others.
    ByOthers,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Answered => "answered",
            Self::Silence => "no answer",
            Self::Refused => "refused at once",
            Self::ByOthers => "answered by the others",
        })
    }
}

/// One variant.
pub(super) struct Story {
    /// In the summary.
    pub name: &'static str,
    pub title: &'static str,
    pub words: &'static [&'static str],
    /// The codes of the warnings of `jeoul check`.
    pub warnings: &'static [&'static str],
    pub client: Outcome,
    pub neighbour: Outcome,
    pub server: Outcome,
    /// A client's request, frame by frame.
    pub client_frames: &'static [&'static str],
    /// A neighbour's request, frame by frame.
    pub caller_frames: &'static [&'static str],
}

/// The request of a client that a router forwards and the appliance, as a router, hands to a server; the reply
/// past the appliance, and the client's reset of what it has not asked for.
const CLIENT_BYPASSED: &[&str] = &[
    "client out: SYN client > router, client > vip, ttl 64",
    "arm in: SYN router > appliance, client > vip, ttl 63",
    "arm out: SYN appliance > server, client > server, ttl 62",
    "server in: SYN appliance > server, client > server, ttl 62",
    "server out: SYN ACK server > router, server > client, ttl 64",
    "client in: SYN ACK router > client, server > client, ttl 63",
    "client out: RST client > router, client > server, ttl 64",
    "server in: RST router > server, client > server, ttl 63",
];

const CALLER_BYPASSED: &[&str] = &[
    "caller out: SYN caller > appliance, caller > vip, ttl 64",
    "arm in: SYN caller > appliance, caller > vip, ttl 64",
    "arm out: SYN appliance > server, caller > server, ttl 63",
    "server in: SYN appliance > server, caller > server, ttl 63",
    "server out: SYN ACK server > caller, server > caller, ttl 64",
    "caller in: SYN ACK server > caller, server > caller, ttl 64",
    "caller out: RST caller > server, caller > server, ttl 64",
    "server in: RST caller > server, caller > server, ttl 64",
];

/// A server that is refused, rather than left to wait for itself.
const SERVER_REFUSED: &[&str] = &[
    "server1 out: SYN server1 > appliance, server1 > vip, ttl 64",
    "arm in: SYN server1 > appliance, server1 > vip, ttl 64",
    "arm out: RST appliance > server1, vip > server1, ttl 64",
    "server1 in: RST appliance > server1, vip > server1, ttl 64",
];

const CLIENT_GATEWAY: &[&str] = &[
    "client out: SYN client > router, client > vip, ttl 64",
    "arm in: SYN router > appliance, client > vip, ttl 63",
    "arm out: SYN appliance > server, client > server, ttl 62",
    "server in: SYN appliance > server, client > server, ttl 62",
    "server out: SYN ACK server > appliance, server > client, ttl 64",
    "arm in: SYN ACK server > appliance, server > client, ttl 64",
    "arm out: SYN ACK appliance > router, vip > client, ttl 63",
    "client in: SYN ACK router > client, vip > client, ttl 62",
];

const CLIENT_TRANSLATED: &[&str] = &[
    "client out: SYN client > router, client > vip, ttl 64",
    "arm in: SYN router > appliance, client > vip, ttl 63",
    "arm out: SYN appliance > server, vip > server, ttl 62",
    "server in: SYN appliance > server, vip > server, ttl 62",
    "server out: SYN ACK server > appliance, server > vip, ttl 64",
    "arm in: SYN ACK server > appliance, server > vip, ttl 64",
    "arm out: SYN ACK appliance > router, vip > client, ttl 63",
    "client in: SYN ACK router > client, vip > client, ttl 62",
];

const CALLER_TRANSLATED: &[&str] = &[
    "caller out: SYN caller > appliance, caller > vip, ttl 64",
    "arm in: SYN caller > appliance, caller > vip, ttl 64",
    "arm out: SYN appliance > server, vip > server, ttl 63",
    "server in: SYN appliance > server, vip > server, ttl 63",
    "server out: SYN ACK server > appliance, server > vip, ttl 64",
    "arm in: SYN ACK server > appliance, server > vip, ttl 64",
    "arm out: SYN ACK appliance > caller, vip > caller, ttl 63",
    "caller in: SYN ACK appliance > caller, vip > caller, ttl 63",
];

const CLIENT_DIRECT: &[&str] = &[
    "client out: SYN client > router, client > vip, ttl 64",
    "arm in: SYN router > appliance, client > vip, ttl 63",
    "arm out: SYN appliance > server, client > vip, ttl 63",
    "server in: SYN appliance > server, client > vip, ttl 63",
    "server out: SYN ACK server > router, vip > client, ttl 64",
    "client in: SYN ACK router > client, vip > client, ttl 63",
];

const CALLER_DIRECT: &[&str] = &[
    "caller out: SYN caller > appliance, caller > vip, ttl 64",
    "arm in: SYN caller > appliance, caller > vip, ttl 64",
    "arm out: SYN appliance > server, caller > vip, ttl 64",
    "server in: SYN appliance > server, caller > vip, ttl 64",
    "server out: SYN ACK server > caller, vip > caller, ttl 64",
    "caller in: SYN ACK server > caller, vip > caller, ttl 64",
];

const CLIENT_BRIDGED: &[&str] = &[
    "client out: SYN client > router, client > vip, ttl 64",
    "uplink in: SYN router > appliance, client > vip, ttl 63",
    "port server out: SYN router > server, client > server, ttl 63",
    "server in: SYN router > server, client > server, ttl 63",
    "server out: SYN ACK server > router, server > client, ttl 64",
    "port server in: SYN ACK server > router, server > client, ttl 64",
    "uplink out: SYN ACK server > router, vip > client, ttl 64",
    "client in: SYN ACK router > client, vip > client, ttl 63",
];

const CALLER_BRIDGED: &[&str] = &[
    "caller out: SYN caller > appliance, caller > vip, ttl 64",
    "port caller in: SYN caller > appliance, caller > vip, ttl 64",
    "port server out: SYN caller > server, caller > server, ttl 64",
    "server in: SYN caller > server, caller > server, ttl 64",
    "server out: SYN ACK server > caller, server > caller, ttl 64",
    "port server in: SYN ACK server > caller, server > caller, ttl 64",
    "port caller out: SYN ACK server > caller, vip > caller, ttl 64",
    "caller in: SYN ACK server > caller, vip > caller, ttl 64",
];

impl Story {
    /// A server's own request, frame by frame, where it is refused.
    pub(super) fn server_frames(&self) -> &'static [&'static str] {
        if self.server == Outcome::Refused { SERVER_REFUSED } else { &[] }
    }

    /// The story of a variant.
    pub(super) fn of(variant: Variant) -> Self {
        match variant {
            Variant::Bypass => Self {
                name: "no cure",
                title: "Both traps: routed, source_nat = \"never\", the servers' gateway is the router",
                words: &[
                    "Nothing brings a reply back: the server answers its gateway, or its neighbour, and the caller",
                    "resets what it has not asked for. A server that calls itself is refused at once instead.",
                ],
                warnings: &["W0507"],
                client: Outcome::Silence,
                neighbour: Outcome::Silence,
                server: Outcome::Refused,
                client_frames: CLIENT_BYPASSED,
                caller_frames: CALLER_BYPASSED,
            },
            Variant::Gateway => Self {
                name: "the appliance is the gateway",
                title: "Half a cure: the appliance is the servers' gateway",
                words: &[
                    "Replies to the client come back to the appliance. The gateway is not asked about neighbours,",
                    "so the second trap is as it was.",
                ],
                warnings: &["W0508"],
                client: Outcome::Answered,
                neighbour: Outcome::Silence,
                server: Outcome::Refused,
                client_frames: CLIENT_GATEWAY,
                caller_frames: CALLER_BYPASSED,
            },
            Variant::SourceNat => Self {
                name: "source NAT",
                title: "A cure for both: source_nat = \"auto\"",
                words: &[
                    "The server sees the VIP as its client, and answers that. It does not see who calls.",
                ],
                warnings: &[],
                client: Outcome::Answered,
                neighbour: Outcome::Answered,
                server: Outcome::Answered,
                client_frames: CLIENT_TRANSLATED,
                caller_frames: CALLER_TRANSLATED,
            },
            Variant::Dsr => Self {
                name: "direct server return",
                title: "A cure for both: mode = \"l2-dsr\"",
                words: &[
                    "The server holds the VIP itself, so a reply past the appliance is right as it is. A server",
                    "that calls the VIP calls itself, on its own loopback.",
                ],
                warnings: &[],
                client: Outcome::Answered,
                neighbour: Outcome::Answered,
                server: Outcome::Answered,
                client_frames: CLIENT_DIRECT,
                caller_frames: CALLER_DIRECT,
            },
            Variant::OwnPorts => Self {
                name: "own bridge ports",
                title: "A cure for both: mode = \"transparent\", each host behind a port of its own",
                words: &[
                    "The appliance is the switch: a server's frame to its neighbour crosses it too. The server sees",
                    "who calls. Only a server that would be its own server is refused: nothing else would do.",
                ],
                warnings: &[],
                client: Outcome::Answered,
                neighbour: Outcome::Answered,
                server: Outcome::ByOthers,
                client_frames: CLIENT_BRIDGED,
                caller_frames: CALLER_BRIDGED,
            },
        }
    }
}
