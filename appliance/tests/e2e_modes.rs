//! Every forwarding mode with the real binary and real peers, over both drivers and both families.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use e2e::modes::{Mode, Scene, in_every_mode};
use e2e::{PATIENCE, family};
use lab::Load;
use lab::topology::{HTTP_PORT, Hop, UDP_PORT};

in_every_mode! { requests_and_datagrams_reach_every_server }

fn requests_and_datagrams_reach_every_server(driver: &str, mode: Mode) {
    let scene = Scene::new(driver, mode, Hop::None);
    let appliance = scene.start();
    for vip in scene.site.vips {
        let load = Load { count: 30, concurrency: 2, timeout: PATIENCE, ..Load::default() };
        let report = lab::run_requests(scene.client(), (vip, HTTP_PORT).into(), load).unwrap();
        let drops = || appliance.show("drops").unwrap();
        assert_eq!(report.answered(), 30, "{} {report}\n{}", family(vip), drops());
        assert_eq!(report.per_server.len(), 3, "{report}");
        let load = Load { count: 9, timeout: PATIENCE, ..Load::default() };
        let report = lab::ask_udp(scene.client(), (vip, UDP_PORT).into(), load).unwrap();
        assert_eq!(report.answered(), 9, "{} {report}\n{}", family(vip), drops());
    }
}
