//! A server dies with more sessions than the transmit ring has room for: every client is told all the same.

use control::facts::Facts;
use control::members::Health;
use sim::frame::{self, Scope};
use sim::{Manager, Sizes, World, apply_fact};
use std::collections::HashSet;
use wire::Mac;

const CLIENTS: u16 = 500;
/// Far fewer buffers than one slice of the walk has resets to send, so it must wait.
const BUFFERS: usize = 64;

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
[[health_check]]
name = "tcp"
kind = "tcp"
[[service]]
name = "web"
address = "198.18.0.10"
port = 80
mode = "routed"
health_check = "tcp"
[[service.server]]
address = "198.18.1.11"
"#;

fn world() -> (World, Scope) {
    let mut scope = Scope::default();
    for (name, last) in [("OUTSIDE", 1), ("INSIDE", 2), ("CLIENT", 3), ("SERVER", 4)] {
        scope.name(name, Mac([2, 0, 0, 0, 0, last]));
    }
    let mut facts = Facts::default();
    for fact in FACTS {
        apply_fact(&mut facts, &scope, fact).expect("a fact");
    }
    let manager = Manager::new(CONFIG, facts, Sizes { sessions_v4: Some(1_024), sessions_v6: None })
        .expect("a configuration");
    (World::new(manager, 1, BUFFERS), scope)
}

#[test]
fn a_full_transmit_ring_delays_a_reset_and_loses_none() {
    let (mut world, scope) = world();
    for client in 0..CLIENTS {
        let port = 10_000 + client;
        let text = format!("tcp 198.18.0.50:{port} > 198.18.0.10:80 S seq 1000 from CLIENT to OUTSIDE");
        let syn = frame::build(&text, &scope).expect("a frame");
        assert!(world.push(0, 0, &syn));
        world.settle();
        assert_eq!(world.discard_sent(), 1);
    }
    let server = world.manager.server("web/198.18.1.11").expect("the server");
    world.manager.set_health(&server, Health::Down);
    let mut told = HashSet::new();
    for _ in 0..10_000 {
        world.turn();
        while let Some(reset) = world.take(0) {
            let shown = frame::print(&reset, &scope);
            assert!(shown.contains(" R"), "{shown}");
            told.insert(shown);
        }
        while world.take(1).is_some() {}
    }
    assert_eq!(told.len(), usize::from(CLIENTS), "each client is told");
    world.check_books().expect("the books");
}
