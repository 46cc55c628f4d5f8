//! Which firewalls a flow crosses, and why: said first, and then seen.
//!
//! Under the key of these worlds the preferences of 198.18.0.50 are with server 198.19.0.11 fw2, fw1, fw3, with .2 fw1, fw2,
//! fw3, and with .3 fw3, fw2, fw1.

use crate::stage::{Stage, after, server, word};
use control::members::{Health, Wish};
use serde_json::{Value, json};

/// The outer appliance of a sandwich: clients outside, three firewalls in front.
const OUTER: &str = "interface eth1 OUTSIDE mtu 1500
interface eth2 INSIDE mtu 1500
address eth1 198.18.0.100/24
address eth2 198.18.1.100/24
route 0.0.0.0/0 via 198.18.0.254
neighbour eth1 198.18.0.254 ROUTER
neighbour eth1 198.18.0.50 CLIENT
neighbour eth2 198.18.1.1 FW1
neighbour eth2 198.18.1.2 FW2
neighbour eth2 198.18.1.3 FW3";

/// The inner one: the firewalls at the back, servers inside.
const INNER: &str = "interface eth1 OUTSIDE mtu 1500
interface eth2 INSIDE mtu 1500
address eth1 198.18.2.100/24
address eth2 198.19.0.100/24
neighbour eth1 198.18.2.1 FW1
neighbour eth1 198.18.2.2 FW2
neighbour eth1 198.18.2.3 FW3
neighbour eth2 198.19.0.11 SERVER1
neighbour eth2 198.19.0.12 SERVER2
neighbour eth2 198.19.0.50 CLIENT";

/// A client calls the server whose flows prefer fw2, fw1, fw3.
const CALL: (&str, &str, &str) = ("198.18.0.50:40000", "198.19.0.11:80", "tcp");

fn config(ports: [&str; 2], rest: &str) -> String {
    let [one, other] = ports;
    format!(
        "[appliance]\nworkers = [1]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n[[port]]\nname = \"{one}\"\n\
         interface = \"eth1\"\n[[port]]\nname = \"{other}\"\ninterface = \"eth2\"\n{rest}"
    )
}

/// A group of three, with `keys` of the group and of each firewall, whose addresses lie in `network`.
fn group(name: &str, networks: &str, network: &str, keys: &str, of_each: [&str; 3]) -> String {
    let firewalls = of_each.iter().zip(1..).map(|(keys, number)| {
        format!(
            "[[firewall_group.firewall]]\nname = \"fw{number}\"\naddress = \"{network}.{number}\"\n{keys}\n"
        )
    });
    let firewalls: String = firewalls.collect();
    format!("[[firewall_group]]\nname = \"{name}\"\nnetworks = [\"{networks}\"]\n{keys}\n{firewalls}")
}

fn outer_with(keys: &str, of_each: [&str; 3]) -> Stage {
    let group = group("in", "198.19.0.0/16", "198.18.1", keys, of_each);
    Stage::new(OUTER, &config(["outside", "front"], &group))
}

fn outer() -> Stage {
    outer_with("", [""; 3])
}

fn inner(rest: &str) -> Stage {
    let group = group("out", "0.0.0.0/0", "198.18.2", "", [""; 3]);
    Stage::new(INNER, &config(["back", "inside"], &format!("{group}{rest}")))
}

/// The only firewall of an act: its way, its name, and who would take over.
fn only(act: &Value) -> (&str, &str, Vec<&str>) {
    let firewalls = act["firewalls"].as_array().unwrap();
    assert_eq!(firewalls.len(), 1, "{act:#}");
    let then = firewalls[0]["then"].as_array().unwrap().iter().map(word).collect();
    (word(&firewalls[0]["way"]), word(&firewalls[0]["firewall"]), then)
}

fn why(act: &Value) -> &str {
    word(&act["firewalls"][0]["why"])
}

fn health(stage: &mut Stage, name: &str, health: Health) {
    let member = stage.world.manager.server(name).unwrap();
    stage.world.manager.set_health(&member, health);
}

