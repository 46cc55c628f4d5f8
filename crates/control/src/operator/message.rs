//! What may be asked, and what is answered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// `{"command":"ping"}`: is anybody there?
    Ping {},
    /// `{"command":"show","what":"services"}`.
    Show {
        /// What to show.
        what: What,
    },
    /// `{"command":"explain","source":"198.18.0.50:40000","destination":"198.18.0.10:80","protocol":"tcp"}`: what becomes
    /// of such a packet, and why.
    Explain {
        /// Where it comes from: ADDRESS:PORT, IPv6 as `[ADDRESS]:PORT`; of ICMP without a port, or with the identifier.
        source: String,
        /// Where it goes, written alike.
        destination: String,
        /// `tcp`, `udp` or `icmp`; or another by name or number, without ports.
        protocol: String,
        /// The port or bridge that it comes in by; without one the routes to its source say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
    },
    /// `{"command":"reload"}`: read the configuration again.
    Reload {},
    /// `{"command":"server","action":"drain","service":"web","server":"198.18.1.11:80"}`.
    Server {
        /// What to do with it.
        action: Action,
        /// The service's name.
        service: String,
        /// The server's address, with its port if the address alone is ambiguous.
        server: String,
    },
    /// `{"command":"firewall","action":"drain","group":"fw","firewall":"fw1"}`.
    Firewall {
        /// What to do with it.
        action: Action,
        /// The group's name.
        group: String,
        /// The firewall's name.
        firewall: String,
    },
    /// `{"command":"weight","service":"web","server":"198.18.1.11:80","weight":5}`: its share of new sessions, whatever the
    /// file says, until it is given back.
    Weight {
        /// The service's name.
        service: String,
        /// The server's address, with its port if the address alone is ambiguous.
        server: String,
        /// The weight; `null` gives it back to the file. It must be there: what was forgotten gives nothing back.
        #[serde(deserialize_with = "Option::deserialize")]
        weight: Option<u16>,
    },
    /// `{"command":"real-server-facts","service":"web"}`: what the set-up of its servers depends on, as
    /// [`RealServerFacts`](super::RealServerFacts).
    #[serde(rename = "real-server-facts")]
    RealServerFacts {
        /// The service's name.
        service: String,
    },
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the words of the command")]
pub enum What {
    Status,
    Services,
    Servers,
    Sessions,
    Sticky,
    Ports,
    Workers,
    Drops,
    Neighbours,
    Latency,
    Bridge,
    Firewalls,
}

/// What can be done with a server or firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It takes sessions again.
    Enable,
    /// It takes no new sessions, and those it has end; those of a firewall fare as if it had failed.
    Disable,
    /// It takes no new sessions; those it has run on.
    Drain,
}

/// The answer to a request.
pub enum Response {
    /// Done, and this is what came of it.
    Done(Value),
    /// Done; an array whose elements are made as the client takes them, so that a million sessions need no
    /// million objects at once. The control thread makes them between other work: each call of `next` should
    /// be short.
    Rows(Box<dyn Iterator<Item = Value>>),
    /// Not done.
    Refused {
        /// The exit status of the command: 1 failed, 2 wrong input.
        exit: u8,
        /// Why, and what would be right.
        error: String,
    },
}

impl Response {
    /// Refused for what was asked: exit status 2.
    pub fn wrong_input(error: impl Into<String>) -> Self {
        Self::Refused { exit: 2, error: error.into() }
    }

    /// Refused for what happened: exit status 1.
    pub fn failed(error: impl Into<String>) -> Self {
        Self::Refused { exit: 1, error: error.into() }
    }
}

/// Whoever can answer. Called on the control thread.
pub trait Handler {
    /// Answers one request.
    fn handle(&mut self, request: Request) -> Response;
}

impl<F: FnMut(Request) -> Response> Handler for F {
    fn handle(&mut self, request: Request) -> Response {
        self(request)
    }
}
