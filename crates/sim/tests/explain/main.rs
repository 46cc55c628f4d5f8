//! What `explain` says is what then happens, and saying it changes nothing.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod firewalls;
mod stage;

use control::members::{Health, Wish};
use serde_json::Value;
use stage::{CALL, ROUTED, ROUTED_PORTS, Stage, after, mac, routed_servers, server, service, word};

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
fn the_server_with_the_fewest_sessions_is_named_and_asking_takes_no_place() {
    let mut stage = Stage::routed(&routed_servers("mode = \"routed\"\nscheduler = \"least-connections\""));
    for number in 0..6 {
        let source = format!("198.18.0.50:{}", 40_000 + number);
        for _ in 0..3 {
            stage.explain((&source, CALL.1, CALL.2));
        }
        let told = stage.explain_and_see((&source, CALL.1, CALL.2));
        assert!(word(&told["request"]["server"]["why"]).contains("the fewest sessions of 3"), "{told:#}");
    }
    let ids = stage.world.manager.plan().v4.owned.addresses().flat_map(|(_, vip)| vip.services().cloned());
    let ids: Vec<_> =
        ids.flat_map(|service| service.members.iter().map(|one| one.id).collect::<Vec<_>>()).collect();
    let loads = &stage.world.manager.shared().loads;
    assert_eq!(ids.iter().map(|&id| loads.sessions(id)).collect::<Vec<_>>(), [2, 2, 2]);
}

#[test]
fn a_client_that_was_here_before_is_told_so_and_asking_remembers_nobody() {
    let keys = "mode = \"routed\"\npersistence = { key = \"source-address\", timeout = \"5m\" }";
    let mut stage = Stage::routed(&routed_servers(keys));
    let told = stage.explain(("198.18.0.50:40000", CALL.1, CALL.2));
    assert!(word(&told["request"]["server"]["why"]).contains("its turn"), "{told:#}");
    let first = server(&stage.explain_and_see(("198.18.0.50:40000", CALL.1, CALL.2))).to_owned();
    for port in 40_001..40_004 {
        let told = stage.explain_and_see((&format!("198.18.0.50:{port}"), CALL.1, CALL.2));
        assert_eq!(server(&told), first);
        assert!(word(&told["request"]["server"]["why"]).contains("was here before"), "{told:#}");
    }
    let told = stage.explain(("198.18.0.51:40000", CALL.1, CALL.2));
    assert!(word(&told["request"]["server"]["why"]).contains("its turn"), "{told:#}");
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
fn a_full_session_table_is_told_to_whom_it_matters() {
    let config = format!("{ROUTED_PORTS}{}", routed_servers("mode = \"routed\""));
    let mut stage = Stage::sized(ROUTED, &config, 1);
    let note = |told: &Value| told["request"]["notes"].to_string().contains("session table is full");
    assert!(!note(&stage.explain_and_see(CALL)));
    assert!(note(&stage.explain(("198.18.0.50:40001", CALL.1, "tcp"))));
    assert!(!note(&stage.explain(CALL)), "its session is there");
    assert!(!note(&stage.explain(("198.18.0.50:40001", "198.19.0.7:22", "tcp"))), "it needs none");
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
