//! Checks of servers that answer directly: each must serve the VIP itself, whichever way requests get there.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, thread};

use control::check::CARRIED_PORTS;
use e2e::modes::{Mode, Scene, start};
use e2e::{PATIENCE, family, kernel_counter, on_both_drivers, run_in, server, wait_for};
use lab::topology::{HOLD_PORT, Hop, TRANSFER_PORT};
use lab::{Appliance, Capture, Direction, Frame};
use wire::tcp::TcpFlags;

on_both_drivers! {
    l2_dsr,
    l3_dsr_ipip,
    l3_dsr_gue,
    l3_dsr_dscp,
    a_check_shows_its_segments_and_nothing_else,
    an_application_never_sees_a_half_open_check,
    a_refusal_and_a_wrong_answer_are_told_from_a_missing_vip,
    a_server_that_was_away_is_found_by_its_next_checks,
    answers_reach_the_host_by_every_kind_of_leg,
    a_kernel_that_drops_the_answers_is_named,
}

/// The check of each service, by the beginning of its name. The servers' UDP service answers with its name.
const KINDS: [(&str, &str); 4] = [
    ("web", "kind = \"http\"\npath = \"/\"\nexpect_body = \"server\""),
    ("hold", "kind = \"tcp-half-open\""),
    ("transfer", "kind = \"tcp\""),
    ("udp", "kind = \"udp\"\nsend = \"who\"\nexpect_reply = \"server\""),
];

/// One kind for all.
const ECHO: [(&str, &str); 4] = [
    ("web", "kind = \"icmp\""),
    ("hold", "kind = \"icmp\""),
    ("transfer", "kind = \"icmp\""),
    ("udp", "kind = \"icmp\""),
];

/// The lab's configuration with these checks in place of its own.
fn configuration(scene: &Scene, kinds: [(&str, &str); 4]) -> PathBuf {
    let path = scene.site.write_configuration(&scene.options).unwrap();
    let text = scene.site.configuration(&scene.options);
    let (head, services) = text.split_at(text.find("\n[[health_check]]").unwrap());
    let services = &services[services.find("\n[[service]]").unwrap()..];
    let mut text = head.to_owned();
    for (name, kind) in kinds {
        text += &format!(
            "\n[[health_check]]\nname = \"{name}\"\n{kind}\ninterval = \"500ms\"\nresponse_time = \"300ms\"\n\
             retries = 1\n"
        );
    }
    for service in services.split_inclusive("\n\n[[service]]") {
        let name = kinds.iter().map(|(name, _)| *name).find(|name| service.contains(&format!("\"{name}-v")));
        let lines = service.lines().map(|line| match (line.starts_with("health_check"), name) {
            (true, Some(name)) => format!("health_check = \"{name}\""),
            _ => line.to_owned(),
        });
        text += &lines.collect::<Vec<_>>().join("\n");
        text += "\n";
    }
    fs::write(&path, text).unwrap();
    path
}

/// State and reason of a server's row in a service.
fn row(appliance: &Appliance, service: &str, address: IpAddr) -> (String, String) {
    let row = server(appliance, service, address);
    let word = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
    (word("state"), word("reason"))
}

/// Waits until the first server is in this state in all services; gives each service's reason.
fn wait_for_first(scene: &Scene, appliance: &Appliance, state: &str) -> Vec<(String, String)> {
    let first = &scene.site.servers[0];
    let rows = || -> Vec<(String, (String, String))> {
        let services = scene.site.services().into_iter();
        services
            .map(|service| {
                let row = row(appliance, &service.name, first.address_like(service.target.ip()));
                (service.name, row)
            })
            .collect()
    };
    wait_for(&format!("server1 to be {state}: {:?}", rows()), || {
        rows().iter().all(|(_, (now, _))| now == state)
    });
    rows().into_iter().map(|(name, (_, reason))| (name, reason)).collect()
}

