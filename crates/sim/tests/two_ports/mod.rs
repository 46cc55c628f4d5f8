//! The smallest world that tests of a crowd need: one client's router outside, one server inside.

use control::facts::Facts;
use sim::frame::Scope;
use sim::{Manager, Sizes, World, apply_fact};
use wire::Mac;

pub const OUTSIDE: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 3]);

const FACTS: [&str; 6] = [
    "interface eth1 OUTSIDE mtu 1500",
    "interface eth2 INSIDE mtu 1500",
    "address eth1 198.18.0.2/24",
    "address eth2 198.18.1.2/24",
    "neighbour eth1 198.18.0.50 CLIENT",
    "neighbour eth2 198.18.1.11 SERVER",
];

const PORTS: &str = r#"
[[port]]
name = "outside"
interface = "eth1"
[[port]]
name = "inside"
interface = "eth2"
"#;

/// One worker with `buffers` buffers and room for `sessions` IPv4 sessions. `more` is the rest of the configuration and
/// of the facts.
pub fn world(more: (&str, &[&str]), sessions: usize, buffers: usize) -> (World, Scope) {
    let mut scope = Scope::default();
    let stations = [("OUTSIDE", OUTSIDE), ("INSIDE", Mac([2, 0, 0, 0, 0, 2])), ("CLIENT", CLIENT)];
    stations.into_iter().for_each(|(name, mac)| scope.name(name, mac));
    scope.name("SERVER", Mac([2, 0, 0, 0, 0, 4]));
    let mut facts = Facts::default();
    for fact in FACTS.iter().chain(more.1) {
        apply_fact(&mut facts, &scope, fact).expect("a fact");
    }
    let sizes = Sizes { sessions_v4: Some(sessions), sessions_v6: None };
    let manager = Manager::new(&format!("{PORTS}{}", more.0), facts, sizes).expect("a configuration");
    (World::new(manager, 1, buffers), scope)
}
