//! The bare forwarders of `benches/forwarders`, which this crate only starts.

use std::path::PathBuf;

use crate::error::Result;

use super::{Driver, Kind, Plan, Running, Site, Started, Tools, typed};

/// What a forwarder says when it forwards.
const READY: &str = "forwarding between";

/// The program that a plan wants.
pub(super) fn binary(plan: &Plan, tools: &Tools) -> PathBuf {
    let name = match (plan.kind, plan.driver) {
        (Kind::XdpRedirect, _) => "bare-redirect",
        (_, Driver::AfXdp) => "bare-xdp",
        (_, Driver::AfPacket) => "bare-packet",
    };
    tools.forwarders.join(name)
}

pub(super) fn start(site: &Site<'_>) -> Result<Started> {
    let binary = binary(site.plan, site.tools);
    let mut command = site.namespace().command(&binary.to_string_lossy())?;
    command.args(["--seconds", &site.plan.bound.as_secs().max(1).to_string()]);
    command.args(["--cpu", &site.plan.cpu.to_string()]);
    for (end, far) in [(site.outside, &site.straight.clients), (site.inside, &site.straight.servers)] {
        command.arg(format!("{}={}", end.interface(), far.mac()));
    }
    let commands = vec![typed(&command)];
    let (process, said) = site.spawn_until(command, "forwarder", READY)?;
    // "forwarding between outside and inside, native XDP, copy mode"
    let mode = said.lines().find_map(|line| line.strip_prefix(READY)?.split_once(", ")).map(|(_, mode)| mode);
    let mode = mode.unwrap_or_default().to_string();
    let (running, configuration) = (Running::Program(process), String::new());
    let mut started = Started { running, commands, configuration, mode, destination: None };
    if site.plan.kind == Kind::XdpRedirect {
        started.commands.extend(site.receive_on_own_cpu()?);
    }
    Ok(started)
}
