//! The textbook's table: one virtual address, two services on different groups of servers, in the lab of
//! [`super::slb_routed`].
//!
//! ```text
//!                       server1   server2   server3
//!   198.18.0.10:80         x         x                http
//!   198.18.0.10:443                  x         x      https (its port; TCP without encryption)
//! ```

use std::ops::Range;

use super::slb_routed::{HTTP_PORT, Service, SlbRouted, VIP_V4};

/// Where the second service listens.
pub const HTTPS_PORT: u16 = 443;

/// Name, port and servers (as indices) of each service.
pub const GROUPS: [(&str, u16, Range<usize>); 2] = [("http", HTTP_PORT, 0..2), ("https", HTTPS_PORT, 1..3)];

impl SlbRouted {
    /// The two services of the table.
    pub fn group_services(&self) -> Vec<Service> {
        let service = |(name, port, group): (&str, u16, Range<usize>)| Service {
            name: name.into(),
            target: (VIP_V4, port).into(),
            protocol: "tcp",
            servers: self.servers[group].iter().map(|server| (server.v4, port).into()).collect(),
            check_port: None,
        };
        GROUPS.into_iter().map(service).collect()
    }
}