/// All servers but the first are up.
fn assert_others_up(scene: &Scene, appliance: &Appliance) {
    for service in scene.site.services() {
        for other in &scene.site.servers[1..] {
            let (state, reason) = row(appliance, &service.name, other.address_like(service.target.ip()));
            assert_eq!(state, "up", "{} {}: {reason}", service.name, other.name);
        }
    }
}

/// What the reason of a server without the VIP asks of the person who reads it.
fn question(mode: Mode, vip: IpAddr) -> String {
    let source = if vip.is_ipv4() { "198.18.1.251" } else { "2001:db8:1::251" };
    match mode {
        Mode::L2Dsr => format!("is the server there, and {vip} on its loopback?"),
        Mode::Ipip => {
            format!("is the server there, taking IP in IP from {source}, and {vip} on its loopback?")
        }
        Mode::Gue => {
            format!("is the server there, taking GUE from {source} on port 6080, and {vip} on its loopback?")
        }
        _ => format!("is the server there, turning DSCP 11 into {vip}, and that on its loopback?"),
    }
}

fn l2_dsr(driver: &str) {
    a_server_is_up_as_long_as_it_holds_the_vip(driver, Mode::L2Dsr);
}

fn l3_dsr_ipip(driver: &str) {
    a_server_is_up_as_long_as_it_holds_the_vip(driver, Mode::Ipip);
}

fn l3_dsr_gue(driver: &str) {
    a_server_is_up_as_long_as_it_holds_the_vip(driver, Mode::Gue);
}

fn l3_dsr_dscp(driver: &str) {
    a_server_is_up_as_long_as_it_holds_the_vip(driver, Mode::Dscp);
}

fn a_server_is_up_as_long_as_it_holds_the_vip(driver: &str, mode: Mode) {
    let scene = Scene::new(driver, mode, Hop::None);
    // Where the VIP's own route leads back by the same interface, a kernel that is strict about that has no objection.
    scene.site.appliance.set_parameter("net.ipv4.conf.all.rp_filter", "1").unwrap();
    let appliance = start(&scene.site, &configuration(&scene, KINDS));
    let first = scene.site.servers[0].namespace();
    for kinds in [KINDS, ECHO] {
        configuration(&scene, kinds);
        appliance.reload().unwrap();
        wait_for_first(&scene, &appliance, "up");
        scene.site.vips.iter().for_each(|vip| first.release_address(*vip).unwrap());
        for (service, reason) in wait_for_first(&scene, &appliance, "down") {
            let vip = scene.site.vips[usize::from(service.ends_with("v6"))];
            let kind = kinds.iter().find(|(name, _)| service.starts_with(name)).unwrap().1;
            let awaited = match () {
                () if kind.contains("icmp") => "echo reply",
                () if kind.contains("udp") => "answer",
                () => "SYN-ACK",
            };
            let expected = format!("no {awaited} within 300 ms: {}", question(mode, vip));
            assert_eq!(reason, expected, "{service}");
        }
        assert_others_up(&scene, &appliance);
        scene.site.vips.iter().for_each(|vip| first.hold_address(*vip).unwrap());
        wait_for_first(&scene, &appliance, "up");
    }
}

/// What was said between the appliance's own ports of carried checks and a port of the server, a line of flags for each
/// connection that began within the capture.
fn connections(frames: &[Frame], port: u16) -> Vec<String> {
    let mut open: BTreeMap<(IpAddr, u16), String> = BTreeMap::new();
    let mut all = Vec::new();
    for frame in frames {
        let Some(packet) = frame.inner_packet().or_else(|| frame.packet()) else { continue };
        let (Some((source, destination)), Some(flags)) = (packet.ports, packet.tcp_flags) else { continue };
        let ours = match () {
            () if destination == port && CARRIED_PORTS.contains(&source) => (packet.source, source),
            () if source == port && CARRIED_PORTS.contains(&destination) => (packet.destination, destination),
            () => continue,
        };
        let names = [(TcpFlags::SYN, "S"), (TcpFlags::FIN, "F"), (TcpFlags::RST, "R"), (TcpFlags::ACK, "A")];
        let said: String =
            names.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect();
        if said == "S" {
            all.extend(open.insert(ours, said));
        } else if let Some(connection) = open.get_mut(&ours) {
            *connection += &format!(" {said}");
        }
    }
    all.extend(open.into_values());
    all
}

