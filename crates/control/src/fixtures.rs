//! Firewall groups for the tests of this crate.

use config::{Firewall, FirewallGroup, Network, OnFailure, Position};
use std::net::IpAddr;

/// A firewall at 198.18.1.`last`.
pub fn firewall(name: &str, last: u8) -> Firewall {
    let at = Position::default();
    Firewall {
        name: name.to_owned(),
        address: IpAddr::from([198, 18, 1, last]),
        port: None,
        far_address: None,
        weight: 1,
        max_sessions: None,
        max_session_rate: None,
        nat_addresses: Vec::new(),
        at,
        address_at: at,
        port_at: at,
        far_address_at: at,
        nat_addresses_at: at,
    }
}

/// A group in front of 198.19.`network`.0/24.
pub fn group(name: &str, network: u8, firewalls: Vec<Firewall>) -> FirewallGroup {
    let at = Position::default();
    let network = Network { address: IpAddr::from([198, 19, network, 0]), prefix_length: 24 };
    FirewallGroup {
        name: name.to_owned(),
        zone: 0,
        networks: vec![network],
        hash: config::FirewallHash::AddressPair,
        on_failure: OnFailure::Move,
        on_recovery: config::OnRecovery::Sticky,
        health_check: None,
        firewalls,
        at,
        zone_at: at,
        networks_at: at,
        health_check_at: at,
    }
}
