//! What of a configuration has a row: firewalls first, whose rows must have small numbers, then servers and outbounds.

use super::ServerKey;
use config::{Config, OnFailure};
use plan::MssClamp;
use std::net::IpAddr;

/// What becomes of the sessions of a member that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenDown {
    /// They are reset.
    Reset,
    /// They stay with it.
    Keep,
    /// They go on over other firewalls.
    Move,
}

/// What is known of a firewall's path, also when the file no longer has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallPath {
    /// The firewall's name.
    pub name: String,
    /// The leg that its path hangs on, by port index; `None`: wherever the routes lead to its address.
    pub leg: Option<u16>,
    /// The zone that it is reached from.
    pub zone: u8,
}

/// One member of a configuration.
pub(super) struct Wanted {
    pub key: ServerKey,
    pub weight: u32,
    pub is_checked: bool,
    pub when_down: WhenDown,
    pub mss_clamp: MssClamp,
    /// Of a firewall.
    pub path: Option<FirewallPath>,
}

impl Wanted {
    fn firewall(config: &Config, group: &config::FirewallGroup, firewall: &config::Firewall) -> Self {
        Self {
            key: ServerKey::of_firewall(group, firewall),
            weight: firewall.weight,
            is_checked: group.health_check.is_some(),
            when_down: match group.on_failure {
                OnFailure::Move => WhenDown::Move,
                OnFailure::Reset => WhenDown::Reset,
                OnFailure::Keep => WhenDown::Keep,
            },
            mss_clamp: MssClamp::Never,
            path: Some(FirewallPath {
                name: firewall.name.clone(),
                leg: firewall.port.map(|port| crate::compile::leg_of(config, port)),
                zone: group.zone,
            }),
        }
    }

    fn server(service: &config::Service, server: &config::Server) -> Self {
        Self {
            key: ServerKey::of(service, server),
            weight: server.weight,
            is_checked: service.health_check.is_some(),
            when_down: match service.on_down {
                config::OnDown::Reset => WhenDown::Reset,
                config::OnDown::Keep => WhenDown::Keep,
            },
            mss_clamp: match service.mss_clamp {
                config::MssClamp::Auto => MssClamp::Auto,
                config::MssClamp::Never => MssClamp::Never,
                config::MssClamp::Bytes(bytes) => MssClamp::Bytes(bytes),
            },
            path: None,
        }
    }

    /// A row for an outbound, which counts its sessions.
    fn outbound(outbound: &config::Outbound) -> Self {
        Self {
            key: outbound_key(outbound),
            weight: 1,
            is_checked: false,
            when_down: WhenDown::Reset,
            mss_clamp: MssClamp::Never,
            path: None,
        }
    }
}

/// Everything that has a row in this configuration, firewalls first.
pub(super) fn rows(config: &Config) -> impl Iterator<Item = Wanted> {
    let firewalls = config.firewall_groups.iter().flat_map(move |group| {
        group.firewalls.iter().map(move |firewall| Wanted::firewall(config, group, firewall))
    });
    let servers = config
        .services
        .iter()
        .flat_map(|service| service.servers.iter().map(move |server| Wanted::server(service, server)));
    firewalls.chain(servers).chain(config.outbounds.iter().map(Wanted::outbound))
}

/// Whether this configuration has a service, a group or an outbound of that name.
pub(super) fn names(config: &Config, name: &str) -> bool {
    config.services.iter().any(|service| service.name == name)
        || config.firewall_groups.iter().any(|group| group.name == name)
        || config.outbounds.iter().any(|outbound| outbound.name == name)
}

/// Names the row of an outbound: its pool's first address is no server's.
pub fn outbound_key(outbound: &config::Outbound) -> ServerKey {
    let address = outbound.source_addresses.first().copied();
    let address = address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    ServerKey { service: outbound.name.clone(), address, port: None }
}