#[test]
fn the_end_that_a_flow_begins_at_names_the_first_preference_and_expects_the_reply_from_there() {
    let mut stage = outer();
    for (server, order) in [
        ("198.19.0.11", ["fw2", "fw1", "fw3"]),
        ("198.19.0.2", ["fw1", "fw2", "fw3"]),
        ("198.19.0.3", ["fw3", "fw2", "fw1"]),
    ] {
        for protocol in ["tcp", "udp", "icmp"] {
            let end = |address: &str, port: u16| match protocol {
                "icmp" => address.to_owned(),
                _ => format!("{address}:{port}"),
            };
            let told = stage.explain((&end("198.18.0.50", 40_000), &end(server, 80), protocol));
            let happened = stage.happen(&told, &told["request"]);
            assert!(happened[0].1.ends_with(&format!("to {}", order[0].to_uppercase())), "{happened:?}");
            let (request, reply) = (&told["request"], &told["reply"]);
            assert_eq!(only(request), ("to", order[0], order[1..].to_vec()));
            let firewall = &request["firewalls"][0];
            assert_eq!(
                why(request),
                format!("first preference of row {} for this pair of hosts", firewall["row"])
            );
            let address = format!("198.18.1.{}", &order[0][2..]);
            assert_eq!(
                [&firewall["group"], &firewall["address"], &firewall["state"], &firewall["hash"]],
                [&json!("in"), &json!(address), &json!("up"), &json!("address-pair")]
            );
            assert_eq!((&firewall["moved"], &firewall["drifted"]), (&Value::Null, &Value::Null));
            assert_eq!(word(&request["to"][0]["next_hop"]), address);
            assert!(word(&request["why"]).contains("crosses firewalls"), "{request:#}");
            assert_eq!(only(reply), ("from", order[0], order[1..].to_vec()));
            assert!(why(reply).contains("expected from the same firewall"), "{reply:#}");
            assert_eq!((word(&reply["outcome"]), word(&reply["to"][0]["port"])), ("forwarded", "outside"));
        }
    }
}

#[test]
fn the_other_end_names_the_last_hop_and_answers_over_it() {
    let mut stage = inner("");
    let told = stage.explain_and_see(CALL);
    let (request, reply) = (&told["request"], &told["reply"]);
    assert_eq!(word(&request["from"]["port"]), "back");
    assert_eq!(only(request), ("from", "fw2", vec!["fw1", "fw3"]));
    assert!(
        why(request).contains("last hop") && why(request).contains("the far end chooses it: first"),
        "{request:#}"
    );
    assert_eq!(only(reply), ("to", "fw2", vec!["fw1", "fw3"]));
    assert!(why(reply).contains("goes back over the same firewall"), "{reply:#}");
    assert_eq!((word(&reply["to"][0]["port"]), word(&reply["to"][0]["next_hop"])), ("back", "198.18.2.2"));
    // What the inside calls itself is placed by the very same rows.
    let told = stage.explain_and_see(("198.19.0.11:50000", "198.18.0.50:22", "tcp"));
    assert_eq!(only(&told["request"]), ("to", "fw2", vec!["fw1", "fw3"]));
    assert!(why(&told["request"]).starts_with("first preference of row"), "{told:#}");
    assert_eq!(only(&told["reply"]), ("from", "fw2", vec!["fw1", "fw3"]));
}

#[test]
fn who_is_down_or_full_is_named_and_with_nobody_left_the_packet_is_dropped() {
    let mut stage = outer_with("", ["max_sessions = 1", "", ""]);
    health(&mut stage, "in/198.18.1.2", Health::Down);
    let told = stage.explain_and_see(CALL);
    assert_eq!(only(&told["request"]), ("to", "fw1", vec!["fw3"]));
    assert!(why(&told["request"]).ends_with("for this pair of hosts: fw2 is down"), "{told:#}");
    let other = ("198.18.0.50:40001", CALL.1, CALL.2);
    let told = stage.explain_and_see(other);
    assert_eq!(only(&told["request"]), ("to", "fw3", vec![]));
    assert!(why(&told["request"]).ends_with("fw2 is down, fw1 is full"), "{told:#}");

    health(&mut stage, "in/198.18.1.3", Health::Down);
    let told = stage.explain(("198.18.0.50:40002", CALL.1, CALL.2));
    assert_eq!(
        (word(&told["request"]["outcome"]), word(&told["request"]["drop"])),
        ("dropped", "firewalls-full")
    );
    assert_eq!(why(&told["request"]), "none takes it: fw1 is full, fw2 is down, fw3 is down");
    health(&mut stage, "in/198.18.1.1", Health::Down);
    let told = stage.explain(("198.18.0.50:40002", CALL.1, CALL.2));
    assert_eq!(word(&told["request"]["drop"]), "no-firewall");
    assert_eq!(why(&told["request"]), "none takes it: fw1 is down, fw2 is down, fw3 is down");
    assert!(told["request"]["firewalls"][0]["firewall"].is_null() && told["reply"].is_null());
}