fn a_check_shows_its_segments_and_nothing_else(driver: &str) {
    for mode in [Mode::L2Dsr, Mode::Ipip] {
        let scene = Scene::new(driver, mode, Hop::None);
        let appliance = start(&scene.site, &configuration(&scene, KINDS));
        let server = &scene.site.servers[0];
        let resets = || kernel_counter(&scene.site.appliance, "TcpOutRsts");
        let before = resets();
        let capture = Capture::start(&server.end, "checks", Direction::Both).unwrap();
        thread::sleep(Duration::from_secs(2));
        let captured = capture.stop().unwrap();
        assert_eq!(captured.dropped_by_kernel, 0);
        assert_eq!(resets(), before, "the kernel of the appliance keeps out of it");
        let half_open = connections(&captured.frames, HOLD_PORT);
        let whole = half_open.iter().filter(|said| *said == "S SA R").count();
        // The capture may have ended in the middle of one.
        assert!(half_open.iter().all(|said| "S SA R".starts_with(said.as_str())), "{half_open:?}");
        assert!(whole >= 4, "{half_open:?}");
        let full = connections(&captured.frames, TRANSFER_PORT);
        let orders = ["S SA A FA FA A", "S SA A FA A FA A"];
        let fits = |said: &String| orders.iter().any(|order| order.starts_with(said.as_str()));
        assert!(full.iter().all(fits), "{full:?}");
        assert!(full.iter().filter(|said| orders.contains(&said.as_str())).count() >= 4, "{full:?}");
        appliance.stop(PATIENCE).unwrap();
    }
}

fn an_application_never_sees_a_half_open_check(driver: &str) {
    let scene = Scene::new(driver, Mode::L2Dsr, Hop::None);
    let half_open = KINDS.map(|(name, _)| (name, "kind = \"tcp-half-open\"\nport = 7000"));
    let _appliance = start(&scene.site, &configuration(&scene, half_open));
    let seen = || kernel_counter(scene.site.servers[0].namespace(), "TcpPassiveOpens");
    let before = seen();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(seen(), before);
}

fn a_refusal_and_a_wrong_answer_are_told_from_a_missing_vip(driver: &str) {
    let mut scene = Scene::new(driver, Mode::L2Dsr, Hop::None);
    let appliance = start(&scene.site, &configuration(&scene, KINDS));
    scene.peers.web[0].kill();
    scene.peers.echo.remove(0);
    let first = scene.site.servers[0].addresses();
    for (service, expected) in [("web", "connection refused"), ("udp", "port unreachable")] {
        for address in first {
            let service = format!("{service}-{}", family(address));
            wait_for(&format!("{service} to say {expected}"), || {
                row(&appliance, &service, address) == ("down".into(), expected.into())
            });
        }
    }
    let other = KINDS.map(|(name, kind)| match name {
        "web" => (name, "kind = \"http\"\npath = \"/\"\nexpect_body = \"READY\""),
        _ => (name, kind),
    });
    configuration(&scene, other);
    appliance.reload().unwrap();
    for address in scene.site.servers[1].addresses() {
        let service = format!("web-{}", family(address));
        let expected = "READY not in the first 4 KiB";
        wait_for(&format!("{service} to say {expected}"), || {
            row(&appliance, &service, address) == ("down".into(), expected.into())
        });
    }
}

