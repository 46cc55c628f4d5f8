//! A source-NAT pool of one address, asked for more ports than it has.

use control::facts::Facts;
use sim::frame::Scope;
use sim::{Manager, Sizes, World, apply_fact};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use wire::tcp::TcpFlags;
use wire::{Mac, build};

const OUTSIDE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 3]);
const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);

/// Ports that a pool lends: 1024 to 65535.
const POOL_PORTS: usize = 64_512;
const CLIENTS: usize = POOL_PORTS + 3_000;

const FACTS: [&str; 6] = [
    "interface eth1 OUTSIDE mtu 1500",
    "interface eth2 INSIDE mtu 1500",
    "address eth1 198.18.0.2/24",
    "address eth2 198.18.1.2/24",
    "neighbour eth1 198.18.0.50 CLIENT",
    "neighbour eth2 198.18.1.11 SERVER",
];

const CONFIG: &str = r#"
[[port]]
name = "outside"
interface = "eth1"
[[port]]
name = "inside"
interface = "eth2"
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

fn world() -> World {
    let mut scope = Scope::default();
    for (name, last) in [("OUTSIDE", 1), ("INSIDE", 2), ("CLIENT", 3), ("SERVER", 4)] {
        scope.name(name, Mac([2, 0, 0, 0, 0, last]));
    }
    let mut facts = Facts::default();
    for fact in FACTS {
        apply_fact(&mut facts, &scope, fact).expect("a fact");
    }
    let sizes = Sizes { sessions_v4: Some(CLIENTS + 10_000), sessions_v6: None };
    World::new(Manager::new(CONFIG, facts, sizes).expect("a configuration"), 1, 256)
}

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
    let mut world = world();
    // The clients' networks are behind the client's router.
    world.manager.change_facts(|facts| {
        let mut scope = Scope::default();
        scope.name("CLIENT", CLIENT);
        apply_fact(facts, &scope, "route 198.19.0.0/16 via 198.18.0.50").expect("a route");
    });
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
