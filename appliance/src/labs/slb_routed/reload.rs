//! A reload, and a refused one, under open connections.

use std::time::Duration;

use lab::HeldConnections;
use lab::HeldState;
use lab::topology::slb_routed::{HOLD_PORT, SlbRouted, VIP_V4, VIP_V6};

use super::super::Stopped;
use super::super::appliance::Running;
use super::super::report::Report;
use super::services;

/// Open connections of each address family.
const CONNECTIONS: usize = 100;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What spoils a file: a misspelt key of the last server.
const MISTAKE: &str = "wieght = 2\n";

/// See the module.
pub(super) fn under_open_connections(
    lab: &SlbRouted,
    running: &Running,
    report: &mut Report,
) -> Result<(), Stopped> {
    report.section(format!("A reload under {} open connections", 2 * CONNECTIONS));
    let mut held = Vec::new();
    for vip in [VIP_V4, VIP_V6] {
        let opened =
            HeldConnections::open(lab.client.namespace(), (vip, HOLD_PORT).into(), CONNECTIONS, PATIENCE)?;
        held.push(opened.map_err(|failure| format!("a connection to {vip} was {failure}"))?);
    }
    let mut probe = || held.iter_mut().flat_map(|held| held.probe(PATIENCE)).collect::<Vec<_>>();
    let before = probe();
    report.note(spread(&before));
    let all_alive = |states: &[HeldState]| states.iter().all(|state| matches!(state, HeldState::Alive(_)));
    report.expect_or(all_alive(&before), "all are answered", spread(&before));

    let mut fewer = services(lab);
    fewer.retain(|service| service.name != "udp-v4");
    let said = running.reload(lab, &fewer).map_err(|error| format!("the reload was refused: {error}"))?;
    report.note(format!("without the UDP service: jeoul reload: {}", said.trim_end()));
    let after = probe();
    report.expect_or(after == before, "all are still answered, each by its own server", spread(&after));

    match running.reload_with(MISTAKE) {
        Err(refusal) => {
            report.note("with a mistake in the file: jeoul reload:");
            report.quote(&refusal.to_string());
            report.expect(refusal.to_string().starts_with("exit status 2:"), "the mistake is refused");
        }
        Ok(said) => report.expect_or(false, "the mistake is refused", said),
    }
    let after = probe();
    report.expect_or(after == before, "all are still answered after it", spread(&after));
    let said =
        running.reload(lab, &services(lab)).map_err(|error| format!("the reload was refused: {error}"))?;
    report.note(format!("with all services: jeoul reload: {}", said.trim_end()));
    let after = probe();
    report.expect_or(after == before, "all are still answered at the end", spread(&after));
    Ok(())
}

/// `server1 34, server2 33, server3 33`, and what else there is.
fn spread(states: &[HeldState]) -> String {
    let words = HeldConnections::tally(states).into_iter().map(|(state, count)| match state {
        HeldState::Alive(server) => format!("{server} {count}"),
        other => format!("{count} {}", format!("{other:?}").to_lowercase()),
    });
    words.collect::<Vec<_>>().join(", ")
}
