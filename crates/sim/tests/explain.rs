//! What `explain` says is what then happens, and saying it changes nothing.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use control::explain::{Question, Surroundings, explain};
use control::facts::Facts;
use control::members::{Health, Wish};
use serde_json::Value;
use sim::frame::{Scope, print};
use sim::{Manager, Sizes, World, apply_fact};
use wire::Mac;
use wire::build;
use wire::tcp::TcpFlags;

const STATIONS: [&str; 9] =
    ["OUTSIDE", "INSIDE", "BRIDGE", "CLIENT", "GATEWAY", "SERVER1", "SERVER2", "SERVER3", "ROUTER"];

/// Two routed ports: clients outside, servers inside, and more servers behind a router there.
const ROUTED: &str = "interface eth1 OUTSIDE mtu 1500
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

const ROUTED_PORTS: &str = r#"
[[port]]
name = "outside"
interface = "eth1"
[[port]]
name = "inside"
interface = "eth2"
"#;

/// The same hosts in one network, around a bridge.
const BRIDGED: &str = "interface eth1 OUTSIDE mtu 1500
interface eth2 INSIDE mtu 1500
interface br0 BRIDGE mtu 1500
address br0 198.18.0.2/24
route 0.0.0.0/0 via 198.18.0.1
neighbour br0 198.18.0.1 GATEWAY
neighbour br0 198.18.0.50 CLIENT
neighbour br0 198.18.0.11 SERVER1
neighbour br0 198.18.0.12 SERVER2";

const BRIDGED_PORTS: &str = r#"
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

const CALL: (&str, &str, &str) = ("198.18.0.50:40000", "198.18.0.10:80", "tcp");

fn service(keys: &str, servers: &[&str]) -> String {
    let servers = servers.iter().map(|server| format!("[[service.server]]\n{server}\n"));
    let keys = if keys.starts_with("address") {
        keys.to_owned()
    } else {
        format!("address = \"198.18.0.10\"\n{keys}")
    };
    let port = if keys.contains("port =") { "" } else { "port = 80\n" };
    format!("[[service]]\nname = \"web\"\n{port}{keys}\n{}", servers.collect::<String>())
}

fn routed_servers(keys: &str) -> String {
    let servers = [1, 2, 3].map(|number| format!("address = \"198.18.1.1{number}\"\nport = 8080"));
    service(keys, &servers.each_ref().map(String::as_str))
}

fn mac(name: &str) -> Mac {
    let number = STATIONS.iter().position(|station| *station == name).unwrap();
    Mac([2, 0, 0, 0, 0, number as u8 + 1])
}

struct Stage {
    world: World,
    scope: Scope,
}

impl Stage {
    fn new(facts_text: &str, config: &str) -> Self {
        let mut scope = Scope::default();
        STATIONS.iter().for_each(|name| scope.name(name, mac(name)));
        let mut facts = Facts::default();
        facts_text.lines().for_each(|line| apply_fact(&mut facts, &scope, line).unwrap());
        let sizes = Sizes { sessions_v4: Some(256), sessions_v6: Some(256) };
        let manager = Manager::new(config, facts, sizes).unwrap();
        Self { world: World::new(manager, 1, 256), scope }
    }

    fn routed(services: &str) -> Self {
        Self::new(ROUTED, &format!("{ROUTED_PORTS}{services}"))
    }

    /// A bridge that has heard every host, servers inside.
    fn bridged(services: &str) -> Self {
        let mut stage = Self::new(BRIDGED, &format!("{BRIDGED_PORTS}{services}"));
        for (ring, name) in [(0, "CLIENT"), (0, "GATEWAY"), (1, "SERVER1"), (1, "SERVER2")] {
            stage.push(ring, &build::padded(build::ethernet(mac(name), Mac::BROADCAST).raw(0x88b5, &[])));
        }
        stage
    }

