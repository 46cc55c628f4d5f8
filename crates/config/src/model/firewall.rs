//! `[[firewall_group]]`, `[[firewall_group.firewall]]` and `[[probe_responder]]`: firewalls between two zones.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Network;
use crate::source::Position;

/// `[[firewall_group]]`: firewalls over which traffic to some networks is spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallGroup {
    /// Its name in tables and messages; unique among groups, services and outbounds.
    pub name: String,
    /// Index into [`Config::zones`](crate::Config::zones) of the zone that the firewalls are reached from.
    pub zone: u8,
    /// Destinations that are reached through these firewalls; at least one, all of the family of the firewalls' addresses.
    /// A route of the same zone that is more specific goes before them.
    pub networks: Vec<Network>,
    /// What of a flow decides.
    pub hash: FirewallHash,
    /// What becomes of the flows of a firewall that is down.
    pub on_failure: OnFailure,
    /// What becomes of them when it returns.
    pub on_recovery: OnRecovery,
    /// Index into [`Config::health_checks`](crate::Config::health_checks), of kind icmp, udp or tcp-half-open; `None`: its
    /// firewalls always count as up.
    pub health_check: Option<usize>,
    /// `[[firewall_group.firewall]]`, in the order of the file; 1 to 64.
    pub firewalls: Vec<Firewall>,
    /// Where the name stands.
    pub at: Position,
    /// Where `zone` stands, or the table when the key is absent.
    pub zone_at: Position,
    /// Where `networks` stands.
    pub networks_at: Position,
    /// Where `health_check` stands, or the table when the key is absent.
    pub health_check_at: Position,
}

/// `[[firewall_group.firewall]]`: one firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// Its name, the same at both ends: it decides the firewall's rows. Unique in its group.
    pub name: String,
    /// The next hop: a routed firewall's address on our side; behind a bridge-mode firewall, the far appliance's address on
    /// that path. Unique in its group.
    pub address: IpAddr,
    /// Index into [`Config::ports`](crate::Config::ports) of the port that the path of a bridge-mode firewall hangs on;
    /// `None`: wherever the routes lead to `address`.
    pub port: Option<usize>,
    /// The far appliance's probe address for this path; `Some` wherever the group has a `health_check`.
    pub far_address: Option<IpAddr>,
    /// Its share; 0: no new flows.
    pub weight: u32,
    /// Sessions at once at the most; `None`: no bound.
    pub max_sessions: Option<u32>,
    /// New sessions per second at the most; `None`: no bound.
    pub max_session_rate: Option<u32>,
    /// Addresses that it translates to: what goes there goes to it. No two firewalls of one group share any.
    pub nat_addresses: Vec<Network>,
    /// Where the name stands.
    pub at: Position,
    /// Where `address` stands.
    pub address_at: Position,
    /// Where `port` stands, or the table when the key is absent.
    pub port_at: Position,
    /// Where `far_address` stands, or the table when the key is absent.
    pub far_address_at: Position,
    /// Where `nat_addresses` stands, or the table when the key is absent.
    pub nat_addresses_at: Position,
}

/// `[[probe_responder]]`: an address of this end's that answers the far end's path probes, and that this end's own probes
/// on that path come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResponder {
    /// The address, claimed like a VIP. No service's, pool's or server's.
    pub address: IpAddr,
    /// Index into [`Config::firewall_groups`](crate::Config::firewall_groups) of the group of the path it stands for.
    pub group: usize,
    /// Index into [`FirewallGroup::firewalls`] of the firewall of the path it stands for.
    pub firewall: usize,
    /// Where `address` stands.
    pub at: Position,
    /// Where `firewall` stands.
    pub firewall_at: Position,
}

/// What of a flow decides which firewall it crosses; symmetric and keyed either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirewallHash {
    /// Both addresses: whatever two hosts have with each other crosses one firewall.
    #[default]
    AddressPair,
    /// Addresses, ports and protocol.
    FiveTuple,
}

/// What becomes of the flows of a firewall that is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// They go on over the firewalls that their rows name next.
    #[default]
    Move,
    /// TCP is reset at both ends, each by its own appliance; other flows go on over other firewalls.
    Reset,
    /// They stay with it.
    Keep,
}

/// What becomes of flows that were moved, when their firewall returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRecovery {
    /// They stay where they are.
    #[default]
    Sticky,
    /// They go back.
    Return,
}