#[test]
fn a_live_session_is_explained_by_its_pin_and_by_what_has_moved_it() {
    let mut stage = outer_with("on_recovery = \"return\"", [""; 3]);
    stage.explain_and_see(CALL);
    // By weight or by hand: the rows name another one now, and the session stays.
    let fw2 = stage.world.manager.server("in/198.18.1.2").unwrap();
    stage.world.manager.set_wish(&fw2, Wish::Draining);
    let told = stage.explain(CALL);
    assert_eq!((word(&told["session"]["firewall"]), only(&told["request"]).1), ("fw2", "fw2"));
    assert_eq!(why(&told["request"]), "its session pins it there");
    assert!(why(&told["reply"]).contains("expected from there"), "{told:#}");
    assert_eq!(only(&told["request"]).2, ["fw1", "fw3"]);
    assert_eq!(
        (&told["request"]["firewalls"][0]["moved"], &told["request"]["firewalls"][0]["drifted"]),
        (&false.into(), &false.into())
    );
    stage.world.manager.set_wish(&fw2, Wish::Enabled);

    health(&mut stage, "in/198.18.1.2", Health::Down);
    let told = stage.explain(CALL);
    assert_eq!(only(&told["request"]), ("to", "fw1", vec!["fw3"]));
    assert!(
        why(&told["request"]).starts_with("fw2 has failed, and this packet moves its session: next"),
        "{told:#}"
    );
    stage.happen(&told, &told["request"]);
    let told = stage.explain(CALL);
    assert_eq!((only(&told["request"]).1, why(&told["request"])), ("fw1", "its session pins it there"));
    assert_eq!(told["request"]["firewalls"][0]["moved"], true);

    health(&mut stage, "in/198.18.1.2", Health::Up);
    let told = stage.explain(CALL);
    assert_eq!(only(&told["request"]), ("to", "fw2", vec!["fw1", "fw3"]));
    assert!(why(&told["request"]).contains("goes back with this packet"), "{told:#}");
    let happened = stage.happen(&told, &told["request"]);
    assert!(happened[0].1.contains("to FW2"), "{happened:?}");
}

#[test]
fn a_flow_that_has_drifted_is_said_to() {
    let mut stage = outer();
    stage.explain_and_see(CALL);
    let reply = ("198.19.0.11:80", "198.18.0.50:40000", "tcp");
    let told = stage.explain(reply);
    assert_eq!((word(&told["session"]["direction"]), only(&told["request"]).1), ("reply", "fw2"));
    // It comes over another one in truth.
    let mut strayed = told["request"].clone();
    strayed["from"]["source_mac"] = crate::stage::mac("FW3").to_string().into();
    stage.happen(&told, &strayed);
    let told = stage.explain(CALL);
    assert_eq!(only(&told["request"]).1, "fw2");
    assert_eq!(told["request"]["firewalls"][0]["drifted"], true);
}

#[test]
fn an_address_that_one_firewall_translates_to_is_reached_by_that_one_alone() {
    let stage = outer_with("", ["", "", "nat_addresses = [\"198.18.7.0/24\"]"]);
    let told = stage.explain(("198.18.0.50:40000", "198.18.7.9:80", "tcp"));
    assert_eq!(only(&told["request"]), ("to", "fw3", vec![]));
    assert_eq!(why(&told["request"]), "the only one that translates to this address");
    assert_eq!(only(&told["reply"]).1, "fw3");
}

#[test]
fn protocols_without_ports_cross_the_firewall_of_their_hosts() {
    let stage = outer();
    for protocol in ["esp", "gre", "sctp", "99"] {
        let told = stage.explain(("198.18.0.50", "198.19.0.3", protocol));
        assert_eq!((word(&told["protocol"]), word(&told["destination"])), (protocol, "198.19.0.3"));
        assert_eq!(only(&told["request"]), ("to", "fw3", vec!["fw2", "fw1"]));
        assert_eq!(only(&told["reply"]).1, "fw3");
        assert_eq!(after(&told["request"], "destination"), "198.19.0.3");
        assert_eq!(word(&told["reply"]["to"][0]["port"]), "outside");
    }
}

