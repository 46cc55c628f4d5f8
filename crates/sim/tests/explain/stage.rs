//! A world in which a packet is explained, and then happens.

use control::explain::{Question, Surroundings, explain};
use control::facts::Facts;
use serde_json::Value;
use sim::frame::{Scope, print};
use sim::{Manager, Sizes, World, apply_fact};
use wire::Mac;
use wire::build;
use wire::tcp::TcpFlags;

pub const STATIONS: [&str; 12] = [
    "OUTSIDE", "INSIDE", "BRIDGE", "CLIENT", "GATEWAY", "SERVER1", "SERVER2", "SERVER3", "ROUTER", "FW1",
    "FW2", "FW3",
];

/// Two routed ports: clients outside, servers inside, and more servers behind a router there.
pub const ROUTED: &str = "interface eth1 OUTSIDE mtu 1500
interface eth2 INSIDE mtu 1500
address eth1 198.18.0.2/24
address eth2 198.18.1.2/24
address eth1 2001:db8:0:1::2/64
address eth2 2001:db8:0:2::2/64
route 0.0.0.0/0 via 198.18.0.1
route 198.19.0.0/16 via 198.18.1.254
neighbour eth1 198.18.0.1 GATEWAY
neighbour eth1 198.18.0.50 CLIENT
neighbour eth2 198.18.1.11 SERVER1
neighbour eth2 198.18.1.12 SERVER2
neighbour eth2 198.18.1.13 SERVER3
neighbour eth2 198.18.1.254 ROUTER
neighbour eth1 2001:db8:0:1::50 CLIENT
neighbour eth2 2001:db8:0:2::11 SERVER1";

pub const ROUTED_PORTS: &str = r#"
[[port]]
name = "outside"
interface = "eth1"
[[port]]
name = "inside"
interface = "eth2"
"#;

/// The same hosts in one network, around a bridge.
pub const BRIDGED: &str = "interface eth1 OUTSIDE mtu 1500
interface eth2 INSIDE mtu 1500
interface br0 BRIDGE mtu 1500
address br0 198.18.0.2/24
route 0.0.0.0/0 via 198.18.0.1
neighbour br0 198.18.0.1 GATEWAY
neighbour br0 198.18.0.50 CLIENT
neighbour br0 198.18.0.11 SERVER1
neighbour br0 198.18.0.12 SERVER2";

pub const BRIDGED_PORTS: &str = r#"
[[port]]
name = "outside"
interface = "eth1"
[[port]]
name = "inside"
interface = "eth2"
[[bridge]]
name = "br0"
ports = ["outside", "inside"]
"#;

pub const CALL: (&str, &str, &str) = ("198.18.0.50:40000", "198.18.0.10:80", "tcp");

pub fn service(keys: &str, servers: &[&str]) -> String {
    let servers = servers.iter().map(|server| format!("[[service.server]]\n{server}\n"));
    let keys = if keys.starts_with("address") {
        keys.to_owned()
    } else {
        format!("address = \"198.18.0.10\"\n{keys}")
    };
    let port = if keys.contains("port =") { "" } else { "port = 80\n" };
    format!("[[service]]\nname = \"web\"\n{port}{keys}\n{}", servers.collect::<String>())
}

pub fn routed_servers(keys: &str) -> String {
    let servers = [1, 2, 3].map(|number| format!("address = \"198.18.1.1{number}\"\nport = 8080"));
    service(keys, &servers.each_ref().map(String::as_str))
}

pub fn mac(name: &str) -> Mac {
    let number = STATIONS.iter().position(|station| *station == name).unwrap();
    Mac([2, 0, 0, 0, 0, number as u8 + 1])
}

pub struct Stage {
    pub world: World,
    scope: Scope,
}

impl Stage {
    pub fn new(facts_text: &str, config: &str) -> Self {
        Self::sized(facts_text, config, 256)
    }

    /// With room for so many sessions of each family.
    pub fn sized(facts_text: &str, config: &str, sessions: usize) -> Self {
        let mut scope = Scope::default();
        STATIONS.iter().for_each(|name| scope.name(name, mac(name)));
        let mut facts = Facts::default();
        facts_text.lines().for_each(|line| apply_fact(&mut facts, &scope, line).unwrap());
        let sizes = Sizes { sessions_v4: Some(sessions), sessions_v6: Some(sessions) };
        let manager = Manager::new(config, facts, sizes).unwrap();
        Self { world: World::new(manager, 1, 256), scope }
    }

    pub fn routed(services: &str) -> Self {
        Self::new(ROUTED, &format!("{ROUTED_PORTS}{services}"))
    }

    /// A bridge that has heard every host, servers inside.
    pub fn bridged(services: &str) -> Self {
        let mut stage = Self::new(BRIDGED, &format!("{BRIDGED_PORTS}{services}"));
        for (ring, name) in [(0, "CLIENT"), (0, "GATEWAY"), (1, "SERVER1"), (1, "SERVER2")] {
            stage.push(ring, &build::padded(build::ethernet(mac(name), Mac::BROADCAST).raw(0x88b5, &[])));
        }
        stage
    }

