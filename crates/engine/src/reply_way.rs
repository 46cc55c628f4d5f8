//! Whether servers' replies come back through the appliance (SPEC section 4, source NAT `auto`).

use crate::path::{Fits, Path};
use flow::Family;
use plan::{Link, ReturnPath};

/// How a server's reply finds its client, as far as the appliance knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyWay {
    /// It crosses: the operator says that the appliance is the servers' gateway.
    Gateway,
    /// It crosses: client and server are at different ports.
    OtherPort,
    /// It crosses: client and server are behind different ports of a bridge.
    OtherMember,
    /// Nobody knows where the server is, and nothing is decided before that is known.
    Unresolved,
    /// It bypasses: the operator says so.
    Elsewhere,
    /// It bypasses: client and server are in one network, and need no gateway between them.
    SameNetwork,
    /// It bypasses: the request leaves by the port that it came in by.
    SamePort,
    /// It bypasses: client and server are behind the same port of a bridge.
    SameMember,
}

impl ReplyWay {
    /// Whether it reaches the client past the appliance.
    pub fn bypasses(self) -> bool {
        match self {
            Self::Gateway | Self::OtherPort | Self::OtherMember | Self::Unresolved => false,
            Self::Elsewhere | Self::SameNetwork | Self::SamePort | Self::SameMember => true,
        }
    }
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// The way of the reply of `server`, given with the link that leads to it, to a client whose request came in at
    /// `(leg, port)`.
    pub fn reply_way(
        &self,
        (leg, port): (u16, u16),
        client: F::Address,
        (server, link): (F::Address, Option<Link>),
        path: ReturnPath,
    ) -> ReplyWay {
        if path == ReturnPath::Bypass {
            return ReplyWay::Elsewhere;
        }
        let Some(link) = link else { return ReplyWay::Unresolved };
        if link.port != leg {
            return ReplyWay::OtherPort;
        }
        let on_one_side = match self.world.bridge(leg) {
            None => ReplyWay::SamePort,
            // Between two members everything crosses the appliance.
            Some(bridge) => match self.world.member_of(bridge, 0, link.mac) {
                Some(own) if own == port => ReplyWay::SameMember,
                None if bridge.members.len() == 1 => ReplyWay::SameMember,
                _ => return ReplyWay::OtherMember,
            },
        };
        match path {
            ReturnPath::Any => on_one_side,
            // Neighbours ask no gateway.
            _ if self.view.routes.share_network(client, server) => ReplyWay::SameNetwork,
            _ => ReplyWay::Gateway,
        }
    }
}