#[test]
fn by_five_tuple_the_row_is_the_flows() {
    let mut stage = outer_with("hash = \"five-tuple\"", [""; 3]);
    let mut seen = std::collections::HashSet::new();
    for port in 40_000..40_012 {
        let told = stage.explain_and_see((&format!("198.18.0.50:{port}"), CALL.1, CALL.2));
        assert!(why(&told["request"]).ends_with("for this flow"), "{told:#}");
        assert_eq!(word(&told["request"]["firewalls"][0]["hash"]), "five-tuple");
        seen.insert(only(&told["request"]).1.to_owned());
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn what_a_more_specific_route_keeps_in_the_zone_crosses_none_and_is_told_so() {
    let mut stage = inner("");
    let told = stage.explain_and_see(("198.19.0.12:40000", "198.19.0.11:80", "tcp"));
    assert_eq!(told["request"]["firewalls"], json!([]));
    assert!(
        told["request"]["notes"].to_string().contains("a more specific route stays in the zone"),
        "{told:#}"
    );
    let told = outer().explain(("198.18.0.50:40000", "198.18.0.51:80", "tcp"));
    assert_eq!((&told["request"]["firewalls"], &told["request"]["notes"]), (&json!([]), &json!([])));
}

#[test]
fn what_would_go_from_zone_to_zone_past_the_firewalls_is_dropped_by_name() {
    let zones = config(["outside", "front"], "").replacen("\"eth1\"", "\"eth1\"\nzone = \"a\"", 1);
    let facts = OUTER.replace("route 0.0.0.0/0 via 198.18.0.254\n", "");
    let stage = Stage::new(&facts, &zones.replacen("\"eth2\"", "\"eth2\"\nzone = \"b\"", 1));
    let told = stage.explain(("198.18.0.50:40000", "198.18.1.1:80", "tcp"));
    assert_eq!(word(&told["request"]["drop"]), "zone-crossing");
}

#[test]
fn a_service_behind_firewalls_names_its_server_and_the_firewall_of_both_directions() {
    let service = "[[service]]\nname = \"web\"\naddress = \"198.18.2.10\"\nport = 80\nmode = \"routed\"\n\
        [[service.server]]\naddress = \"198.19.0.11\"\n[[service.server]]\naddress = \"198.19.0.12\"\n";
    let mut stage = inner(service);
    for port in 40_000..40_002 {
        let source = format!("198.18.0.50:{port}");
        let told = stage.explain_and_see((&source, "198.18.2.10:80", "tcp"));
        let (request, reply) = (&told["request"], &told["reply"]);
        assert_eq!((word(&request["service"]), word(&request["mode"])), ("web", "routed"));
        assert_eq!(server(&told), format!("198.19.0.1{}", port - 40_000 + 1));
        assert!(word(&request["server"]["why"]).contains("its turn, of 2"), "{request:#}");
        let (way, firewall, _) = only(request);
        assert_eq!((way, only(reply).0, only(reply).1), ("from", "to", firewall));
        assert!(why(reply).contains("goes back over the same firewall"), "{reply:#}");
        assert_eq!(after(reply, "source"), "198.18.2.10:80");
        assert_eq!(word(&reply["to"][0]["port"]), "back");
    }
}

#[test]
fn a_service_before_firewalls_names_the_one_that_leads_to_its_server() {
    let service = "[[service]]\nname = \"web\"\naddress = \"198.19.0.10\"\nport = 80\nmode = \"routed\"\n\
        [[service.server]]\naddress = \"198.18.0.11\"\n";
    let mut stage = inner(service);
    let asked = ("198.19.0.50:40000", "198.19.0.10:80", "tcp");
    let told = stage.explain_and_see(asked);
    assert_eq!(
        (server(&told), only(&told["request"]).0, only(&told["request"]).1),
        ("198.18.0.11", "to", "fw3")
    );
    assert!(why(&told["request"]).starts_with("first preference"), "{told:#}");
    assert!(
        word(&told["request"]["source_nat"]["why"]).contains("the firewall sends the reply back"),
        "{told:#}"
    );
    assert_eq!((only(&told["reply"]).0, only(&told["reply"]).1), ("from", "fw3"));
    assert_eq!(after(&told["reply"], "source"), "198.19.0.10:80");
    for number in 1..=3 {
        health(&mut stage, &format!("out/198.18.2.{number}"), Health::Down);
    }
    let told = stage.explain(("198.19.0.50:40001", asked.1, asked.2));
    assert_eq!(word(&told["request"]["answer"]["what"]), "TCP reset");
    assert!(word(&told["request"]["why"]).contains("none of those is up"), "{told:#}");
}
