//! The topology `traps`: which way replies go in each variant, with the kernel in the appliance's place.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use lab::topology::traps::{Traps, Variant, traps};
use lab::topology::{BRIDGE, HTTP_PORT, Hop, Host, Options};
use lab::{Capture, Captured, Direction, Load, NginxServer, Testbed, run_requests};

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks every server on its real address, both families.
fn ask_all(lab: &Traps, from: &Host) {
    for server in &lab.site.servers {
        for address in server.addresses() {
            let load = Load { count: 1, timeout: PATIENCE, ..Load::default() };
            let report = run_requests(from.namespace(), (address, HTTP_PORT).into(), load).unwrap();
            assert_eq!(report.per_server, BTreeMap::from([(server.name.clone(), 1)]), "{report}");
        }
    }
}

/// Whether web servers' replies came by in a capture.
fn saw_replies(captured: &Captured) -> bool {
    captured.packets().any(|packet| packet.ports.is_some_and(|(source, _)| source == HTTP_PORT))
}

#[test]
fn replies_take_the_way_that_makes_the_trap_or_the_cure() {
    for variant in Variant::ALL {
        if let Err(why) = Testbed::check_machine().and(lab::find_program("nginx").map(|_path| ())) {
            eprintln!("skipped: {why}");
            return;
        }
        let testbed = Testbed::new(&format!("lab-traps-{}", variant as u8)).unwrap();
        let lab = traps(&testbed, variant, Hop::None).unwrap();
        let site = &lab.site;
        if variant == Variant::OwnPorts {
            site.appliance.add_bridge(BRIDGE).unwrap();
            site.ports.iter().for_each(|port| port.join_bridge(BRIDGE).unwrap());
        } else {
            site.appliance.forward_packets().unwrap();
        }
        let start = |server: &Host| NginxServer::start(server.namespace(), &server.name, &[HTTP_PORT]);
        let _web: Vec<NginxServer> = site.servers.iter().map(|server| start(server).unwrap()).collect();

        // Real addresses are asked past the appliance, so only replies can cross it.
        for (from, cross) in [
            (&site.client, matches!(variant, Variant::Gateway | Variant::OwnPorts)),
            (&lab.caller, variant == Variant::OwnPorts),
        ] {
            let captures = site.ports.iter().map(|port| {
                Capture::start(port, &format!("{}-{}", port.interface(), from.name), Direction::In).unwrap()
            });
            let captures: Vec<Capture> = captures.collect();
            ask_all(&lab, from);
            let captured = captures.into_iter().map(|capture| capture.stop().unwrap());
            let crossed = captured.filter(saw_replies).count();
            assert_eq!(crossed > 0, cross, "{variant:?}, called by {}", from.name);
            // Behind its own port each server is seen at its own port.
            assert!(variant != Variant::OwnPorts || crossed == site.servers.len());
        }
        let held = site.servers.iter().filter(|server| server.held == site.vips).count();
        assert_eq!(held, if variant == Variant::Dsr { 3 } else { 0 });
        let lines = match variant {
            Variant::Bypass => ["mode = \"routed\"", "source_nat = \"never\"", "return_path = \"any\""],
            Variant::Gateway => ["mode = \"routed\"", "source_nat = \"never\"", "return_path = \"gateway\""],
            Variant::SourceNat => ["mode = \"routed\"", "source_nat = \"auto\"", "interface = \"arm\""],
            Variant::Dsr => ["mode = \"l2-dsr\"", "source_nat = \"never\"", "interface = \"arm\""],
            Variant::OwnPorts => [
                "mode = \"transparent\"",
                "ports = [\"uplink\", \"server1\", \"server2\", \"server3\", \"caller\"]",
                "addresses = [\"198.18.1.2/24\", \"2001:db8:1::2/64\"]",
            ],
        };
        let text = site.configuration(&Options::default());
        for line in lines {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
    }
}
