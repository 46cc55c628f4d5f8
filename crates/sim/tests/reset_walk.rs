//! A server dies with more sessions than the transmit ring has room for: every client is told all the same.

mod two_ports;

use control::members::Health;
use sim::frame;
use std::collections::HashSet;

const CLIENTS: u16 = 500;
/// Far fewer buffers than one slice of the walk has resets to send, so it must wait.
const BUFFERS: usize = 64;

const CONFIG: &str = r#"
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

#[test]
fn a_full_transmit_ring_delays_a_reset_and_loses_none() {
    let (mut world, scope) = two_ports::world((CONFIG, &[]), 1_024, BUFFERS);
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