    fn push(&mut self, ring: usize, frame: &[u8]) -> Vec<(usize, String)> {
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

    fn try_explain(
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
    fn explain(&self, asked: (&str, &str, &str)) -> Value {
        let told = self.untraced(|| self.try_explain(asked, None).unwrap());
        assert_eq!(told["source"], Question::new(asked.0, asked.1, asked.2).unwrap().source.to_string());
        told
    }

    fn untraced<T>(&self, act: impl FnOnce() -> T) -> T {
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
    fn explain_and_see(&mut self, asked: (&str, &str, &str)) -> Value {
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
    fn happen(&mut self, told: &Value, act: &Value) -> Vec<(usize, String)> {
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

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no word"))
}

/// What a field is rewritten to.
fn after(act: &Value, field: &str) -> String {
    let rows = act["rewrite"].as_array().unwrap();
    let row = rows.iter().find(|row| row["field"] == field);
    word(&row.unwrap_or_else(|| panic!("no {field}: {act:#}"))["after"]).to_owned()
}

fn server(told: &Value) -> &str {
    word(&told["request"]["server"]["address"])
}

#[test]
fn a_round_robin_service_names_whose_turn_it_is_and_moves_no_turn() {
    let mut stage = Stage::routed(&routed_servers("mode = \"routed\""));
    for number in 0..4 {
        let source = format!("198.18.0.50:{}", 40_000 + number);
        let asked = (source.as_str(), CALL.1, CALL.2);
        let told = stage.explain(asked);
        assert_eq!(server(&stage.explain(asked)), server(&told), "asked twice");
        let told = stage.explain_and_see(asked);
        assert_eq!(server(&told), format!("198.18.1.1{}", 1 + number % 3));
        let request = &told["request"];
        assert_eq!((word(&request["service"]), word(&request["outcome"])), ("web", "forwarded"));
        assert!(word(&request["server"]["why"]).contains("its turn, of 3"), "{request:#}");
        assert_eq!(request["others"].as_array().unwrap().len(), 2);
        assert!(word(&request["source_nat"]["why"]).contains("another port"), "{request:#}");
        assert_eq!(after(request, "hop_limit"), "63");
        assert_eq!(word(&request["to"][0]["next_hop"]), server(&told));
        let reply = &told["reply"];
        assert_eq!((&reply["crosses"], word(&reply["outcome"])), (&true.into(), "forwarded"));
        assert_eq!(
            (after(reply, "source").as_str(), after(reply, "destination").as_str()),
            (CALL.1, &*source)
        );
        assert_eq!(word(&reply["to"][0]["port"]), "outside");
    }
    assert_eq!(stage.world.sessions(), 4);
}

#[test]
fn a_hash_service_names_its_fields_and_chooses_what_the_worker_chooses() {
    let keys = "mode = \"routed\"\nscheduler = \"hash\"\nhash_fields = [\"source-address\", \"source-port\"]";
    let mut stage = Stage::routed(&routed_servers(keys));
    let mut servers = std::collections::HashSet::new();
    for port in 40_000..40_016 {
        let source = format!("198.18.0.50:{port}");
        let told = stage.explain_and_see((&source, CALL.1, CALL.2));
        assert!(word(&told["request"]["server"]["why"]).contains("the hash of source-address, source-port"));
        servers.insert(server(&told).to_owned());
    }
    assert_eq!(servers.len(), 3);
}

#[test]
fn the_states_of_the_others_are_told_and_with_none_up_the_client_is_reset() {
    let mut stage = Stage::routed(&routed_servers("mode = \"routed\""));
    let key = |number: u8| format!("web/198.18.1.1{number}:8080");
    for number in [1, 2, 3] {
        let server = stage.world.manager.server(&key(number)).unwrap();
        match number {
            1 => stage.world.manager.set_health(&server, Health::Down),
            2 => stage.world.manager.set_wish(&server, Wish::Draining),
            _ => continue,
        }
    }
    let told = stage.explain_and_see(CALL);
    assert_eq!(server(&told), "198.18.1.13");
    let states: Vec<&str> =
        told["request"]["others"].as_array().unwrap().iter().map(|other| word(&other["state"])).collect();
    assert_eq!(states, ["down", "draining"]);
    let last = stage.world.manager.server(&key(3)).unwrap();
    stage.world.manager.set_wish(&last, Wish::Draining);
    let told = stage.explain(("198.18.0.50:40001", CALL.1, "tcp"));
    let request = &told["request"];
    assert_eq!((word(&request["outcome"]), word(&request["answer"]["what"])), ("answered", "TCP reset"));
    assert!(word(&request["why"]).contains("no server of the service takes sessions"));
    assert!(told["reply"].is_null());
}

#[test]
fn where_no_service_listens_the_answer_is_named() {
    let stage = Stage::routed(&routed_servers("mode = \"routed\""));
    let answer = |asked| {
        let told = stage.explain(asked);
        let request = &told["request"];
        assert_eq!(word(&request["to"][0]["port"]), "outside");
        (word(&request["answer"]["what"]).to_owned(), word(&request["why"]).to_owned())
    };
    let (what, why) = answer((CALL.0, "198.18.0.10:81", "tcp"));
    assert_eq!(
        (what.as_str(), why.as_str()),
        ("TCP reset", "no service listens on tcp port 81 of 198.18.0.10")
    );
    assert_eq!(answer((CALL.0, "198.18.0.10:81", "udp")).0, "ICMP port unreachable");
    assert_eq!(answer(("198.18.0.50", "198.18.0.10", "icmp")).0, "ICMP echo reply");
}

#[test]
fn what_is_not_balanced_is_routed_parked_or_dropped_by_name() {
    let mut stage = Stage::routed(&routed_servers("mode = \"routed\""));
    let told = stage.explain_and_see(("198.18.0.50:40000", "198.19.0.7:5000", "udp"));
    let request = &told["request"];
    assert!(word(&request["why"]).contains("it is routed") && request["service"].is_null());
    assert_eq!(word(&request["to"][0]["next_hop"]), "198.18.1.254");
    assert_eq!(word(&told["reply"]["to"][0]["port"]), "outside");

    let told = stage.explain(("198.18.0.50:40000", "198.18.1.99:5000", "udp"));
    assert_eq!(word(&told["request"]["outcome"]), "parked");
    assert!(word(&told["request"]["why"]).contains("until 198.18.1.99 at inside answers ARP"), "{told:#}");
    assert!(told["reply"].is_null());

    let told = stage.explain(("127.0.0.1:40000", CALL.1, "tcp"));
    assert_eq!(
        (word(&told["request"]["outcome"]), word(&told["request"]["drop"])),
        ("dropped", "martian-source")
    );
}

#[test]
fn the_port_can_be_said_and_a_wrong_one_is_refused_with_the_right_ones() {
    let stage = Stage::routed(&routed_servers("mode = \"routed\""));
    let told = stage.untraced(|| stage.try_explain(CALL, Some("inside")).unwrap());
    assert_eq!(word(&told["request"]["from"]["port"]), "inside");
    assert!(word(&told["request"]["source_nat"]["why"]).contains("the client's own port"), "{told:#}");
    assert!(word(&told["request"]["source_nat"]["source"]).starts_with("198.18.0.10:"));
    let error = stage.try_explain(CALL, Some("elsewhere")).unwrap_err();
    assert!(error.contains("outside, inside"), "{error}");
}

#[test]
fn the_hosts_own_addresses_are_the_kernels_or_a_host_legs() {
    let stage = Stage::routed("");
    let told = stage.explain(("198.18.0.50:40000", "198.18.0.2:22", "tcp"));
    assert_eq!((word(&told["request"]["outcome"]), &told["request"]["drop"]), ("host", &Value::Null));
    assert!(word(&told["request"]["why"]).contains("the kernel takes it"));
    let told = stage.explain(("198.18.0.2:40000", "198.18.1.11:22", "tcp"));
    assert!(word(&told["request"]["notes"][0]).contains("come in by no port"), "{told:#}");
    let stage = Stage::bridged("");
    let told = stage.explain(("198.18.0.50:40000", "198.18.0.2:22", "tcp"));
    assert_eq!(word(&told["request"]["outcome"]), "host");
    assert_eq!(told["request"]["to"][0], serde_json::json!({"port": "br0", "is_host": true}));
    assert!(told["reply"].is_null());
}

#[test]
fn two_vlans_of_one_interface_are_two_ports() {
    let facts = "interface eth1 OUTSIDE mtu 1500
interface clients OUTSIDE mtu 1500
interface servers INSIDE mtu 1500
address clients 198.18.0.2/24
address servers 198.18.1.2/24
neighbour clients 198.18.0.50 CLIENT
neighbour servers 198.18.1.11 SERVER1";
    let port =
        |name: &str, vlan: u8| format!("[[port]]\nname = \"{name}\"\ninterface = \"eth1\"\nvlan = {vlan}\n");
    let service = service("mode = \"routed\"\nreturn_path = \"gateway\"", &["address = \"198.18.1.11\""]);
    let mut stage = Stage::new(facts, &format!("{}{}{service}", port("clients", 10), port("servers", 20)));
    let told = stage.explain_and_see(CALL);
    let request = &told["request"];
    assert_eq!((word(&request["from"]["port"]), word(&request["to"][0]["port"])), ("clients", "servers"));
    assert_eq!((&request["from"]["vlan"], after(request, "vlan").as_str()), (&10.into(), "20"));
    assert_eq!(after(&told["reply"], "vlan"), "10");
}

#[test]
fn a_bridge_passes_what_is_not_for_it_and_says_so() {
    let mut stage = Stage::bridged("");
    let told = stage.explain_and_see(("198.18.0.50:40000", "198.18.0.11:22", "tcp"));
    let request = &told["request"];
    assert_eq!((word(&request["outcome"]), word(&request["to"][0]["port"])), ("forwarded", "inside"));
    assert!(word(&request["why"]).contains("the bridge passes it on"));
    assert!(request["rewrite"].as_array().unwrap().iter().all(|row| row["before"] == row["after"]));
    assert_eq!(word(&told["reply"]["to"][0]["port"]), "outside");
    let told = stage.explain(("198.18.0.50:40000", "198.18.0.99:22", "tcp"));
    assert_eq!(word(&told["request"]["to"][0]["port"]), "inside", "{told:#}");
    assert!(word(&told["request"]["notes"][0]).contains("198.18.0.99 is not known"));
}

#[test]
fn behind_one_port_of_a_bridge_auto_lends_a_source_and_between_two_it_does_not() {
    let servers = ["address = \"198.18.0.11\"", "address = \"198.18.0.12\""];
    let mut stage = Stage::bridged(&service("mode = \"transparent\"", &servers));
    let told = stage.explain_and_see(CALL);
    let request = &told["request"];
    assert!(request["source_nat"]["source"].is_null());
    assert!(word(&request["source_nat"]["why"]).contains("different ports of the bridge"));
    assert_eq!(after(request, "hop_limit"), "64");
    assert_eq!(after(request, "source_mac"), mac("CLIENT").to_string());
    assert_eq!(after(&told["reply"], "source"), CALL.1);
    assert_eq!(after(&told["reply"], "destination_mac"), mac("CLIENT").to_string());

    let told = stage.explain(("198.18.0.12:40000", CALL.1, "tcp"));
    let request = &told["request"];
    assert_eq!(word(&request["from"]["port"]), "inside");
    assert!(word(&request["source_nat"]["source"]).starts_with("198.18.0.10:"), "{request:#}");
    assert!(word(&request["source_nat"]["why"]).contains("one port of the bridge"), "{request:#}");
    assert_eq!(after(&told["reply"], "destination"), "198.18.0.12:40000");
    assert_eq!(word(&told["reply"]["outcome"]), "forwarded");
}

#[test]
fn a_source_nat_of_never_is_told_to_fail_where_the_reply_bypasses() {
    let config = service("mode = \"routed\"\nsource_nat = \"never\"", &["address = \"198.18.0.60\""]);
    let mut stage = Stage::new(
        &format!("{ROUTED}\nneighbour eth1 198.18.0.60 SERVER1"),
        &format!("{ROUTED_PORTS}{config}"),
    );
    let told = stage.explain_and_see(CALL);
    assert_eq!(told["reply"]["crosses"], false);
    assert!(word(&told["reply"]["notes"][0]).contains("takes none of it"), "{told:#}");
    let told = stage.explain(("198.18.0.60:40000", CALL.1, "tcp"));
    assert!(word(&told["request"]["why"]).contains("answer past the appliance"), "{told:#}");
}

#[test]
fn servers_that_answer_directly_are_said_to_and_the_request_is_carried_as_the_mode_says() {
    let mut stage = Stage::routed(&service("mode = \"l2-dsr\"", &["address = \"198.18.1.11\""]));
    let told = stage.explain_and_see(CALL);
    assert_eq!(word(&told["request"]["mode"]), "l2-dsr");
    assert_eq!(after(&told["request"], "destination"), CALL.1);
    assert_eq!(after(&told["request"], "destination_mac"), mac("SERVER1").to_string());
    assert!(told["request"]["source_nat"].is_null());
    assert_eq!(told["reply"]["crosses"], false);
    assert!(word(&told["reply"]["notes"][0]).contains("answer their clients directly"));
    assert_eq!(
        (after(&told["reply"], "source"), word(&told["reply"]["outcome"])),
        (CALL.1.into(), "forwarded")
    );

    for (encapsulation, mode, outer) in [
        ("ipip", "l3-dsr ipip", ("198.18.1.251", "198.19.0.11")),
        ("gue", "l3-dsr gue", ("198.18.1.251:", "198.19.0.11:6080")),
    ] {
        let keys = format!(
            "mode = \"l3-dsr\"\nencapsulation = \"{encapsulation}\"\nencapsulation_source = \"198.18.1.251\""
        );
        let stage = Stage::routed(&service(&keys, &["address = \"198.19.0.11\""]));
        let told = stage.explain(CALL);
        let request = &told["request"];
        assert_eq!(word(&request["mode"]), mode);
        assert!(after(request, "outer_source").starts_with(outer.0), "{request:#}");
        assert_eq!(after(request, "outer_destination"), outer.1);
        assert_eq!(
            (after(request, "destination"), after(request, "hop_limit")),
            (CALL.1.into(), "63".into())
        );
        assert!(after(request, "mss").parse::<u16>().unwrap() < 1_460);
        assert_eq!(word(&request["to"][0]["next_hop"]), "198.18.1.254");
    }

    let keys = "mode = \"l3-dsr\"\nencapsulation = \"dscp\"";
    let stage = Stage::routed(&service(keys, &["address = \"198.19.0.11\"\ndscp = 7"]));
    let told = stage.explain(CALL);
    assert_eq!(after(&told["request"], "dscp"), "7");
    assert_eq!(after(&told["request"], "destination"), "198.19.0.11:80");
}

#[test]
fn what_leaves_a_masqueraded_network_bears_an_address_of_its_pool() {
    let outbound = "[[outbound]]\nname = \"updates\"\nnetworks = [\"198.18.1.0/24\"]\nsource_addresses = [\"198.18.0.250\"]\n";
    let mut stage = Stage::routed(outbound);
    for asked in [("198.18.1.11:40000", "198.18.0.50:443", "tcp"), ("198.18.1.11", "198.18.0.50", "icmp")] {
        let told = stage.explain(asked);
        let request = &told["request"];
        assert_eq!((word(&request["service"]), word(&request["mode"])), ("updates", "outbound"));
        assert!(after(request, "source").starts_with("198.18.0.250:"), "{request:#}");
        assert_eq!(word(&request["to"][0]["port"]), "outside");
        assert_eq!(after(&told["reply"], "destination"), word(&told["source"]));
        let happened = stage.happen(&told, request);
        assert!(happened[0].1.contains("198.18.0.250"), "{happened:?}");
    }
}

#[test]
fn a_session_that_lives_is_told_first_and_explains_both_of_its_directions() {
    let mut stage = Stage::routed(&routed_servers("mode = \"routed\"\nsource_nat = \"always\""));
    let told = stage.explain(CALL);
    assert!(told["session"].is_null());
    let happened = stage.happen(&told, &told["request"]);
    let lent = happened[0].1.split(' ').nth(1).unwrap().to_owned();
    // The round has moved on, and the server is none the less the session's.
    let told = stage.explain(CALL);
    assert_eq!(
        (word(&told["session"]["state"]), word(&told["session"]["direction"])),
        ("half-open", "request")
    );
    assert_eq!((word(&told["session"]["source_nat"]), word(&told["session"]["service"])), (&*lent, "web"));
    assert_eq!((server(&told), after(&told["request"], "source")), ("198.18.1.11", lent.clone()));
    assert!(word(&told["request"]["why"]).contains("belongs to a session"));
    assert!(word(&told["request"]["source_nat"]["why"]).contains("when the session opened"));

    let told = stage.explain(("198.18.1.11:8080", &lent, "tcp"));
    assert_eq!(word(&told["session"]["direction"]), "reply");
    assert_eq!(after(&told["request"], "source"), CALL.1);
    assert_eq!(word(&told["request"]["to"][0]["port"]), "outside");
    assert_eq!(after(&told["reply"], "destination"), "198.18.1.11:8080");

    // A session that was reset stays so, for both of its ends, when its server returns.
    let server = stage.world.manager.server("web/198.18.1.11:8080").unwrap();
    stage.world.manager.set_health(&server, Health::Down);
    stage.world.settle();
    while stage.world.take(0).or_else(|| stage.world.take(1)).is_some() {}
    stage.world.manager.set_health(&server, Health::Up);
    for asked in [CALL, ("198.18.1.11:8080", &lent, "tcp")] {
        let told = stage.explain(asked);
        assert_eq!(word(&told["request"]["answer"]["what"]), "TCP reset", "{told:#}");
        assert_eq!(word(&told["request"]["why"]), "its session was reset");
    }
}

#[test]
fn a_server_whose_flow_could_not_be_told_apart_is_passed_over_as_the_worker_does() {
    let other = routed_servers("mode = \"routed\"\nport = 81").replace("\"web\"", "\"other\"");
    let mut stage = Stage::routed(&format!("{}{other}", routed_servers("mode = \"routed\"")));
    stage.explain_and_see((CALL.0, "198.18.0.10:81", "tcp"));
    let told = stage.explain_and_see(CALL);
    assert_eq!(server(&told), "198.18.1.12");
    assert!(word(&told["request"]["server"]["why"]).contains("at 1 before it"), "{told:#}");
}

#[test]
fn ipv6_is_explained_as_ipv4_is() {
    let keys = "address = \"2001:db8:0:1::10\"\nmode = \"routed\"";
    let mut stage = Stage::routed(&service(keys, &["address = \"2001:db8:0:2::11\"\nport = 8080"]));
    let told = stage.explain_and_see(("[2001:db8:0:1::50]:40000", "[2001:db8:0:1::10]:80", "tcp"));
    assert_eq!(after(&told["request"], "destination"), "[2001:db8:0:2::11]:8080");
    assert_eq!(after(&told["reply"], "source"), "[2001:db8:0:1::10]:80");
    let told = stage.explain(("2001:db8:0:1::50", "2001:db8:0:1::10", "icmp"));
    assert_eq!(word(&told["request"]["answer"]["what"]), "ICMP echo reply");
}
