//! Persistence: a client comes back to the server that it had.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lab::{Call, Calls};

use super::super::Stopped;
use super::super::appliance::Running;
use super::super::report::Report;
use super::scene::{Offer, PERSISTENCE, Scene, all_answered};

/// Networks of callers, each a /24.
const NETWORKS: u16 = 8;

/// Callers of each network.
const HOSTS: u16 = 8;

/// Distance of one network's callers from the next's.
const NETWORK_STEP: u16 = 256;

/// Which server each network has, as long as all its callers have the same.
type Homes = BTreeMap<u16, Option<String>>;

pub(super) fn persistence(scene: &Scene<'_>, running: &Running, report: &mut Report) -> Result<(), Stopped> {
    report.section(format!("persistence by /24 under round robin: {NETWORKS} networks of {HOSTS} clients"));
    let first = call(scene, 1, 1, report)?;
    report.note(format!("the first call of each network: {}", words(&first)));
    let names = scene.names(&PERSISTENCE);
    let spread = names.iter().all(|name| first.values().flatten().any(|home| home == name));
    report.expect(spread, "they are spread over all servers");
    let all = call(scene, HOSTS, 8, report)?;
    report.expect_or(all == first, "all clients of a network have its server", words(&all));

    let before = std::fs::read_to_string(running.file())?;
    let heavier = before.replacen("weight = 5", "weight = 6", 1);
    running.reload_as(&heavier).map_err(|error| format!("the reload was refused: {error}"))?;
    let after = call(scene, HOSTS, 8, report)?;
    report.expect_or(after == first, "a reload changes nothing", words(&after));

    let home = first.get(&0).cloned().flatten().ok_or("the first network has no server")?;
    let server = address_of(scene, &PERSISTENCE, &home)?;
    running.order(&["server", "drain", PERSISTENCE.name, &server])?;
    let drained = call(scene, HOSTS, 8, report)?;
    report.note(format!("jeoul server drain {} {server}: {}", PERSISTENCE.name, words(&drained)));
    let stays = |network: &u16| first[network].as_ref() != Some(&home);
    let kept =
        drained.iter().filter(|(network, _)| stays(network)).all(|(network, now)| *now == first[network]);
    report.expect(kept, "the networks of other servers stay where they are");
    let moved = drained.iter().filter(|(network, _)| !stays(network));
    let replaced = moved.clone().all(|(_, now)| now.as_ref().is_some_and(|now| *now != home));
    report.expect(replaced, format!("each network of {home} has one of the others"));
    running.order(&["server", "enable", PERSISTENCE.name, &server])?;
    let enabled = call(scene, HOSTS, 8, report)?;
    report.expect_or(enabled == drained, "and keeps it when the server is enabled again", words(&enabled));
    Ok(())
}

/// So many callers of each network call, one from each network after the other.
fn call(scene: &Scene<'_>, hosts: u16, concurrency: usize, report: &mut Report) -> Result<Homes, Stopped> {
    let caller = |place: u16| {
        let (host, network) = (place / NETWORKS, place % NETWORKS);
        scene.lab.caller(network * NETWORK_STEP + host, PERSISTENCE.vip)
    };
    let sources: Vec<IpAddr> = (0..hosts * NETWORKS).map(caller).collect();
    let calls = Calls { concurrency, sources, ..PERSISTENCE.calls(usize::from(hosts * NETWORKS)) };
    let called = scene.call(&calls)?;
    all_answered(&called, report);
    let mut homes = Homes::new();
    for (place, Call { answer, .. }) in called.calls.into_iter().enumerate() {
        let network = place as u16 % NETWORKS;
        let home = homes.entry(network).or_insert_with(|| answer.clone().ok());
        if *home != answer.ok() {
            *home = None;
        }
    }
    Ok(homes)
}

fn words(homes: &Homes) -> String {
    let word = |home: &Option<String>| home.clone().unwrap_or_else(|| "several".into());
    homes.values().map(word).collect::<Vec<_>>().join(", ")
}

fn address_of(scene: &Scene<'_>, offer: &Offer, name: &str) -> Result<String, Stopped> {
    let server = scene.lab.servers.iter().find(|server| server.name == name);
    Ok(server.ok_or("no such server")?.address_like(offer.vip).to_string())
}
