//! A source-NAT pool of one address, asked for more ports than it has.

mod two_ports;

use sim::World;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use two_ports::{CLIENT, OUTSIDE};
use wire::build;
use wire::tcp::TcpFlags;

const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);

/// Ports that a pool lends: 1024 to 65535.
const POOL_PORTS: usize = 64_512;
const CLIENTS: usize = POOL_PORTS + 3_000;

/// The clients' networks are behind the client's router.
const ROUTE: &str = "route 198.19.0.0/16 via 198.18.0.50";

const CONFIG: &str = r#"
[[service]]
name = "web"
address = "198.18.0.10"
port = 80
mode = "routed"
source_nat = "always"
source_addresses = ["198.18.1.250"]
[[service.server]]
address = "198.18.1.11"
"#;

/// A segment of one of many clients, behind one router.
fn segment(client: usize, flags: TcpFlags, sequence: u32) -> Vec<u8> {
    let address = Ipv4Addr::from_bits(0xc613_0000 + (client / 50_000) as u32);
    let ip = build::ethernet(CLIENT, OUTSIDE).ipv4(address, VIP);
    ip.tcp(10_000 + (client % 50_000) as u16, 80).flags(flags).sequence(sequence).finish()
}

/// Lets a segment through; gives back the source port that the server sees, if it gets there.
fn pass(world: &mut World, frame: &[u8]) -> Option<u16> {
    assert!(world.push(0, 0, frame));
    world.turn();
    let sent = world.take(1)?;
    // Ethernet 14, IPv4 20: the next two bytes are the source port.
    Some(u16::from_be_bytes([sent[34], sent[35]]))
}

fn hurried(world: &World) -> u64 {
    world.manager.counters().map(|counters| counters.source_ports_hurried.get()).sum()
}

#[test]
fn a_pool_lends_each_port_once_refuses_by_name_and_takes_the_ports_of_closing_sessions() {
    let (mut world, _) = two_ports::world((CONFIG, &[ROUTE]), CLIENTS + 10_000, 256);
    let mut lent = HashSet::new();
    let mut admitted = Vec::new();
    for client in 0..CLIENTS {
        if let Some(port) = pass(&mut world, &segment(client, TcpFlags::SYN, 1_000)) {
            assert!(port >= 1_024, "port {port} is a well-known one");
            assert!(lent.insert(port), "port {port} is lent twice");
            admitted.push(client);
        }
    }
    let refused = world.dropped("source-ports-exhausted").expect("the reason");
    assert_eq!(admitted.len() as u64 + refused, CLIENTS as u64);
    assert!(lent.len() > POOL_PORTS * 95 / 100, "only {} of {POOL_PORTS} ports were found", lent.len());
    assert_eq!(hurried(&world), 0);

    // A tenth of the clients reset their connection; the sessions stay for a while, closing.
    for &client in admitted.iter().step_by(10) {
        assert!(pass(&mut world, &segment(client, TcpFlags::RST, 1_001)).is_some());
    }
    // Newcomers mostly find every port that they draw taken, and are given one of these.
    let newcomers =
        (0..100).filter(|client| pass(&mut world, &segment(CLIENTS + client, TcpFlags::SYN, 1)).is_some());
    let served = newcomers.count();
    assert!(served >= 95, "{served} of 100 newcomers were served");
    assert!(hurried(&world) > 0);
    world.check_books().expect("the books");
}
