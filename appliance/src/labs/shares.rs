//! Who answered a load of requests, and who was seen to ask.

use std::net::IpAddr;

use super::report::Report;
use crate::table::{Align, Table};

/// What came of the requests to one service.
pub(super) struct Run {
    /// Its name; `udp` in front tells a UDP service.
    pub service: String,
    /// The client's address as the servers are to see it.
    pub servers_see: IpAddr,
    /// What the client has seen.
    pub seen: lab::Report,
}

/// Prints the shares of all servers, and holds them against round robin. `whose` are the addresses that the
/// servers are to see.
pub(super) fn judge(runs: &[Run], servers: &[&str], whose: &str, report: &mut Report) {
    let left = [("SERVICE", Align::Left), ("ASKED", Align::Right), ("ANSWERED", Align::Right)];
    let names = servers.iter().map(|name| (*name, Align::Right));
    let right = [("P50", Align::Right), ("P99", Align::Right), ("SERVERS SEE", Align::Left)];
    let mut table = Table::new(left.into_iter().chain(names).chain(right));
    for Run { service, seen, .. } in runs {
        let shares = servers.iter().map(|name| seen.per_server.get(*name).copied().unwrap_or(0));
        let latency = |percent| seen.latency(percent).map_or("-".into(), |latency| format!("{latency:.0?}"));
        let clients = seen.clients_seen.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let head = [service.clone(), seen.sent().to_string(), seen.answered().to_string()];
        let tail = [latency(50.0), latency(99.0), clients];
        table.row(head.into_iter().chain(shares.map(|share| share.to_string())).chain(tail));
    }
    report.table(&table);
    for Run { service, servers_see, seen } in runs {
        report.expect_or(seen.failed.is_empty(), format!("{service}: every request is answered"), seen);
        let share = seen.sent() / servers.len().max(1);
        // A UDP client may get a port again that still has its session, and then its old server.
        let tolerance = if service.starts_with("udp") { 1 + share / 10 } else { 1 };
        let is_even = servers.iter().all(|name| {
            seen.per_server.get(*name).is_some_and(|answered| answered.abs_diff(share) <= tolerance)
        });
        report.expect(is_even, format!("{service}: every server has its equal share"));
        let is_own = seen.clients_seen.keys().eq([servers_see]);
        report.expect(is_own, format!("{service}: the servers see {whose}"));
    }
}