    pub fn push(&mut self, ring: usize, frame: &[u8]) -> Vec<(usize, String)> {
        assert!(self.world.push(0, ring, frame));
        self.world.settle();
        let mut sent = Vec::new();
        for ring in 0..self.world.manager.rings() {
            while let Some(frame) = self.world.take(ring) {
                sent.push((ring, print(&frame, &self.scope)));
            }
        }
        sent
    }

    pub fn try_explain(
        &self,
        (source, destination, protocol): (&str, &str, &str),
        port: Option<&str>,
    ) -> Result<Value, String> {
        let manager = &self.world.manager;
        let around = Surroundings {
            plan: manager.plan(),
            shared: manager.shared(),
            now_ns: self.world.now_ns(),
            state_of: &|_| None,
        };
        explain(&around, &Question::new(source, destination, protocol)?, port)
    }

    /// What is said; a panic if saying it left a trace.
    pub fn explain(&self, asked: (&str, &str, &str)) -> Value {
        let told = self.untraced(|| self.try_explain(asked, None).unwrap());
        let source = Question::new(asked.0, asked.1, asked.2).unwrap().source;
        assert_eq!(
            told["source"],
            if source.port() == 0 { source.ip().to_string() } else { source.to_string() }
        );
        told
    }

    pub fn untraced<T>(&self, act: impl FnOnce() -> T) -> T {
        let traces = || {
            let counters: Vec<String> =
                self.world.manager.counters().map(|counters| format!("{counters:?}")).collect();
            let shared = self.world.manager.shared();
            let mut stations = 0;
            shared.macs.inspect(0, |_| u32::MAX, |_| stations += 1);
            (counters, self.world.sessions(), shared.reports.len(), stations)
        };
        let before = traces();
        let outcome = act();
        assert!(traces() == before, "to explain is to change nothing");
        outcome
    }

    /// Explains, lets it happen, and compares: the way out, both MAC addresses, both ends.
    pub fn explain_and_see(&mut self, asked: (&str, &str, &str)) -> Value {
        let told = self.explain(asked);
        let request = &told["request"];
        let happened = self.happen(&told, request);
        assert_eq!(happened.len(), request["to"].as_array().unwrap().len(), "{request:#}\n{happened:?}");
        for (way, (ring, line)) in request["to"].as_array().unwrap().iter().zip(&happened) {
            let leg = self.world.manager.leg(word(&way["port"])).unwrap();
            let plan = &self.world.manager.plan().ports[leg];
            assert!(
                matches!(plan.attachment, plan::Attachment::Ring { ring: own, .. } if usize::from(own) == *ring)
            );
            for field in ["source", "destination", "source_mac", "destination_mac", "hop_limit"] {
                let after = after(request, field);
                let after = match field {
                    "source_mac" | "destination_mac" => self.scope.name_of(after.parse().unwrap()),
                    "hop_limit" if after == "64" => continue,
                    _ => after,
                };
                assert!(line.contains(&after), "{field} {after}: {line}");
            }
        }
        told
    }

    /// The packet that was explained, in truth.
    pub fn happen(&mut self, told: &Value, act: &Value) -> Vec<(usize, String)> {
        let from = &act["from"];
        let mac = |field: &str| word(&from[field]).parse::<Mac>().unwrap();
        let ends =
            ["source", "destination"].map(|end| word(&told[end]).parse::<std::net::SocketAddr>().unwrap());
        let ethernet = build::ethernet(mac("source_mac"), mac("destination_mac"));
        let vlan = from["vlan"].as_u64().unwrap() as u16;
        let ethernet = if vlan == 0 { ethernet } else { ethernet.vlan(vlan) };
        let ip = match (ends[0].ip(), ends[1].ip()) {
            (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => {
                ethernet.ipv4(source, destination)
            }
            (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
                ethernet.ipv6(source, destination)
            }
            _ => panic!("two families"),
        };
        let frame = match word(&told["protocol"]) {
            "tcp" => ip.tcp(ends[0].port(), ends[1].port()).flags(TcpFlags::SYN).finish(),
            "udp" => ip.udp(ends[0].port(), ends[1].port()).finish(),
            _ => ip.echo_request(ends[0].port(), 1).finish(),
        };
        let plan = self.world.manager.plan();
        let port = plan.ports.iter().find(|port| port.name == word(&from["port"])).unwrap();
        let plan::Attachment::Ring { ring, .. } = port.attachment else { panic!("no port") };
        self.push(usize::from(ring), &frame)
    }
}

pub fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no word"))
}

/// What a field is rewritten to.
pub fn after(act: &Value, field: &str) -> String {
    let rows = act["rewrite"].as_array().unwrap();
    let row = rows.iter().find(|row| row["field"] == field);
    word(&row.unwrap_or_else(|| panic!("no {field}: {act:#}"))["after"]).to_owned()
}

pub fn server(told: &Value) -> &str {
    word(&told["request"]["server"]["address"])
}
