//! What is to be probed, as control makes it of the configuration.

use crate::check::Parameters;
use rewrite::MemberId;
use std::net::IpAddr;

/// By what the paths of a group are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Echo requests.
    Echo,
    /// Datagrams to this port.
    Datagram(u16),
    /// SYNs to this port. They say nothing, so that they prove no more than that something answers.
    Syn(u16),
}

/// A group whose paths are to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedGroup {
    /// Its name.
    pub name: String,
    /// What the far end's group must have, too: [`plan::fingerprint`].
    pub fingerprint: u64,
    /// By what.
    pub asking: Asking,
    /// How to judge.
    pub parameters: Parameters,
    /// Its paths; at most [`plan::FIREWALLS_MAX`].
    pub paths: Vec<WantedPath>,
}

/// A path that is to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPath {
    /// The name of its firewall.
    pub firewall: String,
    /// The firewall's row.
    pub member: MemberId,
    /// This end's probe address for it, and for no other path.
    pub own: IpAddr,
    /// The far end's.
    pub far: IpAddr,
}
