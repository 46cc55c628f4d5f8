//! Datagrams in fragments, in every mode: each arrives whole at one server, whatever the order of its fragments and
//! whatever else has its identification.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeSet;
use std::net::IpAddr;

use e2e::modes::{Mode, Scene, in_every_mode};
use e2e::{PATIENCE, family};
use lab::topology::{Hop, UDP_PORT};
use lab::{Capture, Direction, FragmentedQuestion, Order};

in_every_mode! { fragments_of_two_clients_with_one_identification_arrive_whole }

/// Three fragments, and as many as a datagram has.
const QUESTION_BYTES: [usize; 2] = [4_000, 60_000];

/// The second client's addresses.
const SECOND: [(&str, u8); 2] = [("198.18.0.51", 24), ("2001:db8::51", 64)];

fn fragments_of_two_clients_with_one_identification_arrive_whole(driver: &str, mode: Mode) {
    let scene = Scene::new(driver, mode, Hop::None);
    for (address, length) in SECOND {
        scene.site.client.end.add_address(&format!("{address}/{length}")).unwrap();
    }
    let appliance = scene.start();
    let at_client = Capture::start(&scene.site.client.end, "at-client", Direction::In).unwrap();
    let mut identification = 0x1234_0001;
    for (vip, (second, _)) in scene.site.vips.into_iter().zip(SECOND) {
        let clients: [IpAddr; 2] = [scene.client_like(vip), second.parse().unwrap()];
        for bytes in QUESTION_BYTES {
            for order in [Order::InOrder, Order::LastFirst] {
                // New ports each time, so new sessions; and the identification of both alike.
                identification += 1;
                let question = |source| FragmentedQuestion { source, identification, bytes };
                let target = (vip, UDP_PORT).into();
                let answers =
                    lab::ask_in_fragments(scene.client(), target, &clients.map(question), order, PATIENCE);
                let answers = answers.unwrap();
                let which = || {
                    let drops = appliance.show("drops").unwrap();
                    format!("{} {bytes} {order:?}: {answers:?}\n{drops}", family(vip))
                };
                assert_eq!(answers.len(), 2);
                assert!(answers.iter().all(Result::is_ok), "{}", which());
                let seen: BTreeSet<IpAddr> =
                    answers.iter().filter_map(|answer| answer.as_ref().ok()?.client_seen).collect();
                let expected = if mode.translates_source() { [vip; 2] } else { clients };
                assert_eq!(seen, BTreeSet::from(expected), "{}", which());
            }
        }
    }
    let at_client = at_client.stop().unwrap();
    assert!(at_client.frames.len() > 4 * 41, "answers come in fragments too");
    at_client.verify_checksums().unwrap();
}