fn a_server_that_was_away_is_found_by_its_next_checks(driver: &str) {
    let scene = Scene::new(driver, Mode::L2Dsr, Hop::None);
    let appliance = start(&scene.site, &configuration(&scene, KINDS));
    let cable = scene.site.servers[0].end.opposite();
    cable.set_up(false).unwrap();
    wait_for_first(&scene, &appliance, "down");
    // The kernel believes in the server's MAC address for half a minute more.
    for address in scene.site.servers[0].addresses() {
        let words = ["neighbour", "delete", &address.to_string(), "dev", scene.site.ports[0].interface()];
        assert!(run_in(&scene.site.appliance, "ip", &words).status.success());
    }
    wait_for("the server to be unreachable", || {
        let rows = wait_for_first(&scene, &appliance, "down");
        rows.iter().all(|(_, reason)| reason == "host unreachable")
    });
    assert_others_up(&scene, &appliance);
    cable.set_up(true).unwrap();
    wait_for_first(&scene, &appliance, "up");
}

/// The same services where servers answer directly.
fn in_l2_dsr(path: PathBuf) -> PathBuf {
    let text = fs::read_to_string(&path).unwrap();
    let direct = |line: &str| match line.split_once(" = ") {
        Some(("mode", _)) => "mode = \"l2-dsr\"".to_owned(),
        Some(("source_nat", _)) => "source_nat = \"never\"".to_owned(),
        Some(("return_path", _)) => String::new(),
        _ => line.to_owned(),
    };
    fs::write(&path, text.lines().map(direct).collect::<Vec<_>>().join("\n")).unwrap();
    path
}

/// Answers come in by two ports, by a bridge's host leg and by those of VLANs, and reach the kernel's sockets all the same.
fn answers_reach_the_host_by_every_kind_of_leg(driver: &str) {
    let modes = [Mode::Routed, Mode::TransparentInline, Mode::TransparentOneArm, Mode::RoutedInVlans];
    for mode in modes {
        let scene = Scene::new(driver, mode, Hop::None);
        let kinds = [
            ("web", "kind = \"http\"\npath = \"/\"\nexpect_body = \"server\""),
            ("hold", "kind = \"tcp-half-open\""),
            ("transfer", "kind = \"tcp\""),
            ("udp", "kind = \"icmp\""),
        ];
        let path = in_l2_dsr(configuration(&scene, kinds));
        let holds = |held: bool, servers: &[lab::topology::Host]| {
            for (server, vip) in servers.iter().flat_map(|server| scene.site.vips.map(|vip| (server, vip))) {
                match held {
                    true => server.namespace().hold_address(vip).unwrap(),
                    false => server.namespace().release_address(vip).unwrap(),
                }
            }
        };
        holds(true, &scene.site.servers);
        let appliance = start(&scene.site, &path);
        holds(false, &scene.site.servers[..1]);
        for (service, reason) in wait_for_first(&scene, &appliance, "down") {
            assert!(reason.starts_with("no "), "{mode:?} {service}: {reason}");
        }
        assert_others_up(&scene, &appliance);
        holds(true, &scene.site.servers[..1]);
        wait_for_first(&scene, &appliance, "up");
    }
}

/// Servers are behind another interface than the VIP's own route: a strict kernel drops what they answer.
fn a_kernel_that_drops_the_answers_is_named(driver: &str) {
    let scene = Scene::new(driver, Mode::Routed, Hop::None);
    let interface = scene.site.ports[1].interface();
    let filter = |value| {
        let name = format!("net.ipv4.conf.{interface}.rp_filter");
        scene.site.appliance.set_parameter(&name, value).unwrap();
    };
    let path = in_l2_dsr(configuration(&scene, ECHO));
    for server in &scene.site.servers {
        scene.site.vips.iter().for_each(|vip| server.namespace().hold_address(*vip).unwrap());
    }
    let appliance = start(&scene.site, &path);
    let named = || appliance.log().contains(&format!("{} by {interface}", scene.site.vips[0]));
    assert!(!named(), "{}", appliance.log());
    filter("1");
    wait_for("IPv4 servers to be down", || {
        let address = scene.site.servers[0].v4;
        row(&appliance, "web-v4", address).0 == "down"
    });
    appliance.reload().unwrap();
    assert!(named(), "{}", appliance.log());
    filter("2");
    wait_for_first(&scene, &appliance, "up");
}
